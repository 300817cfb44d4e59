//! Row and owed changes on their way into commits: counted, announced, and cut to what one transaction holds.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    ids::MessageId,
    job::Counts,
    message::{Labels, RowHead, RowState},
    owed::Owed,
    state::Totals,
    sync::commit::{Commit, Happened, JobClose, MessageNews, OwedWrite, RowWrite},
};

/// What is stored of the messages that a decision is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub rows: BTreeMap<MessageId, RowHead>,
    pub owed: BTreeMap<MessageId, Owed>,
}

/// What a stored row that was not announced yet is announced as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// It is news that was stored silently.
    Created,
    /// It is old mail that changed.
    Updated,
}

/// The changes of one message, with what they do to the counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Change {
    row: Option<RowWrite>,
    owed: Option<OwedWrite>,
    event: Option<Happened>,
    totals: Totals,
    labels: BTreeMap<String, i64>,
    counts: Counts,
    bytes: usize,
}

impl Change {
    /// A change against what is stored. Clearing what is not owed and burying what is buried are no changes.
    pub fn new(
        id: MessageId,
        row: Option<RowWrite>,
        owed: Option<OwedWrite>,
        known: &Known,
        told: Told,
    ) -> Self {
        let was_row = known.rows.get(&id);
        let was_owed = known.owed.get(&id);
        let row = row.filter(|write| changes_row(write, was_row));
        let owed = owed.filter(|write| match write {
            OwedWrite::Clear(_) => was_owed.is_some(),
            OwedWrite::Put(_) => true,
        });
        let event = row.as_ref().and_then(|write| event(write, was_row, told));
        let bytes = row.as_ref().map_or(0, weight) + 1_000;
        let mut change = Self { row, owed, event, bytes, ..Self::default() };
        change.count_row(was_row);
        change.count_owed(was_owed);
        change
    }

    fn count_row(&mut self, was: Option<&RowHead>) {
        let was_live = was.is_some_and(RowHead::is_live);
        let was_dead = was.is_some_and(|head| !head.is_live());
        let now_wears = match &self.row {
            None => return,
            Some(RowWrite::Put { message, .. }) => {
                self.totals.messages += i64::from(!was_live);
                self.totals.deleted -= i64::from(was_dead);
                self.counts.inserted += u64::from(!was_live);
                self.counts.updated += u64::from(was_live);
                Some(&message.labels)
            }
            Some(RowWrite::Labels { labels, .. }) => {
                self.counts.updated += 1;
                Some(labels)
            }
            Some(RowWrite::Tombstone { .. }) => {
                self.totals.messages -= i64::from(was_live);
                self.totals.deleted += i64::from(!was_dead);
                self.counts.deleted += u64::from(was_live);
                None
            }
        };
        let nothing = Labels::new();
        let wore = was.filter(|head| head.is_live()).map_or(&nothing, |head| &head.labels);
        let wears = now_wears.unwrap_or(&nothing);
        self.labels.extend(wore.difference(wears).map(|label| (label.clone(), -1)));
        self.labels.extend(wears.difference(wore).map(|label| (label.clone(), 1)));
    }

    fn count_owed(&mut self, was: Option<&Owed>) {
        let Some(write) = &self.owed else { return };
        if let Some(owed) = was {
            count_owed(&mut self.totals, owed, -1);
        }
        if let OwedWrite::Put(owed) = write {
            count_owed(&mut self.totals, owed, 1);
            self.counts.debts += u64::from(owed.reason.is_debt());
        }
    }

    /// When what it owes is due.
    pub fn owed_due_at(&self) -> Option<Timestamp> {
        match &self.owed {
            Some(OwedWrite::Put(owed)) => owed.due_at,
            Some(OwedWrite::Clear(_)) | None => None,
        }
    }

    fn items(&self) -> usize {
        usize::from(self.row.is_some()) + usize::from(self.owed.is_some()) + usize::from(self.event.is_some())
    }
}

fn changes_row(write: &RowWrite, was: Option<&RowHead>) -> bool {
    let (RowWrite::Tombstone { state, history_id, labels, .. }, Some(was)) = (write, was) else {
        return true;
    };
    match was.state {
        RowState::Live => true,
        RowState::Deleted => false,
        RowState::OutOfScope | RowState::Accepted => {
            let says_more = labels.as_ref().is_some_and(|labels| *labels != was.labels);
            *state != was.state || says_more || *history_id > was.history_id
        }
    }
}

/// What a change of a row tells the feed.
fn event(write: &RowWrite, was: Option<&RowHead>, told: Told) -> Option<Happened> {
    let was_live = was.filter(|head| head.is_live());
    let news = |labels: &Labels, history_id| MessageNews {
        gmail_id: write.id(),
        history_id,
        label_ids: labels.clone(),
    };
    let (labels, history_id, announced) = match write {
        RowWrite::Put { message, announced, .. } => (&message.labels, message.history_id, *announced),
        RowWrite::Labels { labels, history_id, announced, .. } => (labels, *history_id, *announced),
        RowWrite::Tombstone { labels, history_id, .. } => {
            let last = was_live?;
            return Some(Happened::Deleted(news(labels.as_ref().unwrap_or(&last.labels), *history_id)));
        }
    };
    match was_live {
        None => announced.then(|| Happened::Created(news(labels, history_id))),
        Some(was) if was.announced => {
            (was.labels != *labels).then(|| Happened::Updated(news(labels, history_id)))
        }
        Some(_) => announced.then(|| match told {
            Told::Created => Happened::Created(news(labels, history_id)),
            Told::Updated => Happened::Updated(news(labels, history_id)),
        }),
    }
}

fn count_owed(totals: &mut Totals, owed: &Owed, sign: i64) {
    if owed.reason.is_debt() {
        totals.debts += sign;
    } else {
        totals.waiting += sign;
    }
}

/// What a row takes in a transaction, bytes, roughly.
fn weight(write: &RowWrite) -> usize {
    let of_labels = |labels: &Labels| labels.iter().map(|label| label.len() + 3).sum::<usize>();
    match write {
        RowWrite::Put { message, .. } => {
            let envelope = &message.envelope;
            let addresses = envelope.from.iter().chain(&envelope.to).chain(&envelope.cc).chain(&envelope.bcc);
            let addresses: usize = addresses
                .map(|address| address.email.len() + address.name.as_ref().map_or(0, String::len) + 20)
                .sum();
            addresses + envelope.subject.len() + message.snippet.len() + of_labels(&message.labels)
        }
        RowWrite::Labels { labels, .. } => of_labels(labels),
        RowWrite::Tombstone { labels, .. } => labels.as_ref().map_or(0, of_labels),
    }
}

/// Part of the changes, small enough for one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Chunk {
    pub rows: Vec<RowWrite>,
    pub owed: Vec<OwedWrite>,
    pub closed: Vec<JobClose>,
    pub happened: Vec<Happened>,
    pub totals: Totals,
    pub labels: BTreeMap<String, i64>,
    pub counts: Counts,
}

/// Room that `SYNC`, the counters, an event of the mailbox's own and closed requests take in every transaction.
const ITEMS_RESERVED: usize = 3 + 2 * Commit::CLOSED_MAX;
/// Most bytes of one transaction, with room for what the store adds: DynamoDB's limit is 4 MB.
const BYTES_MAX: usize = 2_500_000;

/// Cuts changes into chunks; always at least one, so that there is a commit to move the cursor.
pub(super) fn chunks(changes: Vec<Change>) -> Vec<Chunk> {
    let mut chunks = vec![Chunk::default()];
    let (mut items, mut bytes) = (0, 0);
    for change in changes {
        if items + change.items() > Commit::ITEMS_MAX - ITEMS_RESERVED || bytes + change.bytes > BYTES_MAX {
            chunks.push(Chunk::default());
            (items, bytes) = (0, 0);
        }
        items += change.items();
        bytes += change.bytes;
        let Some(chunk) = chunks.last_mut() else { continue };
        chunk.totals.add(&change.totals);
        chunk.counts.add(&change.counts);
        for (label, count) in change.labels {
            *chunk.labels.entry(label).or_default() += count;
        }
        chunk.rows.extend(change.row);
        chunk.owed.extend(change.owed);
        chunk.happened.extend(change.event);
    }
    for chunk in &mut chunks {
        chunk.labels.retain(|_, count| *count != 0);
    }
    chunks
}
