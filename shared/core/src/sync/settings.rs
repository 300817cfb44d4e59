//! What may be configured, with units.

use jiff::SignedDuration;

/// The engine's bounds and intervals.
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
