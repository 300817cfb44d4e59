//! A page of one card, for those who are not in the dashboard: signing in, the end of a consent.

/// What all such pages have in common.
const PAGE: &str = include_str!("../dashboard/card.html");

/// The page of this title, which is HTML as the content is.
pub(super) fn page(title: &str, content: &str) -> String {
    PAGE.replace("<!--title-->", title).replace("<!--content-->", content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_title_and_content() {
        let page = page("One", "<h1>Two</h1>");
        assert!(page.contains("<title>One · Gmail Sync</title>") && page.contains("<h1>Two</h1>"));
        assert!(!page.contains("<!--"), "{page}");
    }
}
