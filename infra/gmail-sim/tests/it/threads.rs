//! Conversations, formed of real mail.

use std::collections::{BTreeMap, BTreeSet};

use gmail_sim::{Options, Regime};
use reqwest::Method;
use serde_json::{Value, json};

use crate::mime_oracle::corpus;
use crate::{ALICE, World};

/// A mailbox with the corpus, and how many messages each of its conversations has.
async fn loaded() -> (World, BTreeMap<String, usize>) {
    let world = World::with(Options { quota: Regime::Off, ..Options::default() }).await;
    let folder = corpus().last().unwrap().parent().unwrap().to_owned();
    let (status, body) =
        world.sim(Method::POST, &format!("mailboxes/{ALICE}/load"), json!({"path": folder})).await;
    assert_eq!(status, 200, "{body}");
    let (_, snapshot) = world.sim(Method::GET, &format!("mailboxes/{ALICE}/snapshot"), Value::Null).await;
    let mut threads = BTreeMap::new();
    for line in snapshot.as_str().unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        *threads.entry(message["threadId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    (world, threads)
}

fn header<'a>(message: &'a Value, name: &str) -> &'a str {
    let headers = message["payload"]["headers"].as_array().into_iter().flatten();
    let mut values = headers.filter(|header| header["name"].as_str().unwrap().eq_ignore_ascii_case(name));
    values.next().and_then(|header| header["value"].as_str()).unwrap_or_default()
}

/// The ids a message names: its own and those it references.
fn ids(message: &Value) -> BTreeSet<String> {
    ["Message-ID", "References", "In-Reply-To"]
        .iter()
        .flat_map(|name| header(message, name).split('<').skip(1))
        .filter_map(|rest| rest.split_once('>').map(|(id, _)| id.trim().to_owned()))
        .collect()
}

fn subject(message: &Value) -> String {
    let subject = header(message, "Subject").to_lowercase();
    let is_mark = |mark: &str| ["re", "fw", "fwd", "aw"].contains(&mark.split('[').next().unwrap());
    let words = subject.split_whitespace().flat_map(|word| word.split_inclusive(':'));
    let kept = words.skip_while(|word| word.strip_suffix(":").is_some_and(is_mark));
    kept.collect()
}

#[tokio::test]
async fn real_mail_forms_real_conversations() {
    let (world, threads) = loaded().await;
    let sizes: Vec<usize> = threads.values().copied().collect();
    assert_eq!(sizes.iter().sum::<usize>(), 6_046);
    let several = sizes.iter().filter(|size| **size > 1).count();
    assert!((550..700).contains(&several), "{several} conversations of several messages");
    assert_eq!(sizes.iter().max(), Some(&30), "the longest is about a sequences window");
    assert_eq!(world.get("profile").await["threadsTotal"], threads.len());

    let mut related = 0;
    for (id, size) in threads.iter().filter(|(_, size)| **size > 1) {
        let thread = world.get(&format!("threads/{id}?format=metadata")).await;
        let messages = thread["messages"].as_array().unwrap();
        assert_eq!(messages.len(), *size);
        let subjects: BTreeSet<String> = messages.iter().map(subject).collect();
        assert_eq!(subjects.len(), 1, "{id}: one conversation has one subject, not {subjects:?}");
        let date = |message: &Value| message["internalDate"].as_str().unwrap().parse::<i64>().unwrap();
        assert!(messages.is_sorted_by_key(date), "{id}: oldest first");
        for (place, message) in messages.iter().enumerate() {
            let others = messages.iter().enumerate().filter(|(other, _)| *other != place);
            let known: BTreeSet<String> = others.flat_map(|(_, other)| ids(other)).collect();
            assert!(!known.is_disjoint(&ids(message)), "{id}: message {place} has no relative here");
            related += 1;
        }
    }
    assert!(related > 2_000, "{related} messages have relatives");
}

#[tokio::test]
async fn siblings_and_late_parents_find_each_other_and_other_subjects_do_not() {
    let world = World::new().await;
    let mail = |id: &str, references: &str, subject: &str| {
        format!("Message-ID: <{id}@x>\r\nReferences: {references}\r\nSubject: {subject}\r\n\r\nx\r\n")
            .into_bytes()
    };
    let thread = async |raw: Vec<u8>| {
        let id = world.deliver_raw(raw).await;
        world.get(&format!("messages/{id}?format=minimal")).await["threadId"].as_str().unwrap().to_owned()
    };
    let first = thread(mail("one", "<gone@x>", "Re: lunch")).await;
    assert_eq!(thread(mail("two", "<gone@x>", "RE: Lunch")).await, first, "both answer what is not here");
    assert_eq!(thread(mail("gone", "", "lunch")).await, first, "the parent comes after its children");
    assert_eq!(thread(mail("copy", "<two@x> <none@x>", "Re[2]: lunch")).await, first);
    assert_eq!(thread(mail("two", "<gone@x>", "Re: lunch")).await, first, "a second copy");
    let other = thread(mail("three", "<gone@x> <one@x>", "dinner")).await;
    assert_ne!(other, first);
    assert_eq!(thread(mail("four", "<one@x> <three@x>", "Re: dinner")).await, other);
    assert_eq!(thread(mail("five", "<gone@x>", "Re: dinner")).await, other, "the subject tells which");
    assert_ne!(thread(mail("six", "", "lunch")).await, first, "a subject alone is no relation");
}

#[tokio::test]
async fn a_saved_draft_can_be_answered_after_the_one_it_replaced_is_gone() {
    let world = World::new().await;
    let raw = |text: &str| json!({"message": {"raw": base64(text)}});
    let draft = "To: bob@example.com\r\nMessage-ID: <draft@x>\r\nSubject: plan\r\n\r\nfirst\r\n";
    let (_, made) = world.api(Method::POST, "drafts", raw(draft)).await;
    let path = format!("drafts/{}", made["id"].as_str().unwrap());
    let (_, saved) = world.api(Method::PUT, &path, raw(&draft.replace("first", "second"))).await;
    let answer = b"In-Reply-To: <draft@x>\r\nSubject: Re: plan\r\n\r\nyes\r\n".to_vec();
    let id = world.deliver_raw(answer).await;
    let answer = world.get(&format!("messages/{id}?format=minimal")).await;
    assert_eq!(answer["threadId"], saved["message"]["threadId"]);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.encode(text)
}
