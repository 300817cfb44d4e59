//! What has happened in a mailbox, in one sequence that readers see without holes.
//!
//! An event takes its number from `SYNC.seq` in the transaction that makes it true, so two writers never share
//! one. A query sees a transaction's items one after the other: whoever delivered what it finds would skip
//! an event that becomes visible a moment later. So only the contiguous prefix is delivered. DynamoDB's TTL deletes
//! late and in any order; what has lapsed counts as gone, so retention takes from the oldest only.

use aws_sdk_dynamodb::types::TransactWriteItem;
use serde_json::Value;
use sync_core::{
    MailboxId, SignedDuration, Timestamp,
    sync::{Commit, Event, Happened},
};

use crate::{
    EventRow, Events, Store, StoreError,
    error::contention_delay,
    item::{Change, Fields, Item, SCHEMA_VERSION, number, text, time, ttl},
    keys,
    lease::is_text,
    mailboxes::cancelled,
    table::{Transacted, new_token},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most events of one page.
const PAGE_MAX: u32 = 500;
/// How often the next number is tried for: others take theirs meanwhile.
const TRIES_MAX: u32 = 10;
/// How long a transaction may take to become visible item by item. A number that is missing for longer than
/// that was deleted.
const VISIBLE_WITHIN: SignedDuration = SignedDuration::from_mins(1);

impl Store {
    /// Announces something without the lease. Gives its number.
    ///
    /// Errors: no such mailbox; others took numbers for longer than we tried. After an error that may be
    /// retried it may have been announced all the same.
    pub async fn announce(&self, mailbox: &MailboxId, what: &Happened, now: Timestamp) -> Result<u64> {
        let token = new_token();
        for attempt in 0..TRIES_MAX {
            let item = self.get("announce", &keys::sync(mailbox)).await?;
            let item = item.ok_or(StoreError::NotFound { what: "mailbox" })?;
            let before: u64 = Fields::new("SYNC", &item).optional_number("seq")?.unwrap_or(0);
            let event = Event { seq: before + 1, what: what.clone() };
            let numbered = number_change(Change::default(), before, event.seq, now);
            let numbered = numbered.when("attribute_exists(#pk)");
            let mut row = self.event_item(&event, now)?;
            row.insert("token".to_owned(), text(&token));
            let items = vec![
                self.transact_update(&keys::sync(mailbox), &numbered)?,
                self.transact_put(&keys::event(mailbox, event.seq), row, &Change::default())?,
            ];
            match self.transact("announce", items).await {
                Ok(Transacted::Done) => return Ok(event.seq),
                // Somebody took the number, or an answer of ours was lost and it is ours.
                Ok(transacted) if transacted.refused_at(0) => {
                    if self.is_event_of(mailbox, event.seq, &token).await? {
                        return Ok(event.seq);
                    }
                }
                Ok(Transacted::Cancelled(reasons)) => return Err(cancelled("announce", &reasons)),
                Err(error) if error.is_retryable() => {
                    if self.is_event_of(mailbox, event.seq, &token).await? {
                        return Ok(event.seq);
                    }
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(contention_delay(attempt)).await;
        }
        Err(StoreError::Busy { operation: "announce" })
    }

    async fn is_event_of(&self, mailbox: &MailboxId, seq: u64, token: &str) -> Result<bool> {
        let item = self.get("announce", &keys::event(mailbox, seq)).await?;
        Ok(item.is_some_and(|item| is_text(&item, "token", token)))
    }

    /// Events after that number, at most `limit` (1 to 500), in order and without a hole.
    ///
    /// Errors: [`StoreError::EventsGone`] when the next one is kept no more, [`StoreError::Cursor`] when there
    /// never was one of that number, no such mailbox.
    pub async fn read_events(
        &self,
        mailbox: &MailboxId,
        after: u64,
        limit: u32,
        now: Timestamp,
    ) -> Result<Events> {
        let first = after.checked_add(1).ok_or(StoreError::Cursor)?;
        let answer = self
            .query_range(keys::partition(mailbox), keys::event_sk(first), keys::event_sk(u64::MAX))
            .limit(i32::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("read events", &error))?;
        let mut events = Vec::new();
        let mut beyond_hole = None;
        for item in answer.items.unwrap_or_default() {
            let event = event_from(mailbox, &item)?;
            if event.seq != after + 1 + events.len() as u64 || has_lapsed(&item, now)? {
                beyond_hole = Some(event.at);
                break;
            }
            events.push(event);
        }
        // Read after the events: it counts every one of them.
        let item = self.get("read events", &keys::sync(mailbox)).await?;
        let item = item.ok_or(StoreError::NotFound { what: "mailbox" })?;
        let fields = Fields::new("SYNC", &item);
        let seq: u64 = fields.optional_number("seq")?.unwrap_or(0);
        if seq < after {
            return Err(StoreError::Cursor);
        }
        if events.is_empty() && seq > after {
            // The missing one is not younger than whatever came after it.
            let written_by = beyond_hole.or(fields.optional_time("seq_at")?);
            let is_gone = written_by.is_none_or(|at| at + VISIBLE_WITHIN < now);
            if is_gone {
                let kept_from = self.kept_from(mailbox, first, seq, now).await?;
                return Err(StoreError::EventsGone { kept_from });
            }
        }
        Ok(Events { events, seq })
    }

    /// The oldest event at or after `first` that has not lapsed, else the next one to come.
    async fn kept_from(&self, mailbox: &MailboxId, first: u64, seq: u64, now: Timestamp) -> Result<u64> {
        let mut start = None;
        loop {
            let answer = self
                .query_range(keys::partition(mailbox), keys::event_sk(first), keys::event_sk(u64::MAX))
                .projection_expression("sk")
                .filter_expression("#ttl > :now")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":now", ttl(now))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| StoreError::from_sdk("read events", &error))?;
            if let Some(item) = answer.items.unwrap_or_default().first() {
                return seq_from(Fields::new("event", item));
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(seq.saturating_add(1));
            }
        }
    }

    /// The items of a commit's events. Errors: their numbers do not follow on `commit.seq`.
    pub(crate) fn event_puts(&self, commit: &Commit) -> Result<Vec<(TransactWriteItem, usize)>> {
        let puts = commit.events.iter().enumerate().map(|(index, event)| {
            if event.seq != commit.seq + 1 + index as u64 {
                return Err(StoreError::corrupt("event", "its number does not follow"));
            }
            let item = self.event_item(event, commit.now)?;
            let bytes = item.iter().map(|(name, value)| name.len() + crate::item::bytes_of(value)).sum();
            let key = keys::event(&commit.mailbox, event.seq);
            Ok((self.transact_put(&key, item, &Change::default())?, bytes))
        });
        puts.collect()
    }

    fn event_item(&self, event: &Event, at: Timestamp) -> Result<Item> {
        let wrong = |_| StoreError::corrupt("event", "it cannot be written");
        let json = serde_json::to_value(event).map_err(wrong)?;
        let kind = json.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Item::from([
            ("v".to_owned(), number(SCHEMA_VERSION)),
            ("type".to_owned(), text(kind)),
            ("at".to_owned(), time(at)),
            ("event".to_owned(), text(json.to_string())),
            ("ttl".to_owned(), ttl(at + self.retention.events)),
        ]))
    }
}

/// Moves the sequence on from `before`, if it is still there.
pub(crate) fn number_change(change: Change, before: u64, last: u64, now: Timestamp) -> Change {
    let change = change.set("seq", number(last)).set("seq_at", time(now));
    // A mailbox of an earlier version has no sequence yet.
    let condition =
        if before == 0 { "attribute_not_exists(#seq) OR #seq = :seq_before" } else { "#seq = :seq_before" };
    change.when(condition).value(":seq_before", number(before))
}

fn has_lapsed(item: &Item, now: Timestamp) -> Result<bool> {
    let lapses: Option<i64> = Fields::new("event", item).optional_number("ttl")?;
    Ok(lapses.is_some_and(|lapses| lapses <= now.as_second()))
}

fn seq_from(fields: Fields<'_>) -> Result<u64> {
    let seq = fields.text("sk")?.strip_prefix(keys::EVENT).and_then(|seq| seq.parse().ok());
    seq.ok_or_else(|| StoreError::corrupt("event", "attribute sk"))
}

fn event_from(mailbox: &MailboxId, item: &Item) -> Result<EventRow> {
    let fields = Fields::new("event", item);
    let event: Event = serde_json::from_str(fields.text("event")?)
        .map_err(|_| StoreError::corrupt("event", "attribute event"))?;
    Ok(EventRow {
        mailbox: mailbox.clone(),
        seq: seq_from(fields)?,
        at: fields.time("at")?,
        what: event.what,
    })
}
