//! A mail as a list shows it.

use jiff::Timestamp;
use serde::Serialize;
use sync_core::{
    HistoryId, MailboxId, MessageId, ThreadId,
    message::{Address, Labels, RowState},
};
use sync_store::StoredMessage;

use super::ReferenceView;

/// A mail in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailView {
    id: String,
    mailbox: MailboxId,
    gmail_id: MessageId,
    thread_id: Option<ThreadId>,
    rfc822_message_id: Option<String>,
    label_ids: Labels,
    history_id: HistoryId,
    is_deleted: bool,
    /// `live`, or which kind of tombstone it is.
    state: RowState,
    deleted_at: Option<Timestamp>,
    direction: &'static str,
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    bcc: Vec<Address>,
    subject: String,
    snippet: String,
    received_at: Option<Timestamp>,
    size_estimate: u64,
    has_attachments: bool,
    category: Option<String>,
    amount: Option<String>,
    currency: Option<String>,
    contact_id: Option<String>,
    references: Vec<ReferenceView>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<StoredMessage> for EmailView {
    fn from(message: StoredMessage) -> Self {
        let id = message.email_id().to_string();
        let is_deleted = message.is_deleted();
        let envelope = *message.envelope;
        Self {
            id,
            mailbox: message.mailbox,
            gmail_id: message.id,
            thread_id: message.thread_id,
            rfc822_message_id: envelope.rfc822_message_id,
            label_ids: message.labels,
            history_id: message.history_id,
            is_deleted,
            state: message.state,
            deleted_at: message.deleted_at,
            direction: if envelope.outbound { "outbound" } else { "inbound" },
            from: envelope.from,
            to: envelope.to,
            cc: envelope.cc,
            bcc: envelope.bcc,
            subject: envelope.subject,
            snippet: message.snippet,
            received_at: message.received_at,
            size_estimate: message.size_estimate,
            has_attachments: envelope.has_attachments,
            category: None,
            amount: None,
            currency: None,
            contact_id: None,
            references: message.references.iter().map(|stored| ReferenceView::of(stored)).collect(),
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}
