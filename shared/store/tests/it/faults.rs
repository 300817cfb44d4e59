//! Throttles, time-outs and answers that are lost after the write took place, put by a proxy between the SDK and the
//! emulator, in AWS's own wire format and at random: whatever happens, everything becomes true exactly once.

use std::time::Duration;

use aws_config::{retry::RetryConfig, timeout::TimeoutConfig};
use serde_json::{Value, json};
use sync_core::{
    HistoryId, MailboxId, MessageId,
    state::Totals,
    sync::{Acquired, Commit, Committed, Event, Happened, MessageNews, Released},
};
use sync_store::{Release, Store};
use testkit::Microburst;

use crate::fixture::{World, at, commit, message, put};

/// How often one commit is decided anew before the test gives up: the faults below hit half of the calls.
const TRIES_MAX: usize = 50;

/// Gives an answer up so soon that late ones are as common as lost ones.
const IMPATIENT: Duration = Duration::from_millis(500);
/// Waits for every answer, however busy the machine.
const PATIENT: Duration = Duration::from_secs(30);

/// A store that reaches its table through a proxy with these rules, and waits so long for an answer.
fn behind(world: &World, patience: Duration, rules: &Value) -> (Store, Microburst) {
    let proxy = Microburst::start(&world.table_endpoint).expect("`make tools` was run");
    proxy.set_rules(&rules.to_string()).expect("rules");
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1));
    let config = aws_sdk_dynamodb::config::Builder::from(&world.sdk)
        .timeout_config(timeouts)
        .retry_config(retries)
        .endpoint_url(proxy.endpoint());
    let dynamo = aws_sdk_dynamodb::Client::from_conf(config.build());
    (world.store.clone().with_dynamo(&dynamo), proxy)
}

fn fired(proxy: &Microburst) -> usize {
    let fired: Value = serde_json::from_str(&proxy.fired().expect("answered")).expect("JSON");
    fired.as_array().expect("a list").len()
}

/// The commit that stores message `id` and tells of it, as it would be decided now.
async fn decide(world: &World, mailbox: &MailboxId, id: u64) -> Commit {
    let sync = world.sync(mailbox).await;
    let mut next = commit(&sync, vec![put(message(id, &["INBOX"]))], Vec::new());
    let news = MessageNews {
        gmail_id: MessageId(id),
        history_id: HistoryId(id),
        label_ids: ["INBOX".to_owned()].into(),
    };
    next.events = vec![Event { seq: sync.seq + 1, what: Happened::Created(news) }];
    next.labels = [("INBOX".to_owned(), 1)].into();
    next
}

/// Commits one message after the other as a worker does: what went wrong is found out by reading again.
async fn commit_all(world: &World, mailbox: &MailboxId, store: &Store, messages: u64) {
    for id in 1..=messages {
        let mut tries = 0;
        while world.store.get_message(mailbox, MessageId(id)).await.expect("read").is_none() {
            tries += 1;
            assert!(tries < TRIES_MAX, "message {id} is never stored");
            match store.commit(&decide(world, mailbox, id).await).await {
                Ok(Committed::Applied | Committed::Conflict) => {}
                Ok(Committed::Fenced) => panic!("nobody else holds it"),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    }
}

/// Each message is stored, counted and told once.
async fn assert_once(world: &World, mailbox: &MailboxId, messages: u64) {
    let sync = world.sync(mailbox).await;
    assert_eq!((sync.commit, sync.seq), (messages, messages));
    let count = i64::try_from(messages).expect("few");
    assert_eq!(sync.totals, Totals { messages: count, ..Totals::default() });
    let labels = world.store.read_label_counts(mailbox).await.expect("read");
    assert_eq!(labels, Some([("INBOX".to_owned(), count)].into()));
    let events = world.store.read_events(mailbox, 0, 500, at(20)).await.expect("read").events;
    let told: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(told, (1..=messages).collect::<Vec<_>>());
    for (event, id) in events.iter().zip(1..) {
        assert!(matches!(&event.what, Happened::Created(news) if news.gmail_id == MessageId(id)));
    }
}

async fn everything_is_true_once_behind(rules: Value) {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.acquire(&mailbox).await;
    let (store, proxy) = behind(&world, IMPATIENT, &rules);
    commit_all(&world, &mailbox, &store, 20).await;
    assert!(fired(&proxy) > 0, "the proxy did nothing");
    drop(proxy);
    assert_once(&world, &mailbox, 20).await;
}

#[tokio::test]
async fn answers_lost_after_the_commit_store_and_tell_everything_once() {
    everything_is_true_once_behind(json!([
        {"service": "dynamodb", "operation": "TransactWriteItems", "probability": 0.5, "response": {"abort_bytes": 0}}
    ]))
    .await;
}

#[tokio::test]
async fn answers_that_come_too_late_store_and_tell_everything_once() {
    everything_is_true_once_behind(json!([
        {"service": "dynamodb", "operation": "TransactWriteItems", "probability": 0.4, "latency": {"min": 300, "max": 900}}
    ]))
    .await;
}

#[tokio::test]
async fn throttles_and_broken_connections_in_any_order_store_and_tell_everything_once() {
    everything_is_true_once_behind(json!([
        {"service": "dynamodb", "probability": 0.2, "error": {"code": "ProvisionedThroughputExceededException"}},
        {"service": "dynamodb", "probability": 0.2, "error": {"code": "InternalServerError", "status": 500}},
        {"service": "dynamodb", "probability": 0.1, "reset": true},
        {"service": "dynamodb", "probability": 0.2, "response": {"abort_bytes": 0}},
        {"service": "dynamodb", "probability": 0.1, "timeout_ms": 50}
    ]))
    .await;
}

#[tokio::test]
async fn a_lease_is_taken_and_given_back_though_every_first_answer_is_lost() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let (store, proxy) = behind(
        &world,
        PATIENT,
        &json!([{
            "service": "dynamodb", "operation": "UpdateItem", "sequence": {"fail": 1, "pass": 1},
            "response": {"abort_bytes": 0}
        }]),
    );
    for round in 0..5 {
        let acquired = store.acquire(&mailbox, "test", at(60), at(0)).await.expect("answered");
        let Acquired::Held(held) = acquired else {
            panic!("round {round}: it is our own lease: {acquired:?}")
        };
        assert_eq!(*held, world.sync(&mailbox).await);
        let release = Release {
            generation: held.generation,
            asked: held.asked,
            due_at: None,
            status: None,
            credential_version: None,
        };
        assert_eq!(store.release(&mailbox, &release).await.expect("answered"), Released::Free);
        assert_eq!(world.sync(&mailbox).await.lease, None);
    }
    assert_eq!(fired(&proxy), 10);
}
