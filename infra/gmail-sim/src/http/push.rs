//! Watches, and the pushes they cause: signed, at least once, at most one a second a user.
//!
//! Mirrors Cloud Pub/Sub's push delivery: an acknowledgement is 102, 200, 201, 202 or 204; anything else, or ten
//! seconds without an answer, is delivered again. What exceeds one event a second is dropped, never delayed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::clock::real_now;
use super::faults::FaultKind;
use super::state::{Account, AccountState, Shared, lock};
use crate::model::{HistoryId, LabelIndex, Millis};

/// How long a watch lasts.
pub(crate) const WATCH_MS: Millis = 7 * 24 * 3600 * 1000;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// How long an event is tried for.
const RETAINED_MS: Millis = 7 * 24 * 3600 * 1000;
/// Shortest time between two events of one user.
const EVENT_EVERY_MS: Millis = 1_000;

/// Where pushes go, as the subscription is configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscription {
    pub(crate) push_endpoint: String,
    pub(crate) audience: Option<String>,
    pub(crate) service_account_email: Option<String>,
    /// The subscription's own name in the body.
    #[serde(rename = "subscription")]
    pub(crate) name: Option<String>,
    /// Signs as if this many seconds ago: more than an hour gives expired tokens.
    pub(crate) token_age_s: Option<i64>,
}

/// A mailbox's one watch.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) expires: Millis,
    /// Labels to look at, and whether they are the ones left out.
    pub(crate) labels: Option<(Vec<LabelIndex>, bool)>,
}

/// Called with the account locked, after its mailbox changed.
pub(crate) fn changed(shared: &Arc<Shared>, account: &Account, state: &mut AccountState, before: HistoryId) {
    let now = shared.now();
    let Some(watch) = state.watch.as_ref().filter(|watch| watch.expires > now) else { return };
    let concerns = |label: LabelIndex| {
        let records = state.mailbox.records_after(before);
        records.flat_map(|record| &record.changes).any(|c| c.labels.has(label) || c.touched.has(label))
    };
    let wanted = match &watch.labels {
        None => true,
        Some((labels, false)) => labels.iter().any(|label| concerns(*label)),
        Some((labels, true)) => !labels.iter().any(|label| concerns(*label)),
    };
    if !wanted {
        return;
    }
    if state.pushed_at.is_some_and(|at| now - at < EVENT_EVERY_MS) {
        lock(&shared.meter).pushed("droppedByRate");
        return;
    }
    state.pushed_at = Some(now);
    send(shared, &account.email, state.mailbox.history_id());
}

/// The push that a successful `watch` fires; it does not count against the second.
pub(crate) fn send(shared: &Arc<Shared>, email: &str, history: HistoryId) {
    let Some(subscription) = lock(&shared.subscription).clone() else { return };
    let take = |wanted: FaultKind| lock(&shared.faults).take("push", email, |kind| *kind == wanted).is_some();
    if take(FaultKind::DropPush) {
        lock(&shared.meter).pushed("droppedByFault");
        return;
    }
    let copies = if take(FaultKind::DuplicatePush) { 2 } else { 1 };
    let data = json!({"emailAddress": email, "historyId": history.0}).to_string();
    let message_id = (lock(&shared.random).next_u64() >> 11).to_string();
    let published = jiff::Timestamp::from_millisecond(shared.now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let body = json!({
        "message": {
            "data": STANDARD.encode(data),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": format!("{published:.3}"),
            "attributes": {},
        },
        "subscription": subscription.name.as_deref().unwrap_or("projects/gmail-sim/subscriptions/gmail-sim"),
    });
    for _ in 0..copies {
        tokio::spawn(deliver(Arc::clone(shared), subscription.clone(), body.clone()));
    }
}

async fn deliver(shared: Arc<Shared>, subscription: Subscription, body: Value) {
    let give_up = shared.now() + RETAINED_MS;
    let mut ending = shared.ending.subscribe();
    let mut wait = BACKOFF_FIRST;
    loop {
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
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
        wait = (wait * 2).min(BACKOFF_MAX);
    }
}

async fn attempt(shared: &Shared, subscription: &Subscription, body: &Value) -> bool {
    let Ok(token) = token(shared, subscription) else { return false };
    let request = shared
        .http
        .post(&subscription.push_endpoint)
        .bearer_auth(token)
        .header("Content-Type", "application/json")
        .header("User-Agent", "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)")
        .timeout(ANSWER_WITHIN)
        .body(body.to_string());
    match request.send().await {
        Ok(response) => matches!(response.status().as_u16(), 102 | 200 | 201 | 202 | 204),
        Err(_) => false,
    }
}

fn token(shared: &Shared, subscription: &Subscription) -> anyhow::Result<String> {
    let issued = real_now() / 1000 - subscription.token_age_s.unwrap_or(0);
    let email =
        subscription.service_account_email.as_deref().unwrap_or("push@gmail-sim.iam.gserviceaccount.com");
    let subject = (crate::model::hash(email.as_bytes()) >> 1).to_string();
    shared.key.sign(&json!({
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
