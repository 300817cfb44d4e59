//! One function under Lambda's own Runtime Interface Emulator, the program that `sam local invoke` runs inside its
//! container. It comes with the SAM command line, so no container is needed.
//!
//! Invariant: the function is the binary that is deployed, with exactly the environment it is given and no other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    functions::{binary, workspace_root},
    ports,
    process::{Group, log_end},
};

/// Longest wait for the emulator to listen; the function itself starts with its first event.
const START_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A function that waits for events. Ends when dropped.
#[derive(Debug)]
pub struct Emulated {
    url: String,
    client: reqwest::Client,
    log: PathBuf,
    _group: Group,
}

impl Emulated {
    /// Starts the emulator for this function; its output goes to `log`.
    pub async fn start(function: &str, environment: &BTreeMap<String, String>, log: &Path) -> Result<Self> {
        let (port, runtime_port) = (ports::or_free(0)?, ports::or_free(0)?);
        let mut command = Command::new(program()?);
        command
            .args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")])
            .args(["--runtime-api-address", &format!("127.0.0.1:{runtime_port}")])
            .arg(binary(function))
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .envs(environment);
        let mut group = Group::start(command, log)?;
        let deadline = Instant::now() + START_MAX;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = group.ended() {
                bail!("the emulator of {function} ended ({status}):\n{}", log_end(log));
            }
            if Instant::now() > deadline {
                bail!("the emulator of {function} does not listen:\n{}", log_end(log));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/function/invocations");
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { url, client, log: log.to_owned(), _group: group })
    }

    /// Sends an event and gives the function's answer. Errors: the function failed, with the end of its log.
    pub async fn invoke(&self, event: &Value) -> Result<Value> {
        let answer = self.client.post(&self.url).json(event).send().await?;
        let value = crate::json_answer("the emulator", answer).await?;
        if value.get("errorType").is_some() {
            bail!("the function failed: {value}\n{}", log_end(&self.log));
        }
        Ok(value)
    }
}

/// The emulator for this machine's processor, inside the SAM command line that `make tools` installed.
fn program() -> Result<PathBuf> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let library = workspace_root().join("target/tools/sam/lib");
    let inside = format!("site-packages/samcli/local/rapid/aws-lambda-rie-{architecture}");
    let pythons =
        std::fs::read_dir(&library).context("the SAM command line is not installed: run `make tools`")?;
    let mut programs = pythons.flatten().map(|python| python.path().join(&inside));
    programs.find(|program| program.is_file()).context("the SAM command line came without its emulator")
}
