//! References to mail, and what they keep.

use sync_core::MessageId;
use sync_store::{REFERENCE_BYTES_MAX, REFERENCES_MAX, StoreError};

use crate::fixture::{World, at, bury, commit, message, put};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn references_are_a_set_that_the_worker_never_touches() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let one = MessageId(1);
    let nobody = world.store.add_references(&mailbox, one, &texts(&["task:1"])).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { what: "message" })));
    assert!(world.store.get_message(&mailbox, one).await.expect("read").is_none(), "no row was made");
    world.apply(&commit(&held, vec![put(message(1, &[]))], Vec::new())).await;

    let add = |names: &'static [&'static str]| {
        let (world, mailbox) = (&world, &mailbox);
        async move { world.store.add_references(mailbox, one, &texts(names)).await.expect("added") }
    };
    assert_eq!(add(&["task:2", "task:1", "task:2"]).await, ["task:1", "task:2"]);
    assert_eq!(add(&["task:1", "deal:9"]).await, ["deal:9", "task:1", "task:2"]);
    world.apply(&commit(&world.sync(&mailbox).await, vec![bury(1, 2_000)], Vec::new())).await;
    let row = world.store.get_message(&mailbox, one).await.expect("read").expect("there");
    assert_eq!(row.references, ["deal:9", "task:1", "task:2"]);
    assert_eq!(add(&["task:3"]).await.len(), 4, "a tombstone can be referenced");
    let remove = |names: &'static [&'static str]| {
        let (world, mailbox) = (&world, &mailbox);
        async move { world.store.remove_references(mailbox, one, &texts(names)).await.expect("removed") }
    };
    assert_eq!(remove(&["task:3", "unknown"]).await, ["deal:9", "task:1", "task:2"]);
    assert_eq!(remove(&["unknown"]).await.len(), 3);
    assert_eq!(remove(&["deal:9", "task:1", "task:2"]).await, texts(&[]), "the last one can go too");
    assert_eq!(add(&["task:1"]).await, ["task:1"], "and come again");
}

#[tokio::test]
async fn references_are_bounded_however_many_add_at_once() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    world.apply(&commit(&held, vec![put(message(1, &[]))], Vec::new())).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let (store, mailbox) = (world.store.clone(), mailbox.clone());
        tasks.spawn(async move {
            let ten: Vec<String> = (0..10).map(|n| format!("task:{writer}-{n}")).collect();
            store.add_references(&mailbox, MessageId(1), &ten).await
        });
    }
    let outcomes = tasks.join_all().await;
    let added = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(added, 5, "{outcomes:?}");
    assert!(outcomes.iter().flatten().all(|all| all.len() <= REFERENCES_MAX));
    let refused = outcomes.into_iter().find_map(Result::err).expect("the sixth");
    assert!(matches!(refused, StoreError::TooLarge { actual: 60, max: REFERENCES_MAX, .. }), "{refused}");
    let long = vec!["x".repeat(REFERENCE_BYTES_MAX + 1)];
    let refused = world.store.add_references(&mailbox, MessageId(1), &long).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

#[tokio::test]
async fn retention_takes_old_tombstones_but_not_those_that_are_referenced() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let mut rows: Vec<_> = (1..=4).map(|id| put(message(id, &[]))).collect();
    rows.push(sync_core::sync::RowWrite::Tombstone {
        id: MessageId(5),
        state: sync_core::message::RowState::OutOfScope,
        history_id: sync_core::HistoryId(1),
        labels: None,
        touched: sync_core::message::Touched::new(),
    });
    world.apply(&commit(&held, rows, Vec::new())).await;
    world.store.add_references(&mailbox, MessageId(2), &texts(&["task:1"])).await.expect("added");
    let mut deletion =
        commit(&world.sync(&mailbox).await, vec![bury(1, 9), bury(2, 9), bury(3, 9)], Vec::new());
    deletion.totals = sync_core::state::Totals { deleted: 3, ..Default::default() };
    world.apply(&deletion).await;

    let sweep = |before| {
        let (world, mailbox) = (&world, &mailbox);
        async move {
            let mut known = sync_store::KnownBodies::default();
            world.store.sweep_tombstones(mailbox, at(before), None, &mut known).await.expect("swept").next
        }
    };
    assert_eq!(sweep(10).await, None, "they were deleted at 10, not before");
    assert_eq!(world.sync(&mailbox).await.totals.deleted, 3);
    assert_eq!(sweep(11).await, None);
    let ids: Vec<MessageId> = (1..=5).map(MessageId).collect();
    let mut left: Vec<u64> =
        world.store.read_rows(&mailbox, &ids).await.expect("read").into_iter().map(|(id, _)| id.0).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 4, 5], "the referenced, the living, and what only left the scope");
    assert_eq!(world.sync(&mailbox).await.totals.deleted, 1);
    world.store.remove_references(&mailbox, MessageId(2), &texts(&["task:1"])).await.expect("removed");
    sweep(11).await;
    assert!(world.store.get_message(&mailbox, MessageId(2)).await.expect("read").is_none());
}
