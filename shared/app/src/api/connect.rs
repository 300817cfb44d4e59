//! Connecting a mailbox: with a refresh token, with a service account, and what both share with the consent page.
//!
//! Invariant: whose mailbox it is, Gmail says, through the very grant that is stored: an access token of one
//! account beside a refresh token of another would sync a stranger's mail an hour later. Nothing is written before
//! Google has accepted the grant and the grant is known to let mail be read.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sync_core::{
    EmailAddress, MailboxId,
    job::{JobKind, Trigger},
    quota::Method,
    state::{Content, CredentialKind, Status, Sync},
};
use sync_gmail::{AccessToken, GmailError, KeyField, RefreshToken, ServiceAccount};
use sync_store::{AuditAction, Created, NewCredential, NewMailbox};

use super::{
    ApiState,
    audit::{Deed, note},
    auth::{Caller, ToSync},
    body::JsonBody,
    content, mailbox,
    problem::{CorrelationId, FieldError, Problem},
    requests::{self, Ask},
    view::{JobView, MailboxView},
};

/// Longest refresh token that is taken, bytes: Google's have at most 512.
const REFRESH_TOKEN_BYTES_MAX: usize = 2_048;
/// What has to be granted, in the words of the API.
const LACKS_SCOPE: &str = "the grant does not let mail be read: it needs the scope gmail.readonly (or \
                           gmail.modify, or https://mail.google.com/); gmail.metadata is not enough";

/// What connecting takes. Unknown fields are ignored: the five systems' clients send their own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    auth_type: Option<String>,
    tenant_id: Option<String>,
    keys: Option<Keys>,
    initial_sync: Option<bool>,
    content: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    // What is stored comes from the refresh token; the access token beside it is not needed.
    refresh_token: Option<SecretString>,
    service_account_email: Option<String>,
    service_account_key: Option<SecretString>,
    impersonated_user_email: Option<String>,
}

/// A long-lived secret that somebody gave, in the form it has to have.
enum Given {
    RefreshToken(RefreshToken),
    ServiceAccount(ServiceAccount),
}

/// Where a grant came from: a refusal is told in its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The field `keys.refreshToken`.
    RefreshToken,
    /// The fields of a service account.
    ServiceAccount,
    /// Google's consent page.
    Consent,
}

/// What is chosen beside the grant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    /// What of a message is fetched; what it was, or everything, when `None`.
    pub content: Option<Content>,
    /// Whether the first copy begins at once.
    pub initial_sync: bool,
}

/// A grant that Google has accepted.
pub(super) struct Grant {
    pub source: Source,
    pub secret: SecretString,
    pub access: AccessToken,
}

/// What connecting answers.
#[derive(Serialize)]
pub(super) struct Connected {
    pub mailbox: MailboxView,
    pub job: Option<JobView>,
    /// What did not work and does not matter enough to fail: the poll covers a watch that was not set.
    pub warnings: Vec<&'static str>,
    #[serde(skip)]
    pub id: MailboxId,
    #[serde(skip)]
    pub address: EmailAddress,
    #[serde(skip)]
    pub is_new: bool,
}

impl IntoResponse for Connected {
    fn into_response(self) -> Response {
        let status = if self.is_new { StatusCode::CREATED } else { StatusCode::OK };
        let location = format!("/api/integrations/{}", self.id);
        (status, [(header::LOCATION, location)], Json(self)).into_response()
    }
}

impl Connect {
    /// What was given, or everything that is wrong with it.
    fn validate(&mut self, tenant: &str) -> Result<Given, Problem> {
        if self.tenant_id.as_deref().is_some_and(|named| named != tenant) {
            return Err(Problem::forbidden("The token belongs to another tenant."));
        }
        if self.content.as_deref().is_some_and(|name| content::named(name).is_none()) {
            return Err(Problem::field("content", content::EXPECTED));
        }
        let keys = self.keys.take().unwrap_or_default();
        let kind = self.auth_type.as_deref().map(|kind| kind.to_ascii_lowercase().replace(['_', '-'], ""));
        match kind.as_deref() {
            Some("serviceaccount") => {
                keys.service_account().map(Given::ServiceAccount).map_err(Problem::fields)
            }
            Some("oauth") => keys.refresh_token().map(Given::RefreshToken).map_err(Problem::fields),
            other => {
                let message = match other {
                    None => "is required; must be oauth or service_account",
                    Some(_) => "must be oauth or service_account",
                };
                let mut errors = vec![field("authType", message)];
                // Without a type, what is there tells which one is meant.
                let wrong = if keys.service_account_key.is_some() {
                    keys.service_account().err()
                } else {
                    keys.refresh_token().err()
                };
                errors.extend(wrong.unwrap_or_default());
                Err(Problem::fields(errors))
            }
        }
    }
}

impl Keys {
    fn refresh_token(self) -> Result<RefreshToken, Vec<FieldError>> {
        let fits = |token: &SecretString| {
            let text = secrecy::ExposeSecret::expose_secret(token);
            (1..=REFRESH_TOKEN_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match self.refresh_token {
            Some(token) if fits(&token) => Ok(RefreshToken(token)),
            Some(_) => Err(vec![field("keys.refreshToken", "must be 1 to 2048 printable characters")]),
            None => Err(vec![field("keys.refreshToken", "is required")]),
        }
    }

    fn service_account(self) -> Result<ServiceAccount, Vec<FieldError>> {
        let parsed = ServiceAccount::parse(
            self.service_account_email.as_deref(),
            self.service_account_key.as_ref(),
            self.impersonated_user_email.as_deref(),
        );
        parsed.map_err(|problems| {
            problems.into_iter().map(|problem| field(name_of(problem.field), problem.message)).collect()
        })
    }
}

fn name_of(field: KeyField) -> &'static str {
    match field {
        KeyField::Account => "keys.serviceAccountEmail",
        KeyField::Key => "keys.serviceAccountKey",
        KeyField::User => "keys.impersonatedUserEmail",
    }
}

fn field(name: &str, message: &str) -> FieldError {
    FieldError { field: name.to_owned(), message: message.to_owned() }
}

/// `POST /api/integrations`
pub async fn connect(
    caller: Caller<ToSync>,
    State(state): State<Arc<ApiState>>,
    correlation: axum::Extension<CorrelationId>,
    JsonBody(mut body): JsonBody<Connect>,
) -> Result<Response, Problem> {
    let given = body.validate(caller.tenant.as_str())?;
    let now = Timestamp::now();
    let (source, secret, access) = match given {
        Given::RefreshToken(token) => {
            let access = state.gmail.refresh(&token, &state.oauth, now).await;
            (Source::RefreshToken, token.0, access)
        }
        Given::ServiceAccount(account) => {
            let access = state.gmail.assert(&account, now).await;
            (Source::ServiceAccount, account.to_secret(), access)
        }
    };
    let grant = Grant { source, secret, access: access.map_err(|error| source.refused(&error))? };
    let chosen = Chosen {
        content: body.content.as_deref().and_then(content::named),
        initial_sync: body.initial_sync.unwrap_or(true),
    };
    let deed = Deed::of(&caller, AuditAction::Connected, &correlation.0.0);
    let connected = keep(&state, deed, grant, None, chosen).await?;
    Ok(connected.into_response())
}

/// Connects the mailbox that a grant opens, or connects it again; `expected` is the only one that it may be. Whose it
/// becomes, and who does it, the deed says.
pub(super) async fn keep(
    state: &ApiState,
    deed: Deed,
    grant: Grant,
    expected: Option<&Sync>,
    chosen: Chosen,
) -> Result<Connected, Problem> {
    let (source, access) = (grant.source, grant.access);
    // Headers alone will do for a mailbox that keeps no more, which nobody chooses on Google's page.
    let headers_will_do =
        source != Source::Consent && access.scopes.as_deref().is_some_and(content::shows_headers_only);
    if !access.reads_mail() && !headers_will_do {
        return Err(source.refused(&GmailError::InsufficientScope));
    }
    let account = state.gmail.profile(&access).await.map_err(|error| source.refused(&error))?;
    // Whose unit that was is known only now: it counts, whether there was one left or not.
    drop(state.pay(&account.address, Method::GetProfile).await);
    if let Some(expected) = expected.filter(|expected| expected.address != account.address) {
        return Err(another_account(state, expected, &account.address, &grant.secret).await);
    }
    let tenant = deed.tenant();
    content::refuse_at_connect(state, (tenant, &account.address), chosen.content, &access).await?;
    let now = Timestamp::now();
    let address = account.address.clone();
    let new = NewMailbox { tenant: deed.tenant().clone(), address: account.address, now };
    let created = state.store.create_mailbox(&new).await?;
    let mailbox = created.mailbox().clone();
    let credential = NewCredential {
        kind: source.kind(),
        secret: grant.secret,
        access_token: Some(access.token.clone()),
        expires_at: Some(access.expires_at),
        scopes: access.scopes.clone().unwrap_or_default(),
    };
    state.store.save_credential(&mailbox, &credential, now).await?;
    let before = mailbox::read(state, &mailbox).await?;
    if before.status != Status::Active {
        state.store.set_status(&mailbox, Status::Active, now).await?;
    }
    // Whether a first copy is asked for now or not, and whatever comes of the rest: the poll finds the mailbox.
    let interval = state.settings_of(&before.tenant).await?.interval_of(&before, now);
    state.store.due_by(&mailbox, now + interval).await?;
    let (trace, deed) = (deed.trace().to_owned(), deed.with(&mailbox));
    note(state, &deed).await;
    let warnings = start_watch(state, &before, &access).await;
    content::prepare(state, &before, chosen.content, &access).await?;
    let job = if chosen.initial_sync {
        // What is there already needs what changed since, not another first copy.
        let kind = if before.progress.cursor.is_none() { JobKind::Initial } else { JobKind::Incremental };
        let ask = Ask { trigger: Trigger::Connect, ..Ask::by_hand("connect", kind) };
        Some(requests::ask(state, &before, &ask, None, &trace).await?)
    } else {
        None
    };
    let sync = mailbox::read(state, &mailbox).await?;
    Ok(Connected {
        mailbox: state.view_of(&sync).await?,
        job: job.map(|job| JobView::new(&mailbox, &job)),
        warnings,
        is_new: matches!(created, Created::New(_)),
        id: mailbox,
        address,
    })
}

/// A grant of another account than the one that is connected again. It is given back, unless it is one of those that
/// somebody here has connected, or this system leaves Google alone: revoking ends all grants that the account has given
/// us.
async fn another_account(
    state: &ApiState,
    expected: &Sync,
    address: &EmailAddress,
    secret: &SecretString,
) -> Problem {
    match state.store.mailboxes_by_address(address).await {
        Ok(mailboxes) if mailboxes.is_empty() && state.lets_go_at_google => {
            if let Err(error) = state.gmail.revoke(secret, Timestamp::now()).await {
                tracing::warn!(mailbox.id = %expected.mailbox, %error, "a grant of another account was not given back");
            }
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(mailbox.id = %expected.mailbox, %error, "nobody knows who has the other account");
        }
    }
    Problem::conflict(format!(
        "This is the grant of {}, and the mailbox to be connected again is {}. Nothing was changed.",
        address.as_str(),
        expected.address.as_str()
    ))
}

async fn start_watch(state: &ApiState, sync: &Sync, access: &AccessToken) -> Vec<&'static str> {
    let Some(topic) = &state.config.watch_topic else {
        return vec!["No push topic is configured: the mailbox is polled."];
    };
    let watched = match state.pay(&sync.address, Method::Watch).await {
        Ok(()) => state.gmail.watch(access, topic).await,
        Err(error) => Err(error),
    };
    let result = match watched {
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

impl Source {
    fn kind(self) -> CredentialKind {
        match self {
            Self::RefreshToken | Self::Consent => CredentialKind::Oauth,
            Self::ServiceAccount => CredentialKind::ServiceAccount,
        }
    }

    /// A complaint about what was given: by field, or as a sentence where there was no field.
    fn complain(self, of_service_account: KeyField, message: &str) -> Problem {
        match self {
            Self::RefreshToken => Problem::field("keys.refreshToken", message),
            Self::ServiceAccount => Problem::field(name_of(of_service_account), message),
            Self::Consent => Problem::new(StatusCode::BAD_REQUEST, sentence(message)),
        }
    }

    /// A failure of Google's during connecting, as the caller's problem or not.
    pub(super) fn refused(self, error: &GmailError) -> Problem {
        match error {
            GmailError::GrantRevoked | GmailError::Unauthorized => self.complain(
                KeyField::Key,
                "Google says that this grant is expired, revoked or not one of this client's",
            ),
            GmailError::KeyRefused => self.complain(
                KeyField::Key,
                "Google refuses this key (deleted, disabled, or another account's), or does not know the user",
            ),
            GmailError::DelegationRefused => self.complain(
                KeyField::Account,
                "may not act for this user: an administrator of the domain has to delegate the scope \
                 https://www.googleapis.com/auth/gmail.readonly to the service account's client id (Admin console, \
                 Security, API controls, domain-wide delegation)",
            ),
            GmailError::InsufficientScope => self.complain(KeyField::Account, LACKS_SCOPE),
            GmailError::DomainPolicy | GmailError::Forbidden { .. } | GmailError::FailedPrecondition => self
                .complain(
                    KeyField::User,
                    "Google does not let this account's mail be read; its administrator may",
                ),
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
            GmailError::NotSent(_) => Problem::unavailable("Gmail cannot be asked now; try again later."),
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
}

/// A field's message as a sentence of its own.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Vec<String> {
        let mut body: Connect = serde_json::from_str(json).expect("a body");
        let problem = body.validate("ten_1").err().expect("a refusal");
        problem.errors().iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(fields("{}"), ["authType", "keys.refreshToken"]);
        assert_eq!(fields(r#"{"authType":"oauth","keys":{}}"#), ["keys.refreshToken"]);
        assert_eq!(fields(r#"{"authType":"oauth","keys":{"refreshToken":"a\nb"}}"#), ["keys.refreshToken"]);
        let content = r#"{"authType":"oauth","keys":{"refreshToken":"x"},"content":"minimal"}"#;
        assert_eq!(fields(content), ["content"]);
        assert_eq!(fields(r#"{"authType":"saml","keys":{"refreshToken":"x"}}"#), ["authType"]);
        let all = ["keys.impersonatedUserEmail", "keys.serviceAccountKey", "keys.serviceAccountEmail"];
        for kind in ["service_account", "serviceaccount", "serviceAccount", "service-account"] {
            assert_eq!(fields(&format!(r#"{{"authType":"{kind}","keys":{{"refreshToken":"x"}}}}"#)), all);
        }
        let half = r#"{"authType":"service_account","keys":{"serviceAccountKey":"nonsense","serviceAccountEmail":"robot@example.com","impersonatedUserEmail":"alice"}}"#;
        assert_eq!(fields(half), ["keys.impersonatedUserEmail", "keys.serviceAccountKey"]);
    }

    #[test]
    fn a_grant_that_is_gone_is_the_callers_problem_and_an_outage_is_not() {
        let refused = |error: &GmailError| Source::RefreshToken.refused(error);
        assert_eq!(refused(&GmailError::GrantRevoked).errors()[0].field, "keys.refreshToken");
        assert_eq!(refused(&GmailError::TimedOut).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused(&GmailError::Server { status: 500 }).status(), StatusCode::SERVICE_UNAVAILABLE);
        let consent = Source::Consent.refused(&GmailError::InsufficientScope);
        assert!(consent.errors().is_empty() && consent.status() == StatusCode::BAD_REQUEST);
    }
}
