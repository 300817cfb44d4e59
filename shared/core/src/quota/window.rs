//! What one address may still spend: a sliding window, reserved before it is spent.
//!
//! Google counts units per user and minute, and does not say where its minutes begin: so no sixty seconds of ours
//! may hold more than the limit. A reservation counts from the moment at which its calls may reach Google at the
//! latest, until it is settled; a worker that dies has spent what it reserved.
//! Two tenants may share an address: the window belongs to the address.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Who spends first. What is left of a window falls to the urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Old mail: slices of a backfill or a comparison.
    Backfill,
    /// A scheduled look.
    Poll,
    /// Somebody waits for it.
    Manual,
    /// New mail.
    Delta,
}

/// An address's limit, and how much of it is kept for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Units in any sixty seconds.
    pub units: u32,
    /// Percent of it that a backfill leaves to others.
    pub kept_percent: u32,
}

impl Limit {
    /// What a priority may fill the window up to.
    pub fn of(self, priority: Priority) -> u32 {
        let kept = match priority {
            Priority::Backfill => self.kept_percent,
            Priority::Poll => self.kept_percent / 2,
            Priority::Manual => self.kept_percent / 4,
            Priority::Delta => 0,
        };
        self.units.saturating_sub(self.units.saturating_mul(kept.min(100)) / 100)
    }
}

/// Units that Google may have counted as late as `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Spent {
    /// Epoch milliseconds.
    at: i64,
    units: u32,
    /// Of a reservation that is not settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<u64>,
}

/// What was spent in the last minute, and what is reserved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    spent: Vec<Spent>,
    /// Numbers reservations.
    #[serde(default)]
    last: u64,
}

/// Units that may be spent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reservation {
    /// Which: to be settled.
    pub number: u64,
    /// How many.
    pub units: u32,
}

/// The window in which Google counts.
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
const MINUTE_MS: i64 = 60_000;
/// How long the calls of one reservation may take to reach Google: a call's own time-out.
pub const CALL_MAX: SignedDuration = SignedDuration::from_secs(30);
/// Entries nearer to each other than this are one: a window is a few hundred bytes.
const GRAIN_MS: i64 = 250;

impl Window {
    /// Reserves units, or says when to come again.
    ///
    /// `priority` bounds how full the window may get. More units than the priority's whole share are never
    /// granted: they must be asked for in smaller parts; then the wait is a minute.
    pub fn reserve(
        &mut self,
        units: u32,
        priority: Priority,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Reservation, SignedDuration> {
        self.forget(now);
        let most = u64::from(limit.of(priority));
        let held: u64 = self.spent.iter().map(|spent| u64::from(spent.units)).sum();
        if held + u64::from(units) <= most {
            self.last += 1;
            let at = (now + CALL_MAX).as_millisecond();
            self.spent.push(Spent { at, units, open: Some(self.last) });
            return Ok(Reservation { number: self.last, units });
        }
        Err(self.wait(held + u64::from(units) - most.min(held + u64::from(units)), now))
    }

    /// The calls of a reservation are over: they reached Google by now.
    pub fn settle(&mut self, number: u64, now: Timestamp) {
        if let Some(spent) = self.spent.iter_mut().find(|spent| spent.open == Some(number)) {
            // Never later than it was reserved for.
            spent.at = spent.at.min(now.as_millisecond());
            spent.open = None;
        }
        self.forget(now);
    }

    /// Units in the window.
    pub fn held(&self, now: Timestamp) -> u64 {
        let kept = self.spent.iter().filter(|spent| is_kept(spent, now));
        kept.map(|spent| u64::from(spent.units)).sum()
    }

    /// When so many units have left the window.
    fn wait(&self, excess: u64, now: Timestamp) -> SignedDuration {
        let mut leaving: Vec<&Spent> = self.spent.iter().collect();
        leaving.sort_by_key(|spent| spent.at);
        let mut freed = 0;
        for spent in leaving {
            freed += u64::from(spent.units);
            if freed >= excess {
                let wait = SignedDuration::from_millis(spent.at + 1 - now.as_millisecond()) + MINUTE;
                return wait.clamp(SignedDuration::from_millis(1), MINUTE + CALL_MAX);
            }
        }
        MINUTE
    }

    /// What has left the window goes; neighbours become one, counted as the later of them.
    fn forget(&mut self, now: Timestamp) {
        self.spent.retain(|spent| is_kept(spent, now));
        self.spent.sort_by_key(|spent| (spent.open.is_some(), spent.at));
        self.spent.dedup_by(|later, earlier| {
            let one = later.open.is_none()
                && earlier.open.is_none()
                && later.at.div_euclid(GRAIN_MS) == earlier.at.div_euclid(GRAIN_MS);
            if one {
                earlier.at = earlier.at.max(later.at);
                earlier.units = earlier.units.saturating_add(later.units);
            }
            one
        });
    }
}

fn is_kept(spent: &Spent, now: Timestamp) -> bool {
    spent.at + MINUTE_MS >= now.as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { units: 6_000, kept_percent: 5 };

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + ms).expect("a time")
    }

    /// Spends as fast as the window allows; calls take between 50 and 900 ms. When each batch reached Google.
    fn spend(priority: Priority, until: i64) -> Vec<(i64, u32)> {
        let mut window = Window::default();
        let (mut now, mut reached, mut dice) = (0, Vec::new(), 7_u64);
        while now < until {
            match window.reserve(500, priority, LIMIT, at(now)) {
                Ok(reservation) => {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let took = 50 + i64::try_from(dice >> 40).expect("small") % 850;
                    // Google counts it somewhere between the request and the answer.
                    reached.push((now + took / 2, 500));
                    now += took;
                    window.settle(reservation.number, at(now));
                }
                Err(wait) => now += i64::try_from(wait.as_millis()).expect("small"),
            }
        }
        reached
    }

    fn most_in_a_minute(reached: &[(i64, u32)]) -> u32 {
        let within = |from: i64| reached.iter().filter(move |(at, _)| (from..from + 60_000).contains(at));
        reached.iter().map(|(from, _)| within(*from).map(|(_, units)| units).sum()).max().unwrap_or(0)
    }

    #[test]
    fn no_sixty_seconds_hold_more_than_the_limit_and_nearly_all_of_it_is_used() {
        let ten_minutes = 600_000;
        let reached = spend(Priority::Delta, ten_minutes);
        assert!(most_in_a_minute(&reached) <= LIMIT.units);
        let used: u32 = reached.iter().map(|(_, units)| units).sum();
        assert!(f64::from(used) >= 0.98 * 10.0 * f64::from(LIMIT.units), "{used} units in ten minutes");
    }

    #[test]
    fn a_backfill_leaves_the_deltas_their_part() {
        let mut window = Window::default();
        while window.reserve(20, Priority::Backfill, LIMIT, at(0)).is_ok() {}
        assert_eq!(window.held(at(0)), 5_700);
        assert!(window.reserve(20, Priority::Poll, LIMIT, at(0)).is_ok());
        assert!(window.reserve(250, Priority::Delta, LIMIT, at(0)).is_ok());
        assert!(window.reserve(250, Priority::Delta, LIMIT, at(0)).is_err(), "the limit is the limit");
    }

    #[test]
    fn what_a_dead_worker_reserved_counts_as_spent_as_late_as_it_can_have_been() {
        let mut window = Window::default();
        assert!(window.reserve(6_000, Priority::Delta, LIMIT, at(0)).is_ok());
        let wait = window.reserve(1, Priority::Delta, LIMIT, at(1_000)).expect_err("it is full");
        assert!(wait >= CALL_MAX, "{wait:?}");
        assert!(window.reserve(1, Priority::Delta, LIMIT, at(89_000)).is_err());
        assert!(window.reserve(1, Priority::Delta, LIMIT, at(90_001)).is_ok());
    }

    #[test]
    fn the_wait_that_is_named_suffices_and_a_second_less_does_not() {
        let mut window = Window::default();
        for second in 0..12 {
            let reservation =
                window.reserve(500, Priority::Delta, LIMIT, at(second * 1_000)).expect("there is room");
            window.settle(reservation.number, at(second * 1_000 + 300));
        }
        let wait = window.reserve(900, Priority::Delta, LIMIT, at(12_000)).expect_err("it is full");
        let ms = i64::try_from(wait.as_millis()).expect("small");
        assert!(window.clone().reserve(900, Priority::Delta, LIMIT, at(12_000 + ms - 1_000)).is_err());
        assert!(window.reserve(900, Priority::Delta, LIMIT, at(12_000 + ms)).is_ok());
    }

    #[test]
    fn a_window_stays_small() {
        let mut window = Window::default();
        for ms in 0..60_000 {
            let Ok(reservation) = window.reserve(1, Priority::Delta, LIMIT, at(ms)) else { continue };
            window.settle(reservation.number, at(ms));
        }
        assert!(window.spent.len() <= 241, "{} entries", window.spent.len());
    }
}
