//! What Gmail charges for a call, and what may still be spent:
//! <https://developers.google.com/workspace/gmail/api/reference/quota>.
//!
//! [`Quota`] is what was agreed with Google: prices and limits. A [`Ledger`] is what an address has spent of it, a
//! [`PartSpent`] what the project has, in parts; everything is taken there before it is spent.

mod ledger;
mod project;
mod window;

use std::{collections::BTreeMap, str::FromStr};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

pub use ledger::{Ask, Granted, Ledger, PARTS_MAX};
pub use project::{DRAWN_FOR, DrawOfDay, Drawn, Part, PartSpent};
pub use window::{CALL_MAX, Limit, Priority, Reservation, Window};

/// Which price list holds: it depends on when the project first used the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// Projects since May 2026: a get costs four times as much.
    #[default]
    Current,
    /// Projects before.
    Legacy,
}

/// A method that the sync calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `users.getProfile`.
    GetProfile,
    /// `users.history.list`.
    HistoryList,
    /// `users.labels.list`.
    LabelsList,
    /// `users.messages.list`.
    MessagesList,
    /// `users.watch`.
    Watch,
    /// `users.messages.get`, alone or as a part of a batch.
    MessagesGet,
    /// `users.messages.attachments.get`.
    AttachmentsGet,
    /// `users.threads.get`.
    ThreadsGet,
    /// `users.labels.get`.
    LabelsGet,
    /// `users.stop`.
    Stop,
    /// `users.messages.send`.
    MessagesSend,
    /// `users.settings.sendAs.list`.
    SendAsList,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::GetProfile,
        Self::HistoryList,
        Self::LabelsList,
        Self::LabelsGet,
        Self::MessagesList,
        Self::MessagesGet,
        Self::AttachmentsGet,
        Self::ThreadsGet,
        Self::Watch,
        Self::Stop,
        Self::MessagesSend,
        Self::SendAsList,
    ];

    /// Google's name, less the `users.` before it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetProfile => "getProfile",
            Self::HistoryList => "history.list",
            Self::LabelsList => "labels.list",
            Self::LabelsGet => "labels.get",
            Self::MessagesList => "messages.list",
            Self::MessagesGet => "messages.get",
            Self::AttachmentsGet => "messages.attachments.get",
            Self::ThreadsGet => "threads.get",
            Self::Watch => "watch",
            Self::Stop => "stop",
            Self::MessagesSend => "messages.send",
            Self::SendAsList => "settings.sendAs.list",
        }
    }
}

/// Not the name of a method that is called here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such method")]
pub struct UnknownMethod;

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or(UnknownMethod)
    }
}

/// Quota units of one call.
pub fn units(method: Method, regime: Regime) -> u64 {
    match (method, regime) {
        (Method::GetProfile | Method::LabelsList | Method::LabelsGet | Method::SendAsList, _) => 1,
        (Method::HistoryList, _) => 2,
        (Method::MessagesList, _) | (Method::MessagesGet | Method::AttachmentsGet, Regime::Legacy) => 5,
        (Method::MessagesGet | Method::AttachmentsGet, Regime::Current) => 20,
        (Method::ThreadsGet, Regime::Legacy) => 10,
        (Method::ThreadsGet, Regime::Current) => 40,
        (Method::Stop, _) => 50,
        (Method::Watch | Method::MessagesSend, _) => 100,
    }
}

/// Prices and limits: a regime's, or own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The price list.
    pub regime: Regime,
    /// Prices that differ from it.
    pub prices: BTreeMap<Method, u32>,
    /// One address: units in any sixty seconds.
    pub address: Limit,
    /// The project: units in any sixty seconds.
    pub project: Limit,
    /// The project: units from one midnight Pacific to the next; no limit, when `None`.
    pub project_day: Option<u64>,
}

/// Percent of every limit that backfills leave to others, unless configured otherwise.
pub const KEPT_PERCENT: u32 = 5;

impl Quota {
    /// What Google grants under a regime.
    pub fn of(regime: Regime) -> Self {
        let (address, project_day) = match regime {
            Regime::Current => (6_000, Some(80_000_000)),
            Regime::Legacy => (15_000, None),
        };
        let limit = |units| Limit { units, kept_percent: KEPT_PERCENT };
        let (address, project) = (limit(address), limit(1_200_000));
        Self { regime, prices: BTreeMap::new(), address, project, project_day }
    }

    /// Units of one call.
    pub fn price(&self, method: Method) -> u32 {
        let own = self.prices.get(&method).copied();
        own.unwrap_or_else(|| u32::try_from(units(method, self.regime)).unwrap_or(u32::MAX))
    }

    /// How many parts the project is split into, so that ten thousand workers share no hot row. A small limit stays
    /// whole: a part must hold whole batches.
    pub fn parts(&self) -> u8 {
        u8::try_from((self.project.units / PART_UNITS).clamp(1, PARTS_OF_PROJECT_MAX)).unwrap_or(1)
    }

    /// What each part may spend.
    pub fn part(&self) -> Part {
        let parts = u32::from(self.parts());
        let limit = Limit { units: self.project.units / parts, ..self.project };
        Part::new(limit, self.project_day.map(|units| units / u64::from(parts)))
    }
}

/// Units a minute of one part of the project: a hundred batches.
const PART_UNITS: u32 = 60_000;
/// Most parts: who asks what the day has spent reads them all.
const PARTS_OF_PROJECT_MAX: u32 = 20;

/// The day in California, where Google's day turns.
pub fn pacific_day(now: Timestamp) -> Date {
    now.to_zoned(pacific()).date()
}

/// How long until Google's day turns.
pub fn until_next_pacific_day(now: Timestamp) -> SignedDuration {
    let midnight = now.to_zoned(pacific()).tomorrow().and_then(|day| day.start_of_day());
    midnight.map_or(SignedDuration::from_hours(1), |midnight| midnight.timestamp().duration_since(now))
}

/// How much of Google's day is over, 0 to 1.
pub fn pacific_day_elapsed(now: Timestamp) -> f64 {
    let now = now.to_zoned(pacific());
    let bounds = now.start_of_day().and_then(|start| Ok((start, now.tomorrow()?.start_of_day()?)));
    bounds.map_or(0.0, |(start, end)| {
        let whole = end.timestamp().duration_since(start.timestamp()).as_secs_f64();
        (now.timestamp().duration_since(start.timestamp()).as_secs_f64() / whole).clamp(0.0, 1.0)
    })
}

/// A POSIX rule instead of a name: Lambda's image has no time zone database. Valid since 2007.
fn pacific() -> TimeZone {
    TimeZone::posix("PST8PDT,M3.2.0,M11.1.0").unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_own_name_and_a_price_in_both_regimes() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
            for regime in [Regime::Current, Regime::Legacy] {
                assert!(Quota::of(regime).price(method) > 0, "{}", method.name());
            }
        }
        let own = Quota { prices: BTreeMap::from([(Method::MessagesGet, 7)]), ..Quota::of(Regime::Current) };
        assert_eq!((own.price(Method::MessagesGet), own.price(Method::HistoryList)), (7, 2));
    }

    #[test]
    fn the_projects_parts_share_its_limit_and_a_small_one_stays_whole() {
        let quota = Quota::of(Regime::Current);
        let part = Part::new(Limit { units: 60_000, kept_percent: KEPT_PERCENT }, Some(4_000_000));
        assert_eq!((quota.parts(), quota.part()), (20, part));
        let small = Quota { project: Limit { units: 6_000, ..quota.project }, project_day: None, ..quota };
        let whole = Part::new(Limit { units: 6_000, kept_percent: KEPT_PERCENT }, None);
        assert_eq!((small.parts(), small.part()), (1, whole));
    }

    #[test]
    fn the_day_turns_at_midnight_in_california() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(pacific_day(at("2026-08-27T06:59:00Z")).to_string(), "2026-08-26");
        assert_eq!(pacific_day(at("2026-08-27T07:00:00Z")).to_string(), "2026-08-27");
        assert_eq!(until_next_pacific_day(at("2026-08-27T10:00:00Z")).as_hours(), 21);
        assert_eq!(until_next_pacific_day(at("2026-12-27T10:00:00Z")).as_hours(), 22);
        assert!(pacific_day_elapsed(at("2026-08-27T07:00:00Z")) < 0.001);
        assert!((pacific_day_elapsed(at("2026-12-27T20:00:00Z")) - 0.5).abs() < 0.001);
        // A day of 25 hours: the clock goes back in November.
        assert!((pacific_day_elapsed(at("2026-11-01T19:30:00Z")) - 0.5).abs() < 0.001);
    }
}
