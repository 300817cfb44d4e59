//! The tree of parts that is a mail in Gmail's formats `full` and `metadata`.
//!
//! Parts nest as deep as a stranger likes, so the tree is read level by level with an explicit stack: text that
//! is a level deeper stays text until its turn comes. Deliberately absent, as in `structure`: descending into
//! `message/rfc822`.

use std::borrow::Cow;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    FetchedParts,
    headers::{self, PartHeaders},
    render::{Held, Piece},
    structure::{DEPTH_MAX, HEADERS_BYTES_MAX, PARTS_MAX},
};
use crate::{
    error::GmailError,
    requests::{BASE64, BASE64_URL},
    wire::Text,
};

/// A mail in format `full` or `metadata`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// The mail's own headers as it had them, except that encoded words are decoded.
    pub(super) header_block: Vec<u8>,
    leaves: Vec<Leaf>,
    /// Whether a bound left something out.
    pub(super) truncated: bool,
    /// Whether the answer held parts at all; `metadata` has none.
    is_whole: bool,
    /// The type of the whole.
    media_type: String,
    bytes_seen: u64,
}

impl std::fmt::Debug for Payload {
    // Mail does not belong in a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Payload").field("parts", &self.leaves.len()).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Leaf {
    headers: PartHeaders,
    in_alternative: bool,
    bytes: Option<Vec<u8>>,
    attachment_id: Option<String>,
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePart<'a> {
    #[serde(default)]
    mime_type: String,
    #[serde(default)]
    filename: String,
    #[serde(default)]
    headers: Vec<WireHeader<'a>>,
    body: Option<WireBody<'a>>,
    #[serde(borrow)]
    parts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireHeader<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBody<'a> {
    attachment_id: Option<String>,
    #[serde(default, deserialize_with = "crate::wire::number")]
    size: u64,
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

/// A part that waits for its turn.
struct Waiting<'a> {
    part: WirePart<'a>,
    depth: usize,
    in_alternative: bool,
    in_digest: bool,
}

impl Payload {
    /// Reads a tree that was stored as it came.
    ///
    /// # Errors
    /// [`GmailError::Unreadable`] when it is none.
    pub fn from_json(json: &[u8]) -> Result<Self, GmailError> {
        let unreadable = || GmailError::Unreadable { what: "a message's parts" };
        let json: &RawValue = serde_json::from_slice(json).map_err(|_| unreadable())?;
        Self::read(json).map_err(|_| unreadable())
    }

    /// Reads `payload`. Parts that make no sense are left out, and the mail is then truncated.
    ///
    /// # Errors
    /// When it is no part at all.
    pub(crate) fn read(json: &RawValue) -> Result<Self, serde_json::Error> {
        let root: WirePart<'_> = serde_json::from_str(json.get())?;
        let (header_block, truncated) = block(&root.headers);
        let is_whole = root.body.is_some() || root.parts.is_some();
        let mut payload = Self { header_block, truncated, is_whole, ..Self::default() };
        payload.media_type = payload.headers_of(&root, false).media_type;
        if is_whole {
            payload.walk(root);
        }
        Ok(payload)
    }

    fn walk(&mut self, root: WirePart<'_>) {
        let mut waiting = vec![Waiting { part: root, depth: 0, in_alternative: false, in_digest: false }];
        let mut seen = 0;
        while let Some(Waiting { part, depth, in_alternative, in_digest }) = waiting.pop() {
            if seen == PARTS_MAX {
                self.truncated = true;
                break;
            }
            seen += 1;
            let headers = self.headers_of(&part, in_digest);
            let children = match part.parts {
                Some(parts) if headers.media_type.starts_with("multipart/") && depth < DEPTH_MAX => {
                    self.children(parts)
                }
                _ => Vec::new(),
            };
            if children.is_empty() {
                self.add_leaf(&part, headers, in_alternative);
                continue;
            }
            let in_alternative = in_alternative || headers.media_type == "multipart/alternative";
            let in_digest = headers.media_type == "multipart/digest";
            // The first one comes first from the top of the stack.
            waiting.extend(children.into_iter().rev().map(|part| Waiting {
                part,
                depth: depth + 1,
                in_alternative,
                in_digest,
            }));
        }
    }

    /// One level of the tree.
    fn children<'a>(&mut self, parts: &'a RawValue) -> Vec<WirePart<'a>> {
        self.bytes_seen += parts.get().len() as u64;
        serde_json::from_str(parts.get()).unwrap_or_else(|_| {
            self.truncated = true;
            Vec::new()
        })
    }

    fn headers_of(&mut self, part: &WirePart<'_>, in_digest: bool) -> PartHeaders {
        let (block, truncated) = block(&part.headers);
        self.truncated |= truncated;
        let mut headers = PartHeaders::read(&block);
        if headers.media_type.is_empty() {
            headers.media_type = headers::clean_line(&part.mime_type, 127).to_ascii_lowercase();
        }
        if headers.filename.is_none() {
            headers.filename = headers::filename(&part.filename);
        }
        headers.or_media_type(if in_digest { "message/rfc822" } else { "text/plain" })
    }

    fn add_leaf(&mut self, part: &WirePart<'_>, mut headers: PartHeaders, in_alternative: bool) {
        // A multipart whose boundary never came is shown as text, as in a raw mail.
        if headers.media_type.starts_with("multipart/") && headers.boundary().is_some() {
            "text/plain".clone_into(&mut headers.media_type);
        }
        if headers.media_type == "message/rfc822" && headers.filename.is_none() {
            let inner = part.parts.map(|parts| self.children(parts)).unwrap_or_default();
            let subject_block = inner.first().map(|mail| block(&mail.headers).0).unwrap_or_default();
            headers.filename = Some(headers::mail_filename(&subject_block));
        }
        let body = part.body.as_ref();
        let bytes = body.and_then(|body| body.data.as_ref()).map(|data| {
            let data = data.0.as_bytes();
            BASE64_URL.decode(data).or_else(|_| BASE64.decode(data)).unwrap_or_else(|_| {
                self.truncated = true;
                Vec::new()
            })
        });
        self.leaves.push(Leaf {
            headers,
            in_alternative,
            bytes,
            attachment_id: body.and_then(|body| body.attachment_id.clone()),
            size: body.map_or(0, |body| body.size),
        });
    }

    /// The ids of bytes that are not in the answer, in order: attachments, and texts too long to be in it.
    pub fn attachment_ids(&self) -> impl Iterator<Item = &str> {
        self.leaves
            .iter()
            .filter(|leaf| leaf.bytes.is_none())
            .filter_map(|leaf| leaf.attachment_id.as_deref())
    }

    /// How many bytes of JSON reading the tree has looked at, repeats counted: each level of the twenty that are
    /// read looks at those below it.
    pub fn bytes_seen(&self) -> u64 {
        self.bytes_seen
    }

    pub(super) fn has_attachments(&self) -> bool {
        if self.is_whole {
            let is_file =
                |leaf: &Leaf| !leaf.headers.is_body() && !leaf.headers.is_inline(leaf.in_alternative);
            return self.leaves.iter().any(is_file);
        }
        match self.media_type.split_once('/') {
            Some(("multipart", subtype)) => subtype == "mixed",
            Some(("text", subtype)) => !matches!(subtype, "plain" | "html"),
            _ => true,
        }
    }

    pub(super) fn pieces<'a>(&'a self, fetched: &'a FetchedParts) -> impl Iterator<Item = Piece<'a>> {
        self.leaves.iter().map(|leaf| {
            let id = leaf.attachment_id.as_deref();
            let fetched = || id.and_then(|id| fetched.get(id));
            let held = match (leaf.bytes.as_ref(), id) {
                (Some(bytes), _) => Held::Unicode(bytes.as_slice().into()),
                (None, Some(attachment_id)) => match fetched() {
                    Some(bytes) => Held::Bytes(bytes.as_slice().into()),
                    None => Held::Elsewhere { attachment_id, size: leaf.size },
                },
                (None, None) => Held::Bytes(Cow::Borrowed(&[])),
            };
            Piece { headers: &leaf.headers, in_alternative: leaf.in_alternative, held }
        })
    }
}

/// The headers as they stand in a mail, one line each, and whether a bound left some out.
fn block(headers: &[WireHeader<'_>]) -> (Vec<u8>, bool) {
    let mut block = Vec::new();
    for header in headers {
        let length = header.name.len() + header.value.len() + 4;
        if block.len() + length > HEADERS_BYTES_MAX {
            return (block, true);
        }
        for (text, end) in [(&header.name, &b": "[..]), (&header.value, b"\r\n")] {
            // A line end in a value would begin a header of its own.
            block.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
            block.extend_from_slice(end);
        }
    }
    (block, false)
}
