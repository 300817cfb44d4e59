//! The promises, by name, and what breaking one looks like.

use std::fmt;

/// A promise of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// P1.
    NothingLost,
    /// P2.
    AppliedOnce,
    /// P3.
    Announced,
    /// P4.
    NothingSkipped,
    /// P5.
    NewBeforeOld,
    /// What every effect must keep to: sizes, and an engine that ends without a panic.
    Bounds,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingLost => "P1 (no change is lost)",
            Self::AppliedOnce => "P2 (no change is applied twice or backwards)",
            Self::Announced => "P3 (every change is announced, once, in order)",
            Self::NothingSkipped => "P4 (nothing is silently skipped)",
            Self::NewBeforeOld => "P5 (new mail never waits behind old)",
            Self::Bounds => "the bounds of effects",
        })
    }
}

/// A promise that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How, in one sentence.
    pub how: String,
}

impl Broken {
    /// A broken promise.
    pub fn new(promise: Promise, how: impl Into<String>) -> Self {
        Self { promise, how: how.into() }
    }

    /// What kind of loss it is: the sentence without numbers and names of messages.
    pub fn kind(&self) -> String {
        let mut inside = false;
        let mut word = |word: &&str| {
            let was_inside = inside;
            inside = (inside || word.starts_with('[')) && !word.ends_with(']');
            !was_inside && !word.starts_with('[') && !word.chars().any(|c| c.is_ascii_digit() || c == '…')
        };
        let words: Vec<&str> = self.how.split_whitespace().filter(|text| word(text)).collect();
        format!("{}: {}", self.promise, words.join(" "))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken: {}", self.promise, self.how)
    }
}
