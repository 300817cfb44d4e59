//! Tokens of pushes, good and forged, against keys served over a socket.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sync_gmail::{Endpoint, PushRejected, PushVerifier};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::requests;

const AUDIENCE: &str = "https://sync.example/webhooks/gmail";
const ACCOUNT: &str = "push@project.iam.gserviceaccount.com";

fn now() -> Timestamp {
    "2026-08-27T10:00:00Z".parse().expect("a time")
}

fn key() -> KeyPair {
    KeyPair::generate(KeySize::Rsa2048).expect("a key")
}

fn jwk(key: &KeyPair, id: &str) -> Value {
    let public = key.public_key();
    json!({"kty":"RSA","alg":"RS256","use":"sig","kid":id,
        "n":BASE64.encode(public.modulus().big_endian_without_leading_zero()),
        "e":BASE64.encode(public.exponent().big_endian_without_leading_zero())})
}

fn claims() -> Value {
    let issued = now().as_second() - 5;
    json!({"iss":"https://accounts.google.com","aud":AUDIENCE,"email":ACCOUNT,"email_verified":true,
        "iat":issued,"exp":issued + 3600,"sub":"1"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn sign(key: &KeyPair, id: &str, claims: &Value) -> String {
    let message = unsigned(&json!({"alg":"RS256","typ":"JWT","kid":id}), claims);
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).expect("signed");
    format!("{message}.{}", BASE64.encode(signature))
}

async fn serving(keys: Vec<Value>) -> (MockServer, PushVerifier) {
    let server = MockServer::start().await;
    serve(&server, keys).await;
    let verifier = verifier(&server);
    (server, verifier)
}

async fn serve(server: &MockServer, keys: Vec<Value>) {
    let answer = ResponseTemplate::new(200)
        .insert_header("cache-control", "public, max-age=3600")
        .set_body_json(json!({ "keys": keys }));
    Mock::given(path("/oauth2/v3/certs")).respond_with(answer).mount(server).await;
}

fn verifier(server: &MockServer) -> PushVerifier {
    let certs = Endpoint::parse(&format!("{}/oauth2/v3/certs", server.uri())).expect("loopback");
    PushVerifier::new(certs, AUDIENCE, ACCOUNT).expect("a verifier")
}

fn forged(result: Result<(), PushRejected>, why: &str) {
    let Err(rejected @ PushRejected::Forged(reason)) = result else { panic!("{why}: {result:?}") };
    assert_eq!(rejected.status(), 401);
    assert!(reason.contains(why), "expected {why:?}, got {reason:?}");
}

#[tokio::test]
async fn a_token_of_googles_is_accepted_with_one_fetch_of_the_keys() {
    let key = key();
    let (server, verifier) = serving(vec![jwk(&key, "k1")]).await;
    for claims in [claims(), with("iss", json!("accounts.google.com")), with("aud", json!(["x", AUDIENCE]))] {
        assert_eq!(verifier.verify(&sign(&key, "k1", &claims), now()).await, Ok(()));
    }
    assert_eq!(requests(&server).await.len(), 1);
}

#[tokio::test]
async fn each_of_the_five_checks_refuses_what_it_is_for() {
    let key = key();
    let (_server, verifier) = serving(vec![jwk(&key, "k1")]).await;
    let at = |seconds: i64| json!(now().as_second() + seconds);
    for (claims, why) in [
        (with("iss", json!("https://evil.example")), "issuer"),
        (with("iss", Value::Null), "issuer"),
        (with("aud", json!("https://other.example")), "audience"),
        (with("aud", json!(["x"])), "audience"),
        (with("aud", Value::Null), "audience"),
        (with("email", json!("other@project.iam.gserviceaccount.com")), "account"),
        (with("email", Value::Null), "account"),
        (with("email_verified", json!(false)), "not verified"),
        (with("email_verified", Value::Null), "not verified"),
        (with("exp", at(-61)), "expired"),
        (with("exp", Value::Null), "expired"),
        (with("iat", at(61)), "future"),
        (with("iat", Value::Null), "future"),
    ] {
        forged(verifier.verify(&sign(&key, "k1", &claims), now()).await, why);
    }
    for claims in [with("exp", at(-59)), with("iat", at(59))] {
        assert_eq!(verifier.verify(&sign(&key, "k1", &claims), now()).await, Ok(()), "clocks differ");
    }
}

#[tokio::test]
async fn forgeries_of_the_signature_are_refused() {
    let (right, wrong) = (key(), key());
    let public = jwk(&right, "k1");
    let (_server, verifier) = serving(vec![public.clone()]).await;
    forged(verifier.verify(&sign(&wrong, "k1", &claims()), now()).await, "signature");

    let good = sign(&right, "k1", &claims());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let other = unsigned(&json!({"alg":"RS256","kid":"k1"}), &with("sub", json!("2")));
    forged(verifier.verify(&format!("{other}.{signature}"), now()).await, "signature");
    forged(verifier.verify(&format!("{message}."), now()).await, "signature");

    for name in ["none", "None", "NONE", ""] {
        let none = unsigned(&json!({"alg":name,"kid":"k1"}), &claims());
        forged(verifier.verify(&format!("{none}."), now()).await, "not a JWT");
    }
    // The public key taken as the secret of an HMAC.
    let header = jsonwebtoken::Header { kid: Some("k1".to_owned()), ..jsonwebtoken::Header::default() };
    let secret = jsonwebtoken::EncodingKey::from_secret(public["n"].as_str().expect("text").as_bytes());
    let hmac = jsonwebtoken::encode(&header, &claims(), &secret).expect("encoded");
    forged(verifier.verify(&hmac, now()).await, "RS256");

    for garbage in ["", "a", "a.b.c", "....", &"x".repeat(10_000), "ü.ü.ü"] {
        assert!(matches!(verifier.verify(garbage, now()).await, Err(PushRejected::Forged(_))), "{garbage}");
    }
    let no_id = unsigned(&json!({"alg":"RS256"}), &claims());
    forged(verifier.verify(&format!("{no_id}.AA"), now()).await, "no key id");
}

#[tokio::test]
async fn keys_that_turn_over_are_fetched_but_garbage_does_not_hammer_google() {
    let (old, new) = (key(), key());
    let (server, verifier) = serving(vec![jwk(&old, "old")]).await;
    assert_eq!(verifier.verify(&sign(&old, "old", &claims()), now()).await, Ok(()));

    server.reset().await;
    serve(&server, vec![jwk(&new, "new")]).await;
    let token = sign(&new, "new", &claims());
    for _ in 0..20 {
        forged(verifier.verify(&token, now() + SignedDuration::from_secs(30)).await, "unknown key");
    }
    assert_eq!(requests(&server).await.len(), 0, "too soon to ask again");
    let later = now() + SignedDuration::from_secs(61);
    assert_eq!(verifier.verify(&token, later).await, Ok(()));
    for number in 0..20 {
        forged(
            verifier.verify(&sign(&new, &format!("garbage{number}"), &claims()), later).await,
            "unknown key",
        );
    }
    assert_eq!(requests(&server).await.len(), 1);
}

#[tokio::test]
async fn keys_are_kept_for_as_long_as_google_says_and_no_longer() {
    let key = key();
    let (server, verifier) = serving(vec![jwk(&key, "k1")]).await;
    let token = sign(&key, "k1", &with("exp", json!(now().as_second() + 10_000)));
    for (seconds, fetches) in [(0, 1), (3_599, 1), (3_601, 2)] {
        let at = now() + SignedDuration::from_secs(seconds);
        assert_eq!(verifier.verify(&token, at).await, Ok(()));
        assert_eq!(requests(&server).await.len(), fetches, "after {seconds} s");
    }
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_not_a_forgery() {
    let key = key();
    let server = MockServer::start().await;
    let verifier = verifier(&server);
    let token = sign(&key, "k1", &claims());
    let answers = [
        ResponseTemplate::new(503),
        ResponseTemplate::new(200).set_body_string("<html>"),
        ResponseTemplate::new(200).set_body_json(json!({"keys":[]})),
        ResponseTemplate::new(200).set_body_bytes(vec![b' '; 300_000]),
    ];
    for (round, answer) in (0..).zip(answers) {
        server.reset().await;
        Mock::given(path("/oauth2/v3/certs")).respond_with(answer).mount(&server).await;
        let at = now() + SignedDuration::from_secs(10 * round);
        for _ in 0..5 {
            let rejected = verifier.verify(&token, at).await.expect_err("no keys");
            assert_eq!((rejected, rejected.status()), (PushRejected::KeysUnavailable, 503));
        }
        assert_eq!(requests(&server).await.len(), 1, "a failed fetch is not repeated at once");
    }
    server.reset().await;
    serve(&server, vec![jwk(&key, "k1")]).await;
    assert_eq!(verifier.verify(&token, now() + SignedDuration::from_secs(60)).await, Ok(()));
}
