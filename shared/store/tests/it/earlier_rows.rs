//! Items as the first version of the store wrote them are read, worked on and upgraded by this one.

use serde_json::{Value, json};
use sync_core::{
    HistoryId, MailboxId, MessageId,
    job::RequestOptions,
    message::{BodyForm, RowState, Touched},
    overrides::Overrides,
    owed::OwedReason,
    state::{Aliases, Content, Scope, WorkKind},
    sync::{Happened, OwedWrite},
};

use crate::fixture::{World, at, commit, message, put, relabel};

const MAILBOX: &str = "mbx_old";

fn key(sk: &str) -> Value {
    json!({ "pk": format!("M#{MAILBOX}"), "sk": sk, "v": 1 })
}

fn with(sk: &str, attributes: &Value) -> Value {
    let mut item = key(sk);
    let map = item.as_object_mut().expect("an item");
    map.extend(attributes.as_object().expect("attributes").clone());
    item
}

/// A mailbox with two rows, a debt and an open request.
async fn of_the_first_version(world: &World) -> MailboxId {
    let progress = json!({
        "epoch": 0, "cursor": "500", "first_cursor": "100", "gap": null, "lag": null,
        "work": [{
            "kind": {"kind": "resync", "baseline": "500"}, "request": null,
            "list": {"key": "1-1", "total": 9, "position": 2},
            "started_at": "2027-01-15T08:00:00Z",
            "counts": {"listed": 1, "fetched": 0, "inserted": 0, "updated": 0, "deleted": 0, "debts": 0}
        }],
        "step": 3, "owed_due_at": null,
        "errors": {"consecutive": 0, "last": null, "cooldown_until": null}, "last_sync_at": null
    });
    world
        .put_raw(with("SYNC", &json!({
            "mailbox": MAILBOX, "tenant": "ten_1", "address": "old@example.com", "status": "active", "asked": 4,
            "generation": 9, "commit": 7, "credential_version": 1, "progress": progress, "total_messages": 1,
            "total_deleted": 1, "created_at": 0, "updated_at": 0
        })))
        .await;
    world
        .put_raw(with("MSG#0000000000000001", &json!({
            "history_id": 400, "labels": ["INBOX", "Label_1"], "thread_id": "1", "received_at": 1_700_000_000_000_i64, "body": {"sha256": "00", "bytes": 5},
            "size_estimate": 5, "snippet": "s", "created_at": 0, "updated_at": 0,
            "envelope": {"rfc822_message_id": null, "from": null, "to": [], "cc": [], "bcc": [], "subject": "old",
                "has_attachments": false, "outbound": false},
            "mail_pk": format!("L#{MAILBOX}"), "mail_sk": "1700000000000#0000000000000001", "thread_pk": format!("{MAILBOX}#0000000000000001")
        })))
        .await;
    world
        .put_raw(with(
            "MSG#0000000000000002",
            &json!({
                "history_id": 450, "labels": [], "deleted_at": 5, "created_at": 0, "updated_at": 0,
                "mail_pk": format!("D#{MAILBOX}")
            }),
        ))
        .await;
    world
        .put_raw(with("OWED#0000000000000003", &json!({
            "due_at": 1_800_000_000_000_i64, "reason": "failed",
            "owed": {
                "id": "3", "reason": {"reason": "failed", "error": "no"}, "at_least": "480", "label_changes": [],
                "tries": 2, "since": "2027-01-15T08:00:00Z", "due_at": "2027-01-15T08:00:00Z"
            }
        })))
        .await;
    for sk in ["JOB#job_1", "OPEN#job_1"] {
        world
            .put_raw(with(sk, &json!({
                "job": "job_1", "kind": "full", "trigger": "manual", "status": "queued", "created_at": 0,
                "counts": {"listed": 0, "fetched": 0, "inserted": 0, "updated": 0, "deleted": 0, "debts": 0},
                "quota_units": 0, "errors": [], "ttl": 2_000_000_000
            })))
            .await;
    }
    MAILBOX.parse().expect("an id")
}

#[tokio::test]
async fn everything_of_the_first_version_is_read() {
    let world = World::new().await;
    let mailbox = of_the_first_version(&world).await;
    let sync = world.sync(&mailbox).await;
    assert_eq!((sync.seq, sync.scope), (0, Scope::default()));
    assert_eq!((sync.content, sync.aliases), (Content::Raw, Aliases::default()));
    assert_eq!(sync.overrides, Overrides::default());
    assert_eq!((sync.progress.marks.len(), sync.progress.behind), (0, 0));
    let work = &sync.progress.work[0];
    assert_eq!(
        work.kind,
        WorkKind::Resync { baseline: HistoryId(500), restarts: 0, accept_deletions: false }
    );
    assert_eq!(work.list.as_ref().expect("a list").verify_from, u64::MAX);
    let mut rows = world.store.read_rows(&mailbox, &[MessageId(1), MessageId(2)]).await.expect("read");
    rows.sort_by_key(|(id, _)| *id);
    for ((_, head), state) in rows.iter().zip([RowState::Live, RowState::Deleted]) {
        assert_eq!(
            (head.state, head.epoch, head.announced, &head.touched),
            (state, 0, false, &Touched::new())
        );
    }
    let row = world.store.get_message(&mailbox, MessageId(1)).await.expect("read").expect("there");
    assert_eq!(row.raw_body().map(|body| body.form), Some(BodyForm::Raw));
    let row = world.store.get_message(&mailbox, MessageId(2)).await.expect("read").expect("there");
    assert!(row.is_deleted());
    let owed = world.store.read_owed(&mailbox, 5).await.expect("read").pop().expect("a debt");
    assert_eq!(owed.reason, OwedReason::Failed { error: "no".to_owned() });
    assert_eq!((owed.due_at, owed.announce, owed.epoch, owed.missing_since), (Some(at(0)), false, 0, None));
    let open = world.store.read_requests(&mailbox).await.expect("read");
    assert_eq!(open[0].options, RequestOptions::default());
    let events = world.store.read_events(&mailbox, 0, 5, at(0)).await.expect("read");
    assert_eq!((events.events, events.seq), (Vec::new(), 0));
}

#[tokio::test]
async fn what_the_first_version_wrote_is_worked_on_and_upgraded() {
    let world = World::new().await;
    let mailbox = of_the_first_version(&world).await;
    assert_eq!(world.store.read_label_counts(&mailbox).await.expect("read"), None, "nobody has counted");
    let held = world.acquire(&mailbox).await;
    let owed = world.store.read_owed(&mailbox, 5).await.expect("read");
    let mut first = commit(&held, vec![relabel(1, &["INBOX"], 600), put(message(3, &["INBOX"]))], Vec::new());
    first.owed = owed.iter().map(|owed| OwedWrite::Clear(owed.id)).collect();
    first.labels = [("INBOX".to_owned(), 1), ("Label_1".to_owned(), -1)].into();
    first.events = crate::events::numbered(0, [Happened::NeedsReauth]);
    world.apply(&first).await;
    assert_eq!(world.sync(&mailbox).await.seq, 1);
    assert_eq!(
        world.store.read_label_counts(&mailbox).await.expect("read"),
        None,
        "counters that did not begin at the beginning say nothing"
    );
    let counted = world.store.count_labels(&mailbox).await.expect("counted");
    assert_eq!(counted, [("INBOX".to_owned(), 2)].into());
    assert_eq!(world.store.read_label_counts(&mailbox).await.expect("read"), Some(counted));
    let item = world.raw(&format!("M#{MAILBOX}"), "MSG#0000000000000001").await.expect("there");
    assert!(item.contains_key("epoch") && item.contains_key("announced"));
}
