use std::time::{Duration, Instant};

use gmail_sim::{Options, Regime};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{ALICE, World, read, reason};

async fn get(world: &World, path: &str) -> (u16, Value) {
    world.api(Method::GET, path, Value::Null).await
}

#[tokio::test]
async fn a_status_comes_with_gmails_own_body_for_it() {
    let world = World::new().await;
    let check = async |order: Value, status: u16, expected: (&str, &str, &str, &str)| {
        let mut fault = order.clone();
        fault["count"] = json!(1);
        fault["method"] = json!("getProfile");
        world.fault(fault).await;
        let (got, body) = get(&world, "profile").await;
        let error = &body["error"];
        assert_eq!((got, error["code"].as_u64()), (status, Some(u64::from(status))), "{order}: {body}");
        let inner = &error["errors"][0];
        let found = (
            inner["reason"].as_str().unwrap(),
            inner["domain"].as_str().unwrap(),
            error["status"].as_str().unwrap(),
            error["message"].as_str().unwrap(),
        );
        assert_eq!((found.0, found.1, found.2), (expected.0, expected.1, expected.2), "{order}");
        assert!(found.3.starts_with(expected.3), "{order}: {}", found.3);
        assert_eq!(inner["message"], error["message"]);
        assert_eq!(get(&world, "profile").await.0, 200, "one is one");
    };
    let denied = "PERMISSION_DENIED";
    for (order, status, expected) in [
        (json!({"kind": 400}), 400, ("invalidArgument", "global", "INVALID_ARGUMENT", "Invalid id value")),
        (
            json!({"kind": "failedPrecondition"}),
            400,
            ("failedPrecondition", "global", "FAILED_PRECONDITION", "Precondition check failed."),
        ),
        (
            json!({"kind": 401}),
            401,
            ("authError", "global", "UNAUTHENTICATED", "Request had invalid authentication credentials"),
        ),
        (
            json!({"kind": 403}),
            403,
            ("userRateLimitExceeded", "usageLimits", denied, "Quota exceeded for quota metric 'Queries'"),
        ),
        (
            json!({"kind": 403, "reason": "rateLimitExceeded"}),
            403,
            ("rateLimitExceeded", "usageLimits", denied, "Quota exceeded for quota metric 'Queries'"),
        ),
        (
            json!({"kind": "dailyLimitExceeded"}),
            403,
            ("dailyLimitExceeded", "usageLimits", denied, "Daily Limit Exceeded"),
        ),
        (
            json!({"kind": "domainPolicy"}),
            403,
            ("domainPolicy", "global", denied, "The domain administrators have disabled Gmail apps."),
        ),
        (
            json!({"kind": "insufficientPermissions"}),
            403,
            ("insufficientPermissions", "global", denied, "Request had insufficient"),
        ),
        (
            json!({"kind": 403, "reason": "somethingNew"}),
            403,
            ("somethingNew", "global", denied, "Forbidden"),
        ),
        (json!({"kind": "404"}), 404, ("notFound", "global", "NOT_FOUND", "Requested entity was not found.")),
        (json!({"kind": 409}), 409, ("aborted", "global", "ABORTED", "Conflict")),
        (json!({"kind": 418}), 418, ("badRequest", "global", "INVALID_ARGUMENT", "Bad Request")),
        (
            json!({"kind": 429}),
            429,
            (
                "rateLimitExceeded",
                "usageLimits",
                "RESOURCE_EXHAUSTED",
                "Too many concurrent requests for user.",
            ),
        ),
        (json!({"kind": "backendError"}), 500, ("backendError", "global", "INTERNAL", "Backend Error")),
        (json!({"kind": 502}), 502, ("backendError", "global", "INTERNAL", "Backend Error")),
        (json!({"kind": 503}), 503, ("backendError", "global", "UNAVAILABLE", "Backend Error")),
        (json!({"kind": 504}), 504, ("backendError", "global", "DEADLINE_EXCEEDED", "Backend Error")),
    ] {
        check(order, status, expected).await;
    }
}

#[tokio::test]
async fn retry_after_names_its_deadline_in_the_text_and_in_a_header() {
    let world = World::new().await;
    for (order, wait) in [(json!({}), 900), (json!({"seconds": 5}), 5)] {
        let mut fault = order;
        fault["kind"] = json!("retry_after");
        fault["count"] = json!(1);
        world.fault(fault).await;
        let request = world.client.get(world.url("/gmail/v1/users/me/profile"));
        let answer = request.bearer_auth(format!("sim:{ALICE}")).send().await.unwrap();
        assert_eq!(answer.headers()["retry-after"].to_str().unwrap(), wait.to_string());
        let (status, body) = read(answer).await;
        assert_eq!((status, reason(&body).as_str()), (429, "rateLimitExceeded"));
        assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
        let message = body["error"]["message"].as_str().unwrap();
        let time = message.strip_prefix("User-rate limit exceeded.  Retry after ").unwrap();
        assert_eq!(time.len(), "2026-08-27T10:11:12.123Z".len(), "{time}");
        let deadline: jiff::Timestamp = time.parse().unwrap();
        let ahead = deadline.as_millisecond() - jiff::Timestamp::now().as_millisecond();
        assert!(ahead <= wait * 1_000 && ahead > wait * 1_000 - 20_000, "{ahead}");
    }
}

#[tokio::test]
async fn calls_time_out_break_off_or_come_late() {
    let world = World::new().await;
    let call = || {
        let request = world.client.get(world.url("/gmail/v1/users/me/profile"));
        request.bearer_auth(format!("sim:{ALICE}"))
    };
    world.fault(json!({"kind": "timeout", "count": 1})).await;
    let error = call().timeout(Duration::from_millis(700)).send().await.unwrap_err();
    assert!(error.is_timeout(), "no byte came: {error}");
    world.fault(json!({"kind": "reset", "count": 1})).await;
    let error = call().send().await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_connect(), "the connection was there and broke: {error}");
    world.fault(json!({"kind": "slow", "count": 1, "milliseconds": 600})).await;
    let started = Instant::now();
    assert_eq!(call().send().await.unwrap().status().as_u16(), 200);
    assert!(started.elapsed() >= Duration::from_millis(600));
    assert_eq!(call().send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_lagging_history_hides_young_records_and_names_an_older_present() {
    let world = World::new().await;
    let start = world.history_id().await;
    world.deliver("seen").await;
    let seen = world.history_id().await;
    world.sim(Method::POST, "clock", json!({"advance_s": 60})).await;
    world.deliver("not seen yet").await;
    let present = world.history_id().await;
    world.fault(json!({"kind": "history lag", "method": "history.list", "seconds": 30, "count": 2})).await;
    let path = format!("history?startHistoryId={start}");
    let behind = world.get(&path).await;
    assert_eq!((behind["history"].as_array().unwrap().len(), &behind["historyId"]), (1, &json!(seen)));
    let nothing = world.get(&format!("history?startHistoryId={seen}")).await;
    assert_eq!(nothing, json!({"historyId": seen}));
    let caught_up = world.get(&path).await;
    assert_eq!(
        (caught_up["history"].as_array().unwrap().len(), &caught_up["historyId"]),
        (2, &json!(present))
    );
}

#[tokio::test]
async fn a_listed_message_is_not_visible_yet_as_often_as_ordered() {
    let world = World::new().await;
    let id = world.deliver("young").await;
    world.fault(json!({"kind": "not visible yet", "count": 2})).await;
    for path in [format!("messages/{id}"), format!("threads/{id}")] {
        assert_eq!(world.get("messages").await["messages"][0]["id"], json!(id));
        let (status, body) = get(&world, &path).await;
        assert_eq!((status, reason(&body).as_str()), (404, "notFound"));
    }
    assert_eq!(get(&world, &format!("messages/{id}")).await.0, 200);
}

#[tokio::test]
async fn a_stale_get_shows_the_message_before_its_last_change() {
    let world = World::new().await;
    let id = world.deliver("changed").await;
    let path = format!("messages/{id}?format=minimal");
    let before = world.get(&path).await;
    world.api(Method::POST, &format!("messages/{id}/modify"), json!({"addLabelIds": ["STARRED"]})).await;
    world.fault(json!({"kind": "a get older than its history id", "count": 1})).await;
    assert_eq!(world.get(&path).await, before);
    let now = world.get(&path).await;
    assert!(
        now["labelIds"].as_array().unwrap().contains(&json!("STARRED"))
            && now["historyId"] != before["historyId"]
    );
    // What has only just arrived is not there at all for a replica that lags.
    let young = world.deliver("young").await;
    world.fault(json!({"kind": "stale_get", "count": 1})).await;
    assert_eq!(get(&world, &format!("messages/{young}")).await.0, 404);
}

#[tokio::test]
async fn pages_shift_only_when_asked_to() {
    for shifting in [false, true] {
        let world = World::new().await;
        let mut delivered = Vec::new();
        for number in 0..6 {
            delivered.push(world.deliver(&number.to_string()).await);
        }
        if shifting {
            world.fault(json!({"kind": "shifting pages"})).await;
        }
        let ids = |page: &Value| -> Vec<String> {
            page["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["id"].as_str().unwrap().to_owned())
                .collect()
        };
        let first = world.get("messages?maxResults=3").await;
        let token = first["nextPageToken"].as_str().unwrap();
        // One of the first page goes: with offsets the next page begins one too late.
        world.api(Method::DELETE, &format!("messages/{}", ids(&first)[0]), Value::Null).await;
        let second = world.get(&format!("messages?maxResults=3&pageToken={token}")).await;
        assert_eq!(ids(&second).len(), if shifting { 2 } else { 3 });
        let named: std::collections::BTreeSet<String> = ids(&first).into_iter().chain(ids(&second)).collect();
        assert_eq!(
            named.len(),
            if shifting { 5 } else { 6 },
            "a message fell between two pages only if asked for"
        );
    }
}

#[tokio::test]
async fn faults_keep_to_their_method_mailbox_count_and_probability() {
    let world = World::new().await;
    world.sim(Method::POST, "mailboxes/bob@example.com", Value::Null).await;
    let as_bob = async |path: &str| {
        let request = world.client.get(world.url(&format!("/gmail/v1/users/me/{path}")));
        request.bearer_auth("sim:bob@example.com").send().await.unwrap().status().as_u16()
    };
    world.fault(json!({"kind": 500, "method": "messages.list", "mailbox": ALICE, "count": 2})).await;
    assert_eq!(as_bob("messages").await, 200);
    assert_eq!(get(&world, "profile").await.0, 200);
    assert_eq!(
        [500, 500, 200],
        [get(&world, "messages").await.0, get(&world, "messages").await.0, get(&world, "messages").await.0]
    );
    world.fault(json!({"kind": 503, "probability": 0.0})).await;
    for _ in 0..20 {
        assert_eq!(get(&world, "profile").await.0, 200);
    }
    world.fault(json!({"kind": 503, "probability": 0.5, "method": "gmail.users.getProfile"})).await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(get(&world, "profile").await.0 == 503);
    }
    assert!((60..=140).contains(&failed), "{failed} of 200");
    let (_, listed) = world.sim(Method::GET, "faults", Value::Null).await;
    assert_eq!(listed["faults"][0]["hits"], 2);
    assert_eq!(listed["faults"][2]["hits"], json!(failed));
    assert_eq!(world.sim(Method::DELETE, "faults", Value::Null).await.0, 204);
    assert_eq!(world.sim(Method::GET, "faults", Value::Null).await.1, json!({"faults": []}));
    world.fault(json!({"kind": 503, "probability": 1.0})).await;
    assert_eq!(get(&world, "profile").await.0, 503);
    world.sim(Method::DELETE, "faults", Value::Null).await;
    for _ in 0..20 {
        assert_eq!(get(&world, "profile").await.0, 200);
    }
}

#[tokio::test]
async fn the_same_seed_draws_the_same_faults() {
    let drawn = async |seed: u64| {
        let world = World::with(Options { quota: Regime::Off, seed, ..Options::default() }).await;
        world.fault(json!({"kind": 503, "probability": 0.5})).await;
        let mut statuses = Vec::new();
        for _ in 0..32 {
            statuses.push(get(&world, "profile").await.0);
        }
        statuses
    };
    let first = drawn(7).await;
    assert_eq!(first, drawn(7).await);
    assert_ne!(first, drawn(8).await);
}

/// Gets of a message in one batch; answers which statuses came, by id.
async fn batch(world: &World, id: &str, count: usize) -> (u16, Vec<(usize, u16)>) {
    let part = |number: usize| {
        format!(
            "--b\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n\
             GET /gmail/v1/users/me/messages/{id} HTTP/1.1\r\n\r\n\r\n"
        )
    };
    let body = (0..count).map(part).collect::<String>() + "--b--\r\n";
    let request = world.client.post(world.url("/batch/gmail/v1")).bearer_auth(format!("sim:{ALICE}"));
    let answer =
        request.header("Content-Type", "multipart/mixed; boundary=b").body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let mut parts: Vec<(usize, u16)> = text
        .split("Content-ID: <response-")
        .skip(1)
        .map(|part| {
            let number = part.split('>').next().unwrap().parse().unwrap();
            (number, part.split("HTTP/1.1 ").nth(1).unwrap()[..3].parse().unwrap())
        })
        .collect();
    parts.sort_unstable();
    (status, parts)
}

#[tokio::test]
async fn faults_befall_a_batch_as_a_whole_or_part_by_part() {
    let world = World::new().await;
    let id = world.deliver("batched").await;
    world.fault(json!({"kind": 500, "method": "messages.get", "mailbox": ALICE, "count": 1})).await;
    let (status, parts) = batch(&world, &id, 3).await;
    assert_eq!((status, parts.len(), parts.iter().filter(|(_, status)| *status == 500).count()), (200, 3, 1));
    for order in [
        json!({"kind": "missing batch part", "count": 1}),
        json!({"kind": "missing_part", "method": "messages.get", "mailbox": ALICE, "count": 1}),
        json!({"kind": "missing_part", "method": "batch", "count": 1}),
        json!({"kind": "reset", "method": "messages.get", "count": 1}),
    ] {
        world.fault(order.clone()).await;
        let (status, parts) = batch(&world, &id, 3).await;
        assert_eq!((status, parts.len()), (200, 2), "{order}");
        assert!(parts.iter().all(|(_, status)| *status == 200));
    }
    world.fault(json!({"kind": "missing_part", "mailbox": "bob@example.com"})).await;
    assert_eq!(batch(&world, &id, 3).await.1.len(), 3);
    for order in [
        json!({"kind": 429, "method": "batch", "count": 1}),
        json!({"kind": 429, "method": "batch", "mailbox": ALICE, "count": 1}),
    ] {
        world.fault(order).await;
        assert_eq!(batch(&world, &id, 3).await.0, 429);
        assert_eq!(batch(&world, &id, 3).await.0, 200);
    }
}

#[tokio::test]
async fn an_order_that_could_never_hit_is_refused_with_the_reason() {
    let world = World::new().await;
    for (order, culprit) in [
        (json!({"kind": "odd"}), "kind"),
        (json!({"kind": 200}), "kind"),
        (json!({"kind": 600}), "kind"),
        (json!({"kind": null}), "kind"),
        (json!({"kind": 500, "method": "messages.fetch"}), "method"),
        (json!({"kind": "history_lag", "method": "messages.get"}), "method"),
        (json!({"kind": "drop_push", "method": "watch"}), "method"),
        (json!({"kind": 500, "probability": 1.5}), "probability"),
        (json!({"kind": 500, "seconds": -1}), "seconds"),
        (json!({"kind": 500, "coutn": 1}), "coutn"),
        (json!({}), "kind"),
    ] {
        let (status, body) = world.sim(Method::POST, "faults", order.clone()).await;
        assert_eq!(status, 400, "{order}");
        assert!(body["error"].as_str().unwrap().contains(culprit), "{order}: {body}");
    }
    assert_eq!(world.sim(Method::GET, "faults", Value::Null).await.1, json!({"faults": []}));
}
