//! Quota, in real minutes: nearly all of it is used, and no refusal is earned.

use std::time::{Duration, Instant};

use local::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    queue::Queue,
    world::{SOON, World, eventually},
};

/// What the regime `current` grants an address in any sixty seconds, less what backfills leave to new mail.
const BACKFILL_A_MINUTE: u64 = 6_000 * 95 / 100;
/// Messages of the old mail: more than three minutes of quota can fetch.
const OLD_MAIL: u64 = 1_000;

fn options() -> Options {
    let arguments = ["--quota", "current", "--latency-ms", "60"];
    Options {
        simulator_arguments: arguments.map(str::to_owned).to_vec(),
        parameters: vec![("InitialNewest".into(), "0".into()), ("InitialDays".into(), "0".into())],
        ..Options::default()
    }
}

async fn stats(world: &World) -> Value {
    world.sim(Method::GET, "stats", &Value::Null).await
}

async fn units(world: &World, email: &str) -> u64 {
    stats(world).await["mailboxes"][email]["units"].as_u64().unwrap_or(0)
}

async fn nothing_was_refused(world: &World, when: &str) {
    let seen = stats(world).await;
    assert_eq!(seen["refusals"], json!({}), "{when}: a refusal was earned: {seen}");
}

#[tokio::test]
async fn a_backfill_uses_what_it_may_new_mail_does_not_wait_and_nothing_is_refused() {
    let world = World::start(options()).await;
    let (old, busy) = ("bulk@example.com", "busy@example.com");
    for (email, count) in [(old, OLD_MAIL), (busy, 20)] {
        world.create(email).await;
        world.sim(Method::POST, &format!("mailboxes/{email}/generate"), &json!({ "count": count })).await;
    }
    world.connect(busy).await;
    world.until_equal("a small mailbox", busy).await;
    world.connect(old).await;
    eventually("the backfill begins", SOON, async || {
        let spent = units(&world, old).await;
        if spent > 200 { Ok(()) } else { Err(format!("{spent} units")) }
    })
    .await;
    let began = Instant::now();

    // New mail meanwhile, in this mailbox and in another: it must not wait for the minute to turn.
    for (email, per_second) in [(old, 0.2), (busy, 1.0)] {
        let storm = json!({ "per_second": per_second, "seconds": 150, "mix": { "deliver": 1 } });
        world.sim(Method::POST, &format!("mailboxes/{email}/storm"), &storm).await;
    }
    for minute in 0..3 {
        let id = world.deliver(old, "INBOX", crate::world::mail(&format!("new-{minute}"))).await;
        let delivered = Instant::now();
        eventually("new mail beside a backfill", SOON, async || {
            let path = format!("/api/emails/{id}?mailbox={old}");
            let answer = world.api(Method::GET, &path, None).await;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        world.note(&format!("new mail was there after {:.1} s", delivered.elapsed().as_secs_f64()));
        let turn = Duration::from_secs(60 * (minute + 1));
        eventually("a minute", turn + SOON, async || {
            if began.elapsed() >= turn { Ok(()) } else { Err(String::new()) }
        })
        .await;
        let spent = units(&world, old).await;
        world.note(&format!("{spent} units after {} s", began.elapsed().as_secs()));
        nothing_was_refused(&world, "during the backfill").await;
    }
    let (spent, elapsed) = (units(&world, old).await, began.elapsed().as_secs_f64());
    // New mail is in it too: what it takes of the backfill's part, the backfill does not get.
    let share = 3 * BACKFILL_A_MINUTE;
    assert!(spent * 100 >= share * 98, "{spent} units of {share} in {elapsed:.0} s");

    // Everything goes wrong, and what is found in the end is the mailbox.
    everything_goes_wrong(&world, old).await;
    world.sim(Method::POST, "quota", &json!({ "regime": "off" })).await;
    for email in [old, busy] {
        world.until_equal_within("after the faults", email, 15 * SOON).await;
    }
    what_only_a_person_can_mend_is_asked_for(&world, busy).await;
}

/// Every kind of fault that passes by itself, all at once, under a storm.
async fn everything_goes_wrong(world: &World, email: &str) {
    let storm = json!({ "per_second": 2, "seconds": 45 });
    world.sim(Method::POST, &format!("mailboxes/{email}/storm"), &storm).await;
    let kinds = [
        json!({ "kind": 500 }),
        json!({ "kind": 503, "method": "batch" }),
        json!({ "kind": 403, "reason": "userRateLimitExceeded" }),
        json!({ "kind": 429, "reason": "rateLimitExceeded" }),
        json!({ "kind": "retry_after", "seconds": 2 }),
        json!({ "kind": "reset" }),
        json!({ "kind": "timeout", "count": 2 }),
        json!({ "kind": "invalidArgument", "method": "messages.get" }),
        json!({ "kind": "authError", "count": 1 }),
        json!({ "kind": "slow", "milliseconds": 500 }),
        json!({ "kind": "missing_part" }),
        json!({ "kind": "history_lag", "seconds": 2 }),
        json!({ "kind": "not_visible" }),
        json!({ "kind": "stale_get" }),
        json!({ "kind": "shifting_pages" }),
        json!({ "kind": "duplicate_push" }),
        json!({ "kind": "drop_push" }),
        json!({ "kind": "late_push", "milliseconds": 3_000 }),
    ];
    for fault in kinds {
        let mut fault = fault;
        fault["mailbox"] = json!(email);
        fault["probability"] = json!(0.2);
        fault["count"] = fault.get("count").cloned().unwrap_or_else(|| json!(8));
        world.sim(Method::POST, "faults", &fault).await;
    }
    eventually("the storm has passed", 6 * SOON, async || {
        let weather = world.sim(Method::GET, &format!("mailboxes/{email}/storm"), &Value::Null).await;
        if weather["running"] == false { Ok(()) } else { Err(weather.to_string()) }
    })
    .await;
    world.no_faults().await;
    // After so many failures in a row it may rest; a look by hand does not wait.
    let asked = world.api(Method::POST, &format!("/api/sync/{email}"), None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
}

/// Every kind of fault that does not pass: the mailbox says whom it waits for, calls nobody meanwhile, and is equal
/// once it is connected again.
async fn what_only_a_person_can_mend_is_asked_for(world: &World, email: &str) {
    let of =
        |kind: &str, method: &str| json!({ "kind": kind, "method": method, "mailbox": email, "count": 1 });
    for (kind, method, status) in [
        ("failedPrecondition", "history.list", "needs_attention"),
        ("domainPolicy", "history.list", "needs_attention"),
        ("forbidden", "history.list", "needs_attention"),
        ("insufficientPermissions", "history.list", "needs_reauth"),
        ("invalid_grant", "token", "needs_reauth"),
    ] {
        if method == "token" {
            world.sim(Method::POST, "faults", &of("authError", "history.list")).await;
        }
        world.sim(Method::POST, "faults", &of(kind, method)).await;
        world.deliver(email, "INBOX", crate::world::mail(kind)).await;
        eventually(&format!("{status} after {kind}"), SOON, async || {
            let seen = world.status(email).await;
            if seen["status"] == status { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        let before = stats(world).await["mailboxes"][email]["methods"].clone();
        world.deliver(email, "INBOX", crate::world::mail(&format!("after-{kind}"))).await;
        Queue::new(world, "SyncQueueUrl").until_empty().await;
        assert_eq!(stats(world).await["mailboxes"][email]["methods"], before, "{kind}: Gmail was called");
        world.no_faults().await;
        world.connect(email).await;
        world.until_equal(&format!("connected again after {kind}"), email).await;
    }
}
