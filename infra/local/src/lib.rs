//! The local system: emulated AWS, the Gmail simulator and the real functions, started by one call.
//!
//! `make run` and the end-to-end tests start the same [`System`]. It builds the functions, deploys this
//! repository's own template to MiniStack, starts the simulator, makes a tenant and a token as an
//! operator would, and, if asked, a demo mailbox.
//!
//! Invariant: whatever a system started ends with it, and two systems with different ports and directories
//! never meet. Deliberately absent: anything that a deployed system would not have. The functions do not
//! know where they run.

mod claim;
mod cloud;
pub mod demo;
mod functions;
mod parameters;
pub mod payloads;
mod ports;
mod process;
mod progress;
mod proxy;
mod rie;
mod simulator;
mod stack;
mod system;
#[cfg(test)]
mod template_tests;

pub use cloud::Cloud;
pub use functions::{binary, target_directory, workspace_root};
pub use parameters::{Gmail, Registration};
pub use progress::{Progress, Step};
pub use rie::Emulated;
pub use simulator::Simulator;
pub use stack::Outputs;
pub use system::{Options, Seed, System};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The answer of `who` as JSON (null when empty). Errors: any status but a success, with what it says.
pub(crate) async fn json_answer(who: &str, answer: reqwest::Response) -> Result<Value> {
    let status = answer.status();
    let place = answer.url().path().to_owned();
    let text = answer.text().await.with_context(|| format!("{who} broke off its answer to {place}"))?;
    if !status.is_success() {
        bail!("{who} answers {status} to {place}: {text}");
    }
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("{who} answers no JSON to {place}: {text}"))
}
