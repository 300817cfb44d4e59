//! The worker: each job of a batch is one look at one mailbox, or a step of its upkeep.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use sync_lambda::{Config, batch, clients, emf::Emf, telemetry};

#[tokio::main]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = Config::from_env()?;
    let emf = Emf::new(&config.stack, "worker");
    let worker = clients::worker(&config).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<_>| {
        batch::work_on_each(&worker, &emf, config.checkpoint, event)
    }))
    .await
}
