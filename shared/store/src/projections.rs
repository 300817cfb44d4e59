//! Rows made again from the raw mail that is stored, without Gmail.
//!
//! What a row says of a mail's headers is a projection of its raw mail. New code may read more out of it: then rows
//! of an earlier version are read again, a page at a time. Invariant: labels, history ids and the state of a row stay
//! as they are, and so does a row whose body is another one by now.

use sync_core::{MailboxId, MessageId, message::Envelope};

use crate::{
    Store, StoreError, StoredMessage,
    item::{Change, Fields, nested, number, text},
    keys,
    owed::position,
    rows::{PROJECTION_VERSION, bounded, id_from, message_from},
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Rows that one page reads.
const ROWS: i32 = 100;

/// A page of rows to be made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuilt {
    /// Rows of an earlier version that have a body.
    pub rows: Vec<StoredMessage>,
    /// Where to go on; `None` at the end.
    pub next: Option<MessageId>,
}

impl Store {
    /// Of a hundred rows after `after`, those whose projection is of an earlier version.
    pub async fn outdated_rows(&self, mailbox: &MailboxId, after: Option<MessageId>) -> Result<Rebuilt> {
        let start = after.map(|id| position(mailbox, &keys::message_sk(id)));
        let last = keys::message_sk(MessageId(u64::MAX));
        let answer = self
            .query_range(keys::partition(mailbox), keys::MESSAGE.to_owned(), last)
            .limit(ROWS)
            .set_exclusive_start_key(start)
            .filter_expression(
                "attribute_exists(#body) AND (attribute_not_exists(#version) OR #version < :version)",
            )
            .expression_attribute_names("#body", "body")
            .expression_attribute_names("#version", "projection")
            .expression_attribute_values(":version", number(PROJECTION_VERSION))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("outdated rows", &error))?;
        let items = answer.items.unwrap_or_default();
        let rows = items.iter().map(|item| message_from(mailbox, item)).collect::<Result<_>>()?;
        let next = answer.last_evaluated_key;
        let next = next.map(|key| id_from(Fields::new("message", &key))).transpose()?;
        Ok(Rebuilt { rows, next })
    }

    /// Writes what is read out of a row's body now. Whether it was: a row that is gone, or has another body by now,
    /// was written by somebody who knows better.
    pub async fn put_projection(&self, row: &StoredMessage, envelope: &Envelope) -> Result<bool> {
        let Some(body) = &row.body else { return Ok(false) };
        let change = Change::default()
            .set("envelope", nested("envelope", &bounded(envelope))?)
            .set("projection", number(PROJECTION_VERSION))
            .when("attribute_exists(#pk) AND #body.sha256 = :sha256")
            .value(":sha256", text(&body.sha256));
        let updated = self.update("put projection", &keys::message(&row.mailbox, row.id), change).await?;
        Ok(matches!(updated, Updated::Done(_)))
    }
}
