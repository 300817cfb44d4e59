//! Threads: Gmail gives all messages of one for the price of two, where the format allows it.
//!
//! A fetch list that profits from it lies in the order of its threads, so that a slice of it holds whole ones. Which
//! threads are asked for whole is decided here, purely: every message that was asked for is in the plan exactly
//! once, and no plan costs more than getting its messages one by one. Deliberately absent: threads of news. A delta
//! seldom has three new messages of one conversation, and its gets must not wait for a large answer.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
};

use crate::{
    ids::{MessageId, ThreadId},
    quota::{Method, Regime, units},
    state::Content,
};

/// A message as a listing names it: with its thread, where that is known.
///
/// 16 bytes, because a mailbox may have millions: Gmail has no thread 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listed {
    /// Which message. First, so that the order is that of the ids.
    pub id: MessageId,
    thread: Option<NonZeroU64>,
}

impl Listed {
    /// A message of a thread.
    pub fn new(id: MessageId, thread: ThreadId) -> Self {
        Self { id, thread: NonZeroU64::new(thread.0) }
    }

    /// A message of which nobody says, or nobody cares, to which thread it belongs.
    pub fn alone(id: MessageId) -> Self {
        Self { id, thread: None }
    }

    /// Its thread, where that is known.
    pub fn thread(self) -> Option<ThreadId> {
        self.thread.map(|thread| ThreadId(thread.get()))
    }

    /// As it lies in an object.
    pub fn to_bytes(self) -> [u8; 16] {
        let thread = self.thread.map_or(0, NonZeroU64::get);
        (u128::from(self.id.0) << 64 | u128::from(thread)).to_be_bytes()
    }

    /// From an object.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [high, low] = [bytes.first_chunk(), bytes.last_chunk()]
            .map(|half| half.map_or(0, |half: &[u8; 8]| u64::from_be_bytes(*half)));
        Self::new(MessageId(high), ThreadId(low))
    }
}

/// Puts the members of a thread beside each other: threads by their newest member, newest first, and so are their
/// members. Without threads that is newest first.
pub(super) fn order_by_thread(messages: &mut [Listed]) {
    messages.sort_unstable_by_key(|one| (one.thread, Reverse(one.id)));
    let sorted = messages.to_vec();
    // Runs of one thread each; what has none is a run of its own.
    let mut runs: Vec<&[Listed]> = sorted.chunk_by(is_beside).collect();
    runs.sort_unstable_by_key(|run| Reverse(run.first().map(|newest| newest.id)));
    for (place, message) in messages.iter_mut().zip(runs.into_iter().flatten()) {
        *place = *message;
    }
}

fn is_beside(one: &Listed, next: &Listed) -> bool {
    one.thread.is_some() && one.thread == next.thread
}

/// At most `limit` messages of a stretch that was read one further, so that no thread is cut in two which began
/// inside it.
pub(super) fn whole_threads(mut stretch: Vec<Listed>, limit: usize) -> Vec<Listed> {
    let cut = stretch.get(limit).and_then(|next| next.thread);
    stretch.truncate(limit);
    if cut.is_some() {
        let whole = stretch.iter().rposition(|one| one.thread != cut).map_or(0, |last| last + 1);
        // A thread that is longer than a slice is fetched in pieces.
        if whole > 0 {
            stretch.truncate(whole);
        }
    }
    stretch
}

/// How messages are got: some threads whole, all others one by one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FetchPlan {
    /// Threads, each with those of its messages that were asked for.
    pub threads: Vec<(ThreadId, Vec<MessageId>)>,
    /// Messages that are got one by one.
    pub singles: Vec<MessageId>,
}

/// What getting costs, in quota units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// One message.
    pub message: u64,
    /// One thread, whole.
    pub thread: u64,
}

impl Prices {
    /// Of a price list.
    pub fn of(regime: Regime) -> Self {
        Self { message: units(Method::MessagesGet, regime), thread: units(Method::ThreadsGet, regime) }
    }
}

impl FetchPlan {
    /// The cheapest way to get these messages. One that is named twice is got once.
    pub fn new(messages: &[Listed], content: Content, prices: Prices) -> Self {
        let mut members: BTreeMap<ThreadId, Vec<MessageId>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let messages: Vec<Listed> = messages.iter().copied().filter(|one| seen.insert(one.id)).collect();
        for message in messages.iter().filter(|_| content.comes_by_thread()) {
            if let Some(thread) = message.thread() {
                members.entry(thread).or_default().push(message.id);
            }
        }
        members.retain(|_, ids| prices.thread < prices.message * ids.len() as u64);
        let mut plan = Self::default();
        for message in messages {
            let Some(thread) = message.thread().filter(|thread| members.contains_key(thread)) else {
                plan.singles.push(message.id);
                continue;
            };
            // In the order in which their first members were asked for.
            match members.get_mut(&thread).map(std::mem::take) {
                Some(ids) if !ids.is_empty() => plan.threads.push((thread, ids)),
                _ => {}
            }
        }
        plan
    }

    /// What it costs when every thread holds what was asked for.
    pub fn units(&self, prices: Prices) -> u64 {
        prices.thread * self.threads.len() as u64 + prices.message * self.singles.len() as u64
    }
}

/// Of a thread's messages those that were asked for, each once, and the ids of those that it lacks: they are got
/// one by one.
pub fn answers_of<T>(
    asked: &[MessageId],
    thread: impl IntoIterator<Item = (MessageId, T)>,
) -> (Vec<(MessageId, T)>, Vec<MessageId>) {
    let mut missing: BTreeSet<MessageId> = asked.iter().copied().collect();
    let answers = thread.into_iter().filter(|(id, _)| missing.remove(id)).collect();
    (answers, missing.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(thread: u64, ids: &[u64]) -> Vec<Listed> {
        ids.iter().map(|id| Listed::new(MessageId(*id), ThreadId(thread))).collect()
    }

    fn ids(messages: &[Listed]) -> Vec<u64> {
        messages.iter().map(|one| one.id.0).collect()
    }

    #[test]
    fn threads_come_by_their_newest_member_and_members_side_by_side() {
        let mut messages = [of(1, &[1, 9, 4]), of(5, &[5, 6]), of(0, &[8, 2])].concat();
        order_by_thread(&mut messages);
        assert_eq!(ids(&messages), [9, 4, 1, 8, 6, 5, 2]);
    }

    #[test]
    fn a_thread_is_not_cut_in_two_unless_it_is_longer_than_a_slice() {
        let stretch = [of(1, &[9, 8]), of(2, &[7, 6, 5])].concat();
        let whole = |limit: usize| {
            let read = stretch.iter().copied().take(limit + 1).collect();
            ids(&whole_threads(read, limit))
        };
        assert_eq!(whole(1), [9], "nothing else would be left");
        assert_eq!(whole(2), [9, 8]);
        assert_eq!(whole(3), [9, 8], "the next slice has the whole thread");
        assert_eq!(whole(4), [9, 8]);
        assert_eq!(whole(5), [9, 8, 7, 6, 5], "the end of the list");
        assert_eq!(ids(&whole_threads(of(0, &[3, 2, 1]), 2)), [3, 2], "what has no thread is cut anywhere");
    }

    #[test]
    fn a_thread_of_three_is_got_whole_where_the_format_allows_it() {
        let messages = [of(1, &[9, 8]), of(2, &[7, 6, 5])].concat();
        for prices in [Regime::Current, Regime::Legacy].map(Prices::of) {
            for content in [Content::Full, Content::Metadata] {
                let plan = FetchPlan::new(&messages, content, prices);
                assert_eq!(plan.threads, [(ThreadId(2), [7, 6, 5].map(MessageId).to_vec())]);
                assert_eq!(plan.singles, [9, 8].map(MessageId), "two singles cost what a thread costs");
            }
            let plan = FetchPlan::new(&messages, Content::Raw, prices);
            assert_eq!((plan.threads.len(), plan.singles.len()), (0, 5), "no thread has raw mails");
        }
    }

    #[test]
    fn what_a_thread_lacks_is_told_and_what_nobody_asked_for_is_left_out() {
        let asked = [7, 6, 5].map(MessageId);
        let thread = [(MessageId(4), "d"), (MessageId(5), "c"), (MessageId(5), "again"), (MessageId(7), "a")];
        let (answers, missing) = answers_of(&asked, thread);
        assert_eq!(answers, [(MessageId(5), "c"), (MessageId(7), "a")]);
        assert_eq!(missing, [MessageId(6)]);
    }

    proptest! {
        #[test]
        fn no_plan_is_dearer_than_single_gets_and_each_message_is_in_it_once(
            messages in prop::collection::vec((0_u64..60, 0_u64..9), 0..120),
            content in prop::sample::select(vec![Content::Raw, Content::Full, Content::Metadata]),
            message in 1_u64..100,
            thread in 1_u64..300,
        ) {
            let prices = Prices { message, thread };
            let messages: Vec<Listed> =
                messages.into_iter().map(|(id, thread)| Listed::new(MessageId(id), ThreadId(thread))).collect();
            let plan = FetchPlan::new(&messages, content, prices);
            let mut planned: Vec<MessageId> = plan.threads.iter().flat_map(|(_, ids)| ids).copied().collect();
            planned.extend(&plan.singles);
            planned.sort_unstable();
            let asked: BTreeSet<MessageId> = messages.iter().map(|one| one.id).collect();
            prop_assert_eq!(&planned, &asked.iter().copied().collect::<Vec<_>>());
            prop_assert!(plan.units(prices) <= message * asked.len() as u64);
        }

        #[test]
        fn ordering_and_cutting_lose_nothing(
            messages in prop::collection::btree_map(0_u64..500, 0_u64..9, 0..200),
            limit in 1_usize..80,
        ) {
            let mut ordered: Vec<Listed> =
                messages.iter().map(|(id, thread)| Listed::new(MessageId(*id), ThreadId(*thread))).collect();
            order_by_thread(&mut ordered);
            let mut rest = ordered.as_slice();
            let mut taken = Vec::new();
            while !rest.is_empty() {
                let slice = whole_threads(rest.iter().copied().take(limit + 1).collect(), limit);
                prop_assert!((1..=limit).contains(&slice.len()));
                rest = &rest[slice.len()..];
                taken.extend(slice);
            }
            prop_assert_eq!(&taken, &ordered);
            let mut sorted: Vec<u64> = ids(&taken);
            sorted.sort_unstable();
            prop_assert_eq!(sorted, messages.into_keys().collect::<Vec<_>>());
        }

        #[test]
        fn a_listed_message_is_read_as_it_was_written(id: u64, thread: u64) {
            let listed = Listed::new(MessageId(id), ThreadId(thread));
            prop_assert_eq!(Listed::from_bytes(listed.to_bytes()), listed);
        }
    }
}
