//! The HTTPS API, request by request.

mod changes;
mod consent;
mod content;
mod cron;
mod emails;
mod integrations;
mod operations;
mod overrides;
mod references;
mod routes;
mod sessions;
mod settings;
mod status;
mod syncs;
mod why;
pub mod world;
