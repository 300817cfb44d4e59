//! Raw mails and attachments, as files.
//!
//! Invariant: what strangers wrote is never shown by the browser as a page of this site: it is always a
//! download, sandboxed, of the type it claims or of none.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sync_gmail::mime;

use super::{
    ApiState,
    auth::{Caller, ToRead},
    emails::find,
    on_demand::raw_of,
    problem::Problem,
    query::Query,
};

/// What an attachment is called by that has no known hash, before its place.
pub(super) const PLACE: &str = "part-";

/// Largest file that is answered directly: Lambda answers at most 6 MB, and a file travels in base64.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// `GET /api/emails/{id}/raw`
pub async fn raw(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Response, Problem> {
    let mailbox = query.text_of("mailbox", 400);
    query.finish()?;
    let message = find(&state, &caller.tenant, &id, mailbox.as_deref()).await?;
    let bytes = raw_of(&state, &message).await?;
    file(bytes, "message/rfc822", &format!("{}.eml", message.id))
}

/// Which attachment of a mail.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// By the SHA-256 of what it holds.
    Hash(String),
    /// By its place, where what it holds has not been fetched.
    Place(usize),
}

impl Named {
    fn parse(text: &str) -> Option<Self> {
        if let Some(place) = text.strip_prefix(PLACE) {
            let is_plain = place.len() <= 4 && place.bytes().all(|byte| byte.is_ascii_digit());
            return place.parse().ok().filter(|_| is_plain).map(Self::Place);
        }
        let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| Self::Hash(text.to_ascii_lowercase()))
    }
}

/// `GET /api/emails/{id}/attachments/{hash}`, or `part-{place}`
pub async fn attachment(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path((id, named)): Path<(String, String)>,
    mut query: Query,
) -> Result<Response, Problem> {
    let mailbox = query.text_of("mailbox", 400);
    query.finish()?;
    let not_found = || Problem::not_found("attachment");
    let named = Named::parse(&named).ok_or_else(not_found)?;
    let message = find(&state, &caller.tenant, &id, mailbox.as_deref()).await?;
    let raw = raw_of(&state, &message).await?;
    let found = match &named {
        Named::Hash(hash) => mime::attachment(&raw, hash),
        Named::Place(place) => mime::attachment_at(&raw, *place),
    };
    let (attachment, bytes) = found.ok_or_else(not_found)?;
    file(bytes, &attachment.content_type, attachment.filename.as_deref().unwrap_or("attachment"))
}

fn file(bytes: Vec<u8>, kind: &str, name: &str) -> Result<Response, Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        let detail = format!(
            "This file has {} bytes; at most {FILE_BYTES_MAX} can be answered. The mail itself is stored whole.",
            bytes.len()
        );
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
    }
    let kind =
        HeaderValue::from_str(kind).unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    let disposition =
        HeaderValue::from_str(&disposition(name)).unwrap_or_else(|_| HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
        // The bytes are named by their hash or their mail: they never change.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable")),
        (HeaderName::from_static("x-download-options"), HeaderValue::from_static("noopen")),
    ];
    Ok((headers, bytes).into_response())
}

/// The name twice (RFC 6266): plainly for old readers, and in UTF-8.
fn disposition(name: &str) -> String {
    /// Longest name, letters.
    const LETTERS_MAX: usize = 120;
    let name: String =
        name.chars().filter(|c| !c.is_control() && !matches!(c, '/' | '\\')).take(LETTERS_MAX).collect();
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || " .-_()".contains(c) { c } else { '_' })
        .collect();
    let encoded: String =
        url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20");
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_named_by_its_hash_or_by_its_place() {
        assert_eq!(Named::parse(&"A1".repeat(32)), Some(Named::Hash("a1".repeat(32))));
        assert_eq!(Named::parse("part-12"), Some(Named::Place(12)));
        for bad in ["", "part-", "part-+1", "part-12345", "part--1", "x", &"g".repeat(64)] {
            assert_eq!(Named::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_hostile_file_name_stays_inside_its_header() {
        assert_eq!(
            disposition("a\"\r\nSet-Cookie: x=1/../ü.pdf"),
            "attachment; filename=\"a_Set-Cookie_ x_1.._.pdf\"; filename*=UTF-8''a%22Set-Cookie%3A%20x%3D1..%C3%BC.pdf"
        );
        assert!(HeaderValue::from_str(&disposition(&"ü".repeat(500))).is_ok());
    }

    #[test]
    fn a_page_in_an_attachment_is_downloaded_and_not_shown() {
        let response = file(b"<script>".to_vec(), "text/html", "x.html").expect("an answer");
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert!(header("content-disposition").starts_with("attachment"));
        assert!(header("content-security-policy").starts_with("sandbox"));
        let strange = file(Vec::new(), "text/html\r\nx: y", "x").expect("an answer");
        assert_eq!(strange.headers()["content-type"], "application/octet-stream");
    }

    #[test]
    fn a_file_that_the_gateway_would_drop_is_an_error_that_says_so() {
        let problem = file(vec![0; FILE_BYTES_MAX + 1], "application/pdf", "x").expect_err("too large");
        assert_eq!(problem.status(), StatusCode::NOT_IMPLEMENTED);
    }
}
