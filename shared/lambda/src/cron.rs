//! The schedules' edge: a tick becomes a task.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sync_app::{
    fan_out::{Round, fan_out},
    metrics::{Measures, Metric},
    upkeep::queue_upkeep,
};
use sync_core::quota::Quota;
use sync_queue::{Queue, Upkeep};
use sync_store::Store;
use tracing::Instrument as _;

use crate::emf::Emf;

/// What a schedule sends.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Tick {
    /// Which task.
    pub task: Task,
}

/// What can be scheduled.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Queue a job for every mailbox that is due.
    FanOut,
    /// Queue a job for every mailbox whose access token lapses within the hour.
    Refresh,
    /// Queue a step of retention for every mailbox.
    Retention,
    /// Have the watch of every mailbox looked at.
    Watch,
}

/// What a task did.
#[derive(Debug, Serialize)]
pub struct Ticked {
    /// Mailboxes queued.
    pub queued: usize,
}

/// Everything a tick needs, built once at start.
#[derive(Clone)]
pub struct Clock {
    /// Who is due.
    pub store: Store,
    /// Takes the jobs.
    pub queue: Queue,
    /// The way out for metrics.
    pub emf: Emf,
    /// Gmail's prices and limits.
    pub quota: Quota,
}

/// Runs one task. What it measured is written also when it fails half-way.
pub async fn run(clock: &Clock, tick: Tick, trace: String) -> Result<Ticked, lambda_runtime::Error> {
    let span = tracing::error_span!("tick", trace, task = ?tick.task);
    async {
        let now = Timestamp::now();
        let (store, queue) = (&clock.store, &clock.queue);
        let queued = match tick.task {
            Task::FanOut => {
                measure_what_waits(clock, now).await;
                let fanned = fan_out(store, queue, Round::Due, &trace, now).await?;
                let overdue = fanned.overdue.max(SignedDuration::ZERO);
                let measures = Measures::one(Metric::Ticks)
                    .count(Metric::MailboxesQueued, fanned.queued as u64)
                    .with(Metric::Overdue, overdue.as_secs_f64());
                clock.emf.write(&measures);
                fanned.queued
            }
            Task::Refresh => fan_out(store, queue, Round::Lapsing, &trace, now).await?.queued,
            Task::Retention => queue_upkeep(store, queue, Upkeep::Retention, &trace, now).await?,
            Task::Watch => queue_upkeep(store, queue, Upkeep::Watch, &trace, now).await?,
        };
        Ok(Ticked { queued })
    }
    .instrument(span)
    .await
}

/// Dead letters, and the day's quota. A tick is not held up by either.
async fn measure_what_waits(clock: &Clock, now: Timestamp) {
    let ledgers = clock.store.read_project_ledgers(clock.quota.shards());
    let (letters, ledgers) = tokio::join!(clock.queue.dead_letters_depth(), ledgers);
    let mut measures = Measures::default();
    match letters {
        Ok(depth) => measures = measures.count(Metric::DeadLetters, depth.total()),
        Err(error) => tracing::warn!(%error, "nobody knows how many dead letters there are"),
    }
    match ledgers {
        Ok(ledgers) => {
            let spent = ledgers.iter().map(|ledger| ledger.today(now)).sum();
            let percent = clock.quota.project_day.map_or(0.0, |day| percent(spent, day));
            measures = measures.with(Metric::QuotaDayPercent, percent);
        }
        Err(error) => tracing::warn!(%error, "nobody knows what the day has spent"),
    }
    clock.emf.write(&measures);
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(units: u64, of: u64) -> f64 {
    units as f64 * 100.0 / of.max(1) as f64
}
