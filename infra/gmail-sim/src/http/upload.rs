//! Messages on their way in: `raw` in JSON, or the upload protocols media, multipart and resumable.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::Value;

use super::error::ApiError;
use super::gmail::{Request, texts};
use crate::model::ThreadId;

/// Most resumable uploads that wait for their bytes; the oldest is forgotten.
const WAITING_MAX: usize = 100;

/// Largest message that chunks may add up to: what one request may have as well.
const MESSAGE_MAX: usize = super::BODY_MAX;

/// The uploaded message itself.
#[derive(Debug, Clone)]
pub(crate) struct Media(pub(crate) Bytes);

/// A message as its sender handed it in.
pub(crate) struct Incoming {
    pub(crate) raw: Vec<u8>,
    pub(crate) labels: Vec<String>,
    pub(crate) thread: Option<ThreadId>,
}

/// A resumable upload that was announced.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) method: http::Method,
    pub(crate) metadata: Value,
    /// What has come of the message so far.
    pub(crate) received: Vec<u8>,
}

/// How a resumable upload stands after some of its bytes came.
pub(crate) enum Progress {
    /// All are here.
    Complete(Announced),
    /// This many are here.
    Incomplete(usize),
    /// `Content-Range` cannot be read, or says something else than what came.
    Malformed,
    /// More than one message may have.
    TooLarge,
}

/// Resumable uploads by id.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    waiting: BTreeMap<u64, Announced>,
    next: u64,
}

impl Uploads {
    pub(crate) fn announce(&mut self, announced: Announced) -> u64 {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_first();
        }
        self.next += 1;
        self.waiting.insert(self.next, announced);
        self.next
    }

    /// Takes what came for an upload, all at once or the chunk that `Content-Range` names; none when nothing of
    /// that id waits.
    pub(crate) fn receive(&mut self, id: u64, range: Option<&str>, bytes: &[u8]) -> Option<Progress> {
        let waiting = self.waiting.get_mut(&id)?;
        let Some(range) = range.map_or(Some(ContentRange::whole(bytes.len())), ContentRange::read) else {
            return Some(Progress::Malformed);
        };
        if let Some((first, last)) = range.chunk {
            if last.checked_sub(first) != bytes.len().checked_sub(1) || last >= MESSAGE_MAX {
                return Some(if last >= MESSAGE_MAX { Progress::TooLarge } else { Progress::Malformed });
            }
            // A chunk that does not follow what is here is told where to go on.
            if first == waiting.received.len() {
                waiting.received.extend_from_slice(bytes);
            }
        }
        let received = waiting.received.len();
        if range.total != Some(received) {
            return Some(Progress::Incomplete(received));
        }
        self.waiting.remove(&id).map(Progress::Complete)
    }
}

/// `Content-Range` of an upload: `bytes 0-9/20`, `bytes 0-9/*` while the end is not known, `bytes */20` to ask.
struct ContentRange {
    /// First and last byte; none for a question.
    chunk: Option<(usize, usize)>,
    total: Option<usize>,
}

impl ContentRange {
    fn whole(length: usize) -> Self {
        Self { chunk: length.checked_sub(1).map(|last| (0, last)), total: Some(length) }
    }

    fn read(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        let chunk = if range == "*" {
            None
        } else {
            let (first, last) = range.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        Some(Self { chunk, total })
    }
}

/// base64url, with or without padding; the other alphabet as well, as Gmail does.
pub(crate) fn decode_raw(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&alphabet::URL_SAFE, config);
    let plain: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        })
        .collect();
    engine.decode(plain).ok()
}

/// The message of an insert, import, send or draft call.
pub(crate) fn message(request: &Request) -> Result<Incoming, ApiError> {
    let object = match request.body.get("message") {
        None | Some(Value::Null) => &request.body,
        Some(object @ Value::Object(_)) => object,
        Some(_) => return Err(ApiError::invalid_argument("Invalid value at 'message' (TYPE_MESSAGE)")),
    };
    let raw = if let Some(Media(bytes)) = &request.media {
        bytes.to_vec()
    } else {
        let raw = text(object, "raw")?.ok_or_else(|| {
            ApiError::invalid_argument(
                "'raw' RFC822 payload message string or uploading message via /upload/* URL required",
            )
        })?;
        decode_raw(raw).ok_or_else(|| {
            ApiError::invalid_argument("Invalid value at 'message.raw' (TYPE_BYTES), Base64 decoding failed")
        })?
    };
    if raw.is_empty() {
        return Err(ApiError::invalid_argument("Empty message"));
    }
    let thread = text(object, "threadId")?.map(|id| ThreadId::parse(id).ok_or_else(ApiError::invalid_id));
    let thread = thread.transpose()?;
    Ok(Incoming { raw, labels: texts(object, "labelIds")?, thread })
}

/// A text of an object; absent, null and empty are none.
fn text<'a>(object: &'a Value, key: &str) -> Result<Option<&'a str>, ApiError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(ApiError::invalid_argument(format!("Invalid value at 'message.{key}' (TYPE_STRING)"))),
    }
}

/// Splits a `multipart/related` upload into its metadata and its message.
pub(crate) fn related(content_type: &str, body: &Bytes) -> Option<(Value, Media)> {
    let parts = super::batch::parts(content_type, body, 3)?;
    let [metadata, media] = parts.first.as_slice() else { return None };
    if metadata.headers.is_none() || media.headers.is_none() {
        return None;
    }
    let metadata: Value = serde_json::from_slice(metadata.body.trim_ascii()).ok()?;
    metadata.is_object().then(|| (metadata, Media(body.slice_ref(media.body))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends the chunks of `(Content-Range, bytes)` and tells how far the upload is after each.
    fn check(chunks: &[(Option<&str>, &str)], expected: &[&str]) {
        let mut uploads = Uploads::default();
        let (path, query, method) = (String::new(), Vec::new(), http::Method::POST);
        let id =
            uploads.announce(Announced { path, query, method, metadata: Value::Null, received: Vec::new() });
        let said: Vec<String> = chunks
            .iter()
            .map(|(range, bytes)| match uploads.receive(id, *range, bytes.as_bytes()) {
                None => "unknown".to_owned(),
                Some(Progress::Incomplete(received)) => received.to_string(),
                Some(Progress::Complete(announced)) => String::from_utf8(announced.received).unwrap(),
                Some(Progress::Malformed) => "malformed".to_owned(),
                Some(Progress::TooLarge) => "too large".to_owned(),
            })
            .collect();
        assert_eq!(said, expected, "{chunks:?}");
    }

    #[test]
    fn chunks_add_up_to_the_message() {
        check(&[(None, "whole")], &["whole"]);
        check(&[(Some("bytes 0-2/5"), "who"), (Some("bytes 3-4/5"), "le")], &["3", "whole"]);
        // The end is not known before the last chunk.
        check(&[(Some("bytes 0-2/*"), "who"), (Some("bytes 3-4/5"), "le")], &["3", "whole"]);
        check(&[(Some("bytes 0-4/5"), "whole"), (Some("bytes 0-4/5"), "whole")], &["whole", "unknown"]);
    }

    #[test]
    fn a_chunk_out_of_place_is_told_where_to_go_on() {
        check(&[(Some("bytes */5"), ""), (Some("bytes 3-4/5"), "le")], &["0", "0"]);
        let again = [(Some("bytes 0-2/5"), "who"), (Some("bytes 0-2/5"), "who"), (Some("bytes */5"), "")];
        check(&again, &["3", "3", "3"]);
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        for range in
            ["", "bytes", "bytes 0-2", "bytes 0-9/5", "bytes 2-0/5", "bytes x-2/5", "bytes 0-2/x", "0-2/5"]
        {
            check(&[(Some(range), "who")], &["malformed"]);
        }
        check(&[(Some("bytes 99999999998-99999999999/*"), "le")], &["too large"]);
    }
}
