//! The values of search operators: words, days, spans, sizes.

use crate::model::Millis;

const DAY_MS: Millis = 24 * 3600 * 1000;

/// Letters and digits of a text as lower-case words.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// `2024/05/06` or `2024-05-06` at midnight Pacific time, or epoch seconds.
pub(super) fn calendar(value: &str) -> Option<Millis> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse::<Millis>().ok()?.checked_mul(1000);
    }
    let mut numbers = value.split(['/', '-', '.']).map(|number| number.parse::<i16>().ok());
    let (first, second, third) = (numbers.next()??, numbers.next()??, numbers.next()??);
    // Month first when the year stands last, as in the United States.
    let (year, month, day) = if third > 31 { (third, first, second) } else { (first, second, third) };
    let date = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let pacific = jiff::tz::TimeZone::posix("PST8PDT,M3.2.0,M11.1.0").ok()?;
    Some(date.to_zoned(pacific).ok()?.timestamp().as_millisecond())
}

/// `3d`, `2m` (of 30 days), `1y`, `12h`.
pub(super) fn span(value: &str) -> Option<Millis> {
    let unit = value.chars().last()?;
    let digits = &value[..value.len() - unit.len_utf8()];
    let count = Millis::from(digits.parse::<u32>().ok()?);
    let length = match unit.to_ascii_lowercase() {
        'h' => 3600 * 1000,
        'd' => DAY_MS,
        'm' => 30 * DAY_MS,
        'y' => 365 * DAY_MS,
        _ => return None,
    };
    count.checked_mul(length)
}

/// `5000`, `10K`, `5M`.
pub(super) fn bytes(value: &str) -> Option<u32> {
    let lower = value.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['k', 'm', 'b']);
    let scale = if lower[digits.len()..].starts_with('m') {
        1 << 20
    } else if lower[digits.len()..].starts_with('k') {
        1 << 10
    } else {
        1
    };
    digits.parse::<u32>().ok()?.checked_mul(scale)
}
