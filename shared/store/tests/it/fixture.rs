//! A table, a bucket, a secret of their own for each test, on an emulated AWS.

use std::{collections::BTreeMap, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType,
};
use sync_core::{
    Generation, HistoryId, MailboxId, MessageId, ThreadId, Timestamp,
    message::{Address, Envelope, Message, RowState, Touched},
    state::{Progress, Sync, Totals},
    sync::{Acquired, Commit, Committed, OwedWrite, RowWrite},
};
use sync_store::{NewMailbox, Store, StoreConfig};
use testkit::{DynamoDbLocal, MiniStack};

/// The keys of the encryption secret.
pub const KEYS: &str = r#"{"current":"k1","k1":"0123456789abcdef0123456789abcdef"}"#;

/// A store on an emulator of its own.
pub struct World {
    pub store: Store,
    pub sdk: SdkConfig,
    pub config: StoreConfig,
    pub dynamo: aws_sdk_dynamodb::Client,
    /// Where the table is: the emulator, or another one that is tried.
    pub table_endpoint: String,
    _stack: MiniStack,
}

/// The test's time, in seconds after a fixed beginning.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

impl World {
    pub async fn new() -> Self {
        let stack = MiniStack::start().expect("an emulator");
        let sdk = sdk(stack.endpoint()).await;
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let config = StoreConfig {
            table: format!("table-{unique}"),
            bucket: format!("bucket-{unique}"),
            encryption_secret_id: format!("secret-{unique}"),
        };
        let table_endpoint = DynamoDbLocal::endpoint_under_test();
        let table_endpoint = table_endpoint.unwrap_or_else(|| stack.endpoint().to_owned());
        let dynamo = dynamo_at(&sdk, &table_endpoint);
        create_table(&dynamo, &config.table).await;
        let s3 = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        s3.create_bucket().bucket(&config.bucket).send().await.expect("a bucket");
        let secrets = aws_sdk_secretsmanager::Client::new(&sdk);
        let secret = secrets.create_secret().name(&config.encryption_secret_id).secret_string(KEYS);
        secret.send().await.expect("a secret");
        let store = Store::new(&sdk, config.clone()).with_dynamo(&dynamo);
        Self { store, sdk, config, dynamo, table_endpoint, _stack: stack }
    }

    /// A store whose table is reached through this endpoint: a proxy.
    pub fn store_behind(&self, endpoint: &str) -> Store {
        Store::new(&self.sdk, self.config.clone()).with_dynamo(&dynamo_at(&self.sdk, endpoint))
    }

    /// Applies a commit that must fit.
    pub async fn apply(&self, commit: &Commit) {
        assert_eq!(self.store.commit(commit).await.expect("answered"), Committed::Applied);
    }

    /// Puts an item as an earlier version of the store wrote it.
    pub async fn put_raw(&self, item: serde_json::Value) {
        let item = item.as_object().expect("an item").iter();
        let item = item.map(|(name, value)| (name.clone(), attribute_value(value)));
        let put = self.dynamo.put_item().table_name(&self.config.table).set_item(Some(item.collect()));
        put.send().await.expect("put");
    }

    /// A connected mailbox.
    pub async fn mailbox(&self) -> MailboxId {
        self.mailbox_named("alice@example.com").await
    }

    pub async fn mailbox_named(&self, address: &str) -> MailboxId {
        let new = NewMailbox {
            tenant: "ten_1".parse().expect("an id"),
            address: address.parse().expect("an address"),
            now: at(0),
        };
        self.store.create_mailbox(&new).await.expect("created").mailbox().clone()
    }

    /// Takes the lease for an hour.
    pub async fn acquire(&self, mailbox: &MailboxId) -> Sync {
        match self.store.acquire(mailbox, "test", at(3_600), at(0)).await.expect("acquired") {
            Acquired::Held(sync) => *sync,
            other => panic!("the lease was free: {other:?}"),
        }
    }

    pub async fn sync(&self, mailbox: &MailboxId) -> Sync {
        self.store.read_sync(mailbox).await.expect("read").expect("there")
    }

    /// An item as the table has it.
    pub async fn raw(
        &self,
        pk: &str,
        sk: &str,
    ) -> Option<std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>> {
        let value = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        let get = self.dynamo.get_item().table_name(&self.config.table).consistent_read(true);
        get.key("pk", value(pk)).key("sk", value(sk)).send().await.expect("read").item
    }
}

/// The same configuration with another table service.
pub fn dynamo_at(sdk: &SdkConfig, endpoint: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(sdk).endpoint_url(endpoint).build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// JSON as DynamoDB's attributes: texts, whole numbers, flags, lists, maps.
fn attribute_value(value: &serde_json::Value) -> AttributeValue {
    use serde_json::Value;
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(flag) => AttributeValue::Bool(*flag),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(values) => AttributeValue::L(values.iter().map(attribute_value).collect()),
        Value::Object(map) => AttributeValue::M(
            map.iter().map(|(name, value)| (name.clone(), attribute_value(value))).collect(),
        ),
    }
}

/// A client configuration for this endpoint, with short patience.
pub async fn sdk(endpoint: &str) -> SdkConfig {
    let credentials = aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "test");
    let timeouts = aws_config::timeout::TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(10))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .load()
        .await
}

async fn create_table(dynamo: &aws_sdk_dynamodb::Client, table: &str) {
    let key = |name: &str, kind| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a key")
    };
    let index = |name: &str, hash: &str, range: &str, projection| {
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key(hash, KeyType::Hash))
            .key_schema(key(range, KeyType::Range))
            .projection(Projection::builder().projection_type(projection).build())
            .build()
            .expect("an index")
    };
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
            .expect("an attribute")
    };
    let texts = ["pk", "sk", "due_shard", "mail_pk", "mail_sk", "thread_pk"];
    let mut create = dynamo
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .attribute_definitions(attribute("due_at", ScalarAttributeType::N))
        .global_secondary_indexes(index("due", "due_shard", "due_at", ProjectionType::KeysOnly))
        .global_secondary_indexes(index("mail_by_date", "mail_pk", "mail_sk", ProjectionType::All))
        .global_secondary_indexes(index("mail_by_thread", "thread_pk", "mail_sk", ProjectionType::All));
    for name in texts {
        create = create.attribute_definitions(attribute(name, ScalarAttributeType::S));
    }
    create.send().await.expect("a table");
}

/// A message, received `id` seconds after the beginning.
pub fn message(id: u64, labels: &[&str]) -> Message {
    Message {
        id: MessageId(id),
        thread_id: ThreadId(id / 10),
        history_id: HistoryId(1_000 + id),
        labels: labels.iter().map(ToString::to_string).collect(),
        received_at: at(i64::try_from(id).expect("a small id")),
        size_estimate: 1_234,
        snippet: format!("snippet {id}"),
        envelope: Box::new(Envelope {
            rfc822_message_id: Some(format!("{id}@example.com")),
            from: Some(Address { name: Some(format!("Sender {id}")), email: "bob@example.com".to_owned() }),
            subject: format!("Subject {id}"),
            outbound: labels.contains(&"SENT"),
            ..Envelope::default()
        }),
        body: None,
    }
}

/// A commit of these rows, following on `sync`.
pub fn commit(sync: &Sync, rows: Vec<RowWrite>, owed: Vec<OwedWrite>) -> Commit {
    Commit {
        mailbox: sync.mailbox.clone(),
        generation: sync.generation,
        after: sync.commit,
        rows,
        owed,
        closed: Vec::new(),
        progress: Progress { cursor: Some(HistoryId(u64::MAX)), ..sync.progress.clone() },
        totals: Totals { messages: 1, ..Totals::default() },
        labels: BTreeMap::new(),
        seq: sync.seq,
        events: Vec::new(),
        now: at(10),
    }
}

/// The write of a whole row that nobody was told of.
pub fn put(message: Message) -> RowWrite {
    RowWrite::Put { message: Box::new(message), announced: false, touched: Touched::new() }
}

/// The write of a deletion.
pub fn bury(id: u64, history_id: u64) -> RowWrite {
    RowWrite::Tombstone {
        id: MessageId(id),
        state: RowState::Deleted,
        history_id: HistoryId(history_id),
        labels: None,
        touched: Touched::new(),
    }
}

/// The write of labels by a record.
pub fn relabel(id: u64, labels: &[&str], history_id: u64) -> RowWrite {
    RowWrite::Labels {
        id: MessageId(id),
        labels: labels.iter().map(ToString::to_string).collect(),
        history_id: HistoryId(history_id),
        announced: false,
        touched: Touched::new(),
    }
}

/// The generation after this one.
pub fn next(generation: Generation) -> Generation {
    Generation(generation.0 + 1)
}
