//! Real mail: 6,046 messages and the malformed ones, through the functions as they are deployed.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use local::{Options, workspace_root};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    queue::Queue,
    world::{World, eventually, text},
};

const ALICE: &str = "corpus@example.com";
const MALFORMED: &str = "malformed@example.com";
const MESSAGES: usize = 6_046;
/// Longest time for the whole corpus, on a slow machine.
const SYNC_MAX: Duration = Duration::from_mins(10);
/// Every so manieth message is compared byte by byte.
const SAMPLE_EVERY: usize = 30;
fn folder(name: &str) -> PathBuf {
    let folder = workspace_root().join("target/corpus").join(name);
    assert!(folder.is_dir(), "{} is missing: run `make corpus`", folder.display());
    folder
}

#[tokio::test]
async fn a_mailbox_of_real_mail_is_the_same_message_by_message() {
    let (corpus, malformed) = (folder("spam-assassin"), folder("malformed"));
    let options =
        Options { simulator_arguments: vec!["--quota".to_owned(), "off".to_owned()], ..Options::default() };
    let world = World::start(options).await;

    world.create(MALFORMED).await;
    world.system.simulator().load(MALFORMED, &malformed).await.expect("the malformed ones load");
    sync_whole(&world, MALFORMED, 23).await;
    let mailbox = text(&world.status(MALFORMED).await["mailbox"]);
    compare(&world, MALFORMED, &mailbox, 1).await;

    world.create(ALICE).await;
    world.system.simulator().load(ALICE, &corpus).await.expect("the corpus loads");
    let took = sync_whole(&world, ALICE, MESSAGES).await;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = MESSAGES as f64 / took.as_secs_f64();
    world.note(&format!("{MESSAGES} messages in {:.1} s: {rate:.0} a second", took.as_secs_f64()));
    let mailbox = text(&world.status(ALICE).await["mailbox"]);
    workers_of_the_cloud_wrote_it(&world, &mailbox).await;
    compare(&world, ALICE, &mailbox, SAMPLE_EVERY).await;
}

/// Connects a mailbox and waits until it is whole; gives how long that took.
async fn sync_whole(world: &World, email: &str, messages: usize) -> Duration {
    assert_eq!(world.snapshot(email).await.len(), messages, "the simulator has them all");
    let began = Instant::now();
    let mut told = Instant::now();
    let (_, answer) = world.connect(email).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    eventually(&format!("{email} is whole"), SYNC_MAX, async || {
        let status = world.status(email).await;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            world.note(&format!("{} of {messages} messages", status["totals"]["messages"]));
        }
        if status["healthy"] == true && status["totals"]["messages"] == messages {
            return Ok(());
        }
        Err(status.to_string())
    })
    .await;
    began.elapsed()
}

/// Every message's ids, labels and size; and the bytes of some.
async fn compare(world: &World, email: &str, mailbox: &str, every: usize) {
    let truth = world.snapshot_lines(email).await;
    let stored = world.listed(mailbox, false).await;
    let stored: BTreeMap<String, &Value> = stored.iter().map(|mail| (text(&mail["gmailId"]), mail)).collect();
    assert_eq!(stored.len(), truth.len(), "as many, and none twice");
    for message in &truth {
        let mail = stored.get(&text(&message["id"])).unwrap_or_else(|| panic!("{message} is missing"));
        assert_eq!(mail["threadId"], message["threadId"], "{message}");
        assert_eq!(sorted(&mail["labelIds"]), sorted(&message["labelIds"]), "{message}");
        assert_eq!(mail["sizeEstimate"], message["sizeEstimate"], "{message}");
        assert_eq!(mail["isDeleted"], false, "{message}");
        assert!(number(&mail["historyId"]) <= number(&message["historyId"]), "{mail} is ahead of {message}");
    }
    let mut compared = 0;
    for message in truth.iter().step_by(every) {
        let id = text(&message["id"]);
        let original = raw_of(world, email, &id).await;
        let bytes = world.stored_bytes(&text(&stored[&id]["id"])).await;
        assert!(bytes == original, "{id}: {} bytes stored, {} in Gmail", bytes.len(), original.len());
        compared += 1;
    }
    let total = truth.len();
    world.note(&format!("{total} messages are the same in {email}, {compared} of them byte by byte"));
}

/// The worker says so itself, in processes that the emulator launched; this process has no client of the table.
async fn workers_of_the_cloud_wrote_it(world: &World, mailbox: &str) {
    // An invocation's log appears when it has ended.
    Queue::new(world, "SyncQueueUrl").until_empty().await;
    let lines = world.logged("worker", mailbox).await;
    let inserted: u64 = lines.iter().filter_map(|line| new_emails(line)).sum();
    assert_eq!(inserted, MESSAGES as u64, "what workers say that they wrote: {lines:?}");
    let invocations = world.system.worker_invocations().await.expect("the log");
    let processes = world.system.worker_cold_starts().expect("the emulator's log");
    // Two mailboxes were connected; what one invocation does is bounded by its time only.
    assert!(invocations >= 2, "{invocations} invocations");
    assert!((1..=invocations).contains(&processes), "{processes} processes, {invocations} invocations");
    // Nobody else has asked yet: each message was fetched by a worker, and once.
    let gets = world.calls(ALICE, "messages.get").await;
    assert_eq!(gets, MESSAGES as u64, "gets");
    world.note(&format!("{invocations} invocations in {processes} processes, {gets} gets"));
}

/// `new_emails` of a log line, if the line has it.
fn new_emails(line: &str) -> Option<u64> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["fields"]["new_emails"].as_u64().or(line["new_emails"].as_u64())
}

/// The message's bytes as Gmail gives them.
async fn raw_of(world: &World, email: &str, id: &str) -> Vec<u8> {
    let answer = world.gmail(email, Method::GET, &format!("messages/{id}?format=raw"), &json!({})).await;
    URL_SAFE_NO_PAD.decode(text(&answer["raw"]).trim_end_matches('=')).expect("base64url")
}

fn sorted(labels: &Value) -> Vec<String> {
    let mut labels: Vec<String> =
        labels.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(text).collect();
    labels.sort_unstable();
    labels
}

fn number(id: &Value) -> u64 {
    text(id).parse().expect("a history id")
}
