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
mod begin;
mod commit;
mod commits;
mod compare;
mod delta;
mod drive;
mod effect;
mod ends;
mod engine;
mod guards;
mod lister;
mod listing;
mod look;
mod probe;
mod settings;
mod settle;
mod slices;
mod threads;
mod writes;

pub use commit::{Commit, Event, Happened, JobClose, MessageNews, OwedWrite, RowWrite};
pub use drive::{World, drive};
pub use effect::{
    Acquired, Committed, Effect, Fetched, HistoryPage, HistoryRecord, ListPage, Observed, Outcome, Profile,
    RecordChange, Released, Seen,
};
pub use engine::Engine;
pub use guards::{Guard, Mutant};
pub use listing::Listing;
pub use settings::Settings;
pub use threads::{FetchPlan, Listed, Prices, answers_of};
