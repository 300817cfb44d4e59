//! Tasks over HTTPS: who may, which there are, and never two runs of one at once.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::json;
use sync_app::{
    tasks::{Ran, Task, Tasks},
    upkeep::{Kept, Step, keep_up},
};
use sync_core::{
    HistoryId, MailboxId, MessageId, SignedDuration, Timestamp,
    job::Lane,
    message::{RowState, Touched},
    state::Status,
    sync::RowWrite,
};
use sync_queue::{JobMessage, Upkeep};
use sync_store::{Retention, Store, TaskClaim};

use super::world::{Answer, CRON_SECRET, World};

async fn call(world: &World, method: Method, task: &str, authorization: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(format!("/api/cron/{task}"));
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    world.send(request.body(Body::empty()).expect("a request")).await
}

fn bearer() -> String {
    format!("Bearer {CRON_SECRET}")
}

/// A mailbox that is due.
async fn due(world: &World) -> MailboxId {
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.store.ask(&id, Timestamp::now() - SignedDuration::from_secs(1)).await.expect("asked");
    id
}

/// The same tasks as the cloud's clock runs.
fn tasks(world: &World) -> Tasks {
    Tasks {
        store: world.store.clone(),
        queue: world.clients.queue.clone(),
        quota: world.clients.project.quota().clone(),
        probe_interval: SignedDuration::from_hours(1),
    }
}

/// Jobs that were queued, in all.
async fn queued(world: &World) -> u64 {
    world.clients.queue.depth(Lane::Sync).await.expect("a depth").ready
}

#[tokio::test]
async fn with_the_secret_a_task_runs_and_says_how_many_it_queued() {
    let world = World::new().await;
    due(&world).await;
    for (method, name) in
        [(Method::GET, "fan-out"), (Method::POST, "gmail-sync"), (Method::GET, "sync-gmail")]
    {
        let answer = call(&world, method, name, Some(&bearer())).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json(), json!({"task": "fan-out", "queued": 1}), "{name}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(queued(&world).await, 3);
}

#[tokio::test]
async fn without_the_secret_nothing_is_done_and_nothing_is_told() {
    let world = World::new().await;
    due(&world).await;
    let token = world.admin("ten_1").await;
    let beginning = format!("Bearer {}", &CRON_SECRET[..CRON_SECRET.len() - 1]);
    let longer = format!("Bearer {CRON_SECRET}x");
    let huge = format!("Bearer {}", "x".repeat(100_000));
    let tenants = format!("Bearer {token}");
    let other = format!("Basic {CRON_SECRET}");
    let wrong =
        [None, Some("Bearer "), Some(&*beginning), Some(&longer), Some(&huge), Some(&tenants), Some(&other)];
    for authorization in wrong {
        for name in ["fan-out", "no-such-task"] {
            let answer = call(&world, Method::POST, name, authorization).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}: {answer:?}");
            assert!(!answer.json()["detail"].as_str().expect("a detail").contains("fan-out"), "{answer:?}");
        }
    }
    assert_eq!(queued(&world).await, 0);
}

#[tokio::test]
async fn an_unknown_task_is_answered_with_those_there_are_and_a_parameter_by_its_name() {
    let world = World::new().await;
    due(&world).await;
    let unknown = call(&world, Method::GET, "Fan-Out", Some(&bearer())).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let detail = unknown.json()["detail"].as_str().expect("a detail").to_owned();
    for task in Task::ALL {
        assert!(detail.contains(task.name()), "{detail}");
    }
    let parameter = call(&world, Method::GET, "fan-out?mailbox=x", Some(&bearer())).await;
    assert_eq!((parameter.status, parameter.fields()), (StatusCode::BAD_REQUEST, vec!["mailbox".to_owned()]));
    for method in [Method::HEAD, Method::DELETE, Method::PUT] {
        let answer = call(&world, method.clone(), "fan-out", Some(&bearer())).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    assert_eq!(queued(&world).await, 0);
}

#[tokio::test]
async fn a_run_beside_another_is_refused_until_that_one_ends_or_its_time_is_up() {
    let world = World::new().await;
    due(&world).await;
    let now = Timestamp::now();
    let until = now + SignedDuration::from_secs(60);
    let claimed = world.store.claim_task("fan-out", "another", until, now).await.expect("answered");
    assert_eq!(claimed, TaskClaim::Ours);
    let refused = call(&world, Method::POST, "fan-out", Some(&bearer())).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    let seconds: i64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    // A tick of the cloud's clock meets the same claim.
    let tasks = tasks(&world);
    let ticked = tasks.run(Task::FanOut, "trace", now).await.outcome.expect("answered");
    assert!(matches!(ticked, Ran::AlreadyRunning(_)), "{ticked:?}");
    // The other run died: its time is up.
    let later = until + SignedDuration::from_secs(1);
    assert_eq!(tasks.run(Task::FanOut, "trace", later).await.outcome.expect("answered"), Ran::Queued(1));
    // And this one ended.
    assert_eq!(call(&world, Method::POST, "fan-out", Some(&bearer())).await.status, StatusCode::OK);
}

/// Which upkeep waits in the queue of old mail, taken out of it.
async fn upkeep(world: &World) -> Vec<(MailboxId, Upkeep)> {
    let mut steps: Vec<_> = world
        .take_jobs("backfill")
        .await
        .into_iter()
        .map(|job| match job {
            JobMessage::Upkeep { mailbox, upkeep, after: None, .. } => (mailbox, upkeep),
            other => panic!("no first step of upkeep: {other:?}"),
        })
        .collect();
    steps.sort_by(|one, other| one.0.cmp(&other.0));
    steps
}

/// Does what waits, as a worker does.
async fn worked_off(world: &World, store: &Store) -> Vec<Kept> {
    let mut done = Vec::new();
    for (mailbox, upkeep) in upkeep(world).await {
        let step = Step { mailbox, upkeep, after: None, trace: "t-1".to_owned() };
        let checkpoint_at = Timestamp::now() + SignedDuration::from_mins(1);
        done.push(
            keep_up(store, &world.clients.queue, &step, "owner", checkpoint_at).await.expect("kept up"),
        );
    }
    done
}

#[tokio::test]
async fn upkeep_over_https_is_what_the_schedule_queues_for_every_mailbox() {
    let world = World::new().await;
    let one = world.mailbox("ten_1", "alice@example.com").await;
    let other = world.mailbox("ten_2", "bob@example.com").await;
    world.store.set_status(&other, Status::Paused, Timestamp::now()).await.expect("set");
    for (task, kind) in [(Task::Retention, Upkeep::Retention), (Task::Watch, Upkeep::Watch)] {
        let answer = call(&world, Method::POST, task.name(), Some(&bearer())).await;
        assert_eq!(
            (answer.status, answer.json()["queued"].as_u64()),
            (StatusCode::OK, Some(2)),
            "{answer:?}"
        );
        let over_https = upkeep(&world).await;
        let ticked = tasks(&world).run(task, "trace", Timestamp::now()).await.outcome.expect("a run");
        assert_eq!(ticked, Ran::Queued(2));
        assert_eq!(over_https, upkeep(&world).await, "left: over https, right: the schedule");
        let mut both = vec![(one.clone(), kind), (other.clone(), kind)];
        both.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(over_https, both, "of whatever status");
    }
    assert_eq!(queued(&world).await, 0, "new mail does not wait behind it");
}

#[tokio::test]
async fn retention_over_https_takes_old_deletions_and_watch_has_a_lapsing_watch_looked_at() {
    let world = World::new().await;
    let mailbox = world.mailbox("ten_1", "alice@example.com").await;
    let tombstone = RowWrite::Tombstone {
        id: MessageId(1),
        state: RowState::Deleted,
        history_id: HistoryId(1),
        labels: None,
        touched: Touched::new(),
    };
    world.commit(&mailbox, |commit| commit.rows = vec![tombstone]).await;
    let at_once = Retention { deleted_mail: SignedDuration::ZERO, ..Retention::default() };
    let store = world.store.clone().keeping(at_once);
    assert_eq!(call(&world, Method::GET, "retention", Some(&bearer())).await.status, StatusCode::OK);
    let kept = worked_off(&world, &store).await;
    assert_eq!(kept.iter().map(|kept| kept.tombstones).collect::<Vec<_>>(), [1]);

    let lapses = Timestamp::now() + SignedDuration::from_hours(12);
    world.store.set_watch(&mailbox, Some(lapses)).await.expect("set");
    assert_eq!(call(&world, Method::GET, "watch", Some(&bearer())).await.status, StatusCode::OK);
    let kept = worked_off(&world, &store).await;
    assert_eq!(kept.iter().map(|kept| kept.sent).collect::<Vec<_>>(), [1]);
    assert_eq!(queued(&world).await, 1, "a look, which renews it");
}
