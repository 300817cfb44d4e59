//! What tenants and owners chose: written, read, kept for a while; and the time of the next look.

use std::time::Duration;

use sync_core::{
    MailboxId, TenantId,
    overrides::{Overrides, Setting},
};
use sync_store::{Store, StoreError, TenantRow};

use crate::fixture::{World, at, dynamo_at};

fn days(days: u32) -> Overrides {
    let mut overrides = Overrides::default();
    overrides.set(Setting::InitialDays, Some(days));
    overrides
}

/// A tenant, and the store of another process.
async fn tenant(world: &World) -> (TenantId, Store) {
    let id: TenantId = "ten_1".parse().expect("an id");
    let row = TenantRow { id: id.clone(), name: "One".to_owned(), created_at: at(0) };
    assert!(world.store.create_tenant(&row).await.expect("made"));
    (id, world.store_behind(&world.table_endpoint))
}

#[tokio::test]
async fn what_a_mailbox_has_otherwise_is_read_with_it_and_is_no_work() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let before = world.sync(&mailbox).await;
    assert!(before.overrides.is_empty());
    world.store.set_overrides(&mailbox, &days(7), None).await.expect("set");
    let sync = world.sync(&mailbox).await;
    assert_eq!((&sync.overrides, sync.asked, sync.due_at), (&days(7), before.asked, before.due_at));
    world.store.set_overrides(&mailbox, &Overrides::default(), Some(at(9))).await.expect("set");
    let sync = world.sync(&mailbox).await;
    assert!(sync.overrides.is_empty());
    assert_eq!((sync.asked, sync.due_at), (before.asked + 1, Some(at(9))), "whoever holds it looks again");
    let item = world.raw(&format!("M#{mailbox}"), "SYNC").await.expect("there");
    assert!(!item.contains_key("overrides"), "a map with nothing in it is left out");
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    let missing = world.store.set_overrides(&nobody, &days(7), None).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn what_a_tenant_has_otherwise_is_kept_in_memory_for_a_while() {
    let world = World::new().await;
    let (tenant, other) = tenant(&world).await;
    let hasty = other.clone().keeping_overrides(Duration::ZERO);
    for store in [&world.store, &other, &hasty] {
        assert!(store.tenant_overrides(&tenant).await.expect("read").is_empty());
    }
    world.store.set_tenant_overrides(&tenant, &days(7)).await.expect("set");
    assert_eq!(world.store.tenant_overrides(&tenant).await.expect("read"), days(7), "its own word");
    assert!(other.tenant_overrides(&tenant).await.expect("read").is_empty(), "kept");
    assert_eq!(hasty.tenant_overrides(&tenant).await.expect("read"), days(7), "forgotten, and read again");
    assert_eq!(other.read_tenant_overrides(&tenant).await.expect("read"), days(7), "read on purpose");
    assert_eq!(other.tenant_overrides(&tenant).await.expect("read"), days(7), "and kept from then on");
    let nobody = "ten_none".parse().expect("an id");
    assert!(world.store.tenant_overrides(&nobody).await.expect("read").is_empty());
    let missing = world.store.set_tenant_overrides(&nobody, &days(7)).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    let row = world.store.read_tenant(&tenant).await.expect("read").expect("there");
    assert_eq!(row.name, "One", "the rest of the row is as it was");
}

#[tokio::test]
async fn a_table_that_does_not_answer_leaves_what_was_known_of_a_tenant() {
    let world = World::new().await;
    let (tenant, store) = tenant(&world).await;
    world.store.set_tenant_overrides(&tenant, &days(7)).await.expect("set");
    let store = store.keeping_overrides(Duration::ZERO);
    assert_eq!(store.tenant_overrides(&tenant).await.expect("read"), days(7));
    let cut_off = store.with_dynamo(&dynamo_at(&world.sdk, "http://127.0.0.1:9"));
    assert!(cut_off.read_tenant_overrides(&tenant).await.is_err());
    assert_eq!(cut_off.tenant_overrides(&tenant).await.expect("known"), days(7));
    let stranger = "ten_2".parse().expect("an id");
    assert!(cut_off.tenant_overrides(&stranger).await.is_err(), "never read, so nobody knows");
}

#[tokio::test]
async fn a_look_is_brought_forward_and_never_put_off() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    assert_eq!(world.sync(&mailbox).await.due_at, None);
    for (by, changed, due) in [(50, true, 50), (60, false, 50), (40, true, 40)] {
        assert_eq!(world.store.due_by(&mailbox, at(by)).await.expect("answered"), changed, "by {by}");
        assert_eq!(world.sync(&mailbox).await.due_at, Some(at(due)));
    }
    world.store.pause(&mailbox, at(0)).await.expect("paused");
    assert!(!world.store.due_by(&mailbox, at(1)).await.expect("answered"));
    assert_eq!(world.sync(&mailbox).await.due_at, None, "nobody looks at a paused one");
}
