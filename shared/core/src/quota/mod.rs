//! What Gmail charges for a call: <https://developers.google.com/workspace/gmail/api/reference/quota>.

mod window;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

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
}

impl Method {
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
        }
    }
}

/// Quota units of one call.
pub fn units(method: Method, regime: Regime) -> u64 {
    match (method, regime) {
        (Method::GetProfile | Method::LabelsList | Method::LabelsGet, _) => 1,
        (Method::HistoryList, _) => 2,
        (Method::MessagesList, _) | (Method::MessagesGet | Method::AttachmentsGet, Regime::Legacy) => 5,
        (Method::MessagesGet | Method::AttachmentsGet, Regime::Current) => 20,
        (Method::ThreadsGet, Regime::Legacy) => 10,
        (Method::ThreadsGet, Regime::Current) => 40,
        (Method::Stop, _) => 50,
        (Method::Watch | Method::MessagesSend, _) => 100,
    }
}

impl Regime {
    /// Units in any sixty seconds of one address.
    pub fn units_a_minute(self) -> u32 {
        match self {
            Self::Current => 6_000,
            Self::Legacy => 15_000,
        }
    }
}

/// The day in California, where Google's day turns.
pub fn pacific_day(now: Timestamp) -> Date {
    now.to_zoned(pacific()).date()
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
    fn the_day_turns_at_midnight_in_california() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(pacific_day(at("2026-08-27T06:59:00Z")).to_string(), "2026-08-26");
        assert_eq!(pacific_day(at("2026-08-27T07:00:00Z")).to_string(), "2026-08-27");
        assert!(pacific_day_elapsed(at("2026-08-27T07:00:00Z")) < 0.001);
        assert!((pacific_day_elapsed(at("2026-12-27T20:00:00Z")) - 0.5).abs() < 0.001);
        // A day of 25 hours: the clock goes back in November.
        assert!((pacific_day_elapsed(at("2026-11-01T19:30:00Z")) - 0.5).abs() < 0.001);
    }
}
