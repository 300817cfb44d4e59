//! One error for the queue.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// Why a message could not be sent or changed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// No answer, throttled, or a server's failure: it may or may not have been taken.
    #[error("{operation}: no answer ({detail})")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// The kind of failure.
        detail: String,
    },
    /// SQS refused it and would refuse it again.
    #[error("{operation}: refused ({code})")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// AWS's error code.
        code: String,
    },
}

impl QueueError {
    /// Whether the same call may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } => false,
        }
    }

    pub(crate) fn from_sdk<E: ProvideErrorMetadata, R>(
        operation: &'static str,
        error: &SdkError<E, R>,
    ) -> Self {
        match error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("unknown").to_owned();
                Self::from_code(operation, code, false)
            }
            SdkError::ConstructionFailure(_) => {
                Self::Refused { operation, code: "construction failure".to_owned() }
            }
            SdkError::TimeoutError(_) => Self::Unavailable { operation, detail: "time-out".to_owned() },
            _ => Self::Unavailable { operation, detail: "connection failed".to_owned() },
        }
    }

    /// Sorts a code; `sender_fault` is what a batch's entry says of itself.
    pub(crate) fn from_code(operation: &'static str, code: String, sender_fault: bool) -> Self {
        let passing = ["Throttl", "OverLimit", "InternalError", "InternalFailure", "ServiceUnavailable"];
        if !sender_fault && passing.iter().any(|part| code.contains(part)) {
            Self::Unavailable { operation, detail: code }
        } else {
            Self::Refused { operation, code }
        }
    }
}
