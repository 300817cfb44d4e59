//! Every way a mailbox changes: mail comes in, labels move, mail goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mime::{self, Header};

use super::generated::{Recipe, thread_length};
use super::history::{Change, ChangeKind, Record};
use super::ids::{HistoryId, MessageId, ThreadId};
use super::label::{DRAFT, INBOX, LabelIndex, LabelSet, SPAM, TRASH, UNREAD};
use super::random::Random;
use super::threading::Placement;
use super::{Content, Mailbox, Message, Millis, Refusal};

/// A message that is to come in.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The whole message, kept byte for byte.
    pub raw: Arc<[u8]>,
    /// What it wears from the start.
    pub labels: Vec<LabelIndex>,
    /// Its date in listings; none means now.
    pub internal_date: Option<Millis>,
    /// The conversation the sender names; without it the references decide.
    pub thread: Option<ThreadId>,
}

impl Mailbox {
    /// Takes a message in and writes one history record.
    pub fn insert(&mut self, new: NewMessage, now: Millis) -> Result<MessageId, Refusal> {
        let headers = mime::parse_headers(&new.raw);
        let placement = Placement::read(&headers);
        if let Some(thread) = new.thread
            && !self.threads.accepts(thread, &placement)
        {
            return Err(if self.threads.holds(thread) { Refusal::InvalidThread } else { Refusal::NotFound });
        }
        let thread = new.thread.or_else(|| self.threads.find(&placement));
        let size = u32::try_from(new.raw.len()).unwrap_or(u32::MAX);
        let date = new.internal_date.unwrap_or(now);
        let history = self.history.advance(&mut self.random);
        let labels = LabelSet::of(&new.labels);
        let id = self.place(Content::Kept(new.raw), size, labels, date, thread, &placement, history);
        if let Ok(message) = self.message(id) {
            let change = change(ChangeKind::Added, id, message, LabelSet::default(), HistoryId(0));
            self.history.push(Record { id: history, at: now, changes: vec![change] });
        }
        Ok(id)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a message comes into being")]
    fn place(
        &mut self,
        content: Content,
        size: u32,
        labels: LabelSet,
        internal_date: Millis,
        thread: Option<ThreadId>,
        placement: &Placement,
        history: HistoryId,
    ) -> MessageId {
        let id = self.free_id(internal_date);
        let thread = thread.unwrap_or(ThreadId(id.0));
        self.threads.insert(thread, id, placement);
        self.reindex((internal_date, id), thread, None, Some(&labels));
        self.messages.insert(id, Message { thread, history, internal_date, labels, size, content });
        id
    }

    /// Ids look like Gmail's: the millisecond in the upper bits, noise in the lower twenty.
    fn free_id(&mut self, date: Millis) -> MessageId {
        let millis = u64::try_from(date).unwrap_or(0).min(u64::MAX >> 21);
        let mut id = (millis << 20) | self.random.below(1 << 20);
        // A deleted first message leaves its id to its thread, so that one is taken as well; and no id comes
        // back while a lagging replica may still show its first owner.
        while id == 0
            || self.messages.contains_key(&MessageId(id))
            || self.threads.holds(ThreadId(id))
            || self.graves.holds(MessageId(id))
        {
            id = id.wrapping_add(1);
        }
        MessageId(id)
    }

    /// Moves labels of several messages in one record; ids that are not there are passed over.
    pub fn modify(&mut self, ids: &[MessageId], add: &[LabelIndex], remove: &[LabelIndex], now: Millis) {
        let mut moved: Vec<(MessageId, LabelSet)> = Vec::new();
        let mut seen = BTreeSet::new();
        for id in ids {
            let Some(message) = self.messages.get(id) else { continue };
            let after = message.labels.changed(add, remove);
            if after != message.labels && seen.insert(*id) {
                moved.push((*id, after));
            }
        }
        if moved.is_empty() {
            return;
        }
        let history = self.history.advance(&mut self.random);
        let mut changes = Vec::with_capacity(moved.len());
        for (id, after) in moved {
            let Some(message) = self.messages.get_mut(&id) else { continue };
            let before = std::mem::replace(&mut message.labels, after);
            let before_id = std::mem::replace(&mut message.history, history);
            let (gained, lost) = (message.labels.minus(&before), before.minus(&message.labels));
            let (place, thread, after) =
                ((message.internal_date, id), message.thread, message.labels.clone());
            if !gained.is_empty() {
                changes.push(change(ChangeKind::LabelsAdded, id, message, gained, before_id));
            }
            if !lost.is_empty() {
                changes.push(change(ChangeKind::LabelsRemoved, id, message, lost, before_id));
            }
            self.reindex(place, thread, Some(&before), Some(&after));
        }
        self.history.push(Record { id: history, at: now, changes });
    }

    /// Puts messages into the bin: a change of labels, nothing is deleted.
    pub fn trash(&mut self, ids: &[MessageId], now: Millis) {
        self.modify(ids, &[TRASH], &[INBOX, SPAM], now);
    }

    /// Takes messages out of the bin; they do not come back to the inbox.
    pub fn untrash(&mut self, ids: &[MessageId], now: Millis) {
        self.modify(ids, &[], &[TRASH], now);
    }

    /// Deletes for good, in one record; ids that are not there are passed over.
    pub fn delete(&mut self, ids: &[MessageId], now: Millis) {
        if !ids.iter().any(|id| self.messages.contains_key(id)) {
            return;
        }
        let history = self.history.advance(&mut self.random);
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids.iter().copied() {
            let Some(message) = self.messages.remove(&id) else { continue };
            self.reindex((message.internal_date, id), message.thread, Some(&message.labels), None);
            self.threads.remove(message.thread, id);
            if message.labels.has(DRAFT) {
                self.drafts.retain(|_, draft| *draft != id);
            }
            changes.push(change(ChangeKind::Deleted, id, &message, LabelSet::default(), message.history));
            self.graves.bury(id, history, message);
        }
        self.history.push(Record { id: history, at: now, changes });
    }

    /// Adds synthetic mail of the two years before `now`, without history: what was there before anybody looked.
    pub fn generate(&mut self, count: u32, seed: u64, now: Millis) {
        let mut random = Random::new(seed);
        let span_s = 2 * 365 * 24 * 3600_u64;
        let now_s = u64::try_from(now / 1000).unwrap_or(0).max(span_s + 1);
        let mut index = 0_u32;
        while index < count {
            let first = index;
            let start_s = now_s - span_s + span_s * u64::from(first) / u64::from(count);
            let mut thread = None;
            let mut date_s = start_s;
            for _ in 0..thread_length(&mut random) {
                if index >= count {
                    break;
                }
                let recipe = Recipe { seed, index, first, date_s: u32::try_from(date_s).unwrap_or(u32::MAX) };
                thread = Some(self.place_generated(recipe, thread, &mut random));
                index += 1;
                date_s = (date_s + 600 + random.below(86_400)).min(now_s - 1);
            }
        }
        self.history.expire(&mut self.random);
    }

    fn place_generated(&mut self, recipe: Recipe, thread: Option<ThreadId>, random: &mut Random) -> ThreadId {
        let mut labels = match random.below(10) {
            0..=2 => vec![INBOX],
            3 => vec![super::SENT],
            _ => vec![],
        };
        if random.below(8) == 0 {
            labels.push(UNREAD);
        }
        let subject = super::hash(recipe.subject().as_bytes());
        let message_id = super::hash(recipe.message_id(recipe.index).as_bytes());
        // Replies are put into their thread by number; only the ids by which later mail may answer are kept.
        let placement = Placement { message_id: Some(message_id), references: Vec::new(), subject };
        let history = self.history.current();
        let date = Millis::from(recipe.date_s) * 1000;
        let labels = LabelSet::of(&labels);
        let size = recipe.size();
        let id = self.place(Content::Derived(recipe), size, labels, date, thread, &placement, history);
        self.messages.get(&id).map_or(ThreadId(id.0), |message| message.thread)
    }

    /// The headers of a message.
    pub fn headers(&self, message: &Message) -> Vec<Header> {
        mime::parse_headers(&self.raw(message))
    }
}

fn change(
    kind: ChangeKind,
    id: MessageId,
    message: &Message,
    touched: LabelSet,
    before: HistoryId,
) -> Change {
    Change { kind, message: id, thread: message.thread, labels: message.labels.clone(), touched, before }
}
