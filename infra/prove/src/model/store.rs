//! What is kept of the mailbox, and what every commit is judged by.
//!
//! Invariant: whether a commit may be applied is decided by [`sync_core::lease::judge`] alone. What was applied is judged
//! here once more, without it: a guard that is left out there is found here.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    Generation, JobId, MessageId, Timestamp,
    job::Request,
    lease,
    message::{Labels, RowHead},
    owed::Owed,
    state::{Progress, Scope, Status, Sync, Totals},
    sync::{Commit, Committed, Happened, Listing, Mutant, OwedWrite},
};

use crate::{
    model::state::Loss,
    world::{
        Promise,
        store::{message_of, row_after},
    },
};

/// What consumers were told of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Told {
    /// Whether it is there, by what they know.
    pub there: bool,
    /// How often it was told created, since it was last told deleted.
    pub created: u8,
    /// What it wears, by what they know.
    pub labels: Labels,
}

/// Everything that is kept of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    /// The aggregate root.
    pub sync: Sync,
    /// Messages and tombstones.
    pub rows: BTreeMap<MessageId, RowHead>,
    /// What is owed.
    pub owed: BTreeMap<MessageId, Owed>,
    /// Open requests.
    pub requests: Vec<Request>,
    /// Requests that were answered.
    pub closed: BTreeSet<JobId>,
    /// Fetch lists.
    pub lists: BTreeMap<String, Vec<MessageId>>,
    /// Listings that the end of a run cut short.
    pub listings: BTreeMap<String, Listing>,
    /// Live rows by label.
    pub labels: BTreeMap<String, i64>,
    /// What the events so far have told.
    pub told: BTreeMap<MessageId, Told>,
}

impl Store {
    /// A mailbox that was just connected, with a watch that does not lapse.
    pub fn new(scope: Scope, now: Timestamp) -> Result<Self, crate::world::Unfit> {
        let sync = Sync {
            mailbox: "mbx_1".parse()?,
            tenant: "ten_1".parse()?,
            address: "alice@example.com".parse()?,
            target: None,
            asked: 0,
            lease: None,
            generation: Generation(0),
            due_at: Some(now),
            status: Status::Active,
            watch_expires_at: None,
            credential_version: 1,
            scope,
            commit: 0,
            seq: 0,
            progress: Progress::default(),
            totals: Totals::default(),
        };
        Ok(Self {
            sync,
            rows: BTreeMap::new(),
            owed: BTreeMap::new(),
            requests: Vec::new(),
            closed: BTreeSet::new(),
            lists: BTreeMap::new(),
            listings: BTreeMap::new(),
            labels: BTreeMap::new(),
            told: BTreeMap::new(),
        })
    }

    /// Applies a commit if the core says that it may be, and judges what became of it.
    pub fn commit(&mut self, commit: &Commit, mutant: Mutant) -> (Committed, Option<Loss>) {
        let committed = lease::judge(&self.sync, commit, mutant);
        if committed != Committed::Applied {
            return (committed, None);
        }
        let loss = self.judge(commit).err();
        self.apply(commit);
        (committed, loss)
    }

    fn apply(&mut self, commit: &Commit) {
        self.sync.commit += 1;
        self.sync.seq += commit.events.len() as u64;
        self.sync.totals.add(&commit.totals);
        for (label, count) in &commit.labels {
            *self.labels.entry(label.clone()).or_default() += count;
        }
        self.labels.retain(|_, count| *count != 0);
        for write in &commit.rows {
            let row = row_after(write, self.rows.get(&write.id()), commit.progress.epoch);
            self.rows.insert(write.id(), row);
        }
        for write in &commit.owed {
            match write {
                OwedWrite::Put(owed) => drop(self.owed.insert(owed.id, owed.clone())),
                OwedWrite::Clear(id) => drop(self.owed.remove(id)),
            }
        }
        for close in &commit.closed {
            self.requests.retain(|request| request.id != close.id);
            self.closed.insert(close.id.clone());
        }
        for event in &commit.events {
            self.tell(&event.what);
        }
        self.sync.progress = commit.progress.clone();
    }

    fn tell(&mut self, what: &Happened) {
        match what {
            Happened::Created(news) | Happened::Updated(news) => {
                let told = self.told.entry(news.gmail_id).or_default();
                told.there = true;
                told.created += u8::from(matches!(what, Happened::Created(_)));
                told.labels.clone_from(&news.label_ids);
            }
            Happened::Deleted(news) => drop(self.told.insert(news.gmail_id, Told::default())),
            Happened::NeedsReauth | Happened::SyncFailed { .. } | Happened::BackfillCompleted { .. } => {}
        }
    }

    // ---- P2 and P3, as far as one commit can break them

    fn judge(&self, commit: &Commit) -> Result<(), Loss> {
        self.judge_fence(commit)?;
        self.judge_order(commit)?;
        self.judge_events(commit)?;
        let items = commit.rows.len() + commit.owed.len() + commit.events.len() + 2 * commit.closed.len() + 2;
        if items > Commit::ITEMS_MAX {
            return Err(Loss::new(Promise::Bounds, format!("a transaction of {items} items")));
        }
        if commit.closed.iter().any(|close| self.closed.contains(&close.id)) {
            return Err(Loss::new(Promise::AppliedOnce, "a request was closed twice"));
        }
        Ok(())
    }

    fn judge_fence(&self, commit: &Commit) -> Result<(), Loss> {
        let holds = self.sync.lease.as_ref().is_some_and(|lease| lease.generation == commit.generation);
        if !holds || commit.generation != self.sync.generation {
            let how = "a worker wrote whose lease somebody else had taken";
            return Err(Loss::new(Promise::AppliedOnce, how));
        }
        if commit.after != self.sync.commit {
            return Err(Loss::new(
                Promise::AppliedOnce,
                "a commit was applied that had not seen the one before it",
            ));
        }
        Ok(())
    }

    fn judge_order(&self, commit: &Commit) -> Result<(), Loss> {
        let (before, after) = (&self.sync.progress, &commit.progress);
        if after.epoch == before.epoch && after.cursor < before.cursor {
            return Err(Loss::new(Promise::AppliedOnce, "the cursor went back"));
        }
        for write in &commit.rows {
            let Some(row) = self.rows.get(&write.id()) else { continue };
            let written = row_after(write, Some(row), after.epoch);
            if written.epoch == row.epoch && written.history_id < row.history_id {
                let (id, from, to) = (write.id(), row.history_id, written.history_id);
                let how = format!("the row of message {id} went back from {from} to {to}");
                return Err(Loss::new(Promise::AppliedOnce, how));
            }
        }
        Ok(())
    }

    fn judge_events(&self, commit: &Commit) -> Result<(), Loss> {
        for (next, event) in (self.sync.seq + 1..).zip(&commit.events) {
            if event.seq != next {
                return Err(Loss::new(Promise::Announced, "the sequence of events has a hole"));
            }
        }
        for write in &commit.rows {
            let before = self.rows.get(&write.id());
            let after = row_after(write, before, commit.progress.epoch);
            let told = commit.events.iter().rev().find(|event| message_of(&event.what) == Some(write.id()));
            if told.is_none() && before.is_some_and(|row| row.announced && shows(row) != shows(&after)) {
                let how = format!("message {} changed and nobody was told", write.id());
                return Err(Loss::new(Promise::Announced, how));
            }
        }
        Ok(())
    }
}

/// What a consumer sees of a row.
fn shows(row: &RowHead) -> Option<&Labels> {
    Some(&row.labels).filter(|_| row.is_live())
}
