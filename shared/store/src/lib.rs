//! The mailbox aggregate in one DynamoDB table, bodies and lists in S3, and the credential vault.
//!
//! Invariants: every write to a mailbox's `SYNC` item is conditional; what a commit says becomes true in
//! one transaction or not at all; a body lies in S3 before the row that names it; no secret is stored in
//! clear. Reads that decide are consistent, so they never use an index.
//!
//! Deliberately absent: decisions (they are the core's), clocks (the time is an argument), and anything
//! that knows an emulator: only endpoints and credentials differ. Keys and access patterns are in
//! `docs/DATA-MODEL.md`.

use std::time::Duration;

use sync_core::SignedDuration;

mod audit;
mod bodies;
mod cached;
mod changed;
mod claims;
mod commit;
mod consents;
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
mod limits;
mod listing;
mod lists;
mod mailboxes;
mod meter;
mod objects;
mod overrides;
mod owed;
mod paging;
mod project;
mod projections;
mod quota;
mod references;
mod registry;
mod rotation;
mod rows;
mod secret;
mod table;
mod tenants;
mod types;
mod usage;
mod vault;
mod why;

pub use audit::{AuditAction, AuditRow, NewAudit};
pub use bodies::{BodySweep, KnownBodies};
pub use claims::TaskClaim;
pub use error::StoreError;
pub use meter::{Spent, metered};
pub use overrides::OVERRIDES_KEPT;
pub use projections::Rebuilt;
pub use quota::SeenLedger;
pub use references::{REFERENCE_BYTES_MAX, REFERENCES_MAX, Swept};
pub use rotation::{Rotated, RotationStage};
pub use secret::SharedSecret;
pub use sync_core::state::CredentialKind;
pub use tenants::{random_secret, token_sha256};
pub use types::{
    Claimed, ConsentSpent, Created, Credential, EmailId, Erased, EventRow, Events, HealthCheck,
    IdempotencyKey, JobRow, ListPlace, MailQuery, NewCredential, NewMailbox, NewRequest, Page,
    PendingConsent, Release, Requested, Scope, StatusChange, StoredMessage, TenantRow, TokenKind, TokenRow,
    WhyFacts,
};
pub use usage::{DayUsage, USAGE_DAYS_MAX, VisitUsage};
pub use vault::{EncryptionKey, KEYS_KEPT};

/// How many shards the index `due` has for mailboxes, and as many again for their credentials and for those that changed
/// since their last probe: whoever walks it reads each of `0..DUE_SHARDS`.
pub const DUE_SHARDS: u8 = 8;
/// How many shards the list of all mailboxes has: upkeep reads each of `0..REGISTRY_SHARDS`.
pub const REGISTRY_SHARDS: u8 = 8;

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
    /// Tombstones that nothing refers to, from the deletion.
    pub deleted_mail: SignedDuration,
    /// Jobs, from their end.
    pub finished_jobs: SignedDuration,
    /// Jobs that never ended, from when they were asked for.
    pub unfinished_jobs: SignedDuration,
    /// What somebody did, from when it was done.
    pub audit: SignedDuration,
    /// What a day cost, from the day.
    pub usage: SignedDuration,
}

impl Default for Retention {
    /// Thirty days for events and deleted mail, ninety for jobs, a week for those that never ended, 400 for the
    /// audit trail and for what a day cost.
    fn default() -> Self {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        Self {
            events: days(30),
            deleted_mail: days(30),
            finished_jobs: days(90),
            unfinished_jobs: days(7),
            audit: days(400),
            usage: days(400),
        }
    }
}

/// The store. Cheap to clone; built once at start.
#[derive(Clone)]
pub struct Store {
    config: StoreConfig,
    dynamo: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    vault: vault::Vault,
    tenants: overrides::TenantCache,
    retention: Retention,
}

impl Store {
    /// Clients for this configuration. Nothing is called yet. S3 is addressed by path when an endpoint
    /// is given, because an emulator's host name has no bucket in it.
    pub fn new(sdk: &aws_config::SdkConfig, config: StoreConfig) -> Self {
        let s3 = aws_sdk_s3::config::Builder::from(sdk)
            .force_path_style(sdk.endpoint_url().is_some())
            .interceptor(meter::ObjectMeter)
            .build();
        let dynamo = aws_sdk_dynamodb::config::Builder::from(sdk).interceptor(meter::DynamoMeter).build();
        let secrets = aws_sdk_secretsmanager::Client::new(sdk);
        Self {
            dynamo: aws_sdk_dynamodb::Client::from_conf(dynamo),
            s3: aws_sdk_s3::Client::from_conf(s3),
            vault: vault::Vault::new(secrets, &config.encryption_secret_id),
            tenants: overrides::TenantCache::default(),
            retention: Retention::default(),
            config,
        }
    }

    /// The same store with another table service than the SDK's configuration names.
    #[must_use]
    pub fn with_dynamo(self, dynamo: &aws_sdk_dynamodb::Client) -> Self {
        let metered = dynamo.config().to_builder().interceptor(meter::DynamoMeter).build();
        Self { dynamo: aws_sdk_dynamodb::Client::from_conf(metered), ..self }
    }

    /// The same store that keeps encryption keys in memory for so long, instead of five minutes.
    #[must_use]
    pub fn keeping_keys(self, kept: Duration) -> Self {
        Self { vault: self.vault.keeping(kept), ..self }
    }

    /// The same store that seals and opens with this key and reads no secret.
    #[must_use]
    pub fn with_encryption_key(self, key: EncryptionKey) -> Self {
        Self { vault: self.vault.with_key(key), ..self }
    }

    /// The same store that keeps tenants' overrides in memory for so long, instead of five minutes.
    #[must_use]
    pub fn keeping_overrides(self, kept: Duration) -> Self {
        Self { tenants: overrides::TenantCache::keeping(kept), ..self }
    }

    /// How long it keeps things.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// The same store that keeps things for so long.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }
}
