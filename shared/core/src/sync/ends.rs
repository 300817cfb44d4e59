//! How a run ends: at rest, to be continued, or failed; always with the time of the next look.

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Disposition, Failure},
    job::{JobError, JobStatus, Lane, Trigger},
    retry::jittered,
    state::Status,
    sync::{
        commit::Happened,
        commits::{After, closing_chunks, closings},
        effect::{Effect, Outcome},
        engine::{Engine, Held, Next, Step, earlier},
        lister::Then,
        settings::Settings,
    },
};

/// Longest delay of a queue message; longer waits go through `due_at`.
const DELAY_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Waits after the first failures of a mailbox, seconds, the last one until it rests: a short outage of Gmail costs no
/// cooldown.
const FAILURE_WAITS: [i64; 4] = [5, 15, 60, 300];
/// How long a hint that is sent again waits at least: long enough for a release.
const HINT_AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// What is due within this gets a queue message of its own.
const HINT_MAX: SignedDuration = SignedDuration::from_secs(150);
/// How long after news a mailbox is looked at once more: longer than the second in which pushes are dropped.
const BURST_WAIT: SignedDuration = SignedDuration::from_secs(2);
/// Most looks in one run, so that a mailbox that is asked for without end still lets its worker go.
const LOOKS_MAX: u32 = 50;

/// How the lease is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Release {
    pub due_at: Option<Timestamp>,
    pub status: Option<Status>,
    /// What remains is scheduled already: somebody asking meanwhile changes nothing.
    pub insist: bool,
    /// Send a hint for what remains first.
    pub hint: Option<(Lane, SignedDuration)>,
    /// The hint is on its way.
    pub hinted: bool,
    pub outcome: Outcome,
}

impl Engine {
    /// Whether nothing new is to be begun: the worker's end is near, or the run has fetched its share.
    pub(super) fn must_end(&self, held: &Held, now: Timestamp) -> bool {
        self.is_late(now) || self.left_to_fetch(held) == 0
    }

    /// Whether the worker's end is near.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        now >= self.checkpoint_at
    }

    /// How many messages this run may fetch still.
    pub(super) fn left_to_fetch(&self, held: &Held) -> u64 {
        self.settings_of(held).batch_max.saturating_sub(self.counts.fetched)
    }

    /// The settings that hold for the mailbox, as it was last read.
    pub(super) fn settings_of(&self, held: &Held) -> Settings {
        self.settings.overridden(&held.sync.overrides)
    }

    /// Whether this run may look at all: a resting mailbox is left alone, except by hand.
    pub(super) fn resting_until(&self, held: &Held, now: Timestamp) -> Option<Timestamp> {
        match self.job.trigger {
            Trigger::Manual | Trigger::Connect => None,
            Trigger::Push | Trigger::Schedule | Trigger::Continuation | Trigger::Refresh | Trigger::Probe => {
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
            // One that is still on its way and comes no later will do: else two hints that meet sustain each other.
            .filter(|wait| !held.hint_at.is_some_and(|at| at > now + HINT_AGAIN && at <= now + *wait))
            .map(|wait| (Lane::Sync, wait));
        held.hint_at = hint.map(|(_, wait)| now + wait).or(held.hint_at);
        let due_at = Some(soon.map_or(poll, |due| due.min(poll)));
        let outcome = Outcome::Synced(self.counts.clone());
        self.hand_over(held, Release { due_at, status: None, insist: false, hint, hinted: false, outcome })
    }

    /// Whether something has come due while slices were worked off.
    pub(super) fn is_woken(&self, held: &Held, now: Timestamp) -> bool {
        let due = earlier(held.wake_at, held.sync.progress.owed_due_at);
        held.sync.target > held.looked_target || due.is_some_and(|due| due <= now)
    }

    /// Something remains; it goes on in another run.
    pub(super) fn continue_later(&mut self, held: &mut Held, wait: SignedDuration, now: Timestamp) -> Next {
        if let Ok(next) = self.keep_listing(held, Then::Later(wait)) {
            return next;
        }
        let release = self.release_for_later(held, wait, now);
        self.hand_over(held, release)
    }

    /// How a run that must end with something left gives the lease back.
    pub(super) fn release_for_later(&self, held: &Held, wait: SignedDuration, now: Timestamp) -> Release {
        let lane = if held.sync.progress.work.is_empty() { Lane::Sync } else { Lane::Backfill };
        let hint = (wait <= DELAY_MAX).then_some((lane, wait));
        let outcome = Outcome::Continued(self.counts.clone());
        // A hint is on its way, or `due_at` stands: somebody asking meanwhile changes nothing.
        Release { due_at: Some(now + wait), status: None, insist: true, hint, hinted: false, outcome }
    }

    pub(super) fn hand_over(&mut self, held: &mut Held, release: Release) -> Next {
        match release.hint {
            // Before the release: a crash in between leaves a hint too many, never one too few.
            Some((lane, delay)) if !release.hinted => {
                // Only work has steps: a look at history is never out of date.
                let step = (lane == Lane::Backfill).then_some(held.sync.progress.step);
                (
                    Step::Handing(Release { hinted: true, ..release }),
                    Effect::SendContinuation { lane, step, delay },
                )
            }
            Some(_) | None => self.give_back(held, release),
        }
    }

    /// The same release once more, after somebody asked. Whoever asked may have been the hint itself, come
    /// while the lease was still held: it is sent again, a little later.
    pub(super) fn hint_again(release: Release) -> Release {
        let hint = release.hint.map(|(lane, delay)| (lane, delay.max(HINT_AGAIN)));
        Release { hint, hinted: false, ..release }
    }

    pub(super) fn give_back(&mut self, held: &mut Held, release: Release) -> Next {
        let effect = Effect::Release {
            generation: held.sync.generation,
            asked: held.asked,
            due_at: release.due_at,
            status: release.status,
        };
        (Step::Releasing(release), effect)
    }

    pub(super) fn next_poll(&self, held: &Held, now: Timestamp) -> Timestamp {
        now + jittered(self.settings.interval_of(&held.sync, now), self.dice())
    }

    /// One failure of the mailbox as a whole: written down, and a time for the next try.
    pub(super) fn fail(&mut self, held: &mut Held, failure: Failure, now: Timestamp) -> Next {
        // A quota that is used up must not make a long listing begin anew.
        let failure = match failure.disposition {
            Disposition::Retry(_) => match self.keep_listing(held, Then::Fail(failure)) {
                Ok(next) => return next,
                Err(Then::Fail(failure)) => failure,
                Err(Then::Later(_)) => return self.continue_later(held, SignedDuration::ZERO, now),
            },
            _ => failure,
        };
        let mut progress = held.sync.progress.clone();
        progress.errors.last = Some(failure.message.clone());
        let (status, after) = match failure.disposition {
            Disposition::NeedsReauth => (Some(Status::NeedsReauth), None),
            Disposition::NeedsAttention => (Some(Status::NeedsAttention), None),
            Disposition::Retry(after) | Disposition::Wait(after) => (None, Some(after)),
            Disposition::Debt | Disposition::Defect => (None, Some(SignedDuration::from_mins(5))),
        };
        let mut close = status.is_some();
        let mut release = Release {
            due_at: None,
            status,
            insist: false,
            hint: None,
            hinted: false,
            outcome: Outcome::Failed(failure.clone()),
        };
        if let Some(after) = after {
            progress.errors.consecutive = progress.errors.consecutive.saturating_add(1);
            let failures = progress.errors.consecutive;
            close = failures >= self.settings.cooldown_failures;
            let wait = if close { self.settings.cooldown } else { failure_wait(failures) }.max(after);
            progress.errors.cooldown_until = Some(now + wait);
            release.due_at = Some(now + wait);
            release.insist = true;
            release.hint = (wait <= DELAY_MAX).then_some((self.job.lane, wait));
        }
        let error = JobError { message_id: None, error: failure.message, at: now };
        let closing = if close {
            closings(&held.unattached(), JobStatus::Failed, &held.look_counts, &[error])
        } else {
            Vec::new()
        };
        let mut pieces = closing_chunks(Vec::new(), &closing);
        let happened = if status == Some(Status::NeedsReauth) {
            // The release may be refused because somebody asked: one grant ends once, however often it is seen.
            let ended = Some(held.sync.credential_version);
            let is_news = progress.ended_grant != ended;
            progress.ended_grant = ended;
            is_news.then_some(Happened::NeedsReauth)
        } else {
            let error = progress.errors.last.clone().unwrap_or_default();
            close.then_some(Happened::SyncFailed { error })
        };
        if let Some(piece) = pieces.last_mut() {
            piece.happened.extend(happened);
        }
        self.commit(held, pieces, progress, After::Release(release), now)
    }

    /// The first continuation cannot go on: its request fails, and somebody must look. The work stays, to
    /// begin anew when somebody has: the status is written with the release, and that may be refused.
    pub(super) fn park_work(&mut self, held: &mut Held, failure: Failure, now: Timestamp) -> Next {
        let progress = &mut held.sync.progress;
        progress.step += 1;
        if let Some(work) = progress.work.first_mut() {
            (work.request, work.listing, work.list) = (None, None, None);
        }
        self.fail(held, failure, now)
    }
}

pub(super) fn failure_wait(consecutive: u32) -> SignedDuration {
    let index = usize::try_from(consecutive.saturating_sub(1)).unwrap_or(usize::MAX);
    SignedDuration::from_secs(FAILURE_WAITS[index.min(FAILURE_WAITS.len() - 1)])
}
