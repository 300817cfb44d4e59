//! Watching syncs: how a mailbox does, and its jobs.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use sync_core::JobId;

use super::{
    ApiState,
    auth::{Caller, ToRead},
    mailbox::owned,
    problem::Problem,
    query::{CURSOR_BYTES_MAX, Query},
    requests,
    view::{JobView, ListView, StatusView, is_finished},
};

/// How many jobs are looked at for the last one that ended: the newest ones may be open.
const LAST_JOBS: u32 = 10;

/// `GET /api/sync/{mailbox}/status`
pub async fn status(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    query: Query,
) -> Result<Json<StatusView>, Problem> {
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let now = Timestamp::now();
    let (jobs, usage) = tokio::join!(
        state.store.list_jobs(&sync.mailbox, LAST_JOBS, None),
        state.store.usage_today(&sync.mailbox, now)
    );
    let (jobs, usage) = (jobs?.items, usage?);
    let last = jobs.iter().find(|job| is_finished(job.status)).or(jobs.first());
    let settings = state.settings_of(&sync.tenant).await?;
    Ok(Json(StatusView::new(&sync, last, usage.quota_units, &settings, now)))
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
    query: Query,
) -> Result<Json<JobView>, Problem> {
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let id: JobId = job.parse().map_err(|_| Problem::not_found("job"))?;
    let row = requests::read_job(&state, &sync.mailbox, &id).await?;
    Ok(Json(JobView::new(&sync.mailbox, &row)))
}
