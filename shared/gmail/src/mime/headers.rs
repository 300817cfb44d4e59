//! Headers: fields, encoded words, parameters, addresses, and what senders make of them.
//!
//! mail-parser reads what has a grammar (addresses, parameters, dates). It says that it never panics; strangers
//! write its input, so a panic in it is caught all the same and costs one field, not the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;
use mail_parser::{Address as ParsedAddress, HeaderValue, parsers::MessageStream};
use sync_core::message::{Address, Envelope};

use super::{charset, words};

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

/// Runs foreign code on hostile bytes.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    // Nothing is shared with the closure that a panic could leave half-written.
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// One header field. Its value is still folded.
struct Field {
    name: String,
    value: String,
}

impl Field {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Its value as one line of text.
    fn text(&self, bytes_max: usize) -> String {
        let unfolded = self.value.replace(['\r', '\n'], "");
        clean_line(&words::decoded(&unfolded), bytes_max)
    }

    /// Its value, read by a grammar of mail-parser's.
    fn parsed<T>(&self, grammar: Grammar, read: impl FnOnce(HeaderValue<'_>) -> Option<T>) -> Option<T> {
        let mut text = words::in_utf8(&self.value).into_owned();
        text.push_str("\r\n");
        guarded(|| read(grammar.parse(text.as_bytes())))?
    }
}

/// The grammars that mail-parser reads for us.
#[derive(Clone, Copy)]
enum Grammar {
    Addresses,
    /// A value and its parameters.
    Parameters,
    Date,
    Ids,
}

impl Grammar {
    fn parse(self, text: &[u8]) -> HeaderValue<'_> {
        let mut stream = MessageStream::new(text);
        match self {
            Self::Addresses => stream.parse_address(),
            Self::Parameters => stream.parse_content_type(),
            Self::Date => stream.parse_date(),
            Self::Ids => stream.parse_id(),
        }
    }
}

/// The fields of a header block, in order. A line that is no field goes to the one before it.
fn fields(block: &[u8]) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        // Line by line: one line in an old code page must not spoil the others.
        let line = charset::guess(line);
        match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                fields.push(Field { name: name.trim().to_owned(), value: value.to_owned() });
            }
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.value.push_str(&line);
                }
            }
        }
    }
    fields
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
    /// `format=flowed`, RFC 3676, and its `delsp=yes`.
    pub is_flowed: bool,
    pub deletes_space: bool,
    boundary: Option<String>,
}

impl PartHeaders {
    pub(super) fn read(block: &[u8]) -> Self {
        let mut part = Self::default();
        // The first of each counts; a later one is a smuggler's.
        for field in fields(block).iter().rev() {
            part.apply(field);
        }
        part
    }

    fn apply(&mut self, field: &Field) {
        let is = |name| field.is(name);
        if is("Content-Type") {
            self.apply_type(field);
        } else if is("Content-Disposition") {
            self.apply_disposition(field);
        } else if is("Content-ID") {
            let id = field.text(MESSAGE_ID_BYTES_MAX);
            let id = id.trim_start_matches('<').trim_end_matches('>').trim();
            self.content_id = (!id.is_empty()).then(|| id.to_owned());
        } else if is("Content-Transfer-Encoding") {
            let said = field.text(64).to_ascii_lowercase();
            let name = said.split([' ', ';', '(']).next().unwrap_or_default();
            self.encoding = match name.trim_matches(['"', '\'']) {
                "base64" => Encoding::Base64,
                "quoted-printable" => Encoding::QuotedPrintable,
                "x-uuencode" | "uuencode" | "x-uue" | "uue" => Encoding::Uuencode,
                _ => Encoding::Plain,
            };
        }
    }

    fn apply_type(&mut self, field: &Field) {
        field.parsed(Grammar::Parameters, |value| {
            let kind = value.as_content_type()?;
            // RFC 2045, 5.2: what is no type is text/plain.
            let (main, sub) = (kind.ctype(), kind.subtype().unwrap_or_default());
            self.media_type = if main.is_empty() || sub.is_empty() {
                String::new()
            } else {
                clean_line(&format!("{main}/{sub}"), 127).to_ascii_lowercase()
            };
            let attribute = |name| kind.attribute(name).map(str::to_owned);
            self.charset = attribute("charset");
            self.boundary = attribute("boundary");
            self.is_flowed =
                kind.attribute("format").is_some_and(|format| format.eq_ignore_ascii_case("flowed"));
            self.deletes_space = kind.attribute("delsp").is_some_and(|said| said.eq_ignore_ascii_case("yes"));
            if self.filename.is_none() {
                self.filename = kind.attribute("name").and_then(filename);
            }
            Some(())
        });
    }

    fn apply_disposition(&mut self, field: &Field) {
        field.parsed(Grammar::Parameters, |value| {
            let kind = value.as_content_type()?;
            self.disposition = if kind.ctype().eq_ignore_ascii_case("inline") {
                Disposition::Inline
            } else {
                // RFC 2183: an unknown disposition is an attachment.
                Disposition::Attachment
            };
            self.filename = kind.attribute("filename").and_then(filename).or(self.filename.take());
            Some(())
        });
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

    /// Whether the part is the mail's text rather than something beside it.
    pub(super) fn is_body(&self) -> bool {
        matches!(self.media_type.as_str(), "text/plain" | "text/html")
            && self.filename.is_none()
            && self.disposition != Disposition::Attachment
    }

    /// Whether the part belongs into the text: a picture in it, another way to show it.
    pub(super) fn is_inline(&self, in_alternative: bool) -> bool {
        let picture = self.media_type.starts_with("image/")
            && (self.content_id.is_some() || self.disposition == Disposition::Inline);
        let variant = in_alternative && self.filename.is_none() && self.media_type.starts_with("text/");
        self.disposition != Disposition::Attachment && (picture || variant)
    }
}

/// A file name without path: it may be used as one.
pub(super) fn filename(name: &str) -> Option<String> {
    let name: String = name.chars().map(|c| if matches!(c, '/' | '\\') { '_' } else { c }).collect();
    let name = clean_line(&name, FILENAME_BYTES_MAX);
    (!name.is_empty()).then_some(name)
}

/// What an attached mail without a name is called: by its subject.
pub(super) fn mail_filename(block: &[u8]) -> String {
    /// Leaves room for the ending.
    const STEM_BYTES_MAX: usize = FILENAME_BYTES_MAX - ".eml".len();
    let subject =
        fields(block).iter().find(|field| field.is("Subject")).map(|field| field.text(STEM_BYTES_MAX));
    let stem = subject.and_then(|subject| filename(&subject)).unwrap_or_else(|| "message".to_owned());
    format!("{stem}.eml")
}

/// What the list view needs of the mail's own headers.
pub(super) fn envelope(block: &[u8]) -> Envelope {
    let mut envelope = Envelope::default();
    for field in &fields(block) {
        if field.is("Subject") && envelope.subject.is_empty() {
            envelope.subject = field.text(Envelope::TEXT_BYTES_MAX);
        } else if field.is("Message-ID") && envelope.rfc822_message_id.is_none() {
            envelope.rfc822_message_id = field.parsed(Grammar::Ids, |value| text_of(&value));
        } else if field.is("From") && envelope.from.is_none() {
            envelope.from = field.parsed(Grammar::Addresses, |value| {
                value.as_address().and_then(|addresses| read_addresses(addresses).next())
            });
        } else if field.is("To") {
            add(&mut envelope.to, field);
        } else if field.is("Cc") {
            add(&mut envelope.cc, field);
        } else if field.is("Bcc") {
            add(&mut envelope.bcc, field);
        }
    }
    envelope
}

/// When its sender says that it was written; `None` when what it says is no time since 1970.
pub(super) fn date(block: &[u8]) -> Option<Timestamp> {
    let fields = fields(block);
    let field = fields.iter().find(|field| field.is("Date"))?;
    let read = |value| parsed_date(&Field { name: String::new(), value });
    // What C's asctime writes, the year last; mail-parser would take the hour for it.
    let words: Vec<&str> = field.value.split_whitespace().take(6).collect();
    if let [_, month, day, time, year] = words.as_slice()
        && time.contains(':')
        && year.bytes().all(|byte| byte.is_ascii_digit())
        && month.bytes().all(|byte| byte.is_ascii_alphabetic())
    {
        return read(format!(" {day} {month} {year} {time} +0000"));
    }
    if !field.value.contains(':') {
        return None;
    }
    // A time without zone is taken for UTC.
    parsed_date(field).or_else(|| read(format!("{} +0000", field.value.trim_end())))
}

fn parsed_date(field: &Field) -> Option<Timestamp> {
    field.parsed(Grammar::Date, |value| {
        let date = value.as_datetime().filter(|date| date.is_valid())?;
        Timestamp::from_second(date.to_timestamp()).ok().filter(|date| *date >= Timestamp::UNIX_EPOCH)
    })
}

fn text_of(value: &HeaderValue<'_>) -> Option<String> {
    let text = match value {
        HeaderValue::Text(text) => text.as_ref(),
        HeaderValue::TextList(list) => list.first()?.as_ref(),
        _ => return None,
    };
    let text = clean_line(text, MESSAGE_ID_BYTES_MAX);
    (!text.is_empty()).then_some(text)
}

fn add(list: &mut Vec<Address>, field: &Field) {
    let room = Envelope::ADDRESSES_MAX - list.len().min(Envelope::ADDRESSES_MAX);
    field.parsed(Grammar::Addresses, |value| {
        list.extend(read_addresses(value.as_address()?).take(room));
        Some(())
    });
}

fn read_addresses<'a>(addresses: &'a ParsedAddress<'_>) -> impl Iterator<Item = Address> + 'a {
    addresses.iter().filter_map(|address| {
        let email = clean_line(address.address().unwrap_or_default(), EMAIL_BYTES_MAX);
        let name = clean_line(address.name().unwrap_or_default(), NAME_BYTES_MAX);
        match (email.is_empty(), name.is_empty()) {
            // mail-parser takes a quoted local part for a name.
            (false, false) if email.starts_with('@') => {
                let is_atom =
                    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte));
                let local = if is_atom { name } else { format!("\"{name}\"") };
                Some(Address { name: None, email: clean_line(&format!("{local}{email}"), EMAIL_BYTES_MAX) })
            }
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
    let shown = |field: &Field| (clean_line(&field.name, 200), field.text(HEADER_BYTES_MAX));
    fields(block).iter().take(HEADERS_MAX).map(shown).collect()
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
