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

    pub(crate) fn take(&mut self, id: u64) -> Option<Announced> {
        self.waiting.remove(&id)
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
    let nested = request.body.get("message");
    let object = nested.filter(|value| value.is_object()).unwrap_or(&request.body);
    let raw = if let Some(Media(bytes)) = &request.media {
        bytes.to_vec()
    } else {
        let raw = object.get("raw").and_then(Value::as_str);
        let raw = raw.ok_or_else(|| {
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
    let thread = match object.get("threadId").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(ThreadId::parse(text).ok_or_else(ApiError::invalid_id)?),
    };
    Ok(Incoming { raw, labels: texts(object, "labelIds")?, thread })
}

/// Splits a `multipart/related` upload into its metadata and its message.
pub(crate) fn related(content_type: &str, body: &Bytes) -> Option<(Value, Media)> {
    let parts = super::batch::parts(content_type, body)?;
    let [metadata, media] = parts.as_slice() else { return None };
    let metadata = serde_json::from_slice(metadata.body.trim_ascii()).ok()?;
    Some((metadata, Media(body.slice_ref(media.body))))
}
