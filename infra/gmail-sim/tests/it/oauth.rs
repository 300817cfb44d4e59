use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{World, read};

async fn token(world: &World, form: &[(&str, &str)]) -> (u16, Value) {
    read(world.client.post(world.url("/token")).form(form).send().await.unwrap()).await
}

async fn profile(world: &World, token: &str) -> u16 {
    let request = world.client.get(world.url("/gmail/v1/users/me/profile")).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

const REFRESH: [(&str, &str); 2] =
    [("grant_type", "refresh_token"), ("refresh_token", "sim:alice@example.com")];

#[tokio::test]
async fn access_tokens_expire_with_the_clock_and_die_with_the_grant() {
    let world = World::new().await;
    let (status, first) = token(&world, &REFRESH).await;
    assert_eq!(status, 200);
    let first = first["access_token"].as_str().unwrap();
    assert_eq!(profile(&world, first).await, 200);
    world.sim(Method::POST, "clock", json!({"advance_s": 3_600})).await;
    assert_eq!(profile(&world, first).await, 401);
    let (_, second) = token(&world, &REFRESH).await;
    world.sim(Method::POST, "mailboxes/alice@example.com/revoke", Value::Null).await;
    assert_eq!(profile(&world, second["access_token"].as_str().unwrap()).await, 401);
    let (status, body) = token(&world, &REFRESH).await;
    let expected =
        json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."});
    assert_eq!((status, body), (400, expected));
    world.sim(Method::DELETE, "mailboxes/alice@example.com/revoke", Value::Null).await;
    assert_eq!(token(&world, &REFRESH).await.0, 200);
}

#[tokio::test]
async fn a_code_is_redeemed_once_by_the_verifier_it_was_made_for() {
    let world = World::new().await;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let verifier = "a-verifier-that-is-long-enough-to-be-one-0123456789";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
    let code = async || {
        let query = [
            ("client_id", "c"),
            ("redirect_uri", "http://127.0.0.1:1/cb"),
            ("response_type", "code"),
            ("scope", "https://www.googleapis.com/auth/gmail.metadata"),
            ("state", "s"),
            ("access_type", "offline"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("sim_approve", "1"),
            ("login_hint", "alice@example.com"),
        ];
        let response = browser.get(world.url("/o/oauth2/v2/auth")).query(&query).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 302);
        let target = reqwest::Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
        target.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned()
    };
    let redeem = async |code: &str, verifier: &str| {
        token(
            &world,
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("client_id", "c"),
                ("client_secret", "x"),
                ("redirect_uri", "http://127.0.0.1:1/cb"),
                ("code_verifier", verifier),
            ],
        )
        .await
    };
    assert_eq!(redeem(&code().await, "another").await.1["error"], "invalid_grant");
    let good = code().await;
    let (status, tokens) = redeem(&good, verifier).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(redeem(&good, verifier).await.0, 400);
    assert!(tokens["refresh_token"].is_string());
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(profile(&world, access).await, 200);
    let get = async |path: &str| {
        let request = world.client.get(world.url(&format!("/gmail/v1/users/me/{path}"))).bearer_auth(access);
        request.send().await.unwrap().status().as_u16()
    };
    let id = world.deliver("secret").await;
    assert_eq!(get(&format!("messages/{id}?format=raw")).await, 403);
    assert_eq!(get(&format!("messages/{id}?format=metadata")).await, 200);
    assert_eq!(get("messages?q=secret").await, 403);
}
