//! What may be configured, with units.

use jiff::{SignedDuration, Timestamp};

use crate::{
    overrides::{Overrides, Setting},
    owed::DebtSchedule,
    state::Sync,
    sync::guards::Mutant,
};

/// The engine's bounds and intervals.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// Most messages that one run fetches: what remains is another run's, so that a large mailbox lets others in.
    pub batch_max: u64,
    /// How long a listing goes on before the mailbox is looked at again.
    pub glance: SignedDuration,
    /// Share of the mailbox that a comparison may find gone, percent; above it, and above
    /// [`Settings::guard_messages`], it stops and somebody must look.
    pub guard_percent: u32,
    /// Messages that a comparison may find gone, however small the mailbox.
    pub guard_messages: u64,
    /// When a message that could not be stored is tried again.
    pub debts: DebtSchedule,
    /// Failures in a row after which a mailbox rests.
    pub cooldown_failures: u32,
    /// How long it rests.
    pub cooldown: SignedDuration,
    /// How old a probe must be before a mailbox that changed since is probed again.
    pub probe_interval: SignedDuration,
    /// How old a probe may get before a poll makes another, whether anything changed or not.
    pub quiet_probe_interval: SignedDuration,
    /// Shortest time between two comparisons that a probe begins.
    pub repair_interval: SignedDuration,
    /// The guard that is left out, for proofs only.
    pub mutant: Mutant,
}

impl Settings {
    /// Polls come whether anything changed or not, and a probe costs more than ten of them.
    pub const QUIET_PROBE_INTERVAL: SignedDuration = SignedDuration::from_hours(6);

    /// The same with what is chosen otherwise.
    #[must_use]
    pub fn overridden(&self, by: &Overrides) -> Self {
        let own = |setting, deployment: u32| by.get(setting).unwrap_or(deployment);
        let large = |setting, deployment: u64| by.get(setting).map_or(deployment, u64::from);
        let interval =
            by.get(Setting::SyncIntervalMinutes).map(|minutes| SignedDuration::from_mins(minutes.into()));
        Self {
            interval: interval.unwrap_or(self.interval),
            interval_without_watch: interval.unwrap_or(self.interval_without_watch),
            initial_newest: own(Setting::InitialNewest, self.initial_newest),
            initial_days: own(Setting::InitialDays, self.initial_days),
            batch_max: large(Setting::BatchMax, self.batch_max),
            guard_percent: own(Setting::MassDeletionPercent, self.guard_percent),
            guard_messages: large(Setting::MassDeletionMessages, self.guard_messages),
            ..self.clone()
        }
    }

    /// How old this mailbox may get before it is polled.
    pub fn interval_of(&self, sync: &Sync, now: Timestamp) -> SignedDuration {
        let settings = self.overridden(&sync.overrides);
        let watched = sync.watch_expires_at.is_some_and(|expires| expires > now);
        if watched { settings.interval } else { settings.interval_without_watch }
    }
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
            batch_max: 1_000,
            glance: SignedDuration::from_secs(1),
            guard_percent: 10,
            guard_messages: 50,
            debts: DebtSchedule::default(),
            cooldown_failures: 5,
            cooldown: SignedDuration::from_mins(30),
            probe_interval: SignedDuration::from_hours(1),
            quiet_probe_interval: Self::QUIET_PROBE_INTERVAL,
            repair_interval: SignedDuration::from_hours(24),
            mutant: Mutant::NONE,
        }
    }
}
