//! Use case: a task of the schedule, whoever asks for it: a tick of the cloud's, or somebody's own clock over HTTPS.
//!
//! Invariant: no two runs of one task at once, wherever they were asked for. Deliberately absent: when a task is
//! due; that is the clock's business, and a task that is run too often finds less to do; and the way out for what was
//! measured, which is the caller's.

use sync_core::{SignedDuration, Timestamp, quota::Quota};
use sync_queue::{Queue, Upkeep};
use sync_store::{Store, StoreError, TaskClaim};
use tracing::Instrument as _;

use crate::{
    fan_out::{FanOutError, Round, fan_out},
    metrics::{Measures, Metric},
    upkeep::{UpkeepError, queue_upkeep},
};

/// What can be scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
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
    /// Queue a job for every mailbox that changed since its counters were last compared with Gmail's.
    Probe,
}

/// Longest that a run which died keeps others from its task: more than the longest function that runs one, which
/// is the cron function with a minute.
const CLAIM_MAX: SignedDuration = SignedDuration::from_secs(90);

impl Task {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::FanOut, Self::Refresh, Self::Retention, Self::Watch, Self::Probe];

    /// Names under which programs made for other systems ask for a task.
    const ALIASES: [(&str, Self); 2] = [("gmail-sync", Self::FanOut), ("sync-gmail", Self::FanOut)];

    /// Its name in ticks and paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
            Self::Refresh => "refresh",
            Self::Retention => "retention",
            Self::Watch => "watch",
            Self::Probe => "probe",
        }
    }

    /// The task of this name or alias.
    pub fn named(name: &str) -> Option<Self> {
        let own = Self::ALL.into_iter().find(|task| task.name() == name);
        own.or_else(|| Self::ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, task)| *task))
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// It did its work: so many jobs were queued.
    Queued(usize),
    /// Another run is at it, until then at the latest.
    AlreadyRunning(Timestamp),
}

/// What a run came to, and what it measured on the way: also when it failed half-way.
#[derive(Debug)]
pub struct TaskReport {
    /// How it ended.
    pub outcome: Result<Ran, TaskError>,
    /// For whoever writes metrics.
    pub measures: Measures,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The claim could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fan-out stopped.
    #[error(transparent)]
    FanOut(#[from] FanOutError),
    /// The upkeep could not be queued for every mailbox.
    #[error(transparent)]
    Upkeep(#[from] UpkeepError),
}

/// What tasks work with.
#[derive(Clone)]
pub struct Tasks {
    /// Claims, and what is due.
    pub store: Store,
    /// Where jobs go.
    pub queue: Queue,
    /// Gmail's prices and limits.
    pub quota: Quota,
    /// How old a probe must be before a mailbox that changed since is probed again.
    pub probe_interval: SignedDuration,
}

impl Tasks {
    /// Runs a task, unless it is being run.
    pub async fn run(&self, task: Task, trace: &str, now: Timestamp) -> TaskReport {
        // At the level of errors, so that no choice of a level takes the trace off a task's lines.
        let span = tracing::error_span!("task", trace, task = task.name());
        let mut measures = Measures::default();
        let outcome = self.claim_and_work(task, trace, now, &mut measures).instrument(span).await;
        TaskReport { outcome, measures }
    }

    async fn claim_and_work(
        &self,
        task: Task,
        trace: &str,
        now: Timestamp,
        measures: &mut Measures,
    ) -> Result<Ran, TaskError> {
        let run = uuid::Uuid::new_v4().simple().to_string();
        if let TaskClaim::Taken(until) =
            self.store.claim_task(task.name(), &run, now + CLAIM_MAX, now).await?
        {
            tracing::info!("another run is at this task");
            return Ok(Ran::AlreadyRunning(until));
        }
        let outcome = self.work(task, trace, now, measures).await;
        // Also after a failure: the next tick may do better. One that cannot be given back lapses.
        if let Err(error) = self.store.release_task(task.name(), &run).await {
            tracing::warn!(%error, "a task's claim was not given back and will lapse");
        }
        outcome.map(Ran::Queued)
    }

    async fn work(
        &self,
        task: Task,
        trace: &str,
        now: Timestamp,
        measures: &mut Measures,
    ) -> Result<usize, TaskError> {
        let (store, queue) = (&self.store, &self.queue);
        Ok(match task {
            Task::FanOut => {
                *measures = self.measure_what_waits(now).await;
                let fanned = fan_out(store, queue, Round::Due, trace, now).await?;
                let overdue = fanned.overdue.max(SignedDuration::ZERO);
                *measures = std::mem::take(measures)
                    .count(Metric::Ticks, 1)
                    .count(Metric::MailboxesQueued, fanned.queued as u64)
                    .with(Metric::Overdue, overdue.as_secs_f64());
                fanned.queued
            }
            Task::Probe => {
                let before = now - self.probe_interval;
                fan_out(store, queue, Round::Changed { before }, trace, now).await?.queued
            }
            Task::Refresh => fan_out(store, queue, Round::Lapsing, trace, now).await?.queued,
            Task::Retention => queue_upkeep(store, queue, Upkeep::Retention, trace, now).await?,
            Task::Watch => queue_upkeep(store, queue, Upkeep::Watch, trace, now).await?,
        })
    }

    /// Dead letters, and the day's quota. A run is not held up by either.
    async fn measure_what_waits(&self, now: Timestamp) -> Measures {
        let ledgers = self.store.read_project_ledgers(self.quota.shards());
        let (letters, ledgers) = tokio::join!(self.queue.dead_letters_depth(), ledgers);
        let mut measures = Measures::default();
        match letters {
            Ok(depth) => measures = measures.count(Metric::DeadLetters, depth.total()),
            Err(error) => tracing::warn!(%error, "nobody knows how many dead letters there are"),
        }
        match ledgers {
            Ok(ledgers) => {
                let spent = ledgers.iter().map(|ledger| ledger.today(now)).sum();
                let percent = self.quota.project_day.map_or(0.0, |day| percent(spent, day));
                measures = measures.with(Metric::QuotaDayPercent, percent);
            }
            Err(error) => tracing::warn!(%error, "nobody knows what the day has spent"),
        }
        measures
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(units: u64, of: u64) -> f64 {
    units as f64 * 100.0 / of.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_one_name_in_ticks_and_in_paths() {
        for task in Task::ALL {
            assert_eq!(Task::named(task.name()), Some(task));
            let ticked: Task = serde_json::from_value(task.name().into()).expect("its name in a tick");
            assert_eq!(ticked, task);
        }
        for (alias, task) in Task::ALIASES {
            assert_eq!(Task::named(alias), Some(task));
        }
        assert_eq!(Task::named("Fan-Out"), None);
    }
}
