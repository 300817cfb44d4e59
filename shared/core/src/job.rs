//! A job is a hint: "look at this mailbox". What a worker then does follows from the mailbox's state
//! alone, so a job that is lost, late or doubled changes when something happens and never what.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{HistoryId, JobId, MailboxId, MessageId},
    state::Window,
};

/// What made somebody look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A push from Gmail.
    Push,
    /// The scheduled fan-out.
    Schedule,
    /// A person or a program, over HTTPS or the command line.
    Manual,
    /// The mailbox was connected.
    Connect,
    /// A worker that could not finish.
    Continuation,
    /// The mailbox's access token lapses within the hour.
    Refresh,
    /// The mailbox changed since its counters were last compared.
    Probe,
}

/// The hint as the engine takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Job {
    /// Which mailbox.
    pub mailbox: MailboxId,
    /// What made somebody look.
    pub trigger: Trigger,
    /// The history id that a push named: a target, not proof.
    pub target: Option<HistoryId>,
    /// For a continuation: the step it was sent at. An old one is dropped.
    pub step: Option<u64>,
    /// Which queue it came from.
    pub lane: Lane,
}

/// Two queues, so that new mail never waits for old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Push, manual, poll: deltas.
    Sync,
    /// Slices of a backfill or a resync.
    Backfill,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// What changed since the cursor.
    Incremental,
    /// The first copy of the mailbox.
    Initial,
    /// Everything is listed and compared.
    Full,
    /// The mail of a stretch of time.
    Historical,
    /// The mail to or from one address.
    Contact,
    /// Gmail's counters are compared with ours.
    Probe,
    /// A debt is tried again now.
    RetryDebt,
    /// A debt is accepted as lost.
    AcceptDebt,
}

impl JobKind {
    /// Whether it decides about one debt.
    pub fn is_about_debts(self) -> bool {
        matches!(self, Self::RetryDebt | Self::AcceptDebt)
    }

    /// The name that API, rows and logs show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Initial => "initial",
            Self::Full => "full",
            Self::Historical => "historical",
            Self::Contact => "contact",
            Self::Probe => "probe",
            Self::RetryDebt => "retry_debt",
            Self::AcceptDebt => "accept_debt",
        }
    }
}

/// A request that somebody waits for: written before its hint, closed in the transaction that finishes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// Its id, by which the job is asked for.
    pub id: JobId,
    /// What it asks for.
    pub kind: JobKind,
    /// Who asked.
    pub trigger: Trigger,
    /// What more was said.
    pub options: RequestOptions,
}

/// What a request may say beside its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestOptions {
    /// Historical and contact: which part of the mailbox.
    pub window: Option<Window>,
    /// Full: most messages fetched before the request is answered, 1 to 5,000; the rest stays work.
    pub max_results: Option<u32>,
    /// Full: deletions beyond the mass-deletion guard are meant.
    pub accept_deletions: bool,
    /// Debts: which message.
    pub message: Option<MessageId>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Written, not begun.
    Queued,
    /// Begun.
    Running,
    /// Everything was done.
    Success,
    /// Done, but some messages are owed.
    Partial,
    /// Not done.
    Failed,
}

/// What a job did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// Ids seen in listings and history.
    pub listed: u64,
    /// Messages got from Gmail.
    pub fetched: u64,
    /// Rows that are new.
    pub inserted: u64,
    /// Rows whose labels changed.
    pub updated: u64,
    /// Tombstones written.
    pub deleted: u64,
    /// Messages left owed with a reason.
    pub debts: u64,
}

impl Counts {
    /// Adds another's figures.
    pub fn add(&mut self, other: &Self) {
        self.listed += other.listed;
        self.fetched += other.fetched;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.debts += other.debts;
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One failure inside a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobError {
    /// The message it was about, if one.
    pub message_id: Option<MessageId>,
    /// One sentence; no address, subject or token.
    pub error: String,
    /// When.
    pub at: Timestamp,
}

/// Most errors a job remembers: the rest are in the log.
pub const JOB_ERRORS_MAX: usize = 20;
