//! Pages of messages and of conversations, newest first.
//!
//! Page tokens are a place in the order or, where a test asks for it, an offset that shifts while mail moves.
//! The spam and bin folders are left out unless asked for by flag, label or search.

use super::ids::{MessageId, ThreadId};
use super::index::Place;
use super::label::{LabelIndex, SPAM, TRASH};
use super::query::Query;
use super::{Mailbox, Message};

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFrom {
    /// At the newest.
    Start,
    /// Below this place (epoch milliseconds and message).
    Below(i64, MessageId),
    /// After this many matches, counted now.
    Offset(usize),
}

/// What a reader wants to see.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Every one of them must be worn.
    pub labels: Vec<LabelIndex>,
    /// Spam and bin as well.
    pub include_spam_trash: bool,
    /// The search.
    pub query: Option<Query>,
    /// Where the page begins.
    pub from: PageFrom,
    /// Most entries of the page.
    pub limit: usize,
}

/// One page.
#[derive(Debug, Clone)]
pub struct ListPage<T> {
    /// Newest first.
    pub entries: Vec<T>,
    /// The place of the last entry, when more follows.
    pub next: Option<Place>,
    /// Roughly how many there are in all; not a count.
    pub estimate: usize,
}

impl Mailbox {
    /// A page of messages.
    pub fn list_messages(&self, list: &ListQuery) -> ListPage<(MessageId, ThreadId)> {
        self.page(list, |_, _, message| Some(message.thread), |id, thread| (id, thread))
    }

    /// A page of conversations that have a matching message, by their newest matching one.
    pub fn list_threads(&self, list: &ListQuery) -> ListPage<ThreadId> {
        let newest = |mailbox: &Mailbox, id: MessageId, message: &Message| {
            let place = (message.internal_date, id);
            let newer = mailbox.threads.members(message.thread)?.iter().any(|member| {
                let other = mailbox.messages.get(member);
                other.is_some_and(|o| (o.internal_date, *member) > place && mailbox.is_listed(list, o))
            });
            (!newer).then_some(message.thread)
        };
        self.page(list, newest, |_, thread| thread)
    }

    /// The ids of the newest messages, newest first.
    pub fn newest(&self, count: usize) -> Vec<MessageId> {
        self.index.all().iter().rev().take(count).map(|place| place.1).collect()
    }

    /// Whether a message is what a search looks for, wherever it lies.
    pub fn satisfies(&self, message: &Message, query: &Query) -> bool {
        query.matches(self, message)
    }

    fn is_listed(&self, list: &ListQuery, message: &Message) -> bool {
        let covered = list.include_spam_trash
            || list.query.as_ref().is_some_and(|query| query.covers_spam_trash)
            || list.labels.iter().any(|label| *label == SPAM || *label == TRASH);
        let hidden = !covered && (message.labels.has(SPAM) || message.labels.has(TRASH));
        !hidden
            && list.labels.iter().all(|label| message.labels.has(*label))
            && list.query.as_ref().is_none_or(|query| query.matches(self, message))
    }

    fn page<T>(
        &self,
        list: &ListQuery,
        accept: impl Fn(&Self, MessageId, &Message) -> Option<ThreadId>,
        entry: impl Fn(MessageId, ThreadId) -> T,
    ) -> ListPage<T> {
        let (mut entries, mut next, mut previous) = (Vec::new(), None, None);
        let mut skip = if let PageFrom::Offset(offset) = list.from { offset } else { 0 };
        for place in self.candidates(list) {
            let Some(message) = self.messages.get(&place.1) else { continue };
            if !self.is_listed(list, message) {
                continue;
            }
            let Some(thread) = accept(self, place.1, message) else { continue };
            if skip > 0 {
                skip -= 1;
                continue;
            }
            if entries.len() == list.limit {
                next = previous;
                break;
            }
            entries.push(entry(place.1, thread));
            previous = Some(place);
        }
        let estimate = if list.query.is_none() {
            self.shortest(list).len()
        } else {
            // Gmail's guess for a search that goes on is a constant of its own.
            entries.len() + if next.is_some() { 201 } else { 0 }
        };
        ListPage { entries, next, estimate }
    }

    /// The smallest set that has every match.
    fn shortest<'a>(&'a self, list: &ListQuery) -> &'a std::collections::BTreeSet<Place> {
        static EMPTY: std::collections::BTreeSet<Place> = std::collections::BTreeSet::new();
        let sets = list.labels.iter().map(|label| self.index.label(*label).unwrap_or(&EMPTY));
        sets.min_by_key(|set| set.len()).unwrap_or(self.index.all())
    }

    fn candidates<'a>(&'a self, list: &ListQuery) -> Box<dyn Iterator<Item = Place> + 'a> {
        let below = match list.from {
            PageFrom::Below(date, id) => (date, id),
            PageFrom::Start | PageFrom::Offset(_) => (i64::MAX, MessageId(u64::MAX)),
        };
        // A search for one Message-ID looks into one conversation instead of the whole mailbox.
        if let Some(message_id) = list.query.as_ref().and_then(Query::message_id) {
            let members =
                self.threads.by_message_id(message_id).and_then(|thread| self.threads.members(thread));
            let place = |id: &MessageId| self.messages.get(id).map(|message| (message.internal_date, *id));
            let mut places: Vec<Place> = members.unwrap_or_default().iter().filter_map(place).collect();
            places.retain(|place| *place < below);
            places.sort_unstable_by(|left, right| right.cmp(left));
            return Box::new(places.into_iter());
        }
        Box::new(self.shortest(list).range(..below).rev().copied())
    }
}
