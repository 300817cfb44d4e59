//! `getProfile`, `history.list`, `watch`, `stop` and the send-as addresses.

use serde_json::{Value, json};

use super::{Answer, Request};
use crate::http::error::ApiError;
use crate::http::faults::FaultKind;
use crate::http::push::{self, WATCH_MS, Watch};
use crate::model::{Change, ChangeKind, HistoryQuery, Mailbox, Record};

/// How far a lagging history is behind, unless the fault says so.
const LAG_S: i64 = 5;

#[expect(clippy::unnecessary_wraps, reason = "every handler has one form")]
pub(super) fn profile(request: &Request) -> Answer {
    Ok(request.account.read(|mailbox| {
        json!({
            "emailAddress": mailbox.address(),
            "messagesTotal": mailbox.message_count(),
            "threadsTotal": mailbox.thread_count(),
            "historyId": mailbox.history_id().to_string(),
        })
    }))
}

pub(super) fn history(request: &Request) -> Answer {
    let start = request.parameter("startHistoryId");
    let start =
        start.ok_or_else(|| ApiError::invalid_argument("Missing required parameter: startHistoryId"))?;
    let wrong = || {
        ApiError::invalid_argument(format!("Invalid value at 'start_history_id' (TYPE_UINT64), \"{start}\""))
    };
    let start: u64 = start.parse().map_err(|_| wrong())?;
    if start == 0 {
        return Err(ApiError::invalid_argument("Invalid startHistoryId"));
    }
    let resume_after = match request.parameter("pageToken") {
        None => None,
        Some(token) => Some(token.parse().map_err(|_| ApiError::invalid_argument("Invalid pageToken"))?),
    };
    let mut kinds = Vec::new();
    for name in request.parameters("historyTypes") {
        let kind = ChangeKind::parse(name);
        kinds.push(kind.ok_or_else(|| {
            ApiError::invalid_argument(format!("Invalid value at 'history_types' (TYPE_ENUM), \"{name}\""))
        })?);
    }
    let lag = request.fault.as_ref().filter(|fault| fault.kind == FaultKind::HistoryLag);
    let visible_until = lag.map(|fault| request.now - fault.seconds.unwrap_or(LAG_S).saturating_mul(1000));
    let limit = request.page_size()?;
    request.account.read(|mailbox| {
        let label = request.parameter("labelId").map(|id| mailbox.label_index(id)).transpose()?;
        let query = HistoryQuery { start, resume_after, limit, kinds, label, visible_until };
        let page = mailbox.history(&query, request.now)?;
        let mut answer = json!({"historyId": page.present.to_string()});
        // Nothing happened, or nothing of these kinds on this page: the key is absent.
        if !page.records.is_empty() {
            answer["history"] = page.records.iter().map(|record| render(mailbox, record)).collect();
        }
        if let Some(next) = page.resume_after {
            answer["nextPageToken"] = json!(next.to_string());
        }
        Ok(answer)
    })
}

fn render(mailbox: &Mailbox, record: &Record) -> Value {
    let mut object = json!({"id": record.id.to_string()});
    let mut brief: Vec<Value> = Vec::new();
    let mut put = |kind: ChangeKind, key: &str| {
        let changes: Vec<Value> =
            record.changes.iter().filter(|change| change.kind == kind).map(|c| entry(mailbox, c)).collect();
        if !changes.is_empty() {
            object[key] = Value::Array(changes);
        }
    };
    put(ChangeKind::Added, "messagesAdded");
    put(ChangeKind::Deleted, "messagesDeleted");
    put(ChangeKind::LabelsAdded, "labelsAdded");
    put(ChangeKind::LabelsRemoved, "labelsRemoved");
    for change in &record.changes {
        let message = json!({"id": change.message.to_string(), "threadId": change.thread.to_string()});
        if brief.last() != Some(&message) {
            brief.push(message);
        }
    }
    object["messages"] = Value::Array(brief);
    object
}

fn entry(mailbox: &Mailbox, change: &Change) -> Value {
    let mut message = json!({"id": change.message.to_string(), "threadId": change.thread.to_string()});
    if !change.labels.is_empty() {
        message["labelIds"] = json!(mailbox.label_ids(&change.labels));
    }
    let mut entry = json!({"message": message});
    if matches!(change.kind, ChangeKind::LabelsAdded | ChangeKind::LabelsRemoved) {
        entry["labelIds"] = json!(mailbox.label_ids(&change.touched));
    }
    entry
}

pub(super) fn watch(request: &Request) -> Answer {
    let topic = request.body.get("topicName").and_then(Value::as_str).unwrap_or_default();
    let shape: Vec<&str> = topic.split('/').collect();
    let project = match shape.as_slice() {
        ["projects", project, "topics", name] if !project.is_empty() && !name.is_empty() => *project,
        _ => {
            return Err(ApiError::invalid_argument(format!(
                "Invalid topicName does not match projects/<project>/topics/*: {topic}"
            )));
        }
    };
    let behavior = ["labelFilterBehavior", "labelFilterAction"]
        .iter()
        .find_map(|key| request.body.get(*key).and_then(Value::as_str))
        .unwrap_or("include");
    let exclude = match behavior.to_ascii_lowercase().as_str() {
        "include" | "labelfilterbehaviorunspecified" => false,
        "exclude" => true,
        _ => {
            return Err(ApiError::invalid_argument(format!(
                "Invalid value at 'label_filter_behavior' (TYPE_ENUM), \"{behavior}\""
            )));
        }
    };
    let names = request.texts("labelIds")?;
    let mut state = request.account.state();
    let labels: Result<Vec<_>, _> = names.iter().map(|name| state.mailbox.label_index(name)).collect();
    let labels = labels?;
    let labels = if labels.is_empty() { None } else { Some((labels, exclude)) };
    // The same topic renews; another one of the project has to wait for a stop.
    if state.watches.get(project).is_some_and(|live| live.expires > request.now && live.topic != topic) {
        return Err(ApiError::second_watch());
    }
    let expires = request.now + WATCH_MS;
    state.watches.insert(project.to_owned(), Watch { topic: topic.to_owned(), expires, labels });
    let history = state.mailbox.history_id();
    push::watched(&request.shared, &request.account.email, topic, history);
    Ok(json!({"historyId": history.to_string(), "expiration": expires.to_string()}))
}

/// Ends the mailbox's watches; the caller's project cannot be told from its token here.
#[expect(clippy::unnecessary_wraps, reason = "every handler has one form")]
pub(super) fn stop(request: &Request) -> Answer {
    request.account.state().watches.clear();
    Ok(Value::Null)
}

#[expect(clippy::unnecessary_wraps, reason = "every handler has one form")]
pub(super) fn send_as(request: &Request) -> Answer {
    let own = &request.account.email;
    let entry = |email: &str| {
        let is_own = email == own;
        json!({
            "sendAsEmail": email,
            "displayName": "",
            "replyToAddress": "",
            "signature": "",
            "isPrimary": is_own,
            "isDefault": is_own,
            "treatAsAlias": !is_own,
            "verificationStatus": "accepted",
        })
    };
    let aliases = request.account.look(|state| state.aliases.clone());
    Ok(json!({"sendAs": std::iter::once(own).chain(&aliases).map(|email| entry(email)).collect::<Vec<_>>()}))
}
