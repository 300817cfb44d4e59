//! Use case: a worker looks at a mailbox because a job says so.

use std::sync::Arc;

use sync_core::{
    MailboxId, Timestamp,
    job::{Counts, Job, JobError, JobKind, JobStatus, Lane, RequestOptions, Trigger},
    sync::{Engine, Outcome, Settings, drive},
};
use sync_store::{JobRow, Spent, Store, VisitUsage, metered};

use crate::{
    live::{Clients, LiveSettings, LiveWorld},
    report::{Report, WatchKept},
};

/// Everything a worker needs, built once at start.
#[derive(Clone)]
pub struct Worker {
    /// Store, queue, Gmail.
    pub clients: Arc<Clients>,
    /// The engine's bounds and intervals.
    pub settings: Settings,
    /// The world's.
    pub live: LiveSettings,
    /// Memory of the function, for what a visit costs.
    pub memory_megabytes: u64,
}

/// Looks at one mailbox. `checkpoint_at` is the time after which nothing new is begun; `owner` names
/// this worker to people. A run that could not even write down that it failed ends as [`Outcome::Interrupted`]: then the
/// queue has to bring the job again.
pub async fn sync(worker: &Worker, job: Job, trace: &str, owner: &str, checkpoint_at: Timestamp) -> Report {
    let began_at = Timestamp::now();
    let (clients, live) = (Arc::clone(&worker.clients), worker.live.clone());
    let mut world = LiveWorld::new(clients, live, &job, trace.to_owned(), owner.to_owned(), began_at);
    let (report, spent) = metered(Box::pin(look(worker, &mut world, job, began_at, checkpoint_at))).await;
    report.tell();
    // A visit that was not let in has cost next to nothing.
    if !matches!(report.outcome, Outcome::Busy | Outcome::Unknown(_) | Outcome::Stale) {
        add_usage(worker, &world, &report, spent).await;
    }
    report
}

/// The visit itself, with all that it writes of itself.
async fn look(
    worker: &Worker,
    world: &mut LiveWorld,
    job: Job,
    began_at: Timestamp,
    checkpoint_at: Timestamp,
) -> Report {
    let (mailbox, trigger, lane) = (job.mailbox.clone(), job.trigger, job.lane);
    let engine = Engine::new(worker.settings.clone(), job, checkpoint_at, rand::random());
    let outcome = drive(engine, world, began_at).await;
    let mut watch = WatchKept::default();
    if matches!(outcome, Outcome::Synced(_)) {
        watch = world.keep_watch(Timestamp::now()).await;
        world.keep_aliases(Timestamp::now()).await;
        if lane == Lane::Backfill {
            sweep_lists(&worker.clients.store, &mailbox).await;
        }
    }
    world.settle().await;
    let ended_at = Timestamp::now();
    keep_history(&worker.clients.store, world, &mailbox, trigger, &outcome, (began_at, ended_at)).await;
    Report {
        mailbox,
        trigger,
        lane,
        outcome,
        quota_units: world.units(),
        duration: ended_at.duration_since(began_at),
        staleness: world.staleness(ended_at),
        watch,
    }
}

/// What a finished backfill or comparison left behind. A failure leaves it to the next one, and to the bucket's own
/// rule.
async fn sweep_lists(store: &Store, mailbox: &MailboxId) {
    match store.sweep_lists(mailbox, Timestamp::now()).await {
        Ok(0) => {}
        Ok(swept) => tracing::info!(mailbox.id = %mailbox, swept, "lists out of use were deleted"),
        Err(error) => tracing::warn!(mailbox.id = %mailbox, %error, "lists out of use were not deleted"),
    }
}

/// What the visit used goes into the day's sums, after everything else.
async fn add_usage(worker: &Worker, world: &LiveWorld, report: &Report, spent: Spent) {
    let price = |method| u64::from(worker.clients.project.quota().price(method));
    let gmail = world.spent().into_iter().map(|(method, calls)| (method, (calls, price(method) * calls)));
    let milliseconds = u64::try_from(report.duration.as_millis()).unwrap_or(0);
    let usage = VisitUsage {
        gmail: gmail.collect(),
        megabyte_milliseconds: worker.memory_megabytes.saturating_mul(milliseconds),
        spent,
        // Received and deleted by Lambda's poller, and each hint that was sent.
        sqs_requests: 2 + world.hints(),
    };
    if let Err(error) = worker.clients.store.add_usage(&report.mailbox, &usage, Timestamp::now()).await {
        tracing::warn!(mailbox.id = %report.mailbox, %error, "what the visit used was not counted");
    }
}

/// The job history. A request's row is closed by the engine's own transaction; what pushes and polls did
/// is written here, when they did something. Losing such a row loses no mail.
async fn keep_history(
    store: &Store,
    world: &LiveWorld,
    mailbox: &MailboxId,
    trigger: Trigger,
    outcome: &Outcome,
    (began_at, ended_at): (Timestamp, Timestamp),
) {
    for job in world.jobs().iter().filter(|_| world.units() > 0) {
        if let Err(error) = store.add_job_quota(mailbox, job, world.units()).await {
            tracing::warn!(mailbox.id = %mailbox, job.id = %job, %error, "a job's quota units were not counted");
        }
    }
    let (status, counts, error) = match outcome {
        Outcome::Synced(counts) | Outcome::Continued(counts)
            if counts.inserted + counts.updated + counts.deleted > 0 =>
        {
            let status = if counts.debts > 0 { JobStatus::Partial } else { JobStatus::Success };
            (status, counts.clone(), None)
        }
        Outcome::Failed(failure) => (JobStatus::Failed, Counts::default(), Some(failure.message.clone())),
        _ => return,
    };
    // Under a request it is the request's doing; a continuation without one is the second look after news.
    let has_no_request = match trigger {
        Trigger::Push | Trigger::Schedule | Trigger::Continuation | Trigger::Refresh | Trigger::Probe => true,
        Trigger::Manual | Trigger::Connect => false,
    };
    let is_own = has_no_request && world.jobs().is_empty();
    if !is_own {
        return;
    }
    let error = error.map(|error| JobError { message_id: None, error, at: ended_at });
    let row = JobRow {
        id: Store::new_job_id(),
        kind: JobKind::Incremental,
        trigger,
        status,
        created_at: began_at,
        started_at: Some(began_at),
        finished_at: Some(ended_at),
        counts,
        quota_units: world.units(),
        errors: error.into_iter().collect(),
        options: RequestOptions::default(),
    };
    if let Err(error) = store.record_run(mailbox, &row).await {
        tracing::warn!(mailbox.id = %mailbox, %error, "the run was not recorded");
    }
}
