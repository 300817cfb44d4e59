//! The Gmail simulator as a process of the local system, and its control face.
//!
//! Invariant: it starts again on the port it had. Its mailboxes live in its memory: a restart begins with
//! what its arguments load, and a pause keeps them.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    functions::binary,
    process::{Group, log_end},
};

/// Longest wait for its first answer.
const START_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The simulator: running, or ready to start on its port.
#[derive(Debug)]
pub struct Simulator {
    port: u16,
    arguments: Vec<String>,
    log: PathBuf,
    client: reqwest::Client,
    group: Option<Group>,
}

impl Simulator {
    /// One that does not run yet and will be on this port of 127.0.0.1.
    pub fn ready(port: u16, arguments: Vec<String>, log: PathBuf, client: reqwest::Client) -> Self {
        Self { port, arguments, log, client, group: None }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it: connections are refused from now on, and its mailboxes are gone.
    pub fn stop(&mut self) {
        self.group = None;
    }

    /// Starts it on its port, with its first arguments, unless it runs, and waits until it answers, at most a minute.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.group.is_some() {
            return Ok(());
        }
        let mut command = Command::new(binary("gmail-sim"));
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]).args(&self.arguments);
        let mut group = Group::start(command, &self.log)?;
        let deadline = Instant::now() + START_MAX;
        while self.client.get(format!("{}/sim/stats", self.url())).send().await.is_err() {
            if let Some(status) = group.ended() {
                bail!("the simulator ended while it started ({status}):\n{}", log_end(&self.log));
            }
            if Instant::now() > deadline {
                bail!("the simulator does not answer on port {}:\n{}", self.port, log_end(&self.log));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.group = Some(group);
        Ok(())
    }

    /// Stops its answers but not its connections: callers wait, and its mailboxes stay.
    pub fn pause(&self) {
        if let Some(group) = &self.group {
            group.signal(Signal::STOP);
        }
    }

    /// Goes on after [`Self::pause`].
    pub fn resume(&self) {
        if let Some(group) = &self.group {
            group.signal(Signal::CONT);
        }
    }

    /// Says where pushes go and what their tokens carry.
    pub async fn subscribe(&self, endpoint: &str, audience: &str, service_account: &str) -> Result<()> {
        let subscription = json!({
            "push_endpoint": endpoint,
            "audience": audience,
            "service_account_email": service_account,
        });
        self.call("subscription", &subscription).await.map(drop)
    }

    /// A token as the subscription's next push would carry it.
    pub async fn push_token(&self) -> Result<String> {
        let answer = self.client.get(format!("{}/sim/push-token", self.url())).send().await?;
        let answer = crate::json_answer("the simulator", answer).await?;
        answer["token"].as_str().map(str::to_owned).context("the simulator signs nothing")
    }

    /// Where a mailbox's history is.
    pub async fn history_id(&self, email: &str) -> Result<u64> {
        let url = format!("{}/gmail/v1/users/me/profile", self.url());
        let answer = self.client.get(url).bearer_auth(format!("sim:{email}")).send().await?;
        let profile = crate::json_answer("the simulator", answer).await?;
        profile["historyId"].as_str().and_then(|id| id.parse().ok()).context("a profile without history")
    }

    /// Makes a mailbox.
    pub async fn create_mailbox(&self, email: &str) -> Result<()> {
        self.call(&format!("mailboxes/{email}"), &json!({})).await.map(drop)
    }

    /// Loads an mbox, a Maildir or a folder of messages into a mailbox.
    pub async fn load(&self, email: &str, path: &std::path::Path) -> Result<Value> {
        let path = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
        self.call(&format!("mailboxes/{email}/load"), &json!({ "path": path })).await
    }

    /// Delivers a mail with these comma-separated labels.
    pub async fn deliver(&self, email: &str, labels: &str, raw: String) -> Result<()> {
        let url = format!("{}/sim/mailboxes/{email}/messages", self.url());
        let request = self.client.post(url).query(&[("labels", labels)]).body(raw);
        crate::json_answer("the simulator", request.send().await?).await.map(drop)
    }

    async fn call(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.client.post(format!("{}/sim/{path}", self.url())).json(body).send().await?;
        crate::json_answer("the simulator", answer).await
    }
}
