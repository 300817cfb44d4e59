//! What the emulated AWS tells about the functions, and how one is invoked by hand.
//!
//! Plain HTTP, because a few calls are no reason for that many more SDKs. Invariant: only the emulator is asked,
//! which verifies no signature; nothing here works against AWS itself.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The emulator, seen from outside.
#[derive(Debug, Clone)]
pub struct Cloud {
    client: reqwest::Client,
    endpoint: String,
    log: PathBuf,
}

impl Cloud {
    pub(crate) fn new(client: reqwest::Client, endpoint: &str, log: &Path) -> Self {
        Self { client, endpoint: endpoint.to_owned(), log: log.to_owned() }
    }

    /// Its URL, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The emulator's own log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Invokes a function and waits for its answer. Errors: the function failed, or there is none.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Value> {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.endpoint);
        let answer = self.client.post(url).json(event).send().await?;
        let failed = answer.headers().contains_key("x-amz-function-error");
        let value = crate::json_answer("Lambda", answer).await?;
        if failed {
            bail!("{function} failed: {value}");
        }
        Ok(value)
    }

    /// The variables that a function is deployed with.
    pub async fn environment(&self, function: &str) -> Result<BTreeMap<String, String>> {
        let url = format!("{}/2015-03-31/functions/{function}/configuration", self.endpoint);
        let answer = crate::json_answer("Lambda", self.client.get(url).send().await?).await?;
        serde_json::from_value(answer["Environment"]["Variables"].clone())
            .with_context(|| format!("{function} has no variables"))
    }

    /// The text of a secret.
    pub async fn secret(&self, id: &str) -> Result<String> {
        let answer = self.call("secretsmanager.GetSecretValue", &json!({ "SecretId": id })).await?;
        answer["SecretString"].as_str().map(str::to_owned).context("the secret is not text")
    }

    /// The items of one partition of a table, as DynamoDB writes them.
    pub async fn items(&self, table: &str, partition: &str) -> Result<Vec<Value>> {
        let query = json!({
            "TableName": table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": partition } },
            "ConsistentRead": true,
        });
        let answer = self.call("DynamoDB_20120810.Query", &query).await?;
        answer["Items"].as_array().cloned().context("DynamoDB answered without items")
    }

    /// One call of AWS's JSON protocol, such as `AmazonSQS.SetQueueAttributes`.
    pub async fn call(&self, target: &str, body: &Value) -> Result<Value> {
        let request = self
            .client
            .post(&self.endpoint)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        crate::json_answer(target, request.send().await?).await
    }

    /// How often the functions that log to this group have been invoked, by the platform's own log lines.
    pub async fn invocations(&self, log_group: &str) -> Result<usize> {
        Ok(self.log_lines(log_group, "START RequestId").await?.len())
    }

    /// The lines of a log group that contain `text`, oldest first.
    pub async fn log_lines(&self, log_group: &str, text: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut body = json!({ "logGroupName": log_group, "limit": 10_000 });
            if let Some(token) = next.take() {
                body["nextToken"] = token.into();
            }
            let request = self
                .client
                .post(&self.endpoint)
                .header("x-amz-target", "Logs_20140328.FilterLogEvents")
                .header("content-type", "application/x-amz-json-1.1")
                .body(body.to_string());
            let answer = crate::json_answer("CloudWatch Logs", request.send().await?).await?;
            let events = answer["events"].as_array().context("CloudWatch Logs answered without events")?;
            let messages = events.iter().filter_map(|event| event["message"].as_str());
            lines.extend(messages.filter(|message| message.contains(text)).map(str::to_owned));
            match answer["nextToken"].as_str() {
                Some(token) => next = Some(token.to_owned()),
                None => return Ok(lines),
            }
        }
    }

    /// How many processes of a function the emulator has launched.
    pub fn cold_starts(&self, function: &str) -> Result<usize> {
        let log = std::fs::read_to_string(&self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))?;
        let line = format!("environment spawned for {function} (cold start)");
        Ok(log.lines().filter(|found| found.contains(&line)).count())
    }
}
