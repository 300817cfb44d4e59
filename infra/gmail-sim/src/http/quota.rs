//! What calls cost, what is left, and what was counted.
//!
//! Invariant: over any 60 seconds, both ends included, neither a user nor the project is granted more than its
//! units (the strictest reading of "per minute"), and no more than the day's between two midnights Pacific.
//! Refused calls cost nothing and are counted by reason.

use std::collections::{BTreeMap, VecDeque};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ApiError;
use crate::model::Millis;

/// Which price list and limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regime {
    /// Projects created since 2026-05: dear gets, 6,000 units a minute a user.
    #[default]
    Current,
    /// Older projects: cheap gets, 15,000 units a minute a user.
    Legacy,
    /// Nothing is refused for quota; calls are still counted, at the current prices.
    Off,
}

const WINDOW_MS: Millis = 60_000;
const PROJECT_PER_MINUTE: u64 = 1_200_000;
const PROJECT_PER_DAY: u64 = 80_000_000;

impl Regime {
    fn limits(self) -> Limits {
        let (user_per_minute, project_per_day) = match self {
            Self::Current => (Some(6_000), Some(PROJECT_PER_DAY)),
            Self::Legacy => (Some(15_000), None),
            Self::Off => return Limits::default(),
        };
        Limits { user_per_minute, project_per_minute: Some(PROJECT_PER_MINUTE), project_per_day }
    }
}

/// Quota units that may be granted; none is no limit.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    user_per_minute: Option<u64>,
    project_per_minute: Option<u64>,
    project_per_day: Option<u64>,
}

/// What quota is to hold from now on. What is left out is as the regime has it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaOrder {
    /// The price list and the limits that are not named here; the present one when left out.
    pub regime: Option<Regime>,
    /// Units a user may spend in any 60 seconds.
    pub user_per_minute: Option<u64>,
    /// Units all users together may spend in any 60 seconds.
    pub project_per_minute: Option<u64>,
    /// Units all users together may spend between two midnights Pacific.
    pub project_per_day: Option<u64>,
    /// Most calls in flight for one mailbox; 0 for no limit.
    pub concurrency: Option<u64>,
}

/// Units granted within the last minute.
#[derive(Debug, Default)]
struct Window {
    grants: VecDeque<(Millis, u64)>,
    sum: u64,
}

impl Window {
    fn used(&mut self, now: Millis) -> u64 {
        // A grant exactly 60 seconds old still counts: stamps are cut to milliseconds, so it may be younger.
        while self.grants.front().is_some_and(|(at, _)| *at < now - WINDOW_MS) {
            self.sum -= self.grants.pop_front().map_or(0, |(_, units)| units);
        }
        self.sum
    }

    fn grant(&mut self, now: Millis, units: u64) {
        self.grants.push_back((now, units));
        self.sum += units;
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    calls: u64,
    units: u64,
}

impl Count {
    fn json(self) -> Value {
        json!({"calls": self.calls, "units": self.units})
    }
}

#[derive(Debug, Default)]
struct User {
    window: Window,
    in_flight: u64,
}

#[derive(Debug, Default)]
struct Totals {
    all: Count,
    methods: BTreeMap<&'static str, Count>,
    mailboxes: BTreeMap<String, (Count, BTreeMap<&'static str, Count>)>,
    refusals: BTreeMap<String, u64>,
    in_flight_max: u64,
    pushes: BTreeMap<&'static str, u64>,
}

/// All counters of one simulator.
#[derive(Debug)]
pub(crate) struct Meter {
    regime: Regime,
    limits: Limits,
    concurrency_max: u64,
    users: BTreeMap<String, User>,
    project: Window,
    /// The day it is in California, and the units granted on it.
    day: (Option<jiff::civil::Date>, u64),
    pacific: TimeZone,
    totals: Totals,
}

impl Meter {
    pub(crate) fn new(regime: Regime, concurrency_max: u64) -> Self {
        Self {
            regime,
            limits: regime.limits(),
            concurrency_max,
            users: BTreeMap::new(),
            project: Window::default(),
            day: (None, 0),
            // Written out, because a machine without a time zone database must count the same days.
            pacific: TimeZone::posix("PST8PDT,M3.2.0,M11.1.0").unwrap_or(TimeZone::UTC),
            totals: Totals::default(),
        }
    }

    /// Changes what holds from now on; what was granted stays granted.
    pub(crate) fn order(&mut self, order: QuotaOrder) {
        self.regime = order.regime.unwrap_or(self.regime);
        let own = self.regime.limits();
        self.limits = Limits {
            user_per_minute: order.user_per_minute.or(own.user_per_minute),
            project_per_minute: order.project_per_minute.or(own.project_per_minute),
            project_per_day: order.project_per_day.or(own.project_per_day),
        };
        self.concurrency_max = order.concurrency.unwrap_or(self.concurrency_max);
    }

    /// What holds.
    pub(crate) fn quota_json(&self) -> Value {
        json!({
            "regime": self.regime,
            "user_per_minute": self.limits.user_per_minute,
            "project_per_minute": self.limits.project_per_minute,
            "project_per_day": self.limits.project_per_day,
            "concurrency": self.concurrency_max,
        })
    }

    /// The limit of a user that an ordered refusal names.
    pub(crate) fn named_user_limit(&self) -> u64 {
        self.limits.user_per_minute.unwrap_or(6_000)
    }

    /// One more call of the user is on its way; refused beyond the concurrency limit.
    pub(crate) fn enter(&mut self, mailbox: &str) -> Result<(), ApiError> {
        let user = self.users.entry(mailbox.to_owned()).or_default();
        if self.concurrency_max > 0 && user.in_flight >= self.concurrency_max {
            return Err(ApiError::too_many_concurrent());
        }
        user.in_flight += 1;
        self.totals.in_flight_max = self.totals.in_flight_max.max(user.in_flight);
        Ok(())
    }

    pub(crate) fn leave(&mut self, mailbox: &str) {
        if let Some(user) = self.users.get_mut(mailbox) {
            user.in_flight = user.in_flight.saturating_sub(1);
        }
    }

    /// Takes the units for one call, or says which limit is reached.
    pub(crate) fn charge(&mut self, mailbox: &str, cost: Cost, now: Millis) -> Result<(), ApiError> {
        let units = if self.regime == Regime::Legacy { cost.legacy } else { cost.current };
        let today = self.today(now);
        if self.day.0 != today {
            self.day = (today, 0);
        }
        let beyond = |used: u64, limit: Option<u64>| limit.filter(|limit| used + units > *limit);
        let user = self.users.entry(mailbox.to_owned()).or_default();
        if beyond(self.day.1, self.limits.project_per_day).is_some() {
            return Err(ApiError::daily_limit());
        }
        if let Some(limit) = beyond(user.window.used(now), self.limits.user_per_minute) {
            return Err(ApiError::quota(true, limit));
        }
        if let Some(limit) = beyond(self.project.used(now), self.limits.project_per_minute) {
            return Err(ApiError::quota(false, limit));
        }
        user.window.grant(now, units);
        self.project.grant(now, units);
        self.day.1 += units;
        self.count(mailbox, cost.method, 0, units);
        Ok(())
    }

    fn today(&self, now: Millis) -> Option<jiff::civil::Date> {
        let at = jiff::Timestamp::from_millisecond(now).ok()?;
        Some(at.to_zoned(self.pacific.clone()).date())
    }

    /// Counts a call that came in, whatever becomes of it.
    pub(crate) fn called(&mut self, mailbox: &str, method: &'static str) {
        self.count(mailbox, method, 1, 0);
    }

    fn count(&mut self, mailbox: &str, method: &'static str, calls: u64, units: u64) {
        let entry = self.totals.mailboxes.entry(mailbox.to_owned()).or_default();
        let of_method = self.totals.methods.entry(method).or_default();
        for count in [&mut self.totals.all, of_method, &mut entry.0, entry.1.entry(method).or_default()] {
            count.calls += calls;
            count.units += units;
        }
    }

    pub(crate) fn refused(&mut self, error: &ApiError) {
        *self.totals.refusals.entry(error.reason.clone()).or_default() += 1;
    }

    /// Counts what became of a push; answers how many of that outcome there are.
    pub(crate) fn pushed(&mut self, outcome: &'static str) -> u64 {
        let count = self.totals.pushes.entry(outcome).or_default();
        *count += 1;
        *count
    }

    /// Forgets what was counted; windows and calls on their way stay.
    pub(crate) fn reset(&mut self) {
        self.totals = Totals::default();
    }

    pub(crate) fn json(&self) -> Value {
        let methods = |counts: &BTreeMap<&'static str, Count>| -> Value {
            counts.iter().map(|(method, count)| ((*method).to_owned(), count.json())).collect()
        };
        let mailboxes: serde_json::Map<String, Value> = self
            .totals
            .mailboxes
            .iter()
            .map(|(mailbox, (all, by_method))| {
                let entry = json!({"calls": all.calls, "units": all.units, "methods": methods(by_method)});
                (mailbox.clone(), entry)
            })
            .collect();
        json!({
            "calls": self.totals.all.calls,
            "units": self.totals.all.units,
            "methods": methods(&self.totals.methods),
            "mailboxes": mailboxes,
            "refusals": self.totals.refusals,
            "mostInFlight": self.totals.in_flight_max,
            "pushes": self.totals.pushes,
        })
    }
}

/// What one call of a method costs in each regime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) method: &'static str,
    pub(crate) legacy: u64,
    pub(crate) current: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Millis = 1_787_832_000_000;
    const WATCH: Cost = Cost { method: "watch", legacy: 100, current: 100 };
    const ALL: Cost = Cost { method: "all", legacy: 15_000, current: 6_000 };

    fn refusal(meter: &mut Meter, mailbox: &str, cost: Cost, now: Millis) -> Option<String> {
        meter.charge(mailbox, cost, now).err().map(|error| error.reason)
    }

    #[test]
    fn no_60_seconds_hold_more_than_the_users_units_whichever_way_they_are_cut() {
        for (regime, calls) in [(Regime::Current, 60), (Regime::Legacy, 150)] {
            let mut meter = Meter::new(regime, 0);
            for call in 0..calls {
                assert_eq!(refusal(&mut meter, "a", WATCH, NOON + call), None);
            }
            let last = NOON + calls - 1;
            for later in [last, NOON + 59_999, NOON + 60_000] {
                assert_eq!(refusal(&mut meter, "a", WATCH, later).as_deref(), Some("userRateLimitExceeded"));
            }
            assert_eq!(refusal(&mut meter, "b", WATCH, last), None, "another user has units of his own");
            // One grant has left the window, so that one call fits.
            assert_eq!(refusal(&mut meter, "a", WATCH, NOON + 60_001), None);
            assert!(refusal(&mut meter, "a", WATCH, NOON + 60_001).is_some());
        }
    }

    #[test]
    fn the_project_has_1_200_000_units_in_any_60_seconds() {
        let mut meter = Meter::new(Regime::Current, 0);
        for user in 0..200 {
            assert_eq!(refusal(&mut meter, &format!("u{user}"), ALL, NOON), None);
        }
        let late = |meter: &mut Meter, at| refusal(meter, "late", WATCH, at);
        assert_eq!(late(&mut meter, NOON + 60_000).as_deref(), Some("rateLimitExceeded"));
        assert_eq!(late(&mut meter, NOON + 60_001), None);
    }

    #[test]
    fn the_day_has_80_000_000_units_and_turns_at_midnight_pacific() {
        // 23:59:59 of a day of California, in winter and in summer.
        for midnight in ["2026-01-10T08:00:00Z", "2026-07-10T07:00:00Z"] {
            let midnight: jiff::Timestamp = midnight.parse().unwrap();
            let midnight = midnight.as_millisecond();
            let spend = |regime| {
                let mut meter = Meter::new(regime, 0);
                meter.order(QuotaOrder { project_per_minute: Some(u64::MAX / 2), ..QuotaOrder::default() });
                let units = if regime == Regime::Legacy { 15_000 } else { 6_000 };
                for user in 0..80_000_000 / units {
                    assert_eq!(refusal(&mut meter, &format!("u{user}"), ALL, midnight - 100_000), None);
                }
                meter
            };
            let mut meter = spend(Regime::Current);
            // 80,000,000 is no multiple of 6,000: what is left is spent as well.
            let rest = Cost { method: "rest", legacy: 0, current: 80_000_000 % 6_000 };
            assert_eq!(refusal(&mut meter, "rest", rest, midnight - 1), None);
            assert_eq!(refusal(&mut meter, "x", WATCH, midnight - 1).as_deref(), Some("dailyLimitExceeded"));
            assert_eq!(refusal(&mut meter, "x", WATCH, midnight), None);
            assert_eq!(
                refusal(&mut spend(Regime::Legacy), "x", ALL, midnight - 1),
                None,
                "legacy has no day"
            );
        }
    }

    #[test]
    fn units_of_a_refused_call_are_not_spent() {
        let mut meter = Meter::new(Regime::Current, 0);
        assert_eq!(refusal(&mut meter, "a", ALL, NOON), None);
        for second in 1..60 {
            assert!(refusal(&mut meter, "a", ALL, NOON + second * 1_000).is_some());
        }
        assert_eq!(refusal(&mut meter, "a", ALL, NOON + 60_001), None);
    }
}
