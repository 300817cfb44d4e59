use axum::http::StatusCode;
use serde_json::{Value, json};
use sync_core::{
    HistoryId, MailboxId, MessageId, Timestamp,
    message::RowState,
    owed::{Owed, OwedReason},
    state::{Content, FetchList, Scope, Work, WorkKind},
    sync::{Listed, OwedWrite, RowWrite},
};

use super::world::{World, mail, put};

fn owed(id: u64, reason: OwedReason, due_at: Option<Timestamp>) -> OwedWrite {
    OwedWrite::Put(Owed {
        id: MessageId(id),
        reason,
        at_least: HistoryId(1),
        label_changes: Vec::new(),
        tries: 35,
        since: Timestamp::UNIX_EPOCH,
        missing_since: None,
        due_at,
        announce: false,
        epoch: 0,
    })
}

fn tombstone(id: u64, state: RowState, labels: &[&str]) -> RowWrite {
    let labels = Some(labels.iter().map(ToString::to_string).collect());
    RowWrite::Tombstone {
        id: MessageId(id),
        state,
        history_id: HistoryId(500 + id),
        labels,
        touched: sync_core::message::Touched::new(),
    }
}

async fn furnish(world: &World, id: &MailboxId) {
    let scope = Scope { include: ["INBOX".to_owned()].into(), exclude: ["SPAM".to_owned()].into() };
    let trigger = sync_core::job::Trigger::Manual;
    world.store.set_scope(id, &scope, Content::Raw, trigger, Timestamp::now()).await.expect("set");
    let list = [0x50, 0x51, 0x52, 0x53].map(|id| Listed::alone(MessageId(id)));
    world.store.save_list(id, "1-1", &list).await.expect("saved");
    let now = Timestamp::now();
    let failed = OwedReason::Failed { error: "Gmail answered 500.".to_owned() };
    world
        .commit(id, |commit| {
            commit.rows = vec![
                put(mail(0x10, &["INBOX"])),
                put(mail(0x11, &["INBOX"])),
                tombstone(0x20, RowState::Deleted, &["INBOX"]),
                tombstone(0x21, RowState::OutOfScope, &["INBOX", "SPAM"]),
                tombstone(0x22, RowState::OutOfScope, &["Label_1"]),
                tombstone(0x23, RowState::Accepted, &[]),
                tombstone(0x52, RowState::Deleted, &["INBOX"]),
            ];
            commit.owed = vec![
                owed(0x30, failed, None),
                owed(0x11, OwedReason::Vanished, Some(now)),
                owed(0x40, OwedReason::Waiting, Some(now)),
            ];
            commit.progress.cursor = Some(HistoryId(900));
            let list = FetchList { key: "1-1".to_owned(), total: 4, position: 1, verify_from: u64::MAX };
            let kind = WorkKind::Resync { baseline: HistoryId(900), restarts: 0, accept_deletions: false };
            commit.progress.work = vec![Work { list: Some(list), ..Work::new(kind, None, now) }];
        })
        .await;
}

#[tokio::test]
async fn a_message_has_one_of_seven_answers() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    furnish(&world, &id).await;
    let why = async |message: &str| {
        let answer = world.get(&token, &format!("/api/emails/{message}/why?mailbox={id}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{message}: {answer:?}");
        answer.json()
    };
    for (message, verdict, because) in [
        ("10", "stored", "as of history 1016"),
        ("11", "debt", "complete listing did not name it"),
        ("20", "deleted", "at history 532"),
        ("21", "out_of_scope", "labels.exclude holds SPAM"),
        ("22", "out_of_scope", "none of labels.include: INBOX"),
        ("23", "accepted", "accepted that it is lost"),
        ("30", "debt", "because Gmail answered 500; 35 tries, nothing more is tried by itself"),
        ("40", "waiting", "its turn"),
        ("51", "waiting", "position 1, 0 before it"),
        ("52", "waiting", "position 2, 1 before it"),
        ("99", "never_seen", "history up to 900"),
    ] {
        let answer = why(message).await;
        assert_eq!(answer["verdict"], verdict, "{message}: {answer}");
        let said = answer["because"].as_str().expect("a sentence");
        assert!(said.contains(because), "{message}: {said}");
        assert_eq!((&answer["gmailId"], &answer["cursor"]), (&json!(message), &json!("900")));
    }
    let stored = why("10").await;
    assert_eq!((&stored["historyId"], &stored["labelIds"]), (&json!("1016"), &json!(["INBOX"])));
    assert_eq!(
        (&stored["debt"], &stored["waiting"], &stored["rule"]),
        (&Value::Null, &json!([]), &Value::Null)
    );
    assert!(why("20").await["deletedAt"].is_string());
    assert_eq!(why("30").await["debt"]["reason"], "failed");
    assert_eq!(why("51").await["waiting"][0]["position"], 1);
    assert_eq!(why("50").await["verdict"], "never_seen", "what the list has passed waits no more");
    let by_id = world.get(&token, &format!("/api/emails/{id}.10/why")).await.json();
    assert_eq!(by_id["verdict"], "stored");
}

#[tokio::test]
async fn a_question_names_a_message_and_a_mailbox_of_the_callers() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let other = world.mailbox("ten_1", "bob@example.com").await;
    let get = async |path: &str| world.get(&token, &format!("/api/emails/{path}")).await;
    assert_eq!(get("10/why").await.fields(), ["mailbox"]);
    let new = get(&format!("10/why?mailbox={id}")).await.json();
    assert!(new["because"].as_str().expect("a sentence").contains("has not begun"), "{new}");
    for missing in [
        format!("xyz/why?mailbox={id}"),
        "mbx_nobody.10/why".to_owned(),
        "10/why?mailbox=mbx_nobody".to_owned(),
        format!("{id}.10/why?mailbox={other}"),
    ] {
        assert_eq!(get(&missing).await.status, StatusCode::NOT_FOUND, "{missing}");
    }
    let agreed = get(&format!("{id}.10/why?mailbox=alice%40example.com")).await;
    assert_eq!(agreed.status, StatusCode::OK);
}
