//! A way through the search in plain words: who did what, and what they saw.

use sync_core::{SignedDuration, sync::Effect};

use crate::{
    model::{
        gmail::Deed,
        scenario::Scenario,
        state::{Action, News, Oddity, State},
    },
    world::story,
};

/// A line for each step.
pub fn story(model: &Scenario, steps: &[(State, Option<Action>)]) -> Vec<String> {
    steps.iter().filter_map(|(state, action)| Some(line(model, state, action.as_ref()?))).collect()
}

/// How a state that never comes to rest goes on.
pub fn unrest(model: &Scenario, state: &State) -> Vec<String> {
    const LINES: usize = 60;
    let mut lines = vec!["… and from here, though nothing goes wrong any more:".to_owned()];
    let mut state = state.clone();
    while lines.len() < LINES
        && let Some(action) = model.calm_step(&state)
    {
        lines.push(line(model, &state, &action));
        let Some((next, _)) = model.happen(&state, &action) else { break };
        state = next;
    }
    lines
}

fn line(model: &Scenario, state: &State, action: &Action) -> String {
    match action {
        Action::Act(done, news) => {
            let news = match news {
                News::Push => "",
                News::Dropped => "; its push is dropped",
                News::Torn => "; its record does not show yet, though its id does",
            };
            format!("user: {}{news}", deed(state, *done))
        }
        Action::Receive { hint, again } => {
            let place = state.workers.iter().position(Option::is_none).unwrap_or_default();
            let job = state.queue.get(*hint).map(|hint| story::job(&hint.job)).unwrap_or_default();
            format!("worker {place} receives {job}{}", if *again { "; it will come twice" } else { "" })
        }
        Action::Go(place) => went(model, state, *place, action, ""),
        Action::GoOdd(place, oddity) => went(model, state, *place, action, odd(oddity)),
        Action::Die(place) => match pending(state, *place) {
            Some(effect) => format!("worker {place} dies; next it would have: {}", story::effect(effect)),
            None => format!("worker {place} dies"),
        },
        Action::Oversleep(place) => format!("worker {place} sleeps until its lease has lapsed"),
        Action::FanOut => "the schedule queues a hint: the mailbox is due".into(),
        Action::Pass => {
            let passed = state.next_instant().map_or(SignedDuration::ZERO, |at| at.duration_since(state.now));
            format!("nobody works; {} s pass", passed.as_secs_f64())
        }
        Action::Expire => "history so far expires".into(),
        Action::Unlock => "a person takes the lease away".into(),
        Action::Revoke => "the grant is revoked".into(),
        Action::Grant => "the owner signs in again".into(),
        Action::Ask(index) => {
            let kind = model.requests.get(*index).map_or("something", |request| request.kind.name());
            format!("somebody asks for a sync: {kind}")
        }
        Action::Accept => "a person accepts what is gone and has everything compared".into(),
    }
}

fn pending(state: &State, place: usize) -> Option<&Effect> {
    Some(&state.workers.get(place)?.as_ref()?.effect)
}

fn went(model: &Scenario, state: &State, place: usize, action: &Action, odd: &str) -> String {
    let effect = pending(state, place).map(story::effect).unwrap_or_default();
    let seen = model.happen(state, action).and_then(|(_, seen)| seen);
    let seen = seen.map(|seen| story::seen(&seen)).unwrap_or_default();
    format!("worker {place} {effect}: {seen}{odd}")
}

fn odd(oddity: &Oddity) -> &'static str {
    match oddity {
        Oddity::Slow => " — it takes until the worker must end",
        Oddity::NotVisible(_) => " — 404 for a message that is there",
        Oddity::Unanswered(_) => " — a part of the answer is missing",
        Oddity::Unreadable(_) => " — a message cannot be had",
        Oddity::Stale(..) => " — an older state",
        Oddity::TornGet(..) => " — an older state under the newest id",
        Oddity::Omitted(_) => " — a message is missing in the listing",
        Oddity::Refused => " — Gmail refuses for now",
        Oddity::AnswerLost => " — and the answer is lost",
        Oddity::ObjectLost => " — the object is gone",
        Oddity::SequenceTaken => " — somebody else has taken the event's number just before",
    }
}

fn deed(state: &State, deed: Deed) -> String {
    let id = sync_core::HistoryId(state.gmail.head.0 + 1);
    match deed {
        Deed::Arrive => {
            let last = state.gmail.messages.keys().last().map_or(0, |id| id.0);
            format!("message {} arrives @{id}", story::short(sync_core::MessageId(last + 1)))
        }
        Deed::Toggle(message) => format!("a label of message {} changes @{id}", story::short(message)),
        Deed::LabelAll => format!("every message is labelled @{id}"),
        Deed::Delete(message) => format!("message {} is deleted for good @{id}", story::short(message)),
    }
}
