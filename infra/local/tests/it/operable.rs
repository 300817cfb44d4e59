//! What an operator has: logs that can be read and shared, metrics, alarms that ring, letters that come back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use local::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    alarms::{Alarm, Datum, extract, ringing},
    queue::Queue,
    world::{World, text},
};

const FUNCTIONS: [&str; 4] = ["webhook", "api", "cron", "worker"];
const ALICE: &str = "alice.whose.name.is.nobodys@example.com";
const STRANGER: &str = "stranger.in.the.night@example.com";
const SENDER: &str = "correspondent.of.hers@example.net";
const SUBJECT: &str = "Quartalszahlen-vertraulich";
const BODY: &str = "the safe is behind the second picture";
/// What the webhook logs of a push that it passed on.
const PUSHED: &str = "a push was queued";
/// So many pushes are made until one has its look, and the look after news.
const PUSHES_MAX: usize = 5;
/// Longest wait for a copy to be older than a minute.
const A_MINUTE_AND_MORE: Duration = Duration::from_mins(2);

/// Everything is logged that can be; the schedule runs only when a test says so; alarms that need time need little.
fn options() -> Options {
    let parameters = [
        ("LogLevel", "debug"),
        ("FanOutSchedule", "rate(1 day)"),
        ("StalenessAlarmSeconds", "60"),
        ("SlowSyncAlarmMilliseconds", "1000"),
    ];
    Options {
        parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..Options::default()
    }
}

fn letter(subject: &str) -> String {
    format!(
        "From: <{SENDER}>\r\nTo: <{ALICE}>\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.net>\r\n\r\n{BODY}\r\n"
    )
}

#[tokio::test]
async fn a_system_can_be_watched_and_nobodys_mail_is_in_its_log() {
    let world = World::start(options()).await;
    world.create(ALICE).await;
    world.deliver(ALICE, "INBOX,UNREAD", letter(SUBJECT)).await;
    let mailbox = world.connect_and_sync(ALICE).await;
    Queue::new(&world, "SyncQueueUrl").until_empty().await;

    a_push_has_one_trace_from_the_webhook_to_the_look_after_it(&world).await;
    let email_id = format!("{mailbox}.{}", world.snapshot(ALICE).await.keys().next().expect("a mail"));
    people_look_at_everything(&world, &mailbox, &email_id).await;
    dead_letters_come_back(&world, &mailbox).await;
    upkeep_and_rebuilding_run_as_jobs(&world, &mailbox).await;
    usage_and_quota_are_told(&world, &mailbox).await;
    alarms_ring_by_what_was_measured(&world).await;
    every_line_of_a_job_has_its_trace(&world).await;
    nothing_of_anybodys_is_in_any_log(&world).await;
}

async fn a_push_has_one_trace_from_the_webhook_to_the_look_after_it(world: &World) {
    let mut traces = Vec::new();
    let looks = loop {
        let number = traces.len();
        let before = world.logged("webhook", PUSHED).await.len();
        world.deliver(ALICE, "INBOX", letter(&format!("{SUBJECT}-push-{number}"))).await;
        let pushes = world.until_logged("webhook", PUSHED, before).await;
        world.until_equal("a push", ALICE).await;
        Queue::new(world, "SyncQueueUrl").until_empty().await;
        let push: Value = serde_json::from_str(&pushes[before]).expect("JSON");
        assert!(push["duration_ms"].is_number(), "{push}");
        traces.push(text(&push["trace"]));
        if let Some(looks) = two_looks_of_one(world, &traces).await {
            break looks;
        }
        assert!(traces.len() < PUSHES_MAX, "no push has its look and the look after news: {traces:?}");
    };
    let outcome: Value = looks
        .iter()
        .find(|line| line.contains("\"synced\""))
        .and_then(|line| serde_json::from_str(line).ok())
        .expect("a line");
    for field in
        ["gmail_emails", "new_emails", "deleted_emails", "total_processed", "duration_ms", "quota_units"]
    {
        assert!(outcome[field].is_number(), "{field}: {outcome}");
    }
    assert!(outcome["mailbox.id"].is_string(), "{outcome}");
    world.note("one trace from the push to the look after news");
}

/// What the worker says of a trace in which it looked twice. A push that finds somebody at work has one line only.
async fn two_looks_of_one(world: &World, traces: &[String]) -> Option<Vec<String>> {
    for trace in traces {
        let lines = world.logged("worker", trace).await;
        if lines.iter().filter(|line| line.contains("\"synced\"")).count() >= 2 {
            return Some(lines);
        }
    }
    None
}

/// What makes the functions talk: every kind of request, wrong ones too.
async fn people_look_at_everything(world: &World, mailbox: &str, email_id: &str) {
    for path in [
        "/api/integrations".to_owned(),
        format!("/api/sync/{ALICE}/status"),
        format!("/api/sync/{mailbox}/drift"),
        format!("/api/emails?mailbox={mailbox}&subject={SUBJECT}&sender={SENDER}"),
        format!("/api/emails/{email_id}"),
        format!("/api/emails/{email_id}/why"),
        format!("/api/changes?mailbox={mailbox}&after=0"),
        "/health".to_owned(),
    ] {
        world.get(&path).await;
    }
    let wrong = format!("/api/emails?mailbox={STRANGER}&unread={SUBJECT}");
    assert_eq!(world.api(Method::GET, &wrong, None).await.status, 400);
    let grant = json!({ "authType": "oauth", "keys": { "refreshToken": "sim-refresh-of-a-stranger" } });
    assert_eq!(world.api(Method::POST, "/api/integrations", Some(&grant)).await.status, 400);
    let forged = world.api_as("gst_not-a-token-of-ours", Method::GET, "/api/integrations", None).await;
    assert_eq!(forged.status, 401);
    let push = json!({ "message": { "data": STRANGER } });
    assert_eq!(world.api(Method::POST, "/webhooks/gmail", Some(&push)).await.status, 401);
    let contact = json!({ "email": SENDER });
    let asked =
        world.api(Method::POST, &format!("/api/sync/{mailbox}/contact?wait=true"), Some(&contact)).await;
    assert!(matches!(asked.status, 200 | 202), "{asked:?}");
    let prometheus = world.api(Method::GET, "/metrics", None).await;
    let prometheus = text(&prometheus.body);
    assert!(prometheus.contains("gmail_sync_mailboxes{status=\"active\"} 1"), "{prometheus}");
}

async fn dead_letters_come_back(world: &World, mailbox: &str) {
    let dead = Queue::new(world, "SyncDeadLetterQueueUrl");
    let now = Timestamp::now().to_string();
    let job =
        json!({ "v": "1", "mailbox": mailbox, "trigger": "schedule", "trace": "back-again", "sent_at": now });
    let nonsense = format!("nobody can read {ALICE}");
    dead.send(&[&job.to_string(), &nonsense]).await;
    let listed = world.get("/api/operations/dead-letters").await;
    let listed = listed["items"].as_array().expect("items").clone();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let letter = listed.iter().find(|one| one["trace"] == "back-again").expect("the job");
    assert_eq!((&letter["mailbox"], &letter["queue"]), (&mailbox.into(), &"sync".into()), "{letter}");
    let unread = listed.iter().find(|one| one["mailbox"].is_null()).expect("the nonsense");
    assert!(text(&unread["reason"]).contains("not JSON"), "{unread}");
    assert!(!Value::from(listed.clone()).to_string().contains(ALICE), "no address: {listed:?}");
    // Looked at, they are where they were.
    assert_eq!(dead.bodies().await.len(), 2);

    // One tick while they are there, for the alarm.
    world.system.run_cron("fan-out").await.expect("a tick");
    let path = "/api/operations/dead-letters/redrive";
    let unknown = world.api(Method::POST, &format!("{path}?id=nobody"), None).await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let moved = world.api(Method::POST, path, None).await.ok("a redrive");
    assert_eq!(moved, json!({ "moved": 1, "unreadable": 1 }));
    world.until_logged("worker", "back-again", 0).await;
    let discarded = format!("/api/operations/dead-letters/{}", text(&unread["id"]));
    assert_eq!(world.api(Method::DELETE, &discarded, None).await.status, 204);
    assert_eq!(world.get("/api/operations/dead-letters").await["items"], json!([]));
    let trail = world.get("/api/audit").await;
    let actions: Vec<String> =
        trail["items"].as_array().expect("items").iter().map(|row| text(&row["action"])).collect();
    for action in ["dead_letter_discarded", "dead_letters_redriven", "connected", "token_created"] {
        assert!(actions.iter().any(|one| one == action), "{action}: {actions:?}");
    }
    world.note("dead letters: listed, moved back, thrown away, and in the audit trail");
}

async fn upkeep_and_rebuilding_run_as_jobs(world: &World, mailbox: &str) {
    for task in ["retention", "watch"] {
        let done = world.logged("worker", "upkeep was done").await.len();
        assert_eq!(world.system.run_cron(task).await.expect("a tick")["queued"], 1, "{task}");
        world.until_logged("worker", "upkeep was done", done).await;
    }
    let done = world.logged("worker", "upkeep was done").await.len();
    let asked = world.api(Method::POST, &format!("/api/sync/{mailbox}/rebuild"), None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let lines = world.until_logged("worker", "upkeep was done", done).await;
    let last: Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
    assert_eq!((&last["upkeep"], &last["unreadable"]), (&"rebuild".into(), &0.into()), "{last}");
    assert_eq!(last["trace"], asked.body["trace"]);
}

async fn usage_and_quota_are_told(world: &World, mailbox: &str) {
    let usage = world.get(&format!("/api/sync/{mailbox}/usage")).await;
    let today = &usage["items"][0];
    assert!(today["gmailCalls"]["messages.get"].as_u64().is_some_and(|calls| calls >= 2), "{usage}");
    for amount in ["dynamodbReadUnits", "dynamodbWriteUnits", "sqsRequests", "s3Writes", "lambdaGbSeconds"] {
        assert!(today[amount].as_f64().is_some_and(|amount| amount > 0.0), "{amount}: {today}");
    }
    let status = world.status(ALICE).await;
    assert!(status["quotaUnitsToday"].as_u64() >= today["quotaUnits"].as_u64(), "{status}");
    let quota = world.get("/api/operations/quota").await;
    assert!(quota["unitsToday"].as_u64() >= today["quotaUnits"].as_u64(), "{quota}");
    let cost = world.get("/api/operations/cost").await;
    assert!(cost["usdToday"].as_f64().is_some_and(|usd| usd > 0.0), "{cost}");
}

/// Every value that the functions have measured, checked against the format's own schema.
async fn measured(world: &World) -> Vec<Datum> {
    let schema = include_str!("../../../../shared/lambda/tests/emf.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let mut data = Vec::new();
    for function in FUNCTIONS {
        for line in world.logged(function, "\"_aws\"").await {
            let value: Value = serde_json::from_str(&line).expect("one JSON object a line");
            assert!(schema.is_valid(&value), "{:?}: {line}", schema.validate(&value).err());
            data.extend(extract(&line));
        }
    }
    data
}

async fn alarms_ring_by_what_was_measured(world: &World) {
    let alarms = world.alarms().await;
    assert!(alarms.len() >= 10, "{alarms:?}");
    // Well so far, but for the letters that were there at the tick.
    let data = measured(world).await;
    for alarm in alarms.iter().map(Alarm) {
        let name = alarm.name();
        assert!(data.iter().any(|datum| alarm.is_about(datum)), "{name}: nobody measures {}", alarm.metric());
    }
    let before = ringing(&alarms, &data, Timestamp::now());
    assert!(before.contains(&"DeadLettersAlarm".to_owned()), "{before:?}");
    for quiet in ["SyncFailuresAlarm", "ErrorRateAlarm", "StalenessAlarm", "SilenceAlarm", "WatchLapsedAlarm"]
    {
        assert!(!before.contains(&quiet.to_owned()), "{quiet} rings: {before:?}");
    }

    gmail_fails_for_a_minute(world).await;
    let data = measured(world).await;
    let now = Timestamp::now();
    let after = ringing(&alarms, &data, now);
    for alarm in ["SyncFailuresAlarm", "ErrorRateAlarm", "SlowSyncAlarm", "StalenessAlarm"] {
        assert!(after.contains(&alarm.to_owned()), "{alarm} does not ring: {after:?}");
    }
    // Three hours later nobody has said anything.
    let silence = ringing(&alarms, &data, now + SignedDuration::from_hours(3));
    assert_eq!(silence, ["SilenceAlarm"]);
    // What no test can wait for: the same lines with another number in one of them.
    for (name, metric, value) in [
        ("WatchLapsedAlarm", "WatchesLapsed", 1.0),
        ("QuotaDayAlarm", "QuotaDayPercent", 71.0),
        ("ApiErrorsAlarm", "ApiErrors", 5.0),
        ("PushesUnavailableAlarm", "PushesUnavailable", 5.0),
    ] {
        let mut told = data.clone();
        let measured = told.iter_mut().filter(|datum| datum.name == metric);
        measured.for_each(|datum| (datum.value, datum.at) = (value, now));
        assert!(ringing(&alarms, &told, now).contains(&name.to_owned()), "{name}");
        assert!(!ringing(&alarms, &data, now).contains(&name.to_owned()), "{name} rings for nothing");
    }
    world.no_faults().await;
    // It rests after so many failures; a look by hand does not wait.
    let asked = world.api(Method::POST, &format!("/api/sync/{ALICE}"), None).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    world.until_healthy(ALICE).await;
    world.note("alarms ring by what the functions wrote");
}

/// Looks by hand while Gmail refuses everything, until ten have failed and the copy is older than a minute.
async fn gmail_fails_for_a_minute(world: &World) {
    world.sim(Method::POST, "faults", &json!({ "kind": 503, "mailbox": ALICE })).await;
    let failed = "the sync failed and will be tried again";
    let deadline = std::time::Instant::now() + A_MINUTE_AND_MORE;
    loop {
        let before = world.logged("worker", failed).await.len();
        let asked = world.api(Method::POST, &format!("/api/sync/{ALICE}"), None).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        world.until_logged("worker", failed, before).await;
        let stale = measured(world).await.iter().any(|datum| datum.name == "Staleness" && datum.value > 60.0);
        if before >= 10 && stale {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{before} failed, older than a minute: {stale}");
    }
}

async fn every_line_of_a_job_has_its_trace(world: &World) {
    for function in FUNCTIONS {
        for line in world.whole_log(function).await {
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                // The platform's own lines are no JSON; ours are.
                assert!(
                    ["START ", "END ", "REPORT ", "INIT_"].iter().any(|own| line.starts_with(own)),
                    "{line}"
                );
                continue;
            };
            let is_of_a_job = value.get("_aws").is_none() && value.get("message_id").is_none();
            assert!(!is_of_a_job || value["trace"].is_string(), "{function}: {line}");
        }
    }
}

async fn nothing_of_anybodys_is_in_any_log(world: &World) {
    let secrets = [
        ALICE,
        STRANGER,
        SENDER,
        SUBJECT,
        BODY,
        world.system.token(),
        "gst_not-a-token-of-ours",
        "sim:alice",
        "sim-refresh-of-a-stranger",
        "ya29",
    ];
    let mut lines = 0;
    for function in FUNCTIONS {
        let log = world.whole_log(function).await;
        assert!(!log.is_empty(), "{function} has a log");
        lines += log.len();
        for line in &log {
            let encoded = line.replace("%40", "@").to_ascii_lowercase();
            for secret in secrets {
                assert!(
                    !encoded.contains(&secret.to_ascii_lowercase()),
                    "{function} logs {secret:?}: {line}"
                );
            }
        }
    }
    // At this level there are lines enough to hide something in.
    assert!(lines > 300, "{lines}");
    let effects = world.logged("worker", "an effect is done").await;
    assert!(!effects.is_empty(), "debug lines are there too");
}
