use axum::http::{Method, StatusCode};
use serde_json::json;
use sync_core::{HistoryId, MessageId, message::RowState, sync::RowWrite};

use super::world::{World, mail};

#[tokio::test]
async fn a_referenced_mail_keeps_its_references_through_its_deletion() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.store_mails(&id, vec![(mail(0xabc, &["INBOX"]), None)]).await;
    let path = format!("/api/emails/{id}.abc/references");
    let task = json!({"type": "task", "id": "42"});
    let deal = json!({"type": "deal", "id": "crm:7/a"});
    for _ in 0..2 {
        let added = world.post_json(&token, &path, &task).await;
        assert_eq!(
            (added.status, &added.json()["references"]),
            (StatusCode::OK, &json!([task])),
            "{added:?}"
        );
    }
    let by_gmail = format!("/api/emails/abc/references?mailbox={id}");
    let added = world.post_json(&token, &by_gmail, &deal).await;
    assert_eq!(added.json()["references"], json!([deal, task]));
    assert_eq!(added.json()["id"], format!("{id}.abc"));

    let tombstone = RowWrite::Tombstone {
        id: MessageId(0xabc),
        state: RowState::Deleted,
        history_id: HistoryId(9_000),
        labels: None,
        touched: sync_core::message::Touched::new(),
    };
    world.work(&id, vec![tombstone], Vec::new()).await;
    let gone = world.get(&token, &format!("/api/emails/{id}.abc")).await.json();
    assert_eq!((&gone["isDeleted"], &gone["references"]), (&json!(true), &json!([deal, task])), "{gone}");
    let listed = world.get(&token, "/api/emails?deleted=true").await.json();
    assert_eq!(listed["items"][0]["references"], json!([deal, task]));

    for _ in 0..2 {
        let removed = world.with_json(&token, Method::DELETE, &path, &deal).await;
        assert_eq!((removed.status, &removed.json()["references"]), (StatusCode::OK, &json!([task])));
    }
    let removed = world.call(&token, Method::DELETE, &format!("{path}?type=task&id=42")).await;
    assert_eq!(removed.json()["references"], json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_a_reference_is_named_and_a_mail_must_be_there() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.store_mails(&id, vec![(mail(1, &["INBOX"]), None)]).await;
    let path = format!("/api/emails/{id}.1/references");
    assert_eq!(world.post_json(&token, &path, &json!({})).await.fields(), ["type", "id"]);
    assert_eq!(
        world.post_json(&token, &path, &json!({"type": "a b", "id": ""})).await.fields(),
        ["type", "id"]
    );
    assert_eq!(world.post_json(&token, &path, &json!({"type": 1, "id": "1"})).await.fields(), ["type"]);
    assert_eq!(world.call(&token, Method::DELETE, &path).await.fields(), ["type", "id"]);
    let both = format!("{path}?id=1");
    let twice = world.with_json(&token, Method::DELETE, &both, &json!({"type": "a", "id": "1"})).await;
    assert_eq!(twice.fields(), ["id"]);
    let task = json!({"type": "task", "id": "1"});
    let missing = world.post_json(&token, &format!("/api/emails/{id}.2/references"), &task).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(world.post_json(&token, "/api/emails/1/references", &task).await.fields(), ["mailbox"]);

    for n in 0..sync_store::REFERENCES_MAX {
        let added = world.post_json(&token, &path, &json!({"type": "task", "id": n.to_string()})).await;
        assert_eq!(added.status, StatusCode::OK, "{added:?}");
    }
    let full = world.post_json(&token, &path, &json!({"type": "deal", "id": "1"})).await;
    assert_eq!(full.status, StatusCode::CONFLICT, "{full:?}");
}
