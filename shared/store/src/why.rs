//! What is stored about one message: the answer to "why is it here, or why is it not".
//!
//! Facts only. What they mean is for whoever asks: the rules of the scope are the core's.

use sync_core::{MailboxId, MessageId, state::Work};

use crate::{
    ListPlace, Store, StoreError, WhyFacts, keys,
    rows::{head_from, message_from},
};

impl Store {
    /// Everything stored about this message, read consistently; a message nobody has seen has no row, no debt
    /// and no place. Errors: no such mailbox.
    pub async fn why(&self, mailbox: &MailboxId, id: MessageId) -> Result<WhyFacts, StoreError> {
        let sync = self.read_sync(mailbox).await?.ok_or(StoreError::NotFound { what: "mailbox" })?;
        let item = self.get("why", &keys::message(mailbox, id)).await?;
        let owed = self.read_owed_of(mailbox, &[id]).await?.pop();
        let mut lists = Vec::new();
        for work in &sync.progress.work {
            lists.extend(self.place_in(mailbox, work, id).await?);
        }
        Ok(WhyFacts {
            row: item.as_ref().map(head_from).transpose()?.map(|(_, head)| head),
            message: item.as_ref().map(|item| message_from(mailbox, item)).transpose()?,
            owed,
            lists,
            sync,
        })
    }

    async fn place_in(
        &self,
        mailbox: &MailboxId,
        work: &Work,
        id: MessageId,
    ) -> Result<Option<ListPlace>, StoreError> {
        let Some(list) = &work.list else { return Ok(None) };
        let position = self.list_position(mailbox, list, id).await?;
        Ok(position.map(|position| ListPlace {
            kind: work.kind.clone(),
            key: list.key.clone(),
            position,
            ahead: position - list.position,
            verify: position >= list.verify_from,
        }))
    }
}
