use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use jsonwebtoken::jwk::JwkSet;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::World;

type Pushed = (HeaderMap, Value);

/// An endpoint that refuses the first push and takes all others.
async fn endpoint() -> (String, mpsc::UnboundedReceiver<Pushed>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let refused = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let handler =
        async move |State(sender): State<mpsc::UnboundedSender<Pushed>>, headers: HeaderMap, body: String| {
            sender.send((headers, serde_json::from_str(&body).unwrap())).unwrap();
            let again = refused.swap(true, std::sync::atomic::Ordering::SeqCst);
            if again { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
        };
    let router = axum::Router::new().route("/push", axum::routing::post(handler)).with_state(sender);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/push", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, receiver)
}

async fn next(receiver: &mut mpsc::UnboundedReceiver<Pushed>) -> Pushed {
    tokio::time::timeout(Duration::from_secs(20), receiver.recv()).await.unwrap().unwrap()
}

fn data(push: &Value) -> Value {
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(push["message"]["data"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_watch_and_a_delivery_push_signed_and_until_acknowledged() {
    let world = World::new().await;
    let (url, mut pushes) = endpoint().await;
    let order = json!({"push_endpoint": url, "audience": "the-audience", "service_account_email": "p@x.iam"});
    world.sim(Method::POST, "subscription", order).await;
    let (status, watch) = world.api(Method::POST, "watch", json!({"topicName": "projects/p/topics/t"})).await;
    assert!(status == 200 && watch["expiration"].is_string() && watch["historyId"].is_string());
    let (_, first) = next(&mut pushes).await;
    let (headers, again) = next(&mut pushes).await;
    assert_eq!(first, again, "what was not acknowledged comes again");
    assert_eq!(data(&first)["historyId"].to_string(), watch["historyId"].as_str().unwrap());
    let jwks: JwkSet =
        world.client.get(world.url("/oauth2/v3/certs")).send().await.unwrap().json().await.unwrap();
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["the-audience"]);
    validation.set_issuer(&["https://accounts.google.com"]);
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
    assert!(claims["email"] == "p@x.iam" && claims["email_verified"] == true);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3_600);

    world.deliver("pushed").await;
    let (_, third) = next(&mut pushes).await;
    assert_eq!(data(&third)["historyId"].to_string(), world.history_id().await);
    world.deliver("too soon").await;
    let (_, counted) = world.sim(Method::GET, "stats", Value::Null).await;
    assert_eq!(counted["pushes"]["droppedByRate"], 1);
}

#[tokio::test]
async fn faults_drop_and_duplicate_pushes_and_a_watch_lapses() {
    let world = World::new().await;
    let (url, mut pushes) = endpoint().await;
    world.sim(Method::POST, "subscription", json!({"push_endpoint": url})).await;
    world.fault(json!({"kind": "drop_push", "count": 1})).await;
    world.fault(json!({"kind": "duplicate_push", "count": 1})).await;
    world.api(Method::POST, "watch", json!({"topicName": "projects/p/topics/t"})).await;
    world.deliver("twice").await;
    // Two copies, one of them refused once.
    let ids = [next(&mut pushes).await, next(&mut pushes).await, next(&mut pushes).await];
    assert!(ids.iter().all(|(_, push)| push == &ids[0].1));
    world.sim(Method::POST, "clock", json!({"advance_s": 8 * 86_400})).await;
    world.deliver("nobody watches").await;
    assert!(pushes.try_recv().is_err());
}
