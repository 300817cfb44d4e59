//! What calls cost, what is left, and what was counted.
//!
//! Invariant: over any 60 seconds no user is granted more than the regime's units (the strictest reading of
//! "per minute"). Refused calls cost nothing and are counted by reason.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::error::ApiError;
use crate::model::Millis;

/// Which price list and limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
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
const DAY_MS: Millis = 24 * 3600 * 1000;
const PROJECT_PER_MINUTE: u64 = 1_200_000;
const PROJECT_PER_DAY: u64 = 80_000_000;

impl Regime {
    fn user_per_minute(self) -> Option<u64> {
        match self {
            Self::Current => Some(6_000),
            Self::Legacy => Some(15_000),
            Self::Off => None,
        }
    }
}

/// Units granted within the last minute.
#[derive(Debug, Default)]
struct Window {
    grants: VecDeque<(Millis, u64)>,
    sum: u64,
}

impl Window {
    fn used(&mut self, now: Millis) -> u64 {
        while self.grants.front().is_some_and(|(at, _)| *at <= now - WINDOW_MS) {
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
    concurrency_max: u64,
    users: BTreeMap<String, User>,
    project: Window,
    day: (Millis, u64),
    totals: Totals,
}

impl Meter {
    pub(crate) fn new(regime: Regime, concurrency_max: u64) -> Self {
        Self {
            regime,
            concurrency_max,
            users: BTreeMap::new(),
            project: Window::default(),
            day: (0, 0),
            totals: Totals::default(),
        }
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
        if let Some(limit) = self.regime.user_per_minute() {
            let day = now.div_euclid(DAY_MS);
            if self.day.0 != day {
                self.day = (day, 0);
            }
            let user = self.users.entry(mailbox.to_owned()).or_default();
            if self.regime == Regime::Current && self.day.1 + units > PROJECT_PER_DAY {
                return Err(ApiError::daily_limit());
            }
            if user.window.used(now) + units > limit {
                return Err(ApiError::quota(true, limit));
            }
            if self.project.used(now) + units > PROJECT_PER_MINUTE {
                return Err(ApiError::quota(false, PROJECT_PER_MINUTE));
            }
            user.window.grant(now, units);
            self.project.grant(now, units);
            self.day.1 += units;
        }
        self.count(mailbox, cost.method, 0, units);
        Ok(())
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

    pub(crate) fn pushed(&mut self, outcome: &'static str) {
        *self.totals.pushes.entry(outcome).or_default() += 1;
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
