//! Transfer encodings. Broken ones yield what can be had, never nothing.

use std::borrow::Cow;

use base64::Engine as _;

use super::headers::Encoding;
use crate::requests::BASE64;

/// A part's bytes, decoded.
pub(super) fn decode(encoding: Encoding, encoded: &[u8]) -> Cow<'_, [u8]> {
    match encoding {
        Encoding::Plain => encoded.into(),
        Encoding::Base64 => base64(encoded).into(),
        Encoding::QuotedPrintable => quoted_printable(encoded).into(),
        Encoding::Uuencode => uudecode(encoded).map_or(encoded.into(), Into::into),
    }
}

/// Base64 whatever stands between its letters, as RFC 2045 asks. Padding that completes a group ends it: what
/// follows is a mailing list's footer, not more of the same.
fn base64(encoded: &[u8]) -> Vec<u8> {
    let mut letters = Vec::with_capacity(encoded.len());
    for byte in encoded {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => letters.push(*byte),
            b'=' if letters.len() % 4 >= 2 => break,
            _ => {}
        }
    }
    // A lone letter at the end holds no whole byte.
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    BASE64.decode(letters).unwrap_or_default()
}

/// The text of an encoded word in base64.
pub(super) fn base64_word(text: &str) -> Vec<u8> {
    base64(text.as_bytes())
}

/// The text of an encoded word in Q: an underscore is a space.
pub(super) fn quoted_word(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, next) = match (first, hex_pair(after)) {
            (b'=', Some((byte, next))) => (byte, next),
            (b'_', _) => (b' ', after),
            (byte, _) => (*byte, after),
        };
        decoded.push(byte);
        rest = next;
    }
    decoded
}

/// Decodes what is well formed and keeps the rest as it stands, as RFC 2045 suggests. White space at a line's
/// end was put there on the way.
fn quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    for line in encoded.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let line_end = line.get(text.len()..).unwrap_or_default();
        let text = if line_end.is_empty() { text } else { text.trim_ascii_end() };
        let (mut rest, is_soft) = match text.strip_suffix(b"=") {
            Some(text) => (text, true),
            None => (text, false),
        };
        while let Some((first, after)) = rest.split_first() {
            let (byte, next) = match (first, hex_pair(after)) {
                (b'=', Some((byte, next))) => (byte, next),
                (byte, _) => (*byte, after),
            };
            decoded.push(byte);
            rest = next;
        }
        if !is_soft {
            decoded.extend_from_slice(line_end);
        }
    }
    decoded
}

fn hex_pair(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(*high)? << 4 | digit(*low)?, rest))
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
