//! The mailbox aggregate in one DynamoDB table, bodies and lists in S3, and the credential vault.
//!
//! Invariants: every write to a mailbox's `SYNC` item is conditional; what a commit says becomes true in
//! one transaction or not at all; a body lies in S3 before the row that names it; no secret is stored in
//! clear. Reads that decide are consistent, so they never use an index.
//!
//! Deliberately absent: decisions (they are the core's), clocks (the time is an argument), and anything
//! that knows an emulator: only endpoints and credentials differ. Keys and access patterns are in
//! `docs/DATA-MODEL.md`.

use sync_core::SignedDuration;

mod claims;
mod commit;
mod credentials;
mod erase;
mod error;
mod events;
mod health;
mod item;
mod jobs;
mod keys;
mod labels;
mod lease;
mod listing;
mod lists;
mod mailboxes;
mod objects;
mod owed;
mod paging;
mod references;
mod rows;
mod secret;
mod table;
mod tenants;
mod types;
mod vault;
mod why;

pub use claims::Claimed;
pub use error::StoreError;
pub use references::{REFERENCE_BYTES_MAX, REFERENCES_MAX};
pub use secret::SharedSecret;
pub use types::{
    Created, Credential, CredentialKind, EmailId, Erased, EventRow, Events, HealthCheck, IdempotencyKey,
    JobRow, ListPlace, MailQuery, NewCredential, NewMailbox, NewRequest, Page, Release, Requested, Scope,
    StatusChange, StoredMessage, TenantRow, TokenKind, TokenRow, WhyFacts,
};

/// How many shards the index of due mailboxes has: a fan-out reads each of `0..DUE_SHARDS`.
pub const DUE_SHARDS: u8 = 8;

/// Where a deployment keeps its things.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The DynamoDB table.
    pub table: String,
    /// The S3 bucket.
    pub bucket: String,
    /// The Secrets Manager secret with the encryption keys: `{"current": "k1", "k1": "…"}`.
    pub encryption_secret_id: String,
}

/// How long things are kept that do not live for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events, from when they happened.
    pub events: SignedDuration,
}

impl Default for Retention {
    /// Thirty days.
    fn default() -> Self {
        Self { events: SignedDuration::from_hours(30 * 24) }
    }
}

/// The store. Cheap to clone; built once at start.
#[derive(Clone)]
pub struct Store {
    config: StoreConfig,
    dynamo: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    vault: vault::Vault,
    retention: Retention,
}

impl Store {
    /// Clients for this configuration. Nothing is called yet. S3 is addressed by path when an endpoint
    /// is given, because an emulator's host name has no bucket in it.
    pub fn new(sdk: &aws_config::SdkConfig, config: StoreConfig) -> Self {
        let s3 =
            aws_sdk_s3::config::Builder::from(sdk).force_path_style(sdk.endpoint_url().is_some()).build();
        let secrets = aws_sdk_secretsmanager::Client::new(sdk);
        Self {
            dynamo: aws_sdk_dynamodb::Client::new(sdk),
            s3: aws_sdk_s3::Client::from_conf(s3),
            vault: vault::Vault::new(secrets, config.encryption_secret_id.clone()),
            retention: Retention::default(),
            config,
        }
    }

    /// The same store with another table service than the SDK's configuration names.
    #[must_use]
    pub fn with_dynamo(self, dynamo: aws_sdk_dynamodb::Client) -> Self {
        Self { dynamo, ..self }
    }

    /// The same store that keeps things for so long.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }
}
