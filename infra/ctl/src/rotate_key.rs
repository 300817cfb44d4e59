//! `gmail-sync admin rotate-key`.

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use sync_core::{SignedDuration, Timestamp};
use sync_store::{KEYS_KEPT, Rotated, RotationStage, Store, StoreConfig};

use crate::aws;

/// When nothing can need the old key any more: a cache of keys lasts five minutes, a consent under way ten, and
/// clocks differ.
const GRACE: SignedDuration = SignedDuration::from_mins(20);

// What is sealed with the old key from a cache and lives as long as a consent has lapsed by then.
const _: () = assert!(GRACE.as_secs().unsigned_abs() > KEYS_KEPT.as_secs() + 600);

/// What the command takes.
#[derive(Args)]
pub struct Options {
    /// Only goes on with a rotation that was begun; begins none.
    #[arg(long)]
    finish: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// The DynamoDB table: the output `TableName` of the stack.
    #[arg(long, env = "TABLE_NAME", value_name = "TABLE")]
    table: String,
    /// The secret with the keys: the output `EncryptionSecretId`.
    #[arg(long, env = "ENCRYPTION_SECRET_ID", value_name = "SECRET")]
    secret: String,
}

/// What the command answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    stage: &'static str,
    key: String,
    credentials: u64,
    resealed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_after: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
}

impl Answer {
    fn new(rotated: Rotated) -> Self {
        let (stage, again_after, removed) = match rotated.stage {
            RotationStage::Idle => ("idle", None, Vec::new()),
            RotationStage::Waiting(until) => ("waiting", Some(until), Vec::new()),
            RotationStage::Busy => ("busy", None, Vec::new()),
            RotationStage::Finished(removed) => ("finished", None, removed),
        };
        let Rotated { current, checked, resealed, .. } = rotated;
        Self { stage, key: current, credentials: checked, resealed, again_after, removed }
    }

    fn sentence(&self) -> String {
        let Self { key, credentials, resealed, .. } = self;
        let walked = format!("{resealed} of {credentials} credentials were sealed anew with {key}");
        match (self.stage, self.again_after) {
            (_, Some(until)) => {
                format!("{walked}. Run it again after {until:.0}: then the old key can go.")
            }
            ("finished", _) => {
                format!("{walked}; {} is gone. The rotation is done.", self.removed.join(", "))
            }
            ("busy", _) => format!("{walked}; some were being written. Run it again."),
            _ => format!("There is one key, {key}, and no rotation is under way."),
        }
    }
}

/// Runs the command against the AWS of the environment.
pub async fn run(options: &Options) -> Result<()> {
    let config = StoreConfig {
        table: options.table.clone(),
        bucket: String::new(),
        encryption_secret_id: options.secret.clone(),
    };
    let store = Store::new(&aws::environment().await?, config);
    let rotated = store.rotate_key(!options.finish, GRACE, Timestamp::now()).await;
    let rotated = rotated.map_err(|error| aws::explained(error, &options.table))?;
    print(&Answer::new(rotated), options.json)
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(answer: &Answer, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(answer).context("writing JSON")?);
    } else {
        println!("{}", answer.sentence());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stage: RotationStage) -> String {
        Answer::new(Rotated { current: "k2".to_owned(), checked: 7, resealed: 3, stage }).sentence()
    }

    #[test]
    fn it_says_how_far_it_is_and_what_to_do_next() {
        let until = "2026-03-01T12:20:00Z".parse().expect("a time");
        assert_eq!(
            said(RotationStage::Waiting(until)),
            "3 of 7 credentials were sealed anew with k2. Run it again after 2026-03-01T12:20:00Z: then the old key can go."
        );
        assert!(said(RotationStage::Finished(vec!["k1".to_owned()])).contains("k1 is gone"));
        assert!(said(RotationStage::Busy).ends_with("Run it again."));
        assert!(said(RotationStage::Idle).contains("no rotation is under way"));
    }
}
