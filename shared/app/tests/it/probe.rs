//! Probes of mailboxes that changed, against an emulated AWS: who is asked for, how often, and who is not.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};
use sync_app::{
    probe::probe,
    report::Report,
    tasks::{Ran, Task, Tasks},
};
use sync_core::{
    HistoryId, MailboxId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    state::Status,
    sync::Outcome,
};

use crate::{
    api::world::{CRON_SECRET, World, mail, put},
    worker::{connected, worker},
};

/// A mailbox with one mail more than Gmail was last compared with.
async fn changed(world: &World) -> MailboxId {
    world.gmail_is_well().await;
    world.gmail_has_labels(&[("INBOX", 1)]).await;
    let mailbox = connected(world).await;
    change(world, &mailbox, 1).await;
    mailbox
}

async fn change(world: &World, mailbox: &MailboxId, messages: i64) {
    world
        .commit(mailbox, |commit| {
            commit.rows = vec![put(mail(1, &["INBOX"]))];
            commit.labels = [("INBOX".to_owned(), messages)].into();
            commit.totals.messages = messages;
            commit.progress.cursor = Some(HistoryId(100));
        })
        .await;
}

async fn over_https(world: &World) -> Value {
    let request = Request::builder().method(Method::POST).uri("/api/cron/probe");
    let request = request.header("authorization", format!("Bearer {CRON_SECRET}"));
    let answer = world.send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// A tick for whom a probe is old at once.
async fn impatient(world: &World) -> Ran {
    let tasks = Tasks {
        store: world.store.clone(),
        queue: world.clients.queue.clone(),
        quota: world.clients.project.quota().clone(),
        probe_interval: SignedDuration::ZERO,
    };
    tasks.run(Task::Probe, "trace", Timestamp::now()).await.outcome.expect("a run")
}

async fn job(world: &World, mailbox: &MailboxId) -> Option<Report> {
    let mailbox = mailbox.clone();
    let job = Job { mailbox, trigger: Trigger::Probe, target: None, step: None, lane: Lane::Sync };
    let checkpoint_at = Timestamp::now() + SignedDuration::from_secs(60);
    probe(&worker(world), job, "trace", "owner", checkpoint_at).await.expect("answered")
}

async fn labels_counted(world: &World) -> usize {
    let requests = world.gmail.received_requests().await.expect("recorded");
    requests.iter().filter(|request| request.url.path().ends_with("/labels/INBOX")).count()
}

#[tokio::test]
async fn a_mailbox_that_changed_is_probed_once_and_asked_for_no_more() {
    let world = World::new().await;
    let mailbox = changed(&world).await;
    world.mailbox("ten_a", "idle@example.com").await;
    assert_eq!(
        over_https(&world).await,
        json!({"task": "probe", "queued": 1}),
        "nobody asks for the idle one"
    );
    assert_eq!(over_https(&world).await["queued"], 1, "a job may be lost");
    let report = job(&world, &mailbox).await.expect("a look");
    assert!(matches!(report.outcome, Outcome::Synced(_)), "{report:?}");
    assert_eq!(labels_counted(&world).await, 1);
    let sync = world.store.read_sync(&mailbox).await.expect("read").expect("there");
    assert!(sync.progress.probe.at.is_some() && sync.progress.probe.drift == 0, "{:?}", sync.progress.probe);
    assert!(job(&world, &mailbox).await.is_none(), "the second job finds it done");
    assert_eq!(impatient(&world).await, Ran::Queued(0), "nothing has changed since");
}

#[tokio::test]
async fn a_busy_mailbox_is_probed_once_in_an_interval() {
    let world = World::new().await;
    let mailbox = changed(&world).await;
    assert!(job(&world, &mailbox).await.is_some());
    change(&world, &mailbox, 0).await;
    assert_eq!(over_https(&world).await["queued"], 0, "the last probe is a moment old");
    assert!(job(&world, &mailbox).await.is_none());
    assert_eq!(labels_counted(&world).await, 1);
    assert_eq!(impatient(&world).await, Ran::Queued(1), "its turn comes");
}

#[tokio::test]
async fn a_mailbox_that_is_parked_is_asked_for_no_more_until_it_changes_again() {
    let world = World::new().await;
    let mailbox = changed(&world).await;
    world.store.set_status(&mailbox, Status::Paused, Timestamp::now()).await.expect("set");
    assert_eq!(impatient(&world).await, Ran::Queued(1));
    assert!(job(&world, &mailbox).await.is_none());
    assert_eq!(labels_counted(&world).await, 0);
    assert_eq!(impatient(&world).await, Ran::Queued(0));
    change(&world, &mailbox, 0).await;
    assert_eq!(impatient(&world).await, Ran::Queued(1));
}
