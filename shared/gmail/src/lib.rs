//! Everything that is Gmail's and nothing that is ours: wire types, requests, answers, errors, OAuth, mail.
//!
//! Parsing is pure (`wire`, `requests`, `error`, `mime`, `push`): bytes in, core types out, the time an
//! argument. [`GmailClient`] adds the socket. What Gmail sends is hostile: mail is written by strangers, so
//! sizes, depths and counts are bounded, and no bytes may panic or recurse.
//!
//! Deliberately absent: storing, deciding what to fetch, and quota accounting: a call is one request, and whoever
//! makes it has paid for one.

pub mod batch;
pub mod client;
pub mod consent;
pub mod endpoint;
pub mod error;
pub mod formats;
mod lines;
pub mod mime;
pub mod oauth;
pub mod push;
pub mod requests;
pub mod service_account;
mod transport;
pub mod wire;

pub use client::{Backoff, GmailClient, GmailConfig, History};
pub use consent::{Consent, Consented};
pub use endpoint::{Endpoint, EndpointError};
pub use error::GmailError;
pub use oauth::{AccessToken, ClientCredentials, RefreshToken};
pub use push::{PushNotification, PushRejected, PushVerifier};
pub use requests::{Account, GmailMessage, Label, RawMessage, Watch};
pub use service_account::{KeyField, KeyProblem, ServiceAccount};
