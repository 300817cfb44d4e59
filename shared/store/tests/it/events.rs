//! Events: numbered without a hole, by commits and by those who hold no lease, and read in order.

use sync_core::{
    HistoryId, MailboxId, MessageId,
    sync::{Committed, Event, Happened, MessageNews},
};
use sync_store::{Retention, StoreError};

use crate::fixture::{World, at, commit, message, put};

/// These happenings, numbered after `seq`.
pub fn numbered(seq: u64, happened: impl IntoIterator<Item = Happened>) -> Vec<Event> {
    happened.into_iter().zip(seq + 1..).map(|(what, seq)| Event { seq, what }).collect()
}

fn created(id: u64) -> Happened {
    Happened::Created(MessageNews {
        gmail_id: MessageId(id),
        history_id: HistoryId(u64::MAX),
        label_ids: ["INBOX".to_owned()].into(),
    })
}

async fn read(world: &World, mailbox: &MailboxId, after: u64, limit: u32) -> Vec<u64> {
    let events = world.store.read_events(mailbox, after, limit, at(20)).await.expect("read");
    events.events.into_iter().map(|event| event.seq).collect()
}

#[tokio::test]
async fn events_of_commits_and_of_others_are_one_sequence() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let mut first = commit(&held, vec![put(message(1, &["INBOX"]))], Vec::new());
    first.events = numbered(0, [created(1), created(2)]);
    world.apply(&first).await;
    let seq = world.store.announce(&mailbox, &Happened::NeedsReauth, at(11)).await.expect("announced");
    assert_eq!((seq, world.sync(&mailbox).await.seq), (3, 3));
    // The commit was decided before somebody else announced.
    let mut late = commit(&world.sync(&mailbox).await, vec![put(message(2, &[]))], Vec::new());
    (late.seq, late.events) = (2, numbered(2, [created(2)]));
    assert_eq!(world.store.commit(&late).await.expect("answered"), Committed::Conflict);
    assert!(world.store.get_message(&mailbox, MessageId(2)).await.expect("read").is_none());
    (late.seq, late.events) = (3, numbered(3, [created(2)]));
    world.apply(&late).await;
    // Without events a commit does not care for the sequence.
    let mut silent = commit(&world.sync(&mailbox).await, Vec::new(), Vec::new());
    silent.seq = 1;
    world.apply(&silent).await;

    let events = world.store.read_events(&mailbox, 0, 500, at(20)).await.expect("read");
    assert_eq!(events.seq, 4);
    let whats: Vec<_> = events.events.iter().map(|event| event.what.clone()).collect();
    assert_eq!(whats, [created(1), created(2), Happened::NeedsReauth, created(2)]);
    assert_eq!(events.events[2].at, at(11));
    assert_eq!(events.events[0].id(), format!("evt_{mailbox}_1"));
    assert_eq!(read(&world, &mailbox, 1, 2).await, [2, 3]);
    assert!(read(&world, &mailbox, 4, 500).await.is_empty());
    let ahead = world.store.read_events(&mailbox, 5, 10, at(20)).await;
    assert!(matches!(ahead, Err(StoreError::Cursor)), "there never was a fifth");
    let raw = world.raw(&format!("M#{mailbox}"), "EVT#00000000000000000001").await.expect("there");
    assert_eq!(raw["type"].as_s().expect("text"), "message.created");
}

#[tokio::test]
async fn many_who_announce_at_once_leave_no_hole_and_share_no_number() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..8 {
        let (store, mailbox) = (world.store.clone(), mailbox.clone());
        tasks.spawn(async move {
            loop {
                match store.announce(&mailbox, &created(id), at(10)).await {
                    Err(error) if error.is_retryable() => {}
                    outcome => return outcome,
                }
            }
        });
    }
    let mut numbers: Vec<u64> =
        tasks.join_all().await.into_iter().map(|seq| seq.expect("announced")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    assert_eq!(read(&world, &mailbox, 0, 500).await, numbers);
}

#[tokio::test]
async fn a_hole_stops_the_reader_until_it_is_filled() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    for id in 1..=4 {
        world.store.announce(&mailbox, &created(id), at(10)).await.expect("announced");
    }
    // A transaction that is visible in part: its second event is not there yet.
    let sk = "EVT#00000000000000000003";
    let hidden = world.raw(&format!("M#{mailbox}"), sk).await.expect("there");
    let key = |name: &str| hidden[name].clone();
    let delete = world.dynamo.delete_item().table_name(&world.config.table);
    delete.key("pk", key("pk")).key("sk", key("sk")).send().await.expect("deleted");
    assert_eq!(read(&world, &mailbox, 0, 500).await, [1, 2]);
    assert!(read(&world, &mailbox, 2, 500).await.is_empty(), "nothing is skipped");
    let put = world.dynamo.put_item().table_name(&world.config.table);
    put.set_item(Some(hidden)).send().await.expect("put");
    assert_eq!(read(&world, &mailbox, 2, 500).await, [3, 4]);
}

#[tokio::test]
async fn a_reader_who_was_away_too_long_is_told_where_to_begin_again() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let kept = Retention { events: sync_core::SignedDuration::from_secs(100), ..Retention::default() };
    let store = world.store.clone().keeping(kept);
    for (id, seconds) in [(1, 10), (2, 20), (3, 30), (4, 200)] {
        store.announce(&mailbox, &created(id), at(seconds)).await.expect("announced");
    }
    let gone = |after, now| {
        let (store, mailbox) = (&store, &mailbox);
        async move {
            match store.read_events(mailbox, after, 10, at(now)).await {
                Err(StoreError::EventsGone { kept_from }) => Some(kept_from),
                Ok(_) => None,
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(gone(0, 105).await, None, "all are kept still");
    // DynamoDB deletes late: what has lapsed counts as gone all the same.
    assert_eq!(gone(0, 250).await, Some(4));
    assert_eq!(gone(2, 250).await, Some(4));
    let rest = store.read_events(&mailbox, 3, 10, at(250)).await.expect("read");
    assert_eq!(rest.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [4]);
    assert_eq!(gone(3, 1_000).await, Some(5), "all have lapsed: the next one to come");
    assert_eq!(gone(4, 1_000).await, None, "whoever has read them all has missed nothing");
}
