//! One error for the whole store. Callers ask what to do, not what happened.

use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use sync_core::{Disposition, SignedDuration};

/// Why the store could not do something. A lost race is never here: it is an outcome of its method.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// AWS asked us to slow down, after the client's own retries.
    #[error("{operation}: throttled")]
    Throttled {
        /// What was tried.
        operation: &'static str,
    },
    /// No answer, or a server's failure: it may or may not have taken effect.
    #[error("{operation}: no answer ({detail})")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// The kind of failure; never data.
        detail: String,
    },
    /// AWS refused it, and would refuse it again: a permission, a missing table, our own mistake.
    #[error("{operation}: refused ({code})")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// AWS's error code.
        code: String,
    },
    /// Other writers were at the same item for longer than we tried.
    #[error("{operation}: the item stayed busy")]
    Busy {
        /// What was tried.
        operation: &'static str,
    },
    /// What must exist does not.
    #[error("there is no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// Something stored cannot be read back.
    #[error("stored {what} cannot be read: {detail}")]
    Corrupt {
        /// Which kind of row or object.
        what: &'static str,
        /// Which attribute, or why; never its value.
        detail: String,
    },
    /// More than the store takes at once.
    #[error("{what}: {actual}, at most {max}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        actual: usize,
        /// How large it may be.
        max: usize,
    },
    /// Events after the one that was named are kept no more: the reader has to begin again.
    #[error("events are kept from {kept_from} on")]
    EventsGone {
        /// The oldest that is kept; the one before it is the oldest that can be read on from.
        kept_from: u64,
    },
    /// A page cursor that this store did not make, or made for another query.
    #[error("the cursor does not belong to this query")]
    Cursor,
    /// A secret could not be encrypted or decrypted.
    #[error("vault: {0}")]
    Vault(String),
}

impl StoreError {
    /// Whether the same call may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Unavailable { .. } | Self::Busy { .. } => true,
            Self::Refused { .. }
            | Self::NotFound { .. }
            | Self::Corrupt { .. }
            | Self::TooLarge { .. }
            | Self::EventsGone { .. }
            | Self::Cursor
            | Self::Vault(_) => false,
        }
    }

    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        if self.is_retryable() {
            Disposition::Retry(SignedDuration::from_secs(5))
        } else {
            Disposition::Defect
        }
    }

    /// Sorts an SDK's error.
    pub(crate) fn from_sdk<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata,
    {
        let refused = match error {
            SdkError::ServiceError(service) => service.err().code().unwrap_or("unknown").to_owned(),
            SdkError::ConstructionFailure(_) => "construction failure".to_owned(),
            SdkError::TimeoutError(_) => return Self::unavailable(operation, "time-out"),
            SdkError::DispatchFailure(failure) => {
                let detail = if failure.is_timeout() { "time-out" } else { "connection failed" };
                return Self::unavailable(operation, detail);
            }
            _ => return Self::unavailable(operation, "unreadable answer"),
        };
        Self::from_code(operation, refused)
    }

    /// Sorts an AWS error code.
    pub(crate) fn from_code(operation: &'static str, code: String) -> Self {
        match code.as_str() {
            "ThrottlingException"
            | "ThrottlingError"
            | "Throttling"
            | "ProvisionedThroughputExceededException"
            | "ProvisionedThroughputExceeded"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "SlowDown" => Self::Throttled { operation },
            "TransactionConflictException" | "TransactionInProgressException" | "TransactionConflict" => {
                Self::Busy { operation }
            }
            "InternalServerError"
            | "InternalServerErrorException"
            | "InternalError"
            | "InternalFailure"
            | "InternalServiceError"
            | "InternalServiceErrorException"
            | "ServiceUnavailable"
            | "RequestTimeout" => Self::Unavailable { operation, detail: code },
            _ => Self::Refused { operation, code },
        }
    }

    pub(crate) fn unavailable(operation: &'static str, detail: &str) -> Self {
        Self::Unavailable { operation, detail: detail.to_owned() }
    }

    pub(crate) fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Corrupt { what, detail: detail.into() }
    }
}

/// How long to wait before try number `attempt` (from 0) at an item that others write: 20 ms doubled, at
/// most 640 ms. Spread by the caller's clock, so that two writers do not stay in step.
pub(crate) fn contention_delay(attempt: u32) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.subsec_nanos());
    let ceiling_ms = 20u64 << attempt.min(5);
    Duration::from_millis(ceiling_ms / 2 + u64::from(nanos / 1_000) % (ceiling_ms / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_retried_and_a_refusal_is_not() {
        let throttled = StoreError::from_code("read", "ThrottlingException".to_owned());
        assert!(throttled.is_retryable());
        let refused = StoreError::from_code("read", "AccessDeniedException".to_owned());
        assert_eq!(refused.disposition(), Disposition::Defect);
    }

    #[test]
    fn waiting_for_a_busy_item_stays_under_a_second() {
        for attempt in 0..64 {
            assert!(contention_delay(attempt) <= Duration::from_millis(640));
        }
    }
}
