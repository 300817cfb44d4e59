//! The schedules' edge: a tick becomes a task.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sync_app::fan_out::{Round, fan_out};
use sync_queue::Queue;
use sync_store::Store;

/// What a schedule sends.
#[derive(Debug, Deserialize)]
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
}

/// What a task did.
#[derive(Debug, Serialize)]
pub struct Ticked {
    /// Mailboxes queued.
    pub queued: usize,
}

/// Runs one task.
pub async fn run(
    store: &Store,
    queue: &Queue,
    tick: Tick,
    trace: String,
) -> Result<Ticked, lambda_http::Error> {
    let round = match tick.task {
        Task::FanOut => Round::Due,
        Task::Refresh => Round::Lapsing,
    };
    Ok(Ticked { queued: fan_out(store, queue, round, &trace, Timestamp::now()).await? })
}
