//! Counters of live rows by label.

use std::collections::BTreeMap;

use sync_core::{MailboxId, MessageId};

use crate::fixture::{World, bury, commit, message, put};

async fn counts(world: &World, mailbox: &MailboxId) -> BTreeMap<String, i64> {
    world.store.read_label_counts(mailbox).await.expect("read").expect("counted from the beginning")
}

fn of(counts: &[(&str, i64)]) -> BTreeMap<String, i64> {
    counts.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
}

#[tokio::test]
async fn commits_add_to_the_counters_whatever_a_label_is_called() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    assert_eq!(counts(&world, &mailbox).await, of(&[]));
    world.acquire(&mailbox).await;
    for (change, expected) in [
        (
            vec![("INBOX", 2), ("a b#:.[0]", 1), ("pk", 7), ("ä", 1)],
            vec![("INBOX", 2), ("a b#:.[0]", 1), ("pk", 7), ("ä", 1)],
        ),
        (vec![("INBOX", -1), ("ä", -1), ("pk", -7)], vec![("INBOX", 1), ("a b#:.[0]", 1)]),
        (vec![], vec![("INBOX", 1), ("a b#:.[0]", 1)]),
    ] {
        let mut commit = commit(&world.sync(&mailbox).await, Vec::new(), Vec::new());
        commit.labels = of(&change);
        world.apply(&commit).await;
        assert_eq!(counts(&world, &mailbox).await, of(&expected), "after {change:?}");
    }
}

#[tokio::test]
async fn a_commit_with_more_labels_than_an_expression_holds_counts_them_all() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.acquire(&mailbox).await;
    let mut one = commit(&world.sync(&mailbox).await, Vec::new(), Vec::new());
    one.labels = of(&[("Label_7", 5), ("INBOX", 1)]);
    world.apply(&one).await;
    let mut many = commit(&world.sync(&mailbox).await, Vec::new(), Vec::new());
    many.labels = (0..700).map(|n| (format!("Label_{n}"), 1)).collect();
    world.apply(&many).await;
    let counted = counts(&world, &mailbox).await;
    assert_eq!((counted.len(), counted["Label_7"], counted["INBOX"], counted["Label_699"]), (701, 6, 1, 1));
    let mut back = commit(&world.sync(&mailbox).await, Vec::new(), Vec::new());
    back.labels = (0..700).map(|n| (format!("Label_{n}"), -1)).collect();
    world.apply(&back).await;
    assert_eq!(counts(&world, &mailbox).await, of(&[("INBOX", 1), ("Label_7", 5)]));
}

#[tokio::test]
async fn rows_counted_anew_are_the_live_ones_and_a_commit_in_between_is_noticed() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.acquire(&mailbox).await;
    let rows = vec![put(message(1, &["INBOX", "A"])), put(message(2, &["INBOX"])), bury(3, 9)];
    world.apply(&commit(&world.sync(&mailbox).await, rows, Vec::new())).await;
    assert_eq!(world.store.count_labels(&mailbox).await.expect("counted"), of(&[("A", 1), ("INBOX", 2)]));
    world.apply(&commit(&world.sync(&mailbox).await, vec![bury(1, 2_000)], Vec::new())).await;
    assert_eq!(world.store.count_labels(&mailbox).await.expect("counted"), of(&[("INBOX", 1)]));
    assert!(world.store.get_message(&mailbox, MessageId(1)).await.expect("read").is_some());
}
