//! Row and owed changes on their way into commits: counted, and cut to what one transaction holds.

use std::collections::BTreeMap;

use crate::{
    ids::MessageId,
    job::Counts,
    message::RowHead,
    owed::Owed,
    state::Totals,
    sync::commit::{Commit, JobClose, OwedWrite, RowWrite},
};

/// What is stored of the messages that a decision is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub rows: BTreeMap<MessageId, RowHead>,
    pub owed: BTreeMap<MessageId, Owed>,
}

/// The changes of one message, with what they do to the counters.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    row: Option<RowWrite>,
    owed: Option<OwedWrite>,
    totals: Totals,
    counts: Counts,
}

impl Change {
    /// A change against what is stored. Clearing what is not owed and burying what is buried are no changes.
    pub fn new(id: MessageId, row: Option<RowWrite>, owed: Option<OwedWrite>, known: &Known) -> Self {
        let was_row = known.rows.get(&id);
        let was_owed = known.owed.get(&id);
        let row = row.filter(|write| match write {
            RowWrite::Tombstone { .. } => !was_row.is_some_and(|head| head.deleted),
            RowWrite::Put(_) | RowWrite::Labels { .. } => true,
        });
        let owed = owed.filter(|write| match write {
            OwedWrite::Clear(_) => was_owed.is_some(),
            OwedWrite::Put(_) => true,
        });
        let mut change = Self { row, owed, ..Self::default() };
        change.count(was_row, was_owed);
        change
    }

    fn count(&mut self, was_row: Option<&RowHead>, was_owed: Option<&Owed>) {
        let was_live = was_row.is_some_and(|head| !head.deleted);
        let was_dead = was_row.is_some_and(|head| head.deleted);
        match &self.row {
            Some(RowWrite::Put(_)) => {
                self.totals.messages += i64::from(!was_live);
                self.totals.deleted -= i64::from(was_dead);
                self.counts.inserted += u64::from(!was_live);
                self.counts.updated += u64::from(was_live);
            }
            Some(RowWrite::Labels { .. }) => self.counts.updated += 1,
            Some(RowWrite::Tombstone { .. }) => {
                self.totals.messages -= i64::from(was_live);
                self.totals.deleted += 1;
                self.counts.deleted += u64::from(was_live);
            }
            None => {}
        }
        let Some(write) = &self.owed else { return };
        if let Some(owed) = was_owed {
            count_owed(&mut self.totals, owed, -1);
        }
        if let OwedWrite::Put(owed) = write {
            count_owed(&mut self.totals, owed, 1);
            self.counts.debts += u64::from(owed.reason.is_debt());
        }
    }

    fn items(&self) -> usize {
        usize::from(self.row.is_some()) + usize::from(self.owed.is_some())
    }
}

fn count_owed(totals: &mut Totals, owed: &Owed, sign: i64) {
    if owed.reason.is_debt() {
        totals.debts += sign;
    } else {
        totals.waiting += sign;
    }
}

/// Part of the changes, small enough for one transaction.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    pub rows: Vec<RowWrite>,
    pub owed: Vec<OwedWrite>,
    pub closed: Vec<JobClose>,
    pub totals: Totals,
    pub counts: Counts,
}

/// Room that `SYNC` and closed requests take in every transaction.
const ITEMS_RESERVED: usize = 1 + 2 * Commit::CLOSED_MAX;

/// Cuts changes into chunks; always at least one, so that there is a commit to move the cursor.
pub(super) fn chunks(changes: Vec<Change>) -> Vec<Chunk> {
    let mut chunks = vec![Chunk::default()];
    let mut items = 0;
    for change in changes {
        if items + change.items() > Commit::ITEMS_MAX - ITEMS_RESERVED {
            chunks.push(Chunk::default());
            items = 0;
        }
        items += change.items();
        if let Some(chunk) = chunks.last_mut() {
            chunk.totals.add(&change.totals);
            chunk.counts.add(&change.counts);
            chunk.rows.extend(change.row);
            chunk.owed.extend(change.owed);
        }
    }
    chunks
}
