//! How a mailbox does.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sync_core::{
    HistoryId, MailboxId,
    state::{CredentialKind, Status, Sync, Window, Work, WorkKind},
    sync::Settings,
};
use sync_store::JobRow;

use super::job::JobView;

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
    /// What of each message is fetched: `raw`, `full` or `metadata`.
    content: &'static str,
    #[serde(flatten)]
    state: StateView,
}

/// How a mailbox does: part of [`MailboxView`] and of [`StatusView`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateView {
    status: &'static str,
    /// Where its owner consents again, when that is what it needs.
    reconnect: Option<String>,
    healthy: bool,
    syncing: bool,
    last_sync_at: Option<Timestamp>,
    staleness_seconds: Option<i64>,
    debts: i64,
    drift: u64,
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
    quota_units_today: u64,
    last_sync: Option<JobView>,
    #[serde(flatten)]
    state: StateView,
}

impl MailboxView {
    /// A mailbox as its owner sees it; `settings` are its tenant's.
    pub fn new(sync: &Sync, settings: &Settings, now: Timestamp) -> Self {
        Self {
            id: sync.mailbox.clone(),
            email: sync.address.as_str().to_owned(),
            tenant_id: sync.tenant.to_string(),
            auth_type: sync.credential_kind.name(),
            watch_expires_at: sync.watch_expires_at,
            content: sync.content.name(),
            state: StateView::new(sync, settings, now),
        }
    }
}

impl StateView {
    fn new(sync: &Sync, settings: &Settings, now: Timestamp) -> Self {
        let staleness = sync.progress.last_sync_at.map(|at| now.duration_since(at).max(SignedDuration::ZERO));
        Self {
            status: sync.status.name(),
            reconnect: reconnect(sync),
            healthy: sync.is_healthy(settings.interval_of(sync, now), now),
            syncing: sync.lease.as_ref().is_some_and(|lease| lease.until > now),
            last_sync_at: sync.progress.last_sync_at,
            staleness_seconds: staleness.map(|age| age.as_secs()),
            debts: sync.totals.debts,
            drift: sync.progress.probe.drift,
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
    /// The status of a mailbox; `last` is its newest finished job, `quota_units_today` what its visits have spent of
    /// Google's day.
    pub fn new(
        sync: &Sync,
        last: Option<&JobRow>,
        quota_units_today: u64,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        Self {
            mailbox: sync.mailbox.clone(),
            email: sync.address.as_str().to_owned(),
            cursor: sync.progress.cursor,
            target: sync.target,
            consecutive_errors: sync.progress.errors.consecutive,
            cooldown_until: sync.progress.errors.cooldown_until.filter(|until| *until > now),
            watch_expires_at: sync.watch_expires_at,
            quota_units_today,
            last_sync: last.map(|job| JobView::new(&sync.mailbox, job)),
            state: StateView::new(sync, settings, now),
        }
    }
}

/// The way back for a mailbox whose owner's grant is gone. A service account's key is nobody's consent.
fn reconnect(sync: &Sync) -> Option<String> {
    let needs_consent = match sync.status {
        Status::NeedsReauth | Status::Deactivated => sync.credential_kind == CredentialKind::Oauth,
        Status::Active | Status::Paused | Status::NeedsAttention => false,
    };
    needs_consent.then(|| format!("/gmail/auth/url?redirect=true&mailbox={}", sync.mailbox))
}

/// What is still to come: long work first, else messages that merely wait their turn.
fn backfill(sync: &Sync, now: Timestamp) -> Option<BackfillView> {
    let Some(work) = sync.progress.work.first() else {
        let waiting = u64::try_from(sync.totals.waiting).unwrap_or(0);
        let stored = u64::try_from(sync.totals.messages).unwrap_or(0);
        return (waiting > 0).then(|| BackfillView {
            listed: stored + waiting,
            fetched: stored,
            total: Some(stored + waiting),
            expected_end: None,
        });
    };
    let list = work.list.as_ref();
    let listed = work.counts.listed.max(list.map_or(0, |list| list.total));
    // A first window says nothing of how much the next one holds.
    let total = list.filter(|_| is_last_window(work)).map(|list| list.total);
    let fetched = list.map_or(work.counts.fetched, |list| list.position);
    Some(BackfillView { listed, fetched, total, expected_end: expected_end(sync, work, now) })
}

fn is_last_window(work: &Work) -> bool {
    match &work.kind {
        WorkKind::Initial { window } => *window == Window::All,
        WorkKind::Backfill { .. } | WorkKind::Resync { .. } => true,
    }
}

/// As fast as so far. Nothing is promised before the first batch, while more is queued whose size nobody knows, or
/// while nothing moves.
fn expected_end(sync: &Sync, work: &Work, now: Timestamp) -> Option<Timestamp> {
    let resting = sync.progress.errors.cooldown_until.is_some_and(|until| until > now);
    if sync.status != Status::Active || resting || sync.progress.work.len() > 1 || !is_last_window(work) {
        return None;
    }
    let list = work.list.as_ref().filter(|list| list.position > 0)?;
    let so_far = now.duration_since(work.started_at).as_secs().max(1);
    let left = i128::from(list.total.saturating_sub(list.position));
    let seconds = i128::from(so_far) * left / i128::from(list.position);
    now.checked_add(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
}
