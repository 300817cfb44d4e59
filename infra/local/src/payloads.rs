//! The payloads of `events/`, with what only a running system knows in the place of their `${…}`: its mailbox, its
//! tokens, the simulator's signature.
//!
//! Invariant: a payload's name begins with its function's, and none is left with a hole.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::functions::{FUNCTIONS, workspace_root};

/// What is sent to a function.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The file's name without its ending: `webhook-push`.
    pub name: String,
    /// Whose it is: `webhook`.
    pub function: &'static str,
    /// The event itself.
    pub event: Value,
}

/// What fills the holes.
#[derive(Debug, Clone)]
pub struct Known {
    /// The mailbox's id.
    pub mailbox: String,
    /// Its address, for pushes.
    pub email: String,
    /// Where its history is.
    pub history_id: u64,
    /// A token that Pub/Sub would sign.
    pub push_token: String,
    /// An API token.
    pub api_token: String,
    /// What a clock sends.
    pub cron_secret: String,
}

impl Known {
    fn values(&self) -> [(&'static str, String); 6] {
        let data = json!({ "emailAddress": self.email, "historyId": self.history_id });
        [
            ("MAILBOX", self.mailbox.clone()),
            ("HISTORY_ID", self.history_id.to_string()),
            ("PUSH_DATA", STANDARD.encode(data.to_string())),
            ("PUSH_TOKEN", self.push_token.clone()),
            ("API_TOKEN", self.api_token.clone()),
            ("CRON_SECRET", self.cron_secret.clone()),
        ]
    }
}

/// All payloads, by name.
pub fn payloads(known: &Known) -> Result<BTreeMap<String, Payload>> {
    let folder = workspace_root().join("events");
    let mut payloads = BTreeMap::new();
    for file in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = file?.path();
        let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
        let function = FUNCTIONS.into_iter().find(|function| name.split('-').next() == Some(function));
        let function = function.with_context(|| format!("events/{name}.json is of no function"))?;
        let mut text = fs::read_to_string(&path)?;
        for (hole, value) in known.values() {
            // As it stands inside a JSON text: a generated secret may hold anything.
            let quoted = Value::from(value).to_string();
            text = text.replace(&format!("${{{hole}}}"), &quoted[1..quoted.len() - 1]);
        }
        if let Some((_, hole)) = text.split_once("${") {
            bail!("events/{name}.json wants {:?}, which nobody knows", hole.split('}').next());
        }
        let event = serde_json::from_str(&text).with_context(|| format!("events/{name}.json"))?;
        payloads.insert(name.clone(), Payload { name, function, event });
    }
    Ok(payloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_is_whole_and_every_function_has_one() {
        let known = Known {
            mailbox: "mbx_1".into(),
            email: "alice@example.com".into(),
            history_id: 7,
            push_token: "t".into(),
            api_token: "gst_x".into(),
            cron_secret: r#"s"\"#.into(),
        };
        let payloads = payloads(&known).expect("whole");
        for function in FUNCTIONS {
            assert!(payloads.values().any(|payload| payload.function == function), "{function} has none");
        }
        let header = &payloads["api-cron"].event["headers"]["authorization"];
        assert_eq!(header, r#"Bearer s"\"#, "whatever it holds");
        let job = payloads["worker-job"].event["Records"][0]["body"].as_str().expect("a body").to_owned();
        assert!(job.contains(r#""mailbox":"mbx_1""#) && job.contains(r#""target":"7""#), "{job}");
    }
}
