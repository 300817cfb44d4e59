//! A strict Gmail simulator: a pure mailbox model and an HTTP server over it.
//!
//! [`model`] and [`mime`] are pure and can be driven without a server; [`Server`] puts Gmail's own faces (API,
//! batch, OAuth, push) and a control face in front of them. Shares no type with any Gmail client, so that two
//! sides cannot agree on the same mistake.

mod http;
pub mod mime;
pub mod model;

pub use self::http::{Options, Regime, Server};
