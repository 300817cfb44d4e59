//! The store's contract, over the real SDK against an emulated AWS.

mod changed;
mod claims;
mod commits;
mod dynamodb_local;
mod earlier_rows;
mod events;
mod faults;
mod fixture;
mod labels;
mod lease;
mod limits;
mod listing;
mod lists;
mod lost_answers;
mod mailboxes;
mod objects;
mod overrides;
mod proxy;
mod quota;
mod references;
mod requests;
mod retention;
mod secrets;
mod usage;
mod why;
