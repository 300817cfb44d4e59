//! Signing in to the dashboard: by token in a form, or by a link that works once.
//!
//! Invariant: the browser never holds the API token, only a session of its own that lapses, in a cookie that
//! no script can read and no other site can send.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sync_store::{TokenKind, TokenRow};

use super::{
    ApiState,
    auth::{self, COOKIE, COOKIE_SECURE, Caller, ToRead},
    card,
    problem::Problem,
};

/// How long a browser stays signed in.
const SESSION: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Longest code or token that is looked up.
const SECRET_BYTES_MAX: usize = 200;

const CONTENT: &str = include_str!("../dashboard/signin.html");
/// Where the page has room for a complaint.
const COMPLAINT: &str = "<!--complaint-->";

/// Who is signed in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    tenant_id: String,
    tenant_name: Option<String>,
    scopes: Vec<&'static str>,
}

/// `GET /api/session`
pub async fn current(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
) -> Result<Json<SessionView>, Problem> {
    let tenant = state.store.read_tenant(&caller.tenant).await?;
    Ok(Json(SessionView {
        tenant_id: caller.tenant.to_string(),
        tenant_name: tenant.map(|tenant| tenant.name),
        scopes: caller.scopes.iter().map(|scope| auth::name(*scope)).collect(),
    }))
}

/// `GET /signin`: the page, or with `?code=` the one-time link.
pub async fn page(
    State(state): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(code) = parameter(query.unwrap_or_default().as_bytes(), "code") else {
        return Ok(Html(sign_in_page("")).into_response());
    };
    match state.store.consume_signin_code(&code, Timestamp::now()).await? {
        Some(row) => begin(&state, row, &headers).await,
        None => {
            Ok(refuse("This link has been used or has lapsed. Ask for a new one, or sign in with a token."))
        }
    }
}

/// `POST /signin`: the page's form, `token=…`.
pub async fn sign_in(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    // Another site that signs somebody in as itself would see what they then connect.
    if auth::is_cross_site(&headers) {
        return Err(Problem::forbidden("Sign in from this site's own page."));
    }
    let Some(token) = parameter(&body, "token") else {
        return Ok(refuse("Enter an API token: it begins with gst_."));
    };
    match auth::api_token(&state, &token).await {
        Ok(row) => begin(&state, row, &headers).await,
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            Ok(refuse("This token is not valid, or has lapsed."))
        }
        Err(problem) => Err(problem),
    }
}

/// `POST /signout`: the session is gone from the table, not only from the browser.
pub async fn sign_out(
    _caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(session) = auth::session_cookie(&headers) {
        state.store.delete_token(&session).await?;
    }
    let cookie = cookie(&state, &headers, "", 0);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

async fn begin(state: &ApiState, row: TokenRow, headers: &HeaderMap) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let lapses = now + SESSION;
    // A session never outlives the token it came from. A sign-in code is short-lived by design.
    let expires_at = match row.kind {
        TokenKind::Api => row.expires_at.map_or(lapses, |end| end.min(lapses)),
        TokenKind::Session | TokenKind::SigninCode => lapses,
    };
    let seconds = expires_at.duration_since(now).as_secs();
    let session = TokenRow { kind: TokenKind::Session, expires_at: Some(expires_at), ..row };
    let secret = state.store.create_token(&session, now).await?;
    let cookie = cookie(state, headers, secret.expose_secret(), seconds);
    Ok((
        StatusCode::SEE_OTHER,
        [(header::SET_COOKIE, cookie), (header::LOCATION, HeaderValue::from_static("/"))],
    )
        .into_response())
}

fn cookie(state: &ApiState, headers: &HeaderMap, value: &str, seconds: i64) -> HeaderValue {
    let names = [COOKIE, COOKIE_SECURE];
    Cookie { names, value, same_site: "Strict", seconds }.header(is_https(state, headers))
}

/// A cookie that no script can read.
pub(super) struct Cookie<'a> {
    /// Its names over HTTP and over HTTPS.
    pub names: [&'static str; 2],
    pub value: &'a str,
    /// Whether it comes along when another site leads here (`Lax`), or not (`Strict`).
    pub same_site: &'static str,
    pub seconds: i64,
}

impl Cookie<'_> {
    /// As `Set-Cookie` takes it.
    pub fn header(&self, https: bool) -> HeaderValue {
        let Self { names: [plain, secure], value, same_site, seconds } = self;
        let (name, end) = if https { (secure, "; Secure") } else { (plain, "") };
        let line = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{end}");
        let mut header = HeaderValue::from_str(&line).unwrap_or_else(|_| HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }
}

/// Whether people come over HTTPS: as configured, else as the gateway says.
pub(super) fn is_https(state: &ApiState, headers: &HeaderMap) -> bool {
    let forwarded = headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes() == b"https");
    state.config.https.unwrap_or(forwarded)
}

/// The page again, with a complaint: people get a page, not a problem document.
fn refuse(complaint: &'static str) -> Response {
    let paragraph = format!(r#"<p class="complaint" role="alert">{complaint}</p>"#);
    let page = Html(sign_in_page(&paragraph));
    (StatusCode::UNAUTHORIZED, axum::Extension(super::problem::OwnBody), page).into_response()
}

fn sign_in_page(complaint: &str) -> String {
    card::page("Sign in", &CONTENT.replace(COMPLAINT, complaint))
}

fn parameter(form: &[u8], name: &str) -> Option<SecretString> {
    let (_, value) = url::form_urlencoded::parse(form).find(|(key, _)| key == name)?;
    let value = value.trim();
    let fits =
        (1..=SECRET_BYTES_MAX).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| SecretString::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_has_its_place_on_the_page() {
        assert!(CONTENT.contains(COMPLAINT));
        assert_eq!(refuse("x").status(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn a_secret_that_could_not_be_one_is_not_looked_up() {
        assert!(parameter(b"token=gst_abc", "token").is_some());
        assert!(parameter(b"token=+gst_abc+", "token").is_some(), "pasted with blanks around it");
        for bad in ["token=", "other=1", "token=a%0Ab", "token=a b"] {
            assert!(parameter(bad.as_bytes(), "token").is_none(), "{bad:?}");
        }
        assert!(parameter(format!("token={}", "x".repeat(201)).as_bytes(), "token").is_none());
    }
}
