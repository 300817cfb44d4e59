//! Claims about the protocol: over many seeded histories, in small searched ones, and in directed ones.

mod bench;
mod chosen;
mod costs;
mod field;
mod histories;
mod model;
mod mutants;
