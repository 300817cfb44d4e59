//! Starting syncs and watching them.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use sync_core::{
    JobId, TenantId,
    job::{JobKind, Trigger},
    state::{Status, Sync},
};
use sync_store::{IdempotencyKey, JobRow};
use tokio::time::Instant;

use super::{
    ApiState,
    auth::{Caller, ToRead, ToSync},
    mailbox::owned,
    problem::{CorrelationId, Problem},
    query::{CURSOR_BYTES_MAX, Query},
    requests::{self, Ask},
    view::{JobView, ListView, StatusView, is_finished},
};

/// First and longest pause between two looks at a job that is waited for.
const LOOK_FIRST: Duration = Duration::from_millis(150);
const LOOK_LONGEST: Duration = Duration::from_secs(1);
/// How many jobs are looked at for the last one that ended: the newest ones may be open.
const LAST_JOBS: u32 = 10;

/// A job as the answer of a request: its fields, and the whole under `job`, so that both kinds of readers
/// find it.
#[derive(Serialize)]
struct Asked {
    #[serde(flatten)]
    fields: JobView,
    job: JobView,
}

/// `POST /api/sync/{mailbox}`
pub async fn incremental(
    caller: Caller<ToSync>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    start(&state, &caller.tenant, &mailbox, JobKind::Incremental, &correlation, &headers, query).await
}

/// `POST /api/sync/{mailbox}/full`
pub async fn full(
    caller: Caller<ToSync>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    start(&state, &caller.tenant, &mailbox, JobKind::Full, &correlation, &headers, query).await
}

async fn start(
    state: &ApiState,
    tenant: &TenantId,
    named: &str,
    kind: JobKind,
    correlation: &CorrelationId,
    headers: &HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let until = Instant::now() + state.config.wait_max;
    let wait = query.flag("wait").unwrap_or(false);
    query.finish()?;
    let key = idempotency_key(headers, tenant)?;
    let sync = owned(state, tenant, named).await?;
    refuse_unless_active(&sync)?;
    let ask = Ask { kind, trigger: Trigger::Manual, key, trace: &correlation.0 };
    let mut job = requests::ask(state, &sync, ask).await?;
    if wait {
        job = wait_for(state, &sync, job, until).await?;
    }
    let status = if wait && is_finished(job.status) { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = format!("/api/sync/{}/jobs/{}", sync.mailbox, job.id);
    let view = JobView::new(&sync.mailbox, &job);
    Ok((status, [(header::LOCATION, location)], Json(Asked { fields: view.clone(), job: view }))
        .into_response())
}

fn refuse_unless_active(sync: &Sync) -> Result<(), Problem> {
    let detail = match sync.status {
        Status::Active => return Ok(()),
        Status::Paused => "The mailbox's status is paused: resume it first.",
        Status::NeedsReauth => "The mailbox's status is needs_reauth: connect it again first.",
        Status::NeedsAttention => "The mailbox's status is needs_attention: its lastError says why.",
        Status::Deactivated => "The mailbox's status is deactivated: connect it again first.",
    };
    Err(Problem::conflict(detail))
}

fn idempotency_key(headers: &HeaderMap, tenant: &TenantId) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| {
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    });
    let key =
        key.ok_or_else(|| Problem::field("Idempotency-Key", "must be 1 to 255 printable ASCII characters"))?;
    Ok(Some(IdempotencyKey { tenant: tenant.clone(), key: key.to_owned() }))
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

/// `GET /api/sync/{mailbox}/status`
pub async fn status(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
) -> Result<Json<StatusView>, Problem> {
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let jobs = state.store.list_jobs(&sync.mailbox, LAST_JOBS, None).await?.items;
    let last = jobs.iter().find(|job| is_finished(job.status)).or(jobs.first());
    Ok(Json(StatusView::new(&sync, last, state.config.intervals, Timestamp::now())))
}

/// `GET /api/sync/{mailbox}/jobs`
pub async fn jobs(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    mut query: Query,
) -> Result<Json<ListView<JobView>>, Problem> {
    let limit = query.limit();
    let cursor = query.text_of("cursor", CURSOR_BYTES_MAX);
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let page = state.store.list_jobs(&sync.mailbox, limit, cursor.as_deref()).await?;
    let items = page.items.iter().map(|job| JobView::new(&sync.mailbox, job)).collect();
    Ok(Json(ListView { items, next_cursor: page.next }))
}

/// `GET /api/sync/{mailbox}/jobs/{jobId}`
pub async fn job(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path((mailbox, job)): Path<(String, String)>,
) -> Result<Json<JobView>, Problem> {
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let id: JobId = job.parse().map_err(|_| Problem::not_found("job"))?;
    let row = requests::read_job(&state, &sync.mailbox, &id).await?;
    Ok(Json(JobView::new(&sync.mailbox, &row)))
}
