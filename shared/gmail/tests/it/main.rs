//! The client, the token endpoint and the verifier over real sockets.

mod client;
mod consent;
mod formats;
mod fuzz;
mod oauth;
mod oracle;
mod push;
mod service_account;

use std::time::Duration;

use sync_gmail::{AccessToken, Backoff, Endpoint, GmailClient, GmailConfig, client::Timeouts};
use wiremock::{MockServer, Request};

/// What no log line and no failure may hold.
const SECRET: &str = "ya29.secret-token";

fn config(server: &MockServer) -> GmailConfig {
    let endpoint = Endpoint::parse(&server.uri()).expect("loopback");
    let mut config = GmailConfig::new(endpoint.clone(), endpoint);
    config.backoff = Backoff { first: Duration::from_millis(1), ..Backoff::default() };
    config
}

fn client(server: &MockServer) -> GmailClient {
    GmailClient::new(config(server)).expect("a client")
}

fn impatient() -> Timeouts {
    let short = Duration::from_millis(200);
    Timeouts { connect: short, headers: short, body_idle: short, body_total: short }
}

fn token() -> AccessToken {
    AccessToken { token: SECRET.into(), expires_at: jiff::Timestamp::MAX, scopes: None }
}

async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("recording is on")
}
