//! One mailbox as Gmail keeps it: messages, labels, conversations, drafts and a history of changes.
//!
//! Pure: no clock, no I/O, no randomness of its own. The time of every change is an argument, and everything
//! that looks random follows from the seed. Invariant: every change gets one history record, its messages carry
//! that record's id, and an operation that changes nothing writes nothing. Deliberately absent: the wire. The
//! server turns these values into JSON.

mod drafts;
mod generated;
mod history;
mod ids;
mod index;
mod label;
mod label_table;
mod listing;
mod query;
mod random;
mod store;
mod threading;

pub use history::{Change, ChangeKind, HistoryPage, HistoryQuery, KEPT_MS, Record};
pub use ids::{DraftId, HistoryId, MessageId, ThreadId};
pub use label::{
    DRAFT, INBOX, LABELS_MAX, Label, LabelIndex, LabelSet, SENT, SPAM, STARRED, SYSTEM, TRASH, UNREAD,
};
pub use label_table::{LabelCounts, LabelPatch};
pub use listing::{ListPage, ListQuery, PageFrom};
pub use query::Query;
pub use random::{Random, hash};
pub use store::NewMessage;

use std::collections::BTreeMap;
use std::sync::Arc;

use generated::Recipe;
use history::History;
use index::Index;
use label_table::LabelTable;
use threading::Threads;

/// Epoch milliseconds.
pub type Millis = i64;

/// Why the mailbox would not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such message, thread, label or draft, or an expired history id.
    NotFound,
    /// A label that does not exist, or that this operation may not touch.
    InvalidLabel(String),
    /// The name is taken.
    LabelExists,
    /// A label's name or count is beyond what Gmail takes.
    LabelRefused(&'static str),
    /// A reply that names a thread of another subject or none at all.
    InvalidThread,
}

/// Where the text of a message comes from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Kept(Arc<[u8]>),
    Derived(Recipe),
}

/// One message. Its text never changes; its labels and history id do.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its conversation.
    pub thread: ThreadId,
    /// Its last change.
    pub history: HistoryId,
    /// When Gmail took it in, or what its `Date` says for old mail.
    pub internal_date: Millis,
    /// What it wears.
    pub labels: LabelSet,
    /// Bytes of the raw message.
    pub size: u32,
    pub(crate) content: Content,
}

/// A mailbox.
#[derive(Debug, Clone)]
pub struct Mailbox {
    address: String,
    random: Random,
    labels: LabelTable,
    messages: BTreeMap<MessageId, Message>,
    index: Index,
    threads: Threads,
    drafts: BTreeMap<DraftId, MessageId>,
    history: History,
}

impl Mailbox {
    /// An empty mailbox; the same address and seed give the same ids.
    pub fn new(address: &str, seed: u64) -> Self {
        let mut random = Random::new(seed ^ hash(address.as_bytes()));
        let history = History::new(&mut random);
        Self {
            address: address.to_owned(),
            random,
            labels: LabelTable::new(),
            messages: BTreeMap::new(),
            index: Index::new(),
            threads: Threads::default(),
            drafts: BTreeMap::new(),
            history,
        }
    }

    /// Whose it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The present.
    pub fn history_id(&self) -> HistoryId {
        self.history.current()
    }

    /// How many messages there are, spam and bin included.
    pub fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// How many conversations there are.
    pub fn thread_count(&self) -> usize {
        self.threads.count()
    }

    /// One message.
    pub fn message(&self, id: MessageId) -> Result<&Message, Refusal> {
        self.messages.get(&id).ok_or(Refusal::NotFound)
    }

    /// Every message, by id.
    pub fn messages(&self) -> impl Iterator<Item = (MessageId, &Message)> {
        self.messages.iter().map(|(id, message)| (*id, message))
    }

    /// The messages of a conversation, oldest first.
    pub fn thread(&self, id: ThreadId) -> Result<Vec<MessageId>, Refusal> {
        let mut members = self.threads.members(id).ok_or(Refusal::NotFound)?.to_vec();
        members.sort_by_key(|member| (self.messages.get(member).map(|m| m.internal_date), *member));
        Ok(members)
    }

    /// The last change of a conversation.
    pub fn thread_history(&self, id: ThreadId) -> HistoryId {
        let members = self.threads.members(id).unwrap_or_default();
        members.iter().filter_map(|m| self.messages.get(m)).map(|m| m.history).max().unwrap_or(HistoryId(0))
    }

    /// The message as it was delivered.
    pub fn raw(&self, message: &Message) -> Arc<[u8]> {
        match &message.content {
            Content::Kept(raw) => Arc::clone(raw),
            Content::Derived(recipe) => recipe.raw(&self.address).into(),
        }
    }

    /// The labels as Gmail names them, sorted.
    pub fn label_ids(&self, labels: &LabelSet) -> Vec<String> {
        let mut ids: Vec<String> = labels.iter().map(|label| self.labels.id(label).to_owned()).collect();
        ids.sort_unstable();
        ids
    }

    /// What happened after a point.
    pub fn history(&self, query: &HistoryQuery, now: Millis) -> Result<HistoryPage, Refusal> {
        self.history.read(query, now)
    }

    /// The records after a point, however old, without a reader's rules.
    pub fn records_after(&self, id: HistoryId) -> impl Iterator<Item = &Record> {
        self.history.after(id)
    }

    /// Makes every history id up to now expired; answers the first that is not.
    pub fn expire_history(&mut self) -> HistoryId {
        self.history.expire(&mut self.random)
    }

    /// The message as it was before its last change: what a replica that lags would answer. None when it was
    /// not there yet, or when its last change is no longer on record.
    pub fn message_before_last_change(&self, id: MessageId) -> Option<Message> {
        let mut message = self.messages.get(&id)?.clone();
        let mut mentions = self
            .history
            .newest_first()
            .filter(|record| record.changes.iter().any(|change| change.message == id));
        let last = mentions.next()?;
        for change in last.changes.iter().filter(|change| change.message == id) {
            let touched: Vec<LabelIndex> = change.touched.iter().collect();
            message.labels = match change.kind {
                ChangeKind::Added | ChangeKind::Deleted => return None,
                ChangeKind::LabelsAdded => message.labels.changed(&[], &touched),
                ChangeKind::LabelsRemoved => message.labels.changed(&touched, &[]),
            };
        }
        message.history = mentions.next().map_or(HistoryId(last.id.0 - 1), |record| record.id);
        Some(message)
    }

    /// A label by id.
    pub fn label_index(&self, id: &str) -> Result<LabelIndex, Refusal> {
        self.labels.find(id).ok_or_else(|| Refusal::InvalidLabel(id.to_owned()))
    }

    /// A label by id.
    pub fn label(&self, id: &str) -> Result<&Label, Refusal> {
        self.labels.find(id).map(|index| self.labels.get(index)).ok_or(Refusal::NotFound)
    }

    /// A label by id or name; created when there is none.
    pub fn label_or_new(&mut self, name: &str) -> Result<LabelIndex, Refusal> {
        match self.labels.find(name).or_else(|| self.labels.find_name(name)) {
            Some(index) => Ok(index),
            None => self.labels.create(name),
        }
    }

    /// Every label that exists.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.labels.iter()
    }
}
