//! `multipart/mixed` batches: at most 100 calls in one request, each judged for itself.
//!
//! The order of the answers is not that of the questions: a client that goes by order is found out.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::error::ApiError;
use super::faults::FaultKind;
use super::serve::{self, Call, Outcome, Reply};
use super::state::{Shared, lock};

/// Most calls of one batch.
const CALLS_MAX: usize = 100;

/// One part of a multipart body.
pub(crate) struct RawPart<'a> {
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'a [u8],
}

/// The parts of a body, or none when it is no multipart of that boundary.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<RawPart<'a>>> {
    let boundary = boundary(content_type)?;
    let marker = format!("--{boundary}");
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    let mut at = 0;
    let mut closed = false;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        if let Some(rest) = text.strip_prefix(marker.as_bytes())
            && (rest.is_empty() || rest == b"--")
        {
            if let Some(start) = start {
                found.push(part(without_line_end(&body[start..at])));
            }
            closed = !rest.is_empty();
            start = if closed { None } else { Some(at + line.len()) };
            if closed {
                break;
            }
        }
        at += line.len();
    }
    if let (false, Some(start)) = (closed, start) {
        found.push(part(&body[start..]));
    }
    Some(found)
}

fn boundary(content_type: &str) -> Option<String> {
    let mut pieces = content_type.split(';');
    if !pieces.next()?.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let value = pieces.find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    (!value.is_empty()).then_some(value)
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").map_or(bytes, |bytes| bytes.strip_suffix(b"\r").unwrap_or(bytes))
}

fn part(bytes: &[u8]) -> RawPart<'_> {
    let (headers, body) = headers(bytes);
    RawPart { headers, body }
}

/// Reads header lines up to the blank one; lines that are none are passed over.
fn headers(bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let mut map = HeaderMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let line = line.trim_ascii();
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line.get(colon + 1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    (map, rest)
}

/// The call inside a part, and the id its answer has to carry.
fn call(part: &RawPart<'_>, outer: &HeaderMap) -> Option<Call> {
    let text = part.body.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let line = std::str::from_utf8(&text[..end]).ok()?.trim();
    let mut words = line.split_whitespace();
    let method: Method = words.next()?.parse().ok()?;
    let target = words.next()?;
    if words.next().is_some_and(|version| !version.starts_with("HTTP/")) {
        return None;
    }
    let (mut headers, body) = headers(text.get(end + 1..).unwrap_or_default());
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
    let id = part.headers.get("content-id")?.to_str().ok()?.trim();
    let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    Some(format!("<response-{inner}>"))
}

/// Answers a whole batch.
pub(crate) async fn answer(shared: &Arc<Shared>, outer: &Call) -> Outcome {
    if let Some(outcome) = serve::transport_fault(shared, "batch", "").await {
        return outcome;
    }
    let refuse = |error: ApiError| Outcome::Reply(serve::refusal(shared, &error));
    let content_type = outer.header("content-type").unwrap_or_default();
    let Some(parts) = parts(content_type, &outer.body) else {
        return refuse(ApiError::invalid_argument("Failed to parse batch request, error: missing boundary"));
    };
    if parts.is_empty() {
        return refuse(ApiError::invalid_argument("Failed to parse batch request, error: 0 items"));
    }
    if parts.len() > CALLS_MAX {
        return refuse(ApiError::invalid_argument(format!(
            "The batch request contains {} calls, the limit is {CALLS_MAX}",
            parts.len()
        )));
    }
    // Every part is on its way before the first is answered, so that a batch counts as many calls in flight.
    let started: Vec<_> = parts
        .iter()
        .map(|part| {
            let call = call(part, &outer.headers).filter(Call::is_api);
            (response_id(part), call.map(|call| serve::begin(shared, call)))
        })
        .collect();
    let answered = join_all(started.into_iter().map(|(id, begun)| async move {
        let outcome = match begun {
            Some(begun) => begun.finish(shared).await,
            None => Outcome::Reply(serve::refusal(shared, &ApiError::no_such_method())),
        };
        (id, outcome)
    }))
    .await;
    write(shared, answered)
}

fn write(shared: &Arc<Shared>, mut answered: Vec<(Option<String>, Outcome)>) -> Outcome {
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
    for (id, outcome) in answered {
        // What would break a connection of its own leaves a hole in a batch.
        let Outcome::Reply(reply) = outcome else { continue };
        if lock(&shared.faults).take("batch", "", |kind| *kind == FaultKind::MissingPart).is_some() {
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
