//! The simulator as its clients see it: over HTTP only.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail the test")]

mod batch;
mod faults;
mod fuzz;
mod hostile;
mod loading;
mod mail;
mod mailbox;
mod memory;
mod mime_oracle;
mod oauth;
mod oracles;
mod parts;
mod program;
mod push;
mod quota;
mod service_accounts;
mod storm;
mod threads;
mod transport;

use gmail_sim::{Options, Regime, Server};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

/// A simulator with one mailbox, and its owner.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) client: Client,
}

pub(crate) const ALICE: &str = "alice@example.com";

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options { quota: Regime::Off, ..Options::default() }).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let world = Self { server: Server::start(options).await.unwrap(), client: Client::new() };
        assert_eq!(world.sim(Method::POST, "mailboxes/alice@example.com", Value::Null).await.0, 201);
        world
    }

    /// One whose options make its mailboxes.
    pub(crate) async fn with_loaded(options: Options) -> Self {
        Self { server: Server::start(options).await.unwrap(), client: Client::new() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// A call of the API as the owner.
    pub(crate) async fn api(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.client.request(method, self.url(&format!("/gmail/v1/users/me/{path}")));
        request = request.bearer_auth(format!("sim:{ALICE}"));
        if !body.is_null() {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.api(Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn sim(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.client.request(method, self.url(&format!("/sim/{path}")));
        if !body.is_null() {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    }

    /// Delivers a message; answers its id.
    pub(crate) async fn deliver(&self, subject: &str) -> String {
        let raw =
            format!("From: bob@example.com\r\nTo: {ALICE}\r\nSubject: {subject}\r\n\r\nhello {subject}\r\n");
        self.deliver_raw(raw.into_bytes()).await
    }

    pub(crate) async fn deliver_raw(&self, raw: Vec<u8>) -> String {
        let url = self.url("/sim/mailboxes/alice@example.com/messages?labels=INBOX,UNREAD");
        let (status, body) = read(self.client.post(url).body(raw).send().await.unwrap()).await;
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn fault(&self, order: Value) {
        let (status, body) = self.sim(Method::POST, "faults", order).await;
        assert_eq!(status, 201, "{body}");
    }

    pub(crate) async fn history_id(&self) -> String {
        self.get("profile").await["historyId"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

/// The reason of a Gmail error body, whose form is checked on the way.
pub(crate) fn reason(body: &Value) -> String {
    let error = &body["error"];
    assert!(error["code"].is_u64() && error["message"].is_string() && error["status"].is_string(), "{body}");
    error["errors"][0]["reason"].as_str().unwrap().to_owned()
}
