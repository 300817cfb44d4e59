//! A page of history, folded into one change per message.

use std::collections::BTreeMap;

use crate::{
    ids::{HistoryId, MessageId},
    message::RowHead,
    sync::{
        commit::{OwedWrite, RowWrite},
        effect::{HistoryRecord, RecordChange},
        settle::{Wanted, replay},
        writes::{Change, Known},
    },
};

/// Everything one page says of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing: the row is current.
    Nothing,
    /// A change that needs no get.
    Write(Change),
    /// A get. `urgent` is new mail; the rest may wait its turn.
    Fetch { wanted: Wanted, urgent: bool },
}

/// Decides about one message without fetching it.
pub(super) fn decide(folded: Folded, known: &Known) -> Decision {
    let id = folded.id;
    if folded.deleted.is_some() {
        // Also of a message never stored: without the tombstone a get already under way would revive it.
        let tombstone = RowWrite::Tombstone { id, history_id: folded.last };
        return Decision::Write(Change::new(id, Some(tombstone), Some(OwedWrite::Clear(id)), known));
    }
    match known.rows.get(&id) {
        Some(row) if !row.deleted => decide_stored(&folded, row, known),
        // A record above a tombstone: the message lives, the tombstone came from a listing that missed it.
        Some(row) if folded.last <= row.history_id => Decision::Nothing,
        Some(_) | None => decide_unknown(folded, known),
    }
}

fn decide_stored(folded: &Folded, row: &RowHead, known: &Known) -> Decision {
    let fresh: Vec<_> =
        folded.label_changes.iter().filter(|(record, ..)| *record > row.history_id).cloned().collect();
    if fresh.is_empty() {
        return Decision::Nothing;
    }
    let mut labels = row.labels.clone();
    replay(&mut labels, &fresh);
    let write = RowWrite::Labels { id: folded.id, labels, history_id: folded.last };
    Decision::Write(Change::new(folded.id, Some(write), None, known))
}

fn decide_unknown(folded: Folded, known: &Known) -> Decision {
    let mut wanted = match known.owed.get(&folded.id) {
        Some(owed) => Wanted::from_owed(owed.clone()),
        None => Wanted::listed(folded.id),
    };
    // Only records not seen before: a page may be read twice.
    let seen = wanted.at_least.unwrap_or(HistoryId(0));
    if folded.last > seen
        && let Some(owed) = &mut wanted.owed
    {
        // A new record: the message lived after all.
        owed.missing_since = None;
    }
    wanted.label_changes.extend(folded.label_changes.into_iter().filter(|(record, ..)| *record > seen));
    keep_last_of_each_label(&mut wanted.label_changes);
    wanted.at_least = Some(seen.max(folded.last));
    let already_owed = wanted.owed.is_some();
    Decision::Fetch { wanted, urgent: folded.added && !already_owed }
}

/// Replaying a label's last change gives what replaying all of them gives, and a row stays small.
fn keep_last_of_each_label(changes: &mut Vec<(HistoryId, String, bool)>) {
    let last: BTreeMap<String, HistoryId> =
        changes.iter().map(|(record, label, _)| (label.clone(), *record)).collect();
    let mut kept = BTreeMap::new();
    for (record, label, added) in changes.drain(..) {
        if last.get(&label) == Some(&record) {
            kept.insert(label, (record, added));
        }
    }
    changes.extend(kept.into_iter().map(|(label, (record, added))| (record, label, added)));
}
