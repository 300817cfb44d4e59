//! The engine's frame: who may work, what is looked at in which order, and how a run ends.
//!
//! A run takes the lease, *looks* (requests, then history, then what is owed), works off slices of what
//! is long, and gives the lease back. Everything that can interrupt it (a lost race, a failure, the
//! deadline, somebody asking meanwhile) leads to one of three ends: look again, hand over, or release
//! with the time at which somebody must look next.

use jiff::Timestamp;

use crate::{
    failure::{Disposition, Failure},
    ids::HistoryId,
    job::{Counts, Job, Lane, Request},
    state::Sync,
    sync::{
        commits::Committing,
        effect::{Acquired, Effect, Observed, Outcome, Released, Seen},
        ends::{Release, failure_wait},
        look::Look,
        settings::Settings,
        slices::Slice,
    },
};

/// The state machine of one run.
#[derive(Debug)]
pub struct Engine {
    pub(super) settings: Settings,
    pub(super) job: Job,
    /// Nothing new is begun after this.
    pub(super) checkpoint_at: Timestamp,
    /// Uniform in `[0, 1)`, for jitter.
    pub(super) dice: f64,
    phase: Phase,
    pub(super) counts: Counts,
}

#[derive(Debug)]
enum Phase {
    RaisingTarget,
    CheckingStep,
    Acquiring,
    Raising,
    Holding(Box<Held>, Step),
    Over,
}

/// The mailbox while the lease is held, as last read and as written since.
#[derive(Debug)]
pub(super) struct Held {
    pub sync: Sync,
    /// `asked` as it was *before* the last look: the release is conditional on it.
    pub asked: u64,
    pub requests: Vec<Request>,
    pub look_counts: Counts,
    pub looks: u32,
    /// The push's target as it was before the last look.
    pub looked_target: Option<HistoryId>,
    /// When a lagging index is worth another look.
    pub wake_at: Option<Timestamp>,
    /// Whether the last look found records.
    pub found_news: bool,
}

impl Held {
    /// Requests that no continuation answers: one that has become work ends with its work.
    pub fn unattached(&self) -> Vec<Request> {
        let works = &self.sync.progress.work;
        let attached =
            |request: &Request| works.iter().any(|work| work.request.as_ref() == Some(&request.id));
        self.requests.iter().filter(|request| !attached(request)).cloned().collect()
    }
}

/// What a holder waits for.
#[derive(Debug)]
pub(super) enum Step {
    Look(Look),
    Slice(Slice),
    Committing(Box<Committing>),
    Handing(Release),
    Releasing(Release),
    Rereading(Reread),
}

#[derive(Debug)]
pub(super) enum Reread {
    Look,
    Slices,
    Release(Release),
}

/// Where the machine goes: what it waits for, and what it asks for.
pub(super) type Next = (Step, Effect);

impl Engine {
    /// A machine for one job. `checkpoint_at` is the time after which nothing new is begun; `dice` is
    /// uniform in `[0, 1)`.
    pub fn new(settings: Settings, job: Job, checkpoint_at: Timestamp, dice: f64) -> Self {
        Self { settings, job, checkpoint_at, dice, phase: Phase::Over, counts: Counts::default() }
    }

    /// The first effect.
    pub fn start(&mut self, now: Timestamp) -> Effect {
        // A push is a target, not proof. It is written down before the lease is tried: a holder who
        // reads the target after that will look for it, one who does not will be asked again.
        if let Some(target) = self.job.target {
            self.phase = Phase::RaisingTarget;
            return Effect::RaiseTarget(target);
        }
        if self.job.step.is_some() {
            self.phase = Phase::CheckingStep;
            return Effect::ReadSync;
        }
        self.acquire(now)
    }

    /// What to do after what was seen.
    pub fn step(&mut self, observed: Observed) -> Effect {
        let Observed { now, seen } = observed;
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::RaisingTarget => match seen {
                Seen::Failed(failure) => Effect::Finish(Outcome::Interrupted(failure)),
                _ => self.acquire(now),
            },
            Phase::CheckingStep => match seen {
                Seen::Sync(sync) if self.job.step.is_some_and(|step| step < sync.progress.step) => {
                    Effect::Finish(Outcome::Stale)
                }
                Seen::Failed(failure) => Effect::Finish(Outcome::Interrupted(failure)),
                _ => self.acquire(now),
            },
            Phase::Acquiring => self.acquired(seen, now),
            Phase::Raising => match seen {
                Seen::Asked(true) => Effect::Finish(Outcome::Busy),
                // The lease went free in between: nobody would come back for this job.
                Seen::Asked(false) => self.acquire(now),
                other => Effect::Finish(Outcome::Interrupted(unexpected(&other))),
            },
            Phase::Holding(mut held, step) => {
                let next = self.holding(&mut held, step, seen, now);
                self.enter(held, next)
            }
            Phase::Over => {
                Effect::Finish(Outcome::Interrupted(Failure::new(Disposition::Defect, "the run is over")))
            }
        }
    }

    fn enter(&mut self, held: Box<Held>, (step, effect): Next) -> Effect {
        if !matches!(effect, Effect::Finish(_)) {
            self.phase = Phase::Holding(held, step);
        }
        effect
    }

    fn acquire(&mut self, now: Timestamp) -> Effect {
        self.phase = Phase::Acquiring;
        Effect::Acquire { until: now + self.settings.lease }
    }

    fn acquired(&mut self, seen: Seen, now: Timestamp) -> Effect {
        match seen {
            Seen::Acquired(Acquired::Held(sync)) => {
                let asked = sync.asked;
                let mut held = Box::new(Held {
                    sync: *sync,
                    asked,
                    requests: Vec::new(),
                    look_counts: Counts::default(),
                    looks: 0,
                    looked_target: None,
                    wake_at: None,
                    found_news: false,
                });
                let next = self.look(&mut held, now);
                self.enter(held, next)
            }
            Seen::Acquired(Acquired::Busy) => {
                self.phase = Phase::Raising;
                Effect::RaiseAsked
            }
            Seen::Acquired(Acquired::Unknown) => Effect::Finish(Outcome::Unknown(self.job.mailbox.clone())),
            other => Effect::Finish(Outcome::Interrupted(unexpected(&other))),
        }
    }

    fn holding(&mut self, held: &mut Held, step: Step, seen: Seen, now: Timestamp) -> Next {
        match (step, seen) {
            // A release that fails leaves the lease to lapse; `due_at` is not later, so somebody comes.
            (Step::Releasing(_) | Step::Handing(_) | Step::Rereading(_), Seen::Failed(failure)) => {
                finish(Outcome::Interrupted(failure))
            }
            (Step::Look(_) | Step::Slice(_), Seen::Failed(failure)) => self.fail(held, failure, now),
            // Nothing can be written now, the failure neither: the lease goes back, the hint comes again.
            (Step::Committing(_), Seen::Failed(failure)) => {
                let wait = match failure.disposition {
                    Disposition::Retry(after) => after.max(failure_wait(1)),
                    _ => failure_wait(4),
                };
                let release = self.release_for_later(held, wait, now);
                self.hand_over(held, Release { outcome: Outcome::Failed(failure), ..release })
            }
            (Step::Look(look), seen) => self.look_step(held, look, seen, now),
            (Step::Slice(slice), seen) => self.slice_step(held, slice, seen, now),
            (Step::Committing(committing), Seen::Committed(committed)) => {
                self.committed(held, committing, &committed, now)
            }
            (Step::Handing(release), _) => self.give_back(held, release),
            (Step::Releasing(release), Seen::Released(released)) => match released {
                Released::Free => finish(release.outcome),
                Released::Fenced => finish(Outcome::Fenced),
                Released::AskedAgain if release.insist => {
                    (Step::Rereading(Reread::Release(release)), Effect::ReadSync)
                }
                Released::AskedAgain => (Step::Rereading(Reread::Look), Effect::ReadSync),
            },
            (Step::Rereading(reread), Seen::Sync(sync)) => self.reread(held, reread, *sync, now),
            (step, seen) => {
                let failure = unexpected(&seen);
                match step {
                    Step::Releasing(_) | Step::Rereading(_) | Step::Committing(_) => {
                        finish(Outcome::Interrupted(failure))
                    }
                    Step::Look(_) | Step::Slice(_) | Step::Handing(_) => self.fail(held, failure, now),
                }
            }
        }
    }

    pub(super) fn is_backfill(&self) -> bool {
        self.job.lane == Lane::Backfill
    }

    pub(super) fn count_listed(&mut self, held: &mut Held, listed: usize) {
        self.counts.listed += listed as u64;
        held.look_counts.listed += listed as u64;
    }

    pub(super) fn count_fetched(&mut self, held: &mut Held, fetched: usize) {
        self.counts.fetched += fetched as u64;
        held.look_counts.fetched += fetched as u64;
    }

    fn reread(&mut self, held: &mut Held, reread: Reread, sync: Sync, now: Timestamp) -> Next {
        if sync.generation != held.sync.generation {
            return finish(Outcome::Fenced);
        }
        let asked = sync.asked;
        held.sync = sync;
        match reread {
            Reread::Look => {
                held.asked = asked;
                self.look(held, now)
            }
            Reread::Release(release) => {
                held.asked = asked;
                self.hand_over(held, Self::hint_again(release))
            }
            // Between slices: new mail never waits behind old.
            Reread::Slices if asked != held.asked || self.is_woken(held, now) => {
                held.asked = asked;
                self.look(held, now)
            }
            Reread::Slices => self.next_slice(held, now),
        }
    }
}

pub(super) fn finish(outcome: Outcome) -> Next {
    // The step is never entered: `enter` drops it when the effect is the last one.
    (Step::Rereading(Reread::Look), Effect::Finish(outcome))
}

pub(super) fn unexpected(seen: &Seen) -> Failure {
    match seen {
        Seen::Failed(failure) => failure.clone(),
        _ => Failure::new(Disposition::Defect, "an effect was answered with an observation of another kind"),
    }
}

pub(super) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
