//! Pages of messages and of conversations, newest first.
//!
//! Page tokens are a place in the order or, where a test asks for it, an offset that shifts while mail moves.
//! The spam and bin folders are left out unless asked for by flag, label or search.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::ids::{MessageId, ThreadId};
use super::index::Place;
use super::label::{LabelIndex, SPAM, TRASH};
use super::query::Query;
use super::{Mailbox, Message, Millis};

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFrom {
    /// At the newest.
    Start,
    /// Below this place (epoch milliseconds and message).
    Below(Millis, MessageId),
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

impl ListQuery {
    pub(super) fn covers_hidden(&self) -> bool {
        self.include_spam_trash
            || self.query.as_ref().is_some_and(|query| query.covers_spam_trash)
            || self.labels.iter().any(|label| *label == SPAM || *label == TRASH)
    }
}

impl Mailbox {
    /// A page of messages.
    pub fn list_messages(&self, list: &ListQuery) -> ListPage<(MessageId, ThreadId)> {
        self.page(list, |_, _, message| Some(message.thread), |id, thread| (id, thread))
    }

    /// A page of conversations that have a matching message, by their newest matching one.
    pub fn list_threads(&self, list: &ListQuery) -> ListPage<ThreadId> {
        let taken = RefCell::new(BTreeSet::new());
        let newest = |mailbox: &Mailbox, id: MessageId, message: &Message| {
            // What this page has already needs no look at its members.
            if taken.borrow().contains(&message.thread) {
                return None;
            }
            let place = (message.internal_date, id);
            // Who came last is most likely newer.
            let newer = mailbox.threads.members(message.thread).rev().any(|member| {
                let other = if member == id { None } else { mailbox.messages.get(&member) };
                other.is_some_and(|o| (o.internal_date, member) > place && mailbox.is_listed(list, o))
            });
            if newer {
                return None;
            }
            taken.borrow_mut().insert(message.thread);
            Some(message.thread)
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
        let hidden = message.labels.has(SPAM) || message.labels.has(TRASH);
        (!hidden || list.covers_hidden())
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
    fn shortest<'a>(&'a self, list: &ListQuery) -> &'a BTreeSet<Place> {
        static EMPTY: BTreeSet<Place> = BTreeSet::new();
        let whole = if list.covers_hidden() { self.index.all() } else { self.index.listed() };
        let searched = list.query.iter().flat_map(|query| &query.narrow.labels);
        let sets = list.labels.iter().chain(searched).map(|label| self.index.label(*label).unwrap_or(&EMPTY));
        sets.chain([whole]).min_by_key(|set| set.len()).unwrap_or(whole)
    }

    fn candidates<'a>(&'a self, list: &ListQuery) -> Box<dyn Iterator<Item = Place> + 'a> {
        let narrow = list.query.as_ref().map(|query| &query.narrow);
        let since = (narrow.map_or(Millis::MIN, |narrow| narrow.since), MessageId(0));
        let until = narrow.and_then(|narrow| narrow.until);
        let until = until.map_or((Millis::MAX, MessageId(u64::MAX)), |until| (until, MessageId(0)));
        let below = match list.from {
            PageFrom::Below(date, id) => until.min((date, id)),
            PageFrom::Start | PageFrom::Offset(_) => until,
        };
        if since >= below {
            return Box::new(std::iter::empty());
        }
        // A search for one Message-ID looks into one conversation instead of the whole mailbox.
        if let Some(message_id) = list.query.as_ref().and_then(Query::message_id) {
            let thread = self.threads.by_message_id(message_id);
            let members = thread.map(|thread| self.threads.members(thread));
            let place = |id: MessageId| self.messages.get(&id).map(|message| (message.internal_date, id));
            let mut places: Vec<Place> = members.into_iter().flatten().filter_map(place).collect();
            places.retain(|place| (since..below).contains(place));
            places.sort_unstable_by(|left, right| right.cmp(left));
            return Box::new(places.into_iter());
        }
        Box::new(self.shortest(list).range(since..below).rev().copied())
    }
}
