//! A message as the replica keeps it: what Gmail says of it, and what its headers say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{HistoryId, MessageId, ThreadId};

/// Gmail's label ids of one message, in order.
pub type Labels = BTreeSet<String>;

/// A message that was fetched, parsed and whose body lies in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    /// Gmail's id.
    pub id: MessageId,
    /// Gmail's thread.
    pub thread_id: ThreadId,
    /// The message's own history id as the answer gave it. Not a cursor: it may have expired long ago.
    pub history_id: HistoryId,
    /// Labels as the answer gave them; a get can show a new history id with old labels.
    pub labels: Labels,
    /// When Gmail received it (`internalDate`).
    pub received_at: Timestamp,
    /// Gmail's `sizeEstimate`, bytes.
    pub size_estimate: u64,
    /// Gmail's snippet, HTML entities decoded.
    pub snippet: String,
    /// What its headers and structure say. Boxed: the engine moves messages, it never looks inside.
    pub envelope: Box<Envelope>,
    /// Where the mail lies; `None` where only its headers were fetched, and in models.
    pub body: Option<BodyRef>,
}

/// What the list view needs, bounded so that a row stays far below DynamoDB's 400 KB.
/// The whole headers are in the stored mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// `Message-ID` without angle brackets.
    pub rfc822_message_id: Option<String>,
    /// First `From` address.
    pub from: Option<Address>,
    /// `To`, at most [`Envelope::ADDRESSES_MAX`].
    pub to: Vec<Address>,
    /// `Cc`, bounded likewise.
    pub cc: Vec<Address>,
    /// `Bcc`, bounded likewise.
    pub bcc: Vec<Address>,
    /// Decoded subject, at most [`Envelope::TEXT_BYTES_MAX`].
    pub subject: String,
    /// Whether a part is an attachment.
    pub has_attachments: bool,
    /// Whether the mailbox's owner wrote it (`SENT` label or a `From` of the owner).
    pub outbound: bool,
}

impl Envelope {
    /// Most addresses kept of one header.
    pub const ADDRESSES_MAX: usize = 100;
    /// Most bytes kept of one decoded text.
    pub const TEXT_BYTES_MAX: usize = 2_000;
}

/// One address of a header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Display name, decoded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The address as written, without angle brackets.
    pub email: String,
}

/// A stored body: an object of the mailbox's, named by the SHA-256 of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BodyRef {
    /// Lower-case hex SHA-256 of the uncompressed content.
    pub sha256: String,
    /// Uncompressed length, bytes.
    pub bytes: u64,
    /// What the content is.
    #[serde(default)]
    pub form: BodyForm,
}

/// In which form a mail is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyForm {
    /// As it was sent (RFC 5322).
    #[default]
    Raw,
    /// Gmail's tree of its parts, JSON: texts included, attachments not.
    Parts,
}

/// Labels that deltas changed while a comparison was open, each with the record that changed it last: what a
/// listing says of them is older than what the row says.
pub type Touched = BTreeMap<String, HistoryId>;

/// What a decision needs to know of a stored row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowHead {
    /// Up to which record the row is current; comparable inside its epoch.
    pub history_id: HistoryId,
    /// The epoch of `history_id`.
    pub epoch: u32,
    /// Labels as stored.
    pub labels: Labels,
    /// Whether it is a message or a tombstone, and of which kind.
    pub state: RowState,
    /// Whether the feed of changes has told of it.
    pub announced: bool,
    /// See [`Touched`]; empty unless a comparison was open at the last change.
    pub touched: Touched,
}

impl RowHead {
    /// Whether it stands for a message that is there.
    pub fn is_live(&self) -> bool {
        self.state == RowState::Live
    }
}

/// What a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// A message in the mailbox and in the scope.
    Live,
    /// A tombstone: Gmail has deleted it for good.
    Deleted,
    /// A tombstone: it lives, outside the labels that the owner chose. Its labels are kept current.
    OutOfScope,
    /// A tombstone: it could not be had, and its owner has accepted that.
    Accepted,
}
