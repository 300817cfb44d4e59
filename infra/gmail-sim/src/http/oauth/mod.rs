//! Google's OAuth: consent, token, revocation, keys.
//!
//! Any client id and secret are taken, but a code is only redeemed by the client, the redirect address and the
//! PKCE verifier it was made for, once. Errors have OAuth's form, not Gmail's.

mod assertion;
mod code;
mod consent;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub(crate) use assertion::{ServiceAccountOrder, key_file};
pub(crate) use consent::answer as consent;

use super::faults::{Fault, FaultKind};
use super::form;
use super::keys::secret;
use super::serve::{self, Call, Outcome, Reply};
use super::state::{Shared, lock};
use super::tokens::{ACCESS_S, Grant, SCOPE_ALL};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A refusal in OAuth's form.
struct OAuthError(u16, String, String);

impl OAuthError {
    fn new(status: u16, error: &str, description: &str) -> Self {
        Self(status, error.to_owned(), description.to_owned())
    }

    fn reply(&self) -> Reply {
        uncached(Reply::json(self.0, &json!({"error": self.1, "error_description": self.2})))
    }

    fn invalid_grant() -> Self {
        Self::new(400, "invalid_grant", "Token has been expired or revoked.")
    }

    fn bad_request(description: &str) -> Self {
        Self::new(400, "invalid_request", description)
    }

    fn unauthorized() -> Self {
        let description = "Client is unauthorized to retrieve access tokens using this method, or client not \
                           authorized for any of the scopes requested.";
        Self::new(401, "unauthorized_client", description)
    }

    /// What the token endpoint says with a status that a fault orders.
    fn of_status(status: u16, reason: Option<&str>) -> Self {
        let standard = match status {
            400 => Self::invalid_grant(),
            401 => Self::unauthorized(),
            403 | 429 => Self::new(status, "rate_limit_exceeded", "Rate Limit Exceeded"),
            500.. => Self::new(status, "internal_failure", "Backend Error"),
            _ => Self::new(status, "invalid_request", "Bad Request"),
        };
        // A reason of the API face says nothing here; one of OAuth's own, in its spelling, is taken.
        let named = reason.filter(|reason| !reason.contains(char::is_uppercase));
        Self(status, named.map_or(standard.1, str::to_owned), standard.2)
    }
}

/// Tokens are nothing that a cache may keep.
fn uncached(mut reply: Reply) -> Reply {
    reply.headers.retain(|(name, _)| name != "Cache-Control");
    let pairs = [("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate"), ("Pragma", "no-cache")];
    reply.headers.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    reply
}

struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The body of a call, form-encoded or JSON, after its query.
    fn read(call: &Call) -> Self {
        let mut fields = call.query.clone();
        match serde_json::from_slice::<serde_json::Map<String, Value>>(&call.body) {
            Ok(object) => {
                fields.extend(object.into_iter().filter_map(|(k, v)| v.as_str().map(|v| (k, v.to_owned()))));
            }
            Err(_) => fields.extend(form(&call.body)),
        }
        Self(fields)
    }

    /// The client, from the form or from basic authentication.
    fn client_id(&self, call: &Call) -> Option<String> {
        if let Some(id) = self.get("client_id") {
            return Some(id.to_owned());
        }
        let basic = call.header("authorization")?.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
        text.split_once(':').map(|(id, _)| id.to_owned())
    }
}

/// `/token`.
pub(crate) async fn token(shared: &Arc<Shared>, call: &Call) -> Outcome {
    let form = Form::read(call);
    let email = subject(shared, &form).unwrap_or_default();
    lock(&shared.meter).called(&email, "token");
    if let Some(outcome) = fault(shared, &email).await {
        return outcome;
    }
    let answer = match form.get("grant_type").unwrap_or_default() {
        "refresh_token" => by_refresh(shared, &form, call),
        "authorization_code" => code::redeem(shared, &form, call),
        JWT_BEARER => assertion::redeem(shared, &form),
        "" => Err(OAuthError::bad_request("Required parameter is missing: grant_type")),
        _ => Err(OAuthError::new(400, "unsupported_grant_type", "Invalid grant_type")),
    };
    Outcome::Reply(match answer {
        Ok(value) => uncached(Reply::json(200, &value)),
        Err(error) => error.reply(),
    })
}

/// Whose token is asked for, as far as it can be told: what a fault for one mailbox goes by.
fn subject(shared: &Shared, form: &Form) -> Option<String> {
    let tokens = lock(&shared.tokens);
    let refreshed = form.get("refresh_token").and_then(|token| match token.strip_prefix("sim:") {
        Some(email) => Some(email.to_ascii_lowercase()),
        None => tokens.refresh(token).map(|grant| grant.email),
    });
    let of_code = || form.get("code").and_then(|code| tokens.codes.get(code)).map(|c| c.grant.email.clone());
    refreshed.or_else(of_code).or_else(|| form.get("assertion").and_then(assertion::subject))
}

async fn fault(shared: &Arc<Shared>, email: &str) -> Option<Outcome> {
    // What is ordered for a mailbox or with a reason of Gmail's is for the API, unless it names this endpoint.
    let meant = |fault: &Fault| {
        let anywhere = fault.mailbox.is_none() && fault.reason.is_none();
        fault.method.is_some() || fault.kind == FaultKind::InvalidGrant || anywhere
    };
    let known = |fault: &Fault| {
        let refusal =
            matches!(fault.kind, FaultKind::InvalidGrant | FaultKind::Status(_) | FaultKind::RetryAfter);
        refusal || matches!(fault.kind, FaultKind::Slow | FaultKind::Timeout | FaultKind::Reset)
    };
    let fault = lock(&shared.faults).take(&["token"], email, |fault| meant(fault) && known(fault))?;
    let refused = |error: &OAuthError| Some(Outcome::Reply(error.reply()));
    match fault.kind {
        FaultKind::InvalidGrant => refused(&OAuthError::invalid_grant()),
        FaultKind::Status(status) => refused(&OAuthError::of_status(status, fault.reason.as_deref())),
        FaultKind::RetryAfter => {
            let mut reply = OAuthError::of_status(429, None).reply();
            let seconds = fault.seconds.unwrap_or(serve::RETRY_AFTER_S).to_string();
            reply.headers.push(("Retry-After".to_owned(), seconds));
            Some(Outcome::Reply(reply))
        }
        FaultKind::Slow => {
            let wait = fault.milliseconds.unwrap_or(serve::SLOW_MS);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            None
        }
        FaultKind::Timeout => {
            serve::hold(shared).await;
            Some(Outcome::Reset)
        }
        _ => Some(Outcome::Reset),
    }
}

fn by_refresh(shared: &Arc<Shared>, form: &Form, call: &Call) -> Result<Value, OAuthError> {
    let token = form
        .get("refresh_token")
        .ok_or_else(|| OAuthError::bad_request("Missing required parameter: refresh_token"))?;
    let grant = lock(&shared.tokens).refresh(token).ok_or_else(OAuthError::invalid_grant)?;
    // A token that was handed out belongs to its client; `sim:` ones are anybody's.
    if !token.starts_with("sim:") && form.client_id(call).as_deref() != Some(grant.client.as_str()) {
        return Err(OAuthError::new(401, "unauthorized_client", "Unauthorized"));
    }
    // Only a mailbox that is here can have given a grant.
    shared.account(&grant.email).ok_or_else(OAuthError::invalid_grant)?;
    let grant = narrowed(grant, form.get("scope"))?;
    access_token(shared, &grant)
}

fn narrowed(grant: Grant, scope: Option<&str>) -> Result<Grant, OAuthError> {
    let Some(scope) = scope else { return Ok(grant) };
    let scopes: Vec<String> = scope.split_whitespace().map(str::to_owned).collect();
    let has_all = grant.scopes.iter().any(|owned| owned == SCOPE_ALL);
    if has_all || scopes.iter().all(|wanted| grant.scopes.contains(wanted)) {
        Ok(Grant { scopes, ..grant })
    } else {
        Err(OAuthError::new(400, "invalid_scope", "Some requested scopes were invalid."))
    }
}

fn no_randomness() -> OAuthError {
    OAuthError::of_status(500, None)
}

fn access_token(shared: &Shared, grant: &Grant) -> Result<Value, OAuthError> {
    let token = format!("ya29.{}", secret().map_err(|_| no_randomness())?);
    let now = shared.now();
    let mut tokens = lock(&shared.tokens);
    tokens.sweep(now);
    tokens.access.insert(token.clone(), (grant.clone(), now + ACCESS_S * 1000));
    Ok(json!({
        "access_token": token, "expires_in": ACCESS_S, "scope": grant.scopes.join(" "), "token_type": "Bearer",
    }))
}

/// `/revoke`: the grant that a token comes from is withdrawn, with all its tokens.
pub(crate) fn revoke(shared: &Arc<Shared>, call: &Call) -> Reply {
    let form = Form::read(call);
    let mut tokens = lock(&shared.tokens);
    let found = form
        .get("token")
        .and_then(|token| tokens.bearer(token, shared.now()).or_else(|| tokens.refresh(token)));
    match found {
        Some(grant) => {
            tokens.revoke_grant(&grant);
            Reply::json(200, &json!({}))
        }
        None => OAuthError::new(400, "invalid_token", "Token expired or revoked").reply(),
    }
}

/// `/oauth2/v3/certs`.
pub(crate) fn certs(shared: &Shared) -> Reply {
    let keys = lock(&shared.keys);
    let mut reply = Reply::json(200, &keys.jwks());
    reply.headers.retain(|(name, _)| name != "Cache-Control");
    let kept = format!("public, max-age={}, must-revalidate, no-transform", keys.max_age_s());
    reply.headers.push(("Cache-Control".to_owned(), kept));
    reply
}

/// `/.well-known/openid-configuration`, with this server's own addresses.
pub(crate) fn discovery(call: &Call) -> Reply {
    let base = format!("http://{}", call.header("host").unwrap_or("localhost"));
    Reply::json(
        200,
        &json!({
            "issuer": "https://accounts.google.com",
            "authorization_endpoint": format!("{base}/o/oauth2/v2/auth"),
            "token_endpoint": format!("{base}/token"),
            "revocation_endpoint": format!("{base}/revoke"),
            "jwks_uri": format!("{base}/oauth2/v3/certs"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "profile"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "grant_types_supported": ["authorization_code", "refresh_token", JWT_BEARER],
        }),
    )
}
