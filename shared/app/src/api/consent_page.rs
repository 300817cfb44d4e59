//! The page at the end of a consent that does not lead into the dashboard: what happened, and the way on.
//!
//! No script, nothing from elsewhere; every text is escaped.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use sync_core::EmailAddress;
use sync_store::PendingConsent;

use super::{
    card,
    problem::{OwnBody, Problem},
};

const CONTENT: &str = include_str!("../dashboard/consent.html");

/// What the page says.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    text: String,
    /// Where to go on: words and a path of ours.
    links: Vec<(&'static str, String)>,
}

impl Page {
    /// Why nothing was connected, and how to try again.
    pub fn refusal(problem: &Problem, pending: Option<&PendingConsent>) -> Self {
        let links = match pending {
            Some(pending) if pending.from_dashboard => {
                vec![("Try again", again(pending)), ("Back to the dashboard", "/".to_owned())]
            }
            // Whoever was sent here by a program has to ask there for another link.
            Some(_) => Vec::new(),
            None => vec![("To the dashboard", "/".to_owned())],
        };
        let mut text = problem.detail().to_owned();
        if pending.is_some_and(|pending| !pending.from_dashboard) {
            text.push_str(" Go back to where the link came from and ask for a new one.");
        }
        Self { status: problem.status(), title: "The mailbox was not connected", text, links }
    }

    /// For those who have no dashboard to go to.
    pub fn connected(address: &EmailAddress) -> Self {
        Self {
            status: StatusCode::OK,
            title: "The mailbox is connected",
            text: format!("{} is being synced now. This window may be closed.", address.as_str()),
            links: Vec::new(),
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let links: Vec<String> = self
            .links
            .iter()
            .enumerate()
            .map(|(index, (words, path))| {
                let look = if index == 0 { "primary" } else { "quiet" };
                format!(r#"<a class="button {look} wide" href="{}">{}</a>"#, clean(path), clean(words))
            })
            .collect();
        let role = if self.status.is_success() { "status" } else { "alert" };
        let title = clean(self.title);
        let content = CONTENT
            .replace("<!--title-->", &title)
            .replace("<!--links-->", &links.concat())
            .replace("<!--role-->", role)
            // Last: what it says is put nowhere else again.
            .replace("<!--text-->", &clean(&self.text));
        (self.status, axum::Extension(OwnBody), Html(card::page(&title, &content))).into_response()
    }
}

/// As text, and as the value of an attribute in double quotes.
fn clean(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn again(pending: &PendingConsent) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("redirect", "true");
    if let Some(mailbox) = &pending.mailbox {
        query.append_pair("mailbox", mailbox.as_str());
    }
    if let Some(path) = &pending.return_to {
        query.append_pair("return_to", path);
    }
    format!("/gmail/auth/url?{}", query.finish())
}

/// Whether a person looks at the answer: browsers ask for HTML first.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|a| a.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_everything_and_lets_nothing_through() {
        for place in ["<!--title-->", "<!--text-->", "<!--links-->", "<!--role-->"] {
            assert!(CONTENT.contains(place), "{place}");
        }
        assert_eq!(clean("<b>&\" onload=x"), "&lt;b&gt;&amp;&quot; onload=x");
    }
}
