//! Entry points for fuzzers: any bytes into each parser, through the code that serves.
//!
//! Plain functions that run on the stable toolchain (`tests/it/fuzz.rs`) and under `cargo fuzz` (`fuzz/`). Each
//! panics when a promise breaks: an answer that is not Gmail's, a status of 500, a page that does not end. The
//! control face is left out: it may hold a call for minutes because it was told to.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a fuzzer's finding is a panic")]

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use super::quota::Regime;
use super::serve::{Call, Outcome, Reply};
use super::state::{Shared, lock};
use super::{Options, answer, batch};
use crate::mime;
use crate::model::{INBOX, ListQuery, Mailbox, NewMessage, PageFrom, Paging, Query};

const OWNER: &str = "alice@example.com";
const MAIL: &[u8] =
    b"From: Ada <ada@example.com>\r\nTo: alice@example.com\r\nSubject: green tea\r\nMessage-ID: <1@x>\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nwith milk\r\n\
    --b\r\nContent-Type: image/png; name=a.png\r\n\r\n\x89PNG\r\n--b--\r\n";
const NOW: i64 = 1_700_000_000_000;

/// What every round begins with; made once a thread, because a signing key takes its time.
struct World {
    runtime: tokio::runtime::Runtime,
    shared: Arc<Shared>,
}

thread_local! {
    static WORLD: World = {
        let options = Options { quota: Regime::Off, concurrency_max: 0, ..Options::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let shared = runtime.block_on(async { Shared::new(options) }).expect("a key can be made");
        World { runtime, shared }
    };
}

fn mail(mailbox: &mut Mailbox, raw: &[u8]) {
    let new = NewMessage { raw: raw.into(), labels: vec![INBOX], internal_date: None, thread: None };
    mailbox.insert(new, NOW).expect("mail without a named thread is taken");
}

/// Answers one call in a mailbox with a message in it. None for a call that the fuzzer leaves alone.
fn serve(call: Call) -> Option<Reply> {
    if call.path.starts_with("/sim") {
        return None;
    }
    WORLD.with(|world| {
        world.shared.remove(OWNER);
        lock(&world.shared.tokens).grant_again(OWNER);
        world.shared.create(OWNER).0.change(&world.shared, |mailbox| mail(mailbox, MAIL));
        match world.runtime.block_on(answer(&world.shared, call)) {
            Outcome::Reply(reply) => Some(reply),
            Outcome::Reset => panic!("a connection broke and nobody ordered it"),
        }
    })
}

/// One HTTP request as it stands on the wire, without its framing.
pub fn request(data: &[u8]) {
    let mut outer = HeaderMap::new();
    outer.insert("authorization", HeaderValue::from_static("Bearer sim:alice@example.com"));
    let Some(call) = batch::read_call(data, &outer) else { return };
    let is_api = call.is_api();
    let Some(reply) = serve(call) else { return };
    assert!(reply.status < 500, "status {}", reply.status);
    if is_api && reply.status >= 400 {
        let body: Value = serde_json::from_slice(&reply.body).expect("an error is JSON");
        let error = &body["error"];
        let reason = error["errors"][0]["reason"].is_string() && error["errors"][0]["domain"].is_string();
        let told = error["message"].is_string() && error["status"].is_string();
        assert!(error["code"] == reply.status && reason && told, "no error of Gmail's: {body}");
    }
}

/// A batch: its content type on the first line, its body below.
pub fn batch(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(kind) = HeaderValue::from_bytes(data[..end].trim_ascii()) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer sim:alice@example.com"));
    headers.insert("content-type", kind);
    let body = Bytes::copy_from_slice(data.get(end + 1..).unwrap_or_default());
    let reply = serve(Call::new(Method::POST, "/batch/gmail/v1", headers, body)).expect("a batch is served");
    assert!(matches!(reply.status, 200 | 400), "status {}", reply.status);
    let inner_failed = reply.body.windows(10).any(|window| window == b"HTTP/1.1 5");
    assert!(!inner_failed, "a part was answered with 5xx");
}

/// A search.
pub fn query(data: &[u8]) {
    let mut mailbox = Mailbox::new(OWNER, 1);
    mail(&mut mailbox, MAIL);
    mail(&mut mailbox, b"Subject: other\r\n\r\nx\r\n");
    mailbox.generate(3, 1, NOW);
    let query = Some(Query::parse(&String::from_utf8_lossy(data), &mailbox, NOW));
    let mut list =
        ListQuery { labels: vec![], include_spam_trash: true, query, from: PageFrom::Start, limit: 1 };
    let mut pages = 0;
    while let Some(next) = mailbox.list_messages(&list).next_from(list.from, Paging::Keyed) {
        list.from = next;
        pages += 1;
        assert!(pages <= mailbox.message_count(), "the pages do not end");
    }
    list.from = PageFrom::Start;
    assert!(mailbox.list_threads(&list).entries.len() <= 1, "a page has more than was asked for");
}

/// A message.
pub fn message(data: &[u8]) {
    let tree = mime::parse(data);
    for part in tree.walk() {
        // No byte of a body becomes more than a replacement character of three, and entities are not undone.
        assert!(part.bytes(data).len() <= data.len(), "a body grew");
        assert!(part.decoded(data).len() <= data.len() * 4 + 4, "a text grew");
    }
    assert!(mime::snippet(&tree, data).chars().count() <= 200 * 6, "a snippet is short");
    mail(&mut Mailbox::new(OWNER, 1), data);
}
