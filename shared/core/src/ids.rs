//! Identifiers, parsed once at the edge.
//!
//! Gmail writes history ids as decimal strings and message ids as hex strings, both of a `u64`. They are
//! compared as numbers only: as strings, "999" is above "1000" and a cursor sticks for ever.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not the identifier it should be. Says what was expected, never what was given:
/// the text may be somebody's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expected}")]
pub struct ParseError {
    expected: &'static str,
}

impl ParseError {
    const fn new(expected: &'static str) -> Self {
        Self { expected }
    }
}

fn parse_number(text: &str, radix: u32) -> Option<u64> {
    // `from_str_radix` takes a leading plus sign, which Gmail never writes.
    if text.starts_with('+') { None } else { u64::from_str_radix(text, radix).ok() }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $radix:literal, $format:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                parse_number(text, $radix).map(Self).ok_or(ParseError::new($expected))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

number_id!(
    /// A place in a mailbox's history. Grows with random gaps; comparable inside one mailbox and epoch.
    HistoryId, 10, "{}", "must be a decimal history id"
);
number_id!(
    /// Gmail's message id, unique inside a mailbox.
    MessageId, 16, "{:x}", "must be a hexadecimal message id"
);
number_id!(
    /// Gmail's thread id.
    ThreadId, 16, "{:x}", "must be a hexadecimal thread id"
);

/// Which holder of a mailbox's lease this is: grows by one at every acquisition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text, as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            /// 1 to 64 letters, digits, `-`, `_`: safe in a key, a path and a log line.
            fn from_str(text: &str) -> Result<Self, ParseError> {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
                    return Err(ParseError::new($expected));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A connected mailbox: `mbx_…`.
    MailboxId, "must be a mailbox id"
);
text_id!(
    /// Who owns mailboxes, tokens and everything else: `ten_…` or a name of the owner's choice.
    TenantId, "must be a tenant id"
);
text_id!(
    /// One job or request: `job_…`, sortable by the time it was made.
    JobId, "must be a job id"
);

/// A mailbox's address, lower-cased. Has no `Debug` that shows it: addresses do not belong in logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The address, for the wire and for rows; never for a log line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

impl FromStr for EmailAddress {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: ParseError = ParseError::new("must be an e-mail address");
        let (local, domain) = text.rsplit_once('@').ok_or(EXPECTED)?;
        let strange = |c: char| c.is_control() || c.is_whitespace() || c == '#' || c == '/';
        if local.is_empty() || domain.is_empty() || text.len() > 320 || text.chars().any(strange) {
            return Err(EXPECTED);
        }
        Ok(Self(text.to_lowercase()))
    }
}

impl<'de> Deserialize<'de> for EmailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_ids_compare_as_numbers() {
        let parse = |text: &str| text.parse::<HistoryId>().expect("a history id");
        assert!(parse("1000") > parse("999"), "as strings the order is the other way round");
        assert_eq!(parse("18446744073709551615").to_string(), "18446744073709551615");
        for bad in ["", "+1", "-1", "0x1", "1.0", "18446744073709551616", "ten"] {
            assert!(bad.parse::<HistoryId>().is_err(), "{bad:?} is not a history id");
        }
    }

    #[test]
    fn message_ids_are_hexadecimal() {
        assert_eq!("18c2f00d".parse(), Ok(MessageId(0x18c2_f00d)));
        assert_eq!(MessageId(0x18c2_f00d).to_string(), "18c2f00d");
        assert!("not hex".parse::<MessageId>().is_err());
    }

    #[test]
    fn names_that_would_break_a_key_are_refused() {
        for bad in ["", "a b", "a#b", "a/b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<MailboxId>().is_err(), "{bad:?} is not a mailbox id");
        }
        for bad in ["", "@", "a@", "@b", "a b@c", "a\n@b", "a#b@c"] {
            assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?} is not an address");
        }
        assert_eq!(
            "Alice@Example.COM".parse::<EmailAddress>().expect("an address").as_str(),
            "alice@example.com"
        );
    }

    #[test]
    fn an_address_does_not_show_in_debug_output() {
        let address: EmailAddress = "alice@example.com".parse().expect("an address");
        assert!(!format!("{address:?}").contains("alice"));
    }
}
