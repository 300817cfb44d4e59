//! The token endpoint: refresh and revoke. <https://developers.google.com/identity/protocols/oauth2/web-server>
//!
//! `invalid_grant` ends everything at once: a revoked grant that is retried has been retried hundreds of
//! thousands of times. Secrets have no `Debug` and are shown on the last line before the wire. What leads to a
//! grant is beside: people's consent in `consent`, a domain's delegation in `service_account`. Deliberately
//! absent: one-refresh-at-a-time, which needs the store.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, ClientSecret, EmptyExtraTokenFields, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, RequestTokenError, Scope, StandardTokenResponse, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenType},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    client::GmailClient,
    error::{GmailError, plain},
    transport,
};

/// Longest answer that is read from the token endpoint, bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// Lifetime assumed when the endpoint names none, and the longest one believed.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// The scope that is asked for: reading, and nothing else.
pub const SCOPE: &str = "https://www.googleapis.com/auth/gmail.readonly";
/// The scopes of which each lets mail be read whole. `gmail.metadata` does not: no bodies, no search.
const SCOPES_THAT_READ: [&str; 3] =
    [SCOPE, "https://www.googleapis.com/auth/gmail.modify", "https://mail.google.com/"];
/// A token is not used in its last seconds: it would lapse on the way.
pub const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// What opens a mailbox for an hour.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The bearer token.
    pub token: SecretString,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// The scopes that were granted, if the endpoint said so.
    pub scopes: Option<Vec<String>>,
}

impl AccessToken {
    /// Whether it can still be sent at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.expires_at.duration_since(now) > EXPIRY_MARGIN
    }

    /// Whether it lets mail be read. People may leave scopes out on Google's page; an endpoint that names no
    /// scopes has granted those that were asked for.
    pub fn reads_mail(&self) -> bool {
        let reads = |scope: &String| SCOPES_THAT_READ.contains(&scope.as_str());
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(reads))
    }
}

/// What access tokens are made from, for as long as the owner lets it.
#[derive(Debug, Clone)]
pub struct RefreshToken(pub SecretString);

/// Our registration at Google.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    /// Public.
    pub client_id: String,
    /// Not public.
    pub client_secret: SecretString,
}

impl GmailClient {
    /// A fresh access token.
    ///
    /// # Errors
    /// [`GmailError::GrantRevoked`] for `invalid_grant`; [`GmailError::ClientRefused`] when the client or the
    /// delegation is refused; else what the network says.
    pub async fn refresh(
        &self,
        refresh_token: &RefreshToken,
        client: &ClientCredentials,
        now: Timestamp,
    ) -> Result<AccessToken, GmailError> {
        let oauth = self.registered(client)?;
        let grant = oauth2::RefreshToken::new(refresh_token.0.expose_secret().to_owned());
        let carrier = Carrier { client: self.clone(), now };
        let answer = oauth.exchange_refresh_token(&grant).request_async(&carrier).await;
        answer.map(|answer| access_token(&answer, now)).map_err(refusal)
    }

    /// Our registration, with the token endpoint.
    pub(crate) fn registered(&self, client: &ClientCredentials) -> Result<Registered, GmailError> {
        let url =
            TokenUrl::new(self.config().oauth_url.join("/token")).map_err(|_| GmailError::Unsendable)?;
        Ok(BasicClient::new(ClientId::new(client.client_id.clone()))
            .set_client_secret(ClientSecret::new(client.client_secret.expose_secret().to_owned()))
            .set_token_uri(url)
            .set_auth_type(AuthType::RequestBody))
    }

    /// Gives back a grant by its refresh token, or a single access token. What is gone already counts as given
    /// back.
    ///
    /// # Errors
    /// What the network says.
    pub async fn revoke(&self, token: &SecretString, now: Timestamp) -> Result<(), GmailError> {
        let url = self.config().oauth_url.join("/revoke");
        let form = [("token", token.expose_secret())];
        let answer = self
            .with_retries(|| {
                transport::send(self.http().post(&url).form(&form), self.config().timeouts, ANSWER_BYTES_MAX)
            })
            .await?;
        // Google answers 400 `invalid_token` for what is revoked or expired.
        if answer.is_success() || answer.status == 400 {
            return Ok(());
        }
        Err(GmailError::from_response(answer.status, answer.header("retry-after"), &answer.body, now))
    }

    /// Carries a request of the oauth2 crate over our socket, with its time-outs, bounds and retries.
    pub(crate) async fn carry(
        &self,
        request: HttpRequest,
        now: Timestamp,
    ) -> Result<HttpResponse, GmailError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let answer = self
            .with_retries(|| async {
                let request = self
                    .http()
                    .request(parts.method.clone(), &url)
                    .headers(parts.headers.clone())
                    .body(body.clone());
                let answer = transport::send(request, self.config().timeouts, ANSWER_BYTES_MAX).await?;
                match answer.status {
                    500..=599 => Err(GmailError::Server { status: answer.status }),
                    // The token endpoint limits rates too; its bodies are OAuth's, so only the header tells.
                    429 => Err(GmailError::from_response(429, answer.header("retry-after"), &[], now)),
                    _ => Ok(answer),
                }
            })
            .await?;
        let mut response = HttpResponse::new(answer.body);
        *response.status_mut() = http::StatusCode::from_u16(answer.status)
            .map_err(|_| GmailError::Unreadable { what: "a token's status" })?;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// Our socket, as the oauth2 crate takes one. A type of its own: behind a closure the compiler could not
/// prove that a refresh may cross threads.
pub(crate) struct Carrier {
    pub client: GmailClient,
    pub now: Timestamp,
}

impl<'c> AsyncHttpClient<'c> for Carrier {
    type Error = GmailError;
    type Future = BoxFuture<'c, Result<HttpResponse, GmailError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.client.carry(request, self.now))
    }
}

/// The oauth2 crate's client with a token endpoint.
type Registered = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

pub(crate) type TokenAnswer = StandardTokenResponse<EmptyExtraTokenFields, BasicTokenType>;

/// When a token lapses that was given `now`.
pub(crate) fn lapses(lifetime: Option<Duration>, now: Timestamp) -> Timestamp {
    let lifetime = lifetime
        .and_then(|lifetime| SignedDuration::try_from(lifetime).ok())
        .map_or(LIFETIME, |lifetime| lifetime.min(LIFETIME * 24));
    now.saturating_add(lifetime).unwrap_or(now)
}

pub(crate) fn access_token(answer: &TokenAnswer, now: Timestamp) -> AccessToken {
    AccessToken {
        token: SecretString::from(answer.access_token().secret().clone()),
        expires_at: lapses(answer.expires_in(), now),
        scopes: answer.scopes().map(|scopes| scopes.iter().map(|scope: &Scope| scope.to_string()).collect()),
    }
}

pub(crate) fn refusal(error: RequestTokenError<GmailError, BasicErrorResponse>) -> GmailError {
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(refusal) => match refusal.error() {
            BasicErrorResponseType::InvalidGrant => GmailError::GrantRevoked,
            BasicErrorResponseType::InvalidScope => GmailError::InsufficientScope,
            // A passing disturbance at Google, by its own list of codes.
            BasicErrorResponseType::Extension(code)
                if code == "internal_failure" || code == "temporarily_unavailable" =>
            {
                GmailError::Server { status: 500 }
            }
            other => GmailError::ClientRefused { reason: plain(other.as_ref()) },
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            GmailError::Unreadable { what: "a token" }
        }
    }
}
