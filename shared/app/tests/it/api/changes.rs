use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};
use sync_core::{
    HistoryId, MailboxId, MessageId, SignedDuration, Timestamp,
    job::Counts,
    sync::{Event, Happened, MessageNews},
};

use super::world::World;

fn news(id: u64) -> MessageNews {
    MessageNews {
        gmail_id: MessageId(id),
        history_id: HistoryId(1_000 + id),
        label_ids: ["INBOX".to_owned()].into(),
    }
}

async fn announce(world: &World, mailbox: &MailboxId, happened: Vec<Happened>, at: Timestamp) {
    world
        .commit(mailbox, |commit| {
            commit.now = at;
            commit.events = (commit.seq + 1..).zip(happened).map(|(seq, what)| Event { seq, what }).collect();
        })
        .await;
}

fn seqs(feed: &Value) -> Vec<u64> {
    feed["items"].as_array().expect("items").iter().map(|item| item["seq"].as_u64().expect("a seq")).collect()
}

#[tokio::test]
async fn a_reader_sees_every_change_once_in_order_and_each_names_the_one_before() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let other = world.mailbox("ten_1", "bob@example.com").await;
    let empty = world.get(&token, &format!("/api/changes?mailbox={id}")).await;
    assert_eq!(empty.json(), json!({"items": [], "next": 0, "nextCursor": null}), "{empty:?}");

    let now = Timestamp::now();
    let first = vec![Happened::Created(news(1)), Happened::Updated(news(1)), Happened::Deleted(news(1))];
    announce(&world, &id, first, now).await;
    let second = vec![
        Happened::NeedsReauth,
        Happened::SyncFailed { error: "Gmail answered 500".to_owned() },
        Happened::BackfillCompleted { counts: Counts { inserted: 3, ..Counts::default() } },
    ];
    announce(&world, &id, second, now).await;
    announce(&world, &other, vec![Happened::Created(news(9))], now).await;

    let mut all: Vec<Value> = Vec::new();
    let mut after = 0;
    loop {
        let feed =
            world.get(&token, &format!("/api/changes?mailbox={id}&after={after}&limit=4")).await.json();
        all.extend(feed["items"].as_array().expect("items").iter().cloned());
        after = feed["next"].as_u64().expect("where to go on");
        let Some(cursor) = feed["nextCursor"].as_str() else { break };
        assert_eq!(cursor, after.to_string());
        let same = world.get(&token, &format!("/api/changes?mailbox={id}&cursor={cursor}&limit=4")).await;
        assert_eq!(same.json()["items"][0]["seq"], after + 1, "the cursor is the place");
    }
    assert_eq!(after, 6);
    let told: Vec<(u64, u64, &str)> = all
        .iter()
        .map(|change| {
            let number = |name: &str| change[name].as_u64().expect("a number");
            (number("previousSeq"), number("seq"), change["type"].as_str().expect("a type"))
        })
        .collect();
    assert_eq!(
        told,
        [
            (0, 1, "message.created"),
            (1, 2, "message.updated"),
            (2, 3, "message.deleted"),
            (3, 4, "mailbox.needs_reauth"),
            (4, 5, "sync.failed"),
            (5, 6, "backfill.completed"),
        ]
    );
    assert_eq!(all[0]["mailbox"], id.as_str());
    assert!(all[0]["at"].is_string());
    assert_eq!(
        all[0]["data"],
        json!({"id": format!("{id}.1"), "gmailId": "1", "historyId": "1001", "labelIds": ["INBOX"]})
    );
    assert_eq!(all[4]["data"], json!({"error": "Gmail answered 500"}));
    assert_eq!(all[5]["data"]["counts"]["inserted"], 3);
    let mut ids: Vec<&str> = all.iter().map(|change| change["id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "an id of its own each");
    let again = world.get(&token, &format!("/api/changes?mailbox={id}&after=0")).await.json();
    assert_eq!(again["items"], Value::Array(all.clone()), "the same for ever");
    assert_eq!(seqs(&world.get(&token, &format!("/api/changes?mailbox={other}")).await.json()), [1]);
}

#[tokio::test]
async fn a_reader_waits_for_news_and_no_longer_than_it_said() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let path = format!("/api/changes?mailbox={id}&after=0&wait=20s");
    let writer = announce(&world, &id, vec![Happened::Created(news(1))], Timestamp::now());
    let began = Instant::now();
    let (answer, ()) = tokio::join!(world.get(&token, &path), writer);
    assert_eq!(seqs(&answer.json()), [1], "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "it did not sit out its time");

    let began = Instant::now();
    let nothing = world.get(&token, &format!("/api/changes?mailbox={id}&after=1&wait=1")).await;
    assert_eq!(nothing.json(), json!({"items": [], "next": 1, "nextCursor": null}));
    assert!((1..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_place_that_is_not_kept_any_more_is_gone_and_one_that_is_not_there_yet_is_refused() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let old = Timestamp::now() - SignedDuration::from_hours(31 * 24);
    announce(&world, &id, vec![Happened::Created(news(1)), Happened::Created(news(2))], old).await;
    announce(&world, &id, vec![Happened::Created(news(3))], Timestamp::now()).await;
    let feed = async |query: &str| world.get(&token, &format!("/api/changes?mailbox={id}{query}")).await;
    for gone in ["&after=0", "&after=1", "&cursor=1&wait=5"] {
        let answer = feed(gone).await;
        assert_eq!(answer.status, StatusCode::GONE, "{gone}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.json()["detail"].as_str().expect("a detail").contains("after=2"), "{answer:?}");
    }
    assert_eq!(seqs(&feed("&after=2").await.json()), [3]);
    assert_eq!(seqs(&feed("").await.json()), [3], "without a place, from the oldest that is kept");
    assert_eq!(feed("&after=4").await.fields(), ["after"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_reader_is_named() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    for (query, fields) in [
        (String::new(), vec!["mailbox"]),
        (format!("mailbox={id}&after=-1"), vec!["after"]),
        (format!("mailbox={id}&after=x&limit=0&wait=21"), vec!["after", "limit", "wait"]),
        (format!("mailbox={id}&after=1&cursor=1"), vec!["cursor"]),
        (format!("mailbox={id}&since=1"), vec!["since"]),
    ] {
        let answer = world.get(&token, &format!("/api/changes?{query}")).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, fields.iter().map(ToString::to_string).collect()),
            "{query}"
        );
    }
}
