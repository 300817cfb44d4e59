use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sync_core::job::JobKind;

use super::world::{Answer, World};

/// A connected mailbox whose labels Gmail tells.
async fn connected(world: &World) -> (String, String) {
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.grant(&id).await;
    world.gmail_has_labels(&[("INBOX", 1), ("SPAM", 1), ("TRASH", 1), ("Label_1", 1)]).await;
    (token, format!("/api/integrations/{id}/settings"))
}

fn labels(answer: &Answer) -> Value {
    answer.json()["labels"].clone()
}

#[tokio::test]
async fn a_selection_is_changed_with_the_comparison_that_applies_it() {
    let world = World::new().await;
    let (token, path) = connected(&world).await;
    let everything = json!({"include": [], "exclude": []});
    assert_eq!(labels(&world.get(&token, &path).await), everything);

    let body = json!({"labels": {"include": ["INBOX", "Label_1"], "exclude": ["SPAM"]}});
    let put = world.with_json(&token, Method::PUT, &path, &body).await;
    assert_eq!(put.status, StatusCode::ACCEPTED, "{put:?}");
    assert_eq!(labels(&put), body["labels"]);
    assert_eq!(
        (&put.json()["job"]["kind"], &put.json()["job"]["status"]),
        (&json!("full"), &json!("queued"))
    );
    assert_eq!(world.get(&token, put.header("location")).await.json()["id"], put.json()["job"]["id"]);
    assert_eq!(labels(&world.get(&token, &path).await), body["labels"]);

    let same = world.with_json(&token, Method::PUT, &path, &body).await;
    assert_eq!((same.status, &same.json()["job"]), (StatusCode::OK, &Value::Null), "nothing to compare");

    let patched = world.with_json(&token, Method::PATCH, &path, &json!({"labels": {"include": []}})).await;
    assert_eq!(labels(&patched), json!({"include": [], "exclude": ["SPAM"]}), "what is left out stays");
    let replaced = world.with_json(&token, Method::PUT, &path, &json!({"labels": {}})).await;
    assert_eq!(labels(&replaced), everything, "what is left out is everything");

    let id = path.split('/').nth(3).expect("an id").parse().expect("an id");
    let requests = world.store.read_requests(&id).await.expect("read");
    assert!(
        requests.len() == 3 && requests.iter().all(|request| request.kind == JobKind::Full),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_selection_that_makes_no_sense_is_refused_and_nothing_changes() {
    let world = World::new().await;
    let (token, path) = connected(&world).await;
    let many: Vec<String> = (0..501).map(|n| format!("Label_{n}")).collect();
    for (body, field) in [
        (json!({}), "labels"),
        (json!({"labels": {"include": "INBOX"}}), "labels.include"),
        (json!({"labels": {"include": [""]}}), "labels.include"),
        (json!({"labels": {"exclude": ["a b"]}}), "labels.exclude"),
        (json!({"labels": {"include": many}}), "labels.include"),
        (json!({"labels": {"include": ["INBOX"], "exclude": ["INBOX"]}}), "labels.exclude"),
        (json!({"labels": {"include": ["Inbocks"]}}), "labels.include"),
        (json!({"labels": {"exclude": ["Label_9"]}}), "labels.exclude"),
        (json!({"labels": {"included": ["INBOX"]}}), "labels.included"),
        (json!({"label": {}}), "label"),
    ] {
        for method in [Method::PUT, Method::PATCH] {
            let answer = world.with_json(&token, method.clone(), &path, &body).await;
            assert_eq!(answer.fields(), [field], "{method} {body}: {answer:?}");
        }
    }
    assert_eq!(labels(&world.get(&token, &path).await), json!({"include": [], "exclude": []}));
    let id = path.split('/').nth(3).expect("an id");
    assert!(world.store.read_requests(&id.parse().expect("an id")).await.expect("read").is_empty());

    world.post(&token, &format!("/api/sync/{id}/pause")).await;
    let body = json!({"labels": {"include": ["INBOX"]}});
    let paused = world.with_json(&token, Method::PUT, &path, &body).await;
    assert_eq!(paused.status, StatusCode::CONFLICT, "its comparison could not run");
}

#[tokio::test]
async fn labels_that_cannot_be_checked_now_change_nothing() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let path = format!("/api/integrations/{id}/settings");
    let body = json!({"labels": {"include": ["INBOX"]}});
    let refused = world.with_json(&token, Method::PUT, &path, &body).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "it has no grant: {refused:?}");
    assert_eq!(labels(&world.get(&token, &path).await), json!({"include": [], "exclude": []}));
}
