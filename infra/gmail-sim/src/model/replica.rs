//! What a reader is shown who does not see the present: a replica that lags, an id that is out before what it
//! names, a mailbox made anew.
//!
//! Invariant: nothing here remembers how anybody was answered. The caller decides for every single read which
//! state answers it, from its own seed, so that a run can be repeated. Gmail's oddities are all of this kind: the
//! truth is in the mailbox, and a read shows some state that was true.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use super::history::{ChangeKind, HistoryPage, HistoryQuery, Record};
use super::ids::{HistoryId, MessageId, ThreadId};
use super::label::LabelIndex;
use super::listing::{ListPage, PageFrom};
use super::{Mailbox, Message, Millis, Refusal};

/// Most deleted messages that a lagging replica can still show; older ones are gone for every reader.
const GRAVES_MAX: usize = 1_000;

/// Which state of the mailbox answers one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replica {
    /// The present.
    #[default]
    Current,
    /// Everything as it was at this point, history ids included: labels and own id of then, mail that came later
    /// is not found, mail that was deleted later is still there, and history ends here.
    At(HistoryId),
    /// The state of this point under the newest history ids: labels of then, but the id of now; history records
    /// end here, but the response names the present. What makes an id no proof of what it names.
    Torn(HistoryId),
}

/// Which history id a response names while some records do not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The mailbox's present: the id is out before its record.
    Present,
    /// The newest record that shows; what is below the question's start becomes the start.
    LastShown,
}

/// How the token of the next page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// By place in the order: nothing is missed or doubled while mail moves.
    Keyed,
    /// By count: the next page shifts when mail above it comes or goes.
    Shifting,
}

/// Deleted messages, newest last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graves {
    by_id: BTreeMap<MessageId, (HistoryId, Message)>,
    order: VecDeque<MessageId>,
}

impl Graves {
    pub(crate) fn bury(&mut self, id: MessageId, deleted: HistoryId, message: Message) {
        if self.order.len() == GRAVES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.order.push_back(id);
        self.by_id.insert(id, (deleted, message));
    }

    pub(crate) fn holds(&self, id: MessageId) -> bool {
        self.by_id.contains_key(&id)
    }
}

impl<T> ListPage<T> {
    /// Where the next page begins, none after the last. `from` is where this one began; a listing that began to
    /// count goes on counting.
    pub fn next_from(&self, from: PageFrom, paging: Paging) -> Option<PageFrom> {
        let (date, id) = self.next?;
        Some(match (from, paging) {
            (PageFrom::Offset(before), _) => PageFrom::Offset(before.saturating_add(self.entries.len())),
            (PageFrom::Start, Paging::Shifting) => PageFrom::Offset(self.entries.len()),
            (PageFrom::Start, Paging::Keyed) | (PageFrom::Below(..), _) => PageFrom::Below(date, id),
        })
    }
}

impl Mailbox {
    /// The present as a replica names it: `getProfile`, `watch`.
    pub fn history_id_from(&self, replica: Replica) -> HistoryId {
        match replica {
            Replica::At(point) => point.min(self.history_id()),
            Replica::Current | Replica::Torn(_) => self.history_id(),
        }
    }

    /// `history.list` as a replica answers it. A start above the point of [`Replica::At`] is answered with nothing
    /// and an id below it; above the present it is refused by every other replica.
    pub fn history_from(
        &self,
        query: &HistoryQuery,
        now: Millis,
        replica: Replica,
    ) -> Result<HistoryPage, Refusal> {
        match replica {
            Replica::Current => self.history.read(query, now),
            Replica::At(point) if query.start > point.0.min(self.history_id().0) => {
                let (records, resume_after) = (Vec::new(), None);
                Ok(HistoryPage { records, resume_after, present: self.history_id_from(replica) })
            }
            Replica::At(point) => {
                let page = self.history.read_where(query, now, |record| record.id <= point)?;
                Ok(HistoryPage { present: self.history_id_from(replica), ..page })
            }
            Replica::Torn(point) => self.history.read_where(query, now, |record| record.id <= point),
        }
    }

    /// `history.list` where the index holds only the records that `shows` lets through, in any pattern: holes too.
    pub fn history_where(
        &self,
        query: &HistoryQuery,
        now: Millis,
        head: Head,
        shows: impl Fn(&Record) -> bool,
    ) -> Result<HistoryPage, Refusal> {
        let page = self.history.read_where(query, now, &shows)?;
        let present = match head {
            Head::Present => page.present,
            Head::LastShown => self.history.last_shown(shows).max(HistoryId(query.start)),
        };
        Ok(HistoryPage { present, ..page })
    }

    /// `messages.get` as a replica answers it.
    pub fn message_from(&self, id: MessageId, replica: Replica) -> Result<Cow<'_, Message>, Refusal> {
        match replica {
            Replica::Current => self.message(id).map(Cow::Borrowed),
            Replica::At(point) => self.message_at(id, point),
            Replica::Torn(point) => {
                let newest = match (self.messages.get(&id), self.graves.by_id.get(&id)) {
                    (Some(message), _) => message.history,
                    (None, Some((deleted, _))) => *deleted,
                    (None, None) => return Err(Refusal::NotFound),
                };
                let mut message = self.message_at(id, point)?.into_owned();
                message.history = newest;
                Ok(Cow::Owned(message))
            }
        }
    }

    /// `threads.get` as a replica answers it: its messages of then, oldest first.
    pub fn thread_from(
        &self,
        id: ThreadId,
        replica: Replica,
    ) -> Result<Vec<(MessageId, Cow<'_, Message>)>, Refusal> {
        let mut members: Vec<MessageId> = self.threads.members(id).collect();
        if replica != Replica::Current {
            let buried = self.graves.by_id.iter().filter(|(_, (_, message))| message.thread == id);
            members.extend(buried.map(|(member, _)| *member));
        }
        let shown = |member: MessageId| Some((member, self.message_from(member, replica).ok()?));
        let mut found: Vec<_> = members.into_iter().filter_map(shown).collect();
        found.sort_by_key(|(member, message)| (message.internal_date, *member));
        if found.is_empty() { Err(Refusal::NotFound) } else { Ok(found) }
    }

    /// The message as it was before its last change: what a replica that lags would answer. None when it was
    /// not there yet, or when its last change is no longer on record.
    pub fn message_before_last_change(&self, id: MessageId) -> Option<Message> {
        let last = self.messages.get(&id)?.history;
        self.history.get(last)?;
        self.message_at(id, HistoryId(last.0 - 1)).ok().map(Cow::into_owned)
    }

    /// Undoes the recorded changes above a point. What is no longer on record counts as older than any point.
    fn message_at(&self, id: MessageId, point: HistoryId) -> Result<Cow<'_, Message>, Refusal> {
        let mut message = match (self.messages.get(&id), self.graves.by_id.get(&id)) {
            (Some(message), _) => Cow::Borrowed(message),
            (None, Some((deleted, message))) if *deleted > point => Cow::Borrowed(message),
            (None, _) => return Err(Refusal::NotFound),
        };
        while message.history > point {
            let Some(record) = self.history.get(message.history) else { break };
            let mut before = None;
            for change in record.changes.iter().filter(|change| change.message == id) {
                let touched: Vec<LabelIndex> = change.touched.iter().collect();
                let labels = match change.kind {
                    ChangeKind::Added => return Err(Refusal::NotFound),
                    ChangeKind::Deleted => continue,
                    ChangeKind::LabelsAdded => message.labels.changed(&[], &touched),
                    ChangeKind::LabelsRemoved => message.labels.changed(&touched, &[]),
                };
                message.to_mut().labels = labels;
                before = Some(change.before);
            }
            // A message of another epoch has an id that no record of this one speaks of.
            let Some(before) = before.filter(|before| *before < message.history) else { break };
            message.to_mut().history = before;
        }
        Ok(message)
    }

    /// Expires every history id below `oldest`, at any moment and without a change of the mailbox; the present
    /// can always be read from. Answers the lowest id that can.
    pub fn expire_history_below(&mut self, oldest: HistoryId) -> HistoryId {
        self.history.expire_below(oldest)
    }

    /// Gmail made the mailbox anew: the same mail and labels, no history, and ids that start at `start` again,
    /// lower than before. A mailbox made anew without its mail is [`Mailbox::starting_at`].
    pub fn restart_history(&mut self, start: HistoryId) {
        self.history.restart(start);
        self.graves = Graves::default();
        for message in self.messages.values_mut() {
            message.history = start;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{INBOX, LabelSet, NewMessage, Random, SENT, STARRED, TRASH, UNREAD};

    type State = BTreeMap<MessageId, (LabelSet, HistoryId)>;

    fn mail(mailbox: &mut Mailbox, now: Millis) -> MessageId {
        let raw = b"Subject: x\r\n\r\nx\r\n".as_slice().into();
        let labels = vec![INBOX, UNREAD];
        mailbox.insert(NewMessage { raw, labels, internal_date: None, thread: None }, now).unwrap()
    }

    fn state(mailbox: &Mailbox) -> State {
        mailbox.messages().map(|(id, m)| (id, (m.labels.clone(), m.history))).collect()
    }

    /// A mailbox after some changes of every kind, and its state at every history id it had.
    fn lived(seed: u64, steps: u64) -> (Mailbox, BTreeMap<HistoryId, State>) {
        let mut random = Random::new(seed);
        let mut mailbox = Mailbox::starting_at("a@b", seed, HistoryId(970));
        let mut states = BTreeMap::from([(mailbox.history_id(), State::new())]);
        for now in 0..steps.cast_signed() {
            let ids: Vec<MessageId> =
                mailbox.messages().map(|(id, _)| id).filter(|_| random.below(2) == 0).collect();
            let label = [INBOX, UNREAD, STARRED, TRASH, SENT][usize::try_from(random.below(5)).unwrap()];
            match random.below(8) {
                0..=2 => drop(mail(&mut mailbox, now)),
                3 => mailbox.delete(&ids[..ids.len().min(2)], now),
                4 => mailbox.trash(&ids, now),
                _ => mailbox.modify(&ids, &[label], &[INBOX], now),
            }
            states.insert(mailbox.history_id(), state(&mailbox));
        }
        (mailbox, states)
    }

    #[test]
    fn a_replica_shows_every_message_as_it_was_at_its_point_and_no_other() {
        for seed in 0..60 {
            let (mailbox, states) = lived(seed, 40);
            let every: Vec<MessageId> = states.values().flat_map(BTreeMap::keys).copied().collect();
            for (point, then) in &states {
                for id in &every {
                    let seen = mailbox.message_from(*id, Replica::At(*point)).ok();
                    let seen = seen.map(|message| (message.labels.clone(), message.history));
                    assert_eq!(seen.as_ref(), then.get(id), "seed {seed}, {id} at {point}");
                }
                for id in then.keys() {
                    let torn = mailbox.message_from(*id, Replica::Torn(*point)).unwrap();
                    assert_eq!(torn.labels, then[id].0, "seed {seed}");
                    let newest = mailbox.message(*id).map(|message| message.history);
                    assert!(newest.map_or(torn.history > *point, |newest| torn.history == newest));
                }
            }
        }
    }

    #[test]
    fn a_lagging_history_ends_at_its_point_and_only_a_torn_one_names_the_present() {
        let (mailbox, states) = lived(3, 40);
        let start = *states.keys().next().unwrap();
        let query = HistoryQuery { start: start.0, limit: 500, ..HistoryQuery::default() };
        for point in states.keys() {
            let lagging = mailbox.history_from(&query, 40, Replica::At(*point)).unwrap();
            let torn = mailbox.history_from(&query, 40, Replica::Torn(*point)).unwrap();
            assert_eq!((lagging.present, torn.present), (*point, mailbox.history_id()));
            let ids = |page: &HistoryPage| page.records.iter().map(|record| record.id).collect::<Vec<_>>();
            assert_eq!(
                ids(&lagging),
                states.keys().skip(1).filter(|id| *id <= point).copied().collect::<Vec<_>>()
            );
            assert_eq!(ids(&lagging), ids(&torn));
        }
        let ahead = HistoryQuery { start: mailbox.history_id().0 + 1, ..query };
        assert_eq!(mailbox.history_from(&ahead, 40, Replica::Current).err(), Some(Refusal::NotFound));
        let below = mailbox.history_from(&ahead, 40, Replica::At(mailbox.history_id())).unwrap();
        assert!(below.records.is_empty() && below.present.0 < ahead.start);
    }

    #[test]
    fn hidden_records_leave_holes_and_pages_go_on_behind_them() {
        let (mailbox, states) = lived(5, 40);
        let ids: Vec<HistoryId> = states.keys().skip(1).copied().collect();
        let hidden = [ids[1], *ids.last().unwrap()];
        let mut query = HistoryQuery { start: 970, limit: 2, ..HistoryQuery::default() };
        let mut seen = Vec::new();
        loop {
            let shows = |record: &Record| !hidden.contains(&record.id);
            let page = mailbox.history_where(&query, 40, Head::LastShown, shows).unwrap();
            assert_eq!(page.present, ids[ids.len() - 2]);
            seen.extend(page.records.iter().map(|record| record.id));
            let Some(next) = page.resume_after else { break };
            query.resume_after = Some(next.0);
        }
        assert_eq!(seen, ids.iter().filter(|id| !hidden.contains(id)).copied().collect::<Vec<_>>());
    }

    #[test]
    fn history_expires_in_the_middle_and_the_present_can_be_read_from() {
        let (mut mailbox, states) = lived(7, 40);
        let ids: Vec<u64> = states.keys().map(|id| id.0).collect();
        let present = mailbox.history_id();
        assert_eq!(mailbox.expire_history_below(HistoryId(ids[3])), HistoryId(ids[3]));
        let read = |mailbox: &Mailbox, start: u64| {
            let query = HistoryQuery { start, limit: 500, ..HistoryQuery::default() };
            mailbox.history_from(&query, 40, Replica::Current).map(|page| page.records.len())
        };
        assert_eq!(read(&mailbox, ids[3] - 1), Err(Refusal::NotFound));
        assert_eq!(read(&mailbox, ids[3]), Ok(ids.len() - 4));
        assert_eq!(mailbox.expire_history_below(HistoryId(u64::MAX)), present);
        assert_eq!((mailbox.history_id(), read(&mailbox, present.0)), (present, Ok(0)));
    }

    #[test]
    fn ids_gain_a_digit_and_a_mailbox_made_anew_starts_lower_with_the_same_mail() {
        let (mut mailbox, states) = lived(9, 40);
        assert!(states.keys().any(|id| id.0 < 1000) && mailbox.history_id().0 > 1000);
        let labels =
            |mailbox: &Mailbox| state(mailbox).into_iter().map(|(id, (l, _))| (id, l)).collect::<Vec<_>>();
        let before = labels(&mailbox);
        mailbox.restart_history(HistoryId(12));
        assert_eq!(labels(&mailbox), before);
        assert!(mailbox.messages().all(|(_, message)| message.history == HistoryId(12)));
        let id = mail(&mut mailbox, 50);
        let arrived = mailbox.message(id).unwrap().history;
        assert!(arrived > HistoryId(12) && arrived.0 < 50);
        assert!(mailbox.message_from(id, Replica::At(HistoryId(12))).is_err());
    }

    #[test]
    fn a_thread_of_a_replica_has_its_messages_of_then() {
        let mut mailbox = Mailbox::new("a@b", 1);
        let first = mail(&mut mailbox, 1);
        let thread = mailbox.message(first).unwrap().thread;
        let alone = mailbox.history_id();
        let raw = b"Subject: x\r\n\r\nreply\r\n".as_slice().into();
        let new = NewMessage { raw, labels: vec![], internal_date: None, thread: Some(thread) };
        let second = mailbox.insert(new, 2).unwrap();
        mailbox.delete(&[first], 3);
        let members = |replica| -> Vec<MessageId> {
            mailbox.thread_from(thread, replica).unwrap().into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(members(Replica::Current), [second]);
        assert_eq!(members(Replica::At(alone)), [first]);
        assert_eq!(mailbox.thread_from(thread, Replica::At(HistoryId(1))).err(), Some(Refusal::NotFound));
    }
}
