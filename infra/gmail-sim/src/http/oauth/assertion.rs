//! JWT bearer: a service account asks for a token, for itself or for a user of its domain.
//!
//! A service account that was made here (`/sim/service-accounts`) is held to its keys and to what was delegated to
//! it. Before the first one is made nobody's keys are known, and any well-formed assertion is taken.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Form, OAuthError, access_token};
use crate::http::clock::real_now;
use crate::http::keys::{self, SigningKey};
use crate::http::state::{Shared, lock};
use crate::http::tokens::{Grant, SCOPE_ALL, Tokens};

/// How far a client's clock may be ahead.
const SKEW_S: i64 = 300;
/// Longest life of an assertion.
const LIFE_S: i64 = 3_600;
/// Most keys of one service account, as Google has it; the oldest goes.
const KEYS_MAX: usize = 10;

/// How a service account is to be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceAccountOrder {
    /// A public key of its own (PEM); without it one is made.
    #[serde(rename = "publicKeyPem")]
    public_key_pem: Option<String>,
    /// The name of that key in an assertion's header.
    #[serde(rename = "keyId")]
    key_id: Option<String>,
    /// The scopes that are delegated to it for the whole domain; every scope when left out.
    scopes: Option<Vec<String>>,
}

struct Assertion<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Assertion<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let read = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).ok().filter(|bytes| !bytes.is_empty())?;
        Some(Self { header: read(header)?, claims: read(claims)?, signed, signature })
    }

    fn text(&self, claim: &str) -> &str {
        self.claims.get(claim).and_then(Value::as_str).unwrap_or_default()
    }

    /// For whom it asks: the user, or the service account itself.
    fn email(&self) -> String {
        let user = self.text("sub");
        if user.is_empty() { self.text("iss") } else { user }.to_ascii_lowercase()
    }

    /// Whether one of the account's keys made the signature; a key id in the header picks that key.
    fn is_signed_by(&self, keys: &[(String, Vec<u8>)]) -> bool {
        let named = self.header.get("kid").and_then(Value::as_str);
        keys.iter()
            .filter(|(id, _)| named.is_none_or(|named| named == id))
            .any(|(_, key)| keys::verifies(key, self.signed.as_bytes(), &self.signature))
    }
}

/// For whom an assertion asks, checked or not.
pub(super) fn subject(text: &str) -> Option<String> {
    Assertion::read(text).map(|assertion| assertion.email())
}

pub(super) fn redeem(shared: &Arc<Shared>, form: &Form) -> Result<Value, OAuthError> {
    let refuse = |description: &str| OAuthError::new(400, "invalid_grant", description);
    let text = form
        .get("assertion")
        .ok_or_else(|| OAuthError::bad_request("Missing required parameter: assertion"))?;
    let assertion = Assertion::read(text)
        .filter(|assertion| assertion.header["alg"] == "RS256")
        .ok_or_else(|| refuse("Invalid JWT Signature."))?;
    check_times(&assertion)?;
    if assertion.text("iss").is_empty() || !assertion.text("aud").ends_with("/token") {
        return Err(refuse("Invalid JWT: wrong audience or issuer."));
    }
    let scopes: Vec<String> = assertion.text("scope").split_whitespace().map(str::to_owned).collect();
    if scopes.is_empty() {
        let description = "Invalid OAuth scope or ID token audience provided.";
        return Err(OAuthError::new(400, "invalid_scope", description));
    }
    let email = assertion.email();
    let for_user = !assertion.text("sub").is_empty();
    check_account(&lock(&shared.tokens), &assertion, &scopes, for_user)?;
    if for_user && shared.account(&email).is_none() {
        return Err(refuse("Invalid email or User ID"));
    }
    if lock(&shared.tokens).revoked.contains(&email) {
        return Err(OAuthError::unauthorized());
    }
    let client = format!("service account {}", assertion.text("iss").to_ascii_lowercase());
    let mut answer = access_token(shared, &Grant { email, client, scopes })?;
    if let Some(object) = answer.as_object_mut() {
        object.remove("scope");
    }
    Ok(answer)
}

/// The clock is the real one: the assertion's maker knows no other.
fn check_times(assertion: &Assertion<'_>) -> Result<(), OAuthError> {
    let seconds = |claim: &str| assertion.claims.get(claim).and_then(Value::as_i64);
    let now = real_now() / 1000;
    let good = match (seconds("iat"), seconds("exp")) {
        (Some(issued), Some(expires)) => {
            expires > now && issued <= now + SKEW_S && expires.saturating_sub(issued) <= LIFE_S
        }
        _ => false,
    };
    let description = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat \
         and exp values in the JWT claim.";
    if good { Ok(()) } else { Err(OAuthError::new(400, "invalid_grant", description)) }
}

fn check_account(
    tokens: &Tokens,
    assertion: &Assertion<'_>,
    scopes: &[String],
    for_user: bool,
) -> Result<(), OAuthError> {
    if tokens.service_accounts.is_empty() {
        return Ok(());
    }
    let known = tokens.service_accounts.get(&assertion.text("iss").to_ascii_lowercase());
    let account =
        known.ok_or_else(|| OAuthError::new(400, "invalid_grant", "Invalid grant: account not found"))?;
    if !assertion.is_signed_by(&account.keys) {
        return Err(OAuthError::new(400, "invalid_grant", "Invalid JWT Signature."));
    }
    let delegated = |scope: &String| match &account.delegated {
        None => true,
        Some(delegated) => delegated.contains(scope) || delegated.iter().any(|all| all == SCOPE_ALL),
    };
    if for_user && !scopes.iter().all(delegated) {
        return Err(OAuthError::unauthorized());
    }
    Ok(())
}

/// Makes a service account or gives it one more key; answers Google's key file.
pub(crate) fn key_file(
    shared: &Shared,
    base: &str,
    email: &str,
    order: ServiceAccountOrder,
) -> Result<Value, String> {
    let email = email.to_ascii_lowercase();
    let failed = |error: anyhow::Error| error.to_string();
    let (key_id, public, private) = if let Some(pem) = &order.public_key_pem {
        let der = keys::public_der_of_pem(pem).ok_or("publicKeyPem: is no public key in PEM")?;
        let key_id = order.key_id.unwrap_or_else(|| format!("{:016x}", crate::model::hash(&der)));
        (key_id, der, None)
    } else {
        let key = SigningKey::generate().map_err(failed)?;
        let key_id = order.key_id.unwrap_or_else(|| key.key_id().to_owned());
        (key_id, key.public_der().map_err(failed)?, Some(key.private_pem().map_err(failed)?))
    };
    let mut tokens = lock(&shared.tokens);
    let account = tokens.service_accounts.entry(email.clone()).or_default();
    account.keys.retain(|(id, _)| *id != key_id);
    account.keys.push((key_id.clone(), public));
    let surplus = account.keys.len().saturating_sub(KEYS_MAX);
    account.keys.drain(..surplus);
    if order.scopes.is_some() {
        account.delegated = order.scopes;
    }
    let project = email.split(['@', '.']).nth(1).unwrap_or("gmail-sim").to_owned();
    let mut file = json!({
        "type": "service_account",
        "project_id": project,
        "private_key_id": key_id,
        "client_email": email,
        "client_id": (crate::model::hash(email.as_bytes()) >> 1).to_string(),
        "auth_uri": format!("{base}/o/oauth2/v2/auth"),
        "token_uri": format!("{base}/token"),
        "auth_provider_x509_cert_url": format!("{base}/oauth2/v3/certs"),
        "universe_domain": "googleapis.com",
    });
    if let Some(private) = private {
        file["private_key"] = json!(private);
    }
    Ok(file)
}
