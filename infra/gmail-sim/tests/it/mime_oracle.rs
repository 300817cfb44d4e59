//! The MIME side against `CPython`'s `email` package: every message of the corpus, over HTTP, part by part.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use gmail_sim::mime::{self, Part};
use gmail_sim::{Options, Regime};
use serde_json::{Value, json};

use crate::World;

/// How many messages the corpus has at least: a half-fetched one must not pass for a small one.
const MESSAGES_MIN: usize = 6_046 + 1;
/// Most differences in a thousand messages.
const DIFFERENT_PER_MILLE_MAX: usize = 10;

/// Every message under `target/corpus`, by path.
pub(crate) fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/corpus");
    let mut found: Vec<PathBuf> = ["spam-assassin", "malformed"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).into_iter().flatten())
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(found.len() >= MESSAGES_MIN, "{} messages in target/corpus: run make corpus", found.len());
    found.sort();
    found
}

/// What `CPython` says of each path, in their order; two children, because reading all takes one half a minute.
fn oracle(paths: &[PathBuf]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles/mime/tree.py");
    let ask = |paths: &[PathBuf]| -> Vec<Value> {
        let mut command = Command::new("python3");
        let command = command.arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 (3.10 or newer) is missing");
        let (mut names, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let read = std::thread::scope(|scope| {
            scope.spawn(move || {
                for path in paths {
                    writeln!(names, "{}", path.display()).unwrap();
                }
            });
            lines.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
        });
        assert!(child.wait().unwrap().success(), "the oracle failed");
        read
    };
    let (first, second) = paths.split_at(paths.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| ask(second));
        let mut said = ask(first);
        said.extend(other.join().unwrap());
        said
    })
}

fn digest(bytes: &[u8]) -> Value {
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hex = sum.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    json!([bytes.len(), hex])
}

/// The parts of a payload in document order, in the oracle's form.
async fn parts(world: &World, id: &str, payload: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    let mut waiting = vec![payload];
    while let Some(part) = waiting.pop() {
        let pairs = part["headers"].as_array().into_iter().flatten();
        let headers: Vec<Value> = pairs.map(|header| json!([header["name"], header["value"]])).collect();
        let (part_id, mime_type, filename) = (&part["partId"], &part["mimeType"], &part["filename"]);
        let mut entry =
            json!({"partId": part_id, "mimeType": mime_type, "filename": filename, "headers": headers});
        if let Some(children) = part["parts"].as_array() {
            waiting.extend(children.iter().rev());
        } else {
            let body = &part["body"];
            let fetched = match body["attachmentId"].as_str() {
                Some(attachment) => world.get(&format!("messages/{id}/attachments/{attachment}")).await,
                None => body.clone(),
            };
            let bytes = URL_SAFE.decode(fetched["data"].as_str().unwrap_or_default()).unwrap();
            assert_eq!(body["size"], bytes.len(), "{id}");
            entry["body"] = digest(&bytes);
        }
        found.push(entry);
    }
    found
}

fn at<'a>(root: &'a Part, part_id: &str) -> &'a Part {
    let places = part_id.split('.').filter(|place| !place.is_empty());
    places.fold(root, |part, place| &part.children[place.parse::<usize>().unwrap()])
}

fn is_quoted_printable(part: &Part) -> bool {
    part.header("Content-Transfer-Encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("quoted-printable"))
}

/// The first thing in which the two readings differ, and why they may.
fn difference(raw: &[u8], ours: &[Value], theirs: &Value) -> Option<String> {
    if let Some(error) = theirs["error"].as_str() {
        return Some(format!("CPython fails: {error}"));
    }
    let theirs = theirs["parts"].as_array().unwrap();
    let shape = |parts: &[Value]| -> Vec<String> {
        parts.iter().map(|part| format!("{} {}", part["partId"], part["mimeType"])).collect()
    };
    if shape(ours) != shape(theirs) {
        let is_status = |part: &Value| part["mimeType"] == "message/delivery-status";
        let why = if theirs.iter().any(is_status) {
            "CPython makes parts of the fields of a message/delivery-status"
        } else if theirs[0]["defects"] != json!([]) || theirs[0]["headers"] != ours[0]["headers"] {
            "the header itself is broken"
        } else if theirs[0]["mimeType"].as_str().unwrap().contains(char::is_whitespace) {
            "the content type has blanks in it"
        } else {
            "unexplained"
        };
        return Some(format!("tree: {why}: {:?}, not {:?}", shape(ours), shape(theirs)));
    }
    let root = mime::parse(raw);
    ours.iter().zip(theirs).find_map(|(our, their)| {
        let part = at(&root, our["partId"].as_str().unwrap());
        let key = ["filename", "headers", "body"].into_iter().find(|key| our[key] != their[key])?;
        let why = match key {
            "filename" if part.header("Content-Type").is_some_and(|value| !value.contains('"')) => {
                "a name with blanks and no quotes".to_owned()
            }
            "body" if their["defects"] != json!([]) => format!("CPython gives up: {}", their["defects"]),
            "body" if digest(&part.bytes(raw)) == their["raw"] => "the charset is read otherwise".to_owned(),
            "body" if is_quoted_printable(part) && raw.windows(2).any(|pair| pair == b"==") => {
                "CPython reads == as one = sign".to_owned()
            }
            _ => "unexplained".to_owned(),
        };
        Some(format!("{key} of part {}: {why}: {}, not {}", our["partId"], our[key], their[key]))
    })
}

#[tokio::test]
async fn parts_headers_and_bodies_of_the_corpus_are_what_cpython_reads() {
    let paths = corpus();
    let asked = paths.clone();
    let oracle = tokio::task::spawn_blocking(move || oracle(&asked));
    let options = Options { quota: Regime::Off, concurrency_max: 0, ..Options::default() };
    let world = World::with(options).await;
    let mut ours = Vec::new();
    for path in &paths {
        let raw = std::fs::read(path).unwrap();
        let id = world.deliver_raw(raw.clone()).await;
        let full = world.get(&format!("messages/{id}?format=full")).await;
        ours.push((raw, parts(&world, &id, &full["payload"]).await));
    }
    let theirs = oracle.await.unwrap();
    assert_eq!(theirs.len(), paths.len(), "the oracle did not read every message");
    let mut different = 0;
    let mut unexplained = Vec::new();
    for ((path, (raw, ours)), theirs) in paths.iter().zip(&ours).zip(&theirs) {
        if let Some(difference) = difference(raw, ours, theirs) {
            different += 1;
            let line = format!("{}: {difference}", path.file_name().unwrap().display());
            println!("{line}");
            unexplained.extend(line.contains("unexplained").then_some(line));
        }
    }
    println!("{different} of {} messages differ", paths.len());
    assert!(different * 1000 <= paths.len() * DIFFERENT_PER_MILLE_MAX, "{different} messages differ");
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}
