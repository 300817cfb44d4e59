//! Which messages wear a label, newest first, and how many: a page of a million costs a page, a count nothing.
//!
//! Invariant: a message is in `all` once, in `listed` exactly when it lies neither in the bin nor among the junk,
//! and in a label's set exactly when it wears the label; the counts are those of the sets.

use std::collections::BTreeSet;

use super::ids::{MessageId, ThreadId};
use super::label::{LabelIndex, LabelSet, SPAM, SYSTEM, TRASH, UNREAD};
use super::label_table::LabelCounts;
use super::{Mailbox, Message, Millis};

/// A message's place in a listing: newer is greater.
pub(crate) type Place = (Millis, MessageId);

#[derive(Debug, Clone, Default)]
struct Wearers {
    places: BTreeSet<Place>,
    counts: LabelCounts,
}

#[derive(Debug, Clone)]
pub(crate) struct Index {
    all: BTreeSet<Place>,
    listed: BTreeSet<Place>,
    by_label: Vec<Wearers>,
}

fn is_hidden(labels: &LabelSet) -> bool {
    labels.has(SPAM) || labels.has(TRASH)
}

impl Index {
    pub(crate) fn new() -> Self {
        let by_label = vec![Wearers::default(); SYSTEM.len()];
        Self { all: BTreeSet::new(), listed: BTreeSet::new(), by_label }
    }

    pub(crate) fn all(&self) -> &BTreeSet<Place> {
        &self.all
    }

    /// All but junk and bin.
    pub(crate) fn listed(&self) -> &BTreeSet<Place> {
        &self.listed
    }

    /// None when no message ever wore it.
    pub(crate) fn label(&self, label: LabelIndex) -> Option<&BTreeSet<Place>> {
        self.by_label.get(usize::from(label.0)).map(|wearers| &wearers.places)
    }

    pub(crate) fn counts(&self, label: LabelIndex) -> LabelCounts {
        self.by_label.get(usize::from(label.0)).map(|wearers| wearers.counts).unwrap_or_default()
    }

    fn wearers(&mut self, label: LabelIndex) -> &mut Wearers {
        let slot = usize::from(label.0);
        if self.by_label.len() <= slot {
            self.by_label.resize(slot + 1, Wearers::default());
        }
        &mut self.by_label[slot]
    }
}

/// What a message wears for the counts: a label, and the label without having been read.
fn worn(labels: Option<&LabelSet>, label: LabelIndex) -> (bool, bool) {
    let worn = labels.is_some_and(|labels| labels.has(label));
    (worn, worn && labels.is_some_and(|labels| labels.has(UNREAD)))
}

fn adjust(count: &mut usize, before: bool, after: bool) {
    match (before, after) {
        (false, true) => *count += 1,
        (true, false) => *count -= 1,
        (true, true) | (false, false) => {}
    }
}

impl Mailbox {
    /// Moves a message from one set of labels to another; none is not being there.
    pub(crate) fn reindex(
        &mut self,
        place: Place,
        thread: ThreadId,
        before: Option<&LabelSet>,
        after: Option<&LabelSet>,
    ) {
        set(&mut self.index.all, place, before.is_some(), after.is_some());
        let listed = |labels: Option<&LabelSet>| labels.is_some_and(|labels| !is_hidden(labels));
        set(&mut self.index.listed, place, listed(before), listed(after));
        let touched = before.into_iter().chain(after).flat_map(LabelSet::iter);
        let touched = LabelSet::of(&touched.collect::<Vec<_>>());
        let others = self.threads.members(thread).filter(|id| *id != place.1);
        let others: Vec<&Message> = others.filter_map(|id| self.messages.get(&id)).collect();
        for label in touched.iter() {
            let ((was, was_unread), (is, is_unread)) = (worn(before, label), worn(after, label));
            let elsewhere = others.iter().map(|other| worn(Some(&other.labels), label));
            let elsewhere = elsewhere.fold((false, false), |sum, worn| (sum.0 | worn.0, sum.1 | worn.1));
            let wearers = self.index.wearers(label);
            set(&mut wearers.places, place, was, is);
            adjust(&mut wearers.counts.messages, was, is);
            adjust(&mut wearers.counts.messages_unread, was_unread, is_unread);
            // A conversation counts once, whoever else in it wears the label.
            adjust(&mut wearers.counts.threads, was || elsewhere.0, is || elsewhere.0);
            adjust(&mut wearers.counts.threads_unread, was_unread || elsewhere.1, is_unread || elsewhere.1);
        }
    }
}

fn set(places: &mut BTreeSet<Place>, place: Place, before: bool, after: bool) {
    match (before, after) {
        (false, true) => drop(places.insert(place)),
        (true, false) => drop(places.remove(&place)),
        (true, true) | (false, false) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{
        INBOX, ListQuery, MessageId, NewMessage, PageFrom, Paging, Query, Random, STARRED, ThreadId,
    };

    const LABELS: [LabelIndex; 5] = [INBOX, UNREAD, STARRED, TRASH, SPAM];

    fn busy(seed: u64) -> Mailbox {
        let mut random = Random::new(seed);
        let mut mailbox = Mailbox::new("a@b", seed);
        for now in 0..120 {
            let ids: Vec<MessageId> =
                mailbox.messages().map(|(id, _)| id).filter(|_| random.below(3) == 0).collect();
            let mut label = || LABELS[usize::try_from(random.below(5)).unwrap()];
            let (gain, lose) = (label(), label());
            match random.below(6) {
                0..=2 => {
                    let thread = ids.first().map(|id| mailbox.message(*id).unwrap().thread);
                    let thread = thread.filter(|_| random.below(2) == 0);
                    let raw = format!("Subject: same\r\nX: {now}\r\n\r\nword\r\n").into_bytes().into();
                    let new = NewMessage { raw, labels: vec![INBOX, gain], internal_date: None, thread };
                    mailbox.insert(new, now * 1000).unwrap();
                }
                3 => mailbox.delete(&ids[..ids.len().min(3)], now * 1000),
                _ => mailbox.modify(&ids, &[gain], &[lose], now * 1000),
            }
        }
        mailbox
    }

    #[test]
    fn counts_are_those_of_the_messages_after_any_changes() {
        for seed in 0..40 {
            let mailbox = busy(seed);
            for label in LABELS {
                let wearers: Vec<&Message> =
                    mailbox.messages().map(|(_, message)| message).filter(|m| m.labels.has(label)).collect();
                let unread: Vec<&Message> =
                    wearers.iter().copied().filter(|m| m.labels.has(UNREAD)).collect();
                let threads =
                    |of: &[&Message]| of.iter().map(|m| m.thread).collect::<BTreeSet<ThreadId>>().len();
                let expected = LabelCounts {
                    messages: wearers.len(),
                    messages_unread: unread.len(),
                    threads: threads(&wearers),
                    threads_unread: threads(&unread),
                };
                assert_eq!(mailbox.index.counts(label), expected, "seed {seed}, {label:?}");
            }
        }
    }

    #[test]
    fn pages_of_any_size_hold_exactly_what_matches_newest_first() {
        for seed in 0..20 {
            let mailbox = busy(seed);
            for (labels, text) in [
                (vec![], ""),
                (vec![INBOX], ""),
                (vec![INBOX, UNREAD], "word"),
                (vec![TRASH], ""),
                (vec![], "is:starred after:20 before:90"),
                (vec![], "in:anywhere after:20 before:90"),
                (vec![], "in:anywhere {is:unread is:starred} -in:spam"),
                (vec![UNREAD], "(before:70) subject:same"),
                (vec![], "label:nothing-of-that-name"),
            ] {
                let query = (!text.is_empty()).then(|| Query::parse(text, &mailbox, 0));
                let mut list =
                    ListQuery { labels, include_spam_trash: false, query, from: PageFrom::Start, limit: 3 };
                let hidden = |m: &Message| is_hidden(&m.labels) && !list.covers_hidden();
                let mut expected: Vec<Place> = mailbox
                    .messages()
                    .filter(|(_, m)| !hidden(m) && list.labels.iter().all(|label| m.labels.has(*label)))
                    .filter(|(_, m)| list.query.as_ref().is_none_or(|query| query.matches(&mailbox, m)))
                    .map(|(id, m)| (m.internal_date, id))
                    .collect();
                expected.sort_unstable_by(|left, right| right.cmp(left));
                let mut listed = Vec::new();
                loop {
                    let page = mailbox.list_messages(&list);
                    listed.extend(page.entries.iter().map(|(id, _)| *id));
                    let Some(next) = page.next_from(list.from, Paging::Keyed) else { break };
                    list.from = next;
                }
                assert_eq!(listed, expected.iter().map(|place| place.1).collect::<Vec<_>>(), "{seed} {text}");
            }
        }
    }
}
