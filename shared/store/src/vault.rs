//! Encryption of secrets at rest: AES-256-GCM with keys from Secrets Manager.
//!
//! The associated data names the owner (a mailbox, a consent) and the field, so that a ciphertext moved to another
//! row or attribute does not open. The id of the key is stored beside, so that keys can be rotated (`rotation`).
//! Keys are kept for five minutes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use aws_sdk_secretsmanager::{
    error::SdkError, operation::update_secret_version_stage::UpdateSecretVersionStageError,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use sync_core::Timestamp;
use zeroize::Zeroizing;

use crate::{
    StoreError,
    cached::CachedSecret,
    item::{Item, text},
};

type Result<T> = std::result::Result<T, StoreError>;

/// How long keys are kept in memory, at the longest: for so long after a rotation began, somebody may still seal with
/// the key before.
pub const KEYS_KEPT: Duration = Duration::from_mins(5);
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// The id of a key that is given. A secret's keys have names of their own, so what it has sealed opens with no other.
const GIVEN_KEY: &str = "given";
/// What the derived keys are for.
const PURPOSE: &[u8] = b"gmail-sync credentials v1";
/// Label of a version of the secret that is on its way to be the current one.
const ROTATION_STAGE: &str = "gmail-sync-rotation";
/// The least that a key's text may have: `GenerateSecretString` makes 32 characters and more.
const KEY_TEXT_MIN: usize = 16;

/// The keys' holder. Clones share the cache.
#[derive(Clone)]
pub(crate) struct Vault {
    secret: CachedSecret<Arc<Keys>>,
    kept: Duration,
    /// A key of this machine's instead of the secret's.
    given: Option<Arc<Keys>>,
}

/// A key that is given and not read: for a system of this machine, which may have no secret.
#[derive(Clone)]
pub struct EncryptionKey(Zeroizing<[u8; KEY_BYTES]>);

impl EncryptionKey {
    /// From 32 bytes in base64; `None` for anything else.
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
        <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok().map(|key| Self(Zeroizing::new(key)))
    }
}

impl fmt::Debug for EncryptionKey {
    /// Not the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EncryptionKey")
    }
}

/// The secret, parsed: derived keys by their ids.
struct Keys {
    current: String,
    keys: HashMap<String, Zeroizing<[u8; KEY_BYTES]>>,
}

/// Texts of keys by their ids.
pub(crate) type Texts = BTreeMap<String, Zeroizing<String>>;

/// The secret as a rotation reads it.
pub(crate) struct KeyTexts {
    pub current: String,
    pub texts: Texts,
    /// Which version of the secret it is.
    pub version: String,
    pub since: Timestamp,
}

impl Vault {
    pub fn new(client: aws_sdk_secretsmanager::Client, secret_id: &str) -> Self {
        let secret = CachedSecret::new(client, secret_id, "read encryption keys");
        Self { secret, kept: KEYS_KEPT, given: None }
    }

    /// The same vault with this key and no other.
    pub fn with_key(self, key: EncryptionKey) -> Self {
        let keys = HashMap::from([(GIVEN_KEY.to_owned(), key.0)]);
        Self { given: Some(Arc::new(Keys { current: GIVEN_KEY.to_owned(), keys })), ..self }
    }

    /// The same vault, with a cache of its own that keeps keys for so long.
    pub fn keeping(self, kept: Duration) -> Self {
        Self { kept, secret: self.secret.afresh(), ..self }
    }

    /// Encrypts a secret for this owner and field.
    pub async fn seal(
        &self,
        owner: &str,
        field: &'static str,
        secret: &SecretString,
    ) -> Result<AttributeValue> {
        self.keys(self.kept).await?.seal(owner, field, secret)
    }

    /// Decrypts what [`Vault::seal`] made for the same owner and field.
    pub async fn open(
        &self,
        owner: &str,
        field: &'static str,
        sealed: &AttributeValue,
    ) -> Result<SecretString> {
        let (key_id, bytes) = parts(field, sealed)?;
        let mut keys = self.keys(self.kept).await?;
        if !keys.keys.contains_key(key_id) {
            // Another instance may have seen a rotation that we have not: look once.
            keys = self.keys(Duration::ZERO).await?;
        }
        keys.open(owner, field, key_id, bytes)
    }

    /// Whether the keys can be had.
    pub async fn check(&self) -> Result<()> {
        self.keys(self.kept).await.map(|_| ())
    }

    /// The keys, not older than this.
    async fn keys(&self, age_max: Duration) -> Result<Arc<Keys>> {
        match &self.given {
            Some(keys) => Ok(Arc::clone(keys)),
            None => self.secret.get(age_max, |text| Keys::parse(text).map(Arc::new)).await,
        }
    }

    /// The keys as they are now, texts included; our own cache is as new.
    pub async fn key_texts(&self) -> Result<KeyTexts> {
        let secret = self.secret.read().await?;
        // Checks more than the reading does: a wrong secret is not made worse.
        let keys = Keys::parse(&secret.text)?;
        self.secret.keep(Arc::new(keys)).await;
        let (current, texts) = entries(&secret.text)?;
        Ok(KeyTexts { current, texts, version: secret.version, since: secret.since })
    }

    /// Writes the secret anew, on condition that its current version is still the one that was read. Whether it was.
    pub async fn replace_keys(&self, read_version: &str, current: &str, texts: &Texts) -> Result<bool> {
        let mut entries: HashMap<&str, &str> =
            texts.iter().map(|(id, key_text)| (id.as_str(), key_text.as_str())).collect();
        entries.insert("current", current);
        let text = Zeroizing::new(serde_json::to_string(&entries).unwrap_or_default());
        Keys::parse(&text)?;
        let failed = |error| StoreError::from_sdk("write encryption keys", &error);
        // Under a label of its own first: the secret of a rotation that lost the race must never be the current one.
        let (client, secret_id) = (&self.secret.client, &self.secret.secret_id);
        let put = client.put_secret_value().secret_id(secret_id).secret_string(text.as_str());
        let put = put.version_stages(ROTATION_STAGE).send().await.map_err(failed)?;
        let moved = client
            .update_secret_version_stage()
            .secret_id(secret_id)
            .version_stage("AWSCURRENT")
            .set_move_to_version_id(put.version_id)
            .remove_from_version_id(read_version)
            .send()
            .await;
        match moved {
            Ok(_) => Ok(true),
            Err(error) if is_elsewhere(&error) => Ok(false),
            Err(error) => Err(StoreError::from_sdk("write encryption keys", &error)),
        }
    }

    /// Lets the secret's version before this one go: without a label it can be read no more.
    pub async fn forget_previous(&self, version: &str) -> Result<()> {
        let forgotten = self
            .secret
            .client
            .update_secret_version_stage()
            .secret_id(&self.secret.secret_id)
            .version_stage("AWSPREVIOUS")
            .remove_from_version_id(version)
            .send()
            .await;
        match forgotten {
            Ok(_) => Ok(()),
            // It has gone already.
            Err(error) if is_elsewhere(&error) => Ok(()),
            Err(error) => Err(StoreError::from_sdk("forget encryption keys", &error)),
        }
    }
}

impl Keys {
    /// Reads `{"current": "k1", "k1": "…", …}`. Errors name the entry, never its text.
    fn parse(secret: &str) -> Result<Self> {
        let (current, texts) = entries(secret)?;
        let mut keys = HashMap::new();
        for (id, key_text) in texts {
            if key_text.len() < KEY_TEXT_MIN {
                return Err(wrong(&format!("`{id}` must have at least {KEY_TEXT_MIN} characters")));
            }
            keys.insert(id, derive(key_text.as_bytes())?);
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

    fn seal(&self, owner: &str, field: &str, secret: &SecretString) -> Result<AttributeValue> {
        let mut buffer = secret.expose_secret().as_bytes().to_vec();
        let nonce = self
            .key(&self.current)?
            .seal_in_place_append_tag(associated(owner, field), &mut buffer)
            .map_err(|_| failed("encryption failed"))?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.extend_from_slice(&buffer);
        Ok(AttributeValue::M(Item::from([
            ("key".to_owned(), text(&self.current)),
            ("sealed".to_owned(), AttributeValue::B(Blob::new(bytes))),
        ])))
    }

    fn open(&self, owner: &str, field: &str, key_id: &str, bytes: &[u8]) -> Result<SecretString> {
        let (nonce, ciphertext) =
            bytes.split_at_checked(NONCE_LEN).ok_or_else(|| failed("too short to be encrypted"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed("no nonce"))?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let opened = self
            .key(key_id)?
            .open_in_place(nonce, associated(owner, field), &mut buffer)
            .map_err(|_| failed("decryption failed: another key, owner or field"))?;
        let secret = std::str::from_utf8(opened).map_err(|_| failed("the secret is no text"))?;
        Ok(SecretString::from(secret))
    }
}

/// Whether a label was refused because another version has it.
fn is_elsewhere(error: &SdkError<UpdateSecretVersionStageError>) -> bool {
    error.as_service_error().is_some_and(UpdateSecretVersionStageError::is_invalid_parameter_exception)
}

/// The entries of the secret: the name of the current key, and the texts of all.
fn entries(secret: &str) -> Result<(String, Texts)> {
    let mut entries: BTreeMap<String, Zeroizing<String>> =
        serde_json::from_str::<BTreeMap<String, String>>(secret)
            .map_err(|_| wrong("must be a JSON object of texts"))?
            .into_iter()
            .map(|(id, key_text)| (id, Zeroizing::new(key_text)))
            .collect();
    let current = entries.remove("current").ok_or_else(|| wrong("`current` is missing"))?;
    Ok((current.to_string(), entries))
}

fn wrong(what: &str) -> StoreError {
    StoreError::Vault(format!("the encryption secret: {what}"))
}

/// The id of the key that an attribute is sealed with.
pub(crate) fn key_of<'a>(field: &'static str, sealed: &'a AttributeValue) -> Result<&'a str> {
    parts(field, sealed).map(|(key_id, _)| key_id)
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

/// Owners' names have no line feed, so no two pairs give one text.
fn associated(owner: &str, field: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{owner}\n{field}").into_bytes())
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

    const ONE: &str = r#"{"current":"k1","k1":"0123456789abcdef"}"#;
    const BOTH: &str = r#"{"current":"k2","k1":"0123456789abcdef","k2":"fedcba9876543210"}"#;

    fn open(keys: &Keys, id: &str, field: &'static str, sealed: &AttributeValue) -> Result<String> {
        let (key_id, bytes) = parts(field, sealed)?;
        keys.open(id, field, key_id, bytes).map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_opens_for_its_own_mailbox_and_field_only() {
        let keys = keys(ONE);
        let sealed = keys.seal("mbx_1", "refresh_token", &"1//secret".into()).expect("sealed");
        assert_eq!(open(&keys, "mbx_1", "refresh_token", &sealed).expect("opened"), "1//secret");
        assert!(open(&keys, "mbx_2", "refresh_token", &sealed).is_err());
        assert!(open(&keys, "mbx_1", "access_token", &sealed).is_err());
        let again = keys.seal("mbx_1", "refresh_token", &"1//secret".into()).expect("sealed");
        assert_ne!(sealed, again, "each sealing has its own nonce");
    }

    #[test]
    fn after_a_rotation_old_secrets_open_and_new_ones_use_the_new_key() {
        let old = keys(ONE).seal("mbx_1", "refresh_token", &"old".into()).expect("sealed");
        let rotated = keys(BOTH);
        assert_eq!(open(&rotated, "mbx_1", "refresh_token", &old).expect("opened"), "old");
        let new = rotated.seal("mbx_1", "refresh_token", &"new".into()).expect("sealed");
        assert_eq!(parts("refresh_token", &new).expect("parts").0, "k2");
        let error = open(&keys(ONE), "mbx_1", "refresh_token", &new).expect_err("no such key");
        assert!(error.to_string().contains("does not have any more"), "{error}");
    }

    #[test]
    fn a_given_key_is_thirty_two_bytes_and_shows_itself_to_nobody() {
        let key = EncryptionKey::from_base64(&STANDARD.encode([7; KEY_BYTES])).expect("a key");
        assert_eq!(format!("{key:?}"), "EncryptionKey");
        for bad in ["", "short", "!", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            assert!(EncryptionKey::from_base64(bad).is_none(), "{bad:?}");
        }
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
