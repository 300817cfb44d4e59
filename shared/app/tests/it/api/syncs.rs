use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::{Value, json};
use sync_core::{
    JobId, MailboxId, SignedDuration, Timestamp,
    job::{Counts, JobKind, JobStatus},
    state::{Status, Window},
    sync::{Acquired, JobClose},
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

#[tokio::test]
async fn each_kind_of_sync_is_a_job_that_says_what_was_asked_for() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    for (path, body, kind, parameters) in [
        ("initial", Value::Null, "initial", Value::Null),
        (
            "historical",
            json!({"startDate": "2026-01-31", "endDate": "2026-02-01T12:00:00+02:00", "tenantId": "ten_1"}),
            "historical",
            json!({"startDate": "2026-01-31T00:00:00Z", "endDate": "2026-02-01T10:00:00Z"}),
        ),
        (
            "contact?wait=false",
            json!({"email": "Bob@Example.com"}),
            "contact",
            json!({"email": "bob@example.com"}),
        ),
        ("full", json!({"max_results": 5000}), "full", json!({"maxResults": 5000})),
        ("full?max_results=1", Value::Null, "full", json!({"maxResults": 1})),
        (
            "full?max_results=7",
            json!({"accept_deletions": true}),
            "full",
            json!({"maxResults": 7, "acceptDeletions": true}),
        ),
        ("full?accept_deletions=true", Value::Null, "full", json!({"acceptDeletions": true})),
        ("force", Value::Null, "incremental", Value::Null),
        ("unlock", Value::Null, "incremental", Value::Null),
        ("drift", Value::Null, "probe", Value::Null),
    ] {
        let path = format!("/api/sync/{id}/{path}");
        let answer = if body.is_null() {
            world.post(&token, &path).await
        } else {
            world.post_json(&token, &path, &body).await
        };
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{path}: {answer:?}");
        let job = world.get(&token, answer.header("location")).await.json();
        assert_eq!(
            (job["kind"].as_str(), job["trigger"].as_str(), &job["parameters"]),
            (Some(kind), Some("manual"), &parameters),
            "{path}"
        );
    }
    let requests = world.store.read_requests(&id).await.expect("read");
    assert_eq!(requests.len(), 10, "all of them wait for a worker");
    let window = requests.iter().find(|request| request.kind == JobKind::Contact).expect("a contact's");
    let address = "bob@example.com".parse().expect("an address");
    assert_eq!(window.options.window, Some(Window::Contact { address, limit: 100 }));
}

#[tokio::test]
async fn what_is_wrong_with_a_sync_is_named() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    for (path, body, fields) in [
        ("historical", json!({}), vec!["startDate", "endDate"]),
        (
            "historical?wait=maybe",
            json!({"startDate": "2026-02-30", "endDate": "soon"}),
            vec!["wait", "startDate", "endDate"],
        ),
        ("historical", json!({"startDate": "2026-02-01", "endDate": "2026-02-01"}), vec!["endDate"]),
        ("historical", json!({"startDate": "2026-02-02", "endDate": "2026-02-01"}), vec!["endDate"]),
        ("historical", json!({"startDate": "1969-12-31", "endDate": "2026-02-01"}), vec!["startDate"]),
        ("historical", json!({"startDate": 5, "endDate": "2026-02-01"}), vec!["startDate"]),
        ("contact", json!({}), vec!["email"]),
        ("contact", json!({"email": "nobody"}), vec!["email"]),
        ("contact", json!({"email": "{a@b.c OR d@e.f}"}), vec!["email"]),
        ("contact", json!({"email": "a@b.c", "contactId": "con_1"}), vec!["contactId"]),
        ("full", json!({"max_results": 0}), vec!["max_results"]),
        ("full", json!({"max_results": 5001}), vec!["max_results"]),
        ("full", json!({"max_results": -1}), vec!["max_results"]),
        ("full", json!({"max_results": "many"}), vec!["max_results"]),
        ("full?max_results=5001", json!({}), vec!["max_results"]),
        ("full?max_results=5", json!({"max_results": 5}), vec!["max_results"]),
        ("full?accept_deletions=perhaps", json!({}), vec!["accept_deletions"]),
        ("full", json!({"max_result": 5}), vec!["max_result"]),
    ] {
        let answer = world.post_json(&token, &format!("/api/sync/{id}/{path}"), &body).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, fields.iter().map(ToString::to_string).collect()),
            "{path} {body}"
        );
    }
    let nobody =
        world.post_json(&token, &format!("/api/sync/{id}/contact"), &json!({"contactId": "c1"})).await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    assert!(nobody.json()["detail"].as_str().expect("a detail").contains("contact"), "{nobody:?}");
    assert!(world.store.read_requests(&id).await.expect("read").is_empty(), "nothing was asked for");
}

#[tokio::test]
async fn a_key_that_was_used_for_another_path_or_other_dates_is_refused() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let other = world.mailbox("ten_1", "bob@example.com").await;
    let asked = async |mailbox: &MailboxId, path: &str, body: Value| {
        let path = format!("/api/sync/{mailbox}{path}");
        let request = request(&token, Method::POST, &path)
            .header("idempotency-key", "k")
            .header("content-type", "application/json");
        world.send(request.body(Body::from(body.to_string())).expect("a request")).await
    };
    let january = json!({"startDate": "2026-01-01", "endDate": "2026-02-01"});
    let first = asked(&id, "/historical", january.clone()).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{first:?}");
    let again = asked(&id, "/historical", january.clone()).await;
    assert_eq!(again.json()["id"], first.json()["id"]);
    for refused in [
        asked(&id, "/historical", json!({"startDate": "2026-01-01", "endDate": "2026-02-02"})).await,
        asked(&other, "/historical", january).await,
        asked(&id, "/force", json!({})).await,
    ] {
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    }
    assert_eq!(world.store.read_requests(&id).await.expect("read").len(), 1);
}

#[tokio::test]
async fn force_and_unlock_fence_whoever_holds_the_mailbox() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    for path in ["force", "unlock"] {
        let now = Timestamp::now();
        let until = now + SignedDuration::from_mins(5);
        let Acquired::Held(held) = world.store.acquire(&id, "stuck", until, now).await.expect("acquired")
        else {
            panic!("the lease is free");
        };
        let answer = world.post(&token, &format!("/api/sync/{id}/{path}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let after = world.store.read_sync(&id).await.expect("read").expect("there");
        assert!(after.lease.is_none() && after.generation > held.generation, "{path}: {after:?}");
        assert!(after.due_at.is_some_and(|due| due <= Timestamp::now()), "{path}: due now");
    }
    // A paused mailbox can be unlocked, and is not synced for that.
    world.store.pause(&id, Timestamp::now()).await.expect("paused");
    let before = world.store.read_requests(&id).await.expect("read").len();
    let unlocked = world.post(&token, &format!("/api/sync/{id}/unlock")).await;
    assert_eq!((unlocked.status, &unlocked.json()["job"]), (StatusCode::OK, &Value::Null), "{unlocked:?}");
    assert_eq!(world.post(&token, &format!("/api/sync/{id}/force")).await.status, StatusCode::CONFLICT);
    assert_eq!(world.store.read_requests(&id).await.expect("read").len(), before);
}

#[tokio::test]
async fn a_repeated_force_stops_nobody_a_second_time() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let force = async || {
        let path = format!("/api/sync/{id}/force");
        let request = request(&token, Method::POST, &path).header("idempotency-key", "f");
        world.send(request.body(Body::empty()).expect("a request")).await
    };
    let first = force().await;
    let now = Timestamp::now();
    let until = now + SignedDuration::from_mins(5);
    assert!(matches!(world.store.acquire(&id, "w", until, now).await.expect("acquired"), Acquired::Held(_)));
    assert_eq!(force().await.json()["id"], first.json()["id"]);
    let after = world.store.read_sync(&id).await.expect("read").expect("there");
    assert!(after.lease.is_some(), "the worker that serves it goes on");
}

#[tokio::test]
async fn deletions_that_the_guard_stopped_go_on_once_they_are_accepted() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.park(&id, Status::NeedsAttention).await;
    let full = format!("/api/sync/{id}/full");
    let refused = world.post(&token, &full).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.json()["detail"].as_str().expect("a detail").contains("accept_deletions"), "{refused:?}");
    let accepted = world.post(&token, &format!("{full}?accept_deletions=true")).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
    let after = world.store.read_sync(&id).await.expect("read").expect("there");
    assert_eq!(after.status, Status::Active);
    assert!(world.store.read_requests(&id).await.expect("read")[0].options.accept_deletions);

    // It is a way out of that state only.
    world.store.pause(&id, Timestamp::now()).await.expect("paused");
    let paused = world.post(&token, &format!("{full}?accept_deletions=true")).await;
    assert_eq!(paused.status, StatusCode::CONFLICT);
}
