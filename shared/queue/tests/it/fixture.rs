//! Four queues of one's own, on an emulated AWS. Also a part of the tests of whoever runs batches.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::{Client, config::Credentials};
use sync_core::Timestamp;
use sync_queue::{Queue, QueueConfig};
use testkit::MiniStack;

/// The queues, and a client past them.
pub struct Queues {
    pub queue: Queue,
    pub config: QueueConfig,
    pub client: Client,
    _stack: MiniStack,
}

impl Queues {
    pub async fn new() -> Self {
        let stack = MiniStack::start().expect("an emulator");
        let sdk = sdk(stack.endpoint()).await;
        let client = Client::new(&sdk);
        let mut urls = Vec::new();
        for name in ["sync", "backfill", "dead-letter", "backfill-dead-letter"] {
            // Unique, because the emulator may be one that others use too.
            let name = format!("{name}-{}-{}", std::process::id(), Timestamp::now().as_microsecond());
            let made = client.create_queue().queue_name(name).send().await.expect("a queue");
            urls.push(made.queue_url.expect("its address"));
        }
        let [sync_url, backfill_url, dead_letter_url, backfill_dead_letter_url] =
            <[String; 4]>::try_from(urls).expect("four");
        let config = QueueConfig { sync_url, backfill_url, dead_letter_url, backfill_dead_letter_url };
        Self { queue: Queue::new(&sdk, config.clone()), config, client, _stack: stack }
    }
}

/// A client configuration for this endpoint.
pub async fn sdk(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .load()
        .await
}
