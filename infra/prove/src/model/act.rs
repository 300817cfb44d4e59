//! What may happen next, and what comes of it.

use std::sync::Arc;

use sync_core::{
    SignedDuration, Timestamp,
    job::{JobKind, Request, RequestOptions, Trigger},
    lease,
    state::Status,
    sync::{Engine, Seen},
};

use crate::model::{
    canon::canonical,
    chance::Chance,
    gmail::Deed,
    perform::{chance_of, oddities},
    rest::is_at_rest,
    scenario::{Deeds, Scenario},
    state::{Action, Hint, News, State, Worker},
};

/// How long a worker works before it begins nothing new; its lease lasts a minute longer.
const WORKING: SignedDuration = SignedDuration::from_secs(270);

impl Scenario {
    /// Everything that may happen next.
    pub(super) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        if state.loss.is_some() || self.is_over() {
            return;
        }
        self.of_workers(state, actions);
        self.of_queue(state, actions);
        self.of_people(state, actions);
        if state.left.allows(Chance::Expiry) && state.gmail.expired < state.gmail.head {
            actions.push(Action::Expire);
        }
    }

    fn of_workers(&self, state: &State, actions: &mut Vec<Action>) {
        for (place, worker) in state.workers.iter().enumerate() {
            let Some(worker) = worker else { continue };
            actions.push(Action::Go(place));
            actions.extend(oddities(state, worker).into_iter().map(|odd| Action::GoOdd(place, odd)));
            if state.left.allows(Chance::Crash) {
                actions.push(Action::Die(place));
            }
            if state.left.allows(Chance::Lapse) && state.holds(worker) && state.is_held() {
                actions.push(Action::Oversleep(place));
            }
        }
    }

    fn of_queue(&self, state: &State, actions: &mut Vec<Action>) {
        if state.workers.iter().any(Option::is_none) {
            let mut last = None;
            for (place, hint) in state.queue.iter().enumerate() {
                if hint.ready <= state.now && last != Some(hint) {
                    actions.push(Action::Receive { hint: place, again: false });
                    if state.left.allows(Chance::Duplicate) {
                        actions.push(Action::Receive { hint: place, again: true });
                    }
                }
                last = Some(hint);
            }
        }
        if state.has_ready_hint() {
            return;
        }
        if state.is_due() {
            actions.push(Action::FanOut);
        } else if !state.is_busy() && !is_at_rest(state) && state.next_instant().is_some() {
            actions.push(Action::Pass);
        }
    }

    fn of_people(&self, state: &State, actions: &mut Vec<Action>) {
        let kinds = [(Chance::Act, News::Push), (Chance::Dropped, News::Dropped), (Chance::Torn, News::Torn)];
        for (chance, news) in kinds {
            // Gmail drops a push only when another has just gone out.
            let may = news != News::Dropped || state.gmail.pushed_at == Some(state.now);
            if state.left.allows(chance) && may {
                actions.extend(self.deeds(state).map(|deed| Action::Act(deed, news)));
            }
        }
        if state.left.allows(Chance::Unlock) && state.store.kept.sync.lease.is_some() {
            actions.push(Action::Unlock);
        }
        let sync = &state.store.kept.sync;
        if state.left.allows(Chance::Revoke) && state.gmail.revoked.is_none() {
            actions.push(Action::Revoke);
        }
        if state.gmail.revoked.is_some_and(|revoked| revoked >= sync.credential_version) {
            actions.push(Action::Grant);
        }
        if sync.status == Status::NeedsAttention {
            actions.push(Action::Accept);
        }
        if state.left.allows(Chance::Request) {
            actions.extend((0..self.requests.len()).map(Action::Ask));
        }
    }

    fn deeds<'a>(&'a self, state: &'a State) -> impl Iterator<Item = Deed> + 'a {
        let arrive = self.deeds.contains(&Deeds::Arrive).then_some(Deed::Arrive);
        let all = self.deeds.contains(&Deeds::LabelAll).then_some(Deed::LabelAll);
        let on_each = state.gmail.alive().flat_map(|(id, _)| {
            let toggle = self.deeds.contains(&Deeds::Toggle).then_some(Deed::Toggle(id));
            let delete = self.deeds.contains(&Deeds::Delete).then_some(Deed::Delete(id));
            toggle.into_iter().chain(delete)
        });
        arrive.into_iter().chain(all).chain(on_each)
    }

    /// What comes of it, and what a worker saw, if one did something.
    pub(super) fn happen(&self, state: &State, action: &Action) -> Option<(State, Option<Seen>)> {
        let mut next = state.clone();
        let seen = match action {
            Action::Go(place) => Some(self.go(&mut next, *place, None)?),
            Action::GoOdd(place, oddity) => {
                next.left.spend(chance_of(oddity));
                Some(self.go(&mut next, *place, Some(oddity))?)
            }
            other => {
                self.do_it(&mut next, other)?;
                None
            }
        };
        Some((canonical(next, self.keeps_time), seen))
    }

    fn do_it(&self, state: &mut State, action: &Action) -> Option<()> {
        match action {
            Action::Act(deed, news) => self.act(state, *deed, *news),
            Action::Receive { hint, again } => self.receive(state, *hint, *again)?,
            // A worker's step is seen to where it is told.
            Action::Go(_) | Action::GoOdd(..) => {}
            Action::Die(place) => {
                state.left.spend(Chance::Crash);
                let worker = state.workers.get_mut(*place)?.take()?;
                let ready = state.now;
                state.queue(Hint { ready, job: worker.job.clone() });
                state.old_work = None;
            }
            Action::Oversleep(_) => {
                state.left.spend(Chance::Lapse);
                state.now = state.store.kept.sync.lease.as_ref()?.until + SignedDuration::from_millis(1);
                state.old_work = None;
            }
            Action::FanOut => state.send(Trigger::Schedule, None, state.now),
            Action::Pass => pass(state)?,
            Action::Expire => {
                state.left.spend(Chance::Expiry);
                Arc::make_mut(&mut state.gmail).expire();
            }
            Action::Unlock => {
                state.left.spend(Chance::Unlock);
                let now = state.now;
                lease::unlock(&mut Arc::make_mut(&mut state.store).kept.sync, now);
                state.old_work = None;
            }
            Action::Revoke => {
                state.left.spend(Chance::Revoke);
                let version = state.store.kept.sync.credential_version;
                Arc::make_mut(&mut state.gmail).revoked = Some(version);
            }
            Action::Grant => grant(state),
            Action::Ask(index) => {
                state.left.spend(Chance::Request);
                let request = self.requests.get(*index)?.clone();
                ask(state, request)?;
            }
            Action::Accept => {
                let request = Request {
                    id: format!("job_accept_{}", state.store.closed.len()).parse().ok()?,
                    kind: JobKind::Full,
                    trigger: Trigger::Manual,
                    options: RequestOptions { accept_deletions: true, ..RequestOptions::default() },
                };
                ask(state, request)?;
            }
        }
        Some(())
    }

    fn act(&self, state: &mut State, deed: Deed, news: News) {
        let now = state.now;
        let gmail = Arc::make_mut(&mut state.gmail);
        gmail.happen(deed, &self.manner, news == News::Torn, now);
        let head = gmail.head;
        match news {
            News::Push | News::Torn => {
                gmail.pushed_at = Some(now);
                state.left.spend(if news == News::Push { Chance::Act } else { Chance::Torn });
                state.send(Trigger::Push, Some(head), now);
            }
            News::Dropped => state.left.spend(Chance::Dropped),
        }
    }

    fn receive(&self, state: &mut State, hint: usize, again: bool) -> Option<()> {
        let place = state.workers.iter().position(Option::is_none)?;
        let job = if again {
            state.left.spend(Chance::Duplicate);
            state.queue.get(hint)?.job.clone()
        } else {
            state.queue.remove(hint).job
        };
        let checkpoint_at = state.now + WORKING;
        let mut engine = Engine::new(self.settings.clone(), job.clone(), checkpoint_at, 0.0);
        let effect = engine.start(state.now);
        let worker = Worker { engine, effect, job, checkpoint_at, generation: None, credential: None };
        *state.workers.get_mut(place)? = Some(Arc::new(worker));
        Some(())
    }
}

/// Time passes until something is due; the schedule comes with it.
fn pass(state: &mut State) -> Option<()> {
    state.now = state.next_instant()?;
    let polls = state.queue.is_empty() && state.store.kept.sync.lease.is_none();
    if state.is_due() {
        state.send(Trigger::Schedule, None, state.now);
        let gmail = Arc::make_mut(&mut state.gmail);
        gmail.polls_owed = gmail.polls_owed.saturating_sub(u8::from(polls));
    }
    Some(())
}

fn grant(state: &mut State) {
    let now = state.now;
    let sync = &mut Arc::make_mut(&mut state.store).kept.sync;
    sync.credential_version += 1;
    // As the store does it: only a mailbox that was parked for its grant is woken.
    if sync.status == Status::NeedsReauth {
        sync.status = Status::Active;
        lease::ask(sync, now);
    }
}

/// Writes down a request and makes the mailbox due, as the API does before it sends the hint.
fn ask(state: &mut State, request: Request) -> Option<()> {
    let now: Timestamp = state.now;
    let store = Arc::make_mut(&mut state.store);
    if store.kept.requests.iter().any(|open| open.id == request.id) || store.closed.contains(&request.id) {
        return None;
    }
    if store.kept.sync.status == Status::NeedsAttention {
        store.kept.sync.status = Status::Active;
    }
    store.kept.requests.push(request);
    lease::ask(&mut store.kept.sync, now);
    state.send(Trigger::Manual, None, now);
    Some(())
}
