//! Runs the jobs of one SQS batch.
//!
//! Jobs run side by side, each in a task of its own: a panic is one failed job, never the batch. A failed
//! job is visible again after a short wait, not after the queue's whole visibility timeout. A body that
//! nobody can read goes to the dead-letter queue at once, with its reason: trying it again cannot help.

use std::{future::Future, sync::Arc};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use sync_app::sync::{Worker, sync};
use sync_core::job::Lane;
use sync_queue::{JobMessage, Queue};

/// First wait before a failed job is tried again; doubles with every try.
const RETRY_FIRST_SECONDS: i64 = 5;
/// Longest such wait.
const RETRY_MAX_SECONDS: i64 = 300;

/// Looks at the mailbox of each job. Nothing new is begun within `checkpoint` of the Lambda deadline.
pub async fn look_at_each(
    worker: &Worker,
    checkpoint: SignedDuration,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, lambda_runtime::Error> {
    let deadline = Timestamp::from_millisecond(i64::try_from(event.context.deadline)?)?;
    let checkpoint_at = deadline - checkpoint;
    let (worker, owner) = (worker.clone(), event.context.request_id);
    let queue = worker.clients.queue.clone();
    let handle = move |message: JobMessage, lane| {
        let (worker, owner) = (worker.clone(), owner.clone());
        async move {
            let looked = sync(&worker, message.job(lane), message.trace(), &owner, checkpoint_at).await;
            looked.map(drop).map_err(|interrupted| interrupted.to_string())
        }
    };
    Ok(run(&queue, event.payload, handle).await)
}

/// Runs every job of the batch; tells SQS which ones failed.
pub async fn run<F>(
    queue: &Queue,
    event: SqsEvent,
    handle: impl Fn(JobMessage, Lane) -> F + Send + Sync + 'static,
) -> SqsBatchResponse
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let handle = Arc::new(handle);
    let jobs = event.records.into_iter().map(|record| run_one(queue, record, Arc::clone(&handle)));
    let failures = futures::future::join_all(jobs).await;
    // An empty list means that all succeeded.
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.into_iter().flatten().collect();
    response
}

async fn run_one<F>(
    queue: &Queue,
    record: SqsMessage,
    handle: Arc<impl Fn(JobMessage, Lane) -> F + Send + Sync + 'static>,
) -> Option<BatchItemFailure>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    // Continuations of a backfill must not run beside new mail.
    let lane = queue.lane_of(record.event_source_arn.as_deref().unwrap_or_default());
    let body = record.body.clone().unwrap_or_default();
    let outcome = match JobMessage::parse(&body) {
        Err(error) => {
            tracing::error!(error = %error, jobs_unreadable = 1, "a job that cannot be read goes to the dead-letter queue");
            queue.dead_letter(&body, &error.to_string()).await.map_err(|error| error.to_string())
        }
        Ok(message) => {
            let trace = message.trace().to_owned();
            // A task of its own, so that a panic ends here.
            match tokio::spawn(handle(message, lane)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("the job panicked (trace {trace})")),
            }
        }
    };
    let error = outcome.err()?;
    tracing::error!(error, jobs_failed = 1, "a job failed and will come again");
    retry_soon(queue, lane, &record).await;
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = record.message_id.unwrap_or_default();
    Some(failure)
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
