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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Spent {
    /// Epoch milliseconds.
    at: i64,
    units: u32,
    /// Of a reservation that is not settled.
    open: Option<u64>,
}

/// What was spent in the last minute, and what is reserved. Serialised as one short text: a table charges by the
/// kilobyte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Window {
    spent: Vec<Spent>,
    /// Numbers reservations.
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
    /// Reserves units, unless they are more than [`Window::free`].
    ///
    /// `priority` bounds how full the window may get.
    pub fn reserve(
        &mut self,
        units: u32,
        priority: Priority,
        limit: Limit,
        now: Timestamp,
    ) -> Option<Reservation> {
        self.forget(now);
        if units > self.free(priority, limit, now) {
            return None;
        }
        self.last += 1;
        let at = (now + CALL_MAX).as_millisecond();
        self.spent.push(Spent { at, units, open: Some(self.last) });
        Some(Reservation { number: self.last, units })
    }

    /// Units that this priority may reserve now.
    pub fn free(&self, priority: Priority, limit: Limit, now: Timestamp) -> u32 {
        let free = u64::from(limit.of(priority)).saturating_sub(self.held(now));
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    /// The calls of a reservation are over: those that were made reached Google by now, and cost so much. What is
    /// left of it is given back.
    pub fn settle(&mut self, number: u64, units: u32, now: Timestamp) {
        if let Some(spent) = self.spent.iter_mut().find(|spent| spent.open == Some(number)) {
            // Never later than it was reserved for.
            spent.at = spent.at.min(now.as_millisecond());
            spent.units = spent.units.min(units);
            spent.open = None;
        }
        self.spent.retain(|spent| spent.units > 0);
        self.forget(now);
    }

    /// Units in the window.
    pub fn held(&self, now: Timestamp) -> u64 {
        let kept = self.spent.iter().filter(|spent| is_kept(spent, now));
        kept.map(|spent| u64::from(spent.units)).sum()
    }

    /// When so many units will be free. More than the priority's whole share never are: they must be asked for in
    /// smaller parts; then the wait is a minute.
    pub fn wait(&self, units: u32, priority: Priority, limit: Limit, now: Timestamp) -> SignedDuration {
        let excess = u64::from(units.saturating_sub(self.free(priority, limit, now)));
        let mut leaving: Vec<&Spent> = self.spent.iter().filter(|spent| is_kept(spent, now)).collect();
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
    spent.at.saturating_add(MINUTE_MS) >= now.as_millisecond()
}

/// `last number`, then for each entry milliseconds since the one before, units, and the number of what is open:
/// `7;1800000000000,500;250,20,7`.
impl From<Window> for String {
    fn from(window: Window) -> Self {
        let mut before = 0;
        let entries = window.spent.into_iter().map(|Spent { at, units, open }| {
            let since = at.saturating_sub(std::mem::replace(&mut before, at));
            open.map_or_else(|| format!("{since},{units}"), |number| format!("{since},{units},{number}"))
        });
        std::iter::once(window.last.to_string()).chain(entries).collect::<Vec<_>>().join(";")
    }
}

/// Not a window's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a window")]
pub struct NotAWindow;

impl TryFrom<String> for Window {
    type Error = NotAWindow;

    fn try_from(text: String) -> Result<Self, NotAWindow> {
        let mut parts = text.split(';');
        let last = parts.next().and_then(|number| number.parse().ok()).ok_or(NotAWindow)?;
        let mut spent = Vec::new();
        let mut before = 0_i64;
        for part in parts {
            let mut numbers = part.split(',');
            let mut next = || numbers.next().map(|number| number.parse::<i64>().map_err(|_| NotAWindow));
            let at = before.checked_add(next().ok_or(NotAWindow)??).ok_or(NotAWindow)?;
            let units = u32::try_from(next().ok_or(NotAWindow)??).map_err(|_| NotAWindow)?;
            let open = next().transpose()?.map(u64::try_from).transpose().map_err(|_| NotAWindow)?;
            spent.push(Spent { at, units, open });
            before = at;
        }
        Ok(Self { spent, last })
    }
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
            if let Some(reservation) = window.reserve(500, priority, LIMIT, at(now)) {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let took = 50 + i64::try_from(dice >> 40).expect("small") % 850;
                // Google counts it somewhere between the request and the answer.
                reached.push((now + took / 2, 500));
                now += took;
                window.settle(reservation.number, 500, at(now));
            } else {
                let wait = window.wait(500, priority, LIMIT, at(now));
                now += i64::try_from(wait.as_millis()).expect("small");
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
        while window.reserve(20, Priority::Backfill, LIMIT, at(0)).is_some() {}
        assert_eq!(window.held(at(0)), 5_700);
        assert!(window.reserve(20, Priority::Poll, LIMIT, at(0)).is_some());
        assert!(window.reserve(250, Priority::Delta, LIMIT, at(0)).is_some());
        assert!(window.reserve(250, Priority::Delta, LIMIT, at(0)).is_none(), "the limit is the limit");
    }

    #[test]
    fn what_a_dead_worker_reserved_counts_as_spent_as_late_as_it_can_have_been() {
        let mut window = Window::default();
        assert!(window.reserve(6_000, Priority::Delta, LIMIT, at(0)).is_some());
        assert!(window.reserve(1, Priority::Delta, LIMIT, at(1_000)).is_none(), "it is full");
        let wait = window.wait(1, Priority::Delta, LIMIT, at(1_000));
        assert!(wait >= CALL_MAX, "{wait:?}");
        assert!(window.reserve(1, Priority::Delta, LIMIT, at(89_000)).is_none());
        assert!(window.reserve(1, Priority::Delta, LIMIT, at(90_001)).is_some());
    }

    #[test]
    fn the_wait_that_is_named_suffices_and_a_second_less_does_not() {
        let mut window = Window::default();
        for second in 0..12 {
            let reservation =
                window.reserve(500, Priority::Delta, LIMIT, at(second * 1_000)).expect("there is room");
            window.settle(reservation.number, 500, at(second * 1_000 + 300));
        }
        assert!(window.reserve(900, Priority::Delta, LIMIT, at(12_000)).is_none(), "it is full");
        let wait = window.wait(900, Priority::Delta, LIMIT, at(12_000));
        let ms = i64::try_from(wait.as_millis()).expect("small");
        assert!(window.clone().reserve(900, Priority::Delta, LIMIT, at(12_000 + ms - 1_000)).is_none());
        assert!(window.reserve(900, Priority::Delta, LIMIT, at(12_000 + ms)).is_some());
    }

    #[test]
    fn a_window_stays_small() {
        let mut window = Window::default();
        for ms in 0..60_000 {
            let Some(reservation) = window.reserve(1, Priority::Delta, LIMIT, at(ms)) else { continue };
            window.settle(reservation.number, 1, at(ms));
        }
        assert!(window.spent.len() <= 241, "{} entries", window.spent.len());
        let text = String::from(window.clone());
        assert!(text.len() < 3_000, "{} bytes", text.len());
        assert_eq!(Window::try_from(text), Ok(window));
    }

    #[test]
    fn what_was_reserved_and_not_spent_is_given_back() {
        let mut window = Window::default();
        let one = window.reserve(30, Priority::Delta, LIMIT, at(0)).expect("there is room");
        let other = window.reserve(500, Priority::Delta, LIMIT, at(0)).expect("there is room");
        assert_eq!(Window::try_from(String::from(window.clone())), Ok(window.clone()), "open ones too");
        window.settle(one.number, 2, at(100));
        window.settle(other.number, 0, at(100));
        assert_eq!(window.held(at(100)), 2);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in ["", "x", "1;", "1;2", "1;2,x", "1;2,-3", "1;9223372036854775807,1;1,1", "1;1,2,-3"] {
            assert_eq!(Window::try_from(text.to_owned()), Err(NotAWindow), "{text:?}");
        }
    }
}
