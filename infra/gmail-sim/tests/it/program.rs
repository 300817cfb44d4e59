//! The binary as a stranger runs it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::loading::Folder;
use crate::{ALICE, World};

/// A running program, killed with the value.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("gmail-sim listens on ").unwrap_or_else(|| panic!("{line:?}"));
        Self { url: url.to_owned(), child }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for its end; answers whether that was in peace, and how long it took.
    fn ended(&mut self) -> (bool, Duration) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.success(), started.elapsed());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("it does not end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gmail-sim"));
    command.args(arguments);
    command
}

/// Runs it to its end: exit code, output, errors.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_polite_end_takes_less_than_a_second_even_with_calls_and_pushes_under_way() {
    for signal in ["-TERM", "-INT"] {
        let mut program =
            Program::start(&["--listen", "127.0.0.1:0", "--generate", "alice@example.com=20000"]);
        let client = reqwest::Client::new();
        let sim = async |path: &str, body: Value| {
            let answer = client.post(format!("{}/sim/{path}", program.url)).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "{path}");
        };
        sim("faults", json!({"kind": "timeout", "method": "getProfile"})).await;
        sim("subscription", json!({"push_endpoint": "http://127.0.0.1:1/"})).await;
        sim("mailboxes/alice@example.com/storm", json!({"per_second": 100, "seconds": 100})).await;
        // One call is held, one searches through everything.
        for path in ["profile", "messages?q=nothing-has-this-word"] {
            let request = client.get(format!("{}/gmail/v1/users/me/{path}", program.url));
            tokio::spawn(request.bearer_auth(format!("sim:{ALICE}")).send());
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let stats = client.get(format!("{}/sim/stats", program.url)).send().await.unwrap();
            let stats: Value = stats.json().await.unwrap();
            if stats["calls"].as_u64() >= Some(2) {
                break;
            }
            assert!(Instant::now() < deadline);
        }
        program.signal(signal);
        let (in_peace, took) = program.ended();
        assert!(in_peace && took < Duration::from_secs(1), "{signal}: {in_peace} after {took:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_and_mail_that_is_not_there_are_named() {
    let world = World::new().await;
    let address = world.server.address().to_string();
    let (code, _, error) = run(&["--listen", &address]);
    assert_eq!(code, Some(1));
    let port = world.server.address().port();
    assert!(error.contains(&format!("port {port} of 127.0.0.1 is taken")), "{error}");
    let (code, _, error) = run(&["--listen", "127.0.0.1:0", "--load", "alice@example.com=/no/such/mail"]);
    assert!(code == Some(1) && error.contains("/no/such/mail"), "{error}");
    for (arguments, culprit) in [
        (["--load", "alice@example.com"], "EMAIL=PATH"),
        (["--generate", "bulk@example.com=many"], "\"many\" is no number of messages"),
        (["--quota", "odd"], "current"),
        (["--listen", "4100"], "--listen"),
        (["--clock", "noon"], "--clock"),
        (["--seed", "many"], "--seed"),
    ] {
        let (code, _, error) = run(&arguments);
        assert!(code == Some(2) && error.contains(culprit), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn every_option_does_what_the_help_says() {
    let folder = Folder::new("program");
    let mail =
        folder.file("mail.mbox", "From x\nSubject: loaded\nDate: Thu, 1 Jan 2015 00:00:00 +0000\n\nx\n");
    let load = format!("alice@example.com={}", mail.display());
    let program = Program::start(&[
        "--listen",
        "127.0.0.1:0",
        "--quota",
        "legacy",
        "--concurrency",
        "0",
        "--latency-ms",
        "50",
        "--seed",
        "9",
        "--clock",
        "2026-08-27T10:00:00Z",
        "--load",
        &load,
        "--generate",
        "bulk@example.com=12",
    ]);
    let client = reqwest::Client::new();
    let get = async |path: &str| -> Value {
        let request = client.get(format!("{}{path}", program.url)).bearer_auth("sim:bulk@example.com");
        request.send().await.unwrap().json().await.unwrap()
    };
    let started = Instant::now();
    assert_eq!(get("/gmail/v1/users/me/profile").await["messagesTotal"], 12);
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(get("/sim/mailboxes/alice@example.com").await["messagesTotal"], 1);
    let quota = get("/sim/quota").await;
    assert_eq!((&quota["regime"], &quota["concurrency"]), (&json!("legacy"), &json!(0)));
    let now = get("/sim/clock").await["now_ms"].as_i64().unwrap();
    let start: jiff::Timestamp = "2026-08-27T10:00:00Z".parse().unwrap();
    assert!((0..120_000).contains(&(now - start.as_millisecond())), "{now}");
}

#[test]
fn the_help_names_every_option_call_and_fault() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for word in [
        "--listen",
        "--quota",
        "current",
        "legacy",
        "off",
        "--concurrency",
        "--latency-ms",
        "--seed",
        "--clock",
        "--load",
        "--generate",
        "--version",
        "/messages",
        "/load",
        "/generate",
        "/snapshot",
        "/expire-history",
        "/revoke",
        "/storm",
        "/sim/subscription",
        "/sim/push-token",
        "/sim/faults",
        "/sim/stats",
        "/sim/clock",
        "/sim/quota",
        "/sim/service-accounts",
        "/sim/keys",
        "/sim/health",
        "retry_after",
        "timeout",
        "reset",
        "slow",
        "missing_part",
        "history_lag",
        "not_visible",
        "stale_get",
        "shifting_pages",
        "duplicate_push",
        "drop_push",
        "late_push",
        "invalid_grant",
        "sim_approve",
        "sim:ADDRESS",
        "/batch",
        "/upload",
        "/token",
    ] {
        assert!(help.contains(word), "--help does not mention {word}");
    }
    let (code, version, _) = run(&["--version"]);
    assert!(code == Some(0) && version.starts_with("gmail-sim "));
}

/// The text of the README's examples in a language, pointed at another address.
fn examples(language: &str, url: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let fence = format!("```{language}\n");
    let blocks = readme.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().replace("http://127.0.0.1:4100", url)).collect()
}

/// Runs an example off the threads that the simulator answers on; answers what it printed.
async fn example(program: std::path::PathBuf, arguments: Vec<String>) -> String {
    let run = move || Command::new(program).args(arguments).env("NO_PROXY", "*").output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_shell_example_does_what_it_says() {
    let world = World::with_loaded(gmail_sim::Options::default()).await;
    let [script] = examples("sh", &world.server.url()).try_into().unwrap();
    let said = example("bash".into(), vec!["-euo".into(), "pipefail".into(), "-c".into(), script]).await;
    let snapshot = world.server.snapshot(ALICE).unwrap();
    assert_eq!(snapshot.len(), 1);
    let id = snapshot[0]["id"].as_str().unwrap();
    assert_eq!(
        said.matches(&format!("\"id\":\"{id}\"")).count(),
        3,
        "delivered, found, in the truth: {said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_python_example_does_what_it_says() {
    let python =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/oracles/python/bin/python");
    assert!(python.exists(), "{} is missing: run make oracles", python.display());
    let world = World::new().await;
    let [script] = examples("python", &world.server.url()).try_into().unwrap();
    let said = example(python, vec!["-c".into(), script]).await;
    assert!(said.contains("'emailAddress': 'alice@example.com'"), "{said}");
}

#[tokio::test]
async fn the_library_does_what_the_control_face_does() {
    let world = World::new().await;
    let sim = &world.server;
    assert!(
        sim.create_mailbox("bob@example.com").unwrap() && !sim.create_mailbox("BOB@example.com").unwrap()
    );
    assert!(sim.create_mailbox("nonsense").is_err() && sim.deliver("nobody@example.com", "x").is_err());
    let start = world.history_id().await;
    let delivered = sim.deliver(ALICE, "Subject: direct\r\n\r\n").unwrap();
    assert_eq!(delivered.history_id.to_string(), world.history_id().await);
    let page = world.get(&format!("history?startHistoryId={start}")).await;
    assert_eq!(page["history"][0]["messagesAdded"][0]["message"]["id"], json!(delivered.id.to_string()));
    let now = sim.now_ms();
    sim.change(ALICE, |mailbox| mailbox.trash(&[delivered.id], now)).unwrap();
    assert_eq!(sim.snapshot(ALICE).unwrap()[0]["labelIds"], json!(["TRASH", "UNREAD"]));
    sim.expire_history(ALICE).unwrap();
    assert_eq!(world.api(Method::GET, &format!("history?startHistoryId={start}"), Value::Null).await.0, 404);
    sim.advance(Duration::from_mins(1)).unwrap();
    assert!(sim.now_ms() >= now + 60_000);
    sim.fault(gmail_sim::Fault::new(gmail_sim::FaultKind::Status(502)).mailbox(ALICE).times(1)).unwrap();
    assert!(sim.fault(gmail_sim::Fault::new(gmail_sim::FaultKind::Status(302))).is_err());
    assert_eq!(world.api(Method::GET, "profile", Value::Null).await.0, 502);
    sim.clear_faults();
    sim.set_quota(gmail_sim::QuotaOrder { user_per_minute: Some(0), ..Default::default() });
    assert_eq!(world.api(Method::GET, "profile", Value::Null).await.0, 403);
    assert_eq!(sim.stats()["refusals"]["userRateLimitExceeded"], 1);
    sim.reset_stats();
    assert_eq!(sim.stats()["calls"], 0);
    sim.revoke(ALICE);
    assert_eq!(world.api(Method::GET, "profile", Value::Null).await.0, 401);
    sim.grant_again(ALICE);
    sim.set_quota(gmail_sim::QuotaOrder::default());
    assert_eq!(world.api(Method::GET, "profile", Value::Null).await.0, 200);
    let storm = gmail_sim::Storm { per_second: 100.0, seconds: 0.1, mix: gmail_sim::StormMix::default() };
    assert_eq!(sim.storm(ALICE, storm).unwrap(), 10);
    assert_eq!(sim.storm_progress(ALICE).unwrap()["operations"], 10);
    assert!(sim.subscribe(gmail_sim::Subscription::to("nowhere")).is_err());
    sim.subscribe(gmail_sim::Subscription::to("http://127.0.0.1:1/")).unwrap();
    assert!(sim.service_account("robot@p.iam").unwrap()["private_key"].is_string());
    sim.rotate_keys(true).unwrap();
    sim.generate("bob@example.com", 5).unwrap();
    assert_eq!(sim.look("bob@example.com", gmail_sim::model::Mailbox::message_count).unwrap(), 5);
}
