//! Raw RFC 5322 mail, made into what rows and the one-mail view show.
//!
//! Strangers write it. For any bytes: no panic, no recursion, time linear in their number, output bounded.
//! A mail that makes no sense still has an envelope, an empty one at worst, so nothing is ever lost for being
//! malformed. Deliberately absent: sanitising HTML (whoever shows it does), and descending into forwarded
//! mails, which are attachments.

mod headers;
mod render;
mod structure;

use sync_core::{
    EmailAddress,
    message::{Envelope, Labels, Message},
};

pub use self::render::{Attachment, FullMail, attachment, render};
use crate::requests::RawMessage;

/// What the list view needs of a mail: bounded as [`Envelope`] says. `owner` and `labels` tell its direction.
pub fn envelope(raw: &[u8], owner: &EmailAddress, labels: &Labels) -> Envelope {
    let structure = structure::walk(raw);
    let block = raw.get(structure.headers.clone()).unwrap_or_default();
    let mut envelope = headers::envelope(block);
    envelope.has_attachments = structure.leaves.iter().any(|leaf| !leaf.is_body() && !leaf.is_inline());
    let by_owner = envelope.from.as_ref().is_some_and(|from| from.email.to_lowercase() == owner.as_str());
    envelope.outbound = labels.contains("SENT") || by_owner;
    envelope
}

/// The message as the engine takes it. `body` is left out: whoever stores the raw mail knows where.
pub fn to_message(message: &RawMessage, owner: &EmailAddress) -> Message {
    Message {
        id: message.id,
        thread_id: message.thread_id,
        history_id: message.history_id,
        labels: message.labels.clone(),
        received_at: message.received_at,
        size_estimate: message.size_estimate,
        snippet: headers::clean_line(&message.snippet, Envelope::TEXT_BYTES_MAX),
        envelope: Box::new(envelope(&message.raw, owner, &message.labels)),
        body: None,
    }
}

#[cfg(test)]
mod tests;
