//! What of a state makes no difference, made equal.
//!
//! Counters are only compared, with each other and for order; times only with the present. So once nobody works, and
//! nothing of them is left in an engine, they are counted from the start again: a mailbox at rest is the same state
//! whenever it rests, and the search ends.

use std::{collections::BTreeMap, sync::Arc};

use sync_core::{
    Generation, SignedDuration, Timestamp,
    job::Counts,
    state::{Lease, Progress, Sync},
};

use crate::model::{gmail::Gmail, state::State, store::Store};

/// Where every stretch of work begins.
pub const BEGINNING: i64 = 1_772_539_200;
/// What is older than this is just old.
const OLD: SignedDuration = SignedDuration::from_secs(600);

/// What happened a poll ago may as well have happened before.
const POLL: SignedDuration = SignedDuration::from_mins(60);

/// The beginning as a time.
pub fn beginning() -> Timestamp {
    Timestamp::from_second(BEGINNING).unwrap_or_default()
}

/// Moves times so that the present is the beginning.
struct Clock {
    back: SignedDuration,
}

impl Clock {
    fn moved(&self, at: Timestamp) -> Timestamp {
        at - self.back
    }

    /// What is past is due now.
    fn due(&self, at: Timestamp) -> Timestamp {
        self.moved(at).max(beginning())
    }

    /// What is long ago is old.
    fn past(&self, at: Timestamp) -> Timestamp {
        self.moved(at).max(beginning() - OLD)
    }
}

/// The same state, as if work began now. `keeps_time` says whether it matters how old a version of a message is.
pub fn canonical(mut state: State, keeps_time: bool) -> State {
    if state.is_busy() {
        return state;
    }
    let clock = Clock { back: state.now.duration_since(beginning()) };
    state.old_work = None;
    gmail(Arc::make_mut(&mut state.gmail), &clock, keeps_time);
    let store = Arc::make_mut(&mut state.store);
    let was_at = store.kept.sync.progress.step;
    sync(&mut store.kept.sync, &clock);
    objects(store);
    for owed in store.kept.owed.values_mut() {
        owed.since = beginning();
        owed.missing_since = owed.missing_since.map(|at| clock.past(at));
        owed.due_at = owed.due_at.map(|at| clock.due(at));
    }
    for hint in std::mem::take(&mut state.queue) {
        let mut hint = hint;
        hint.ready = clock.due(hint.ready);
        // Old continuations are all alike.
        hint.job.step = hint.job.step.map(|step| u64::from(step >= was_at));
        state.queue(hint);
    }
    state.now = beginning();
    state
}

fn gmail(gmail: &mut Gmail, clock: &Clock, keeps_time: bool) {
    let past = |at| if keeps_time { clock.past(at) } else { beginning() - OLD };
    for version in gmail.messages.values_mut().flatten() {
        version.at = past(version.at);
    }
    for entry in &mut gmail.log {
        entry.at = past(entry.at);
    }
    let is_fresh = |at: &Timestamp| beginning().duration_since(*at) < SignedDuration::from_secs(1);
    gmail.pushed_at = gmail.pushed_at.map(|at| clock.past(at)).filter(is_fresh);
}

fn sync(sync: &mut Sync, clock: &Clock) {
    sync.asked = 0;
    sync.commit = 0;
    sync.seq = 0;
    sync.generation = Generation(1);
    sync.due_at = sync.due_at.map(|at| clock.due(at));
    // No worker of an older generation is left.
    sync.lease = sync.lease.take().map(|lease| Lease {
        generation: Generation(1),
        until: clock.moved(lease.until).max(beginning() - SignedDuration::from_millis(1)),
        ..lease
    });
    sync.watch_expires_at = Some(beginning() + SignedDuration::from_hours(24 * 365));
    progress(&mut sync.progress, clock);
}

fn progress(progress: &mut Progress, clock: &Clock) {
    progress.step = 1;
    progress.owed_due_at = progress.owed_due_at.map(|at| clock.due(at));
    if let Some(lag) = &mut progress.lag {
        lag.next_at = lag.next_at.map(|at| clock.due(at));
    }
    progress.last_sync_at = progress.last_sync_at.map(|at| clock.moved(at).max(beginning() - POLL * 4));
    // The next mark is a poll away.
    progress.marked_at = progress.marked_at.map(|at| clock.moved(at).max(beginning() - POLL));
    progress.errors.last = None;
    progress.errors.cooldown_until =
        progress.errors.cooldown_until.map(|at| clock.due(at)).filter(|at| *at > beginning());
    // The next probe is far away; what a probe made for good is made again after the next comparison.
    progress.probe.at = progress.probe.at.map(|_| beginning());
    progress.probe.compared_at = progress.probe.compared_at.map(|_| beginning());
    for work in &mut progress.work {
        work.started_at = beginning();
        let fetched = work.max_results.map_or(0, |_| work.counts.fetched);
        work.counts = Counts { fetched, ..Counts::default() };
    }
}

/// Only what some work points to is read again, and its name means nothing.
fn objects(store: &mut Store) {
    let (mut lists, mut listings) = (BTreeMap::new(), BTreeMap::new());
    for (index, work) in store.kept.sync.progress.work.iter_mut().enumerate() {
        let name = format!("kept-{index}");
        if let Some(list) = &mut work.list {
            let messages = store.lists.get(&list.key).cloned();
            lists.extend(messages.map(|messages| (name.clone(), messages)));
            list.key.clone_from(&name);
        }
        if let Some(key) = &mut work.listing {
            let listing = store.listings.get(key).cloned();
            listings.extend(listing.map(|listing| (name.clone(), listing)));
            *key = name;
        }
    }
    store.lists = lists;
    store.listings = listings;
}
