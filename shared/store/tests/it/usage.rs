//! What a visit costs is counted, by DynamoDB's own word, and added up by day.

use std::collections::BTreeMap;

use sync_core::{SignedDuration, message::BodyForm, quota::Method};
use sync_store::{VisitUsage, metered};

use crate::fixture::{World, at, commit, message, put};

#[tokio::test]
async fn work_is_metered_and_what_runs_beside_it_is_not() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let stored = world.store.put_body(&mailbox, b"mail".to_vec(), BodyForm::Raw);
    let (body, spent) = metered(Box::pin(stored)).await;
    body.expect("put");
    assert_eq!((spent.s3_writes, spent.s3_reads), (1, 0));
    assert!(spent.read_units + spent.write_units == 0.0, "{spent:?}");
    let (_, spent) =
        metered(Box::pin(world.store.commit(&commit(&held, vec![put(message(1, &[]))], Vec::new())))).await;
    assert!(spent.write_units >= 4.0, "a transaction writes everything twice: {spent:?}");
    let (_, read) = metered(Box::pin(async {
        let beside = tokio::spawn({
            let (store, mailbox) = (world.store.clone(), mailbox.clone());
            async move { store.read_sync(&mailbox).await }
        });
        world.store.read_sync(&mailbox).await.expect("read");
        beside.await
    }))
    .await;
    let (_, alone) = metered(Box::pin(world.store.read_sync(&mailbox))).await;
    assert!(alone.read_units > 0.0, "{alone:?}");
    assert_eq!(read, alone, "a task of its own is nobody's");
}

#[tokio::test]
async fn visits_add_up_by_day_for_the_mailbox_and_for_everybody() {
    let world = World::new().await;
    let (one, other) =
        (world.mailbox_named("a@example.com").await, world.mailbox_named("b@example.com").await);
    let visit = VisitUsage {
        gmail: BTreeMap::from([(Method::MessagesGet, (3, 60)), (Method::HistoryList, (1, 2))]),
        megabyte_milliseconds: 512 * 2_000,
        sqs_requests: 3,
        ..VisitUsage::default()
    };
    for mailbox in [&one, &one, &other] {
        world.store.add_usage(mailbox, &visit, at(0)).await.expect("added");
    }
    let tomorrow = at(0) + SignedDuration::from_hours(24);
    world.store.add_usage(&one, &visit, tomorrow).await.expect("added");

    let days = world.store.usage_of(&one, 30).await.expect("read");
    assert_eq!(days.iter().map(|day| day.visits).collect::<Vec<_>>(), [1, 2], "newest first");
    let day = &days[1];
    assert_eq!(
        (day.quota_units, day.gmail_calls["messages.get"], day.gmail_units["history.list"]),
        (124, 6, 4)
    );
    assert!((day.lambda_gb_seconds - 2.0).abs() < 1e-9, "{day:?}");
    assert_eq!(world.store.usage_today(&one, at(0)).await.expect("read"), *day);
    let everybody = world.store.project_usage_today(at(0)).await.expect("read");
    assert_eq!((everybody.visits, everybody.quota_units, everybody.sqs_requests), (3, 186, 9));
    assert_eq!(everybody.date, day.date);
    let nobody = world.store.usage_today(&other, tomorrow).await.expect("read");
    assert_eq!((nobody.visits, nobody.quota_units), (0, 0));
}
