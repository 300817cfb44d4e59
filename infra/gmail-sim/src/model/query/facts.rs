//! What is true of one message; its text is read only when a term asks for it.

use std::sync::Arc;

use super::values::words;
use super::{Expression, Term};
use crate::mime::{self, Header, Part};
use crate::model::label::UNREAD;
use crate::model::threading::plain_message_id;
use crate::model::{Content, Mailbox, Message};

/// One message, read as far as the terms ask.
pub(super) struct Facts<'a> {
    mailbox: &'a Mailbox,
    message: &'a Message,
    raw: Option<Arc<[u8]>>,
    headers: Option<Vec<Header>>,
    part: Option<Part>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(mailbox: &'a Mailbox, message: &'a Message) -> Self {
        Self { mailbox, message, raw: None, headers: None, part: None }
    }

    pub(super) fn holds(&mut self, expression: &Expression) -> bool {
        match expression {
            Expression::All(terms) => terms.iter().all(|term| self.holds(term)),
            Expression::Any(terms) => terms.iter().any(|term| self.holds(term)),
            Expression::Not(inner) => !self.holds(inner),
            Expression::Is(term) => self.is(term),
        }
    }

    fn is(&mut self, term: &Term) -> bool {
        let message = self.message;
        match term {
            Term::Anything => true,
            Term::Nothing => false,
            Term::Label(Some(label)) => message.labels.has(*label),
            Term::Label(None) => !message.labels.has(UNREAD),
            Term::After(at) => message.internal_date >= *at,
            Term::Before(at) => message.internal_date < *at,
            Term::Larger(size) => message.size >= *size,
            Term::Smaller(size) => message.size < *size,
            Term::Header(name, wanted) => {
                self.header(name).iter().any(|value| follows(&words(value), wanted))
            }
            Term::MessageId(id) => {
                self.header("Message-ID").iter().any(|value| plain_message_id(value) == id)
            }
            // Synthetic mail has none.
            Term::Attachment | Term::FileName(_) if matches!(message.content, Content::Derived(_)) => false,
            Term::Attachment => self.part().walk().iter().any(|part| !part.filename.is_empty()),
            Term::FileName(wanted) => {
                self.part().walk().iter().any(|part| follows(&words(&part.filename), wanted))
            }
            Term::Words(wanted) => self.contains(wanted),
        }
    }

    fn raw(&mut self) -> Arc<[u8]> {
        let (mailbox, message) = (self.mailbox, self.message);
        self.raw.get_or_insert_with(|| mailbox.raw(message)).clone()
    }

    fn header(&mut self, name: &str) -> Vec<String> {
        if let Content::Derived(recipe) = &self.message.content
            && let Some(value) = recipe.header(name, self.mailbox.address())
        {
            return vec![value];
        }
        if self.headers.is_none() {
            self.headers = Some(mime::parse_headers(&self.raw()));
        }
        let headers = self.headers.iter().flatten();
        headers.filter(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value.clone()).collect()
    }

    fn part(&mut self) -> &Part {
        let raw = self.raw();
        self.part.get_or_insert_with(|| mime::parse(&raw))
    }

    fn contains(&mut self, wanted: &[String]) -> bool {
        for name in ["Subject", "From", "To", "Cc"] {
            if self.header(name).iter().any(|value| follows(&words(value), wanted)) {
                return true;
            }
        }
        let raw = self.raw();
        self.part()
            .walk()
            .iter()
            .filter(|part| part.mime_type.starts_with("text/") && !part.is_attachment())
            .any(|part| {
                let body = part.decoded(&raw);
                follows(&words(&String::from_utf8_lossy(&body)), wanted)
            })
    }
}

fn follows(text: &[String], wanted: &[String]) -> bool {
    !wanted.is_empty() && text.windows(wanted.len()).any(|window| window == wanted)
}
