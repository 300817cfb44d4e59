//! A debt as the API shows it: a message known of and not stored, with its reason.

use jiff::Timestamp;
use serde::Serialize;
use sync_core::{
    HistoryId, MailboxId, MessageId,
    owed::{Owed, OwedReason},
};
use sync_store::EmailId;

/// A debt.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DebtView {
    id: String,
    mailbox: MailboxId,
    gmail_id: MessageId,
    reason: &'static str,
    /// What went wrong, where something did.
    error: Option<String>,
    since: Timestamp,
    tries: u32,
    /// When it is tried again; null when nothing more is tried by itself.
    due_at: Option<Timestamp>,
    /// When Gmail first said that there is no such message.
    missing_since: Option<Timestamp>,
    /// The highest record seen of it: a copy older than that is not taken.
    at_least: HistoryId,
}

impl DebtView {
    /// A debt of this mailbox.
    pub fn new(mailbox: &MailboxId, owed: &Owed) -> Self {
        let error = match &owed.reason {
            OwedReason::Failed { error } => Some(error.clone()),
            OwedReason::Waiting | OwedReason::NotVisibleYet | OwedReason::Vanished => None,
        };
        Self {
            id: EmailId { mailbox: mailbox.clone(), message: owed.id }.to_string(),
            mailbox: mailbox.clone(),
            gmail_id: owed.id,
            reason: owed.reason.name(),
            error,
            since: owed.since,
            tries: owed.tries,
            due_at: owed.due_at,
            missing_since: owed.missing_since,
            at_least: owed.at_least,
        }
    }
}
