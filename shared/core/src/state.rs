//! The mailbox aggregate: `SYNC`, one item a mailbox, every write to it conditional.
//!
//! Three kinds of fields, by who may write them. *Identity* never changes. *Shared* fields are raised by
//! everybody (pushes, requests, people) under a condition of their own. *Progress* belongs to the
//! holder of the lease, whose every write carries its generation.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{EmailAddress, Generation, HistoryId, JobId, MailboxId, TenantId},
    message::Labels,
    overrides::Overrides,
};

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
    /// How the credential signs in: for people, nothing is decided by it.
    pub credential_kind: CredentialKind,

    /// Which labels the owner chose.
    pub scope: Scope,
    /// What of a message the owner chose to have.
    pub content: Content,
    /// What the owner has otherwise than the deployment. In the row it is the mailbox's own; whoever reads the row for
    /// a worker lays it over the tenant's.
    pub overrides: Overrides,
    /// The addresses that the owner sends from besides the mailbox's own.
    pub aliases: Aliases,

    /// Number of the last commit.
    pub commit: u64,
    /// Number of the last event.
    pub seq: u64,
    /// What the holder of the lease writes.
    pub progress: Progress,
    /// Counters kept in the commits' own transactions.
    pub totals: Totals,
}

impl Sync {
    /// Whether the copy may be called whole and current at `now`: active, a fresh cursor, nothing owed, no work
    /// open, no drift, no unserved target. `interval` is how often the mailbox is polled.
    pub fn is_healthy(&self, interval: SignedDuration, now: Timestamp) -> bool {
        let progress = &self.progress;
        let is_fresh = progress.last_sync_at.is_some_and(|at| now.duration_since(at) < interval * 2);
        self.status == Status::Active
            && is_fresh
            && progress.cursor.is_some()
            && self.target <= progress.cursor
            && progress.work.is_empty()
            && progress.probe.drift == 0
            && self.totals.debts == 0
            && self.totals.waiting == 0
    }
}

/// How a credential signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// OAuth 2.0 with a refresh token: its owner consented.
    #[default]
    Oauth,
    /// A service account's key: the domain delegated to it.
    ServiceAccount,
}

impl CredentialKind {
    /// The name that the API shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oauth => "oauth",
            Self::ServiceAccount => "service_account",
        }
    }
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
    /// The cursor at the last two polls, the older first: a poll lists from there, so that a record which was
    /// invisible while its id was already out is found.
    #[serde(default)]
    pub marks: Vec<HistoryId>,
    /// When the newest mark was set: two polls at once are one.
    #[serde(default)]
    pub marked_at: Option<Timestamp>,
    /// How often in a row history's present was below the cursor: ids that went backwards.
    #[serde(default)]
    pub behind: u32,
    /// Version of the credential whose end the feed has told of: a look that is asked for while the mailbox is being
    /// parked finds the same end once more, and tells of it no more.
    #[serde(default)]
    pub ended_grant: Option<u64>,
    /// What the last probe found.
    #[serde(default)]
    pub probe: Probe,
    /// Messages that Gmail may count and we do not: accepted as lost.
    #[serde(default)]
    pub accepted: u64,
}

/// What comparing Gmail's counters with ours found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// When.
    pub at: Option<Timestamp>,
    /// Messages by which the mailbox's or a label's counters differed, the largest difference.
    pub drift: u64,
    /// When a comparison was last begun for that.
    pub compared_at: Option<Timestamp>,
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
    /// When the next try is due: looks before that, for other reasons, count for nothing.
    #[serde(default)]
    pub next_at: Option<Timestamp>,
}

/// One continuation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Work {
    /// What for.
    pub kind: WorkKind,
    /// The request that is closed when it is done.
    pub request: Option<JobId>,
    /// The object that holds a listing which the end of a run cut short.
    #[serde(default)]
    pub listing: Option<String>,
    /// The fetch list that was written, once the listing is complete.
    pub list: Option<FetchList>,
    /// Messages fetched before the request is answered; the rest goes on without it.
    #[serde(default)]
    pub max_results: Option<u32>,
    /// When it began.
    pub started_at: Timestamp,
    /// What it did so far.
    pub counts: crate::job::Counts,
}

impl Work {
    /// Work that begins now.
    pub fn new(kind: WorkKind, request: Option<JobId>, now: Timestamp) -> Self {
        let (listing, list, max_results) = (None, None, None);
        Self {
            kind,
            request,
            listing,
            list,
            max_results,
            started_at: now,
            counts: crate::job::Counts::default(),
        }
    }
}

/// What a continuation is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkKind {
    /// First copy, one window after the other.
    Initial {
        /// Which window.
        window: Window,
    },
    /// Old mail on demand: a stretch of time, an address. Leaves the cursor alone and deletes nothing.
    Backfill {
        /// Which part.
        window: Window,
    },
    /// Everything is listed and compared; `baseline` was the mailbox's present before the listing.
    Resync {
        /// Rows above it are left to the deltas.
        baseline: HistoryId,
        /// How often history expired under it.
        #[serde(default)]
        restarts: u32,
        /// Deletions beyond the mass-deletion guard are meant.
        #[serde(default)]
        accept_deletions: bool,
    },
}

/// A stretch of the mailbox, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The newest so many.
    Newest(u32),
    /// The last so many days.
    Days(u32),
    /// Everything.
    All,
    /// What was received in `[after, before)`.
    Between {
        /// Inclusive.
        after: Timestamp,
        /// Exclusive.
        before: Timestamp,
    },
    /// What came from an address or went to it, the newest so many.
    Contact {
        /// The address.
        address: EmailAddress,
        /// Most messages.
        limit: u32,
    },
}

/// Which labels the owner chose. Watch and history are never filtered: selection applies at commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// A message must wear one of these; empty means any.
    pub include: Labels,
    /// And none of these.
    pub exclude: Labels,
}

impl Scope {
    /// Everything, the whole mailbox.
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether Gmail's counters tell how much is inside: nothing counts the mail that wears none of some labels.
    pub fn is_countable(&self) -> bool {
        self.exclude.is_empty()
    }

    /// Whether a message that wears these labels is inside.
    pub fn holds(&self, labels: &Labels) -> bool {
        (self.include.is_empty() || !self.include.is_disjoint(labels)) && self.exclude.is_disjoint(labels)
    }
}

/// What of a message is fetched and stored. It holds for what is fetched from then on: what is stored stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The whole mail as it was sent.
    #[default]
    Raw,
    /// Its parts, texts included; attachments and the raw mail when somebody asks for them.
    Full,
    /// Its headers only.
    Metadata,
}

impl Content {
    /// The name that API and logs show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Full => "full",
            Self::Metadata => "metadata",
        }
    }

    /// Whether Gmail gives a whole thread at once in this format.
    pub fn comes_by_thread(self) -> bool {
        match self {
            Self::Raw => false,
            Self::Full | Self::Metadata => true,
        }
    }

    /// Whether a stretch of the mailbox may be found by a search: a grant for headers only may not search.
    pub fn may_search(self) -> bool {
        self != Self::Metadata
    }
}

/// The addresses that a mailbox's owner sends from besides its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Aliases {
    /// As Gmail names them, bounded.
    pub addresses: Vec<EmailAddress>,
    /// When Gmail was last asked for them; never, when `None`.
    pub read_at: Option<Timestamp>,
}

impl Aliases {
    /// Most bytes of addresses kept: they lie on `SYNC`, which every commit writes. Gmail allows 99, most have one.
    const BYTES_MAX: usize = 6_000;
    /// How old they may get: about a day.
    const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

    /// What Gmail has answered, without the mailbox's own address.
    pub fn read(answered: Vec<EmailAddress>, own: &EmailAddress, now: Timestamp) -> Self {
        let mut left = Self::BYTES_MAX;
        let fits = |address: &EmailAddress| {
            let rest = left.checked_sub(address.as_str().len());
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let addresses = answered.into_iter().filter(|address| address != own).take_while(fits).collect();
        Self { addresses, read_at: Some(now) }
    }

    /// Whether Gmail should be asked for them.
    pub fn are_due(&self, now: Timestamp) -> bool {
        self.read_at.is_none_or(|at| now.duration_since(at) >= Self::AGE_MAX)
    }
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
    /// From this position on the ids are of stored rows that a listing missed: their gets decide.
    #[serde(default = "nowhere")]
    pub verify_from: u64,
}

impl FetchList {
    /// How the key of a list ends that lies in the order of its threads and names them. A list's key says how
    /// it is written, so that whoever reads it can never take one kind for the other.
    pub const BY_THREAD: &str = ".threads";

    /// Whether the list of this key names the threads.
    pub fn is_by_thread(key: &str) -> bool {
        key.ends_with(Self::BY_THREAD)
    }
}

fn nowhere() -> u64 {
    u64::MAX
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_bounded_and_read_again_after_a_day() {
        let address = |text: &str| text.parse::<EmailAddress>().expect("an address");
        let own = address("me@example.com");
        let answered =
            (0..1_000).map(|n| address(&format!("alias-{n}@example.com"))).chain([own.clone()]).rev();
        let (now, later) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24));
        let aliases = Aliases::read(answered.collect(), &own, now);
        assert!((100..400).contains(&aliases.addresses.len()), "{}", aliases.addresses.len());
        assert!(!aliases.addresses.contains(&own));
        assert!(Aliases::default().are_due(now) && !aliases.are_due(now) && aliases.are_due(later));
    }
}
