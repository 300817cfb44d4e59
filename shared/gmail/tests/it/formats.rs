//! The same mail in Gmail's three formats is the same message: over HTTP, from the simulator.

use std::path::PathBuf;

use gmail_sim::{Options, Regime, Server};
use serde_json::{Value, json};
use sync_core::{
    EmailAddress, MessageId,
    message::{Envelope, Labels, Message},
    state::Content,
};
use sync_gmail::{
    formats::{self, PartedMessage},
    mime::{self, Attachment, FetchedParts, FullMail, OwnAddresses},
    requests::{self, RawMessage, Request},
};

use crate::oracle::{corpus, evened, shown};

const OWNER: &str = "alice@example.com";
/// Every so many messages of the corpus are compared.
const SAMPLE: usize = 7;
/// Of a thousand messages, how many may differ: broken ones, which the simulator takes apart in its own way.
const DIFFERENT_PER_MILLE_MAX: usize = 10;
/// The same, letters beyond ASCII counted.
const LOSSY_PER_MILLE_MAX: usize = 50;

struct Gmail {
    server: Server,
    http: reqwest::Client,
}

impl Gmail {
    async fn start() -> Self {
        let options = Options { quota: Regime::Off, concurrency_max: 0, ..Options::default() };
        let server = Server::start(options).await.expect("a simulator");
        server.create_mailbox(OWNER).expect("a mailbox");
        Self { server, http: reqwest::Client::new() }
    }

    async fn get(&self, request: &Request) -> Vec<u8> {
        let url = format!("{}{}", self.server.url(), request.path);
        let answer = self.http.get(url).bearer_auth(format!("sim:{OWNER}")).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{} for {}", answer.status(), request.path);
        answer.bytes().await.expect("a body").to_vec()
    }

    async fn all_formats(&self, raw: &[u8]) -> Formats {
        let id = self.server.deliver(OWNER, raw).expect("delivered").id;
        let id: MessageId = id.to_string().parse().expect("an id");
        let raw_answer = self.get(&requests::get_raw(id)).await;
        let full_answer = self.get(&formats::get_full(id)).await;
        let metadata_answer = self.get(&formats::get_metadata(id)).await;
        let full = formats::read_parted(&full_answer, id).expect("format full");
        let mut fetched = FetchedParts::new();
        for attachment_id in full.mail.attachment_ids() {
            let request = formats::get_attachment(id, attachment_id).expect("an id");
            let bytes = formats::read_attachment(&self.get(&request).await).expect("an attachment");
            fetched.insert(attachment_id.to_owned(), bytes);
        }
        Formats {
            raw: requests::read_raw(&raw_answer, id).expect("format raw"),
            full,
            metadata: formats::read_parted(&metadata_answer, id).expect("format metadata"),
            fetched,
        }
    }
}

struct Formats {
    raw: RawMessage,
    full: PartedMessage,
    metadata: PartedMessage,
    fetched: FetchedParts,
}

fn own() -> OwnAddresses {
    let addresses: [EmailAddress; 2] = [OWNER, "alias@example.org"].map(|email| email.parse().expect(email));
    addresses.iter().collect()
}

/// What differs between the formats, in words; nothing when all is well.
/// `even` is how values are made comparable.
fn differences(of: &Formats, even: fn(&Value) -> Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |name: &str, raw: Value, other: Value| {
        let (raw, other) = (even(&raw), even(&other));
        if raw != other {
            found.push(format!("{name}: {}", shown("raw", &raw, &other)));
        }
    };
    let raw = mime::to_message(&of.raw, &own());
    for (name, parted) in [("full", &of.full), ("metadata", &of.metadata)] {
        let message = mime::parted_to_message(parted, &own());
        let is_whole = name == "full";
        check(&format!("{name}: envelope"), envelope(&raw, is_whole), envelope(&message, is_whole));
        let head = |message: &Message| Message { envelope: Box::default(), ..message.clone() };
        assert_eq!(head(&message), head(&raw), "{name}: what is no mail");
    }
    let (raw, full) = (mime::render(&of.raw.mail), mime::render_parts(&of.full.mail, &of.fetched));
    check("full: date", json!(raw.date), json!(full.date));
    check("full: text", json!(raw.text), json!(full.text));
    check("full: html", json!(raw.html), json!(full.html));
    check("full: truncated", json!(raw.truncated), json!(full.truncated));
    check("full: attachments", files(&raw), files(&full));
    let metadata = mime::render_parts(&of.metadata.mail, &FetchedParts::new());
    check("metadata: date", json!(raw.date), json!(metadata.date));
    assert!(metadata.text.is_none() && metadata.html.is_none() && metadata.attachments.is_empty());
    found
}

/// Letters beyond ASCII left out: the simulator answers U+FFFD for bytes that have no label, and takes
/// ISO-8859-1 at its word, where we guess as browsers do. The oracle judges our guesses.
fn in_ascii(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { ' ' }).collect();
            Value::String(ascii.split_whitespace().collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(in_ascii).collect()),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), in_ascii(value))).collect(),
        _ => value.clone(),
    }
}

/// Format `metadata` does not say for sure whether there are attachments.
fn envelope(message: &Message, is_whole: bool) -> Value {
    let has_attachments = is_whole && message.envelope.has_attachments;
    json!(Envelope { has_attachments, ..(*message.envelope).clone() })
}

fn files(mail: &FullMail) -> Value {
    mail.attachments.iter().map(|file| json!(format!("{file:?}"))).collect()
}

const EVERYTHING: &str = "From: =?utf-8?B?QWzDrQ==?= <ALIAS@example.org>\r\n\
To: \"Doe, Jane\" <jane@example.com>, team: b@example.com, c@example.com;\r\n\
Cc: =?iso-8859-1?Q?J=FCrgen?= <j@example.com>\r\n\
Subject: =?utf-8?Q?caf=C3=A9?=\r\n =?utf-8?Q?_and?= more\r\n\
Date: Tue, 1 Jul 2025 10:52:37 +0200\r\n\
Message-ID: <one@example.org>\r\n\
Content-Type: multipart/mixed; boundary=outer\r\n\r\n\
--outer\r\nContent-Type: multipart/related; boundary=related\r\n\r\n\
--related\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n\
--inner\r\nContent-Type: text/plain; charset=koi8-r; format=flowed\r\nContent-Transfer-Encoding: base64\r\n\r\n\
8NLJ18XUIApBbmQK\r\n\
--inner\r\nContent-Type: text/html; charset=iso-2022-jp\r\n\r\n<p>\x1b$B%O%m!<\x1b(B <img src=cid:pic@1></p>\r\n\
--inner\r\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n\
--inner--\r\n\
--related\r\nContent-Type: image/png; name=p.png\r\nContent-ID: <pic@1>\r\nContent-Disposition: inline\r\n\
Content-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n\
--related--\r\n\
--outer\r\nContent-Type: application/ics; name=invite.ics\r\nContent-Disposition: attachment\r\n\r\nBEGIN:VCALENDAR\r\n\
--outer\r\nContent-Type: application/pdf\r\n\
Content-Disposition: attachment; filename*0*=UTF-8''R%C3%A9; filename*1=sum.pdf\r\n\
Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n\
--outer\r\nContent-Type: message/rfc822\r\n\r\nSubject: the inner one\r\n\
Content-Type: multipart/mixed; boundary=deep\r\n\r\n--deep\r\n\r\ninner words\r\n--deep--\r\n\r\n\
--outer\r\nContent-Type: text/plain; name=notes.txt; charset=iso-8859-1\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n\
--outer--\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_mail_is_one_message_in_every_format() {
    let gmail = Gmail::start().await;
    let formats = gmail.all_formats(EVERYTHING.as_bytes()).await;
    assert_eq!(differences(&formats, evened), Vec::<String>::new());

    let message = mime::parted_to_message(&formats.metadata, &own());
    assert!(message.envelope.outbound, "an alias of the owner's wrote it");
    assert!(message.envelope.has_attachments);
    assert_eq!(message.envelope.subject, "café and more");
    assert_eq!(message.envelope.rfc822_message_id.as_deref(), Some("one@example.org"));
    assert_eq!(message.labels, Labels::from(["INBOX".to_owned(), "UNREAD".to_owned()]));

    let mail = mime::render_parts(&formats.full.mail, &formats.fetched);
    assert_eq!(mail.text.as_deref().map(str::trim), Some("Привет And"));
    assert!(mail.html.as_deref().is_some_and(|html| html.contains("ハロー")));
    let names: Vec<_> = mail.attachments.iter().map(|file| file.filename.as_deref()).collect();
    let (pdf, eml) = (Some("Résum.pdf"), Some("the inner one.eml"));
    assert_eq!(names, [None, Some("p.png"), Some("invite.ics"), pdf, eml, Some("notes.txt")]);
    let inline: Vec<bool> = mail.attachments.iter().map(|file| file.inline).collect();
    assert_eq!(inline, [true, true, false, false, false, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_that_were_not_fetched_are_described() {
    let gmail = Gmail::start().await;
    let formats = gmail.all_formats(EVERYTHING.as_bytes()).await;
    let (with, without): (FullMail, FullMail) = (
        mime::render_parts(&formats.full.mail, &formats.fetched),
        mime::render_parts(&formats.full.mail, &FetchedParts::new()),
    );
    assert_eq!(with.text, without.text);
    let described = |file: &Attachment| (file.filename.clone(), file.content_type.clone(), file.size);
    let all = |mail: &FullMail| mail.attachments.iter().map(described).collect::<Vec<_>>();
    assert_eq!(all(&with), all(&without));
    let ids: Vec<&str> = formats.full.mail.attachment_ids().collect();
    let named: Vec<&str> =
        without.attachments.iter().filter_map(|file| file.attachment_id.as_deref()).collect();
    assert_eq!(ids, named);
    assert!(without.attachments.iter().all(|file| file.attachment_id.is_some() == file.sha256.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_corpus_is_the_same_in_every_format() {
    let gmail = Gmail::start().await;
    let paths: Vec<PathBuf> = corpus().into_iter().step_by(SAMPLE).collect();
    let (mut different, mut lossy) = (0, 0);
    for path in &paths {
        let formats = gmail.all_formats(&std::fs::read(path).expect("a message")).await;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        lossy += usize::from(!differences(&formats, evened).is_empty());
        let found = differences(&formats, in_ascii);
        for reason in &found {
            eprintln!("{name}: {reason}");
        }
        different += usize::from(!found.is_empty());
    }
    eprintln!("of {} messages {different} differ between the formats, {lossy} in letters too", paths.len());
    assert!(different * 1_000 <= paths.len() * DIFFERENT_PER_MILLE_MAX, "{different} messages differ");
    assert!(lossy * 1_000 <= paths.len() * LOSSY_PER_MILLE_MAX, "{lossy} messages differ in letters");
}

#[tokio::test]
async fn the_aliases_of_a_mailbox_are_read() {
    let gmail = Gmail::start().await;
    let addresses = formats::read_send_as(&gmail.get(&formats::list_send_as()).await).expect("a list");
    assert!(addresses.iter().any(|address| address.as_str() == OWNER));
    let answer = br#"{"sendAs":[{"sendAsEmail":"A@example.com","isPrimary":true},{"sendAsEmail":"none"}]}"#;
    let read = formats::read_send_as(answer).expect("a list");
    assert_eq!(read.iter().map(EmailAddress::as_str).collect::<Vec<_>>(), ["a@example.com"]);
    assert!(formats::read_send_as(b"{\"sendAs\":1}").is_err());
}

#[test]
fn an_answer_for_another_message_is_refused() {
    let answer = br#"{"id":"2","threadId":"1","historyId":"7","payload":{"mimeType":"text/plain"}}"#;
    assert!(formats::read_parted(answer, MessageId(2)).is_ok());
    assert!(formats::read_parted(answer, MessageId(1)).is_err());
    assert!(formats::read_parted(br#"{"id":"2","threadId":"1","historyId":"7"}"#, MessageId(2)).is_err());
    for id in ["", "a/b", "../x", "a?b", "a b"] {
        assert!(formats::get_attachment(MessageId(1), id).is_err(), "{id}");
    }
}

#[tokio::test]
async fn a_thread_holds_its_messages_as_single_gets_show_them() {
    let gmail = Gmail::start().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let raw = format!(
            "From: bob@example.com\r\nSubject: talk\r\nMessage-ID: <{number}@x>\r\nReferences: <0@x>\r\n\r\nno {number}\r\n"
        );
        let id = gmail.server.deliver(OWNER, raw.as_bytes()).expect("delivered").id.to_string();
        ids.push(id.parse::<MessageId>().expect("an id"));
    }
    // A thread is in the order of its ids where the dates are the same millisecond's.
    ids.sort_unstable();
    for content in [Content::Full, Content::Metadata] {
        let mut singles = Vec::new();
        for id in &ids {
            let answer = gmail.get(&formats::get_message(*id, content)).await;
            singles.push(formats::read_message(&answer, *id, content).expect("a message"));
        }
        // Ids grow with time, and two that arrive within a millisecond come in any order.
        singles.sort_by_key(|single| single.id);
        let thread = singles[0].thread_id;
        let request = formats::get_thread(thread, content).expect("a request");
        let whole = formats::read_thread(&gmail.get(&request).await, content).expect("a thread");
        assert_eq!(whole, singles);
        for message in &whole {
            let message = mime::fetched_to_message(message, &own()).expect("a tree of parts");
            assert_eq!((message.thread_id, message.envelope.subject.as_str()), (thread, "talk"));
        }
    }
}

#[test]
fn a_member_that_cannot_be_read_is_left_out_of_its_thread() {
    let member = |id: &str| format!(r#"{{"id":"{id}","threadId":"1","historyId":"7","payload":{{}}}}"#);
    let body = format!(r#"{{"messages":[{},{{"id":"2"}},{{}},{}]}}"#, member("1"), member("3"));
    let read = formats::read_thread(body.as_bytes(), Content::Full).expect("a thread");
    assert_eq!(read.iter().map(|message| message.id.0).collect::<Vec<_>>(), [1, 3]);
    assert!(formats::read_thread(b"7", Content::Full).is_err());
    assert_eq!(formats::read_thread(b"{}", Content::Full), Ok(Vec::new()));
}
