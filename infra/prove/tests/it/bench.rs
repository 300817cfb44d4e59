//! A world that does what a test says: no faults but those that it names, every run told by its effects.

use std::sync::MutexGuard;

use gmail_sim::model::{INBOX, LabelIndex, UNREAD};
use prove::world::{Dice, Plan, Setting, Shared, Sim, Tape, lock, settle, share};
use sync_core::{
    HistoryId, MessageId, SignedDuration,
    job::{Job, JobKind, Lane, Request, RequestOptions, Trigger},
    state::{Content, Scope},
    sync::{Effect, Engine, Observed, Outcome, Seen, Settings},
};

/// More effects than any run of these tests has.
const EFFECTS_MAX: usize = 5_000;

pub struct Bench {
    pub shared: Shared,
    started: u32,
}

/// A worker that is somewhere between two effects.
pub struct Run {
    engine: Engine,
    effect: Effect,
    credential: Option<u64>,
    number: u32,
    pub trace: Vec<String>,
}

pub fn setting() -> Setting {
    Setting {
        settings: Settings { initial_newest: 2, initial_days: 1, ..Settings::default() },
        scope: Scope::default(),
        content: Content::Raw,
        watched: true,
        start: HistoryId(5_000),
        page: 3,
        plan: Plan::only(&[]),
        mailbox_seed: 1,
    }
}

/// The name of an effect.
pub fn name(effect: &Effect) -> String {
    let text = format!("{effect:?}");
    text.split(['(', '{', ' ']).next().unwrap_or_default().to_owned()
}

impl Bench {
    /// A mailbox with so much mail, not connected yet.
    pub fn of(setting: Setting, messages: usize) -> Self {
        let sim = Sim::new(setting, Dice::of_tape(Tape::default()), true).expect("a world");
        let bench = Self { shared: share(sim), started: 0 };
        for _ in 0..messages {
            bench.arrive();
        }
        bench
    }

    /// A mailbox with so much mail, connected and copied.
    pub fn copied(messages: usize) -> Self {
        let mut bench = Self::of(setting(), messages);
        bench.ask(JobKind::Initial, RequestOptions::default());
        bench.drain();
        assert!(bench.sim().is_quiet(), "the first copy is made");
        bench
    }

    pub fn sim(&self) -> MutexGuard<'_, Sim> {
        lock(&self.shared)
    }

    // ---- what the user does, and nobody pushes

    fn silently(&self, act: impl FnOnce(&mut Sim)) {
        let sim = &mut *self.sim();
        let before = sim.gmail.head();
        act(sim);
        sim.gmail.note_since(before, &sim.plan, &mut sim.counts, &mut sim.dice, sim.now);
    }

    pub fn arrive(&self) -> MessageId {
        self.silently(|sim| sim.gmail.deliver(SignedDuration::ZERO, &[INBOX, UNREAD], false, sim.now));
        self.newest()
    }

    pub fn label(&self, ids: &[MessageId], add: &[LabelIndex], remove: &[LabelIndex]) {
        self.silently(|sim| sim.gmail.modify(ids, add, remove, sim.now));
    }

    pub fn delete(&self, ids: &[MessageId]) {
        self.silently(|sim| sim.gmail.delete(ids, sim.now));
    }

    pub fn ids(&self) -> Vec<MessageId> {
        self.sim().gmail.messages().map(|(id, _)| id).collect()
    }

    fn newest(&self) -> MessageId {
        let sim = self.sim();
        let born = |id: &MessageId| sim.gmail.versions().get(id).and_then(|all| all.first()).map(|v| v.0);
        sim.gmail.messages().map(|(id, _)| id).max_by_key(born).expect("mail")
    }

    pub fn pass(&self, seconds: i64) {
        self.sim().now += SignedDuration::from_secs(seconds);
    }

    // ---- hints and runs

    pub fn ask(&self, kind: JobKind, options: RequestOptions) {
        let sim = &mut *self.sim();
        let number = sim.store.closed.len() + sim.store.kept.requests.len() + 1;
        let id = format!("job_{number}").parse().expect("an id");
        let now = sim.now;
        sim.store.request(Request { id, kind, trigger: Trigger::Manual, options }, now);
        sim.send(Trigger::Manual, None, Lane::Sync, None, now);
    }

    pub fn job(&self, trigger: Trigger, lane: Lane) -> Job {
        let sim = self.sim();
        let target = (trigger == Trigger::Push).then(|| sim.gmail.head());
        Job { mailbox: sim.store.kept.sync.mailbox.clone(), trigger, target, step: None, lane }
    }

    pub fn start(&mut self, job: Job) -> Run {
        self.started += 1;
        let sim = self.sim();
        let ends = sim.now + SignedDuration::from_secs(280);
        let mut engine = Engine::new(sim.settings.clone(), job, ends, 0.5);
        let effect = engine.start(sim.now);
        Run { engine, effect, credential: None, number: self.started, trace: Vec::new() }
    }

    /// A whole run. What `inject` answers is seen instead of what would have happened.
    pub fn run_with(
        &mut self,
        job: Job,
        mut inject: impl FnMut(&Effect) -> Option<Seen>,
    ) -> (Outcome, Vec<String>) {
        let mut run = self.start(job);
        for _ in 0..EFFECTS_MAX {
            let seen = inject(&run.effect);
            if let Some(outcome) = run.step(self, seen) {
                return (outcome, run.trace);
            }
        }
        panic!("a run without end: {:?}", run.trace);
    }

    pub fn run(&mut self, job: Job) -> Vec<String> {
        self.run_with(job, |_| None).1
    }

    pub fn push(&mut self) -> Vec<String> {
        let job = self.job(Trigger::Push, Lane::Sync);
        self.run(job)
    }

    /// Hints arrive, and time passes until they do, until there are none.
    pub fn drain(&mut self) -> Vec<String> {
        let mut trace = Vec::new();
        while let Some(job) = self.next_hint() {
            trace.extend(self.run(job));
        }
        trace
    }

    pub fn next_hint(&self) -> Option<Job> {
        let sim = &mut *self.sim();
        sim.now = sim.now.max(sim.queue.next_at()?);
        let (message, job) = sim.queue.receive(sim.now, &sim.plan, &mut sim.counts, &mut sim.dice)?;
        sim.queue.acknowledge(message);
        Some(job)
    }

    /// Time passes until nothing is left to do, and every promise has held.
    pub fn finish(self) {
        settle(&self.shared, Vec::new());
        let sim = self.sim();
        if let Some(broken) = &sim.broken {
            panic!("{broken}\n{}", sim.story.lines.join("\n"));
        }
    }
}

impl Run {
    /// What is to be done next.
    pub fn next(&self) -> String {
        name(&self.effect)
    }

    /// One effect; the outcome when the run is over.
    pub fn step(&mut self, bench: &Bench, instead: Option<Seen>) -> Option<Outcome> {
        if let Effect::Finish(outcome) = &self.effect {
            return Some(outcome.clone());
        }
        self.trace.push(name(&self.effect));
        let mut sim = bench.sim();
        let seen = instead.unwrap_or_else(|| sim.carry_out(self.number, &mut self.credential, &self.effect));
        self.effect = self.engine.step(Observed { now: sim.now, seen });
        None
    }

    /// To the end.
    pub fn finish(mut self, bench: &Bench) -> Outcome {
        (0..EFFECTS_MAX).find_map(|_| self.step(bench, None)).expect("a run that ends")
    }
}
