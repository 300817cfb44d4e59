//! Encoded words, RFC 2047: `=?charset?encoding?text?=`.
//!
//! Adjacent words of one charset are one text: senders cut characters in two where they fold. What only looks
//! like a word stays as it is. Time is linear in the text.

use std::borrow::Cow;

use base64::Engine as _;

use super::{charset, decode};

/// Longest name of a charset, its language (RFC 2231, 5) included.
const CHARSET_BYTES_MAX: usize = 64;

/// Decodes the words of an unstructured header. Line ends inside it are left to the caller.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    replaced(text, |words| words)
}

/// Makes each run of words one word in UTF-8, for whoever parses what stands around them.
pub(super) fn in_utf8(text: &str) -> Cow<'_, str> {
    replaced(text, |words| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(words);
        format!("=?utf-8?B?{encoded}?=")
    })
}

fn replaced(text: &str, with: impl Fn(String) -> String) -> Cow<'_, str> {
    if !text.contains("=?") {
        return text.into();
    }
    let mut scan = Scan { text, close: 0, line_end: 0 };
    let (mut replaced, mut copied, mut position) = (String::with_capacity(text.len()), 0, 0);
    while let Some(start) = text.get(position..).and_then(|rest| rest.find("=?")).map(|at| position + at) {
        let Some((run, end)) = scan.run(start) else {
            position = start + 2;
            continue;
        };
        replaced.push_str(text.get(copied..start).unwrap_or_default());
        replaced.push_str(&with(run));
        (copied, position) = (end, end);
    }
    replaced.push_str(text.get(copied..).unwrap_or_default());
    replaced.into()
}

struct Scan<'a> {
    text: &'a str,
    /// The end mark and the line end found last: each is looked for once, or hostile text takes quadratic time.
    close: usize,
    line_end: usize,
}

struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
    end: usize,
}

impl<'a> Scan<'a> {
    /// The words from `start` on that have only white space between them, and where they end.
    fn run(&mut self, start: usize) -> Option<(String, usize)> {
        let first = self.word(start)?;
        let (mut run, mut charset, mut bytes, mut end) =
            (String::new(), first.charset, first.bytes, first.end);
        loop {
            let after = self.text.get(end..).unwrap_or_default();
            let blank = after.len() - after.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let Some(word) = self.word(end + blank) else { break };
            if !word.charset.eq_ignore_ascii_case(charset) {
                run.push_str(&charset::decode(charset, &bytes));
                (charset, bytes) = (word.charset, Vec::new());
            }
            bytes.extend(word.bytes);
            end = word.end;
        }
        run.push_str(&charset::decode(charset, &bytes));
        Some((run, end))
    }

    /// The word that begins at `start`.
    fn word(&mut self, start: usize) -> Option<Word<'a>> {
        let body = self.text.get(start..)?.strip_prefix("=?")?;
        let name_end = body.bytes().take(CHARSET_BYTES_MAX).position(|byte| byte == b'?')?;
        let name = body.get(..name_end)?;
        if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_whitespace()) {
            return None;
        }
        let is_base64 = match body.get(name_end..name_end + 3)? {
            "?B?" | "?b?" => true,
            "?Q?" | "?q?" => false,
            _ => return None,
        };
        let text_start = start + 2 + name_end + 3;
        let text = self.text.get(text_start..self.close_after(text_start)?)?;
        let bytes = if is_base64 { decode::base64_word(text) } else { decode::quoted_word(text) };
        let charset = name.split('*').next().unwrap_or(name);
        Some(Word { charset, bytes, end: text_start + text.len() + 2 })
    }

    /// The `?=` that ends a word whose text begins at `start`, on the same line.
    fn close_after(&mut self, start: usize) -> Option<usize> {
        let find = |mark: &str| {
            self.text.get(start..).and_then(|rest| rest.find(mark)).map_or(usize::MAX, |at| start + at)
        };
        if self.close < start {
            self.close = find("?=");
        }
        if self.line_end < start {
            self.line_end = find("\n");
        }
        (self.close < self.line_end).then_some(self.close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_as_they_were_meant() {
        for (text, meant) in [
            ("=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
            ("=?utf-8?Q?a_b?= =?utf-8?Q?c?= d", "a bc d"),
            ("=?utf-8?B?w6k?=", "é"),
            ("=?utf-8?Q?=C3?=\r\n =?UTF-8?Q?=A9?=", "é"),
            ("=?utf-8?Q?=C3?= =?utf-8?B?qQ==?=", "é"),
            ("=?iso-8859-1?Q?=E9?= =?utf-8?Q?=C3=A9?=", "éé"),
            ("=?iso-8859-1*fr?Q?=E9?=", "é"),
            ("=?unknown-8bit?Q?=C3=A9?=", "é"),
            ("=?iso-2022-jp?B?GyRCJU8bKEI=?=", "ハ"),
            ("=?utf-8?Q?with space?=", "with space"),
            ("a=?utf-8?Q?b?=c", "abc"),
            ("=?utf-8?X?b?= =?utf-8?Q?open", "=?utf-8?X?b?= =?utf-8?Q?open"),
            ("=?", "=?"),
            ("=?=?=?utf-8?Q?x?=", "=?=?x"),
            ("2 =? 3 ?= 4", "2 =? 3 ?= 4"),
        ] {
            assert_eq!(decoded(text), meant, "{text}");
        }
        assert_eq!(in_utf8("x =?iso-8859-1?Q?=E9?= <a@b>"), "x =?utf-8?B?w6k=?= <a@b>");
    }

    #[test]
    fn a_million_marks_are_read_once() {
        // Quadratic, this would take hours.
        for hostile in ["=?", "=?a?q?", "=?a?b?x ", "=?a?q?\n ", "?=", "=?a?q??= "] {
            let text = hostile.repeat(6_000_000 / hostile.len());
            assert!(decoded(&text).len() <= text.len());
        }
    }
}
