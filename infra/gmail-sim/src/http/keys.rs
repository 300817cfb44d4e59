//! RSA keys: those that sign push tokens and id tokens, and those of service accounts.
//!
//! Made afresh at every start. Rotation publishes the new key beside the old one, as Google does, unless the old
//! one is to be withdrawn.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// How long a reader may keep the published keys, in seconds, unless it is ordered otherwise.
const MAX_AGE_S: u64 = 19_800;
/// Most keys that are published at once; the oldest goes.
const PUBLISHED_MAX: usize = 10;

/// An RSA key of 2,048 bits and its published half.
pub(crate) struct SigningKey {
    pair: RsaKeyPair,
    key_id: String,
}

impl SigningKey {
    /// Makes a key; takes a part of a second.
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| anyhow::anyhow!("no RSA key could be made"))?;
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public.n);
        let key_id =
            digest.as_ref().iter().take(20).fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        Ok(Self { pair, key_id })
    }

    /// What a JWT's header calls this key.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    fn jwk(&self) -> Value {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id,
            "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
        })
    }

    /// A compact RS256 JWT of these claims.
    fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        let header = json!({"alg": "RS256", "kid": self.key_id, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| anyhow::anyhow!("the token could not be signed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The private half as a PEM file has it (PKCS #8).
    pub(crate) fn private_pem(&self) -> anyhow::Result<String> {
        let der: Pkcs8V1Der<'_> =
            self.pair.as_der().map_err(|_| anyhow::anyhow!("the key could not be written"))?;
        Ok(pem("PRIVATE KEY", der.as_ref()))
    }

    /// The public half as DER (X.509).
    pub(crate) fn public_der(&self) -> anyhow::Result<Vec<u8>> {
        let der: PublicKeyX509Der<'_> =
            self.pair.public_key().as_der().map_err(|_| anyhow::anyhow!("the key could not be written"))?;
        Ok(der.as_ref().to_vec())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The bytes of a PEM file's `PUBLIC KEY` or `RSA PUBLIC KEY`.
pub(crate) fn public_der_of_pem(text: &str) -> Option<Vec<u8>> {
    let inner = ["PUBLIC KEY", "RSA PUBLIC KEY"].iter().find_map(|label| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        rest.split_once(&format!("-----END {label}-----")).map(|(inner, _)| inner)
    })?;
    let plain: String = inner.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(plain).ok().filter(|der| !der.is_empty())
}

/// Whether an RS256 signature over these bytes was made by the private half of this key.
pub(crate) fn verifies(public_der: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_der).verify(signed, signature).is_ok()
}

/// The keys that are published; the last one signs.
pub(crate) struct KeyRing {
    older: Vec<SigningKey>,
    newest: SigningKey,
    max_age_s: u64,
}

impl KeyRing {
    pub(crate) fn generate() -> anyhow::Result<Self> {
        Ok(Self { older: Vec::new(), newest: SigningKey::generate()?, max_age_s: MAX_AGE_S })
    }

    /// Signs with another key from now on; the ones before stay published, or are withdrawn.
    pub(crate) fn rotate(&mut self, key: SigningKey, withdraw: bool) {
        let before = std::mem::replace(&mut self.newest, key);
        if withdraw {
            self.older.clear();
            return;
        }
        self.older.push(before);
        let surplus = (self.older.len() + 1).saturating_sub(PUBLISHED_MAX);
        self.older.drain(..surplus);
    }

    pub(crate) fn keep_for(&mut self, max_age_s: u64) {
        self.max_age_s = max_age_s;
    }

    pub(crate) fn max_age_s(&self) -> u64 {
        self.max_age_s
    }

    pub(crate) fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        self.newest.sign(claims)
    }

    pub(crate) fn key_id(&self) -> &str {
        self.newest.key_id()
    }

    /// The JWKS that verifies what these keys sign.
    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> =
            std::iter::once(&self.newest).chain(self.older.iter().rev()).map(SigningKey::jwk).collect();
        json!({ "keys": keys })
    }
}

/// Random text that cannot be guessed, for tokens and codes.
pub(crate) fn secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
