//! The decisions of Gmail sync, and nothing else.
//!
//! Everything here is a function of its arguments: no I/O, no async, no clock, no environment, no
//! randomness. The same code decides in production, in the simulation and in the model checker.

pub mod failure;
pub mod ids;
pub mod job;
pub mod lease;
pub mod message;
pub mod overrides;
pub mod owed;
pub mod quota;
pub mod rate;
pub mod retry;
pub mod state;
pub mod sync;

pub use failure::{Disposition, Failure};
pub use ids::{
    EmailAddress, Generation, HistoryId, JobId, MailboxId, MessageId, ParseError, TenantId, ThreadId,
};
pub use jiff::{SignedDuration, Timestamp};
