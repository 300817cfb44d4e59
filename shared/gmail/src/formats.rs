//! Messages and threads in a mailbox's format, attachments, and the addresses that the owner sends from:
//! <https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages>.
//!
//! Pure, like `requests`, which has format `raw`.

use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use sync_core::{EmailAddress, MessageId, ThreadId, state::Content};

use crate::{
    error::GmailError,
    mime::Payload,
    requests::{self, BASE64, BASE64_URL, GmailMessage, Method, Request},
    wire,
};

/// In format `full` or `metadata`: a tree of parts.
pub type PartedMessage = GmailMessage<Payload>;

/// In whatever format was asked for, not looked into yet.
pub type FetchedMessage = GmailMessage<Mail>;

/// A mail as it came.
#[derive(Clone, PartialEq, Eq)]
pub enum Mail {
    /// The whole RFC 5322 message.
    Raw(Vec<u8>),
    /// The tree of its parts as JSON: texts included, attachments named.
    Parts(Vec<u8>),
    /// The headers of an envelope as JSON.
    Headers(Vec<u8>),
}

impl std::fmt::Debug for Mail {
    // Mail does not belong in a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (format, bytes) = match self {
            Self::Raw(bytes) => ("Raw", bytes),
            Self::Parts(bytes) => ("Parts", bytes),
            Self::Headers(bytes) => ("Headers", bytes),
        };
        formatter.debug_tuple(format).field(&bytes.len()).finish()
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
    let headers = envelope_headers();
    get(&format!("messages/{id}?format=metadata&fields={MESSAGE_FIELDS}&metadataHeaders={headers}"))
}

fn envelope_headers() -> String {
    ENVELOPE_HEADERS.join("&metadataHeaders=")
}

/// `users.messages.get` in a mailbox's format.
pub fn get_message(id: MessageId, content: Content) -> Request {
    match content {
        Content::Raw => requests::get_raw(id),
        Content::Full => get_full(id),
        Content::Metadata => get_metadata(id),
    }
}

/// `users.threads.get` in a mailbox's format.
///
/// # Errors
/// [`GmailError::Unsendable`] for format `raw`, in which there are no threads.
pub fn get_thread(id: ThreadId, content: Content) -> Result<Request, GmailError> {
    let (format, headers) = match content {
        Content::Raw => return Err(GmailError::Unsendable),
        Content::Full => ("full", String::new()),
        Content::Metadata => ("metadata", format!("&metadataHeaders={}", envelope_headers())),
    };
    Ok(get(&format!("threads/{id}?format={format}&fields=messages({MESSAGE_FIELDS}){headers}")))
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
    let message = read_payload(body, asked)?;
    let payload = Payload::read(message.mail).map_err(|_| NO_PARTS)?;
    Ok(message.map(|_| payload))
}

const NO_PARTS: GmailError = GmailError::Unreadable { what: "a message's parts" };

fn read_payload(body: &[u8], asked: MessageId) -> Result<GmailMessage<&RawValue>, GmailError> {
    let wire: WireMessage<'_> = serde_json::from_slice(body).map_err(|_| NO_PARTS)?;
    let payload = wire.payload.ok_or(NO_PARTS)?;
    let head: wire::Message<'_> = serde_json::from_slice(body).map_err(|_| NO_PARTS)?;
    requests::message_of(head, asked, payload)
}

/// The answer of [`get_message`] for that id.
///
/// # Errors
/// [`GmailError::Unreadable`] for another message, or none.
pub fn read_message(body: &[u8], asked: MessageId, content: Content) -> Result<FetchedMessage, GmailError> {
    let json = |payload: &RawValue| payload.get().as_bytes().to_vec();
    Ok(match content {
        Content::Raw => requests::read_raw(body, asked)?.map(Mail::Raw),
        Content::Full => read_payload(body, asked)?.map(|payload| Mail::Parts(json(payload))),
        Content::Metadata => read_payload(body, asked)?.map(|payload| Mail::Headers(json(payload))),
    })
}

#[derive(Deserialize)]
struct WireThread<'a> {
    #[serde(borrow, default)]
    messages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireId {
    id: String,
}

/// The answer of [`get_thread`]: the messages of it that can be read. Those that cannot are got one by one, and what
/// is wrong with them is found then.
///
/// # Errors
/// [`GmailError::Unreadable`] when it is no thread.
pub fn read_thread(body: &[u8], content: Content) -> Result<Vec<FetchedMessage>, GmailError> {
    let wire: WireThread<'_> =
        serde_json::from_slice(body).map_err(|_| GmailError::Unreadable { what: "a thread" })?;
    let member = |json: &RawValue| {
        let head: WireId = serde_json::from_str(json.get()).ok()?;
        read_message(json.get().as_bytes(), head.id.parse().ok()?, content).ok()
    };
    Ok(wire.messages.into_iter().filter_map(member).collect())
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
