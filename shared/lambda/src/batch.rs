//! Runs the jobs of one SQS batch.
//!
//! Jobs run side by side, each in a task of its own: a panic is one failed job, never the batch. A failed
//! job is visible again after a short wait, not after the queue's whole visibility timeout. A body that
//! nobody can read goes to the dead-letter queue at once, with its reason: trying it again cannot help.

use std::{future::Future, sync::Arc};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use sync_app::{
    metrics::{Measures, Metric},
    probe::probe,
    refresh::refresh,
    report::Report,
    sync::{Worker, sync},
    upkeep::{Step, keep_up},
};
use sync_core::{
    job::{Job, Lane, Trigger},
    sync::Outcome,
};
use sync_queue::{JobMessage, Queue};
use tracing::{Instrument as _, Span};

use crate::emf::Emf;

/// First wait before a failed job is tried again; doubles with every try.
const RETRY_FIRST_SECONDS: i64 = 5;
/// Longest such wait.
const RETRY_MAX_SECONDS: i64 = 300;

/// Does each job. Nothing new is begun within `checkpoint` of the Lambda deadline.
pub async fn work_on_each(
    worker: &Worker,
    emf: &Emf,
    checkpoint: SignedDuration,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, lambda_runtime::Error> {
    let deadline = Timestamp::from_millisecond(i64::try_from(event.context.deadline)?)?;
    let checkpoint_at = deadline - checkpoint;
    let (worker, emf, owner) = (worker.clone(), emf.clone(), event.context.request_id);
    let queue = worker.clients.queue.clone();
    let writer = emf.clone();
    let handle = move |message: JobMessage, lane| {
        let (worker, emf, owner) = (worker.clone(), writer.clone(), owner.clone());
        async move { work_on(&worker, &emf, &message, lane, &owner, checkpoint_at).await }
    };
    Ok(run(&queue, &emf, event.payload, handle).await)
}

/// One job: a look, or a step of upkeep. Errors: the queue has to bring it again.
async fn work_on(
    worker: &Worker,
    emf: &Emf,
    message: &JobMessage,
    lane: Lane,
    owner: &str,
    checkpoint_at: Timestamp,
) -> Result<(), String> {
    match message {
        JobMessage::V1 { mailbox, trigger, target, step, trace, sent_at } => {
            let job = Job { mailbox: mailbox.clone(), trigger: *trigger, target: *target, step: *step, lane };
            let looked = match trigger {
                Trigger::Refresh => refresh(worker, job, trace, owner, checkpoint_at, *sent_at)
                    .await
                    .map_err(|error| error.to_string())?,
                Trigger::Probe => probe(worker, job, trace, owner, checkpoint_at)
                    .await
                    .map_err(|error| error.to_string())?,
                Trigger::Push
                | Trigger::Schedule
                | Trigger::Manual
                | Trigger::Connect
                | Trigger::Continuation => Some(sync(worker, job, trace, owner, checkpoint_at).await),
            };
            looked.map_or(Ok(()), |report| told(emf, report))
        }
        JobMessage::Upkeep { mailbox, upkeep, after, trace, .. } => {
            let step =
                Step { mailbox: mailbox.clone(), upkeep: *upkeep, after: *after, trace: trace.clone() };
            let (store, queue) = (&worker.clients.store, &worker.clients.queue);
            match Box::pin(keep_up(store, queue, &step, owner, checkpoint_at)).await {
                Ok(kept) => {
                    emf.write(&kept.measures());
                    Ok(())
                }
                Err(error) => {
                    emf.write(&Measures::one(Metric::UpkeepFailures));
                    Err(error.to_string())
                }
            }
        }
    }
}

/// What a look measured is written; one that was interrupted comes again.
fn told(emf: &Emf, report: Report) -> Result<(), String> {
    emf.write(&report.measures());
    match report.outcome {
        Outcome::Interrupted(failure) => Err(format!("the run was interrupted: {}", failure.message)),
        _ => Ok(()),
    }
}

/// Runs every job of the batch; tells SQS which ones failed.
pub async fn run<F>(
    queue: &Queue,
    emf: &Emf,
    event: SqsEvent,
    handle: impl Fn(JobMessage, Lane) -> F + Send + Sync + 'static,
) -> SqsBatchResponse
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let handle = Arc::new(handle);
    let jobs = event.records.into_iter().map(|record| run_one(queue, emf, record, Arc::clone(&handle)));
    let failures = futures::future::join_all(jobs).await;
    // An empty list means that all succeeded.
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.into_iter().flatten().collect();
    response
}

async fn run_one<F>(
    queue: &Queue,
    emf: &Emf,
    record: SqsMessage,
    handle: Arc<impl Fn(JobMessage, Lane) -> F + Send + Sync + 'static>,
) -> Option<BatchItemFailure>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    // Continuations of a backfill must not run beside new mail.
    let lane = queue.lane_of(record.event_source_arn.as_deref().unwrap_or_default());
    let body = record.body.clone().unwrap_or_default();
    let message = match JobMessage::parse(&body) {
        Ok(message) => message,
        Err(error) => return park(queue, emf, lane, record, &body, &error.to_string()).await,
    };
    // At the level of errors, so that no choice of a level takes the trace off a job's lines.
    let span = tracing::error_span!("job", trace = message.trace(), mailbox.id = %message.mailbox());
    async {
        // A task of its own, so that a panic ends here.
        let task = tokio::spawn(handle(message, lane).instrument(Span::current()));
        let error = match task.await {
            Ok(outcome) => outcome.err()?,
            Err(_) => "the job panicked".to_owned(),
        };
        Some(fail(queue, emf, lane, record, &error).await)
    }
    .instrument(span)
    .await
}

/// What nobody can read goes to the dead-letter queue at once.
async fn park(
    queue: &Queue,
    emf: &Emf,
    lane: Lane,
    record: SqsMessage,
    body: &str,
    why: &str,
) -> Option<BatchItemFailure> {
    let message_id = record.message_id.as_deref().unwrap_or_default();
    tracing::error!(
        message_id,
        error = why,
        jobs_unreadable = 1,
        "a job that cannot be read goes to the dead-letter queue"
    );
    emf.write(&Measures::one(Metric::JobsUnreadable));
    let parked = queue.dead_letter(body, why).await;
    let error = parked.err()?.to_string();
    Some(fail(queue, emf, lane, record, &error).await)
}

async fn fail(queue: &Queue, emf: &Emf, lane: Lane, record: SqsMessage, error: &str) -> BatchItemFailure {
    tracing::error!(error, jobs_failed = 1, "a job failed and will come again");
    emf.write(&Measures::one(Metric::JobsFailed));
    retry_soon(queue, lane, &record).await;
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = record.message_id.unwrap_or_default();
    failure
}

async fn retry_soon(queue: &Queue, lane: Lane, record: &SqsMessage) {
    let Some(handle) = &record.receipt_handle else { return };
    let tries: u32 =
        record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1);
    let wait = RETRY_FIRST_SECONDS.saturating_mul(1 << tries.saturating_sub(1).min(8)).min(RETRY_MAX_SECONDS);
    if let Err(error) = queue.retry_later(lane, handle, SignedDuration::from_secs(wait)).await {
        tracing::warn!(%error, "a failed job keeps the queue's own visibility timeout");
    }
}
