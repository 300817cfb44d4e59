use std::path::{Path, PathBuf};

use base64::Engine as _;
use gmail_sim::{Options, Regime};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{ALICE, World};

/// A folder that is gone with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gmail-sim-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn load(world: &World, path: &Path) -> (u16, Value) {
    world.sim(Method::POST, &format!("mailboxes/{ALICE}/load"), json!({"path": path})).await
}

/// Subject, labels and date of every message, newest first; and its bytes.
async fn mail(world: &World) -> Vec<(String, Vec<String>, String, Vec<u8>)> {
    let mut found = Vec::new();
    let page = world.get("messages?includeSpamTrash=true").await;
    for entry in page["messages"].as_array().cloned().unwrap_or_default() {
        let id = entry["id"].as_str().unwrap();
        let full = world.get(&format!("messages/{id}?format=metadata&metadataHeaders=Subject")).await;
        let raw = world.get(&format!("messages/{id}?format=raw")).await;
        let texts = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found.push((
            texts(&full["payload"]["headers"][0]["value"]),
            full["labelIds"].as_array().into_iter().flatten().map(texts).collect(),
            texts(&full["internalDate"]),
            base64::engine::general_purpose::URL_SAFE.decode(raw["raw"].as_str().unwrap()).unwrap(),
        ));
    }
    found
}

#[tokio::test]
async fn a_folder_is_a_message_a_file_with_the_labels_and_dates_it_brings() {
    let world = World::new().await;
    let folder = Folder::new("folder");
    folder
        .file("a", "From someone Mon Jan  1\nSubject: plain\nDate: Thu, 1 Jan 2015 00:00:00 +0000\n\nbody\n");
    folder.file(
        "b.eml",
        "From: Alice <ALICE@example.com>\r\nSubject: own\r\nDate: Fri, 2 Jan 2015 00:00:00 +0000\r\n\r\n",
    );
    folder.file("c", "From: malice@example.com\nSubject: not own\nDate: Sat, 3 Jan 2015 00:00:00 +0000\n\n");
    folder.file("below/d", "X-Gmail-Labels: Inbox,Opened,\"a, b\",Starred\nSubject: labelled\nDate: Sun, 4 Jan 2015 00:00:00 +0000\n\n");
    folder.file("e", "X-Gmail-Labels: Archived\nSubject: archived\nDate: nonsense\n\n");
    folder.file("f", "X-Gmail-Labels: Spam\nSubject: future\nDate: Mon, 1 Jan 2125 00:00:00 +0000\n\n");
    folder.file(".hidden", "Subject: hidden\n\n");
    folder.file("empty", "");
    assert_eq!(load(&world, folder.path()).await, (200, json!({"loaded": 6})));
    let found = mail(&world).await;
    let of = |subject: &str| found.iter().find(|(s, ..)| s == subject).unwrap();
    let labels = |subject: &str| of(subject).1.clone();
    assert_eq!(labels("plain"), ["INBOX"]);
    assert_eq!((of("plain").2.as_str(), of("own").2.as_str()), ("1420070400000", "1420156800000"));
    assert_eq!(of("plain").3, b"Subject: plain\r\nDate: Thu, 1 Jan 2015 00:00:00 +0000\r\n\r\nbody\r\n");
    assert_eq!((labels("own"), labels("not own")), (vec!["SENT".to_owned()], vec!["INBOX".to_owned()]));
    assert_eq!(labels("labelled"), ["INBOX", "Label_1", "STARRED"]);
    assert_eq!(world.get("labels/Label_1").await["name"], "a, b");
    assert!(labels("archived").is_empty());
    assert_eq!(labels("future"), ["SPAM"]);
    // Without a date that can be believed, the date is now.
    for subject in ["archived", "future"] {
        let date: i64 = of(subject).2.parse().unwrap();
        assert!((jiff::Timestamp::now().as_millisecond() - date).abs() < 60_000, "{subject}");
    }
    let subjects: Vec<&str> = found.iter().map(|(subject, ..)| subject.as_str()).collect();
    assert_eq!(subjects[2..], ["labelled", "not own", "own", "plain"], "newest first");
}

#[tokio::test]
async fn an_mbox_and_a_maildir_are_loaded_as_such() {
    let world = World::new().await;
    let folder = Folder::new("forms");
    let mbox = folder.file(
        "mail.mbox",
        "From a@x Mon Jan  1 00:00:00 2015\nSubject: one\n\n>From the start\n\nFrom b@x Tue\nSubject: two\n\nend\n",
    );
    folder.file("maildir/cur/1:2,S", "Subject: three\n\n");
    folder.file("maildir/new/2", "Subject: four\n\n");
    folder.file("maildir/tmp/3", "Subject: half written\n\n");
    assert_eq!(load(&world, &mbox).await, (200, json!({"loaded": 2})));
    assert_eq!(load(&world, &folder.path().join("maildir")).await, (200, json!({"loaded": 2})));
    let found = mail(&world).await;
    let mut subjects: Vec<&str> = found.iter().map(|(subject, ..)| subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["four", "one", "three", "two"]);
    assert!(found.iter().all(|(_, labels, ..)| labels == &["INBOX"]));
    let one = found.iter().find(|(subject, ..)| subject == "one").unwrap();
    assert_eq!(one.3, b"Subject: one\r\n\r\nFrom the start\r\n");
}

#[tokio::test]
async fn a_path_that_is_not_there_is_named() {
    let world = World::new().await;
    let (status, body) = load(&world, Path::new("/no/such/mail")).await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("/no/such/mail"), "{body}");
    let options = Options { load: vec![(ALICE.into(), "/no/such/mail".into())], ..Options::default() };
    let error = gmail_sim::Server::start(options).await.err().unwrap();
    assert!(format!("{error:#}").contains("/no/such/mail"));
    let options = Options { generate: vec![("nobody".into(), 1)], ..Options::default() };
    assert!(gmail_sim::Server::start(options).await.err().unwrap().to_string().contains("nobody"));
}

#[tokio::test]
async fn loaded_drafts_have_a_drafts_id() {
    let world = World::new().await;
    let folder = Folder::new("drafts");
    folder.file("a", "X-Gmail-Labels: Drafts,Starred\nTo: bob@example.com\nSubject: unsent\n\n");
    assert_eq!(load(&world, folder.path()).await.0, 200);
    let drafts = world.get("drafts").await;
    let id = drafts["drafts"][0]["message"]["id"].as_str().unwrap();
    assert_eq!(
        world.get(&format!("messages/{id}?format=minimal")).await["labelIds"],
        json!(["DRAFT", "STARRED"])
    );
}

#[tokio::test]
async fn the_same_seed_gives_the_same_ids_and_another_seed_others() {
    let folder = Folder::new("seed");
    folder.file("a", "Subject: one\nDate: Thu, 1 Jan 2015 00:00:00 +0000\n\n");
    folder.file("b", "Subject: two\nDate: Thu, 1 Jan 2015 00:00:00 +0000\n\n");
    let clock: jiff::Timestamp = "2026-08-27T10:00:00Z".parse().unwrap();
    let snapshot = async |seed: u64| {
        let world = World::with_loaded(Options {
            quota: Regime::Off,
            seed,
            clock: Some(clock.as_millisecond()),
            load: vec![(ALICE.into(), folder.path().into())],
            generate: vec![("bulk@example.com".into(), 500)],
            ..Options::default()
        })
        .await;
        let bulk = world.server.snapshot("bulk@example.com").unwrap();
        assert_eq!(bulk.len(), 500);
        (world.server.snapshot(ALICE).unwrap(), bulk)
    };
    let first = snapshot(7).await;
    assert_eq!(first, snapshot(7).await);
    let other = snapshot(8).await;
    assert!(first.0 != other.0 && first.1 != other.1);
}

#[tokio::test]
async fn generated_mail_lies_in_threads_and_in_the_past() {
    let options = Options { generate: vec![(ALICE.into(), 300)], quota: Regime::Off, ..Options::default() };
    let world = World::with_loaded(options).await;
    let profile = world.get("profile").await;
    let threads = profile["threadsTotal"].as_u64().unwrap();
    assert!(profile["messagesTotal"] == 300 && threads > 30 && threads < 250, "{profile}");
    let (status, _) =
        world.sim(Method::POST, &format!("mailboxes/{ALICE}/generate"), json!({"count": 10})).await;
    assert_eq!(status, 200);
    assert_eq!(world.get("profile").await["messagesTotal"], 310);
    let newest = world.get("messages?maxResults=1").await["messages"][0]["id"].as_str().unwrap().to_owned();
    let date = world.get(&format!("messages/{newest}?format=minimal")).await["internalDate"].clone();
    assert!(date.as_str().unwrap().parse::<i64>().unwrap() <= jiff::Timestamp::now().as_millisecond());
}

#[tokio::test]
async fn a_delivery_may_name_labels_date_and_thread_and_nothing_else() {
    let world = World::new().await;
    let post = async |query: &str, raw: &str| {
        let url = world.url(&format!("/sim/mailboxes/{ALICE}/messages{query}"));
        crate::read(world.client.post(url).body(raw.to_owned()).send().await.unwrap()).await
    };
    let (status, first) =
        post("?labels=Bills,SENT&internal_date_ms=1420070400000", "Subject: x\r\n\r\n").await;
    assert_eq!(status, 201);
    assert_eq!(first["historyId"], json!(world.history_id().await));
    let message = world.get(&format!("messages/{}?format=minimal", first["id"].as_str().unwrap())).await;
    assert_eq!(
        (&message["internalDate"], &message["labelIds"]),
        (&json!("1420070400000"), &json!(["Label_1", "SENT"]))
    );
    let (_, second) =
        post(&format!("?thread_id={}", first["threadId"].as_str().unwrap()), "Subject: Re: x\r\n\r\n").await;
    assert_eq!(second["threadId"], first["threadId"]);
    let brief = world.get(&format!("messages/{}?format=minimal", second["id"].as_str().unwrap())).await;
    assert_eq!(brief["labelIds"], json!(["INBOX", "UNREAD"]), "unless labels are named");
    for (query, raw, culprit) in [
        ("", "", "empty"),
        ("?label=INBOX", "x", "label"),
        ("?internal_date_ms=yesterday", "x", "internal_date_ms"),
        ("?thread_id=zz", "x", "thread_id"),
        ("?thread_id=12", "x", "not delivered"),
    ] {
        let (status, body) = post(query, raw).await;
        assert!(
            status == 400 && body["error"].as_str().unwrap().contains(culprit),
            "{query}: {status} {body}"
        );
    }
}
