//! `multipart/mixed` batches: at most 100 calls in one request, each judged for itself.
//!
//! The order of the answers is not that of the questions: a client that goes by order is found out.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::error::ApiError;
use super::faults::{Fault, FaultKind};
use super::serve::{self, Call, Outcome, Reply};
use super::state::{Shared, lock};

/// Most calls of one batch.
const CALLS_MAX: usize = 100;
/// Most header lines of a part or of the request in it: what a server takes.
const HEADER_LINES_MAX: usize = 200;

/// One part of a multipart body.
pub(crate) struct RawPart<'a> {
    /// None when there are more lines than anybody means.
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) body: &'a [u8],
}

/// A multipart body.
pub(crate) struct Parts<'a> {
    /// The first ones, as many as were asked for.
    pub(crate) first: Vec<RawPart<'a>>,
    /// How many there are.
    pub(crate) count: usize,
}

/// The parts of a body, or none when it is no multipart of that boundary. Only the first `most` are read: a body
/// can hold millions.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8], most: usize) -> Option<Parts<'a>> {
    let marker = format!("--{}", boundary(content_type)?);
    let mut parts = Parts { first: Vec::new(), count: 0 };
    let mut take = |bytes: &'a [u8]| {
        parts.count += 1;
        if parts.first.len() < most {
            parts.first.push(part(bytes));
        }
    };
    let mut start: Option<usize> = None;
    let mut at = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        if let Some(rest) = text.strip_prefix(marker.as_bytes())
            && (rest.is_empty() || rest == b"--")
        {
            if let Some(start) = start.take() {
                take(without_line_end(&body[start..at]));
            }
            if !rest.is_empty() {
                break;
            }
            start = Some(at + line.len());
        }
        at += line.len();
    }
    // A body that breaks off before its last boundary still has its last part.
    if let Some(start) = start {
        take(&body[start..]);
    }
    Some(parts)
}

/// The boundary of a multipart type; quotes may hold anything.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, mut rest) = content_type.split_once(';')?;
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(';').unwrap_or(after.len())),
        };
        if name.trim_matches([' ', '\t', ';']).eq_ignore_ascii_case("boundary") {
            let value = value.trim();
            return (!value.is_empty()).then(|| value.to_owned());
        }
        rest = next;
    }
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").map_or(bytes, |bytes| bytes.strip_suffix(b"\r").unwrap_or(bytes))
}

fn part(bytes: &[u8]) -> RawPart<'_> {
    match headers(bytes) {
        Some((headers, body)) => RawPart { headers: Some(headers), body },
        None => RawPart { headers: None, body: &[] },
    }
}

/// Reads header lines up to the blank one; lines that are none are passed over. None when there are too many.
fn headers(bytes: &[u8]) -> Option<(HeaderMap, &[u8])> {
    let mut map = HeaderMap::new();
    let mut rest = bytes;
    for _ in 0..=HEADER_LINES_MAX {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Some((map, rest));
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line.get(colon + 1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    None
}

/// The call inside a part.
fn call(part: &RawPart<'_>, outer: &HeaderMap) -> Result<Call, ApiError> {
    let broken =
        |what: &str| ApiError::invalid_argument(format!("Failed to parse batch request, error: {what}"));
    let own = part.headers.as_ref().ok_or_else(|| broken("too many header lines"))?;
    let kind = own.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.trim().to_ascii_lowercase().starts_with("application/http") {
        return Err(broken("a part has to be application/http"));
    }
    let call = read_call(part.body, outer).ok_or_else(|| broken("Failed in parsing HTTP request"))?;
    // Uploads, batches and all that is not the API have no place in a batch.
    if call.is_api() { Ok(call) } else { Err(ApiError::no_such_method()) }
}

/// One HTTP request; none when it is not one.
pub(crate) fn read_call(bytes: &[u8], outer: &HeaderMap) -> Option<Call> {
    let text = bytes.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let line = std::str::from_utf8(&text[..end]).ok()?.trim();
    let mut words = line.split_whitespace();
    let method: Method = words.next()?.parse().ok()?;
    let target = words.next().filter(|target| target.starts_with('/'))?;
    if words.next().is_some_and(|version| !version.starts_with("HTTP/")) || words.next().is_some() {
        return None;
    }
    let (mut headers, body) = headers(text.get(end + 1..).unwrap_or_default())?;
    // A part without credentials of its own uses those of the whole batch.
    if let (false, Some(outer)) = (headers.contains_key("authorization"), outer.get("authorization")) {
        headers.insert("authorization", outer.clone());
    }
    let length =
        headers.get("content-length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    let body = length.and_then(|length| body.get(..length)).unwrap_or(body);
    Some(Call::new(method, target, headers, Bytes::copy_from_slice(body)))
}

fn response_id(part: &RawPart<'_>) -> Option<String> {
    let id = part.headers.as_ref()?.get("content-id")?.to_str().ok()?.trim();
    let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    Some(format!("<response-{inner}>"))
}

/// Answers a whole batch.
pub(crate) async fn answer(shared: &Arc<Shared>, outer: &Call) -> Outcome {
    // A fault for one mailbox befalls the parts, unless it names the batch itself.
    if let Some(outcome) = serve::transport_fault(shared, "batch", "", |_| true).await {
        return outcome;
    }
    let caller = serve::caller(shared, outer);
    let named = |fault: &Fault| fault.method.is_some();
    if let Some(outcome) = serve::transport_fault(shared, "batch", &caller, named).await {
        return outcome;
    }
    let refuse = |error: ApiError| Outcome::Reply(serve::refusal(shared, &error));
    let content_type = outer.header("content-type").unwrap_or_default();
    let Some(parts) = parts(content_type, &outer.body, CALLS_MAX) else {
        return refuse(ApiError::invalid_argument("Failed to parse batch request, error: missing boundary"));
    };
    if parts.count == 0 {
        return refuse(ApiError::invalid_argument("Failed to parse batch request, error: 0 items"));
    }
    if parts.count > CALLS_MAX {
        return refuse(ApiError::invalid_argument(format!(
            "The batch request contains {} calls, the limit is {CALLS_MAX}",
            parts.count
        )));
    }
    // Every part is on its way before the first is answered, so that a batch counts as many calls in flight.
    let started: Vec<_> = parts
        .first
        .iter()
        .map(|part| {
            let call = call(part, &outer.headers);
            (response_id(part), call.map(|call| serve::begin(shared, call)))
        })
        .collect();
    let answered = join_all(started.into_iter().map(|(id, begun)| async move {
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return Part { id, method: "", email: String::new(), outcome: refuse(error) },
        };
        let (method, email) = begun.names();
        Part { id, method, email, outcome: begun.finish(shared).await }
    }))
    .await;
    write(shared, answered)
}

/// What became of one call, and whose it was.
struct Part {
    id: Option<String>,
    method: &'static str,
    email: String,
    outcome: Outcome,
}

fn write(shared: &Arc<Shared>, mut answered: Vec<Part>) -> Outcome {
    let boundary = {
        let mut random = lock(&shared.random);
        for place in (1..answered.len()).rev() {
            // Below the number of parts, which is at most 100.
            let other = usize::try_from(random.below(place as u64 + 1)).unwrap_or(0);
            answered.swap(place, other);
        }
        format!("batch_{:016x}{:016x}", random.next_u64(), random.next_u64())
    };
    let mut body: Vec<u8> = Vec::new();
    for Part { id, method, email, outcome } in answered {
        // What would break a connection of its own leaves a hole in a batch.
        let Outcome::Reply(reply) = outcome else { continue };
        let missing = |fault: &Fault| fault.kind == FaultKind::MissingPart;
        if lock(&shared.faults).take(&["batch", method], &email, missing).is_some() {
            continue;
        }
        body.extend_from_slice(format!("--{boundary}\r\nContent-Type: application/http\r\n").as_bytes());
        if let Some(id) = id {
            body.extend_from_slice(format!("Content-ID: {id}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        let status =
            http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let reason = status.canonical_reason().unwrap_or("");
        body.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", reply.status).as_bytes());
        for (name, value) in &reply.headers {
            body.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        body.extend_from_slice(format!("Content-Length: {}\r\n\r\n", reply.body.len()).as_bytes());
        body.extend_from_slice(&reply.body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Outcome::Reply(Reply {
        status: 200,
        headers: vec![("Content-Type".to_owned(), format!("multipart/mixed; boundary={boundary}"))],
        body: body.into(),
    })
}
