//! Use cases: sync a mailbox, receive a push, run a task of the schedule, serve the API.
//!
//! A push, a tick and a click differ only in what they write on a job; all end in [`sync::sync`], which
//! runs the core's engine against the [`live::LiveWorld`].

pub mod access;
pub mod account;
mod aliases;
pub mod api;
pub mod fan_out;
pub mod limiter;
pub mod live;
pub mod metrics;
pub mod probe;
pub mod receive_push;
pub mod refresh;
pub mod report;
pub mod spend;
pub mod sync;
pub mod tasks;
pub mod upkeep;
