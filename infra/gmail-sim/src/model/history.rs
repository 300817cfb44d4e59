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
    /// The message's history id before this record; 0 for a message that was added.
    pub before: HistoryId,
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
        Self::starting_at(HistoryId(99_000 + random.below(900)))
    }

    pub(crate) fn starting_at(start: HistoryId) -> Self {
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

    /// Takes a record in; one that claims to be older than the last is as old as the last.
    pub(crate) fn push(&mut self, record: Record) {
        let at = self.records.back().map_or(record.at, |last| last.at.max(record.at));
        while self.records.front().is_some_and(|oldest| oldest.at < at.saturating_sub(KEPT_MS)) {
            if let Some(gone) = self.records.pop_front() {
                self.floor = gone.id;
            }
        }
        self.records.push_back(Record { at, ..record });
    }

    /// Everything up to the present is past reading; the present itself moves on and can be read from.
    pub(crate) fn expire(&mut self, random: &mut Random) -> HistoryId {
        self.records.clear();
        self.floor = self.advance(random);
        self.floor
    }

    pub(crate) fn expire_below(&mut self, oldest: HistoryId) -> HistoryId {
        self.floor = self.floor.max(oldest.min(self.current));
        let gone = self.records.partition_point(|record| record.id <= self.floor);
        self.records.drain(..gone);
        self.floor
    }

    pub(crate) fn restart(&mut self, start: HistoryId) {
        *self = Self::starting_at(start);
    }

    pub(crate) fn after(&self, id: HistoryId) -> impl Iterator<Item = &Record> {
        self.records.range(self.records.partition_point(|record| record.id <= id)..)
    }

    pub(crate) fn get(&self, id: HistoryId) -> Option<&Record> {
        let place = self.records.binary_search_by_key(&id, |record| record.id).ok()?;
        self.records.get(place)
    }

    pub(crate) fn last_shown(&self, shows: impl Fn(&Record) -> bool) -> HistoryId {
        self.records.iter().rev().find(|record| shows(record)).map_or(self.floor, |record| record.id)
    }

    pub(crate) fn read(&self, query: &HistoryQuery, now: Millis) -> Result<HistoryPage, Refusal> {
        let Some(until) = query.visible_until else { return self.read_where(query, now, |_| true) };
        let page = self.read_where(query, now, |record| record.at < until)?;
        let shown = self.last_shown(|record| record.at < until);
        Ok(HistoryPage { present: shown.max(HistoryId(query.start)), ..page })
    }

    /// A page of the records that show; the response names the present.
    pub(crate) fn read_where(
        &self,
        query: &HistoryQuery,
        now: Millis,
        shows: impl Fn(&Record) -> bool,
    ) -> Result<HistoryPage, Refusal> {
        // A record that is too old to read takes every cursor below it with it. Records are in order of time.
        let aged = self.records.partition_point(|record| record.at < now.saturating_sub(KEPT_MS));
        let floor = aged.checked_sub(1).and_then(|last| self.records.get(last));
        let floor = floor.map_or(self.floor, |record| record.id);
        if query.start < floor.0 || query.start > self.current.0 {
            return Err(Refusal::NotFound);
        }
        let from = HistoryId(query.resume_after.unwrap_or(query.start).max(query.start));
        let wanted = query.limit.saturating_add(1);
        let mut page: Vec<&Record> = self.after(from).filter(|record| shows(record)).take(wanted).collect();
        let more = page.len() > query.limit;
        page.truncate(query.limit);
        let resume_after = if more { page.last().map(|record| record.id) } else { None };
        let records = page.into_iter().filter_map(|record| filtered(record, query)).collect();
        Ok(HistoryPage { records, resume_after, present: self.current })
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
