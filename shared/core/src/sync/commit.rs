//! One commit: what becomes true at once, or not at all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{Generation, HistoryId, JobId, MailboxId, MessageId},
    job::{Counts, JobError, JobStatus},
    message::{Labels, Message, RowState, Touched},
    owed::Owed,
    state::{Progress, Totals},
};

/// One transaction on a mailbox.
///
/// Applied only while the lease's generation and the number of the last commit are as given: a slow
/// worker can never write over its successor, and a repeated commit is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Which mailbox.
    pub mailbox: MailboxId,
    /// The fence.
    pub generation: Generation,
    /// Number of the commit before this one.
    pub after: u64,
    /// Row changes, at most one a message.
    pub rows: Vec<RowWrite>,
    /// Changes of what is owed, at most one a message.
    pub owed: Vec<OwedWrite>,
    /// Requests that this finishes.
    pub closed: Vec<JobClose>,
    /// The whole of what the holder of the lease writes.
    pub progress: Progress,
    /// Added to the mailbox's counters.
    pub totals: Totals,
    /// Added to the counters of live rows by label.
    pub labels: BTreeMap<String, i64>,
    /// Number of the last event before this commit; a condition when there are events.
    pub seq: u64,
    /// What is announced, numbered from `seq` + 1 without a hole.
    pub events: Vec<Event>,
    /// When.
    pub now: Timestamp,
}

impl Commit {
    /// Most items one transaction may hold: DynamoDB's limit
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>).
    pub const ITEMS_MAX: usize = 100;
    /// Most messages one commit touches: each may need a row, an owed item and an event, and `SYNC`, the
    /// counters and closed requests need room too.
    pub const MESSAGES_MAX: usize = 30;
    /// Most requests one commit closes: a job row and its open marker each.
    pub const CLOSED_MAX: usize = 4;

    /// Whether it writes down what comparing the counters has found, and so nothing else.
    pub fn ends_a_probe(&self) -> bool {
        self.rows.is_empty() && self.progress.probe.at == Some(self.now)
    }
}

/// A change of one message row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowWrite {
    /// The whole row, after a get. Replaces whatever is there, a tombstone included. References and
    /// other people's attributes stay.
    Put {
        /// The message.
        message: Box<Message>,
        /// Whether the feed of changes has told of it, this commit's events included.
        announced: bool,
        /// Labels changed while a comparison is open.
        touched: Touched,
    },
    /// Labels by records, no get.
    Labels {
        /// Which.
        id: MessageId,
        /// The labels from now on.
        labels: Labels,
        /// The last record applied.
        history_id: HistoryId,
        /// Whether the feed of changes has told of it, this commit's events included.
        announced: bool,
        /// Labels changed while a comparison is open.
        touched: Touched,
    },
    /// Not there for its owner any more, *also if it was never stored*.
    Tombstone {
        /// Which.
        id: MessageId,
        /// Why; never [`RowState::Live`].
        state: RowState,
        /// The record that said so, or the row's own id when a listing did.
        history_id: HistoryId,
        /// The labels from now on, where they are known; else they stay.
        labels: Option<Labels>,
        /// Labels changed while a comparison is open.
        touched: Touched,
    },
}

impl RowWrite {
    /// Which message it is about.
    pub fn id(&self) -> MessageId {
        match self {
            Self::Put { message, .. } => message.id,
            Self::Labels { id, .. } | Self::Tombstone { id, .. } => *id,
        }
    }
}

/// What is announced, in one sequence a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the sequence, from 1.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Happened {
    /// A message that is news was stored.
    #[serde(rename = "message.created")]
    Created(MessageNews),
    /// A stored message changed, or was found changed.
    #[serde(rename = "message.updated")]
    Updated(MessageNews),
    /// A stored message is gone, or has left the scope.
    #[serde(rename = "message.deleted")]
    Deleted(MessageNews),
    /// The grant is gone.
    #[serde(rename = "mailbox.needs_reauth")]
    NeedsReauth,
    /// Nothing is tried by itself until later, or until somebody looks.
    #[serde(rename = "sync.failed")]
    SyncFailed {
        /// One sentence; no address, subject or token.
        error: String,
    },
    /// Old mail has come: one event for all of it.
    #[serde(rename = "backfill.completed")]
    BackfillCompleted {
        /// What it did.
        counts: Counts,
    },
}

/// The message that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageNews {
    /// Which.
    pub gmail_id: MessageId,
    /// Up to which record the row is current with this event.
    pub history_id: HistoryId,
    /// Its labels with this event.
    pub label_ids: Labels,
}

/// A change of one owed item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OwedWrite {
    /// Owed from now on, or owed differently.
    Put(Owed),
    /// Owed no more. Nothing happens when it was not owed.
    Clear(MessageId),
}

impl OwedWrite {
    /// Which message it is about.
    pub fn id(&self) -> MessageId {
        match self {
            Self::Put(owed) => owed.id,
            Self::Clear(id) => *id,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobClose {
    /// Which.
    pub id: JobId,
    /// How.
    pub status: JobStatus,
    /// What it did.
    pub counts: Counts,
    /// What went wrong.
    pub errors: Vec<JobError>,
}
