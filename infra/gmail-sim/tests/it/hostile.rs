use std::fmt::Write as _;

use base64::Engine as _;
use reqwest::Method;
use serde_json::Value;

use crate::World;

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
    let attached = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
    for raw in [
        b"\x00\xff\xfe no headers, no line end".to_vec(),
        b"Subject: =?utf-8?B?####?= =?x?q?=zz?=\nno crlf\n\nbody=\xff".to_vec(),
        b"Content-Type: text/plain; charset=nonsense\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!"
            .to_vec(),
        b":\r\n: \r\n\r\n".to_vec(),
        vec![b'\n'; 5_000],
        vec![b'a'; 31 << 20],
        nest(10_000),
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

#[tokio::test]
async fn nonsense_requests_are_answered_with_4xx() {
    let world = World::new().await;
    for (method, path, body) in [
        ("POST", "/gmail/v1/users/me/messages", "{"),
        ("POST", "/gmail/v1/users/me/messages", "[]"),
        ("POST", "/gmail/v1/users/me/messages/send", "{\"raw\":\"%%%\"}"),
        ("POST", "/gmail/v1/users/me/messages/batchModify", "{\"ids\":[1]}"),
        ("POST", "/gmail/v1/users/me/watch", "{}"),
        ("POST", "/batch", "--x"),
        ("POST", "/upload/gmail/v1/users/me/messages?uploadType=odd", "x"),
        ("POST", "/upload/gmail/v1/users/me/messages?uploadType=multipart", "x"),
        ("GET", "/gmail/v1/users/me/messages/%00%ff", ""),
        ("PATCH", "/gmail/v1/users/me/messages", ""),
        ("POST", "/token", "grant_type=odd"),
        ("POST", "/sim/faults", "{\"kind\":\"odd\"}"),
        ("POST", "/sim/clock", "{\"advance_s\":-1}"),
        ("POST", "/sim/mailboxes/nonsense", ""),
    ] {
        let request = world.client.request(method.parse::<Method>().unwrap(), world.url(path)).body(body);
        let response = request.bearer_auth("sim:alice@example.com").send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert!((400..500).contains(&status) && !body["error"].is_null(), "{method} {path}: {status} {body}");
    }
}
