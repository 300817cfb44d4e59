//! The schedules' edge: a tick becomes a task.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sync_app::tasks::{Ran, Task, Tasks};

/// What a schedule sends.
#[derive(Debug, Deserialize)]
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

/// Runs one task.
pub async fn run(tasks: &Tasks, tick: Tick, trace: String) -> Result<Ticked, lambda_http::Error> {
    Ok(match tasks.run(tick.task, &trace, Timestamp::now()).await? {
        Ran::Queued(queued) => Ticked { queued, already_running: false },
        Ran::AlreadyRunning(_) => Ticked { queued: 0, already_running: true },
    })
}
