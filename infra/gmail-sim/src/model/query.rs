//! The search language of `q=`: operators, quotes, `-`, `OR`, braces, bare words.
//!
//! Invariant: any text is a query; what cannot be understood is a word that is looked for. Words match whole
//! words without case, as Gmail's do. A message's text is read only when a term asks for it.

use crate::mime::{self, Part};

use super::label::{DRAFT, INBOX, LabelIndex, SENT, SPAM, STARRED, TRASH, UNREAD};
use super::label_table::LabelTable;
use super::threading::plain_message_id;
use super::{Mailbox, Message, Millis};

/// Deepest nest of braces; what is deeper is read flat.
const DEPTH_MAX: usize = 20;
/// Most terms of a query; the rest is left out.
const TERMS_MAX: usize = 500;
const DAY_MS: Millis = 24 * 3600 * 1000;

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
    /// The search names the bin or the junk folder, so that they are not left out.
    pub(crate) covers_spam_trash: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Open(bool),
    Close,
    Minus,
    Or,
    Text { text: String },
}

impl Query {
    /// Reads a search; `now` is what `newer_than:` counts from.
    pub fn parse(text: &str, mailbox: &Mailbox, now: Millis) -> Self {
        let mut parser =
            Parser { tokens: tokens(text), at: 0, labels: &mailbox.labels, now, terms: 0, covers: false };
        let expression = parser.sequence(false, DEPTH_MAX);
        Self { expression, covers_spam_trash: parser.covers }
    }

    pub(crate) fn matches(&self, mailbox: &Mailbox, message: &Message) -> bool {
        let mut facts = Facts { mailbox, message, raw: None, headers: None, part: None };
        facts.holds(&self.expression)
    }

    /// The `Message-ID` every match must have, when the search is for one.
    pub(crate) fn message_id(&self) -> Option<&str> {
        let terms = match &self.expression {
            Expression::All(terms) => terms.as_slice(),
            other => std::slice::from_ref(other),
        };
        terms.iter().find_map(|term| match term {
            Expression::Is(Term::MessageId(id)) => Some(id.as_str()),
            _ => None,
        })
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(&character) = rest.peek() {
        match character {
            _ if character.is_whitespace() => {
                rest.next();
            }
            '(' | '{' => {
                rest.next();
                tokens.push(Token::Open(character == '{'));
            }
            ')' | '}' => {
                rest.next();
                tokens.push(Token::Close);
            }
            '-' => {
                rest.next();
                tokens.push(Token::Minus);
            }
            _ => {
                let mut word = String::new();
                let mut quoted = false;
                let mut inside = false;
                while let Some(&next) = rest.peek() {
                    let ends = next.is_whitespace() || matches!(next, '(' | ')' | '{' | '}');
                    // `subject:(two words)` keeps its braces for the parser.
                    if !inside && ends {
                        break;
                    }
                    rest.next();
                    if next == '"' {
                        quoted = true;
                        inside = !inside;
                    } else {
                        word.push(next);
                    }
                }
                let or = !quoted && (word == "OR" || word == "|");
                tokens.push(if or { Token::Or } else { Token::Text { text: word } });
            }
        }
    }
    tokens
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
    fn sequence(&mut self, any: bool, depth: usize) -> Expression {
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
                _ => {
                    let Some(item) = self.item(depth) else { continue };
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

    fn item(&mut self, depth: usize) -> Option<Expression> {
        let mut negative = false;
        while self.tokens.get(self.at) == Some(&Token::Minus) {
            negative = !negative;
            self.at += 1;
        }
        let expression = match self.tokens.get(self.at)? {
            Token::Open(any) => {
                let any = *any;
                self.at += 1;
                let below = depth.checked_sub(1)?;
                self.sequence(any, below)
            }
            Token::Text { text } => {
                let text = text.clone();
                self.at += 1;
                self.terms += 1;
                self.operator_over_braces(&text, depth).unwrap_or_else(|| Expression::Is(self.term(&text)))
            }
            Token::Close | Token::Or | Token::Minus => return None,
        };
        Some(if negative { Expression::Not(Box::new(expression)) } else { expression })
    }

    /// `from:(ada OR alan)`: the operator holds for every word within.
    fn operator_over_braces(&mut self, text: &str, depth: usize) -> Option<Expression> {
        let operator = text.strip_suffix(':')?;
        let Some(Token::Open(any)) = self.tokens.get(self.at) else { return None };
        let any = *any;
        let mut level = 0_usize;
        for place in self.at..self.tokens.len() {
            match &mut self.tokens[place] {
                Token::Open(_) => level += 1,
                Token::Close => level = level.saturating_sub(1),
                Token::Text { text } => *text = format!("{operator}:{text}"),
                Token::Minus | Token::Or => {}
            }
            if level == 0 {
                break;
            }
        }
        self.at += 1;
        if depth == 0 { None } else { Some(self.sequence(any, depth - 1)) }
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

/// Letters and digits of a text as lower-case words.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// `2024/05/06` or `2024-05-06` at midnight Pacific time, or epoch seconds.
fn calendar(value: &str) -> Option<Millis> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse::<Millis>().ok()?.checked_mul(1000);
    }
    let mut numbers = value.split(['/', '-', '.']).map(|number| number.parse::<i16>().ok());
    let (first, second, third) = (numbers.next()??, numbers.next()??, numbers.next()??);
    // Month first when the year stands last, as in the United States.
    let (year, month, day) = if third > 31 { (third, first, second) } else { (first, second, third) };
    let date = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let pacific = jiff::tz::TimeZone::posix("PST8PDT,M3.2.0,M11.1.0").ok()?;
    Some(date.to_zoned(pacific).ok()?.timestamp().as_millisecond())
}

/// `3d`, `2m` (of 30 days), `1y`, `12h`.
fn span(value: &str) -> Option<Millis> {
    let unit = value.chars().last()?;
    let count: Millis = value[..value.len() - unit.len_utf8()].parse().ok()?;
    let length = match unit.to_ascii_lowercase() {
        'h' => 3600 * 1000,
        'd' => DAY_MS,
        'm' => 30 * DAY_MS,
        'y' => 365 * DAY_MS,
        _ => return None,
    };
    count.checked_mul(length)
}

/// `5000`, `10K`, `5M`.
fn bytes(value: &str) -> Option<u32> {
    let lower = value.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['k', 'm', 'b']);
    let scale = if lower[digits.len()..].starts_with('m') {
        1 << 20
    } else if lower[digits.len()..].starts_with('k') {
        1 << 10
    } else {
        1
    };
    digits.parse::<u32>().ok()?.checked_mul(scale)
}

struct Facts<'a> {
    mailbox: &'a Mailbox,
    message: &'a Message,
    raw: Option<std::sync::Arc<[u8]>>,
    headers: Option<Vec<mime::Header>>,
    part: Option<Part>,
}

impl Facts<'_> {
    fn holds(&mut self, expression: &Expression) -> bool {
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
            Term::Attachment => self.part().walk().iter().any(|part| !part.filename.is_empty()),
            Term::FileName(wanted) => {
                self.part().walk().iter().any(|part| follows(&words(&part.filename), wanted))
            }
            Term::Words(wanted) => self.contains(wanted),
        }
    }

    fn raw(&mut self) -> std::sync::Arc<[u8]> {
        let (mailbox, message) = (self.mailbox, self.message);
        self.raw.get_or_insert_with(|| mailbox.raw(message)).clone()
    }

    fn header(&mut self, name: &str) -> Vec<String> {
        let raw = self.raw();
        let headers = self.headers.get_or_insert_with(|| mime::parse_headers(&raw));
        headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name))
            .map(|h| h.value.clone())
            .collect()
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
