//! `POST /api/sync/{mailbox}/rebuild`: rows made again from the raw mail that is stored, without Gmail.

use axum::{Json, http::StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sync_core::{MailboxId, job::Lane};
use sync_queue::{JobMessage, Upkeep};
use sync_store::AuditAction;

use super::{auth::ToAdminister, order::Order, problem::Problem, query::Query};

/// What was begun.
#[derive(Debug, Serialize)]
pub struct RebuildView {
    mailbox: MailboxId,
    trace: String,
}

/// Rows of an earlier version are read out of their raw mail again, in steps of the `backfill` queue; 202. What came of
/// it is in the worker's log, by `trace`. Asking twice is as good as once.
pub async fn rebuild(
    order: Order<ToAdminister>,
    query: Query,
) -> Result<(StatusCode, Json<RebuildView>), Problem> {
    query.finish()?;
    let sync = order.mailbox().await?;
    let message = JobMessage::Upkeep {
        mailbox: sync.mailbox.clone(),
        upkeep: Upkeep::Rebuild,
        after: None,
        trace: order.trace.clone(),
        sent_at: Timestamp::now(),
    };
    let sent =
        order.state.queue.send(Lane::Backfill, &message, SignedDuration::ZERO, Some(&sync.tenant)).await;
    if let Err(error) = sent {
        tracing::warn!(%error, "a rebuild was not queued");
        return Err(Problem::unavailable("The queue does not answer now; try again."));
    }
    order.note(&sync, AuditAction::RebuildStarted).await;
    Ok((StatusCode::ACCEPTED, Json(RebuildView { mailbox: sync.mailbox, trace: order.trace })))
}
