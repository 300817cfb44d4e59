//! What is known of one message.

use sync_core::{
    MailboxId, MessageId,
    job::Counts,
    message::RowState,
    state::{FetchList, Window, Work, WorkKind},
    sync::{Listed, OwedWrite},
};
use sync_store::StoreError;

use crate::{
    commits::owed,
    fixture::{World, at, bury, commit, message, put},
};

#[tokio::test]
async fn every_place_where_a_message_can_be_is_told() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let ids = [9, 8, 7, 6].map(|id| Listed::alone(MessageId(id)));
    world.store.save_list(&mailbox, "1-1", &ids).await.expect("saved");
    let mut commit =
        commit(&held, vec![put(message(1, &["A"])), bury(2, 50)], vec![OwedWrite::Put(owed(3, 60))]);
    commit.progress.work = vec![Work {
        kind: WorkKind::Initial { window: Window::All },
        request: None,
        listing: None,
        list: Some(FetchList { key: "1-1".to_owned(), total: 4, position: 1, verify_from: 3 }),
        max_results: None,
        started_at: at(0),
        counts: Counts::default(),
    }];
    world.apply(&commit).await;
    let why = |id| {
        let (world, mailbox) = (&world, &mailbox);
        async move { world.store.why(mailbox, MessageId(id)).await.expect("read") }
    };
    let stored = why(1).await;
    assert!(stored.row.is_some_and(|row| row.is_live()) && stored.message.is_some());
    assert_eq!(why(2).await.row.expect("a row").state, RowState::Deleted);
    assert_eq!(why(3).await.owed, Some(owed(3, 60)));
    let waiting = why(7).await.lists;
    assert_eq!(
        waiting.iter().map(|place| (place.position, place.ahead, place.verify)).collect::<Vec<_>>(),
        [(2, 1, false)]
    );
    assert!(why(6).await.lists[0].verify);
    for fetched_or_unknown in [9, 77] {
        let nothing = why(fetched_or_unknown).await;
        assert!(nothing.row.is_none() && nothing.owed.is_none() && nothing.lists.is_empty());
    }
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    assert!(matches!(
        world.store.why(&nobody, MessageId(1)).await,
        Err(StoreError::NotFound { what: "mailbox" })
    ));
}
