//! The mark of mailboxes that changed since their last probe.

use sync_core::{MailboxId, Timestamp};
use sync_store::DUE_SHARDS;

use crate::fixture::{World, at, commit, message, put};

/// Who is to be probed whose last probe was no later than this.
async fn changed(world: &World, before: Timestamp) -> Vec<MailboxId> {
    let mut all = Vec::new();
    for shard in 0..DUE_SHARDS {
        all.extend(world.store.changed(before, shard, 100).await.expect("read"));
    }
    all
}

async fn change(world: &World, mailbox: &MailboxId) {
    let sync = world.sync(mailbox).await;
    world.apply(&commit(&sync, vec![put(message(1, &["INBOX"]))], Vec::new())).await;
}

/// What a probe writes down at that time.
async fn compared(world: &World, mailbox: &MailboxId, when: Timestamp) {
    let mut probe = commit(&world.sync(mailbox).await, Vec::new(), Vec::new());
    (probe.now, probe.progress.probe.at) = (when, Some(when));
    world.apply(&probe).await;
}

#[tokio::test]
async fn a_change_marks_a_mailbox_and_a_probe_takes_the_mark_off() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.acquire(&mailbox).await;
    assert!(changed(&world, at(0)).await.is_empty(), "nothing changed yet");
    world.apply(&commit(&world.sync(&mailbox).await, Vec::new(), Vec::new())).await;
    assert!(changed(&world, at(0)).await.is_empty(), "a commit without rows is no change");
    change(&world, &mailbox).await;
    assert_eq!(changed(&world, at(-9_999)).await, std::slice::from_ref(&mailbox), "it was never probed");
    compared(&world, &mailbox, at(100)).await;
    assert!(changed(&world, at(9_999)).await.is_empty());
    change(&world, &mailbox).await;
    assert!(changed(&world, at(99)).await.is_empty(), "it was probed later than that");
    assert_eq!(changed(&world, at(100)).await, [mailbox]);
}

#[tokio::test]
async fn of_two_that_set_out_to_probe_a_mailbox_one_does_and_changes_meanwhile_change_nothing() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.acquire(&mailbox).await;
    let claim = async |before, now| world.store.claim_probe(&mailbox, before, now).await.expect("answered");
    assert!(!claim(at(0), at(3_600)).await, "nothing changed");
    change(&world, &mailbox).await;
    assert!(claim(at(0), at(3_600)).await);
    assert!(!claim(at(0), at(3_601)).await);
    change(&world, &mailbox).await;
    assert!(changed(&world, at(3_599)).await.is_empty(), "somebody has set out");
    assert!(claim(at(3_600), at(7_200)).await, "and did not arrive");
    world.store.forget_change(&mailbox).await.expect("forgotten");
    assert!(changed(&world, at(99_999)).await.is_empty());
}

#[tokio::test]
async fn the_mark_survives_counters_that_are_written_whole() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.acquire(&mailbox).await;
    let mut many = commit(&world.sync(&mailbox).await, vec![put(message(1, &[]))], Vec::new());
    many.labels = (0..300).map(|n| (format!("Label_{n}"), 1)).collect();
    world.apply(&many).await;
    assert_eq!(changed(&world, at(0)).await, std::slice::from_ref(&mailbox));
    assert!(world.store.claim_probe(&mailbox, at(0), at(50)).await.expect("answered"));
    many.after += 1;
    world.apply(&many).await;
    assert!(changed(&world, at(49)).await.is_empty(), "what somebody claimed stays claimed");
    world.store.count_labels(&mailbox).await.expect("counted");
    assert_eq!(changed(&world, at(0)).await, [mailbox], "counted anew, and to be compared");
}
