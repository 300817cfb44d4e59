//! What went wrong with a call, and what to do about it: the error table of Gmail, row by row.
//!
//! <https://developers.google.com/workspace/gmail/api/guides/handle-errors>. Google's own message texts are
//! read for a deadline and then dropped: they may quote what was sent. Deliberately absent: waiting.

use jiff::{SignedDuration, Timestamp};
use sync_core::{Disposition, Failure, quota, retry};

use crate::wire::{ErrorBody, ErrorDetail};

/// Longest wait that a rate limit may impose. A deadline in a message text is obeyed up to here: beyond it a
/// wrong clock or a mistyped date would park a mailbox for ever.
pub const RATE_WAIT_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Wait after a quota refusal without a deadline: half of Google's minute, since the window slides.
pub const QUOTA_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// Wait after "too many concurrent requests" without a deadline: those requests end within seconds.
pub const CONCURRENCY_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// Why a call to Gmail, to the token endpoint or to one part of a batch failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GmailError {
    /// 401. The caller refreshes the access token once; if the fresh one is refused too, the grant is gone.
    #[error("Gmail refused the access token")]
    Unauthorized,
    /// `invalid_grant`: expired or revoked. Never retried.
    #[error("the grant has been expired or revoked")]
    GrantRevoked,
    /// 403 `insufficientPermissions`.
    #[error("the grant lacks a scope that is needed")]
    InsufficientScope,
    /// 403 `domainPolicy`.
    #[error("the domain's administrators have disabled Gmail apps")]
    DomainPolicy,
    /// 403 for a reason that waiting does not cure: the API is not enabled, access is forbidden.
    #[error("Gmail forbids this: {reason}")]
    Forbidden {
        /// Google's reason, letters and underscores only.
        reason: String,
    },
    /// 400 `failedPrecondition`: delegation misused, or an account without Gmail.
    #[error("Gmail's precondition check failed: no Gmail on the account, or delegation misused")]
    FailedPrecondition,
    /// `invalid_grant` for a service account's assertion: the key was deleted, or nobody knows the user. Never
    /// retried.
    #[error("Google refuses the service account's key, or does not know the user that it is to act for")]
    KeyRefused,
    /// `unauthorized_client` for a service account's assertion: the domain's administrator has not delegated the
    /// scope to it, or not any more.
    #[error(
        "the service account may not act for this user: the domain has not delegated gmail.readonly to it"
    )]
    DelegationRefused,
    /// The token endpoint refuses our client.
    #[error("the token endpoint refused the client: {reason}")]
    ClientRefused {
        /// OAuth's error code.
        reason: String,
    },
    /// 403 or 429: a rate limit or too many requests at once.
    #[error("Gmail's rate limit is reached")]
    RateLimited {
        /// Not before this has passed; at most [`RATE_WAIT_MAX`].
        wait: SignedDuration,
        /// Whether fewer calls at once would have helped.
        concurrency: bool,
    },
    /// 403 `dailyLimitExceeded`.
    #[error("the project's quota of the day is spent")]
    DailyLimit {
        /// Until midnight in California.
        wait: SignedDuration,
    },
    /// 404: on history, expired; on a message, gone or not visible yet.
    #[error("Gmail does not know what was asked for")]
    NotFound,
    /// 400 and other refusals of what we sent.
    #[error("Gmail refused the request as wrong ({status}, {reason})")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// Google's reason, letters and underscores only.
        reason: String,
    },
    /// 5xx.
    #[error("Gmail had a server error ({status})")]
    Server {
        /// The HTTP status.
        status: u16,
    },
    /// Nobody answered in time.
    #[error("Gmail did not answer in time")]
    TimedOut,
    /// Connecting failed, or the connection broke.
    #[error("the connection to Gmail failed")]
    Connection,
    /// The answer is not what the reference says.
    #[error("Gmail's answer could not be read: {what}")]
    Unreadable {
        /// What was expected.
        what: &'static str,
    },
    /// A batch answer did not contain this message's part.
    #[error("the batch answer lacks this message")]
    MissingPart,
    /// The answer is longer than is read.
    #[error("the answer is longer than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The request could not be built: a defect of ours, for instance a token with a line break.
    #[error("the request could not be built")]
    Unsendable,
    /// The call was not made: what it needs, a token or quota, is not to be had.
    #[error("{}", .0.message)]
    NotSent(Failure),
}

impl GmailError {
    /// What to do about it. Exponential waits start where the repetitions of the call ended; the engine
    /// adds the mailbox's history.
    pub fn disposition(&self) -> Disposition {
        // Full dice: after the repetitions the shortest waits have been used up.
        let backoff = || Disposition::Retry(retry::backoff(2, 1.0));
        match self {
            Self::Unauthorized | Self::GrantRevoked | Self::InsufficientScope | Self::KeyRefused => {
                Disposition::NeedsReauth
            }
            Self::DomainPolicy
            | Self::DelegationRefused
            | Self::Forbidden { .. }
            | Self::FailedPrecondition
            | Self::ClientRefused { .. } => Disposition::NeedsAttention,
            Self::RateLimited { wait, .. } | Self::DailyLimit { wait } => Disposition::Retry(*wait),
            Self::NotFound | Self::TooLarge { .. } => Disposition::Debt,
            Self::Rejected { .. } | Self::Unsendable => Disposition::Defect,
            Self::NotSent(failure) => failure.disposition.clone(),
            Self::Server { .. }
            | Self::TimedOut
            | Self::Connection
            | Self::Unreadable { .. }
            | Self::MissingPart => backoff(),
        }
    }

    /// The failure as the engine takes it; its sentence holds no address, token or subject.
    pub fn failure(&self) -> Failure {
        Failure::new(self.disposition(), self.to_string())
    }

    /// Whether another message may still be had at once. Asking on against a rate limit or a refused token
    /// earns more refusals.
    pub fn is_about_one_message(&self) -> bool {
        match self {
            Self::NotFound
            | Self::Rejected { .. }
            | Self::Server { .. }
            | Self::Unreadable { .. }
            | Self::MissingPart
            | Self::TooLarge { .. } => true,
            Self::Unauthorized
            | Self::GrantRevoked
            | Self::InsufficientScope
            | Self::KeyRefused
            | Self::DelegationRefused
            | Self::DomainPolicy
            | Self::Forbidden { .. }
            | Self::FailedPrecondition
            | Self::ClientRefused { .. }
            | Self::RateLimited { .. }
            | Self::DailyLimit { .. }
            | Self::TimedOut
            | Self::Connection
            | Self::Unsendable
            | Self::NotSent(_) => false,
        }
    }

    /// Whether the same call may succeed within seconds: server errors and broken connections. A time-out is
    /// not repeated: it has cost its seconds already.
    pub fn is_worth_repeating(&self) -> bool {
        matches!(self, Self::Server { .. } | Self::Connection)
    }

    /// Reads a refusal. `retry_after` is the header's text, if there is one; `now` turns deadlines into waits.
    pub fn from_response(status: u16, retry_after: Option<&str>, body: &[u8], now: Timestamp) -> Self {
        let parsed: Option<ErrorDetail> =
            serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.error);
        let readable = parsed.is_some();
        let detail = parsed.unwrap_or_default();
        let reason = reason_of(&detail);
        let rate_limited = |unless: SignedDuration, concurrency: bool| Self::RateLimited {
            wait: rate_wait(&detail.message, retry_after, now).unwrap_or(unless),
            concurrency,
        };
        match (status, reason.as_str()) {
            (401, _) => Self::Unauthorized,
            (403, "dailyLimitExceeded") => Self::DailyLimit { wait: quota::until_next_pacific_day(now) },
            (
                403,
                "userRateLimitExceeded" | "rateLimitExceeded" | "RATE_LIMIT_EXCEEDED" | "quotaExceeded",
            ) => rate_limited(QUOTA_WAIT, false),
            (403, "domainPolicy") => Self::DomainPolicy,
            (403, "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT") => Self::InsufficientScope,
            (403, _) if readable => Self::Forbidden { reason },
            (404, _) if readable => Self::NotFound,
            // A proxy's page, not Gmail's verdict: it must not park a mailbox, and taken for Gmail's word a
            // 404 would delete mail and expire history.
            (403 | 404, _) => Self::Unreadable { what: "a refusal without a reason" },
            (429, _) => {
                let concurrency = detail.message.contains("concurrent");
                rate_limited(if concurrency { CONCURRENCY_WAIT } else { QUOTA_WAIT }, concurrency)
            }
            (400, "failedPrecondition" | "FAILED_PRECONDITION") => Self::FailedPrecondition,
            (408, _) => Self::TimedOut,
            (500..=599, _) => Self::Server { status },
            _ => Self::Rejected { status, reason },
        }
    }
}

/// The classic reason, else the newer detail's, else the canonical code. Bounded and plain, for it is logged.
fn reason_of(detail: &ErrorDetail) -> String {
    let classic = detail.errors.iter().map(|item| &item.reason).find(|reason| !reason.is_empty());
    let newer = detail.details.iter().map(|info| &info.reason).find(|reason| !reason.is_empty());
    // A 403 that is a rate limit says so in either place.
    let newer = newer.filter(|reason| classic.is_none() || *reason == "RATE_LIMIT_EXCEEDED");
    plain(newer.or(classic).unwrap_or(&detail.status))
}

/// Keeps the letters, digits and underscores of a code, at most 40: what is left cannot be an address.
pub(crate) fn plain(code: &str) -> String {
    let kept: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
    if kept.is_empty() { "no reason given".to_owned() } else { kept }
}

/// The wait that Google asks for: the later of the deadline in the text and the header, within bounds.
fn rate_wait(message: &str, retry_after: Option<&str>, now: Timestamp) -> Option<SignedDuration> {
    let from_text = message.find("Retry after ").and_then(|at| {
        let rest = message.get(at + "Retry after ".len()..)?;
        let deadline: Timestamp =
            rest.split_whitespace().next()?.trim_end_matches(['.', ',']).parse().ok()?;
        Some(deadline.duration_since(now))
    });
    let from_header = retry_after.and_then(|text| {
        let text = text.trim();
        match text.parse::<u32>() {
            Ok(seconds) => Some(SignedDuration::from_secs(seconds.into())),
            Err(_) => Some(http_date(text)?.duration_since(now)),
        }
    });
    let wait = from_text.max(from_header)?;
    Some(wait.clamp(retry::BACKOFF_FIRST, RATE_WAIT_MAX))
}

/// `Retry-After` may be a date in RFC 9110's fixed form, which RFC 2822's parser reads but for its "GMT".
fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn body(reason: &str, message: &str) -> Vec<u8> {
        format!(
            r#"{{"error":{{"code":0,"message":"{message}","errors":[{{"message":"{message}","domain":"x","reason":"{reason}"}}],"status":"S"}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn every_row_of_the_error_table_has_its_disposition() {
        let now = at("2026-08-27T10:00:00Z");
        let second = SignedDuration::from_secs;
        let check = |status: u16, reason: &str, message: &str, expected: Disposition| {
            let error = GmailError::from_response(status, None, &body(reason, message), now);
            assert_eq!(error.disposition(), expected, "{status} {reason}: {error:?}");
        };
        check(400, "invalidArgument", "Invalid id value", Disposition::Defect);
        check(400, "failedPrecondition", "Precondition check failed.", Disposition::NeedsAttention);
        check(401, "authError", "Request had invalid authentication credentials", Disposition::NeedsReauth);
        check(403, "userRateLimitExceeded", "Quota exceeded", Disposition::Retry(QUOTA_WAIT));
        check(403, "rateLimitExceeded", "Quota exceeded", Disposition::Retry(QUOTA_WAIT));
        // 10:00 UTC is 03:00 in California in August: 21 hours to midnight.
        check(403, "dailyLimitExceeded", "Daily Limit Exceeded", Disposition::Retry(second(21 * 3600)));
        check(403, "domainPolicy", "The domain administrators", Disposition::NeedsAttention);
        check(403, "insufficientPermissions", "", Disposition::NeedsReauth);
        check(403, "accessNotConfigured", "", Disposition::NeedsAttention);
        check(404, "notFound", "Requested entity was not found.", Disposition::Debt);
        check(
            429,
            "rateLimitExceeded",
            "Too many concurrent requests for user.",
            Disposition::Retry(CONCURRENCY_WAIT),
        );
        check(429, "rateLimitExceeded", "User-rate limit exceeded.", Disposition::Retry(QUOTA_WAIT));
        for status in [500, 502, 503, 504] {
            check(status, "backendError", "Backend Error", Disposition::Retry(second(4)));
        }
    }

    #[test]
    fn a_rate_limit_named_only_in_the_details_is_recognised() {
        let body = br#"{"error":{"code":403,"message":"Quota exceeded for quota metric 'Queries'","status":"PERMISSION_DENIED",
            "errors":[{"reason":"forbidden"}],"details":[{"@type":"x"},{"@type":"y","reason":"RATE_LIMIT_EXCEEDED","metadata":{"quota_limit":"q"}}]}}"#;
        let error = GmailError::from_response(403, None, body, Timestamp::UNIX_EPOCH);
        assert_eq!(error, GmailError::RateLimited { wait: QUOTA_WAIT, concurrency: false });
    }

    #[test]
    fn a_deadline_in_the_text_is_obeyed_and_capped() {
        let now = at("2026-08-27T10:00:00Z");
        let wait = |text: &str, header: Option<&str>| {
            let error = GmailError::from_response(429, header, &body("rateLimitExceeded", text), now);
            let GmailError::RateLimited { wait, .. } = error else { panic!("{error:?}") };
            wait
        };
        let text = "User-rate limit exceeded.  Retry after 2026-08-27T10:11:12.123Z";
        assert_eq!(wait(text, None), SignedDuration::from_millis(672_123));
        assert_eq!(wait(text, Some("700")), SignedDuration::from_secs(700), "the later one is obeyed");
        assert_eq!(wait("Retry after 2036-01-01T00:00:00Z", None), RATE_WAIT_MAX);
        assert_eq!(wait("Retry after 2026-08-27T09:00:00Z", None), retry::BACKOFF_FIRST, "already past");
        assert_eq!(wait("Retry after later", None), QUOTA_WAIT, "no deadline at all");
        assert_eq!(wait("", Some("Thu, 27 Aug 2026 10:02:00 GMT")), SignedDuration::from_mins(2));
    }

    #[test]
    fn a_page_that_is_not_gmails_never_parks_a_mailbox() {
        let read = |status| GmailError::from_response(status, None, b"<html>", Timestamp::UNIX_EPOCH);
        assert!(matches!(read(403).disposition(), Disposition::Retry(_)));
        assert!(matches!(read(404).disposition(), Disposition::Retry(_)), "and never deletes mail");
        assert!(matches!(read(502).disposition(), Disposition::Retry(_)));
        assert!(matches!(read(429).disposition(), Disposition::Retry(_)));
    }

    #[test]
    fn what_google_quotes_does_not_reach_a_message() {
        let body = body("bad alice@example.com", "token ya29.secret for alice@example.com");
        let message = GmailError::from_response(400, None, &body, Timestamp::UNIX_EPOCH).failure().message;
        assert!(!message.contains('@') && !message.contains("ya29"), "{message}");
    }
}
