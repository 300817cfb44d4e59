//! Who calls, and what they may do.
//!
//! Invariant: a handler gets a tenant only through [`Caller`], whose type names the scope the route needs, so
//! a route without a check does not compile. A browser's cookie counts only together with a header that
//! another site cannot send. Deliberately absent: passwords, and tokens in URLs (but for the one-time code).

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use jiff::Timestamp;
use secrecy::SecretString;
use sync_core::TenantId;
use sync_store::{Scope, TokenKind, TokenRow, token_sha256};

use super::{ApiState, problem::Problem};

/// The session's cookie over plain HTTP, which is only this machine.
pub(super) const COOKIE: &str = "gmail_sync_session";
/// The session's cookie over HTTPS: the prefix makes browsers refuse it from anywhere but this host.
pub(super) const COOKIE_SECURE: &str = "__Host-gmail_sync_session";
/// What the dashboard's own script sends with everything that changes something: another site cannot, without a
/// preflight that is never answered.
const GUARD_HEADER: &str = "x-requested-with";
const GUARD_VALUE: &str = "gmail-sync";
/// Longest token that is looked up.
const TOKEN_BYTES_MAX: usize = 200;

/// A scope as a type, for [`Caller`].
pub trait Needs: Send {
    /// What the token must allow.
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident => $scope:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl Needs for $name {
            const SCOPE: Scope = Scope::$scope;
        }
    )*};
}

needs! {
    /// Reads mail and status.
    ToRead => Read,
    /// Starts syncs, connects mailboxes.
    ToSync => Sync,
    /// Disconnects and erases.
    ToAdminister => Admin,
    /// Operates the whole system, across tenants.
    ToOperate => Platform
}

/// A caller that is allowed what the route needs.
#[derive(Debug)]
pub struct Caller<N> {
    /// Whose mailboxes it may touch.
    pub tenant: TenantId,
    /// What its token allows.
    pub scopes: Vec<Scope>,
    /// Whether a person asks, in a browser that is signed in.
    pub is_session: bool,
    /// SHA-256 of the token or session.
    pub asked_with: String,
    /// The token's name, for the audit trail.
    pub name: String,
    needs: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<Arc<ApiState>> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let (raw, kind) = presented(&parts.headers)?.ok_or_else(Problem::unauthorized)?;
        let token = find(state, &raw, kind).await?;
        let is_session = kind == TokenKind::Session;
        if is_session && !parts.method.is_safe() && !is_own_page(&parts.headers) {
            return Err(Problem::forbidden(
                "A session changes something only from its own pages, with x-requested-with: gmail-sync.",
            ));
        }
        if !allows(&token.scopes, N::SCOPE) {
            return Err(Problem::forbidden(format!("The token lacks the scope {}.", name(N::SCOPE))));
        }
        let (asked_with, name) = (token_sha256(&raw), token.name);
        Ok(Self {
            tenant: token.tenant,
            scopes: token.scopes,
            is_session,
            asked_with,
            name,
            needs: PhantomData,
        })
    }
}

/// The token that a request carries, good or not: a program's, else a browser's session.
fn presented(headers: &HeaderMap) -> Result<Option<(SecretString, TokenKind)>, Problem> {
    if let Some(bearer) = bearer(headers)? {
        return Ok(Some((bearer, TokenKind::Api)));
    }
    Ok(session_cookie(headers).map(|session| (session, TokenKind::Session)))
}

/// The tenant of whoever calls a route that needs no token, if a good one is there.
pub(super) async fn tenant_of(state: &ApiState, headers: &HeaderMap) -> Result<Option<TenantId>, Problem> {
    let Some((raw, kind)) = presented(headers)? else { return Ok(None) };
    let found = state.store.find_token(&raw, Timestamp::now()).await?;
    Ok(found.filter(|token| token.kind == kind).map(|token| token.tenant))
}

/// The name of the token or session of this hash, while it is good, of this tenant, and allowed to connect mailboxes.
pub(super) async fn still_connects(
    state: &ApiState,
    sha256: &str,
    tenant: &TenantId,
) -> Result<Option<String>, Problem> {
    let found = state.store.token_of_sha256(sha256, Timestamp::now()).await?;
    let connects = |token: &TokenRow| token.tenant == *tenant && allows(&token.scopes, Scope::Sync);
    Ok(found.filter(connects).map(|token| token.name))
}

/// A token's row, for one request of it: 401 for one that is not good, 429 for one that asks too often.
async fn find(state: &ApiState, raw: &SecretString, kind: TokenKind) -> Result<TokenRow, Problem> {
    let now = Timestamp::now();
    let found = state.store.find_token(raw, now).await?;
    let token = found.filter(|token| token.kind == kind).ok_or_else(Problem::unauthorized)?;
    // After the token was found: strangers make no rows.
    let let_through = state.limiter.let_through(&token_sha256(raw), now).await?;
    let_through.map(|()| token).map_err(Problem::too_often)
}

/// An API token's row, as one request of it.
pub(super) async fn api_token(state: &ApiState, raw: &SecretString) -> Result<TokenRow, Problem> {
    find(state, raw, TokenKind::Api).await
}

/// The bearer token; an `Authorization` of another scheme is refused rather than ignored.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(Problem::unauthorized)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(Problem::unauthorized());
    }
    Ok(Some(SecretString::from(token)))
}

/// The session's token out of the cookies.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<SecretString> {
    cookie(headers, [COOKIE, COOKIE_SECURE])
}

/// The cookie of one of these names.
pub(super) fn cookie(headers: &HeaderMap, names: [&str; 2]) -> Option<SecretString> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, value)| names.contains(name) && value.len() <= TOKEN_BYTES_MAX)
        .map(|(_, value)| SecretString::from(value))
}

/// Whether a request that carries a cookie was made by a page of ours.
fn is_own_page(headers: &HeaderMap) -> bool {
    let guarded = headers.get(GUARD_HEADER).is_some_and(|value| value.as_bytes() == GUARD_VALUE.as_bytes());
    guarded && !is_cross_site(headers)
}

/// Whether the browser itself says that another site made the request.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|value| !matches!(value.as_bytes(), b"same-origin" | b"none"))
}

/// `admin` is everything of the tenant, `platform` everything.
fn allows(scopes: &[Scope], needed: Scope) -> bool {
    scopes.iter().any(|scope| match scope {
        Scope::Platform => true,
        Scope::Admin => needed != Scope::Platform,
        Scope::Read | Scope::Sync | Scope::Send => *scope == needed,
    })
}

/// A scope's name on the wire.
pub(super) fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Sync => "sync",
        Scope::Send => "send",
        Scope::Admin => "admin",
        Scope::Platform => "platform",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_scope_covers_what_it_says_and_no_more() {
        assert!(allows(&[Scope::Admin], Scope::Read) && allows(&[Scope::Platform], Scope::Admin));
        assert!(!allows(&[Scope::Read, Scope::Sync, Scope::Send], Scope::Admin));
        assert!(!allows(&[Scope::Admin], Scope::Platform));
        assert!(!allows(&[], Scope::Read));
    }

    #[test]
    fn another_scheme_is_refused_and_not_ignored() {
        for bad in ["Basic YTpi", "Bearer", "Bearer ", "gst_x"] {
            assert!(bearer(&headers(&[("authorization", bad)])).is_err(), "{bad:?}");
        }
        let token = bearer(&headers(&[("authorization", "bearer gst_x")])).expect("a token");
        assert_eq!(token.expect("a token").expose_secret(), "gst_x");
        assert!(bearer(&HeaderMap::new()).expect("no header is no error").is_none());
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let found = |line| {
            session_cookie(&headers(&[("cookie", line)])).map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(found("a=1; gmail_sync_session=tok; b=2").as_deref(), Some("tok"));
        assert_eq!(found("__Host-gmail_sync_session=tok").as_deref(), Some("tok"));
        assert_eq!(found("xgmail_sync_session=tok"), None);
    }

    #[test]
    fn another_site_cannot_use_a_session() {
        assert!(is_own_page(&headers(&[
            ("x-requested-with", "gmail-sync"),
            ("sec-fetch-site", "same-origin")
        ])));
        assert!(!is_own_page(&headers(&[("sec-fetch-site", "same-origin")])));
        for site in ["cross-site", "same-site"] {
            assert!(!is_own_page(&headers(&[("x-requested-with", "gmail-sync"), ("sec-fetch-site", site)])));
        }
    }
}
