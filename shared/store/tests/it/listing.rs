//! Listing mail: order, indexes, filters, cursors.

use sync_core::{
    MailboxId, MessageId, ThreadId,
    sync::{Commit, Committed},
};
use sync_store::{MailQuery, StoreError};

use crate::fixture::{World, at, bury, commit, message, put};

async fn fill(world: &World, mailbox: &MailboxId, ids: impl Iterator<Item = u64>) {
    world.acquire(mailbox).await;
    let ids: Vec<u64> = ids.collect();
    for chunk in ids.chunks(Commit::MESSAGES_MAX) {
        let rows = chunk.iter().map(|id| {
            let mut labels = vec!["INBOX"];
            labels.extend((id % 2 == 0).then_some("UNREAD"));
            labels.extend((id % 50 == 0).then_some("SENT"));
            put(message(*id, &labels))
        });
        let commit = commit(&world.sync(mailbox).await, rows.collect(), Vec::new());
        assert_eq!(world.store.commit(&commit).await.expect("answered"), Committed::Applied);
    }
}

/// The ids of all pages, and how many pages there were.
async fn list(world: &World, mut query: MailQuery) -> (Vec<u64>, usize) {
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let page = world.store.list_messages(&query).await.expect("listed");
        assert!(page.items.len() <= usize::try_from(query.limit).expect("small"));
        ids.extend(page.items.iter().map(|message| message.id.0));
        pages += 1;
        query.cursor = page.next;
        if query.cursor.is_none() {
            return (ids, pages);
        }
    }
}

fn query(mailbox: &MailboxId) -> MailQuery {
    MailQuery { mailboxes: vec![mailbox.clone()], limit: 30, ..MailQuery::default() }
}

#[tokio::test]
async fn mail_is_listed_newest_first_page_by_page_under_every_filter() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    fill(&world, &mailbox, 1..=120).await;
    let all = query(&mailbox);
    let falling = |ids: &mut dyn Iterator<Item = u64>| {
        let mut ids: Vec<u64> = ids.collect();
        ids.reverse();
        ids
    };
    assert_eq!(list(&world, all.clone()).await, (falling(&mut (1..=120)), 4), "no empty page at the end");
    let between = MailQuery { after: Some(at(20)), before: Some(at(30)), ..all.clone() };
    assert_eq!(list(&world, between).await.0, falling(&mut (20..30)), "the end is exclusive");
    let unread = MailQuery { unread: Some(true), limit: 7, ..all.clone() };
    assert_eq!(list(&world, unread).await.0, falling(&mut (1..=120).filter(|id| id % 2 == 0)));
    let sent = MailQuery { label: Some("SENT".to_owned()), ..all.clone() };
    assert_eq!(list(&world, sent).await.0, [100, 50]);
    assert_eq!(list(&world, MailQuery { outbound: Some(true), ..all.clone() }).await.0, [100, 50]);
    let subject = MailQuery { subject: Some("SUBJECT 11".to_owned()), ..all.clone() };
    assert_eq!(list(&world, subject).await.0, [119, 118, 117, 116, 115, 114, 113, 112, 111, 110, 11]);
    let sender = MailQuery { sender: Some("sender 120".to_owned()), ..all.clone() };
    assert_eq!(list(&world, sender).await.0, [120]);
    let by_address = MailQuery { sender: Some("BOB@".to_owned()), limit: 500, ..all.clone() };
    assert_eq!(list(&world, by_address).await.0.len(), 120);
    let thread = MailQuery { thread: Some(ThreadId(3)), limit: 4, ..all.clone() };
    assert_eq!(list(&world, thread).await.0, falling(&mut (30..40)));
    let nothing = MailQuery { label: Some("NONE".to_owned()), ..all };
    assert_eq!(list(&world, nothing).await.0, Vec::<u64>::new());
}

#[tokio::test]
async fn tombstones_are_listed_apart_and_stay_in_their_thread() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    fill(&world, &mailbox, 1..=5).await;
    let tombstones = [3, 77].map(|id| bury(id, 9_999));
    let commit = commit(&world.sync(&mailbox).await, tombstones.to_vec(), Vec::new());
    assert_eq!(world.store.commit(&commit).await.expect("answered"), Committed::Applied);
    assert_eq!(list(&world, query(&mailbox)).await.0, [5, 4, 2, 1]);
    let live = MailQuery { deleted: Some(false), ..query(&mailbox) };
    assert_eq!(list(&world, live).await.0, [5, 4, 2, 1]);
    let deleted = MailQuery { deleted: Some(true), ..query(&mailbox) };
    assert_eq!(list(&world, deleted).await.0, [3], "what was never stored has no place in a list");
    let thread = MailQuery { thread: Some(ThreadId(0)), ..query(&mailbox) };
    assert_eq!(list(&world, thread.clone()).await.0, [5, 4, 3, 2, 1]);
    let live_of_thread = MailQuery { deleted: Some(false), limit: 2, ..thread };
    assert_eq!(list(&world, live_of_thread).await.0, [5, 4, 2, 1]);
}

#[tokio::test]
async fn several_mailboxes_are_merged_without_a_gap_or_a_double() {
    let world = World::new().await;
    let one = world.mailbox_named("one@example.com").await;
    let two = world.mailbox_named("two@example.com").await;
    // Some ids and times are the same in both.
    fill(&world, &one, 1..=40).await;
    fill(&world, &two, (1..=60).filter(|id| id % 3 == 0)).await;
    for limit in [1, 2, 7, 500] {
        let mailboxes = vec![one.clone(), two.clone(), one.clone()];
        let (ids, _) = list(&world, MailQuery { mailboxes, limit, ..MailQuery::default() }).await;
        let mut expected: Vec<u64> = (1..=40).chain((1..=60).filter(|id| id % 3 == 0)).collect();
        expected.sort_unstable_by(|one, other| other.cmp(one));
        assert_eq!(ids, expected, "limit {limit}");
    }
    let (none, pages) = list(&world, MailQuery { limit: 10, ..MailQuery::default() }).await;
    assert_eq!((none.len(), pages), (0, 1));
}

#[tokio::test]
async fn a_cursor_fits_its_query_only() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    fill(&world, &mailbox, 1..=5).await;
    let first = MailQuery { limit: 2, ..query(&mailbox) };
    let cursor = world.store.list_messages(&first).await.expect("listed").next.expect("more");
    let other_limit = MailQuery { limit: 1, cursor: Some(cursor.clone()), ..first.clone() };
    let page = world.store.list_messages(&other_limit).await.expect("the limit may differ");
    assert_eq!(page.items[0].id, MessageId(3));
    let mut tampered = cursor.clone().into_bytes();
    tampered[14] ^= 1;
    for query in [
        MailQuery { unread: Some(true), cursor: Some(cursor.clone()), ..first.clone() },
        MailQuery { mailboxes: vec!["mbx_x".parse().expect("an id")], cursor: Some(cursor), ..first.clone() },
        MailQuery { cursor: Some(String::from_utf8_lossy(&tampered).into_owned()), ..first.clone() },
        MailQuery { cursor: Some("not a cursor".to_owned()), ..first },
    ] {
        let error = world.store.list_messages(&query).await.expect_err("refused");
        assert!(matches!(error, StoreError::Cursor), "{error}");
    }
}
