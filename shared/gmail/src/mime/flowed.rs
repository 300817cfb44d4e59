//! `format=flowed`, RFC 3676: lines that end in a space go on in the next one.

/// Puts flowed lines together. `text` ends its lines in LF. With `deletes_space` (`delsp=yes`) the space at
/// the end was put there to flow and goes.
pub(super) fn unflowed(text: &str, deletes_space: bool) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut open = None;
    for (number, line) in text.split('\n').enumerate() {
        let content = line.trim_start_matches('>');
        let depth = line.len() - content.len();
        // A space in front protects a line that begins like a quote.
        let content = content.strip_prefix(' ').unwrap_or(content);
        let is_signature = content == "-- ";
        // A line of another quoting depth is another's words, whatever the line before it says.
        if open != Some(depth) || is_signature {
            if number > 0 {
                whole.push('\n');
            }
            whole.push_str(line.get(..depth).unwrap_or_default());
            if depth > 0 && !content.is_empty() {
                whole.push(' ');
            }
        }
        let flows = content.ends_with(' ') && !is_signature;
        let kept =
            if flows && deletes_space { content.strip_suffix(' ').unwrap_or(content) } else { content };
        whole.push_str(kept);
        open = flows.then_some(depth);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::unflowed;

    #[test]
    fn lines_flow_inside_one_depth_of_quotes() {
        assert_eq!(unflowed("a \nb\nc", false), "a b\nc");
        assert_eq!(unflowed("a \nb", true), "ab");
        assert_eq!(unflowed("> a \n> b \nc", false), "> a b \nc");
        assert_eq!(unflowed(">> a \n> b", false), ">> a \n> b");
        assert_eq!(unflowed(" >not a quote\n From x", false), ">not a quote\nFrom x");
        assert_eq!(unflowed("words \n-- \nme", false), "words \n-- \nme");
        assert_eq!(unflowed("", false), "");
    }
}
