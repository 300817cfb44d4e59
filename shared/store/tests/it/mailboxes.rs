//! Connecting, finding, parking, pausing, erasing mailboxes.

use sync_core::{
    MailboxId, MessageId,
    job::{JobKind, Trigger},
    message::BodyForm,
    state::{Aliases, Content, Status},
    sync::{Committed, Happened, Listed},
};
use sync_store::{Created, Erased, NewMailbox, NewRequest, StatusChange, StoreError};

use crate::fixture::{World, at, commit, message, put};

fn new(tenant: &str, address: &str) -> NewMailbox {
    NewMailbox {
        tenant: tenant.parse().expect("an id"),
        address: address.parse().expect("an address"),
        now: at(0),
    }
}

#[tokio::test]
async fn a_tenant_and_an_address_have_one_mailbox() {
    let world = World::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let store = world.store.clone();
        tasks.spawn(async move { store.create_mailbox(&new("ten_1", "Alice@example.com")).await });
    }
    let outcomes: Vec<Created> = tasks.join_all().await.into_iter().map(|made| made.expect("made")).collect();
    let first = outcomes[0].mailbox();
    assert!(outcomes.iter().all(|made| made.mailbox() == first), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|made| matches!(made, Created::New(_))).count(), 1);

    let other = world.store.create_mailbox(&new("ten_2", "alice@example.com")).await.expect("created");
    assert_ne!(other.mailbox(), first, "another tenant's is another mailbox");
    let address = "alice@example.com".parse().expect("an address");
    let mut found = world.store.mailboxes_by_address(&address).await.expect("read");
    found.sort_unstable();
    let mut both = vec![first.clone(), other.mailbox().clone()];
    both.sort_unstable();
    assert_eq!(found, both, "a push reaches both");
}

#[tokio::test]
async fn a_tenants_mailboxes_come_in_pages() {
    let world = World::new().await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(world.mailbox_named(&format!("user{n}@example.com")).await);
    }
    let tenant = "ten_1".parse().expect("an id");
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = world.store.mailboxes_of_tenant(&tenant, 2, cursor.as_deref()).await.expect("read");
        assert!(page.items.len() <= 2);
        found.extend(page.items.into_iter().map(|sync| sync.mailbox));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, made, "in the order they were connected");
}

#[tokio::test]
async fn a_deactivated_mailbox_is_not_found_by_address_and_keeps_its_rows() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let write = commit(&held, vec![put(message(1, &[]))], Vec::new());
    assert_eq!(world.store.commit(&write).await.expect("answered"), Committed::Applied);
    world.store.set_watch(&mailbox, Some(at(99))).await.expect("set");
    world.store.deactivate_mailbox(&mailbox, at(20)).await.expect("deactivated");
    world.store.deactivate_mailbox(&mailbox, at(20)).await.expect("twice is as good as once");
    let address = "alice@example.com".parse().expect("an address");
    assert_eq!(world.store.mailboxes_by_address(&address).await.expect("read"), []);
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.status, sync.due_at, sync.watch_expires_at), (Status::Deactivated, None, None));

    let again = world.store.create_mailbox(&new("ten_1", "alice@example.com")).await.expect("connected");
    assert_eq!(again, Created::Exists(mailbox.clone()));
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.status, &sync.progress), (Status::Active, &write.progress));
    assert_eq!(
        world.store.mailboxes_by_address(&address).await.expect("read"),
        std::slice::from_ref(&mailbox)
    );
    assert!(world.store.get_message(&mailbox, MessageId(1)).await.expect("read").is_some());
}

#[tokio::test]
async fn a_status_parks_a_mailbox_and_asks_whoever_looks_at_it() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.store.ask(&mailbox, at(1)).await.expect("asked");
    world.store.set_status(&mailbox, Status::Paused, at(2)).await.expect("set");
    let paused = world.sync(&mailbox).await;
    assert_eq!((paused.status, paused.due_at, paused.asked), (Status::Paused, None, 2));
    world.store.set_status(&mailbox, Status::Active, at(3)).await.expect("set");
    assert_eq!(world.sync(&mailbox).await.due_at, Some(at(3)));
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    let error = world.store.set_status(&nobody, Status::Active, at(3)).await.expect_err("nobody");
    assert!(matches!(error, StoreError::NotFound { what: "mailbox" }));
}

#[tokio::test]
async fn pausing_and_resuming_ask_whoever_looks_and_are_refused_where_they_mean_nothing() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    world.store.ask(&mailbox, at(1)).await.expect("asked");
    for _ in 0..2 {
        assert_eq!(world.store.pause(&mailbox, at(2)).await.expect("answered"), StatusChange::Done);
        assert_eq!(world.sync(&mailbox).await.due_at, None);
    }
    let paused = world.sync(&mailbox).await;
    assert_eq!((paused.status, paused.asked), (Status::Paused, 3));
    assert_eq!(world.store.resume(&mailbox, at(3)).await.expect("answered"), StatusChange::Done);
    let resumed = world.sync(&mailbox).await;
    assert_eq!((resumed.status, resumed.due_at, resumed.asked), (Status::Active, Some(at(3)), 4));
    world.store.set_status(&mailbox, Status::NeedsAttention, at(4)).await.expect("set");
    assert_eq!(world.store.resume(&mailbox, at(4)).await.expect("answered"), StatusChange::Done);
    world.store.set_status(&mailbox, Status::NeedsReauth, at(4)).await.expect("set");
    let refused = world.store.resume(&mailbox, at(5)).await.expect("answered");
    assert_eq!(refused, StatusChange::Refused(Status::NeedsReauth), "only a new grant helps");
    assert_eq!(world.sync(&mailbox).await.status, Status::NeedsReauth);
    world.store.deactivate_mailbox(&mailbox, at(6)).await.expect("deactivated");
    let refused = world.store.pause(&mailbox, at(7)).await.expect("answered");
    assert_eq!(refused, StatusChange::Refused(Status::Deactivated));
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    assert!(matches!(world.store.pause(&nobody, at(7)).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn an_erased_mailbox_leaves_nothing_and_fences_its_worker() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let rows = (1..=40).map(|id| put(message(id, &[]))).collect();
    world.store.commit(&commit(&held, rows, Vec::new())).await.expect("applied");
    let body = world.store.put_body(&mailbox, b"mail".to_vec(), BodyForm::Raw).await.expect("put");
    world
        .store
        .create_request(&mailbox, &NewRequest::new(JobKind::Full, Trigger::Manual), at(5))
        .await
        .expect("requested");
    world.store.announce(&mailbox, &Happened::NeedsReauth, at(6)).await.expect("announced");
    world.store.save_list(&mailbox, "1-1.ids", &[Listed::alone(MessageId(1))]).await.expect("saved");

    let mut steps = 0;
    while world.store.erase_mailbox(&mailbox, at(30)).await.expect("a step") == Erased::More {
        steps += 1;
        assert!(steps < 10, "it ends");
    }
    let late = commit(&held, vec![put(message(99, &[]))], Vec::new());
    assert_eq!(world.store.commit(&late).await.expect("answered"), Committed::Fenced);
    assert_eq!(world.store.get_body(&mailbox, &body).await.expect("read"), None);
    let left = world.dynamo.scan().table_name(&world.config.table).send().await.expect("read");
    assert_eq!(left.items(), [], "no item of it is in the table");
    let again = world.store.create_mailbox(&new("ten_1", "alice@example.com")).await.expect("connected");
    assert!(matches!(again, Created::New(id) if id != mailbox), "a new connection is a new mailbox");
}

#[tokio::test]
async fn what_its_owner_chose_and_sends_from_is_read_with_the_mailbox_and_is_no_work() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let before = world.sync(&mailbox).await;
    assert_eq!((before.content, &before.aliases), (Content::Raw, &Aliases::default()));
    let aliases =
        Aliases { addresses: vec!["me@example.org".parse().expect("an address")], read_at: Some(at(3)) };
    world.store.set_aliases(&mailbox, &aliases).await.expect("set");
    world.store.set_content(&mailbox, Content::Metadata).await.expect("set");
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.content, &sync.aliases), (Content::Metadata, &aliases));
    assert_eq!((sync.asked, sync.due_at), (before.asked, before.due_at));
    let nobody: MailboxId = "mbx_none".parse().expect("an id");
    let missing = |result| matches!(result, Err(StoreError::NotFound { .. }));
    assert!(missing(world.store.set_content(&nobody, Content::Full).await));
    assert!(missing(world.store.set_aliases(&nobody, &aliases).await));
}

#[tokio::test]
async fn raw_mail_that_somebody_asked_for_stays_noted_whatever_the_worker_writes() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    world.apply(&commit(&held, vec![put(message(1, &["INBOX"]))], Vec::new())).await;
    let raw =
        world.store.put_body(&mailbox, b"Subject: x\r\n\r\n".to_vec(), BodyForm::Raw).await.expect("put");
    world.store.note_raw(&mailbox, MessageId(1), &raw).await.expect("noted");
    let held = world.sync(&mailbox).await;
    world.apply(&commit(&held, vec![put(message(1, &["TRASH"]))], Vec::new())).await;
    let row = world.store.get_message(&mailbox, MessageId(1)).await.expect("read").expect("there");
    assert_eq!((row.raw_body(), row.labels.contains("TRASH")), (Some(&raw), true));
    let missing = world.store.note_raw(&mailbox, MessageId(2), &raw).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "no row is made of a note");
}
