//! The oracles that nobody here wrote: other people's clients, each against a simulator of its own.
//!
//! What each of them claims stands in `oracles/README.md`. Their tools are installed by `make oracles`; a missing
//! tool is a failure, since a judge that did not come has not acquitted anybody.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gmail_sim::{Options, Server};
use tokio::process::Command;

/// The slowest oracle needs a quarter of a minute on a quiet machine.
const BOUND: Duration = Duration::from_mins(5);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file or folder of the workspace that a make target leaves.
fn installed(path: &str, target: &str) -> PathBuf {
    let path = workspace().join(path);
    assert!(path.exists(), "{} is missing: run make {target}", path.display());
    path
}

/// Runs a program of `oracles/` against a fresh simulator; what it printed is shown when it finds a difference.
#[expect(clippy::print_stdout, reason = "shown on failure, and to those who ask for it")]
async fn judge(interpreter: PathBuf, script: &str, more: &[PathBuf]) {
    let server = Server::start(Options::default()).await.unwrap();
    let said = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{script}.log"));
    // A file and not a pipe, so that an oracle that hangs has said how far it came.
    let log = File::create(&said).unwrap();
    let mut child = Command::new(interpreter)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles").join(script))
        .arg(server.url())
        .args(more)
        .env("NO_PROXY", "127.0.0.1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = tokio::time::timeout(BOUND, child.wait()).await;
    let said = std::fs::read_to_string(said).unwrap();
    println!("{said}");
    let ended = ended.unwrap_or_else(|_| panic!("{script} is not done after {BOUND:?}")).unwrap();
    assert!(ended.success(), "{script} {ended}");
}

async fn judge_in_python(script: &str, more: &[PathBuf]) {
    installed("target/tools/oracles/installed-requirements.txt", "oracles");
    judge(installed("target/tools/oracles/python/bin/python", "oracles"), script, more).await;
}

fn corpus() -> [PathBuf; 2] {
    ["--corpus".into(), installed("target/corpus/spam-assassin", "corpus")]
}

#[tokio::test]
async fn every_answer_conforms_to_googles_discovery_document() {
    judge_in_python("discovery.py", &corpus()).await;
}

#[tokio::test]
async fn every_refusal_has_gmails_own_body() {
    judge_in_python("refusals.py", &[]).await;
}

#[tokio::test]
async fn googles_python_client_finds_what_is_there() {
    judge_in_python("client.py", &[]).await;
}

#[tokio::test]
async fn googles_libraries_get_in_and_understand_refusals_and_pushes() {
    judge_in_python("access.py", &[]).await;
}

#[tokio::test]
async fn lieer_ends_with_the_same_mailbox_after_every_kind_of_pull() {
    judge_in_python("lieer_pull.py", &corpus()).await;
}

#[tokio::test]
async fn googles_node_client_lists_what_is_there() {
    installed("target/tools/oracles/installed-lock.json", "oracles");
    judge("node".into(), "listing.mjs", &[workspace().join("target/tools/oracles")]).await;
}
