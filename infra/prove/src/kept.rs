//! What a commit leaves, and which promises one commit alone can break.
//!
//! Both proofs apply commits by this and judge them by this: the seeded world and the model checker. Invariant:
//! nothing here asks [`sync_core::lease::judge`], so that a guard which is left out there is found here. Deliberately
//! absent: whether the copy equals the mailbox, which no single commit can say.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    Generation, JobId, MessageId, Timestamp,
    job::Request,
    message::{RowHead, RowState},
    overrides::Overrides,
    owed::Owed,
    state::{Aliases, Content, Progress, Scope, Status, Sync, Totals, WorkKind},
    sync::{Commit, Event, Happened, OwedWrite, RowWrite},
};

use crate::world::{Broken, Promise, Unfit};

/// What commits write of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The aggregate root.
    pub sync: Sync,
    /// Messages and tombstones.
    pub rows: BTreeMap<MessageId, RowHead>,
    /// What is owed.
    pub owed: BTreeMap<MessageId, Owed>,
    /// Open requests.
    pub requests: Vec<Request>,
    /// Live rows by label.
    pub label_counts: BTreeMap<String, i64>,
}

impl Kept {
    /// A mailbox that was just connected.
    pub fn new(scope: Scope, watch_expires_at: Option<Timestamp>, now: Timestamp) -> Result<Self, Unfit> {
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
            watch_expires_at,
            credential_version: 1,
            credential_kind: sync_core::state::CredentialKind::default(),
            scope,
            content: Content::default(),
            overrides: Overrides::default(),
            aliases: Aliases::default(),
            commit: 0,
            seq: 0,
            progress: Progress::default(),
            totals: Totals::default(),
        };
        let (rows, owed, label_counts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { sync, rows, owed, requests: Vec::new(), label_counts })
    }

    /// Makes a commit true.
    pub fn apply(&mut self, commit: &Commit) {
        self.sync.commit += 1;
        self.sync.seq += commit.events.len() as u64;
        self.sync.totals.add(&commit.totals);
        for (label, count) in &commit.labels {
            *self.label_counts.entry(label.clone()).or_default() += count;
        }
        self.label_counts.retain(|_, count| *count != 0);
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
        self.requests.retain(|request| commit.closed.iter().all(|close| close.id != request.id));
        self.sync.progress = commit.progress.clone();
    }

    /// P2, P3 and the bounds, as far as one commit can break them.
    pub fn judge(&self, commit: &Commit, is_closed: impl Fn(&JobId) -> bool) -> Result<(), Broken> {
        self.judge_fence(commit)?;
        self.judge_order(commit)?;
        self.judge_events(commit)?;
        let items = commit.rows.len() + commit.owed.len() + commit.events.len() + 2 * commit.closed.len() + 2;
        if items > Commit::ITEMS_MAX {
            return Err(Broken::new(Promise::Bounds, format!("a transaction of {items} items")));
        }
        if commit.closed.iter().any(|close| is_closed(&close.id)) {
            return Err(Broken::new(Promise::AppliedOnce, "a request was closed twice"));
        }
        Ok(())
    }

    fn judge_fence(&self, commit: &Commit) -> Result<(), Broken> {
        let holder = self.sync.lease.as_ref().map(|lease| lease.generation);
        if holder != Some(commit.generation) || commit.generation != self.sync.generation {
            let (by, now) = (commit.generation.0, self.sync.generation.0);
            let how = format!("generation {by} wrote without the lease, generation {now} is the last holder");
            return Err(Broken::new(Promise::AppliedOnce, how));
        }
        if commit.after != self.sync.commit {
            let text = format!("a commit after {} was applied after {}", commit.after, self.sync.commit);
            return Err(Broken::new(Promise::AppliedOnce, text));
        }
        Ok(())
    }

    fn judge_order(&self, commit: &Commit) -> Result<(), Broken> {
        let (before, after) = (&self.sync.progress, &commit.progress);
        if after.epoch < before.epoch {
            return Err(Broken::new(Promise::AppliedOnce, "the epoch went back"));
        }
        if after.epoch == before.epoch && after.cursor < before.cursor {
            let text = format!("the cursor went back from {:?} to {:?}", before.cursor, after.cursor);
            return Err(Broken::new(Promise::AppliedOnce, text));
        }
        for write in &commit.rows {
            let Some(row) = self.rows.get(&write.id()) else { continue };
            let written = row_after(write, Some(row), after.epoch);
            if written.epoch == row.epoch && written.history_id < row.history_id {
                let (id, from, to) = (write.id(), row.history_id, written.history_id);
                let text = format!("the row of message {id} went back from {from} to {to}");
                return Err(Broken::new(Promise::AppliedOnce, text));
            }
        }
        Ok(())
    }

    fn judge_events(&self, commit: &Commit) -> Result<(), Broken> {
        let broken = |text: String| Err(Broken::new(Promise::Announced, text));
        for (next, event) in (self.sync.seq + 1..).zip(&commit.events) {
            if event.seq != next {
                return broken(format!("event {} came where {next} was due", event.seq));
            }
        }
        let finished = commit.progress.work.len() < self.sync.progress.work.len()
            || commit.progress.epoch != self.sync.progress.epoch
            || commit.progress.cursor != self.sync.progress.cursor;
        let is_backfill =
            self.sync.progress.work.iter().any(|work| !matches!(work.kind, WorkKind::Resync { .. }));
        if announced_backfills(&commit.events) > 0 && !(finished && is_backfill) {
            return broken("a backfill was announced that did not end".into());
        }
        let mut written = BTreeSet::new();
        for write in &commit.rows {
            if !written.insert(write.id()) {
                return broken(format!("message {} was written twice in one commit", write.id()));
            }
            let before = self.rows.get(&write.id());
            let after = row_after(write, before, commit.progress.epoch);
            let told = told_of(write.id(), commit);
            self.judge_row(write.id(), before, &after, told).or_else(broken)?;
        }
        Ok(())
    }

    /// What consumers were told of one message must be what its row says now.
    fn judge_row(
        &self,
        id: MessageId,
        before: Option<&RowHead>,
        after: &RowHead,
        told: Option<&Happened>,
    ) -> Result<(), String> {
        let was_live = before.is_some_and(RowHead::is_live);
        let was_announced = before.is_some_and(|row| row.announced);
        let changed = was_live != after.is_live()
            || (after.is_live() && before.is_some_and(|row| row.labels != after.labels));
        match told {
            None if changed && was_announced => Err(format!("message {id} changed and nobody was told")),
            Some(Happened::Created(news) | Happened::Updated(news)) => {
                let fits = after.is_live() && news.label_ids == after.labels && after.announced;
                if fits {
                    Ok(())
                } else {
                    Err(format!("what was told of message {id} is not what its row says"))
                }
            }
            Some(Happened::Deleted(_)) => {
                let fits = !after.is_live() && was_live;
                if fits {
                    Ok(())
                } else {
                    Err(format!("message {id} was told deleted, and its row says otherwise"))
                }
            }
            None
            | Some(
                Happened::NeedsReauth | Happened::SyncFailed { .. } | Happened::BackfillCompleted { .. },
            ) => Ok(()),
        }
    }
}

/// How many backfills these say have ended.
pub fn announced_backfills(events: &[Event]) -> u64 {
    events.iter().filter(|event| matches!(event.what, Happened::BackfillCompleted { .. })).count() as u64
}

/// The last thing that a commit tells of a message.
fn told_of(id: MessageId, commit: &Commit) -> Option<&Happened> {
    commit.events.iter().rev().map(|event| &event.what).find(|what| message_of(what) == Some(id))
}

/// Which message an event is about.
pub fn message_of(what: &Happened) -> Option<MessageId> {
    match what {
        Happened::Created(news) | Happened::Updated(news) | Happened::Deleted(news) => Some(news.gmail_id),
        Happened::NeedsReauth | Happened::SyncFailed { .. } | Happened::BackfillCompleted { .. } => None,
    }
}

/// A row as a write leaves it.
fn row_after(write: &RowWrite, before: Option<&RowHead>, epoch: u32) -> RowHead {
    match write {
        RowWrite::Put { message, announced, touched } => RowHead {
            history_id: message.history_id,
            epoch,
            labels: message.labels.clone(),
            state: RowState::Live,
            announced: *announced,
            touched: touched.clone(),
        },
        RowWrite::Labels { labels, history_id, announced, touched, .. } => RowHead {
            history_id: *history_id,
            epoch,
            labels: labels.clone(),
            state: before.map_or(RowState::Live, |row| row.state),
            announced: *announced,
            touched: touched.clone(),
        },
        RowWrite::Tombstone { state, history_id, labels, touched, .. } => RowHead {
            history_id: *history_id,
            epoch,
            labels: labels.clone().or_else(|| before.map(|row| row.labels.clone())).unwrap_or_default(),
            state: *state,
            announced: before.is_some_and(|row| row.announced),
            touched: touched.clone(),
        },
    }
}
