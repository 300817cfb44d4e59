//! The app against an emulated AWS and a Gmail of the test's.

mod api;
mod worker;
