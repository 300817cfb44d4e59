//! Header fields: from bytes to names and unfolded values, encoded words decoded.
//!
//! Unfolding takes the line ends out and leaves the blanks, so that a long `Received` reads as Gmail gives it.

use std::ops::Range;

use mail_parser::decoders::charsets::map::charset_decoder;

use super::transfer::{base64_lenient, quoted_printable};
use super::{HEADERS_MAX, Header};

/// A field as it stands in the message, unfolded.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

impl Field {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// With bytes that are no UTF-8 replaced and encoded words decoded.
    pub(super) fn header(self) -> Header {
        Header { value: decode_words(&String::from_utf8_lossy(&self.value)), name: self.name }
    }
}

/// The end of the line that starts at `from`: where its text ends, and where the next line starts.
pub(super) fn line(raw: &[u8], from: usize, end: usize) -> (usize, usize) {
    let Some(length) = raw[from..end].iter().position(|byte| *byte == b'\n') else {
        return (end, end);
    };
    let feed = from + length;
    let text_end = if feed > from && raw[feed - 1] == b'\r' { feed - 1 } else { feed };
    (text_end, feed + 1)
}

/// Reads the fields of a part; answers where its body starts.
pub(super) fn read(raw: &[u8], range: Range<usize>) -> (Vec<Field>, usize) {
    let mut fields: Vec<Field> = Vec::new();
    let mut seen = 0_usize;
    let mut at = range.start;
    while at < range.end {
        let (text_end, next) = line(raw, at, range.end);
        let text = &raw[at..text_end];
        if text.is_empty() {
            at = next;
            break;
        }
        if (text[0] == b' ' || text[0] == b'\t') && seen > 0 {
            // Lines that continue a field beyond the bound go where it went.
            if seen <= HEADERS_MAX
                && let Some(field) = fields.last_mut()
            {
                field.value.extend_from_slice(text);
            }
        } else {
            // What is no field, or is named with a blank, is text: the message has begun without a blank line.
            let Some(colon) = text.iter().position(|byte| *byte == b':') else { break };
            let name = text[..colon].trim_ascii();
            if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
                break;
            }
            seen += 1;
            if seen <= HEADERS_MAX {
                let (name, value) = (String::from_utf8_lossy(name).into_owned(), text[colon + 1..].to_vec());
                fields.push(Field { name, value });
            }
        }
        at = next;
    }
    for field in &mut fields {
        field.value = field.value.trim_ascii().to_vec();
    }
    (fields, at)
}

/// Decodes the encoded words of RFC 2047 wherever they stand; what only looks like one stays.
pub(super) fn decode_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(start) = rest.find("=?") {
        let (before, from) = rest.split_at(start);
        let Some((decoded, after)) = encoded_word(from) else {
            let (mark, after) = from.split_at(2);
            out.push_str(before);
            out.push_str(mark);
            (rest, after_word) = (after, false);
            continue;
        };
        // Blanks between two encoded words only separate them.
        if !(after_word && before.bytes().all(|byte| byte.is_ascii_whitespace())) {
            out.push_str(before);
        }
        out.push_str(&decoded);
        (rest, after_word) = (after, true);
    }
    out.push_str(rest);
    out
}

/// `=?charset*language?encoding?text?=` at the start of a text, and what follows it.
fn encoded_word(text: &str) -> Option<(String, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (encoded, after) = rest.split_once("?=")?;
    if charset.is_empty() || charset.contains(char::is_whitespace) || encoded.contains('?') {
        return None;
    }
    let bytes = match encoding {
        "b" | "B" => base64_lenient(encoded.as_bytes()),
        "q" | "Q" => quoted_printable(encoded.replace('_', " ").as_bytes()),
        _ => return None,
    };
    let charset = charset.split('*').next().unwrap_or(charset);
    Some((to_text(charset, &bytes), after))
}

/// Bytes of a named charset as text. ASCII, no name and an unknown name are UTF-8 when it is that, else ASCII.
pub(super) fn to_text(charset: &str, bytes: &[u8]) -> String {
    let charset = charset.trim().to_ascii_lowercase();
    match charset.as_str() {
        "utf-8" | "utf8" => return String::from_utf8_lossy(bytes).into_owned(),
        // As labelled: the decoder's table is that of windows-1252, which has letters among the controls.
        "iso-8859-1" | "latin1" | "latin-1" | "iso8859-1" | "iso_8859-1" | "l1" => {
            return bytes.iter().copied().map(char::from).collect();
        }
        "" | "us-ascii" | "ascii" => {}
        _ => {
            if let Some(decode) = charset_decoder(charset.as_bytes()) {
                return decode(bytes);
            }
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\u{fffd}' }).collect()
        }
    }
}
