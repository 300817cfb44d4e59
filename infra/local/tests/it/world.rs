//! A running system and the questions that every test asks it.

use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

use local::{Options, System, binary};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// How long a change may take until the replica shows it.
pub const SOON: Duration = Duration::from_secs(20);
/// Longest wait for one answer; the corpus is loaded in one call.
const ANSWER_MAX: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// A system has all processors for itself, also under `cargo test`, which runs tests side by side.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Label ids, sorted, by message id.
pub type Mail = BTreeMap<String, Vec<String>>;

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body; null when there is none, text when it is something else.
    pub body: Value,
}

/// A system and a client of it.
#[derive(Debug)]
pub struct World {
    pub system: System,
    client: reqwest::Client,
    token: String,
    started: Instant,
    // Last: the next system starts when this one is gone.
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// Starts a system when it is its turn.
    pub async fn start(mut options: Options) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let started = Instant::now();
        // A test asks until it sees what it waits for.
        for name in ["TokenRequestsPerMinute", "TokenRequestsBurst"] {
            options.parameters.push((name.to_owned(), "100000".to_owned()));
        }
        let system = System::start(options).await.expect("the system starts");
        let client = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build().expect("a client");
        let token = system.token().to_owned();
        let world = Self { system, client, token, started, _turn: turn };
        world.note("started");
        world
    }

    /// A line for who watches the tests run (`--no-capture`), with the seconds since the start.
    #[expect(
        clippy::print_stderr,
        reason = "shown by the test runner, where the lint does not look for tests"
    )]
    pub fn note(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.started.elapsed().as_secs_f64());
    }

    // ---- the API

    /// Asks the API with the operator's token.
    pub async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.api_as(&self.token, method, path, body).await
    }

    /// Asks the API with this token.
    pub async fn api_as(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.client.request(method, format!("{}{path}", self.system.url())).bearer_auth(token);
        answer(if let Some(body) = body { request.json(body) } else { request }).await
    }

    /// A successful GET.
    pub async fn get(&self, path: &str) -> Value {
        self.api(Method::GET, path, None).await.ok(path)
    }

    /// Connects a mailbox through the API and gives the mailbox's id and the whole answer.
    pub async fn connect(&self, email: &str) -> (String, Answer) {
        let keys = json!({ "accessToken": format!("sim:{email}"), "refreshToken": format!("sim:{email}") });
        let body = json!({ "authType": "oauth", "keys": keys });
        let answer = self.api(Method::POST, "/api/integrations", Some(&body)).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        assert_eq!(answer.body["mailbox"]["email"], email, "the address is what Gmail says");
        (text(&answer.body["mailbox"]["id"]), answer)
    }

    /// Connects a mailbox and waits until its replica is whole and healthy.
    pub async fn connect_and_sync(&self, email: &str) -> String {
        let (mailbox, answer) = self.connect(email).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.until_equal("the initial sync", email).await;
        self.until_healthy(email).await;
        mailbox
    }

    /// Every mail of a mailbox as the API lists it, page by page.
    pub async fn listed(&self, mailbox: &str, deleted: bool) -> Vec<Value> {
        let mut mails = Vec::new();
        let mut cursor = String::new();
        loop {
            let page =
                self.get(&format!("/api/emails?mailbox={mailbox}&limit=500&deleted={deleted}{cursor}")).await;
            mails.extend(page["items"].as_array().expect("items").iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return mails,
            }
        }
    }

    /// The replica: ids and labels of what is not deleted.
    pub async fn replica(&self, mailbox: &str) -> Mail {
        labels_by_id(&self.listed(mailbox, false).await, "gmailId")
    }

    /// `GET /api/sync/{mailbox}/status`.
    pub async fn status(&self, mailbox: &str) -> Value {
        self.get(&format!("/api/sync/{mailbox}/status")).await
    }

    /// The jobs of a mailbox, newest first.
    pub async fn jobs(&self, mailbox: &str) -> Vec<Value> {
        let page = self.get(&format!("/api/sync/{mailbox}/jobs?limit=500")).await;
        page["items"].as_array().expect("items").clone()
    }

    // ---- the simulator

    /// A call of the simulator's control face that must succeed.
    pub async fn sim(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}/sim/{path}", self.system.simulator().url());
        answer(self.client.request(method, url).json(body)).await.ok(path)
    }

    /// A call of Gmail's face, as the mailbox's owner, that must succeed.
    pub async fn gmail(&self, email: &str, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}/gmail/v1/users/me/{path}", self.system.simulator().url());
        let request = self.client.request(method, url).bearer_auth(format!("sim:{email}"));
        answer(request.json(body)).await.ok(path)
    }

    /// Makes a mailbox in the simulator.
    pub async fn create(&self, email: &str) {
        self.sim(Method::POST, &format!("mailboxes/{email}"), &json!({})).await;
    }

    /// Delivers a mail, whatever its bytes; gives its id.
    pub async fn deliver(&self, email: &str, labels: &str, raw: impl Into<reqwest::Body>) -> String {
        let url = format!("{}/sim/mailboxes/{email}/messages", self.system.simulator().url());
        let request = self.client.post(url).query(&[("labels", labels)]).body(raw);
        text(&answer(request).await.ok("a delivery")["id"])
    }

    /// Changes labels as another client of the mailbox would.
    pub async fn relabel(&self, email: &str, id: &str, add: &[&str], remove: &[&str]) {
        let body = json!({ "addLabelIds": add, "removeLabelIds": remove });
        self.gmail(email, Method::POST, &format!("messages/{id}/modify"), &body).await;
    }

    /// Orders a fault for one mailbox.
    pub async fn fault(&self, email: &str, kind: &str) {
        self.sim(Method::POST, "faults", &json!({ "kind": kind, "mailbox": email })).await;
    }

    /// Everything goes well again.
    pub async fn no_faults(&self) {
        self.sim(Method::DELETE, "faults", &json!({})).await;
    }

    /// Calls of one method that Gmail has had for a mailbox.
    pub async fn calls(&self, email: &str, method: &str) -> u64 {
        let stats = self.sim(Method::GET, "stats", &json!({})).await;
        stats["mailboxes"][email]["methods"][method]["calls"].as_u64().unwrap_or(0)
    }

    /// The truth, message by message.
    pub async fn snapshot_lines(&self, email: &str) -> Vec<Value> {
        let url = format!("{}/sim/mailboxes/{email}/snapshot", self.system.simulator().url());
        let lines = self.client.get(url).send().await.expect("an answer").text().await.expect("text");
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The truth: ids and labels.
    pub async fn snapshot(&self, email: &str) -> Mail {
        labels_by_id(&self.snapshot_lines(email).await, "id")
    }

    /// Raw bytes of a mail as the API gives them.
    pub async fn stored_bytes(&self, email_id: &str) -> Vec<u8> {
        let url = format!("{}/api/emails/{email_id}/raw", self.system.url());
        let answer = self.client.get(url).bearer_auth(&self.token).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{email_id}");
        answer.bytes().await.expect("the body").to_vec()
    }

    // ---- waiting

    /// Waits until the replica is the mailbox, at most [`SOON`].
    pub async fn until_equal(&self, what: &str, email: &str) {
        self.until_equal_within(what, email, SOON).await;
    }

    /// Waits until the replica is the mailbox.
    pub async fn until_equal_within(&self, what: &str, email: &str, bound: Duration) {
        let began = Instant::now();
        eventually(what, bound, async || {
            let (truth, replica) = (self.snapshot(email).await, self.replica(email).await);
            if truth == replica { Ok(()) } else { Err(difference(&truth, &replica)) }
        })
        .await;
        self.note(&format!("{what}: equal after {:.1} s", began.elapsed().as_secs_f64()));
    }

    /// Waits until the mailbox says that it is well.
    pub async fn until_healthy(&self, email: &str) -> Value {
        self.until_status(email, "healthy", |status| status["healthy"] == true).await
    }

    /// Waits until the status shows something; gives it.
    pub async fn until_status(&self, email: &str, what: &str, shows: fn(&Value) -> bool) -> Value {
        eventually(&format!("{email} is {what}"), 2 * SOON, async || {
            let status = self.status(email).await;
            if shows(&status) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }

    // ---- the cloud

    /// Waits until a function has logged a line with this text more than `before` times.
    pub async fn until_logged(&self, function: &str, text: &str, before: usize) -> Vec<String> {
        eventually(&format!("{function} logs {text:?}"), SOON, async || {
            let lines = self.logged(function, text).await;
            if lines.len() > before { Ok(lines) } else { Err(format!("{} lines", lines.len())) }
        })
        .await
    }

    /// What a function has logged with this text.
    pub async fn logged(&self, function: &str, text: &str) -> Vec<String> {
        let group = format!("/gmail-sync/gmail-sync/{function}");
        self.system.cloud().log_lines(&group, text).await.expect("the log")
    }

    /// Everything that a function has logged.
    pub async fn whole_log(&self, function: &str) -> Vec<String> {
        self.logged(function, "").await
    }

    /// The alarms of the stack, as CloudWatch has them.
    pub async fn alarms(&self) -> Vec<Value> {
        let request = self
            .client
            .post(self.system.cloud().endpoint())
            .header("x-amz-target", "GraniteServiceVersion20100801.DescribeAlarms")
            .header("content-type", "application/x-amz-json-1.0")
            .body(json!({ "MaxRecords": 100 }).to_string());
        let answer = answer(request).await.ok("DescribeAlarms");
        answer["MetricAlarms"].as_array().expect("alarms").clone()
    }

    /// An output of the stack.
    pub fn output(&self, name: &str) -> &str {
        self.system.outputs().get(name).expect("an output")
    }

    /// Makes another tenant as an operator does; gives its token.
    pub async fn another_tenant(&self, name: &str) -> String {
        let output = tokio::process::Command::new(binary("gmail-sync"))
            .args(["admin", "bootstrap", "--json", "--tenant", name])
            .env("TABLE_NAME", self.output("TableName"))
            .env("AWS_ENDPOINT_URL", self.system.cloud().endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_PROFILE")
            .stdin(Stdio::null())
            .output()
            .await
            .expect("gmail-sync starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        text(&made["token"])
    }
}

impl Answer {
    /// The body of a success.
    pub fn ok(self, what: &str) -> Value {
        assert!((200..300).contains(&self.status), "{what}: {self:?}");
        self.body
    }
}

/// Sends a request and reads its answer whole.
pub async fn answer(request: RequestBuilder) -> Answer {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    let body = if text.trim().is_empty() { Value::Null } else { parsed(text) };
    Answer { status, body }
}

fn parsed(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Looks until it is well, and says what was seen last when the bound is over.
pub async fn eventually<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + bound;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(Instant::now() < deadline, "{what}: not within {bound:?}: {seen}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The label ids of a mail, sorted.
pub fn labels_of(mail: &Value) -> Vec<String> {
    let labels = mail["labelIds"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut labels: Vec<String> = labels.iter().map(text).collect();
    labels.sort_unstable();
    labels
}

fn labels_by_id(mails: &[Value], id: &str) -> Mail {
    let by_id: Mail = mails.iter().map(|mail| (text(&mail[id]), labels_of(mail))).collect();
    assert_eq!(by_id.len(), mails.len(), "no mail is listed twice");
    by_id
}

/// The first differences of two mailboxes, for people.
pub fn difference(truth: &Mail, replica: &Mail) -> String {
    let missing = truth.iter().filter(|(id, _)| !replica.contains_key(*id)).map(|(id, _)| format!("-{id}"));
    let surplus = replica.iter().filter(|(id, _)| !truth.contains_key(*id)).map(|(id, _)| format!("+{id}"));
    let other = truth
        .iter()
        .filter_map(|(id, labels)| Some((id, labels, replica.get(id).filter(|other| *other != labels)?)))
        .map(|(id, truth, replica)| format!("{id} has {truth:?}, replica {replica:?}"));
    let all: Vec<String> = missing.chain(surplus).chain(other).collect();
    format!("{} of {} differ: {:?}", all.len(), truth.len(), &all[..all.len().min(8)])
}

/// A plain mail.
pub fn mail(subject: &str) -> String {
    format!(
        "From: Bob <bob@example.com>\r\nTo: alice@example.com\r\nSubject: {subject}\r\n\
         Message-ID: <{subject}@example.com>\r\n\r\nHello, this is {subject}.\r\n"
    )
}
