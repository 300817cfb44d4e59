//! What is asked of Gmail and what its answers mean: pure, so that every odd answer has a test without a
//! socket. Paths and parameters: <https://developers.google.com/workspace/gmail/api/reference/rest>.
//!
//! Deliberately absent: history filtered by a label (mail that a filter archives would be missed).

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::{SignedDuration, Timestamp};
use sync_core::{
    EmailAddress, HistoryId, MessageId, ThreadId,
    message::Labels,
    state::Window,
    sync::{HistoryPage, HistoryRecord, ListPage, Listed, Profile, RecordChange},
};
use url::form_urlencoded;

use crate::{error::GmailError, wire};

/// Gmail's largest page, for lists and history.
pub const PAGE_MAX: u32 = 500;

/// Latest time kept: rows sort by thirteen digits of milliseconds.
const RECEIVED_MS_MAX: i64 = 9_999_999_999_999;

/// Base64 as found in the wild: with padding or without, stray bits in the last letter.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
pub(crate) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

const DAY_SECONDS: i64 = 86_400;

/// One request, without host and token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query, beginning with a slash.
    pub path: String,
    /// A JSON body, for `watch`.
    pub json: Option<serde_json::Value>,
}

/// The two methods that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Everything else.
    Post,
}

/// Whose mailbox a token opens, and its present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The address, as Gmail says it, never as a caller says it.
    pub address: EmailAddress,
    /// What the engine wants of it.
    pub profile: Profile,
}

/// One label of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What messages carry and `ListMessages` takes.
    pub id: String,
    /// What people see.
    pub name: String,
}

/// A watch that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// The mailbox's present.
    pub history_id: HistoryId,
    /// When it lapses, silently.
    pub expires_at: Timestamp,
}

/// A message as Gmail gave it: what it says of the mail, and the mail, not yet looked into.
#[derive(Clone, PartialEq, Eq)]
pub struct GmailMessage<M> {
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
    /// The mail: its bytes in format `raw`, a tree of parts in the others.
    pub mail: M,
}

/// In format `raw`: the whole RFC 5322 message.
pub type RawMessage = GmailMessage<Vec<u8>>;

impl<M> GmailMessage<M> {
    /// The same message around its mail in another shape.
    pub fn map<N>(self, convert: impl FnOnce(M) -> N) -> GmailMessage<N> {
        let Self { id, thread_id, history_id, labels, received_at, size_estimate, snippet, mail } = self;
        let mail = convert(mail);
        GmailMessage { id, thread_id, history_id, labels, received_at, size_estimate, snippet, mail }
    }
}

impl<M> std::fmt::Debug for GmailMessage<M> {
    // The snippet and the mail are somebody's: they do not belong in a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GmailMessage")
            .field("id", &self.id)
            .field("history_id", &self.history_id)
            .finish_non_exhaustive()
    }
}

fn get(path: &str, query: &[(&str, &str)]) -> Request {
    let mut encoder = form_urlencoded::Serializer::new(String::new());
    encoder.extend_pairs(query);
    Request {
        method: Method::Get,
        path: format!("/gmail/v1/users/me/{path}?{}", encoder.finish()),
        json: None,
    }
}

/// `users.getProfile`.
pub fn profile() -> Request {
    get("profile", &[("fields", "emailAddress,messagesTotal,historyId")])
}

/// `users.messages.list`, SPAM and TRASH included. `now` places a window of days: `after:` with a date would
/// mean midnight in California, so it is given in seconds. What has a limit of its own is one page, whatever `page_size`.
///
/// # Errors
/// [`GmailError::Unsendable`] for the contact of an address that is not [searchable](is_searchable).
pub fn list_messages(
    window: &Window,
    label: Option<&str>,
    page_token: Option<&str>,
    page_size: u32,
    now: Timestamp,
) -> Result<Request, GmailError> {
    let max_results = match window {
        Window::Newest(newest) => (*newest).clamp(1, PAGE_MAX),
        Window::Contact { limit, .. } => (*limit).clamp(1, PAGE_MAX),
        Window::Days(_) | Window::All | Window::Between { .. } => page_size,
    }
    .to_string();
    let search = search(window, now)?;
    let mut query = vec![
        ("includeSpamTrash", "true"),
        ("maxResults", max_results.as_str()),
        ("fields", "messages(id,threadId),nextPageToken"),
    ];
    query.extend(search.as_deref().map(|search| ("q", search)));
    query.extend(label.map(|label| ("labelIds", label)));
    query.extend(page_token.map(|token| ("pageToken", token)));
    Ok(get("messages", &query))
}

/// What is searched for, if not everything: <https://support.google.com/mail/answer/7190>.
fn search(window: &Window, now: Timestamp) -> Result<Option<String>, GmailError> {
    Ok(match window {
        Window::Newest(_) | Window::All => None,
        Window::Days(days) => {
            // From a UTC midnight: a listing that goes on in another run must ask for the same.
            let today = now.as_second().div_euclid(DAY_SECONDS) * DAY_SECONDS;
            let since = today.saturating_sub(i64::from(*days) * DAY_SECONDS).max(0);
            Some(format!("after:{since}"))
        }
        Window::Between { after, before } => {
            // Whole seconds, rounded outwards: a message too many does no harm.
            let until = before.as_second() + i64::from(before.subsec_nanosecond() > 0);
            Some(format!("after:{} before:{}", after.as_second().max(0), until.max(0)))
        }
        Window::Contact { address, .. } if is_searchable(address) => {
            let address = address.as_str();
            Some(format!(r#"{{from:"{address}" to:"{address}"}}"#))
        }
        Window::Contact { .. } => return Err(GmailError::Unsendable),
    })
}

/// Whether a search for this address means this address: Gmail's quotes cannot be escaped.
pub fn is_searchable(address: &EmailAddress) -> bool {
    !address.as_str().contains(['"', '\\', '(', ')', '{', '}'])
}

/// `users.history.list`, all types, no label filter.
pub fn list_history(start: HistoryId, page_token: Option<&str>, page_size: u32) -> Request {
    let (start, max_results) = (start.to_string(), page_size.to_string());
    let mut query = vec![
        ("startHistoryId", start.as_str()),
        ("maxResults", max_results.as_str()),
        (
            "fields",
            "history(id,messagesAdded(message(id)),messagesDeleted(message(id)),\
             labelsAdded(message(id),labelIds),labelsRemoved(message(id),labelIds)),historyId,nextPageToken",
        ),
    ];
    query.extend(page_token.map(|token| ("pageToken", token)));
    get("history", &query)
}

/// `users.labels.list`.
pub fn list_labels() -> Request {
    get("labels", &[("fields", "labels(id,name)")])
}

/// `users.labels.get`: how many messages wear it.
///
/// # Errors
/// [`GmailError::Unsendable`] for an id that no path can hold.
pub fn count_label(id: &str) -> Result<Request, GmailError> {
    if matches!(id, "" | "." | "..") {
        return Err(GmailError::Unsendable);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let mut path = "labels/".to_owned();
    for byte in id.bytes() {
        if plain(byte) {
            path.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
            path.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    Ok(get(&path, &[("fields", "id,messagesTotal")]))
}

/// `users.messages.get` in format `raw`.
pub fn get_raw(id: MessageId) -> Request {
    get(
        &format!("messages/{id}"),
        &[
            ("format", "raw"),
            ("fields", "id,threadId,labelIds,snippet,historyId,internalDate,sizeEstimate,raw"),
        ],
    )
}

/// `users.watch` on everything, never on a label. `topic` is `projects/P/topics/T`.
pub fn watch(topic: &str) -> Request {
    Request {
        method: Method::Post,
        path: "/gmail/v1/users/me/watch".to_owned(),
        json: Some(serde_json::json!({ "topicName": topic })),
    }
}

/// `users.stop`.
pub fn stop() -> Request {
    Request { method: Method::Post, path: "/gmail/v1/users/me/stop".to_owned(), json: None }
}

fn read<'a, T: serde::Deserialize<'a>>(body: &'a [u8], what: &'static str) -> Result<T, GmailError> {
    // The parser's own words may quote the answer, so only what was expected is kept.
    serde_json::from_slice(body).map_err(|_| GmailError::Unreadable { what })
}

/// The answer of [`profile`].
pub fn read_profile(body: &[u8]) -> Result<Account, GmailError> {
    let wire: wire::Profile = read(body, "a profile")?;
    let address =
        wire.email_address.parse().map_err(|_| GmailError::Unreadable { what: "the profile's address" })?;
    let profile = Profile { history_id: HistoryId(wire.history_id), messages_total: wire.messages_total };
    Ok(Account { address, profile })
}

/// The answer of [`list_messages`]. The window matters: the newest so many are one page, whatever its token.
pub fn read_message_list(body: &[u8], window: &Window) -> Result<ListPage, GmailError> {
    let wire: wire::MessageList = read(body, "a list of messages")?;
    let messages = wire.messages.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let next_page_token = match window {
        Window::Newest(_) | Window::Contact { .. } => None,
        Window::Days(_) | Window::All | Window::Between { .. } => {
            wire.next_page_token.filter(|token| !token.is_empty())
        }
    };
    Ok(ListPage { messages, next_page_token })
}

/// A thread only saves units: a message without a readable one is got alone.
fn listed(message: &wire::MessageRef) -> Result<Listed, GmailError> {
    let id = message_id(&message.id)?;
    let thread = message.thread_id.as_deref().and_then(|thread| thread.parse().ok());
    Ok(thread.map_or(Listed::alone(id), |thread| Listed::new(id, thread)))
}

/// The answer of [`list_history`].
pub fn read_history(body: &[u8]) -> Result<HistoryPage, GmailError> {
    let wire: wire::HistoryList = read(body, "a page of history")?;
    let records = wire.history.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
    Ok(HistoryPage {
        records,
        history_id: HistoryId(wire.history_id),
        next_page_token: wire.next_page_token.filter(|token| !token.is_empty()),
    })
}

/// One record. JSON gives its arrays no order among themselves; a deletion is final, so it comes last.
fn record(entry: wire::HistoryEntry) -> Result<HistoryRecord, GmailError> {
    let mut changes = Vec::new();
    for added in entry.messages_added {
        changes.push((message_id(&added.message.id)?, RecordChange::Added));
    }
    for added in entry.labels_added {
        changes.push((message_id(&added.message.id)?, RecordChange::LabelsAdded(added.label_ids)));
    }
    for removed in entry.labels_removed {
        changes.push((message_id(&removed.message.id)?, RecordChange::LabelsRemoved(removed.label_ids)));
    }
    for deleted in entry.messages_deleted {
        changes.push((message_id(&deleted.message.id)?, RecordChange::Deleted));
    }
    Ok(HistoryRecord { id: HistoryId(entry.id), changes })
}

/// The answer of [`list_labels`].
pub fn read_labels(body: &[u8]) -> Result<Vec<Label>, GmailError> {
    let wire: wire::LabelList = read(body, "a list of labels")?;
    Ok(wire.labels.into_iter().map(|label| Label { id: label.id, name: label.name }).collect())
}

/// The answer of [`count_label`].
pub fn read_label_count(body: &[u8]) -> Result<i64, GmailError> {
    let wire: wire::LabelCount = read(body, "a label")?;
    i64::try_from(wire.messages_total).map_err(|_| GmailError::Unreadable { what: "a label's count" })
}

/// The answer of [`get_raw`] for that id.
pub fn read_raw(body: &[u8], asked: MessageId) -> Result<RawMessage, GmailError> {
    let wire: wire::Message<'_> = read(body, "a message")?;
    let encoded = wire.raw.as_ref().ok_or(GmailError::Unreadable { what: "a message's raw mail" })?;
    let raw = BASE64_URL
        .decode(encoded.0.as_bytes())
        .or_else(|_| BASE64.decode(encoded.0.as_bytes()))
        .map_err(|_| GmailError::Unreadable { what: "a message's base64url" })?;
    message_of(wire, asked, raw)
}

/// What Gmail says of a message, around its mail.
pub(crate) fn message_of<M>(
    wire: wire::Message<'_>,
    asked: MessageId,
    mail: M,
) -> Result<GmailMessage<M>, GmailError> {
    let id = message_id(&wire.id)?;
    // Stored under another's id, a mail would overwrite that other one.
    if id != asked {
        return Err(GmailError::Unreadable { what: "the message that was asked for" });
    }
    let received_ms = wire.internal_date.clamp(0, RECEIVED_MS_MAX);
    Ok(GmailMessage {
        id,
        thread_id: wire.thread_id.parse().map_err(|_| GmailError::Unreadable { what: "a thread id" })?,
        history_id: HistoryId(wire.history_id),
        labels: wire.label_ids.into_iter().collect(),
        received_at: Timestamp::from_millisecond(received_ms).unwrap_or(Timestamp::UNIX_EPOCH),
        size_estimate: wire.size_estimate,
        snippet: decode_entities(&wire.snippet),
        mail,
    })
}

/// The answer of [`watch`].
pub fn read_watch(body: &[u8]) -> Result<Watch, GmailError> {
    let wire: wire::Watch = read(body, "a watch")?;
    let expires_at = Timestamp::from_millisecond(wire.expiration)
        .map_err(|_| GmailError::Unreadable { what: "a watch's expiration" })?;
    Ok(Watch { history_id: HistoryId(wire.history_id), expires_at })
}

/// When a watch should be set again: when a day or less of its week is left.
pub fn watch_due(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_none_or(|expires_at| expires_at.duration_since(now) <= SignedDuration::from_hours(24))
}

fn message_id(text: &str) -> Result<MessageId, GmailError> {
    text.parse().map_err(|_| GmailError::Unreadable { what: "a message id" })
}

/// The entities that Gmail writes into snippets; anything else stays as it is.
fn decode_entities(text: &str) -> String {
    /// Longest entity looked at, `&#1114111;` and a little more.
    const ENTITY_BYTES_MAX: usize = 12;
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at(at);
        decoded.push_str(before);
        let entity = from.bytes().take(ENTITY_BYTES_MAX).position(|byte| byte == b';').and_then(|end| {
            let name = from.get(1..end)?;
            Some((entity(name)?, end + 1))
        });
        let (character, length) = entity.unwrap_or(('&', 1));
        decoded.push(character);
        rest = from.get(length..).unwrap_or_default();
    }
    decoded.push_str(rest);
    decoded
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests;
