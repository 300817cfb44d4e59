//! A code becomes tokens: once, for the client, redirect address and verifier it was made for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Form, OAuthError, access_token, no_randomness};
use crate::http::clock::real_now;
use crate::http::keys::secret;
use crate::http::serve::Call;
use crate::http::state::{Shared, lock};
use crate::http::tokens::Code;

pub(super) fn redeem(shared: &Arc<Shared>, form: &Form, call: &Call) -> Result<Value, OAuthError> {
    let refuse = |description: &str| OAuthError::new(400, "invalid_grant", description);
    let text = form.get("code").ok_or_else(|| OAuthError::bad_request("Missing required parameter: code"))?;
    let client_id = form
        .client_id(call)
        .ok_or_else(|| OAuthError::new(401, "invalid_client", "The OAuth client was not found."))?;
    // A code is spent by the first attempt, good or bad.
    let code = lock(&shared.tokens).codes.remove(text).ok_or_else(|| refuse("Malformed auth code."))?;
    if code.expires <= shared.now() || code.grant.client != client_id {
        return Err(refuse("Bad Request"));
    }
    if form.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
        return Err(OAuthError::new(400, "redirect_uri_mismatch", "Bad Request"));
    }
    if let Some((challenge, hashed)) = &code.challenge {
        let verifier = form.get("code_verifier").ok_or_else(|| refuse("Missing code verifier."))?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        let proof = if *hashed { URL_SAFE_NO_PAD.encode(digest) } else { verifier.to_owned() };
        if proof != *challenge {
            return Err(refuse("Invalid code verifier."));
        }
    }
    let mut answer = access_token(shared, &code.grant)?;
    let mut tokens = lock(&shared.tokens);
    // Google hands out a refresh token once, unless the client had the user asked for consent again.
    if code.offline && (code.asks_again || !tokens.holds_refresh(&code.grant)) {
        let refresh = format!("1//0{}", secret().map_err(|_| no_randomness())?);
        tokens.refresh.insert(refresh.clone(), code.grant.clone());
        answer["refresh_token"] = json!(refresh);
    }
    drop(tokens);
    if code.grant.scopes.iter().any(|scope| scope == "openid") {
        answer["id_token"] = json!(id_token(shared, &code)?);
    }
    Ok(answer)
}

fn id_token(shared: &Shared, code: &Code) -> Result<String, OAuthError> {
    let issued = real_now() / 1000;
    let mut claims = json!({
        "iss": "https://accounts.google.com", "aud": code.grant.client, "azp": code.grant.client,
        "sub": (crate::model::hash(code.grant.email.as_bytes()) >> 1).to_string(),
        "email": code.grant.email, "email_verified": true, "iat": issued, "exp": issued + 3_600,
    });
    if let Some(nonce) = &code.nonce {
        claims["nonce"] = json!(nonce);
    }
    lock(&shared.keys).sign(&claims).map_err(|_| no_randomness())
}
