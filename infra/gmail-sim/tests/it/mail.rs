use gmail_sim::{Options, Regime};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{World, reason};

#[tokio::test]
async fn pages_name_every_message_once_newest_first() {
    let world = World::new().await;
    let mut delivered = Vec::new();
    for number in 0..7 {
        delivered.push(world.deliver(&format!("number {number}")).await);
    }
    let (mut listed, mut token) = (Vec::new(), String::new());
    for _ in 0..4 {
        let page = world.get(&format!("messages?maxResults=3&pageToken={token}")).await;
        listed.extend(
            page["messages"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()),
        );
        match page["nextPageToken"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    let mut sorted = listed.clone();
    sorted.sort();
    delivered.sort();
    assert_eq!(sorted, delivered);
}

#[tokio::test]
async fn history_is_exclusive_has_gaps_and_leaves_absent_keys_out() {
    let world = World::new().await;
    let start = world.history_id().await;
    let nothing = world.get(&format!("history?startHistoryId={start}")).await;
    assert_eq!(nothing, json!({"historyId": start}));
    let id = world.deliver("first").await;
    world.api(Method::POST, &format!("messages/{id}/modify"), json!({"removeLabelIds": ["UNREAD"]})).await;
    world.api(Method::POST, &format!("messages/{id}/trash"), Value::Null).await;
    world.api(Method::DELETE, &format!("messages/{id}"), Value::Null).await;
    let all = world.get(&format!("history?startHistoryId={start}")).await;
    let records = all["history"].as_array().unwrap();
    assert_eq!(records.len(), 4, "{all}");
    assert_eq!(records[0]["messagesAdded"][0]["message"]["labelIds"], json!(["INBOX", "UNREAD"]));
    assert_eq!(records[1]["labelsRemoved"][0]["labelIds"], json!(["UNREAD"]));
    assert_eq!(records[2]["labelsAdded"][0]["labelIds"], json!(["TRASH"]));
    assert!(
        records[3]["messagesDeleted"][0]["message"]["id"] == json!(id) && records[3]["labelsAdded"].is_null()
    );
    assert_eq!(all["historyId"], records[3]["id"]);
    let page =
        world.get(&format!("history?startHistoryId={start}&maxResults=2&historyTypes=messageDeleted")).await;
    assert!(page["history"].is_null() && page["nextPageToken"].is_string(), "{page}");
    let token = page["nextPageToken"].as_str().unwrap();
    let rest = world
        .get(&format!(
            "history?startHistoryId={start}&maxResults=2&historyTypes=messageDeleted&pageToken={token}"
        ))
        .await;
    assert_eq!(rest["history"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_operation_that_changes_nothing_writes_no_history() {
    let world = World::new().await;
    let id = world.deliver("same").await;
    let before = world.history_id().await;
    world.api(Method::POST, &format!("messages/{id}/modify"), json!({"addLabelIds": ["INBOX"]})).await;
    assert_eq!(world.history_id().await, before);
}

#[tokio::test]
async fn expired_history_is_404_and_the_present_can_be_read_from() {
    let world = World::new().await;
    let old = world.history_id().await;
    assert_eq!(
        world.sim(Method::POST, "mailboxes/alice@example.com/expire-history", Value::Null).await.0,
        200
    );
    let (status, body) = world.api(Method::GET, &format!("history?startHistoryId={old}"), Value::Null).await;
    assert_eq!((status, reason(&body).as_str()), (404, "notFound"));
    let now = world.history_id().await;
    world.get(&format!("history?startHistoryId={now}")).await;
    world.deliver("aged").await;
    world.sim(Method::POST, "clock", json!({"advance_s": 8 * 86_400})).await;
    let (status, _) = world.api(Method::GET, &format!("history?startHistoryId={now}"), Value::Null).await;
    assert_eq!(status, 404, "a week is as long as history lasts");
}

#[tokio::test]
async fn bad_input_gets_gmails_own_errors() {
    let world = World::new().await;
    let check = async |path: &str, status: u16, expected: &str| {
        let (got, body) = world.api(Method::GET, path, Value::Null).await;
        assert_eq!((got, reason(&body).as_str()), (status, expected), "{path}");
    };
    check("messages/zz", 400, "invalidArgument").await;
    check("messages/12", 404, "notFound").await;
    check("history?startHistoryId=0", 400, "invalidArgument").await;
    check("history?startHistoryId=abc", 400, "invalidArgument").await;
    check("history", 400, "invalidArgument").await;
    check("messages?pageToken=x", 400, "invalidArgument").await;
    check("messages?maxResults=-1", 400, "invalidArgument").await;
    check("messages?labelIds=NONE", 400, "invalidArgument").await;
    check("messages?fields=(", 400, "invalidArgument").await;
    check("nothing/here", 404, "notFound").await;
    let stranger =
        world.client.get(world.url("/gmail/v1/users/me/profile")).bearer_auth("sim:nobody@example.com");
    let (status, body) = crate::read(stranger.send().await.unwrap()).await;
    assert_eq!((status, reason(&body).as_str()), (401, "authError"));
    let nobody = world.client.get(world.url("/gmail/v1/users/me/profile"));
    assert_eq!(nobody.send().await.unwrap().status().as_u16(), 401);
    let other = world.client.get(world.url("/gmail/v1/users/bob%40example.com/profile"));
    assert_eq!(other.bearer_auth("sim:alice@example.com").send().await.unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn a_minute_grants_300_gets_and_not_one_more() {
    let world = World::with(Options { quota: Regime::Current, ..Options::default() }).await;
    let id = world.deliver("dear").await;
    for _ in 0..300 {
        world.get(&format!("messages/{id}?format=minimal")).await;
    }
    let (status, body) = world.api(Method::GET, &format!("messages/{id}"), Value::Null).await;
    assert_eq!((status, reason(&body).as_str()), (403, "userRateLimitExceeded"));
    assert_eq!(body["error"]["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
    world.sim(Method::POST, "clock", json!({"advance_s": 61})).await;
    world.get(&format!("messages/{id}?format=minimal")).await;
    let (_, counted) = world.sim(Method::GET, "stats", Value::Null).await;
    assert_eq!(counted["methods"]["messages.get"], json!({"calls": 302, "units": 6_020}));
    assert_eq!(counted["refusals"]["userRateLimitExceeded"], 1);
}

#[tokio::test]
async fn faults_befall_the_calls_they_name_as_often_as_ordered() {
    let world = World::new().await;
    let id = world.deliver("fault").await;
    let path = format!("messages/{id}");
    let order = |kind: Value| json!({"method": "messages.get", "kind": kind, "count": 1});
    for (kind, status, expected) in [
        (json!(500), 500, "backendError"),
        (json!("429"), 429, "rateLimitExceeded"),
        (json!("retry_after"), 429, "rateLimitExceeded"),
        (json!("domainPolicy"), 403, "domainPolicy"),
        (json!("not visible yet"), 404, "notFound"),
    ] {
        world.fault(order(kind.clone())).await;
        world.get("profile").await;
        let (got, body) = world.api(Method::GET, &path, Value::Null).await;
        assert_eq!((got, reason(&body).as_str()), (status, expected), "{kind}");
        world.get(&path).await;
    }
    world.fault(order(json!("reset"))).await;
    let request = world.client.get(world.url(&format!("/gmail/v1/users/me/{path}")));
    assert!(request.bearer_auth("sim:alice@example.com").send().await.is_err());
    let present = world.get(&path).await["historyId"].clone();
    world.api(Method::POST, &format!("{path}/modify"), json!({"addLabelIds": ["STARRED"]})).await;
    world.fault(order(json!("stale_get"))).await;
    let stale = world.get(&path).await;
    assert_eq!((&stale["historyId"], &stale["labelIds"]), (&present, &json!(["INBOX", "UNREAD"])));
}

#[tokio::test]
async fn replies_join_their_thread_and_other_subjects_do_not() {
    let world = World::new().await;
    let mail = |id: &str, references: &str, subject: &str| {
        format!("Message-ID: <{id}>\r\nReferences: {references}\r\nSubject: {subject}\r\n\r\nx\r\n")
            .into_bytes()
    };
    let first = world.deliver_raw(mail("a@x", "", "Lunch")).await;
    world.deliver_raw(mail("b@x", "<a@x>", "Re: lunch")).await;
    world.deliver_raw(mail("c@x", "<b@x> <a@x>", "Dinner")).await;
    let thread = world.get(&format!("threads/{first}?format=minimal")).await;
    assert_eq!(thread["messages"].as_array().unwrap().len(), 2);
    assert_eq!(world.get("profile").await["threadsTotal"], 2);
}

#[tokio::test]
async fn searches_find_what_they_name() {
    let world = World::new().await;
    world
        .deliver_raw(
            b"Message-ID: <one@x>\r\nFrom: Ada <ada@example.org>\r\nSubject: Green tea\r\n\r\nwith milk\r\n"
                .to_vec(),
        )
        .await;
    let trashed = world.deliver("other").await;
    world.api(Method::POST, &format!("messages/{trashed}/trash"), Value::Null).await;
    for (query, count) in [
        ("from:ada@example.org", 1),
        ("subject:\"green tea\" milk", 1),
        ("-milk", 0),
        ("rfc822msgid:<one@x>", 1),
        ("in:anywhere", 2),
        ("in:trash", 1),
        ("label:inbox is:unread", 1),
        ("coffee OR milk", 1),
        ("{coffee milk} newer_than:1d", 1),
        ("after:2020/01/01 before:2021/01/01", 0),
        ("from:(ada OR bob)", 1),
        ("has:attachment", 0),
    ] {
        let url = reqwest::Url::parse_with_params("http://x/messages", [("q", query)]).unwrap();
        let page = world.get(&format!("messages?{}", url.query().unwrap())).await;
        assert_eq!(page["messages"].as_array().map_or(0, Vec::len), count, "{query}");
    }
}

#[tokio::test]
async fn drafts_keep_their_id_over_saves_and_become_sent_mail() {
    let world = World::new().await;
    world.sim(Method::POST, "mailboxes/bob@example.com", Value::Null).await;
    let raw = |text: &str| json!({"message": {"raw": text}});
    // "To: bob@example.com\r\n\r\nhi" in base64url, unpadded.
    let (status, draft) = world.api(Method::POST, "drafts", raw("VG86IGJvYkBleGFtcGxlLmNvbQ0KDQpoaQ")).await;
    assert_eq!(status, 200, "{draft}");
    let id = draft["id"].as_str().unwrap();
    let (_, saved) =
        world.api(Method::PUT, &format!("drafts/{id}"), raw("VG86IGJvYkBleGFtcGxlLmNvbQ0KDQpoaQ")).await;
    assert!(saved["id"] == draft["id"] && saved["message"]["id"] != draft["message"]["id"]);
    let (status, sent) = world.api(Method::POST, "drafts/send", json!({"id": id})).await;
    assert_eq!((status, &sent["labelIds"]), (200, &json!(["SENT"])));
    assert!(world.get("drafts").await["drafts"].is_null());
    let (_, bob) = world.sim(Method::GET, "mailboxes/bob@example.com", Value::Null).await;
    assert_eq!(bob["messagesTotal"], 1);
}

#[tokio::test]
async fn labels_are_made_counted_changed_and_deleted() {
    let world = World::new().await;
    let id = world.deliver("labelled").await;
    let (_, label) = world.api(Method::POST, "labels", json!({"name": "Bills"})).await;
    let label = label["id"].as_str().unwrap().to_owned();
    assert_eq!(world.api(Method::POST, "labels", json!({"name": "bills"})).await.0, 409);
    let (_, message) =
        world.api(Method::POST, &format!("messages/{id}/modify"), json!({"addLabelIds": [label]})).await;
    assert!(message["labelIds"].as_array().unwrap().contains(&json!(label)));
    let counts = world.get(&format!("labels/{label}")).await;
    assert_eq!((&counts["messagesTotal"], &counts["threadsUnread"]), (&json!(1), &json!(1)));
    assert_eq!(world.api(Method::DELETE, &format!("labels/{label}"), Value::Null).await.0, 204);
    assert_eq!(
        world.get(&format!("messages/{id}?format=minimal")).await["labelIds"],
        json!(["INBOX", "UNREAD"])
    );
    assert_eq!(world.api(Method::DELETE, "labels/INBOX", Value::Null).await.0, 400);
}
