//! Connecting and disconnecting mailboxes.
//!
//! Invariant: whose mailbox it is, Gmail says, through the very grant that is stored: an access token of one
//! account beside a refresh token of another would sync a stranger's mail an hour later. Deliberately
//! absent: the consent flow, and service accounts.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sync_core::{
    job::{JobKind, Trigger},
    state::{Status, Sync},
};
use sync_gmail::{AccessToken, GmailError, RefreshToken};
use sync_store::{Credential, CredentialKind, Erased, NewCredential, NewMailbox, StoreError};

use super::{
    ApiState,
    auth::{Caller, ToAdminister, ToRead, ToSync},
    body::JsonBody,
    mailbox::{self, owned},
    problem::{CorrelationId, FieldError, Problem},
    query::Query,
    requests::{self, Ask},
    view::{JobView, ListView, MailboxView},
};

/// What connecting takes. Unknown fields are ignored: the five systems' clients send their own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    auth_type: Option<String>,
    tenant_id: Option<String>,
    keys: Option<Keys>,
    initial_sync: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    // What is stored comes from the refresh token; the access token beside it is not needed.
    refresh_token: Option<SecretString>,
}

/// What connecting answers.
#[derive(Serialize)]
struct Connected {
    mailbox: MailboxView,
    job: Option<JobView>,
    /// What did not work and does not matter enough to fail: the poll covers a watch that was not set.
    warnings: Vec<&'static str>,
}

#[derive(Serialize)]
struct Disconnected {
    mailbox: MailboxView,
    purged: bool,
    warnings: Vec<&'static str>,
}

impl Connect {
    /// The refresh token, or everything that is wrong.
    fn validate(&mut self, tenant: &str) -> Result<RefreshToken, Problem> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            errors.push(FieldError { field: field.to_owned(), message: message.to_owned() });
        };
        match self.auth_type.as_deref() {
            Some("oauth") => {}
            Some(other) if other.to_ascii_lowercase().replace(['_', '-'], "") == "serviceaccount" => {
                refuse("authType", "service_account is not supported yet; must be oauth");
            }
            Some(_) => refuse("authType", "must be oauth"),
            None => refuse("authType", "is required; must be oauth"),
        }
        if self.tenant_id.as_deref().is_some_and(|named| named != tenant) {
            return Err(Problem::forbidden("The token belongs to another tenant."));
        }
        let token = self.keys.as_mut().and_then(|keys| keys.refresh_token.take());
        let fits = |token: &SecretString| {
            let text = secrecy::ExposeSecret::expose_secret(token);
            (1..=2_048).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match token {
            Some(token) if fits(&token) => {
                if errors.is_empty() {
                    return Ok(RefreshToken(token));
                }
            }
            Some(_) => refuse("keys.refreshToken", "must be 1 to 2048 printable characters"),
            None => refuse("keys.refreshToken", "is required"),
        }
        Err(Problem::fields(errors))
    }
}

/// `POST /api/integrations`
pub async fn connect(
    caller: Caller<ToSync>,
    State(state): State<Arc<ApiState>>,
    correlation: axum::Extension<CorrelationId>,
    JsonBody(mut body): JsonBody<Connect>,
) -> Result<Response, Problem> {
    let refresh_token = body.validate(caller.tenant.as_str())?;
    let now = Timestamp::now();
    let access =
        state.gmail.refresh(&refresh_token, &state.oauth, now).await.map_err(|error| refused(&error))?;
    let account = state.gmail.profile(&access).await.map_err(|error| refused(&error))?;

    let new = NewMailbox { tenant: caller.tenant.clone(), address: account.address, now };
    let created = state.store.create_mailbox(&new).await?;
    let mailbox = created.mailbox().clone();
    let credential = NewCredential {
        kind: CredentialKind::Oauth,
        refresh_token: refresh_token.0,
        access_token: Some(access.token.clone()),
        expires_at: Some(access.expires_at),
        scopes: access.scopes.clone().unwrap_or_default(),
    };
    state.store.save_credential(&mailbox, &credential, now).await?;
    let before = mailbox::read(&state, &mailbox).await?;
    if before.status != Status::Active {
        state.store.set_status(&mailbox, Status::Active, now).await?;
    }
    let warnings = start_watch(&state, &before, &access).await;

    let job = if body.initial_sync.unwrap_or(true) {
        // What is there already needs what changed since, not another first copy.
        let kind = if before.progress.cursor.is_none() { JobKind::Initial } else { JobKind::Incremental };
        let ask = Ask { trigger: Trigger::Connect, ..Ask::by_hand("connect", kind) };
        Some(requests::ask(&state, &before, &ask, None, &correlation.0.0).await?)
    } else {
        None
    };
    let sync = mailbox::read(&state, &mailbox).await?;
    let answer = Connected {
        mailbox: MailboxView::new(&sync, state.config.intervals, Timestamp::now()),
        job: job.map(|job| JobView::new(&mailbox, &job)),
        warnings,
    };
    let is_new = matches!(created, sync_store::Created::New(_));
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, format!("/api/integrations/{mailbox}"))], Json(answer)).into_response())
}

async fn start_watch(state: &ApiState, sync: &Sync, access: &AccessToken) -> Vec<&'static str> {
    let Some(topic) = &state.config.watch_topic else {
        return vec!["No push topic is configured: the mailbox is polled."];
    };
    let result = match state.gmail.watch(access, topic).await {
        Ok(watch) => state
            .store
            .set_watch(&sync.mailbox, Some(watch.expires_at))
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => Vec::new(),
        Err(error) => {
            tracing::warn!(mailbox.id = %sync.mailbox, error, "the watch was not set; the poll covers it");
            vec!["Gmail's watch could not be set: the mailbox is polled until it is."]
        }
    }
}

/// A failure of Google's during connecting, as the caller's problem or not.
fn refused(error: &GmailError) -> Problem {
    const FIELD: &str = "keys.refreshToken";
    match error {
        GmailError::GrantRevoked | GmailError::Unauthorized => Problem::field(
            FIELD,
            "Google says that this grant is expired, revoked or not one of this client's",
        ),
        GmailError::InsufficientScope => Problem::field(FIELD, "the grant lacks the scope gmail.readonly"),
        GmailError::DomainPolicy | GmailError::Forbidden { .. } | GmailError::FailedPrecondition => {
            Problem::field(FIELD, "Google does not let this account's mail be read; its administrator may")
        }
        GmailError::ClientRefused { .. } => {
            tracing::error!(%error, "connecting a mailbox");
            Problem::new(StatusCode::BAD_GATEWAY, "Google refuses this installation's OAuth client.")
        }
        GmailError::RateLimited { .. } | GmailError::DailyLimit { .. } => {
            Problem::unavailable("Gmail's rate limit is reached; try again later.")
        }
        GmailError::Server { .. } | GmailError::TimedOut | GmailError::Connection => {
            tracing::warn!(%error, "connecting a mailbox");
            Problem::unavailable("Gmail does not answer now; try again.")
        }
        GmailError::NotFound
        | GmailError::Rejected { .. }
        | GmailError::Unreadable { .. }
        | GmailError::MissingPart
        | GmailError::TooLarge { .. }
        | GmailError::Unsendable => {
            tracing::error!(%error, "connecting a mailbox");
            Problem::new(StatusCode::BAD_GATEWAY, "Gmail's answer was not what it should be.")
        }
    }
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
    let now = Timestamp::now();
    let items = page.items.iter().map(|sync| MailboxView::new(sync, state.config.intervals, now)).collect();
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
    Ok(Json(MailboxView::new(&sync, state.config.intervals, Timestamp::now())))
}

/// `DELETE /api/integrations/{mailbox}`: deactivated first, so that no worker begins anew meanwhile.
pub async fn disconnect(
    caller: Caller<ToAdminister>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    _headers: HeaderMap,
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
    let view = MailboxView::new(&after, state.config.intervals, Timestamp::now());
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
        Ok(Some(credential)) => credential,
        Ok(None) => return Vec::new(),
        Err(error) => {
            tracing::warn!(mailbox.id = %sync.mailbox, %error, "the credential cannot be read");
            return vec!["The credential could not be read, so the grant was not revoked."];
        }
    };
    let now = Timestamp::now();
    let refresh_token = RefreshToken(credential.refresh_token);
    let mut warnings = Vec::new();
    if sync.watch_expires_at.is_some_and(|expires| expires > now) {
        let stopped = match state.gmail.refresh(&refresh_token, &state.oauth, now).await {
            Ok(access) => state.gmail.stop(&access).await,
            Err(error) => Err(error),
        };
        match stopped {
            // A grant that is gone took its watch with it.
            Ok(()) | Err(GmailError::GrantRevoked | GmailError::Unauthorized) => {
                if let Err(error) = state.store.set_watch(&sync.mailbox, None).await {
                    tracing::warn!(mailbox.id = %sync.mailbox, %error, "the watch is stopped and not noted so");
                }
            }
            Err(error) => {
                tracing::warn!(mailbox.id = %sync.mailbox, %error, "the watch was not stopped");
                warnings.push("Gmail's watch could not be stopped; it lapses within a week.");
            }
        }
    }
    if let Err(error) = state.gmail.revoke(&refresh_token, now).await {
        tracing::warn!(mailbox.id = %sync.mailbox, %error, "the grant was not revoked");
        warnings.push("The grant could not be revoked; its owner can, in the Google account.");
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Vec<String> {
        let mut body: Connect = serde_json::from_str(json).expect("a body");
        let problem = body.validate("ten_1").expect_err("a refusal");
        problem.errors().iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(fields("{}"), ["authType", "keys.refreshToken"]);
        assert_eq!(fields(r#"{"authType":"oauth","keys":{}}"#), ["keys.refreshToken"]);
        assert_eq!(fields(r#"{"authType":"oauth","keys":{"refreshToken":"a\nb"}}"#), ["keys.refreshToken"]);
        for kind in ["service_account", "serviceaccount", "serviceAccount"] {
            assert_eq!(
                fields(&format!(r#"{{"authType":"{kind}","keys":{{"refreshToken":"x"}}}}"#)),
                ["authType"]
            );
        }
    }

    #[test]
    fn a_grant_that_is_gone_is_the_callers_problem_and_an_outage_is_not() {
        assert_eq!(refused(&GmailError::GrantRevoked).errors()[0].field, "keys.refreshToken");
        assert_eq!(refused(&GmailError::TimedOut).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused(&GmailError::Server { status: 500 }).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
