//! Use case: a task of the schedule, whoever asks for it: a tick of the cloud's, or somebody's own clock over HTTPS.
//!
//! Invariant: no two runs of one task at once, wherever they were asked for. Deliberately absent: when a task is
//! due; that is the clock's business, and a task that is run too often finds less to do.

use sync_core::{SignedDuration, Timestamp};
use sync_queue::Queue;
use sync_store::{Claimed, Store, StoreError};

use crate::fan_out::{FanOutError, fan_out};

/// What can be scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Queue a job for every mailbox that is due.
    FanOut,
}

/// Longest that a run which died keeps others from its task: more than the longest function that runs one, which
/// is the cron function with a minute.
const CLAIM_MAX: SignedDuration = SignedDuration::from_secs(90);

impl Task {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::FanOut];

    /// Names under which programs made for other systems ask for a task.
    const ALIASES: [(&str, Self); 2] = [("gmail-sync", Self::FanOut), ("sync-gmail", Self::FanOut)];

    /// Its name in ticks and paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
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

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The claim could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fan-out stopped.
    #[error(transparent)]
    FanOut(#[from] FanOutError),
}

/// What tasks work with.
#[derive(Clone)]
pub struct Tasks {
    /// Claims, and what is due.
    pub store: Store,
    /// Where jobs go.
    pub queue: Queue,
}

impl Tasks {
    /// Runs a task, unless it is being run.
    pub async fn run(&self, task: Task, trace: &str, now: Timestamp) -> Result<Ran, TaskError> {
        let run = uuid::Uuid::new_v4().simple().to_string();
        if let Claimed::Taken(until) = self.store.claim_task(task.name(), &run, now + CLAIM_MAX, now).await? {
            tracing::info!(trace, task = task.name(), "another run is at this task");
            return Ok(Ran::AlreadyRunning(until));
        }
        let outcome = self.work(task, trace, now).await;
        // Also after a failure: the next tick may do better. One that cannot be given back lapses.
        if let Err(error) = self.store.release_task(task.name(), &run).await {
            tracing::warn!(trace, task = task.name(), %error, "a task's claim was not given back and will lapse");
        }
        outcome.map(Ran::Queued)
    }

    async fn work(&self, task: Task, trace: &str, now: Timestamp) -> Result<usize, TaskError> {
        match task {
            Task::FanOut => Ok(fan_out(&self.store, &self.queue, trace, now).await?),
        }
    }
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
