//! Dependencies point one way: core ← gmail, store, queue ← app ← lambda ← functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;

use crate::{files, shown};

/// All that the core may name. What is added here must decide nothing and ask nobody.
const CORE: [&str; 4] = ["jiff", "roaring", "serde", "thiserror"];

/// All that the core may bring along, whoever names it. No runtime, no network, no randomness.
const CORE_AND_BELOW: [&str; 16] = [
    "bytemuck",
    "byteorder",
    "jiff",
    "jiff-core",
    "portable-atomic",
    "portable-atomic-util",
    "proc-macro2",
    "quote",
    "roaring",
    "serde",
    "serde_core",
    "serde_derive",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
];

/// Who of ours may name whom of ours outside of tests. A crate that is not here may name none.
const OURS: [(&str, &[&str]); 10] = [
    ("sync-gmail", &["sync-core"]),
    ("sync-store", &["sync-core"]),
    ("sync-queue", &["sync-core"]),
    ("sync-app", &["sync-core", "sync-gmail", "sync-store", "sync-queue"]),
    ("sync-lambda", &["sync-core", "sync-gmail", "sync-store", "sync-queue", "sync-app"]),
    ("api", &["sync-app", "sync-lambda"]),
    ("cron", &["sync-lambda"]),
    ("webhook", &["sync-lambda"]),
    ("worker", &["sync-lambda"]),
    ("ctl", &["sync-core", "sync-store"]),
];

/// Crates that may name an AWS SDK: it is most of a build.
const AWS: [&str; 5] = ["sync-store", "sync-queue", "sync-lambda", "local", "ctl"];

/// A package of the workspace.
struct Package {
    name: String,
    /// The folder it lies in: `shared`, `functions` or `infra`.
    part: String,
    /// What it names for its build proper.
    normal: BTreeSet<String>,
    /// What it names for its tests.
    test: BTreeSet<String>,
}

/// What cargo says of the workspace. Offline: whoever builds has everything already.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(testkit::workspace_root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn packages() -> Vec<Package> {
    let answer = cargo(&["metadata", "--format-version=1", "--no-deps"]);
    let metadata: Value = serde_json::from_slice(&answer).expect("JSON");
    let root = text(&metadata["workspace_root"]);
    let read = |package: &Value| {
        let named = |test: bool| {
            let dependencies = list(&package["dependencies"]).iter();
            let of_kind = dependencies.filter(|one| (one["kind"].as_str() == Some("dev")) == test);
            of_kind.map(|one| text(&one["name"])).collect()
        };
        let manifest = text(&package["manifest_path"]);
        let inside = manifest.strip_prefix(&root).expect("in the workspace").trim_start_matches('/');
        Package {
            name: text(&package["name"]),
            part: inside.split('/').next().unwrap_or_default().to_owned(),
            normal: named(false),
            test: named(true),
        }
    };
    list(&metadata["packages"]).iter().map(read).collect()
}

#[test]
fn core_depends_on_nothing_but_time_sets_serialisation_and_error_texts() {
    let packages = packages();
    let core = packages.iter().find(|package| package.name == "sync-core").expect("the core");
    assert_eq!(core.normal.iter().map(String::as_str).collect::<Vec<_>>(), CORE);
}

#[test]
fn what_the_core_brings_along_can_neither_wait_nor_talk() {
    let tree = cargo(&["tree", "--package=sync-core", "--edges=normal", "--prefix=none", "--format={p}"]);
    let lines = String::from_utf8(tree).expect("text");
    let names: BTreeSet<&str> = lines.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    let allowed = BTreeSet::from(CORE_AND_BELOW);
    let new: Vec<&&str> = names.difference(&allowed).collect();
    assert!(new.is_empty(), "the core brings along what nobody has looked at: {new:?}");
    assert!(CORE.iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn the_core_reads_no_clock_no_environment_and_no_dice() {
    let forbidden = [
        "Timestamp::now",
        "Zoned::now",
        "SystemTime",
        "Instant::now",
        "std::env",
        "std::fs",
        "std::net",
        "rand::",
    ];
    for file in files(".rs").iter().filter(|file| shown(file).starts_with("shared/core/src/")) {
        let source = fs::read_to_string(file).expect("a file");
        for name in forbidden {
            assert!(!source.contains(name), "{} names {name}: it must be an argument", shown(file));
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let ours: BTreeSet<&String> = packages.iter().map(|package| &package.name).collect();
    let allowed: BTreeMap<&str, &[&str]> = OURS.into_iter().collect();
    // The local system and the bench drive everything from outside; they are nobody's dependency.
    for package in packages.iter().filter(|package| package.part != "infra" || package.name == "ctl") {
        let may = allowed.get(package.name.as_str()).copied().unwrap_or_default();
        for dependency in package.normal.iter().filter(|name| ours.contains(name)) {
            assert!(may.contains(&dependency.as_str()), "{} must not depend on {dependency}", package.name);
        }
    }
}

#[test]
fn functions_never_depend_on_each_other() {
    let packages = packages();
    let functions: BTreeSet<&String> =
        packages.iter().filter(|package| package.part == "functions").map(|package| &package.name).collect();
    assert_eq!(functions.len(), 4, "{functions:?}");
    for package in &packages {
        let named = package.normal.union(&package.test).find(|name| functions.contains(name));
        assert_eq!(named, None, "{} depends on a function", package.name);
    }
}

#[test]
fn nothing_that_is_deployed_knows_what_it_is_tried_with() {
    let packages = packages();
    let infra: BTreeSet<&String> =
        packages.iter().filter(|package| package.part == "infra").map(|package| &package.name).collect();
    for package in packages.iter().filter(|package| package.part != "infra") {
        let named = package.normal.iter().find(|name| infra.contains(name));
        assert_eq!(named, None, "{} would take it into production", package.name);
    }
}

#[test]
fn a_release_build_has_no_switch_that_leaves_a_guard_out() {
    // The switches are there under debug assertions only, and nothing that is released has those.
    let root = testkit::workspace_root();
    let guards = fs::read_to_string(root.join("shared/core/src/sync/guards.rs")).expect("the guards");
    assert!(guards.contains("pub struct Mutant(#[cfg(debug_assertions)] pub Option<Guard>);"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let release = manifest.split("[profile.release]").nth(1).expect("a release profile");
    let release = release.split("\n[").next().unwrap_or_default();
    assert!(!release.contains("debug-assertions"), "{release}");
}

#[test]
fn the_simulator_shares_no_code_with_what_it_tests() {
    let packages = packages();
    let shared: BTreeSet<&String> =
        packages.iter().filter(|package| package.part == "shared").map(|package| &package.name).collect();
    let simulator = packages.iter().find(|package| package.name == "gmail-sim").expect("the simulator");
    let named = simulator.normal.union(&simulator.test).find(|name| shared.contains(name));
    assert_eq!(named, None, "two sides that share types agree on the same mistake");
}

#[test]
fn only_the_edges_name_an_aws_sdk() {
    for package in packages() {
        let named = package.normal.iter().find(|name| name.starts_with("aws-sdk-") || *name == "aws-config");
        assert!(named.is_none() || AWS.contains(&package.name.as_str()), "{} names {named:?}", package.name);
    }
}
