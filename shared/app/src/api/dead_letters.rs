//! Dead letters: what they are, back to their queues, or away.
//!
//! Invariant: a letter is shown by what it says of a job, never by its body, which may hold anything. They are of all
//! tenants, so this is for whoever operates the system.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sync_core::{MailboxId, job::Lane};
use sync_queue::{DeadLetter, JobMessage, QueueError};
use sync_store::AuditAction;

use super::{
    ApiState,
    audit::{Deed, note},
    auth::{Caller, ToOperate},
    body::MaybeJson,
    problem::{CorrelationId, Problem},
    query::Query,
    view::ListView,
};

/// A dead letter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    id: String,
    queue: &'static str,
    reason: String,
    sent_at: Option<Timestamp>,
    /// Null for what is no job.
    mailbox: Option<MailboxId>,
    trace: Option<String>,
    /// `push`, `schedule`, …, or the kind of upkeep.
    what: Option<String>,
}

impl DeadLetterView {
    fn new(letter: DeadLetter) -> Self {
        let what = letter.job.as_ref().map(|job| match job {
            JobMessage::V1 { trigger, .. } => format!("{trigger:?}").to_ascii_lowercase(),
            JobMessage::Upkeep { upkeep, .. } => upkeep.name().to_owned(),
        });
        Self {
            id: letter.id,
            queue: match letter.lane {
                Lane::Sync => "sync",
                Lane::Backfill => "backfill",
            },
            reason: letter.reason,
            sent_at: letter.sent_at,
            mailbox: letter.job.as_ref().map(|job| job.mailbox().clone()),
            trace: letter.job.as_ref().map(|job| job.trace().to_owned()),
            what,
        }
    }
}

/// `GET /api/operations/dead-letters`: oldest first, at most 500 of each queue.
pub async fn list(
    _: Caller<ToOperate>,
    State(state): State<Arc<ApiState>>,
    query: Query,
) -> Result<Json<ListView<DeadLetterView>>, Problem> {
    query.finish()?;
    let letters = state.queue.dead_letters().await.map_err(failed)?;
    let items = letters.into_iter().map(DeadLetterView::new).collect();
    Ok(Json(ListView { items, next_cursor: None }))
}

/// Which letter.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveBody {
    id: Option<String>,
}

/// How many went.
#[derive(Debug, Serialize)]
pub struct RedrivenView {
    moved: u64,
    unreadable: u64,
}

/// `POST /api/operations/dead-letters/redrive`: that one (`id`, in the body or the query), or all of them.
pub async fn redrive(
    caller: Caller<ToOperate>,
    State(state): State<Arc<ApiState>>,
    Extension(CorrelationId(trace)): Extension<CorrelationId>,
    mut query: Query,
    MaybeJson(body): MaybeJson<RedriveBody>,
) -> Result<Json<RedrivenView>, Problem> {
    let id = query.once("id", body.id, Query::text);
    query.finish()?;
    let redriven = state.queue.redrive(id.as_deref()).await.map_err(failed)?;
    if id.is_some() && redriven.moved + redriven.unreadable == 0 {
        return Err(Problem::not_found("dead letter"));
    }
    tracing::info!(moved = redriven.moved, unreadable = redriven.unreadable, "dead letters were moved back");
    note(&state, &Deed::of(&caller, AuditAction::DeadLettersRedriven, &trace)).await;
    Ok(Json(RedrivenView { moved: redriven.moved, unreadable: redriven.unreadable }))
}

/// `DELETE /api/operations/dead-letters/{id}`: for what no version will ever read.
pub async fn discard(
    caller: Caller<ToOperate>,
    State(state): State<Arc<ApiState>>,
    Extension(CorrelationId(trace)): Extension<CorrelationId>,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::http::StatusCode, Problem> {
    query.finish()?;
    if !state.queue.discard_dead_letter(&id).await.map_err(failed)? {
        return Err(Problem::not_found("dead letter"));
    }
    note(&state, &Deed::of(&caller, AuditAction::DeadLetterDiscarded, &trace)).await;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn failed(error: QueueError) -> Problem {
    tracing::error!(%error, "the queues did not serve a request");
    Problem::unavailable("The queues do not answer now; try again.")
}
