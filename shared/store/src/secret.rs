//! A secret of Secrets Manager that is compared with what callers send.
//!
//! Kept for five minutes. Invariant: the text is never
//! given out, only compared, in a time that does not depend on where it differs. Deliberately absent: a second
//! look when a text does not fit; strangers could make us call AWS with it. A rotated secret is known within the
//! five minutes.

use std::time::Duration;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Digest, SHA256, digest},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{StoreError, cached::CachedSecret};

type Result<T> = std::result::Result<T, StoreError>;

/// How long the secret is kept.
const KEPT: Duration = Duration::from_mins(5);
/// The least that a secret must have: an empty one would let everybody in.
const BYTES_MIN: usize = 16;

/// The secret's holder. Clones share the cache.
#[derive(Clone)]
pub struct SharedSecret {
    // The digest and not the text: texts of different lengths compare in the same time so.
    secret: CachedSecret<Digest>,
}

impl SharedSecret {
    /// Nothing is called yet.
    pub fn new(sdk: &aws_config::SdkConfig, secret_id: &str) -> Self {
        let client = aws_sdk_secretsmanager::Client::new(sdk);
        Self { secret: CachedSecret::new(client, secret_id, "read a shared secret") }
    }

    /// Whether this is the secret. Errors: it cannot be had, or is too short to be one.
    pub async fn is(&self, given: &SecretString) -> Result<bool> {
        let expected = self.digest().await?;
        let given = digest(&SHA256, given.expose_secret().as_bytes());
        Ok(verify_slices_are_equal(given.as_ref(), expected.as_ref()).is_ok())
    }

    async fn digest(&self) -> Result<Digest> {
        self.secret
            .get(KEPT, |text| {
                let text = text.trim();
                if text.len() < BYTES_MIN {
                    return Err(StoreError::Vault(format!(
                        "a shared secret must have at least {BYTES_MIN} characters"
                    )));
                }
                Ok(digest(&SHA256, text.as_bytes()))
            })
            .await
    }
}
