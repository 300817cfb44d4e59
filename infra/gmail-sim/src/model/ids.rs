//! The numbers a mailbox is made of, in the forms Gmail writes them.
//!
//! Message and thread ids are hexadecimal on the wire and history ids decimal; both hold a `u64` and order as
//! numbers. Nothing here allocates ids: see [`super::Mailbox`].

use std::fmt;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Reads 1 to 16 hexadecimal digits; anything else is none.
            pub fn parse(text: &str) -> Option<Self> {
                let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
                if plain { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

hex_id!(
    /// One message, for ever; a draft that is saved again is another message.
    MessageId
);
hex_id!(
    /// One conversation: the id of its first message.
    ThreadId
);

/// A point in a mailbox's history; grows with gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryId(pub u64);

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A draft, stable over every save; written `r` and a decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftId(pub u64);

impl DraftId {
    /// Reads `r123`; anything else is none.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('r')?.parse().ok().map(Self)
    }
}

impl fmt::Display for DraftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}
