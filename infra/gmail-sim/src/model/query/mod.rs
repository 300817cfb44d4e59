//! The search language of `q=`: operators, quotes, `-`, `OR`, braces, bare words.
//!
//! Invariant: any text is a query; what cannot be understood is a word that is looked for. Words match whole
//! words without case, as Gmail's do. Labels, dates and ids are answered from the index; a message's text is read
//! only when a term asks for it.

mod facts;
mod parser;
mod tokens;
mod values;

use super::label::LabelIndex;
use super::{Mailbox, Message, Millis};
use facts::Facts;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Header(&'static str, Vec<String>),
    Words(Vec<String>),
    Label(Option<LabelIndex>),
    Attachment,
    FileName(Vec<String>),
    After(Millis),
    Before(Millis),
    Larger(u32),
    Smaller(u32),
    MessageId(String),
    Anything,
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Is(Term),
}

/// A search, ready to be asked of any message of the mailbox it was parsed for.
#[derive(Debug, Clone)]
pub struct Query {
    expression: Expression,
    pub(crate) narrow: Narrow,
    /// The search names the bin or the junk folder, so that they are not left out.
    pub(crate) covers_spam_trash: bool,
}

/// What every match must have: where in the index to look.
#[derive(Debug, Clone)]
pub(crate) struct Narrow {
    pub(crate) labels: Vec<LabelIndex>,
    /// Epoch milliseconds, inclusive.
    pub(crate) since: Millis,
    /// Epoch milliseconds, exclusive.
    pub(crate) until: Option<Millis>,
}

impl Narrow {
    fn of(expression: &Expression) -> Self {
        let mut narrow = Self { labels: Vec::new(), since: Millis::MIN, until: None };
        for term in must(expression) {
            match term {
                Term::Label(Some(label)) => narrow.labels.push(*label),
                Term::After(at) => narrow.since = narrow.since.max(*at),
                Term::Before(at) => narrow.until = Some(narrow.until.map_or(*at, |until| until.min(*at))),
                Term::Nothing => narrow.until = Some(Millis::MIN),
                _ => {}
            }
        }
        narrow
    }
}

/// The terms that hold for every match.
fn must(expression: &Expression) -> impl Iterator<Item = &Term> {
    let terms = match expression {
        Expression::All(terms) => terms.as_slice(),
        other => std::slice::from_ref(other),
    };
    terms.iter().filter_map(|term| match term {
        Expression::Is(term) => Some(term),
        Expression::All(_) | Expression::Any(_) | Expression::Not(_) => None,
    })
}

impl Query {
    /// Reads a search; `now` is what `newer_than:` counts from.
    pub fn parse(text: &str, mailbox: &Mailbox, now: Millis) -> Self {
        let (expression, covers_spam_trash) = parser::parse(text, &mailbox.labels, now);
        Self { narrow: Narrow::of(&expression), expression, covers_spam_trash }
    }

    pub(crate) fn matches(&self, mailbox: &Mailbox, message: &Message) -> bool {
        Facts::new(mailbox, message).holds(&self.expression)
    }

    /// The `Message-ID` every match must have, when the search is for one.
    pub(crate) fn message_id(&self) -> Option<&str> {
        must(&self.expression)
            .find_map(|term| if let Term::MessageId(id) = term { Some(id.as_str()) } else { None })
    }
}
