//! The queue: at least once, in any order, late, with a time after which what was not acknowledged comes again.
//!
//! Invariant: a message is gone only when its receiver said so, or when it was received too often. Deliberately
//! absent: two queues. Which lane a message came through is written on it, and any worker may take it.

use sync_core::{SignedDuration, Timestamp, job::Job};

use crate::world::{
    dice::Dice,
    fault::{Counts, Fault, Plan},
};

/// How long a message that was received and not acknowledged stays invisible: longer than a worker may run.
const INVISIBLE: SignedDuration = SignedDuration::from_secs(400);
/// How often a message is received before it is given up.
const RECEIVES_MAX: u32 = 3;

/// A message in the queue.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Names the copy, for its acknowledgement.
    pub id: u64,
    /// What it says.
    pub job: Job,
    /// When it can be received.
    pub visible_at: Timestamp,
    receives: u32,
}

/// All messages.
#[derive(Debug, Default)]
pub struct Queue {
    messages: Vec<Queued>,
    next_id: u64,
}

impl Queue {
    /// Sends a message; perhaps it will come twice.
    pub fn send(
        &mut self,
        job: &Job,
        visible_at: Timestamp,
        plan: &Plan,
        counts: &mut Counts,
        dice: &mut Dice,
    ) {
        let copies = if dice.chance(plan.rate(Fault::Duplicate)) { 2 } else { 1 };
        if copies > 1 {
            counts.note(Fault::Duplicate);
        }
        for _ in 0..copies {
            self.next_id += 1;
            self.messages.push(Queued { id: self.next_id, job: job.clone(), visible_at, receives: 0 });
        }
    }

    /// Receives a message, if one can be: the oldest, or any when order fails.
    pub fn receive(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        counts: &mut Counts,
        dice: &mut Dice,
    ) -> Option<(u64, Job)> {
        let ready: Vec<usize> = (0..self.messages.len())
            .filter(|at| self.messages.get(*at).is_some_and(|message| message.visible_at <= now))
            .collect();
        let mut chosen = *ready.first()?;
        if ready.len() > 1 && dice.chance(plan.rate(Fault::Reordered)) {
            chosen = dice.pick(&ready).copied().unwrap_or(chosen);
            counts.note(Fault::Reordered);
        }
        let message = self.messages.get_mut(chosen)?;
        message.receives += 1;
        message.visible_at = now + INVISIBLE;
        Some((message.id, message.job.clone()))
    }

    /// The receiver is done with it.
    pub fn acknowledge(&mut self, id: u64) {
        self.messages.retain(|message| message.id != id);
    }

    /// The receiver could not, or died: it comes again, unless it came too often.
    pub fn give_back(&mut self, id: u64, counts: &mut Counts) {
        let worn = |message: &Queued| message.id == id && message.receives >= RECEIVES_MAX;
        if self.messages.iter().any(worn) {
            counts.note(Fault::DeadLetter);
            self.messages.retain(|message| message.id != id);
        }
    }

    /// When the next message can be received.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.messages.iter().map(|message| message.visible_at).min()
    }

    /// Whether there is none, those under way included.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many can be received.
    pub fn ready(&self, now: Timestamp) -> usize {
        self.messages.iter().filter(|message| message.visible_at <= now).count()
    }
}
