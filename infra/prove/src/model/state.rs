//! A state of the search: everything that can make a difference to what happens next.

use std::sync::Arc;

use sync_core::{
    Generation, HistoryId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    lease,
    sync::{Effect, Engine},
};

use crate::{
    model::{
        chance::Budget,
        gmail::{Deed, Gmail},
        store::Store,
    },
    world::Broken,
};

/// A queue message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hint {
    /// Not delivered before this.
    pub ready: Timestamp,
    /// What it says.
    pub job: Job,
}

impl Hint {
    /// Equal queues are equal states, in whatever order their messages were sent.
    fn key(&self) -> (Timestamp, u8, Option<HistoryId>, Option<u64>, u8) {
        (self.ready, self.job.trigger as u8, self.job.target, self.job.step, self.job.lane as u8)
    }
}

/// A worker: the production engine, and what it asks for next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Decides.
    pub engine: Engine,
    /// The next effect, not carried out yet.
    pub effect: Effect,
    /// The message it received, which comes again if it dies.
    pub job: Job,
    /// Nothing new is begun after this.
    pub checkpoint_at: Timestamp,
    /// As whom it holds the lease, or held it.
    pub generation: Option<Generation>,
    /// The version of the grant that it uses.
    pub credential: Option<u64>,
}

/// A state. Its parts are shared between states until one of them changes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The clock.
    pub now: Timestamp,
    /// Gmail.
    pub gmail: Arc<Gmail>,
    /// DynamoDB and S3.
    pub store: Arc<Store>,
    /// SQS, sorted.
    pub queue: Vec<Hint>,
    /// Places for workers.
    pub workers: Vec<Option<Arc<Worker>>>,
    /// What may still happen.
    pub left: Budget,
    /// Steps of old work since somebody asked the holder to look.
    pub old_work: Option<u8>,
    /// The first promise that was broken.
    pub loss: Option<Broken>,
}

/// A step of the search.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// The user does something, with a push unless Gmail drops it.
    Act(Deed, News),
    /// A worker receives the hint at this place; it may stay in the queue too.
    Receive {
        /// Its place in the queue.
        hint: usize,
        /// It will come twice.
        again: bool,
    },
    /// A worker carries out its effect.
    Go(usize),
    /// A worker carries out its effect, and something is odd about it.
    GoOdd(usize, Oddity),
    /// A worker dies before its next effect.
    Die(usize),
    /// A worker sleeps until its lease has lapsed.
    Oversleep(usize),
    /// The schedule queues a hint.
    FanOut,
    /// Nobody works: time passes until something is due.
    Pass,
    /// History so far expires.
    Expire,
    /// A person takes the lease away.
    Unlock,
    /// The grant is revoked.
    Revoke,
    /// The owner signs in again.
    Grant,
    /// Somebody asks for something, the so manyth of the scenario's requests.
    Ask(usize),
    /// A mailbox that needs attention is compared again, and what is gone is meant to be gone.
    Accept,
}

/// How a change becomes known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum News {
    /// By a push.
    Push,
    /// By nothing: Gmail has dropped the push.
    Dropped,
    /// By a push, but its record does not show yet, though its id does.
    Torn,
}

/// What is odd about an effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// It took until the worker's checkpoint.
    Slow,
    /// This message answered 404 though it is there.
    NotVisible(sync_core::MessageId),
    /// This message's part of the answer is missing.
    Unanswered(sync_core::MessageId),
    /// This message could not be had.
    Unreadable(sync_core::MessageId),
    /// This message showed an older version.
    Stale(sync_core::MessageId, usize),
    /// This message showed an older version under its newest id.
    TornGet(sync_core::MessageId, usize),
    /// The listing missed this message.
    Omitted(sync_core::MessageId),
    /// Gmail refused for now.
    Refused,
    /// It took place, and the answer was lost.
    AnswerLost,
    /// The object was gone.
    ObjectLost,
    /// An outside writer took an event's number just before.
    SequenceTaken,
}

impl State {
    /// Whether somebody works.
    pub fn is_busy(&self) -> bool {
        self.workers.iter().any(Option::is_some)
    }

    /// Whether a message could be delivered now.
    pub fn has_ready_hint(&self) -> bool {
        self.queue.iter().any(|hint| hint.ready <= self.now)
    }

    /// Whether the lease is held by somebody, dead or alive.
    pub fn is_held(&self) -> bool {
        lease::is_held(&self.store.kept.sync, self.now)
    }

    /// Whether this worker holds the lease, lapsed or not.
    pub fn holds(&self, worker: &Worker) -> bool {
        let holder = self.store.kept.sync.lease.as_ref().map(|lease| lease.generation);
        worker.generation.is_some() && worker.generation == holder
    }

    /// Sends a hint.
    pub fn send(&mut self, trigger: Trigger, target: Option<HistoryId>, ready: Timestamp) {
        let mailbox = self.store.kept.sync.mailbox.clone();
        self.queue(Hint { ready, job: Job { mailbox, trigger, target, step: None, lane: Lane::Sync } });
    }

    /// Puts a message into the queue. One that says the same as another is left out: hints only say "look", so
    /// fewer of them are the harder case.
    pub fn queue(&mut self, hint: Hint) {
        let at = self.queue.partition_point(|other| other.key() < hint.key());
        if self.queue.get(at) != Some(&hint) {
            self.queue.insert(at, hint);
        }
    }

    /// When something is due that is not due yet, if nobody works.
    pub fn next_instant(&self) -> Option<Timestamp> {
        let hint = self.queue.iter().map(|hint| hint.ready).filter(|ready| *ready > self.now).min();
        let due = self.store.kept.sync.due_at.map(|due| match &self.store.kept.sync.lease {
            // A dead worker's lease lapses just after its end.
            Some(lease) => due.max(lease.until + SignedDuration::from_millis(1)),
            None => due,
        });
        hint.or(due.filter(|due| *due > self.now))
    }

    /// Whether the schedule would queue a hint now. It ticks every few minutes, so what has a message on its way
    /// is looked at before; who has just received one too.
    pub fn is_due(&self) -> bool {
        self.store.kept.sync.due_at.is_some_and(|due| due <= self.now)
            && !self.is_held()
            && self.queue.is_empty()
            && self.workers.iter().flatten().all(|worker| worker.generation.is_some())
    }
}
