//! The HTTPS API, request by request.

mod emails;
mod integrations;
mod sessions;
mod syncs;
mod world;
