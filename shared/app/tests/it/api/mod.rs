//! The HTTPS API, request by request.

mod emails;
mod integrations;
mod sessions;
mod syncs;
pub mod world;
