//! What is kept for how long, kind by kind: by TTL, which the items carry, or by the sweep.

use sync_core::{
    JobId, MailboxId, MessageId, SignedDuration, Timestamp,
    job::{JobKind, JobStatus, Trigger},
    message::BodyForm,
    sync::{Happened, JobClose},
};
use sync_store::{
    AuditAction, IdempotencyKey, JobRow, KnownBodies, NewAudit, NewRequest, REGISTRY_SHARDS, Retention,
    Store, VisitUsage,
};

use crate::fixture::{World, at, bury, commit, message, put};

/// A retention in which every kind has a length of its own.
fn told_apart() -> Retention {
    let hours = SignedDuration::from_hours;
    Retention {
        events: hours(1),
        deleted_mail: hours(2),
        finished_jobs: hours(3),
        unfinished_jobs: hours(4),
        audit: hours(5),
        usage: hours(6),
    }
}

async fn lapses(world: &World, pk: &str, sk: &str) -> i64 {
    let item = world.raw(pk, sk).await.unwrap_or_else(|| panic!("{pk} / {sk} is there"));
    item["ttl"].as_n().expect("a number").parse().expect("seconds")
}

fn after(now: Timestamp, hours: i64) -> i64 {
    (now + SignedDuration::from_hours(hours)).as_second()
}

#[tokio::test]
async fn every_kind_that_lapses_by_itself_says_when() {
    let world = World::new().await;
    let store = world.store.clone().keeping(told_apart());
    let mailbox = world.mailbox().await;
    let partition = format!("M#{mailbox}");

    let key = IdempotencyKey {
        tenant: "ten_1".parse().expect("an id"),
        key: "once".to_owned(),
        request: "r".to_owned(),
    };
    let request = NewRequest { key: Some(key), ..NewRequest::new(JobKind::Full, Trigger::Manual) };
    let job = store.create_request(&mailbox, &request, at(0)).await.expect("asked").job;
    assert_eq!(lapses(&world, &partition, &format!("JOB#{job}")).await, after(at(0), 4), "unfinished");
    assert_eq!(lapses(&world, &partition, &format!("OPEN#{job}")).await, after(at(0), 4));
    assert_eq!(lapses(&world, "I#ten_1#once", "JOB").await, after(at(0), 24), "idempotency keys: a day");

    let held = world.acquire(&mailbox).await;
    let mut closing = commit(&held, Vec::new(), Vec::new());
    closing.closed = vec![JobClose {
        id: job.clone(),
        status: JobStatus::Success,
        counts: sync_core::job::Counts::default(),
        errors: Vec::new(),
    }];
    assert_eq!(store.commit(&closing).await.expect("answered"), sync_core::sync::Committed::Applied);
    assert_eq!(lapses(&world, &partition, &format!("JOB#{job}")).await, after(at(10), 3), "finished");
    let run = own_run(at(20));
    store.record_run(&mailbox, &run).await.expect("recorded");
    assert_eq!(lapses(&world, &partition, &format!("JOB#{}", run.id)).await, after(at(20), 3));

    store.announce(&mailbox, &Happened::NeedsReauth, at(0)).await.expect("announced");
    assert_eq!(lapses(&world, &partition, &format!("EVT#{:020}", 1)).await, after(at(0), 1), "events");
    store.add_usage(&mailbox, &VisitUsage::default(), at(0)).await.expect("added");
    let day = sync_core::quota::pacific_day(at(0));
    assert_eq!(lapses(&world, &partition, &format!("USAGE#{day}")).await, after(at(0), 6), "usage");
}

fn own_run(now: Timestamp) -> JobRow {
    let id: JobId = Store::new_job_id();
    JobRow {
        id,
        kind: JobKind::Incremental,
        trigger: Trigger::Push,
        status: JobStatus::Success,
        created_at: now,
        started_at: Some(now),
        finished_at: Some(now),
        counts: sync_core::job::Counts::default(),
        quota_units: 0,
        errors: Vec::new(),
        options: sync_core::job::RequestOptions::default(),
    }
}

#[tokio::test]
async fn a_trail_is_told_newest_first_and_lapses() {
    let world = World::new().await;
    let store = world.store.clone().keeping(told_apart());
    let tenant = "ten_1".parse().expect("an id");
    let deed = |action, mailbox: Option<&str>| NewAudit {
        tenant: "ten_1".parse().expect("an id"),
        actor: "a token\n".to_owned(),
        action,
        mailbox: mailbox.map(|id| id.parse().expect("an id")),
        trace: "t-1".to_owned(),
    };
    store.audit(&deed(AuditAction::Connected, Some("mbx_1")), at(0)).await.expect("noted");
    store.audit(&deed(AuditAction::Erased, Some("mbx_2")), at(60)).await.expect("noted");
    let trail = |mailbox: Option<MailboxId>, limit, cursor: Option<String>, now| {
        let (store, tenant) = (&store, &tenant);
        async move {
            store.audit_trail(tenant, mailbox.as_ref(), limit, cursor.as_deref(), now).await.expect("read")
        }
    };
    let first = trail(None, 1, None, at(61)).await;
    assert_eq!(first.items[0].action, AuditAction::Erased);
    assert_eq!(first.items[0].actor, "a token", "a name cannot break a line");
    let second = trail(None, 1, first.next, at(61)).await;
    assert_eq!(second.items[0].action, AuditAction::Connected);
    let of_one = trail(Some("mbx_1".parse().expect("an id")), 50, None, at(61)).await;
    assert_eq!(of_one.items.len(), 1);
    let later = at(30) + SignedDuration::from_hours(5);
    assert_eq!(
        trail(None, 50, None, later).await.items.len(),
        1,
        "TTL deletes late; what has lapsed is gone"
    );
}

#[tokio::test]
async fn bodies_go_when_no_row_names_them_and_not_while_somebody_works() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let mut kept = message(1, &[]);
    kept.body = Some(world.store.put_body(&mailbox, b"kept".to_vec(), BodyForm::Raw).await.expect("put"));
    let mut gone = message(2, &[]);
    gone.body = Some(world.store.put_body(&mailbox, b"gone".to_vec(), BodyForm::Raw).await.expect("put"));
    let orphan = world.store.put_body(&mailbox, b"nobody's".to_vec(), BodyForm::Raw).await.expect("put");
    let held = world.acquire(&mailbox).await;
    let (kept_body, gone_body) = (kept.body.clone().expect("one"), gone.body.clone().expect("one"));
    world.apply(&commit(&held, vec![put(kept), put(gone)], Vec::new())).await;
    world.apply(&commit(&world.sync(&mailbox).await, vec![bury(2, 9)], Vec::new())).await;

    let known = async || {
        let mut known = KnownBodies::default();
        world.store.sweep_tombstones(&mailbox, at(100), None, &mut known).await.expect("swept");
        assert!(known.finish());
        known
    };
    // The tombstone goes, and its body was still named in this pass.
    let first = known().await;
    let two_days_on = Timestamp::now() + SignedDuration::from_hours(48);
    let sweep = async |known: &KnownBodies, now| {
        world.store.sweep_bodies(&mailbox, known, None, "retention", now).await.expect("swept")
    };
    let busy = sweep(&first, two_days_on).await;
    assert_eq!((busy.swept, busy.busy), (0, true), "a worker holds the mailbox");
    world.store.unlock(&mailbox, at(0)).await.expect("unlocked");
    let young = sweep(&first, Timestamp::now()).await;
    assert_eq!((young.swept, young.busy), (0, false), "its row may be about to be written");
    assert_eq!(sweep(&first, two_days_on).await.swept, 1, "the orphan");
    assert!(world.store.get_body(&mailbox, &orphan).await.expect("read").is_none());
    assert!(world.store.get_body(&mailbox, &gone_body).await.expect("read").is_some());
    let second = known().await;
    assert_eq!(sweep(&second, two_days_on).await.swept, 1, "what the tombstone held");
    assert!(world.store.get_body(&mailbox, &gone_body).await.expect("read").is_none());
    assert_eq!(world.store.get_body(&mailbox, &kept_body).await.expect("read"), Some(b"kept".to_vec()));
    let after = world.sync(&mailbox).await;
    assert!(after.lease.is_none(), "the lease was given back");
    assert_eq!(after.due_at, Some(at(0)), "and the mailbox is due when it was");
}

#[tokio::test]
async fn every_mailbox_is_in_the_list_until_it_is_erased() {
    let world = World::new().await;
    let mut mailboxes = Vec::new();
    for n in 0..20 {
        mailboxes.push(world.mailbox_named(&format!("box{n}@example.com")).await);
    }
    let listed = async || {
        let mut all = Vec::new();
        for shard in 0..REGISTRY_SHARDS {
            let page = world.store.registered(shard, None).await.expect("read");
            assert_eq!(page.next, None);
            all.extend(page.items);
        }
        all.sort();
        all
    };
    mailboxes.sort();
    assert_eq!(listed().await, mailboxes);
    for shard in 0..REGISTRY_SHARDS {
        for mailbox in &mailboxes {
            let delete = world.dynamo.delete_item().table_name(&world.config.table);
            let value = aws_sdk_dynamodb::types::AttributeValue::S;
            let row =
                delete.key("pk", value(format!("R#{shard}"))).key("sk", value(format!("MAILBOX#{mailbox}")));
            row.send().await.expect("deleted");
        }
    }
    assert_eq!(listed().await, [], "as if they were connected before there was a list");
    for n in 0..20 {
        world.mailbox_named(&format!("box{n}@example.com")).await;
    }
    assert_eq!(listed().await, mailboxes, "connected again they are in it");
    world.store.deactivate_mailbox(&mailboxes[0], at(1)).await.expect("deactivated");
    assert_eq!(listed().await.len(), 20, "what is disconnected has rows to be kept up");
    let erased = mailboxes.remove(1);
    while world.store.erase_mailbox(&erased, at(1)).await.expect("erased") != sync_store::Erased::Done {}
    assert_eq!(listed().await, mailboxes);
}

#[tokio::test]
async fn rows_of_an_earlier_projection_are_found_and_made_again_and_nothing_else_changes() {
    let world = World::new().await;
    let mailbox = world.mailbox().await;
    let held = world.acquire(&mailbox).await;
    let mut one = message(1, &["INBOX"]);
    one.body = Some(
        world.store.put_body(&mailbox, b"Subject: x\r\n\r\n".to_vec(), BodyForm::Raw).await.expect("put"),
    );
    world.apply(&commit(&held, vec![put(one), put(message(2, &[]))], Vec::new())).await;
    let outdated = async || world.store.outdated_rows(&mailbox, None).await.expect("read");
    assert_eq!(outdated().await.rows, [], "they are of this version");

    // As the first version wrote it: without a version of the projection.
    let key = |sk: &str| {
        let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        [("pk".to_owned(), text(&format!("M#{mailbox}"))), ("sk".to_owned(), text(sk))].into()
    };
    for sk in ["MSG#0000000000000001", "MSG#0000000000000002"] {
        let update = world.dynamo.update_item().table_name(&world.config.table).set_key(Some(key(sk)));
        let update = update.update_expression("REMOVE #it").expression_attribute_names("#it", "projection");
        update.send().await.expect("updated");
    }
    let found = outdated().await;
    assert_eq!(
        found.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        [MessageId(1)],
        "the other has no body"
    );
    let before = found.rows[0].clone();
    let envelope =
        sync_core::message::Envelope { subject: "read again".to_owned(), ..*before.envelope.clone() };
    let mut other_body = before.clone();
    other_body.body.as_mut().expect("one").sha256 = "0".repeat(64);
    assert!(
        !world.store.put_projection(&other_body, &envelope).await.expect("answered"),
        "it has another body"
    );
    assert!(world.store.put_projection(&before, &envelope).await.expect("answered"));
    let after = world.store.get_message(&mailbox, MessageId(1)).await.expect("read").expect("there");
    assert_eq!(after.envelope.subject, "read again");
    assert_eq!(
        (after.labels, after.history_id, after.state),
        (before.labels, before.history_id, before.state)
    );
    assert_eq!(outdated().await.rows, []);
}
