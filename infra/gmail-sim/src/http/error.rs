//! Gmail's error bodies, to the letter.
//!
//! Every refusal of the API face is made here, so that the wording of one cannot differ between two calls.

use serde_json::{Value, json};

use crate::model::{Millis, Refusal};

/// One refusal, as it goes on the wire.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) reason: String,
    message: String,
    domain: &'static str,
    canonical: &'static str,
    names_header: bool,
    details: Option<Box<Value>>,
    pub(crate) retry_after_s: Option<i64>,
}

/// What an ordered refusal says about waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) now: Millis,
    /// How far off the named deadline is.
    pub(crate) seconds: i64,
    /// The user's units a minute that the refusal names.
    pub(crate) user_limit: u64,
}

const LOGIN_HINT: &str = "Expected OAuth 2 access token, login cookie or other valid authentication credential. \
     See https://developers.google.com/identity/sign-in/web/devconsole-project.";

impl ApiError {
    fn new(status: u16, reason: &str, message: impl Into<String>, canonical: &'static str) -> Self {
        Self {
            status,
            reason: reason.to_owned(),
            message: message.into(),
            domain: "global",
            canonical,
            names_header: false,
            details: None,
            retry_after_s: None,
        }
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "invalidArgument", message, "INVALID_ARGUMENT")
    }

    pub(crate) fn invalid_id() -> Self {
        Self::invalid_argument("Invalid id value")
    }

    pub(crate) fn failed_precondition() -> Self {
        Self::new(400, "failedPrecondition", "Precondition check failed.", "FAILED_PRECONDITION")
    }

    pub(crate) fn second_watch() -> Self {
        let message =
            "Only one user push notification client allowed per developer (call /stop then try again)";
        Self::invalid_argument(message)
    }

    pub(crate) fn login_required() -> Self {
        let message = format!("Request is missing required authentication credential. {LOGIN_HINT}");
        let error = Self::new(401, "required", message, "UNAUTHENTICATED");
        Self { names_header: true, ..error }
    }

    pub(crate) fn bad_credentials() -> Self {
        let message = format!("Request had invalid authentication credentials. {LOGIN_HINT}");
        let error = Self::new(401, "authError", message, "UNAUTHENTICATED");
        Self { names_header: true, ..error }
    }

    pub(crate) fn insufficient_scope() -> Self {
        let message = "Request had insufficient authentication scopes.";
        let details = Some(Box::new(json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            "domain": "googleapis.com",
            "metadata": {"service": "gmail.googleapis.com"},
        }])));
        Self { details, ..Self::new(403, "insufficientPermissions", message, "PERMISSION_DENIED") }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "forbidden", message, "PERMISSION_DENIED")
    }

    pub(crate) fn domain_policy() -> Self {
        let message = "The domain administrators have disabled Gmail apps.";
        Self::new(403, "domainPolicy", message, "PERMISSION_DENIED")
    }

    pub(crate) fn daily_limit() -> Self {
        let error = Self::new(403, "dailyLimitExceeded", "Daily Limit Exceeded", "PERMISSION_DENIED");
        Self { domain: "usageLimits", ..error }
    }

    /// The minute's units of the user or of the whole project are spent.
    pub(crate) fn quota(per_user: bool, limit: u64) -> Self {
        let (reason, name, id) = if per_user {
            ("userRateLimitExceeded", "Queries per minute per user", "QueriesPerMinutePerUser")
        } else {
            ("rateLimitExceeded", "Queries per minute", "QueriesPerMinute")
        };
        let message = format!(
            "Quota exceeded for quota metric 'Queries' and limit '{name}' of service 'gmail.googleapis.com' for \
             consumer 'project_number:100000000000'."
        );
        let details = Some(Box::new(json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {
                "service": "gmail.googleapis.com",
                "quota_metric": "gmail.googleapis.com/queries",
                "quota_limit": id,
                "quota_limit_value": limit.to_string(),
                "quota_unit": if per_user { "1/min/{project}/{user}" } else { "1/min/{project}" },
                "quota_location": "global",
                "consumer": "projects/100000000000",
            },
        }])));
        Self { domain: "usageLimits", details, ..Self::new(403, reason, message, "PERMISSION_DENIED") }
    }

    pub(crate) fn too_many_concurrent() -> Self {
        let message = "Too many concurrent requests for user.";
        let error = Self::new(429, "rateLimitExceeded", message, "RESOURCE_EXHAUSTED");
        Self { domain: "usageLimits", ..error }
    }

    /// The deadline stands in the text, as Gmail has it, and in a header.
    pub(crate) fn retry_after(now: Millis, wait_s: i64) -> Self {
        let at = jiff::Timestamp::from_millisecond(now.saturating_add(wait_s.saturating_mul(1000)));
        let at = at.unwrap_or(jiff::Timestamp::MAX);
        let message = format!("User-rate limit exceeded.  Retry after {at:.3}");
        let error = Self::new(429, "rateLimitExceeded", message, "RESOURCE_EXHAUSTED");
        Self { domain: "usageLimits", retry_after_s: Some(wait_s), ..error }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "notFound", "Requested entity was not found.", "NOT_FOUND")
    }

    pub(crate) fn no_such_method() -> Self {
        Self::new(404, "notFound", "Method not found.", "NOT_FOUND")
    }

    pub(crate) fn conflict(message: &str) -> Self {
        Self::new(409, "aborted", message, "ABORTED")
    }

    pub(crate) fn too_large() -> Self {
        Self::new(413, "uploadTooLarge", "Request payload size exceeds the limit.", "INVALID_ARGUMENT")
    }

    pub(crate) fn backend(status: u16) -> Self {
        let canonical = match status {
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        };
        Self::new(status, "backendError", "Backend Error", canonical)
    }

    /// Any status with the reason a fault asks for; a reason that Gmail has not is taken as it is.
    pub(crate) fn of_status(status: u16, reason: Option<&str>, wait: Wait) -> Self {
        let standard = match (status, reason) {
            (_, Some("failedPrecondition")) => Self::failed_precondition(),
            (_, Some("domainPolicy")) => Self::domain_policy(),
            (_, Some("dailyLimitExceeded")) => Self::daily_limit(),
            (_, Some("insufficientPermissions")) => Self::insufficient_scope(),
            (403, Some("rateLimitExceeded")) => Self::quota(false, 1_200_000),
            (429, Some("userRateLimitExceeded")) => Self::retry_after(wait.now, wait.seconds),
            (403, None | Some("userRateLimitExceeded")) => Self::quota(true, wait.user_limit),
            (400, _) => Self::invalid_id(),
            (401, _) => Self::bad_credentials(),
            (403, _) => Self::forbidden("Forbidden"),
            (404, _) => Self::not_found(),
            (409, _) => Self::conflict("Conflict"),
            (413, _) => Self::too_large(),
            (429, _) => Self::too_many_concurrent(),
            (500.., _) => Self::backend(status),
            _ => Self::new(status, "badRequest", "Bad Request", "INVALID_ARGUMENT"),
        };
        Self { reason: reason.map_or(standard.reason.clone(), str::to_owned), status, ..standard }
    }

    pub(crate) fn body(&self) -> Value {
        let mut inner = json!({"message": self.message, "domain": self.domain, "reason": self.reason});
        if self.names_header {
            inner["location"] = json!("Authorization");
            inner["locationType"] = json!("header");
        }
        let mut error = json!({
            "code": self.status, "message": self.message, "errors": [inner], "status": self.canonical,
        });
        if let Some(details) = &self.details {
            error["details"] = Value::clone(details);
        }
        json!({"error": error})
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::not_found(),
            Refusal::InvalidLabel(label) => Self::invalid_argument(format!("Invalid label: {label}")),
            Refusal::LabelExists => Self::conflict("Label name exists or conflicts"),
            Refusal::LabelRefused(message) => Self::invalid_argument(message),
            Refusal::InvalidThread => Self::invalid_argument("Invalid thread_id value"),
        }
    }
}
