//! The API's own shapes, in camel case: what a mailbox, a job, a status, a change and a mail look like outside.
//!
//! Invariant: pure. Whether a mailbox is healthy is the core's to say, and asked for in one place. Deliberately
//! absent: credentials, leases, and everything else that is nobody's business outside.

mod change;
mod debt;
mod email;
mod job;
mod mailbox;

use serde::Serialize;

pub use change::ChangeView;
pub use debt::DebtView;
pub use email::EmailView;
pub use job::{JobView, is_finished};
pub use mailbox::{MailboxView, StatusView};

/// A page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListView<T> {
    /// The page.
    pub items: Vec<T>,
    /// Where the next one begins; null at the end.
    pub next_cursor: Option<String>,
}

/// What refers to a mail: a task, a deal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReferenceView {
    /// Which kind of thing.
    pub r#type: String,
    /// Its id, in whatever system it lives.
    pub id: String,
}

impl ReferenceView {
    /// The text that is stored: a type holds no colon, an id may.
    pub fn stored(&self) -> String {
        format!("{}:{}", self.r#type, self.id)
    }

    /// What a stored text says. One without a colon is older than types and is shown as it is.
    pub fn of(stored: &str) -> Self {
        let (r#type, id) = stored.split_once(':').unwrap_or(("", stored));
        Self { r#type: r#type.to_owned(), id: id.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_back_as_it_was_written() {
        let reference = ReferenceView { r#type: "deal".to_owned(), id: "crm:42/a".to_owned() };
        assert_eq!(ReferenceView::of(&reference.stored()), reference);
    }
}
