//! The snippet: the first words of a message on one line.

use mail_parser::decoders::html::html_to_text;

use super::Part;

/// Characters of a snippet before it is escaped.
const SNIPPET_CHARS: usize = 200;
/// Characters of HTML looked at for them.
const HTML_CHARS_MAX: usize = 200_000;

/// The first words of a message as Gmail shows them: one line, entities escaped. Attached mail has no say.
pub fn snippet(part: &Part, raw: &[u8]) -> String {
    let text = |wanted: &str| find(part, wanted).map(|found| found.decoded(raw));
    let body = match (text("text/plain"), text("text/html")) {
        (Some(plain), _) => String::from_utf8_lossy(&plain).into_owned(),
        (None, Some(html)) => {
            let beginning: String = String::from_utf8_lossy(&html).chars().take(HTML_CHARS_MAX).collect();
            html_to_text(&beginning)
        }
        (None, None) => String::new(),
    };
    let mut short = String::new();
    // A bound on the words looked at, so that megabytes of blanks cost nothing.
    for word in body.split_whitespace() {
        if !short.is_empty() {
            short.push(' ');
        }
        let room = SNIPPET_CHARS.saturating_sub(short.chars().count());
        short.extend(word.chars().take(room));
        if room <= word.len() {
            break;
        }
    }
    let short = short.trim_end();
    short
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// The first part of a type that is no file and not within an attached message.
fn find<'a>(part: &'a Part, wanted: &str) -> Option<&'a Part> {
    if part.mime_type == wanted && part.filename.is_empty() {
        return Some(part);
    }
    let below = if part.is_multipart() { part.children.as_slice() } else { &[] };
    below.iter().find_map(|child| find(child, wanted))
}
