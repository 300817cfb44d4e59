//! From tokens to an expression.

use super::tokens::{Token, tokens};
use super::values::{bytes, calendar, span, words};
use super::{Expression, Term};
use crate::model::Millis;
use crate::model::label::{DRAFT, INBOX, SENT, SPAM, STARRED, TRASH, UNREAD};
use crate::model::label_table::LabelTable;
use crate::model::threading::plain_message_id;

/// Deepest nest of braces; what is deeper is read flat.
const DEPTH_MAX: usize = 20;
/// Most terms of a query; the rest is left out.
const TERMS_MAX: usize = 500;

/// Reads a search; answers as well whether it names the bin or the junk folder.
pub(super) fn parse(text: &str, labels: &LabelTable, now: Millis) -> (Expression, bool) {
    let mut parser = Parser { tokens: tokens(text), at: 0, labels, now, terms: 0, covers: false };
    let expression = parser.sequence(false, DEPTH_MAX, None);
    (expression, parser.covers)
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    labels: &'a LabelTable,
    now: Millis,
    terms: usize,
    covers: bool,
}

impl Parser<'_> {
    fn sequence(&mut self, any: bool, depth: usize, operator: Option<&str>) -> Expression {
        let mut items: Vec<Expression> = Vec::new();
        let mut or_next = false;
        while self.at < self.tokens.len() && self.terms < TERMS_MAX {
            match &self.tokens[self.at] {
                Token::Close => {
                    self.at += 1;
                    // A brace nobody opened is passed over at the outermost level.
                    if depth < DEPTH_MAX {
                        break;
                    }
                }
                Token::Or => {
                    self.at += 1;
                    or_next = !items.is_empty();
                }
                Token::Open(_) | Token::Minus | Token::Text(_) => {
                    let Some(item) = self.item(depth, operator) else { continue };
                    match items.pop() {
                        Some(Expression::Any(mut choices)) if or_next => {
                            choices.push(item);
                            items.push(Expression::Any(choices));
                        }
                        Some(previous) if or_next => items.push(Expression::Any(vec![previous, item])),
                        previous => {
                            items.extend(previous);
                            items.push(item);
                        }
                    }
                    or_next = false;
                }
            }
        }
        if any { Expression::Any(items) } else { Expression::All(items) }
    }

    /// What stands between braces; nothing is passed over, else `{}` would match nothing.
    fn group(&mut self, any: bool, depth: usize, operator: Option<&str>) -> Option<Expression> {
        let inner = self.sequence(any, depth.checked_sub(1)?, operator);
        let (Expression::All(items) | Expression::Any(items)) = &inner else { return Some(inner) };
        if items.is_empty() { None } else { Some(inner) }
    }

    fn item(&mut self, depth: usize, operator: Option<&str>) -> Option<Expression> {
        let mut negative = false;
        while self.tokens.get(self.at) == Some(&Token::Minus) {
            negative = !negative;
            self.at += 1;
        }
        let expression = match self.tokens.get_mut(self.at)? {
            Token::Open(any) => {
                let any = *any;
                self.at += 1;
                self.group(any, depth, operator)?
            }
            Token::Text(text) => {
                let text = std::mem::take(text);
                self.at += 1;
                self.terms += 1;
                self.text(&text, depth, operator)?
            }
            Token::Close | Token::Or | Token::Minus => return None,
        };
        Some(if negative { Expression::Not(Box::new(expression)) } else { expression })
    }

    /// A word, an operator and its value, or an operator over braces: `from:(ada OR alan)` holds for every word.
    fn text(&mut self, text: &str, depth: usize, operator: Option<&str>) -> Option<Expression> {
        if let (Some(name), Some(Token::Open(any))) = (text.strip_suffix(':'), self.tokens.get(self.at)) {
            let any = *any;
            self.at += 1;
            return self.group(any, depth, Some(name));
        }
        Some(Expression::Is(match operator {
            Some(operator) => self.term(&format!("{operator}:{text}")),
            None => self.term(text),
        }))
    }

    fn term(&mut self, text: &str) -> Term {
        let Some((operator, value)) = text.split_once(':').filter(|(_, value)| !value.is_empty()) else {
            let words = words(text);
            return if words.is_empty() { Term::Anything } else { Term::Words(words) };
        };
        let day = |value: &str| calendar(value);
        let ago = |value: &str| span(value).map(|span| self.now - span);
        match operator.to_ascii_lowercase().as_str() {
            "from" => Term::Header("From", words(value)),
            "to" => Term::Header("To", words(value)),
            "cc" => Term::Header("Cc", words(value)),
            "bcc" => Term::Header("Bcc", words(value)),
            "subject" => Term::Header("Subject", words(value)),
            "list" => Term::Header("List-ID", words(value)),
            "deliveredto" => Term::Header("Delivered-To", words(value)),
            "filename" => Term::FileName(words(value)),
            "rfc822msgid" => Term::MessageId(plain_message_id(value).to_owned()),
            "label" | "in" | "is" | "category" => self.label(operator, value),
            "has" => match value.to_ascii_lowercase().as_str() {
                "attachment" => Term::Attachment,
                "userlabels" | "nouserlabels" | "drive" | "document" => Term::Nothing,
                _ => Term::Words(words(value)),
            },
            "after" | "newer" => day(value).map_or(Term::Nothing, Term::After),
            "before" | "older" => day(value).map_or(Term::Nothing, Term::Before),
            "newer_than" => ago(value).map_or(Term::Nothing, Term::After),
            "older_than" => ago(value).map_or(Term::Nothing, Term::Before),
            "larger" | "size" => bytes(value).map_or(Term::Nothing, Term::Larger),
            "smaller" => bytes(value).map_or(Term::Nothing, Term::Smaller),
            _ => Term::Words(words(text)),
        }
    }

    fn label(&mut self, operator: &str, value: &str) -> Term {
        let lower = value.to_ascii_lowercase();
        self.covers |= matches!(lower.as_str(), "anywhere" | "trash" | "spam" | "bin" | "junk");
        let known = match lower.as_str() {
            "anywhere" => return Term::Anything,
            "read" => return Term::Label(None),
            "unread" => Some(UNREAD),
            "starred" => Some(STARRED),
            "inbox" => Some(INBOX),
            "sent" => Some(SENT),
            "draft" | "drafts" => Some(DRAFT),
            "trash" | "bin" => Some(TRASH),
            "spam" | "junk" => Some(SPAM),
            "important" | "chat" | "chats" => {
                self.labels.find(lower.trim_end_matches('s').to_uppercase().as_str())
            }
            _ if operator.eq_ignore_ascii_case("category") => {
                let name = if lower == "primary" { "personal" } else { &lower };
                self.labels.find(&format!("CATEGORY_{}", name.to_uppercase()))
            }
            _ => self.labels.find_search(value),
        };
        known.map_or(Term::Nothing, |label| Term::Label(Some(label)))
    }
}
