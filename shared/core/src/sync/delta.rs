//! A page of history, folded into one change per message.

use std::collections::BTreeMap;

use crate::{
    ids::{HistoryId, MessageId},
    message::{RowHead, RowState, Touched},
    owed::{Owed, OwedReason},
    sync::{
        commit::{OwedWrite, RowWrite},
        effect::{HistoryRecord, RecordChange},
        guards::Guard,
        settle::{Context, STALE_MAX, Wanted, replay},
        threads::Listed,
        writes::{Change, Known, Told},
    },
};

/// Everything one page says of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Folded {
    pub id: MessageId,
    /// It appeared in `messagesAdded`.
    pub added: bool,
    /// It was purged by this record.
    pub deleted: Option<HistoryId>,
    /// Label changes in order: `(record, label, added)`.
    pub label_changes: Vec<(HistoryId, String, bool)>,
    /// Its last record.
    pub last: HistoryId,
}

/// Folds records in order. Newest messages last, as the records came.
pub(super) fn fold(records: &[HistoryRecord]) -> Vec<Folded> {
    let mut order: Vec<Folded> = Vec::new();
    let mut index: BTreeMap<MessageId, usize> = BTreeMap::new();
    for record in records {
        for (id, change) in &record.changes {
            let at = *index.entry(*id).or_insert_with(|| {
                order.push(Folded {
                    id: *id,
                    added: false,
                    deleted: None,
                    label_changes: Vec::new(),
                    last: record.id,
                });
                order.len() - 1
            });
            let Some(folded) = order.get_mut(at) else { continue };
            folded.last = folded.last.max(record.id);
            let mut label = |labels: &[String], added| {
                folded.label_changes.extend(labels.iter().map(|label| (record.id, label.clone(), added)));
            };
            match change {
                RecordChange::Added => folded.added = true,
                RecordChange::Deleted => folded.deleted = Some(record.id),
                RecordChange::LabelsAdded(labels) => label(labels, true),
                RecordChange::LabelsRemoved(labels) => label(labels, false),
            }
        }
    }
    order
}

/// What a folded change asks for, given what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Decision {
    /// Nothing: the row is current.
    Nothing,
    /// A change that needs no get.
    Write(Change),
    /// A get. `urgent` is new mail; the rest may wait its turn.
    Fetch { wanted: Wanted, urgent: bool },
}

/// Decides about one message without fetching it.
pub(super) fn decide(folded: Folded, known: &Known, context: &Context) -> Decision {
    let id = folded.id;
    let row = known.rows.get(&id);
    if folded.deleted.is_some() {
        // Also of a message never stored: without the tombstone a get already under way would revive it.
        let tombstone = RowWrite::Tombstone {
            id,
            state: RowState::Deleted,
            history_id: folded.last.max(row.map_or(HistoryId(0), |row| row.history_id)),
            labels: None,
            touched: Touched::new(),
        };
        let bury = row.is_some() || context.settings.keeps(Guard::TombstoneOfUnknown);
        let clear = Some(OwedWrite::Clear(id));
        return Decision::Write(Change::new(
            id,
            Some(tombstone).filter(|_| bury),
            clear,
            known,
            Told::Updated,
        ));
    }
    match row {
        Some(row) if row.state == RowState::Live => decide_stored(&folded, row, known, context),
        Some(row) if row.state == RowState::Accepted => Decision::Nothing,
        // What is owed gathers every record until its get.
        Some(row) if row.state == RowState::OutOfScope && !known.owed.contains_key(&id) => {
            decide_outside(folded, row, known, context)
        }
        // A record above a tombstone: the message lives, the tombstone came from a listing that missed it.
        Some(row) if folded.last <= row.history_id => Decision::Nothing,
        Some(_) | None => decide_unknown(folded, known),
    }
}

/// Label changes that the row does not hold yet.
fn fresh(folded: &Folded, row: &RowHead, context: &Context) -> Vec<(HistoryId, String, bool)> {
    let skips = context.settings.keeps(Guard::SkipOldRecords);
    let is_new = |record: HistoryId| record > row.history_id || !skips;
    folded.label_changes.iter().filter(|(record, ..)| is_new(*record)).cloned().collect()
}

/// Label changes at or below the row's id that the row does not show: records that were invisible when later
/// ones were applied. Only a poll, which reads further back, meets them.
fn missed(folded: &Folded, row: &RowHead) -> bool {
    let last: BTreeMap<&String, (HistoryId, bool)> =
        folded.label_changes.iter().map(|(record, label, added)| (label, (*record, *added))).collect();
    let unseen = |(label, (record, added)): (&&String, &(HistoryId, bool))| {
        *record <= row.history_id && row.labels.contains(*label) != *added
    };
    last.iter().any(unseen)
}

fn decide_stored(folded: &Folded, row: &RowHead, known: &Known, context: &Context) -> Decision {
    let id = folded.id;
    let fresh = fresh(folded, row, context);
    let owed = decide_doubt(folded, row, &fresh, known, context);
    // Any record of a row that was stored silently is news of it.
    let announces = !row.announced && (folded.added || folded.last > row.history_id);
    if fresh.is_empty() && !announces {
        return match owed {
            Some(owed) => Decision::Write(Change::new(id, None, Some(owed), known, Told::Updated)),
            None => Decision::Nothing,
        };
    }
    let mut labels = row.labels.clone();
    replay(&mut labels, &fresh);
    let history_id = if context.settings.keeps(Guard::SkipOldRecords) {
        folded.last.max(row.history_id)
    } else {
        folded.last
    };
    let told = if folded.added { Told::Created } else { Told::Updated };
    let touched = context.touched(&row.touched, &fresh);
    let write = if context.scope.holds(&labels) {
        RowWrite::Labels { id, labels, history_id, announced: true, touched }
    } else {
        let state = RowState::OutOfScope;
        RowWrite::Tombstone { id, state, history_id, labels: Some(labels), touched }
    };
    Decision::Write(Change::new(id, Some(write), owed, known, told))
}

/// What becomes of the debt of a stored message, or begins one.
fn decide_doubt(
    folded: &Folded,
    row: &RowHead,
    fresh: &[(HistoryId, String, bool)],
    known: &Known,
    context: &Context,
) -> Option<OwedWrite> {
    let is_new = folded.last > row.history_id;
    let owed = known.owed.get(&folded.id);
    let doubted = owed.is_some_and(|owed| owed.reason != OwedReason::Vanished);
    if !(doubted || context.replays && missed(folded, row)) {
        // A record above the row: it lives, whatever a listing missed.
        return (owed.is_some() && is_new).then_some(OwedWrite::Clear(folded.id));
    }
    let wanted = doubt(folded, fresh, owed, context);
    let says_more = owed.is_none_or(|owed| owed.label_changes != wanted.label_changes);
    (is_new || !doubted || says_more).then_some(OwedWrite::Put(wanted))
}

/// A get decides, at a time at which no answer is older than the doubt. The records since are replayed over it.
fn doubt(
    folded: &Folded,
    fresh: &[(HistoryId, String, bool)],
    owed: Option<&Owed>,
    context: &Context,
) -> Owed {
    let mut wanted =
        owed.cloned().map_or_else(|| Wanted::listed(Listed::alone(folded.id)), Wanted::from_owed);
    // Not the row's id: a comparison may have raised that above the message's own.
    wanted.at_least = wanted.at_least.max(Some(folded.last));
    wanted.label_changes.extend(fresh.iter().cloned());
    // What was gathered of a label gives way to a later record of it, though that came to light after others.
    let gathered: Vec<String> = wanted.label_changes.iter().map(|(_, label, _)| label.clone()).collect();
    let again = folded.label_changes.iter().filter(|(_, label, _)| gathered.contains(label));
    wanted.label_changes.extend(again.cloned());
    keep_last_of_each_label(&mut wanted.label_changes);
    let due_at = Some(context.now + STALE_MAX);
    wanted.owed(OwedReason::Waiting, 0, due_at, context)
}

/// A message that lives outside the scope: its labels are kept, so that only one that enters is fetched.
fn decide_outside(folded: Folded, row: &RowHead, known: &Known, context: &Context) -> Decision {
    let id = folded.id;
    let seen = fresh(&folded, row, context);
    if context.replays && missed(&folded, row) {
        let doubt = OwedWrite::Put(doubt(&folded, &seen, None, context));
        return Decision::Write(Change::new(id, None, Some(doubt), known, Told::Updated));
    }
    if seen.is_empty() || folded.last <= row.history_id {
        return Decision::Nothing;
    }
    let mut labels = row.labels.clone();
    replay(&mut labels, &seen);
    if context.scope.holds(&labels) {
        return decide_unknown(folded, known);
    }
    let history_id = folded.last;
    let (state, touched) = (RowState::OutOfScope, context.touched(&row.touched, &seen));
    let write = RowWrite::Tombstone { id, state, history_id, labels: Some(labels), touched };
    Decision::Write(Change::new(id, Some(write), None, known, Told::Updated))
}

fn decide_unknown(folded: Folded, known: &Known) -> Decision {
    let mut wanted = match known.owed.get(&folded.id) {
        Some(owed) => Wanted::from_owed(owed.clone()),
        None => Wanted::listed(Listed::alone(folded.id)),
    };
    // What the row holds is applied already. The rest is gathered: a page may be read twice, and a poll may find
    // a record that was invisible when later ones came.
    let stored = known.rows.get(&folded.id).map_or(HistoryId(0), |row| row.history_id);
    let (seen, before) = (wanted.at_least.unwrap_or(HistoryId(0)), wanted.label_changes.clone());
    wanted.label_changes.extend(folded.label_changes.into_iter().filter(|(record, ..)| *record > stored));
    keep_last_of_each_label(&mut wanted.label_changes);
    if folded.last <= seen && wanted.label_changes == before {
        return Decision::Nothing;
    }
    if folded.last > seen
        && let Some(owed) = &mut wanted.owed
    {
        // A new record: the message lived after all.
        owed.missing_since = None;
    }
    wanted.at_least = Some(folded.last.max(seen));
    // What records tell of is news, whoever stores it.
    wanted.announce = true;
    let already_owed = wanted.owed.is_some();
    Decision::Fetch { wanted, urgent: folded.added && !already_owed }
}

/// Replaying a label's last change gives what replaying all of them gives, and a row stays small.
fn keep_last_of_each_label(changes: &mut Vec<(HistoryId, String, bool)>) {
    let mut last: BTreeMap<String, (HistoryId, bool)> = BTreeMap::new();
    for (record, label, added) in changes.drain(..) {
        let kept = last.entry(label).or_insert((record, added));
        if kept.0 <= record {
            *kept = (record, added);
        }
    }
    changes.extend(last.into_iter().map(|(label, (record, added))| (record, label, added)));
}
