//! What may be configured, with units.

use jiff::SignedDuration;

use crate::sync::guards::Mutant;

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
    /// How long a listing goes on before the mailbox is looked at again.
    pub glance: SignedDuration,
    /// Share of the mailbox that a comparison may find gone, percent; above it, and above
    /// [`Settings::guard_messages`], it stops and somebody must look.
    pub guard_percent: u32,
    /// Messages that a comparison may find gone, however small the mailbox.
    pub guard_messages: u64,
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
            glance: SignedDuration::from_secs(1),
            guard_percent: 10,
            guard_messages: 50,
            probe_interval: SignedDuration::from_hours(1),
            quiet_probe_interval: Self::QUIET_PROBE_INTERVAL,
            repair_interval: SignedDuration::from_hours(24),
            mutant: Mutant::NONE,
        }
    }
}
