//! The API's own shapes, in camel case: what a mailbox, a job, a status and a mail look like outside.
//!
//! Invariant: pure. Whether a mailbox is healthy is decided here and nowhere else. Deliberately absent:
//! credentials, leases, and everything else that is nobody's business outside.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sync_core::{
    HistoryId, JobId, MailboxId, MessageId, ThreadId,
    job::{Counts, JobError, JobKind, JobStatus, Trigger},
    message::{Address, Labels},
    state::{Sync, Work},
};
use sync_store::{JobRow, StoredMessage};

/// How often a mailbox is looked at, by whether pushes come.
#[derive(Debug, Clone, Copy)]
pub struct SyncIntervals {
    /// With a live watch.
    pub with_watch: SignedDuration,
    /// Without.
    pub without_watch: SignedDuration,
}

impl SyncIntervals {
    fn of(self, sync: &Sync, now: Timestamp) -> SignedDuration {
        let watched = sync.watch_expires_at.is_some_and(|expires| expires > now);
        if watched { self.with_watch } else { self.without_watch }
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListView<T> {
    /// The page.
    pub items: Vec<T>,
    /// Where the next one begins; null at the end.
    pub next_cursor: Option<String>,
}

/// A mailbox in a list, and what connecting answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MailboxView {
    id: MailboxId,
    email: String,
    tenant_id: String,
    auth_type: &'static str,
    /// Whether Gmail pushes: null when the mailbox is polled.
    watch_expires_at: Option<Timestamp>,
    #[serde(flatten)]
    state: StateView,
}

/// How a mailbox does: part of [`MailboxView`] and of [`StatusView`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateView {
    status: &'static str,
    healthy: bool,
    syncing: bool,
    last_sync_at: Option<Timestamp>,
    staleness_seconds: Option<i64>,
    debts: i64,
    drift: i64,
    backfill: Option<BackfillView>,
    last_error: Option<String>,
    totals: TotalsView,
}

#[derive(Debug, Serialize)]
struct TotalsView {
    messages: i64,
    deleted: i64,
    sales: u64,
    expenses: u64,
}

/// How far a backfill is.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackfillView {
    listed: u64,
    fetched: u64,
    total: Option<u64>,
    expected_end: Option<Timestamp>,
}

/// A2: everything about one mailbox's sync.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    mailbox: MailboxId,
    email: String,
    cursor: Option<HistoryId>,
    target: Option<HistoryId>,
    consecutive_errors: u32,
    cooldown_until: Option<Timestamp>,
    watch_expires_at: Option<Timestamp>,
    /// Null: kept by the quota ledger, which is not there yet.
    quota_units_today: Option<u64>,
    last_sync: Option<JobView>,
    #[serde(flatten)]
    state: StateView,
}

impl MailboxView {
    /// A mailbox as its owner sees it.
    pub fn new(sync: &Sync, intervals: SyncIntervals, now: Timestamp) -> Self {
        Self {
            id: sync.mailbox.clone(),
            email: sync.address.as_str().to_owned(),
            tenant_id: sync.tenant.to_string(),
            auth_type: "oauth",
            watch_expires_at: sync.watch_expires_at,
            state: StateView::new(sync, intervals, now),
        }
    }
}

impl StateView {
    fn new(sync: &Sync, intervals: SyncIntervals, now: Timestamp) -> Self {
        let staleness = sync.progress.last_sync_at.map(|at| now.duration_since(at).max(SignedDuration::ZERO));
        Self {
            status: sync.status.name(),
            healthy: is_healthy(sync, intervals, now),
            syncing: sync.lease.as_ref().is_some_and(|lease| lease.until > now),
            last_sync_at: sync.progress.last_sync_at,
            staleness_seconds: staleness.map(|age| age.as_secs()),
            debts: sync.totals.debts,
            drift: 0,
            backfill: backfill(sync, now),
            last_error: sync.progress.errors.last.clone(),
            totals: TotalsView {
                messages: sync.totals.messages,
                deleted: sync.totals.deleted,
                sales: 0,
                expenses: 0,
            },
        }
    }
}

impl StatusView {
    /// The status of a mailbox; `last` is its newest finished job.
    pub fn new(sync: &Sync, last: Option<&JobRow>, intervals: SyncIntervals, now: Timestamp) -> Self {
        Self {
            mailbox: sync.mailbox.clone(),
            email: sync.address.as_str().to_owned(),
            cursor: sync.progress.cursor,
            target: sync.target,
            consecutive_errors: sync.progress.errors.consecutive,
            cooldown_until: sync.progress.errors.cooldown_until,
            watch_expires_at: sync.watch_expires_at,
            quota_units_today: None,
            last_sync: last.map(|job| JobView::new(&sync.mailbox, job)),
            state: StateView::new(sync, intervals, now),
        }
    }
}

/// Healthy is a promise: the replica is the mailbox, as far as anybody has said.
fn is_healthy(sync: &Sync, intervals: SyncIntervals, now: Timestamp) -> bool {
    // Exhaustive on purpose: a new status must be thought about here.
    let active = match sync.status {
        sync_core::state::Status::Active => true,
        sync_core::state::Status::Paused
        | sync_core::state::Status::NeedsReauth
        | sync_core::state::Status::NeedsAttention
        | sync_core::state::Status::Deactivated => false,
    };
    let caught_up =
        sync.target.is_none_or(|target| sync.progress.cursor.is_some_and(|cursor| target <= cursor));
    let fresh = sync
        .progress
        .last_sync_at
        .is_some_and(|at| now.duration_since(at) < intervals.of(sync, now).saturating_mul(2));
    active
        && sync.progress.work.is_empty()
        && sync.totals.waiting == 0
        && sync.totals.debts == 0
        && caught_up
        && fresh
}

fn backfill(sync: &Sync, now: Timestamp) -> Option<BackfillView> {
    let waiting = u64::try_from(sync.totals.waiting).unwrap_or(0);
    let Some(work) = sync.progress.work.first() else {
        let stored = u64::try_from(sync.totals.messages).unwrap_or(0);
        return (waiting > 0).then(|| BackfillView {
            listed: stored + waiting,
            fetched: stored,
            total: Some(stored + waiting),
            expected_end: None,
        });
    };
    let list = work.list.as_ref();
    let total = list.map(|list| list.total);
    Some(BackfillView {
        listed: work.counts.listed.max(total.unwrap_or(0)),
        fetched: list.map_or(work.counts.fetched, |list| list.position),
        total,
        expected_end: expected_end(work, now),
    })
}

/// As fast as so far. Nothing is promised before the first batch.
fn expected_end(work: &Work, now: Timestamp) -> Option<Timestamp> {
    let list = work.list.as_ref().filter(|list| list.position > 0)?;
    let so_far = now.duration_since(work.started_at).as_secs().max(1);
    let left = i128::from(list.total.saturating_sub(list.position));
    let seconds = i128::from(so_far) * left / i128::from(list.position);
    now.checked_add(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
}

/// A job.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    id: JobId,
    mailbox: MailboxId,
    kind: JobKind,
    trigger: Trigger,
    status: JobStatus,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    duration_ms: Option<i64>,
    counts: CountsView,
    quota_units: u64,
    errors: Vec<JobError>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct CountsView {
    listed: u64,
    fetched: u64,
    inserted: u64,
    updated: u64,
    deleted: u64,
    debts: u64,
    sales_added: u64,
    expenses_added: u64,
}

impl From<&Counts> for CountsView {
    fn from(counts: &Counts) -> Self {
        Self {
            listed: counts.listed,
            fetched: counts.fetched,
            inserted: counts.inserted,
            updated: counts.updated,
            deleted: counts.deleted,
            debts: counts.debts,
            sales_added: 0,
            expenses_added: 0,
        }
    }
}

impl JobView {
    /// A job of this mailbox.
    pub fn new(mailbox: &MailboxId, job: &JobRow) -> Self {
        let began = job.started_at.unwrap_or(job.created_at);
        Self {
            id: job.id.clone(),
            mailbox: mailbox.clone(),
            kind: job.kind,
            trigger: job.trigger,
            status: job.status,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            duration_ms: job
                .finished_at
                .map(|end| i64::try_from(end.duration_since(began).as_millis()).unwrap_or(i64::MAX)),
            counts: CountsView::from(&job.counts),
            quota_units: job.quota_units,
            errors: job.errors.clone(),
        }
    }
}

/// Whether a job has ended.
pub fn is_finished(status: JobStatus) -> bool {
    match status {
        JobStatus::Queued | JobStatus::Running => false,
        JobStatus::Success | JobStatus::Partial | JobStatus::Failed => true,
    }
}

/// A mail in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailView {
    id: String,
    mailbox: MailboxId,
    gmail_id: MessageId,
    thread_id: Option<ThreadId>,
    rfc822_message_id: Option<String>,
    label_ids: Labels,
    history_id: HistoryId,
    is_deleted: bool,
    deleted_at: Option<Timestamp>,
    direction: &'static str,
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    bcc: Vec<Address>,
    subject: String,
    snippet: String,
    received_at: Option<Timestamp>,
    size_estimate: u64,
    has_attachments: bool,
    category: Option<String>,
    amount: Option<String>,
    currency: Option<String>,
    contact_id: Option<String>,
    references: Vec<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<StoredMessage> for EmailView {
    fn from(message: StoredMessage) -> Self {
        let id = message.email_id().to_string();
        let is_deleted = message.is_deleted();
        let envelope = *message.envelope;
        Self {
            id,
            mailbox: message.mailbox,
            gmail_id: message.id,
            thread_id: message.thread_id,
            rfc822_message_id: envelope.rfc822_message_id,
            label_ids: message.labels,
            history_id: message.history_id,
            is_deleted,
            deleted_at: message.deleted_at,
            direction: if envelope.outbound { "outbound" } else { "inbound" },
            from: envelope.from,
            to: envelope.to,
            cc: envelope.cc,
            bcc: envelope.bcc,
            subject: envelope.subject,
            snippet: message.snippet,
            received_at: message.received_at,
            size_estimate: message.size_estimate,
            has_attachments: envelope.has_attachments,
            category: None,
            amount: None,
            currency: None,
            contact_id: None,
            references: message.references,
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}
