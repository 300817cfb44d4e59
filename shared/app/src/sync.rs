//! Use case: a worker looks at a mailbox because a job says so.

use std::sync::Arc;

use sync_core::{
    MailboxId, Timestamp,
    job::{Counts, Job, JobError, JobKind, JobStatus, Lane, RequestOptions, Trigger},
    sync::{Engine, Outcome, Settings, drive},
};
use sync_store::{JobRow, Store};

use crate::live::{Clients, LiveSettings, LiveWorld};

/// Everything a worker needs, built once at start.
#[derive(Clone)]
pub struct Worker {
    /// Store, queue, Gmail.
    pub clients: Arc<Clients>,
    /// The engine's bounds and intervals.
    pub settings: Settings,
    /// The world's.
    pub live: LiveSettings,
}

/// A run that could not even write down that it failed: the queue has to bring the job again.
#[derive(Debug, thiserror::Error)]
#[error("the run was interrupted: {0}")]
pub struct Interrupted(String);

/// Looks at one mailbox. `checkpoint_at` is the time after which nothing new is begun; `owner` names
/// this worker to people.
pub async fn sync(
    worker: &Worker,
    job: Job,
    trace: &str,
    owner: &str,
    checkpoint_at: Timestamp,
) -> Result<Outcome, Interrupted> {
    let began_at = Timestamp::now();
    let (mailbox, trigger, lane) = (job.mailbox.clone(), job.trigger, job.lane);
    let engine = Engine::new(worker.settings.clone(), job, checkpoint_at, rand::random());
    let mut world = LiveWorld::new(
        Arc::clone(&worker.clients),
        worker.live.clone(),
        mailbox.clone(),
        trace.to_owned(),
        owner.to_owned(),
        began_at,
    );
    let outcome = drive(engine, &mut world, began_at).await;
    if matches!(outcome, Outcome::Synced(_)) {
        world.keep_watch(Timestamp::now()).await;
        world.keep_aliases(Timestamp::now()).await;
        if lane == Lane::Backfill {
            sweep_lists(&worker.clients.store, &mailbox).await;
        }
    }
    let ended_at = Timestamp::now();
    tell(&outcome, &mailbox, trigger, world.units(), ended_at.duration_since(began_at).as_millis());
    keep_history(&worker.clients.store, &world, &mailbox, trigger, &outcome, (began_at, ended_at)).await;
    match outcome {
        Outcome::Interrupted(failure) => Err(Interrupted(failure.message)),
        outcome => Ok(outcome),
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

/// One line for one outcome, where it is handled.
fn tell(outcome: &Outcome, mailbox: &MailboxId, trigger: Trigger, quota_units: u64, duration_ms: i128) {
    let counted = |what: &str, counts: &Counts| {
        tracing::info!(
            mailbox.id = %mailbox,
            trigger = ?trigger,
            gmail_emails = counts.listed,
            new_emails = counts.inserted,
            deleted_emails = counts.deleted,
            total_processed = counts.inserted + counts.updated + counts.deleted,
            debts = counts.debts,
            quota_units,
            duration_ms,
            "{what}"
        );
    };
    match outcome {
        Outcome::Synced(counts) => counted("synced", counts),
        Outcome::Continued(counts) => counted("what remains is scheduled", counts),
        Outcome::Busy => {
            tracing::info!(mailbox.id = %mailbox, duration_ms, "somebody else works on it and will look again");
        }
        Outcome::NotActive(status) => {
            tracing::info!(mailbox.id = %mailbox, status = status.name(), "not to be synced");
        }
        Outcome::Unknown(_) => tracing::warn!(mailbox.id = %mailbox, "no such mailbox"),
        Outcome::Stale => tracing::debug!(mailbox.id = %mailbox, "an old continuation"),
        Outcome::Fenced => tracing::warn!(mailbox.id = %mailbox, "another worker took over"),
        Outcome::Failed(failure) => {
            tracing::warn!(mailbox.id = %mailbox, error = %failure.message, disposition = ?failure.disposition, quota_units, duration_ms, "the sync failed and will be tried again");
        }
        Outcome::Interrupted(failure) => {
            tracing::error!(mailbox.id = %mailbox, error = %failure.message, "the sync was interrupted");
        }
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
    let has_no_request = matches!(trigger, Trigger::Push | Trigger::Schedule | Trigger::Continuation);
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
