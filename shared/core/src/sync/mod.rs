//! The sync engine: one state machine that decides, effect by effect, what a worker does next.
//!
//! ```text
//! let mut effect = engine.start(job, now);
//! while let Some(observed) = world.perform(effect).await? {
//!     effect = engine.step(observed);
//! }
//! ```
//!
//! The engine never waits, never reads a clock and never talks to anybody. What it knows of the world
//! is in the [`Observed`] it was given; what it wants is in the [`Effect`] it returns.

mod batch;
mod commit;
mod commits;
mod delta;
mod effect;
mod ends;
mod engine;
mod look;
mod settings;
mod settle;
mod slices;
mod writes;

pub use commit::{Commit, JobClose, OwedWrite, RowWrite};
pub use effect::{
    Acquired, Committed, Effect, Fetched, HistoryPage, HistoryRecord, ListPage, Observed, Outcome, Profile,
    RecordChange, Released, Seen,
};
pub use engine::Engine;
pub use settings::Settings;
