//! Gmail's JSON, name for name: <https://developers.google.com/workspace/gmail/api/reference/rest>.
//!
//! Ids stay text here and become numbers in `requests`. Where production and the reference disagree
//! (numbers as strings), both are taken. Deliberately absent: every field we do not use.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

/// `users.getProfile`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The mailbox's address.
    pub email_address: String,
    /// How many messages it holds; absent means none.
    #[serde(default, deserialize_with = "number")]
    pub messages_total: u64,
    /// The mailbox's present.
    #[serde(deserialize_with = "number")]
    pub history_id: u64,
}

/// `users.messages.list`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageList {
    /// Absent when nothing matches.
    #[serde(default)]
    pub messages: Vec<MessageRef>,
    /// Absent on the last page.
    pub next_page_token: Option<String>,
}

/// A message that is only named.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageRef {
    /// Hexadecimal.
    pub id: String,
    /// Hexadecimal; in a list of messages.
    pub thread_id: Option<String>,
}

/// `users.history.list`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryList {
    /// Absent when nothing changed; a page may lack it and still have a next one.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
    /// Absent on the last page.
    pub next_page_token: Option<String>,
    /// The mailbox's present.
    #[serde(deserialize_with = "number")]
    pub history_id: u64,
}

/// One record. `messages` repeats the typed arrays and is not read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The record's id.
    #[serde(deserialize_with = "number")]
    pub id: u64,
    /// New messages.
    #[serde(default)]
    pub messages_added: Vec<HistoryMessage>,
    /// Messages deleted for good.
    #[serde(default)]
    pub messages_deleted: Vec<HistoryMessage>,
    /// Labels put on.
    #[serde(default)]
    pub labels_added: Vec<HistoryLabels>,
    /// Labels taken off.
    #[serde(default)]
    pub labels_removed: Vec<HistoryLabels>,
}

/// An element of `messagesAdded` and `messagesDeleted`.
#[derive(Debug, Deserialize)]
pub struct HistoryMessage {
    /// Which message.
    pub message: MessageRef,
}

/// An element of `labelsAdded` and `labelsRemoved`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLabels {
    /// Which message.
    pub message: MessageRef,
    /// The labels that changed, not those it has.
    #[serde(default)]
    pub label_ids: Vec<String>,
}

/// `users.messages.get` in format `raw`. Borrows the mail from the answer: it may be 50 MB.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message<'a> {
    /// Hexadecimal.
    pub id: String,
    /// Hexadecimal.
    pub thread_id: String,
    /// Absent when the message has none.
    #[serde(default)]
    pub label_ids: Vec<String>,
    /// HTML entities encoded.
    #[serde(default)]
    pub snippet: String,
    /// Its last change.
    #[serde(deserialize_with = "number")]
    pub history_id: u64,
    /// Milliseconds since 1970; negative for mail that claims to be older.
    #[serde(default, deserialize_with = "signed_number")]
    pub internal_date: i64,
    /// Bytes, roughly.
    #[serde(default, deserialize_with = "number")]
    pub size_estimate: u64,
    /// The whole mail, base64url.
    #[serde(borrow, default)]
    pub raw: Option<Text<'a>>,
}

/// Text that borrows when it holds no escapes. `Cow` alone would copy: serde borrows it only when told to.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// `users.labels.list`.
#[derive(Debug, Deserialize)]
pub struct LabelList {
    /// All of them; the method has no pages.
    #[serde(default)]
    pub labels: Vec<Label>,
}

/// One label.
#[derive(Debug, Deserialize)]
pub struct Label {
    /// What messages carry.
    pub id: String,
    /// What people see.
    #[serde(default)]
    pub name: String,
}

/// `users.labels.get`, as far as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelCount {
    /// Messages that wear it, SPAM and TRASH included.
    #[serde(default, deserialize_with = "number")]
    pub messages_total: u64,
}

/// `users.watch`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// The mailbox's present.
    #[serde(deserialize_with = "number")]
    pub history_id: u64,
    /// Milliseconds since 1970: a string in production, a number in older documents.
    #[serde(deserialize_with = "signed_number")]
    pub expiration: i64,
}

/// The body of every refusal.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorBody {
    /// The refusal.
    pub error: ErrorDetail,
}

/// A refusal.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorDetail {
    /// May hold the deadline of a rate limit, and nothing else of use.
    #[serde(default)]
    pub message: String,
    /// The classic reasons.
    #[serde(default)]
    pub errors: Vec<ErrorItem>,
    /// The canonical code, `PERMISSION_DENIED` and so on.
    #[serde(default)]
    pub status: String,
    /// Newer services say the reason here.
    #[serde(default)]
    pub details: Vec<ErrorInfo>,
}

/// One classic reason.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorItem {
    /// `rateLimitExceeded` and so on.
    #[serde(default)]
    pub reason: String,
}

/// `google.rpc.ErrorInfo`, among other details that have no `reason`.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorInfo {
    /// `RATE_LIMIT_EXCEEDED` and so on.
    #[serde(default)]
    pub reason: String,
}

/// An unsigned number, or a string of one.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let wide = deserializer.deserialize_any(NumberOrText)?;
    u64::try_from(wide).map_err(|_| de::Error::custom("must be an unsigned 64-bit number"))
}

/// A signed number, or a string of one.
pub(crate) fn signed_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let wide = deserializer.deserialize_any(NumberOrText)?;
    i64::try_from(wide).map_err(|_| de::Error::custom("must be a signed 64-bit number"))
}

struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = i128;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number or a string of one")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<i128, E> {
        // `parse` takes a leading plus sign, which Gmail never writes.
        if value.starts_with('+') {
            return Err(E::custom("must be a number"));
        }
        value.parse().map_err(|_| E::custom("must be a number"))
    }
}
