//! The template against the emulator, with functions that answer with the event they got: what is
//! proved here is the wiring, and no function has to be built for it.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};
use testkit::MiniStack;
use tokio::net::TcpListener;

use crate::{
    Cloud, Outputs,
    functions::pack_program,
    proxy::Proxy,
    stack::{deploy, sdk_config, upload},
};

/// A whole Lambda runtime: it logs each event on one line and answers with its environment and the event.
const ECHO: &str = r#"#!/usr/bin/env python3
import json, os, urllib.request
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
while True:
    with urllib.request.urlopen(f"{api}/next") as answer:
        request, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.load(answer)
    print("event " + json.dumps(event), flush=True)
    if "Records" in event:
        result = {"batchItemFailures": []}
    else:
        result = {"function": os.environ["AWS_LAMBDA_FUNCTION_NAME"], "event": event,
                  "environment": dict(os.environ)}
    if "requestContext" in event:
        result = {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(result)}
    data = json.dumps(result).encode()
    urllib.request.urlopen(urllib.request.Request(f"{api}/{request}/response", data=data, method="POST"))
"#;

struct Deployed {
    outputs: Outputs,
    cloud: Cloud,
    url: String,
    client: reqwest::Client,
    _proxy: Proxy,
    _ministack: MiniStack,
}

async fn deployed(parameters: &[(&str, &str)]) -> Result<Deployed> {
    let ministack = tokio::task::spawn_blocking(MiniStack::start).await??;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let cloud = Cloud::new(client.clone(), ministack.endpoint(), ministack.log().expect("a log"));
    let config = sdk_config(ministack.endpoint()).await;
    upload(&config, |_| pack_program(ECHO.as_bytes())).await?;
    let parameters: Vec<(String, String)> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let outputs = deploy(&config, &parameters).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let proxy = Proxy::start(listener, ministack.endpoint(), outputs.get("ApiId")?)?;
    Ok(Deployed { outputs, cloud, url, client, _proxy: proxy, _ministack: ministack })
}

impl Deployed {
    async fn post(&self, path: &str, body: &str) -> Result<Value> {
        let answer = self.client.post(format!("{}{path}", self.url)).body(body.to_owned()).send().await?;
        crate::json_answer("the API", answer).await
    }

    fn output(&self, name: &str) -> &str {
        self.outputs.get(name).expect("the template has it")
    }

    async fn send(&self, queue: &str, body: &str) -> Result<()> {
        let message = json!({ "QueueUrl": self.output(queue), "MessageBody": body });
        self.cloud.call("AmazonSQS.SendMessage", &message).await.map(drop)
    }

    /// A call of AWS's query protocol; the answer is XML.
    async fn form(&self, query: &str) -> Result<String> {
        let answer = self
            .client
            .post(self.cloud.endpoint())
            .header("content-type", "application/x-www-form-urlencoded")
            // The emulator tells the services apart by it, and looks no further.
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cloudformation/aws4_request",
            )
            .body(query.to_owned());
        Ok(answer.send().await?.error_for_status()?.text().await?)
    }

    /// Waits at most 30 seconds until the worker has logged a line with this text.
    async fn worker_logged(&self, text: &str) -> Result<bool> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.cloud.log_lines(self.output("WorkerLogGroupName"), text).await?.is_empty() {
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(true)
    }
}

#[tokio::test]
async fn every_route_queue_and_task_reaches_its_function() -> Result<()> {
    let system = deployed(&[("AppBaseUrl", "http://localhost:1"), ("DeletionProtection", "false")]).await?;

    let push = system.post("/webhooks/gmail?token=x", "{}").await?;
    assert_eq!(push["function"], system.output("WebhookFunctionName"));
    assert_eq!(push["event"]["queryStringParameters"]["token"], "x");
    let api = system.post("/api/sync/a%40example.com/full", "{}").await?;
    assert_eq!(api["function"], system.output("ApiFunctionName"));
    assert_eq!(api["event"]["rawPath"], "/api/sync/a@example.com/full", "decoded, as AWS does");
    assert_eq!(api["event"]["headers"]["x-forwarded-host"], system.url.trim_start_matches("http://"));
    assert_eq!(system.post("/health", "").await?["event"]["rawPath"], "/health", "not the emulator's own");
    assert_eq!(system.post("/", "").await?["function"], system.output("ApiFunctionName"));

    let cron = system.cloud.invoke(system.output("CronFunctionName"), &json!({"task": "fan-out"})).await?;
    assert_eq!(cron["environment"]["APP_BASE_URL"], "http://localhost:1");
    assert_eq!(cron["environment"]["TABLE_NAME"], system.output("TableName"));
    assert_eq!(cron["environment"]["AWS_ENDPOINT_URL"], system.cloud.endpoint());

    system.send("SyncQueueUrl", "a-new-mail").await?;
    system.send("BackfillQueueUrl", "an-old-mail").await?;
    assert!(system.worker_logged("a-new-mail").await?, "the sync queue reaches the worker");
    assert!(system.worker_logged("an-old-mail").await?, "the backfill queue reaches the worker");
    let invoked = system.cloud.invocations(system.output("WorkerLogGroupName")).await?;
    assert_eq!(invoked, 2, "each job alone");
    let launched = system.cloud.cold_starts(system.output("WorkerFunctionName"))?;
    assert!((1..=2).contains(&launched), "{launched}");
    Ok(())
}

#[tokio::test]
async fn a_refused_template_says_what_is_wrong() -> Result<()> {
    let error = deployed(&[("SyncBatchSize", "11")]).await.err().map(|error| format!("{error:#}"));
    assert!(error.as_deref().is_some_and(|text| text.contains("SyncBatchSize")), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn parameters_that_contradict_each_other_are_refused_with_the_rules_own_words() -> Result<()> {
    for (given, words) in [
        (("CheckpointSeconds", "300"), "CheckpointSeconds must be at most half"),
        (("PushAudience", "us"), "PushAudience and PushServiceAccount are given together"),
        (("WorkerTimeoutSeconds", "31"), "WorkerTimeoutSeconds"),
    ] {
        let error = deployed(&[given]).await.err().map(|error| format!("{error:#}"));
        assert!(error.as_deref().is_some_and(|text| text.contains(words)), "{given:?}: {error:?}");
    }
    Ok(())
}

/// What the emulator's CloudFormation takes no notice of. One that it learns is to be taken off the list here and in
/// `docs/LOCAL.md`.
const SKIPPED: [&str; 3] = ["TTL", "point-in-time recovery", "lifecycle"];

/// What the emulator says of a queue, a table, the bucket and the stage, where the template says something too.
#[tokio::test]
async fn the_emulator_makes_every_resource_as_the_template_says() -> Result<()> {
    let system = deployed(&[("WorkerTimeoutSeconds", "600"), ("DeletionProtection", "true")]).await?;
    let made = system.form("Action=ListStackResources&Version=2010-05-15&StackName=gmail-sync").await?;
    let template = testkit::translated_template()?;
    let resources = template["Resources"].as_object().expect("resources");
    let made: BTreeSet<&str> =
        made.split("<LogicalResourceId>").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    // Under a condition is only what alarms are mailed by, and nobody asked for mail here.
    let wanted: BTreeSet<&str> = resources
        .iter()
        .filter(|(_, one)| one["Condition"].is_null())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(made, wanted, "left: the emulator, right: the translated template");

    let queue = json!({ "QueueUrl": system.output("SyncQueueUrl"), "AttributeNames": ["All"] });
    let queue = &system.cloud.call("AmazonSQS.GetQueueAttributes", &queue).await?["Attributes"];
    assert_eq!(queue["VisibilityTimeout"], "3600", "six times the time-out, from the mapping");
    assert!(
        queue["RedrivePolicy"].as_str().is_some_and(|policy| policy.contains("maxReceiveCount")),
        "{queue}"
    );
    assert!(queue["RedriveAllowPolicy"].as_str().is_some_and(|policy| policy.contains("denyAll")), "{queue}");

    let name = json!({ "TableName": system.output("TableName") });
    let table = &system.cloud.call("DynamoDB_20120810.DescribeTable", &name).await?["Table"];
    assert_eq!(table["StreamSpecification"]["StreamViewType"], "NEW_IMAGE");
    // A parameter's text stays a text there.
    assert_eq!(table["DeletionProtectionEnabled"], "true");
    let mut skipped = Vec::new();
    let ttl = system.cloud.call("DynamoDB_20120810.DescribeTimeToLive", &name).await?.to_string();
    let backups = system.cloud.call("DynamoDB_20120810.DescribeContinuousBackups", &name).await?.to_string();
    for (what, answer, part) in [
        ("TTL", &ttl, r#""TimeToLiveStatus":"ENABLED""#),
        ("point-in-time recovery", &backups, r#""PointInTimeRecoveryStatus":"ENABLED""#),
    ] {
        if !answer.contains(part) {
            skipped.push(what);
        }
    }
    for (question, part) in
        [("lifecycle", "fetch-list"), ("policy", "aws:SecureTransport"), ("encryption", "AES256")]
    {
        let url = format!("{}/{}?{question}", system.cloud.endpoint(), system.output("BucketName"));
        if !system.client.get(url).send().await?.text().await?.contains(part) {
            skipped.push(question);
        }
    }
    assert_eq!(skipped, SKIPPED, "what it does not take from the template; docs/LOCAL.md tells the same");

    let secret = system.cloud.secret(system.output("CronSecretId")).await?;
    assert_eq!(secret.len(), 48, "generated, and long");
    Ok(())
}
