//! When a mailbox is at rest, and whether it always can be brought to rest again.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use sync_core::state::Status;

use crate::model::{
    scenario::Scenario,
    state::{Action, State},
};

/// Nobody works, nothing is on its way, nothing is left to do: only the next poll will come.
pub fn is_at_rest(state: &State) -> bool {
    let (sync, progress) = (&state.store.kept.sync, &state.store.kept.sync.progress);
    !state.is_busy()
        && state.queue.is_empty()
        && state.gmail.polls_owed == 0
        && state.store.kept.owed.is_empty()
        && state.store.kept.requests.is_empty()
        && sync.lease.is_none()
        && sync.status == Status::Active
        && sync.due_at > Some(state.now)
        && progress.work.is_empty()
        && progress.errors.consecutive == 0
        && progress.behind == 0
}

/// Most steps to rest: the longest history here takes a fraction of that.
const STEPS_MAX: usize = 5_000;

/// The number by which a state that leads to rest is remembered.
fn mark(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

impl Scenario {
    /// What happens next when nothing goes wrong any more and nobody does anything of their own accord: workers
    /// finish, hints come, time passes, and a person helps where a person must.
    pub(super) fn calm_step(&self, state: &State) -> Option<Action> {
        if let Some(place) = state.workers.iter().position(Option::is_some) {
            return Some(Action::Go(place));
        }
        if let Some(hint) = state.queue.iter().position(|hint| hint.ready <= state.now) {
            return Some(Action::Receive { hint, again: false });
        }
        match state.store.kept.sync.status {
            Status::NeedsReauth => return Some(Action::Grant),
            Status::NeedsAttention => return Some(Action::Accept),
            Status::Active | Status::Paused | Status::Deactivated => {}
        }
        if state.is_due() {
            return Some(Action::FanOut);
        }
        state.next_instant().map(|_| Action::Pass)
    }

    /// Lets everything come to rest; `None` when it never does.
    pub(super) fn settle(&self, mut state: State) -> Option<State> {
        for _ in 0..STEPS_MAX {
            if is_at_rest(&state) {
                return Some(state);
            }
            state = self.happen(&state, &self.calm_step(&state)?)?.0;
        }
        None
    }

    /// Whether calm brings this state to rest. States on the way are remembered, so that all of them together
    /// take about as many steps as there are states.
    pub(super) fn comes_to_rest(&self, state: &State) -> bool {
        let mut way = Vec::new();
        let mut on_way = HashSet::new();
        let mut state = state.clone();
        loop {
            if state.loss.is_some() || is_at_rest(&state) {
                break;
            }
            let mark = mark(&state);
            if self.restful().contains(&mark) {
                break;
            }
            // The same state again, or no step left: it never rests.
            if !on_way.insert(mark) || way.len() > STEPS_MAX {
                return false;
            }
            way.push(mark);
            let Some(action) = self.calm_step(&state) else { return false };
            let Some((next, _)) = self.happen(&state, &action) else { return false };
            state = next;
        }
        self.restful().extend(way);
        true
    }
}
