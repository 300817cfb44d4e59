//! The audit trail over HTTPS: page by page, by mailbox, and nobody else's.

use axum::http::{Method, StatusCode};
use serde_json::Value;
use sync_core::MailboxId;
use sync_store::{Scope, TokenKind};

use super::world::World;

/// Pauses the mailbox and goes on, so many times.
async fn deeds(world: &World, token: &str, mailbox: &MailboxId, times: usize) {
    for deed in 0..times {
        let what = if deed % 2 == 0 { "pause" } else { "resume" };
        let done = world.call(token, Method::POST, &format!("/api/sync/{mailbox}/{what}")).await;
        assert!(done.status.is_success(), "{done:?}");
    }
}

async fn rows(world: &World, token: &str, path: &str) -> Vec<Value> {
    let answer = world.get(token, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    answer.json()["items"].as_array().expect("items").clone()
}

fn actions(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["action"].as_str().expect("an action")).collect()
}

#[tokio::test]
async fn the_trail_is_read_page_by_page_newest_first_and_every_row_once() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    deeds(&world, &token, &id, 5).await;
    let whole = rows(&world, &token, "/api/audit").await;
    assert_eq!(actions(&whole), ["paused", "resumed", "paused", "resumed", "paused"]);
    assert!(whole.iter().all(|row| row["actor"] == "test" && row["mailbox"] == id.as_str()), "{whole:?}");
    assert!(whole.is_sorted_by_key(|row| std::cmp::Reverse(row["at"].as_str().map(str::to_owned))));
    assert!(!Value::from(whole.clone()).to_string().contains("alice"), "no address");

    let (mut paged, mut path) = (Vec::new(), "/api/audit?limit=2".to_owned());
    for _ in 0..4 {
        let page = world.get(&token, &path).await.json();
        let items = page["items"].as_array().expect("items").clone();
        assert!(items.len() <= 2, "{items:?}");
        paged.extend(items);
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/api/audit?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, whole);
}

#[tokio::test]
async fn a_mailbox_is_found_by_its_id_or_address_and_by_its_id_when_it_is_erased() {
    let world = World::new().await;
    world.gmail_is_well().await;
    let token = world.admin("ten_1").await;
    let one = world.mailbox("ten_1", "alice@example.com").await;
    let other = world.mailbox("ten_1", "bob@example.com").await;
    deeds(&world, &token, &one, 2).await;
    deeds(&world, &token, &other, 1).await;
    assert_eq!(rows(&world, &token, "/api/audit").await.len(), 3);
    for named in [one.as_str(), "alice%40example.com"] {
        let of_one = rows(&world, &token, &format!("/api/audit?mailbox={named}")).await;
        assert_eq!(actions(&of_one), ["resumed", "paused"], "{named}");
    }
    let erased = world.call(&token, Method::DELETE, &format!("/api/integrations/{one}?purge=true")).await;
    assert_eq!(erased.status, StatusCode::OK, "{erased:?}");
    let of_one = rows(&world, &token, &format!("/api/audit?mailbox={one}")).await;
    assert_eq!(actions(&of_one), ["erased", "resumed", "paused"]);
    let by_address = world.get(&token, "/api/audit?mailbox=alice%40example.com").await;
    assert_eq!(by_address.status, StatusCode::NOT_FOUND, "whose address that was nobody knows any more");
}

#[tokio::test]
async fn the_trail_is_the_tenants_own_and_its_administrators() {
    let world = World::new().await;
    let (token, stranger) = (world.admin("ten_1").await, world.admin("ten_2").await);
    let id = world.mailbox("ten_1", "alice@example.com").await;
    deeds(&world, &token, &id, 1).await;
    assert!(rows(&world, &stranger, "/api/audit").await.is_empty());
    assert!(rows(&world, &stranger, &format!("/api/audit?mailbox={id}")).await.is_empty());
    let by_address = world.get(&stranger, "/api/audit?mailbox=alice%40example.com").await;
    assert_eq!(by_address.status, StatusCode::NOT_FOUND);
    for scope in [Scope::Read, Scope::Sync, Scope::Send] {
        let lesser = world.token("ten_1", &[scope], TokenKind::Api).await;
        assert_eq!(world.get(&lesser, "/api/audit").await.status, StatusCode::FORBIDDEN, "{scope:?}");
    }
    assert_eq!(world.get("gst_nobodys", "/api/audit").await.status, StatusCode::UNAUTHORIZED);
    // A place in one tenant's trail is none in another's, nor in one mailbox's.
    deeds(&world, &token, &id, 2).await;
    let page = world.get(&token, "/api/audit?limit=1").await.json();
    let cursor = page["nextCursor"].as_str().expect("more").to_owned();
    for (who, path) in [
        (&stranger, format!("/api/audit?cursor={cursor}")),
        (&token, format!("/api/audit?mailbox={id}&cursor={cursor}")),
    ] {
        let refused = world.get(who, &path).await;
        assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec!["cursor".to_owned()]));
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_question_is_named() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=nonsense", "cursor"),
        ("actor=test", "actor"),
        ("limit=1&limit=2", "limit"),
    ] {
        let refused = world.get(&token, &format!("/api/audit?{query}")).await;
        let expected = (StatusCode::BAD_REQUEST, vec![field.to_owned()]);
        assert_eq!((refused.status, refused.fields()), expected, "{query}");
    }
    assert!(rows(&world, &token, "/api/audit?limit=500").await.is_empty());
}
