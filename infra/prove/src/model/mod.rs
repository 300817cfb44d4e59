//! All interleavings of small histories, searched by a model checker.
//!
//! A state of the checker is a tiny Gmail, a store, a queue and two or three workers, each with the *production*
//! engine in it and the effect that it asks for next. What may happen is a user's change, a hint delivered (twice, in
//! any order), an effect carried out, and everything that goes wrong, each kind as often as the scenario allows. The
//! search goes through all of it: a promise that no state breaks is kept in every history of that size.
//!
//! Invariant: nothing is decided here. The engine is [`sync_core::sync::Engine`], the lease and what a commit or a release
//! may do are [`sync_core::lease`]. Deliberately absent: quota and bodies; time is the next instant at which
//! anything is due, counted from the last moment at which nobody worked, so that states repeat.

mod act;
mod canon;
mod chance;
mod check;
mod checker;
mod gmail;
mod perform;
mod rest;
mod scenario;
mod scenarios;
mod state;
mod store;
mod tell;

pub use chance::{Budget, Chance};
pub use checker::{Failure, Limit, ScenarioReport, explore, search};
pub use scenario::Scenario;
pub use scenarios::{larger, scenarios, showing};
