//! Ten thousand workers at one project's quota, in virtual time: nobody spends what is not there, nearly all of it is
//! used, and no row is hot.
//!
//! The real purses and the real store run against a table in memory that answers as DynamoDB does, a few milliseconds
//! later. Deliberately absent: DynamoDB's own throttling; what it would throttle is measured.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use serde_json::{Map, Value, json};
use sync_app::spend::{Project, Purse};
use sync_core::{
    SignedDuration, Timestamp,
    quota::{Method, Priority, Quota, Regime},
};
use sync_store::{Store, StoreConfig};
use tokio::{task::JoinSet, time::Instant};

/// Processes, each with a mailbox of its own.
const WORKERS: u32 = 10_000;
/// Of these, so many copy old mail; the others look for new.
const BACKFILLS: u32 = 200;
/// How long the crowd works. That a minute holds no more than it may is shown for the rate itself.
const LASTS: Duration = Duration::from_secs(12);
/// A mailbox is looked at so often.
const LOOKS_EVERY: Duration = Duration::from_secs(30);
/// DynamoDB lets so many units a second be written to one partition.
const PARTITION_UNITS: f64 = 1_000.0;

/// A row, and the units that were written to it in each second.
#[derive(Default)]
struct Row {
    item: Map<String, Value>,
    written: BTreeMap<u64, f64>,
    refused: u64,
}

/// A table of rows under conditional updates.
struct Table {
    rows: Mutex<HashMap<String, Row>>,
    began: Instant,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

impl Table {
    fn new() -> Arc<Self> {
        Arc::new(Self { rows: Mutex::default(), began: Instant::now() })
    }

    fn answer(&self, operation: &str, request: &Value) -> (u16, Value) {
        let key = request["Key"]["pk"]["S"].as_str().expect("a key").to_owned();
        let mut rows = self.rows.lock().expect("whole");
        if operation.ends_with("GetItem") {
            let item = rows.get(&key).map(|row| row.item.clone());
            return (
                200,
                item.filter(|item| !item.is_empty()).map_or(json!({}), |item| json!({ "Item": item })),
            );
        }
        assert!(operation.ends_with("UpdateItem"), "{operation}");
        let row = rows.entry(key).or_default();
        let units = |item: &Map<String, Value>| {
            f64::from(
                u32::try_from(Value::from(item.clone()).to_string().len().div_ceil(1_024)).expect("small"),
            )
        };
        let second = self.began.elapsed().as_secs();
        // A refused write costs what it would have cost.
        if !holds(request, &row.item) {
            *row.written.entry(second).or_default() += units(&row.item).max(1.0);
            row.refused += 1;
            let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
            return (400, json!({ "__type": kind, "message": "refused", "Item": row.item }));
        }
        assign(request, &mut row.item);
        *row.written.entry(second).or_default() += units(&row.item);
        (200, json!({ "Attributes": row.item }))
    }
}

/// `SET #a = :a, #b = if_not_exists(#b, :zero) + :b`
fn assign(request: &Value, item: &mut Map<String, Value>) {
    let expression = request["UpdateExpression"].as_str().expect("an expression").replace(", :zero", "");
    for set in expression.strip_prefix("SET ").expect("sets").split(", ") {
        let (name, value) = set.split_once(" = ").expect("an assignment");
        let name = attribute(request, name);
        let new = match value.rsplit_once(" + ") {
            Some((_, adds)) => {
                let sum =
                    item.get(&name).map_or(0, number) + number(&request["ExpressionAttributeValues"][adds]);
                json!({ "N": sum.to_string() })
            }
            None => request["ExpressionAttributeValues"][value].clone(),
        };
        item.insert(name, new);
    }
}

/// `(#a = :a AND #b <= :b) AND (attribute_not_exists(#c) OR #c <> :c)`
fn holds(request: &Value, item: &Map<String, Value>) -> bool {
    let condition = request["ConditionExpression"].as_str().expect("a condition");
    let condition = condition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).expect("parentheses");
    condition.split(") AND (").all(|part| {
        part.split(" OR ").any(|either| either.split(" AND ").all(|test| is_true(request, item, test)))
    })
}

fn is_true(request: &Value, item: &Map<String, Value>, test: &str) -> bool {
    if let Some(name) = test.strip_prefix("attribute_not_exists(") {
        return item.get(&attribute(request, name.trim_end_matches(')'))).is_none();
    }
    let [name, operator, value] = test.split(' ').collect::<Vec<_>>()[..] else { panic!("{test}") };
    let Some(left) = item.get(&attribute(request, name)) else { return false };
    let right = &request["ExpressionAttributeValues"][value];
    match operator {
        "=" => left == right,
        "<>" => left != right,
        "<=" => number(left) <= number(right),
        ">" => number(left) > number(right),
        _ => panic!("{test}"),
    }
}

fn attribute(request: &Value, placeholder: &str) -> String {
    request["ExpressionAttributeNames"][placeholder].as_str().expect("a name").to_owned()
}

fn number(value: &Value) -> i64 {
    value["N"].as_str().and_then(|number| number.parse().ok()).expect("a number")
}

/// The table as an HTTP client of the SDK sees it.
#[derive(Debug, Clone)]
struct Wire(Arc<Table>);

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let table = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let way = || Duration::from_micros(1_000 + u64::from(rand::random::<u16>() % 3_000));
            tokio::time::sleep(way()).await;
            let operation = request.headers().get("x-amz-target").expect("an operation");
            let body = serde_json::from_slice(request.body().bytes().expect("a body")).expect("JSON");
            let (status, answer) = table.answer(operation, &body);
            tokio::time::sleep(way()).await;
            Ok(HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(answer.to_string())))
        })
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

fn store(table: &Arc<Table>) -> Store {
    let credentials = Credentials::new("an-id", "a-key", None, None, "test");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url("http://127.0.0.1:1")
        .http_client(Wire(Arc::clone(table)))
        .build();
    let named = |text: &str| text.to_owned();
    let config = StoreConfig { table: named("t"), bucket: named("b"), encryption_secret_id: named("s") };
    Store::new(&sdk, config)
}

/// What reached Google: epoch second of the crowd and units.
type Calls = Arc<Mutex<BTreeMap<u64, u64>>>;

struct Worker {
    project: Arc<Project>,
    number: u32,
    began: Instant,
    calls: Calls,
}

impl Worker {
    fn now(&self) -> Timestamp {
        let start = Timestamp::from_second(1_800_000_000).expect("a time");
        start + SignedDuration::try_from(self.began.elapsed()).expect("short")
    }

    /// Makes calls as far as there is quota; how long to stay away when there is none.
    async fn call(
        &self,
        purse: &mut Purse,
        method: Method,
        most: u32,
        priority: Priority,
    ) -> Option<Duration> {
        let taken = purse.take(method, 1, most, priority, self.now()).await.expect("no ledger is too busy");
        if taken.count == 0 {
            return Some(taken.wait.try_into().expect("ahead"));
        }
        tokio::time::sleep(Duration::from_millis(u64::from(rand::random::<u8>()))).await;
        let units = u64::from(taken.count * self.project.quota().price(method));
        let second = self.began.elapsed().as_secs();
        *self.calls.lock().expect("whole").entry(second).or_default() += units;
        None
    }

    /// Looks for new mail now and then, and gets what there is.
    async fn look(self) {
        tokio::time::sleep(jitter(LOOKS_EVERY)).await;
        while self.began.elapsed() < LASTS {
            let mut purse = self.purse();
            let mut away = self.call(&mut purse, Method::HistoryList, 1, Priority::Poll).await;
            if away.is_none() && rand::random::<u8>() < 64 {
                away = self.call(&mut purse, Method::MessagesGet, 2, Priority::Delta).await;
            }
            purse.settle(self.now()).await.expect("settled");
            tokio::time::sleep(away.unwrap_or_default() + jitter(2 * LOOKS_EVERY)).await;
        }
    }

    /// Copies old mail as fast as it may.
    async fn copy(self) {
        while self.began.elapsed() < LASTS {
            let mut purse = self.purse();
            let mut away = None;
            while away.is_none() && self.began.elapsed() < LASTS {
                away = self.call(&mut purse, Method::MessagesGet, 25, Priority::Backfill).await;
            }
            purse.settle(self.now()).await.expect("settled");
            // A queue's delay is a second at least.
            tokio::time::sleep(away.unwrap_or_default().max(Duration::from_secs(1))).await;
        }
    }

    fn purse(&self) -> Purse {
        let address = format!("m{}@example.com", self.number).parse().expect("an address");
        Purse::new(Arc::clone(&self.project), address)
    }
}

/// Between nothing and so much.
fn jitter(most: Duration) -> Duration {
    most.mul_f64(rand::random())
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_workers_share_a_project_without_a_hot_row() {
    let table = Table::new();
    let quota = Quota::of(Regime::Current);
    let (began, calls, store) = (table.began, Calls::default(), store(&table));
    let mut crowd = JoinSet::new();
    for number in 0..WORKERS {
        // A process of its own: it holds a chunk of its own.
        let project = Arc::new(Project::new(store.clone(), quota.clone()));
        let worker = Worker { project, number, began, calls: Arc::clone(&calls) };
        if number < BACKFILLS {
            crowd.spawn(worker.copy())
        } else {
            crowd.spawn(worker.look())
        };
    }
    crowd.join_all().await;

    let calls = calls.lock().expect("whole");
    let (seconds, limit) = (LASTS.as_secs(), u64::from(quota.project.units));
    let spent: u64 = calls.range(..seconds).map(|(_, units)| units).sum();
    // The first second has what may be spent at once besides.
    let steady: u64 = calls.range(1..seconds).map(|(_, units)| units).sum();
    let share = |seconds: u64| limit * seconds / 60;
    let rows = table.rows.lock().expect("whole");
    let ledgers = rows.iter().filter(|(key, _)| key.starts_with("Q#project#")).map(|(_, row)| row);
    let (mut hottest, mut writes, mut refused, mut bytes, mut count) = (0.0_f64, 0.0, 0, 0, 0);
    for row in ledgers {
        hottest = row.written.values().copied().fold(hottest, f64::max);
        writes += row.written.values().sum::<f64>();
        refused += row.refused;
        bytes = bytes.max(Value::from(row.item.clone()).to_string().len());
        count += 1;
    }
    eprintln!(
        "{spent} units in {seconds} s, {steady} after the first, of {limit} a minute; {count} parts of {bytes} bytes at \
         most, {writes} writes, {refused} refused, {hottest} units in a second of the hottest"
    );
    assert!(spent <= share(seconds) + limit / 50, "{spent} units in {seconds} s");
    assert!(steady * 100 >= share(seconds - 1) * 90, "{steady} units in {} s", seconds - 1);
    assert!(hottest < PARTITION_UNITS / 4.0, "{hottest} write units in a second of one row");
}
