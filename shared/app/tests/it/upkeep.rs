//! Upkeep against an emulated AWS: retention and rebuilding end to end, and whose watch is looked at.

use std::collections::BTreeMap;

use sync_app::{
    metrics::Metric,
    upkeep::{Kept, Step, keep_up, queue_upkeep},
};
use sync_core::{
    MailboxId, MessageId, SignedDuration, Timestamp,
    job::Lane,
    message::{RowState, Touched},
    overrides::{Overrides, Setting},
    state::Status,
    sync::RowWrite,
};
use sync_queue::Upkeep;
use sync_store::{Retention, Store, TenantRow};

use crate::api::world::{World, mail, put, tenant};

async fn done(
    world: &World,
    store: &Store,
    mailbox: &MailboxId,
    upkeep: Upkeep,
    within: SignedDuration,
) -> Kept {
    let step = Step { mailbox: mailbox.clone(), upkeep, after: None, trace: "t-1".to_owned() };
    let checkpoint_at = Timestamp::now() + within;
    keep_up(store, &world.clients.queue, &step, "owner", checkpoint_at).await.expect("kept up")
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

#[tokio::test]
async fn retention_takes_what_is_old_and_goes_on_where_it_was_cut_short() {
    let world = World::new().await;
    let mailbox = world.mailbox("ten_a", "old@example.com").await;
    // More rows than one page of the sweep holds.
    for chunk in (1..=1_080_u64).collect::<Vec<_>>().chunks(90) {
        let rows = chunk.iter().map(|id| RowWrite::Tombstone {
            id: MessageId(*id),
            state: RowState::Deleted,
            history_id: sync_core::HistoryId(1),
            labels: None,
            touched: Touched::new(),
        });
        let rows = rows.collect();
        world.commit(&mailbox, |commit| commit.rows = rows).await;
    }
    world.work(&mailbox, vec![put(mail(5_000, &[]))], Vec::new()).await;
    let kept = done(&world, &world.store, &mailbox, Upkeep::Retention, MINUTE).await;
    assert_eq!((kept.tombstones, kept.continued), (0, false), "nothing is old");

    let short = Retention { deleted_mail: SignedDuration::ZERO, ..Retention::default() };
    let store = world.store.clone().keeping(short);
    let began = done(&world, &store, &mailbox, Upkeep::Retention, SignedDuration::ZERO).await;
    assert_eq!((began.tombstones, began.continued), (1_000, true), "one page, and the rest is sent on");
    assert_eq!(world.clients.queue.depth(Lane::Backfill).await.expect("read").total(), 1);
    let ended = done(&world, &store, &mailbox, Upkeep::Retention, MINUTE).await;
    assert_eq!((ended.tombstones, ended.continued), (80, false));
    assert!(world.store.get_message(&mailbox, MessageId(5_000)).await.expect("read").is_some(), "it lives");
}

#[tokio::test]
async fn a_mailbox_remembers_its_deletions_for_as_long_as_is_chosen_for_it() {
    let world = World::new().await;
    let row = TenantRow { id: tenant("ten_a"), name: "A".to_owned(), created_at: Timestamp::now() };
    world.store.create_tenant(&row).await.expect("made");
    let mailbox = world.mailbox("ten_a", "old@example.com").await;
    for (id, days) in [(1, 3), (2, 8), (3, 20)] {
        let tombstone = RowWrite::Tombstone {
            id: MessageId(id),
            state: RowState::Deleted,
            history_id: sync_core::HistoryId(1),
            labels: None,
            touched: Touched::new(),
        };
        world
            .commit(&mailbox, |commit| {
                commit.rows = vec![tombstone];
                commit.now = Timestamp::now() - SignedDuration::from_hours(24 * days);
            })
            .await;
    }
    let keeps = |days: u32| {
        let mut overrides = Overrides::default();
        overrides.set(Setting::DeletedMailKeptDays, Some(days));
        overrides
    };
    let gone = async || done(&world, &world.store, &mailbox, Upkeep::Retention, MINUTE).await.tombstones;
    assert_eq!(gone().await, 0, "the deployment keeps thirty days");
    world.store.set_tenant_overrides(&tenant("ten_a"), &keeps(10)).await.expect("set");
    assert_eq!(gone().await, 1, "the tenant keeps ten");
    world.store.set_overrides(&mailbox, &keeps(5), None).await.expect("set");
    assert_eq!(gone().await, 1, "the mailbox keeps five");
    world.store.set_overrides(&mailbox, &keeps(3_650), None).await.expect("set");
    world.store.set_tenant_overrides(&tenant("ten_a"), &keeps(1)).await.expect("set");
    assert_eq!(gone().await, 0, "the mailbox's word beats its tenant's");
}

#[tokio::test]
async fn rows_are_made_again_from_their_raw_mail_without_gmail() {
    let world = World::new().await;
    let mailbox = world.mailbox("ten_a", "rebuilt@example.com").await;
    let raw = "From: Carol <carol@example.com>\r\nSubject: As it was written\r\n\r\nHello.\r\n";
    let mut aliased = mail(2, &["INBOX"]);
    aliased.envelope.outbound = true;
    world
        .store_mails(
            &mailbox,
            vec![(mail(1, &["INBOX"]), Some(raw)), (aliased, Some(raw)), (mail(3, &[]), None)],
        )
        .await;
    for id in [1, 2, 3] {
        world.forget_projection(&mailbox, MessageId(id)).await;
    }
    let before = world.store.get_message(&mailbox, MessageId(1)).await.expect("read").expect("there");
    assert_eq!(before.envelope.subject, "Subject 1");
    let kept = done(&world, &world.store, &mailbox, Upkeep::Rebuild, MINUTE).await;
    assert_eq!((kept.rebuilt, kept.unreadable), (2, 0), "the third has no body");
    let after = world.store.get_message(&mailbox, MessageId(1)).await.expect("read").expect("there");
    assert_eq!(after.envelope.subject, "As it was written");
    assert_eq!(after.envelope.from.as_ref().map(|from| from.email.as_str()), Some("carol@example.com"));
    assert_eq!((&after.labels, after.history_id), (&before.labels, before.history_id));
    let other = world.store.get_message(&mailbox, MessageId(2)).await.expect("read").expect("there");
    assert!(other.envelope.outbound, "whose it is was told by more than the raw mail");
    let again = done(&world, &world.store, &mailbox, Upkeep::Rebuild, MINUTE).await;
    assert_eq!((again.rebuilt, again.unreadable), (0, 0), "once is enough");
    assert!(world.gmail.received_requests().await.expect("recorded").is_empty(), "Gmail had no part in it");
}

#[tokio::test]
async fn a_watch_that_nobody_renewed_is_seen_and_its_mailbox_looked_at() {
    let world = World::new().await;
    let now = Timestamp::now();
    let hours = SignedDuration::from_hours;
    let mut expected = BTreeMap::new();
    for (address, expires, status, looked, lapsed) in [
        ("lapsed@example.com", Some(now - hours(1)), Status::Active, true, true),
        ("soon@example.com", Some(now + hours(47)), Status::Active, true, false),
        ("fresh@example.com", Some(now + hours(100)), Status::Active, false, false),
        ("polled@example.com", None, Status::Active, false, false),
        ("paused@example.com", Some(now - hours(1)), Status::Paused, false, false),
    ] {
        let mailbox = world.mailbox("ten_a", address).await;
        world.store.set_watch(&mailbox, expires).await.expect("set");
        world.store.set_status(&mailbox, status, now).await.expect("set");
        expected.insert(mailbox, (looked, lapsed));
    }
    let (store, queue) = (&world.store, &world.clients.queue);
    assert_eq!(queue_upkeep(store, queue, Upkeep::Watch, "t-1", now).await.expect("queued"), 5);
    for (mailbox, (looked, lapsed)) in expected {
        let kept = done(&world, store, &mailbox, Upkeep::Watch, MINUTE).await;
        assert_eq!((kept.sent == 1, kept.watch_lapsed), (looked, lapsed), "{mailbox}");
        assert_eq!(kept.measures().get(Metric::WatchesLapsed), lapsed.then_some(1.0));
    }
    assert_eq!(queue.depth(Lane::Sync).await.expect("read").total(), 2);
}
