//! Reading mail: headers, the part tree, decoded bodies, the snippet.
//!
//! Invariant: any bytes give a tree; depth, parts and headers are bounded, and what lies beyond a bound is the
//! body of the part that reached it. The raw message is never changed. Deliberately absent: addresses as
//! structure, which no part of Gmail's answers has.

use std::ops::Range;

use base64::Engine as _;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use mail_parser::{HeaderValue, MimeHeaders as _};

/// Deepest nest of multiparts and attached messages; each level reads the bytes below it once more.
pub const DEPTH_MAX: usize = 20;
/// Most parts of one message.
pub const PARTS_MAX: usize = 2_000;
/// Most header fields read of one part.
pub const HEADERS_MAX: usize = 2_000;
/// Characters of a snippet before it is escaped.
const SNIPPET_CHARS: usize = 200;

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

    /// The body with its transfer encoding undone, and text as UTF-8.
    pub fn decoded(&self, raw: &[u8]) -> Vec<u8> {
        let bytes = raw.get(self.body.clone()).unwrap_or_default();
        let decoded = match self.encoding.as_str() {
            "base64" => base64_lenient(bytes),
            "quoted-printable" => quoted_printable(bytes),
            _ => bytes.to_vec(),
        };
        if !self.mime_type.starts_with("text/") || self.is_attachment() {
            return decoded;
        }
        let charset = self.charset.as_deref().unwrap_or("utf-8");
        match charset_decoder(charset.as_bytes()) {
            Some(to_unicode) if !charset.eq_ignore_ascii_case("utf-8") => to_unicode(&decoded).into_bytes(),
            _ => String::from_utf8_lossy(&decoded).into_owned().into_bytes(),
        }
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
    read_headers(raw, 0..raw.len()).0
}

fn parse_part(raw: &[u8], range: Range<usize>, depth: usize, budget: &mut usize, default_type: &str) -> Part {
    let (headers, body_start) = read_headers(raw, range.clone());
    let body = body_start..range.end;
    let find =
        |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str());
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
    let encoding =
        find("Content-Transfer-Encoding").map(|v| v.trim().to_ascii_lowercase()).unwrap_or_default();
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
    Part { headers, mime_type, filename, children, charset, encoding, body }
}

/// The end of the line that starts at `from`: where its text ends, and where the next line starts.
fn line(raw: &[u8], from: usize, end: usize) -> (usize, usize) {
    let Some(length) = raw[from..end].iter().position(|byte| *byte == b'\n') else {
        return (end, end);
    };
    let feed = from + length;
    let text_end = if feed > from && raw[feed - 1] == b'\r' { feed - 1 } else { feed };
    (text_end, feed + 1)
}

fn read_headers(raw: &[u8], range: Range<usize>) -> (Vec<Header>, usize) {
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let (text_end, next) = line(raw, at, range.end);
        let text = &raw[at..text_end];
        if text.is_empty() {
            at = next;
            break;
        }
        let continues = text[0] == b' ' || text[0] == b'\t';
        if let (true, Some((_, value))) = (continues, fields.last_mut()) {
            value.push(b' ');
            value.extend_from_slice(text.trim_ascii());
        } else if let Some(colon) = text.iter().position(|byte| *byte == b':').filter(|_| !continues) {
            let name = String::from_utf8_lossy(text[..colon].trim_ascii()).into_owned();
            if name.is_empty() || name.contains(' ') {
                // Not a header: the message has begun without a blank line.
                break;
            }
            if fields.len() < HEADERS_MAX {
                fields.push((name, text[colon + 1..].trim_ascii().to_vec()));
            }
        } else {
            break;
        }
        at = next;
    }
    let headers =
        fields.into_iter().map(|(name, value)| Header { name, value: decode_words(&value) }).collect();
    (headers, at)
}

fn decode_words(value: &[u8]) -> String {
    if value.windows(2).any(|pair| pair == b"=?") {
        let mut terminated = value.to_vec();
        terminated.push(b'\n');
        if let HeaderValue::Text(text) = MessageStream::new(&terminated).parse_unstructured() {
            return text.into_owned();
        }
    }
    String::from_utf8_lossy(value).into_owned()
}

struct Structured {
    main: String,
    attributes: Vec<(String, String)>,
}

impl Structured {
    fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }
}

fn structured(value: &str) -> Structured {
    // The parser knows RFC 2231 and the usual mistakes; it is only asked for one field.
    let field = format!("Content-Type: {value}\r\n\r\n");
    let message = mail_parser::MessageParser::new().with_mime_headers().parse_headers(field.as_bytes());
    let Some(content) = message.as_ref().and_then(|m| m.content_type()) else {
        return Structured { main: String::new(), attributes: Vec::new() };
    };
    let kind = content.c_type.to_ascii_lowercase();
    let main =
        content.c_subtype.as_ref().map_or(kind.clone(), |sub| format!("{kind}/{}", sub.to_ascii_lowercase()));
    let attributes = content
        .attributes
        .iter()
        .flatten()
        .map(|attribute| (attribute.name.to_string(), attribute.value.to_string()))
        .collect();
    Structured { main, attributes }
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
            if let Some(start) = open {
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
        pieces.push(start..body.end);
    }
    pieces
}

/// The line break before a boundary belongs to the boundary.
fn without_line_end(raw: &[u8], start: usize, end: usize) -> usize {
    let bytes = &raw[start.min(end)..end];
    let trimmed = bytes.strip_suffix(b"\n").map_or(bytes, |b| b.strip_suffix(b"\r").unwrap_or(b));
    start.min(end) + trimmed.len()
}

fn base64_lenient(bytes: &[u8]) -> Vec<u8> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut digits: Vec<u8> = bytes.iter().copied().filter(is_digit).collect();
    // One digit over is no byte at all.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    let lenient = base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    engine.decode(&digits).unwrap_or_default()
}

fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'=' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match (bytes.get(at + 1).copied(), bytes.get(at + 2).copied()) {
            (Some(b'\r'), Some(b'\n')) => at += 3,
            (Some(b'\n'), _) => at += 2,
            (Some(high), Some(low)) if hex(high).is_some() && hex(low).is_some() => {
                out.push((hex(high).unwrap_or(0) << 4) | hex(low).unwrap_or(0));
                at += 3;
            }
            _ => {
                out.push(b'=');
                at += 1;
            }
        }
    }
    out
}

/// The first words of a message as Gmail shows them: one line, entities escaped.
pub fn snippet(part: &Part, raw: &[u8]) -> String {
    let parts = part.walk();
    let text = |wanted: &str| parts.iter().find(|p| p.mime_type == wanted && p.filename.is_empty());
    let body = match (text("text/plain"), text("text/html")) {
        (Some(plain), _) => String::from_utf8_lossy(&plain.decoded(raw)).into_owned(),
        (None, Some(html)) => without_tags(&String::from_utf8_lossy(&html.decoded(raw))),
        (None, None) => String::new(),
    };
    let mut short = String::new();
    // A bound on the words looked at, so that megabytes of blanks cost nothing.
    for word in body.split_whitespace() {
        let room = SNIPPET_CHARS.saturating_sub(short.chars().count());
        if room == 0 {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.extend(word.chars().take(room));
    }
    short
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for character in html.chars().take(200_000) {
        match character {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            _ if !inside => text.push(character),
            _ => {}
        }
    }
    text.replace("&nbsp;", " ")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}
