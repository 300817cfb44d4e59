//! `users.threads`.

use serde_json::{Value, json};

use super::messages::{list_query, movable, page_token};
use super::render::{self, Format};
use super::{Answer, Request};
use crate::http::error::ApiError;
use crate::http::faults::FaultKind;
use crate::mime;
use crate::model::{Mailbox, MessageId, ThreadId};

pub(super) fn list(request: &Request) -> Answer {
    let limit = request.page_size()?;
    let shifting = request.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::ShiftingPages);
    request.account.read(|mailbox| {
        let list = list_query(request, mailbox, limit)?;
        let page = mailbox.list_threads(&list);
        let mut answer = json!({"resultSizeEstimate": page.estimate});
        if !page.entries.is_empty() {
            answer["threads"] = page.entries.iter().map(|id| summary(mailbox, *id)).collect();
        }
        if let Some(token) = page_token(&list, page.next, page.entries.len(), shifting) {
            answer["nextPageToken"] = json!(token);
        }
        Ok(answer)
    })
}

fn summary(mailbox: &Mailbox, id: ThreadId) -> Value {
    let newest = mailbox.thread(id).ok().and_then(|members| members.last().copied());
    let snippet = newest.and_then(|newest| mailbox.message(newest).ok()).map(|message| {
        let raw = mailbox.raw(message);
        mime::snippet(&mime::parse(&raw), &raw)
    });
    json!({
        "id": id.to_string(),
        "snippet": snippet.unwrap_or_default(),
        "historyId": mailbox.thread_history(id).to_string(),
    })
}

pub(super) fn get(request: &Request) -> Answer {
    let id = request.thread_id()?;
    let format = Format::read(request)?;
    if format == Format::Raw {
        return Err(ApiError::invalid_argument("Invalid value at 'format' (TYPE_ENUM), \"raw\""));
    }
    request.account.read(|mailbox| {
        let mut messages = Vec::new();
        for member in mailbox.thread(id)? {
            messages.push(render::message(mailbox, member, mailbox.message(member)?, &format));
        }
        Ok(json!({
            "id": id.to_string(),
            "historyId": mailbox.thread_history(id).to_string(),
            "messages": messages,
        }))
    })
}

pub(super) fn modify(request: &Request) -> Answer {
    let (add, remove) = (request.texts("addLabelIds")?, request.texts("removeLabelIds")?);
    on_all(request, |mailbox, members| {
        let (add, remove) = (movable(mailbox, &add)?, movable(mailbox, &remove)?);
        mailbox.modify(members, &add, &remove, request.now);
        Ok(())
    })
}

pub(super) fn trash(request: &Request) -> Answer {
    on_all(request, |mailbox, members| {
        mailbox.trash(members, request.now);
        Ok(())
    })
}

pub(super) fn untrash(request: &Request) -> Answer {
    on_all(request, |mailbox, members| {
        mailbox.untrash(members, request.now);
        Ok(())
    })
}

pub(super) fn delete(request: &Request) -> Answer {
    let id = request.thread_id()?;
    request.account.change(&request.shared, |mailbox| {
        let members = mailbox.thread(id)?;
        mailbox.delete(&members, request.now);
        Ok(Value::Null)
    })
}

fn on_all(request: &Request, act: impl FnOnce(&mut Mailbox, &[MessageId]) -> Result<(), ApiError>) -> Answer {
    let id = request.thread_id()?;
    request.account.change(&request.shared, |mailbox| {
        let members = mailbox.thread(id)?;
        act(mailbox, &members)?;
        let mut messages = Vec::new();
        for member in members {
            messages.push(render::brief(mailbox, member, mailbox.message(member)?));
        }
        let history = mailbox.thread_history(id).to_string();
        Ok(json!({"id": id.to_string(), "historyId": history, "messages": messages}))
    })
}
