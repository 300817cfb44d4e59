//! Each payload of `events/` under Lambda's own Runtime Interface Emulator, with the binary and the variables that
//! are deployed, and what it leaves in the table.
//!
//! Invariant: pushes are off, so nothing but the payload can have done it. The one place here that reads rows: the
//! claim is about them.

use std::{collections::BTreeMap, time::Duration};

use local::{Emulated, Options, payloads::Payload};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, answer, eventually, mail};

const ALICE: &str = "alice@example.com";
const SOON: Duration = Duration::from_secs(30);
/// Every payload has its claim below, in this order.
const PAYLOADS: [&str; 10] = [
    "api-cron",
    "api-health",
    "api-sync",
    "cron-fan-out",
    "cron-probe",
    "cron-refresh",
    "cron-retention",
    "cron-watch",
    "webhook-push",
    "worker-job",
];

/// The functions under the emulator, started as they are needed.
struct Functions {
    world: World,
    payloads: BTreeMap<String, Payload>,
    mailbox: String,
    running: BTreeMap<&'static str, Emulated>,
}

impl Functions {
    async fn start() -> Self {
        let world = World::start(Options {
            parameters: vec![("FanOutSchedule".to_owned(), "rate(1 day)".to_owned())],
            ..Options::default()
        })
        .await;
        world.create(ALICE).await;
        let body = json!({
            "authType": "oauth", "initialSync": false,
            "keys": { "refreshToken": format!("sim:{ALICE}") },
        });
        // Signed while there is a subscription; then nobody pushes any more, connecting included.
        let token = world.sim(Method::GET, "push-token", &Value::Null).await;
        assert!(token["token"].is_string());
        let subscription = Functions::subscription("http://127.0.0.1:9/");
        world.sim(Method::POST, "subscription", &subscription).await;
        let connected = world.api(Method::POST, "/api/integrations", Some(&body)).await;
        assert_eq!(connected.status, 201, "{connected:?}");
        let mailbox = connected.body["mailbox"]["id"].as_str().expect("an id").to_owned();
        let payloads = world.system.payloads(ALICE).await.expect("whole payloads");
        assert_eq!(payloads.keys().collect::<Vec<_>>(), PAYLOADS, "each has its claim here");
        Self { world, payloads, mailbox, running: BTreeMap::new() }
    }

    /// As the local system subscribes, but to nobody.
    fn subscription(endpoint: &str) -> Value {
        json!({
            "push_endpoint": endpoint,
            "audience": crate::push_tokens::AUDIENCE,
            "service_account_email": crate::push_tokens::ACCOUNT,
        })
    }

    /// Invokes a payload's function with it.
    async fn invoke(&mut self, name: &str) -> Value {
        let payload = self.payloads[name].clone();
        if !self.running.contains_key(payload.function) {
            let emulated = self.emulate(payload.function).await;
            self.running.insert(payload.function, emulated);
        }
        let value = self.running[payload.function].invoke(&payload.event).await.expect(name);
        self.world.note(&format!("{name}: {value}"));
        value
    }

    async fn emulate(&self, function: &'static str) -> Emulated {
        let system = &self.world.system;
        let output = format!("{}{}FunctionName", function[..1].to_uppercase(), &function[1..]);
        let name = system.outputs().get(&output).expect("its name");
        let mut variables = system.cloud().environment(name).await.expect("its variables");
        let local = [
            ("AWS_ENDPOINT_URL", system.cloud().endpoint()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        variables.extend(local.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let log = system.environment_file().with_file_name(format!("rie-{function}.log"));
        Emulated::start(function, &variables, &log).await.expect("the emulator starts")
    }

    /// The mailbox's rows by sort key.
    async fn rows(&self) -> BTreeMap<String, Value> {
        self.rows_of(&format!("M#{}", self.mailbox)).await
    }

    async fn rows_of(&self, partition: &str) -> BTreeMap<String, Value> {
        let table = self.world.output("TableName");
        let items = self.world.system.cloud().items(table, partition).await.expect("rows");
        items.into_iter().map(|item| (item["sk"]["S"].as_str().expect("a key").to_owned(), item)).collect()
    }

    async fn sync_number(&self, attribute: &str) -> u64 {
        let rows = self.rows().await;
        rows["SYNC"][attribute]["N"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    async fn messages(&self) -> usize {
        self.rows().await.keys().filter(|key| key.starts_with("MSG#")).count()
    }

    /// Waits until the mailbox has so many messages in the table.
    async fn until_messages(&self, count: usize) {
        eventually("the messages are in the table", SOON, async || match self.messages().await {
            found if found == count => Ok(()),
            found => Err(format!("{found} of {count}")),
        })
        .await;
    }

    /// The mailbox is due since 1970, as if its last look were long ago.
    async fn make_due(&self) {
        let key = json!({ "pk": { "S": format!("M#{}", self.mailbox) }, "sk": { "S": "SYNC" } });
        let update = json!({
            "TableName": self.world.output("TableName"), "Key": key,
            // Any shard: the fan-out reads them all.
            "UpdateExpression": "SET due_at = :past, due_shard = :shard REMOVE lease_until",
            "ExpressionAttributeValues": { ":past": { "N": "1" }, ":shard": { "S": "0" } },
        });
        self.world.system.cloud().call("DynamoDB_20120810.UpdateItem", &update).await.expect("updated");
    }

    /// Waits until a worker has looked at the due mailbox and given it back.
    async fn until_looked_at(&self) {
        eventually("a worker looks at the due mailbox", SOON, async || {
            match (self.sync_number("due_at").await, self.sync_number("lease_until").await) {
                (1, _) => Err("still due".to_owned()),
                (_, 0) => Ok(()),
                _ => Err("still held".to_owned()),
            }
        })
        .await;
    }

    /// The claim row of a task: it has run, and nobody is at it.
    async fn run_of(&self, task: &str) -> String {
        let claim = self.rows_of(&format!("TASK#{task}")).await["CLAIM"].clone();
        assert!(claim["claimed_until"].is_null() && claim["started_at"]["N"].is_string(), "{claim}");
        claim["run"]["S"].as_str().expect("which run").to_owned()
    }
}

#[tokio::test]
async fn every_payload_runs_its_function_under_lambdas_emulator_and_the_table_shows_it() {
    let mut functions = Functions::start().await;

    let health = functions.invoke("api-health").await;
    assert_eq!(health["statusCode"], 200, "{health}");
    assert!(functions.rows().await.keys().all(|key| !key.starts_with("JOB#")), "asking changes nothing");
    assert_eq!(functions.messages().await, 0);

    let before = functions.sync_number("generation").await;
    let looked = functions.invoke("worker-job").await;
    assert_eq!(looked["batchItemFailures"], json!([]), "{looked}");
    assert!(functions.sync_number("generation").await > before, "this very worker held the mailbox");
    functions.world.until_healthy(ALICE).await;
    for subject in ["one", "two", "three"] {
        functions.world.deliver(ALICE, "INBOX", mail(subject)).await;
    }
    functions.payloads = functions.world.system.payloads(ALICE).await.expect("with the new history id");
    let taken = functions.invoke("worker-job").await;
    assert_eq!(taken["batchItemFailures"], json!([]), "{taken}");
    functions.until_messages(3).await;

    let asked = functions.invoke("api-sync").await;
    assert_eq!(asked["statusCode"], 202, "{asked}");
    let body: Value = serde_json::from_str(asked["body"].as_str().expect("a body")).expect("JSON");
    let job = format!("JOB#{}", body["job"]["id"].as_str().expect("a job"));
    assert!(functions.rows().await.contains_key(&job), "{body}");
    functions.world.until_healthy(ALICE).await;

    // The only push of it is the payload's.
    functions.world.fault(ALICE, "drop_push").await;
    functions.world.deliver(ALICE, "INBOX", mail("four")).await;
    functions.payloads = functions.world.system.payloads(ALICE).await.expect("with the new history id");
    let before = functions.sync_number("target").await;
    let pushed = functions.invoke("webhook-push").await;
    assert_eq!(pushed["statusCode"], 204, "{pushed}");
    functions.until_messages(4).await;
    // A look after news may have brought the mail before the push's own worker came.
    eventually("the target is what the push named", SOON, async || {
        let target = functions.sync_number("target").await;
        if target > before { Ok(()) } else { Err(format!("{target}, not above {before}")) }
    })
    .await;

    functions.make_due().await;
    let ticked = functions.invoke("cron-fan-out").await;
    assert_eq!(ticked, json!({ "queued": 1, "already_running": false }));
    let run = functions.run_of("fan-out").await;
    functions.until_looked_at().await;

    functions.make_due().await;
    let called = functions.invoke("api-cron").await;
    assert_eq!(called["statusCode"], 200, "{called}");
    assert!(called["body"].as_str().is_some_and(|body| body.contains(r#""queued":1"#)), "{called}");
    assert_ne!(functions.run_of("fan-out").await, run, "another run");
    functions.until_looked_at().await;

    for task in ["refresh", "retention", "watch"] {
        let ticked = functions.invoke(&format!("cron-{task}")).await;
        assert_eq!(ticked, json!({ "queued": 1, "already_running": false }), "{task}: alice's mailbox");
        assert!(!functions.run_of(task).await.is_empty(), "{task}");
    }
    // Whether the mailbox is to be probed depends on what the looks above did.
    assert_eq!(functions.invoke("cron-probe").await["already_running"], false);
    assert!(!functions.run_of("probe").await.is_empty());
}

#[tokio::test]
async fn a_forged_payload_leaves_the_table_as_it_was() {
    let mut functions = Functions::start().await;
    for (name, header) in
        [("webhook-push", "authorization"), ("api-sync", "authorization"), ("api-cron", "authorization")]
    {
        let payload = functions.payloads.get_mut(name).expect("there");
        payload.event["headers"][header] = "Bearer not-a-real-token-of-anybody".into();
    }
    let before = functions.rows().await;
    for name in ["webhook-push", "api-sync", "api-cron"] {
        let answer = functions.invoke(name).await;
        assert_eq!(answer["statusCode"], 401, "{name}: {answer}");
    }
    assert_eq!(functions.rows().await, before);
    assert!(functions.rows_of("TASK#fan-out").await.is_empty());
}

#[tokio::test]
async fn a_clock_outside_runs_tasks_with_its_secret_and_nobody_else_does() {
    let functions = Functions::start().await;
    let (world, client) = (&functions.world, reqwest::Client::new());
    let secret = world.system.cloud().secret(world.output("CronSecretId")).await.expect("the secret");
    let ask = async |method: Method, task: &str, token: &str| {
        let url = format!("{}/api/cron/{task}", world.system.url());
        answer(client.request(method, url).bearer_auth(token)).await
    };
    functions.make_due().await;
    let queued = ask(Method::POST, "gmail-sync", &secret).await;
    assert_eq!(
        (queued.status, &queued.body["task"], &queued.body["queued"]),
        (200, &json!("fan-out"), &json!(1))
    );
    functions.until_looked_at().await;
    assert_eq!(
        ask(Method::GET, "fan-out", world.system.token()).await.status,
        401,
        "a tenant's token is none"
    );
    let unknown = ask(Method::GET, "fan-in", &secret).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body["detail"].as_str().is_some_and(|detail| detail.contains("fan-out")), "{unknown:?}");
}
