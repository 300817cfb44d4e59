//! The documents speak of files, tests and targets that exist.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{files, shown};

/// The texts between backticks outside of code blocks.
pub fn quoted(document: &str) -> Vec<&str> {
    let outside: Vec<&str> = document.split("```").step_by(2).collect();
    outside.into_iter().flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// The targets of the links that stay inside the repository.
fn links(document: &str) -> Vec<&str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#')).collect()
}

fn claims() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files(".rs") {
        let source = fs::read_to_string(&file).expect("a file");
        let functions = source.lines().filter_map(|line| {
            let line = line.trim_start().trim_start_matches("async ");
            line.strip_prefix("fn ")?.split(['(', '<']).next()
        });
        names.extend(functions.map(str::to_owned));
    }
    names
}

/// Whether a quoted text is the name of a test: a claim has at least three words.
fn is_claim(text: &str) -> bool {
    let words = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.matches('_').count() >= 3 && text.bytes().all(words)
}

fn is_path(text: &str) -> bool {
    let parts = ["shared/", "functions/", "infra/", "docs/", "events/", ".ci/"];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    parts.iter().any(|part| text.starts_with(part)) && text.bytes().all(plain)
}

#[test]
fn every_link_leads_to_a_file() {
    for file in files(".md") {
        let document = fs::read_to_string(&file).expect("a document");
        let folder = file.parent().expect("a folder");
        for link in links(&document) {
            let target = link.split('#').next().unwrap_or_default();
            assert!(folder.join(target).exists(), "{} links to {link}, which is not there", shown(&file));
        }
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    for file in files(".md") {
        let document = fs::read_to_string(&file).expect("a document");
        for path in quoted(&document).into_iter().filter(|text| is_path(text)) {
            let target = testkit::workspace_root().join(path);
            assert!(target.exists(), "{} names {path}, which is not there", shown(&file));
        }
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let claims = claims();
    for file in files(".md") {
        let document = fs::read_to_string(&file).expect("a document");
        for name in quoted(&document).into_iter().filter(|text| is_claim(text)) {
            assert!(claims.contains(name), "{} names the test {name}, which is not there", shown(&file));
        }
    }
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = fs::read_to_string(testkit::workspace_root().join("Makefile")).expect("the Makefile");
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    for file in files(".md") {
        let document = fs::read_to_string(&file).expect("a document");
        for command in quoted(&document).into_iter().filter_map(|text| text.strip_prefix("make ")) {
            let target = command.split(' ').find(|word| !word.contains('=')).unwrap_or("help");
            let known = targets.contains(target) || makefile.contains(&format!("\n{target}:"));
            assert!(known, "{} names make {target}, which is not there", shown(&file));
        }
    }
}

#[test]
fn every_decision_is_listed_where_people_look() {
    let root = testkit::workspace_root();
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the document");
    for decision in files(".md").iter().filter(|file| is_decision(file)) {
        let name = shown(decision);
        assert!(architecture.contains(&name), "ARCHITECTURE.md does not list {name}");
    }
}

fn is_decision(file: &Path) -> bool {
    shown(file).starts_with("docs/decisions/")
}
