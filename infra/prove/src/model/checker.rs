//! The scenario as Stateright's model, and what a search reports.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

use crate::{
    model::{
        rest::is_at_rest,
        scenario::Scenario,
        scenarios::{larger, scenarios},
        state::{Action, State},
        tell,
    },
    world::{Promise, Unfit},
};

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial.clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        self.happen(last, &action).map(|(next, _)| next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("P1", |model, state| model.keeps(state, Promise::NothingLost)),
            Property::always("P2", |model, state| model.keeps(state, Promise::AppliedOnce)),
            Property::always("P3", |model, state| model.keeps(state, Promise::Announced)),
            Property::always("P4", |model, state| model.keeps(state, Promise::NothingSkipped)),
            Property::always("P5", |model, state| model.keeps(state, Promise::NewBeforeOld)),
            Property::always("bounds", |model, state| model.keeps(state, Promise::Bounds)),
            Property::always(RESTS, |model, state| {
                model.found_unrest() || model.comes_to_rest(state) || !model.is_first_unrest()
            }),
            Property::sometimes(AT_REST, |_, state| is_at_rest(state)),
        ]
    }
}

/// From every state, once nothing goes wrong any more, the mailbox comes to rest.
const RESTS: &str = "progress";
/// A search that never sees a mailbox at rest shows nothing.
const AT_REST: &str = "rest is reached";

impl Scenario {
    fn keeps(&self, state: &State, promise: Promise) -> bool {
        self.broken(state, promise).is_none() || !self.is_first(promise)
    }
}

/// How far to search.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Most states of one scenario, generated ones counted each time.
    pub states: usize,
    /// Longest time of one scenario.
    pub time: Duration,
    /// Threads of one search; one finds the shortest stories.
    pub threads: usize,
    /// Whether the larger scenarios are searched too: a minute more.
    pub larger: bool,
}

impl Default for Limit {
    fn default() -> Self {
        Self { states: 20_000_000, time: Duration::from_mins(10), threads: 1, larger: false }
    }
}

/// A promise that a search found broken.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which.
    pub promise: Promise,
    /// How, in one sentence.
    pub how: String,
    /// The shortest way there, a line for each thing that happened.
    pub story: Vec<String>,
}

/// What a search went through.
#[derive(Debug, Clone)]
pub struct ScenarioReport {
    /// Its name.
    pub name: &'static str,
    /// States generated, the same one counted each time.
    pub states: usize,
    /// Different states.
    pub unique: usize,
    /// Steps of the longest shortest way to a state.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
    /// Whether every state was visited; otherwise a limit or a failure ended the search.
    pub complete: bool,
    /// What was found.
    pub failures: Vec<Failure>,
}

/// Searches every scenario.
pub fn explore(limit: Limit) -> Result<Vec<ScenarioReport>, Unfit> {
    let larger = if limit.larger { larger() } else { Vec::new() };
    let plans = scenarios().into_iter().chain(larger);
    plans.map(|plan| Ok(search(Scenario::new(&plan, None)?, limit))).collect()
}

/// Searches one scenario until a promise is broken or everything is seen.
pub fn search(mut scenario: Scenario, limit: Limit) -> ScenarioReport {
    let (name, began) = (scenario.name, Instant::now());
    scenario.ends_at = began.checked_add(limit.time);
    let checker = scenario
        .checker()
        .threads(limit.threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(limit.states)
        .spawn_bfs()
        .join();
    let model = checker.model();
    model.goes_on.store(false, Ordering::Relaxed);
    let mut discoveries: Vec<_> = checker.discoveries().into_iter().collect();
    let rests = discoveries.iter().any(|(name, _)| *name == AT_REST);
    discoveries.retain(|(name, _)| *name != AT_REST);
    discoveries.sort_by_key(|(_, path)| path.clone().into_actions().len());
    let mut failures: Vec<Failure> = discoveries.into_iter().map(|(_, path)| failure(model, path)).collect();
    let cut = model.cut.load(Ordering::Relaxed) || checker.state_count() >= limit.states;
    let complete = !cut && failures.is_empty();
    if complete && !rests {
        let how = "the mailbox never comes to rest in it: it shows nothing".to_owned();
        failures.push(Failure { promise: Promise::NothingLost, how, story: Vec::new() });
    }
    ScenarioReport {
        name,
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: began.elapsed().as_secs_f64(),
        complete,
        failures,
    }
}

fn failure(model: &Scenario, path: Path<State, Action>) -> Failure {
    const ALL: [Promise; 6] = [
        Promise::AppliedOnce,
        Promise::NothingLost,
        Promise::Announced,
        Promise::NothingSkipped,
        Promise::NewBeforeOld,
        Promise::Bounds,
    ];
    let steps = path.into_vec();
    let last = steps.last().map(|(state, _)| state);
    let broken = last
        .and_then(|state| ALL.into_iter().find_map(|promise| Some((promise, model.broken(state, promise)?))));
    let mut story = tell::story(model, &steps);
    let (promise, how) = broken.unwrap_or_else(|| {
        story.extend(last.into_iter().flat_map(|state| tell::unrest(model, state)));
        let how = "nothing goes wrong any more, and the copy never comes to rest".to_owned();
        (Promise::NothingLost, how)
    });
    Failure { promise, how, story }
}
