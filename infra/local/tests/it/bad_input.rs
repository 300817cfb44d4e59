//! What must not get in, and what must not stop the rest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use local::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    hostile_mail::hostile_mails,
    push_tokens::{Certs, Key, claims, claims_but},
    queue::Queue,
    world::{Answer, SOON, World, answer, eventually, mail, text},
};

const ALICE: &str = "alice@example.com";
/// Larger mails are stored, and given out by no gateway.
const RAW_BYTES_MAX: usize = 4 << 20;

/// A system that also believes a key of ours, with mailbox and several jobs an invocation.
async fn start(key: &Key) -> (World, Certs, String) {
    let certs = Certs::serve(key).await;
    let parameters =
        [("GoogleCertsUrl", certs.url()), ("SyncBatchSize", "10"), ("FanOutSchedule", "rate(1 day)")];
    let options = Options {
        parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        // Hostile mail is large, and its quota is not what is tried here.
        simulator_arguments: vec!["--quota".to_owned(), "off".to_owned()],
        ..Options::default()
    };
    let world = World::start(options).await;
    certs.also_of(&world.system.simulator().url());
    world.create(ALICE).await;
    world.deliver(ALICE, "INBOX", mail("first")).await;
    let mailbox = world.connect_and_sync(ALICE).await;
    (world, certs, mailbox)
}

#[tokio::test]
async fn what_is_forged_or_nonsense_is_refused_and_nothing_is_queued() {
    let key = Key::new("ours");
    let (world, _certs, mailbox) = start(&key).await;
    let queue = Queue::new(&world, "SyncQueueUrl");
    let quiet = Quiet::now(&world, &queue).await;

    forged_tokens_are_401(&world, &key).await;
    nonsense_bodies_are_400(&world, &key).await;
    unknown_mailboxes_are_acknowledged_and_counted(&world, &key).await;
    quiet.still(&world, &queue).await;
    world.note("refused: nothing was queued");

    // The control: the same push with a right token is a job.
    let accepted = push(&world, Some(&key.sign(&claims())), &push_body(ALICE, "1")).await;
    assert_eq!(accepted.status, 204, "{accepted:?}");
    world.until_logged("webhook", "a push was queued", quiet.queued).await;

    unreadable_jobs_go_to_the_dead_letter_queue(&world, &queue, &mailbox).await;
}

/// How much had been queued and run at a moment.
struct Quiet {
    queued: usize,
    invocations: usize,
}

impl Quiet {
    async fn now(world: &World, queue: &Queue<'_>) -> Self {
        world.until_healthy(ALICE).await;
        // The log of an invocation appears after its message is gone: two looks must agree.
        let mut seen = usize::MAX;
        eventually("nothing is under way", SOON, async || {
            queue.until_empty().await;
            let before =
                std::mem::replace(&mut seen, world.system.worker_invocations().await.expect("the log"));
            if before == seen { Ok(()) } else { Err(format!("{seen} invocations")) }
        })
        .await;
        Self {
            queued: world.logged("webhook", "a push was queued").await.len(),
            invocations: world.system.worker_invocations().await.expect("the log"),
        }
    }

    async fn still(&self, world: &World, queue: &Queue<'_>) {
        assert_eq!(queue.depth().await, 0, "nothing is in the queue");
        assert_eq!(world.logged("webhook", "a push was queued").await.len(), self.queued);
        let invocations = world.system.worker_invocations().await.expect("the log");
        assert_eq!(invocations, self.invocations, "no worker was started");
    }
}

async fn forged_tokens_are_401(world: &World, key: &Key) {
    let now = Timestamp::now().as_second();
    let other_key_same_id = Key::new("ours");
    let right = key.sign(&claims());
    let (signed, _) = right.rsplit_once('.').expect("three parts");
    let tokens = [
        ("no token", None),
        ("no JWT", Some("nonsense".to_owned())),
        ("another key under a known id", Some(other_key_same_id.sign(&claims()))),
        ("a key that nobody knows", Some(Key::new("theirs").sign(&claims()))),
        ("alg none", Some(key.unsigned(&claims()))),
        ("the public key as a secret", Some(key.sign_with_hmac(&claims()))),
        ("no signature", Some(format!("{signed}."))),
        ("another audience", Some(key.sign(&claims_but("aud", json!("somebody-else"))))),
        ("no audience", Some(key.sign(&claims_but("aud", Value::Null)))),
        ("another issuer", Some(key.sign(&claims_but("iss", json!("https://evil.example"))))),
        ("another account", Some(key.sign(&claims_but("email", json!("push@evil.example"))))),
        ("an unverified account", Some(key.sign(&claims_but("email_verified", json!(false))))),
        ("expired", Some(key.sign(&claims_but("exp", json!(now - 120))))),
        ("no expiry", Some(key.sign(&claims_but("exp", Value::Null)))),
        ("of the future", Some(key.sign(&claims_but("iat", json!(now + 600))))),
        ("100 kB long", Some("x".repeat(100_000))),
    ];
    for (what, token) in tokens {
        // The gateway itself may refuse a header of 100 kB.
        let refused = push(world, token.as_deref(), &push_body(ALICE, "18446744073709551615")).await;
        let expected: &[u16] = if what.starts_with("100 kB") { &[400, 401, 413, 431] } else { &[401] };
        assert!(expected.contains(&refused.status), "{what}: {refused:?}");
    }
    assert!(world.logged("webhook", "pushes_forged").await.len() >= 15, "each is counted");
}

async fn nonsense_bodies_are_400(world: &World, key: &Key) {
    let token = key.sign(&claims());
    let data = |data: &str| json!({ "message": { "data": STANDARD.encode(data) } }).to_string();
    let bodies = [
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({ "message": {} }).to_string(),
        json!({ "message": { "data": 7 } }).to_string(),
        json!({ "message": { "data": "***" } }).to_string(),
        data("not JSON"),
        data("{}"),
        data(r#"{"emailAddress":"nobody","historyId":1}"#),
        data(r#"{"emailAddress":"alice@example.com"}"#),
        data(r#"{"emailAddress":"alice@example.com","historyId":-1}"#),
        data(r#"{"emailAddress":"alice@example.com","historyId":"18446744073709551616"}"#),
        json!({ "message": { "data": "A".repeat(100_000) } }).to_string(),
        "[".repeat(10_000),
    ];
    for body in bodies {
        let refused = push(world, Some(&token), &body).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(refused.status, 400, "{shown}: {refused:?}");
    }
}

async fn unknown_mailboxes_are_acknowledged_and_counted(world: &World, key: &Key) {
    let before = world.logged("webhook", "pushes_unknown").await.len();
    let answer = push(world, Some(&key.sign(&claims())), &push_body("stranger@example.com", "7")).await;
    assert_eq!(answer.status, 204, "or it is delivered for a week: {answer:?}");
    let lines = world.until_logged("webhook", "pushes_unknown", before).await;
    assert!(lines.iter().all(|line| !line.contains("stranger")), "no address in the log: {lines:?}");
}

/// A batch of ten holds what nobody can read beside a good job.
async fn unreadable_jobs_go_to_the_dead_letter_queue(world: &World, queue: &Queue<'_>, mailbox: &str) {
    world.fault(ALICE, "drop_push").await;
    world.deliver(ALICE, "INBOX", mail("beside-nonsense")).await;
    let now = Timestamp::now().to_string();
    let good = json!({ "v": "1", "mailbox": mailbox, "trigger": "schedule", "trace": "e2e", "sent_at": now });
    let newer = json!({ "v": "99", "mailbox": mailbox, "unheard": "of" }).to_string();
    let mut bad = vec![newer, "nonsense".to_owned(), json!({ "v": "1", "mailbox": "../.." }).to_string()];
    queue.send(&[&bad[0], &bad[1], &good.to_string(), &bad[2]]).await;

    world.until_equal("a good job beside nonsense", ALICE).await;
    let dead = Queue::new(world, "SyncDeadLetterQueueUrl");
    bad.sort_unstable();
    eventually("the dead-letter queue has them", SOON, async || {
        let found = dead.bodies().await;
        if found == bad { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    queue.until_empty().await;
    assert_eq!(dead.depth().await, 3, "each once");
    let lines = world.until_logged("worker", "jobs_unreadable", 2).await;
    for reason in [r"unknown version", "not JSON", "mailbox: is not what it should be"] {
        assert!(lines.iter().any(|line| line.contains(reason)), "{reason}: {lines:?}");
    }
    world.no_faults().await;
    world.note("unreadable jobs: dead letters, each with its reason");
}

async fn push(world: &World, token: Option<&str>, body: &str) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = client
        .post(format!("{}/webhooks/gmail", world.system.url()))
        .header("content-type", "application/json")
        .body(body.to_owned());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    answer(request).await
}

/// What Pub/Sub posts.
fn push_body(email: &str, history_id: &str) -> String {
    let data = json!({ "emailAddress": email, "historyId": history_id }).to_string();
    let message = json!({ "data": STANDARD.encode(data), "messageId": "1", "attributes": {} });
    json!({ "message": message, "subscription": "projects/p/subscriptions/s" }).to_string()
}

#[tokio::test]
async fn hostile_mail_is_stored_or_a_visible_debt_and_later_mail_still_syncs() {
    let (world, _certs, mailbox) = start(&Key::new("ours")).await;
    let mut delivered = Vec::new();
    for (what, raw) in hostile_mails() {
        delivered.push((what, world.deliver(ALICE, "INBOX,UNREAD", raw.clone()).await, raw));
    }
    let count = delivered.len() + 1;
    let settled = eventually("every hostile mail is settled", 4 * SOON, async || {
        let status = world.status(ALICE).await;
        let stored = status["totals"]["messages"].as_u64().unwrap_or(0);
        let debts = status["debts"].as_u64().unwrap_or(0);
        if stored + debts == count as u64 && status["syncing"] == false {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    })
    .await;
    let replica = world.listed(&mailbox, false).await;
    let stored = |id: &str| replica.iter().find(|mail| mail["gmailId"] == id);
    let debts: Vec<&str> =
        delivered.iter().filter(|(_, id, _)| stored(id).is_none()).map(|(what, ..)| *what).collect();
    assert_eq!(settled["debts"], debts.len(), "what is not stored is owed: {debts:?}");
    world.note(&format!("{} hostile mails, owed: {debts:?}", delivered.len()));

    for (what, id, raw) in delivered.iter().filter(|(_, _, raw)| raw.len() <= RAW_BYTES_MAX) {
        let Some(mail) = stored(id) else { continue };
        let bytes = world.stored_bytes(&text(&mail["id"])).await;
        assert!(bytes == *raw, "{what}: {} bytes stored, {} delivered", bytes.len(), raw.len());
        let shown = world.api(Method::GET, &format!("/api/emails/{}", text(&mail["id"])), None).await;
        assert_eq!(shown.status, 200, "{what}: {shown:?}");
    }
    no_worker_has_crashed(&world).await;

    let later = world.deliver(ALICE, "INBOX", mail("after-the-storm")).await;
    eventually("later mail syncs", SOON, async || {
        if world.replica(&mailbox).await.contains_key(&later) { Ok(()) } else { Err("not there".to_owned()) }
    })
    .await;
    no_worker_has_crashed(&world).await;
}

/// The emulator logs each batch, and in other words when the function failed, died or gave part of it back.
async fn no_worker_has_crashed(world: &World) {
    assert!(world.logged("worker", "jobs_failed").await.is_empty());
    let log = std::fs::read_to_string(world.system.cloud().log()).expect("the emulator's log");
    let with = |sign: &str| log.lines().filter(|line| line.contains(sign)).collect::<Vec<_>>();
    assert!(
        !with("SQS messages from").is_empty(),
        "or the emulator's words are others, and nothing is tried here"
    );
    for sign in ["failed processing SQS batch", "partial failures", "execution error", "panicked"] {
        let lines = with(sign);
        assert!(lines.is_empty(), "{sign}: {lines:?}");
    }
}
