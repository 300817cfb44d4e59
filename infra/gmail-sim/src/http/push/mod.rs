//! Watches, and the pushes they cause: signed, at least once, at most one a second a user.
//!
//! What exceeds one event a second is dropped, never delayed. How an event gets to its endpoint is the business of
//! [`delivery`].

mod delivery;

pub(crate) use delivery::token;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::{Fault, FaultKind};
use super::state::{Account, AccountState, Shared, lock};
use crate::model::{HistoryId, LabelIndex, Millis};

/// How long a watch lasts.
pub(crate) const WATCH_MS: Millis = 7 * 24 * 3600 * 1000;
/// Shortest time between two events of one user.
const EVENT_EVERY_MS: Millis = 1_000;
/// How long a late push is held back unless the fault says so.
const LATE_MS: u64 = 2_000;
/// How long an endpoint has for its answer, in seconds, unless the subscription says so.
const ACK_DEADLINE_S: u64 = 10;

/// One of two forms, or one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PushForm {
    /// As production has it: the history id a number, base64 in its standard alphabet with padding.
    #[default]
    Production,
    /// As the documentation has it: the history id a string, base64url without padding.
    Documented,
    /// Each push in the form that the one before it was not.
    Alternating,
}

/// Where pushes go, as the subscription is configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Where pushes are posted to: http or https.
    pub push_endpoint: String,
    /// The `aud` of the token; the endpoint when left out.
    pub audience: Option<String>,
    /// The `email` of the token.
    pub service_account_email: Option<String>,
    /// The subscription's own name in the body.
    #[serde(rename = "subscription")]
    pub name: Option<String>,
    /// Only what is watched on this topic; any topic when left out.
    pub topic: Option<String>,
    /// How the data is written.
    #[serde(default)]
    pub form: PushForm,
    /// How long an endpoint has for its answer, in seconds: 1 to 600, 10 when left out.
    pub ack_deadline_s: Option<u64>,
    /// Signs as if this many seconds ago: more than an hour gives expired tokens.
    pub token_age_s: Option<i64>,
}

impl Subscription {
    /// Pushes to an endpoint, all else as it usually is.
    pub fn to(push_endpoint: impl Into<String>) -> Self {
        Self {
            push_endpoint: push_endpoint.into(),
            audience: None,
            service_account_email: None,
            name: None,
            topic: None,
            form: PushForm::default(),
            ack_deadline_s: None,
            token_age_s: None,
        }
    }

    /// What is wrong with it, in a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let endpoint = url::Url::parse(&self.push_endpoint).ok();
        if !endpoint.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(format!("push_endpoint: {:?} is no http address", self.push_endpoint));
        }
        if self.ack_deadline_s.is_some_and(|seconds| !(1..=600).contains(&seconds)) {
            return Err("ack_deadline_s: must be 1 to 600".to_owned());
        }
        Ok(())
    }

    fn ack_deadline(&self) -> Duration {
        Duration::from_secs(self.ack_deadline_s.unwrap_or(ACK_DEADLINE_S))
    }
}

/// A mailbox's watch for one project.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// `projects/P/topics/T`.
    pub(crate) topic: String,
    pub(crate) expires: Millis,
    /// Labels to look at, and whether they are the ones left out.
    pub(crate) labels: Option<(Vec<LabelIndex>, bool)>,
}

/// Called with the account locked, after its mailbox changed.
pub(crate) fn changed(shared: &Arc<Shared>, account: &Account, state: &mut AccountState, before: HistoryId) {
    let now = shared.now();
    let topic = lock(&shared.subscription).as_ref().and_then(|subscription| subscription.topic.clone());
    let concerns = |label: LabelIndex| {
        let records = state.mailbox.records_after(before);
        records.flat_map(|record| &record.changes).any(|c| c.labels.has(label) || c.touched.has(label))
    };
    let wants = |watch: &Watch| {
        let live = watch.expires > now && topic.as_ref().is_none_or(|topic| *topic == watch.topic);
        live && match &watch.labels {
            None => true,
            Some((labels, false)) => labels.iter().any(|label| concerns(*label)),
            Some((labels, true)) => !labels.iter().any(|label| concerns(*label)),
        }
    };
    if !state.watches.values().any(wants) {
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
pub(crate) fn watched(shared: &Arc<Shared>, email: &str, topic: &str, history: HistoryId) {
    let named = lock(&shared.subscription).as_ref().and_then(|subscription| subscription.topic.clone());
    if named.is_none_or(|named| named == topic) {
        send(shared, email, history);
    }
}

fn send(shared: &Arc<Shared>, email: &str, history: HistoryId) {
    let Some(subscription) = lock(&shared.subscription).clone() else { return };
    let take = |wanted: FaultKind| -> Option<Fault> {
        lock(&shared.faults).take(&["push"], email, |fault| fault.kind == wanted)
    };
    if take(FaultKind::DropPush).is_some() {
        lock(&shared.meter).pushed("droppedByFault");
        return;
    }
    let copies = if take(FaultKind::DuplicatePush).is_some() { 2 } else { 1 };
    let late = take(FaultKind::LatePush).map(|fault| fault.milliseconds.unwrap_or(LATE_MS));
    let late = Duration::from_millis(late.unwrap_or(0));
    let body = body(shared, &subscription, email, history);
    for _ in 0..copies {
        let delivery = delivery::deliver(Arc::clone(shared), subscription.clone(), body.clone(), late);
        shared.runtime.spawn(delivery);
    }
}

fn body(shared: &Shared, subscription: &Subscription, email: &str, history: HistoryId) -> Value {
    let number = lock(&shared.meter).pushed("sent");
    let documented = match subscription.form {
        PushForm::Production => false,
        PushForm::Documented => true,
        PushForm::Alternating => number.is_multiple_of(2),
    };
    let data = if documented {
        URL_SAFE_NO_PAD.encode(json!({"emailAddress": email, "historyId": history.to_string()}).to_string())
    } else {
        STANDARD.encode(json!({"emailAddress": email, "historyId": history.0}).to_string())
    };
    let message_id = (lock(&shared.random).next_u64() >> 11).to_string();
    let published = jiff::Timestamp::from_millisecond(shared.now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    json!({
        "message": {
            "data": data,
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": format!("{published:.3}"),
            "attributes": {},
        },
        "subscription": subscription.name.as_deref().unwrap_or("projects/gmail-sim/subscriptions/gmail-sim"),
    })
}
