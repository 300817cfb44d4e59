use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use sync_core::{
    JobId,
    job::{Counts, JobStatus},
    sync::JobClose,
};

use super::world::{World, request};

#[tokio::test]
async fn a_sync_is_a_job_that_can_be_asked_for_again() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let asked = world.call(&token, Method::POST, &format!("/api/sync/{id}")).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    let job = asked.json();
    assert_eq!(
        (job["kind"].as_str(), job["trigger"].as_str(), job["status"].as_str()),
        (Some("incremental"), Some("manual"), Some("queued"))
    );
    assert_eq!(job["job"]["id"], job["id"]);
    for name in
        ["listed", "fetched", "inserted", "updated", "deleted", "debts", "salesAdded", "expensesAdded"]
    {
        assert_eq!(job["counts"][name], 0, "{name}");
    }
    let found = world.get(&token, asked.header("location")).await;
    assert_eq!(found.json()["id"], job["id"]);
    let full = world.call(&token, Method::POST, &format!("/api/sync/{id}/full")).await;
    assert_eq!(full.json()["kind"], "full");

    let first = world.get(&token, &format!("/api/sync/{id}/jobs?limit=1")).await.json();
    assert_eq!(first["items"][0]["id"], full.json()["id"], "newest first");
    let cursor = first["nextCursor"].as_str().expect("there is more");
    let second = world.get(&token, &format!("/api/sync/{id}/jobs?limit=1&cursor={cursor}")).await.json();
    assert_eq!(second["items"][0]["id"], job["id"]);
    assert_eq!(
        world.get(&token, &format!("/api/sync/{id}/jobs/job_nobody")).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(world.get(&token, &format!("/api/sync/{id}/jobs?limit=0&cursor=x")).await.fields(), ["limit"]);
    assert_eq!(world.get(&token, &format!("/api/sync/{id}/jobs?cursor=x")).await.fields(), ["cursor"]);
}

#[tokio::test]
async fn the_same_key_is_the_same_job_and_another_request_with_it_is_refused() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let with_key = async |path: String, key: &str| {
        let request = request(&token, Method::POST, &path).header("idempotency-key", key);
        world.send(request.body(Body::empty()).expect("a request")).await
    };
    let first = with_key(format!("/api/sync/{id}"), "k 1").await.json();
    let second = with_key(format!("/api/sync/{id}"), "k 1").await.json();
    assert_eq!(first["id"], second["id"]);
    assert_ne!(with_key(format!("/api/sync/{id}"), "k 2").await.json()["id"], first["id"]);
    let misused = with_key(format!("/api/sync/{id}/full"), "k 1").await;
    assert_eq!(
        (misused.status, misused.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["Idempotency-Key".to_owned()])
    );
    assert_eq!(with_key(format!("/api/sync/{id}"), &"x".repeat(256)).await.fields(), ["Idempotency-Key"]);
}

#[tokio::test]
async fn waiting_answers_with_the_job_once_it_is_done_and_else_with_202() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let path = format!("/api/sync/{id}?wait=true");
    let worker = async {
        // The request is written by the other half of the join: look until it is there.
        for _ in 0..1_000 {
            let open = world.store.read_requests(&id).await.expect("read");
            if let Some(request) = open.first() {
                let counts = Counts { inserted: 2, ..Counts::default() };
                let close = JobClose {
                    id: request.id.clone(),
                    status: JobStatus::Success,
                    counts,
                    errors: Vec::new(),
                };
                return world.work(&id, Vec::new(), vec![close]).await;
            }
            tokio::task::yield_now().await;
        }
        panic!("no request came");
    };
    let (answer, ()) = tokio::join!(world.call(&token, Method::POST, &path), worker);
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        (answer.json()["status"].as_str(), answer.json()["counts"]["inserted"].as_u64()),
        (Some("success"), Some(2))
    );

    let late = world.call(&token, Method::POST, &path).await;
    assert_eq!((late.status, late.json()["status"].as_str()), (StatusCode::ACCEPTED, Some("queued")));
    assert!(late.json()["id"].as_str().expect("an id").parse::<JobId>().is_ok());
    let wrong = world.call(&token, Method::POST, &format!("/api/sync/{id}?wait=perhaps&max=1")).await;
    assert_eq!(wrong.fields(), ["wait", "max"]);

    let status = world.get(&token, &format!("/api/sync/{id}/status")).await.json();
    assert_eq!(status["lastSync"]["id"], answer.json()["id"], "the last that ended: {status}");
    assert_eq!(status["healthy"], true, "{status}");
    for name in [
        "mailbox",
        "status",
        "syncing",
        "lastSyncAt",
        "cursor",
        "target",
        "stalenessSeconds",
        "debts",
        "drift",
        "consecutiveErrors",
        "lastError",
        "cooldownUntil",
        "backfill",
        "watchExpiresAt",
        "totals",
        "quotaUnitsToday",
    ] {
        assert!(status.get(name).is_some(), "{name} is there");
    }
    assert_eq!(status["cursor"], "1000000");
}
