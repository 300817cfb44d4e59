//! One API call from the wire to the answer: route, caller, faults, limits, handler, `fields`.
//!
//! Invariant: whatever comes in, an answer in Gmail's form goes out; what a call takes in flight it gives back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::error::{ApiError, Wait};
use super::faults::{Fault, FaultKind};
use super::fields::Mask;
use super::form;
use super::gmail::{self, Request, Route};
use super::state::{Account, Shared, lock};
use super::upload::{self, Announced, Media, Progress};

/// How long a call is held that a fault lets time out.
const HOLD: Duration = Duration::from_mins(10);
/// How long `slow` waits unless the fault says so.
pub(crate) const SLOW_MS: u64 = 2_000;
/// How far off the deadline of `retry_after` is unless the fault says so.
pub(crate) const RETRY_AFTER_S: i64 = 900;

/// A call as it came in.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer as it goes out.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// What becomes of a call.
pub(crate) enum Outcome {
    Reply(Reply),
    /// The connection breaks.
    Reset,
}

impl Call {
    pub(crate) fn new(method: Method, target: &str, headers: HeaderMap, body: Bytes) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { method, path: path.to_owned(), query: form(query.as_bytes()), headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether it is for the API proper and not for an upload, a batch or the control face.
    pub(crate) fn is_api(&self) -> bool {
        self.path.starts_with("/gmail/v1/")
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn bearer(&self) -> Option<&str> {
        let header = self.header("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        header.or_else(|| self.parameter("access_token")).filter(|token| !token.is_empty())
    }
}

impl Reply {
    /// A JSON answer; null is an empty 204.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        if value.is_null() {
            return Self { status: 204, headers: Vec::new(), body: Bytes::new() };
        }
        let headers = vec![
            ("Content-Type".to_owned(), "application/json; charset=UTF-8".to_owned()),
            ("Vary".to_owned(), "Origin, X-Origin, Referer".to_owned()),
            ("Cache-Control".to_owned(), "private".to_owned()),
        ];
        Self { status, headers, body: value.to_string().into() }
    }
}

/// A refusal as an answer, counted.
pub(crate) fn refusal(shared: &Shared, error: &ApiError) -> Reply {
    lock(&shared.meter).refused(error);
    let mut reply = Reply::json(error.status, &error.body());
    if let Some(seconds) = error.retry_after_s {
        reply.headers.push(("Retry-After".to_owned(), seconds.to_string()));
    }
    if error.status == 401 {
        let challenge = "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"";
        reply.headers.push(("WWW-Authenticate".to_owned(), challenge.to_owned()));
    }
    reply
}

/// Gives back the place in flight, however the call ends.
struct Flight {
    shared: Arc<Shared>,
    email: String,
}

impl Drop for Flight {
    fn drop(&mut self) {
        lock(&self.shared.meter).leave(&self.email);
    }
}

/// A call that is on its way.
pub(crate) struct Begun(Result<Box<Underway>, ApiError>);

struct Underway {
    call: Call,
    route: &'static Route,
    ids: Vec<String>,
    account: Arc<Account>,
    metadata_only: bool,
    _flight: Flight,
}

/// Finds route and caller and takes a place in flight; answers nothing yet.
pub(crate) fn begin(shared: &Arc<Shared>, call: Call) -> Begun {
    Begun(try_begin(shared, call).map(Box::new))
}

fn try_begin(shared: &Arc<Shared>, call: Call) -> Result<Underway, ApiError> {
    let upload = call.path.starts_with("/upload/");
    let path = call.path.trim_start_matches("/resumable").trim_start_matches("/upload");
    let below = path.strip_prefix("/gmail/v1/users/").ok_or_else(ApiError::no_such_method)?;
    let mut segments: Vec<String> = below.split('/').map(decode_segment).collect();
    let user = segments.remove(0);
    let (route, ids) = gmail::route(&call.method, &segments, upload).ok_or_else(ApiError::no_such_method)?;
    let token = call.bearer().ok_or_else(ApiError::login_required)?;
    let grant = lock(&shared.tokens).bearer(token, shared.now()).ok_or_else(ApiError::bad_credentials)?;
    let account = match shared.account(&grant.email) {
        Some(account) => account,
        // An identity that exists but has no Gmail; a `sim:` token of nobody is just a bad token.
        None if token.starts_with("sim:") => return Err(ApiError::bad_credentials()),
        None => return Err(ApiError::failed_precondition()),
    };
    if user != "me" && !user.eq_ignore_ascii_case(&account.email) {
        return Err(ApiError::forbidden(format!("Delegation denied for {}", account.email)));
    }
    let metadata_only = route.admits(&grant.scopes).ok_or_else(ApiError::insufficient_scope)?;
    let mut meter = lock(&shared.meter);
    meter.called(&account.email, route.cost.method);
    meter.enter(&account.email)?;
    drop(meter);
    let flight = Flight { shared: Arc::clone(shared), email: account.email.clone() };
    Ok(Underway { call, route, ids, account, metadata_only, _flight: flight })
}

fn decode_segment(segment: &str) -> String {
    // What has a meaning in a form has none in a path.
    let kept = segment.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form(kept.as_bytes()).into_iter().next().map(|(key, _)| key).unwrap_or_default()
}

impl Begun {
    /// The method and the mailbox it is for; empty when the call got nowhere.
    pub(crate) fn names(&self) -> (&'static str, String) {
        match &self.0 {
            Ok(underway) => (underway.route.cost.method, underway.account.email.clone()),
            Err(_) => ("", String::new()),
        }
    }

    /// Answers the call.
    pub(crate) async fn finish(self, shared: &Arc<Shared>) -> Outcome {
        let underway = match self.0 {
            Ok(underway) => underway,
            Err(error) => return Outcome::Reply(refusal(shared, &error)),
        };
        if shared.options.latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(shared.options.latency_ms)).await;
        }
        let (method, email) = (underway.route.cost.method, underway.account.email.clone());
        if let Some(outcome) = transport_fault(shared, method, &email, |_| true).await {
            return outcome;
        }
        let charged = lock(&shared.meter).charge(&email, underway.route.cost, shared.now());
        if let Err(error) = charged {
            return Outcome::Reply(refusal(shared, &error));
        }
        let shared = Arc::clone(shared);
        // A search reads every message it meets: not on the threads that accept calls.
        let task = tokio::task::spawn_blocking(move || underway.dispatch(&shared));
        match task.await {
            Ok(reply) => Outcome::Reply(reply),
            Err(failed) => {
                tracing::error!(error = %failed, "a handler ended without an answer");
                Outcome::Reply(Reply::json(500, &ApiError::backend(500).body()))
            }
        }
    }
}

impl Underway {
    fn dispatch(self: Box<Self>, shared: &Arc<Shared>) -> Reply {
        let method = self.route.cost.method;
        // Read first: a mask that is refused must not leave a change behind.
        let text = self.call.parameter("fields").filter(|mask| !mask.is_empty());
        let mask = text.map(|text| Mask::parse(text).ok_or(text)).transpose();
        let mask = match mask {
            Ok(mask) => mask,
            Err(text) => {
                let error = ApiError::invalid_argument(format!("Invalid field selection {text}"));
                return refusal(shared, &error);
            }
        };
        match self.run(shared) {
            Ok(Answered::Location(reply)) => reply,
            Ok(Answered::Value(value)) => match mask {
                Some(mask) if !value.is_null() => Reply::json(200, &mask.select(value)),
                _ => Reply::json(200, &value),
            },
            Err(error) => {
                tracing::debug!(method, status = error.status, reason = error.reason, "refused");
                refusal(shared, &error)
            }
        }
    }

    fn run(self: Box<Self>, shared: &Arc<Shared>) -> Result<Answered, ApiError> {
        let now = shared.now();
        let upload = self.call.path.starts_with("/upload/") || self.call.path.starts_with("/resumable/");
        let (body, media) = match self.payload(shared, upload)? {
            Payload::Parsed(body, media) => (body, media),
            Payload::Announced(reply) => return Ok(Answered::Location(reply)),
        };
        let fault = self.answer_fault(shared);
        if fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::NotVisible) {
            return Err(ApiError::not_found());
        }
        let Self { call, route, ids, account, metadata_only, _flight } = *self;
        let shared = Arc::clone(shared);
        let query = call.query;
        let request = Request { shared, account, ids, query, body, media, metadata_only, fault, now };
        (route.handle)(&request).map(Answered::Value)
    }

    /// The faults that change what this method answers.
    fn answer_fault(&self, shared: &Shared) -> Option<Fault> {
        let method = self.route.cost.method;
        lock(&shared.faults).take(&[method], &self.account.email, |fault| match fault.kind {
            FaultKind::HistoryLag => method == "history.list",
            FaultKind::NotVisible => matches!(method, "messages.get" | "threads.get"),
            FaultKind::StaleGet => method == "messages.get",
            FaultKind::ShiftingPages => matches!(method, "messages.list" | "threads.list"),
            _ => false,
        })
    }

    fn payload(&self, shared: &Shared, upload: bool) -> Result<Payload, ApiError> {
        let json = |bytes: &[u8]| -> Result<Value, ApiError> {
            if bytes.trim_ascii().is_empty() {
                return Ok(Value::Null);
            }
            let value: Option<Value> = serde_json::from_slice(bytes).ok().filter(Value::is_object);
            value.ok_or_else(|| ApiError::invalid_argument("Invalid JSON payload received."))
        };
        let call = &self.call;
        if !upload {
            return Ok(Payload::Parsed(json(&call.body)?, None));
        }
        match call.parameter("uploadType").unwrap_or("media") {
            "multipart" => {
                let content_type = call.header("content-type").unwrap_or_default();
                let parts = upload::related(content_type, &call.body);
                let (body, media) =
                    parts.ok_or_else(|| ApiError::invalid_argument("Malformed multipart body."))?;
                Ok(Payload::Parsed(body, Some(media)))
            }
            "resumable" => {
                let metadata = json(&call.body)?;
                let mut query = call.query.clone();
                query.retain(|(key, _)| key != "uploadType");
                let announced = Announced {
                    path: call.path.clone(),
                    query,
                    method: call.method.clone(),
                    metadata,
                    received: Vec::new(),
                };
                let id = lock(&shared.uploads).announce(announced);
                let host = call.header("host").unwrap_or("localhost");
                let location = format!("http://{host}{}?uploadType=resumable&upload_id={id}", call.path);
                let headers = vec![("Location".to_owned(), location)];
                Ok(Payload::Announced(Reply { status: 200, headers, body: Bytes::new() }))
            }
            "media" => match call.parameter("sim_metadata") {
                None => Ok(Payload::Parsed(Value::Null, Some(Media(call.body.clone())))),
                Some(metadata) => {
                    Ok(Payload::Parsed(json(metadata.as_bytes())?, Some(Media(call.body.clone()))))
                }
            },
            other => Err(ApiError::invalid_argument(format!("Invalid uploadType: {other}"))),
        }
    }
}

enum Payload {
    Parsed(Value, Option<Media>),
    Announced(Reply),
}

enum Answered {
    Value(Value),
    Location(Reply),
}

/// The second step of a resumable upload: its bytes arrive, at once or in chunks, and the announced call is made
/// with the last of them. Before that the answer tells how far it is.
pub(crate) fn resumed(shared: &Shared, call: Call) -> Result<Call, Reply> {
    let id = call.parameter("upload_id").and_then(|id| id.parse().ok());
    let range = call.header("content-range");
    let progress = id.and_then(|id| lock(&shared.uploads).receive(id, range, &call.body));
    let announced = match progress {
        None => return Ok(call),
        Some(Progress::Complete(announced)) => announced,
        Some(Progress::Incomplete(received)) => return Err(resume_incomplete(received)),
        Some(Progress::Malformed) => {
            return Err(refusal(
                shared,
                &ApiError::invalid_argument("Failed to parse Content-Range header."),
            ));
        }
        Some(Progress::TooLarge) => return Err(refusal(shared, &ApiError::too_large())),
    };
    let mut query = announced.query;
    query.push(("uploadType".to_owned(), "media".to_owned()));
    if !announced.metadata.is_null() {
        query.push(("sim_metadata".to_owned(), announced.metadata.to_string()));
    }
    let (method, path, body) = (announced.method, announced.path, announced.received.into());
    Ok(Call { method, path, query, headers: call.headers, body })
}

/// 308, which in uploads is no redirect: so many bytes are here.
fn resume_incomplete(received: usize) -> Reply {
    let range = received.checked_sub(1).map(|last| ("Range".to_owned(), format!("bytes=0-{last}")));
    Reply { status: 308, headers: range.into_iter().collect(), body: Bytes::new() }
}

/// Applies a fault that befalls a call as a whole, if one is ordered and wanted here.
pub(crate) async fn transport_fault(
    shared: &Arc<Shared>,
    method: &str,
    email: &str,
    wanted: impl Fn(&Fault) -> bool,
) -> Option<Outcome> {
    let fault = lock(&shared.faults).take(&[method], email, |fault| {
        let whole = matches!(fault.kind, FaultKind::Status(_) | FaultKind::RetryAfter | FaultKind::Timeout);
        (whole || matches!(fault.kind, FaultKind::Reset | FaultKind::Slow)) && wanted(fault)
    })?;
    let user_limit = lock(&shared.meter).named_user_limit();
    let wait = Wait { now: shared.now(), seconds: fault.seconds.unwrap_or(RETRY_AFTER_S), user_limit };
    match fault.kind {
        FaultKind::Status(status) => {
            let error = ApiError::of_status(status, fault.reason.as_deref(), wait);
            Some(Outcome::Reply(refusal(shared, &error)))
        }
        FaultKind::RetryAfter => {
            Some(Outcome::Reply(refusal(shared, &ApiError::retry_after(wait.now, wait.seconds))))
        }
        FaultKind::Timeout => {
            hold(shared).await;
            Some(Outcome::Reset)
        }
        FaultKind::Slow => {
            tokio::time::sleep(Duration::from_millis(fault.milliseconds.unwrap_or(SLOW_MS))).await;
            None
        }
        _ => Some(Outcome::Reset),
    }
}

/// Answers nothing for as long as any client waits.
pub(crate) async fn hold(shared: &Shared) {
    let mut ending = shared.ending.subscribe();
    let _ = tokio::time::timeout(HOLD, ending.wait_for(|ending| *ending)).await;
}

/// Whose token a call carries; empty when it is nobody's.
pub(crate) fn caller(shared: &Shared, call: &Call) -> String {
    let grant = call.bearer().and_then(|token| lock(&shared.tokens).bearer(token, shared.now()));
    grant.map(|grant| grant.email).unwrap_or_default()
}
