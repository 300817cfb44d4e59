//! How many live rows wear each label: one item a mailbox, added to in the commits' own transactions.
//!
//! The item is *whole* when it has counted from the mailbox's beginning, or was counted anew from the rows. One
//! that is not whole belongs to a mailbox of an earlier version, and says nothing.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use sync_core::{MailboxId, sync::Commit};

use crate::{
    Store, StoreError, changed,
    item::{Change, Fields, Item, SCHEMA_VERSION, number},
    keys,
    mailboxes::cancelled,
    table::Transacted,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Before a label's id in an attribute's name, so that no label is taken for a key.
const PREFIX: &str = "label:";
/// Most labels that one expression adds to: DynamoDB takes 4 KB and 300 operators.
const ADDS_MAX: usize = 200;
/// Rows of one read while counting anew.
const COUNT_PAGE: u32 = 2_000;

impl Store {
    /// Live rows by label id, read consistently; a label that nobody wears may be absent. `None` when they
    /// were not counted yet: see [`Store::count_labels`].
    pub async fn read_label_counts(&self, mailbox: &MailboxId) -> Result<Option<BTreeMap<String, i64>>> {
        let item = self.get("read label counts", &keys::labels(mailbox)).await?;
        item.filter(is_whole).map(|item| counts_from(&item)).transpose()
    }

    /// Counts the live rows by label anew, and writes that down: once for a mailbox of an earlier version,
    /// by the holder of its lease. Reads every row.
    ///
    /// Errors: no such mailbox; busy, when a commit came in between.
    pub async fn count_labels(&self, mailbox: &MailboxId) -> Result<BTreeMap<String, i64>> {
        let sync = self.read_sync(mailbox).await?.ok_or(StoreError::NotFound { what: "mailbox" })?;
        let mut counts = BTreeMap::new();
        let mut after = None;
        loop {
            let (rows, more) = self.scan_rows(mailbox, after, COUNT_PAGE).await?;
            after = rows.last().map(|(id, _)| *id).or(after);
            for label in rows.into_iter().filter(|(_, head)| head.is_live()).flat_map(|(_, head)| head.labels)
            {
                *counts.entry(label).or_insert(0) += 1;
            }
            if !more {
                break;
            }
        }
        let mut counted = item_of(&counts, sync.commit, true);
        changed::mark(&mut counted, None, mailbox, sync.progress.probe.at);
        let unchanged = Change::default().when("#commit = :seen").value(":seen", number(sync.commit));
        let items = vec![
            self.transact_check(&keys::sync(mailbox), &unchanged)?,
            self.transact_put(&keys::labels(mailbox), counted, &Change::default())?,
        ];
        let transacted = self.transact("count labels", items).await?;
        match &transacted {
            Transacted::Done => Ok(counts),
            Transacted::Cancelled(_) if transacted.refused_at(0) => {
                Err(StoreError::Busy { operation: "count labels" })
            }
            Transacted::Cancelled(reasons) => Err(cancelled("count labels", reasons)),
        }
    }

    /// What a commit does to the counters and their mark, and how many bytes that sends; nothing when it does nothing.
    pub(crate) async fn label_write(&self, commit: &Commit) -> Result<Option<(TransactWriteItem, usize)>> {
        let key = keys::labels(&commit.mailbox);
        if commit.ends_a_probe() {
            let change = changed::compared(Change::default());
            return Ok(Some((self.transact_update(&key, &change)?, change.bytes())));
        }
        if commit.labels.is_empty() && commit.rows.is_empty() {
            return Ok(None);
        }
        if commit.labels.len() <= ADDS_MAX {
            let names: Vec<(String, i64)> =
                commit.labels.iter().map(|(label, count)| (format!("{PREFIX}{label}"), *count)).collect();
            let change = Change::default()
                .set("v", number(SCHEMA_VERSION))
                .set("as_of", number(commit.after + 1))
                .add_each(names.iter().map(|(name, count)| (name.as_str(), *count)));
            let change = changed::marked(change, commit);
            return Ok(Some((self.transact_update(&key, &change)?, change.bytes())));
        }
        // More than an expression holds: the whole item anew, if nobody has written it since.
        let found = self.get("commit", &key).await?;
        let mut counts = found.as_ref().map(counts_from).transpose()?.unwrap_or_default();
        for (label, count) in &commit.labels {
            *counts.entry(label.clone()).or_insert(0) += count;
        }
        let seen = match &found {
            None => None,
            Some(item) => Fields::new("LABELS", item).optional_number::<u64>("as_of")?,
        };
        let guard = match seen {
            None => Change::default().when("attribute_not_exists(#as_of)"),
            Some(seen) => Change::default().when("#as_of = :seen").value(":seen", number(seen)),
        };
        let mut item = item_of(&counts, commit.after + 1, found.as_ref().is_some_and(is_whole));
        changed::mark(&mut item, found.as_ref(), &commit.mailbox, commit.progress.probe.at);
        let bytes = item.keys().map(|name| name.len() + 8).sum();
        Ok(Some((self.transact_put(&key, item, &guard)?, bytes)))
    }
}

/// The counters of a mailbox that begins: nobody wears anything.
pub(crate) fn none_yet() -> Item {
    item_of(&BTreeMap::new(), 0, true)
}

fn is_whole(item: &Item) -> bool {
    item.get("whole").and_then(|whole| whole.as_bool().ok()).copied().unwrap_or(false)
}

fn item_of(counts: &BTreeMap<String, i64>, as_of: u64, whole: bool) -> Item {
    let mut item =
        Item::from([("v".to_owned(), number(SCHEMA_VERSION)), ("as_of".to_owned(), number(as_of))]);
    if whole {
        item.insert("whole".to_owned(), AttributeValue::Bool(true));
    }
    // A label that nobody wears any more may be deleted: its counter must not stay for ever.
    let worn = counts.iter().filter(|(_, count)| **count != 0);
    item.extend(worn.map(|(label, count)| (format!("{PREFIX}{label}"), number(count))));
    item
}

fn counts_from(item: &Item) -> Result<BTreeMap<String, i64>> {
    let fields = Fields::new("LABELS", item);
    let labels = item.keys().filter_map(|name| Some((name, name.strip_prefix(PREFIX)?)));
    let counts = labels.map(|(name, label)| Ok((label.to_owned(), fields.number(name)?)));
    counts.filter(|entry| !matches!(entry, Ok((_, 0)))).collect()
}
