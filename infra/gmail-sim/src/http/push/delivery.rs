//! One event on its way to its endpoint, again and again until it is acknowledged.
//!
//! Mirrors Cloud Pub/Sub's push delivery: an acknowledgement is 102, 200, 201, 202 or 204; anything else, or no
//! answer within the deadline, is delivered again. Over https a 102 is not seen, only the answer that follows it.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use url::Url;

use super::Subscription;
use crate::http::clock::real_now;
use crate::http::state::{Shared, lock};
use crate::model::Millis;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// How long an event is tried for.
const RETAINED_MS: Millis = 7 * 24 * 3600 * 1000;
const USER_AGENT: &str = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)";

/// Delivers after a wait, until somebody acknowledges.
pub(super) async fn deliver(shared: Arc<Shared>, subscription: Subscription, body: Value, late: Duration) {
    let give_up = shared.now() + RETAINED_MS;
    let mut ending = shared.ending.subscribe();
    let mut backoff = BACKOFF_FIRST;
    let mut wait = late;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
        let acknowledged = tokio::select! {
            acknowledged = attempt(&shared, &subscription, &body) => acknowledged,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        lock(&shared.meter).pushed(if acknowledged { "acknowledged" } else { "failed" });
        // A subscription that was changed meanwhile takes its backlog nowhere.
        let current = lock(&shared.subscription).as_ref().map(|now| now.push_endpoint.clone());
        let moved = current.as_deref() != Some(&subscription.push_endpoint);
        if acknowledged || moved || shared.now() >= give_up {
            return;
        }
        wait = backoff;
        backoff = longer(backoff);
    }
}

fn longer(backoff: Duration) -> Duration {
    (backoff * 2).min(BACKOFF_MAX)
}

async fn attempt(shared: &Shared, subscription: &Subscription, body: &Value) -> bool {
    let (Ok(token), Ok(endpoint)) = (token(shared, subscription), Url::parse(&subscription.push_endpoint))
    else {
        return false;
    };
    let body = body.to_string();
    let status = async {
        if endpoint.scheme() == "http" {
            plain(&endpoint, &token, body).await
        } else {
            encrypted(shared, endpoint, &token, body).await
        }
    };
    let status = tokio::time::timeout(subscription.ack_deadline(), status).await;
    matches!(status, Ok(Some(102 | 200 | 201 | 202 | 204)))
}

async fn encrypted(shared: &Shared, endpoint: Url, token: &str, body: String) -> Option<u16> {
    let request = shared
        .http
        .post(endpoint)
        .bearer_auth(token)
        .header("Content-Type", "application/json")
        .header("User-Agent", USER_AGENT)
        .body(body);
    Some(request.send().await.ok()?.status().as_u16())
}

/// By hand, because only so a 102 that nothing follows is seen.
async fn plain(endpoint: &Url, token: &str, body: String) -> Option<u16> {
    let port = endpoint.port_or_known_default()?;
    let host = endpoint.host_str()?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port)).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut request = http::Request::post(&endpoint[url::Position::BeforePath..url::Position::AfterQuery])
        .header("Host", &endpoint[url::Position::BeforeHost..url::Position::AfterPort])
        .header("Authorization", format!("Bearer {token}"))
        .header("Content-Type", "application/json")
        .header("User-Agent", USER_AGENT)
        .body(body)
        .ok()?;
    let (early, mut processing) = tokio::sync::mpsc::unbounded_channel();
    hyper::ext::on_informational(&mut request, move |answer| {
        if answer.status() == http::StatusCode::PROCESSING {
            // Nobody listens once the final answer is there.
            let _ = early.send(());
        }
    });
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    tokio::select! {
        Some(()) = processing.recv() => Some(102),
        answer = &mut answer => Some(answer.ok()?.status().as_u16()),
    }
}

/// Signed for the real time, since its verifier knows no other clock.
pub(crate) fn token(shared: &Shared, subscription: &Subscription) -> anyhow::Result<String> {
    let issued = real_now() / 1000 - subscription.token_age_s.unwrap_or(0);
    let email =
        subscription.service_account_email.as_deref().unwrap_or("push@gmail-sim.iam.gserviceaccount.com");
    let subject = (crate::model::hash(email.as_bytes()) >> 1).to_string();
    lock(&shared.keys).sign(&json!({
        "iss": "https://accounts.google.com",
        "aud": subscription.audience.as_deref().unwrap_or(&subscription.push_endpoint),
        "azp": subject,
        "sub": subject,
        "email": email,
        "email_verified": true,
        "iat": issued,
        "exp": issued + 3_600,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_from_100_ms_to_a_minute_and_stays_there() {
        let waits: Vec<u128> = std::iter::successors(Some(BACKOFF_FIRST), |wait| Some(longer(*wait)))
            .take(12)
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
    }
}
