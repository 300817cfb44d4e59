//! Where the parts of a mail lie: one pass over its lines, an explicit stack, bounds on depth and count.
//!
//! mail-parser would build the tree too, but its nested messages are dropped recursively (a mail of deep
//! nests overflows the stack, which aborts the process), and a boundary that never comes makes it scan the
//! rest for each part. So the structure is found here, and mail-parser reads headers and encodings.
//! Deliberately absent: descending into `message/rfc822`; a forwarded mail is an attachment.

use std::ops::Range;

use super::headers::PartHeaders;
use crate::lines::{Line, dashed_line, delimiter, end_before, line_at};

/// Deepest nest of multiparts that is looked into; what is deeper is one opaque attachment.
pub(super) const DEPTH_MAX: usize = 20;
/// Most parts, containers included; what comes after them is not shown.
pub(super) const PARTS_MAX: usize = 2_000;
/// Most bytes of a part's own headers that are read.
const PART_HEADERS_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of the mail's headers that are read.
pub(super) const HEADERS_BYTES_MAX: usize = 256 * 1024;

/// A mail, taken apart.
#[derive(Debug, Default)]
pub(super) struct Structure {
    /// The mail's own headers.
    pub headers: Range<usize>,
    /// The parts that hold something, in order.
    pub leaves: Vec<Leaf>,
    /// Whether a bound left something out.
    pub truncated: bool,
    /// How many bytes finding the parts has looked at, repeats counted: tests hold it linear.
    pub bytes_seen: u64,
}

/// A part that holds something.
#[derive(Debug)]
pub(super) struct Leaf {
    pub headers: PartHeaders,
    /// Still encoded.
    pub body: Range<usize>,
    /// Whether it is one of several ways to show the same thing.
    pub in_alternative: bool,
}

/// A multipart that is not yet closed.
struct Open {
    boundary: Vec<u8>,
    alternative: bool,
    digest: bool,
    body_start: usize,
    /// Whether its boundary ever came.
    seen: bool,
}

struct Walk<'a> {
    raw: &'a [u8],
    open: Vec<Open>,
    structure: Structure,
}

/// Finds the parts. Any bytes will do; time is linear in their number.
pub(super) fn walk(raw: &[u8]) -> Structure {
    let mut walk = Walk { raw, open: Vec::new(), structure: Structure::default() };
    let mut position = Some(skip_envelope_line(raw));
    let mut parts = 0;
    while let Some(start) = position {
        if parts == PARTS_MAX {
            walk.structure.truncated = true;
            break;
        }
        position = walk.part(start, parts == 0);
        parts += 1;
    }
    walk.structure
}

impl Walk<'_> {
    /// Reads the part that begins at `start`; returns where the next one begins.
    fn part(&mut self, start: usize, is_root: bool) -> Option<usize> {
        let (head_end, body_start) = self.head(start);
        let bytes_max = if is_root { HEADERS_BYTES_MAX } else { PART_HEADERS_BYTES_MAX };
        let clipped = start..head_end.min(start + bytes_max);
        self.structure.truncated |= clipped.end < head_end;
        let headers = PartHeaders::read(self.raw.get(clipped.clone()).unwrap_or_default());
        if is_root {
            self.structure.headers = clipped;
        }
        let headers = match self.open.last() {
            Some(parent) if parent.digest => headers.or_media_type("message/rfc822"),
            _ => headers.or_media_type("text/plain"),
        };

        let mut leaf = None;
        match headers.boundary() {
            Some(boundary) if self.open.len() < DEPTH_MAX => self.open.push(Open {
                boundary: boundary.to_vec(),
                alternative: headers.media_type == "multipart/alternative",
                digest: headers.media_type == "multipart/digest",
                body_start,
                seen: false,
            }),
            Some(_) | None => leaf = Some(headers),
        }
        self.until_next(leaf, body_start)
    }

    /// Goes on to the next part, closing what ends before it.
    fn until_next(&mut self, mut leaf: Option<PartHeaders>, body_start: usize) -> Option<usize> {
        let mut from = body_start;
        loop {
            let found = self.next_delimiter(from);
            let end = found.as_ref().map_or(self.raw.len(), |(line, ..)| {
                end_before(self.raw, body_start.min(line.start), line.start)
            });
            if let Some(headers) = leaf.take() {
                let in_alternative = self.open.iter().any(|open| open.alternative);
                let body = body_start..end.max(body_start);
                self.structure.leaves.push(Leaf { headers, body, in_alternative });
            }
            let Some((line, index, closing)) = found else {
                self.close_above(0, self.raw.len());
                return None;
            };
            self.close_above(index + 1, line.start);
            if let Some(open) = self.open.get_mut(index) {
                open.seen = true;
            }
            if !closing {
                return Some(line.next);
            }
            self.open.truncate(index);
            if self.open.is_empty() {
                return None;
            }
            from = line.next;
        }
    }

    /// Closes what is nested deeper than `depth`. A multipart whose boundary never came is shown as text: its
    /// sender's mistake must not hide what it holds.
    fn close_above(&mut self, depth: usize, end: usize) {
        while self.open.len() > depth {
            let Some(open) = self.open.pop() else { break };
            if !open.seen {
                let body = open.body_start..end_before(self.raw, open.body_start.min(end), end);
                let in_alternative = self.open.iter().any(|open| open.alternative);
                let headers = PartHeaders::default().or_media_type("text/plain");
                self.structure.leaves.push(Leaf { headers, body, in_alternative });
            }
        }
    }

    /// The next line that is a delimiter of something open: the line, whose, and whether it closes.
    fn next_delimiter(&mut self, mut from: usize) -> Option<(Line, usize, bool)> {
        if self.open.is_empty() {
            return None;
        }
        while let Some(line) = dashed_line(self.raw, from) {
            self.saw(from, line.next);
            if let Some((index, closing)) = self.delimits(line) {
                return Some((line, index, closing));
            }
            from = line.next;
        }
        self.saw(from, self.raw.len());
        None
    }

    fn saw(&mut self, from: usize, to: usize) {
        self.structure.bytes_seen += to.saturating_sub(from) as u64;
    }

    fn delimits(&self, line: Line) -> Option<(usize, bool)> {
        let text = line.text(self.raw);
        // The innermost first: an outer one of the same name would close too much.
        self.open
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, open)| Some((index, delimiter(text, &open.boundary)?)))
    }

    /// Where the headers that begin at `start` end, and where the body begins. They end at an empty line, at a
    /// delimiter, or at a line that is no header: its sender forgot the empty line.
    fn head(&mut self, start: usize) -> (usize, usize) {
        let mut position = start;
        while let Some(line) = line_at(self.raw, position) {
            self.saw(line.start, line.next);
            let text = line.text(self.raw);
            if text.is_empty() {
                return (line.start, line.next);
            }
            let delimits = text.starts_with(b"--") && self.delimits(line).is_some();
            if delimits || !is_header_line(text) {
                return (line.start, line.start);
            }
            position = line.next;
        }
        (self.raw.len(), self.raw.len())
    }
}

fn is_header_line(text: &[u8]) -> bool {
    if text.starts_with(b" ") || text.starts_with(b"\t") {
        return true;
    }
    let name = text.iter().position(|byte| *byte == b':').and_then(|end| text.get(..end));
    // Broken mailers put a space before the colon.
    name.is_some_and(|name| !name.is_empty() && name.trim_ascii_end().iter().all(u8::is_ascii_graphic))
}

/// Mail from an mbox may keep its `From ` line.
fn skip_envelope_line(raw: &[u8]) -> usize {
    match line_at(raw, 0) {
        Some(line) if raw.starts_with(b"From ") || raw.starts_with(b">From ") => line.next,
        _ => 0,
    }
}

/// The headers of an attached mail, bounded, for its subject.
pub(super) fn header_block(raw: &[u8]) -> &[u8] {
    let mut position = 0;
    while let Some(line) = line_at(raw, position).filter(|line| line.next <= HEADERS_BYTES_MAX) {
        if line.text(raw).is_empty() {
            break;
        }
        position = line.next;
    }
    raw.get(..position).unwrap_or_default()
}
