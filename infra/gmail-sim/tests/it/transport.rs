use std::io::Read as _;
use std::time::{Duration, Instant};

use gmail_sim::{Options, Regime};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{ALICE, World, read, reason};

#[tokio::test]
async fn gzip_comes_only_to_those_who_ask_for_it_in_both_headers() {
    let world = World::new().await;
    world.deliver(&"long ".repeat(200)).await;
    let plain = Client::builder().no_gzip().build().unwrap();
    let url = world.url("/gmail/v1/users/me/labels");
    for (accept, agent, packed) in [
        (Some("gzip"), Some("my-client (gzip)"), true),
        (Some("deflate, GZIP;q=0.5"), Some("Mozilla/5.0 gzip"), true),
        (Some("gzip"), Some("my-client"), false),
        (None, Some("my-client (gzip)"), false),
        (Some("gzip"), None, false),
        (Some("identity"), Some("gzip"), false),
    ] {
        let mut request = plain.get(&url).bearer_auth(format!("sim:{ALICE}"));
        if let Some(accept) = accept {
            request = request.header("Accept-Encoding", accept);
        }
        if let Some(agent) = agent {
            request = request.header("User-Agent", agent);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers().contains_key("content-encoding"), packed, "{accept:?} {agent:?}");
        let bytes = answer.bytes().await.unwrap();
        let mut text = Vec::new();
        if packed {
            flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut text).unwrap();
        } else {
            text = bytes.to_vec();
        }
        let body: Value = serde_json::from_slice(&text).unwrap();
        assert!(body["labels"].is_array());
    }
}

#[tokio::test]
async fn answers_say_what_they_are_and_carry_no_etag() {
    let world = World::new().await;
    let request = world.client.get(world.url("/gmail/v1/users/me/profile"));
    let answer = request.bearer_auth(format!("sim:{ALICE}")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json; charset=UTF-8");
    assert_eq!(answer.headers()["cache-control"], "private");
    assert!(!answer.headers().contains_key("etag"));
    let refused = world.client.get(world.url("/gmail/v1/users/me/profile")).send().await.unwrap();
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer realm="));
    let (status, body) = read(refused).await;
    assert_eq!((status, reason(&body).as_str()), (401, "required"));
}

#[tokio::test]
async fn what_is_no_method_is_404_in_gmails_form() {
    let world = World::new().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/gmail/v1"),
        ("GET", "/gmail/v1/users/me"),
        ("GET", "/gmail/v1/users/me/"),
        ("GET", "/gmail/v1/users//profile"),
        ("GET", "/gmail/v1/users/me/profile/"),
        ("GET", "/gmail/v1/users/me//profile"),
        ("GET", "/gmail/v2/users/me/profile"),
        ("POST", "/gmail/v1/users/me/profile"),
        ("PUT", "/gmail/v1/users/me/messages"),
        ("OPTIONS", "/gmail/v1/users/me/profile"),
        ("TRACE", "/gmail/v1/users/me/profile"),
        ("GET", "/batch"),
        ("GET", "/batch/gmail/v1"),
        ("POST", "/batch/drive/v3"),
        ("GET", "/token"),
        ("POST", "/oauth2/v3/certs"),
        ("POST", "/upload/gmail/v1/users/me/watch"),
        ("GET", "/gmail/v1/users/%/%%%"),
    ] {
        let request = world.client.request(method.parse().unwrap(), world.url(path));
        let (status, body) = read(request.bearer_auth(format!("sim:{ALICE}")).send().await.unwrap()).await;
        assert!(matches!(status, 403 | 404), "{method} {path}: {status}");
        assert_eq!(reason(&body), if status == 404 { "notFound" } else { "forbidden" }, "{method} {path}");
    }
    let head = world.client.head(world.url("/gmail/v1/users/me/profile")).send().await.unwrap();
    assert_eq!(head.status().as_u16(), 404);
    for (method, path) in [
        ("GET", "/sim"),
        ("GET", "/sim/nothing"),
        ("PATCH", "/sim/clock"),
        ("GET", "/sim/mailboxes/x@y.z/nothing"),
    ] {
        let request = world.client.request(method.parse().unwrap(), world.url(path));
        let (status, body) = read(request.send().await.unwrap()).await;
        assert!(status == 404 && body["error"].is_string(), "{method} {path}: {status} {body}");
    }
}

#[tokio::test]
async fn a_user_is_me_or_the_address_however_it_is_written_and_nobody_else() {
    let world = World::new().await;
    world.sim(Method::POST, "mailboxes/a%2Bb@example.com", Value::Null).await;
    let profile = async |user: &str, token: &str| {
        let request = world.client.get(world.url(&format!("/gmail/v1/users/{user}/profile")));
        read(request.bearer_auth(token).send().await.unwrap()).await
    };
    for user in
        ["me", "alice@example.com", "alice%40example.com", "Alice%40Example.COM", "%61lice@example.com"]
    {
        assert_eq!(profile(user, "sim:alice@example.com").await.1["emailAddress"], ALICE, "{user}");
    }
    for user in ["me", "a+b@example.com", "a%2bb%40example.com"] {
        assert_eq!(profile(user, "sim:a+b@example.com").await.1["emailAddress"], "a+b@example.com", "{user}");
    }
    for user in ["bob@example.com", "a%2Bb%40example.com", "Me"] {
        let (status, body) = profile(user, "sim:alice@example.com").await;
        let message = "Delegation denied for alice@example.com";
        let expected = json!({"error": {
            "code": 403, "message": message, "status": "PERMISSION_DENIED",
            "errors": [{"message": message, "domain": "global", "reason": "forbidden"}],
        }});
        assert_eq!((status, body), (403, expected), "{user}");
    }
}

#[tokio::test]
async fn the_latency_that_is_asked_for_is_there() {
    let options = Options { latency_ms: 300, quota: Regime::Off, ..Options::default() };
    let world = World::with(options).await;
    let started = Instant::now();
    world.get("profile").await;
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_body_beyond_all_bounds_is_refused_and_the_server_goes_on() {
    let world = World::new().await;
    let request = world.client.post(world.url("/upload/gmail/v1/users/me/messages?uploadType=media"));
    let answer = request.bearer_auth(format!("sim:{ALICE}")).body(vec![b'x'; 65 << 20]).send().await;
    // Refused while it is still being sent: some clients see the answer, some the end of the connection.
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status().as_u16() == 413));
    world.get("profile").await;
}
