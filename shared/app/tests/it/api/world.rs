//! An API over a table, a bucket and queues of its own, and a Gmail that answers what the test says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sync_app::{
    api::{self, ApiConfig, ApiState, ConsentConfig},
    live::Clients,
    spend::Project,
};
use sync_core::{
    HistoryId, MailboxId, MessageId, SignedDuration, TenantId, ThreadId, Timestamp,
    message::{Address, BodyForm, Envelope, Message},
    quota::{Quota, Regime},
    rate::Rate,
    state::{Progress, Status, Totals},
    sync::{Acquired, Commit, Committed, JobClose, Released, RowWrite, Settings},
};
use sync_gmail::{ClientCredentials, Endpoint, GmailClient, GmailConfig};
use sync_queue::{JobMessage, Queue, QueueConfig};
use sync_store::{
    CredentialKind, NewCredential, NewMailbox, Release, Scope, SharedSecret, Store, StoreConfig, TokenKind,
    TokenRow,
};
use testkit::MiniStack;
use tower::ServiceExt as _;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string_contains, method, path},
};

/// How long `?wait=true` waits here.
pub const WAIT_MAX: Duration = Duration::from_secs(3);

/// What a clock sends.
pub const CRON_SECRET: &str = "a secret of thirty-two characters";

async fn cron_secret(sdk: &SdkConfig, unique: &str) -> SharedSecret {
    let name = format!("cron-{unique}");
    let client = aws_sdk_secretsmanager::Client::new(sdk);
    client.create_secret().name(&name).secret_string(CRON_SECRET).send().await.expect("a secret");
    SharedSecret::new(sdk, &name)
}

pub struct World {
    pub store: Store,
    pub gmail: MockServer,
    pub router: Router,
    /// What a worker would be given.
    pub clients: Clients,
    /// The same store's AWS, past the store.
    pub aws: SdkConfig,
    /// The name of its secret with the encryption keys.
    pub encryption_secret_id: String,
    /// The name of its table.
    pub table: String,
    config: ApiConfig,
    _stack: MiniStack,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.bytes)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|error| error["field"].as_str().map(str::to_owned)).collect()
    }
}

pub fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant id")
}

impl World {
    pub async fn new() -> Self {
        Self::with_rate(Rate { per_minute: 100_000, burst: 100_000 }).await
    }

    /// One whose callers may ask so often.
    pub async fn with_rate(rate: Rate) -> Self {
        let stack = MiniStack::start().expect("an emulator: run `make tools`");
        let sdk = sdk(stack.endpoint()).await;
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let store = store(&sdk, &unique).await;
        let queue = queue(&sdk, &unique).await;
        let gmail = MockServer::start().await;
        let endpoint = Endpoint::parse(&gmail.uri()).expect("a local endpoint");
        let page = Endpoint::parse(&format!("{}/o/oauth2/v2/auth", gmail.uri())).expect("a local endpoint");
        let client = GmailClient::new(GmailConfig::new(endpoint.clone(), endpoint)).expect("a client");
        let oauth = ClientCredentials { client_id: "id".into(), client_secret: SecretString::from("secret") };
        let config = config(page, rate);
        let project = Arc::new(Project::new(store.clone(), Quota::of(Regime::Current)));
        let clients = Clients { store: store.clone(), queue, gmail: client, oauth, project };
        let state = ApiState::new(clients.clone(), config.clone());
        let router = api::router(state.with_cron(cron_secret(&sdk, &unique).await));
        let (encryption_secret_id, table) = (format!("secret-{unique}"), format!("table-{unique}"));
        Self { store, gmail, router, clients, aws: sdk, encryption_secret_id, table, config, _stack: stack }
    }

    /// The API as another process has it: over the same table, and with nothing in its memory.
    pub fn another_process(&self) -> Router {
        api::router(ApiState::new(self.clients.clone(), self.config.clone()))
    }

    /// The API of a system beside another that has the same mailboxes.
    pub fn leaving_google_alone(&self) -> Router {
        api::router(ApiState::new(self.clients.clone(), self.config.clone()).leaving_google_alone())
    }

    /// The jobs that wait in a lane, taken out of it.
    pub async fn take_jobs(&self, lane: &str) -> Vec<JobMessage> {
        let client = aws_sdk_sqs::Client::new(&self.aws);
        let name = self.table.replace("table", lane);
        let url = client.get_queue_url().queue_name(name).send().await.expect("a queue").queue_url;
        let mut jobs = Vec::new();
        loop {
            let receive = client.receive_message().set_queue_url(url.clone()).max_number_of_messages(10);
            let received = receive.send().await.expect("received").messages.unwrap_or_default();
            if received.is_empty() {
                return jobs;
            }
            for message in received {
                jobs.push(JobMessage::parse(message.body().expect("a body")).expect("a job"));
                let delete = client.delete_message().set_queue_url(url.clone());
                delete.set_receipt_handle(message.receipt_handle).send().await.expect("deleted");
            }
        }
    }

    /// The table does not answer any more.
    pub async fn drop_table(&self) {
        let delete = aws_sdk_dynamodb::Client::new(&self.aws).delete_table().table_name(&self.table);
        delete.send().await.expect("deleted");
    }

    /// How often Google's token endpoint was asked.
    pub async fn token_calls(&self) -> usize {
        let requests = self.gmail.received_requests().await.expect("recorded");
        requests.iter().filter(|request| request.url.path() == "/token").count()
    }

    /// A row becomes one of a version that did not say which projection it has.
    pub async fn forget_projection(&self, mailbox: &MailboxId, id: MessageId) {
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        let update = aws_sdk_dynamodb::Client::new(&self.aws).update_item().table_name(&self.table);
        let update =
            update.key("pk", text(format!("M#{mailbox}"))).key("sk", text(format!("MSG#{:016x}", id.0)));
        let update = update.update_expression("REMOVE #it").expression_attribute_names("#it", "projection");
        update.send().await.expect("updated");
    }

    /// Gmail knows this mailbox by a refresh token of the same text.
    pub async fn gmail_knows(&self, address: &str) {
        let token =
            json!({"access_token": format!("access-{address}"), "token_type": "Bearer", "expires_in": 3600});
        Mock::given(method("POST"))
            .and(path("/token"))
            .and(body_string_contains(address.replace('@', "%40")))
            .respond_with(ResponseTemplate::new(200).set_body_json(token))
            .mount(&self.gmail)
            .await;
        let profile = json!({"emailAddress": address, "messagesTotal": 1, "historyId": "100"});
        Mock::given(path("/gmail/v1/users/me/profile"))
            .and(wiremock::matchers::header("authorization", format!("Bearer access-{address}")))
            .respond_with(ResponseTemplate::new(200).set_body_json(profile))
            .mount(&self.gmail)
            .await;
    }

    /// Watch, stop and revoke work.
    pub async fn gmail_is_well(&self) {
        let expiration = Timestamp::now().as_millisecond() + 7 * 86_400_000;
        let watch = json!({"historyId": "100", "expiration": expiration.to_string()});
        for (of, answer) in [
            ("/gmail/v1/users/me/watch", watch),
            ("/gmail/v1/users/me/stop", json!({})),
            ("/revoke", json!({})),
        ] {
            Mock::given(method("POST"))
                .and(path(of))
                .respond_with(ResponseTemplate::new(200).set_body_json(answer))
                .mount(&self.gmail)
                .await;
        }
    }

    /// Gmail has these labels, each with so many messages.
    pub async fn gmail_has_labels(&self, labels: &[(&str, u64)]) {
        let label =
            |(id, count): &(&str, u64)| json!({"id": id, "name": id, "type": "user", "messagesTotal": count});
        let all: Vec<Value> = labels.iter().map(label).collect();
        Mock::given(path("/gmail/v1/users/me/labels"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "labels": all })))
            .mount(&self.gmail)
            .await;
        for one in labels {
            Mock::given(path(format!("/gmail/v1/users/me/labels/{}", one.0)))
                .respond_with(ResponseTemplate::new(200).set_body_json(label(one)))
                .mount(&self.gmail)
                .await;
        }
    }

    /// A grant whose access token is good for an hour.
    pub async fn grant(&self, mailbox: &MailboxId) {
        let now = Timestamp::now();
        let credential = NewCredential {
            kind: CredentialKind::Oauth,
            secret: SecretString::from("refresh"),
            access_token: Some(SecretString::from("access")),
            expires_at: Some(now + SignedDuration::from_hours(1)),
            scopes: Vec::new(),
        };
        self.store.save_credential(mailbox, &credential, now).await.expect("saved");
    }

    pub async fn token(&self, owner: &str, scopes: &[Scope], kind: TokenKind) -> String {
        let now = Timestamp::now();
        let expires_at = Some(now + SignedDuration::from_hours(1));
        let row = TokenRow {
            tenant: tenant(owner),
            scopes: scopes.to_vec(),
            name: "test".into(),
            kind,
            expires_at,
        };
        self.store.create_token(&row, now).await.expect("a token").expose_secret().to_owned()
    }

    /// A program's token with every scope of the tenant's.
    pub async fn admin(&self, owner: &str) -> String {
        self.token(owner, &[Scope::Admin], TokenKind::Api).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        self.send_to(&self.router, request).await
    }

    /// The same to another process's API.
    pub async fn send_to(&self, router: &Router, request: Request<Body>) -> Answer {
        let response = router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 32 << 20).await.expect("a body").to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub async fn call(&self, token: &str, method: Method, path: &str) -> Answer {
        self.send(request(token, method, path).body(Body::empty()).expect("a request")).await
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::GET, path).await
    }

    pub async fn post(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::POST, path).await
    }

    pub async fn with_json(&self, token: &str, method: Method, path: &str, body: &Value) -> Answer {
        let request = request(token, method, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).expect("a request")).await
    }

    pub async fn post_json(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.with_json(token, Method::POST, path, body).await
    }

    pub async fn mailbox(&self, owner: &str, address: &str) -> MailboxId {
        let address = address.parse().expect("an address");
        let new = NewMailbox { tenant: tenant(owner), address, now: Timestamp::now() };
        self.store.create_mailbox(&new).await.expect("a mailbox").mailbox().clone()
    }

    /// What a worker would do: take the lease, commit, give it back.
    pub async fn work(&self, mailbox: &MailboxId, rows: Vec<RowWrite>, closed: Vec<JobClose>) {
        let messages = i64::try_from(rows.len()).expect("few");
        self.commit(mailbox, |commit| {
            commit.rows = rows;
            commit.closed = closed;
            commit.totals.messages = messages;
        })
        .await;
    }

    /// The same with whatever the commit is to hold: it begins as one that moves the cursor and nothing else.
    pub async fn commit(&self, mailbox: &MailboxId, fill: impl FnOnce(&mut Commit)) {
        let now = Timestamp::now();
        let until = now + SignedDuration::from_mins(5);
        let Acquired::Held(sync) = self.store.acquire(mailbox, "test", until, now).await.expect("acquired")
        else {
            panic!("the lease is free");
        };
        let mut commit = Commit {
            mailbox: mailbox.clone(),
            generation: sync.generation,
            after: sync.commit,
            rows: Vec::new(),
            owed: Vec::new(),
            closed: Vec::new(),
            progress: Progress {
                cursor: Some(HistoryId(1_000_000)),
                last_sync_at: Some(now),
                ..sync.progress.clone()
            },
            totals: Totals::default(),
            labels: BTreeMap::new(),
            seq: sync.seq,
            events: Vec::new(),
            now,
        };
        fill(&mut commit);
        assert_eq!(self.store.commit(&commit).await.expect("committed"), Committed::Applied);
        let release = Release {
            generation: sync.generation,
            asked: sync.asked,
            due_at: None,
            status: None,
            credential_version: None,
        };
        assert_eq!(self.store.release(mailbox, &release).await.expect("released"), Released::Free);
    }

    /// Parks a mailbox as a worker does that needs somebody to look.
    pub async fn park(&self, mailbox: &MailboxId, status: Status) {
        let now = Timestamp::now();
        let until = now + SignedDuration::from_mins(5);
        let Acquired::Held(sync) = self.store.acquire(mailbox, "test", until, now).await.expect("acquired")
        else {
            panic!("the lease is free");
        };
        let release = Release {
            generation: sync.generation,
            asked: sync.asked,
            due_at: None,
            status: Some(status),
            credential_version: None,
        };
        assert_eq!(self.store.release(mailbox, &release).await.expect("released"), Released::Free);
    }

    /// Mails as rows, with a body where there is one.
    pub async fn store_mails(&self, mailbox: &MailboxId, mails: Vec<(Message, Option<&str>)>) {
        let mut rows = Vec::new();
        for (mut message, raw) in mails {
            if let Some(raw) = raw {
                message.body = Some(
                    self.store
                        .put_body(mailbox, raw.as_bytes().to_vec(), BodyForm::Raw)
                        .await
                        .expect("a body"),
                );
            }
            rows.push(put(message));
        }
        self.work(mailbox, rows, Vec::new()).await;
    }
}

/// A message as a row that the feed has told of.
pub fn put(message: Message) -> RowWrite {
    RowWrite::Put { message: Box::new(message), announced: true, touched: BTreeMap::new() }
}

pub fn request(token: &str, method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {token}"))
}

/// A mail received `id` minutes after a fixed beginning, threads of ten.
pub fn mail(id: u64, labels: &[&str]) -> Message {
    let minutes = i64::try_from(id).expect("a small id");
    Message {
        id: MessageId(id),
        thread_id: ThreadId(id / 10),
        history_id: HistoryId(1_000 + id),
        labels: labels.iter().map(ToString::to_string).collect(),
        received_at: Timestamp::from_second(1_700_000_000 + 60 * minutes).expect("a time"),
        size_estimate: 1_000,
        snippet: format!("snippet {id}"),
        envelope: Box::new(Envelope {
            from: Some(Address { name: Some("Bob".into()), email: "bob@example.com".into() }),
            subject: format!("Subject {id}"),
            outbound: labels.contains(&"SENT"),
            ..Envelope::default()
        }),
        body: None,
    }
}

fn config(page: Endpoint, rate: Rate) -> ApiConfig {
    ApiConfig {
        engine: Settings::default(),
        watch_topic: Some("projects/p/topics/t".into()),
        consent: ConsentConfig { page, redirect_uri: None, base_url: None },
        https: None,
        rate,
        wait_max: WAIT_MAX,
        long_poll_max: Duration::from_secs(20),
    }
}

pub async fn sdk(endpoint: &str) -> SdkConfig {
    let credentials = aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "test");
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .load()
        .await
}

pub async fn store(sdk: &SdkConfig, unique: &str) -> Store {
    let config = StoreConfig {
        table: format!("table-{unique}"),
        bucket: format!("bucket-{unique}"),
        encryption_secret_id: format!("secret-{unique}"),
    };
    create_table(sdk, &config.table).await;
    let s3 = aws_sdk_s3::config::Builder::from(sdk).force_path_style(true).build();
    aws_sdk_s3::Client::from_conf(s3).create_bucket().bucket(&config.bucket).send().await.expect("a bucket");
    let keys = r#"{"current":"k1","k1":"0123456789abcdef0123456789abcdef"}"#;
    let secrets = aws_sdk_secretsmanager::Client::new(sdk);
    secrets
        .create_secret()
        .name(&config.encryption_secret_id)
        .secret_string(keys)
        .send()
        .await
        .expect("a secret");
    Store::new(sdk, config)
}

async fn queue(sdk: &SdkConfig, unique: &str) -> Queue {
    let client = aws_sdk_sqs::Client::new(sdk);
    let mut urls = Vec::new();
    for name in ["sync", "backfill", "dead", "backfill-dead"] {
        let created =
            client.create_queue().queue_name(format!("{name}-{unique}")).send().await.expect("a queue");
        urls.push(created.queue_url().expect("its address").to_owned());
    }
    let [sync_url, backfill_url, dead_letter_url, backfill_dead_letter_url] = urls.try_into().expect("four");
    Queue::new(sdk, QueueConfig { sync_url, backfill_url, dead_letter_url, backfill_dead_letter_url })
}

pub async fn create_table(sdk: &SdkConfig, table: &str) {
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
    let mut create = aws_sdk_dynamodb::Client::new(sdk)
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .attribute_definitions(attribute("due_at", ScalarAttributeType::N))
        .global_secondary_indexes(index("due", "due_shard", "due_at", ProjectionType::KeysOnly))
        .global_secondary_indexes(index("mail_by_date", "mail_pk", "mail_sk", ProjectionType::All))
        .global_secondary_indexes(index("mail_by_thread", "thread_pk", "mail_sk", ProjectionType::All));
    for name in ["pk", "sk", "due_shard", "mail_pk", "mail_sk", "thread_pk"] {
        create = create.attribute_definitions(attribute(name, ScalarAttributeType::S));
    }
    create.send().await.expect("a table");
}
