//! Drafts: a stable id over a message that every save replaces.

use super::ids::{DraftId, MessageId};
use super::label::{DRAFT, LabelIndex};
use super::store::NewMessage;
use super::{Mailbox, Millis, Refusal};

impl Mailbox {
    /// Every draft and its present message.
    pub fn drafts(&self) -> impl DoubleEndedIterator<Item = (DraftId, MessageId)> + '_ {
        self.drafts.iter().map(|(draft, message)| (*draft, *message))
    }

    /// The present message of a draft.
    pub fn draft(&self, id: DraftId) -> Result<MessageId, Refusal> {
        self.drafts.get(&id).copied().ok_or(Refusal::NotFound)
    }

    /// Saves a new draft.
    pub fn create_draft(&mut self, new: NewMessage, now: Millis) -> Result<DraftId, Refusal> {
        let message = self.insert(NewMessage { labels: vec![DRAFT], ..new }, now)?;
        let id = DraftId(self.random.next_u64() >> 1);
        self.drafts.insert(id, message);
        Ok(id)
    }

    /// Saves a draft again: the old message is deleted and another takes its place in the same thread.
    pub fn update_draft(&mut self, id: DraftId, new: NewMessage, now: Millis) -> Result<MessageId, Refusal> {
        let old = self.draft(id)?;
        let replacement = self.insert(NewMessage { labels: vec![DRAFT], ..new }, now)?;
        self.drafts.insert(id, replacement);
        self.delete(&[old], now);
        Ok(replacement)
    }

    /// Deletes a draft and its message for good.
    pub fn delete_draft(&mut self, id: DraftId, now: Millis) -> Result<(), Refusal> {
        let message = self.draft(id)?;
        self.drafts.remove(&id);
        self.delete(&[message], now);
        Ok(())
    }

    /// Sends a draft: it is gone, and a message with other labels stands in the thread.
    pub fn send_draft(
        &mut self,
        id: DraftId,
        labels: &[LabelIndex],
        now: Millis,
    ) -> Result<MessageId, Refusal> {
        let old = self.draft(id)?;
        let raw = self.raw(self.message(old)?);
        let thread = self.message(old)?.thread;
        let new = NewMessage { raw, labels: labels.to_vec(), internal_date: None, thread: Some(thread) };
        let sent = self.insert(new, now)?;
        self.drafts.remove(&id);
        self.delete(&[old], now);
        Ok(sent)
    }
}
