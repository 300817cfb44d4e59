//! One mailbox as Gmail keeps it: messages, labels, conversations, drafts and a history of changes.
//!
//! Pure: no clock, no I/O, no randomness of its own. The time of every change is an argument, and everything
//! that looks random follows from the seed. Invariant: every change gets one history record, its messages carry
//! that record's id, and an operation that changes nothing writes nothing. Deliberately absent: the wire. The
//! server turns these values into JSON.
//!
//! # The odd behaviours
//!
//! Gmail's oddities are reads of some state that is not the present. They are arguments of a read, chosen by the
//! caller with its own seed; a mailbox remembers nothing about how anybody was answered:
//!
//! | behaviour | call |
//! |---|---|
//! | the history index lags, the response's id with it | [`Mailbox::history_from`] with [`Replica::At`] |
//! | records are invisible while the head's id is already out | [`Mailbox::history_from`] with [`Replica::Torn`] |
//! | any pattern of invisible records, holes included | [`Mailbox::history_where`] |
//! | new mail is not visible yet | [`Mailbox::message_from`], `At` or `Torn`, a point before its arrival |
//! | a get older than its history id: old labels under their own old id | [`Mailbox::message_from`], `At` |
//! | old labels under the newest id | [`Mailbox::message_from`], `Torn` |
//! | a deleted message is still shown | either, a point before its deletion |
//! | a thread with messages missing, deleted or old | [`Mailbox::thread_from`] |
//! | profile and watch name an old id | [`Mailbox::history_id_from`] |
//! | pages of a listing, of ids or of a label, shift | [`ListPage::next_from`] with [`Paging::Shifting`] |
//! | history expires at any time | [`Mailbox::expire_history_below`]; [`Mailbox::expire_history`] for all of it |
//! | ids with gaps | always; an id is 1 to 30 above the one before |
//! | ids gain a digit | [`Mailbox::new`] starts just below 100,000; [`Mailbox::starting_at`] anywhere |
//! | a mailbox made anew: ids start lower | [`Mailbox::restart_history`], or `starting_at` for an empty one |
//!
//! ```
//! use gmail_sim::model::{
//!     HistoryId, HistoryQuery, INBOX, ListQuery, Mailbox, NewMessage, PageFrom, Paging, Refusal, Replica, UNREAD,
//! };
//!
//! let now = 1_700_000_000_000;
//! let mut mailbox = Mailbox::starting_at("alice@example.com", 7, HistoryId(990));
//! let mail = |text: &[u8]| NewMessage {
//!     raw: text.into(),
//!     labels: vec![INBOX, UNREAD],
//!     internal_date: None,
//!     thread: None,
//! };
//! let before = mailbox.history_id();
//! let id = mailbox.insert(mail(b"Subject: one\r\n\r\nhi\r\n"), now)?;
//! let arrived = mailbox.history_id();
//! mailbox.modify(&[id], &[], &[UNREAD], now + 1);
//!
//! // The head is out, the record of the change is not.
//! let query = HistoryQuery { start: before.0, limit: 100, ..HistoryQuery::default() };
//! let page = mailbox.history_from(&query, now + 1, Replica::Torn(arrived))?;
//! assert_eq!((page.records.len(), page.present), (1, mailbox.history_id()));
//!
//! // A get that is older than its history id, and one of a replica that has not heard of the message.
//! let torn = mailbox.message_from(id, Replica::Torn(arrived))?;
//! assert!(torn.labels.has(UNREAD) && torn.history == mailbox.history_id());
//! assert_eq!(mailbox.message_from(id, Replica::At(before)).err(), Some(Refusal::NotFound));
//!
//! // A deleted message that is still shown.
//! mailbox.delete(&[id], now + 2);
//! assert!(mailbox.message(id).is_err() && mailbox.message_from(id, Replica::At(arrived)).is_ok());
//!
//! // A page that shifts: mail that comes between two pages moves an entry onto both.
//! for number in 0..4 {
//!     mailbox.insert(mail(b"Subject: more\r\n\r\n"), now + 10 + number)?;
//! }
//! let mut list = ListQuery {
//!     labels: vec![INBOX], include_spam_trash: false, query: None, from: PageFrom::Start, limit: 2,
//! };
//! let first = mailbox.list_messages(&list);
//! mailbox.insert(mail(b"Subject: between\r\n\r\n"), now + 20)?;
//! list.from = first.next_from(list.from, Paging::Shifting).unwrap();
//! assert_eq!(mailbox.list_messages(&list).entries[0], first.entries[1]);
//! # Ok::<(), Refusal>(())
//! ```

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
mod replica;
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
pub use replica::{Head, Paging, Replica};
pub use store::NewMessage;

use std::collections::BTreeMap;
use std::sync::Arc;

use generated::Recipe;
use history::History;
use index::Index;
use label_table::LabelTable;
use replica::Graves;
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
    graves: Graves,
}

impl Mailbox {
    /// An empty mailbox; the same address and seed give the same ids.
    pub fn new(address: &str, seed: u64) -> Self {
        let mut random = Random::new(seed ^ hash(address.as_bytes()));
        let history = History::new(&mut random);
        Self::with(address, random, history)
    }

    /// An empty mailbox whose history begins at a chosen id: just below a power of ten so that ids gain a digit,
    /// or below another's present for a mailbox that was made anew.
    pub fn starting_at(address: &str, seed: u64, start: HistoryId) -> Self {
        Self::with(address, Random::new(seed ^ hash(address.as_bytes())), History::starting_at(start))
    }

    fn with(address: &str, random: Random, history: History) -> Self {
        Self {
            address: address.to_owned(),
            random,
            labels: LabelTable::new(),
            messages: BTreeMap::new(),
            index: Index::new(),
            threads: Threads::default(),
            drafts: BTreeMap::new(),
            history,
            graves: Graves::default(),
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
        let mut members: Vec<MessageId> = self.threads.members(id).collect();
        if members.is_empty() {
            return Err(Refusal::NotFound);
        }
        members.sort_by_key(|member| (self.messages.get(member).map(|m| m.internal_date), *member));
        Ok(members)
    }

    /// The last change of a conversation.
    pub fn thread_history(&self, id: ThreadId) -> HistoryId {
        let members = self.threads.members(id);
        members
            .filter_map(|member| self.messages.get(&member))
            .map(|m| m.history)
            .max()
            .unwrap_or(HistoryId(0))
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
