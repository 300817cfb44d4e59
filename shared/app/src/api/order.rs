//! An order for a job: who gives it, for which mailbox, and how long they wait for it.
//!
//! Invariant: every path that makes a job takes `?wait=true` and an `Idempotency-Key`, and answers alike.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Path},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sync_core::state::{Status, Sync};
use sync_store::{AuditAction, JobRow};
use tokio::time::Instant;

use super::{
    ApiState,
    audit::{Deed, note},
    auth::{Caller, Needs, ToSync},
    mailbox::owned,
    problem::{CorrelationId, Problem},
    query::Query,
    requests::{self, Ask},
    view::{JobView, is_finished},
};

/// First and longest pause between two looks at a job that is waited for.
const LOOK_FIRST: Duration = Duration::from_millis(150);
const LOOK_LONGEST: Duration = Duration::from_secs(1);

/// A job as the answer of a request: its fields, and the whole under `job`, so that both kinds of readers
/// find it.
#[derive(Serialize)]
struct Asked {
    #[serde(flatten)]
    fields: JobView,
    job: JobView,
}

/// A request that makes a job, as far as its path and headers say.
pub struct Order<N = ToSync> {
    pub(super) state: Arc<ApiState>,
    pub(super) caller: Caller<N>,
    pub(super) trace: String,
    path: BTreeMap<String, String>,
    key: Option<String>,
    began: Instant,
}

impl<N: Needs> FromRequestParts<Arc<ApiState>> for Order<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let began = Instant::now();
        let caller = Caller::from_request_parts(parts, state).await?;
        let Path(path) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::of_status(StatusCode::BAD_REQUEST))?;
        let trace = parts.extensions.get::<CorrelationId>().map(|id| id.0.clone()).unwrap_or_default();
        let key = idempotency_key(&parts.headers)?;
        Ok(Self { state: Arc::clone(state), caller, trace, path, key, began })
    }
}

impl<N> Order<N> {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// Whether the request may be a repeated one.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The mailbox that the path names, if it is the caller's.
    pub(super) async fn mailbox(&self) -> Result<Sync, Problem> {
        owned(&self.state, &self.caller.tenant, self.part("mailbox")).await
    }

    /// Makes the job and answers with it: 202, or 200 when it was waited for and has ended.
    pub(super) async fn place(&self, sync: &Sync, ask: &Ask, wait: bool) -> Result<Response, Problem> {
        let job = requests::ask(&self.state, sync, ask, self.key.as_deref(), &self.trace).await?;
        if let Some(action) = ask.audited() {
            self.note(sync, action).await;
        }
        self.answer(sync, job, wait).await
    }

    /// Notes in the audit trail what was just done.
    pub(super) async fn note(&self, sync: &Sync, action: AuditAction) {
        note(&self.state, &Deed::of(&self.caller, action, &self.trace).with(&sync.mailbox)).await;
    }

    /// Answers with a job that was made.
    async fn answer(&self, sync: &Sync, job: JobRow, wait: bool) -> Result<Response, Problem> {
        let (status, job) = self.follow(sync, job, wait).await?;
        let view = JobView::new(&sync.mailbox, &job);
        let asked = Asked { fields: view.clone(), job: view };
        Ok((status, [(header::LOCATION, location(sync, &job))], Json(asked)).into_response())
    }

    /// The job as it is now, or once it has ended when somebody waits; and the answer's status.
    pub(super) async fn follow(
        &self,
        sync: &Sync,
        mut job: JobRow,
        wait: bool,
    ) -> Result<(StatusCode, JobRow), Problem> {
        if wait {
            job = wait_for(&self.state, sync, job, self.began + self.state.config.wait_max).await?;
        }
        let ended = wait && is_finished(job.status);
        Ok((if ended { StatusCode::OK } else { StatusCode::ACCEPTED }, job))
    }
}

/// Where a job is found.
pub(super) fn location(sync: &Sync, job: &JobRow) -> String {
    format!("/api/sync/{}/jobs/{}", sync.mailbox, job.id)
}

/// Whether the caller waits for the job.
pub(super) fn waits(query: &mut Query) -> bool {
    query.flag("wait").unwrap_or(false)
}

/// 409 for a mailbox that is not to be synced, in words that say what to do.
pub(super) fn refuse_unless_active(sync: &Sync) -> Result<(), Problem> {
    let detail = match sync.status {
        Status::Active => return Ok(()),
        Status::Paused => "The mailbox's status is paused: resume it first.",
        Status::NeedsReauth => "The mailbox's status is needs_reauth: connect it again first.",
        Status::NeedsAttention => {
            "The mailbox's status is needs_attention: its lastError says why. Resume it, or accept what was \
             deleted with /full?accept_deletions=true."
        }
        Status::Deactivated => "The mailbox's status is deactivated: connect it again first.",
    };
    Err(Problem::conflict(detail))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| {
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    });
    let key =
        key.ok_or_else(|| Problem::field("Idempotency-Key", "must be 1 to 255 printable ASCII characters"))?;
    Ok(Some(key.to_owned()))
}

/// Looks at the job until it has ended or time is up: the gateway ends at 30 seconds.
async fn wait_for(state: &ApiState, sync: &Sync, mut job: JobRow, until: Instant) -> Result<JobRow, Problem> {
    let mut pause = LOOK_FIRST;
    while !is_finished(job.status) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(LOOK_LONGEST);
        job = requests::read_job(state, &sync.mailbox, &job.id).await?;
    }
    Ok(job)
}
