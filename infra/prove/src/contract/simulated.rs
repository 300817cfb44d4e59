//! The contract, told to the simulated store.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use sync_core::{
    SignedDuration, Timestamp,
    job::{Request, Trigger},
    lease,
    state::{Content, Scope, Status},
    sync::{Effect, Event, Guard, Mutant, Observed, Settings, World},
};

use super::{Bench, Deed, tell_all};
use crate::world::{Dice, Plan, Setting, Sim};

/// What one effect takes in the simulated world: the clock is set back by it before.
const EFFECT_TAKES: SignedDuration = SignedDuration::from_millis(20);

struct Simulated {
    sim: Sim,
    credential: Option<u64>,
    now: Timestamp,
    requests: u32,
}

impl Simulated {
    fn fresh() -> std::future::Ready<Self> {
        Self::without(Mutant::NONE)
    }

    /// A store that leaves a guard out.
    fn without(mutant: Mutant) -> std::future::Ready<Self> {
        let setting = Setting {
            settings: Settings { mutant, ..Settings::default() },
            scope: Scope::default(),
            content: Content::Raw,
            watched: true,
            start: sync_core::HistoryId(1),
            page: 5,
            plan: Plan::only(&[]),
            mailbox_seed: 1,
        };
        let mut sim = Sim::new(setting, Dice::of_seed(1), false).expect("a world");
        sim.store.kept.sync.due_at = None;
        std::future::ready(Self { sim, credential: None, now: Timestamp::UNIX_EPOCH, requests: 0 })
    }
}

impl World for Simulated {
    async fn perform(&mut self, effect: Effect) -> Observed {
        self.sim.now = self.now - EFFECT_TAKES;
        let seen = self.sim.carry_out(1, &mut self.credential, &effect);
        self.sim.heard(seen)
    }
}

impl Bench for Simulated {
    fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn use_grant(&mut self, version: u64) {
        self.credential = Some(version);
    }

    async fn outside(&mut self, deed: Deed) {
        self.sim.now = self.now;
        let store = &mut self.sim.store;
        match deed {
            Deed::Ask => lease::ask(&mut store.kept.sync, self.now),
            Deed::Request(kind, options) => {
                self.requests += 1;
                let id = format!("job_{}", self.requests).parse().expect("an id");
                store.request(Request { id, kind, trigger: Trigger::Manual, options }, self.now);
            }
            Deed::Unlock => self.sim.unlock(),
            Deed::NewGrant => {
                store.kept.sync.credential_version += 1;
                if store.kept.sync.status == Status::NeedsReauth {
                    store.kept.sync.status = Status::Active;
                }
            }
            Deed::SetScope(scope) => {
                store.kept.sync.scope = scope;
                lease::ask(&mut store.kept.sync, self.now);
            }
            Deed::SetContent(content) => store.kept.sync.content = content,
            Deed::Announce => store.take_sequence_number(),
        }
    }

    async fn events(&mut self, after: u64) -> Vec<Event> {
        self.sim.store.events.iter().filter(|event| event.seq > after).cloned().collect()
    }
}

/// Runs a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

// A release build has no guard that can be left out.
#[cfg(debug_assertions)]
#[test]
fn a_store_that_leaves_a_guard_out_breaks_the_contract() {
    for (guard, story) in [
        (Guard::Fence, "a_commit_of_a_former_holder_writes_nothing"),
        (Guard::Fence, "a_commit_is_applied_once"),
        (Guard::Fence, "a_number_that_somebody_took_is_a_conflict"),
        (Guard::ConditionalRelease, "a_lease_is_given_back_only_if_nobody_asked"),
        (Guard::ConditionalRelease, "an_old_grant_parks_nothing"),
        (Guard::ConditionalAsk, "asked_is_raised_only_while_the_lease_is_held"),
    ] {
        let told = at_once(tell_all(|| Simulated::without(Mutant::without(guard))));
        let broken = told.iter().any(|(name, told)| *name == story && told.is_err());
        assert!(broken, "without {guard:?} nothing is wrong with: {story}");
    }
}

#[test]
fn the_simulated_store_keeps_the_contract() {
    let told = at_once(tell_all(Simulated::fresh));
    let broken: Vec<String> = told
        .iter()
        .filter_map(|(name, told)| told.as_ref().err().map(|breach| format!("{name}: {breach}")))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(told.len() > 20, "every story was told");
}
