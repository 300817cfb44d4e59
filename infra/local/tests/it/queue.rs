//! The queues, seen from outside: plain HTTP to the emulator, because a few calls are no reason for an SDK.

use serde_json::{Value, json};

use crate::world::{SOON, World, answer, eventually};

/// A queue by the name of the output that holds its URL.
pub struct Queue<'a> {
    world: &'a World,
    url: String,
    client: reqwest::Client,
}

impl<'a> Queue<'a> {
    /// The queue that this output names.
    pub fn new(world: &'a World, output: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { world, url: world.output(output).to_owned(), client }
    }

    /// Messages in it: waiting, delayed, or held by somebody.
    pub async fn depth(&self) -> u64 {
        let answer = self.call("GetQueueAttributes", json!({ "AttributeNames": ["All"] })).await;
        let count =
            |name: &str| answer["Attributes"][name].as_str().and_then(|text| text.parse::<u64>().ok());
        ["", "NotVisible", "Delayed"]
            .iter()
            .map(|state| format!("ApproximateNumberOfMessages{state}"))
            .map(|name| count(&name).unwrap_or_else(|| panic!("no {name}: {answer}")))
            .sum()
    }

    /// Waits until both lanes are empty: also of the look after news, which is sent with a delay.
    pub async fn until_empty(&self) {
        let backfill = Queue::new(self.world, "BackfillQueueUrl");
        eventually("the queues are empty", SOON, async || {
            match self.depth().await + backfill.depth().await {
                0 => Ok(()),
                depth => Err(format!("{depth} messages")),
            }
        })
        .await;
    }

    /// Sends bodies in one call, so that one batch may hold them.
    pub async fn send(&self, bodies: &[&str]) {
        let entries: Vec<Value> = bodies
            .iter()
            .enumerate()
            .map(|(index, body)| json!({ "Id": index.to_string(), "MessageBody": body }))
            .collect();
        let answer = self.call("SendMessageBatch", json!({ "Entries": entries })).await;
        assert_eq!(answer["Successful"].as_array().map(Vec::len), Some(bodies.len()), "{answer}");
    }

    /// Bodies of at most ten messages, sorted; they stay in the queue.
    pub async fn bodies(&self) -> Vec<String> {
        let answer =
            self.call("ReceiveMessage", json!({ "MaxNumberOfMessages": 10, "VisibilityTimeout": 0 })).await;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        let mut bodies: Vec<String> =
            messages.iter().filter_map(|message| message["Body"].as_str().map(str::to_owned)).collect();
        bodies.sort_unstable();
        bodies
    }

    async fn call(&self, action: &str, mut body: Value) -> Value {
        body["QueueUrl"] = self.url.clone().into();
        let request = self
            .client
            .post(self.world.system.cloud().endpoint())
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        answer(request).await.ok(action)
    }
}
