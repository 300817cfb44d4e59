//! Reading mail: headers, the part tree, decoded bodies, the snippet.
//!
//! Invariant: any bytes give a tree; depth, parts and headers are bounded, and what lies beyond a bound is the
//! body of the part that reached it. The raw message is never changed. Deliberately absent: addresses as
//! structure, which no part of Gmail's answers has.

mod fields;
mod snippet;
mod structured;
mod transfer;

use std::ops::Range;

use fields::{Field, line};
pub use snippet::snippet;
use structured::structured;
use transfer::{base64_lenient, quoted_printable};

/// Deepest nest of multiparts and attached messages; each level reads the bytes below it once more.
pub const DEPTH_MAX: usize = 20;
/// Most parts of one message.
pub const PARTS_MAX: usize = 2_000;
/// Most header fields read of one part.
pub const HEADERS_MAX: usize = 2_000;

/// A header field, unfolded and with encoded words decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// As written.
    pub name: String,
    /// Without line breaks.
    pub value: String,
}

/// One node of a message.
#[derive(Debug, Clone)]
pub struct Part {
    /// In the order of the message.
    pub headers: Vec<Header>,
    /// Lower case, `text/plain` when absent or broken.
    pub mime_type: String,
    /// Empty when the part names no file.
    pub filename: String,
    /// The parts of a multipart, or the one message of a `message/rfc822`.
    pub children: Vec<Part>,
    charset: Option<String>,
    encoding: String,
    body: Range<usize>,
}

impl Part {
    /// The first value of a header, compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
    }

    /// Whether it only holds other parts.
    pub fn is_multipart(&self) -> bool {
        self.mime_type.starts_with("multipart/") && !self.children.is_empty()
    }

    /// Whether Gmail gives its body by id and not in place.
    pub fn is_attachment(&self) -> bool {
        !self.is_multipart() && (!self.filename.is_empty() || !self.mime_type.starts_with("text/"))
    }

    /// The body with its transfer encoding undone.
    pub fn bytes(&self, raw: &[u8]) -> Vec<u8> {
        let bytes = raw.get(self.body.clone()).unwrap_or_default();
        match self.encoding.as_str() {
            "base64" => base64_lenient(bytes),
            "quoted-printable" => quoted_printable(bytes),
            _ => bytes.to_vec(),
        }
    }

    /// The body as Gmail gives it: the transfer encoding undone, and text as UTF-8.
    pub fn decoded(&self, raw: &[u8]) -> Vec<u8> {
        let decoded = self.bytes(raw);
        if !self.mime_type.starts_with("text/") || self.is_attachment() {
            return decoded;
        }
        fields::to_text(self.charset.as_deref().unwrap_or_default(), &decoded).into_bytes()
    }

    /// This part and all below it, parents first.
    pub fn walk(&self) -> Vec<&Part> {
        let mut found = vec![self];
        for child in &self.children {
            found.extend(child.walk());
        }
        found
    }
}

/// The part tree of a message.
pub fn parse(raw: &[u8]) -> Part {
    let mut budget = PARTS_MAX;
    parse_part(raw, 0..raw.len(), DEPTH_MAX, &mut budget, "text/plain")
}

/// Only the headers of a message, for indexing.
pub fn parse_headers(raw: &[u8]) -> Vec<Header> {
    fields::read(raw, 0..raw.len()).0.into_iter().map(Field::header).collect()
}

fn parse_part(raw: &[u8], range: Range<usize>, depth: usize, budget: &mut usize, default_type: &str) -> Part {
    let (fields, body_start) = fields::read(raw, range.clone());
    let body = body_start..range.end;
    let find = |name: &str| fields.iter().find(|field| field.is(name)).map(|field| field.value.as_slice());
    let content = find("Content-Type").map(structured);
    let mime_type = content
        .as_ref()
        .filter(|c| !c.main.is_empty() && c.main.contains('/'))
        .map_or_else(|| default_type.to_owned(), |c| c.main.clone());
    let disposition = find("Content-Disposition").map(structured);
    let filename = disposition
        .as_ref()
        .and_then(|d| d.attribute("filename"))
        .or_else(|| content.as_ref().and_then(|c| c.attribute("name")))
        .unwrap_or_default();
    let boundary = content.as_ref().and_then(|c| c.attribute("boundary")).filter(|b| !b.is_empty());
    let charset = content.as_ref().and_then(|c| c.attribute("charset"));
    let encoding = find("Content-Transfer-Encoding")
        .map(|value| String::from_utf8_lossy(value).to_ascii_lowercase())
        .unwrap_or_default();
    let mut children = Vec::new();
    if depth > 0 {
        if let (true, Some(boundary)) = (mime_type.starts_with("multipart/"), boundary) {
            let inner = if mime_type == "multipart/digest" { "message/rfc822" } else { "text/plain" };
            for piece in split(raw, body.clone(), boundary.as_bytes(), *budget) {
                if *budget == 0 {
                    break;
                }
                *budget -= 1;
                children.push(parse_part(raw, piece, depth - 1, budget, inner));
            }
        } else if mime_type == "message/rfc822" && *budget > 0 && !matches!(encoding.as_str(), "base64") {
            *budget -= 1;
            children.push(parse_part(raw, body.clone(), depth - 1, budget, "text/plain"));
        }
    }
    let headers = fields.into_iter().map(Field::header).collect();
    Part { headers, mime_type, filename, children, charset, encoding, body }
}

fn split(raw: &[u8], body: Range<usize>, boundary: &[u8], pieces_max: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = body.start;
    while at < body.end && pieces.len() <= pieces_max {
        let (text_end, next) = line(raw, at, body.end);
        let text = raw[at..text_end].trim_ascii_end();
        if let Some(rest) = text.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary))
            && (rest.is_empty() || rest == b"--")
        {
            // Two boundaries in a row have nothing between them, not even an empty part.
            if let Some(start) = open.filter(|start| *start < at) {
                pieces.push(start..without_line_end(raw, start, at));
            }
            open = if rest.is_empty() { Some(next) } else { None };
            if !rest.is_empty() {
                return pieces;
            }
        }
        at = next;
    }
    if let Some(start) = open {
        pieces.push(start..without_line_end(raw, start, body.end));
    }
    pieces
}

/// The line break before a boundary belongs to the boundary.
fn without_line_end(raw: &[u8], start: usize, end: usize) -> usize {
    let bytes = &raw[start.min(end)..end];
    let trimmed = bytes.strip_suffix(b"\n").map_or(bytes, |b| b.strip_suffix(b"\r").unwrap_or(b));
    start.min(end) + trimmed.len()
}
