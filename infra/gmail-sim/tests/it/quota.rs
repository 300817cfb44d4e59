use gmail_sim::{Options, Regime};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{ALICE, World, read, reason};

async fn world(quota: Regime) -> World {
    World::with(Options { quota, concurrency_max: 0, ..Options::default() }).await
}

async fn units(world: &World) -> Value {
    world.sim(Method::GET, "stats", Value::Null).await.1["methods"].clone()
}

/// "To: bob@example.com\r\n\r\nhi" in base64url.
const RAW: &str = "VG86IGJvYkBleGFtcGxlLmNvbQ0KDQpoaQ";

/// Makes one call of every method that Gmail's table has a price for.
async fn call_everything(world: &World) {
    let start = world.history_id().await;
    world.sim(Method::DELETE, "stats", Value::Null).await;
    let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\
                 Content-Disposition: attachment; filename=a.txt\r\n\r\nattached\r\n--b--\r\n";
    let id = world.deliver_raw(mixed.into()).await;
    let full = world.get(&format!("messages/{id}")).await;
    let attachment = full["payload"]["parts"][0]["body"]["attachmentId"].as_str().unwrap().to_owned();
    let raw = json!({"raw": RAW});
    let message = json!({"message": {"raw": RAW}});
    let draft = world.api(Method::POST, "drafts", message.clone()).await.1["id"].as_str().unwrap().to_owned();
    let other = world.api(Method::POST, "drafts", message.clone()).await.1["id"].as_str().unwrap().to_owned();
    let label =
        world.api(Method::POST, "labels", json!({"name": "L"})).await.1["id"].as_str().unwrap().to_owned();
    let calls = [
        (Method::GET, "profile".to_owned(), Value::Null),
        (Method::GET, format!("history?startHistoryId={start}"), Value::Null),
        (Method::POST, "watch".into(), json!({"topicName": "projects/p/topics/t"})),
        (Method::POST, "stop".into(), Value::Null),
        (Method::GET, "settings/sendAs".into(), Value::Null),
        (Method::GET, "messages".into(), Value::Null),
        (Method::POST, "messages".into(), raw.clone()),
        (Method::POST, "messages/import".into(), raw.clone()),
        (Method::POST, "messages/send".into(), raw),
        (Method::GET, format!("messages/{id}/attachments/{attachment}"), Value::Null),
        (Method::POST, format!("messages/{id}/modify"), json!({"addLabelIds": ["STARRED"]})),
        (Method::POST, "messages/batchModify".into(), json!({"ids": [id], "removeLabelIds": ["STARRED"]})),
        (Method::POST, format!("messages/{id}/trash"), Value::Null),
        (Method::POST, format!("messages/{id}/untrash"), Value::Null),
        (Method::GET, "threads".into(), Value::Null),
        (Method::GET, format!("threads/{id}"), Value::Null),
        (Method::POST, format!("threads/{id}/modify"), json!({"addLabelIds": ["STARRED"]})),
        (Method::POST, format!("threads/{id}/trash"), Value::Null),
        (Method::POST, format!("threads/{id}/untrash"), Value::Null),
        (Method::GET, "labels".into(), Value::Null),
        (Method::GET, format!("labels/{label}"), Value::Null),
        (Method::PUT, format!("labels/{label}"), json!({"name": "M"})),
        (Method::PATCH, format!("labels/{label}"), json!({"name": "N"})),
        (Method::DELETE, format!("labels/{label}"), Value::Null),
        (Method::GET, "drafts".into(), Value::Null),
        (Method::GET, format!("drafts/{draft}"), Value::Null),
        (Method::PUT, format!("drafts/{draft}"), message),
        (Method::POST, "drafts/send".into(), json!({"id": draft})),
        (Method::DELETE, format!("drafts/{other}"), Value::Null),
        (Method::POST, "messages/batchDelete".into(), json!({"ids": ["12"]})),
        (Method::DELETE, format!("messages/{id}"), Value::Null),
    ];
    for (method, path, body) in calls {
        let (status, answer) = world.api(method.clone(), &path, body).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
    }
    let thread = world.deliver("a thread").await;
    assert_eq!(world.api(Method::DELETE, &format!("threads/{thread}"), Value::Null).await.0, 204);
}

#[tokio::test]
async fn every_method_costs_what_gmails_table_says_in_both_regimes() {
    // Legacy, current.
    let table = [
        ("messages.get", 5, 20),
        ("messages.attachments.get", 5, 20),
        ("drafts.get", 5, 20),
        ("messages.trash", 5, 20),
        ("threads.get", 10, 40),
        ("messages.list", 5, 5),
        ("threads.list", 10, 10),
        ("history.list", 2, 2),
        ("getProfile", 1, 1),
        ("labels.get", 1, 1),
        ("labels.list", 1, 1),
        ("watch", 100, 100),
        ("stop", 50, 50),
        ("messages.modify", 5, 5),
        ("messages.batchModify", 50, 50),
        ("messages.send", 100, 100),
        // The rest of Google's page of usage limits.
        ("messages.untrash", 5, 5),
        ("messages.delete", 10, 10),
        ("messages.batchDelete", 50, 50),
        ("messages.insert", 25, 25),
        ("messages.import", 25, 25),
        ("threads.modify", 10, 10),
        ("threads.trash", 10, 10),
        ("threads.untrash", 10, 10),
        ("threads.delete", 20, 20),
        ("labels.create", 5, 5),
        ("labels.update", 5, 5),
        ("labels.patch", 5, 5),
        ("labels.delete", 5, 5),
        ("drafts.list", 5, 5),
        ("drafts.update", 15, 15),
        ("drafts.delete", 10, 10),
        ("drafts.send", 100, 100),
        ("settings.sendAs.list", 1, 1),
    ];
    let worlds =
        [(Regime::Legacy, world(Regime::Legacy).await), (Regime::Current, world(Regime::Current).await)];
    for (regime, world) in worlds {
        call_everything(&world).await;
        let counted = units(&world).await;
        for (method, legacy, current) in table {
            let price = if regime == Regime::Legacy { legacy } else { current };
            assert_eq!(counted[method], json!({"calls": 1, "units": price}), "{method} in {regime:?}");
        }
        // Two drafts were made.
        assert_eq!(counted["drafts.create"], json!({"calls": 2, "units": 20}));
        assert_eq!(
            counted.as_object().unwrap().len(),
            table.len() + 1,
            "a method without a price: {counted}"
        );
        let (_, stats) = world.sim(Method::GET, "stats", Value::Null).await;
        assert_eq!(stats["mailboxes"][ALICE]["units"], stats["units"]);
    }
}

/// Watches, 100 units each, until one is refused; answers how many were granted.
async fn watch_until_refused(world: &World) -> (u64, Value) {
    for granted in 0..1_000 {
        let (status, body) =
            world.api(Method::POST, "watch", json!({"topicName": "projects/p/topics/t"})).await;
        if status != 200 {
            assert_eq!(status, 403, "{body}");
            return (granted, body);
        }
    }
    panic!("nothing was refused");
}

async fn advance(world: &World, seconds: i64) {
    world.sim(Method::POST, "clock", json!({"advance_s": seconds})).await;
}

#[tokio::test]
async fn a_user_has_the_regimes_units_in_any_60_seconds_and_the_refusal_says_so_to_the_letter() {
    for (regime, limit) in [(Regime::Current, 6_000_u64), (Regime::Legacy, 15_000)] {
        let world = world(regime).await;
        let (granted, body) = watch_until_refused(&world).await;
        assert_eq!(granted, limit / 100);
        let message = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service \
                       'gmail.googleapis.com' for consumer 'project_number:100000000000'.";
        let expected = json!({"error": {
            "code": 403,
            "message": message,
            "errors": [{"message": message, "domain": "usageLimits", "reason": "userRateLimitExceeded"}],
            "status": "PERMISSION_DENIED",
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {
                    "service": "gmail.googleapis.com",
                    "consumer": "projects/100000000000",
                    "quota_metric": "gmail.googleapis.com/queries",
                    "quota_limit": "QueriesPerMinutePerUser",
                    "quota_limit_value": limit.to_string(),
                    "quota_unit": "1/min/{project}/{user}",
                    "quota_location": "global",
                },
            }],
        }});
        assert_eq!(body, expected);
        // Cheaper calls are refused as well: nothing is left.
        assert_eq!(world.api(Method::GET, "profile", Value::Null).await.0, 403);
        let (_, stats) = world.sim(Method::GET, "stats", Value::Null).await;
        assert_eq!(stats["refusals"], json!({"userRateLimitExceeded": 2}));
        assert_eq!(
            stats["methods"]["watch"],
            json!({"calls": granted + 1, "units": limit}),
            "refusals are free"
        );
    }
}

#[tokio::test]
async fn the_window_slides_and_the_clock_ages_it() {
    let world = world(Regime::Current).await;
    let half = async || {
        for _ in 0..30 {
            assert_eq!(
                world.api(Method::POST, "watch", json!({"topicName": "projects/p/topics/t"})).await.0,
                200
            );
        }
    };
    half().await;
    advance(&world, 30).await;
    half().await;
    assert_eq!(watch_until_refused(&world).await.0, 0, "no 60 seconds hold more, however they are cut");
    advance(&world, 31).await;
    assert_eq!(watch_until_refused(&world).await.0, 30, "only what is older than 60 seconds is free again");
    advance(&world, 61).await;
    assert_eq!(watch_until_refused(&world).await.0, 60);
}

#[tokio::test]
async fn users_have_units_of_their_own_and_the_project_bounds_them_all() {
    let world = world(Regime::Current).await;
    world.sim(Method::POST, "mailboxes/bob@example.com", Value::Null).await;
    watch_until_refused(&world).await;
    let bob = async || {
        let request = world.client.get(world.url("/gmail/v1/users/me/profile"));
        read(request.bearer_auth("sim:bob@example.com").send().await.unwrap()).await
    };
    assert_eq!(bob().await.0, 200);
    let (status, holds) = world.sim(Method::POST, "quota", json!({"project_per_minute": 6_001})).await;
    let expected = json!({
        "regime": "current", "user_per_minute": 6_000, "project_per_minute": 6_001,
        "project_per_day": 80_000_000, "concurrency": 0,
    });
    assert_eq!((status, holds), (200, expected));
    let (status, body) = bob().await;
    assert_eq!((status, reason(&body).as_str()), (403, "rateLimitExceeded"));
    let error = &body["error"];
    assert!(error["message"].as_str().unwrap().contains("limit 'Queries per minute' of service"));
    assert_eq!(error["errors"][0]["domain"], "usageLimits");
    let details = &error["details"][0];
    assert_eq!(
        (&details["reason"], &details["metadata"]["quota_limit"]),
        (&json!("RATE_LIMIT_EXCEEDED"), &json!("QueriesPerMinute"))
    );
}

#[tokio::test]
async fn the_day_of_a_current_project_ends_with_daily_limit_exceeded_and_turns_at_midnight_pacific() {
    // Two seconds before midnight in California.
    let eve: jiff::Timestamp = "2026-08-27T06:59:58Z".parse().unwrap();
    let clock = Some(eve.as_millisecond() - 3_600_000);
    let world = World::with(Options { clock, ..Options::default() }).await;
    world.sim(Method::POST, "quota", json!({"project_per_day": 3})).await;
    for _ in 0..3 {
        world.get("profile").await;
    }
    advance(&world, 3_000).await;
    let (status, body) = world.api(Method::GET, "profile", Value::Null).await;
    let expected = json!({"error": {
        "code": 403, "message": "Daily Limit Exceeded", "status": "PERMISSION_DENIED",
        "errors": [{"message": "Daily Limit Exceeded", "domain": "usageLimits", "reason": "dailyLimitExceeded"}],
    }});
    assert_eq!((status, body), (403, expected));
    advance(&world, 700).await;
    world.get("profile").await;
    assert_eq!(
        world.sim(Method::GET, "stats", Value::Null).await.1["refusals"],
        json!({"dailyLimitExceeded": 1})
    );
}

#[tokio::test]
async fn the_regime_can_change_while_it_runs_and_off_refuses_nothing_but_counts() {
    let world = world(Regime::Off).await;
    for _ in 0..70 {
        assert_eq!(
            world.api(Method::POST, "watch", json!({"topicName": "projects/p/topics/t"})).await.0,
            200
        );
    }
    assert_eq!(units(&world).await["watch"], json!({"calls": 70, "units": 7_000}));
    world.sim(Method::POST, "quota", json!({"regime": "current"})).await;
    assert_eq!(watch_until_refused(&world).await.0, 0, "what was spent is spent");
    world.sim(Method::POST, "quota", json!({"regime": "legacy"})).await;
    assert_eq!(watch_until_refused(&world).await.0, 80);
    let (status, body) = world.sim(Method::POST, "quota", json!({"regime": "odd"})).await;
    assert!(status == 400 && body["error"].is_string());
}

#[tokio::test]
async fn each_part_of_a_batch_costs_as_a_call_and_is_refused_for_itself() {
    let world = world(Regime::Current).await;
    let id = world.deliver("dear").await;
    world.sim(Method::POST, "quota", json!({"user_per_minute": 65})).await;
    let part = |number: u32| {
        format!(
            "--b\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n\
             GET /gmail/v1/users/me/messages/{id}?format=minimal HTTP/1.1\r\n\r\n\r\n"
        )
    };
    let body = (0..5).map(part).collect::<String>() + "--b--\r\n";
    let request = world.client.post(world.url("/batch")).bearer_auth(format!("sim:{ALICE}"));
    let request = request.header("Content-Type", "multipart/mixed; boundary=b").body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let text = answer.text().await.unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(text.matches("HTTP/1.1 403 Forbidden").count(), 2);
    assert_eq!(text.matches("userRateLimitExceeded").count(), 2);
    assert_eq!(units(&world).await["messages.get"], json!({"calls": 5, "units": 60}));
}

#[tokio::test]
async fn too_many_at_once_are_refused_for_the_mailbox_whoever_calls() {
    let world = World::with(Options { quota: Regime::Off, concurrency_max: 2, ..Options::default() }).await;
    world.sim(Method::POST, "mailboxes/bob@example.com", Value::Null).await;
    world.fault(json!({"kind": "timeout", "method": "messages.list", "mailbox": ALICE})).await;
    let held = |_| {
        let request = world.client.get(world.url("/gmail/v1/users/me/messages"));
        tokio::spawn(request.bearer_auth(format!("sim:{ALICE}")).send())
    };
    let waiting: Vec<_> = (0..2).map(held).collect();
    let in_flight = async || world.sim(Method::GET, "stats", Value::Null).await.1["mostInFlight"].as_u64();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while in_flight().await < Some(2) {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let (status, body) = world.api(Method::GET, "profile", Value::Null).await;
    let message = "Too many concurrent requests for user.";
    let expected = json!({"error": {
        "code": 429, "message": message, "status": "RESOURCE_EXHAUSTED",
        "errors": [{"message": message, "domain": "usageLimits", "reason": "rateLimitExceeded"}],
    }});
    assert_eq!((status, body), (429, expected));
    let bob = world.client.get(world.url("/gmail/v1/users/me/profile")).bearer_auth("sim:bob@example.com");
    assert_eq!(bob.send().await.unwrap().status().as_u16(), 200);
    for call in waiting {
        call.abort();
    }
    // The places of callers that hung up are free again.
    while world.api(Method::GET, "profile", Value::Null).await.0 != 200 {
        assert!(std::time::Instant::now() < deadline);
    }
    world.sim(Method::DELETE, "stats", Value::Null).await;
    let (_, counted) = world.sim(Method::GET, "stats", Value::Null).await;
    let empty = json!({
        "calls": 0, "units": 0, "methods": {}, "mailboxes": {}, "refusals": {}, "mostInFlight": 0, "pushes": {},
    });
    assert_eq!(counted, empty);
}
