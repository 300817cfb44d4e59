//! The parser against Python's `email` (`policy.default`), over every message of the corpus.
//!
//! Compared: subject, addresses, date, body text, and the attachments' names and hashes. Runs of white space
//! count as one space, runs of U+FFFD as one; nothing else is forgiven here. What is forgiven on Python's side
//! is in `oracle/mail.py`, rule by rule. No message is left out.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use sync_core::message::Labels;
use sync_gmail::mime::{self, OwnAddresses};

/// How many messages the corpus has at least: a half-fetched one must not pass for a small one.
const MESSAGES_MIN: usize = 6_046 + 1;
/// Of a thousand messages, how many may differ.
const DIFFERENT_PER_MILLE_MAX: usize = 10;
/// How much of two texts is printed where they differ, characters.
const SHOWN_MAX: usize = 60;

/// Every message under `target/corpus`, by path.
pub(crate) fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/corpus");
    let mut found: Vec<PathBuf> = ["spam-assassin", "malformed"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).into_iter().flatten())
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(found.len() >= MESSAGES_MIN, "{} messages in target/corpus: run make corpus", found.len());
    found.sort();
    found
}

/// What Python says of each path, in their order.
fn cpython(paths: &[PathBuf]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/mail.py");
    let mut child = Command::new("python3")
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 (3.10 or newer) is missing");
    let mut names = child.stdin.take().expect("a pipe");
    for path in paths {
        writeln!(names, "{}", path.display()).expect("the oracle reads");
    }
    drop(names);
    let output = child.wait_with_output().expect("the oracle ends");
    assert!(output.status.success(), "the oracle failed");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a line of JSON")).collect()
}

/// What we say of a mail, in the oracle's form.
fn ours(raw: &[u8]) -> Value {
    let envelope = mime::envelope(raw, &OwnAddresses::default(), &Labels::new());
    let mail = mime::render(raw);
    let emails = |list: &[sync_core::message::Address]| -> Vec<String> {
        list.iter().map(|address| unquoted(&address.email)).collect()
    };
    let files = mail.attachments.iter().filter(|file| file.container.is_none());
    json!({
        "subject": envelope.subject,
        "from": emails(envelope.from.as_slice()),
        "to": emails(&envelope.to),
        "cc": emails(&envelope.cc),
        "date": mail.date.map(jiff::Timestamp::as_second),
        "text": mail.text,
        "html": mail.html,
        "files": files.map(|file| json!([file.filename, file.sha256, file.size, file.content_type])).collect::<Vec<_>>(),
    })
}

/// An address without the quotes that its local part may need.
fn unquoted(email: &str) -> String {
    let quoted = email.rsplit_once('@').and_then(|(local, domain)| {
        let local = local.strip_prefix('"')?.strip_suffix('"')?;
        Some(format!("{local}@{domain}"))
    });
    quoted.unwrap_or_else(|| email.to_owned())
}

/// White space in runs is one space, and what could not be decoded is one mark.
pub(crate) fn evened(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            let mut even = String::new();
            for c in words.join(" ").chars() {
                if c != '\u{fffd}' || !even.ends_with('\u{fffd}') {
                    even.push(c);
                }
            }
            Value::String(even)
        }
        Value::Array(list) => Value::Array(list.iter().map(evened).collect()),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), evened(value))).collect(),
        _ => value.clone(),
    }
}

/// The first place where two values differ, for people.
pub(crate) fn shown(judge: &str, theirs: &Value, ours: &Value) -> String {
    let (theirs, ours) = (theirs.to_string(), ours.to_string());
    let same = theirs.chars().zip(ours.chars()).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(SHOWN_MAX / 4);
    let cut = |text: &str| text.chars().skip(from).take(SHOWN_MAX).collect::<String>();
    format!("{judge} {:?}, here {:?}", cut(&theirs), cut(&ours))
}

/// Why a field differs, as far as it can be told from the mail; the classes of the table.
fn reason(field: &str, raw: &[u8], theirs: &Value, ours: &Value) -> &'static str {
    let holds = |value: &Value, mark: &str| value.to_string().contains(mark);
    let (mail, said) = (String::from_utf8_lossy(raw), ours.to_string());
    match field {
        "date" if mail.lines().any(|line| line.starts_with("Date:") && line.contains("+-")) => {
            "CPython leaves out a zone that is written +-0500"
        }
        "date" => "a date of no form that is known",
        "from" | "to" | "cc" if said.contains(":;") || said.contains(":@") => {
            "an empty group in angle brackets: CPython makes an address of its name"
        }
        "from" | "to" | "cc" if said.contains(":`") => "CPython cuts an address at a colon",
        "from" | "to" | "cc" => "an address that is none: we show what stands there",
        "text" | "html" if holds(theirs, "==3D") || mail.contains("===") => {
            "CPython reads == in quoted-printable as one character"
        }
        "html" if mail.contains("charset=\"ks_c") || mail.contains("euc-kr") || mail.contains("big5") => {
            "the East Asian tables of CPython and of browsers differ"
        }
        "html" | "files" if mail.to_ascii_lowercase().contains("base64") => {
            "CPython gives up on base64 of an impossible length, or nests a broken boundary otherwise"
        }
        _ => "a malformed mail that each repairs in its own way",
    }
}

#[test]
fn cpython_reads_the_corpus_as_we_do() {
    let paths = corpus();
    let (first, second) = paths.split_at(paths.len() / 2);
    let theirs = std::thread::scope(|scope| {
        let rest = scope.spawn(|| cpython(second));
        let mut said = cpython(first);
        said.extend(rest.join().expect("the other half"));
        said
    });
    assert_eq!(theirs.len(), paths.len());

    let mut classes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut different = 0;
    for (path, theirs) in paths.iter().zip(&theirs) {
        let raw = std::fs::read(path).expect("a message");
        let mut ours = ours(&raw);
        // CPython makes no text of HTML: what we made it of is compared, and a plain text that only we see
        // would stand in it.
        if theirs["text"].is_null() && !theirs["html"].is_null() {
            ours["text"] = Value::Null;
        }
        let mut is_different = false;
        for field in ["subject", "from", "to", "cc", "date", "text", "html", "files"] {
            let (theirs, ours) = (evened(&theirs[field]), evened(&ours[field]));
            if theirs == ours {
                continue;
            }
            is_different = true;
            let why = reason(field, &raw, &theirs, &ours);
            *classes.entry((field, why)).or_default() += 1;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            eprintln!("{name}: {field}: {why}: {}", shown("CPython", &theirs, &ours));
        }
        different += usize::from(is_different);
    }
    for ((field, why), count) in &classes {
        eprintln!("{count:4} {field}: {why}");
    }
    eprintln!("of {} messages {different} differ", paths.len());
    assert!(different * 1_000 <= paths.len() * DIFFERENT_PER_MILLE_MAX, "{different} messages differ");
}
