//! End to end: MiniStack runs the real functions, the simulator is Gmail, and everything goes over HTTP.
//!
//! Invariant: nothing of the product runs in this process, and nothing here opens the table or the bucket, but for
//! `events`, whose claim is about rows: what the replica holds is what the API says, and what the mailbox holds is what
//! the simulator says.
//! Deliberately absent: sleeping for luck. Every wait is for a condition and has a bound.

mod alarms;
mod bad_input;
mod browser;
mod content;
mod corpus;
mod costs;
mod credentials;
mod events;
mod feed;
mod flow;
mod hostile_mail;
mod hunter;
mod killed;
mod live_mode;
mod operable;
mod outage;
mod protocol;
mod push_tokens;
mod queue;
mod quota;
mod world;
