use std::fmt::Write as _;

use base64::Engine as _;
use reqwest::Method;
use serde_json::Value;

use crate::{World, read, reason};

fn nest(depth: usize) -> Vec<u8> {
    let mut raw = String::new();
    for level in 0..depth {
        write!(raw, "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n").unwrap();
    }
    raw.push_str("Content-Type: text/plain\r\n\r\ndeep\r\n");
    raw.into_bytes()
}

#[tokio::test]
async fn any_bytes_are_taken_and_given_back_as_they_came() {
    let world = World::new().await;
    let flat = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(10_000);
    // A parser that descends as deep as this mail, or frees what it read so, ends with its stack.
    let attached = "Content-Type: message/rfc822\r\n\r\n".repeat(200_000);
    for raw in [
        b"\x00\xff\xfe no headers, no line end".to_vec(),
        b"Subject: =?utf-8?B?####?= =?x?q?=zz?=\nno crlf\n\nbody=\xff".to_vec(),
        b"Content-Type: text/plain; charset=nonsense\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!"
            .to_vec(),
        b":\r\n: \r\n\r\n".to_vec(),
        vec![b'\n'; 5_000],
        vec![b'a'; 31 << 20],
        nest(200_000),
        [b"Content-Type: text/plain ".as_slice(), &b"(".repeat(1 << 20), b"\r\n\r\nx"].concat(),
        b"X: y\r\n".repeat(200_000),
        [b"References: ".as_slice(), &b"<a@b> ".repeat(200_000), b"\r\n\r\nx"].concat(),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{flat}").into_bytes(),
        attached.into_bytes(),
    ] {
        let id = world.deliver_raw(raw.clone()).await;
        let answer = world.get(&format!("messages/{id}?format=raw")).await;
        let back = base64::engine::general_purpose::URL_SAFE.decode(answer["raw"].as_str().unwrap()).unwrap();
        assert!(back == raw, "{} bytes came back as {}", raw.len(), back.len());
        let full = world.get(&format!("messages/{id}?format=full")).await;
        assert!(full["payload"]["mimeType"].is_string());
    }
}

/// A call with a body as it stands, JSON or not.
async fn call(world: &World, method: &str, target: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let request = world.client.request(method.parse::<Method>().unwrap(), world.url(target));
    let request = request.bearer_auth("sim:alice@example.com").header("Content-Type", "application/json");
    read(request.body(body).send().await.unwrap()).await
}

#[tokio::test]
async fn every_malformed_call_gets_gmails_own_refusal() {
    let world = World::new().await;
    let id = world.deliver("target").await;
    let message = format!("messages/{id}");
    let deep = format!("{}1{}", "{\"name\":".repeat(100_000), "}".repeat(100_000));
    let many = format!("{{\"ids\":[{}\"1\"]}}", "\"1\",".repeat(1_000));
    let modify = format!("{message}/modify");
    let masked = format!("{modify}?fields=nothing(");
    let bad = |method, path, body| (method, path, body, 400, "invalidArgument");
    let cases: Vec<(&str, &str, &str, u16, &str)> = vec![
        // Bodies: broken, of other types, deep, with numbers that are none.
        bad("POST", "messages", "{"),
        bad("POST", "messages", "[]"),
        bad("POST", "messages", "7"),
        bad("POST", "messages", "{\"raw\":NaN}"),
        bad("POST", "messages", "{\"raw\":1e999}"),
        bad("POST", "messages", "{\"raw\":{}}"),
        bad("POST", "messages", "{\"raw\":\"\"}"),
        bad("POST", "messages", "{\"raw\":\"eA\",\"labelIds\":\"INBOX\"}"),
        bad("POST", "messages", "{\"raw\":\"eA\",\"labelIds\":[\"NONE\"]}"),
        bad("POST", "messages", "{\"raw\":\"eA\",\"threadId\":17}"),
        bad("POST", "messages", "{\"raw\":\"eA\",\"threadId\":\"xyz\"}"),
        ("POST", "messages", "{\"raw\":\"eA\",\"threadId\":\"17\"}", 404, "notFound"),
        bad("POST", "messages?internalDateSource=odd", "{\"raw\":\"eA\"}"),
        bad("POST", "messages/send", "{\"raw\":\"%%%\"}"),
        bad("POST", "messages/send", "{\"raw\":\"U3ViamVjdDogbm8gcmVjaXBpZW50DQoNCg\"}"),
        bad("POST", "labels", &deep),
        bad("POST", "labels", "{}"),
        bad("POST", "labels", "{\"name\":\" \"}"),
        bad("POST", "labels", "{\"name\":[]}"),
        bad("POST", "labels", "{\"name\":\"INBOX\"}"),
        bad("POST", "labels", "{\"name\":\"x\",\"color\":7}"),
        bad("POST", "labels", "{\"name\":\"x\",\"labelListVisibility\":\"odd\"}"),
        bad("POST", "drafts", "{\"message\":[]}"),
        bad("POST", "drafts/send", "{\"id\":7}"),
        ("POST", "drafts/send", "{\"id\":\"r7\"}", 404, "notFound"),
        bad("POST", "watch", "{}"),
        bad("POST", "watch", "{\"topicName\":[]}"),
        bad("POST", "watch", "{\"topicName\":\"projects/p/topics/t\",\"labelIds\":{}}"),
        bad("POST", "messages/batchModify", "{}"),
        bad("POST", "messages/batchModify", "{\"ids\":[1]}"),
        bad("POST", "messages/batchModify", "{\"ids\":[\"xyz\"]}"),
        bad("POST", "messages/batchDelete", &many),
        bad("POST", &modify, "{\"addLabelIds\":[\"SENT\"]}"),
        bad("POST", &modify, "{\"removeLabelIds\":[null]}"),
        bad("POST", &masked, "{\"addLabelIds\":[\"STARRED\"]}"),
        // Targets and queries.
        bad("GET", "messages/xyz", ""),
        bad("GET", "messages/%00%ff", ""),
        bad("GET", "messages/1ffffffffffffffff", ""),
        bad("GET", "messages/a&b=c", ""),
        ("GET", "messages/ffffffffffffffff", "", 404, "notFound"),
        bad("GET", "threads/-1", ""),
        ("GET", "labels/Label_99", "", 404, "notFound"),
        bad("GET", "drafts/7", ""),
        bad("GET", "messages?maxResults=-1", ""),
        bad("GET", "messages?maxResults=1e3", ""),
        bad("GET", "messages?maxResults=99999999999999999999", ""),
        bad("GET", "messages?pageToken=1", ""),
        bad("GET", "messages?pageToken=2x", ""),
        bad("GET", "messages?includeSpamTrash=perhaps", ""),
        bad("GET", "messages?labelIds=NONE", ""),
        bad("GET", "messages?fields=messages(id", ""),
        bad("GET", "messages?fields=messages/ids", ""),
        bad("GET", "history", ""),
        bad("GET", "history?startHistoryId=0", ""),
        bad("GET", "history?startHistoryId=-1", ""),
        bad("GET", "history?startHistoryId=1.0", ""),
        bad("GET", "history?startHistoryId=18446744073709551616", ""),
        bad("GET", "history?startHistoryId=99999999&historyTypes=odd", ""),
        ("GET", "history?startHistoryId=18446744073709551615", "", 404, "notFound"),
        ("GET", "history?startHistoryId=1", "", 404, "notFound"),
        // What is not there at all.
        ("GET", "nothing", "", 404, "notFound"),
        ("PATCH", "messages", "", 404, "notFound"),
        ("BREW", "profile", "", 404, "notFound"),
        ("GET", "", "", 404, "notFound"),
    ];
    let present = world.history_id().await;
    for (method, path, body, status, expected) in cases {
        let target = format!("/gmail/v1/users/me/{path}");
        let (got, answer) = call(&world, method, &target, body.to_owned()).await;
        let shown = &body[..body.len().min(60)];
        assert_eq!((got, reason(&answer).as_str()), (status, expected), "{method} {path} {shown}: {answer}");
    }
    let odd = format!("{message}?format=odd");
    assert_eq!(call(&world, "GET", &format!("/gmail/v1/users/me/{odd}"), "").await.0, 400);
    let attachment = format!("/gmail/v1/users/me/{message}/attachments/odd");
    assert_eq!(call(&world, "GET", &attachment, "").await.0, 400);
    assert_eq!(world.history_id().await, present, "what is refused changes nothing");
}

#[tokio::test]
async fn malformed_uploads_are_refused() {
    let world = World::new().await;
    let two = "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\r\nSubject: x\r\n\r\ny\r\n--b--";
    let endless = format!("--b\r\n{}\r\n{{}}\r\n--b\r\n\r\nx\r\n--b--", "X: y\r\n".repeat(40_000));
    for (kind, content_type, body, status) in [
        ("odd", "message/rfc822", "x", 400),
        ("media", "message/rfc822", "", 400),
        ("multipart", "multipart/related; boundary=b", two, 200),
        ("multipart", "multipart/related; boundary=\"b", two, 400),
        ("multipart", "multipart/related", two, 400),
        ("multipart", "message/rfc822", two, 400),
        ("multipart", "multipart/related; boundary=b", "--b\r\n\r\n{}\r\n--b--", 400),
        ("multipart", "multipart/related; boundary=b", "--b\r\n\r\n[]\r\n--b\r\n\r\nx\r\n--b--", 400),
        ("multipart", "multipart/related; boundary=b", "--b\r\n\r\n{\r\n--b\r\n\r\nx\r\n--b--", 400),
        ("multipart", "multipart/related; boundary=b", &endless, 400),
    ] {
        let target = format!("/upload/gmail/v1/users/me/messages?uploadType={kind}");
        let request = world.client.post(world.url(&target)).bearer_auth("sim:alice@example.com");
        let request = request.header("Content-Type", content_type).body(body.to_owned());
        let (got, answer) = read(request.send().await.unwrap()).await;
        assert_eq!(got, status, "{kind} {content_type}: {answer}");
        assert!(status == 200 || reason(&answer) == "invalidArgument", "{answer}");
    }
}

#[tokio::test]
async fn any_search_is_answered_at_once() {
    let world = World::new().await;
    let found = world.deliver("needle").await;
    for (text, hits) in [
        ("\"needle".to_owned(), 1),
        ("(".repeat(5_000), 1),
        (format!("{}needle{}", "(".repeat(2_000), ")".repeat(2_000)), 1),
        (format!("{}needle", "from:(".repeat(15)), 0),
        // Beyond the most terms of a search the rest is left out.
        (format!("{}needle", "from:(".repeat(3_000)), 1),
        (format!("{}needle", "-".repeat(5_001)), 0),
        ("needle OR ".repeat(900), 1),
        ("{{{ OR OR }".to_owned(), 1),
        ("newer_than:-106751991167d".to_owned(), 0),
        ("older_than:9223372036854775807y".to_owned(), 0),
        ("after:9223372036854775807".to_owned(), 0),
        ("东京 İ \u{202e}".to_owned(), 0),
    ] {
        let url = reqwest::Url::parse_with_params("http://x/messages", [("q", &text)]).unwrap();
        let page = world.get(&format!("messages?{}", url.query().unwrap())).await;
        let shown: String = text.chars().take(40).collect();
        assert_eq!(page["messages"].as_array().map_or(0, Vec::len), hits, "{shown}: {page} for {found}");
    }
}

#[tokio::test]
async fn the_other_faces_refuse_nonsense_as_well() {
    let world = World::new().await;
    for (method, target, body) in [
        ("POST", "/batch", "--x"),
        ("POST", "/token", "grant_type=odd"),
        ("POST", "/sim/faults", "{\"kind\":\"odd\"}"),
        ("POST", "/sim/clock", "{\"advance_s\":-1}"),
        ("POST", "/sim/mailboxes/nonsense", ""),
    ] {
        let (status, answer) = call(&world, method, target, body).await;
        assert!((400..500).contains(&status) && !answer["error"].is_null(), "{target}: {status} {answer}");
    }
}
