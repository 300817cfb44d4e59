//! Lists and listings in S3: kept, found again, and swept when nothing points at them.

use sync_core::{
    HistoryId, MailboxId, MessageId, SignedDuration, Timestamp,
    job::Counts,
    state::{FetchList, Window, Work, WorkKind},
    sync::{Listed, Listing},
};

use crate::fixture::{World, at, commit};

/// A listing as a worker may have written it: an empty one, of the layout that the core reads.
fn listing() -> Listing {
    // Layout 1, the first stage, since 7; everything else is empty. Thirteen numbers in all.
    let mut bytes = Vec::new();
    for number in [2_u64, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] {
        bytes.extend(number.to_be_bytes());
    }
    Listing::from_bytes(&bytes).expect("a listing")
}

#[tokio::test]
async fn a_listing_is_kept_and_what_is_gone_or_broken_is_nothing() {
    let world = World::new().await;
    let mailbox: MailboxId = "mbx_1".parse().expect("an id");
    world.store.save_listing(&mailbox, "7-1.listing", listing()).await.expect("saved");
    let load = |name: &'static str| {
        let (world, mailbox) = (&world, &mailbox);
        async move { world.store.load_listing(mailbox, name).await.expect("read") }
    };
    assert_eq!(load("7-1.listing").await, Some(listing()));
    assert_eq!(load("7-2.listing").await, None);
    world.store.save_list(&mailbox, "7-3.ids", &[Listed::alone(MessageId(1))]).await.expect("saved");
    assert_eq!(load("7-3.ids").await, None, "something else under its name is no listing");
}

#[tokio::test]
async fn the_place_of_a_message_in_what_is_left_of_a_list_is_found() {
    let world = World::new().await;
    let mailbox: MailboxId = "mbx_1".parse().expect("an id");
    let ids: Vec<Listed> = (0..250_000_u64).rev().map(|id| Listed::alone(MessageId(id))).collect();
    world.store.save_list(&mailbox, "7-1", &ids).await.expect("saved");
    let list = FetchList { key: "7-1".to_owned(), total: 250_000, position: 10, verify_from: u64::MAX };
    let place = |id| {
        let (world, mailbox, list) = (&world, &mailbox, &list);
        async move { world.store.list_position(mailbox, list, MessageId(id)).await.expect("read") }
    };
    assert_eq!(place(249_989).await, Some(10));
    assert_eq!(place(0).await, Some(249_999), "behind two full reads");
    assert_eq!(place(249_990).await, None, "it has been fetched");
    assert_eq!(place(250_000).await, None);
    let gone = FetchList { key: "gone".to_owned(), ..list.clone() };
    assert_eq!(world.store.list_position(&mailbox, &gone, MessageId(1)).await.expect("read"), None);
}

#[tokio::test]
async fn lists_that_nothing_points_at_are_swept_after_a_day() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    for name in ["1-1.ids", "1-2.ids", "1-3.ids"] {
        world.store.save_list(&mailbox, name, &[Listed::alone(MessageId(1))]).await.expect("saved");
    }
    world.store.save_listing(&mailbox, "1-4.listing", listing()).await.expect("saved");
    let mut pointing = commit(&held, Vec::new(), Vec::new());
    pointing.progress.work = vec![Work {
        kind: WorkKind::Initial { window: Window::All },
        request: None,
        listing: Some("1-4.listing".to_owned()),
        list: Some(FetchList { key: "1-2.ids".to_owned(), total: 1, position: 0, verify_from: u64::MAX }),
        max_results: None,
        started_at: at(0),
        counts: Counts::default(),
    }];
    pointing.progress.cursor = Some(HistoryId(1));
    world.apply(&pointing).await;

    let now = Timestamp::now();
    assert_eq!(world.store.sweep_lists(&mailbox, now).await.expect("swept"), 0, "they are young");
    let tomorrow = now + SignedDuration::from_hours(25);
    assert_eq!(world.store.sweep_lists(&mailbox, tomorrow).await.expect("swept"), 2);
    assert_eq!(world.store.load_list(&mailbox, "1-2.ids", 0, 5).await.expect("there").len(), 1);
    assert!(world.store.load_listing(&mailbox, "1-4.listing").await.expect("read").is_some());
    assert!(world.store.load_list(&mailbox, "1-1.ids", 0, 5).await.is_err());
    assert_eq!(world.store.sweep_lists(&mailbox, tomorrow).await.expect("swept"), 0);
}
