//! Jobs over SQS: hints with a version, never data.
//!
//! A message says "look at this mailbox"; it may be lost, late or doubled. Unknown versions and nonsense
//! are told apart, so that a deployment that runs behind its queue parks messages instead of losing
//! them. Deliberately absent: receiving jobs (Lambda does it) and any decision.

mod dead_letters;
mod error;
mod message;
mod queue;

pub use dead_letters::{DeadLetter, LETTERS_MAX, Redriven};
pub use error::QueueError;
pub use message::{JobMessage, MessageError, Upkeep};
pub use queue::{DELAY_MAX, Depth, Queue, QueueConfig, QueueHealth};
