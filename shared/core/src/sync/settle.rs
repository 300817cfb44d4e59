//! What a get's answer means for the replica.

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    ids::{HistoryId, MessageId},
    message::{Labels, Message, RowHead},
    owed::{Owed, OwedReason, retry_delay},
    sync::{
        commit::{OwedWrite, RowWrite},
        effect::Fetched,
    },
};

/// Why a message is being fetched, and everything that records said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub id: MessageId,
    /// Highest record id seen for it; `None` when a listing brought it.
    pub at_least: Option<HistoryId>,
    pub label_changes: Vec<(HistoryId, String, bool)>,
    /// The debt it has been so far.
    pub owed: Option<Owed>,
}

/// What to do with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one message; a box would be one allocation for each"
)]
pub(super) enum Settled {
    /// Write this.
    Write(Option<RowWrite>, Option<OwedWrite>),
    /// Not now: the address is out of quota or Gmail is down. The caller decides how to remember it.
    Later(SignedDuration),
    /// The whole mailbox is concerned.
    Park(Failure),
}

/// What a decision may depend on.
pub(super) struct Context {
    pub now: Timestamp,
    pub cursor: HistoryId,
    /// The baseline of the last expiry.
    pub gap: Option<HistoryId>,
    /// How long a 404 may mean "not visible yet".
    pub grace: SignedDuration,
}

/// How long to wait for a message that shows an older state than its records: the index catches up in seconds.
const STALE_RETRY: SignedDuration = SignedDuration::from_secs(5);

pub(super) fn settle(wanted: &Wanted, row: Option<&RowHead>, fetched: Fetched, context: &Context) -> Settled {
    match fetched {
        Fetched::Message(message) => settle_message(wanted, row, *message, context),
        Fetched::NotFound => settle_missing(wanted, row, context),
        Fetched::Failed(failure) => match failure.disposition {
            Disposition::Retry(after) => Settled::Later(after),
            Disposition::NeedsReauth | Disposition::NeedsAttention => Settled::Park(failure),
            Disposition::Debt | Disposition::Defect => {
                let tries = wanted.next_try();
                let reason = OwedReason::Failed { error: failure.message };
                let due_at = context.now + retry_delay(tries);
                Settled::Write(None, Some(OwedWrite::Put(wanted.owed(reason, tries, due_at, context.now))))
            }
        },
    }
}

fn settle_message(
    wanted: &Wanted,
    row: Option<&RowHead>,
    mut message: Message,
    context: &Context,
) -> Settled {
    // A get below its own records shows a state that those records have already changed.
    if wanted.at_least.is_some_and(|at_least| message.history_id < at_least) {
        let tries = wanted.next_try();
        let owed = wanted.owed(OwedReason::NotVisibleYet, tries, context.now + STALE_RETRY, context.now);
        return Settled::Write(None, Some(OwedWrite::Put(owed)));
    }
    if row.is_some_and(|row| message.history_id < row.history_id) {
        return Settled::Write(None, Some(OwedWrite::Clear(wanted.id)));
    }
    // What was seen before a gap may have been undone in it, unseen; the get is younger than the gap.
    let seen_whole = wanted.label_changes.iter().filter(|(record, ..)| Some(*record) > context.gap);
    replay(&mut message.labels, seen_whole);
    // A get can show a new id with old labels: claiming the new id would skip the records in between.
    message.history_id = message.history_id.min(wanted.at_least.unwrap_or(context.cursor));
    Settled::Write(Some(RowWrite::Put(message)), Some(OwedWrite::Clear(wanted.id)))
}

fn settle_missing(wanted: &Wanted, row: Option<&RowHead>, context: &Context) -> Settled {
    let first_missed = wanted.owed.as_ref().and_then(|owed| owed.missing_since);
    let stored = row.filter(|row| !row.deleted);
    if let Some(since) = first_missed
        && context.now >= since + context.grace
    {
        // The tombstone keeps the row's own id, so that a later get can revive it.
        let tombstone = stored.map(|row| RowWrite::Tombstone { id: wanted.id, history_id: row.history_id });
        return Settled::Write(tombstone, Some(OwedWrite::Clear(wanted.id)));
    }
    let since = first_missed.unwrap_or(context.now);
    let tries = wanted.next_try();
    let due_at =
        (context.now + visibility_retry(tries)).min(since + context.grace).max(context.now + STALE_RETRY);
    let reason = if stored.is_some() { OwedReason::Vanished } else { OwedReason::NotVisibleYet };
    let owed = Owed { missing_since: Some(since), ..wanted.owed(reason, tries, due_at, context.now) };
    Settled::Write(None, Some(OwedWrite::Put(owed)))
}

/// A message that a push announced is usually visible within seconds: 5 s, 15 s, 45 s, then every two minutes.
fn visibility_retry(tries: u32) -> SignedDuration {
    let seconds = 5_i64.saturating_mul(3_i64.saturating_pow(tries.saturating_sub(1).min(8)));
    SignedDuration::from_secs(seconds.min(120))
}

/// Applies label changes in the order of their records.
pub(super) fn replay<'a>(
    labels: &mut Labels,
    changes: impl IntoIterator<Item = &'a (HistoryId, String, bool)>,
) {
    for (_, label, added) in changes {
        if *added {
            labels.insert(label.clone());
        } else {
            labels.remove(label);
        }
    }
}

impl Wanted {
    /// A message that a listing brought.
    pub fn listed(id: MessageId) -> Self {
        Self { id, at_least: None, label_changes: Vec::new(), owed: None }
    }

    /// A message that is owed.
    pub fn from_owed(owed: Owed) -> Self {
        let at_least = Some(owed.at_least).filter(|id| id.0 > 0);
        Self { id: owed.id, at_least, label_changes: owed.label_changes.clone(), owed: Some(owed) }
    }

    /// The number of the try that just failed.
    fn next_try(&self) -> u32 {
        self.owed.as_ref().map_or(0, |owed| owed.tries).saturating_add(1)
    }

    /// The debt it becomes, keeping everything that was seen of it.
    pub fn owed(&self, reason: OwedReason, tries: u32, due_at: Timestamp, now: Timestamp) -> Owed {
        // A message first merely waiting has not been missing since then.
        let since = self.owed.as_ref().filter(|owed| owed.reason.is_debt()).map_or(now, |owed| owed.since);
        Owed {
            id: self.id,
            reason,
            at_least: self.at_least.unwrap_or(HistoryId(0)),
            label_changes: self.label_changes.clone(),
            tries,
            since,
            missing_since: None,
            due_at,
        }
    }
}
