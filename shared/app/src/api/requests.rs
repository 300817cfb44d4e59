//! Asking for a sync: the request is written first, then its hint is sent.
//!
//! Invariant: a hint that is lost delays the job and never loses it, because the request also makes the mailbox due.

use jiff::{SignedDuration, Timestamp};
use sync_core::{
    JobId, MailboxId,
    job::{JobKind, Lane, Trigger},
    state::Sync,
};
use sync_queue::JobMessage;
use sync_store::{IdempotencyKey, JobRow};

use super::{
    ApiState,
    problem::{FieldError, Problem},
};

/// What is asked for, and why.
pub(super) struct Ask<'a> {
    pub kind: JobKind,
    pub trigger: Trigger,
    pub key: Option<IdempotencyKey>,
    /// The correlation id.
    pub trace: &'a str,
}

/// Writes the request and sends its hint; gives the job. A key that was used gives the job it was used for.
pub(super) async fn ask(state: &ApiState, sync: &Sync, ask: Ask<'_>) -> Result<JobRow, Problem> {
    let now = Timestamp::now();
    let requested =
        state.store.create_request(&sync.mailbox, ask.kind, ask.trigger, ask.key.as_ref(), now).await?;
    let job = read_job(state, &requested.mailbox, &requested.job).await?;
    if requested.repeated {
        if requested.mailbox != sync.mailbox || job.kind != ask.kind {
            return Err(key_reused());
        }
        return Ok(job);
    }
    let message = JobMessage::V1 {
        mailbox: sync.mailbox.clone(),
        trigger: ask.trigger,
        target: None,
        step: None,
        trace: ask.trace.to_owned(),
        sent_at: now,
    };
    let sent = state.queue.send(Lane::Sync, &message, SignedDuration::ZERO, Some(&sync.tenant)).await;
    if let Err(error) = sent {
        tracing::warn!(mailbox.id = %sync.mailbox, %error, "the hint was not sent; the fan-out finds the request");
    }
    Ok(job)
}

fn key_reused() -> Problem {
    let error = FieldError {
        field: "Idempotency-Key".to_owned(),
        message: "was used for another request".to_owned(),
    };
    Problem::fields(vec![error]).with_status(axum::http::StatusCode::UNPROCESSABLE_ENTITY)
}

/// A job of this mailbox.
pub(super) async fn read_job(state: &ApiState, mailbox: &MailboxId, job: &JobId) -> Result<JobRow, Problem> {
    state.store.read_job(mailbox, job).await?.ok_or_else(|| Problem::not_found("job"))
}
