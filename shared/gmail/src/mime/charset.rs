//! Bytes of a named charset as text: every label of <https://encoding.spec.whatwg.org>, and those that mail in
//! the field carries besides.
//!
//! No label yields nothing: what nobody knows is taken for UTF-8 when it can be that, else for windows-1252.

use std::borrow::Cow;

use encoding_rs::{EUC_KR, Encoding, GB18030, ISO_2022_JP, WINDOWS_1252};
use mail_parser::decoders::charsets::map::charset_decoder;

use super::headers::guarded;

/// Longest label that is looked at, bytes.
const LABEL_BYTES_MAX: usize = 64;

/// Decodes; what is no character becomes U+FFFD.
pub(super) fn decode(label: &str, bytes: &[u8]) -> String {
    let label = clean_label(label);
    // Much mail says us-ascii or nothing and is UTF-8.
    if says_nothing(&label) {
        return guess(bytes).into_owned();
    }
    if let Some(encoding) = encoding_of(&label) {
        let bytes = if encoding == ISO_2022_JP { without_idle_escapes(bytes) } else { bytes.into() };
        return encoding.decode(&bytes).0.into_owned();
    }
    match label.as_str() {
        // Browsers refuse these two, because they hide ASCII; mail still comes in them.
        "iso-2022-kr" | "csiso2022kr" => return shifted(bytes, &Shift::KOREAN),
        "hz-gb-2312" | "hz" => return shifted(bytes, &Shift::CHINESE),
        _ => {}
    }
    charset_decoder(dos_page(&label).unwrap_or(&label).as_bytes())
        .and_then(|decoder| guarded(|| decoder(bytes)))
        .unwrap_or_else(|| guess(bytes).into_owned())
}

/// Bytes above 127 that are not UTF-8 are nearly always some Windows code page.
pub(super) fn guess(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

fn clean_label(label: &str) -> String {
    let label = label.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';'));
    let label = label.get(..label.floor_char_boundary(LABEL_BYTES_MAX)).unwrap_or_default();
    label.to_ascii_lowercase()
}

/// Labels by which a sender says that it does not know, or that it knows of ASCII only.
fn says_nothing(label: &str) -> bool {
    matches!(
        label,
        "" | "us-ascii"
            | "us"
            | "ascii"
            | "us_ascii"
            | "usascii"
            | "ansi_x3.4-1968"
            | "ansi_x3.4-1986"
            | "ansi_x3.110-1983"
            | "ansi_x3.110"
            | "iso-ir-6"
            | "iso646-us"
            | "default"
            | "default_charset"
            | "none"
            | "unknown"
            | "unknown-8bit"
            | "x-unknown"
            | "unknown8bit"
            | "x-user-defined"
            | "user-defined"
            | "8bit"
            | "7bit"
            | "binary"
            | "utf-8mb4"
            | "utf8mb4"
    )
}

/// The DOS pages that mail-parser has. Page 437 has the letters of 850 and other boxes.
fn dos_page(label: &str) -> Option<&'static str> {
    let page = ["cp-", "cp", "ibm-", "ibm", "x-cp", "dos-", "cspc", "x-ibm"]
        .iter()
        .find_map(|prefix| label.strip_prefix(prefix))
        .unwrap_or(label);
    match page {
        "850" | "858" | "00858" | "437" | "850multilingual" | "8codepage437" => Some("cp850"),
        "866" => Some("cp866"),
        _ => None,
    }
}

/// As labelled, else by what the label was meant to be.
fn encoding_of(label: &str) -> Option<&'static Encoding> {
    let known = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
    if let Some(encoding) = known(label) {
        return Some(encoding);
    }
    // `_iso-2022-jp$ESC` is what one mailer calls its JIS.
    let label = label.trim_start_matches('_').trim_end_matches("$esc").trim_end_matches("$sio");
    let label = label.split(':').next().unwrap_or_default();
    let label = label.strip_prefix("x-").unwrap_or(label).replace(['_', ' '], "-");
    let meant = match label.as_str() {
        "windows-31j" | "cp932" | "ms932" | "cp943" | "x-ms-cp932" => "shift_jis",
        "cp936" | "ms936" | "windows-936" | "euc-cn" | "gb18030-2000" => "gb18030",
        "cp949" | "ms949" | "uhc" | "ks-c-5601" => "euc-kr",
        "cp950" | "ms950" | "windows-950" => "big5",
        "iso-2022-jp-1" | "iso-2022-jp-2" | "iso-2022-jp-3" | "iso-2022-jp-ms" | "cp50220" | "cp50221" => {
            return Some(ISO_2022_JP);
        }
        "cp51932" | "eucjp" | "eucjp-ms" => "euc-jp",
        "cp65001" | "utf" | "utf-8n" => "utf-8",
        "cp874" => "windows-874",
        "cp20866" => "koi8-r",
        "cp28591" | "iso" | "latin" => "iso-8859-1",
        "cp10000" | "apple-roman" | "mac-roman" => "macintosh",
        "mac-cyrillic-ukrainian" => "x-mac-cyrillic",
        other => {
            let page = ["windows-", "windows", "win-", "win", "cp-", "cp", "ms-ansi-", "ansi-"]
                .iter()
                .find_map(|prefix| other.strip_prefix(prefix));
            return known(other).or_else(|| known(&format!("windows-{}", page?)));
        }
    };
    known(meant)
}

/// Leaves out an escape sequence that another one follows at once. Browsers take it for an attack and show a
/// mark; in mail it is where two encoded words were put together.
fn without_idle_escapes(bytes: &[u8]) -> Cow<'_, [u8]> {
    const ESCAPE: u8 = 0x1b;
    /// All that ISO-2022-JP has are this long, bytes.
    const LENGTH: usize = 3;
    if !bytes.contains(&ESCAPE) {
        return bytes.into();
    }
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if *first == ESCAPE && rest.get(LENGTH) == Some(&ESCAPE) {
            rest = rest.get(LENGTH..).unwrap_or_default();
        } else {
            kept.push(*first);
            rest = after;
        }
    }
    kept.into()
}

/// A charset that switches between ASCII and pairs of seven-bit bytes.
struct Shift {
    on: &'static [u8],
    off: &'static [u8],
    encoding: &'static Encoding,
}

impl Shift {
    /// ISO-2022-KR; its announcement at the beginning is left as it stands.
    const KOREAN: Self = Self { on: b"\x0e", off: b"\x0f", encoding: EUC_KR };
    /// RFC 1843.
    const CHINESE: Self = Self { on: b"~{", off: b"~}", encoding: GB18030 };
}

fn shifted(bytes: &[u8], shift: &Shift) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let (mut rest, mut is_on) = (bytes, false);
    while let Some((first, after)) = rest.split_first() {
        let switch = if is_on { shift.off } else { shift.on };
        if let Some(after) = rest.strip_prefix(switch) {
            (rest, is_on) = (after, !is_on);
            continue;
        }
        // A line's end switches back, as both say.
        is_on &= *first != b'\n';
        plain.push(if is_on { first | 0x80 } else { *first });
        rest = after;
    }
    shift.encoding.decode_without_bom_handling(&plain).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_mail_carries_are_understood() {
        for (label, bytes, text) in [
            ("\"ISO-8859-1\"", &b"caf\xe9 \x80"[..], "café €"),
            ("x-unknown", b"caf\xe9", "café"),
            ("unknown-8bit", b"caf\xc3\xa9", "café"),
            ("default", b"caf\xe9", "café"),
            ("ansi_x3.110-1983", b"caf\xe9", "café"),
            ("us-ascii", b"caf\xc3\xa9", "café"),
            ("cp-850", b"caf\x82", "café"),
            ("CP850", b"caf\x82", "café"),
            ("win-1251", b"\xcf\xf0", "Пр"),
            ("windows1252", b"\x93x\x94", "“x”"),
            ("cp-1250", b"\xb3", "ł"),
            ("x-windows-949", b"\xc7\xd1", "한"),
            ("windows-31j", b"\x83n", "ハ"),
            ("_iso-2022-jp$ESC", b"\x1b$B%O\x1b(B", "ハ"),
            ("iso-8859-1:1987", b"\xe9", "é"),
            ("iso_8859-15", b"\xa4", "€"),
            ("utf-7", b"caf+AOk-", "café"),
            ("iso-2022-jp", b"\x1b$B%O\x1b(B\x1b$B%O\x1b(B", "ハハ"),
            ("iso-2022-kr", b"\x0eGQ\x0f x", "한 x"),
            ("hz-gb-2312", b"~{VP~} x", "中 x"),
            ("base64", b"caf\xe9", "café"),
        ] {
            assert_eq!(decode(label, bytes), text, "{label}");
        }
    }

    #[test]
    fn every_label_of_the_standard_decodes_ascii_or_says_that_it_holds_none() {
        for label in [
            "ibm866",
            "iso-8859-2",
            "koi8-u",
            "macintosh",
            "windows-874",
            "x-mac-cyrillic",
            "gb18030",
            "big5",
            "euc-jp",
            "shift_jis",
            "euc-kr",
            "utf-8",
            "iso-8859-8-i",
        ] {
            assert_eq!(decode(label, b"plain"), "plain", "{label}");
        }
        assert_eq!(decode("utf-16be", b"\0a\0b"), "ab");
        assert_eq!(decode("utf-16le", b"a\0b\0"), "ab");
    }
}
