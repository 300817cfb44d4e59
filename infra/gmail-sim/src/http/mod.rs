//! The server: Gmail's faces and the control face on one port.

mod act;
mod batch;
mod clock;
mod connection;
mod control;
mod corpus;
mod direct;
mod error;
mod faults;
mod fields;
pub mod fuzzing;
mod gmail;
mod keys;
mod oauth;
mod push;
mod quota;
mod serve;
mod state;
mod storm;
mod tokens;
mod upload;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;

pub use act::{Delivered, Delivery};
use connection::{BreakableListener, Breaker};
pub use faults::{Fault, FaultKind};
pub use push::{PushForm, Subscription};
pub use quota::{QuotaOrder, Regime};
use serve::{Call, Outcome, Reply};
use state::Shared;
pub use storm::{Storm, StormMix};

/// Largest request taken: a 30 MB message in base64 and then some.
const BODY_MAX: usize = 64 << 20;
/// Smallest answer worth compressing.
const GZIP_MIN: usize = 500;

/// How a simulator is set up. The default is a free port, the current quota regime and no mail.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Which quota holds.
    pub quota: Regime,
    /// Most calls in flight for one mailbox before 429; 0 for no limit.
    pub concurrency_max: u64,
    /// How long every API call takes at least.
    pub latency_ms: u64,
    /// Ids, gaps, the order of batches and drawn faults follow from it.
    pub seed: u64,
    /// When the simulated clock starts, in epoch milliseconds; the real time when none.
    pub clock: Option<crate::model::Millis>,
    /// Mailboxes to create and the mail to load into them.
    pub load: Vec<(String, PathBuf)>,
    /// Mailboxes to create and how many synthetic messages to put there.
    pub generate: Vec<(String, u32)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            quota: Regime::default(),
            concurrency_max: 40,
            latency_ms: 0,
            seed: 0,
            clock: None,
            load: Vec::new(),
            generate: Vec::new(),
        }
    }
}

/// A running simulator; ends when dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Loads what the options name, then listens. Fails when mail cannot be read or the port is taken.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listen = options.listen;
        // The port first: somebody who holds it should be found before minutes of loading.
        let listener = tokio::net::TcpListener::bind(listen).await;
        let listener = listener.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                anyhow::anyhow!(
                    "port {} of {} is taken: another program listens there",
                    listen.port(),
                    listen.ip()
                )
            }
            _ => anyhow::Error::new(error).context(format!("{listen} cannot be listened on")),
        })?;
        let shared = tokio::task::spawn_blocking(move || prepare(options)).await??;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let service = router.into_make_service_with_connect_info::<Breaker>();
        let mut ending = shared.ending.subscribe();
        let task = tokio::spawn(async move {
            let serving = axum::serve(BreakableListener(listener), service);
            tokio::select! {
                _ = std::future::IntoFuture::into_future(serving) => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        });
        Ok(Self { address, shared, task })
    }

    /// `http://host:port`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Pushes, storms and held calls listen to this as well.
        self.shared.ending.send_replace(true);
        self.task.abort();
    }
}

fn prepare(options: Options) -> anyhow::Result<Arc<Shared>> {
    let (load, generate) = (options.load.clone(), options.generate.clone());
    let shared = Shared::new(options)?;
    for (email, count) in generate {
        anyhow::ensure!(control::is_address(&email), "--generate: {email:?} is no address");
        let account = shared.create(&email).0;
        act::generate(&shared, &account, count).map_err(|wrong| anyhow::anyhow!("--generate: {wrong}"))?;
    }
    for (email, path) in load {
        anyhow::ensure!(control::is_address(&email), "--load: {email:?} is no address");
        let count = corpus::load(&shared, &shared.create(&email).0, &path)?;
        tracing::info!(count, "loaded {count} messages");
    }
    Ok(shared)
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let wants_gzip = wants_gzip(&head.headers);
    let outcome = match axum::body::to_bytes(body, BODY_MAX).await {
        Ok(body) => answer(&shared, Call::new(head.method, &target, head.headers, body)).await,
        Err(_) => Outcome::Reply(serve::refusal(&shared, &error::ApiError::too_large())),
    };
    match outcome {
        Outcome::Reply(reply) => respond(reply, wants_gzip),
        Outcome::Reset => {
            breaker.trip();
            Response::new(Body::empty())
        }
    }
}

async fn answer(shared: &Arc<Shared>, call: Call) -> Outcome {
    let reply = match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/batch" | "/batch/gmail/v1") => return batch::answer(shared, &call).await,
        ("POST", "/token" | "/oauth2/v4/token") => {
            return oauth::token(shared, &call).await;
        }
        ("POST" | "GET", "/revoke" | "/o/oauth2/revoke") => oauth::revoke(shared, &call),
        ("GET", "/o/oauth2/v2/auth" | "/o/oauth2/auth") => oauth::consent(shared, &call),
        ("GET", "/oauth2/v3/certs") => oauth::certs(shared),
        ("GET", "/.well-known/openid-configuration") => oauth::discovery(&call),
        (_, path) if path == "/sim" || path.starts_with("/sim/") => {
            let shared = Arc::clone(shared);
            let answered = tokio::task::spawn_blocking(move || control::answer(&shared, &call)).await;
            answered
                .unwrap_or_else(|error| Reply::json(500, &serde_json::json!({"error": error.to_string()})))
        }
        (method, path) => {
            let upload = path.starts_with("/upload/") || path.starts_with("/resumable/");
            let resumed = if upload && method == "PUT" { serve::resumed(shared, call) } else { Ok(call) };
            let call = match resumed {
                Ok(call) => call,
                Err(reply) => return Outcome::Reply(reply),
            };
            return serve::begin(shared, call).finish(shared).await;
        }
    };
    Outcome::Reply(reply)
}

/// Gmail compresses only for those who ask twice.
fn wants_gzip(headers: &http::HeaderMap) -> bool {
    let has = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains("gzip"))
    };
    has("accept-encoding") && has("user-agent")
}

fn respond(reply: Reply, wants_gzip: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::OK);
    for (name, value) in &reply.headers {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
    let mut body = reply.body;
    if wants_gzip
        && body.len() >= GZIP_MIN
        && let Some(smaller) = gzip(&body)
    {
        body = smaller;
        response.headers_mut().insert("content-encoding", http::HeaderValue::from_static("gzip"));
    }
    *response.body_mut() = Body::from(body);
    response
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).ok()?;
    Some(encoder.finish().ok()?.into())
}

/// The pairs of a form or a query, decoded; any bytes are taken.
fn form(bytes: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(bytes).map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

/// Text that is safe between tags and in quoted attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
