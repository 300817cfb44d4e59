//! Messages in formats `full` and `metadata`, their attachments, and the addresses that the owner sends from:
//! <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages>.
//!
//! Pure, like `requests`, which has format `raw`.

use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use sync_core::{EmailAddress, MessageId};

use crate::{
    error::GmailError,
    mime::Payload,
    requests::{self, BASE64, BASE64_URL, GmailMessage, Method, Request},
    wire,
};

/// In format `full` or `metadata`: a tree of parts.
pub type PartedMessage = GmailMessage<Payload>;

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
    requests::message_of(head, asked, Payload::read(payload).map_err(|_| WHAT)?)
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
