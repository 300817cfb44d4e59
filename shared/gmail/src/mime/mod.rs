//! Mail, made into what rows and the one-mail view show: from `raw`, which is RFC 5322, and from the trees of
//! parts that Gmail's `full` and `metadata` formats are. The same mail is the same message in all three, as far
//! as the format has it.
//!
//! Strangers write it. For any bytes: no panic, no recursion, time linear in their number, output bounded.
//! A mail that makes no sense still has an envelope, an empty one at worst, so nothing is ever lost for being
//! malformed. Deliberately absent: sanitising HTML (whoever shows it does), descending into forwarded mails,
//! which are attachments, and uuencoded files in the middle of a text.

mod charset;
mod decode;
mod flowed;
mod headers;
mod owner;
mod render;
mod structure;
mod tnef;
mod tree;
mod words;

use std::{borrow::Cow, collections::BTreeMap};

use sync_core::message::{Envelope, Labels, Message};

pub use self::{
    owner::{OwnAddresses, Owner},
    render::{Attachment, FullMail, TEXT_BYTES_MAX, attachment, attachment_at, render},
    tree::Payload,
};
use self::{
    render::{Held, Piece},
    structure::Structure,
};
use crate::{
    error::GmailError,
    formats::{FetchedMessage, Mail, PartedMessage},
    requests::{GmailMessage, RawMessage},
};

/// Bytes of attachments, by Gmail's attachment id.
pub type FetchedParts = BTreeMap<String, Vec<u8>>;

/// What the list view needs of a mail: bounded as [`Envelope`] says. `owner` and `labels` tell its direction.
pub fn envelope(raw: &[u8], owner: &impl Owner, labels: &Labels) -> Envelope {
    let mail = Parsed::new(raw);
    let has_attachments = mail
        .structure
        .leaves
        .iter()
        .any(|leaf| !leaf.headers.is_body() && !leaf.headers.is_inline(leaf.in_alternative));
    envelope_of(mail.header_block(), has_attachments, owner, labels)
}

/// The message as the engine takes it. `body` is left out: whoever stores the raw mail knows where.
/// `owner` is the mailbox's own address, or all of them: see [`OwnAddresses`].
pub fn to_message(message: &RawMessage, owner: &impl Owner) -> Message {
    message_with(message, envelope(&message.mail, owner, &message.labels))
}

/// The same from format `full` or `metadata`. `metadata` does not say whether a mail of several parts has
/// attachments: `multipart/mixed` counts as having some.
pub fn parted_to_message(message: &PartedMessage, owner: &impl Owner) -> Message {
    let payload = &message.mail;
    let envelope = envelope_of(&payload.header_block, payload.has_attachments(), owner, &message.labels);
    message_with(message, envelope)
}

/// The same from whatever format it came in.
///
/// # Errors
/// [`GmailError::Unreadable`] when the tree of its parts is none.
pub fn fetched_to_message(message: &FetchedMessage, owner: &impl Owner) -> Result<Message, GmailError> {
    let envelope = envelope_in(&message.mail, owner, &message.labels)?;
    Ok(message_with(message, envelope))
}

/// What the list view needs, of a mail in whatever format it came.
///
/// # Errors
/// [`GmailError::Unreadable`] when the tree of its parts is none.
pub fn envelope_in(mail: &Mail, owner: &impl Owner, labels: &Labels) -> Result<Envelope, GmailError> {
    Ok(match mail {
        Mail::Raw(raw) => envelope(raw, owner, labels),
        Mail::Parts(json) | Mail::Headers(json) => {
            let payload = Payload::from_json(json)?;
            envelope_of(&payload.header_block, payload.has_attachments(), owner, labels)
        }
    })
}

fn message_with<M>(message: &GmailMessage<M>, envelope: Envelope) -> Message {
    Message {
        id: message.id,
        thread_id: message.thread_id,
        history_id: message.history_id,
        labels: message.labels.clone(),
        received_at: message.received_at,
        size_estimate: message.size_estimate,
        snippet: headers::clean_line(&message.snippet, Envelope::TEXT_BYTES_MAX),
        envelope: Box::new(envelope),
        body: None,
    }
}

/// Decodes a mail in format `full` for a view. Attachments whose bytes are not in `fetched` are described by
/// what Gmail says of them, and texts that are not there make the mail truncated. In format `metadata` there
/// are only headers.
pub fn render_parts(payload: &Payload, fetched: &FetchedParts) -> FullMail {
    render::assemble(&payload.header_block, payload.pieces(fetched), payload.truncated)
}

fn envelope_of(header_block: &[u8], has_attachments: bool, owner: &impl Owner, labels: &Labels) -> Envelope {
    let mut envelope = headers::envelope(header_block);
    envelope.has_attachments = has_attachments;
    let by_owner = envelope.from.as_ref().is_some_and(|from| owner.owns(&from.email));
    envelope.outbound = labels.contains("SENT") || by_owner;
    envelope
}

/// How many bytes finding the parts of a mail looks at, repeats counted; never more than a few times its length.
pub fn bytes_seen(raw: &[u8]) -> u64 {
    Parsed::new(raw).structure.bytes_seen
}

/// A raw mail, taken apart.
struct Parsed<'a> {
    raw: Cow<'a, [u8]>,
    structure: Structure,
}

impl<'a> Parsed<'a> {
    fn new(raw: &'a [u8]) -> Self {
        let raw = with_line_feeds(raw);
        let structure = structure::walk(&raw);
        Self { raw, structure }
    }

    fn header_block(&self) -> &[u8] {
        self.raw.get(self.structure.headers.clone()).unwrap_or_default()
    }

    fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        self.structure.leaves.iter().map(|leaf| {
            let encoded = self.raw.get(leaf.body.clone()).unwrap_or_default();
            let held = Held::Bytes(decode::decode(leaf.headers.encoding, encoded));
            Piece { headers: &leaf.headers, in_alternative: leaf.in_alternative, held }
        })
    }
}

/// Mail whose lines end in CR alone would be one long line.
fn with_line_feeds(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.contains(&b'\n') || !raw.contains(&b'\r') {
        return raw.into();
    }
    raw.iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests;
