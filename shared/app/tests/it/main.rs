//! The app against an emulated AWS and a Gmail of the test's.

mod access;
mod api;
mod contract;
mod live;
mod probe;
mod rotation;
mod spend;
mod upkeep;
mod worker;
