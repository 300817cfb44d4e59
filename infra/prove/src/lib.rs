//! The proof of the sync protocol, in three parts.
//!
//! [`world`] runs the production engine and its production driver in a seeded, deterministic world and compares
//! the replica with the mailbox after every history; [`search`] runs many of them. [`model`] searches all
//! interleavings of small ones. Both apply and judge commits by [`kept`]. [`contract`] shows that their store does what the store of production does.
//!
//! `make prove N=1000000` runs so many histories on all cores and then every scenario of the model; `SEED=` names the
//! first. It prints the histories a minute, the faults injected by kind, the states explored, and of whatever broke
//! a promise the shortest story; its exit code says whether anything did. A seed is told again, to the last line,
//! with `prove --seed N --story`. `--without Fence` leaves out a guard, by its name in [`sync_core::sync::Guard`].
//! Builds with debug assertions have that switch; what is deployed has none.
//!
//! Invariant: nothing here is decided twice; what the engine, the lease and the commit decide is theirs.

pub mod contract;
pub mod kept;
pub mod model;
pub mod search;
pub mod world;
