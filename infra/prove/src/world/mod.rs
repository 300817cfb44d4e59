//! A mailbox, a store, a queue and a clock, all in memory, all decided by one seed; in it the production engine,
//! driven by the production driver.
//!
//! Workers are futures of [`sync_core::sync::drive`], two or three at once, and each effect is two steps: carried
//! out, and heard of. Between any two steps the user acts, time passes, another worker goes on, or this one dies.
//! Everything that can go wrong is counted by kind ([`Fault`]); after each history faults end, time passes, and the
//! promises are checked against the mailbox as it truly is. Invariant: the same tape gives the same history, to the
//! last line. Deliberately absent: quota (nothing here waits for it) and bodies.

mod check;
mod dice;
mod fault;
mod gmail;
mod history;
mod live;
mod promise;
mod queue;
mod settle;
mod shrink;
mod sim;
mod store;
pub(crate) mod story;
mod worker;

pub use dice::{Dice, Tape};
pub use fault::{Counts, Fault, Plan};
pub use gmail::{FRIEND, Gmail};
pub use history::{Options, Verdict, run, run_seed};
pub use promise::{Broken, Promise};
pub use queue::Queue;
pub use settle::settle;
pub use shrink::{Shrunk, shrink};
pub use sim::{Setting, Shared, Sim, lock, share};
pub use store::Store;
pub use worker::{Half, Worker, run_to_end};

/// A fixed identifier that does not parse: never, but then said so.
#[derive(Debug, thiserror::Error)]
#[error("the world cannot be set up: {0}")]
pub struct Unfit(#[from] sync_core::ids::ParseError);
