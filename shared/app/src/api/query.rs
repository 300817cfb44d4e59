//! Query strings, parsed once into types.
//!
//! Invariant: a parameter that is not understood is refused by name. A filter that was ignored in silence
//! would answer with other people's idea of "all my unread mail".

use std::{collections::BTreeMap, fmt::Display, str::FromStr, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::problem::{FieldError, Problem};

/// The parameters of one request, taken out one by one; what is left over at the end is an error.
#[derive(Debug, Default)]
pub struct Query {
    values: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

/// Most bytes of a text filter.
const TEXT_BYTES_MAX: usize = 200;
/// Most bytes of a page's cursor.
pub const CURSOR_BYTES_MAX: usize = 4_000;
/// Items of a page, unless asked for otherwise, and the most.
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: usize = 500;
/// What a time must be.
pub const TIME_EXPECTED: &str = "must be a date (2026-01-31) or an RFC 3339 time (2026-01-31T12:00:00Z)";

impl Query {
    /// Parses a query string. A parameter given twice is an error: it is unclear which one is meant.
    pub fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if parsed.values.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                parsed.refuse(&name, "is given twice");
            }
        }
        parsed
    }

    /// Notes what is wrong with a field, of the query or of the body beside it.
    pub fn refuse(&mut self, field: &str, message: impl Into<String>) {
        // A name of the caller's making goes back to it bounded.
        let field = field.chars().take(64).collect();
        self.errors.push(FieldError { field, message: message.into() });
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// A value with its own parser, whose error says what it must be.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let value = self.take(name)?;
        value.parse().map_err(|error: T::Err| self.refuse(name, error.to_string())).ok()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)?.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => {
                self.refuse(name, "must be true or false");
                None
            }
        }
    }

    /// A number inside bounds.
    pub fn number(&mut self, name: &str, bounds: std::ops::RangeInclusive<usize>) -> Option<usize> {
        let value = self.take(name)?;
        let number = value.parse().ok().filter(|number| bounds.contains(number));
        if number.is_none() {
            self.refuse(name, format!("must be {} to {}", bounds.start(), bounds.end()));
        }
        number
    }

    /// A place in a sequence.
    pub fn place(&mut self, name: &str) -> Option<u64> {
        let value = self.take(name)?;
        // `parse` takes a leading plus sign.
        let place = value.parse().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
        if place.is_none() {
            self.refuse(name, "must be a number from the feed");
        }
        place
    }

    /// A short text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.text_of(name, TEXT_BYTES_MAX)
    }

    /// A text of at most so many bytes.
    pub fn text_of(&mut self, name: &str, bytes_max: usize) -> Option<String> {
        let value = self.take(name)?;
        if value.is_empty() || value.len() > bytes_max {
            self.refuse(name, format!("must be 1 to {bytes_max} bytes"));
            return None;
        }
        Some(value)
    }

    /// How many items a page holds: 1 to 500, 50 unless asked for otherwise.
    pub fn limit(&mut self) -> u32 {
        let limit = self.number("limit", 1..=LIMIT_MAX);
        limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(LIMIT_DEFAULT)
    }

    /// One of a few names.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.take(name)?;
        let choice = choices.iter().find(|(text, _)| *text == value).map(|(_, choice)| *choice);
        if choice.is_none() {
            let names: Vec<&str> = choices.iter().map(|(text, _)| *text).collect();
            self.refuse(name, format!("must be {}", names.join(" or ")));
        }
        choice
    }

    /// A time: RFC 3339, or a date, which is the beginning of that UTC day.
    pub fn time(&mut self, name: &str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let time = parse_time(&value);
        if time.is_none() {
            self.refuse(name, TIME_EXPECTED);
        }
        time
    }

    /// A value that may be in the query or in the body, and not in both.
    pub fn once<T>(
        &mut self,
        name: &str,
        body: Option<T>,
        take: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        let in_query = self.values.contains_key(name);
        let value = take(self, name);
        if in_query && body.is_some() {
            self.refuse(name, "is given twice, in the query and in the body");
        }
        body.or(value)
    }

    /// How long to wait for news: seconds up to `most`, or `true` for the most.
    pub fn seconds(&mut self, name: &str, most: u64) -> Option<Duration> {
        let value = self.take(name)?;
        let seconds = match value.as_str() {
            "true" => Some(most),
            "false" => Some(0),
            text => text.strip_suffix('s').unwrap_or(text).parse().ok(),
        };
        let seconds = seconds.filter(|seconds| *seconds <= most);
        if seconds.is_none() {
            self.refuse(name, format!("must be 0 to {most} seconds"));
        }
        seconds.map(Duration::from_secs)
    }

    /// A parameter that is known and not served yet.
    pub fn not_yet(&mut self, name: &str) {
        if self.take(name).is_some() {
            self.refuse(name, "is not supported yet");
        }
    }

    /// Ends the parsing: every error at once, parameters that nobody asked for included.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.values).into_keys() {
            self.refuse(&name, "is not a parameter of this path");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::fields(self.errors)) }
    }
}

/// A time: RFC 3339, or a date, which is the beginning of that UTC day.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // jiff reads a date out of a longer text too, and would drop the rest in silence.
    let date: Date = (text.len() == 10).then(|| text.parse().ok()).flatten()?;
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > 4_096 {
            return Err(Problem::new(
                StatusCode::URI_TOO_LONG,
                "The query string is longer than 4096 bytes.",
            ));
        }
        Ok(Self::parse(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(query: Query) -> Vec<String> {
        let problem = query.finish().expect_err("a refusal");
        problem.errors().iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn every_bad_parameter_is_named_at_once() {
        let mut query = Query::parse("limit=501&unread=maybe&before=yesterday&direction=up&nonsense=1");
        assert_eq!(query.number("limit", 1..=500), None);
        assert_eq!(query.flag("unread"), None);
        assert_eq!(query.time("before"), None);
        assert_eq!(query.choice("direction", &[("inbound", 1), ("outbound", 2)]), None);
        assert_eq!(named(query), ["limit", "unread", "before", "direction", "nonsense"]);
    }

    #[test]
    fn a_wait_is_seconds_with_a_bound() {
        for (text, seconds) in [("20", 20), ("20s", 20), ("0", 0), ("true", 20), ("false", 0)] {
            let mut query = Query::parse(&format!("wait={text}"));
            assert_eq!(query.seconds("wait", 20), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["21", "-1", "1m", "s", "", "1.5"] {
            let mut query = Query::parse(&format!("wait={bad}"));
            assert_eq!((query.seconds("wait", 20), named(query)), (None, vec!["wait".to_owned()]), "{bad}");
        }
    }

    #[test]
    fn a_value_in_the_query_and_in_the_body_is_refused() {
        let mut query = Query::parse("deep=true");
        assert_eq!(query.once("deep", None, Query::flag), Some(true));
        let mut query = Query::parse("deep=true");
        assert_eq!(query.once("deep", Some(false), Query::flag), Some(false));
        assert_eq!(named(query), ["deep"]);
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        let mut query = Query::parse("limit=1&limit=2");
        let _ = query.number("limit", 1..=500);
        assert_eq!(named(query), ["limit"]);
    }

    #[test]
    fn a_date_alone_is_the_beginning_of_its_utc_day() {
        let mut query = Query::parse("after=2026-01-31&before=2026-01-31T12:30:00%2B02:00");
        assert_eq!(query.time("after").expect("a time").to_string(), "2026-01-31T00:00:00Z");
        assert_eq!(query.time("before").expect("a time").to_string(), "2026-01-31T10:30:00Z");
        assert!(query.finish().is_ok());
        for bad in ["2026-02-30", "2026-01-31x", "2026", "", "2026-01-31T12:00:00"] {
            assert_eq!(parse_time(bad), None, "{bad:?} is not a time");
        }
    }
}
