//! A service account with domain-wide delegation: its key signs an assertion, and the token endpoint gives an access
//! token for a user of the domain. <https://developers.google.com/identity/protocols/oauth2/service-account>
//!
//! Invariant: a [`ServiceAccount`] has a key that signs. It is parsed where it comes in, with a trial signature, so
//! that a key of another kind is the caller's mistake with a name and not a failure an hour later. Deliberately
//! absent: service accounts for themselves (they have no mailbox), and keys in PKCS#12.

use std::{borrow::Cow, time::Duration};

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use oauth2::{HttpRequest, HttpResponse};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sync_core::EmailAddress;

use crate::{
    client::GmailClient,
    error::{GmailError, plain},
    oauth::{AccessToken, SCOPE, lapses},
};

/// Longest key or key file, bytes: a file with a key of 8,192 bits has 8 KB.
pub const KEY_BYTES_MAX: usize = 16 * 1024;
/// Longest name of a key, bytes: Google's have 40.
const KEY_ID_BYTES_MAX: usize = 128;
/// How long an assertion is good: Google takes no more than an hour.
const ASSERTION: SignedDuration = SignedDuration::from_hours(1);
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A service account's key, and for whom it acts. Has no `Debug`.
#[derive(Clone)]
pub struct ServiceAccount {
    account: EmailAddress,
    user: EmailAddress,
    key_id: Option<String>,
    key: SecretString,
}

/// Which of the three texts is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyField {
    /// The service account's address.
    Account,
    /// Its key.
    Key,
    /// The user that it acts for.
    User,
}

/// What is wrong with it; never repeats what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyProblem {
    /// Which.
    pub field: KeyField,
    /// What it must be.
    pub message: &'static str,
}

/// What of Google's key file matters.
#[derive(Deserialize)]
struct KeyFile {
    r#type: Option<String>,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<SecretString>,
}

/// The sealed form.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    account: Cow<'a, str>,
    user: Cow<'a, str>,
    key_id: Option<Cow<'a, str>>,
    key: Cow<'a, str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    scope: &'a str,
    aud: String,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Given {
    access_token: SecretString,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl ServiceAccount {
    /// Reads what somebody gave: the account's address (may be left out beside a key file), its key (PEM as PKCS#8
    /// or PKCS#1, or Google's whole key file), and the user's address.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn parse(
        account: Option<&str>,
        key: Option<&SecretString>,
        user: Option<&str>,
    ) -> Result<Self, Vec<KeyProblem>> {
        let mut problems = Vec::new();
        let mut refuse = |field, message| problems.push(KeyProblem { field, message });
        let user = match user.map(str::parse::<EmailAddress>) {
            Some(Ok(user)) => Some(user),
            Some(Err(_)) => {
                refuse(KeyField::User, "must be the e-mail address of a user of the domain");
                None
            }
            None => {
                refuse(KeyField::User, "is required: the user whose mail is read");
                None
            }
        };
        let key_is_given = key.is_some();
        let key = match key.map(read_key) {
            Some(Ok(key)) => Some(key),
            Some(Err(message)) => {
                refuse(KeyField::Key, message);
                None
            }
            None => {
                refuse(KeyField::Key, "is required: the private key (PEM), or the whole key file (JSON)");
                None
            }
        };
        let of_file = key.as_ref().and_then(|key| key.account.clone());
        let account = match (account.map(str::parse::<EmailAddress>), of_file) {
            (Some(Err(_)), _) => {
                refuse(KeyField::Account, "must be the service account's e-mail address");
                None
            }
            (Some(Ok(given)), Some(named)) if given != named => {
                refuse(KeyField::Account, "is not the one that the key file names");
                None
            }
            (Some(Ok(account)), _) | (None, Some(account)) => Some(account),
            // A bad key may have been a key file that would have named it: one complaint is enough.
            (None, None) if key_is_given && key.is_none() => None,
            (None, None) => {
                refuse(KeyField::Account, "is required: the service account's e-mail address");
                None
            }
        };
        match (account, key, user) {
            (Some(account), Some(key), Some(user)) => {
                Ok(Self { account, user, key_id: key.id, key: key.pem })
            }
            _ => Err(problems),
        }
    }

    /// For whom it acts.
    pub fn user(&self) -> &EmailAddress {
        &self.user
    }

    /// All of it as one secret, to be sealed.
    pub fn to_secret(&self) -> SecretString {
        let kept = Kept {
            account: self.account.as_str().into(),
            user: self.user.as_str().into(),
            key_id: self.key_id.as_deref().map(Cow::from),
            key: self.key.expose_secret().into(),
        };
        SecretString::from(serde_json::to_string(&kept).unwrap_or_default())
    }

    /// Reads [`ServiceAccount::to_secret`] back; `None` when it is something else.
    pub fn from_secret(secret: &SecretString) -> Option<Self> {
        let kept: Kept<'_> = serde_json::from_str(secret.expose_secret()).ok()?;
        Some(Self {
            account: kept.account.parse().ok()?,
            user: kept.user.parse().ok()?,
            key_id: kept.key_id.map(Cow::into_owned),
            key: SecretString::from(kept.key.into_owned()),
        })
    }

    fn assertion(&self, audience: String, now: Timestamp) -> Result<SecretString, GmailError> {
        let claims = Claims {
            iss: self.account.as_str(),
            sub: self.user.as_str(),
            scope: SCOPE,
            aud: audience,
            iat: now.as_second(),
            exp: now.as_second() + ASSERTION.as_secs(),
        };
        let signed = sign(self.key.expose_secret(), self.key_id.clone(), &claims);
        signed.map(SecretString::from).ok_or(GmailError::Unsendable)
    }
}

impl GmailClient {
    /// An access token for the user that the service account acts for.
    ///
    /// # Errors
    /// [`GmailError::KeyRefused`] for `invalid_grant`, [`GmailError::DelegationRefused`] for
    /// `unauthorized_client`; else what the network says.
    pub async fn assert(&self, account: &ServiceAccount, now: Timestamp) -> Result<AccessToken, GmailError> {
        let url = self.config().oauth_url.join("/token");
        let assertion = account.assertion(url.clone(), now)?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", assertion.expose_secret())
            .finish();
        let request: HttpRequest = http::Request::post(url)
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.into_bytes())
            .map_err(|_| GmailError::Unsendable)?;
        let answer = self.carry(request, now).await?;
        if !answer.status().is_success() {
            return Err(refusal(&answer));
        }
        let given: Given = serde_json::from_slice(answer.body())
            .map_err(|_| GmailError::Unreadable { what: "a service account's token" })?;
        Ok(AccessToken {
            token: given.access_token,
            expires_at: lapses(given.expires_in.map(Duration::from_secs), now),
            // Google names none here: all that was asked for is delegated, or nothing.
            scopes: Some(vec![SCOPE.to_owned()]),
        })
    }
}

fn refusal(answer: &HttpResponse) -> GmailError {
    let Ok(refused) = serde_json::from_slice::<Refused>(answer.body()) else {
        return GmailError::Unreadable { what: "a service account's token" };
    };
    match refused.error.as_str() {
        "invalid_grant" => GmailError::KeyRefused,
        // `access_denied` is what it says when the scope alone is missing.
        "unauthorized_client" | "access_denied" => GmailError::DelegationRefused,
        "invalid_scope" => GmailError::InsufficientScope,
        "internal_failure" | "temporarily_unavailable" => GmailError::Server { status: 500 },
        other => GmailError::ClientRefused { reason: plain(other) },
    }
}

struct Key {
    account: Option<EmailAddress>,
    id: Option<String>,
    pem: SecretString,
}

fn read_key(given: &SecretString) -> Result<Key, &'static str> {
    const EXPECTED: &str = "must be an RSA private key of 2,048 bits or more in PEM (PKCS#8 or PKCS#1), or a service account's key file (JSON)";
    let text = given.expose_secret().trim();
    if text.len() > KEY_BYTES_MAX {
        return Err("must have at most 16,384 bytes");
    }
    let (account, id, pem) = if text.starts_with('{') {
        let file: KeyFile = serde_json::from_str(text).map_err(|_| EXPECTED)?;
        if file.r#type.as_deref().is_some_and(|kind| kind != "service_account") {
            return Err("is a key file of another kind: its `type` must be service_account");
        }
        let account = file.client_email.map(|email| email.parse()).transpose();
        let account = account.map_err(|_| "has no e-mail address as its `client_email`")?;
        let id = file.private_key_id.filter(|id| {
            (1..=KEY_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        });
        (account, id, file.private_key.ok_or("has no `private_key`")?)
    } else {
        (None, None, SecretString::from(text))
    };
    // Environment variables hold a key on one line, its line feeds written as \n.
    let lines = pem.expose_secret().replace("\\n", "\n");
    sign(&lines, None, &serde_json::json!({})).ok_or(EXPECTED)?;
    Ok(Key { account, id, pem: SecretString::from(lines) })
}

fn sign(pem: &str, key_id: Option<String>, claims: &impl Serialize) -> Option<String> {
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).ok()?;
    let mut header = Header::new(Algorithm::RS256);
    header.kid = key_id;
    jsonwebtoken::encode(&header, claims, &key).ok()
}
