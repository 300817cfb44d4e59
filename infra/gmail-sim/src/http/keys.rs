//! The key that signs push tokens and id tokens, made afresh at every start.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

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

    /// The JWKS that verifies what this key signs.
    pub(crate) fn jwks(&self) -> Value {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id,
            "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
        }]})
    }

    /// A compact RS256 JWT of these claims.
    pub(crate) fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        let header = json!({"alg": "RS256", "kid": self.key_id, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| anyhow::anyhow!("the token could not be signed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Random text that cannot be guessed, for tokens and codes.
pub(crate) fn secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
