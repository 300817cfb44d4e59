//! A search as tokens.

/// A piece of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A brace; curly ones mean any of what they hold.
    Open(bool),
    Close,
    Minus,
    Or,
    Text(String),
}

/// Splits a search; any text can be split.
pub(super) fn tokens(text: &str) -> Vec<Token> {
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
                tokens.push(if or { Token::Or } else { Token::Text(word) });
            }
        }
    }
    tokens
}
