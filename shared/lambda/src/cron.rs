//! The schedules' edge: a tick becomes a task.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sync_app::tasks::{Ran, Task, Tasks};

use crate::emf::Emf;

/// What a schedule sends.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Tick {
    /// Which task.
    pub task: Task,
}

/// What a task did.
#[derive(Debug, Serialize)]
pub struct Ticked {
    /// Jobs queued.
    pub queued: usize,
    /// Nothing was done, because another run is at it.
    pub already_running: bool,
}

/// Everything a tick needs, built once at start.
#[derive(Clone)]
pub struct Clock {
    /// What can be run.
    pub tasks: Tasks,
    /// The way out for metrics.
    pub emf: Emf,
}

/// Runs one task. What it measured is written also when it fails half-way.
pub async fn run(clock: &Clock, tick: Tick, trace: String) -> Result<Ticked, lambda_runtime::Error> {
    let report = clock.tasks.run(tick.task, &trace, Timestamp::now()).await;
    clock.emf.write(&report.measures);
    Ok(match report.outcome? {
        Ran::Queued(queued) => Ticked { queued, already_running: false },
        Ran::AlreadyRunning(_) => Ticked { queued: 0, already_running: true },
    })
}
