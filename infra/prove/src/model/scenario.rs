//! A scenario: a small mailbox, who may do what to it, and how often what may go wrong.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use sync_core::{
    SignedDuration,
    job::{JobKind, Request, RequestOptions, Trigger},
    lease,
    state::{Content, Scope, Window},
    sync::{Guard, Mutant, Settings},
};

use crate::{
    model::{
        canon::{beginning, canonical},
        chance::{Budget, Chance},
        gmail::{Deed, Gmail, Manner},
        state::State,
        store::Store,
    },
    world::{Promise, Unfit},
};

/// What users may do in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deeds {
    /// Mail arrives.
    Arrive,
    /// The first label is put on or taken off a message.
    Toggle,
    /// The first label is put on every message in one record.
    LabelAll,
    /// A message is deleted for good.
    Delete,
}

/// How far the copy is when the search begins.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// Connected just now, nothing copied.
    Connected,
    /// Copied, and at rest.
    Copied,
    /// Copied; then this happened unseen, and history has expired since.
    Gap(&'static [Deed]),
}

/// What a scenario is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In a few words.
    pub name: &'static str,
    /// What each message wears in the beginning.
    pub mail: &'static [&'static [&'static str]],
    /// How far the copy is.
    pub start: Start,
    /// What users may do.
    pub deeds: &'static [Deeds],
    /// What may be asked for.
    pub requests: &'static [JobKind],
    /// How often what may happen.
    pub chances: &'static [(Chance, u8)],
    /// Workers at the same time.
    pub workers: usize,
    /// How Gmail answers.
    pub manner: Manner,
    /// Only mail with this label is copied.
    pub include: Option<&'static str>,
    /// What of a message is fetched: threads come whole in some formats.
    pub content: Content,
    /// New messages that one page of history fetches at once.
    pub inline: usize,
    /// Messages of one slice.
    pub slice: u32,
    /// Messages that a comparison may find gone.
    pub guard: u64,
}

impl Plan {
    /// One message that wears a label, copied; two workers, nothing goes wrong.
    pub const CALM: Self = Self {
        name: "",
        mail: &[&["L"]],
        start: Start::Copied,
        deeds: &[],
        requests: &[],
        chances: &[],
        workers: 2,
        manner: Manner {
            records: 2,
            ids: 2,
            shifts: false,
            pinned: false,
            lag: SignedDuration::ZERO,
            labels: &["L"],
        },
        include: None,
        content: Content::Raw,
        inline: 100,
        slice: 2,
        guard: 50,
    };
}

/// The place after the last promise.
const UNREST: usize = 6;

/// A model for the checker.
#[derive(Debug)]
pub struct Scenario {
    /// In a few words.
    pub name: &'static str,
    pub(super) settings: Settings,
    pub(super) manner: Manner,
    pub(super) deeds: &'static [Deeds],
    pub(super) requests: Vec<Request>,
    pub(super) initial: State,
    /// Whether it matters how old a version of a message is.
    pub(super) keeps_time: bool,
    /// States of which it has been shown.
    restful: Mutex<HashSet<u64>>,
    /// Promises that were found broken: the first way is the shortest.
    found: Vec<AtomicBool>,
    /// When the search ends, whatever is left.
    pub(super) ends_at: Option<Instant>,
    /// Whether it goes on: its results are read without a clock.
    pub(super) goes_on: AtomicBool,
    /// Whether it ended for that.
    pub(super) cut: AtomicBool,
}

impl Scenario {
    /// A scenario, with a guard left out or none.
    pub fn new(plan: &Plan, mutant: Option<Guard>) -> Result<Self, Unfit> {
        let now = beginning();
        let settings = Settings {
            initial_newest: 0,
            initial_days: 0,
            inline_fetch_max: plan.inline,
            slice: plan.slice,
            guard_percent: 0,
            guard_messages: plan.guard,
            // Effects take no time here: it is looked at after every page.
            glance: SignedDuration::ZERO,
            mutant: Mutant::NONE,
            ..Settings::default()
        };
        let include = plan.include.iter().map(|label| (*label).to_owned()).collect();
        let scope = Scope { include, ..Scope::default() };
        let state = State {
            now,
            gmail: Arc::new(Gmail::with(plan.mail, now)),
            store: Arc::new(Store::new(scope, plan.content, now)?),
            queue: Vec::new(),
            workers: vec![None; plan.workers],
            left: Budget::of(&[]),
            old_work: None,
            loss: None,
        };
        let timed = [Chance::Stale, Chance::TornGet, Chance::NotVisible, Chance::Torn];
        let keeps_time = plan.manner.lag > SignedDuration::ZERO
            || plan.chances.iter().any(|(chance, _)| timed.contains(chance));
        let mut scenario = Self {
            name: plan.name,
            keeps_time,
            settings,
            manner: plan.manner.clone(),
            deeds: plan.deeds,
            requests: requests(plan.requests)?,
            initial: state.clone(),
            restful: Mutex::default(),
            found: (0..=UNREST).map(|_| AtomicBool::new(false)).collect(),
            ends_at: None,
            goes_on: AtomicBool::new(true),
            cut: AtomicBool::new(false),
        };
        let mut state = scenario.begin(state, plan.start);
        state.left = Budget::of(plan.chances);
        scenario.initial = canonical(state, keeps_time);
        // The beginning is the protocol's own work; only then is the guard left out.
        scenario.settings.mutant = mutant.map_or(Mutant::NONE, Mutant::without);
        Ok(scenario)
    }

    /// The production engine brings the mailbox to where the search begins.
    fn begin(&self, mut state: State, start: Start) -> State {
        let now = state.now;
        lease::ask(&mut Arc::make_mut(&mut state.store).kept.sync, now);
        state.send(Trigger::Connect, None, now);
        let deeds = match start {
            Start::Connected => return state,
            Start::Copied => &[],
            Start::Gap(deeds) => deeds,
        };
        let mut state = self.settle(state.clone()).unwrap_or(state);
        // Probes are not what is searched here: the next one is far away.
        Arc::make_mut(&mut state.store).kept.sync.progress.probe.at = Some(state.now);
        let now = state.now;
        let gmail = Arc::make_mut(&mut state.gmail);
        for deed in deeds {
            gmail.happen(*deed, &self.manner, false, now);
        }
        if let Start::Gap(_) = start {
            gmail.expire();
            let head = gmail.head;
            state.send(Trigger::Push, Some(head), now);
        }
        state
    }

    pub(super) fn restful(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.restful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the time of the search is up: then every state is a last one.
    pub(super) fn is_over(&self) -> bool {
        let over = self.goes_on.load(Ordering::Relaxed)
            && self.ends_at.is_some_and(|ends_at| Instant::now() > ends_at);
        if over {
            self.cut.store(true, Ordering::Relaxed);
        }
        over
    }

    /// Whether this promise is found broken for the first time.
    pub(super) fn is_first(&self, promise: Promise) -> bool {
        self.is_first_of(promise as usize)
    }

    /// Whether a state that never comes to rest is found for the first time.
    pub(super) fn is_first_unrest(&self) -> bool {
        self.is_first_of(UNREST)
    }

    /// Whether such a state was found: one is enough.
    pub(super) fn found_unrest(&self) -> bool {
        self.goes_on.load(Ordering::Relaxed)
            && self.found.get(UNREST).is_some_and(|found| found.load(Ordering::Relaxed))
    }

    fn is_first_of(&self, what: usize) -> bool {
        self.found.get(what).is_some_and(|found| !found.swap(true, Ordering::Relaxed))
    }
}

fn requests(kinds: &[JobKind]) -> Result<Vec<Request>, Unfit> {
    let request = |(index, kind): (usize, &JobKind)| {
        let window = matches!(kind, JobKind::Historical).then_some(Window::All);
        let options = RequestOptions { window, ..RequestOptions::default() };
        let id = format!("job_{index}").parse()?;
        Ok(Request { id, kind: *kind, trigger: Trigger::Manual, options })
    };
    kinds.iter().enumerate().map(request).collect()
}
