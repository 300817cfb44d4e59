//! What every function shares: configuration, clients, logs, metrics, the SQS batch runner.
//!
//! Deliberately absent: use cases (they are the app's) and anything that knows the emulator.

pub mod batch;
pub mod clients;
pub mod config;
pub mod cron;
pub mod emf;
pub mod http;
pub mod telemetry;

pub use config::{Config, ConfigError};
