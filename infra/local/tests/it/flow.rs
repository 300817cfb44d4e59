//! The ordinary life of a mailbox, and the ways in which it can fall behind and catch up.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use local::{Options, demo};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    feed,
    queue::Queue,
    world::{Mail, SOON, World, eventually, mail, text},
};

/// Changes of the burst, all within a second.
const BURST: usize = 12;

/// Fills a mailbox as one that has been in use: conversations, something in spam, something in the bin.
async fn fill(world: &World, email: &str) -> Vec<String> {
    world.create(email).await;
    let mut ids = Vec::new();
    for letter in demo::Generator::new(1).history(Timestamp::now()).iter().take(24) {
        ids.push(world.deliver(email, letter.labels, letter.raw.clone()).await);
    }
    world.deliver(email, "SPAM,UNREAD", mail("unwanted")).await;
    world.deliver(email, "TRASH", mail("thrown-away")).await;
    ids
}

/// Times of this deployment are short, so that a test need not wait for an hour or ten minutes; the schedule
/// runs only when a test says so.
fn options() -> Options {
    let parameters =
        [("VisibilityGraceSeconds", "5"), ("SyncIntervalMinutes", "1"), ("FanOutSchedule", "rate(1 day)")];
    Options {
        parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..Options::default()
    }
}

#[tokio::test]
async fn a_mailbox_stays_equal_through_everything_that_happens_to_it() {
    let world = World::start(options()).await;
    let polled = "polled@example.com";
    let alice = "alice@example.com";
    let forgotten = prepare_a_mailbox_without_pushes(&world, polled).await;

    let ids = fill(&world, alice).await;
    let mailbox = world.connect_and_sync(alice).await;
    let status = world.status(alice).await;
    assert_eq!(status["totals"]["messages"], 26, "{status}");
    assert!(status["watchExpiresAt"].is_string(), "{status}");

    pushes_carry_every_kind_of_change(&world, alice, &mailbox, &ids).await;
    a_burst_is_caught_up(&world, alice, &ids).await;
    a_sync_by_hand_needs_no_push(&world, alice, &ids).await;
    an_expired_token_is_renewed(&world, alice).await;
    everything_can_be_compared_by_hand(&world, alice).await;
    jobs_tell_what_happened(&world, alice, &mailbox).await;
    another_tenant_sees_nothing(&world, &mailbox, alice).await;
    feed::is_the_mailbox(&world, alice, &mailbox, &BTreeSet::new()).await;
    the_schedule_finds_who_is_due(&world, polled, &forgotten).await;
    // Whatever was slow, nothing was left behind.
    assert_eq!(world.status(alice).await["debts"], 0);
    assert!(world.logged("worker", "panicked").await.is_empty());
}

/// A mailbox whose watch is gone without anybody noticing; gives the mail that nothing announced.
async fn prepare_a_mailbox_without_pushes(world: &World, email: &str) -> Mail {
    fill(world, email).await;
    world.connect_and_sync(email).await;
    world.gmail(email, Method::POST, "stop", &json!({})).await;
    // The second look after news would find it.
    Queue::new(world, "SyncQueueUrl").until_empty().await;
    world.deliver(email, "INBOX", mail("nobody-announced-me")).await;
    world.snapshot(email).await
}

async fn pushes_carry_every_kind_of_change(world: &World, email: &str, mailbox: &str, ids: &[String]) {
    let id = world.deliver(email, "INBOX,UNREAD", mail("new")).await;
    world.until_equal("a push of a new mail", email).await;
    world.relabel(email, &id, &["STARRED"], &["UNREAD"]).await;
    world.until_equal("a label change", email).await;
    world.gmail(email, Method::POST, &format!("messages/{id}/trash"), &json!({})).await;
    world.until_equal("a trash", email).await;
    assert!(world.replica(mailbox).await[&id].contains(&"TRASH".to_owned()));

    world.gmail(email, Method::DELETE, &format!("messages/{id}"), &json!({})).await;
    world.until_equal("a purge", email).await;
    let deleted = world.listed(mailbox, true).await;
    assert_eq!(deleted.iter().map(|mail| text(&mail["gmailId"])).collect::<Vec<_>>(), [id]);
    assert_eq!(deleted[0]["isDeleted"], true);

    let body = json!({ "ids": ids[..10], "addLabelIds": ["IMPORTANT"], "removeLabelIds": ["INBOX"] });
    world.gmail(email, Method::POST, "messages/batchModify", &body).await;
    world.until_equal("a change of many at once", email).await;
    world.until_healthy(email).await;
}

/// Gmail drops pushes above one a second: the last change of a burst is announced by nobody.
async fn a_burst_is_caught_up(world: &World, email: &str, ids: &[String]) {
    let dropped = async || {
        let stats = world.sim(Method::GET, "stats", &json!({})).await;
        stats["pushes"]["droppedByRate"].as_u64().unwrap_or(0)
    };
    let (before, began) = (dropped().await, Instant::now());
    for (index, id) in ids[..BURST].iter().enumerate() {
        match index % 3 {
            0 => drop(world.deliver(email, "INBOX,UNREAD", mail(&format!("burst-{index}"))).await),
            1 => world.relabel(email, id, &["STARRED"], &[]).await,
            _ => drop(world.gmail(email, Method::POST, &format!("messages/{id}/trash"), &json!({})).await),
        }
    }
    assert!(dropped().await > before, "{BURST} changes in {:?} are a burst", began.elapsed());
    world.until_equal("a burst", email).await;
    world.until_healthy(email).await;
}

async fn a_sync_by_hand_needs_no_push(world: &World, email: &str, ids: &[String]) {
    world.fault(email, "drop_push").await;
    world.deliver(email, "INBOX", mail("by-hand")).await;
    world.relabel(email, &ids[20], &["STARRED"], &[]).await;
    assert_ne!(world.snapshot(email).await, world.replica(email).await, "nobody was told");
    let job = sync_by_hand(world, &format!("/api/sync/{email}")).await;
    assert_eq!(job["counts"]["inserted"], 1, "{job}");
    assert_eq!(job["kind"], "incremental");
    assert_eq!(world.snapshot(email).await, world.replica(email).await, "the job says that it is done");
    world.no_faults().await;
    world.note("a sync by hand: equal");
}

async fn an_expired_token_is_renewed(world: &World, email: &str) {
    let tokens = async || {
        let stats = world.sim(Method::GET, "stats", &json!({})).await;
        stats["methods"]["token"]["calls"].as_u64().unwrap_or(0)
    };
    let before = tokens().await;
    world.sim(Method::POST, "clock", &json!({ "advance_s": 3_700 })).await;
    world.deliver(email, "INBOX,UNREAD", mail("an-hour-later")).await;
    world.until_equal("an expired access token", email).await;
    assert!(tokens().await > before, "a new access token was asked for");
    assert_eq!(world.status(email).await["status"], "active");
}

async fn everything_can_be_compared_by_hand(world: &World, email: &str) {
    world.until_healthy(email).await;
    let job = sync_by_hand(world, &format!("/api/sync/{email}/full")).await;
    assert_eq!(job["kind"], "full");
    let messages = world.snapshot(email).await.len();
    assert_eq!(job["counts"]["listed"], messages, "{job}");
    assert_eq!(job["counts"]["inserted"], 0, "nothing was missing: {job}");
    world.until_equal("a full sync", email).await;
    world.note("a full sync: nothing was missing");
}

/// Asks for a sync and waits for its end in the same call.
async fn sync_by_hand(world: &World, path: &str) -> Value {
    let answer = world.api(Method::POST, &format!("{path}?wait=true"), None).await;
    assert_eq!(answer.status, 200, "it ended within the call: {answer:?}");
    assert_eq!(answer.body["job"]["status"], "success", "{answer:?}");
    answer.body["job"].clone()
}

async fn jobs_tell_what_happened(world: &World, email: &str, mailbox: &str) {
    let jobs = world.jobs(email).await;
    let of = |trigger: &'static str| jobs.iter().filter(move |job| job["trigger"] == trigger);
    let first = of("connect").next().expect("the initial sync");
    assert_eq!((&first["kind"], &first["status"]), (&json!("initial"), &json!("success")), "{first}");
    assert_eq!(first["counts"]["inserted"], 26, "{first}");
    assert!(first["quotaUnits"].as_u64() >= Some(26 * 20), "a get costs 20 units: {first}");
    assert!(of("push").any(|job| job["counts"]["inserted"] == 1), "{jobs:?}");
    // The push of the purge may have been dropped: then the look after news found it.
    assert!(jobs.iter().any(|job| job["counts"]["deleted"] == 1), "{jobs:?}");
    assert_eq!(of("manual").count(), 2, "one by hand, one full: {jobs:?}");
    assert!(jobs.iter().all(|job| job["mailbox"] == mailbox && job["status"] == "success"), "{jobs:?}");
    let one = world.get(&format!("/api/sync/{email}/jobs/{}", text(&first["id"]))).await;
    assert_eq!(one["counts"], first["counts"]);
}

async fn another_tenant_sees_nothing(world: &World, mailbox: &str, email: &str) {
    let token = world.another_tenant("somebody-else").await;
    let mine = text(&world.listed(mailbox, false).await[0]["id"]);
    let theirs = world.api_as(&token, Method::GET, "/api/integrations", None).await.ok("a list");
    assert_eq!(theirs["items"], json!([]));
    let theirs = world.api_as(&token, Method::GET, "/api/emails", None).await.ok("a list");
    assert_eq!(theirs["items"], json!([]));
    for (method, path) in [
        (Method::GET, format!("/api/integrations/{mailbox}")),
        (Method::GET, format!("/api/sync/{mailbox}/status")),
        (Method::GET, format!("/api/sync/{email}/status")),
        (Method::GET, format!("/api/sync/{mailbox}/jobs")),
        (Method::POST, format!("/api/sync/{mailbox}")),
        (Method::POST, format!("/api/sync/{mailbox}/full")),
        (Method::DELETE, format!("/api/integrations/{mailbox}")),
        (Method::GET, format!("/api/emails?mailbox={mailbox}")),
        (Method::GET, format!("/api/emails/{mine}")),
        (Method::GET, format!("/api/emails/{mine}/raw")),
    ] {
        let answer = world.api_as(&token, method.clone(), &path, None).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
    }
    assert_eq!(world.status(mailbox).await["status"], "active", "it is untouched");
    world.note("another tenant sees nothing");
}

/// It was last looked at about when the test began: by now its minute is over, or will be soon.
async fn the_schedule_finds_who_is_due(world: &World, email: &str, truth: &Mail) {
    let missing = |replica: &Mail| truth.keys().filter(|id| !replica.contains_key(*id)).count();
    assert_eq!(missing(&world.replica(email).await), 1, "nobody has looked yet");
    eventually("the mailbox is due", Duration::from_secs(90), async || {
        let ticked = world.system.run_cron("fan-out").await.expect("cron runs");
        if missing(&world.replica(email).await) == 0 { Ok(()) } else { Err(ticked.to_string()) }
    })
    .await;
    world.until_equal("the schedule", email).await;
    let jobs = world.jobs(email).await;
    let scheduled = jobs.iter().find(|job| job["trigger"] == "schedule");
    assert_eq!(scheduled.map(|job| &job["counts"]["inserted"]), Some(&json!(1)), "{jobs:?}");
}

#[tokio::test]
async fn what_history_no_longer_tells_is_found_by_listing_everything() {
    let world = World::start(options()).await;
    let email = "gap@example.com";
    let ids = fill(&world, email).await;
    let mailbox = world.connect_and_sync(email).await;

    world.fault(email, "drop_push").await;
    world.deliver(email, "INBOX,UNREAD", mail("in-the-gap")).await;
    world.relabel(email, &ids[0], &["STARRED"], &["INBOX"]).await;
    world.gmail(email, Method::POST, &format!("messages/{}/trash", ids[1]), &json!({})).await;
    world.gmail(email, Method::DELETE, &format!("messages/{}", ids[2]), &json!({})).await;
    // Trashed and purged in one window: it falls out of both lists.
    world.gmail(email, Method::POST, &format!("messages/{}/trash", ids[3]), &json!({})).await;
    world.gmail(email, Method::DELETE, &format!("messages/{}", ids[3]), &json!({})).await;
    world.sim(Method::POST, &format!("mailboxes/{email}/expire-history"), &json!({})).await;

    let asked = world.api(Method::POST, &format!("/api/sync/{email}"), None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    // A purge that no history tells of is a doubt first: the get may be early. It shows as debts.
    let doubted = world.until_status(email, "in debt", |status| status["debts"] == 2).await;
    assert_eq!(doubted["healthy"], false, "{doubted}");
    world.until_equal_within("an expired history", email, 2 * SOON).await;
    let mut gone: Vec<String> =
        world.listed(&mailbox, true).await.iter().map(|mail| text(&mail["gmailId"])).collect();
    gone.sort_unstable();
    let mut purged = ids[2..4].to_vec();
    purged.sort_unstable();
    assert_eq!(gone, purged, "what was purged is a tombstone");

    world.no_faults().await;
    world.until_healthy(email).await;
    world.deliver(email, "INBOX", mail("after-the-gap")).await;
    world.until_equal("a push after the gap", email).await;
    world.until_healthy(email).await;
    feed::is_the_mailbox(&world, email, &mailbox, &BTreeSet::new()).await;
}

#[tokio::test]
async fn a_revoked_grant_stops_every_call_until_the_mailbox_is_connected_again() {
    let world = World::start(options()).await;
    let email = "revoked@example.com";
    fill(&world, email).await;
    let mailbox = world.connect_and_sync(email).await;

    world.sim(Method::POST, &format!("mailboxes/{email}/revoke"), &json!({})).await;
    world.deliver(email, "INBOX", mail("while-revoked")).await;
    let status = world.until_status(email, "parked", |status| status["status"] == "needs_reauth").await;
    assert_eq!(status["healthy"], false, "{status}");
    assert!(status["lastError"].is_string(), "{status}");
    nobody_calls_for_a_parked_mailbox(&world, email).await;
    let refused = world.api(Method::POST, &format!("/api/sync/{email}"), None).await;
    assert_eq!(refused.status, 409, "{refused:?}");

    world.sim(Method::DELETE, &format!("mailboxes/{email}/revoke"), &json!({})).await;
    let (again, answer) = world.connect(email).await;
    assert_eq!((answer.status, &again), (200, &mailbox), "the same mailbox: {answer:?}");
    world.until_equal("a new grant", email).await;
    world.until_healthy(email).await;
    world.deliver(email, "INBOX", mail("pushed-again")).await;
    world.until_equal("a push after the new grant", email).await;

    disconnecting_stops_the_watch_and_keeps_the_mail(&world, email, &mailbox).await;
}

/// A push and the schedule both end at the status: Gmail is not asked, neither for mail nor for a token.
async fn nobody_calls_for_a_parked_mailbox(world: &World, email: &str) {
    const LEFT_ALONE: &str = "not to be synced";
    let before = world.sim(Method::GET, "stats", &json!({})).await;
    let seen = world.logged("worker", LEFT_ALONE).await.len();
    // The push before was sent less than a second ago, perhaps: what exceeds the second is dropped.
    eventually("a push reaches the worker", SOON, async || {
        world.deliver(email, "INBOX", mail("still-revoked")).await;
        let lines = world.logged("worker", LEFT_ALONE).await.len();
        if lines > seen { Ok(()) } else { Err(format!("{lines} lines")) }
    })
    .await;
    world.system.run_cron("fan-out").await.expect("cron runs");
    let after = world.sim(Method::GET, "stats", &json!({})).await;
    assert_eq!(before["calls"], after["calls"], "calls of any method");
    assert_eq!(before["methods"]["token"], after["methods"]["token"]);
    world.note("a parked mailbox: no call");
}

async fn disconnecting_stops_the_watch_and_keeps_the_mail(world: &World, email: &str, mailbox: &str) {
    let kept = world.replica(mailbox).await;
    let answer = world.api(Method::DELETE, &format!("/api/integrations/{mailbox}"), None).await;
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    assert_eq!(world.calls(email, "stop").await, 1);

    // With this fault the simulator counts what it would have pushed.
    let suppressed = async || {
        let stats = world.sim(Method::GET, "stats", &json!({})).await;
        stats["pushes"]["droppedByFault"].as_u64().unwrap_or(0)
    };
    world.fault(email, "drop_push").await;
    let before = suppressed().await;
    world.deliver(email, "INBOX", mail("after-the-end")).await;
    assert_eq!(suppressed().await, before, "there is no watch");

    assert_eq!(world.replica(mailbox).await, kept, "the mail stays");
    let mailbox = world.get(&format!("/api/integrations/{mailbox}")).await;
    let status = mailbox["mailbox"]["status"].as_str().or(mailbox["status"].as_str());
    assert_eq!(status, Some("deactivated"), "{mailbox}");
    world.note("disconnected");
}
