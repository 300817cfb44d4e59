//! Whether the promises hold, by comparing with the mailbox as it truly is.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    HistoryId, MessageId,
    message::{Labels, RowHead, RowState},
    state::Status,
    sync::{Event, Happened},
};

use crate::kept::message_of;
use crate::world::{
    fault::Fault,
    gmail::Version,
    promise::{Broken, Promise},
    sim::Sim,
    story,
};

impl Sim {
    /// P4: whatever is called healthy is whole, as of its cursor.
    pub fn check_health(&mut self) {
        if let Err(broken) = self.judge_health() {
            self.break_promise(broken);
        }
    }

    fn judge_health(&self) -> Result<(), Broken> {
        let sync = &self.store.kept.sync;
        // A mailbox made anew is found out by the next look at its history, and not before.
        if self.synced != self.gmail.epoch() {
            return Ok(());
        }
        if !sync.is_healthy(self.poll_interval(), self.now) {
            return Ok(());
        }
        let broken = |how: String| Err(Broken::new(Promise::NothingSkipped, how));
        if let Some(owed) = self.store.kept.owed.values().next() {
            return broken(format!("called healthy while message {} is owed", story::short(owed.id)));
        }
        let cursor = sync.progress.cursor.unwrap_or(HistoryId(0));
        for (id, versions) in self.gmail.versions() {
            if self.gmail.was_torn(*id) {
                continue;
            }
            let row = self.store.kept.rows.get(id);
            self.judge_healthy_row(*id, row, versions, cursor).or_else(broken)?;
        }
        Ok(())
    }

    /// A message that has not changed since the cursor must be what its last record left. One that has may be
    /// ahead of the cursor, when a get has shown it.
    fn judge_healthy_row(
        &self,
        id: MessageId,
        row: Option<&RowHead>,
        versions: &[Version],
        cursor: HistoryId,
    ) -> Result<(), String> {
        let Some((last, labels)) = versions.last() else { return Ok(()) };
        if *last > cursor {
            return Ok(());
        }
        let wanted = labels.as_ref().filter(|labels| self.store.kept.sync.scope.holds(labels));
        let accepted = row.is_some_and(|row| row.state == RowState::Accepted);
        let stored = row.filter(|row| row.is_live()).map(|row| &row.labels);
        if stored == wanted || accepted {
            return Ok(());
        }
        let text = |labels: Option<&Labels>| labels.map_or_else(|| "nothing".into(), story::labels);
        let (is, should) = (text(stored), text(wanted));
        Err(format!("called healthy while message {} is {is} and not {should}", story::short(id)))
    }

    /// How often the mailbox is polled.
    pub fn poll_interval(&self) -> sync_core::SignedDuration {
        self.settings.interval_of(&self.store.kept.sync, self.now)
    }

    /// After everything: P1, the counters, P3.
    pub fn judge_quiet(&self) -> Result<(), Broken> {
        self.judge_replica()?;
        self.judge_counters()?;
        self.judge_feed()
    }

    fn judge_replica(&self) -> Result<(), Broken> {
        let scope = &self.store.kept.sync.scope;
        let accepted: BTreeSet<MessageId> = self
            .store
            .kept
            .rows
            .iter()
            .filter(|(_, row)| row.state == RowState::Accepted)
            .map(|(id, _)| *id)
            .collect();
        let truth: BTreeMap<MessageId, Labels> = self
            .gmail
            .messages()
            .filter(|(id, labels)| scope.holds(labels) && !accepted.contains(id))
            .collect();
        let live = |(id, row): (&MessageId, &RowHead)| row.is_live().then(|| (*id, row.labels.clone()));
        let stored: BTreeMap<MessageId, Labels> = self.store.kept.rows.iter().filter_map(live).collect();
        for id in truth.keys().chain(stored.keys()) {
            // A record that was invisible while its id was out, and then expired: no reader ever sees it.
            if self.gmail.was_torn(*id) && self.counts.of(Fault::HistoryExpired) > 0 {
                continue;
            }
            let how = match (truth.get(id), stored.get(id)) {
                (Some(truth), Some(stored)) if truth == stored => continue,
                (Some(truth), Some(stored)) => {
                    format!("is {} and the copy says {}", story::labels(truth), story::labels(stored))
                }
                (Some(_), None) => "is missing in the copy".into(),
                (None, _) => "is in the copy, and gone".into(),
            };
            return Err(Broken::new(Promise::NothingLost, format!("message {} {how}", story::short(*id))));
        }
        Ok(())
    }

    fn judge_counters(&self) -> Result<(), Broken> {
        let (store, totals) = (&self.store, self.store.kept.sync.totals);
        let count = |live: bool| {
            i64::try_from(store.kept.rows.values().filter(|row| row.is_live() == live).count())
                .unwrap_or(i64::MAX)
        };
        let debts = store.kept.owed.values().filter(|owed| owed.reason.is_debt()).count();
        let waiting = store.kept.owed.len() - debts;
        let as_count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let pairs = [
            ("messages", totals.messages, count(true)),
            ("tombstones", totals.deleted, count(false)),
            ("debts", totals.debts, as_count(debts)),
            ("waiting", totals.waiting, as_count(waiting)),
        ];
        for (name, counter, counted) in pairs {
            if counter != counted {
                let how = format!("the counter of {name} says {counter}, there are {counted}");
                return Err(Broken::new(Promise::NothingSkipped, how));
            }
        }
        let mut by_label: BTreeMap<String, i64> = BTreeMap::new();
        for label in store.kept.rows.values().filter(|row| row.is_live()).flat_map(|row| &row.labels) {
            *by_label.entry(label.clone()).or_default() += 1;
        }
        if by_label != store.kept.label_counts {
            let how = format!("the label counters say {:?}, there are {by_label:?}", store.kept.label_counts);
            return Err(Broken::new(Promise::NothingSkipped, how));
        }
        Ok(())
    }

    fn judge_feed(&self) -> Result<(), Broken> {
        let broken = |how: String| Err(Broken::new(Promise::Announced, how));
        for (index, event) in self.store.events.iter().enumerate() {
            if event.seq != index as u64 + 1 {
                return broken(format!("event {} stands at place {}", event.seq, index + 1));
            }
        }
        if self.store.kept.sync.seq != self.store.events.len() as u64 {
            return broken("the number of the last event is not that of the last event".into());
        }
        let mut told: BTreeMap<MessageId, Vec<&Event>> = BTreeMap::new();
        for event in &self.store.events {
            if let Some(id) = message_of(&event.what) {
                told.entry(id).or_default().push(event);
            }
        }
        for (id, row) in &self.store.kept.rows {
            let events = told.get(id).map(Vec::as_slice).unwrap_or_default();
            judge_told(row, events).or_else(|how| broken(format!("message {}: {how}", story::short(*id))))?;
            self.judge_news(*id, row, events)
                .or_else(|how| broken(format!("message {}: {how}", story::short(*id))))?;
        }
        Ok(())
    }

    /// What is news is told as created, once; what is old and has not changed is not told at all.
    fn judge_news(&self, id: MessageId, row: &RowHead, events: &[&Event]) -> Result<(), String> {
        // After a mailbox was made anew no id says any more what came before what.
        let Some(first) = self.store.kept.sync.progress.first_cursor.filter(|_| self.gmail.epoch() == 0)
        else {
            return Ok(());
        };
        let versions = self.gmail.versions().get(&id).map(Vec::as_slice).unwrap_or_default();
        let (Some((born, _)), Some((last, _))) = (versions.first(), versions.last()) else { return Ok(()) };
        let created = events.iter().filter(|event| matches!(event.what, Happened::Created(_))).count();
        if *last <= first && !events.is_empty() {
            return Err("it is old mail, it has not changed, and it was announced".into());
        }
        if *born > first && row.is_live() && self.store.kept.sync.scope.is_everything() && created != 1 {
            return Err(format!("it is news, and was told created {created} times"));
        }
        Ok(())
    }

    /// The mailbox is at rest: nothing to do, nobody at work, nothing on its way.
    pub fn is_quiet(&self) -> bool {
        let sync = &self.store.kept.sync;
        self.queue.is_empty()
            && self.store.kept.owed.is_empty()
            && self.store.kept.requests.is_empty()
            && sync.progress.work.is_empty()
            && sync.progress.cursor >= Some(self.gmail.head())
            && sync.progress.errors.consecutive == 0
            && sync.lease.is_none()
            && sync.status == Status::Active
            && self.synced == self.gmail.epoch()
    }

    /// Whether hints alone should have done everything: nobody took the mailbox away, nothing was given up.
    pub fn relies_on_hints(&self) -> bool {
        let counts = &self.counts;
        let spoiled = [Fault::DeadLetter, Fault::Unlocked, Fault::GrantRevoked, Fault::MadeAnew];
        spoiled.iter().all(|fault| counts.of(*fault) == 0)
    }
}

/// What consumers were told last of a message must be what its row says; replaying the feed gives the replica.
fn judge_told(row: &RowHead, events: &[&Event]) -> Result<(), String> {
    let mut is_there = false;
    for event in events {
        match event.what {
            Happened::Created(_) if is_there => return Err("it was told created twice".into()),
            Happened::Created(_) | Happened::Updated(_) => is_there = true,
            _ => is_there = false,
        }
    }
    if !row.announced {
        return if events.is_empty() || !is_there {
            Ok(())
        } else {
            Err("it was announced, and its row says that it was not".into())
        };
    }
    match events.last().map(|event| &event.what) {
        Some(Happened::Created(news) | Happened::Updated(news)) if row.is_live() => {
            if news.label_ids == row.labels {
                Ok(())
            } else {
                Err("what was told last is not what it wears".into())
            }
        }
        Some(Happened::Deleted(_)) if !row.is_live() => Ok(()),
        Some(_) => Err("what was told last is not whether it is there".into()),
        None if row.is_live() => Err("its row says that it was announced, and nobody was told".into()),
        None => Ok(()),
    }
}
