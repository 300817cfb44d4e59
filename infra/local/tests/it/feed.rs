//! The feed of changes, read to its end and held against the truth.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::world::{Mail, World, labels_of, text};

/// The feed is one sequence, and whoever replays it ends at the mailbox.
pub async fn is_the_mailbox(world: &World, email: &str, mailbox: &str, news: &BTreeSet<String>) {
    let changes = read(world, mailbox).await;
    is_one_sequence(&changes);
    tells_the_truth(&changes, &world.snapshot(email).await, news);
    world.note(&format!("{email}: {} changes tell the mailbox", changes.len()));
}

/// Every change of a mailbox, from the first on.
pub async fn read(world: &World, mailbox: &str) -> Vec<Value> {
    let mut changes = Vec::new();
    let mut after = 0;
    loop {
        let page = world.get(&format!("/api/changes?mailbox={mailbox}&after={after}&limit=500")).await;
        changes.extend(page["items"].as_array().expect("items").iter().cloned());
        if page["nextCursor"].is_null() {
            return changes;
        }
        after = page["next"].as_u64().expect("a number");
    }
}

/// One sequence without holes from 1 on, every change under an id of its own.
pub fn is_one_sequence(changes: &[Value]) {
    let mut ids = BTreeSet::new();
    for (number, change) in (1_u64..).zip(changes) {
        assert_eq!(change["seq"], number, "the feed has a hole: {change}");
        assert_eq!(change["previousSeq"], number - 1, "{change}");
        assert!(ids.insert(text(&change["id"])), "an id came twice: {change}");
    }
}

/// What one message's changes came to.
#[derive(Default)]
struct Story {
    created: u32,
    is_deleted: bool,
    labels: Vec<String>,
    told: Vec<String>,
}

/// Whoever replays the feed ends at the mailbox: what it says last of a message is true, no message was created
/// while it was there, and one in `news` that lives was created, exactly once unless it was gone in between.
pub fn tells_the_truth(changes: &[Value], truth: &Mail, news: &BTreeSet<String>) {
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    for change in changes {
        let Some(id) = change["data"]["gmailId"].as_str() else { continue };
        let story = stories.entry(id.to_owned()).or_default();
        let kind = text(&change["type"]);
        story.told.push(format!("{}: {kind} {}", change["seq"], change["data"]));
        match kind.as_str() {
            "message.created" => {
                let is_there = story.created > 0 && !story.is_deleted;
                assert!(!is_there, "{id} was created twice: {:?}", story.told);
                story.created += 1;
            }
            "message.updated" => {
                assert!(!story.is_deleted, "{id} was updated when it was gone: {:?}", story.told);
            }
            "message.deleted" => assert!(!story.is_deleted, "{id} was deleted twice: {:?}", story.told),
            other => panic!("{other} speaks of a message: {change}"),
        }
        story.is_deleted = kind == "message.deleted";
        story.labels = labels_of(&change["data"]);
    }
    for (id, story) in &stories {
        match truth.get(id) {
            None => assert!(story.is_deleted, "{id} is gone, and the feed ends with {:?}", story.told),
            Some(labels) => {
                assert!(!story.is_deleted, "{id} lives, and the feed ends with {:?}", story.told);
                assert_eq!(&story.labels, labels, "{id}: {:?}", story.told);
            }
        }
    }
    for id in news.iter().filter(|id| truth.contains_key(*id)) {
        let created = stories.get(id).map_or(0, |story| story.created);
        assert!(created > 0, "{id} is news and was never created");
    }
}

/// Nothing that was deleted comes again: so it is while nobody changes the selection.
pub fn nothing_is_revived(changes: &[Value]) {
    let mut gone = BTreeSet::new();
    for change in changes {
        let Some(id) = change["data"]["gmailId"].as_str() else { continue };
        if change["type"] == "message.deleted" {
            gone.insert(id);
        } else {
            assert!(!gone.contains(id), "{id} was deleted before: {change}");
        }
    }
}
