//! A secret of Secrets Manager, read and kept for a while: it costs money and milliseconds by the call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::Client;
use sync_core::Timestamp;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// The secret, and what its reader made of it. Clones share what is kept.
pub(crate) struct CachedSecret<T> {
    pub client: Client,
    pub secret_id: String,
    operation: &'static str,
    // Held over the call, so that many readers cause one call.
    kept: Arc<Mutex<Option<(Instant, T)>>>,
}

/// The secret as it is now.
pub(crate) struct SecretVersion {
    pub text: Zeroizing<String>,
    pub version: String,
    /// When this version was made.
    pub since: Timestamp,
}

impl<T> Clone for CachedSecret<T> {
    fn clone(&self) -> Self {
        let (client, secret_id) = (self.client.clone(), self.secret_id.clone());
        Self { client, secret_id, operation: self.operation, kept: Arc::clone(&self.kept) }
    }
}

impl<T: Clone> CachedSecret<T> {
    /// Nothing is called yet. `operation` names the call in errors.
    pub fn new(client: Client, secret_id: &str, operation: &'static str) -> Self {
        Self { client, secret_id: secret_id.to_owned(), operation, kept: Arc::default() }
    }

    /// The same secret, of which nothing is kept yet.
    pub fn afresh(self) -> Self {
        Self { kept: Arc::default(), ..self }
    }

    /// The secret as `read_as` reads it, not older than this. What fails is not kept.
    pub async fn get(&self, age_max: Duration, read_as: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        let mut kept = self.kept.lock().await;
        if let Some((loaded_at, made)) = kept.as_ref()
            && loaded_at.elapsed() < age_max
        {
            return Ok(made.clone());
        }
        let made = read_as(&self.read().await?.text)?;
        *kept = Some((Instant::now(), made.clone()));
        Ok(made)
    }

    /// Keeps what was made of the secret that was read just now.
    pub async fn keep(&self, made: T) {
        *self.kept.lock().await = Some((Instant::now(), made));
    }

    /// The secret as it is now, past what is kept.
    pub async fn read(&self) -> Result<SecretVersion> {
        let answer = self
            .client
            .get_secret_value()
            .secret_id(&self.secret_id)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(self.operation, &error))?;
        let since = answer.created_date.and_then(|date| date.to_millis().ok());
        let since = since.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Ok(SecretVersion {
            text: Zeroizing::new(answer.secret_string.unwrap_or_default()),
            version: answer.version_id.unwrap_or_default(),
            // A secret that does not say when it was made counts as made just now: nothing is removed too early.
            since: since.unwrap_or(Timestamp::MAX),
        })
    }
}
