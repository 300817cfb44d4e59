//! `GET /health`: whether what this depends on answers, and how fast.
//!
//! Invariant: anybody may ask, so the probes run at most once in 30 seconds and their answer names no internals.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Serialize;
use sync_gmail::{AccessToken, GmailError};
use tokio::{sync::Mutex, time::timeout};

use super::{ApiState, problem::OwnBody};

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(30);
/// Longest a probe may take before its part counts as down.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// What the last check found. Starts empty.
#[derive(Debug, Default)]
pub struct HealthCache(Mutex<Option<(Instant, Health)>>);

#[derive(Debug, Clone, Serialize)]
struct Health {
    status: &'static str,
    timestamp: Timestamp,
    checks: BTreeMap<&'static str, Check>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    status: &'static str,
    latency_ms: u64,
}

impl Check {
    fn new(up: bool, latency: Duration) -> Self {
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        Self { status: if up { "up" } else { "down" }, latency_ms }
    }
}

/// `GET /health`
pub async fn health(State(state): State<Arc<ApiState>>) -> Response {
    // Held while probing: a hundred callers at once cost one probe.
    let mut cached = state.health.0.lock().await;
    let fresh = cached.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, health)| health.clone());
    let health = if let Some(health) = fresh {
        health
    } else {
        let health = check(&state).await;
        *cached = Some((Instant::now(), health.clone()));
        health
    };
    drop(cached);
    let up = health.checks.values().all(|check| check.status == "up");
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(health)).into_response();
    response.extensions_mut().insert(OwnBody);
    response
}

async fn check(state: &ApiState) -> Health {
    let ((store, secrets), queue, gmail) = tokio::join!(store(state), queue(state), gmail(state));
    let checks = BTreeMap::from([("store", store), ("secrets", secrets), ("queue", queue), ("gmail", gmail)]);
    let up = checks.values().all(|check| check.status == "up");
    Health { status: if up { "healthy" } else { "unhealthy" }, timestamp: Timestamp::now(), checks }
}

/// Table and bucket are one thing outside; the slower of them speaks for both.
async fn store(state: &ApiState) -> (Check, Check) {
    let began = Instant::now();
    let Ok(parts) = timeout(PROBE_MAX, state.store.health()).await else {
        return (Check::new(false, began.elapsed()), Check::new(false, began.elapsed()));
    };
    let mut store = Check::new(true, Duration::ZERO);
    let mut secrets = Check::new(true, Duration::ZERO);
    for part in parts {
        if let Err(error) = &part.result {
            tracing::error!(part = part.name, %error, "a health check failed");
        }
        let seen = Check::new(part.result.is_ok(), part.latency);
        let merged = if part.name == "secrets" { &mut secrets } else { &mut store };
        if seen.status == "down" {
            merged.status = "down";
        }
        merged.latency_ms = merged.latency_ms.max(seen.latency_ms);
    }
    (store, secrets)
}

async fn queue(state: &ApiState) -> Check {
    let began = Instant::now();
    let up = match timeout(PROBE_MAX, state.queue.health()).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "the queues' health check failed");
            false
        }
        Err(_) => false,
    };
    Check::new(up, began.elapsed())
}

/// Gmail is up when it refuses a token that is nobody's: nothing is spent, no mailbox is needed.
async fn gmail(state: &ApiState) -> Check {
    let nobody = AccessToken {
        token: SecretString::from("health-check"),
        expires_at: Timestamp::now().saturating_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX),
        scopes: None,
    };
    let began = Instant::now();
    let up = match timeout(PROBE_MAX, state.gmail.profile(&nobody)).await {
        Ok(Err(
            GmailError::Connection
            | GmailError::TimedOut
            | GmailError::Server { .. }
            | GmailError::Unsendable,
        ))
        | Err(_) => false,
        Ok(_) => true,
    };
    Check::new(up, began.elapsed())
}
