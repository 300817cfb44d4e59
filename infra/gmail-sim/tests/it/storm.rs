use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{ALICE, World};

/// Waits for a mailbox's storms to end; answers what they did.
async fn until_over(world: &World) -> Value {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let (_, progress) = world.sim(Method::GET, &format!("mailboxes/{ALICE}/storm"), Value::Null).await;
        if progress["running"] == false {
            return progress;
        }
        assert!(Instant::now() < deadline, "{progress}");
        tokio::task::yield_now().await;
    }
}

async fn storm(world: &World, order: Value) -> (u16, Value) {
    world.sim(Method::POST, &format!("mailboxes/{ALICE}/storm"), order).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Replays the whole history over an empty mailbox, as a client would, page by page.
async fn replayed(world: &World, start: &str) -> BTreeMap<String, (String, BTreeSet<String>, String)> {
    let mut mailbox: BTreeMap<String, (String, BTreeSet<String>, String)> = BTreeMap::new();
    let (mut token, mut last) = (String::new(), 0_u64);
    loop {
        let page =
            world.get(&format!("history?startHistoryId={start}&maxResults=50&pageToken={token}")).await;
        for record in page["history"].as_array().unwrap() {
            let id: u64 = record["id"].as_str().unwrap().parse().unwrap();
            assert!(id > last, "records come in order");
            last = id;
            let entries = |key: &str| record[key].as_array().cloned().unwrap_or_default();
            for entry in entries("messagesAdded") {
                let message = &entry["message"];
                let labels = message["labelIds"].as_array().unwrap().iter().map(text).collect();
                let known = mailbox
                    .insert(text(&message["id"]), (text(&message["threadId"]), labels, text(&record["id"])));
                assert!(known.is_none(), "no message comes twice");
            }
            for entry in entries("messagesDeleted") {
                assert!(mailbox.remove(&text(&entry["message"]["id"])).is_some(), "only what was there goes");
            }
            for (key, added) in [("labelsAdded", true), ("labelsRemoved", false)] {
                for entry in entries(key) {
                    let (_, labels, history) = mailbox.get_mut(&text(&entry["message"]["id"])).unwrap();
                    for label in entry["labelIds"].as_array().unwrap().iter().map(text) {
                        let changed = if added { labels.insert(label) } else { labels.remove(&label) };
                        assert!(changed, "a label that comes was not there, one that goes was");
                    }
                    *history = text(&record["id"]);
                }
            }
        }
        match page["nextPageToken"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => return mailbox,
        }
    }
}

#[tokio::test]
async fn history_replayed_over_nothing_is_the_snapshot() {
    let world = World::new().await;
    let start = world.history_id().await;
    let (status, answer) = storm(&world, json!({"per_second": 500, "seconds": 1.2})).await;
    assert_eq!((status, answer), (202, json!({"operations": 600})));
    let progress = until_over(&world).await;
    assert_eq!(progress["done"], 600);
    let url = world.url(&format!("/sim/mailboxes/{ALICE}/snapshot"));
    let answer = world.client.get(url).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let lines = answer.text().await.unwrap();
    let mut snapshot = BTreeMap::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["sizeEstimate"].as_u64() > Some(100));
        let labels: BTreeSet<String> = line["labelIds"].as_array().unwrap().iter().map(text).collect();
        snapshot.insert(text(&line["id"]), (text(&line["threadId"]), labels, text(&line["historyId"])));
    }
    assert!(snapshot.len() > 100);
    assert_eq!(replayed(&world, &start).await, snapshot);
    assert_eq!(world.get("profile").await["messagesTotal"], snapshot.len());
}

#[tokio::test]
async fn the_rate_and_the_mix_hold() {
    let world = World::new().await;
    for number in 0..60 {
        world.deliver(&format!("there before {number}")).await;
    }
    let start = world.history_id().await;
    let begun = Instant::now();
    let mix = json!({"deliver": 40, "label": 30, "trash": 15, "purge": 5, "draft": 10});
    storm(&world, json!({"per_second": 100, "seconds": 2, "mix": mix})).await;
    let progress = until_over(&world).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_900) && took < Duration::from_secs(4), "2 s took {took:?}");
    assert_eq!(progress["kinds"], json!({"deliver": 80, "label": 60, "trash": 30, "purge": 10, "draft": 20}));
    // What the history says happened is what the storm says it did.
    let page = world.get(&format!("history?startHistoryId={start}&maxResults=500")).await;
    let (mut trashed, mut delivered) = (0, 0);
    for record in page["history"].as_array().unwrap() {
        let has = |key: &str, field: &str, label: &str| {
            record[key].as_array().is_some_and(|entries| {
                let wears = |entry: &Value| {
                    entry.pointer(field).is_some_and(|l| l.as_array().unwrap().contains(&json!(label)))
                };
                entries.iter().any(wears)
            })
        };
        trashed += usize::from(has("labelsAdded", "/labelIds", "TRASH"));
        delivered += usize::from(has("messagesAdded", "/message/labelIds", "INBOX"));
    }
    assert_eq!((trashed, delivered), (30, 80));
}

#[tokio::test]
async fn an_empty_mailbox_gets_mail_before_anything_can_be_done_to_it() {
    let world = World::new().await;
    storm(&world, json!({"per_second": 1_000, "seconds": 0.01, "mix": {"purge": 1}})).await;
    let progress = until_over(&world).await;
    assert_eq!(progress["kinds"], json!({"deliver": 5, "label": 0, "trash": 0, "purge": 5, "draft": 0}));
    assert_eq!(world.get("profile").await["messagesTotal"], 0);
}

#[tokio::test]
async fn the_same_seed_makes_the_same_storm() {
    let subjects = async || {
        let world = World::new().await;
        let order =
            json!({"per_second": 2_000, "seconds": 0.05, "mix": {"deliver": 2, "trash": 1, "draft": 1}});
        storm(&world, order).await;
        let progress = until_over(&world).await;
        let bodies = world.server.look(ALICE, |mailbox| {
            let mut bodies: Vec<Vec<u8>> = mailbox.messages().map(|(_, m)| mailbox.raw(m).to_vec()).collect();
            bodies.sort();
            bodies
        });
        (progress, bodies.unwrap())
    };
    assert_eq!(subjects().await, subjects().await);
}

#[tokio::test]
async fn a_storm_that_makes_no_sense_is_refused() {
    let world = World::new().await;
    for (order, culprit) in [
        (json!({"per_second": 0, "seconds": 1}), "per_second"),
        (json!({"per_second": -1, "seconds": 1}), "per_second"),
        (json!({"per_second": 1e9, "seconds": 1}), "per_second"),
        (json!({"per_second": 1, "seconds": -1}), "seconds"),
        (json!({"per_second": 10_000, "seconds": 1e9}), "seconds"),
        (json!({"per_second": 1, "seconds": 1, "mix": {"deliver": -1}}), "mix"),
        (json!({"per_second": 1, "seconds": 1, "mix": {"nap": 1}}), "nap"),
        (json!({"seconds": 1}), "per_second"),
    ] {
        let (status, body) = storm(&world, order.clone()).await;
        assert_eq!(status, 400, "{order}");
        assert!(body["error"].as_str().unwrap().contains(culprit), "{order}: {body}");
    }
}
