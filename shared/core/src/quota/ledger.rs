//! What an address has spent of its quota: reserved here before it is spent.
//!
//! A ledger is one row in the table. Whoever wants to call reads it, reserves, and writes it back on condition that
//! nobody else has; a worker that dies has spent what it reserved. Deliberately absent: waiting. Who gets nothing is
//! told when to come again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::window::{Limit, Priority, Reservation, Window};

/// Most calls at once for one address, as parts of a batch: more fail in part.
pub const PARTS_MAX: u32 = 25;

/// So many calls, each of so many units: all of them, or as many as there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Units of one call.
    pub each: u32,
    /// Fewer than this are of no use.
    pub least: u32,
    /// More are not needed.
    pub most: u32,
}

impl Ask {
    /// One call, all or nothing.
    pub fn one(units: u32) -> Self {
        Self { each: units, least: 1, most: 1 }
    }

    pub(super) fn units(self, count: u32) -> u32 {
        self.each.saturating_mul(count)
    }
}

/// What was granted of an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// To be settled.
    pub reservation: Reservation,
    /// How many calls.
    pub count: u32,
    /// When the rest may be asked for; zero when there is none.
    pub wait: SignedDuration,
}

/// What was spent, and what Google has said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    window: Window,
    /// Google has named a time before which nothing is to be asked, epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_until: Option<i64>,
    /// Calls at once, when fewer than [`PARTS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<u32>,
}

impl Ledger {
    /// Reserves as many calls as there is room for, or says when to come again.
    pub fn reserve(
        &mut self,
        ask: Ask,
        priority: Priority,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Granted, SignedDuration> {
        if let Some(wait) = self.closed_for(now) {
            return Err(wait);
        }
        let count = (self.window.free(priority, limit, now) / ask.each.max(1)).min(ask.most);
        let reserved = (count >= ask.least)
            .then(|| self.window.reserve(ask.units(count), priority, limit, now))
            .flatten();
        let Some(reservation) = reserved else {
            return Err(self.worthwhile_wait(ask, ask.most, priority, limit, now));
        };
        let rest = ask.most - count;
        let wait = if rest == 0 {
            SignedDuration::ZERO
        } else {
            self.worthwhile_wait(ask, rest, priority, limit, now)
        };
        Ok(Granted { reservation, count, wait })
    }

    /// The calls of a reservation are over and cost so much; what is left is given back.
    pub fn settle(&mut self, reservation: Reservation, units: u32, now: Timestamp) {
        self.window.settle(reservation.number, units, now);
    }

    /// Google has said that nothing is to be asked for so long.
    pub fn close(&mut self, wait: SignedDuration, now: Timestamp) {
        let until = now.saturating_add(wait).map_or(i64::MAX, Timestamp::as_millisecond);
        self.closed_until = self.closed_until.max(Some(until));
    }

    fn closed_for(&mut self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.closed_until?.saturating_sub(now.as_millisecond());
        if left <= 0 {
            self.closed_until = None;
            return None;
        }
        Some(SignedDuration::from_millis(left))
    }

    /// How many calls may be made at once.
    pub fn parts(&self) -> u32 {
        self.parts.unwrap_or(PARTS_MAX)
    }

    /// Google had too many at once: half as many from now on.
    pub fn halve_parts(&mut self) {
        self.parts = Some((self.parts() / 2).max(1));
    }

    /// A full batch went well: one more.
    pub fn grow_parts(&mut self) {
        self.parts = self.parts.map(|parts| parts + 1).filter(|parts| *parts < PARTS_MAX);
    }

    /// Units of the last minute.
    pub fn last_minute(&self, now: Timestamp) -> u64 {
        self.window.held(now)
    }

    /// When it is worth coming again for so many calls: what trickles free call by call would cost a run for each.
    fn worthwhile_wait(
        &self,
        ask: Ask,
        count: u32,
        priority: Priority,
        limit: Limit,
        now: Timestamp,
    ) -> SignedDuration {
        // A share of three seconds: more would lie idle for longer before it is used again.
        let worthwhile = ask.units(count).min(limit.of(priority) / 20);
        self.window.wait(worthwhile.max(ask.units(ask.least)), priority, limit, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { units: 6_000, kept_percent: 5 };

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn gets(most: u32) -> Ask {
        Ask { each: 20, least: 1, most }
    }

    #[test]
    fn what_fits_is_granted_and_the_rest_is_told_when() {
        let now = at("2026-08-27T10:00:00Z");
        let mut ledger = Ledger::default();
        let mut granted = 0;
        let wait = loop {
            match ledger.reserve(gets(75), Priority::Backfill, LIMIT, now) {
                Ok(some) => granted += some.count,
                Err(wait) => break wait,
            }
        };
        assert_eq!(granted, 285, "95 percent of 6,000 to the last unit");
        assert!(wait > SignedDuration::from_secs(60), "not settled: as late as it can have been");
        let delta = ledger.reserve(gets(100), Priority::Delta, LIMIT, now).expect("kept for it");
        assert_eq!(delta.count, 15);
        assert!(delta.wait > SignedDuration::ZERO);
    }

    #[test]
    fn nothing_is_granted_before_the_time_that_google_named() {
        let now = at("2026-08-27T10:00:00Z");
        let mut ledger = Ledger::default();
        ledger.close(SignedDuration::from_mins(11), now);
        ledger.close(SignedDuration::from_mins(3), now);
        let refused = ledger.reserve(Ask::one(2), Priority::Delta, LIMIT, now);
        assert_eq!(refused, Err(SignedDuration::from_mins(11)), "the later of two");
        let later = now + SignedDuration::from_mins(11);
        assert!(ledger.reserve(Ask::one(2), Priority::Delta, LIMIT, later).is_ok());
    }

    #[test]
    fn too_many_at_once_halves_and_success_grows_slowly() {
        let mut ledger = Ledger::default();
        let seen: Vec<u32> = (0..6)
            .map(|_| {
                ledger.halve_parts();
                ledger.parts()
            })
            .collect();
        assert_eq!(seen, [12, 6, 3, 1, 1, 1]);
        for _ in 0..100 {
            ledger.grow_parts();
        }
        assert_eq!((ledger.parts(), ledger.clone()), (PARTS_MAX, Ledger::default()));
    }
}
