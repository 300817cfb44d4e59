//! One address for people: passes every request on to the HTTP API in the emulator.
//!
//! HTTP APIs answer by their host name, which a browser would have to resolve and a person to copy. The
//! emulator's other form, by path, is used here: by host name it would answer `/health` itself.
//!
//! Invariant: bodies stream both ways, and what the API answers is what the caller gets.
//! Deliberately absent: `WebSocket`s, which HTTP APIs do not have.

use std::sync::Arc;

use anyhow::Result;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Headers about one connection, which end at each hop.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A running proxy. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    task: JoinHandle<()>,
}

struct Target {
    client: reqwest::Client,
    /// The API's URL in the emulator, without a slash at the end.
    base: String,
}

impl Proxy {
    /// Serves on `listener`: to the HTTP API `api` of the emulator at `endpoint`.
    pub fn start(listener: TcpListener, endpoint: &str, api: &str) -> Result<Self> {
        // What the API answers is the caller's to follow and to unpack.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_gzip()
            .no_proxy()
            .http1_only()
            .build()?;
        let base = format!("{endpoint}/_aws/execute-api/{api}/$default");
        let target = Arc::new(Target { client, base });
        let router = Router::new().fallback(forward).with_state(target);
        let task = tokio::spawn(async move {
            // It ends with the listener, and that with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(State(target): State<Arc<Target>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = without_hop_by_hop(&parts.headers);
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(HeaderName::from_static("x-forwarded-host"), host);
    }
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("http"));
    let mut outgoing = target.client.request(parts.method, format!("{}{path}", target.base)).headers(headers);
    // Without a length and without chunks there is no body, and a stream would announce one.
    if parts.headers.contains_key(header::CONTENT_LENGTH)
        || parts.headers.contains_key(header::TRANSFER_ENCODING)
    {
        outgoing = outgoing.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    match outgoing.send().await {
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = without_hop_by_hop(answer.headers());
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            response
        }
        Err(error) => {
            (StatusCode::BAD_GATEWAY, format!("the emulated AWS does not answer: {error}\n")).into_response()
        }
    }
}

fn without_hop_by_hop(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in &HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}
