//! The clients, built once at start and kept across invocations.

use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use secrecy::SecretString;
use serde::Deserialize;
use sync_app::{
    live::{Clients, LiveSettings},
    receive_push::PushReceiver,
    spend::Project,
    sync::Worker,
    tasks::Tasks,
};
use sync_gmail::{Backoff, ClientCredentials, GmailClient, GmailConfig, GmailError, PushVerifier};
use sync_queue::{Queue, QueueConfig};
use sync_store::{SharedSecret, Store, StoreConfig};

use crate::{Config, ConfigError, cron::Clock, emf::Emf};

/// Why a function could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS could not be set up.
    #[error(transparent)]
    Gmail(#[from] GmailError),
    /// The OAuth client could not be read.
    #[error("OAUTH_SECRET_ID: {0}")]
    OauthSecret(String),
    /// Pushes cannot be told from forgeries.
    #[error("PUSH_AUDIENCE and PUSH_SERVICE_ACCOUNT are required by the webhook")]
    PushUnconfigured,
}

/// AWS's own settings: region, credentials, endpoint, retries.
pub async fn sdk() -> SdkConfig {
    aws_config::load_defaults(BehaviorVersion::latest()).await
}

/// The store of this configuration.
pub fn store(config: &Config, sdk: &SdkConfig) -> Store {
    let store = StoreConfig {
        table: config.table.clone(),
        bucket: config.bucket.clone(),
        encryption_secret_id: config.encryption_secret_id.clone(),
    };
    let store = Store::new(sdk, store).keeping(config.retention);
    match &config.encryption_key {
        Some(key) => store.with_encryption_key(key.clone()),
        None => store,
    }
}

/// The queues of this configuration.
pub fn queue(config: &Config, sdk: &SdkConfig) -> Queue {
    let queue = QueueConfig {
        sync_url: config.sync_queue_url.clone(),
        backfill_url: config.backfill_queue_url.clone(),
        dead_letter_url: config.dead_letter_queue_url.clone(),
        backfill_dead_letter_url: config.backfill_dead_letter_queue_url.clone(),
    };
    Queue::new(sdk, queue)
}

/// Store, queues, Gmail and our registration there.
pub async fn clients(config: &Config, sdk: &SdkConfig) -> Result<Clients, StartError> {
    let gmail = GmailConfig {
        page_size: config.page_size,
        backoff: Backoff { repetitions: config.call_repetitions, ..Backoff::default() },
        ..GmailConfig::new(config.gmail_api_url.clone(), config.google_oauth_url.clone())
    };
    let store = store(config, sdk);
    Ok(Clients {
        project: Arc::new(Project::new(store.clone(), config.quota.clone())),
        store,
        queue: queue(config, sdk),
        gmail: GmailClient::new(gmail)?,
        oauth: oauth_client(config, sdk).await?,
    })
}

/// What the worker function needs.
pub async fn worker(config: &Config) -> Result<Worker, StartError> {
    let sdk = sdk().await;
    Ok(Worker {
        clients: Arc::new(clients(config, &sdk).await?),
        settings: config.engine.clone(),
        live: LiveSettings { fetch_window: config.fetch_window, topic: config.topic.clone() },
        memory_megabytes: memory_megabytes(),
    })
}

/// What Lambda says of the function's memory; nothing outside of Lambda.
fn memory_megabytes() -> u64 {
    let memory = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok();
    memory.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What the cron function needs.
pub async fn clock(config: &Config) -> Clock {
    let sdk = sdk().await;
    let tasks = Tasks {
        store: store(config, &sdk),
        queue: queue(config, &sdk),
        quota: config.quota.clone(),
        probe_interval: config.engine.probe_interval,
    };
    Clock { tasks, emf: Emf::new(&config.stack, "cron") }
}

/// What a clock must send to run a task over HTTPS.
pub fn cron_secret(config: &Config, sdk: &SdkConfig) -> SharedSecret {
    SharedSecret::new(sdk, &config.cron_secret_id)
}

/// What the webhook function needs.
pub async fn push_receiver(config: &Config) -> Result<PushReceiver, StartError> {
    let push = config.push.as_ref().ok_or(StartError::PushUnconfigured)?;
    let sdk = sdk().await;
    Ok(PushReceiver {
        store: store(config, &sdk),
        queue: queue(config, &sdk),
        verifier: PushVerifier::new(config.google_certs_url.clone(), &push.audience, &push.service_account)?,
        verification_token: config.verification_token.clone(),
    })
}

#[derive(Deserialize)]
struct OauthSecret {
    client_id: String,
    client_secret: SecretString,
}

async fn oauth_client(config: &Config, sdk: &SdkConfig) -> Result<ClientCredentials, StartError> {
    let failed = |what: &str| StartError::OauthSecret(what.to_owned());
    let answer = aws_sdk_secretsmanager::Client::new(sdk)
        .get_secret_value()
        .secret_id(&config.oauth_secret_id)
        .send()
        .await
        .map_err(|_| failed("the secret could not be read"))?;
    let text = answer.secret_string().ok_or_else(|| failed("the secret is not text"))?;
    // The parser's own words would quote the secret.
    let secret: OauthSecret = serde_json::from_str(text)
        .map_err(|_| failed(r#"must be {"client_id": "…", "client_secret": "…"}"#))?;
    Ok(ClientCredentials { client_id: secret.client_id, client_secret: secret.client_secret })
}
