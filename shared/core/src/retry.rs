//! Waiting, decided without a clock: the time and the dice are arguments.

use jiff::SignedDuration;

/// First wait after a server error, and the least one.
pub const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(1);
/// Longest wait of the exponential series.
pub const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(32);

/// Truncated exponential backoff with full jitter.
///
/// `attempt` counts from 0; `dice` is uniform in `[0, 1)`. Never under [`BACKOFF_FIRST`], never over
/// [`BACKOFF_MAX`]: <https://developers.google.com/workspace/gmail/api/guides/handle-errors>.
pub fn backoff(attempt: u32, dice: f64) -> SignedDuration {
    let ceiling = (BACKOFF_FIRST.as_secs_f64() * 2f64.powi(attempt.min(16).cast_signed()))
        .min(BACKOFF_MAX.as_secs_f64());
    let wait = (ceiling * dice.clamp(0.0, 1.0)).max(BACKOFF_FIRST.as_secs_f64());
    SignedDuration::from_secs_f64(wait)
}

/// `interval` shortened by up to a tenth, so that mailboxes connected together do not stay together.
pub fn jittered(interval: SignedDuration, dice: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(interval.as_secs_f64() * (1.0 - 0.1 * dice.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_between_one_and_thirty_two_seconds() {
        for attempt in 0..100 {
            for dice in [0.0, 0.3, 0.999] {
                let wait = backoff(attempt, dice);
                assert!((BACKOFF_FIRST..=BACKOFF_MAX).contains(&wait), "attempt {attempt}: {wait:?}");
            }
        }
        assert!(backoff(5, 0.999) > SignedDuration::from_secs(31));
    }
}
