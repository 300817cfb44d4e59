//! `GET /metrics`: how the caller's mailboxes do, in Prometheus' text format.
//!
//! Gauges only, read from the table as it is now: what functions count goes to CloudWatch, because no function lives
//! long enough to be scraped. Deliberately absent: one series a mailbox.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use sync_core::{
    state::{Status, Sync},
    sync::Settings,
};

use super::{
    ApiState,
    auth::{Caller, ToRead},
    problem::Problem,
    query::Query,
};

/// Mailboxes of one read, and the most that are added up: ten thousand.
const PAGE: u32 = 500;
const PAGES_MAX: usize = 20;

/// Sums over mailboxes.
#[derive(Debug, Default)]
struct Sums {
    by_status: BTreeMap<&'static str, u64>,
    healthy: u64,
    messages: i64,
    deleted: i64,
    debts: i64,
    waiting: i64,
    watches_lapsed: u64,
    staleness_seconds: i64,
}

impl Sums {
    fn add(&mut self, sync: &Sync, settings: &Settings, now: Timestamp) {
        *self.by_status.entry(sync.status.name()).or_default() += 1;
        self.healthy += u64::from(sync.is_healthy(settings.interval_of(sync, now), now));
        self.messages += sync.totals.messages;
        self.deleted += sync.totals.deleted;
        self.debts += sync.totals.debts;
        self.waiting += sync.totals.waiting;
        if sync.status == Status::Active {
            self.watches_lapsed += u64::from(sync.watch_expires_at.is_some_and(|at| at <= now));
            let age = sync.progress.last_sync_at.map_or(0, |at| now.duration_since(at).as_secs());
            self.staleness_seconds = self.staleness_seconds.max(age);
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, values: &[(String, i64)]| {
            let _ = writeln!(text, "# HELP gmail_sync_{name} {help}\n# TYPE gmail_sync_{name} gauge");
            for (labels, value) in values {
                let _ = writeln!(text, "gmail_sync_{name}{labels} {value}");
            }
        };
        let one = |value: i64| [(String::new(), value)];
        let count = |value: u64| one(i64::try_from(value).unwrap_or(i64::MAX));
        let by_status: Vec<(String, i64)> = self
            .by_status
            .iter()
            .map(|(status, count)| {
                (format!("{{status=\"{status}\"}}"), i64::try_from(*count).unwrap_or(i64::MAX))
            })
            .collect();
        gauge("mailboxes", "Mailboxes by status.", &by_status);
        gauge("mailboxes_healthy", "Mailboxes that are whole and current.", &count(self.healthy));
        gauge("messages", "Messages stored.", &one(self.messages));
        gauge("tombstones", "Deletions remembered.", &one(self.deleted));
        gauge("debts", "Messages owed with a reason.", &one(self.debts));
        gauge("waiting", "Messages that wait to be fetched.", &one(self.waiting));
        gauge("watches_lapsed", "Watches of active mailboxes that have lapsed.", &count(self.watches_lapsed));
        gauge(
            "staleness_seconds",
            "Age of the oldest copy of an active mailbox.",
            &one(self.staleness_seconds),
        );
        text
    }
}

/// `GET /metrics`
pub async fn metrics(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    query: Query,
) -> Result<Response, Problem> {
    query.finish()?;
    let settings = state.settings_of(&caller.tenant).await?;
    let now = Timestamp::now();
    let mut sums = Sums::default();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = state.store.mailboxes_of_tenant(&caller.tenant, PAGE, cursor.as_deref()).await?;
        for sync in &page.items {
            sums.add(sync, &settings, now);
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], sums.text()).into_response())
}
