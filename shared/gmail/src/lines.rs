//! Lines of a byte slice by position, for multipart answers and multipart mail. One pass, no copies.

/// Where a line begins, where its text ends, and where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// First byte.
    pub start: usize,
    /// One past the text, its line end left out.
    pub end: usize,
    /// First byte of the next line.
    pub next: usize,
}

impl Line {
    /// The text without its line end.
    pub(crate) fn text(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// The line that begins at `start`; `None` at the end. Ends in LF or CRLF.
pub(crate) fn line_at(bytes: &[u8], start: usize) -> Option<Line> {
    let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
    Some(match rest.iter().position(|byte| *byte == b'\n') {
        Some(at) => {
            let with_cr = at > 0 && rest.get(at - 1) == Some(&b'\r');
            Line { start, end: start + at - usize::from(with_cr), next: start + at + 1 }
        }
        None => Line { start, end: bytes.len(), next: bytes.len() },
    })
}

/// The next line at or after `start` that begins with two dashes.
pub(crate) fn dashed_line(bytes: &[u8], mut start: usize) -> Option<Line> {
    while let Some(line) = line_at(bytes, start) {
        if line.text(bytes).starts_with(b"--") {
            return Some(line);
        }
        start = line.next;
    }
    None
}

/// Whether a line is a delimiter of that boundary (RFC 2046, 5.1.1), and if so whether it is the last one.
pub(crate) fn delimiter(text: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = text.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, closing) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
    rest.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')).then_some(closing)
}

/// Where the text before a delimiter line ends: its last line end belongs to the delimiter.
pub(crate) fn end_before(bytes: &[u8], start: usize, delimiter: usize) -> usize {
    let text = bytes.get(start..delimiter).unwrap_or_default();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    start + text.len()
}
