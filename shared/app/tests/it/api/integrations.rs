use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use serde_json::{Value, json};
use sync_app::fan_out::{Round, fan_out};
use sync_core::{SignedDuration, Timestamp, state::Status};
use sync_store::{Scope, TokenKind};
use wiremock::{Mock, ResponseTemplate, matchers::path};

use super::world::{World, request};

fn keys(refresh_token: &str) -> Value {
    json!({"authType": "oauth", "keys": {"accessToken": "x", "refreshToken": refresh_token, "expiresAt": "2020-01-01T00:00:00Z"}})
}

#[tokio::test]
async fn a_mailbox_is_connected_seen_and_let_go() {
    let world = World::new().await;
    world.gmail_is_well().await;
    world.gmail_knows("alice@example.com").await;
    let token = world.admin("ten_1").await;

    let connected = world.post_json(&token, "/api/integrations", &keys("alice@example.com")).await;
    assert_eq!(connected.status, StatusCode::CREATED, "{connected:?}");
    let json = connected.json();
    assert_eq!(json["mailbox"]["email"], "alice@example.com");
    assert_eq!(json["mailbox"]["tenantId"], "ten_1");
    assert_eq!(json["mailbox"]["status"], "active");
    assert_eq!(json["job"]["kind"], "initial");
    assert_eq!(json["warnings"], json!([]));
    assert!(json["mailbox"]["watchExpiresAt"].is_string());
    let id = json["mailbox"]["id"].as_str().expect("an id").to_owned();

    for name in [id.as_str(), "alice%40example.com", "ten_1"] {
        let found = world.get(&token, &format!("/api/integrations/{name}")).await;
        assert_eq!(found.json()["id"], id, "by {name}");
    }
    assert_eq!(world.get(&token, "/api/integrations").await.json()["items"][0]["id"], id);
    let all = String::from_utf8(world.get(&token, "/api/integrations").await.bytes).expect("text");
    assert!(!all.contains("access-alice"), "no secret leaves");

    let again = world.post_json(&token, "/api/integrations", &keys("alice@example.com")).await;
    assert_eq!((again.status, again.json()["mailbox"]["id"].as_str()), (StatusCode::OK, Some(id.as_str())));

    let gone = world.call(&token, Method::DELETE, &format!("/api/integrations/{id}")).await;
    assert_eq!(
        (gone.status, gone.json()["mailbox"]["status"].as_str()),
        (StatusCode::OK, Some("deactivated"))
    );
    assert!(world.store.read_credential(&id.parse().expect("an id")).await.expect("read").is_none());
    let calls = world.gmail.received_requests().await.expect("recorded");
    for called in ["/gmail/v1/users/me/stop", "/revoke"] {
        assert!(calls.iter().any(|call| call.url.path() == called), "{called} was called");
    }
    let refused = world.call(&token, Method::POST, &format!("/api/sync/{id}")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.json()["detail"].as_str().expect("a detail").contains("deactivated"));

    let back = world.post_json(&token, "/api/integrations", &keys("alice@example.com")).await;
    assert_eq!(back.json()["mailbox"]["status"], "active");
    let purged = world.call(&token, Method::DELETE, &format!("/api/integrations/{id}?purge=true")).await;
    assert_eq!(purged.json()["purged"], true, "{purged:?}");
    assert_eq!(world.get(&token, &format!("/api/integrations/{id}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_named() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let connect = async |body: Value| world.post_json(&token, "/api/integrations", &body).await;
    assert_eq!(connect(json!({})).await.fields(), ["authType", "keys.refreshToken"]);
    assert_eq!(
        connect(json!({"authType": "serviceaccount", "keys": {"refreshToken": "x"}})).await.fields(),
        ["keys.impersonatedUserEmail", "keys.serviceAccountKey", "keys.serviceAccountEmail"]
    );
    assert_eq!(
        connect(json!({"authType": "oauth", "keys": {"refreshToken": 5}})).await.fields(),
        ["keys.refreshToken"]
    );
    let foreign = json!({"authType": "oauth", "tenantId": "ten_2", "keys": {"refreshToken": "x"}});
    assert_eq!(connect(foreign).await.status, StatusCode::FORBIDDEN);

    // The token endpoint is not mocked: wiremock answers 404, which is no answer of OAuth's.
    assert!(connect(keys("x")).await.status.is_server_error());
    let revoked = ResponseTemplate::new(400).set_body_json(json!({"error": "invalid_grant"}));
    Mock::given(path("/token")).respond_with(revoked).mount(&world.gmail).await;
    let refused = connect(keys("x")).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::BAD_REQUEST, vec!["keys.refreshToken".to_owned()])
    );
    assert_eq!(
        world.get(&token, "/api/integrations").await.json()["items"],
        json!([]),
        "nothing was written"
    );
}

#[tokio::test]
async fn a_watch_that_fails_is_told_and_the_mailbox_is_connected_all_the_same() {
    let world = World::new().await;
    world.gmail_knows("alice@example.com").await;
    let token = world.admin("ten_1").await;
    let mut body = keys("alice@example.com");
    body["initialSync"] = json!(false);
    let connected = world.post_json(&token, "/api/integrations", &body).await;
    assert_eq!(connected.status, StatusCode::CREATED, "{connected:?}");
    assert_eq!(connected.json()["job"], Value::Null);
    assert_eq!(connected.json()["warnings"].as_array().map(Vec::len), Some(1));

    let id = connected.json()["mailbox"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let sync = world.store.read_sync(&id).await.expect("read").expect("there");
    let interval = SignedDuration::from_mins(5);
    let wait = sync.due_at.expect("never synced, so it is due").duration_since(Timestamp::now());
    assert!(wait > SignedDuration::ZERO && wait <= interval, "{wait:?}");
    let (store, queue) = (&world.store, &world.clients.queue);
    let tick = async |at| fan_out(store, queue, Round::Due, "t-1", at).await.expect("fanned out").queued;
    assert_eq!(tick(Timestamp::now()).await, 0, "not asked for, not begun at once");
    assert_eq!(tick(Timestamp::now() + interval).await, 1, "the poll makes the first copy");
}

#[tokio::test]
async fn a_system_beside_another_sets_no_watch_stops_none_and_revokes_nothing() {
    let world = World::new().await;
    world.gmail_is_well().await;
    world.gmail_knows("alice@example.com").await;
    let token = world.admin("ten_1").await;
    let router = world.leaving_google_alone();
    let call = async |method, path: &str, body: Value| {
        let request = request(&token, method, path).header(header::CONTENT_TYPE, "application/json");
        world.send_to(&router, request.body(Body::from(body.to_string())).expect("a request")).await
    };
    for (end, status) in [("", "deactivated"), ("?purge=true", "purged")] {
        let connected = call(Method::POST, "/api/integrations", keys("alice@example.com")).await.json();
        assert_eq!(connected["mailbox"]["status"], "active", "{connected}");
        assert_eq!(connected["mailbox"]["watchExpiresAt"], Value::Null, "it is polled");
        assert!(connected["warnings"].to_string().contains("is polled"), "{connected}");
        let id = connected["mailbox"]["id"].as_str().expect("an id").to_owned();
        let gone = call(Method::DELETE, &format!("/api/integrations/{id}{end}"), Value::Null).await;
        assert_eq!(gone.status, StatusCode::OK, "{status}: {gone:?}");
        assert!(
            gone.json()["warnings"].to_string().contains("leaves the watch and the grant alone"),
            "{gone:?}"
        );
        assert!(world.store.read_credential(&id.parse().expect("an id")).await.expect("read").is_none());
    }
    let calls = world.gmail.received_requests().await.expect("recorded");
    assert!(!calls.is_empty(), "the grant was tried");
    for never in ["/watch", "/stop", "/revoke"] {
        assert!(calls.iter().all(|call| !call.url.path().ends_with(never)), "{never} was called");
    }
}

#[tokio::test]
async fn another_tenants_mailbox_does_not_exist() {
    let world = World::new().await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.mailbox("ten_2", "bob@example.com").await;
    world.mailbox("ten_2", "carol@example.com").await;
    let token = world.admin("ten_2").await;
    for name in [id.as_str(), "alice%40example.com", "ten_1", "mbx_nobody", "%20", "a%40b%40c%23"] {
        for (method, of) in [
            (Method::GET, format!("/api/integrations/{name}")),
            (Method::DELETE, format!("/api/integrations/{name}")),
            (Method::POST, format!("/api/sync/{name}")),
            (Method::POST, format!("/api/sync/{name}/full")),
            (Method::GET, format!("/api/sync/{name}/status")),
            (Method::GET, format!("/api/sync/{name}/jobs")),
            (Method::GET, format!("/api/emails?mailbox={name}")),
        ] {
            let answer = world.call(&token, method, &of).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{of}");
        }
    }
    assert_eq!(world.get(&token, &format!("/api/emails/{id}.1")).await.status, StatusCode::NOT_FOUND);
    let several = world.get(&token, "/api/sync/ten_2/status").await;
    assert_eq!(several.status, StatusCode::CONFLICT, "a tenant with several mailboxes must name one");
    let still = world.store.read_sync(&id).await.expect("read").expect("there");
    assert_eq!(still.status, Status::Active);
}

#[tokio::test]
async fn a_token_may_do_what_its_scopes_say() {
    let world = World::new().await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let reader = world.token("ten_1", &[Scope::Read], TokenKind::Api).await;
    let syncer = world.token("ten_1", &[Scope::Sync], TokenKind::Api).await;
    let sync = format!("/api/sync/{id}");
    let delete = format!("/api/integrations/{id}");
    assert_eq!(world.get(&reader, "/api/emails").await.status, StatusCode::OK);
    assert_eq!(world.call(&reader, Method::POST, &sync).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.call(&reader, Method::DELETE, &delete).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.post_json(&reader, "/api/integrations", &keys("x")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.call(&syncer, Method::POST, &sync).await.status, StatusCode::ACCEPTED);
    assert_eq!(world.get(&syncer, "/api/emails").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.call(&syncer, Method::DELETE, &delete).await.status, StatusCode::FORBIDDEN);
    for nobody in ["gst_nobody", "x"] {
        let answer = world.get(nobody, "/api/emails").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_correlation_id() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let plain = |method, of: &str, body: Body| request(&token, method, of).body(body).expect("a request");
    let json = |body: Vec<u8>| {
        let request = request(&token, Method::POST, "/api/integrations")
            .header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(body)).expect("a request")
    };
    for (status, request) in [
        (404, plain(Method::GET, "/nothing", Body::empty())),
        (405, plain(Method::PUT, "/api/emails", Body::empty())),
        (413, json(vec![b' '; (1 << 20) + 1])),
        (400, json(b"{nonsense".to_vec())),
        (400, json(b"\xff\xfe".to_vec())),
        (400, plain(Method::GET, "/api/integrations/%ff", Body::empty())),
        (415, {
            let form = super::world::request(&token, Method::POST, "/api/integrations")
                .header(header::CONTENT_TYPE, "text/plain");
            form.body(Body::from("{}")).expect("a request")
        }),
    ] {
        let of = request.uri().path().to_owned();
        let answer = world.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (status, "application/problem+json"),
            "{of}"
        );
        let problem = answer.json();
        assert_eq!(
            (problem["status"].as_u64(), problem["instance"].as_str()),
            (Some(u64::from(status)), Some(of.as_str()))
        );
        assert_eq!(problem["correlationId"], answer.header("x-correlation-id"));
        for name in ["type", "title", "detail"] {
            assert!(problem[name].is_string(), "{name}");
        }
    }
    let named =
        request(&token, Method::GET, "/api/emails").header("x-correlation-id", "mine-1").body(Body::empty());
    assert_eq!(world.send(named.expect("a request")).await.header("x-correlation-id"), "mine-1");
}

#[tokio::test]
async fn health_says_which_part_is_down() {
    let world = World::new().await;
    let refused = ResponseTemplate::new(401)
        .set_body_json(json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}));
    Mock::given(path("/gmail/v1/users/me/profile")).respond_with(refused).mount(&world.gmail).await;
    let answer =
        world.send(axum::http::Request::get("/health").body(Body::empty()).expect("a request")).await;
    let health = answer.json();
    assert_eq!((answer.status, health["status"].as_str()), (StatusCode::OK, Some("healthy")), "{health}");
    for part in ["store", "queue", "secrets", "gmail"] {
        assert_eq!(health["checks"][part]["status"], "up", "{part}");
        assert!(health["checks"][part]["latencyMs"].is_u64());
    }

    let broken = World::new().await;
    Mock::given(path("/gmail/v1/users/me/profile"))
        .respond_with(ResponseTemplate::new(500))
        .mount(&broken.gmail)
        .await;
    let answer =
        broken.send(axum::http::Request::get("/health").body(Body::empty()).expect("a request")).await;
    assert_eq!(
        (answer.status, answer.json()["checks"]["gmail"]["status"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("down"))
    );
}
