//! Lost answers, throttling, cancellations, unprocessed keys: four things that are easily taken for each
//! other, each made to happen between the store and the emulator.

use sync_core::{
    MessageId,
    sync::{Acquired, Commit, Committed, Released},
};
use sync_store::{Release, Store, StoreError};

use crate::{
    fixture::{World, at, commit, message, put},
    proxy::{self, Fault},
};

fn store_behind(world: &World, operation: &'static str, plan: fn(usize) -> Fault) -> Store {
    world.store_behind(&proxy::start(&world.table_endpoint, operation, plan))
}

/// A commit over a connection with faults, and whether its row is there afterwards.
async fn commit_with(plan: fn(usize) -> Fault) -> (Result<Committed, StoreError>, bool) {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let store = store_behind(&world, "TransactWriteItems", plan);
    let commit: Commit = commit(&held, vec![put(message(1, &[]))], Vec::new());
    let outcome = store.commit(&commit).await;
    let sync = world.sync(&mailbox).await;
    let applied = world.store.get_message(&mailbox, MessageId(1)).await.expect("read").is_some();
    assert_eq!(sync.totals.messages, i64::from(applied), "at most once");
    assert_eq!(sync.commit, held.commit + u64::from(applied), "at most once");
    (outcome, applied)
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_once_is_applied_once() {
    let (outcome, applied) = commit_with(|n| if n == 0 { Fault::LoseAnswer } else { Fault::None }).await;
    assert!(matches!(outcome, Ok(Committed::Applied)) && applied, "{outcome:?}");
}

#[tokio::test]
async fn a_commit_whose_answers_are_all_lost_is_found_applied() {
    let (outcome, applied) = commit_with(|_| Fault::LoseAnswer).await;
    assert!(matches!(outcome, Ok(Committed::Applied)) && applied, "{outcome:?}");
}

#[tokio::test]
async fn a_commit_that_never_arrives_is_an_error_to_be_retried() {
    let (outcome, applied) = commit_with(|_| Fault::LoseCall).await;
    assert!(outcome.expect_err("it did not arrive").is_retryable() && !applied);
}

#[tokio::test]
async fn a_token_that_is_refused_as_used_is_judged_by_what_is_stored() {
    let (outcome, applied) = commit_with(|n| {
        if n == 0 {
            Fault::LoseAnswer
        } else {
            Fault::Answer(400, |_| error_body("IdempotentParameterMismatchException"))
        }
    })
    .await;
    assert!(matches!(outcome, Ok(Committed::Applied)) && applied, "{outcome:?}");
}

#[tokio::test]
async fn a_commit_that_was_applied_before_it_was_throttled_is_found_applied() {
    let (outcome, applied) = commit_with(|n| {
        if n == 0 { Fault::LoseAnswer } else { Fault::Answer(400, |_| error_body("ThrottlingException")) }
    })
    .await;
    assert!(matches!(outcome, Ok(Committed::Applied)) && applied, "{outcome:?}");
}

#[tokio::test]
async fn throttling_is_an_error_to_be_retried_and_no_conflict() {
    for plan in
        [(|_| Fault::Answer(400, |_| error_body("ThrottlingException"))) as fn(usize) -> Fault, |_| {
            Fault::Answer(400, |_| cancelled_body("ThrottlingError"))
        }]
    {
        let (outcome, applied) = commit_with(plan).await;
        let error = outcome.expect_err("throttled");
        assert!(matches!(error, StoreError::Throttled { .. }) && error.is_retryable() && !applied, "{error}");
    }
}

#[tokio::test]
async fn a_transaction_in_the_way_is_a_conflict_and_not_a_fence() {
    let (outcome, applied) =
        commit_with(|_| Fault::Answer(400, |_| cancelled_body("TransactionConflict"))).await;
    assert!(matches!(outcome, Ok(Committed::Conflict)) && !applied, "{outcome:?}");
}

#[tokio::test]
async fn a_cancellation_without_the_old_item_is_judged_by_a_read() {
    // The emulator's cancellation names no item here; the lease is ours, so it is a conflict.
    let (outcome, _) =
        commit_with(|_| Fault::Answer(400, |_| cancelled_body("ConditionalCheckFailed"))).await;
    assert!(matches!(outcome, Ok(Committed::Conflict)), "{outcome:?}");
}

#[tokio::test]
async fn a_lease_is_ours_although_the_answer_was_lost() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let first_lost: fn(usize) -> Fault = |n| if n == 0 { Fault::LoseAnswer } else { Fault::None };
    let store = store_behind(&world, "UpdateItem", first_lost);
    let Acquired::Held(held) = store.acquire(&mailbox, "test", at(60), at(0)).await.expect("answered") else {
        panic!("it is our own lease")
    };
    assert_eq!(*held, world.sync(&mailbox).await);
    let release = Release {
        generation: held.generation,
        asked: held.asked,
        due_at: None,
        status: None,
        credential_version: None,
    };
    let store = store_behind(&world, "UpdateItem", first_lost);
    assert_eq!(store.release(&mailbox, &release).await.expect("answered"), Released::Free);
    assert_eq!(world.sync(&mailbox).await.lease, None);
}

#[tokio::test]
async fn keys_that_were_not_processed_are_asked_for_again() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let rows = (1..=40).map(|id| put(message(id, &[]))).collect();
    world.store.commit(&commit(&held, rows, Vec::new())).await.expect("applied");
    let ids: Vec<MessageId> = (1..=40).map(MessageId).collect();
    let twice: fn(usize) -> Fault =
        |n| if n < 2 { Fault::Answer(200, unprocessed_body) } else { Fault::None };
    let store = store_behind(&world, "BatchGetItem", twice);
    assert_eq!(store.read_rows(&mailbox, &ids).await.expect("read").len(), 40);
    let store = store_behind(&world, "BatchGetItem", |_| Fault::Answer(200, unprocessed_body));
    let error = store.read_rows(&mailbox, &ids).await.expect_err("it never ends");
    assert!(matches!(error, StoreError::Throttled { .. }), "{error}");
}

fn error_body(code: &str) -> String {
    format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"as the test wants it"}}"#)
}

fn cancelled_body(code: &str) -> String {
    format!(
        r#"{{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled","CancellationReasons":[{{"Code":"{code}"}},{{"Code":"None"}}]}}"#
    )
}

/// Every key of the call, unprocessed.
fn unprocessed_body(call: &str) -> String {
    let call: serde_json::Value = serde_json::from_str(call).expect("a call");
    serde_json::json!({ "Responses": {}, "UnprocessedKeys": call["RequestItems"] }).to_string()
}
