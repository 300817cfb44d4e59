//! The HTTPS API and the dashboard's pages.
//!
//! Invariant: every route is authenticated but `/health`, sign-in, the way back from Google's consent page (whose
//! state was given to an authenticated caller) and the static files; the clock has a secret of its own. Each answers
//! only about the caller's own tenant, and so many times a minute. Handlers parse, call the store, and answer; a sync is only ever *asked* for
//! here, never done. What is read comes from the replica; Gmail is called to connect and let go, to check a label
//! that somebody selects, to say where counters differ, and for a body that was not fetched with its mail.

mod attachments;
mod audit;
pub mod auth;
mod body;
mod card;
mod changes;
mod connect;
mod consent;
mod consent_page;
mod content;
mod cost;
mod cron;
mod dead_letters;
mod drift;
mod emails;
mod health;
mod integrations;
mod mailbox;
mod metrics;
mod on_demand;
mod operations;
mod order;
mod overrides;
mod pages;
pub mod problem;
mod query;
mod rebuild;
mod references;
mod requests;
mod sanitise;
mod session;
mod settings;
mod status;
mod syncs;
mod tenant_settings;
mod usage;
pub mod view;
mod why;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    routing::{delete, get, post},
};
use sync_core::{
    EmailAddress, MailboxId, SignedDuration, TenantId, Timestamp,
    quota::{Method, Priority},
    rate::Rate,
    state::Sync,
    sync::Settings,
};
use sync_gmail::{ClientCredentials, GmailClient, GmailError};
use sync_queue::Queue;
use sync_store::{SharedSecret, Store};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::{
    account::{Account, Gmail},
    limiter::Limiter,
    live::Clients,
    spend::{Project, Purse, out_of_quota},
};

pub use consent::ConsentConfig;
use health::HealthCache;
use problem::Problem;
use view::MailboxView;

/// Longest body that is read: a service account's key is 4 KB, a list of anything fits.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What a page of ours may load: its own files, styles on a mail's elements, pictures inside the page. A mail's
/// frame inherits this, so nothing in a mail loads from the network.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The engine's: staleness is judged by how often a mailbox is looked at.
    pub engine: Settings,
    /// `projects/P/topics/T` for Gmail's watch; without one mailboxes are polled.
    pub watch_topic: Option<String>,
    /// Google's consent page, and the way back from it.
    pub consent: ConsentConfig,
    /// Whether people reach this over HTTPS, when that is known. Otherwise the request says so.
    pub https: Option<bool>,
    /// How often each token and each session may ask.
    pub rate: Rate,
    /// Longest that `?wait=true` waits for a job; the gateway ends at 30 seconds.
    pub wait_max: Duration,
    /// Longest that a reader of the feed waits for news.
    pub long_poll_max: Duration,
}

/// Everything a handler uses: clients built once at start.
pub struct ApiState {
    /// The replica.
    store: Store,
    /// Where hints go.
    queue: Queue,
    /// For connecting, disconnecting and the health check.
    gmail: GmailClient,
    /// Our registration at Google.
    oauth: ClientCredentials,
    /// The project's quota.
    project: Arc<Project>,
    /// How often callers may ask.
    limiter: Limiter,
    /// Settings.
    config: ApiConfig,
    /// What a clock sends; without it nobody runs a task over HTTPS.
    cron_secret: Option<SharedSecret>,
    /// Whether watches are stopped and grants revoked at Google.
    lets_go_at_google: bool,
    /// What the last health check found.
    health: HealthCache,
}

impl ApiState {
    /// Nothing is called yet.
    pub fn new(clients: Clients, config: ApiConfig) -> Self {
        let Clients { store, queue, gmail, oauth, project } = clients;
        Self {
            limiter: Limiter::new(store.clone(), config.rate),
            store,
            queue,
            gmail,
            oauth,
            project,
            config,
            cron_secret: None,
            lets_go_at_google: true,
            health: HealthCache::default(),
        }
    }

    /// The same that leaves watches and grants alone at Google: they are another system's too.
    #[must_use]
    pub fn leaving_google_alone(self) -> Self {
        let config = ApiConfig { watch_topic: None, ..self.config };
        Self { lets_go_at_google: false, config, ..self }
    }

    /// The same with tasks for whoever sends this secret.
    #[must_use]
    pub fn with_cron(self, secret: SharedSecret) -> Self {
        Self { cron_secret: Some(secret), ..self }
    }

    /// The engine's settings as they hold for a tenant.
    async fn settings_of(&self, tenant: &TenantId) -> Result<Settings, Problem> {
        Ok(self.config.engine.overridden(&self.store.tenant_overrides(tenant).await?))
    }

    /// A mailbox as its owner sees it now.
    async fn view_of(&self, sync: &Sync) -> Result<MailboxView, Problem> {
        Ok(MailboxView::new(sync, &self.settings_of(&sync.tenant).await?, Timestamp::now()))
    }

    /// Pays for one call for an address, before there is a mailbox or when there is none any more.
    async fn pay(&self, address: &EmailAddress, method: Method) -> Result<(), GmailError> {
        let mut purse = Purse::new(Arc::clone(&self.project), address.clone());
        let taken = purse.take(method, 1, 1, Priority::Manual, Timestamp::now()).await;
        match taken.map_err(GmailError::NotSent)?.count {
            0 => Err(GmailError::NotSent(out_of_quota(SignedDuration::ZERO))),
            _ => Ok(()),
        }
    }

    /// A mailbox's Gmail, for what somebody waits for.
    fn account(&self, mailbox: &MailboxId, address: &EmailAddress) -> Account {
        let Self { store, gmail: client, oauth, project, .. } = self;
        let (store, client, oauth, project) =
            (store.clone(), client.clone(), oauth.clone(), Arc::clone(project));
        let gmail = Gmail { store, client, oauth, project };
        Account::new(gmail, mailbox.clone(), address.clone(), Priority::Manual)
    }
}

/// Mailboxes: connecting, settings, syncing, watching, operating.
fn mailbox_routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route(
            "/api/settings",
            get(tenant_settings::get).put(tenant_settings::put).patch(tenant_settings::patch),
        )
        .route("/api/integrations", get(integrations::list).post(connect::connect))
        .route("/api/integrations/{mailbox}", get(integrations::get).delete(integrations::disconnect))
        .route(
            "/api/integrations/{mailbox}/settings",
            get(settings::get).put(settings::put).patch(settings::patch),
        )
        .route("/gmail/auth/url", get(consent::begin))
        .route("/gmail/auth/callback", get(consent::finish))
        .route("/api/google/callback", get(consent::finish))
        .route("/api/sync/{mailbox}", post(syncs::incremental))
        .route("/api/sync/{mailbox}/initial", post(syncs::initial))
        .route("/api/sync/{mailbox}/historical", post(syncs::historical))
        .route("/api/sync/{mailbox}/contact", post(syncs::contact))
        .route("/api/sync/{mailbox}/full", post(syncs::full))
        .route("/api/sync/{mailbox}/force", post(syncs::force))
        .route("/api/sync/{mailbox}/unlock", post(syncs::unlock))
        .route("/api/sync/{mailbox}/pause", post(operations::pause))
        .route("/api/sync/{mailbox}/resume", post(operations::resume))
        .route("/api/sync/{mailbox}/debts", get(operations::debts))
        .route("/api/sync/{mailbox}/debts/{message}/retry", post(operations::retry))
        .route("/api/sync/{mailbox}/debts/{message}/accept", post(operations::accept))
        .route("/api/sync/{mailbox}/drift", get(drift::get).post(drift::probe))
        .route("/api/sync/{mailbox}/rebuild", post(rebuild::rebuild))
        .route("/api/sync/{mailbox}/usage", get(usage::of_mailbox))
        .route("/api/sync/{mailbox}/status", get(status::status))
        .route("/api/sync/{mailbox}/jobs", get(status::jobs))
        .route("/api/sync/{mailbox}/jobs/{job}", get(status::job))
}

/// Operating the whole system.
fn operation_routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/audit", get(audit::trail))
        .route("/api/operations/dead-letters", get(dead_letters::list))
        .route("/api/operations/dead-letters/redrive", post(dead_letters::redrive))
        .route("/api/operations/dead-letters/{id}", delete(dead_letters::discard))
        .route("/api/operations/quota", get(usage::quota))
        .route("/api/operations/cost", get(cost::cost))
        .route("/metrics", get(metrics::metrics))
}

/// Mail, and what happened to it.
fn email_routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/emails", get(emails::list))
        .route("/api/emails/thread/{thread}", get(emails::thread))
        .route("/api/emails/{id}", get(emails::get))
        .route("/api/emails/{id}/why", get(why::why))
        .route("/api/emails/{id}/references", post(references::add).delete(references::remove))
        .route("/api/emails/{id}/raw", get(attachments::raw))
        .route("/api/emails/{id}/attachments/{hash}", get(attachments::attachment))
        .route("/api/changes", get(changes::changes))
}

/// The API and the dashboard, as one service.
pub fn router(state: ApiState) -> Router {
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    Router::new()
        .merge(mailbox_routes())
        .merge(email_routes())
        .merge(operation_routes())
        .merge(cron::routes())
        .route("/api/session", get(session::current))
        .route("/health", get(health::health))
        .route("/signin", get(session::page).post(session::sign_in))
        .route("/signout", post(session::sign_out))
        .merge(pages::routes())
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(header(header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
        .layer(header(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(header(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(header(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"))
        // Mail and status are nobody's cache's; the static files say otherwise themselves.
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(middleware::from_fn(problem::finish))
        .with_state(Arc::new(state))
}
