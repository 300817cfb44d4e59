//! What of a message is fetched: three mailboxes of the same mail, each with another content, and all of it to be had in
//! the end where its owner wants it; threads got whole; what the owner sent from an alias.

use local::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, SOON, World, mail, text};

const RAW: &str = "raw@example.com";
const FULL: &str = "full@example.com";
const METADATA: &str = "metadata@example.com";
/// Mail that a generator makes, in threads of real shape.
const GENERATED: u64 = 1_500;

const FILE: &str = "From: Bob <bob@example.com>\r\nTo: team@example.com\r\nSubject: with a file\r\nMessage-ID: <file@x>\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
    <p>See the <b>file</b>.</p>\r\n--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQKJeLjz9MK\r\n--b\r\nContent-Type: text/csv; charset=iso-8859-1\r\n\
    Content-Disposition: attachment; filename=\"b.csv\"\r\n\r\na;\u{e9}\r\n--b--\r\n";

#[tokio::test]
async fn what_of_a_message_is_fetched_is_its_owners_choice() {
    let options =
        Options { simulator_arguments: vec!["--quota".to_owned(), "off".to_owned()], ..Options::default() };
    let world = World::start(options).await;
    for (email, content) in [(RAW, "raw"), (FULL, "full"), (METADATA, "metadata")] {
        furnish(&world, email).await;
        connect(&world, email, content).await;
    }
    threads_are_got_whole_where_the_format_allows_it(&world).await;
    what_was_not_fetched_comes_when_it_is_asked_for(&world).await;
    headers_are_all_that_a_mailbox_of_metadata_has(&world).await;
    a_choice_holds_from_then_on_and_bodies_follow_it(&world).await;
    a_raw_mail_that_cannot_be_had_says_why(&world).await;
    what_the_owner_sent_from_an_alias_went_out(&world).await;
    a_long_mailbox_costs_less_by_its_threads(&world).await;
    assert!(world.logged("worker", "panicked").await.is_empty());
}

/// Two conversations, one of five messages, and a mail with files.
async fn furnish(world: &World, email: &str) {
    world.create(email).await;
    for number in 0..7 {
        let about = if number < 5 { "long" } else { "short" };
        let raw = format!(
            "From: Bob <bob@example.com>\r\nTo: team@example.com\r\nSubject: {about}\r\nMessage-ID: <{about}-{number}@x>\r\n\
             References: <{about}@x>\r\n\r\nThis is number {number}.\r\n"
        );
        world.deliver(email, "INBOX", raw).await;
    }
    world.deliver(email, "INBOX,UNREAD", FILE).await;
}

async fn connect(world: &World, email: &str, content: &str) {
    let keys = json!({ "refreshToken": format!("sim:{email}") });
    let body = json!({ "authType": "oauth", "keys": keys, "content": content });
    let answer = world.api(Method::POST, "/api/integrations", Some(&body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["mailbox"]["content"], content);
    world.until_equal_within(content, email, 6 * SOON).await;
    world.until_healthy(email).await;
}

async fn threads_are_got_whole_where_the_format_allows_it(world: &World) {
    for (email, threads, singles) in [(RAW, 0, 8), (FULL, 1, 3), (METADATA, 1, 3)] {
        let calls = (world.calls(email, "threads.get").await, world.calls(email, "messages.get").await);
        assert_eq!(
            calls,
            (threads, singles),
            "{email}: one conversation of five, two of it alone, one with files"
        );
    }
}

/// Everything of a mail that should not depend on how it was fetched.
fn shown(mail: &Value) -> Value {
    let files = mail["attachments"].as_array().cloned().unwrap_or_default();
    let files: Vec<Value> = files.iter().map(|file| json!([file["filename"], file["contentType"]])).collect();
    json!([
        mail["subject"],
        mail["from"],
        mail["text"],
        mail["html"],
        mail["snippet"],
        mail["direction"],
        mail["hasAttachments"],
        mail["sizeEstimate"],
        files
    ])
}

/// The mails of a mailbox whole, by subject and snippet: ids differ from mailbox to mailbox.
async fn opened(world: &World, email: &str) -> Vec<Value> {
    let mut mails = Vec::new();
    for mail in world.listed(email, false).await {
        mails.push(world.get(&format!("/api/emails/{}", text(&mail["id"]))).await);
    }
    mails.sort_by_key(|mail| (text(&mail["subject"]), text(&mail["snippet"])));
    mails
}

fn with_file(mails: &[Value]) -> &Value {
    mails.iter().find(|mail| mail["subject"] == "with a file").expect("it is there")
}

async fn bytes_of(world: &World, path: &str) -> Vec<u8> {
    let url = format!("{}{path}", world.system.url());
    let answer =
        reqwest::Client::new().get(url).bearer_auth(world.system.token()).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.expect("a body").to_vec()
}

async fn what_was_not_fetched_comes_when_it_is_asked_for(world: &World) {
    let (raws, fulls) = (opened(world, RAW).await, opened(world, FULL).await);
    assert_eq!(fulls.iter().map(shown).collect::<Vec<_>>(), raws.iter().map(shown).collect::<Vec<_>>());
    assert!(fulls.iter().all(|mail| mail["content"] == "full"), "texts come with the parts");
    assert!(raws.iter().all(|mail| mail["content"] == "raw"));
    let gets = world.calls(FULL, "messages.get").await;
    let (raw, full) = (with_file(&raws), with_file(&fulls));
    for (of_raw, of_full) in raw["attachments"]
        .as_array()
        .expect("files")
        .iter()
        .zip(full["attachments"].as_array().expect("files"))
    {
        assert_eq!(of_full["hash"], Value::Null, "nobody has fetched it: {of_full}");
        let (expected, got) =
            (bytes_of(world, &text(&of_raw["url"])).await, bytes_of(world, &text(&of_full["url"])).await);
        assert!(got == expected && !got.is_empty(), "{of_full}");
    }
    assert_eq!(world.calls(FULL, "messages.get").await, gets + 1, "one get serves both files");
    assert_eq!(world.stored_bytes(&text(&full["id"])).await, FILE.as_bytes());
    assert_eq!(world.calls(FULL, "messages.get").await, gets + 1, "and the raw mail");
    let again = world.get(&format!("/api/emails/{}", text(&full["id"]))).await;
    assert_eq!(
        (&again["content"], &again["attachments"][0]["hash"]),
        (&json!("raw"), &raw["attachments"][0]["hash"])
    );
    let other = fulls.iter().find(|mail| mail["subject"] == "short").expect("it is there");
    let bytes = world.stored_bytes(&text(&other["id"])).await;
    assert!(bytes.starts_with(b"From: Bob <bob@example.com>\r\n"), "{:?}", String::from_utf8_lossy(&bytes));
}

async fn headers_are_all_that_a_mailbox_of_metadata_has(world: &World) {
    let gets = world.calls(METADATA, "messages.get").await;
    for mail in opened(world, METADATA).await {
        assert_eq!(
            (&mail["content"], &mail["text"], &mail["html"]),
            (&json!("metadata"), &Value::Null, &Value::Null)
        );
        for path in ["raw", "attachments/part-0"] {
            let answer = get(world, &format!("/api/emails/{}/{path}", text(&mail["id"]))).await;
            assert_eq!(answer.status, 409, "{answer:?}");
            assert!(text(&answer.body["detail"]).contains("metadata"), "{answer:?}");
        }
    }
    assert_eq!(world.calls(METADATA, "messages.get").await, gets, "nothing was asked of Gmail");
}

async fn get(world: &World, path: &str) -> Answer {
    world.api(Method::GET, path, None).await
}

async fn choose(world: &World, email: &str, content: &str) {
    let path = format!("/api/integrations/{email}/settings");
    let answer = world.api(Method::PATCH, &path, Some(&json!({ "content": content }))).await;
    assert_eq!((answer.status, &answer.body["content"]), (200, &json!(content)), "{answer:?}");
    assert_eq!(answer.body["job"], Value::Null, "what is stored stays as it is");
}

async fn a_choice_holds_from_then_on_and_bodies_follow_it(world: &World) {
    choose(world, METADATA, "full").await;
    let new = world.deliver(METADATA, "INBOX", mail("after-the-choice")).await;
    world.until_equal("new mail in another format", METADATA).await;
    let new = world.get(&format!("/api/emails/{new}?mailbox={METADATA}")).await;
    assert_eq!(new["content"], "full");
    let olds: Vec<Value> = opened(world, METADATA).await;
    let raws = opened(world, RAW).await;
    let old = with_file(&olds);
    assert_eq!(
        (&old["content"], shown(old)),
        (&json!("raw"), shown(with_file(&raws))),
        "fetched as it was opened"
    );
    choose(world, FULL, "metadata").await;
    let fulls = opened(world, FULL).await;
    assert!(fulls.iter().all(|mail| mail["text"].is_string()), "each row is judged by what it has");
    assert_eq!(world.stored_bytes(&text(&with_file(&fulls)["id"])).await, FILE.as_bytes());
    choose(world, FULL, "full").await;
}

/// The answer to a raw mail of `full` that was never fetched, with Gmail in this state.
async fn a_raw_mail_that_cannot_be_had_says_why(world: &World) {
    let id = world.deliver(FULL, "INBOX", mail("never-fetched")).await;
    world.until_equal("another one", FULL).await;
    let path = format!("/api/emails/{id}/raw?mailbox={FULL}");
    let down = json!({ "kind": "unavailable", "mailbox": FULL, "method": "messages.get" });
    world.sim(Method::POST, "faults", &down).await;
    assert_eq!(get(world, &path).await.status, 503, "Gmail is down");
    world.no_faults().await;

    world.fault(FULL, "drop_push").await;
    world.gmail(FULL, Method::DELETE, &format!("messages/{id}"), &json!({})).await;
    assert_eq!(get(world, &path).await.status, 410, "it is gone, and nobody has noticed yet");
    world.no_faults().await;
    let sync = world.api(Method::POST, &format!("/api/sync/{FULL}?wait=true"), None).await;
    assert_eq!(sync.status, 200, "{sync:?}");
    assert_eq!(get(world, &path).await.status, 410, "it is known to be gone");
}

async fn what_the_owner_sent_from_an_alias_went_out(world: &World) {
    let (email, alias) = ("aliased@example.com", "sales@example.org");
    world.create(email).await;
    world.sim(Method::POST, &format!("mailboxes/{email}/aliases"), &json!({ "addresses": [alias] })).await;
    for from in [alias, email, "stranger@example.org"] {
        let raw = format!("From: <{from}>\r\nTo: bob@example.com\r\nSubject: from {from}\r\n\r\nhi\r\n");
        world.deliver(email, "INBOX", raw).await;
    }
    world.connect_and_sync(email).await;
    for mail in world.listed(email, false).await {
        let is_strange = text(&mail["subject"]).contains("stranger");
        assert_eq!(mail["direction"], if is_strange { "inbound" } else { "outbound" }, "{mail}");
    }
    assert_eq!(world.calls(email, "settings.sendAs.list").await, 1, "once a day is enough");
}

/// Units that gets have cost a mailbox, by Gmail's own count.
async fn units_of_gets(world: &World, email: &str) -> (u64, u64) {
    let stats = world.sim(Method::GET, "stats", &json!({})).await;
    let methods = &stats["mailboxes"][email]["methods"];
    let of = |method: &str, what: &str| methods[method][what].as_u64().unwrap_or(0);
    let units = of("messages.get", "units") + of("threads.get", "units");
    world.note(&format!(
        "{email}: {} messages.get, {} threads.get, {units} units",
        of("messages.get", "calls"),
        of("threads.get", "calls")
    ));
    (units, of("threads.get", "calls"))
}

async fn a_long_mailbox_costs_less_by_its_threads(world: &World) {
    let email = "generated@example.com";
    world.create(email).await;
    world.sim(Method::POST, &format!("mailboxes/{email}/generate"), &json!({ "count": GENERATED })).await;
    // The price list of projects since 2026, whatever is limited.
    let one_by_one = 20 * GENERATED;
    connect(world, email, "full").await;
    let (units, threads) = units_of_gets(world, email).await;
    assert!(threads > 0 && units < one_by_one, "{units} units, {one_by_one} one by one");
    world.note(&format!("{units} units in threads, {one_by_one} one by one"));
}
