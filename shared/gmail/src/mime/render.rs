//! One mail as a person sees it: headers, text, HTML, attachments by the hash of what they hold.

use std::borrow::Cow;

use aws_lc_rs::digest;
use base64::Engine as _;
use mail_parser::decoders::{
    base64::base64_decode, charsets::map::charset_decoder, html::html_to_text,
    quoted_printable::quoted_printable_decode,
};

use super::{
    headers::{self, Encoding, guarded},
    structure::{self, Leaf},
};
use crate::requests::BASE64;

/// Most bytes of text, and of HTML, that one view holds: an answer of a function is at most 6 MB.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// One mail, decoded.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FullMail {
    /// All headers, decoded, in order.
    pub headers: Vec<(String, String)>,
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
    /// Lower-case hex SHA-256 of the decoded bytes.
    pub sha256: String,
    /// What HTML calls it by, without angle brackets.
    pub content_id: Option<String>,
    /// Whether it belongs into the text.
    pub inline: bool,
}

/// Decodes a mail for a view.
pub fn render(raw: &[u8]) -> FullMail {
    let structure = structure::walk(raw);
    let block = raw.get(structure.headers.clone()).unwrap_or_default();
    let mut mail =
        FullMail { headers: headers::all(block), truncated: structure.truncated, ..FullMail::default() };
    let mut body = Body::default();
    for leaf in &structure.leaves {
        if leaf.is_body() {
            body.add(leaf, raw);
        } else {
            mail.attachments.push(describe(leaf, &decode(leaf, raw)));
        }
    }
    mail.truncated |= body.truncated;
    (mail.text, mail.html) = body.finish();
    mail
}

/// The decoded bytes of the attachment with that hash, and what it says of itself.
pub fn attachment(raw: &[u8], sha256: &str) -> Option<(Attachment, Vec<u8>)> {
    structure::walk(raw).leaves.iter().filter(|leaf| !leaf.is_body()).find_map(|leaf| {
        let bytes = decode(leaf, raw);
        let described = describe(leaf, &bytes);
        (described.sha256 == sha256).then(|| (described, bytes.into_owned()))
    })
}

fn describe(leaf: &Leaf, bytes: &[u8]) -> Attachment {
    Attachment {
        filename: leaf.headers.filename.clone(),
        content_type: leaf.headers.media_type.clone(),
        size: bytes.len() as u64,
        sha256: hex::encode(digest::digest(&digest::SHA256, bytes)),
        content_id: leaf.headers.content_id.clone(),
        inline: leaf.is_inline(),
    }
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
    fn add(&mut self, leaf: &Leaf, raw: &[u8]) {
        let text = decode_text(leaf, raw);
        if leaf.headers.media_type == "text/html" {
            self.has_html = true;
            self.truncated |= push(&mut self.html, &text);
            return;
        }
        self.has_text = true;
        self.truncated |= push(&mut self.text, &text);
        // Text beside HTML, a list's footer say, would be lost to whoever looks at the HTML.
        if !leaf.in_alternative {
            let quoted = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            self.truncated |= push(&mut self.html, &format!("<pre>{quoted}</pre>"));
        }
    }

    fn finish(self) -> (Option<String>, Option<String>) {
        let text = if self.has_text {
            Some(self.text)
        } else if self.has_html {
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

/// A text part in Unicode, lines ending in LF, control characters dropped.
fn decode_text(leaf: &Leaf, raw: &[u8]) -> String {
    /// No charset needs more bytes for a letter than this many times UTF-8.
    const WIDEST: usize = 4;
    let bytes = decode(leaf, raw);
    let clipped = bytes.get(..bytes.len().min(TEXT_BYTES_MAX * WIDEST)).unwrap_or_default();
    let bytes = whole_characters(clipped);
    let named = leaf.headers.charset.as_deref().unwrap_or_default().trim();
    let text = match charset_decoder(named.as_bytes()) {
        // Much mail says us-ascii or nothing and is UTF-8.
        Some(decoder) if !named.eq_ignore_ascii_case("us-ascii") => guarded(|| decoder(bytes)),
        Some(_) | None => None,
    };
    let text = text.map_or_else(|| headers::in_unicode(bytes), Into::into);
    clean_text(&text)
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

fn clean_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A part's bytes, decoded. Broken encodings yield what can be had, never nothing.
fn decode<'a>(leaf: &Leaf, raw: &'a [u8]) -> Cow<'a, [u8]> {
    let encoded = raw.get(leaf.body.clone()).unwrap_or_default();
    match leaf.headers.encoding {
        Encoding::Plain => encoded.into(),
        Encoding::Base64 => {
            // Padding ends it: what follows is a mailing list's footer, not more of the same.
            let end = encoded.iter().position(|byte| *byte == b'=').unwrap_or(encoded.len());
            let letters = encoded.get(..end).unwrap_or_default();
            guarded(|| base64_decode(letters))
                .flatten()
                .or_else(|| lenient_base64(letters))
                .map_or(encoded.into(), Into::into)
        }
        Encoding::Uuencode => uudecode(encoded).map_or(encoded.into(), Into::into),
        Encoding::QuotedPrintable => guarded(|| quoted_printable_decode(encoded))
            .flatten()
            .unwrap_or_else(|| lenient_quoted_printable(encoded))
            .into(),
    }
}

/// Drops what is not of the alphabet, as RFC 2045 asks.
fn lenient_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut letters: Vec<u8> = encoded.iter().copied().filter(letter).collect();
    // A lone letter at the end holds no whole byte.
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    BASE64.decode(letters).ok()
}

/// Decodes what is well formed and keeps the rest as it stands, as RFC 2045 suggests.
fn lenient_quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, after)) = rest.split_first() {
        let (byte, next) = match (first, after) {
            (b'=', [b'\r', b'\n', next @ ..] | [b'\n', next @ ..]) => (None, next),
            (b'=', [high, low, next @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (Some(high << 4 | low), next),
                _ => (Some(b'='), after),
            },
            (byte, next) => (Some(*byte), next),
        };
        decoded.extend(byte);
        rest = next;
    }
    decoded
}

/// What stands between `begin` and `end`; `None` when there is no `begin`.
fn uudecode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut lines = encoded.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.find(|line| line.starts_with(b"begin "))?;
    let mut decoded = Vec::new();
    for line in lines.take_while(|line| *line != b"end") {
        let Some((length, letters)) = line.split_first() else { continue };
        // Six bits a letter, from the space on; trailing spaces may have been lost on the way.
        let bits = |at: usize| letters.get(at).map_or(0, |letter| u32::from(letter.wrapping_sub(b' ') & 63));
        let length = usize::from(length.wrapping_sub(b' ') & 63);
        for at in 0..length {
            let group = at / 3 * 4;
            let word = bits(group) << 18 | bits(group + 1) << 12 | bits(group + 2) << 6 | bits(group + 3);
            decoded.push(word.to_be_bytes()[1 + at % 3]);
        }
    }
    Some(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
