//! Several gets in one call: <https://developers.google.com/workspace/gmail/api/guides/batch>.
//!
//! Each part of the answer is judged for itself, by its `Content-ID`, never by its place; a part that is
//! missing has failed. Taking an incomplete answer for a complete one has lost people's mail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sync_core::{MessageId, state::Content};

use crate::{
    error::GmailError,
    formats::{self, FetchedMessage},
    lines::{dashed_line, delimiter, end_before, line_at},
};

/// Most parts of one batch: 50 and more at once fail in part, with 429.
pub const PARTS_MAX: usize = 25;

/// The path that batches are posted to.
pub const PATH: &str = "/batch/gmail/v1";

const BOUNDARY: &str = "gmail_sync_batch_part";

/// The `Content-Type` of [`body`].
pub fn content_type() -> String {
    format!("multipart/mixed; boundary={BOUNDARY}")
}

/// The multipart body that gets these messages in this format.
pub fn body(ids: &[MessageId], content: Content) -> String {
    let mut body = String::new();
    for id in ids {
        let path = formats::get_message(*id, content).path;
        body.push_str(&format_part(*id, &path));
    }
    body.push_str("--");
    body.push_str(BOUNDARY);
    body.push_str("--\r\n");
    body
}

fn format_part(id: MessageId, path: &str) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <{id}>\r\n\r\nGET {path} HTTP/1.1\r\n\r\n\r\n"
    )
}

/// What came of each message that was asked for, in that order.
pub type Gotten = Vec<(MessageId, Result<FetchedMessage, GmailError>)>;

/// Reads the answer to [`body`]: one result for each message asked for.
///
/// # Errors
/// When the answer is no multipart at all.
pub fn read(
    content_type: &str,
    body: &[u8],
    asked: &[MessageId],
    content: Content,
    now: Timestamp,
) -> Result<Gotten, GmailError> {
    let boundary = boundary_of(content_type).ok_or(GmailError::Unreadable { what: "a batch's boundary" })?;
    let mut answers: BTreeMap<MessageId, Result<FetchedMessage, GmailError>> = BTreeMap::new();
    for part in parts(body, boundary.as_bytes()) {
        let Some((id, answer)) = read_part(part, content, now) else { continue };
        // Should an id come twice, the better answer counts.
        if answer.is_ok() || !answers.contains_key(&id) {
            answers.insert(id, answer);
        }
    }
    let judge = |id: &MessageId| (*id, answers.remove(id).unwrap_or(Err(GmailError::MissingPart)));
    Ok(asked.iter().map(judge).collect())
}

/// The `boundary` parameter, quoted or not.
fn boundary_of(content_type: &str) -> Option<&str> {
    if !content_type.trim_start().get(..10)?.eq_ignore_ascii_case("multipart/") {
        return None;
    }
    let value = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// The parts between delimiters. An answer cut short yields the parts before the cut: the last delimiter is
/// missing, so its last part is not trusted.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let (mut position, mut part_start) = (0, None);
    while let Some(line) = dashed_line(body, position) {
        position = line.next;
        let Some(closing) = delimiter(line.text(body), boundary) else { continue };
        if let Some(start) = part_start {
            parts.push(body.get(start..end_before(body, start, line.start)).unwrap_or_default());
        }
        if closing {
            break;
        }
        part_start = Some(line.next);
    }
    parts
}

/// One part: MIME headers, then a whole HTTP answer. `None` when it cannot be told whose it is.
fn read_part(
    part: &[u8],
    content: Content,
    now: Timestamp,
) -> Option<(MessageId, Result<FetchedMessage, GmailError>)> {
    let (headers, http) = split_head(part);
    let content_id = header(headers, "content-id")?;
    let name = content_id.trim_matches(['<', '>', ' ']);
    let id: MessageId = name.strip_prefix("response-").unwrap_or(name).parse().ok()?;

    let (head, body) = split_head(http);
    let status_line = line_at(head, 0).map(|line| line.text(head)).unwrap_or_default();
    let status = std::str::from_utf8(status_line)
        .ok()
        .filter(|line| line.starts_with("HTTP/"))
        .and_then(|line| line.split_ascii_whitespace().nth(1))
        .and_then(|status| status.parse::<u16>().ok());
    let answer = match status {
        Some(200..=299) => formats::read_message(body, id, content),
        Some(status) => Err(GmailError::from_response(status, header(head, "retry-after"), body, now)),
        None => Err(GmailError::Unreadable { what: "a batch part's status" }),
    };
    Some((id, answer))
}

/// What stands before the first empty line, and what after it.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut position = 0;
    while let Some(line) = line_at(bytes, position) {
        if line.text(bytes).is_empty() {
            return (bytes.get(..line.start).unwrap_or_default(), bytes.get(line.next..).unwrap_or_default());
        }
        position = line.next;
    }
    (bytes, &[])
}

/// The first header of that name (lower case). Google does not fold the few that are read.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut position = 0;
    while let Some(line) = line_at(head, position) {
        position = line.next;
        let Some((key, value)) =
            std::str::from_utf8(line.text(head)).ok().and_then(|text| text.split_once(':'))
        else {
            continue;
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Mail;

    const TYPE: &str = "multipart/mixed; boundary=\"batch_xyz\"";

    fn part(id: &str, status: &str, body: &str) -> String {
        format!(
            "--batch_xyz\r\nContent-Type: application/http\r\nContent-ID: <response-{id}>\r\n\r\n\
             HTTP/1.1 {status}\r\nContent-Type: application/json\r\nRetry-After: 9\r\n\r\n{body}\r\n"
        )
    }

    fn message(id: &str) -> String {
        format!("{{\"id\":\"{id}\",\r\n\"threadId\":\"1\",\"historyId\":\"7\",\"raw\":\"YQ\"}}")
    }

    fn check(body: &str, asked: &[u64]) -> Vec<Result<Mail, GmailError>> {
        let asked: Vec<MessageId> = asked.iter().copied().map(MessageId).collect();
        let answers =
            read(TYPE, body.as_bytes(), &asked, Content::Raw, Timestamp::UNIX_EPOCH).expect("a multipart");
        assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), asked);
        answers.into_iter().map(|(_, answer)| answer.map(|message| message.mail)).collect()
    }

    #[test]
    fn parts_are_matched_by_their_id_and_missing_ones_have_failed() {
        let body = part("2", "200 OK", &message("2")) + &part("1", "200 OK", &message("1")) + "--batch_xyz--";
        let a = || Ok(Mail::Raw(b"a".to_vec()));
        assert_eq!(check(&body, &[1, 2, 3]), [a(), a(), Err(GmailError::MissingPart)]);
    }

    #[test]
    fn each_part_is_judged_for_itself() {
        let refusal = r#"{"error":{"message":"Too many concurrent requests for user.","errors":[{"reason":"rateLimitExceeded"}]}}"#;
        let body = part(
            "1",
            "404 Not Found",
            r#"{"error":{"code":404,"message":"Requested entity was not found."}}"#,
        ) + &part("2", "429 Too Many Requests", refusal)
            + &part("3", "401 Unauthorized", "{}")
            + &part("4", "500 Internal Server Error", "")
            + &part("5", "200 OK", "{\"id\":")
            + &part("6", "200 OK", &message("6"))
            + "--batch_xyz--\r\n";
        let answers = check(&body, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(answers[0], Err(GmailError::NotFound));
        let wait = jiff::SignedDuration::from_secs(9);
        assert_eq!(answers[1], Err(GmailError::RateLimited { wait, concurrency: true }));
        assert_eq!(answers[2], Err(GmailError::Unauthorized));
        assert_eq!(answers[3], Err(GmailError::Server { status: 500 }));
        assert!(matches!(answers[4], Err(GmailError::Unreadable { .. })));
        assert!(answers[5].is_ok());
    }

    #[test]
    fn an_answer_cut_short_loses_its_last_part_only() {
        let body = part("1", "200 OK", &message("1")) + &part("2", "200 OK", &message("2"));
        assert_eq!(check(&body, &[1, 2])[1], Err(GmailError::MissingPart));
        assert!(check(&body, &[1, 2])[0].is_ok());
    }

    #[test]
    fn what_is_no_multipart_fails_as_a_whole() {
        for bad in ["application/json", "multipart/mixed", "multipart/mixed; boundary=", "", "ü"] {
            assert!(read(bad, b"", &[MessageId(1)], Content::Raw, Timestamp::UNIX_EPOCH).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_part_is_as_the_guide_shows_it() {
        let body = body(&[MessageId(0x1f)], Content::Raw);
        assert!(body.starts_with("--gmail_sync_batch_part\r\nContent-Type: application/http\r\nContent-ID: <1f>\r\n\r\nGET /gmail/v1/users/me/messages/1f?format=raw&fields=id"), "{body}");
        assert!(body.ends_with("--gmail_sync_batch_part--\r\n"), "{body}");
    }
}
