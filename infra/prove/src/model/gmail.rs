//! The smallest Gmail that can lose mail: messages with their versions, a history that pages, lags and expires.
//!
//! Invariant: the last version of a message is the truth. What a reader is shown is the truth, or what was true less
//! than two minutes ago, and never older than a baseline that somebody has listed from.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    HistoryId, MessageId, SignedDuration, ThreadId, Timestamp,
    message::{Envelope, Labels, Message},
    state::Window,
    sync::{HistoryPage, HistoryRecord, ListPage, Listed, Profile, RecordChange, Seen},
};

/// How this Gmail behaves.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Records a page.
    pub records: usize,
    /// Ids a page.
    pub ids: usize,
    /// Page tokens of listings count messages, so that pages shift; else they name the last one.
    pub shifts: bool,
    /// Page tokens of history belong to the first page's present; else each page is of its own.
    pub pinned: bool,
    /// How long history does not show a record.
    pub lag: SignedDuration,
    /// All labels.
    pub labels: &'static [&'static str],
}

/// What a message was from a record on; `None` once it was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// The record.
    pub id: HistoryId,
    /// When.
    pub at: Timestamp,
    /// What it wore.
    pub labels: Option<Labels>,
}

/// A record, and when it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// As history tells it.
    pub record: HistoryRecord,
    /// When.
    pub at: Timestamp,
    /// It does not show for a minute, though its id is out.
    pub torn: bool,
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gmail {
    /// Everything each message ever was.
    pub messages: BTreeMap<MessageId, Vec<Version>>,
    /// History, as far as it is kept.
    pub log: Vec<Entry>,
    /// The present.
    pub head: HistoryId,
    /// The mailbox's first history id: what was before it is in nobody's history.
    pub first: HistoryId,
    /// Records up to here are gone.
    pub expired: HistoryId,
    /// Nothing older is shown.
    pub floor: HistoryId,
    /// Credentials up to this version are refused.
    pub revoked: Option<u64>,
    /// When a push last went out, if less than a second ago.
    pub pushed_at: Option<Timestamp>,
    /// Messages that ever had a record which did not show while its id was out.
    pub torn: BTreeSet<MessageId>,
    /// Polls until such a record must have been found.
    pub polls_owed: u8,
}

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A message arrives.
    Arrive,
    /// The first label is put on or taken off.
    Toggle(MessageId),
    /// The first label is put on every message, in one record.
    LabelAll,
    /// A message is deleted for good.
    Delete(MessageId),
}

/// How long a record is torn at most.
pub const TORN: SignedDuration = SignedDuration::from_secs(60);
/// How old a state a get shows at most.
const STALE: SignedDuration = SignedDuration::from_secs(120);
/// How long new mail answers 404 at most: well below the grace.
const HIDDEN: SignedDuration = SignedDuration::from_secs(300);
/// Polls after which a torn record must have been found: the first after it shows may list from its id.
pub const POLLS_FOR_TORN: u8 = 3;

impl Gmail {
    /// A mailbox with messages that wear these labels, the last ids below ten: the next but one has a digit more.
    pub fn with(worn: &[&[&str]], now: Timestamp) -> Self {
        let head = HistoryId(8);
        let version = |labels: &&[&str]| {
            let labels = Some(labels.iter().map(|label| (*label).to_owned()).collect());
            vec![Version { id: head, at: now - HIDDEN, labels }]
        };
        let messages = (1..).map(MessageId).zip(worn.iter().map(version)).collect();
        Self {
            messages,
            log: Vec::new(),
            head,
            first: head,
            expired: HistoryId(0),
            floor: HistoryId(0),
            revoked: None,
            pushed_at: None,
            torn: BTreeSet::new(),
            polls_owed: 0,
        }
    }

    /// What a message wears now, if it is there.
    pub fn labels(&self, id: MessageId) -> Option<&Labels> {
        self.messages.get(&id)?.last()?.labels.as_ref()
    }

    /// Messages that are there.
    pub fn alive(&self) -> impl Iterator<Item = (MessageId, &Labels)> {
        self.messages.iter().filter_map(|(id, versions)| Some((*id, versions.last()?.labels.as_ref()?)))
    }

    /// Something happens; one record.
    pub fn happen(&mut self, deed: Deed, manner: &Manner, torn: bool, now: Timestamp) {
        let id = HistoryId(self.head.0 + 1);
        let label = manner.labels.first().copied().unwrap_or_default().to_owned();
        let mut changes = Vec::new();
        let alive: Vec<(MessageId, Labels)> = self.alive().map(|(id, labels)| (id, labels.clone())).collect();
        let worn = |message| alive.iter().find(|(id, _)| *id == message).map(|(_, labels)| labels.clone());
        match deed {
            Deed::Arrive => {
                let message = MessageId(self.messages.keys().last().map_or(0, |id| id.0) + 1);
                changes.push((message, RecordChange::Added, Some(Labels::new())));
            }
            Deed::Toggle(message) => {
                let mut labels = worn(message).unwrap_or_default();
                let change = if labels.remove(&label) {
                    RecordChange::LabelsRemoved(vec![label])
                } else {
                    labels.insert(label.clone());
                    RecordChange::LabelsAdded(vec![label])
                };
                changes.push((message, change, Some(labels)));
            }
            Deed::LabelAll => changes.extend(alive.iter().cloned().map(|(message, mut labels)| {
                labels.insert(label.clone());
                (message, RecordChange::LabelsAdded(vec![label.clone()]), Some(labels))
            })),
            Deed::Delete(message) => changes.push((message, RecordChange::Deleted, None)),
        }
        for (message, _, labels) in &changes {
            let version = Version { id, at: now, labels: labels.clone() };
            self.messages.entry(*message).or_default().push(version);
            if torn {
                self.torn.insert(*message);
                self.polls_owed = POLLS_FOR_TORN;
            }
        }
        let changes = changes.into_iter().map(|(message, change, _)| (message, change)).collect();
        self.log.push(Entry { record: HistoryRecord { id, changes }, at: now, torn });
        self.head = id;
    }

    /// All of history so far is gone.
    pub fn expire(&mut self) {
        self.expired = self.head;
        self.log.clear();
    }

    // ---- what it answers

    /// `getProfile`.
    pub fn profile(&self) -> Seen {
        Seen::Profile(Profile { history_id: self.head, messages_total: self.alive().count() as u64 })
    }

    /// `history.list`.
    pub fn history(&self, start: HistoryId, token: Option<&str>, manner: &Manner, now: Timestamp) -> Seen {
        if start < self.expired {
            return Seen::HistoryExpired;
        }
        let lags = manner.lag > SignedDuration::ZERO;
        let shown: Vec<&Entry> = self.log.iter().take_while(|entry| now >= entry.at + manner.lag).collect();
        let last_shown = shown.last().map_or(self.first.max(self.expired), |entry| entry.record.id);
        let present = if lags { last_shown } else { self.head };
        // `after/limit`: pages of one answer belong together, or do not.
        let number = |text: &str| text.parse().ok().map(HistoryId);
        let (after, limit) = match token.and_then(|token| token.split_once('/')) {
            Some((after, limit)) => (number(after), number(limit)),
            None => (None, None),
        };
        let after = after.unwrap_or(start);
        let limit = limit.filter(|_| manner.pinned).unwrap_or(present);
        let is_visible = |entry: &&&Entry| !entry.torn || now >= entry.at + TORN;
        let inside = |entry: &&&Entry| entry.record.id > after && entry.record.id <= limit;
        let mut rest = shown.iter().filter(is_visible).filter(inside);
        let records: Vec<HistoryRecord> =
            rest.by_ref().take(manner.records).map(|entry| entry.record.clone()).collect();
        let more = rest.next().is_some();
        let next_page_token =
            records.last().filter(|_| more).map(|last| format!("{}/{}", last.id.0, limit.0));
        Seen::History(HistoryPage { records, history_id: present, next_page_token })
    }

    /// `messages.list`, newest first.
    pub fn list(
        &self,
        window: &Window,
        label: Option<&str>,
        token: Option<&str>,
        omitted: Option<MessageId>,
        manner: &Manner,
    ) -> Seen {
        let wears = |labels: &Labels| label.is_none_or(|label| labels.contains(label));
        let all: Vec<MessageId> = self
            .alive()
            .filter(|(id, labels)| wears(labels) && Some(*id) != omitted)
            .map(|(id, _)| id)
            .rev_sorted();
        let number = token.and_then(|token| token.parse::<u64>().ok());
        let from = match number {
            None => 0,
            Some(count) if manner.shifts => usize::try_from(count).unwrap_or(usize::MAX),
            Some(below) => all.iter().position(|id| id.0 < below).unwrap_or(all.len()),
        };
        let size = if let Window::Newest(newest) = window { *newest as usize } else { manner.ids };
        let ids = all.iter().skip(from).take(size);
        let messages: Vec<Listed> = ids.map(|id| Listed::new(*id, thread_of(*id))).collect();
        let more = all.len() > from.saturating_add(messages.len());
        let next = |last: &Listed| {
            if manner.shifts { (from + messages.len()).to_string() } else { last.id.0.to_string() }
        };
        let next_page_token = messages.last().filter(|_| more).map(next);
        Seen::Listed(ListPage { messages, next_page_token })
    }

    /// Gmail's own counters: of these labels, or of all.
    pub fn counts(&self, names: &[String], manner: &Manner) -> BTreeMap<String, i64> {
        let all: Vec<String> = manner.labels.iter().map(|label| (*label).to_owned()).collect();
        let names = if names.is_empty() { &all } else { names };
        let count = |name: &String| self.alive().filter(|(_, labels)| labels.contains(name)).count();
        names.iter().map(|name| (name.clone(), i64::try_from(count(name)).unwrap_or(i64::MAX))).collect()
    }

    /// A message as a get shows it: in this version, under this id.
    pub fn shown(id: MessageId, history_id: HistoryId, labels: Labels, now: Timestamp) -> Box<Message> {
        Box::new(Message {
            id,
            thread_id: thread_of(id),
            history_id,
            labels,
            received_at: now,
            size_estimate: 0,
            snippet: String::new(),
            envelope: Box::new(Envelope::default()),
            body: None,
        })
    }

    /// Versions that a get may still show though they are not true any more.
    pub fn stale(&self, id: MessageId, now: Timestamp) -> impl Iterator<Item = usize> {
        let versions = self.messages.get(&id).map(Vec::as_slice).unwrap_or_default();
        let floor = self.floor;
        let may = move |later: &Version| later.id > floor && now.duration_since(later.at) < STALE;
        let pairs = versions.windows(2).enumerate();
        pairs
            .filter(move |(_, pair)| matches!(pair, [was, then] if was.labels.is_some() && may(then)))
            .map(|(index, _)| index)
    }

    /// Whether a get may still answer 404 for it though it is there.
    pub fn may_be_hidden(&self, id: MessageId, now: Timestamp) -> bool {
        let born = self.messages.get(&id).and_then(|versions| versions.first());
        self.labels(id).is_some() && born.is_some_and(|born| now.duration_since(born.at) < HIDDEN)
    }
}

/// Two conversations, their messages by turns.
fn thread_of(id: MessageId) -> ThreadId {
    ThreadId(1 + id.0 % 2)
}

trait RevSorted {
    fn rev_sorted(self) -> Vec<MessageId>;
}

impl<I: Iterator<Item = MessageId>> RevSorted for I {
    fn rev_sorted(self) -> Vec<MessageId> {
        let mut ids: Vec<MessageId> = self.collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids
    }
}
