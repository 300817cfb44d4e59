//! The HTTPS API, request by request.

mod audit;
mod changes;
mod consent;
mod content;
mod cron;
mod emails;
mod integrations;
mod limits;
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
