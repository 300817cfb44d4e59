//! The app against an emulated AWS and a Gmail of the test's.

mod api;
mod contract;
mod live;
mod upkeep;
mod worker;
