//! Google's consent page and the way back from it: `GET /gmail/auth/url`, `GET /gmail/auth/callback`.
//!
//! Invariant: a grant reaches a tenant only by a state that the tenant's own token or session asked for within the last
//! ten minutes, that nobody has spent before, and, when it was asked for in a browser, that comes back in the same
//! browser. Otherwise a link would do to have a stranger's mail synced into the sender's tenant, or the sender's into
//! the stranger's. Whoever comes with a state learns what was wrong, as a page or as a problem.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sync_core::EmailAddress;
use sync_gmail::{Consent, Endpoint, GmailError, RefreshToken};
use sync_store::{AuditAction, ConsentSpent, PendingConsent, random_secret};
use url::Url;

use super::{
    ApiState,
    audit::Deed,
    auth::{self, Caller, ToSync},
    connect::{Chosen, Connected, Grant, Source, keep},
    consent_page::{Page, wants_page},
    mailbox::{self, owned},
    problem::{CorrelationId, Problem},
    query::Query,
    session::{Cookie, is_https},
};

/// How long a person has on Google's page.
const CONSENT: SignedDuration = SignedDuration::from_mins(10);
/// What ties a consent to the browser that began it. `Lax`: the way back from Google is another site's doing, on which
/// the session's own cookie does not come along.
const COOKIES: [&str; 2] = ["gmail_sync_consent", "__Host-gmail_sync_consent"];
/// Where Google sends the browser back to, unless `GOOGLE_REDIRECT_URI` says otherwise.
const CALLBACK: &str = "/gmail/auth/callback";
/// Longest path that a browser is sent on to, bytes.
const RETURN_BYTES_MAX: usize = 500;
/// Longest code or state that is looked at, bytes: Google's codes have at most 256.
const PARAMETER_BYTES_MAX: usize = 1_024;

/// How the consent page is reached and comes back.
#[derive(Debug, Clone)]
pub struct ConsentConfig {
    /// Google's page.
    pub page: Endpoint,
    /// The address that is registered at Google for the way back, when it is not the usual path of ours.
    pub redirect_uri: Option<String>,
    /// Where people reach this system, without a slash at the end; else the request's own origin.
    pub base_url: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    url: String,
    expires_at: Timestamp,
}

/// `GET /gmail/auth/url`: begins a consent. People follow links here, so a refusal is a page for them.
pub async fn begin(
    caller: Result<Caller<ToSync>, Problem>,
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    query: Query,
) -> Response {
    let begun = match caller {
        Ok(caller) => lead(caller, &state, &headers, query).await,
        Err(problem) => Err(problem),
    };
    match begun {
        Ok(response) => response,
        Err(problem) if wants_page(&headers) => Page::refusal(&problem, None).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn lead(
    caller: Caller<ToSync>,
    state: &ApiState,
    headers: &HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let redirect = query.flag("redirect").unwrap_or(false);
    let hint: Option<EmailAddress> = query.parsed("login_hint");
    let named = query.text("mailbox");
    let return_to = query.text_of("return_to", RETURN_BYTES_MAX);
    if return_to.as_deref().is_some_and(|path| own_path(path).is_none()) {
        query.refuse("return_to", "must be a path of this site, beginning with one slash");
    }
    query.finish()?;
    if state.oauth.client_id.is_empty() {
        return Err(Problem::unavailable("No OAuth client is configured: deploy with GoogleClientId."));
    }
    let mailbox = match &named {
        Some(named) => Some(owned(state, &caller.tenant, named).await?),
        None => None,
    };
    let hint = mailbox.as_ref().map(|sync| sync.address.clone()).or(hint);

    let expires_at = Timestamp::now() + CONSENT;
    let browser = if caller.is_session { Some(browser_of(headers)?) } else { None };
    let pending = PendingConsent {
        tenant: caller.tenant,
        asked_with: caller.asked_with,
        from_dashboard: caller.is_session,
        verifier: random_secret()?,
        redirect_uri: redirect_uri(&state.config.consent, headers)?,
        return_to,
        mailbox: mailbox.map(|sync| sync.mailbox),
        expires_at,
    };
    let secret = random_secret()?;
    let consent = Consent { redirect_uri: &pending.redirect_uri, verifier: &pending.verifier };
    let page = &state.config.consent.page;
    let url = consent.url(page, &state.oauth, &secret, hint.as_ref().map(EmailAddress::as_str));
    let url = url.map_err(|error| Source::Consent.refused(&error))?;
    state.store.begin_consent(&secret, browser.as_ref(), &pending).await?;

    let mut response = if redirect {
        let location = HeaderValue::from_str(url.as_str());
        let location = location.map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
        (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
    } else {
        Json(Begun { url: url.into(), expires_at }).into_response()
    };
    if let Some(browser) = &browser {
        let (value, seconds) = (browser.expose_secret(), CONSENT.as_secs());
        let cookie = Cookie { names: COOKIES, value, same_site: "Lax", seconds };
        response.headers_mut().insert(header::SET_COOKIE, cookie.header(is_https(state, headers)));
    }
    Ok(response)
}

/// `GET /gmail/auth/callback`, `GET /api/google/callback`: a browser comes back from Google.
pub async fn finish(
    State(state): State<Arc<ApiState>>,
    correlation: axum::Extension<CorrelationId>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let back = Back::parse(uri.query().unwrap_or_default());
    let mut pending = None;
    let outcome = complete(&state, &headers, back, &mut pending, &correlation.0.0).await;
    let for_people = wants_page(&headers);
    match (outcome, pending) {
        (Ok(connected), Some(pending)) if for_people => arrive(&pending, &connected),
        (Ok(connected), _) => connected.into_response(),
        (Err(problem), pending) if for_people => Page::refusal(&problem, pending.as_deref()).into_response(),
        (Err(problem), _) => problem.into_response(),
    }
}

/// What Google's page says on the way back. It adds more than is read, so nothing unknown is refused.
struct Back {
    state: Option<SecretString>,
    code: Option<SecretString>,
    error: Option<String>,
}

impl Back {
    fn parse(query: &str) -> Self {
        let find = |wanted: &str| {
            let (_, value) =
                url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted)?;
            let fits = (1..=PARAMETER_BYTES_MAX).contains(&value.len())
                && value.bytes().all(|byte| byte.is_ascii_graphic());
            fits.then(|| value.into_owned())
        };
        Self {
            state: find("state").map(SecretString::from),
            code: find("code").map(SecretString::from),
            error: find("error"),
        }
    }
}

/// Spends the state, redeems the code, and connects the mailbox. `pending` is what was begun, once that is known.
async fn complete(
    state: &ApiState,
    headers: &HeaderMap,
    back: Back,
    pending: &mut Option<Box<PendingConsent>>,
    trace: &str,
) -> Result<Connected, Problem> {
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let secret = back.state.ok_or_else(|| {
        bad("This address is where Google leads back to. There is no state in it, so nothing was begun here.")
    })?;
    let browser = auth::cookie(headers, COOKIES);
    let begun = match state.store.spend_consent(&secret, browser.as_ref(), Timestamp::now()).await? {
        ConsentSpent::Taken(begun) => &*pending.insert(begun),
        ConsentSpent::Lapsed => return Err(bad("More than ten minutes have passed since this was begun.")),
        ConsentSpent::Unknown => {
            return Err(bad("This was completed before, or was never begun here: each link works once."));
        }
        ConsentSpent::AnotherBrowser => {
            return Err(Problem::forbidden(
                "This was begun in another browser. Only there can it be completed.",
            ));
        }
    };
    if auth::tenant_of(state, headers).await?.is_some_and(|tenant| tenant != begun.tenant) {
        return Err(Problem::forbidden(
            "This was begun by another tenant than the one that you are signed in to.",
        ));
    }
    let Some(actor) = auth::still_connects(state, &begun.asked_with, &begun.tenant).await? else {
        return Err(Problem::forbidden("The sign-in or token that began this has ended meanwhile."));
    };
    let expected = match &begun.mailbox {
        Some(mailbox) => Some(mailbox::read(state, mailbox).await?),
        None => None,
    };
    if let Some(error) = back.error {
        return Err(declined(&error));
    }
    let code = back.code.ok_or_else(|| bad("Google sent no code along."))?;
    let grant = redeem(state, begun, &code).await?;
    let deed = Deed::by(&begun.tenant, &actor, AuditAction::Connected, trace);
    keep(state, deed, grant, expected.as_ref(), Chosen { content: None, initial_sync: true }).await
}

async fn redeem(state: &ApiState, begun: &PendingConsent, code: &SecretString) -> Result<Grant, Problem> {
    let consent = Consent { redirect_uri: &begun.redirect_uri, verifier: &begun.verifier };
    let consented = state.gmail.redeem(code, &consent, &state.oauth, Timestamp::now()).await;
    let consented = consented.map_err(|error| match error {
        GmailError::GrantRevoked => Problem::new(
            StatusCode::BAD_REQUEST,
            "Google does not accept the code: it works once, for a few minutes, and only where it was asked for.",
        ),
        error => Source::Consent.refused(&error),
    })?;
    // Looked at first: whoever left the scope out is told of that, not of what follows from it.
    if !consented.access.reads_mail() {
        return Err(Source::Consent.refused(&GmailError::InsufficientScope));
    }
    let Some(RefreshToken(secret)) = consented.refresh_token else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "Google gave access for an hour only, and no lasting grant. Withdraw this application's access in the \
             Google account's security settings, then try again.",
        ));
    };
    Ok(Grant { source: Source::Consent, secret, access: consented.access })
}

/// An `error` of Google's page, <https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors>.
fn declined(error: &str) -> Problem {
    match error {
        "access_denied" => Problem::new(
            StatusCode::FORBIDDEN,
            "Access was not granted on Google's page, so nothing was connected.",
        ),
        "admin_policy_enforced" => Problem::new(
            StatusCode::FORBIDDEN,
            "The domain's administrators do not let this application read mail; they can allow it.",
        ),
        "temporarily_unavailable" | "server_error" => {
            Problem::unavailable("Google's page has a failure of its own; try again.")
        }
        _ => Problem::new(StatusCode::BAD_GATEWAY, "Google's page refused the request."),
    }
}

/// Where the browser goes once the mailbox is connected.
fn arrive(pending: &PendingConsent, connected: &Connected) -> Response {
    let id = &connected.id;
    let location = match pending.return_to.as_deref().and_then(own_path) {
        Some(mut url) => {
            url.query_pairs_mut().append_pair("connected", id.as_str());
            url[url::Position::BeforePath..].to_owned()
        }
        None if pending.from_dashboard => format!("/?connected={id}#/mailbox/{id}"),
        // Whoever was sent here by a program need not have an account of ours.
        None => return Page::connected(&connected.address).into_response(),
    };
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// A path of this site, as an address of a site that is nobody's; `None` for one that leads elsewhere.
fn own_path(path: &str) -> Option<Url> {
    let nobody = Url::parse("https://nobody.invalid/").ok()?;
    let is_plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    // A browser takes a backslash for a slash, and two of them for another host.
    let url = nobody.join(path).ok().filter(|_| is_plain && !path.contains('\\'))?;
    (url.origin() == nobody.origin()).then_some(url)
}

/// What ties the consent to this browser: what it has from a consent in another tab, else something new.
fn browser_of(headers: &HeaderMap) -> Result<SecretString, Problem> {
    let known = auth::cookie(headers, COOKIES);
    // Only what we could have given: 32 bytes in base64url.
    let known = known.filter(|value| {
        let text = value.expose_secret();
        text.len() == 43
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    Ok(known.map_or_else(random_secret, Ok)?)
}

/// Where Google sends the browser back to: as configured, else this system's address, else the request's own origin.
fn redirect_uri(config: &ConsentConfig, headers: &HeaderMap) -> Result<String, Problem> {
    if let Some(uri) = &config.redirect_uri {
        return Ok(uri.clone());
    }
    if let Some(base) = &config.base_url {
        return Ok(format!("{}{CALLBACK}", base.trim_end_matches('/')));
    }
    let origin = origin(headers).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "The Host header is no host name; deploy with AppBaseUrl.")
    })?;
    Ok(format!("{origin}{CALLBACK}"))
}

/// The request's own origin. Google sends nobody to an address that is not registered, so a forged host leads nowhere.
fn origin(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let url = Url::parse(&format!("https://{host}")).ok()?;
    let is_host = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'));
    let name = url.host_str().filter(|_| is_host)?;
    let is_local = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    let forwarded = headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes() == b"https");
    let scheme = if is_local && !forwarded { "http" } else { "https" };
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_on_inside_this_site_only() {
        for good in ["/", "/#/mailbox/mbx_1", "/settings?tab=mail", "/a/../b"] {
            assert!(own_path(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "settings",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example/",
            "/\t/evil.example",
            "///evil.example",
            "/a b",
            "javascript:alert(1)",
            "/é",
        ] {
            assert!(own_path(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_way_back_is_what_is_configured_else_where_the_request_came_to() {
        let page = Endpoint::parse("https://accounts.google.com/o/oauth2/v2/auth").expect("Google's");
        let to = |redirect: Option<&str>, base: Option<&str>, headers: &[(&'static str, &'static str)]| {
            let config = ConsentConfig {
                page: page.clone(),
                redirect_uri: redirect.map(str::to_owned),
                base_url: base.map(str::to_owned),
            };
            let headers = headers.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            redirect_uri(&config, &headers.collect()).ok()
        };
        let host = [("host", "mail.example.com")];
        let set = Some("https://hooks.example.com/api/google/callback");
        assert_eq!(to(set, Some("https://app.example.com"), &host).as_deref(), set);
        let of_base = Some("https://app.example.com/gmail/auth/callback");
        assert_eq!(to(None, Some("https://app.example.com/"), &host).as_deref(), of_base);
        let own = Some("https://mail.example.com/gmail/auth/callback");
        assert_eq!(to(None, None, &host).as_deref(), own);
        let local = Some("http://localhost:8080/gmail/auth/callback");
        assert_eq!(to(None, None, &[("host", "localhost:8080")]).as_deref(), local);
        for bad in ["", "a b", "evil.example/path", "me@evil.example", "a?b", "a#b", "a:b"] {
            assert_eq!(to(None, None, &[("host", bad)]), None, "{bad:?}");
        }
        assert_eq!(to(None, None, &[]), None);
    }

    #[test]
    fn what_google_says_is_read_and_what_else_comes_along_is_not_minded() {
        let back = Back::parse(
            "state=a-b_c&iss=https%3A%2F%2Faccounts.google.com&code=4%2F0abc&scope=x%20y&authuser=0",
        );
        assert_eq!(back.state.expect("there").expose_secret(), "a-b_c");
        assert_eq!(back.code.expect("there").expose_secret(), "4/0abc");
        assert!(back.error.is_none());
        let long = "x".repeat(PARAMETER_BYTES_MAX + 1);
        for bad in ["", "state", "state=", "state=%00", "state=a%20b", &format!("state={long}"), "%ff=%ff"] {
            assert!(Back::parse(bad).state.is_none(), "{bad:?}");
        }
    }
}
