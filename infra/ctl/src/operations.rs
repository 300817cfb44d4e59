//! `gmail-sync dead-letters …` and `gmail-sync rebuild`: the operations API from a terminal.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// Where the API is, and who asks.
#[derive(Args)]
pub struct Api {
    /// The API: the output `ApiUrl` of the stack.
    #[arg(long, env = "GMAIL_SYNC_URL", value_name = "URL")]
    url: String,
    /// An API token with the scope that the command needs; better in the environment than on the command line.
    #[arg(long, env = "GMAIL_SYNC_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: SecretString,
    /// Prints the API's own JSON.
    #[arg(long)]
    json: bool,
}

/// Jobs that failed for good. Needs the scope `platform`.
#[derive(Subcommand)]
pub enum DeadLetters {
    /// Shows each: why, when, which mailbox, which trace.
    List {
        #[command(flatten)]
        api: Api,
    },
    /// Sends them back to their queues: all, or one. What no worker can read stays.
    Redrive {
        #[command(flatten)]
        api: Api,
        /// Only this one.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Throws one away.
    Discard {
        #[command(flatten)]
        api: Api,
        /// Which.
        id: String,
    },
}

/// Which mailbox's rows are to be made again.
#[derive(Args)]
pub struct Rebuild {
    #[command(flatten)]
    api: Api,
    /// Its id or address.
    mailbox: String,
}

/// Runs a command about dead letters.
pub async fn dead_letters(command: &DeadLetters) -> Result<()> {
    const PATH: [&str; 3] = ["api", "operations", "dead-letters"];
    match command {
        DeadLetters::List { api } => {
            let answer = api.call(reqwest::Method::GET, &PATH, &[]).await?;
            api.print(&answer, listed)
        }
        DeadLetters::Redrive { api, id } => {
            let mut path = PATH.to_vec();
            path.push("redrive");
            let query: Vec<(&str, &str)> = id.iter().map(|id| ("id", id.as_str())).collect();
            let answer = api.call(reqwest::Method::POST, &path, &query).await?;
            api.print(&answer, |answer| {
                format!("{} moved back, {} that no worker can read", answer["moved"], answer["unreadable"])
            })
        }
        DeadLetters::Discard { api, id } => {
            let mut path = PATH.to_vec();
            path.push(id);
            let answer = api.call(reqwest::Method::DELETE, &path, &[]).await?;
            api.print(&answer, |_| "thrown away".to_owned())
        }
    }
}

/// Has the rows of a mailbox made again from its raw mail.
pub async fn rebuild(command: &Rebuild) -> Result<()> {
    let path = ["api", "sync", command.mailbox.as_str(), "rebuild"];
    let answer = command.api.call(reqwest::Method::POST, &path, &[]).await?;
    command.api.print(&answer, |answer| {
        format!("begun; the worker's log has it under the trace {}", answer["trace"])
    })
}

impl Api {
    /// Errors: no answer, or a refusal in the API's own words.
    async fn call(&self, method: reqwest::Method, path: &[&str], query: &[(&str, &str)]) -> Result<Value> {
        let mut url: reqwest::Url = self.url.parse().context("GMAIL_SYNC_URL is no URL")?;
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("GMAIL_SYNC_URL is no URL"))?
            .pop_if_empty()
            .extend(path);
        let request = reqwest::Client::new().request(method, url).query(query);
        let answer = request.bearer_auth(self.token.expose_secret()).send().await;
        let answer = answer.map_err(reqwest::Error::without_url).context("the API does not answer")?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if !status.is_success() {
            bail!("{}", body["detail"].as_str().unwrap_or(status.as_str()));
        }
        Ok(body)
    }

    #[expect(clippy::print_stdout, reason = "the command's answer")]
    fn print(&self, answer: &Value, shown: impl FnOnce(&Value) -> String) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(answer).context("writing JSON")?);
        } else {
            println!("{}", shown(answer));
        }
        Ok(())
    }
}

/// One letter a line.
fn listed(answer: &Value) -> String {
    let letters = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let text = |letter: &Value, name: &str| letter[name].as_str().unwrap_or("-").to_owned();
    let line = |letter: &Value| {
        let columns = ["sentAt", "queue", "mailbox", "trace", "id", "reason"];
        columns.map(|name| text(letter, name)).join("  ")
    };
    letters.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_letter_is_a_line_and_what_it_does_not_say_is_a_dash() {
        let answer = json!({ "items": [{ "id": "1", "queue": "sync", "reason": "not JSON", "sentAt": null, "mailbox": null }] });
        assert_eq!(listed(&answer), "-  sync  -  -  1  not JSON");
        assert_eq!(listed(&json!({ "items": [] })), "no dead letters");
    }
}
