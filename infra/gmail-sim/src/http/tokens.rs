//! Access tokens, refresh tokens, codes and scopes.
//!
//! `sim:ADDRESS` is a bearer token and a refresh token at once, with every scope; it never expires by time but
//! dies with the grant like any other.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Millis;

/// How long an access token lives.
pub(crate) const ACCESS_S: i64 = 3_599;
/// How long a code can be redeemed.
pub(crate) const CODE_MS: Millis = 10 * 60 * 1000;
/// Everything.
pub(crate) const SCOPE_ALL: &str = "https://mail.google.com/";

/// Who may do what.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) email: String,
    pub(crate) scopes: Vec<String>,
}

/// A code on its way through the browser.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) grant: Grant,
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    /// The PKCE challenge and whether it is hashed.
    pub(crate) challenge: Option<(String, bool)>,
    pub(crate) offline: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) expires: Millis,
}

/// Every token handed out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) access: BTreeMap<String, (Grant, Millis)>,
    pub(crate) refresh: BTreeMap<String, Grant>,
    pub(crate) codes: BTreeMap<String, Code>,
    /// Addresses whose grant was withdrawn.
    pub(crate) revoked: BTreeSet<String>,
}

impl Tokens {
    /// Whose token this is, if it is good now.
    pub(crate) fn bearer(&self, token: &str, now: Millis) -> Option<Grant> {
        if let Some(email) = token.strip_prefix("sim:") {
            let email = email.to_ascii_lowercase();
            let good = !self.revoked.contains(&email);
            return good.then(|| Grant { email, scopes: vec![SCOPE_ALL.to_owned()] });
        }
        self.access.get(token).filter(|(_, expires)| *expires > now).map(|(grant, _)| grant.clone())
    }

    /// Whose refresh token this is, if the grant stands.
    pub(crate) fn refresh(&self, token: &str) -> Option<Grant> {
        if token.starts_with("sim:") {
            return self.bearer(token, Millis::MAX);
        }
        self.refresh.get(token).filter(|grant| !self.revoked.contains(&grant.email)).cloned()
    }

    /// Withdraws an address's grant: refresh tokens and access tokens die.
    pub(crate) fn revoke(&mut self, email: &str) {
        let email = email.to_ascii_lowercase();
        self.access.retain(|_, (grant, _)| grant.email != email);
        self.refresh.retain(|_, grant| grant.email != email);
        self.revoked.insert(email);
    }

    /// Consent given anew.
    pub(crate) fn grant_again(&mut self, email: &str) {
        self.revoked.remove(&email.to_ascii_lowercase());
    }
}
