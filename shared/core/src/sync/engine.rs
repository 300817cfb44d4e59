//! The engine's frame: who may work, what is looked at in which order, and how a run ends.
//!
//! A run takes the lease, *looks* (requests, then history, then what is owed), works off slices of what
//! is long, and gives the lease back. Everything that can interrupt it (a lost race, a failure, the
//! deadline, somebody asking meanwhile) leads to one of three ends: look again, hand over, or release
//! with the time at which somebody must look next.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    job::{Counts, Job, JobStatus, Lane, Request, Trigger},
    retry::jittered,
    state::{Progress, Status, Sync},
    sync::{
        commit::{Commit, JobClose},
        effect::{Acquired, Committed, Effect, Observed, Outcome, Released, Seen},
        look::Look,
        slices::Slice,
        writes::Chunk,
    },
};

/// What may be configured, with units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a lease lasts: the worker's time-out and a little more, so that a living worker never loses it.
    pub lease: SignedDuration,
    /// How old a mailbox with a live watch may get before it is polled.
    pub interval: SignedDuration,
    /// The same without a live watch.
    pub interval_without_watch: SignedDuration,
    /// How long a 404 may mean "not visible yet".
    pub visibility_grace: SignedDuration,
    /// First window of an initial sync, messages; 0 leaves it out.
    pub initial_newest: u32,
    /// Second window, days; 0 leaves it out.
    pub initial_days: u32,
    /// Most new messages that one page of history fetches at once; the rest wait their turn.
    pub inline_fetch_max: usize,
    /// Ids of one slice: fetched and committed together.
    pub slice: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: SignedDuration::from_secs(330),
            interval: SignedDuration::from_mins(60),
            interval_without_watch: SignedDuration::from_mins(5),
            visibility_grace: crate::owed::VISIBILITY_GRACE,
            initial_newest: 50,
            initial_days: 30,
            inline_fetch_max: 100,
            slice: 75,
        }
    }
}

/// Failures in a row after which a mailbox rests.
const FAILURES_MAX: u32 = 5;
/// How long it rests.
const COOLDOWN: SignedDuration = SignedDuration::from_mins(30);
/// Longest delay of a queue message; longer waits go through `due_at`.
const DELAY_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Waits after the first failures of a mailbox, seconds: a short outage of Gmail costs no cooldown.
const FAILURE_WAITS: [i64; 4] = [5, 15, 60, 300];
/// What is due within this gets a queue message of its own.
const HINT_MAX: SignedDuration = SignedDuration::from_secs(150);
/// How long after news a mailbox is looked at once more: longer than the second in which pushes are dropped.
const BURST_WAIT: SignedDuration = SignedDuration::from_secs(2);
/// Most looks in one run, so that a mailbox that is asked for without end still lets its worker go.
const LOOKS_MAX: u32 = 50;

/// The state machine of one run.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    job: Job,
    /// Nothing new is begun after this.
    checkpoint_at: Timestamp,
    /// Uniform in `[0, 1)`, for jitter.
    dice: f64,
    phase: Phase,
    counts: Counts,
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
    pub looked_target: Option<crate::ids::HistoryId>,
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

/// A chain of commits and what comes after the last.
#[derive(Debug)]
pub(super) struct Committing {
    chunks: VecDeque<Chunk>,
    current: Chunk,
    progress: Progress,
    after: After,
}

/// What follows a chain of commits.
#[derive(Debug)]
pub(super) enum After {
    /// The next page of history.
    NextPage(super::look::Page),
    /// History is read to its end.
    DeltaDone,
    /// What is owed and due, again.
    Owed,
    /// The next slice, after a look at `SYNC`.
    Slices,
    /// The next page of rows to compare with a listing.
    Compare(super::slices::Compare),
    /// Writing down what a comparison found missing.
    SaveList(Vec<crate::ids::MessageId>),
    /// Start looking anew.
    Look,
    /// Nothing more in this run.
    Release(Release),
}

/// How the lease is to be given back.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub due_at: Option<Timestamp>,
    pub status: Option<Status>,
    /// What remains is scheduled already: somebody asking meanwhile changes nothing.
    pub insist: bool,
    /// Send a hint for what remains first.
    pub hint: Option<(Lane, SignedDuration)>,
    pub outcome: Outcome,
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
                self.give_back(held, release)
            }
            // Between slices: new mail never waits behind old.
            Reread::Slices if asked != held.asked || self.is_woken(held, now) => {
                held.asked = asked;
                self.look(held, now)
            }
            Reread::Slices => self.next_slice(held, now),
        }
    }

    // ---- commits

    /// Applies chunks one after the other; only the last moves the progress.
    pub(super) fn commit(
        &mut self,
        held: &mut Held,
        chunks: Vec<Chunk>,
        progress: Progress,
        after: After,
        now: Timestamp,
    ) -> Next {
        let mut chunks: VecDeque<Chunk> = chunks.into();
        let current = chunks.pop_front().unwrap_or_default();
        self.commit_current(held, Box::new(Committing { chunks, current, progress, after }), now)
    }

    fn commit_current(&mut self, held: &mut Held, committing: Box<Committing>, now: Timestamp) -> Next {
        let mut progress = committing.progress.clone();
        if !committing.chunks.is_empty() {
            // What is owed is due at once, whatever becomes of the chunks after this one.
            let owed_due_at = earlier(held.sync.progress.owed_due_at, progress.owed_due_at);
            progress = Progress { owed_due_at, ..held.sync.progress.clone() };
        }
        let commit = Commit {
            mailbox: held.sync.mailbox.clone(),
            generation: held.sync.generation,
            after: held.sync.commit,
            rows: committing.current.rows.clone(),
            owed: committing.current.owed.clone(),
            closed: committing.current.closed.clone(),
            progress,
            totals: committing.current.totals,
            now,
        };
        (Step::Committing(committing), Effect::Commit(Box::new(commit)))
    }

    fn committed(
        &mut self,
        held: &mut Held,
        mut done: Box<Committing>,
        committed: &Committed,
        now: Timestamp,
    ) -> Next {
        match committed {
            Committed::Fenced => return finish(Outcome::Fenced),
            // Rows are read again too: the decision was about rows that may have changed.
            Committed::Conflict => return (Step::Rereading(Reread::Look), Effect::ReadSync),
            Committed::Applied => {}
        }
        held.sync.commit += 1;
        held.sync.totals.add(&done.current.totals);
        self.counts.add(&done.current.counts);
        held.look_counts.add(&done.current.counts);
        let closed = std::mem::take(&mut done.current.closed);
        held.requests.retain(|request| closed.iter().all(|close| close.id != request.id));
        if let Some(next) = done.chunks.pop_front() {
            held.sync.progress.owed_due_at =
                earlier(held.sync.progress.owed_due_at, done.progress.owed_due_at);
            done.current = next;
            return self.commit_current(held, done, now);
        }
        held.sync.progress = done.progress;
        match done.after {
            After::NextPage(page) => self.next_page(held, page, now),
            After::DeltaDone => self.delta_done(held, now),
            After::Owed => self.owed(held, now),
            After::Slices => self.between_slices(held, now),
            After::Compare(compare) => Self::scan_on(compare),
            After::SaveList(ids) => self.save_list(held, ids, now),
            After::Look => self.look(held, now),
            After::Release(release) => self.hand_over(held, release),
        }
    }

    fn between_slices(&mut self, held: &mut Held, now: Timestamp) -> Next {
        if self.must_end(now) {
            return self.continue_later(held, SignedDuration::ZERO, now);
        }
        (Step::Rereading(Reread::Slices), Effect::ReadSync)
    }

    // ---- ends

    pub(super) fn must_end(&self, now: Timestamp) -> bool {
        now >= self.checkpoint_at
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
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

    /// Whether this run may look at all: a resting mailbox is left alone, except by hand.
    pub(super) fn resting_until(&self, held: &Held, now: Timestamp) -> Option<Timestamp> {
        match self.job.trigger {
            Trigger::Manual | Trigger::Connect => None,
            Trigger::Push | Trigger::Schedule | Trigger::Continuation => {
                held.sync.progress.errors.cooldown_until.filter(|until| *until > now)
            }
        }
    }

    pub(super) fn too_many_looks(held: &Held) -> bool {
        held.looks > LOOKS_MAX
    }

    /// Everything is done for now.
    pub(super) fn rest(&mut self, held: &mut Held, now: Timestamp) -> Next {
        // Changes come in bursts, and Gmail drops all pushes but one a second: the last change of a burst may
        // never be announced. Whoever was pushed, asked or found news looks once more.
        let in_burst = held.found_news || held.looks > 1 || self.job.trigger == Trigger::Push;
        let burst = in_burst.then(|| now + BURST_WAIT);
        let soon =
            earlier(burst, earlier(held.wake_at, held.sync.progress.owed_due_at)).map(|due| due.max(now));
        let poll = self.next_poll(held, now);
        // The fan-out comes every few minutes: what is due sooner gets a hint of its own.
        let hint = soon
            .map(|due| due.duration_since(now))
            .filter(|wait| *wait <= HINT_MAX)
            .map(|wait| (Lane::Sync, wait));
        let due_at = Some(soon.map_or(poll, |due| due.min(poll)));
        let outcome = Outcome::Synced(self.counts.clone());
        self.hand_over(held, Release { due_at, status: None, insist: false, hint, outcome })
    }

    /// Whether something has come due while slices were worked off.
    fn is_woken(&self, held: &Held, now: Timestamp) -> bool {
        let due = earlier(held.wake_at, held.sync.progress.owed_due_at);
        held.sync.target > held.looked_target || due.is_some_and(|due| due <= now)
    }

    /// Something remains; it goes on in another run.
    pub(super) fn continue_later(&mut self, held: &mut Held, wait: SignedDuration, now: Timestamp) -> Next {
        let release = self.release_for_later(held, wait, now);
        self.hand_over(held, release)
    }

    /// How a run that must end with something left gives the lease back.
    pub(super) fn release_for_later(&self, held: &Held, wait: SignedDuration, now: Timestamp) -> Release {
        let lane = if held.sync.progress.work.is_empty() { Lane::Sync } else { Lane::Backfill };
        let hint = (wait <= DELAY_MAX).then_some((lane, wait));
        let outcome = Outcome::Continued(self.counts.clone());
        // A hint is on its way, or `due_at` stands: somebody asking meanwhile changes nothing.
        Release { due_at: Some(now + wait), status: None, insist: true, hint, outcome }
    }

    pub(super) fn hand_over(&mut self, held: &mut Held, release: Release) -> Next {
        match release.hint {
            // Before the release: a crash in between leaves a hint too many, never one too few.
            Some((lane, delay)) => {
                // Only work has steps: a look at history is never out of date.
                let step = (lane == Lane::Backfill).then_some(held.sync.progress.step);
                (
                    Step::Handing(Release { hint: None, ..release }),
                    Effect::SendContinuation { lane, step, delay },
                )
            }
            None => self.give_back(held, release),
        }
    }

    fn give_back(&mut self, held: &mut Held, release: Release) -> Next {
        let effect = Effect::Release {
            generation: held.sync.generation,
            asked: held.asked,
            due_at: release.due_at,
            status: release.status,
        };
        (Step::Releasing(release), effect)
    }

    fn next_poll(&self, held: &Held, now: Timestamp) -> Timestamp {
        let watched = held.sync.watch_expires_at.is_some_and(|expires| expires > now);
        let interval = if watched { self.settings.interval } else { self.settings.interval_without_watch };
        now + jittered(interval, self.dice)
    }

    /// One failure of the mailbox as a whole: written down, and a time for the next try.
    pub(super) fn fail(&mut self, held: &mut Held, failure: Failure, now: Timestamp) -> Next {
        let mut progress = held.sync.progress.clone();
        progress.errors.last = Some(failure.message.clone());
        let (status, after) = match failure.disposition {
            Disposition::NeedsReauth => (Some(Status::NeedsReauth), None),
            Disposition::NeedsAttention => (Some(Status::NeedsAttention), None),
            Disposition::Retry(after) => (None, Some(after)),
            Disposition::Debt | Disposition::Defect => (None, Some(SignedDuration::from_mins(5))),
        };
        let mut close = status.is_some();
        let mut release = Release {
            due_at: None,
            status,
            insist: false,
            hint: None,
            outcome: Outcome::Failed(failure.clone()),
        };
        if let Some(after) = after {
            progress.errors.consecutive = progress.errors.consecutive.saturating_add(1);
            let wait = failure_wait(progress.errors.consecutive).max(after);
            close = progress.errors.consecutive >= FAILURES_MAX;
            progress.errors.cooldown_until = Some(now + wait);
            release.due_at = Some(now + wait);
            release.insist = true;
            release.hint = (wait <= DELAY_MAX).then_some((self.job.lane, wait));
        }
        let error = crate::job::JobError { message_id: None, error: failure.message, at: now };
        let closing = if close {
            closings(&held.unattached(), JobStatus::Failed, &held.look_counts, &[error])
        } else {
            Vec::new()
        };
        self.commit(held, closing_chunks(Vec::new(), &closing), progress, After::Release(release), now)
    }
}

fn failure_wait(consecutive: u32) -> SignedDuration {
    let index = usize::try_from(consecutive.saturating_sub(1)).unwrap_or(usize::MAX);
    FAILURE_WAITS.get(index).map_or(COOLDOWN, |seconds| SignedDuration::from_secs(*seconds))
}

fn finish(outcome: Outcome) -> Next {
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

/// How these requests end.
pub(super) fn closings(
    requests: &[Request],
    status: JobStatus,
    counts: &Counts,
    errors: &[crate::job::JobError],
) -> Vec<JobClose> {
    let close = |request: &Request| JobClose {
        id: request.id.clone(),
        status,
        counts: counts.clone(),
        errors: errors.to_vec(),
    };
    requests.iter().map(close).collect()
}

/// Puts closings into the last chunk, and into as many more as they need.
pub(super) fn closing_chunks(mut chunks: Vec<Chunk>, closing: &[JobClose]) -> Vec<Chunk> {
    for (index, closes) in closing.chunks(Commit::CLOSED_MAX).enumerate() {
        match chunks.last_mut() {
            Some(last) if index == 0 => last.closed = closes.to_vec(),
            _ => chunks.push(Chunk { closed: closes.to_vec(), ..Chunk::default() }),
        }
    }
    if chunks.is_empty() {
        chunks.push(Chunk::default());
    }
    chunks
}
