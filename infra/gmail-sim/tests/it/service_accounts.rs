use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{World, read, reason};

const ROBOT: &str = "robot@project.iam.gserviceaccount.com";
const READONLY: &str = "https://www.googleapis.com/auth/gmail.readonly";
const SEND: &str = "https://www.googleapis.com/auth/gmail.send";

async fn make(world: &World, email: &str, order: Value) -> Value {
    let (status, file) = world.sim(Method::POST, &format!("service-accounts/{email}"), order).await;
    assert_eq!(status, 201, "{file}");
    file
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(file: &Value) -> Value {
    json!({
        "iss": file["client_email"], "aud": file["token_uri"], "sub": "alice@example.com",
        "scope": READONLY, "iat": now(), "exp": now() + 3_600,
    })
}

/// As Google's libraries sign: with the key file's key and its id.
fn signed(file: &Value, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = file["private_key_id"].as_str().map(str::to_owned);
    let key = EncodingKey::from_rsa_pem(file["private_key"].as_str().unwrap().as_bytes()).unwrap();
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

async fn exchange(world: &World, assertion: &str) -> (u16, Value) {
    let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
    read(world.client.post(world.url("/token")).form(&form).send().await.unwrap()).await
}

async fn get(world: &World, path: &str, token: &Value) -> (u16, Value) {
    let request = world.client.get(world.url(&format!("/gmail/v1/users/me/{path}")));
    read(request.bearer_auth(token["access_token"].as_str().unwrap()).send().await.unwrap()).await
}

#[tokio::test]
async fn a_key_file_is_googles_and_gets_tokens_for_a_user_of_the_domain() {
    let world = World::new().await;
    let file = make(&world, ROBOT, Value::Null).await;
    assert_eq!((&file["type"], &file["client_email"]), (&json!("service_account"), &json!(ROBOT)));
    assert_eq!((&file["token_uri"], &file["project_id"]), (&json!(world.url("/token")), &json!("project")));
    let (status, token) = exchange(&world, &signed(&file, &claims(&file))).await;
    assert_eq!((status, &token["token_type"]), (200, &json!("Bearer")));
    assert_eq!(get(&world, "profile", &token).await.1["emailAddress"], "alice@example.com");
    let (status, body) = get(&world, "settings/sendAs", &token).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn an_assertion_that_its_account_did_not_sign_is_refused() {
    let world = World::new().await;
    let file = make(&world, ROBOT, Value::Null).await;
    let other = make(&world, "other@project.iam.gserviceaccount.com", Value::Null).await;
    let invalid = |description: &str| json!({"error": "invalid_grant", "error_description": description});
    let forged = signed(&other, &claims(&file));
    assert_eq!(exchange(&world, &forged).await, (400, invalid("Invalid JWT Signature.")));
    // The right key over other claims.
    let good = signed(&file, &claims(&file));
    let mut changed = claims(&file);
    changed["sub"] = json!("bob@example.com");
    let changed = signed(&file, &changed);
    let parts: Vec<&str> = good.split('.').collect();
    let mixed = format!("{}.{}.{}", parts[0], changed.split('.').nth(1).unwrap(), parts[2]);
    assert_eq!(exchange(&world, &mixed).await, (400, invalid("Invalid JWT Signature.")));
    let mut stranger = claims(&file);
    stranger["iss"] = json!("nobody@project.iam.gserviceaccount.com");
    assert_eq!(
        exchange(&world, &signed(&file, &stranger)).await,
        (400, invalid("Invalid grant: account not found"))
    );
    for nonsense in ["", "x", "a.b.c", "..", &format!("{}.{}.", parts[0], parts[1])] {
        assert_eq!(exchange(&world, nonsense).await.0, 400, "{nonsense}");
    }
    assert_eq!(exchange(&world, &good).await.0, 200);
    assert_eq!(world.sim(Method::DELETE, &format!("service-accounts/{ROBOT}"), Value::Null).await.0, 204);
    assert_eq!(exchange(&world, &good).await.0, 400);
}

#[tokio::test]
async fn the_claims_of_an_assertion_are_checked() {
    let world = World::new().await;
    let file = make(&world, ROBOT, Value::Null).await;
    for (claim, value, status, error) in [
        ("exp", json!(now() - 1), 400, "invalid_grant"),
        ("exp", json!(now() + 7_200), 400, "invalid_grant"),
        ("iat", json!(now() + 600), 400, "invalid_grant"),
        ("iat", Value::Null, 400, "invalid_grant"),
        ("aud", json!("https://example.org/"), 400, "invalid_grant"),
        ("scope", json!(""), 400, "invalid_scope"),
        ("sub", json!("nobody@example.com"), 400, "invalid_grant"),
    ] {
        let mut changed = claims(&file);
        changed[claim] = value;
        let (got, body) = exchange(&world, &signed(&file, &changed)).await;
        assert_eq!((got, body["error"].as_str()), (status, Some(error)), "{claim}: {body}");
    }
}

#[tokio::test]
async fn what_is_not_delegated_is_refused_with_unauthorized_client() {
    let world = World::new().await;
    let file = make(&world, ROBOT, json!({"scopes": [READONLY]})).await;
    assert_eq!(exchange(&world, &signed(&file, &claims(&file))).await.0, 200);
    let mut wider = claims(&file);
    wider["scope"] = json!(format!("{READONLY} {SEND}"));
    let (status, body) = exchange(&world, &signed(&file, &wider)).await;
    assert_eq!((status, &body["error"]), (401, &json!("unauthorized_client")));
    assert!(
        body["error_description"]
            .as_str()
            .unwrap()
            .starts_with("Client is unauthorized to retrieve access tokens")
    );
    // Another key for the same account, and no delegation any more.
    let newer = make(&world, ROBOT, json!({"scopes": []})).await;
    assert_ne!(newer["private_key_id"], file["private_key_id"]);
    assert_eq!(exchange(&world, &signed(&newer, &claims(&newer))).await.0, 401);
    world.sim(Method::POST, &format!("service-accounts/{ROBOT}"), json!({"scopes": [READONLY]})).await;
    assert_eq!(exchange(&world, &signed(&file, &claims(&file))).await.0, 200, "the first key still counts");
    world.sim(Method::POST, "mailboxes/alice@example.com/revoke", Value::Null).await;
    assert_eq!(exchange(&world, &signed(&file, &claims(&file))).await.0, 401);
}

#[tokio::test]
async fn a_service_account_for_itself_has_no_gmail() {
    let world = World::new().await;
    let file = make(&world, ROBOT, Value::Null).await;
    let mut itself = claims(&file);
    itself.as_object_mut().unwrap().remove("sub");
    let (status, token) = exchange(&world, &signed(&file, &itself)).await;
    assert_eq!(status, 200, "{token}");
    let (status, body) = get(&world, "profile", &token).await;
    assert_eq!((status, reason(&body).as_str()), (400, "failedPrecondition"));
    assert_eq!(body["error"]["message"], "Precondition check failed.");
    assert_eq!(body["error"]["status"], "FAILED_PRECONDITION");
}

#[tokio::test]
async fn a_public_key_of_ones_own_can_be_brought() {
    let world = World::new().await;
    // The pair of one simulator serves as the pair that a user brings to another.
    let elsewhere = World::new().await;
    let file = make(&elsewhere, ROBOT, Value::Null).await;
    let private =
        aws_lc_rs::signature::RsaKeyPair::from_pkcs8(&der(file["private_key"].as_str().unwrap())).unwrap();
    let public = aws_lc_rs::signature::KeyPair::public_key(&private);
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let brought = make(
        &world,
        ROBOT,
        json!({"publicKeyPem": pem("RSA PUBLIC KEY", public.as_ref()), "keyId": file["private_key_id"]}),
    )
    .await;
    assert!(brought["private_key"].is_null(), "only its owner has it");
    let mut claims = claims(&file);
    claims["aud"] = json!("https://oauth2.googleapis.com/token");
    assert_eq!(exchange(&world, &signed(&file, &claims)).await.0, 200);
    let (status, body) =
        world.sim(Method::POST, &format!("service-accounts/{ROBOT}"), json!({"publicKeyPem": "x"})).await;
    assert!(status == 400 && body["error"].as_str().unwrap().starts_with("publicKeyPem"));
}

fn der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[tokio::test]
async fn before_the_first_account_is_made_any_well_formed_assertion_is_taken() {
    let world = World::new().await;
    let elsewhere = World::new().await;
    let file = make(&elsewhere, ROBOT, Value::Null).await;
    assert_eq!(exchange(&world, &signed(&file, &claims(&file))).await.0, 200);
}
