//! The mailboxes of a tenant: seeing them, and letting them go. Connecting is beside, in `connect` and `consent`.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use sync_core::{
    quota::Method,
    state::{CredentialKind, Sync},
};
use sync_gmail::{AccessToken, GmailError};
use sync_store::{AuditAction, Credential, Erased, StoreError};

use super::{
    ApiState,
    audit::{Deed, note},
    auth::{Caller, ToAdminister, ToRead},
    mailbox::{self, owned},
    problem::{CorrelationId, Problem},
    query::Query,
    view::{ListView, MailboxView},
};
use crate::access::{mint, stored};

#[derive(Serialize)]
struct Disconnected {
    mailbox: MailboxView,
    purged: bool,
    warnings: Vec<&'static str>,
}

/// `GET /api/integrations`
pub async fn list(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    mut query: Query,
) -> Result<Json<ListView<MailboxView>>, Problem> {
    let limit = query.limit();
    let cursor = query.text_of("cursor", super::query::CURSOR_BYTES_MAX);
    query.finish()?;
    let page = state.store.mailboxes_of_tenant(&caller.tenant, limit, cursor.as_deref()).await?;
    let (settings, now) = (state.settings_of(&caller.tenant).await?, Timestamp::now());
    let items = page.items.iter().map(|sync| MailboxView::new(sync, &settings, now)).collect();
    Ok(Json(ListView { items, next_cursor: page.next }))
}

/// `GET /api/integrations/{mailbox}`
pub async fn get(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    query: Query,
) -> Result<Json<MailboxView>, Problem> {
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    Ok(Json(state.view_of(&sync).await?))
}

/// `DELETE /api/integrations/{mailbox}`: deactivated first, so that no worker begins anew meanwhile.
pub async fn disconnect(
    caller: Caller<ToAdminister>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    correlation: axum::Extension<CorrelationId>,
    mut query: Query,
) -> Result<Response, Problem> {
    let purge = query.flag("purge").unwrap_or(false);
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    // Read first: deactivating forgets it.
    let credential = state.store.read_credential(&sync.mailbox).await;
    state.store.deactivate_mailbox(&sync.mailbox, Timestamp::now()).await?;
    let warnings = let_go(&state, &sync, credential).await;
    state.store.delete_credential(&sync.mailbox).await?;
    let after = mailbox::read(&state, &sync.mailbox).await?;
    let view = state.view_of(&after).await?;
    let action = if purge { AuditAction::Erased } else { AuditAction::Disconnected };
    note(&state, &Deed::of(&caller, action, &correlation.0.0).with(&sync.mailbox)).await;
    let purged = purge && erase(&state, &sync).await?;
    let status = if purge && !purged { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(Disconnected { mailbox: view, purged, warnings })).into_response())
}

/// Erases until it is done or time is up; what is left is erased by the same call, made again.
async fn erase(state: &ApiState, sync: &Sync) -> Result<bool, Problem> {
    let began = Instant::now();
    loop {
        match state.store.erase_mailbox(&sync.mailbox, Timestamp::now()).await? {
            Erased::Done => return Ok(true),
            Erased::More if began.elapsed() >= state.config.wait_max => return Ok(false),
            Erased::More => {}
        }
    }
}

/// Ends the watch and gives the grant back, unless another tenant still has the address: both are Google's, per
/// account and not per tenant.
async fn let_go(
    state: &ApiState,
    sync: &Sync,
    credential: Result<Option<Credential>, StoreError>,
) -> Vec<&'static str> {
    // Both are Google's per account and client: a system beside a deployed one would end the deployed one's.
    if !state.lets_go_at_google {
        return vec![
            "This system leaves the watch and the grant alone; the owner can withdraw both at Google.",
        ];
    }
    match state.store.mailboxes_by_address(&sync.address).await {
        Ok(others) if others.iter().all(|other| *other == sync.mailbox) => {}
        Ok(_) => return Vec::new(),
        Err(error) => {
            tracing::warn!(mailbox.id = %sync.mailbox, %error, "nobody knows who else has the address");
            return vec!["The watch was not stopped and the grant was not revoked."];
        }
    }
    let credential = match credential {
        // What Google has refused opens nothing, and took its watch with it.
        Ok(Some(credential)) if credential.refused_at.is_some() => return Vec::new(),
        Ok(Some(credential)) => credential,
        Ok(None) => return Vec::new(),
        Err(error) => {
            tracing::warn!(mailbox.id = %sync.mailbox, %error, "the credential cannot be read");
            return vec!["The credential could not be read, so the grant was not revoked."];
        }
    };
    let now = Timestamp::now();
    let mut warnings = Vec::new();
    let mut access = stored(&credential).filter(|token| token.is_usable(now));
    if sync.watch_expires_at.is_some_and(|expires| expires > now) {
        warnings.extend(stop_watch(state, sync, &credential, &mut access, now).await);
    }
    let given_back = match credential.kind {
        CredentialKind::Oauth => state.gmail.revoke(&credential.secret, now).await,
        // A key opens a whole domain and is not ours to withdraw; the token that it made is.
        CredentialKind::ServiceAccount => match &access {
            Some(access) => state.gmail.revoke(&access.token, now).await,
            None => Ok(()),
        },
    };
    if let Err(error) = given_back {
        tracing::warn!(mailbox.id = %sync.mailbox, %error, "the grant was not revoked");
        warnings.push("The grant could not be revoked; its owner can, in the Google account.");
    }
    warnings
}

async fn stop(state: &ApiState, sync: &Sync, token: &AccessToken) -> Result<(), GmailError> {
    state.pay(&sync.address, Method::Stop).await?;
    state.gmail.stop(token).await
}

/// Stops Gmail's pushes with the token that is there, or a fresh one, which is left in `access`.
async fn stop_watch(
    state: &ApiState,
    sync: &Sync,
    credential: &Credential,
    access: &mut Option<AccessToken>,
    now: Timestamp,
) -> Option<&'static str> {
    let mut stopped = match &*access {
        Some(token) => stop(state, sync, token).await,
        None => Err(GmailError::Unauthorized),
    };
    if stopped == Err(GmailError::Unauthorized) {
        stopped = match mint(&state.gmail, &state.oauth, credential, now).await {
            Ok(token) => stop(state, sync, access.insert(token)).await,
            Err(error) => Err(error),
        };
    }
    match stopped {
        // A grant that is gone took its watch with it.
        Ok(()) | Err(GmailError::GrantRevoked | GmailError::KeyRefused | GmailError::Unauthorized) => {
            if let Err(error) = state.store.set_watch(&sync.mailbox, None).await {
                tracing::warn!(mailbox.id = %sync.mailbox, %error, "the watch is stopped and not noted so");
            }
            None
        }
        Err(error) => {
            tracing::warn!(mailbox.id = %sync.mailbox, %error, "the watch was not stopped");
            Some("Gmail's watch could not be stopped; it lapses within a week.")
        }
    }
}
