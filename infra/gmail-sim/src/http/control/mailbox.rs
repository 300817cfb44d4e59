//! `/sim/mailboxes/{email}` and what is below it.

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, no_mailbox, no_such_call, nothing, parse, wrong};
use crate::http::act::{self, Delivery};
use crate::http::corpus;
use crate::http::push;
use crate::http::serve::{Call, Reply};
use crate::http::state::{Account, Shared, lock};
use crate::http::storm::{self, Storm};
use crate::model::ThreadId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadOrder {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerateOrder {
    count: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AliasesOrder {
    addresses: Vec<String>,
}

pub(super) fn itself(shared: &Arc<Shared>, method: &Method, email: &str) -> Done {
    match *method {
        Method::POST | Method::PUT => {
            if !is_address(email) {
                return Err(wrong(format!("{email:?} is no address")));
            }
            let (account, created) = shared.create(email);
            let history = account.read(|mailbox| mailbox.history_id().to_string());
            let body = json!({"emailAddress": account.email, "historyId": history});
            Ok(Reply::json(if created { 201 } else { 200 }, &body))
        }
        Method::GET => {
            let account = shared.account(email).ok_or_else(|| no_mailbox(email))?;
            Ok(Reply::json(200, &described(&account)))
        }
        Method::DELETE if shared.remove(email) => Ok(nothing()),
        Method::DELETE => Err(no_mailbox(email)),
        _ => Err(no_such_call()),
    }
}

fn described(account: &Account) -> Value {
    account.look(|state| {
        let watch =
            |watch: &push::Watch| json!({"topicName": watch.topic, "expiration": watch.expires.to_string()});
        let mailbox = &state.mailbox;
        json!({
            "emailAddress": mailbox.address(), "messagesTotal": mailbox.message_count(),
            "threadsTotal": mailbox.thread_count(), "historyId": mailbox.history_id().to_string(),
            "watches": state.watches.values().map(watch).collect::<Vec<_>>(),
        })
    })
}

/// What can stand in a header and in a path: one `@`, no blanks, at most 254 bytes.
pub(crate) fn is_address(email: &str) -> bool {
    let plain =
        email.len() <= 254 && email.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '/');
    plain && email.split_once('@').is_some_and(|(l, d)| !l.is_empty() && !d.is_empty() && !d.contains('@'))
}

pub(super) fn act_on(
    shared: &Arc<Shared>,
    method: &Method,
    account: Arc<Account>,
    action: &str,
    call: &Call,
) -> Done {
    match (method.as_str(), action) {
        ("POST", "messages") => deliver(shared, &account, call),
        ("POST", "load") => {
            let order: LoadOrder = parse(&call.body)?;
            let loaded = corpus::load(shared, &account, &order.path);
            let count = loaded.map_err(|error| wrong(format!("{error:#}")))?;
            Ok(Reply::json(200, &json!({"loaded": count})))
        }
        ("POST", "generate") => {
            let order: GenerateOrder = parse(&call.body)?;
            act::generate(shared, &account, order.count).map_err(wrong)?;
            Ok(Reply::json(200, &json!({"generated": order.count})))
        }
        ("POST", "aliases") => {
            let order: AliasesOrder = parse(&call.body)?;
            if let Some(wrong_one) = order.addresses.iter().find(|email| !is_address(email)) {
                return Err(wrong(format!("{wrong_one:?} is no address")));
            }
            account.state().aliases = order.addresses;
            Ok(nothing())
        }
        ("GET", "snapshot") => Ok(snapshot(&account)),
        ("POST", "expire-history") => {
            let history = act::expire_history(&account);
            Ok(Reply::json(200, &json!({"historyId": history.to_string()})))
        }
        ("POST", "revoke") => {
            lock(&shared.tokens).revoke(&account.email);
            Ok(Reply::json(200, &json!({})))
        }
        ("DELETE", "revoke") => {
            lock(&shared.tokens).grant_again(&account.email);
            Ok(nothing())
        }
        ("POST", "storm") => {
            let storm: Storm = parse(&call.body)?;
            let planned = storm::start(shared, account, &storm).map_err(wrong)?;
            Ok(Reply::json(202, &json!({"operations": planned})))
        }
        ("GET", "storm") => Ok(Reply::json(200, &account.look(|state| state.weather.json()))),
        _ => Err(no_such_call()),
    }
}

fn deliver(shared: &Arc<Shared>, account: &Account, call: &Call) -> Done {
    let mut delivery = Delivery {
        raw: call.body.to_vec(),
        labels: vec!["INBOX".to_owned(), "UNREAD".to_owned()],
        ..Delivery::default()
    };
    for (name, value) in &call.query {
        match name.as_str() {
            "labels" => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                delivery.labels = names.map(str::to_owned).collect();
            }
            "internal_date_ms" => {
                let date =
                    value.parse().map_err(|_| wrong("internal_date_ms: must be epoch milliseconds"))?;
                delivery.internal_date = Some(date);
            }
            "thread_id" => {
                let id = ThreadId::parse(value).ok_or_else(|| wrong("thread_id: must be hexadecimal"))?;
                delivery.thread = Some(id);
            }
            other => return Err(wrong(format!("{other}: is none of labels, internal_date_ms, thread_id"))),
        }
    }
    let delivered = act::deliver(shared, account, delivery).map_err(wrong)?;
    Ok(Reply::json(
        201,
        &json!({
            "id": delivered.id.to_string(), "threadId": delivered.thread_id.to_string(),
            "historyId": delivered.history_id.to_string(),
        }),
    ))
}

fn snapshot(account: &Account) -> Reply {
    let mut lines = String::new();
    for line in account.read(act::snapshot) {
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    let headers = vec![("Content-Type".to_owned(), "application/x-ndjson".to_owned())];
    Reply { status: 200, headers, body: lines.into() }
}
