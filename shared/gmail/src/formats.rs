//! Messages in formats `full` and `metadata`, their attachments, and the addresses that the owner sends from:
//! <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages>.
//!
//! Pure, like `requests`, which has format `raw`.

use base64::Engine as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sync_core::{EmailAddress, HistoryId, MessageId, ThreadId, message::Labels};

use crate::{
    error::GmailError,
    mime::Payload,
    requests::{self, BASE64, BASE64_URL, Method, Request},
    wire,
};

/// A message as Gmail gave it, as a tree of parts.
#[derive(Clone, PartialEq, Eq)]
pub struct PartedMessage {
    /// Gmail's id.
    pub id: MessageId,
    /// Gmail's thread.
    pub thread_id: ThreadId,
    /// Its last change; not a cursor.
    pub history_id: HistoryId,
    /// Its labels.
    pub labels: Labels,
    /// `internalDate`, not before 1970.
    pub received_at: Timestamp,
    /// Bytes, roughly.
    pub size_estimate: u64,
    /// HTML entities decoded.
    pub snippet: String,
    /// The mail.
    pub payload: Payload,
}

impl std::fmt::Debug for PartedMessage {
    // The snippet and the mail are somebody's: they do not belong in a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PartedMessage")
            .field("id", &self.id)
            .field("history_id", &self.history_id)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

const MESSAGE_FIELDS: &str = "id,threadId,labelIds,snippet,historyId,internalDate,sizeEstimate,payload";

/// The headers that an envelope is made of; the others are not asked for.
const ENVELOPE_HEADERS: [&str; 8] =
    ["From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "Content-Type"];

fn get(path: &str) -> Request {
    Request { method: Method::Get, path: format!("/gmail/v1/users/me/{path}"), json: None }
}

/// `users.messages.get` in format `full`.
pub fn get_full(id: MessageId) -> Request {
    get(&format!("messages/{id}?format=full&fields={MESSAGE_FIELDS}"))
}

/// `users.messages.get` in format `metadata`, with the headers of an envelope.
pub fn get_metadata(id: MessageId) -> Request {
    let headers = ENVELOPE_HEADERS.join("&metadataHeaders=");
    get(&format!("messages/{id}?format=metadata&fields={MESSAGE_FIELDS}&metadataHeaders={headers}"))
}

/// `users.messages.attachments.get`.
///
/// # Errors
/// [`GmailError::Unsendable`] for an id that is not of the base64url alphabet, as Gmail's are.
pub fn get_attachment(id: MessageId, attachment_id: &str) -> Result<Request, GmailError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if attachment_id.is_empty() || !attachment_id.bytes().all(is_plain) {
        return Err(GmailError::Unsendable);
    }
    Ok(get(&format!("messages/{id}/attachments/{attachment_id}?fields=size,data")))
}

/// `users.settings.sendAs.list`.
pub fn list_send_as() -> Request {
    get("settings/sendAs?fields=sendAs(sendAsEmail)")
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// The answer of [`get_full`] or [`get_metadata`] for that id.
///
/// # Errors
/// [`GmailError::Unreadable`] for another message, or none.
pub fn read_parted(body: &[u8], asked: MessageId) -> Result<PartedMessage, GmailError> {
    const WHAT: GmailError = GmailError::Unreadable { what: "a message's parts" };
    let wire: WireMessage<'_> = serde_json::from_slice(body).map_err(|_| WHAT)?;
    let payload = wire.payload.ok_or(WHAT)?;
    let head: wire::Message<'_> = serde_json::from_slice(body).map_err(|_| WHAT)?;
    let id = head.id.parse::<MessageId>().map_err(|_| GmailError::Unreadable { what: "a message id" })?;
    // Stored under another's id, a mail would overwrite that other one.
    if id != asked {
        return Err(GmailError::Unreadable { what: "the message that was asked for" });
    }
    let received_ms = head.internal_date.clamp(0, requests::RECEIVED_MS_MAX);
    Ok(PartedMessage {
        id,
        thread_id: head.thread_id.parse().map_err(|_| GmailError::Unreadable { what: "a thread id" })?,
        history_id: HistoryId(head.history_id),
        labels: head.label_ids.into_iter().collect(),
        received_at: Timestamp::from_millisecond(received_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        size_estimate: head.size_estimate,
        snippet: requests::decode_entities(&head.snippet),
        payload: Payload::read(payload).map_err(|_| WHAT)?,
    })
}

#[derive(Deserialize)]
struct WireAttachment<'a> {
    #[serde(borrow)]
    data: wire::Text<'a>,
}

/// The answer of [`get_attachment`].
///
/// # Errors
/// [`GmailError::Unreadable`] when it holds no bytes.
pub fn read_attachment(body: &[u8]) -> Result<Vec<u8>, GmailError> {
    let wire: WireAttachment<'_> =
        serde_json::from_slice(body).map_err(|_| GmailError::Unreadable { what: "an attachment" })?;
    let data = wire.data.0.as_bytes();
    BASE64_URL
        .decode(data)
        .or_else(|_| BASE64.decode(data))
        .map_err(|_| GmailError::Unreadable { what: "an attachment's base64url" })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendAsList {
    #[serde(default)]
    send_as: Vec<SendAs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendAs {
    send_as_email: String,
}

/// The answer of [`list_send_as`]: the mailbox's own address among them. What is no address is left out.
///
/// # Errors
/// [`GmailError::Unreadable`] when it is no such list.
pub fn read_send_as(body: &[u8]) -> Result<Vec<EmailAddress>, GmailError> {
    let wire: SendAsList =
        serde_json::from_slice(body).map_err(|_| GmailError::Unreadable { what: "a list of aliases" })?;
    Ok(wire.send_as.iter().filter_map(|alias| alias.send_as_email.parse().ok()).collect())
}
