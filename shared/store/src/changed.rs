//! Mailboxes that changed since their counters were last compared with Gmail's: a mark on `LABELS`, in the index `due`.
//!
//! A commit that changes rows sets the mark where there is none, in the item whose counters it adds to; the commit of a
//! probe takes it off. So a mailbox that rests is in no index, and who looks for the others reads nothing of it. The
//! mark says when the mailbox was last probed, or when somebody last set out to.

use sync_core::{MailboxId, Timestamp, sync::Commit};

use crate::{
    Store, StoreError,
    item::{Change, Item, time},
    keys,
    mailboxes::mailbox_of_partition,
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Mailboxes of one of the shards `0..DUE_SHARDS` that changed since they were last probed, if that is as long ago
    /// as `before`; longest ago first. Read from an index, so it may be a moment old.
    pub async fn changed(&self, before: Timestamp, shard: u8, limit: u16) -> Result<Vec<MailboxId>> {
        let answer = self
            .due_query(&keys::probe_shard_name(shard), before)
            .limit(i32::from(limit))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("changed", &error))?;
        answer.items.unwrap_or_default().iter().map(mailbox_of_partition).collect()
    }

    /// Whether the mailbox is still to be probed: it changed, and nobody has set out to since `before`. Then the
    /// next may set out as long after `now`.
    pub async fn claim_probe(&self, mailbox: &MailboxId, before: Timestamp, now: Timestamp) -> Result<bool> {
        let change = Change::default()
            .set("due_at", time(now))
            .when("#due_at <= :before")
            .value(":before", time(before));
        match self.update("claim probe", &keys::labels(mailbox), change).await? {
            Updated::Done(_) => Ok(true),
            Updated::Refused(_) => Ok(false),
        }
    }

    /// Takes the mark off a mailbox that is not to be probed. Its next change sets it again.
    pub async fn forget_change(&self, mailbox: &MailboxId) -> Result<()> {
        let change = compared(Change::default()).when("attribute_exists(#pk)");
        self.update("forget change", &keys::labels(mailbox), change).await.map(|_| ())
    }
}

/// Marks the mailbox of this commit. A mark that is there stays: it may say that somebody has set out.
pub(crate) fn marked(change: Change, commit: &Commit) -> Change {
    change
        .set_if_absent("due_at", time(since(commit.progress.probe.at)))
        .set("due_shard", keys::probe_shard(&commit.mailbox))
}

/// Takes the mark off.
pub(crate) fn compared(change: Change) -> Change {
    change.remove("due_at").remove("due_shard")
}

/// The same mark where the whole item is written; `found` is what is there.
pub(crate) fn mark(item: &mut Item, found: Option<&Item>, mailbox: &MailboxId, probed_at: Option<Timestamp>) {
    let due_at = found.and_then(|found| found.get("due_at")).cloned();
    item.insert("due_at".to_owned(), due_at.unwrap_or_else(|| time(since(probed_at))));
    item.insert("due_shard".to_owned(), keys::probe_shard(mailbox));
}

/// A mailbox that was never probed comes first.
fn since(probed_at: Option<Timestamp>) -> Timestamp {
    probed_at.unwrap_or(Timestamp::UNIX_EPOCH)
}
