//! One commit: what becomes true at once, or not at all.

use jiff::Timestamp;

use crate::{
    ids::{Generation, HistoryId, JobId, MailboxId, MessageId},
    job::{Counts, JobError, JobStatus},
    message::{Labels, Message},
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
    /// When.
    pub now: Timestamp,
}

impl Commit {
    /// Most items one transaction may hold: DynamoDB's limit
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>).
    pub const ITEMS_MAX: usize = 100;
    /// Most messages one commit touches: each may need a row and an owed item beside it, and `SYNC` and
    /// closed requests need room too.
    pub const MESSAGES_MAX: usize = 45;
    /// Most requests one commit closes: a job row and its open marker each.
    pub const CLOSED_MAX: usize = 4;
}

/// A change of one message row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowWrite {
    /// The whole row, after a get. Replaces whatever is there, a tombstone included. References and
    /// other people's attributes stay.
    Put(Message),
    /// Labels by records, no get.
    Labels {
        /// Which.
        id: MessageId,
        /// The labels from now on.
        labels: Labels,
        /// The last record applied.
        history_id: HistoryId,
    },
    /// Deleted for good, *also if it was never stored*.
    Tombstone {
        /// Which.
        id: MessageId,
        /// The record that said so, or the row's own id when a listing did.
        history_id: HistoryId,
    },
}

impl RowWrite {
    /// Which message it is about.
    pub fn id(&self) -> MessageId {
        match self {
            Self::Put(message) => message.id,
            Self::Labels { id, .. } | Self::Tombstone { id, .. } => *id,
        }
    }
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
