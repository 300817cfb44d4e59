//! Access tokens, refresh tokens, codes, scopes, and the service accounts that may act for users.
//!
//! `sim:ADDRESS` is a bearer token and a refresh token at once, with every scope; it never expires by time but
//! dies with the grant like any other. A grant is between a user and a client: withdrawing one leaves those that
//! the user gave to other clients.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Millis;

/// How long an access token lives.
pub(crate) const ACCESS_S: i64 = 3_599;
/// How long a code can be redeemed.
pub(crate) const CODE_MS: Millis = 10 * 60 * 1000;
/// Everything.
pub(crate) const SCOPE_ALL: &str = "https://mail.google.com/";
/// The client that `sim:` tokens belong to.
const SIM_CLIENT: &str = "sim:";

/// Who may do what.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) email: String,
    /// To whom it was given.
    pub(crate) client: String,
    pub(crate) scopes: Vec<String>,
}

/// A code on its way through the browser.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) grant: Grant,
    pub(crate) redirect_uri: String,
    /// The PKCE challenge and whether it is hashed.
    pub(crate) challenge: Option<(String, bool)>,
    /// Whether a refresh token is wanted.
    pub(crate) offline: bool,
    /// Whether it is wanted although the client has got one already.
    pub(crate) asks_again: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) expires: Millis,
}

/// A service account that the simulator knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceAccount {
    /// Key id and public half (DER).
    pub(crate) keys: Vec<(String, Vec<u8>)>,
    /// What the domain's administrator delegated; none is every scope.
    pub(crate) delegated: Option<Vec<String>>,
}

/// Every token handed out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) access: BTreeMap<String, (Grant, Millis)>,
    pub(crate) refresh: BTreeMap<String, Grant>,
    pub(crate) codes: BTreeMap<String, Code>,
    pub(crate) service_accounts: BTreeMap<String, ServiceAccount>,
    /// What each user has consented to, by address and client.
    consents: BTreeMap<(String, String), Vec<String>>,
    /// Addresses whose grants were withdrawn.
    pub(crate) revoked: BTreeSet<String>,
}

impl Tokens {
    /// Whose token this is, if it is good now.
    pub(crate) fn bearer(&self, token: &str, now: Millis) -> Option<Grant> {
        if let Some(email) = token.strip_prefix(SIM_CLIENT) {
            let email = email.to_ascii_lowercase();
            let good = !self.revoked.contains(&email);
            return good.then(|| Grant {
                email,
                client: SIM_CLIENT.to_owned(),
                scopes: vec![SCOPE_ALL.to_owned()],
            });
        }
        self.access.get(token).filter(|(_, expires)| *expires > now).map(|(grant, _)| grant.clone())
    }

    /// Whose refresh token this is, if the grant stands.
    pub(crate) fn refresh(&self, token: &str) -> Option<Grant> {
        if token.starts_with(SIM_CLIENT) {
            return self.bearer(token, Millis::MAX);
        }
        self.refresh.get(token).filter(|grant| !self.revoked.contains(&grant.email)).cloned()
    }

    /// Whether a client holds a refresh token of the user's.
    pub(crate) fn holds_refresh(&self, grant: &Grant) -> bool {
        self.refresh.values().any(|held| held.email == grant.email && held.client == grant.client)
    }

    /// Notes a consent; answers all scopes that this user has given to this client so far.
    pub(crate) fn consent(&mut self, grant: &Grant) -> Vec<String> {
        self.revoked.remove(&grant.email);
        let scopes = self.consents.entry((grant.email.clone(), grant.client.clone())).or_default();
        for scope in &grant.scopes {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        scopes.clone()
    }

    /// Withdraws every grant of an address: refresh tokens and access tokens die.
    pub(crate) fn revoke(&mut self, email: &str) {
        let email = email.to_ascii_lowercase();
        self.forget(|grant| grant.email == email);
        self.revoked.insert(email);
    }

    /// Withdraws one grant.
    pub(crate) fn revoke_grant(&mut self, grant: &Grant) {
        if grant.client == SIM_CLIENT {
            self.revoked.insert(grant.email.clone());
        }
        self.forget(|other| other.email == grant.email && other.client == grant.client);
    }

    fn forget(&mut self, gone: impl Fn(&Grant) -> bool) {
        self.access.retain(|_, (grant, _)| !gone(grant));
        self.refresh.retain(|_, grant| !gone(grant));
        self.codes.retain(|_, code| !gone(&code.grant));
        self.consents.retain(|(email, client), _| {
            !gone(&Grant { email: email.clone(), client: client.clone(), scopes: Vec::new() })
        });
    }

    /// Consent given anew.
    pub(crate) fn grant_again(&mut self, email: &str) {
        self.revoked.remove(&email.to_ascii_lowercase());
    }

    /// Access tokens and codes that nobody can use any more are dropped, so that a long run stays small.
    pub(crate) fn sweep(&mut self, now: Millis) {
        self.access.retain(|_, (_, expires)| *expires > now);
        self.codes.retain(|_, code| code.expires > now);
    }
}
