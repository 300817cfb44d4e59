//! The mailbox aggregate: `SYNC`, one item a mailbox, every write to it conditional.
//!
//! Three kinds of fields, by who may write them. *Identity* never changes. *Shared* fields are raised by
//! everybody (pushes, requests, people) under a condition of their own. *Progress* belongs to the
//! holder of the lease, whose every write carries its generation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{EmailAddress, Generation, HistoryId, JobId, MailboxId, TenantId};

/// The aggregate root, as a consistent read gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sync {
    /// Which mailbox.
    pub mailbox: MailboxId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its address.
    pub address: EmailAddress,

    /// Highest history id that a push has named.
    pub target: Option<HistoryId>,
    /// Raised by everybody who wants the mailbox looked at and does not hold the lease.
    pub asked: u64,
    /// Who works on it.
    pub lease: Option<Lease>,
    /// Grows by one at every acquisition and every unlock.
    pub generation: Generation,
    /// When somebody must look again.
    pub due_at: Option<Timestamp>,
    /// Whether it is to be synced at all.
    pub status: Status,
    /// When the watch lapses, if one is set.
    pub watch_expires_at: Option<Timestamp>,
    /// Counts the credential's versions, so that a stale refusal does not park a fresh grant.
    pub credential_version: u64,

    /// Number of the last commit.
    pub commit: u64,
    /// What the holder of the lease writes.
    pub progress: Progress,
    /// Counters kept in the commits' own transactions.
    pub totals: Totals,
}

/// What only the holder of the lease writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// Grows when Gmail's ids went backwards (a mailbox made anew).
    pub epoch: u32,
    /// History id up to which every change is committed; grows only, as a number.
    pub cursor: Option<HistoryId>,
    /// The cursor the mailbox began with: what is not above it is old mail.
    pub first_cursor: Option<HistoryId>,
    /// The baseline of the last expiry: changes not above it may never have been seen.
    #[serde(default)]
    pub gap: Option<HistoryId>,
    /// The index is behind this target; how often that was seen.
    pub lag: Option<Lag>,
    /// Continuations, the first being under way; at most [`Progress::WORK_MAX`].
    pub work: Vec<Work>,
    /// Counts the steps of all work: a continuation of an older step is dropped.
    pub step: u64,
    /// Messages owed, waiting ones included, and the earliest time one is due.
    pub owed_due_at: Option<Timestamp>,
    /// Failures in a row.
    pub errors: Errors,
    /// When a delta last reached the mailbox's present.
    pub last_sync_at: Option<Timestamp>,
}

impl Progress {
    /// Longest queue of continuations: one initial, one resync and a few requests.
    pub const WORK_MAX: usize = 8;
}

/// Who holds a mailbox, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// For people who read the row; decisions use the generation.
    pub owner: String,
    /// The fence: a write that carries another generation is refused.
    pub generation: Generation,
    /// When it lapses.
    pub until: Timestamp,
}

/// How often the history index was seen behind a push's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lag {
    /// The target that is not reached.
    pub target: HistoryId,
    /// Tries so far.
    pub tries: u32,
}

/// One continuation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Work {
    /// What for.
    pub kind: WorkKind,
    /// The request that is closed when it is done.
    pub request: Option<JobId>,
    /// The fetch list that was written, once the listing is complete.
    pub list: Option<FetchList>,
    /// When it began.
    pub started_at: Timestamp,
    /// What it did so far.
    pub counts: crate::job::Counts,
}

/// What a continuation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkKind {
    /// First copy, one window after the other.
    Initial {
        /// Which window.
        window: Window,
    },
    /// Everything is listed and compared; `baseline` was the mailbox's present before the listing.
    Resync {
        /// Rows above it are left to the deltas.
        baseline: HistoryId,
    },
}

/// A stretch of the mailbox, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The newest so many.
    Newest(u32),
    /// The last so many days.
    Days(u32),
    /// Everything.
    All,
}

/// A list of ids to fetch, newest first, in the object store: written once, read by position.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FetchList {
    /// The object, under the mailbox's prefix; a new key for each generation and step.
    pub key: String,
    /// How many ids it holds.
    pub total: u64,
    /// How many are done.
    pub position: u64,
}

/// Whether a mailbox is to be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is.
    Active,
    /// Its owner paused it.
    Paused,
    /// The grant is gone.
    NeedsReauth,
    /// Somebody must look.
    NeedsAttention,
    /// Disconnected; the rows stay.
    Deactivated,
}

impl Status {
    /// The name that API and logs show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::NeedsReauth => "needs_reauth",
            Self::NeedsAttention => "needs_attention",
            Self::Deactivated => "deactivated",
        }
    }
}

/// Failures in a row, and what they led to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Errors {
    /// Failures in a row.
    pub consecutive: u32,
    /// The last one, one sentence.
    pub last: Option<String>,
    /// Nothing is tried before this, but by hand.
    pub cooldown_until: Option<Timestamp>,
}

/// What the replica holds. Kept by adding in each commit's transaction, never by counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Totals {
    /// Rows that are not tombstones.
    pub messages: i64,
    /// Tombstones.
    pub deleted: i64,
    /// Messages owed with a reason.
    pub debts: i64,
    /// Messages owed that merely wait.
    pub waiting: i64,
}

impl Totals {
    /// Adds another's figures.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.deleted += other.deleted;
        self.debts += other.debts;
        self.waiting += other.waiting;
    }
}
