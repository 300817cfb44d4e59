//! The control face, `/sim`: what a test does to the world that Gmail's own face has no call for.
//!
//! Open to anybody who reaches the port; errors are JSON with the sentence that names the culprit.

mod mailbox;

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::act;
use super::faults::FaultOrder;
use super::oauth::{self, ServiceAccountOrder};
use super::push::{self, Subscription};
use super::quota::QuotaOrder;
use super::serve::{Call, Reply};
use super::state::{Shared, lock};

pub(crate) use mailbox::is_address;

/// Why a call of the control face was refused: the status and the sentence.
struct Wrong(u16, String);

type Done = Result<Reply, Wrong>;

fn wrong(message: impl Into<String>) -> Wrong {
    Wrong(400, message.into())
}

fn no_such_call() -> Wrong {
    Wrong(404, "no such call; see --help and the README".to_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOrder {
    advance_s: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeysOrder {
    /// Whether another key is to sign.
    rotate: bool,
    /// Whether the keys before are not to be published any more.
    withdraw: bool,
    /// How long a reader may keep the published keys, in seconds.
    max_age_s: Option<u64>,
}

/// Answers a call below `/sim`. It may wait for a search to end or for a disk: never on a thread that answers calls.
pub(crate) fn answer(shared: &Arc<Shared>, call: &Call) -> Reply {
    let path: Vec<String> = call.path.trim_matches('/').split('/').skip(1).map(percent_decoded).collect();
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let done = match (call.method.clone(), names.as_slice()) {
        (Method::GET, ["health"]) => Ok(Reply::json(200, &json!({"status": "ok"}))),
        (Method::GET, ["mailboxes"]) => Ok(Reply::json(200, &json!({"mailboxes": shared.emails()}))),
        (method, ["mailboxes", email]) => mailbox::itself(shared, &method, email),
        (method, ["mailboxes", email, action]) => match shared.account(email) {
            Some(account) => mailbox::act_on(shared, &method, account, action, call),
            None => Err(no_mailbox(email)),
        },
        (method, ["service-accounts", email]) => service_account(shared, &method, email, call),
        (method, [action]) => on_world(shared, &method, action, call),
        _ => Err(no_such_call()),
    };
    done.unwrap_or_else(|Wrong(status, message)| Reply::json(status, &json!({"error": message})))
}

fn no_mailbox(email: &str) -> Wrong {
    Wrong(404, format!("no mailbox {email}: create it with POST /sim/mailboxes/{email}"))
}

fn percent_decoded(segment: &str) -> String {
    let kept = segment.replace('+', "%2B");
    super::form(kept.as_bytes()).into_iter().next().map(|(key, _)| key).unwrap_or_default()
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Wrong> {
    serde_json::from_slice(body).map_err(|error| wrong(format!("the body cannot be read: {error}")))
}

/// An order whose every part may be left out, and so the body too.
fn parse_or_default<T: Default + for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Wrong> {
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { parse(body) }
}

fn nothing() -> Reply {
    Reply::json(204, &Value::Null)
}

fn service_account(shared: &Arc<Shared>, method: &Method, email: &str, call: &Call) -> Done {
    match *method {
        Method::POST => {
            if !is_address(email) {
                return Err(wrong(format!("{email:?} is no address")));
            }
            let order: ServiceAccountOrder = parse_or_default(&call.body)?;
            let base = format!("http://{}", call.header("host").unwrap_or("localhost"));
            let file = oauth::key_file(shared, &base, email, order).map_err(wrong)?;
            Ok(Reply::json(201, &file))
        }
        Method::DELETE => {
            let email = email.to_ascii_lowercase();
            match lock(&shared.tokens).service_accounts.remove(&email) {
                Some(_) => Ok(nothing()),
                None => Err(Wrong(404, format!("no service account {email}"))),
            }
        }
        _ => Err(no_such_call()),
    }
}

fn on_world(shared: &Arc<Shared>, method: &Method, action: &str, call: &Call) -> Done {
    match (method.as_str(), action) {
        ("POST" | "PUT", "subscription") => {
            let order: Subscription = parse(&call.body)?;
            order.check().map_err(wrong)?;
            *lock(&shared.subscription) = Some(order);
            Ok(Reply::json(200, &json!({})))
        }
        ("DELETE", "subscription") => {
            *lock(&shared.subscription) = None;
            Ok(nothing())
        }
        ("GET", "push-token") => {
            let subscription = lock(&shared.subscription).clone();
            let subscription =
                subscription.ok_or_else(|| wrong("there is no subscription that would push"))?;
            let token = push::token(shared, &subscription).map_err(|error| Wrong(500, error.to_string()))?;
            Ok(Reply::json(200, &json!({ "token": token })))
        }
        ("POST", "faults") => {
            let order: FaultOrder = parse(&call.body)?;
            lock(&shared.faults).add(order.fault().map_err(wrong)?).map_err(wrong)?;
            Ok(Reply::json(201, &lock(&shared.faults).json()))
        }
        ("GET", "faults") => Ok(Reply::json(200, &lock(&shared.faults).json())),
        ("DELETE", "faults") => {
            lock(&shared.faults).clear();
            Ok(nothing())
        }
        ("GET", "stats") => Ok(Reply::json(200, &lock(&shared.meter).json())),
        ("DELETE", "stats") => {
            lock(&shared.meter).reset();
            Ok(nothing())
        }
        ("POST" | "PUT", "quota") => {
            let order: QuotaOrder = parse(&call.body)?;
            lock(&shared.meter).order(order);
            Ok(Reply::json(200, &lock(&shared.meter).quota_json()))
        }
        ("GET", "quota") => Ok(Reply::json(200, &lock(&shared.meter).quota_json())),
        ("POST", "keys") => {
            let order: KeysOrder = parse_or_default(&call.body)?;
            if let Some(seconds) = order.max_age_s {
                lock(&shared.keys).keep_for(seconds);
            }
            if order.rotate || order.withdraw {
                act::rotate_keys(shared, order.withdraw).map_err(|error| Wrong(500, error))?;
            }
            let keys = lock(&shared.keys);
            Ok(Reply::json(200, &json!({"kid": keys.key_id(), "max_age_s": keys.max_age_s()})))
        }
        ("POST", "clock") => {
            let order: ClockOrder = parse(&call.body)?;
            let now = act::advance(shared, order.advance_s).map_err(wrong)?;
            Ok(Reply::json(200, &json!({"now_ms": now})))
        }
        ("GET", "clock") => Ok(Reply::json(200, &json!({"now_ms": shared.now()}))),
        _ => Err(no_such_call()),
    }
}
