//! What the protocol promises, over HTTP and with the deployed functions: old mail on demand, comparisons and their
//! guard, the selection, debts, drift, operations, and a status that tells the truth.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use local::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    feed,
    world::{Answer, Mail, SOON, World, difference, eventually, mail, text},
};

/// Messages of the mailbox that mass deletion befalls, and those that are purged of it: more than half.
const MANY: usize = 40;
const PURGED: usize = 24;

fn options() -> Options {
    let parameters =
        [("VisibilityGraceSeconds", "4"), ("FanOutSchedule", "rate(1 day)"), ("MassDeletionMessages", "10")];
    Options {
        parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        simulator_arguments: ["--quota", "off"].map(str::to_owned).to_vec(),
        ..Options::default()
    }
}

#[tokio::test]
async fn old_mail_guard_selection_and_debts_do_what_their_owner_asks() {
    let world = World::start(options()).await;
    old_mail_is_brought_on_demand(&world, "old@example.com").await;
    a_full_sync_answers_after_what_it_was_asked_to_fetch(&world, "old@example.com").await;
    nothing_is_deleted_by_the_mass_unless_it_is_meant(&world, "mass@example.com").await;
    the_selection_is_followed_by_everything(&world, "selected@example.com").await;
    a_debt_ends_by_retry_or_by_being_accepted(&world, "debts@example.com").await;
    a_paused_mailbox_rests_and_an_unlocked_one_goes_on(&world, "paused@example.com").await;
    what_waits_says_where_and_expired_history_does_not_lose_it(&world, "waiting@example.com").await;
    assert!(world.logged("worker", "panicked").await.is_empty());
}

/// Orders a job and waits for its end in the same call.
async fn done(world: &World, path: &str, body: Option<&Value>) -> Value {
    let separator = if path.contains('?') { '&' } else { '?' };
    let answer = world.api(Method::POST, &format!("{path}{separator}wait=true"), body).await;
    assert_eq!(answer.status, 200, "{path} ended within the call: {answer:?}");
    answer.body["job"].clone()
}

async fn order(world: &World, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let answer = world.api(method, path, body).await;
    assert!(matches!(answer.status, 200 | 202), "{path}: {answer:?}");
    answer
}

/// Delivers a mail of a day of 2024.
async fn deliver_dated(world: &World, email: &str, day: u32, from: &str) {
    let raw = format!(
        "From: <{from}>\r\nTo: <{email}>\r\nDate: {day} Mar 2024 10:00:00 +0000\r\nSubject: of day {day}\r\n\r\nold\r\n"
    );
    // 2024-03-01T10:00Z and so many days.
    let at = 1_709_287_200_000_u64 + u64::from(day - 1) * 86_400_000;
    let path = format!("mailboxes/{email}/messages?labels=INBOX&internal_date_ms={at}");
    let url = format!("{}/sim/{path}", world.system.simulator().url());
    let answer = reqwest::Client::new().post(url).body(raw).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
}

async fn old_mail_is_brought_on_demand(world: &World, email: &str) {
    world.create(email).await;
    for day in 1..=20 {
        deliver_dated(world, email, day, if day % 4 == 0 { "carol@example.com" } else { "bob@example.com" })
            .await;
    }
    world.connect_and_sync(email).await;
    let stretch = json!({ "startDate": "2024-03-05T00:00:00Z", "endDate": "2024-03-11T00:00:00Z" });
    let job = done(world, &format!("/api/sync/{email}/historical"), Some(&stretch)).await;
    assert_eq!((&job["kind"], &job["status"]), (&json!("historical"), &json!("success")), "{job}");
    assert_eq!(job["counts"]["listed"], 6, "the end is exclusive: {job}");
    assert_eq!(job["counts"]["fetched"], 0, "all of it is stored: {job}");
    let job =
        done(world, &format!("/api/sync/{email}/contact"), Some(&json!({ "email": "carol@example.com" })))
            .await;
    assert_eq!((&job["kind"], &job["status"]), (&json!("contact"), &json!("success")), "{job}");
    assert_eq!(job["counts"]["listed"], 5, "{job}");
    world.until_healthy(email).await;
    world.until_equal("old mail on demand", email).await;
}

/// History is far behind, so that only the listing knows of what is new.
async fn a_full_sync_answers_after_what_it_was_asked_to_fetch(world: &World, email: &str) {
    world.fault(email, "drop_push").await;
    let lag = json!({ "kind": "history_lag", "mailbox": email, "seconds": 3_600 });
    world.sim(Method::POST, "faults", &lag).await;
    for number in 0..12 {
        world.deliver(email, "INBOX", mail(&format!("behind-{number}"))).await;
    }
    let job = done(world, &format!("/api/sync/{email}/full?max_results=5"), None).await;
    assert_eq!(job["parameters"]["maxResults"], 5, "{job}");
    assert_eq!(job["counts"]["listed"], 32, "{job}");
    assert_eq!(job["counts"]["fetched"], 5, "the rest is fetched after the answer: {job}");
    world.until_equal("what a full sync left", email).await;
    world.no_faults().await;
    done(world, &format!("/api/sync/{email}"), None).await;
    world.until_healthy(email).await;
}

async fn nothing_is_deleted_by_the_mass_unless_it_is_meant(world: &World, email: &str) {
    world.create(email).await;
    let mut ids = Vec::new();
    for number in 0..MANY {
        ids.push(world.deliver(email, "INBOX", mail(&format!("many-{number}"))).await);
    }
    let mailbox = world.connect_and_sync(email).await;
    let before = world.replica(&mailbox).await;
    world.fault(email, "drop_push").await;
    world.gmail(email, Method::POST, "messages/batchDelete", &json!({ "ids": ids[..PURGED] })).await;
    world.sim(Method::POST, &format!("mailboxes/{email}/expire-history"), &json!({})).await;
    order(world, Method::POST, &format!("/api/sync/{email}"), None).await;
    let status = world.until_status(email, "stopped", |status| status["status"] == "needs_attention").await;
    assert_eq!(status["healthy"], false, "{status}");
    assert!(text(&status["lastError"]).contains(&PURGED.to_string()), "{status}");
    assert_eq!(world.replica(&mailbox).await, before, "nothing was deleted");
    assert_eq!(world.listed(&mailbox, true).await.len(), 0);
    let refused = world.api(Method::POST, &format!("/api/sync/{email}/full"), None).await;
    assert_eq!(refused.status, 409, "{refused:?}");

    order(world, Method::POST, &format!("/api/sync/{email}/full?accept_deletions=true"), None).await;
    world.until_equal_within("deletions that are meant", email, 2 * SOON).await;
    world.until_healthy(email).await;
    assert_eq!(world.listed(&mailbox, true).await.len(), PURGED, "they are tombstones");
    assert_eq!(why(world, &mailbox, &ids[0]).await["verdict"], "deleted");
    assert_eq!(why(world, &mailbox, &ids[MANY - 1]).await["verdict"], "stored");
    assert_eq!(why(world, &mailbox, "123456789abcdef0").await["verdict"], "never_seen");
    world.no_faults().await;
}

async fn why(world: &World, mailbox: &str, id: &str) -> Value {
    let why = world.get(&format!("/api/emails/{id}/why?mailbox={mailbox}")).await;
    assert!(why["because"].as_str().is_some_and(|because| because.len() > 20), "a sentence: {why}");
    why
}

/// What the replica must hold of a mailbox.
async fn until_selected(
    world: &World,
    what: &str,
    email: &str,
    mailbox: &str,
    holds: impl Fn(&[String]) -> bool,
) {
    eventually(what, SOON, async || {
        let mut truth: Mail = world.snapshot(email).await;
        truth.retain(|_, labels| holds(labels));
        let replica = world.replica(mailbox).await;
        if truth == replica { Ok(()) } else { Err(difference(&truth, &replica)) }
    })
    .await;
    world.note(what);
}

async fn the_selection_is_followed_by_everything(world: &World, email: &str) {
    world.create(email).await;
    let mut ids = Vec::new();
    for number in 0..12 {
        let labels = ["INBOX", "INBOX,STARRED", "IMPORTANT", "SPAM"][number % 4];
        ids.push(world.deliver(email, labels, mail(&format!("selected-{number}"))).await);
    }
    let mailbox = world.connect_and_sync(email).await;
    let settings = format!("/api/integrations/{mailbox}/settings");
    let has = |labels: &[String], label: &str| labels.iter().any(|one| one == label);

    let inbox = json!({ "labels": { "include": ["INBOX"] } });
    let answer = order(world, Method::PUT, &settings, Some(&inbox)).await;
    assert_eq!(answer.status, 202, "a comparison makes it so: {answer:?}");
    until_selected(world, "a narrower selection", email, &mailbox, |labels| has(labels, "INBOX")).await;
    world.until_healthy(email).await;
    let outside = why(world, &mailbox, &ids[2]).await;
    assert_eq!(outside["verdict"], "out_of_scope", "{outside}");
    assert!(text(&outside["rule"]).contains("INBOX"), "{outside}");

    world.relabel(email, &ids[0], &[], &["INBOX"]).await;
    world.relabel(email, &ids[2], &["INBOX"], &[]).await;
    let arrived = world.deliver(email, "IMPORTANT", mail("never-inside")).await;
    until_selected(world, "one leaves, one enters", email, &mailbox, |labels| has(labels, "INBOX")).await;
    eventually("what arrived outside is known", SOON, async || {
        let seen = why(world, &mailbox, &arrived).await;
        if seen["verdict"] == "out_of_scope" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    assert_eq!(why(world, &mailbox, &ids[0]).await["verdict"], "out_of_scope");

    let unstarred = json!({ "labels": { "exclude": ["STARRED"] } });
    order(world, Method::PATCH, &settings, Some(&unstarred)).await;
    let inside = |labels: &[String]| has(labels, "INBOX") && !has(labels, "STARRED");
    until_selected(world, "an exclusion", email, &mailbox, inside).await;
    assert_eq!(world.get(&format!("/api/sync/{mailbox}/drift")).await["countable"], false);
    world.relabel(email, &ids[4], &["STARRED"], &[]).await;
    world.relabel(email, &ids[1], &[], &["STARRED"]).await;
    until_selected(world, "a star comes, a star goes", email, &mailbox, inside).await;

    order(world, Method::PUT, &settings, Some(&json!({ "labels": {} }))).await;
    world.until_equal("everything again", email).await;
    world.until_healthy(email).await;
    feed::is_the_mailbox(world, email, &mailbox, &BTreeSet::from([arrived])).await;
}

/// A mail that cannot be got, as a debt.
async fn owed(world: &World, email: &str, mailbox: &str, subject: &str) -> String {
    let fault = json!({ "kind": 400, "method": "messages.get", "mailbox": email });
    world.sim(Method::POST, "faults", &fault).await;
    let id = world.deliver(email, "INBOX", mail(subject)).await;
    let status = world.until_status(email, "in debt", |status| status["debts"] == 1).await;
    assert_eq!(status["healthy"], false, "{status}");
    let debts = world.get(&format!("/api/sync/{email}/debts")).await;
    assert_eq!(debts["items"].as_array().map(Vec::len), Some(1), "{debts}");
    let debt = &debts["items"][0];
    assert_eq!((&debt["gmailId"], &debt["reason"]), (&json!(id), &json!("failed")), "{debt}");
    let why = why(world, mailbox, &id).await;
    assert_eq!((&why["verdict"], &why["debt"]["gmailId"]), (&json!("debt"), &json!(id)), "{why}");
    id
}

async fn a_debt_ends_by_retry_or_by_being_accepted(world: &World, email: &str) {
    world.create(email).await;
    world.deliver(email, "INBOX", mail("fine")).await;
    let mailbox = world.connect_and_sync(email).await;

    let first = owed(world, email, &mailbox, "retried").await;
    let retry = format!("/api/sync/{email}/debts/{first}/retry");
    // Once more in vain, then for good.
    done(world, &retry, None).await;
    assert_eq!(world.status(email).await["debts"], 1);
    world.no_faults().await;
    done(world, &retry, None).await;
    world.until_equal("a debt tried again", email).await;
    world.until_healthy(email).await;
    assert_eq!(why(world, &mailbox, &first).await["verdict"], "stored");

    let second = owed(world, email, &mailbox, "lost").await;
    done(world, &format!("/api/sync/{email}/debts/{second}/accept"), None).await;
    world.no_faults().await;
    assert_eq!(why(world, &mailbox, &second).await["verdict"], "accepted");
    world.until_healthy(email).await;
    let gone = world.api(Method::POST, &retry, None).await;
    assert_eq!(gone.status, 404, "there is no such debt any more: {gone:?}");
    // A comparison does not bring it back, and it is no drift.
    done(world, &format!("/api/sync/{email}/full"), None).await;
    assert_eq!(why(world, &mailbox, &second).await["verdict"], "accepted");
    done(world, &format!("/api/sync/{email}/drift"), None).await;
    assert_eq!(world.get(&format!("/api/sync/{email}/drift")).await["drift"], 0);
    world.until_healthy(email).await;
}

async fn a_paused_mailbox_rests_and_an_unlocked_one_goes_on(world: &World, email: &str) {
    world.create(email).await;
    world.deliver(email, "INBOX", mail("before")).await;
    let mailbox = world.connect_and_sync(email).await;
    for _ in 0..2 {
        let paused = order(world, Method::POST, &format!("/api/sync/{email}/pause"), None).await;
        assert_eq!((&paused.body["status"], &paused.body["healthy"]), (&json!("paused"), &json!(false)));
    }
    let before = world.logged("worker", "not to be synced").await.len();
    world.deliver(email, "INBOX", mail("while-paused")).await;
    world.until_logged("worker", "not to be synced", before).await;
    assert_eq!(world.replica(&mailbox).await.len(), 1, "nothing is synced");
    let unlocked = order(world, Method::POST, &format!("/api/sync/{email}/unlock"), None).await;
    assert_eq!((unlocked.status, &unlocked.body["job"]), (200, &Value::Null), "{unlocked:?}");
    assert_eq!(world.status(email).await["status"], "paused", "it is only unlocked");
    order(world, Method::POST, &format!("/api/sync/{email}/resume"), None).await;
    world.until_equal("a resumed mailbox", email).await;
    world.until_healthy(email).await;

    world.fault(email, "drop_push").await;
    world.deliver(email, "INBOX", mail("before-unlock")).await;
    let job = done(world, &format!("/api/sync/{email}/unlock"), None).await;
    assert_eq!(job["status"], "success", "{job}");
    world.until_equal("an unlocked mailbox", email).await;
    world.no_faults().await;
    let drift = done(world, &format!("/api/sync/{email}/drift"), None).await;
    assert_eq!((&drift["kind"], &drift["status"]), (&json!("probe"), &json!("success")), "{drift}");
    assert_eq!(world.get(&format!("/api/sync/{email}/drift")).await["drift"], 0);
    world.until_healthy(email).await;
}

/// The quota ends in the middle of the first copy, and then history expires.
async fn what_waits_says_where_and_expired_history_does_not_lose_it(world: &World, email: &str) {
    world.create(email).await;
    world.sim(Method::POST, &format!("mailboxes/{email}/generate"), &json!({ "count": 150 })).await;
    let oldest = world.snapshot(email).await.into_keys().next().expect("mail");
    // Gets cost 20 units: enough for the newest and a slice.
    world.sim(Method::POST, "quota", &json!({ "regime": "current", "user_per_minute": 2_000 })).await;
    let (mailbox, _) = world.connect(email).await;
    let seen = eventually("the oldest mail waits", SOON, async || {
        let seen = why(world, &mailbox, &oldest).await;
        if seen["verdict"] == "waiting" { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert!(seen["waiting"][0]["position"].is_number(), "{seen}");
    let status = world.status(email).await;
    assert_eq!(status["healthy"], false, "{status}");
    assert!(status["backfill"]["fetched"].as_u64() < Some(150), "{status}");
    expire(world, email).await;
    let new = world.deliver(email, "INBOX,UNREAD", mail("new-beside-old")).await;
    world.sim(Method::POST, "quota", &json!({ "regime": "off" })).await;
    order(world, Method::POST, &format!("/api/sync/{email}"), None).await;
    world.until_equal_within("history expired during the first copy", email, 5 * SOON).await;
    world.until_healthy(email).await;
    assert_eq!(why(world, &mailbox, &oldest).await["verdict"], "stored");
    feed::is_the_mailbox(world, email, &mailbox, &BTreeSet::from([new])).await;
}

#[tokio::test]
async fn whatever_gmail_does_meanwhile_the_status_tells_the_truth_and_the_end_is_equal() {
    let world = World::start(options()).await;
    let email = "stormy@example.com";
    world.create(email).await;
    world.sim(Method::POST, &format!("mailboxes/{email}/generate"), &json!({ "count": 200 })).await;
    let (mailbox, _) = world.connect(email).await;
    let looks = tokio::select! {
        looks = the_status_is_watched(&world, email, &mailbox) => looks,
        () = everything_goes_wrong(&world, email, &mailbox) => 0,
    };
    assert_eq!(looks, 0, "it is watched to the end");
    world.no_faults().await;
    order(&world, Method::POST, &format!("/api/sync/{email}"), None).await;
    world.until_healthy(email).await;
    world.until_equal("after everything", email).await;
    feed::is_the_mailbox(&world, email, &mailbox, &BTreeSet::new()).await;
}

/// Whoever says healthy with its cursor at the mailbox's present has the mailbox, label by label.
async fn the_status_is_watched(world: &World, email: &str, mailbox: &str) -> u32 {
    let mut proven = 0;
    loop {
        let present = async || {
            let mailbox = world.sim(Method::GET, &format!("mailboxes/{email}"), &Value::Null).await;
            text(&mailbox["historyId"])
        };
        let (before, status) = (present().await, world.status(email).await);
        let claims = status["healthy"] == true && status["cursor"] == before.as_str();
        if claims {
            let (truth, replica) = (world.snapshot(email).await, world.replica(mailbox).await);
            if present().await == before {
                assert_eq!(truth, replica, "it said that it was healthy: {status}");
                proven += 1;
                world.note(&format!("healthy, and true ({proven})"));
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn everything_goes_wrong(world: &World, email: &str, mailbox: &str) {
    let began = Instant::now();
    eventually("the first copy is under way", SOON, async || {
        let status = world.status(email).await;
        if status["cursor"].is_string() { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    // History is gone while the first copy runs.
    expire(world, email).await;
    for round in 0..2 {
        faults(world, email).await;
        let storm = json!({ "per_second": 6, "seconds": 10 });
        world.sim(Method::POST, &format!("mailboxes/{email}/storm"), &storm).await;
        order(world, Method::POST, &format!("/api/sync/{email}/full"), None).await;
        let asked = json!({ "startDate": "2020-01-01", "endDate": "2030-01-01" });
        order(world, Method::POST, &format!("/api/sync/{email}/historical"), Some(&asked)).await;
        order(world, Method::POST, &format!("/api/sync/{email}/drift"), None).await;
        until_calm(world, email).await;
        // What the storm did last is in no history any more.
        expire(world, email).await;
        world.no_faults().await;
        order(world, Method::POST, &format!("/api/sync/{email}"), None).await;
        world.until_equal_within(&format!("storm {round}, with faults"), email, 3 * SOON).await;
        world.until_healthy(email).await;
    }
    assert!(!world.replica(mailbox).await.is_empty());
    world.note(&format!("everything went wrong for {:.0} s", began.elapsed().as_secs_f64()));
}

async fn expire(world: &World, email: &str) {
    world.sim(Method::POST, &format!("mailboxes/{email}/expire-history"), &json!({})).await;
}

async fn until_calm(world: &World, email: &str) {
    eventually("the storm has passed", 2 * SOON, async || {
        let weather = world.sim(Method::GET, &format!("mailboxes/{email}/storm"), &Value::Null).await;
        if weather["running"] == false { Ok(()) } else { Err(weather.to_string()) }
    })
    .await;
}

/// What Gmail does of itself now and then, much more often.
async fn faults(world: &World, email: &str) {
    let often = [
        ("shifting_pages", 1.0),
        ("not_visible", 0.1),
        ("stale_get", 0.1),
        ("missing_part", 0.1),
        ("duplicate_push", 0.3),
        ("drop_push", 0.3),
    ];
    for (kind, probability) in often {
        let fault = json!({ "kind": kind, "mailbox": email, "probability": probability });
        world.sim(Method::POST, "faults", &fault).await;
    }
    let lag = json!({ "kind": "history_lag", "mailbox": email, "seconds": 2, "probability": 0.3 });
    world.sim(Method::POST, "faults", &lag).await;
}
