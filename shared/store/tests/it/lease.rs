//! The lease, `target`, `asked`, release, and what is due.

use sync_core::{
    HistoryId, MailboxId,
    state::Status,
    sync::{Acquired, Committed, Released},
};
use sync_store::{DUE_SHARDS, Release};

use crate::fixture::{World, at, commit, next};

fn release(sync: &sync_core::state::Sync) -> Release {
    Release {
        generation: sync.generation,
        asked: sync.asked,
        due_at: Some(at(600)),
        status: None,
        credential_version: None,
    }
}

async fn due(world: &World, seconds: i64) -> Vec<MailboxId> {
    let mut found = Vec::new();
    for shard in 0..DUE_SHARDS {
        let page = world.store.due(at(seconds), shard, None).await.expect("read");
        found.extend(page.items);
    }
    found
}

#[tokio::test]
async fn of_many_acquirers_at_once_exactly_one_wins() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    for round in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..8 {
            let (store, mailbox) = (world.store.clone(), mailbox.clone());
            tasks.spawn(async move {
                let owner = format!("worker {worker}");
                // Every lease has lapsed by the next round.
                store.acquire(&mailbox, &owner, at(round * 100 + 50), at(round * 100)).await
            });
        }
        let outcomes = tasks.join_all().await;
        let held = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Acquired::Held(_)))).count();
        let busy = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Acquired::Busy))).count();
        assert_eq!((held, busy), (1, 7), "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_lease_raises_the_generation_and_is_due_when_it_lapses() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let before = world.sync(&mailbox).await;
    let held = world.acquire(&mailbox).await;
    assert_eq!(held.generation, next(before.generation));
    assert_eq!(held.lease.as_ref().map(|lease| lease.until), Some(at(3_600)));
    assert_eq!(held.due_at, Some(at(3_600)));
    assert_eq!(held, world.sync(&mailbox).await, "what acquire gives is what is stored");
    assert_eq!(due(&world, 3_599).await, []);
    assert_eq!(due(&world, 3_600).await, std::slice::from_ref(&mailbox), "a dead holder's mailbox is found");
    let again = world.store.acquire(&mailbox, "other", at(9_000), at(3_601)).await.expect("acquired");
    assert!(matches!(again, Acquired::Held(sync) if sync.generation == next(held.generation)));
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    let unknown = world.store.acquire(&nobody, "other", at(9_000), at(0)).await.expect("answered");
    assert_eq!(unknown, Acquired::Unknown);
}

#[tokio::test]
async fn a_release_after_somebody_asked_keeps_the_lease() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    assert!(!world.store.raise_asked(&mailbox, at(0)).await.expect("answered"), "nobody holds it");
    let held = world.acquire(&mailbox).await;
    assert!(world.store.raise_asked(&mailbox, at(1)).await.expect("answered"));
    assert!(!world.store.raise_asked(&mailbox, at(3_601)).await.expect("answered"), "it has lapsed");
    let released = world.store.release(&mailbox, &release(&held)).await.expect("answered");
    assert_eq!(released, Released::AskedAgain);
    let seen = world.sync(&mailbox).await;
    assert!(seen.lease.is_some() && seen.asked == held.asked + 1);
    assert_eq!(world.store.release(&mailbox, &release(&seen)).await.expect("answered"), Released::Free);
    let free = world.sync(&mailbox).await;
    assert_eq!((free.lease, free.due_at), (None, Some(at(600))));
    assert_eq!(free.generation, held.generation, "a release leaves the fence where it is");
}

#[tokio::test]
async fn a_release_by_a_former_holder_changes_nothing() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let old = world.acquire(&mailbox).await;
    world.store.acquire(&mailbox, "other", at(9_000), at(3_601)).await.expect("acquired");
    assert_eq!(world.store.release(&mailbox, &release(&old)).await.expect("answered"), Released::Fenced);
    assert_eq!(world.sync(&mailbox).await.due_at, Some(at(9_000)));
}

#[tokio::test]
async fn a_release_without_a_time_leaves_the_index() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let paused = Release { due_at: None, status: Some(Status::NeedsAttention), ..release(&held) };
    assert_eq!(world.store.release(&mailbox, &paused).await.expect("answered"), Released::Free);
    assert_eq!(world.sync(&mailbox).await.status, Status::NeedsAttention);
    assert_eq!(due(&world, 1_000_000).await, []);
}

#[tokio::test]
async fn a_refusal_of_an_old_grant_does_not_park_a_fresh_one() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let park = Release {
        status: Some(Status::NeedsReauth),
        credential_version: Some(held.credential_version + 1),
        ..release(&held)
    };
    assert_eq!(world.store.release(&mailbox, &park).await.expect("answered"), Released::AskedAgain);
    assert_eq!(world.sync(&mailbox).await.status, Status::Active);
}

#[tokio::test]
async fn the_target_only_rises_and_is_lowered_only_from_what_was_read() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let raise = |id| world.store.raise_target(&mailbox, HistoryId(id));
    assert!(raise(999).await.expect("answered"));
    assert!(raise(1_000).await.expect("answered"), "ids compare as numbers");
    assert!(!raise(999).await.expect("answered"));
    assert!(raise(u64::MAX).await.expect("answered"));
    assert_eq!(world.sync(&mailbox).await.target, Some(HistoryId(u64::MAX)), "no digit is lost");
    let lower = |from, to| world.store.lower_target(&mailbox, HistoryId(from), HistoryId(to));
    assert!(!lower(1_000, 5).await.expect("answered"));
    assert!(lower(u64::MAX, 5).await.expect("answered"));
    assert_eq!(world.sync(&mailbox).await.target, Some(HistoryId(5)));
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    assert!(!world.store.raise_target(&nobody, HistoryId(1)).await.expect("answered"));
    assert_eq!(world.store.read_sync(&nobody).await.expect("read"), None, "a push creates no mailbox");
}

#[tokio::test]
async fn work_from_outside_is_due_whatever_the_lease() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    world.store.ask(&mailbox, at(1)).await.expect("asked");
    assert_eq!(due(&world, 1).await, std::slice::from_ref(&mailbox));
    let released = world.store.release(&mailbox, &release(&held)).await.expect("answered");
    assert_eq!(released, Released::AskedAgain);
}

#[tokio::test]
async fn due_mailboxes_come_in_pages() {
    let world = World::new().await;
    let mut asked = Vec::new();
    for n in 0..20 {
        let mailbox = world.mailbox_named(&format!("user{n}@example.com")).await;
        world.store.ask(&mailbox, at(n)).await.expect("asked");
        asked.push(mailbox);
    }
    let mut found = due(&world, 100).await;
    found.sort_unstable();
    asked.sort_unstable();
    assert_eq!(found, asked);
    assert!(world.store.due(at(0), 0, Some("nonsense")).await.is_err());
}

#[tokio::test]
async fn an_unlocked_mailbox_fences_its_holder_and_is_due_now() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    world.store.unlock(&mailbox, at(5)).await.expect("unlocked");
    let free = world.sync(&mailbox).await;
    assert_eq!((free.lease.as_ref(), free.generation), (None, next(held.generation)));
    assert_eq!((free.asked, free.due_at), (held.asked + 1, Some(at(5))));
    let late = commit(&held, Vec::new(), Vec::new());
    assert_eq!(world.store.commit(&late).await.expect("answered"), Committed::Fenced);
    assert_eq!(world.store.release(&mailbox, &release(&held)).await.expect("answered"), Released::Fenced);
    assert_eq!(world.sync(&mailbox).await, free);
    let taken = world.store.acquire(&mailbox, "other", at(60), at(6)).await.expect("answered");
    assert!(matches!(taken, Acquired::Held(sync) if sync.generation == next(free.generation)));
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    assert!(world.store.unlock(&nobody, at(5)).await.is_err());
}
