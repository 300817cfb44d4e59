//! The engine's frame: who may work, what is looked at in which order, and how a run ends.
//!
//! A run takes the lease, *looks* (requests, then history, then what is owed), works off slices of what
//! is long, and gives the lease back. Everything that can interrupt it (a lost race, a failure, the
//! deadline, somebody asking meanwhile) leads to one of three ends: look again, hand over, or release
//! with the time at which somebody must look next.

use jiff::Timestamp;

use crate::{
    failure::{Disposition, Failure},
    ids::{HistoryId, MessageId},
    job::{Counts, Job, Lane, Request},
    message::{RowHead, Touched},
    owed::Owed,
    state::Sync,
    sync::{
        commits::Committing,
        effect::{Acquired, Effect, Observed, Outcome, Released, Seen},
        ends::{Release, failure_wait},
        guards::Guard,
        listing::Listing,
        look::Look,
        settings::Settings,
        slices::Slice,
    },
};

/// The state machine of one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Engine {
    pub(super) settings: Settings,
    pub(super) job: Job,
    /// Nothing new is begun after this.
    pub(super) checkpoint_at: Timestamp,
    /// The bits of a number uniform in `[0, 1)`, for jitter: a state of the machine can be compared.
    dice: u64,
    phase: Phase,
    pub(super) counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    RaisingTarget,
    CheckingStep,
    Acquiring,
    Raising,
    Holding(Box<Held>, Step),
    Over,
}

/// The mailbox while the lease is held, as last read and as written since.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// The listing under way; it stays with the run while deltas go on.
    pub listing: Option<Box<Listing>>,
    /// The listing's page token is of an earlier run.
    pub resumed: bool,
    /// When `SYNC` was last read.
    pub read_at: Timestamp,
    /// When the hint that this run has sent last arrives.
    pub hint_at: Option<Timestamp>,
    /// Whether this run has compared the counters already.
    pub probed: bool,
}

impl Held {
    /// Requests that no continuation answers: one that has become work ends with its work.
    pub fn unattached(&self) -> Vec<Request> {
        let works = &self.sync.progress.work;
        let attached =
            |request: &Request| works.iter().any(|work| work.request.as_ref() == Some(&request.id));
        self.requests.iter().filter(|request| !attached(request)).cloned().collect()
    }

    /// Rows as this epoch sees them: a history id of an earlier one compares with nothing.
    pub fn current_rows(&self, rows: Vec<(MessageId, RowHead)>) -> Vec<(MessageId, RowHead)> {
        let epoch = self.sync.progress.epoch;
        let current = |(id, row): (MessageId, RowHead)| {
            let row = if row.epoch == epoch {
                row
            } else {
                RowHead { history_id: HistoryId(0), epoch, touched: Touched::new(), ..row }
            };
            (id, row)
        };
        rows.into_iter().map(current).collect()
    }

    /// What is owed as this epoch sees it: records of an earlier one say nothing any more.
    pub fn current_owed(&self, owed: Vec<Owed>) -> Vec<Owed> {
        let epoch = self.sync.progress.epoch;
        let current = |owed: Owed| {
            if owed.epoch == epoch {
                return owed;
            }
            Owed { at_least: HistoryId(0), label_changes: Vec::new(), epoch, ..owed }
        };
        owed.into_iter().map(current).collect()
    }
}

/// What a holder waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Look(Look),
    Slice(Slice),
    Committing(Box<Committing>),
    Handing(Release),
    Releasing(Release),
    Rereading(Reread),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
        Self {
            settings,
            job,
            checkpoint_at,
            dice: dice.to_bits(),
            phase: Phase::Over,
            counts: Counts::default(),
        }
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn dice(&self) -> f64 {
        f64::from_bits(self.dice)
    }

    /// The first effect.
    pub fn start(&mut self, now: Timestamp) -> Effect {
        // A push is a target, not proof. It is written down before the lease is tried: a holder who
        // reads the target after that will look for it, one who does not will be asked again.
        if let Some(target) = self.job.target
            && self.settings.keeps(Guard::TargetBeforeLease)
        {
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
                    listing: None,
                    resumed: false,
                    read_at: now,
                    hint_at: None,
                    probed: false,
                });
                // A left-out guard: the target is raised when its own holder has read it already.
                if let Some(target) = self.job.target
                    && !self.settings.keeps(Guard::TargetBeforeLease)
                {
                    self.phase = Phase::Holding(held, Step::Look(Look::Raising));
                    return Effect::RaiseTarget(target);
                }
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
            // Out of quota, by our own count: that is no failure, and nobody sleeps.
            (
                Step::Look(_) | Step::Slice(_),
                Seen::Failed(Failure { disposition: Disposition::Wait(after), .. }),
            ) => self.continue_later(held, after, now),
            (Step::Slice(Slice::Listing), Seen::Failed(failure)) => {
                self.page_token_refused(held, failure, now)
            }
            (Step::Look(_) | Step::Slice(_), Seen::Failed(failure)) => self.fail(held, failure, now),
            // Nothing can be written now, the failure neither: the lease goes back, the hint comes again.
            (Step::Committing(_), Seen::Failed(failure)) => {
                let wait = match failure.disposition {
                    Disposition::Retry(after) | Disposition::Wait(after) => after.max(failure_wait(1)),
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
        held.read_at = now;
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
