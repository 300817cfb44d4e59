//! The template against the emulator, with functions that answer with the event they got: what is
//! proved here is the wiring, and no function has to be built for it.

use std::{
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
        let answer = self
            .client
            .post(self.cloud.endpoint())
            .header("x-amz-target", "AmazonSQS.SendMessage")
            .header("content-type", "application/x-amz-json-1.0")
            .body(json!({ "QueueUrl": self.output(queue), "MessageBody": body }).to_string())
            .send()
            .await?;
        crate::json_answer("SQS", answer).await.map(drop)
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
