//! The store's side: `SYNC` with the core's own transitions, rows, debts, requests, events, kept lists.
//!
//! Invariant: whether a commit or a release may happen is decided by [`sync_core::lease`] alone, as in production
//! by one conditional write. What was applied is then judged by [`Kept::judge`], without it: a guard that is left out
//! there is found here.

use std::collections::BTreeMap;

use sync_core::{
    Generation, JobId, SignedDuration, Timestamp,
    job::{JobStatus, Request},
    lease,
    state::{Content, Scope},
    sync::{Commit, Committed, Event, Happened, Listed, Mutant},
};

use crate::{
    kept::{Kept, announced_backfills},
    world::{Broken, Promise, Unfit},
};

/// Everything that is kept of one mailbox.
#[derive(Debug)]
pub struct Store {
    /// What commits write.
    pub kept: Kept,
    /// How requests ended.
    pub closed: BTreeMap<JobId, JobStatus>,
    /// Fetch lists.
    pub lists: BTreeMap<String, Vec<Listed>>,
    /// Listings that the end of a run cut short.
    pub listings: BTreeMap<String, Vec<u8>>,
    /// What was announced, in order.
    pub events: Vec<Event>,
    /// Which holders have gone on to a newer one.
    pub newest_holder: Generation,
    /// Commits that finished a backfill.
    pub backfills_done: u64,
    mutant: Mutant,
}

impl Store {
    /// A mailbox that was just connected.
    pub fn new(
        scope: Scope,
        content: Content,
        watched: bool,
        mutant: Mutant,
        now: Timestamp,
    ) -> Result<Self, Unfit> {
        let watch_expires_at = watched.then(|| now + SignedDuration::from_hours(24 * 365));
        let mut kept = Kept::new(scope, watch_expires_at, now)?;
        kept.sync.content = content;
        Ok(Self {
            kept,
            closed: BTreeMap::new(),
            lists: BTreeMap::new(),
            listings: BTreeMap::new(),
            events: Vec::new(),
            newest_holder: Generation(0),
            backfills_done: 0,
            mutant,
        })
    }

    /// Writes down a request and makes the mailbox due, as the API does before it sends the hint.
    pub fn request(&mut self, request: Request, now: Timestamp) {
        self.kept.requests.push(request);
        lease::ask(&mut self.kept.sync, now);
    }

    /// An outside writer's event takes the next number.
    pub fn take_sequence_number(&mut self) {
        self.kept.sync.seq += 1;
        self.events.push(Event { seq: self.kept.sync.seq, what: Happened::NeedsReauth });
    }

    /// Applies a commit if the core says that it may be, and judges what became of it.
    pub fn commit(&mut self, commit: &Commit) -> (Committed, Option<Broken>) {
        let committed = lease::judge(&self.kept.sync, commit, self.mutant);
        if committed != Committed::Applied {
            return (committed, None);
        }
        let broken = self.judge(commit).err();
        self.kept.apply(commit);
        let closed = commit.closed.iter().map(|close| (close.id.clone(), close.status));
        self.closed.extend(closed);
        self.backfills_done += announced_backfills(&commit.events);
        self.events.extend(commit.events.iter().cloned());
        (committed, broken)
    }

    fn judge(&self, commit: &Commit) -> Result<(), Broken> {
        if commit.generation != self.newest_holder {
            let (by, holder) = (commit.generation.0, self.newest_holder.0);
            let how = format!("generation {by} wrote while {holder} holds the mailbox");
            return Err(Broken::new(Promise::AppliedOnce, how));
        }
        self.kept.judge(commit, |id| self.closed.contains_key(id))
    }
}
