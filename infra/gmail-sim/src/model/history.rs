//! The record of what happened to a mailbox, in order, with gaps between the ids.
//!
//! Invariant: every record after the floor is present, so a reader whose cursor is at or above the floor
//! misses nothing; one below it is told that its cursor has expired. There is no "message modified" record.

use std::collections::VecDeque;

use super::ids::{HistoryId, MessageId, ThreadId};
use super::label::{LabelIndex, LabelSet};
use super::random::Random;
use super::{Millis, Refusal};

/// How long a record can be read: Gmail's usual week.
pub const KEPT_MS: Millis = 7 * 24 * 3600 * 1000;

/// Widest gap between two history ids.
const GAP_MAX: u64 = 30;

/// What happened to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It came into being.
    Added,
    /// It was deleted for good; trashing is a label change.
    Deleted,
    /// It got labels.
    LabelsAdded,
    /// It lost labels.
    LabelsRemoved,
}

impl ChangeKind {
    /// Reads a value of `historyTypes`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "messageAdded" => Some(Self::Added),
            "messageDeleted" => Some(Self::Deleted),
            "labelAdded" => Some(Self::LabelsAdded),
            "labelRemoved" => Some(Self::LabelsRemoved),
            _ => None,
        }
    }
}

/// One change to one message.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To whom.
    pub message: MessageId,
    /// In which conversation.
    pub thread: ThreadId,
    /// What the message wore once the record was complete.
    pub labels: LabelSet,
    /// The labels it got or lost; empty for other kinds.
    pub touched: LabelSet,
}

/// One step of the mailbox, touching one or many messages.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its id.
    pub id: HistoryId,
    /// When, in epoch milliseconds.
    pub at: Millis,
    /// Never empty.
    pub changes: Vec<Change>,
}

/// Which part of the history a reader wants.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Exclusive.
    pub start: u64,
    /// Where the previous page stopped, exclusive.
    pub resume_after: Option<u64>,
    /// Most records looked at for one page.
    pub limit: usize,
    /// Only these kinds; empty means all.
    pub kinds: Vec<ChangeKind>,
    /// Only messages that wear it (or that got or lost it).
    pub label: Option<LabelIndex>,
    /// Records younger than this epoch millisecond do not show yet.
    pub visible_until: Option<Millis>,
}

/// What a reader gets. A page may have no record and still a next one.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// Records in order, filtered.
    pub records: Vec<Record>,
    /// Set when more follows.
    pub resume_after: Option<HistoryId>,
    /// The mailbox's present as this reader sees it.
    pub present: HistoryId,
}

#[derive(Debug, Clone)]
pub(crate) struct History {
    records: VecDeque<Record>,
    current: HistoryId,
    floor: HistoryId,
}

impl History {
    /// Starts just below a power of ten, so that ids soon gain a digit: readers that compare text are found out.
    pub(crate) fn new(random: &mut Random) -> Self {
        let start = HistoryId(99_000 + random.below(900));
        Self { records: VecDeque::new(), current: start, floor: start }
    }

    pub(crate) fn current(&self) -> HistoryId {
        self.current
    }

    /// The id of the next record.
    pub(crate) fn advance(&mut self, random: &mut Random) -> HistoryId {
        self.current = HistoryId(self.current.0 + 1 + random.below(GAP_MAX));
        self.current
    }

    pub(crate) fn push(&mut self, record: Record) {
        while self.records.front().is_some_and(|oldest| oldest.at < record.at - KEPT_MS) {
            if let Some(gone) = self.records.pop_front() {
                self.floor = gone.id;
            }
        }
        self.records.push_back(record);
    }

    /// Everything up to the present is past reading; the present itself moves on and can be read from.
    pub(crate) fn expire(&mut self, random: &mut Random) -> HistoryId {
        self.records.clear();
        self.floor = self.advance(random);
        self.floor
    }

    pub(crate) fn after(&self, id: HistoryId) -> impl Iterator<Item = &Record> {
        self.records.range(self.records.partition_point(|record| record.id <= id)..)
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().rev()
    }

    pub(crate) fn read(&self, query: &HistoryQuery, now: Millis) -> Result<HistoryPage, Refusal> {
        // A record that is too old to read takes every cursor below it with it.
        let aged = self.records.iter().take_while(|record| record.at < now - KEPT_MS).last();
        let floor = aged.map_or(self.floor, |record| record.id);
        if query.start < floor.0 || query.start > self.current.0 {
            return Err(Refusal::NotFound);
        }
        let from = HistoryId(query.resume_after.unwrap_or(query.start).max(query.start));
        let shown = |record: &&Record| query.visible_until.is_none_or(|until| record.at < until);
        let mut page: Vec<&Record> = self.after(from).take_while(shown).take(query.limit + 1).collect();
        let more = page.len() > query.limit;
        page.truncate(query.limit);
        let resume_after = if more { page.last().map(|record| record.id) } else { None };
        let present = match query.visible_until {
            None => self.current,
            Some(until) => {
                let newest = self.records.iter().rev().find(|record| record.at < until);
                HistoryId(newest.map_or(floor.0, |record| record.id.0).max(query.start))
            }
        };
        let records = page.into_iter().filter_map(|record| filtered(record, query)).collect();
        Ok(HistoryPage { records, resume_after, present })
    }
}

fn filtered(record: &Record, query: &HistoryQuery) -> Option<Record> {
    let wanted = |change: &&Change| {
        let kind = query.kinds.is_empty() || query.kinds.contains(&change.kind);
        kind && query.label.is_none_or(|label| change.labels.has(label) || change.touched.has(label))
    };
    let changes: Vec<Change> = record.changes.iter().filter(wanted).cloned().collect();
    if changes.is_empty() { None } else { Some(Record { id: record.id, at: record.at, changes }) }
}
