//! A strict Gmail simulator: a pure mailbox model and an HTTP server over it.
//!
//! [`model`] and [`mime`] are pure and can be driven without a server; [`Server`] puts Gmail's own faces (API,
//! batch, OAuth, push) and a control face in front of them. Shares no type with any Gmail client, so that two
//! sides cannot agree on the same mistake.
//!
//! Inside a test, a server lives as long as its value, on a port of its own:
//!
//! ```
//! use gmail_sim::{Fault, FaultKind, Options, Server};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = Server::start(Options::default()).await?;
//! sim.create_mailbox("alice@example.com")?;
//! let mail = "From: bob@example.com\r\nSubject: hello\r\n\r\nhi\r\n";
//! let delivered = sim.deliver("alice@example.com", mail)?;
//! // The next get of a message answers 503, once.
//! sim.fault(Fault::new(FaultKind::Status(503)).method("messages.get").times(1))?;
//!
//! let client = reqwest::Client::new();
//! let url = format!("{}/gmail/v1/users/me/messages/{}", sim.url(), delivered.id);
//! let get = || client.get(&url).bearer_auth("sim:alice@example.com").send();
//! assert_eq!(get().await?.status(), 503);
//! assert_eq!(get().await?.status(), 200);
//! assert_eq!(sim.stats()["methods"]["messages.get"]["calls"], 2);
//! assert_eq!(sim.snapshot("alice@example.com")?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod http;
pub mod mime;
pub mod model;

#[doc(hidden)]
pub use self::http::fuzzing;
pub use self::http::{
    Delivered, Delivery, Fault, FaultKind, Options, PushForm, QuotaOrder, Regime, Server, Storm, StormMix,
    Subscription,
};

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
