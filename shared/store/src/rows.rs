//! Message rows: how one is written, read whole, and read as a head.
//!
//! The worker writes only its own attributes, by updates and never by puts: what others write on a row
//! (`refs`, `raw`) stays whatever the worker does.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use sync_core::{
    HistoryId, MailboxId, MessageId, Timestamp,
    message::{Address, BodyRef, Envelope, Labels, Message, RowHead, RowState, Touched},
    sync::{Commit, RowWrite},
};

use crate::{
    Store, StoreError, StoredMessage,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, text, time},
    keys::{self, Position},
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most bytes of an envelope's addresses in a row: 45 such rows stay below a transaction's 4 MB, and one
/// row far below 400 KB. The whole headers are in the raw mail.
const ADDRESS_BYTES_MAX: usize = 48 * 1_024;
/// Most bytes of one text in a row.
const TEXT_BYTES_MAX: usize = Envelope::TEXT_BYTES_MAX;
/// Version of what is read out of raw mail: a row of an earlier one, or of none, can be made again from its body.
/// Raised whenever [`Envelope`] gains something, or reads it otherwise.
pub(crate) const PROJECTION_VERSION: u32 = 1;
/// Most rows of one page of a scan.
const SCAN_MAX: u32 = 2_000;
/// What a head needs. `state` is a reserved word, so it has a placeholder of its own.
const HEAD: &str = "sk, history_id, epoch, labels, #state, deleted_at, announced, touched";

impl Store {
    /// Heads of these rows, read consistently; those not stored are absent, the order is any.
    pub async fn read_rows(
        &self,
        mailbox: &MailboxId,
        ids: &[MessageId],
    ) -> Result<Vec<(MessageId, RowHead)>> {
        // DynamoDB refuses a batch that names a key twice.
        let unique: BTreeSet<MessageId> = ids.iter().copied().collect();
        let keys = unique.into_iter().map(|id| keys::message(mailbox, id)).collect();
        self.batch_get("read rows", keys, Some((HEAD, "state"))).await?.iter().map(head_from).collect()
    }

    /// Heads of rows in the order of their ids, a page after that id, at most `limit` (up to 2,000); and
    /// whether more follow.
    pub async fn scan_rows(
        &self,
        mailbox: &MailboxId,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<(Vec<(MessageId, RowHead)>, bool)> {
        let first = match after {
            None => MessageId(0),
            Some(MessageId(u64::MAX)) => return Ok((Vec::new(), false)),
            Some(MessageId(id)) => MessageId(id + 1),
        };
        let last = keys::message_sk(MessageId(u64::MAX));
        let answer = self
            .query_range(keys::partition(mailbox), keys::message_sk(first), last)
            .projection_expression(HEAD)
            .expression_attribute_names("#state", "state")
            .limit(i32::try_from(limit.clamp(1, SCAN_MAX)).unwrap_or(1))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("scan rows", &error))?;
        let more = answer.last_evaluated_key.is_some();
        let heads = answer.items.unwrap_or_default().iter().map(head_from).collect::<Result<_>>()?;
        Ok((heads, more))
    }

    /// One message, read consistently; tombstones too.
    pub async fn get_message(&self, mailbox: &MailboxId, id: MessageId) -> Result<Option<StoredMessage>> {
        let item = self.get("get message", &keys::message(mailbox, id)).await?;
        item.map(|item| message_from(mailbox, &item)).transpose()
    }
}

impl Store {
    /// Notes where the raw mail lies that somebody asked for. Written without the lease, in an attribute that the
    /// worker never touches. Errors: no such message.
    pub async fn note_raw(&self, mailbox: &MailboxId, id: MessageId, raw: &BodyRef) -> Result<()> {
        let change = Change::default().set("raw", nested("raw", raw)?).when("attribute_exists(#pk)");
        match self.update("note raw", &keys::message(mailbox, id), change).await? {
            Updated::Done(_) => Ok(()),
            Updated::Refused(_) => Err(StoreError::NotFound { what: "message" }),
        }
    }
}

/// The change of a row that a commit asks for. Its history id is of the commit's epoch.
pub(crate) fn change_of(commit: &Commit, write: &RowWrite) -> Result<Change> {
    let (mailbox, now) = (&commit.mailbox, commit.now);
    let base = Change::default()
        .set("v", number(SCHEMA_VERSION))
        .set("epoch", number(commit.progress.epoch))
        .set("updated_at", time(now));
    match write {
        RowWrite::Put { message, announced, touched } => {
            let base = told_change(base, *announced, touched)?;
            put_change(base.set("state", nested("state", &RowState::Live)?), mailbox, message, now)
        }
        RowWrite::Labels { labels, history_id, announced, touched, .. } => {
            Ok(told_change(base, *announced, touched)?
                .set("labels", labels_value(labels))
                .set("history_id", number(history_id))
                // Labels of a row that is gone or deleted were decided on what is no longer true.
                .when("attribute_exists(#pk) AND attribute_not_exists(#deleted_at)"))
        }
        RowWrite::Tombstone { state, history_id, labels, touched, .. } => {
            let touched = (!touched.is_empty()).then(|| nested("touched", touched)).transpose()?;
            let base = base
                .set("state", nested("state", state)?)
                .set("history_id", number(history_id))
                .set("mail_pk", text(keys::mail_pk(mailbox, true)))
                .set_or_remove("touched", touched)
                .set_if_absent("deleted_at", time(now))
                .set_if_absent("created_at", time(now));
            Ok(match labels {
                Some(labels) => base.set("labels", labels_value(labels)),
                None => base.set_if_absent("labels", labels_value(&Labels::new())),
            })
        }
    }
}

/// What the feed of changes and an open comparison need to know of a row.
fn told_change(base: Change, announced: bool, touched: &Touched) -> Result<Change> {
    let touched = (!touched.is_empty()).then(|| nested("touched", touched)).transpose()?;
    Ok(base.set("announced", AttributeValue::Bool(announced)).set_or_remove("touched", touched))
}

fn put_change(base: Change, mailbox: &MailboxId, message: &Message, now: Timestamp) -> Result<Change> {
    let envelope = bounded(&message.envelope);
    let body = message.body.as_ref().map(|body| nested("body", body)).transpose()?;
    Ok(base
        .set("thread_id", text(message.thread_id.to_string()))
        .set("history_id", number(message.history_id))
        .set("labels", labels_value(&message.labels))
        .set("received_at", time(message.received_at))
        .set("size_estimate", number(message.size_estimate))
        .set("snippet", text(cut(&message.snippet)))
        .set("envelope", nested("envelope", &envelope)?)
        .set("projection", number(PROJECTION_VERSION))
        .set_or_remove("body", body)
        .set("mail_pk", text(keys::mail_pk(mailbox, false)))
        .set("mail_sk", text(Position::of(message.received_at, message.id).mail_sk()))
        .set("thread_pk", text(keys::thread_pk(mailbox, message.thread_id)))
        .set_if_absent("created_at", time(now))
        .remove("deleted_at"))
}

/// A list, because DynamoDB has no empty sets.
fn labels_value(labels: &Labels) -> AttributeValue {
    AttributeValue::L(labels.iter().map(text).collect())
}

/// The text, cut at a character's end so that it has at most [`TEXT_BYTES_MAX`] bytes.
fn cut(value: &str) -> &str {
    let end = (0..=value.len().min(TEXT_BYTES_MAX)).rev().find(|end| value.is_char_boundary(*end));
    &value[..end.unwrap_or(0)]
}

/// The envelope, small enough for a row whatever a hostile header held.
pub(crate) fn bounded(envelope: &Envelope) -> Envelope {
    let mut left = ADDRESS_BYTES_MAX;
    let mut keep = |addresses: &[Address]| -> Vec<Address> {
        let mut kept = Vec::new();
        for address in addresses.iter().take(Envelope::ADDRESSES_MAX) {
            let address = Address {
                name: address.name.as_deref().map(|name| cut(name).to_owned()),
                email: cut(&address.email).to_owned(),
            };
            let bytes = address.email.len() + address.name.as_ref().map_or(0, String::len) + 32;
            let Some(rest) = left.checked_sub(bytes) else { break };
            left = rest;
            kept.push(address);
        }
        kept
    };
    Envelope {
        from: envelope.from.as_ref().and_then(|from| keep(std::slice::from_ref(from)).pop()),
        to: keep(&envelope.to),
        cc: keep(&envelope.cc),
        bcc: keep(&envelope.bcc),
        rfc822_message_id: envelope.rfc822_message_id.as_deref().map(|id| cut(id).to_owned()),
        subject: cut(&envelope.subject).to_owned(),
        has_attachments: envelope.has_attachments,
        outbound: envelope.outbound,
    }
}

pub(crate) fn id_from(fields: Fields<'_>) -> Result<MessageId> {
    let id = fields.text("sk")?.strip_prefix(keys::MESSAGE).and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::corrupt("message", "attribute sk"))
}

/// What a row stands for. Rows of an earlier version say it by having been deleted or not.
pub(crate) fn state_from(fields: Fields<'_>) -> Result<RowState> {
    match (fields.optional_nested("state")?, fields.optional_time("deleted_at")?) {
        (Some(state), _) => Ok(state),
        (None, Some(_)) => Ok(RowState::Deleted),
        (None, None) => Ok(RowState::Live),
    }
}

/// A head. Rows of an earlier version are of the first epoch, and nobody was told of them.
pub(crate) fn head_from(item: &Item) -> Result<(MessageId, RowHead)> {
    let fields = Fields::new("message", item);
    let head = RowHead {
        history_id: HistoryId(fields.number("history_id")?),
        epoch: fields.optional_number("epoch")?.unwrap_or(0),
        labels: fields.optional_nested("labels")?.unwrap_or_default(),
        state: state_from(fields)?,
        announced: fields.flag("announced")?,
        touched: fields.optional_nested("touched")?.unwrap_or_default(),
    };
    Ok((id_from(fields)?, head))
}

/// A whole row.
pub(crate) fn message_from(mailbox: &MailboxId, item: &Item) -> Result<StoredMessage> {
    let fields = Fields::new("message", item);
    Ok(StoredMessage {
        mailbox: mailbox.clone(),
        id: id_from(fields)?,
        thread_id: fields.optional_text("thread_id")?.map(|_| fields.parsed("thread_id")).transpose()?,
        history_id: HistoryId(fields.number("history_id")?),
        labels: fields.optional_nested("labels")?.unwrap_or_default(),
        received_at: fields.optional_time("received_at")?,
        state: state_from(fields)?,
        deleted_at: fields.optional_time("deleted_at")?,
        size_estimate: fields.optional_number("size_estimate")?.unwrap_or(0),
        snippet: fields.optional_text("snippet")?.unwrap_or_default().to_owned(),
        envelope: fields.optional_nested("envelope")?.unwrap_or_default(),
        body: fields.optional_nested("body")?,
        raw: fields.optional_nested("raw")?,
        references: references_from(item),
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

/// References are a string set, so that two writers can add to it at once.
pub(crate) fn references_from(item: &Item) -> Vec<String> {
    let mut references = item.get("refs").and_then(|refs| refs.as_ss().ok()).cloned().unwrap_or_default();
    references.sort_unstable();
    references
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::bytes_of;

    #[test]
    fn a_hostile_envelope_becomes_a_row_of_bounded_size() {
        let address = Address { name: Some("ä".repeat(50_000)), email: "x".repeat(50_000) };
        let envelope = Envelope {
            from: Some(address.clone()),
            to: vec![address.clone(); 1_000],
            cc: vec![address.clone(); 1_000],
            bcc: vec![address; 1_000],
            subject: "€".repeat(50_000),
            rfc822_message_id: Some("i".repeat(50_000)),
            ..Envelope::default()
        };
        let kept = bounded(&envelope);
        assert!(kept.from.is_some() && !kept.to.is_empty(), "the first addresses are kept");
        let bytes = bytes_of(&nested("envelope", &kept).expect("serialisable"));
        assert!(bytes < 64 * 1_024, "{bytes} bytes");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "€".repeat(1_000);
        assert!(cut(&long).len() <= TEXT_BYTES_MAX && cut(&long).ends_with('€'));
    }
}
