//! `GET` and `POST /api/cron/{task}`: the schedule for those whose clock is elsewhere.
//!
//! Invariant: nothing is done, and nothing told, without the cron secret. `HEAD`, which probes of monitors send,
//! runs nothing. Deliberately absent: the callers' tokens; a clock is nobody's tenant.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::json;

use super::{
    ApiState,
    auth::bearer,
    problem::{CorrelationId, Problem},
    query::Query,
};
use crate::tasks::{Ran, Task, Tasks};

/// The routes of the clock.
pub(super) fn routes() -> Router<Arc<ApiState>> {
    let refused = || async { StatusCode::METHOD_NOT_ALLOWED };
    Router::new().route("/api/cron/{task}", get(run).post(run).head(refused))
}

async fn run(
    State(state): State<Arc<ApiState>>,
    Extension(CorrelationId(trace)): Extension<CorrelationId>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&state, &headers).await?;
    let task = Task::named(&name).ok_or_else(unknown)?;
    Query::parse(&query.unwrap_or_default()).finish()?;
    let tasks = Tasks {
        store: state.store.clone(),
        queue: state.queue.clone(),
        quota: state.project.quota().clone(),
        probe_interval: state.config.engine.probe_interval,
    };
    let now = Timestamp::now();
    let report = tasks.run(task, &trace, now).await;
    let mut response = match report.outcome {
        Ok(Ran::Queued(queued)) => Json(json!({ "task": task.name(), "queued": queued })).into_response(),
        Ok(Ran::AlreadyRunning(until)) => already_running(task, until, now),
        Err(error) => {
            tracing::error!(task = task.name(), %error, "a task failed");
            Problem::unavailable("The task could not be done now; what it queued stays queued. Try again.")
                .into_response()
        }
    };
    // For whoever serves this: an alarm that waits for ticks must not care whose clock made them.
    response.extensions_mut().insert(report.measures);
    Ok(response)
}

/// 401 unless the secret was sent.
async fn authorize(state: &ApiState, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = || Problem::new(StatusCode::UNAUTHORIZED, "The cron secret is required as a bearer token.");
    let given = bearer(headers).map_err(|_| refused())?.ok_or_else(refused)?;
    let secret = state.cron_secret.as_ref().ok_or_else(refused)?;
    if secret.is(&given).await? { Ok(()) } else { Err(refused()) }
}

fn unknown() -> Problem {
    let names: Vec<&str> = Task::ALL.iter().map(|task| task.name()).collect();
    Problem::new(StatusCode::NOT_FOUND, format!("There is no such task; there are: {}.", names.join(", ")))
}

/// 409, and when it is worth another try at the latest.
fn already_running(task: Task, until: Timestamp, now: Timestamp) -> Response {
    let detail = format!("Another run of {} is under way; at most until {until}.", task.name());
    Problem::conflict(detail).retry_after(until.duration_since(now)).into_response()
}
