//! One mail as a person sees it: headers, text, HTML, attachments by the hash of what they hold.

use std::borrow::Cow;

use aws_lc_rs::digest;
use jiff::Timestamp;
use mail_parser::decoders::html::html_to_text;

use super::{
    Parsed, charset,
    flowed::unflowed,
    headers::{self, PartHeaders, guarded},
    structure, tnef,
};

/// Most bytes of text, and of HTML, that one view holds: an answer of a function is at most 6 MB.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// One mail, decoded.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FullMail {
    /// All headers, decoded, in order.
    pub headers: Vec<(String, String)>,
    /// When its sender says that it was written.
    pub date: Option<Timestamp>,
    /// The text, from HTML when there is no plain one. At most [`TEXT_BYTES_MAX`].
    pub text: Option<String>,
    /// The HTML **as the sender wrote it**: hostile until it is sanitised. At most [`TEXT_BYTES_MAX`].
    pub html: Option<String>,
    /// What is beside the text, pictures in it included.
    pub attachments: Vec<Attachment>,
    /// Whether a bound left something out; the raw mail has it.
    pub truncated: bool,
}

impl std::fmt::Debug for FullMail {
    // Mail does not belong in a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FullMail")
            .field("attachments", &self.attachments.len())
            .finish_non_exhaustive()
    }
}

/// One attachment, by what it says of itself: neither name nor type is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Without path; absent when unnamed.
    pub filename: Option<String>,
    /// Lower case, `type/subtype`.
    pub content_type: String,
    /// Decoded length, bytes.
    pub size: u64,
    /// Lower-case hex SHA-256 of the decoded bytes; empty when they were not fetched.
    pub sha256: String,
    /// What HTML calls it by, without angle brackets.
    pub content_id: Option<String>,
    /// Whether it belongs into the text.
    pub inline: bool,
    /// The hash of the `winmail.dat` that it was found in, which is listed too.
    pub container: Option<String>,
    /// Gmail's id of bytes that were not there when it was described; `sha256` is then empty, and `size` is
    /// what Gmail says.
    pub attachment_id: Option<String>,
}

/// A part that holds something, whatever format it came in.
pub(super) struct Piece<'a> {
    pub headers: &'a PartHeaders,
    pub in_alternative: bool,
    pub held: Held<'a>,
}

/// What a part holds.
pub(super) enum Held<'a> {
    /// Decoded bytes; text is still in its charset.
    Bytes(Cow<'a, [u8]>),
    /// Bytes that Gmail has decoded, text in UTF-8.
    Unicode(Cow<'a, [u8]>),
    /// Not fetched: Gmail's id and what it says of the size.
    Elsewhere { attachment_id: &'a str, size: u64 },
}

/// Decodes a mail for a view.
pub fn render(raw: &[u8]) -> FullMail {
    let mail = Parsed::new(raw);
    assemble(mail.header_block(), mail.pieces(), mail.structure.truncated)
}

/// Puts a mail together from its parts.
pub(super) fn assemble<'a>(
    header_block: &[u8],
    pieces: impl Iterator<Item = Piece<'a>>,
    truncated: bool,
) -> FullMail {
    let mut mail = FullMail {
        headers: headers::all(header_block),
        date: headers::date(header_block),
        truncated,
        ..FullMail::default()
    };
    let mut body = Body::default();
    for piece in pieces {
        if piece.headers.is_body() {
            body.add(&piece);
        } else {
            with_files(&piece, |attachment, _| {
                mail.attachments.push(attachment);
                None::<()>
            });
        }
    }
    mail.truncated |= body.truncated;
    (mail.text, mail.html) = body.finish();
    mail
}

/// The decoded bytes of the attachment with that hash, and what it says of itself.
pub fn attachment(raw: &[u8], sha256: &str) -> Option<(Attachment, Vec<u8>)> {
    let mail = Parsed::new(raw);
    mail.pieces().filter(|piece| !piece.headers.is_body()).find_map(|piece| {
        with_files(&piece, |attachment, bytes| {
            (attachment.sha256 == sha256).then(|| (attachment, bytes.to_vec()))
        })
    })
}

/// The decoded bytes of the attachment at that place, from 0, what is inside a `winmail.dat` not counted: the places are
/// those of format `full`, which does not look inside.
pub fn attachment_at(raw: &[u8], place: usize) -> Option<(Attachment, Vec<u8>)> {
    let mail = Parsed::new(raw);
    let piece = mail.pieces().filter(|piece| !piece.headers.is_body()).nth(place)?;
    with_files(&piece, |attachment, bytes| Some((attachment, bytes.to_vec())))
}

/// Shows an attachment, and what is inside it if it is a `winmail.dat`, until something is found.
fn with_files<T>(piece: &Piece<'_>, mut find: impl FnMut(Attachment, &[u8]) -> Option<T>) -> Option<T> {
    let whole = describe(piece);
    let bytes = match &piece.held {
        Held::Bytes(bytes) | Held::Unicode(bytes) => bytes.as_ref(),
        Held::Elsewhere { .. } => return find(whole, &[]),
    };
    let is_winmail = matches!(whole.content_type.as_str(), "application/ms-tnef" | "application/vnd.ms-tnef")
        || whole.filename.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("winmail.dat"));
    let container = whole.sha256.clone();
    if let Some(found) = find(whole, bytes) {
        return Some(found);
    }
    let files = if is_winmail { tnef::files(bytes) } else { Vec::new() };
    files.into_iter().find_map(|file| {
        let described = Attachment {
            filename: file.filename.as_deref().and_then(headers::filename),
            content_type: file
                .media_type
                .map(|media_type| headers::clean_line(&media_type, 127).to_ascii_lowercase())
                .filter(|media_type| media_type.contains('/'))
                .unwrap_or_else(|| "application/octet-stream".to_owned()),
            size: file.bytes.len() as u64,
            sha256: hash(file.bytes),
            inline: file.content_id.is_some(),
            content_id: file.content_id.map(|id| headers::clean_line(&id, 998)).filter(|id| !id.is_empty()),
            container: Some(container.clone()),
            attachment_id: None,
        };
        find(described, file.bytes)
    })
}

fn describe(piece: &Piece<'_>) -> Attachment {
    let (size, sha256, attachment_id) = match &piece.held {
        Held::Bytes(bytes) | Held::Unicode(bytes) => (bytes.len() as u64, hash(bytes), None),
        Held::Elsewhere { attachment_id, size } => (*size, String::new(), Some((*attachment_id).to_owned())),
    };
    let filename = piece.headers.filename.clone().or_else(|| match &piece.held {
        Held::Bytes(bytes) if piece.headers.media_type == "message/rfc822" => {
            Some(headers::mail_filename(structure::header_block(bytes)))
        }
        Held::Bytes(_) | Held::Unicode(_) | Held::Elsewhere { .. } => None,
    });
    Attachment {
        filename,
        content_type: piece.headers.media_type.clone(),
        size,
        sha256,
        content_id: piece.headers.content_id.clone(),
        inline: piece.headers.is_inline(piece.in_alternative),
        container: None,
        attachment_id,
    }
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// The text as it is put together.
#[derive(Default)]
struct Body {
    text: String,
    html: String,
    has_text: bool,
    has_html: bool,
    truncated: bool,
}

impl Body {
    fn add(&mut self, piece: &Piece<'_>) {
        let Some(text) = text_of(piece) else {
            self.truncated = true;
            return;
        };
        if piece.headers.media_type == "text/html" {
            self.has_html = true;
            self.truncated |= push(&mut self.html, &text);
            return;
        }
        self.has_text = true;
        self.truncated |= push(&mut self.text, &text);
        // Text beside HTML, a list's footer say, would be lost to whoever looks at the HTML.
        if !piece.in_alternative {
            let quoted = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            self.truncated |= push(&mut self.html, &format!("<pre>{quoted}</pre>"));
        }
    }

    fn finish(self) -> (Option<String>, Option<String>) {
        let text = if self.has_text {
            Some(self.text)
        } else if self.has_html {
            // mail-parser's, one pass: whoever builds the tree pays for a stranger's nests.
            guarded(|| html_to_text(&self.html)).map(|text| clean_text(&text))
        } else {
            None
        };
        (text, self.has_html.then_some(self.html))
    }
}

/// Appends what there is room for; says whether something was left out.
fn push(whole: &mut String, more: &str) -> bool {
    if !whole.is_empty() {
        whole.push('\n');
    }
    let room = TEXT_BYTES_MAX.saturating_sub(whole.len());
    let end = more.floor_char_boundary(room);
    whole.push_str(more.get(..end).unwrap_or_default());
    end < more.len()
}

/// A text part in Unicode, lines ending in LF, control characters dropped. `None` when it was not fetched.
fn text_of(piece: &Piece<'_>) -> Option<String> {
    /// No charset needs more bytes for a letter than this many times UTF-8.
    const WIDEST: usize = 4;
    let (bytes, is_unicode) = match &piece.held {
        Held::Bytes(bytes) => (bytes, false),
        Held::Unicode(bytes) => (bytes, true),
        Held::Elsewhere { .. } => return None,
    };
    let clipped = bytes.get(..bytes.len().min(TEXT_BYTES_MAX * WIDEST)).unwrap_or_default();
    let bytes = whole_characters(clipped);
    let label = piece.headers.charset.as_deref().unwrap_or_default();
    // Escape sequences are a charset that nobody has decoded yet, whatever Gmail is said to do.
    let is_escaped = bytes.contains(&0x1b) && label.to_ascii_lowercase().contains("iso-2022");
    let is_decoded = is_unicode && !is_escaped && std::str::from_utf8(bytes).is_ok();
    let label = if is_decoded { "utf-8" } else { label };
    let text = clean_text(&charset::decode(label, bytes));
    let flows = piece.headers.is_flowed && piece.headers.media_type == "text/plain";
    Some(if flows { unflowed(&text, piece.headers.deletes_space) } else { text })
}

/// Leaves out a last character that a bound cut in two: for it, all would be taken for another charset.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > TEXT_BYTES_MAX => {
            bytes.get(..error.valid_up_to()).unwrap_or_default()
        }
        Ok(_) | Err(_) => bytes,
    }
}

/// Lines end in LF, whatever they ended in; control characters are dropped.
fn clean_text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut last = '\0';
    for c in text.chars() {
        match c {
            '\n' if last == '\r' => {}
            '\r' => clean.push('\n'),
            _ if c.is_control() && !matches!(c, '\n' | '\t') => {}
            _ => clean.push(c),
        }
        last = c;
    }
    clean
}
