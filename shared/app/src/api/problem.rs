//! Errors as `application/problem+json` (RFC 9457), written in one place.
//!
//! Invariant: every answer of 400 and above that leaves the API is a problem with `type`, `title`, `status`,
//! `detail`, `instance` and a correlation id, also those that the framework makes itself (unknown path,
//! wrong method, body too large). Deliberately absent: internals. What went wrong inside is in the log,
//! under the same correlation id.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::SignedDuration;
use serde::Serialize;
use sync_store::StoreError;
use tracing::Instrument as _;
use uuid::Uuid;

/// Names a request in its answer and in every log line about it.
pub const CORRELATION_HEADER: HeaderName = HeaderName::from_static("x-correlation-id");

/// A request that was refused or could not be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    /// Seconds.
    retry_after: Option<i64>,
}

/// What is wrong with one field of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field, with dots into objects: `keys.refreshToken`.
    pub field: String,
    /// What it must be. Never repeats what was given.
    pub message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

impl Problem {
    /// A problem of this status; `detail` is one sentence for the caller.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// 400: these fields are wrong.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}.", one.field, one.message),
            several => format!("{} fields of the request are not valid.", several.len()),
        };
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 400: this field is wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// 401: no credential, or not one of ours.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "A valid bearer token or a signed-in session is required.")
    }

    /// 403: known, but not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404. Also the answer for what belongs to somebody else: its existence is not the caller's business.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no such {what}."))
    }

    /// 409: the request is fine, the state is not.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 429: this token or session has asked as often as it may.
    pub fn too_often(wait: SignedDuration) -> Self {
        let detail = "This token asks too often; retry-after says in how many seconds it may again.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(wait)
    }

    /// The same problem, worth another try after that time.
    #[must_use]
    pub fn retry_after(self, wait: SignedDuration) -> Self {
        let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    /// 503: something this depends on does not answer; trying again helps.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The same refusal in the words of what was asked for, when it is a 404.
    #[must_use]
    pub fn or_not_found(self, what: &str) -> Self {
        if self.status == StatusCode::NOT_FOUND { Self::not_found(what) } else { self }
    }

    /// The same problem under another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The status that is answered.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in a sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The fields at fault.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// What there is to say about a refusal that the framework made.
    pub fn of_status(status: StatusCode) -> Self {
        let detail = match status {
            StatusCode::NOT_FOUND => "There is nothing at this path.",
            StatusCode::METHOD_NOT_ALLOWED => {
                "This path does not take this method; `allow` names those it takes."
            }
            StatusCode::PAYLOAD_TOO_LARGE => "The body is larger than this path takes.",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "The body must be application/json.",
            _ if status.is_server_error() => {
                "Something went wrong here. The correlation id finds it in the log."
            }
            _ => "The request could not be understood.",
        };
        Self::new(status, detail)
    }
}

impl From<StoreError> for Problem {
    /// Logged here, because here is where it is handled.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cursor => Self::field("cursor", "does not belong to this query"),
            StoreError::NotFound { what } => Self::not_found(what),
            StoreError::EventsGone { .. } => {
                Self::new(StatusCode::GONE, "Changes that old are not kept any more.")
            }
            error if error.is_retryable() => {
                tracing::warn!(%error, "the store did not serve a request");
                Self::unavailable("The store does not answer now; try again.")
            }
            error => {
                tracing::error!(%error, "the store failed a request");
                Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

impl IntoResponse for Problem {
    /// An empty answer that carries the problem; [`finish`] writes the body, which needs the request's path.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// What a handler may know of the request's correlation id.
#[derive(Debug, Clone)]
pub struct CorrelationId(pub String);

/// Outermost layer: gives the request its correlation id and turns every refusal into a problem body.
pub async fn finish(mut request: Request, next: Next) -> Response {
    let correlation_id = correlation_id(&request);
    let instance = request.uri().path().to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(CorrelationId(correlation_id.clone()));
    // At the level of errors, so that no choice of a level takes the trace off a request's lines.
    let span = tracing::error_span!("request", trace = %correlation_id, %method);
    let mut response = next.run(request).instrument(span).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        response = write(response, &instance, &correlation_id);
    }
    if response.status().is_server_error() {
        // The path may name an address, so the log has the method and the id only.
        tracing::error!(trace = %correlation_id, %method, status = response.status().as_u16(), "answered {}", response.status());
    }
    if let Ok(value) = HeaderValue::from_str(&correlation_id) {
        response.headers_mut().insert(CORRELATION_HEADER, value);
    }
    response
}

/// The caller's own id when it is harmless in a log line, else a new one.
fn correlation_id(request: &Request) -> String {
    let harmless = |text: &&str| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'='))
    };
    request
        .headers()
        .get(CORRELATION_HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(harmless)
        .map_or_else(|| Uuid::now_v7().to_string(), ToOwned::to_owned)
}

fn write(mut response: Response, instance: &str, correlation_id: &str) -> Response {
    // `/health` answers 503 with a body of its own.
    if response.extensions().get::<OwnBody>().is_some() {
        return response;
    }
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| Problem::of_status(status));
    let wire = Wire {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: &problem.detail,
        instance,
        correlation_id,
        errors: problem.errors,
    };
    let body = serde_json::to_vec(&wire).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    *response.body_mut() = Body::from(body);
    response
}

/// Marks an answer of 400 and above whose body is not to be replaced.
#[derive(Debug, Clone, Copy)]
pub struct OwnBody;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_field_is_named_in_the_detail_too() {
        let problem = Problem::field("limit", "must be 1 to 500");
        assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
        assert_eq!(problem.detail, "limit: must be 1 to 500.");
        assert_eq!(problem.errors()[0].field, "limit");
    }

    #[test]
    fn a_correlation_id_that_could_forge_a_log_line_is_replaced() {
        let with = |value: &str| {
            let request =
                Request::builder().header(CORRELATION_HEADER, value).body(Body::empty()).expect("a request");
            correlation_id(&request)
        };
        assert_eq!(with("abc-1"), "abc-1");
        assert_ne!(with("a b"), "a b");
        assert_ne!(with(&"x".repeat(65)), "x".repeat(65));
    }
}
