//! What a get's answer means for the replica.

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    ids::{HistoryId, MessageId, ThreadId},
    message::{Labels, Message, RowHead, RowState, Touched},
    owed::{Owed, OwedReason},
    state::Scope,
    sync::{
        commit::{OwedWrite, RowWrite},
        effect::Fetched,
        guards::Guard,
        settings::Settings,
        threads::Listed,
        writes::Told,
    },
};

/// Why a message is being fetched, and everything that records said of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub id: MessageId,
    /// Known when a listing brought it.
    pub thread: Option<ThreadId>,
    /// Highest record id seen for it; `None` when a listing brought it.
    pub at_least: Option<HistoryId>,
    pub label_changes: Vec<(HistoryId, String, bool)>,
    /// Whoever stores it announces it.
    pub announce: bool,
    /// The debt it has been so far.
    pub owed: Option<Owed>,
}

/// What to do with the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Settled {
    /// Write this.
    Write(Option<RowWrite>, Option<OwedWrite>, Told),
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
    /// What is not above it is old mail.
    pub first_cursor: HistoryId,
    pub epoch: u32,
    pub scope: Scope,
    /// Records come from an earlier mark: some of them may be at or below what the rows hold.
    pub replays: bool,
    /// The lowest baseline of the comparisons that are open.
    pub compared_from: Option<HistoryId>,
    pub settings: Settings,
}

impl Context {
    /// The labels of a message that is outside the scope, by its row and a get. A get can show older ones under
    /// its newest id, and no record brings back what the row holds already.
    fn labels_outside(&self, row: &RowHead, shown: &Labels) -> Labels {
        match self.compared_from {
            // Whatever the row missed before the baseline, a get shows.
            Some(baseline) => keep_touched(shown.clone(), row, baseline),
            None if Some(row.history_id) >= self.gap => row.labels.clone(),
            None => shown.clone(),
        }
    }

    /// What a row remembers of its label changes: nothing, unless a comparison is open.
    pub fn touched<'a>(
        &self,
        before: &Touched,
        changes: impl IntoIterator<Item = &'a (HistoryId, String, bool)>,
    ) -> Touched {
        let Some(baseline) = self.compared_from else { return Touched::new() };
        let mut touched = before.clone();
        touched.extend(changes.into_iter().map(|(record, label, _)| (label.clone(), *record)));
        touched.retain(|_, record| *record > baseline);
        touched
    }
}

/// How old a state a get may show: what is in doubt is asked for only when every answer is younger than the doubt.
pub(super) const STALE_MAX: SignedDuration = SignedDuration::from_mins(3);
/// How long to wait for a message that shows an older state than its records: the index catches up in seconds.
const STALE_RETRY: SignedDuration = SignedDuration::from_secs(5);

pub(super) fn settle(wanted: &Wanted, row: Option<&RowHead>, fetched: Fetched, context: &Context) -> Settled {
    match fetched {
        Fetched::Message(message) => settle_message(wanted, row, message, context),
        Fetched::NotFound => settle_missing(wanted, row, context),
        Fetched::Failed(failure) => match failure.disposition {
            Disposition::Retry(after) | Disposition::Wait(after) => Settled::Later(after),
            Disposition::NeedsReauth | Disposition::NeedsAttention => Settled::Park(failure),
            Disposition::Debt | Disposition::Defect if !context.settings.keeps(Guard::OweFailures) => {
                Settled::Write(None, Some(OwedWrite::Clear(wanted.id)), Told::Updated)
            }
            Disposition::Debt | Disposition::Defect => {
                let tries = wanted.next_try();
                let reason = OwedReason::Failed { error: failure.message };
                let due_at = context.settings.debts.delay(tries).map(|delay| context.now + delay);
                owe(wanted.owed(reason, tries, due_at, context))
            }
        },
    }
}

fn owe(owed: Owed) -> Settled {
    Settled::Write(None, Some(OwedWrite::Put(owed)), Told::Updated)
}

fn settle_message(
    wanted: &Wanted,
    row: Option<&RowHead>,
    mut message: Box<Message>,
    context: &Context,
) -> Settled {
    let (id, clear) = (wanted.id, Some(OwedWrite::Clear(wanted.id)));
    let careful = context.settings.keeps(Guard::FreshEnoughGet);
    // A get below its own records shows a state that those records have already changed.
    if careful && wanted.at_least.is_some_and(|at_least| message.history_id < at_least) {
        let tries = wanted.next_try();
        return owe(wanted.owed(OwedReason::NotVisibleYet, tries, Some(context.now + STALE_RETRY), context));
    }
    // No answer is older than what has been owed for so long: it shows all that came before, whatever the row says.
    let decides = wanted.owed.as_ref().is_some_and(|owed| context.now >= owed.since + STALE_MAX);
    if careful && !decides && row.is_some_and(|row| message.history_id < row.history_id) {
        return Settled::Write(None, clear, Told::Updated);
    }
    // What was seen before a gap may have been undone in it, unseen; the get is younger than the gap.
    let seen_whole: Vec<_> = wanted
        .label_changes
        .iter()
        .filter(|(record, ..)| careful && Some(*record) > context.gap)
        .cloned()
        .collect();
    if let Some(row) = row.filter(|row| row.state == RowState::OutOfScope && !decides) {
        message.labels = context.labels_outside(row, &message.labels);
    }
    replay(&mut message.labels, &seen_whole);
    let is_news = wanted.announce || message.history_id > context.first_cursor;
    // A get can show a new id with old labels: claiming the new id would skip the records in between.
    message.history_id = message.history_id.min(wanted.at_least.unwrap_or(context.cursor));
    if let Some(row) = row {
        message.history_id = message.history_id.max(row.history_id);
    }
    let was_told = row.is_some_and(|row| row.announced);
    let nothing = Touched::new();
    let touched = context.touched(row.map_or(&nothing, |row| &row.touched), &seen_whole);
    let stored = row.filter(|row| row.is_live());
    if !context.scope.holds(&message.labels) {
        // A record that finds its message outside says so, so that its next record is no surprise.
        let says = row.is_some() || wanted.at_least.is_some();
        let tombstone = RowWrite::Tombstone {
            id,
            state: RowState::OutOfScope,
            history_id: message.history_id,
            labels: Some(message.labels),
            touched,
        };
        return Settled::Write(Some(tombstone).filter(|_| says), clear, Told::Updated);
    }
    let changed = stored.is_some_and(|row| row.labels != message.labels);
    // Whoever was told that it is gone is told that it is back.
    let returns = row.is_some_and(|row| !row.is_live());
    let announced = was_told || is_news || changed || returns;
    let told = if is_news { Told::Created } else { Told::Updated };
    Settled::Write(Some(RowWrite::Put { message, announced, touched }), clear, told)
}

fn settle_missing(wanted: &Wanted, row: Option<&RowHead>, context: &Context) -> Settled {
    let first_missed = wanted.owed.as_ref().and_then(|owed| owed.missing_since);
    let stored = row.filter(|row| row.is_live());
    let patient = context.settings.keeps(Guard::PatienceWithMissing);
    let grace = if patient { context.settings.visibility_grace } else { SignedDuration::ZERO };
    let first_missed = first_missed.or((!patient).then_some(context.now));
    if let Some(since) = first_missed
        && context.now >= since + grace
    {
        // The tombstone keeps the row's own id, so that a later get can revive it.
        let tombstone = stored.map(|row| RowWrite::Tombstone {
            id: wanted.id,
            state: RowState::Deleted,
            history_id: row.history_id,
            labels: None,
            touched: Touched::new(),
        });
        return Settled::Write(tombstone, Some(OwedWrite::Clear(wanted.id)), Told::Updated);
    }
    let since = first_missed.unwrap_or(context.now);
    let tries = wanted.next_try();
    let due_at = (context.now + visibility_retry(tries)).min(since + grace).max(context.now + STALE_RETRY);
    let reason = if stored.is_some() { OwedReason::Vanished } else { OwedReason::NotVisibleYet };
    let owed = Owed { missing_since: Some(since), ..wanted.owed(reason, tries, Some(due_at), context) };
    owe(owed)
}

/// A message that a push announced is usually visible within seconds: 5 s, 15 s, 45 s, then every two minutes.
fn visibility_retry(tries: u32) -> SignedDuration {
    let seconds = 5_i64.saturating_mul(3_i64.saturating_pow(tries.saturating_sub(1).min(8)));
    SignedDuration::from_secs(seconds.min(120))
}

/// Labels from elsewhere, but for those that a delta has changed since the baseline.
pub(super) fn keep_touched(mut labels: Labels, row: &RowHead, baseline: HistoryId) -> Labels {
    for (label, _) in row.touched.iter().filter(|(_, record)| **record > baseline) {
        if row.labels.contains(label) {
            labels.insert(label.clone());
        } else {
            labels.remove(label);
        }
    }
    labels
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
    pub fn listed(message: Listed) -> Self {
        let (id, thread) = (message.id, message.thread());
        Self { id, thread, at_least: None, label_changes: Vec::new(), announce: false, owed: None }
    }

    /// The message, for a fetch.
    pub fn message(&self) -> Listed {
        self.thread.map_or(Listed::alone(self.id), |thread| Listed::new(self.id, thread))
    }

    /// A message that is owed.
    pub fn from_owed(owed: Owed) -> Self {
        let at_least = Some(owed.at_least).filter(|id| id.0 > 0);
        let (label_changes, announce) = (owed.label_changes.clone(), owed.announce);
        Self { id: owed.id, thread: None, at_least, label_changes, announce, owed: Some(owed) }
    }

    /// The number of the try that just failed.
    fn next_try(&self) -> u32 {
        self.owed.as_ref().map_or(0, |owed| owed.tries).saturating_add(1)
    }

    /// The debt it becomes, keeping everything that was seen of it.
    pub fn owed(&self, reason: OwedReason, tries: u32, due_at: Option<Timestamp>, context: &Context) -> Owed {
        let since = self.owed.as_ref().map_or(context.now, |owed| owed.since);
        Owed {
            id: self.id,
            reason,
            at_least: self.at_least.unwrap_or(HistoryId(0)),
            label_changes: self.label_changes.clone(),
            tries,
            since,
            missing_since: None,
            due_at,
            announce: self.announce,
            epoch: context.epoch,
        }
    }
}
