//! Headers, read by mail-parser: RFC 2047 words, RFC 2231 parameters, addresses, and what senders make of them.
//!
//! mail-parser says that it never panics; strangers write its input, so a panic in it is caught all the same
//! and costs one header block, not the worker.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use mail_parser::{
    Address as ParsedAddress, Header, HeaderName, HeaderValue, MessageParser,
    decoders::charsets::map::charset_decoder, parsers::MessageStream,
};
use sync_core::message::{Address, Envelope};

/// Most bytes kept of a display name: 300 of them and their addresses stay far below a row's 400 KB.
const NAME_BYTES_MAX: usize = 200;
/// Most bytes kept of an address, RFC 3696.
const EMAIL_BYTES_MAX: usize = 320;
/// Most bytes kept of a message id: RFC 5322's longest line.
const MESSAGE_ID_BYTES_MAX: usize = 998;
/// Most bytes kept of a file name.
const FILENAME_BYTES_MAX: usize = 255;
/// Most headers that a rendered mail shows, and most bytes of each.
const HEADERS_MAX: usize = 1_000;
const HEADER_BYTES_MAX: usize = 16 * 1024;

static ENVELOPE: LazyLock<MessageParser> = LazyLock::new(|| {
    MessageParser::new()
        .default_header_ignore()
        .header_text(HeaderName::Subject)
        .header_address(HeaderName::From)
        .header_address(HeaderName::To)
        .header_address(HeaderName::Cc)
        .header_address(HeaderName::Bcc)
        .header_id(HeaderName::MessageId)
});
static PART: LazyLock<MessageParser> =
    LazyLock::new(|| MessageParser::new().default_header_ignore().with_mime_headers());
static ALL: LazyLock<MessageParser> =
    LazyLock::new(|| MessageParser::new().default_header_text().header_text(HeaderName::Subject));

/// Runs foreign code on hostile bytes.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    // Nothing is shared with the closure that a panic could leave half-written.
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Parses a header block and hands over its headers.
fn with_headers<T: Default>(
    parser: &MessageParser,
    block: &[u8],
    read: impl FnOnce(Vec<Header<'_>>) -> T,
) -> T {
    // Line by line: one line in an old code page must not spoil the others.
    let mut text: String = block.split_inclusive(|byte| *byte == b'\n').map(in_unicode).collect();
    text.push_str("\r\n\r\n");
    guarded(|| {
        let mut headers = Vec::new();
        MessageStream::new(text.as_bytes()).parse_headers(parser, &mut headers);
        read(headers)
    })
    .unwrap_or_default()
}

/// Bytes above 127 that are not UTF-8 are nearly always some Windows code page.
pub(super) fn in_unicode(bytes: &[u8]) -> Cow<'_, str> {
    match (std::str::from_utf8(bytes), charset_decoder(b"windows-1252")) {
        (Err(_), Some(decode)) => decode(bytes).into(),
        _ => String::from_utf8_lossy(bytes),
    }
}

/// What the sender wants done with a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Disposition {
    #[default]
    Unsaid,
    Inline,
    Attachment,
}

/// How a part's body is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Plain,
    Base64,
    QuotedPrintable,
    Uuencode,
}

/// What a part's headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartHeaders {
    /// Lower case, `type/subtype`; empty when unsaid.
    pub media_type: String,
    pub charset: Option<String>,
    pub filename: Option<String>,
    pub disposition: Disposition,
    /// Without angle brackets.
    pub content_id: Option<String>,
    pub encoding: Encoding,
    boundary: Option<String>,
}

impl PartHeaders {
    pub(super) fn read(block: &[u8]) -> Self {
        with_headers(&PART, block, |headers| {
            let mut part = Self::default();
            // The first of each counts; a later one is a smuggler's.
            for header in headers.into_iter().rev() {
                part.apply(&header);
            }
            part
        })
    }

    fn apply(&mut self, header: &Header<'_>) {
        match &header.name {
            HeaderName::ContentType => {
                let Some(kind) = header.value.as_content_type() else { return };
                let subtype = kind.subtype().unwrap_or("plain");
                self.media_type =
                    clean_line(&format!("{}/{subtype}", kind.ctype()), 127).to_ascii_lowercase();
                self.charset = kind.attribute("charset").map(str::to_owned);
                self.boundary = kind.attribute("boundary").map(str::to_owned);
                if self.filename.is_none() {
                    self.filename = kind.attribute("name").and_then(filename);
                }
            }
            HeaderName::ContentDisposition => {
                let Some(kind) = header.value.as_content_type() else { return };
                self.disposition = if kind.ctype().eq_ignore_ascii_case("inline") {
                    Disposition::Inline
                } else {
                    // RFC 2183: an unknown disposition is an attachment.
                    Disposition::Attachment
                };
                self.filename = kind.attribute("filename").and_then(filename).or(self.filename.take());
            }
            HeaderName::ContentId => {
                self.content_id = header.value.as_text().map(|id| clean_line(id, MESSAGE_ID_BYTES_MAX));
            }
            HeaderName::ContentTransferEncoding => {
                let encoding = header.value.as_text().unwrap_or_default().trim();
                self.encoding = match encoding.to_ascii_lowercase().as_str() {
                    "base64" => Encoding::Base64,
                    "quoted-printable" => Encoding::QuotedPrintable,
                    "x-uuencode" | "uuencode" | "x-uue" => Encoding::Uuencode,
                    _ => Encoding::Plain,
                };
            }
            _ => {}
        }
    }

    /// Fills in the type that holds when none is said.
    pub(super) fn or_media_type(mut self, unless: &str) -> Self {
        if self.media_type.is_empty() {
            unless.clone_into(&mut self.media_type);
        }
        self
    }

    /// The boundary of a multipart that has one.
    pub(super) fn boundary(&self) -> Option<&[u8]> {
        let boundary = self.boundary.as_deref()?.trim_end();
        (self.media_type.starts_with("multipart/") && !boundary.is_empty()).then_some(boundary.as_bytes())
    }
}

/// A file name without path: it may be used as one.
fn filename(name: &str) -> Option<String> {
    let name: String = name.chars().map(|c| if matches!(c, '/' | '\\') { '_' } else { c }).collect();
    let name = clean_line(&name, FILENAME_BYTES_MAX);
    (!name.is_empty()).then_some(name)
}

/// What the list view needs of the mail's own headers.
pub(super) fn envelope(block: &[u8]) -> Envelope {
    with_headers(&ENVELOPE, block, |headers| {
        let mut envelope = Envelope::default();
        let mut subject = None;
        for header in &headers {
            match (&header.name, &header.value) {
                (HeaderName::Subject, value) => {
                    subject = subject.or_else(|| text_of(value, Envelope::TEXT_BYTES_MAX));
                }
                (HeaderName::MessageId, value) if envelope.rfc822_message_id.is_none() => {
                    envelope.rfc822_message_id = text_of(value, MESSAGE_ID_BYTES_MAX);
                }
                (HeaderName::From, HeaderValue::Address(addresses)) if envelope.from.is_none() => {
                    envelope.from = read_addresses(addresses).next();
                }
                (HeaderName::To, HeaderValue::Address(addresses)) => add(&mut envelope.to, addresses),
                (HeaderName::Cc, HeaderValue::Address(addresses)) => add(&mut envelope.cc, addresses),
                (HeaderName::Bcc, HeaderValue::Address(addresses)) => add(&mut envelope.bcc, addresses),
                _ => {}
            }
        }
        envelope.subject = subject.unwrap_or_default();
        envelope
    })
}

fn text_of(value: &HeaderValue<'_>, bytes_max: usize) -> Option<String> {
    let text = match value {
        HeaderValue::Text(text) => text.as_ref(),
        HeaderValue::TextList(list) => list.first()?.as_ref(),
        _ => return None,
    };
    let text = clean_line(text, bytes_max);
    (!text.is_empty()).then_some(text)
}

fn add(list: &mut Vec<Address>, more: &ParsedAddress<'_>) {
    let room = Envelope::ADDRESSES_MAX - list.len().min(Envelope::ADDRESSES_MAX);
    list.extend(read_addresses(more).take(room));
}

fn read_addresses<'a>(addresses: &'a ParsedAddress<'_>) -> impl Iterator<Item = Address> + 'a {
    addresses.iter().filter_map(|address| {
        let email = clean_line(address.address().unwrap_or_default(), EMAIL_BYTES_MAX);
        let name = clean_line(address.name().unwrap_or_default(), NAME_BYTES_MAX);
        match (email.is_empty(), name.is_empty()) {
            (true, true) => None,
            // A sender without an address is shown by what stands there.
            (true, false) => Some(Address { name: None, email: name }),
            (false, true) => Some(Address { name: None, email }),
            (false, false) => Some(Address { name: Some(name), email }),
        }
    })
}

/// All headers, decoded, in order.
pub(super) fn all(block: &[u8]) -> Vec<(String, String)> {
    with_headers(&ALL, block, |headers| {
        let shown = |header: &Header<'_>| {
            let value = text_of(&header.value, HEADER_BYTES_MAX).unwrap_or_default();
            (clean_line(header.name(), 200), value)
        };
        headers.iter().take(HEADERS_MAX).map(shown).collect()
    })
}

/// One line of text: control characters dropped (a tab or line end becomes a space), trimmed, bounded.
pub(super) fn clean_line(text: &str, bytes_max: usize) -> String {
    // What a bound will cut off is not copied first; controls may make up all of it.
    let mut clean = String::with_capacity(text.len().min(bytes_max));
    for c in text.trim().chars() {
        let c = if matches!(c, '\t' | '\n' | '\r') { ' ' } else { c };
        if c.is_control() {
            continue;
        }
        if clean.len() + c.len_utf8() > bytes_max {
            break;
        }
        clean.push(c);
    }
    clean.truncate(clean.trim_end().len());
    clean
}
