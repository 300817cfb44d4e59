use axum::http::StatusCode;
use serde_json::{Value, json};
use sync_core::{
    HistoryId, MailboxId, MessageId, Timestamp,
    job::JobKind,
    owed::{Owed, OwedReason},
    state::Status,
    sync::OwedWrite,
};

use super::world::World;

fn owed(id: u64, reason: OwedReason) -> OwedWrite {
    let now = Timestamp::now();
    OwedWrite::Put(Owed {
        id: MessageId(id),
        reason,
        at_least: HistoryId(77),
        label_changes: Vec::new(),
        tries: 2,
        since: now,
        missing_since: None,
        due_at: Some(now),
        announce: true,
        epoch: 0,
    })
}

async fn owes(world: &World, mailbox: &MailboxId, items: Vec<OwedWrite>, debts: i64, waiting: i64) {
    world
        .commit(mailbox, |commit| {
            commit.owed = items;
            (commit.totals.debts, commit.totals.waiting) = (debts, waiting);
        })
        .await;
}

#[tokio::test]
async fn debts_are_listed_page_by_page_with_their_reasons_and_what_waits_is_none() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let failed = || OwedReason::Failed { error: "Gmail answered 500".to_owned() };
    let items = vec![
        owed(1, failed()),
        owed(2, OwedReason::Waiting),
        owed(3, OwedReason::NotVisibleYet),
        owed(4, OwedReason::Vanished),
        owed(5, failed()),
    ];
    owes(&world, &id, items, 4, 1).await;

    let mut seen: Vec<Value> = Vec::new();
    let mut path = format!("/api/sync/{id}/debts?limit=2");
    loop {
        let page = world.get(&token, &path).await.json();
        seen.extend(page["items"].as_array().expect("items").iter().cloned());
        assert!(seen.len() <= 4, "{seen:?}");
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/api/sync/{id}/debts?limit=2&cursor={cursor}");
    }
    let reasons: Vec<(&str, &str)> = seen
        .iter()
        .map(|debt| (debt["gmailId"].as_str().expect("an id"), debt["reason"].as_str().expect("a reason")))
        .collect();
    assert_eq!(reasons, [("5", "failed"), ("4", "vanished"), ("3", "not_visible_yet"), ("1", "failed")]);
    assert_eq!(seen[0]["error"], "Gmail answered 500");
    assert_eq!(seen[0]["id"], format!("{id}.5"));
    assert_eq!((seen[0]["tries"].as_u64(), &seen[0]["atLeast"]), (Some(2), &json!("77")));
    for name in ["since", "dueAt"] {
        assert!(seen[0][name].is_string(), "{name}: {}", seen[0]);
    }
    let status = world.get(&token, &format!("/api/sync/{id}/status")).await.json();
    assert_eq!((&status["debts"], &status["healthy"]), (&json!(4), &json!(false)));
    let bad = world.get(&token, &format!("/api/sync/{id}/debts?limit=501&cursor=x")).await;
    assert_eq!(bad.fields(), ["limit"]);
    assert_eq!(world.get(&token, &format!("/api/sync/{id}/debts?cursor=x")).await.fields(), ["cursor"]);
}

#[tokio::test]
async fn a_debt_is_retried_or_accepted_by_a_job_and_what_is_none_is_not_found() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    owes(&world, &id, vec![owed(0xabc, OwedReason::Vanished), owed(2, OwedReason::Waiting)], 1, 1).await;
    for (path, kind) in [("retry", JobKind::RetryDebt), ("accept", JobKind::AcceptDebt)] {
        let answer = world.post(&token, &format!("/api/sync/{id}/debts/abc/{path}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.json()["kind"], kind.name());
        assert_eq!(answer.json()["parameters"], json!({"gmailId": "abc"}));
        let requests = world.store.read_requests(&id).await.expect("read");
        let request = requests.iter().find(|request| request.kind == kind).expect("written");
        assert_eq!(request.options.message, Some(MessageId(0xabc)));
        for none in ["2", "fff", "xyz"] {
            let answer = world.post(&token, &format!("/api/sync/{id}/debts/{none}/{path}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{none}");
        }
    }
    assert_eq!(world.store.read_requests(&id).await.expect("read").len(), 2);
}

#[tokio::test]
async fn a_mailbox_is_paused_and_resumed_and_both_may_be_said_twice() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let path = |what: &str| format!("/api/sync/{id}/{what}");
    for _ in 0..2 {
        let paused = world.post(&token, &path("pause")).await;
        assert_eq!(
            (paused.status, &paused.json()["status"]),
            (StatusCode::OK, &json!("paused")),
            "{paused:?}"
        );
        assert_eq!(paused.json()["healthy"], false);
    }
    let sync = world.store.read_sync(&id).await.expect("read").expect("there");
    assert_eq!(sync.due_at, None, "nobody looks at it");
    let refused = world.post(&token, &format!("/api/sync/{id}")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.json()["detail"].as_str().expect("a detail").contains("paused"), "{refused:?}");
    for _ in 0..2 {
        let resumed = world.post(&token, &path("resume")).await;
        assert_eq!((resumed.status, &resumed.json()["status"]), (StatusCode::OK, &json!("active")));
    }
    let sync = world.store.read_sync(&id).await.expect("read").expect("there");
    assert!(sync.due_at.is_some_and(|due| due <= Timestamp::now()), "it is looked at now");

    world.park(&id, Status::NeedsAttention).await;
    assert_eq!(world.post(&token, &path("resume")).await.json()["status"], "active", "somebody has looked");
    world.park(&id, Status::NeedsReauth).await;
    let refused = world.post(&token, &path("resume")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.json()["detail"].as_str().expect("a detail").contains("connect"), "{refused:?}");
}
