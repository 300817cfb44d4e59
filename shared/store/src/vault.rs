//! Encryption of secrets at rest: AES-256-GCM with keys from Secrets Manager.
//!
//! The associated data names the mailbox and the field, so that a ciphertext moved to another row or
//! attribute does not open. The id of the key is stored beside, so that keys can be rotated. Keys are kept
//! for five minutes: Secrets Manager costs money and milliseconds by the call.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use secrecy::{ExposeSecret, SecretString};
use sync_core::MailboxId;
use tokio::sync::Mutex;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    StoreError,
    item::{Item, text},
};

type Result<T> = std::result::Result<T, StoreError>;

/// How long keys are kept.
const KEYS_KEPT: Duration = Duration::from_mins(5);
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// What the derived keys are for.
const PURPOSE: &[u8] = b"gmail-sync credentials v1";
/// The least that a key's text may have: `GenerateSecretString` makes 32 characters and more.
const KEY_TEXT_MIN: usize = 16;

/// The keys' holder. Clones share the cache.
#[derive(Clone)]
pub(crate) struct Vault {
    client: aws_sdk_secretsmanager::Client,
    secret_id: String,
    // Held over the call, so that many readers cause one call.
    cache: Arc<Mutex<Option<Cached>>>,
}

/// Keys, and when they were loaded.
type Cached = (Instant, Arc<Keys>);

/// The secret, parsed: derived keys by their ids.
struct Keys {
    current: String,
    keys: HashMap<String, Zeroizing<[u8; KEY_BYTES]>>,
}

impl Vault {
    pub fn new(client: aws_sdk_secretsmanager::Client, secret_id: String) -> Self {
        Self { client, secret_id, cache: Arc::default() }
    }

    /// Encrypts a secret for this mailbox and field.
    pub async fn seal(
        &self,
        mailbox: &MailboxId,
        field: &'static str,
        secret: &SecretString,
    ) -> Result<AttributeValue> {
        self.keys(KEYS_KEPT).await?.seal(mailbox, field, secret)
    }

    /// Decrypts what [`Vault::seal`] made for the same mailbox and field.
    pub async fn open(
        &self,
        mailbox: &MailboxId,
        field: &'static str,
        sealed: &AttributeValue,
    ) -> Result<SecretString> {
        let (key_id, bytes) = parts(field, sealed)?;
        let mut keys = self.keys(KEYS_KEPT).await?;
        if !keys.keys.contains_key(key_id) {
            // Another instance may have seen a rotation that we have not: look once.
            keys = self.keys(Duration::ZERO).await?;
        }
        keys.open(mailbox, field, key_id, bytes)
    }

    /// Whether the keys can be had.
    pub async fn check(&self) -> Result<()> {
        self.keys(KEYS_KEPT).await.map(|_| ())
    }

    /// The keys, not older than this.
    async fn keys(&self, age_max: Duration) -> Result<Arc<Keys>> {
        let mut cache = self.cache.lock().await;
        if let Some((loaded_at, keys)) = cache.as_ref()
            && loaded_at.elapsed() < age_max
        {
            return Ok(Arc::clone(keys));
        }
        let answer = self
            .client
            .get_secret_value()
            .secret_id(&self.secret_id)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("read encryption keys", &error))?;
        let secret = Zeroizing::new(answer.secret_string.unwrap_or_default());
        let keys = Arc::new(Keys::parse(&secret)?);
        *cache = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}

impl Keys {
    /// Reads `{"current": "k1", "k1": "…", …}`. Errors name the entry, never its text.
    fn parse(secret: &str) -> Result<Self> {
        let wrong = |what: &str| StoreError::Vault(format!("the encryption secret: {what}"));
        let mut entries: HashMap<String, String> =
            serde_json::from_str(secret).map_err(|_| wrong("must be a JSON object of texts"))?;
        let current = entries.remove("current").ok_or_else(|| wrong("`current` is missing"))?;
        let mut keys = HashMap::new();
        for (id, mut key_text) in entries {
            if key_text.len() < KEY_TEXT_MIN {
                return Err(wrong(&format!("`{id}` must have at least {KEY_TEXT_MIN} characters")));
            }
            keys.insert(id, derive(key_text.as_bytes())?);
            key_text.zeroize();
        }
        if !keys.contains_key(&current) {
            return Err(wrong("there is no key of the name that `current` gives"));
        }
        Ok(Self { current, keys })
    }

    fn key(&self, id: &str) -> Result<RandomizedNonceKey> {
        let key = self.keys.get(id).ok_or_else(|| {
            StoreError::Vault("a key is needed that the encryption secret does not have any more".to_owned())
        })?;
        RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| failed("no key"))
    }

    fn seal(&self, mailbox: &MailboxId, field: &str, secret: &SecretString) -> Result<AttributeValue> {
        let mut buffer = secret.expose_secret().as_bytes().to_vec();
        let nonce = self
            .key(&self.current)?
            .seal_in_place_append_tag(associated(mailbox, field), &mut buffer)
            .map_err(|_| failed("encryption failed"))?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.extend_from_slice(&buffer);
        Ok(AttributeValue::M(Item::from([
            ("key".to_owned(), text(&self.current)),
            ("sealed".to_owned(), AttributeValue::B(Blob::new(bytes))),
        ])))
    }

    fn open(&self, mailbox: &MailboxId, field: &str, key_id: &str, bytes: &[u8]) -> Result<SecretString> {
        let (nonce, ciphertext) =
            bytes.split_at_checked(NONCE_LEN).ok_or_else(|| failed("too short to be encrypted"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed("no nonce"))?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let opened = self
            .key(key_id)?
            .open_in_place(nonce, associated(mailbox, field), &mut buffer)
            .map_err(|_| failed("decryption failed: another key, mailbox or field"))?;
        let secret = std::str::from_utf8(opened).map_err(|_| failed("the secret is no text"))?;
        Ok(SecretString::from(secret))
    }
}

/// The parts of a sealed attribute: the key's id, and nonce and ciphertext.
fn parts<'a>(field: &'static str, sealed: &'a AttributeValue) -> Result<(&'a str, &'a [u8])> {
    let map = sealed.as_m().ok();
    let key_id = map.and_then(|map| map.get("key")).and_then(|id| id.as_s().ok());
    let bytes = map.and_then(|map| map.get("sealed")).and_then(|bytes| bytes.as_b().ok());
    match (key_id, bytes) {
        (Some(key_id), Some(bytes)) => Ok((key_id, bytes.as_ref())),
        _ => Err(StoreError::corrupt("credential", format!("attribute {field}"))),
    }
}

/// Ids have no line feed, so no two pairs give one text.
fn associated(mailbox: &MailboxId, field: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{mailbox}\n{field}").into_bytes())
}

/// The key of a text: HKDF-SHA256, because `GenerateSecretString` makes characters, not bytes.
fn derive(key_text: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
    struct KeyLength;
    impl KeyType for KeyLength {
        fn len(&self) -> usize {
            KEY_BYTES
        }
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Salt::new(HKDF_SHA256, &[])
        .extract(key_text)
        .expand(&[PURPOSE], KeyLength)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(|_| failed("no key could be derived"))?;
    Ok(key)
}

fn failed(what: &str) -> StoreError {
    StoreError::Vault(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str) -> Keys {
        Keys::parse(secret).expect("a secret")
    }

    fn mailbox(id: &str) -> MailboxId {
        id.parse().expect("an id")
    }

    const ONE: &str = r#"{"current":"k1","k1":"0123456789abcdef"}"#;
    const BOTH: &str = r#"{"current":"k2","k1":"0123456789abcdef","k2":"fedcba9876543210"}"#;

    fn open(keys: &Keys, id: &str, field: &'static str, sealed: &AttributeValue) -> Result<String> {
        let (key_id, bytes) = parts(field, sealed)?;
        keys.open(&mailbox(id), field, key_id, bytes).map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_opens_for_its_own_mailbox_and_field_only() {
        let keys = keys(ONE);
        let sealed = keys.seal(&mailbox("mbx_1"), "refresh_token", &"1//secret".into()).expect("sealed");
        assert_eq!(open(&keys, "mbx_1", "refresh_token", &sealed).expect("opened"), "1//secret");
        assert!(open(&keys, "mbx_2", "refresh_token", &sealed).is_err());
        assert!(open(&keys, "mbx_1", "access_token", &sealed).is_err());
        let again = keys.seal(&mailbox("mbx_1"), "refresh_token", &"1//secret".into()).expect("sealed");
        assert_ne!(sealed, again, "each sealing has its own nonce");
    }

    #[test]
    fn after_a_rotation_old_secrets_open_and_new_ones_use_the_new_key() {
        let old = keys(ONE).seal(&mailbox("mbx_1"), "refresh_token", &"old".into()).expect("sealed");
        let rotated = keys(BOTH);
        assert_eq!(open(&rotated, "mbx_1", "refresh_token", &old).expect("opened"), "old");
        let new = rotated.seal(&mailbox("mbx_1"), "refresh_token", &"new".into()).expect("sealed");
        assert_eq!(parts("refresh_token", &new).expect("parts").0, "k2");
        let error = open(&keys(ONE), "mbx_1", "refresh_token", &new).expect_err("no such key");
        assert!(error.to_string().contains("does not have any more"), "{error}");
    }

    #[test]
    fn a_secret_that_is_no_key_list_is_explained_and_not_shown() {
        for (secret, what) in [
            ("", "JSON"),
            ("topsecrettopsecret", "JSON"),
            (r#"{"k1":"topsecrettopsecret"}"#, "`current` is missing"),
            (r#"{"current":"k2","k1":"topsecrettopsecret"}"#, "no key"),
            (r#"{"current":"k1","k1":"topsecret"}"#, "at least 16"),
        ] {
            let error = Keys::parse(secret).err().expect("refused").to_string();
            assert!(error.contains(what) && !error.contains("topsecret"), "{error}");
        }
    }
}
