//! People's consent: the address of Google's page, and the code that comes back from it.
//! <https://developers.google.com/identity/protocols/oauth2/web-server>
//!
//! One scope is asked for, and `include_granted_scopes` is left out: a token that carried `gmail.metadata` from an
//! earlier consent could not search or see bodies, whatever else it carries. `access_type=offline` with
//! `prompt=consent` makes Google give a refresh token also to those who have consented before. Deliberately absent:
//! randomness and memory; state and verifier are the caller's to make, to keep and to spend once.

use jiff::Timestamp;
use oauth2::{
    AuthUrl, AuthorizationCode, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::{
    client::GmailClient,
    endpoint::Endpoint,
    error::GmailError,
    oauth::{AccessToken, Carrier, ClientCredentials, RefreshToken, SCOPE, access_token, refusal},
};

/// One consent under way.
pub struct Consent<'a> {
    /// Where Google sends the browser back to: the same text both times.
    pub redirect_uri: &'a str,
    /// PKCE's verifier, 43 to 128 characters of `A-Z a-z 0-9 - . _ ~`.
    pub verifier: &'a SecretString,
}

/// What a code was worth.
pub struct Consented {
    /// Good for an hour.
    pub access: AccessToken,
    /// Good until the owner withdraws it; Google leaves it out at times, and then nothing can be synced.
    pub refresh_token: Option<RefreshToken>,
}

impl Consent<'_> {
    /// The address of Google's page. `login_hint` picks the account that the page proposes.
    ///
    /// # Errors
    /// [`GmailError::Unsendable`] when the redirect address is none.
    pub fn url(
        &self,
        page: &Endpoint,
        client: &ClientCredentials,
        state: &SecretString,
        login_hint: Option<&str>,
    ) -> Result<Url, GmailError> {
        let unsendable = |_| GmailError::Unsendable;
        let oauth = oauth2::basic::BasicClient::new(oauth2::ClientId::new(client.client_id.clone()))
            .set_auth_uri(AuthUrl::new(page.as_str().to_owned()).map_err(unsendable)?)
            .set_redirect_uri(RedirectUrl::new(self.redirect_uri.to_owned()).map_err(unsendable)?);
        let verifier = PkceCodeVerifier::new(self.verifier.expose_secret().to_owned());
        let mut request = oauth
            .authorize_url(|| CsrfToken::new(state.expose_secret().to_owned()))
            .add_scope(Scope::new(SCOPE.to_owned()))
            .add_extra_param("access_type", "offline")
            .add_extra_param("prompt", "consent")
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        if let Some(hint) = login_hint {
            request = request.add_extra_param("login_hint", hint);
        }
        Ok(request.url().0)
    }
}

impl GmailClient {
    /// Redeems a code, which works once.
    ///
    /// # Errors
    /// [`GmailError::GrantRevoked`] for a code that was used, has lapsed, or was made for another client, address or
    /// verifier; [`GmailError::ClientRefused`] when our registration is refused; else what the network says.
    pub async fn redeem(
        &self,
        code: &SecretString,
        consent: &Consent<'_>,
        client: &ClientCredentials,
        now: Timestamp,
    ) -> Result<Consented, GmailError> {
        let redirect = RedirectUrl::new(consent.redirect_uri.to_owned());
        let redirect = redirect.map_err(|_| GmailError::Unsendable)?;
        let oauth = self.registered(client)?.set_redirect_uri(redirect);
        let carrier = Carrier { client: self.clone(), now };
        let answer = oauth
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(consent.verifier.expose_secret().to_owned()))
            .request_async(&carrier)
            .await
            .map_err(refusal)?;
        let refresh_token = answer.refresh_token().map(|token| token.secret().clone());
        Ok(Consented {
            access: access_token(&answer, now),
            refresh_token: refresh_token.map(|token| RefreshToken(SecretString::from(token))),
        })
    }
}
