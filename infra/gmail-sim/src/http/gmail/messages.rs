//! `users.messages` and its attachments.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use super::render::{self, Format};
use super::{Answer, Request};
use crate::http::error::ApiError;
use crate::http::faults::FaultKind;
use crate::http::state::{Account, Shared};
use crate::http::upload::{self, Incoming};
use crate::mime;
use crate::model::{
    DRAFT, INBOX, LabelIndex, ListQuery, Mailbox, MessageId, Millis, NewMessage, PageFrom, Query, SENT,
    UNREAD,
};

/// Most ids of one `batchModify` or `batchDelete`.
const BATCH_MAX: usize = 1_000;
/// Most recipients of one message.
const RECIPIENTS_MAX: usize = 500;

pub(super) fn list(request: &Request) -> Answer {
    let limit = request.page_size()?;
    request.account.read(|mailbox| {
        let list = list_query(request, mailbox, limit)?;
        let page = mailbox.list_messages(&list);
        let entry = |(id, thread): &(MessageId, crate::model::ThreadId)| {
            json!({"id": id.to_string(), "threadId": thread.to_string()})
        };
        let mut answer = json!({"resultSizeEstimate": page.estimate});
        // Nothing found: the key is absent.
        if !page.entries.is_empty() {
            answer["messages"] = page.entries.iter().map(entry).collect();
        }
        if let Some(token) = page_token(&list, page.next, page.entries.len(), shifting(request)) {
            answer["nextPageToken"] = json!(token);
        }
        Ok(answer)
    })
}

fn shifting(request: &Request) -> bool {
    request.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::ShiftingPages)
}

/// The listing that a request's parameters describe.
pub(super) fn list_query(request: &Request, mailbox: &Mailbox, limit: usize) -> Result<ListQuery, ApiError> {
    // An empty search is refused as well.
    if request.metadata_only && request.query.iter().any(|(name, _)| name == "q") {
        return Err(ApiError::forbidden("Metadata scope does not support 'q' parameter"));
    }
    let labels: Result<Vec<LabelIndex>, _> =
        request.parameters("labelIds").into_iter().map(|label| mailbox.label_index(label)).collect();
    Ok(ListQuery {
        labels: labels?,
        include_spam_trash: request.flag("includeSpamTrash")?,
        query: request.parameter("q").map(|text| Query::parse(text, mailbox, request.now)),
        from: request.parameter("pageToken").map_or(Ok(PageFrom::Start), read_page_token)?,
        limit,
    })
}

/// Tokens are decimal, like Gmail's: a 1 and a place in the order, or a 2 and an offset.
pub(super) fn page_token(
    list: &ListQuery,
    next: Option<(i64, MessageId)>,
    shown: usize,
    shifting: bool,
) -> Option<String> {
    let (date, id) = next?;
    let offset = match list.from {
        PageFrom::Offset(offset) => Some(offset + shown),
        PageFrom::Start if shifting => Some(shown),
        PageFrom::Start | PageFrom::Below(..) => None,
    };
    Some(match offset {
        Some(offset) => format!("2{offset}"),
        None => format!("1{:020}{:020}", date.cast_unsigned(), id.0),
    })
}

fn read_page_token(text: &str) -> Result<PageFrom, ApiError> {
    let read = || -> Option<PageFrom> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (kind, rest) = text.split_at_checked(1)?;
        if kind == "2" {
            return Some(PageFrom::Offset(rest.parse().ok()?));
        }
        let (date, id) = rest.split_at_checked(20)?;
        let id = (id.len() == 20).then(|| id.parse().ok()).flatten()?;
        (kind == "1").then_some(PageFrom::Below(date.parse::<u64>().ok()?.cast_signed(), MessageId(id)))
    };
    read().ok_or_else(|| ApiError::invalid_argument("Invalid pageToken"))
}

pub(super) fn get(request: &Request) -> Answer {
    let id = request.message_id()?;
    let format = Format::read(request)?;
    request.account.read(|mailbox| {
        let message = mailbox.message(id)?;
        let stale = request.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::StaleGet);
        if stale {
            let earlier = mailbox.message_before_last_change(id).ok_or_else(ApiError::not_found)?;
            return Ok(render::message(mailbox, id, &earlier, &format));
        }
        Ok(render::message(mailbox, id, message, &format))
    })
}

pub(super) fn attachment(request: &Request) -> Answer {
    let id = request.message_id()?;
    let raw = request.account.read(|mailbox| mailbox.message(id).map(|message| mailbox.raw(message)))?;
    let bytes = render::attachment(&raw, id, request.id(1))
        .ok_or_else(|| ApiError::invalid_argument("Invalid attachment token"))?;
    Ok(json!({"size": bytes.len(), "data": URL_SAFE.encode(bytes)}))
}

pub(super) fn insert(request: &Request) -> Answer {
    take_in(request, "receivedTime")
}

pub(super) fn import(request: &Request) -> Answer {
    take_in(request, "dateHeader")
}

fn take_in(request: &Request, default_date: &str) -> Answer {
    let incoming = upload::message(request)?;
    let by_header = match request.parameter("internalDateSource").unwrap_or(default_date) {
        "dateHeader" => true,
        "receivedTime" => false,
        other => return Err(ApiError::invalid_argument(format!("Invalid internalDateSource: {other}"))),
    };
    let internal_date = if by_header { header_date(&incoming.raw, request.now) } else { None };
    request.account.change(&request.shared, |mailbox| {
        let labels = labels_of(mailbox, &incoming.labels)?;
        let new = NewMessage { raw: incoming.raw.into(), labels, internal_date, thread: incoming.thread };
        let id = mailbox.insert(new, request.now)?;
        Ok(render::brief(mailbox, id, mailbox.message(id)?))
    })
}

/// The date of the `Date` header, when it is one and lies in the past.
pub(crate) fn header_date(raw: &[u8], now: Millis) -> Option<Millis> {
    let headers = mime::parse_headers(raw);
    let value = headers.iter().find(|header| header.name.eq_ignore_ascii_case("Date"))?;
    let field = format!("Date: {}\r\n\r\n", value.value);
    let message = mail_parser::MessageParser::new().with_date_headers().parse_headers(field.as_bytes())?;
    let seconds = message.date().filter(|date| date.is_valid())?.to_timestamp();
    // Nonsense dates would sort for ever above or below all other mail.
    (seconds > 0 && seconds * 1000 <= now).then_some(seconds * 1000)
}

fn labels_of(mailbox: &Mailbox, names: &[String]) -> Result<Vec<LabelIndex>, ApiError> {
    Ok(names.iter().map(|name| mailbox.label_index(name)).collect::<Result<Vec<_>, _>>()?)
}

/// Labels that a caller may move; sent and draft are facts, not labels.
pub(super) fn movable(mailbox: &Mailbox, names: &[String]) -> Result<Vec<LabelIndex>, ApiError> {
    let labels = labels_of(mailbox, names)?;
    match names.iter().zip(&labels).find(|(_, label)| **label == SENT || **label == DRAFT) {
        Some((name, _)) => Err(ApiError::invalid_argument(format!("Invalid label: {name}"))),
        None => Ok(labels),
    }
}

pub(super) fn send(request: &Request) -> Answer {
    let incoming = upload::message(request)?;
    let recipients = recipients(&incoming.raw);
    if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
        return Err(ApiError::invalid_argument("Recipient address required"));
    }
    let Incoming { raw, thread, .. } = incoming;
    let raw: Arc<[u8]> = with_missing_headers(raw, request).into();
    let answer = request.account.change(&request.shared, |mailbox| {
        let new = NewMessage {
            raw: Arc::clone(&raw),
            labels: sent_labels(mailbox.address(), &recipients),
            internal_date: None,
            thread,
        };
        let id = mailbox.insert(new, request.now)?;
        Ok::<_, ApiError>(render::brief(mailbox, id, mailbox.message(id)?))
    })?;
    deliver(&request.shared, &request.account, &recipients, &raw, request.now);
    Ok(answer)
}

/// What sent mail wears; mail to oneself comes in as well.
pub(super) fn sent_labels(address: &str, recipients: &[String]) -> Vec<LabelIndex> {
    let to_self = recipients.iter().any(|recipient| recipient.eq_ignore_ascii_case(address));
    if to_self { vec![SENT, INBOX, UNREAD] } else { vec![SENT] }
}

/// Puts sent mail into the mailboxes of those recipients that live here.
pub(super) fn deliver(
    shared: &Arc<Shared>,
    sender: &Account,
    recipients: &[String],
    raw: &[u8],
    now: Millis,
) {
    let copy: Arc<[u8]> = without_bcc(raw).into();
    for recipient in recipients.iter().filter(|recipient| !recipient.eq_ignore_ascii_case(&sender.email)) {
        if let Some(account) = shared.account(recipient) {
            let new = NewMessage {
                raw: Arc::clone(&copy),
                labels: vec![INBOX, UNREAD],
                internal_date: None,
                thread: None,
            };
            // A copy names no thread, so nothing can refuse it.
            let _ = account.change(shared, |mailbox| mailbox.insert(new, now));
        }
    }
}

/// Every address the message is to go to, lower case, each once.
pub(super) fn recipients(raw: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let Some(message) = with_addresses(raw) else { return found };
    for addresses in [message.to(), message.cc(), message.bcc()].into_iter().flatten() {
        for address in addresses.iter().filter_map(mail_parser::Addr::address) {
            let address = address.to_ascii_lowercase();
            let whole = address.split_once('@').is_some_and(|(l, d)| !l.is_empty() && !d.is_empty());
            if whole && !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

/// The address that a message is from.
pub(crate) fn author(raw: &[u8]) -> Option<String> {
    let message = with_addresses(raw)?;
    Some(message.from()?.first()?.address()?.to_owned())
}

fn with_addresses(raw: &[u8]) -> Option<mail_parser::Message<'_>> {
    mail_parser::MessageParser::new().with_address_headers().parse_headers(raw)
}

fn without_bcc(raw: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(raw.len());
    let (mut in_body, mut dropping) = (false, false);
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let continued = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        in_body |= line.trim_ascii().is_empty();
        dropping = !in_body
            && (line.get(..4).is_some_and(|n| n.eq_ignore_ascii_case(b"bcc:")) || (dropping && continued));
        if !dropping {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// Gmail adds what a sender left out.
pub(super) fn with_missing_headers(raw: Vec<u8>, request: &Request) -> Vec<u8> {
    let headers = mime::parse_headers(&raw);
    let has = |name: &str| headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    let mut added = String::new();
    if !has("Date") {
        let at = jiff::Timestamp::from_millisecond(request.now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        added.push_str(&at.strftime("Date: %a, %d %b %Y %H:%M:%S +0000\r\n").to_string());
    }
    if !has("Message-ID") {
        let noise = crate::http::state::lock(&request.shared.random).next_u64();
        added = format!("{added}Message-ID: <CA{noise:016x}@mail.gmail.com>\r\n");
    }
    if !has("From") {
        added = format!("{added}From: {}\r\n", request.account.email);
    }
    if headers.is_empty() {
        added.push_str("\r\n");
    }
    [added.into_bytes(), raw].concat()
}

pub(super) fn modify(request: &Request) -> Answer {
    let id = request.message_id()?;
    let (add, remove) = (request.texts("addLabelIds")?, request.texts("removeLabelIds")?);
    request.account.change(&request.shared, |mailbox| {
        let (add, remove) = (movable(mailbox, &add)?, movable(mailbox, &remove)?);
        mailbox.message(id)?;
        mailbox.modify(&[id], &add, &remove, request.now);
        Ok(render::brief(mailbox, id, mailbox.message(id)?))
    })
}

fn batch_ids(request: &Request) -> Result<Vec<MessageId>, ApiError> {
    let texts = request.texts("ids")?;
    if texts.is_empty() {
        return Err(ApiError::invalid_argument("No message ids specified"));
    }
    if texts.len() > BATCH_MAX {
        return Err(ApiError::invalid_argument(format!(
            "Too many message ids specified, at most {BATCH_MAX}"
        )));
    }
    texts.iter().map(|text| MessageId::parse(text).ok_or_else(ApiError::invalid_id)).collect()
}

pub(super) fn batch_modify(request: &Request) -> Answer {
    let ids = batch_ids(request)?;
    let (add, remove) = (request.texts("addLabelIds")?, request.texts("removeLabelIds")?);
    request.account.change(&request.shared, |mailbox| {
        let (add, remove) = (movable(mailbox, &add)?, movable(mailbox, &remove)?);
        mailbox.modify(&ids, &add, &remove, request.now);
        Ok(Value::Null)
    })
}

pub(super) fn batch_delete(request: &Request) -> Answer {
    let ids = batch_ids(request)?;
    request.account.change(&request.shared, |mailbox| mailbox.delete(&ids, request.now));
    Ok(Value::Null)
}

pub(super) fn trash(request: &Request) -> Answer {
    on_one(request, |mailbox, id, now| mailbox.trash(&[id], now))
}

pub(super) fn untrash(request: &Request) -> Answer {
    on_one(request, |mailbox, id, now| mailbox.untrash(&[id], now))
}

pub(super) fn delete(request: &Request) -> Answer {
    let id = request.message_id()?;
    request.account.change(&request.shared, |mailbox| {
        mailbox.message(id)?;
        mailbox.delete(&[id], request.now);
        Ok(Value::Null)
    })
}

fn on_one(request: &Request, act: impl FnOnce(&mut Mailbox, MessageId, Millis)) -> Answer {
    let id = request.message_id()?;
    request.account.change(&request.shared, |mailbox| {
        mailbox.message(id)?;
        act(mailbox, id, request.now);
        Ok(render::brief(mailbox, id, mailbox.message(id)?))
    })
}
