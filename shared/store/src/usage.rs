//! What a mailbox cost, by day of Google's.
//!
//! One item a mailbox and day, one a day for all of them, in shards; each visit adds to both once, at its end. They
//! are sums for people and forecasts: nothing is decided on them, so an addition that is lost is lost.

use std::collections::BTreeMap;

use serde::Serialize;
use sync_core::{
    MailboxId, Timestamp,
    quota::{Method, pacific_day},
};

use crate::{
    Spent, Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, number, ttl},
    keys,
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// How many items a day's sum is spread over: one would be written by every worker at once.
const SHARDS: u8 = 8;
/// Most days of one answer.
pub const USAGE_DAYS_MAX: u32 = 400;
/// Prefixes of the attributes that count a method's calls and units.
const CALLS: &str = "calls:";
const UNITS: &str = "units:";

/// What one visit used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VisitUsage {
    /// Calls of Gmail by method, and their units.
    pub gmail: BTreeMap<Method, (u64, u64)>,
    /// Memory of the function, megabytes, times the milliseconds that it took.
    pub megabyte_milliseconds: u64,
    /// DynamoDB and S3.
    pub spent: Spent,
    /// SQS requests: each message sent, received, deleted.
    pub sqs_requests: u64,
}

/// What a day used.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayUsage {
    /// The day, as California counts it.
    pub date: String,
    /// Visits of workers.
    pub visits: u64,
    /// Gmail quota units.
    pub quota_units: u64,
    /// Calls of Gmail by method.
    pub gmail_calls: BTreeMap<String, u64>,
    /// Their units.
    pub gmail_units: BTreeMap<String, u64>,
    /// Lambda: gigabyte-seconds of the worker.
    pub lambda_gb_seconds: f64,
    /// DynamoDB's read units.
    pub dynamodb_read_units: f64,
    /// DynamoDB's write units.
    pub dynamodb_write_units: f64,
    /// SQS requests.
    pub sqs_requests: u64,
    /// S3 requests that read.
    pub s3_reads: u64,
    /// S3 requests that write or list.
    pub s3_writes: u64,
}

impl DayUsage {
    /// Adds another part of the same day.
    fn add(&mut self, other: &Self) {
        self.visits += other.visits;
        self.quota_units += other.quota_units;
        for (name, count) in &other.gmail_calls {
            *self.gmail_calls.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.gmail_units {
            *self.gmail_units.entry(name.clone()).or_default() += count;
        }
        self.lambda_gb_seconds += other.lambda_gb_seconds;
        self.dynamodb_read_units += other.dynamodb_read_units;
        self.dynamodb_write_units += other.dynamodb_write_units;
        self.sqs_requests += other.sqs_requests;
        self.s3_reads += other.s3_reads;
        self.s3_writes += other.s3_writes;
    }
}

impl Store {
    /// Adds what a visit used to the mailbox's day and to everybody's.
    pub async fn add_usage(&self, mailbox: &MailboxId, visit: &VisitUsage, now: Timestamp) -> Result<()> {
        let date = pacific_day(now).to_string();
        let shard = keys::shard(mailbox, SHARDS);
        for key in [keys::usage(mailbox, &date), keys::project_usage(&date, shard)] {
            let change = addition(visit, now + self.retention.usage);
            match self.update("add usage", &key, change).await? {
                Updated::Done(_) | Updated::Refused(_) => {}
            }
        }
        Ok(())
    }

    /// What a mailbox used, newest day first, at most `days` (up to [`USAGE_DAYS_MAX`]) days that it was visited on.
    pub async fn usage_of(&self, mailbox: &MailboxId, days: u32) -> Result<Vec<DayUsage>> {
        let answer = self
            .query_range(keys::partition(mailbox), keys::USAGE.to_owned(), format!("{}~", keys::USAGE))
            .scan_index_forward(false)
            .limit(i32::try_from(days.clamp(1, USAGE_DAYS_MAX)).unwrap_or(1))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("read usage", &error))?;
        answer.items.unwrap_or_default().iter().map(day_from).collect()
    }

    /// What a mailbox has used of the day.
    pub async fn usage_today(&self, mailbox: &MailboxId, now: Timestamp) -> Result<DayUsage> {
        let date = pacific_day(now).to_string();
        let item = self.get("read usage", &keys::usage(mailbox, &date)).await?;
        Ok(item.as_ref().map(day_from).transpose()?.unwrap_or(DayUsage { date, ..DayUsage::default() }))
    }

    /// What everybody has used of the day.
    pub async fn project_usage_today(&self, now: Timestamp) -> Result<DayUsage> {
        let date = pacific_day(now).to_string();
        let keys = (0..SHARDS).map(|shard| keys::project_usage(&date, shard)).collect();
        let items = self.batch_get("read usage", keys, None).await?;
        let mut whole = DayUsage { date, ..DayUsage::default() };
        for item in &items {
            whole.add(&day_from(item)?);
        }
        Ok(whole)
    }
}

fn addition(visit: &VisitUsage, kept_until: Timestamp) -> Change {
    let mut counts: Vec<(String, i64)> = vec![
        ("visits".to_owned(), 1),
        ("mb_ms".to_owned(), whole(visit.megabyte_milliseconds)),
        ("read_hundredths".to_owned(), hundredths(visit.spent.read_units)),
        ("write_hundredths".to_owned(), hundredths(visit.spent.write_units)),
        ("s3_reads".to_owned(), whole(visit.spent.s3_reads)),
        ("s3_writes".to_owned(), whole(visit.spent.s3_writes)),
        ("sqs".to_owned(), whole(visit.sqs_requests)),
    ];
    for (method, (calls, units)) in &visit.gmail {
        counts.push((format!("{CALLS}{}", method.name()), whole(*calls)));
        counts.push((format!("{UNITS}{}", method.name()), whole(*units)));
    }
    counts.retain(|(_, count)| *count != 0);
    let counts = counts.iter().map(|(name, count)| (name.as_str(), *count));
    Change::default().set("v", number(SCHEMA_VERSION)).set("ttl", ttl(kept_until)).add_each(counts)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "the units of one visit are few")]
fn hundredths(units: f64) -> i64 {
    (units * 100.0).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "sums for people")]
fn day_from(item: &Item) -> Result<DayUsage> {
    let fields = Fields::new("usage", item);
    let count = |name: &str| Ok::<u64, StoreError>(fields.optional_number(name)?.unwrap_or(0));
    let of_methods = |prefix: &str| -> Result<BTreeMap<String, u64>> {
        let named = item.keys().filter_map(|name| Some((name, name.strip_prefix(prefix)?)));
        named.map(|(name, method)| Ok((method.to_owned(), count(name)?))).collect()
    };
    let date = fields.text("sk")?;
    let date = date.strip_prefix(keys::USAGE).unwrap_or(date);
    let gmail_units = of_methods(UNITS)?;
    Ok(DayUsage {
        // A shard's key ends in its number.
        date: date.get(..10).unwrap_or(date).to_owned(),
        visits: count("visits")?,
        quota_units: gmail_units.values().sum(),
        gmail_calls: of_methods(CALLS)?,
        gmail_units,
        lambda_gb_seconds: count("mb_ms")? as f64 / 1_024.0 / 1_000.0,
        dynamodb_read_units: count("read_hundredths")? as f64 / 100.0,
        dynamodb_write_units: count("write_hundredths")? as f64 / 100.0,
        sqs_requests: count("sqs")?,
        s3_reads: count("s3_reads")?,
        s3_writes: count("s3_writes")?,
    })
}
