//! What the engine asks for and what it is told: decisions, not bytes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::Failure,
    ids::{Generation, HistoryId, MailboxId, MessageId},
    job::{Counts, Lane, Request},
    message::{Message, RowHead},
    owed::Owed,
    state::{Content, Status, Sync, Window},
    sync::{commit::Commit, listing::Listing, threads::Listed},
};

/// One thing to do. Every variant is small enough to be logged and to be told apart in a trace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Raise `target` to this, unless it is there already. Answer: [`Seen::Done`].
    RaiseTarget(HistoryId),
    /// Lower `target` to `to`, if it is still `from`. Answer: [`Seen::Done`].
    LowerTarget {
        /// What was read before the list.
        from: HistoryId,
        /// What the list answered.
        to: HistoryId,
    },
    /// Take the lease until then, if it is free or lapsed. Answer: [`Seen::Acquired`].
    Acquire {
        /// When it lapses.
        until: Timestamp,
    },
    /// Raise `asked`, on condition that the lease is held. Answer: [`Seen::Asked`]: whether it was held.
    RaiseAsked,
    /// Read `SYNC` consistently. Answer: [`Seen::Sync`].
    ReadSync,
    /// The requests that wait. Answer: [`Seen::Requests`].
    ReadRequests,
    /// Gmail's profile. Answer: [`Seen::Profile`].
    GetProfile,
    /// One page of history. Answer: [`Seen::History`] or [`Seen::HistoryExpired`].
    ListHistory {
        /// Exclusive; the same on every page.
        start: HistoryId,
        /// From the page before; lives inside one invocation.
        page_token: Option<String>,
    },
    /// One page of message ids, newest first, SPAM and TRASH included. Answer: [`Seen::Listed`].
    ListMessages {
        /// Which stretch of the mailbox.
        window: Window,
        /// Exact membership of one label, instead of everything.
        label: Option<String>,
        /// From the page before.
        page_token: Option<String>,
    },
    /// Names of all labels. Answer: [`Seen::LabelNames`].
    ListLabels,
    /// How many messages wear each of these labels, by Gmail's own counters; of all labels when empty.
    /// Answer: [`Seen::LabelCounts`].
    CountLabels(Vec<String>),
    /// How many live rows wear each label, by our counters. Answer: [`Seen::LabelCounts`].
    ReadLabelCounts,
    /// Heads of these rows, read consistently; those not stored are absent. Answer: [`Seen::Rows`].
    ReadRows(Vec<MessageId>),
    /// Heads of all rows in the order of their ids, a page after this id. Answer: [`Seen::RowPage`].
    ScanRows {
        /// Exclusive.
        after: Option<MessageId>,
    },
    /// What is owed and is to be tried again by itself, due or not, earliest first, at most `limit`. Answer:
    /// [`Seen::Owed`].
    ReadOwed {
        /// Most items.
        limit: u32,
    },
    /// Owed items of these messages. Answer: [`Seen::Owed`].
    ReadOwedOf(Vec<MessageId>),
    /// Get these messages, put their bodies into the object store. Answer: [`Seen::Fetched`], one result
    /// for each message.
    Fetch {
        /// What of each.
        content: Content,
        /// Which, with their threads where those are known: see [`FetchPlan`](crate::sync::FetchPlan).
        messages: Vec<Listed>,
    },
    /// Keep a listing that the end of the run cuts short. Answer: [`Seen::Done`].
    SaveListing {
        /// Under the mailbox's prefix.
        key: String,
        /// What is known so far.
        listing: Box<Listing>,
    },
    /// Read a listing that was kept. Answer: [`Seen::Listing`]; `None` when it is gone or cannot be read.
    LoadListing {
        /// The object.
        key: String,
    },
    /// Write a fetch list, newest first. Answer: [`Seen::Done`].
    SaveList {
        /// Under the mailbox's prefix; says whether threads are written too, see [`FetchList`](crate::state::FetchList).
        key: String,
        /// What waits to be fetched.
        messages: Vec<Listed>,
    },
    /// Read a stretch of a fetch list. Answer: [`Seen::ListSlice`].
    LoadList {
        /// The object.
        key: String,
        /// First position.
        position: u64,
        /// Most messages.
        limit: u32,
    },
    /// Apply a commit. Answer: [`Seen::Committed`].
    Commit(Box<Commit>),
    /// Send a hint for what remains. Answer: [`Seen::Done`].
    SendContinuation {
        /// The queue.
        lane: Lane,
        /// The step of the work that the hint is for; a plain look has none.
        step: Option<u64>,
        /// Not before this has passed; at most 15 minutes.
        delay: SignedDuration,
    },
    /// Give the lease back, if nobody has asked since. Answer: [`Seen::Released`].
    Release {
        /// The fence.
        generation: Generation,
        /// `asked` as it was before the last look.
        asked: u64,
        /// When somebody must look again.
        due_at: Option<Timestamp>,
        /// The mailbox's status from now on, if it changes. `NeedsReauth` is written on condition that
        /// the credential is still of the version that failed.
        status: Option<Status>,
    },
    /// Nothing more to do.
    Finish(Outcome),
}

/// What was seen, and when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The time of the observation.
    pub now: Timestamp,
    /// The observation.
    pub seen: Seen,
}

/// An observation: the answer to an [`Effect`], or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It is done.
    Done,
    /// See [`Effect::Acquire`].
    Acquired(Acquired),
    /// See [`Effect::RaiseAsked`]: whether the lease was held.
    Asked(bool),
    /// See [`Effect::ReadSync`].
    Sync(Box<Sync>),
    /// See [`Effect::ReadRequests`].
    Requests(Vec<Request>),
    /// See [`Effect::GetProfile`].
    Profile(Profile),
    /// See [`Effect::ListHistory`].
    History(HistoryPage),
    /// 404 on history: the cursor is too old.
    HistoryExpired,
    /// See [`Effect::ListMessages`].
    Listed(ListPage),
    /// See [`Effect::ListLabels`].
    LabelNames(Vec<String>),
    /// See [`Effect::CountLabels`]; a label that nobody wears may be absent.
    LabelCounts(BTreeMap<String, i64>),
    /// See [`Effect::LoadListing`].
    Listing(Option<Box<Listing>>),
    /// See [`Effect::ReadRows`].
    Rows(Vec<(MessageId, RowHead)>),
    /// See [`Effect::ScanRows`]; the bool says whether more follow.
    RowPage(Vec<(MessageId, RowHead)>, bool),
    /// See [`Effect::ReadOwed`].
    Owed(Vec<Owed>),
    /// See [`Effect::Fetch`].
    Fetched(Vec<(MessageId, Fetched)>),
    /// See [`Effect::LoadList`].
    ListSlice(Vec<Listed>),
    /// See [`Effect::Commit`].
    Committed(Committed),
    /// See [`Effect::Release`].
    Released(Released),
    /// The effect could not be carried out.
    Failed(Failure),
}

/// What came of trying to take the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Acquired {
    /// Taken; the state as it is now, lease included.
    Held(Box<Sync>),
    /// Somebody else has it.
    Busy,
    /// There is no such mailbox.
    Unknown,
}

/// What came of a commit. A lost race is an outcome, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Committed {
    /// It is true now.
    Applied,
    /// Another generation holds the mailbox: stop, write nothing.
    Fenced,
    /// Something else changed: read `SYNC` and the rows again, and decide again.
    Conflict,
}

/// What came of a release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Released {
    /// The lease is free.
    Free,
    /// Somebody asked meanwhile (or the credential is a newer one): look again.
    AskedAgain,
    /// Another generation holds the mailbox.
    Fenced,
}

/// Gmail's `users.getProfile`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The mailbox's present.
    pub history_id: HistoryId,
    /// How many messages it holds.
    pub messages_total: u64,
}

/// One page of `users.history.list`, typed arrays only, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HistoryPage {
    /// The records, ids growing.
    pub records: Vec<HistoryRecord>,
    /// The mailbox's present: a cursor only once the last page is applied, and then the *first* page's.
    pub history_id: HistoryId,
    /// There is more.
    pub next_page_token: Option<String>,
}

/// One record: it may touch many messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HistoryRecord {
    /// Its id.
    pub id: HistoryId,
    /// What it did, in the order of the wire.
    pub changes: Vec<(MessageId, RecordChange)>,
}

/// What a record did to one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RecordChange {
    /// `messagesAdded`.
    Added,
    /// `messagesDeleted`: purged, not trashed.
    Deleted,
    /// `labelsAdded`.
    LabelsAdded(Vec<String>),
    /// `labelsRemoved`.
    LabelsRemoved(Vec<String>),
}

/// One page of `users.messages.list`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListPage {
    /// Newest first by custom, not by contract.
    pub messages: Vec<Listed>,
    /// There is more.
    pub next_page_token: Option<String>,
}

/// What came of getting one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fetched {
    /// Got, parsed, its body stored.
    Message(Box<Message>),
    /// 404: gone, or not visible yet.
    NotFound,
    /// Not got, with what to do about it.
    Failed(Failure),
}

/// How an engine's run ended, for the log and the job history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing more to do now.
    Synced(Counts),
    /// What remains is scheduled.
    Continued(Counts),
    /// Somebody else works on it and will look again.
    Busy,
    /// The mailbox is not to be synced.
    NotActive(Status),
    /// No such mailbox.
    Unknown(MailboxId),
    /// An old continuation.
    Stale,
    /// Another generation took over.
    Fenced,
    /// It failed; the mailbox's row says so, and when it is tried again.
    Failed(Failure),
    /// It ended without being able to write so: the queue must bring the job again.
    Interrupted(Failure),
}
