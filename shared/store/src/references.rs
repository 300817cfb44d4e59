//! What refers to a mail (a task, a deal), and what that keeps.
//!
//! References are a set of texts on the message's row, written without the lease: the worker never touches it, so
//! neither waits for the other. A tombstone that is referenced to stays.

use sync_core::{
    MailboxId, MessageId, Timestamp,
    message::{BodyRef, RowState},
};

use crate::{
    KnownBodies, Store, StoreError,
    item::{Change, Fields, Item, nested, number},
    keys,
    owed::position,
    rows::{references_from, state_from},
    table::{Transacted, Updated},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most references of one mail.
pub const REFERENCES_MAX: usize = 50;
/// Longest reference, bytes.
pub const REFERENCE_BYTES_MAX: usize = 200;
/// How often a set that others write to is tried.
const TRIES_MAX: u32 = 10;
/// Most tombstones of one transaction: with `SYNC` and room to spare below its hundred items.
const SWEEP_CHUNK: usize = 80;
/// Rows of one step of a sweep.
const SWEEP_PAGE: i32 = 1_000;

/// What came of one step of retention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tombstones that went.
    pub tombstones: usize,
    /// Where to go on from; `None` at the end.
    pub next: Option<MessageId>,
}

impl Store {
    /// Adds references to a mail, deleted or not; those it has already stay one. Gives all it has then.
    ///
    /// Errors: no such message; more or longer ones than [`REFERENCES_MAX`] and [`REFERENCE_BYTES_MAX`].
    pub async fn add_references(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
        references: &[String],
    ) -> Result<Vec<String>> {
        if let Some(long) = references.iter().map(String::len).find(|len| *len > REFERENCE_BYTES_MAX) {
            return Err(too_large("bytes of a reference", long, REFERENCE_BYTES_MAX));
        }
        for _ in 0..TRIES_MAX {
            let found = self.references_of(mailbox, id).await?;
            let mut new: Vec<String> =
                references.iter().filter(|one| !one.is_empty() && !found.contains(one)).cloned().collect();
            new.sort_unstable();
            new.dedup();
            if new.is_empty() {
                return Ok(found);
            }
            let total = found.len() + new.len();
            let room = REFERENCES_MAX
                .checked_sub(new.len())
                .filter(|_| total <= REFERENCES_MAX)
                .ok_or_else(|| too_large("references of a message", total, REFERENCES_MAX))?;
            let change = Change::default()
                .add_to_set("refs", new)
                .when("attribute_exists(#pk) AND (attribute_not_exists(#refs) OR size(#refs) <= :room)")
                .value(":room", number(room));
            match self.update("add references", &keys::message(mailbox, id), change).await? {
                Updated::Done(item) => return Ok(references_from(&item)),
                // Somebody added others in between: is there room still?
                Updated::Refused(_) => {}
            }
        }
        Err(StoreError::Busy { operation: "add references" })
    }

    /// Takes references from a mail; those it does not have are no error. Gives what is left.
    ///
    /// Errors: no such message.
    pub async fn remove_references(
        &self,
        mailbox: &MailboxId,
        id: MessageId,
        references: &[String],
    ) -> Result<Vec<String>> {
        let found = self.references_of(mailbox, id).await?;
        let mut gone: Vec<String> = references.iter().filter(|one| found.contains(one)).cloned().collect();
        gone.sort_unstable();
        gone.dedup();
        if gone.is_empty() {
            return Ok(found);
        }
        let change = Change::default().take_from_set("refs", gone).when("attribute_exists(#pk)");
        match self.update("remove references", &keys::message(mailbox, id), change).await? {
            Updated::Done(item) => Ok(references_from(&item)),
            Updated::Refused(_) => Err(StoreError::NotFound { what: "message" }),
        }
    }

    async fn references_of(&self, mailbox: &MailboxId, id: MessageId) -> Result<Vec<String>> {
        let item = self.get("read references", &keys::message(mailbox, id)).await?;
        item.as_ref().map(references_from).ok_or(StoreError::NotFound { what: "message" })
    }

    /// One step of retention: of up to 1,000 rows after `after`, tombstones that were deleted before `before`
    /// and are not referenced go, and the counter with them.
    ///
    /// What has left the scope and what was accepted as lost stays: its tombstone is what keeps it from
    /// being fetched again. The bodies of all rows that were there, swept ones too, are noted in `known`: what a
    /// tombstone held goes a day later than it.
    pub async fn sweep_tombstones(
        &self,
        mailbox: &MailboxId,
        before: Timestamp,
        after: Option<MessageId>,
        known: &mut KnownBodies,
    ) -> Result<Swept> {
        let start = after.map(|id| position(mailbox, &keys::message_sk(id)));
        let last = keys::message_sk(MessageId(u64::MAX));
        let answer = self
            .query_range(keys::partition(mailbox), keys::MESSAGE.to_owned(), last)
            .limit(SWEEP_PAGE)
            .set_exclusive_start_key(start)
            .projection_expression("sk, #state, deleted_at, refs, body, #raw")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#raw", "raw")
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("sweep", &error))?;
        let more = answer.last_evaluated_key.is_some();
        let items = answer.items.unwrap_or_default();
        let mut old = Vec::new();
        for item in &items {
            let fields = Fields::new("message", item);
            let id = crate::rows::id_from(fields)?;
            for name in ["body", "raw"] {
                if let Some(body) = fields.optional_nested::<BodyRef>(name)? {
                    known.insert(&body.sha256);
                }
            }
            if is_swept(item, before)? {
                old.push(id);
            }
        }
        let mut tombstones = 0;
        for chunk in old.chunks(SWEEP_CHUNK) {
            tombstones += self.sweep_chunk(mailbox, chunk, before).await?;
        }
        let last = items.last().map(|item| crate::rows::id_from(Fields::new("message", item))).transpose()?;
        Ok(Swept { tombstones, next: last.filter(|_| more) })
    }

    /// How many went: all or none.
    async fn sweep_chunk(&self, mailbox: &MailboxId, ids: &[MessageId], before: Timestamp) -> Result<usize> {
        // Referenced or revived in between: it stays, and so do the others until the next sweep.
        let guard = Change::default()
            .when("attribute_not_exists(#refs) AND #deleted_at < :before")
            .when("attribute_not_exists(#state) OR #state = :deleted")
            .value(":before", crate::item::time(before))
            .value(":deleted", nested("state", &RowState::Deleted)?);
        let fewer = Change::default()
            .add("total_deleted", -i64::try_from(ids.len()).unwrap_or(0))
            .when("attribute_exists(#pk)");
        let mut items = vec![self.transact_update(&keys::sync(mailbox), &fewer)?];
        for id in ids {
            items.push(self.transact_guarded_delete(&keys::message(mailbox, *id), &guard)?);
        }
        match self.transact("sweep", items).await? {
            Transacted::Done => Ok(ids.len()),
            Transacted::Cancelled(_) => Ok(0),
        }
    }
}

fn is_swept(item: &Item, before: Timestamp) -> Result<bool> {
    let fields = Fields::new("message", item);
    Ok(state_from(fields)? == RowState::Deleted
        && references_from(item).is_empty()
        && fields.optional_time("deleted_at")?.is_some_and(|at| at < before))
}

fn too_large(what: &'static str, actual: usize, max: usize) -> StoreError {
    StoreError::TooLarge { what, actual, max }
}
