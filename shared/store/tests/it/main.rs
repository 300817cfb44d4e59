//! The store's contract, over the real SDK against an emulated AWS.

mod commits;
mod fixture;
mod lease;
mod listing;
mod lost_answers;
mod mailboxes;
mod objects;
mod proxy;
mod secrets;
