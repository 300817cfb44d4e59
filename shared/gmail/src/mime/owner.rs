//! Whose mailbox it is, which tells what went out from what came in.

use std::collections::BTreeSet;

use sync_core::EmailAddress;

/// Knows the mailbox's own addresses.
pub trait Owner {
    /// Whether a `From` of this address was written by the owner.
    fn owns(&self, email: &str) -> bool;
}

/// The address that the mailbox is named by, when its aliases are not known.
impl Owner for EmailAddress {
    fn owns(&self, email: &str) -> bool {
        mailbox_of(email) == mailbox_of(self.as_str())
    }
}

/// All addresses that the owner sends from: the mailbox's own and its aliases (`users.settings.sendAs`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnAddresses(BTreeSet<String>);

impl OwnAddresses {
    /// Most addresses kept; Gmail allows 99 aliases.
    pub const MAX: usize = 200;
}

impl<'a> FromIterator<&'a EmailAddress> for OwnAddresses {
    fn from_iter<I: IntoIterator<Item = &'a EmailAddress>>(addresses: I) -> Self {
        Self(addresses.into_iter().take(Self::MAX).map(|address| mailbox_of(address.as_str())).collect())
    }
}

impl Owner for OwnAddresses {
    fn owns(&self, email: &str) -> bool {
        self.0.contains(&mailbox_of(email))
    }
}

impl std::fmt::Debug for OwnAddresses {
    // Addresses do not belong in a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("OwnAddresses").field(&self.0.len()).finish()
    }
}

/// An address as its mailbox: case does not matter, and Gmail's own domain ignores dots and what follows a
/// plus sign.
fn mailbox_of(email: &str) -> String {
    let email = email.to_lowercase();
    match email.rsplit_once('@') {
        Some((local, "gmail.com" | "googlemail.com")) => {
            let local = local.split('+').next().unwrap_or_default().replace('.', "");
            format!("{local}@gmail.com")
        }
        _ => email,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_the_owner_and_a_stranger_is_not() {
        let address = |text: &str| text.parse::<EmailAddress>().expect("an address");
        let addresses = [address("owner@example.com"), address("a.lias@gmail.com")];
        let own: OwnAddresses = addresses.iter().collect();
        for email in ["Owner@Example.com", "alias@gmail.com", "A.L.ias+news@googlemail.com"] {
            assert!(own.owns(email), "{email}");
        }
        for email in ["own.er@example.com", "owner+x@example.com", "owner@example.org", "", "alias"] {
            assert!(!own.owns(email), "{email}");
        }
        assert!(addresses[0].owns("OWNER@example.com") && !addresses[0].owns("alias@gmail.com"));
        assert_eq!(format!("{own:?}"), "OwnAddresses(2)");
    }
}
