//! Tokens as Pub/Sub signs them, and as forgers would: signed with a key that the functions are told is one of
//! Google's, so that each token is wrong in one thing only.

use std::{
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeySize, PublicKeyComponents},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use axum::{Json, Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// What the local system's subscription puts into its tokens.
pub const AUDIENCE: &str = "gmail-sync-local";
/// Who signs them.
pub const ACCOUNT: &str = "gmail-push@gmail-sync-local.iam.gserviceaccount.com";

/// A signing key with an id.
pub struct Key {
    pair: RsaKeyPair,
    id: String,
}

impl Key {
    /// Makes a key of this id.
    pub fn new(id: &str) -> Self {
        Self { pair: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"), id: id.to_owned() }
    }

    /// A JWT of these claims, signed with RS256.
    pub fn sign(&self, claims: &Value) -> String {
        let signed = signing_input(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.id }), claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("it signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The same with the *public* key taken as the secret of an HMAC: whoever trusts the header believes it.
    pub fn sign_with_hmac(&self, claims: &Value) -> String {
        let signed = signing_input(&json!({ "alg": "HS256", "typ": "JWT", "kid": self.id }), claims);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.pair.public_key().as_ref());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&secret, signed.as_bytes())))
    }

    /// The same without any signature.
    pub fn unsigned(&self, claims: &Value) -> String {
        format!("{}.", signing_input(&json!({ "alg": "none", "typ": "JWT", "kid": self.id }), claims))
    }

    fn public(&self) -> Value {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id,
            "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
        })
    }
}

fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Claims that are right in everything.
pub fn claims() -> Value {
    let now = Timestamp::now().as_second();
    json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": true,
        "sub": "1", "azp": "1", "iat": now, "exp": now + 3_600,
    })
}

/// Right claims, but for one; null leaves it out.
pub fn claims_but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().expect("an object");
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    claims
}

/// Serves the simulator's keys and one more. Ends when dropped.
pub struct Certs {
    url: String,
    simulator: Arc<OnceLock<String>>,
    task: JoinHandle<()>,
}

impl Certs {
    /// Serves `key` on a free port; the simulator's keys as soon as [`Self::also_of`] names it.
    pub async fn serve(key: &Key) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("http://{}/certs", listener.local_addr().expect("an address"));
        let simulator = Arc::new(OnceLock::<String>::new());
        let (public, named) = (key.public(), Arc::clone(&simulator));
        let answer = move || {
            let (public, named) = (public.clone(), Arc::clone(&named));
            async move {
                let mut keys = vec![public];
                if let Some(url) = named.get() {
                    keys.extend(keys_of(url).await);
                }
                Json(json!({ "keys": keys }))
            }
        };
        let router = Router::new().route("/certs", get(answer));
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Self { url, simulator, task }
    }

    /// Where the keys are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Names the simulator, whose own pushes are to be believed as well.
    pub fn also_of(&self, simulator: &str) {
        self.simulator.set(simulator.to_owned()).expect("named once");
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keys_of(simulator: &str) -> Vec<Value> {
    let url = format!("{simulator}/oauth2/v3/certs");
    let answer: Value = reqwest::get(url).await.expect("an answer").json().await.expect("JSON");
    answer["keys"].as_array().expect("keys").clone()
}
