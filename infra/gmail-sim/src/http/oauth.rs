//! Google's OAuth: consent, token, revocation, keys.
//!
//! Any client id and secret are taken, but a code is only redeemed by the client, the redirect address and the
//! PKCE verifier it was made for, once. Errors have OAuth's form, not Gmail's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::clock::real_now;
use super::faults::FaultKind;
use super::keys::secret;
use super::serve::{Call, Reply};
use super::state::{Shared, lock};
use super::tokens::{ACCESS_S, CODE_MS, Code, Grant, SCOPE_ALL};
use super::{escape, form};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A refusal in OAuth's form.
struct OAuthError(u16, &'static str, &'static str);

impl OAuthError {
    fn reply(&self) -> Reply {
        let mut reply = Reply::json(self.0, &json!({"error": self.1, "error_description": self.2}));
        reply.headers.retain(|(name, _)| name != "Cache-Control");
        reply
            .headers
            .push(("Cache-Control".to_owned(), "no-cache, no-store, max-age=0, must-revalidate".to_owned()));
        reply
    }

    fn invalid_grant() -> Self {
        Self(400, "invalid_grant", "Token has been expired or revoked.")
    }

    fn bad_request(description: &'static str) -> Self {
        Self(400, "invalid_request", description)
    }
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
pub(crate) fn token(shared: &Arc<Shared>, call: &Call) -> Reply {
    let form = Form::read(call);
    let kind = form.get("grant_type").unwrap_or_default();
    lock(&shared.meter).called("", "token");
    let answer = match kind {
        "refresh_token" => by_refresh(shared, &form),
        "authorization_code" => by_code(shared, &form, call),
        JWT_BEARER => by_assertion(shared, &form),
        "" => Err(OAuthError::bad_request("Required parameter is missing: grant_type")),
        _ => Err(OAuthError(400, "unsupported_grant_type", "Invalid grant_type")),
    };
    match answer {
        Ok(value) => Reply::json(200, &value),
        Err(error) => {
            let mut reply = error.reply();
            reply.headers.push(("Pragma".to_owned(), "no-cache".to_owned()));
            reply
        }
    }
}

fn by_refresh(shared: &Arc<Shared>, form: &Form) -> Result<Value, OAuthError> {
    let token = form
        .get("refresh_token")
        .ok_or(OAuthError::bad_request("Missing required parameter: refresh_token"))?;
    let grant = lock(&shared.tokens).refresh(token).ok_or(OAuthError::invalid_grant())?;
    // Only a mailbox that is here can have given a grant.
    shared.account(&grant.email).ok_or(OAuthError::invalid_grant())?;
    if lock(&shared.faults).take("token", &grant.email, |kind| *kind == FaultKind::InvalidGrant).is_some() {
        return Err(OAuthError::invalid_grant());
    }
    let grant = narrowed(grant, form.get("scope"))?;
    Ok(access_token(shared, &grant))
}

fn narrowed(grant: Grant, scope: Option<&str>) -> Result<Grant, OAuthError> {
    let Some(scope) = scope else { return Ok(grant) };
    let scopes: Vec<String> = scope.split_whitespace().map(str::to_owned).collect();
    let has_all = grant.scopes.iter().any(|owned| owned == SCOPE_ALL);
    if has_all || scopes.iter().all(|wanted| grant.scopes.contains(wanted)) {
        Ok(Grant { scopes, ..grant })
    } else {
        Err(OAuthError(400, "invalid_scope", "Some requested scopes were invalid."))
    }
}

fn access_token(shared: &Shared, grant: &Grant) -> Value {
    // Without randomness there is no key either, and the server did not start.
    let token = format!("ya29.{}", secret().unwrap_or_default());
    let expires = shared.now() + ACCESS_S * 1000;
    lock(&shared.tokens).access.insert(token.clone(), (grant.clone(), expires));
    json!({
        "access_token": token, "expires_in": ACCESS_S, "scope": grant.scopes.join(" "), "token_type": "Bearer",
    })
}

fn by_code(shared: &Arc<Shared>, form: &Form, call: &Call) -> Result<Value, OAuthError> {
    let wrong = OAuthError(400, "invalid_grant", "Malformed auth code.");
    let text = form.get("code").ok_or(OAuthError::bad_request("Missing required parameter: code"))?;
    let client_id =
        form.client_id(call).ok_or(OAuthError(401, "invalid_client", "The OAuth client was not found."))?;
    // A code is spent by the first attempt, good or bad.
    let code = lock(&shared.tokens).codes.remove(text).ok_or(wrong)?;
    if code.expires <= shared.now() || code.client_id != client_id {
        return Err(OAuthError(400, "invalid_grant", "Bad Request"));
    }
    if form.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
        return Err(OAuthError(400, "redirect_uri_mismatch", "Bad Request"));
    }
    if let Some((challenge, hashed)) = &code.challenge {
        let verifier = form.get("code_verifier").unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        let proof = if *hashed { URL_SAFE_NO_PAD.encode(digest) } else { verifier.to_owned() };
        if verifier.is_empty() {
            return Err(OAuthError(400, "invalid_grant", "Missing code verifier."));
        }
        if proof != *challenge {
            return Err(OAuthError(400, "invalid_grant", "Invalid code verifier."));
        }
    }
    let mut answer = access_token(shared, &code.grant);
    if code.offline {
        let refresh = format!("1//0{}", secret().unwrap_or_default());
        lock(&shared.tokens).refresh.insert(refresh.clone(), code.grant.clone());
        answer["refresh_token"] = json!(refresh);
    }
    if code.grant.scopes.iter().any(|scope| scope == "openid")
        && let Some(token) = id_token(shared, &code)
    {
        answer["id_token"] = json!(token);
    }
    Ok(answer)
}

fn id_token(shared: &Shared, code: &Code) -> Option<String> {
    let issued = real_now() / 1000;
    let mut claims = json!({
        "iss": "https://accounts.google.com", "aud": code.client_id, "azp": code.client_id,
        "sub": (crate::model::hash(code.grant.email.as_bytes()) >> 1).to_string(),
        "email": code.grant.email, "email_verified": true, "iat": issued, "exp": issued + 3_600,
    });
    if let Some(nonce) = &code.nonce {
        claims["nonce"] = json!(nonce);
    }
    shared.key.sign(&claims).ok()
}

/// A service account that acts for a user. The signature is not checked: the simulator knows no account's key.
fn by_assertion(shared: &Arc<Shared>, form: &Form) -> Result<Value, OAuthError> {
    let wrong = || OAuthError(400, "invalid_grant", "Invalid JWT Signature.");
    let assertion =
        form.get("assertion").ok_or(OAuthError::bad_request("Missing required parameter: assertion"))?;
    let pieces: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = pieces.as_slice() else { return Err(wrong()) };
    let read =
        |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let (header, claims) = (read(header).ok_or_else(wrong)?, read(claims).ok_or_else(wrong)?);
    if header["alg"] != "RS256" || signature.is_empty() {
        return Err(wrong());
    }
    let seconds = |key: &str| claims.get(key).and_then(Value::as_i64);
    let now = real_now() / 1000;
    let (Some(issued), Some(expires)) = (seconds("iat"), seconds("exp")) else {
        return Err(OAuthError(400, "invalid_grant", "Invalid JWT: iat and exp are required."));
    };
    if expires <= now || issued > now + 300 || expires - issued > 3_600 {
        let message =
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.";
        return Err(OAuthError(400, "invalid_grant", message));
    }
    let text = |key: &str| claims.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("iss").is_empty() || !text("aud").ends_with("/token") {
        return Err(OAuthError(400, "invalid_grant", "Invalid JWT: wrong audience or issuer."));
    }
    let email = text("sub").to_ascii_lowercase();
    if email.is_empty() || shared.account(&email).is_none() {
        return Err(OAuthError(400, "invalid_grant", "Invalid email or User ID"));
    }
    let scopes: Vec<String> = text("scope").split_whitespace().map(str::to_owned).collect();
    if scopes.is_empty() {
        return Err(OAuthError(400, "invalid_scope", "Invalid OAuth scope or ID token audience provided."));
    }
    if lock(&shared.tokens).revoked.contains(&email) {
        let message = "Client is unauthorized to retrieve access tokens using this method, or client not authorized \
                       for any of the scopes requested.";
        return Err(OAuthError(401, "unauthorized_client", message));
    }
    let mut answer = access_token(shared, &Grant { email, scopes });
    if let Some(object) = answer.as_object_mut() {
        object.remove("scope");
    }
    Ok(answer)
}

/// `/revoke`: the token's whole grant is withdrawn.
pub(crate) fn revoke(shared: &Arc<Shared>, call: &Call) -> Reply {
    let form = Form::read(call);
    let mut tokens = lock(&shared.tokens);
    let found = form.get("token").and_then(|token| {
        tokens.bearer(token, shared.now()).or_else(|| tokens.refresh(token)).map(|grant| grant.email)
    });
    match found {
        Some(email) => {
            tokens.revoke(&email);
            Reply::json(200, &json!({}))
        }
        None => Reply::json(
            400,
            &json!({"error": "invalid_token", "error_description": "Token expired or revoked"}),
        ),
    }
}

/// `/o/oauth2/v2/auth`: a page that asks, or with `sim_approve=1` the redirect at once.
pub(crate) fn consent(shared: &Arc<Shared>, call: &Call) -> Reply {
    let form = Form(call.query.clone());
    let page = |status: u16, body: String| Reply {
        status,
        headers: vec![("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())],
        body: body.into(),
    };
    let missing =
        ["client_id", "redirect_uri", "response_type", "scope"].into_iter().find(|k| form.get(k).is_none());
    if let Some(missing) = missing {
        return page(
            400,
            format!("<h1>Error 400: invalid_request</h1><p>Missing required parameter: {missing}</p>"),
        );
    }
    let redirect = form.get("redirect_uri").and_then(|uri| url::Url::parse(uri).ok());
    let Some(mut redirect) = redirect.filter(|uri| matches!(uri.scheme(), "http" | "https")) else {
        return page(400, "<h1>Error 400: redirect_uri_mismatch</h1>".to_owned());
    };
    let email = form.get("sim_user").or(form.get("login_hint")).map(str::to_owned);
    let email = email.or_else(|| shared.emails().into_iter().next());
    let account = email.and_then(|email| shared.account(&email));
    if form.get("sim_deny").is_some() {
        redirect.query_pairs_mut().append_pair("error", "access_denied");
    } else if form.get("response_type") != Some("code") {
        redirect.query_pairs_mut().append_pair("error", "unsupported_response_type");
    } else if form.get("sim_approve") == Some("1") {
        let Some(account) = account else {
            return page(400, "<h1>No such mailbox</h1><p>Name one with login_hint.</p>".to_owned());
        };
        let code = approve(shared, &form, &account.email);
        redirect
            .query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("scope", form.get("scope").unwrap_or(""));
    } else {
        return page(200, consent_page(shared, &form, call));
    }
    if let Some(state) = form.get("state") {
        redirect.query_pairs_mut().append_pair("state", state);
    }
    Reply {
        status: 302,
        headers: vec![("Location".to_owned(), redirect.to_string())],
        body: bytes::Bytes::new(),
    }
}

fn approve(shared: &Shared, form: &Form, email: &str) -> String {
    let code = format!("4/0{}", secret().unwrap_or_default());
    let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let hashed = form.get("code_challenge_method").is_some_and(|method| method == "S256");
    let entry = Code {
        grant: Grant {
            email: email.to_owned(),
            scopes: text("scope").split_whitespace().map(str::to_owned).collect(),
        },
        client_id: text("client_id"),
        redirect_uri: text("redirect_uri"),
        challenge: form.get("code_challenge").map(|challenge| (challenge.to_owned(), hashed)),
        offline: form.get("access_type") == Some("offline"),
        nonce: form.get("nonce").map(str::to_owned),
        expires: shared.now() + CODE_MS,
    };
    let mut tokens = lock(&shared.tokens);
    tokens.grant_again(email);
    tokens.codes.insert(code.clone(), entry);
    code
}

fn consent_page(shared: &Shared, form: &Form, call: &Call) -> String {
    let query: Vec<(String, String)> =
        call.query.iter().filter(|(key, _)| !key.starts_with("sim_")).cloned().collect();
    let link = |extra: &[(&str, &str)]| {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&query).extend_pairs(extra);
        escape(&format!("/o/oauth2/v2/auth?{}", text.finish()))
    };
    let hint = form.get("login_hint");
    let emails = shared.emails();
    let shown = emails.iter().filter(|email| hint.is_none_or(|hint| hint.eq_ignore_ascii_case(email)));
    let choices: Vec<String> = shown
        .map(|email| {
            let target = link(&[("sim_approve", "1"), ("sim_user", email)]);
            format!("<li><a href=\"{target}\">Allow as {}</a></li>", escape(email))
        })
        .collect();
    let choices = choices.concat();
    let scopes = escape(form.get("scope").unwrap_or_default());
    let client = escape(form.get("client_id").unwrap_or_default());
    let deny = link(&[("sim_deny", "1")]);
    format!(
        "<!doctype html><meta charset=utf-8><title>Sign in</title><h1>{client} wants access</h1>\
         <p>{scopes}</p><ul>{choices}</ul><p><a href=\"{deny}\">Cancel</a></p>"
    )
}

/// `/oauth2/v3/certs`.
pub(crate) fn certs(shared: &Shared) -> Reply {
    let mut reply = Reply::json(200, &shared.key.jwks());
    reply.headers.retain(|(name, _)| name != "Cache-Control");
    reply.headers.push((
        "Cache-Control".to_owned(),
        "public, max-age=19800, must-revalidate, no-transform".to_owned(),
    ));
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
