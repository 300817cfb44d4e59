//! A push from Pub/Sub: is it Google's, and what does it say?
//! <https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>
//!
//! Anybody can post to the endpoint, so a body is worth nothing before its token is verified: signature,
//! issuer, audience, account and its verification, and time. "Forged" and "the keys could not be had" are
//! told apart, since Pub/Sub delivers again what is answered with 503. Deliberately absent: finding the
//! mailbox, and trusting the history id, which is a target and no proof.

use std::collections::HashMap;

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use sync_core::{EmailAddress, HistoryId};
use tokio::sync::Mutex;

use crate::{
    endpoint::Endpoint,
    error::GmailError,
    requests::{BASE64, BASE64_URL},
    transport::{self, Timeouts},
    wire,
};

/// Longest body that is looked at, bytes; Gmail's are under 1 KB.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest token that is looked at, bytes; Google's are about 1 KB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far clocks may differ.
pub const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// The keys are not fetched again sooner for an unknown key id: garbage must not make us hammer Google.
pub const REFRESH_MIN: SignedDuration = SignedDuration::from_secs(60);
/// After a failed fetch nobody tries again sooner.
pub const FAILED_FETCH_MIN: SignedDuration = SignedDuration::from_secs(5);

const KEYS_BYTES_MAX: u64 = 256 * 1024;
const KEYS_AGE_MIN: SignedDuration = SignedDuration::from_secs(60);
const KEYS_AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
const KEYS_AGE_DEFAULT: SignedDuration = SignedDuration::from_hours(1);
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// What a push says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushNotification {
    /// The mailbox's address.
    pub address: EmailAddress,
    /// How far its history goes: a target, not proof.
    pub history_id: HistoryId,
    /// Pub/Sub's id, the same on every redelivery.
    pub message_id: Option<String>,
}

/// A body that is not a Gmail push: which field is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {expected}")]
pub struct PushBodyError {
    /// The field's path.
    pub field: &'static str,
    /// What it must be.
    pub expected: &'static str,
}

#[derive(Deserialize)]
struct Body {
    message: Option<BodyMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyMessage {
    data: Option<String>,
    message_id: Option<String>,
    // Pub/Sub writes the id in both ways.
    #[serde(rename = "message_id")]
    message_id_snake: Option<String>,
}

impl PushNotification {
    /// Reads a push's body.
    ///
    /// # Errors
    /// [`PushBodyError`] with the name of the first field that is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, PushBodyError> {
        let wrong = |field, expected| PushBodyError { field, expected };
        if body.len() > BODY_BYTES_MAX {
            return Err(wrong("body", "must be at most 64 KB"));
        }
        let body: Body =
            serde_json::from_slice(body).map_err(|_| wrong("body", "must be a Pub/Sub push in JSON"))?;
        let message = body.message.ok_or(wrong("message", "must be there"))?;
        let data = message.data.ok_or(wrong("message.data", "must be there"))?;
        let data = BASE64
            .decode(&data)
            .or_else(|_| BASE64_URL.decode(&data))
            .map_err(|_| wrong("message.data", "must be base64"))?;
        let data: serde_json::Value =
            serde_json::from_slice(&data).map_err(|_| wrong("message.data", "must be JSON in base64"))?;

        let address = data.get("emailAddress").and_then(serde_json::Value::as_str);
        let address = address
            .and_then(|address| address.parse().ok())
            .ok_or(wrong("message.data.emailAddress", "must be an e-mail address"))?;
        let history_id = data
            .get("historyId")
            .and_then(|id| wire::number(id).ok())
            .ok_or(wrong("message.data.historyId", "must be a history id"))?;
        let message_id = message.message_id.or(message.message_id_snake);
        Ok(Self { address, history_id: HistoryId(history_id), message_id })
    }
}

/// Why a push's token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushRejected {
    /// It is not Google's, not for us, or not of now: 401.
    #[error("the push's token is not valid: {0}")]
    Forged(&'static str),
    /// It cannot be told yet: 503, and Pub/Sub delivers it again.
    #[error("Google's keys could not be fetched")]
    KeysUnavailable,
}

impl PushRejected {
    /// The HTTP status that answers it.
    pub fn status(self) -> u16 {
        match self {
            Self::Forged(_) => 401,
            Self::KeysUnavailable => 503,
        }
    }
}

/// Verifies the tokens of pushes. Holds Google's keys for as long as Google lets it: make one at start.
#[derive(Debug)]
pub struct PushVerifier {
    http: reqwest::Client,
    timeouts: Timeouts,
    certs_url: Endpoint,
    audience: String,
    service_account: String,
    // One fetch at a time: whoever waits finds the keys fetched.
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    fresh_until: Option<Timestamp>,
    fetched_at: Option<Timestamp>,
    failed_at: Option<Timestamp>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("count", &self.by_id.len()).finish_non_exhaustive()
    }
}

/// The claims that are checked. All are optional here so that a missing one is named, not a parse error.
#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<serde_json::Value>,
    email: Option<String>,
    email_verified: Option<bool>,
    exp: Option<i64>,
    iat: Option<i64>,
}

impl PushVerifier {
    /// A verifier for pushes with this audience, signed in the name of this service account.
    ///
    /// # Errors
    /// [`GmailError::Unsendable`] when TLS cannot be set up.
    pub fn new(
        certs_url: Endpoint,
        audience: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Result<Self, GmailError> {
        // Pub/Sub waits ten seconds for an answer.
        let seconds = std::time::Duration::from_secs;
        let timeouts = Timeouts {
            connect: seconds(2),
            headers: seconds(4),
            body_idle: seconds(2),
            body_total: seconds(2),
        };
        Ok(Self {
            http: transport::http_client(timeouts, &certs_url)?,
            timeouts,
            certs_url,
            audience: audience.into(),
            service_account: service_account.into(),
            keys: Mutex::default(),
        })
    }

    /// With keys that somebody has already fetched at `now`, a JSON Web Key Set.
    ///
    /// # Errors
    /// [`GmailError::Unreadable`] when no RS256 key is in it.
    pub fn with_keys(mut self, key_set: &[u8], now: Timestamp) -> Result<Self, GmailError> {
        let fresh_until = now.checked_add(KEYS_AGE_DEFAULT).ok();
        let by_id = read_keys(key_set)?;
        *self.keys.get_mut() = Keys { by_id, fresh_until, fetched_at: Some(now), failed_at: None };
        Ok(self)
    }

    /// Verifies the bearer token (without the word `Bearer`) of a push that arrived at `now`.
    ///
    /// # Errors
    /// [`PushRejected`], which tells a forgery from keys that could not be fetched.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<(), PushRejected> {
        use PushRejected::Forged;
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(Forged("no token of a plausible length"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Forged("not a JWT of a known kind"))?;
        // Also keeps Google's public key from being taken as the secret of an HMAC.
        if header.alg != Algorithm::RS256 {
            return Err(Forged("not signed with RS256"));
        }
        let key_id = header.kid.ok_or(Forged("no key id"))?;
        let key = self.key(&key_id, now).await?;

        let mut signature_only = Validation::new(Algorithm::RS256);
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        signature_only.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &signature_only)
            .map_err(|_| Forged("the signature is wrong"))?
            .claims;
        self.check(&claims, now)
    }

    fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), PushRejected> {
        use PushRejected::Forged;
        if !claims.iss.as_deref().is_some_and(|issuer| ISSUERS.contains(&issuer)) {
            return Err(Forged("the issuer is not Google"));
        }
        // RFC 7519 allows one audience or several.
        let for_us = match &claims.aud {
            Some(serde_json::Value::String(audience)) => *audience == self.audience,
            Some(serde_json::Value::Array(several)) => {
                several.iter().any(|audience| audience.as_str() == Some(&self.audience))
            }
            _ => false,
        };
        if !for_us {
            return Err(Forged("the audience is another"));
        }
        if claims.email.as_deref() != Some(&self.service_account) {
            return Err(Forged("the account is another"));
        }
        if claims.email_verified != Some(true) {
            return Err(Forged("the account is not verified"));
        }
        let (now, leeway) = (now.as_second(), LEEWAY.as_secs());
        if claims.exp.is_none_or(|expires| expires.saturating_add(leeway) <= now) {
            return Err(Forged("it has expired"));
        }
        if claims.iat.is_none_or(|issued| issued.saturating_sub(leeway) > now) {
            return Err(Forged("it is of the future"));
        }
        Ok(())
    }

    /// The key of that id: from the cache while it is fresh, else fetched, within the bounds on fetching.
    async fn key(&self, id: &str, now: Timestamp) -> Result<DecodingKey, PushRejected> {
        let recent = |at: Option<Timestamp>, span| at.is_some_and(|at| now.duration_since(at) < span);
        let mut keys = self.keys.lock().await;
        let fresh = keys.fresh_until.is_some_and(|until| now < until);
        if fresh && let Some(key) = keys.by_id.get(id) {
            return Ok(key.clone());
        }
        if fresh && recent(keys.fetched_at, REFRESH_MIN) {
            return Err(PushRejected::Forged("an unknown key"));
        }
        if recent(keys.failed_at, FAILED_FETCH_MIN) {
            return Err(PushRejected::KeysUnavailable);
        }
        let Ok((by_id, age)) = self.fetch().await else {
            keys.failed_at = Some(now);
            return Err(PushRejected::KeysUnavailable);
        };
        *keys =
            Keys { by_id, fresh_until: now.checked_add(age).ok(), fetched_at: Some(now), failed_at: None };
        keys.by_id.get(id).cloned().ok_or(PushRejected::Forged("an unknown key"))
    }

    async fn fetch(&self) -> Result<(HashMap<String, DecodingKey>, SignedDuration), GmailError> {
        let request = self.http.get(self.certs_url.as_str());
        let answer = transport::send(request, self.timeouts, KEYS_BYTES_MAX).await?;
        if !answer.is_success() {
            return Err(GmailError::Server { status: answer.status });
        }
        let age = answer.header("cache-control").and_then(max_age).unwrap_or(KEYS_AGE_DEFAULT);
        Ok((read_keys(&answer.body)?, age.clamp(KEYS_AGE_MIN, KEYS_AGE_MAX)))
    }
}

fn max_age(cache_control: &str) -> Option<SignedDuration> {
    cache_control.split(',').find_map(|directive| {
        let seconds = directive.trim().strip_prefix("max-age=")?.parse::<u32>().ok()?;
        Some(SignedDuration::from_secs(seconds.into()))
    })
}

#[derive(Deserialize)]
struct KeySet {
    // Read one by one: a key of a kind we do not know must not spoil the others.
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RsaKey {
    kid: String,
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    n: String,
    e: String,
}

fn read_keys(body: &[u8]) -> Result<HashMap<String, DecodingKey>, GmailError> {
    const WHAT: GmailError = GmailError::Unreadable { what: "a set of keys" };
    let set: KeySet = serde_json::from_slice(body).map_err(|_| WHAT)?;
    let keys: HashMap<String, DecodingKey> = set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<RsaKey>(key).ok())
        .filter(|key| {
            key.kty == "RSA"
                && key.alg.as_deref().is_none_or(|algorithm| algorithm == "RS256")
                && key.usage.as_deref().is_none_or(|usage| usage == "sig")
        })
        .filter_map(|key| Some((key.kid, DecodingKey::from_rsa_components(&key.n, &key.e).ok()?)))
        .collect();
    if keys.is_empty() { Err(WHAT) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(data: &str) -> Vec<u8> {
        format!(r#"{{"message":{{"data":"{data}","messageId":"7","message_id":"7"}},"subscription":"s"}}"#)
            .into_bytes()
    }

    #[test]
    fn both_alphabets_and_both_forms_of_the_id_are_read() {
        // The address makes the two alphabets differ.
        let number = br#"{"emailAddress":"Alice??>@example.com","historyId":9876543210}"#;
        let text = br#"{"emailAddress":"alice??>@example.com","historyId":"9876543210"}"#;
        for json in [&number[..], &text[..]] {
            let (standard, url) = (BASE64.encode(json), BASE64_URL.encode(json));
            assert_ne!(standard, url, "the test must tell the alphabets apart");
            for data in [standard.trim_end_matches('='), &standard, url.trim_end_matches('='), &url] {
                let push = PushNotification::parse(&body(data)).expect(data);
                assert_eq!(push.address.as_str(), "alice??>@example.com");
                assert_eq!(push.history_id, HistoryId(9_876_543_210));
                assert_eq!(push.message_id.as_deref(), Some("7"));
            }
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_name_of_the_field() {
        let check = |body: &[u8], field: &str| {
            let error = PushNotification::parse(body).expect_err(field);
            assert_eq!(error.field, field);
        };
        check(b"", "body");
        check(b"\xff", "body");
        check(b"[]", "body");
        check(&vec![b' '; BODY_BYTES_MAX + 1], "body");
        check(b"{}", "message");
        check(br#"{"message":{}}"#, "message.data");
        check(&body("%%%"), "message.data");
        check(&body("YQ=="), "message.data");
        let data = |json: &str| body(&BASE64.encode(json));
        check(&data("{}"), "message.data.emailAddress");
        check(&data(r#"{"emailAddress":"nobody","historyId":1}"#), "message.data.emailAddress");
        for id in ["null", "-1", "1.5", "\"x\"", "18446744073709551616", "{}"] {
            let json = format!(r#"{{"emailAddress":"a@b.c","historyId":{id}}}"#);
            check(&data(&json), "message.data.historyId");
        }
    }

    #[test]
    fn a_set_of_keys_survives_keys_of_other_kinds() {
        let set = br#"{"keys":[{"kty":"EC","kid":"a"},5,{"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB","use":"sig","alg":"RS256"},
            {"kty":"RSA","kid":"c","n":"AQAB","e":"AQAB","use":"enc"}]}"#;
        let keys = read_keys(set).expect("one key");
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["b"]);
        assert!(read_keys(br#"{"keys":[]}"#).is_err(), "no keys is no answer");
    }

    #[test]
    fn the_age_of_keys_is_read_from_the_header() {
        assert_eq!(
            max_age("public, max-age=19845, must-revalidate"),
            Some(SignedDuration::from_secs(19_845))
        );
        assert_eq!(max_age("no-store"), None);
    }
}
