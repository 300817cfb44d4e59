//! How often a caller may ask: 429 and when to come again, for each token and session alone, over all processes.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use sync_core::rate::Rate;
use sync_store::{Scope, TokenKind};

use super::world::{Answer, CRON_SECRET, World, request};

const RATE: Rate = Rate { per_minute: 1, burst: 3 };

async fn ask(world: &World, token: &str) -> Answer {
    world.get(token, "/api/session").await
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let seconds: i64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}: one request a minute");
    assert_eq!(answer.json()["status"], 429);
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_again_by_every_process() {
    let world = World::with_rate(RATE).await;
    let (token, other) = (world.admin("ten_a").await, world.admin("ten_a").await);
    for request in 0..3 {
        assert_eq!(ask(&world, &token).await.status, StatusCode::OK, "request {request}");
    }
    assert_refused(&ask(&world, &token).await);
    let another = world.another_process();
    let ask_another = async |token: &str, path: &str| {
        let request = request(token, Method::GET, path).body(Body::empty()).expect("a request");
        world.send_to(&another, request).await
    };
    assert_refused(&ask_another(&token, "/api/session").await);
    assert_refused(&ask_another(&token, "/metrics").await);
    let answer = ask_another(&other, "/api/session").await;
    assert_eq!(answer.status, StatusCode::OK, "one token's limit is its own");
    // What it may not do counts as well, and what is not there.
    for (path, status) in
        [("/api/operations/quota", StatusCode::FORBIDDEN), ("/api/sync/mbx_1/status", StatusCode::NOT_FOUND)]
    {
        assert_eq!(ask_another(&other, path).await.status, status, "{path}");
    }
    assert_refused(&ask_another(&other, "/api/session").await);
}

#[tokio::test]
async fn a_session_has_a_limit_of_its_own_and_signing_in_counts_for_the_token() {
    let world = World::with_rate(RATE).await;
    let token = world.admin("ten_a").await;
    let sign_in = async || {
        let form = Request::builder().method(Method::POST).uri("/signin");
        let form = form.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        world.send(form.body(Body::from(format!("token={token}"))).expect("a request")).await
    };
    for _ in 0..3 {
        assert_eq!(sign_in().await.status, StatusCode::SEE_OTHER);
    }
    assert_refused(&sign_in().await);
    let session = world.token("ten_a", &[Scope::Admin], TokenKind::Session).await;
    let as_session = async || {
        let request = Request::builder().uri("/api/session");
        let request = request.header(header::COOKIE, format!("gmail_sync_session={session}"));
        world.send(request.body(Body::empty()).expect("a request")).await
    };
    for _ in 0..3 {
        assert_eq!(as_session().await.status, StatusCode::OK);
    }
    assert_refused(&as_session().await);
}

#[tokio::test]
async fn health_the_clock_and_strangers_are_not_counted() {
    let world = World::with_rate(RATE).await;
    for _ in 0..6 {
        let health = Request::builder().uri("/health").body(Body::empty()).expect("a request");
        assert_ne!(world.send(health).await.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(ask(&world, "gst_nobodys").await.status, StatusCode::UNAUTHORIZED);
        let tick = request(CRON_SECRET, Method::POST, "/api/cron/fan-out").body(Body::empty());
        assert_eq!(world.send(tick.expect("a request")).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn without_the_table_a_request_fails_as_it_would_without_a_limit() {
    let world = World::with_rate(RATE).await;
    let token = world.admin("ten_a").await;
    assert_eq!(ask(&world, &token).await.status, StatusCode::OK);
    world.drop_table().await;
    let answer = ask(&world, &token).await;
    assert!(answer.status.is_server_error(), "{answer:?}");
}
