//! `users.drafts`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::messages::{deliver, recipients, sent_labels, with_missing_headers};
use super::render::{self, Format};
use super::{Answer, Request};
use crate::http::error::ApiError;
use crate::http::upload;
use crate::model::{DraftId, Mailbox, MessageId, Millis, NewMessage, Query, Refusal};

fn draft_id(request: &Request) -> Result<DraftId, ApiError> {
    DraftId::parse(request.id(0)).ok_or_else(ApiError::invalid_id)
}

fn render_brief(mailbox: &Mailbox, id: DraftId) -> Answer {
    let message = mailbox.draft(id)?;
    Ok(json!({"id": id.to_string(), "message": render::brief(mailbox, message, mailbox.message(message)?)}))
}

pub(super) fn list(request: &Request) -> Answer {
    let limit = request.page_size()?;
    let after = match request.parameter("pageToken") {
        None => None,
        Some(token) => {
            let read = token.parse().map(DraftId);
            Some(read.map_err(|_| ApiError::invalid_argument("Invalid pageToken"))?)
        }
    };
    request.account.read(|mailbox| {
        let query = request.parameter("q").map(|text| Query::parse(text, mailbox, request.now));
        let mut found: Vec<(DraftId, Value)> = Vec::new();
        let mut more = false;
        for (draft, id) in mailbox.drafts().filter(|(draft, _)| after.is_none_or(|after| *draft > after)) {
            let Ok(message) = mailbox.message(id) else { continue };
            if query.as_ref().is_some_and(|query| !mailbox.satisfies(message, query)) {
                continue;
            }
            if found.len() == limit {
                more = true;
                break;
            }
            let brief = json!({"id": id.to_string(), "threadId": message.thread.to_string()});
            found.push((draft, json!({"id": draft.to_string(), "message": brief})));
        }
        let mut answer = json!({"resultSizeEstimate": found.len()});
        if let (true, Some((last, _))) = (more, found.last()) {
            answer["nextPageToken"] = json!(last.0.to_string());
        }
        if !found.is_empty() {
            answer["drafts"] = found.into_iter().map(|(_, draft)| draft).collect();
        }
        Ok(answer)
    })
}

pub(super) fn get(request: &Request) -> Answer {
    let id = draft_id(request)?;
    let format = Format::read(request)?;
    request.account.read(|mailbox| {
        let message = mailbox.draft(id)?;
        let rendered = render::message(mailbox, message, mailbox.message(message)?, &format);
        Ok(json!({"id": id.to_string(), "message": rendered}))
    })
}

fn new_message(request: &Request) -> Result<NewMessage, ApiError> {
    let incoming = upload::message(request)?;
    Ok(NewMessage {
        raw: with_missing_headers(incoming.raw, request).into(),
        labels: Vec::new(),
        internal_date: None,
        thread: incoming.thread,
    })
}

pub(super) fn create(request: &Request) -> Answer {
    let new = new_message(request)?;
    request.account.change(&request.shared, |mailbox| {
        let id = mailbox.create_draft(new, request.now)?;
        render_brief(mailbox, id)
    })
}

/// Saves a draft again: where its subject allows it, it stays in its thread.
fn save(mailbox: &mut Mailbox, id: DraftId, new: NewMessage, now: Millis) -> Result<MessageId, Refusal> {
    if new.thread.is_none() {
        let thread = mailbox.message(mailbox.draft(id)?)?.thread;
        let staying = NewMessage { thread: Some(thread), ..new.clone() };
        match mailbox.update_draft(id, staying, now) {
            Err(Refusal::InvalidThread) => {}
            saved => return saved,
        }
    }
    mailbox.update_draft(id, new, now)
}

pub(super) fn update(request: &Request) -> Answer {
    let id = draft_id(request)?;
    let new = new_message(request)?;
    request.account.change(&request.shared, |mailbox| {
        save(mailbox, id, new, request.now)?;
        render_brief(mailbox, id)
    })
}

pub(super) fn delete(request: &Request) -> Answer {
    let id = draft_id(request)?;
    request.account.change(&request.shared, |mailbox| mailbox.delete_draft(id, request.now))?;
    Ok(Value::Null)
}

pub(super) fn send(request: &Request) -> Answer {
    let named = request.body.get("id").and_then(Value::as_str).unwrap_or_default();
    let id = DraftId::parse(named).ok_or_else(ApiError::invalid_id)?;
    // A body with a message saves it before it sends.
    let replaces =
        request.media.is_some() || request.body.get("message").is_some_and(|m| m.get("raw").is_some());
    let new = if replaces { Some(new_message(request)?) } else { None };
    let (answer, raw) = request.account.change(&request.shared, |mailbox| {
        if let Some(new) = new {
            save(mailbox, id, new, request.now)?;
        }
        let draft = mailbox.draft(id)?;
        let raw: Arc<[u8]> = mailbox.raw(mailbox.message(draft)?);
        let to = recipients(&raw);
        if to.is_empty() {
            return Err(ApiError::invalid_argument("Recipient address required"));
        }
        let labels = sent_labels(mailbox.address(), &to);
        let sent = mailbox.send_draft(id, &labels, request.now)?;
        Ok((render::brief(mailbox, sent, mailbox.message(sent)?), raw))
    })?;
    deliver(&request.shared, &request.account, &recipients(&raw), &raw, request.now);
    Ok(answer)
}
