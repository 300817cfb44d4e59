//! The socket: one pooled client, a bound on every wait and on every byte read.
//!
//! Nothing of an error's own text leaves here: reqwest quotes URLs, and URLs may hold addresses.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::{RequestBuilder, header::HeaderMap};

use crate::{endpoint::Endpoint, error::GmailError};

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Time-outs of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the answer's headers are there.
    pub headers: Duration,
    /// Longest silence between two pieces of the body.
    pub body_idle: Duration,
    /// The whole body: a server that drips a byte a second must not hold a worker.
    pub body_total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            headers: Duration::from_secs(20),
            body_idle: Duration::from_secs(15),
            body_total: Duration::from_secs(90),
        }
    }
}

/// A pooled client. Redirects are not followed: a token must not travel to where an answer points. What is on
/// this machine is reached without the proxy that the environment may name.
pub(crate) fn http_client(timeouts: Timeouts, endpoint: &Endpoint) -> Result<reqwest::Client, GmailError> {
    let builder = reqwest::Client::builder();
    let builder = if endpoint.is_loopback() { builder.no_proxy() } else { builder };
    builder
        // Google compresses only for agents that say gzip here too.
        .user_agent(concat!("gmail-sync/", env!("CARGO_PKG_VERSION"), " (gzip)"))
        .gzip(true)
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.body_idle.max(timeouts.headers))
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_mins(1))
        .build()
        .map_err(|_| GmailError::Unsendable)
}

/// Sends a request and reads at most `bytes_max` of the answer (after decompression).
pub(crate) async fn send(
    request: RequestBuilder,
    timeouts: Timeouts,
    bytes_max: u64,
) -> Result<Answer, GmailError> {
    let response = tokio::time::timeout(timeouts.headers, request.send())
        .await
        .map_err(|_| GmailError::TimedOut)?
        .map_err(|error| classify(&error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    if response.content_length().is_some_and(|length| length > bytes_max) {
        return Err(GmailError::TooLarge { bytes_max });
    }
    let body = async {
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| classify(&error))?;
            if (body.len() + piece.len()) as u64 > bytes_max {
                return Err(GmailError::TooLarge { bytes_max });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    };
    let body = tokio::time::timeout(timeouts.body_total, body).await.map_err(|_| GmailError::TimedOut)??;
    Ok(Answer { status, headers, body })
}

fn classify(error: &reqwest::Error) -> GmailError {
    if error.is_builder() {
        GmailError::Unsendable
    } else if error.is_timeout() {
        GmailError::TimedOut
    } else {
        GmailError::Connection
    }
}
