//! The end of a history: faults are over, time passes, hints arrive, the schedule comes, until nothing is left.

use sync_core::{
    SignedDuration,
    job::{JobKind, RequestOptions},
    state::Status,
};

use crate::world::{
    fault::{Fault, Plan},
    promise::{Broken, Promise},
    sim::{Shared, Sim, lock},
    worker::{Worker, run_to_end},
};

/// How long hints alone may take: a redelivery after a crash, and the looks that follow.
const HINTS: SignedDuration = SignedDuration::from_mins(60);
/// An index that lags no longer than this is waited for.
const SEEN_LAG: SignedDuration = SignedDuration::from_secs(20);
/// Most times that time passes before a mailbox counts as never quiet.
const ROUNDS_MAX: u32 = 3_000;
/// Polls after which every record has been seen: one to mark, two to list from before it.
const POLLS: u32 = 4;

/// Ends a history and checks every promise.
pub fn settle(shared: &Shared, workers: Vec<Worker>) {
    {
        let sim = &mut *lock(shared);
        if sim.broken.is_some() {
            return;
        }
        sim.dice.quiet();
        sim.plan = Plan::only(&[]);
        sim.gmail.calm_down();
        let now = sim.now;
        sim.story.tell(now, || "nothing fails any more".into());
    }
    for worker in workers {
        finish(shared, worker);
    }
    hints_alone(shared);
    let mut polls = 0;
    for _ in 0..ROUNDS_MAX {
        drain(shared);
        let sim = &mut *lock(shared);
        if sim.broken.is_some() {
            return;
        }
        let enough = !sim.gmail.was_any_torn() || polls >= POLLS;
        if sim.is_quiet() && enough {
            if let Err(broken) = sim.judge_quiet() {
                sim.break_promise(broken);
            }
            return;
        }
        sim.help();
        polls += u32::from(sim.pass_until_due());
    }
    let sim = &mut *lock(shared);
    let broken = sim.never_quiet();
    sim.break_promise(broken);
}

fn finish(shared: &Shared, worker: Worker) {
    if run_to_end(shared, worker).is_none() {
        let broken = Broken::new(Promise::Bounds, "a run without end");
        lock(shared).break_promise(broken);
    }
}

/// Delivers every message that can be received.
fn drain(shared: &Shared) {
    loop {
        let received = {
            let sim = &mut *lock(shared);
            if sim.broken.is_some() {
                return;
            }
            sim.queue.receive(sim.now, &sim.plan, &mut sim.counts, &mut sim.dice)
        };
        let Some((id, job)) = received else { return };
        finish(shared, Worker::start(shared, 0, Some(id), job, 280));
    }
}

/// No push needs the poll: without the schedule, hints alone bring the copy to every target that was named.
fn hints_alone(shared: &Shared) {
    let until = lock(shared).now + HINTS;
    loop {
        drain(shared);
        let sim = &mut *lock(shared);
        if sim.broken.is_some() {
            return;
        }
        match sim.queue.next_at() {
            Some(next) if next <= until => sim.now = sim.now.max(next),
            _ => break,
        }
    }
    let sim = &mut *lock(shared);
    let sync = &sim.store.kept.sync;
    let waits = sync.lease.is_some()
        || sync.progress.errors.consecutive > 0
        || !sync.progress.work.is_empty()
        || sync.status != Status::Active
        || sim.counts.of(Fault::StaleLease) > 0;
    if waits || !sim.relies_on_hints() || !sim.queue.is_empty() {
        return;
    }
    // The core looks three times at an index that lags, 22 seconds in all; then the poll finds what it hid.
    let pushed = sim.pushed.filter(|_| sim.gmail.longest_lag() <= SEEN_LAG);
    if sync.progress.cursor < sync.target.max(pushed) || !sim.store.kept.requests.is_empty() {
        let how = "only the poll would find what a push or a request has asked for";
        sim.break_promise(Broken::new(Promise::NothingSkipped, how));
    }
}

impl Sim {
    /// What people do when a mailbox says that it needs them.
    fn help(&mut self) {
        match self.store.kept.sync.status {
            Status::Active | Status::Deactivated => {
                if self.gmail.revoked == Some(self.store.kept.sync.credential_version) {
                    self.sign_in_again();
                }
            }
            Status::NeedsReauth => self.sign_in_again(),
            Status::Paused => self.resume(),
            Status::NeedsAttention => {
                self.resume();
                let options = RequestOptions { accept_deletions: true, ..RequestOptions::default() };
                self.ask_for(JobKind::Full, options);
            }
        }
    }

    /// Time passes until a message can be received or the mailbox is due. Whether the schedule came.
    fn pass_until_due(&mut self) -> bool {
        // The schedule ticks each minute.
        let due = self.store.kept.sync.due_at.map(|due| due.max(self.now) + SignedDuration::from_secs(30));
        let message = self.queue.next_at();
        let is_due = message.is_none_or(|message| due.is_some_and(|due| due < message));
        let next = if is_due { due } else { message };
        let Some(next) = next else {
            let how = "something remains, and nobody will come again";
            self.break_promise(Broken::new(Promise::NothingSkipped, how));
            return false;
        };
        self.now = next.max(self.now + SignedDuration::from_millis(1));
        if is_due {
            self.fan_out();
        }
        is_due
    }

    /// What remains when it should not.
    pub fn never_quiet(&self) -> Broken {
        let sync = &self.store.kept.sync;
        let how = format!(
            "never quiet: owed {}, open work {}, requests {}, status {}, cursor {:?}, present {}, errors {}, messages {}",
            self.store.kept.owed.len(),
            sync.progress.work.len(),
            self.store.kept.requests.len(),
            sync.status.name(),
            sync.progress.cursor.map(|cursor| cursor.0),
            self.gmail.head(),
            sync.progress.errors.consecutive,
            if self.queue.is_empty() { "none" } else { "some" },
        );
        Broken::new(Promise::NothingSkipped, how)
    }
}
