//! What is kept of the mailbox, and what every commit is judged by.
//!
//! Invariant: whether a commit may be applied is decided by [`sync_core::lease::judge`] alone. What was applied is judged
//! once more by [`Kept::judge`], without it: a guard that is left out there is found here.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    JobId, MessageId, Timestamp, lease,
    message::Labels,
    state::{Content, Scope},
    sync::{Commit, Committed, Happened, Listed, Listing, Mutant},
};

use crate::{
    kept::Kept,
    world::{Broken, Unfit},
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
    /// What commits write.
    pub kept: Kept,
    /// Requests that were answered.
    pub closed: BTreeSet<JobId>,
    /// Fetch lists.
    pub lists: BTreeMap<String, Vec<Listed>>,
    /// Listings that the end of a run cut short.
    pub listings: BTreeMap<String, Listing>,
    /// What the events so far have told.
    pub told: BTreeMap<MessageId, Told>,
}

impl Store {
    /// A mailbox that was just connected, with a watch that does not lapse.
    pub fn new(scope: Scope, content: Content, now: Timestamp) -> Result<Self, Unfit> {
        let mut kept = Kept::new(scope, None, now)?;
        kept.sync.content = content;
        Ok(Self {
            kept,
            closed: BTreeSet::new(),
            lists: BTreeMap::new(),
            listings: BTreeMap::new(),
            told: BTreeMap::new(),
        })
    }

    /// Applies a commit if the core says that it may be, and judges what became of it.
    pub fn commit(&mut self, commit: &Commit, mutant: Mutant) -> (Committed, Option<Broken>) {
        let committed = lease::judge(&self.kept.sync, commit, mutant);
        if committed != Committed::Applied {
            return (committed, None);
        }
        let broken = self.kept.judge(commit, |id| self.closed.contains(id)).err();
        self.kept.apply(commit);
        self.closed.extend(commit.closed.iter().map(|close| close.id.clone()));
        for event in &commit.events {
            self.tell(&event.what);
        }
        (committed, broken)
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
}
