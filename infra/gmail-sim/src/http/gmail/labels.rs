//! `users.labels`.

use serde_json::{Value, json};

use super::{Answer, Request};
use crate::http::error::ApiError;
use crate::model::{Label, LabelPatch};

fn render(label: &Label) -> Value {
    let mut object =
        json!({"id": label.id, "name": label.name, "type": if label.is_system { "system" } else { "user" }});
    if let Some(visibility) = &label.message_list_visibility {
        object["messageListVisibility"] = json!(visibility);
    }
    if let Some(visibility) = &label.label_list_visibility {
        object["labelListVisibility"] = json!(visibility);
    }
    if let Some((text, background)) = &label.color {
        object["color"] = json!({"textColor": text, "backgroundColor": background});
    }
    object
}

#[expect(clippy::unnecessary_wraps, reason = "every handler has one form")]
pub(super) fn list(request: &Request) -> Answer {
    let labels: Vec<Value> = request.account.read(|mailbox| mailbox.labels().map(render).collect());
    Ok(json!({"labels": labels}))
}

pub(super) fn get(request: &Request) -> Answer {
    request.account.read(|mailbox| {
        let mut object = render(mailbox.label(request.id(0))?);
        let counts = mailbox.label_counts(request.id(0))?;
        object["messagesTotal"] = json!(counts.messages);
        object["messagesUnread"] = json!(counts.messages_unread);
        object["threadsTotal"] = json!(counts.threads);
        object["threadsUnread"] = json!(counts.threads_unread);
        Ok(object)
    })
}

fn text(body: &Value, key: &str, allowed: &[&str]) -> Result<Option<String>, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if allowed.is_empty() || allowed.contains(&text.as_str()) => {
            Ok(Some(text.clone()))
        }
        Some(other) => Err(ApiError::invalid_argument(format!("Invalid value at 'label.{key}', {other}"))),
    }
}

fn patch_of(request: &Request) -> Result<LabelPatch, ApiError> {
    let body = &request.body;
    let color = match body.get("color") {
        None | Some(Value::Null) => None,
        Some(color) => {
            let part = |key| text(color, key, &[]).map(|shade| shade.filter(|shade| shade.starts_with('#')));
            match (part("textColor")?, part("backgroundColor")?) {
                (Some(text), Some(background)) => Some((text, background)),
                _ => return Err(ApiError::invalid_argument("Invalid label color")),
            }
        }
    };
    Ok(LabelPatch {
        name: text(body, "name", &[])?,
        message_list_visibility: text(body, "messageListVisibility", &["show", "hide"])?,
        label_list_visibility: text(
            body,
            "labelListVisibility",
            &["labelShow", "labelShowIfUnread", "labelHide"],
        )?,
        color,
    })
}

pub(super) fn create(request: &Request) -> Answer {
    let patch = patch_of(request)?;
    request.account.change(&request.shared, |mailbox| Ok(render(mailbox.create_label(&patch)?)))
}

pub(super) fn update(request: &Request) -> Answer {
    change(request, true)
}

pub(super) fn patch(request: &Request) -> Answer {
    change(request, false)
}

fn change(request: &Request, clear: bool) -> Answer {
    let patch = patch_of(request)?;
    if clear && patch.name.is_none() {
        return Err(ApiError::invalid_argument("Invalid label name"));
    }
    let id = request.id(0);
    request.account.change(&request.shared, |mailbox| Ok(render(mailbox.update_label(id, &patch, clear)?)))
}

pub(super) fn delete(request: &Request) -> Answer {
    let id = request.id(0);
    request.account.change(&request.shared, |mailbox| mailbox.delete_label(id, request.now))?;
    Ok(Value::Null)
}
