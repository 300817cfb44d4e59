//! Claims: one row says that a task is being done, until when at the latest, and by which run.
//!
//! Invariant: of two runs of one task at once, one gets the claim; a run that dies keeps it no longer than it said.

use sync_core::Timestamp;

use crate::{
    Store, StoreError,
    item::{Change, Fields, SCHEMA_VERSION, number, text, time},
    keys,
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// What came of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskClaim {
    /// The task is this run's.
    Ours,
    /// Another run is at it, until then at the latest.
    Taken(Timestamp),
}

impl Store {
    /// Claims a task for this run until then, unless another run has it at `now`. `run` names no two runs.
    pub async fn claim_task(
        &self,
        task: &str,
        run: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<TaskClaim> {
        let change = Change::default()
            .set("v", number(SCHEMA_VERSION))
            .set("run", text(run))
            .set("claimed_until", time(until))
            .set("started_at", time(now))
            // Ours already: the answer to our own first try was lost, and the client's second one found it.
            .when("attribute_not_exists(#claimed_until) OR #claimed_until < :now OR #run = :run")
            .value(":now", time(now));
        match self.update("claim task", &keys::task(task), change).await? {
            Updated::Done(_) | Updated::Refused(None) => Ok(TaskClaim::Ours),
            Updated::Refused(Some(item)) => Ok(TaskClaim::Taken(
                Fields::new("task", &item).optional_time("claimed_until")?.unwrap_or(now),
            )),
        }
    }

    /// Gives the task back, if it is still this run's.
    pub async fn release_task(&self, task: &str, run: &str) -> Result<()> {
        let change = Change::default().remove("claimed_until").when("#run = :run").value(":run", text(run));
        // Refused: this run took too long, and the task is another's now.
        self.update("release task", &keys::task(task), change).await.map(|_| ())
    }
}
