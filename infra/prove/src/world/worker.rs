//! A worker: one run of the production driver, advanced by hand.
//!
//! Each effect takes two polls: at the first it is carried out, at the second its answer is heard. A future that is
//! dropped in between is a worker that died there.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use sync_core::{
    HistoryId, SignedDuration, Timestamp,
    job::Job,
    sync::{Effect, Engine, Observed, Outcome, World, drive},
};

use crate::world::{
    sim::{Shared, lock},
    story,
};

/// Where a worker stands between two polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The next effect is decided and not carried out.
    Decided,
    /// It is carried out, and its answer not heard.
    CarriedOut,
}

/// One run.
pub struct Worker {
    /// For the story.
    pub number: u32,
    /// The message it received, acknowledged when it is done.
    pub message: Option<u64>,
    /// The history id that its push named.
    pub target: Option<HistoryId>,
    /// Where it stands.
    pub half: Half,
    /// When it last did something: one that sleeps longer than its lease is stale.
    pub began_at: Timestamp,
    run: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "worker {} ({:?})", self.number, self.half)
    }
}

struct Handle {
    shared: Shared,
    number: u32,
    credential: Option<u64>,
}

impl World for Handle {
    async fn perform(&mut self, effect: Effect) -> Observed {
        pause().await;
        let seen = lock(&self.shared).carry_out(self.number, &mut self.credential, &effect);
        pause().await;
        lock(&self.shared).heard(seen)
    }
}

/// Lets the scheduler decide what happens next.
async fn pause() {
    let mut polled = false;
    std::future::poll_fn(
        |_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending },
    )
    .await;
}

impl Worker {
    /// A worker that has received a job. `seconds` is how long it may work before it begins nothing new.
    pub fn start(shared: &Shared, number: u32, message: Option<u64>, job: Job, seconds: i64) -> Self {
        let (settings, now, jitter) = {
            let mut sim = lock(shared);
            let jitter = f64::from(sim.dice.below(10)) / 10.0;
            let now = sim.now;
            sim.story.tell(now, || format!("worker {number} begins: {}", story::job(&job)));
            (sim.settings.clone(), now, jitter)
        };
        let target = job.target;
        let engine = Engine::new(settings, job, now + SignedDuration::from_secs(seconds), jitter);
        let mut handle = Handle { shared: Shared::clone(shared), number, credential: None };
        let mut run: Pin<Box<dyn Future<Output = Outcome> + Send>> =
            Box::pin(async move { drive(engine, &mut handle, now).await });
        // Up to the first effect, which is decided and not carried out. A run has at least one.
        drop(poll(&mut run));
        Self { number, message, target, half: Half::Decided, began_at: now, run }
    }

    /// One half of an effect further; the outcome when the run is over.
    pub fn advance(&mut self, shared: &Shared) -> Option<Outcome> {
        self.half = match self.half {
            Half::Decided => Half::CarriedOut,
            Half::CarriedOut => Half::Decided,
        };
        let outcome = poll(&mut self.run)?;
        let mut sim = lock(shared);
        let (now, number) = (sim.now, self.number);
        sim.story.tell(now, || format!("worker {number} ends: {}", story::outcome(&outcome)));
        if let Some(message) = self.message {
            if matches!(outcome, Outcome::Interrupted(_)) {
                let sim = &mut *sim;
                sim.queue.give_back(message, &mut sim.counts);
            } else {
                sim.queue.acknowledge(message);
                sim.pushed = sim.pushed.max(self.target);
            }
        }
        Some(outcome)
    }

    /// It dies here; its message will come again.
    pub fn die(self, shared: &Shared) {
        let mut sim = lock(shared);
        let (now, number, half) = (sim.now, self.number, self.half);
        sim.story.tell(now, || match half {
            Half::Decided => format!("worker {number} dies before its next effect"),
            Half::CarriedOut => format!("worker {number} dies before it hears the answer"),
        });
        if let Some(message) = self.message {
            let sim = &mut *sim;
            sim.queue.give_back(message, &mut sim.counts);
        }
    }
}

fn poll(run: &mut Pin<Box<dyn Future<Output = Outcome> + Send>>) -> Option<Outcome> {
    match run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Most halves of effects in one run: more is a run without end.
const HALVES_MAX: u32 = 40_000;

/// Lets a worker go on to the end of its run; `None` when it has none.
pub fn run_to_end(shared: &Shared, mut worker: Worker) -> Option<Outcome> {
    (0..HALVES_MAX).find_map(|_| worker.advance(shared))
}
