//! The worker: each job of a batch is one look at one mailbox.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use sync_lambda::{Config, batch, clients, telemetry};

#[tokio::main]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = Config::from_env()?;
    let worker = clients::worker(&config).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<_>| {
        batch::look_at_each(&worker, config.checkpoint, event)
    }))
    .await
}
