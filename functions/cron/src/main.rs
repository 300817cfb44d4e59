//! The schedules: each tick names a task.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use sync_lambda::{
    Config, clients,
    cron::{Tick, run},
    telemetry,
};

#[tokio::main]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = Config::from_env()?;
    let sdk = clients::sdk().await;
    let (store, queue) = (clients::store(&config, &sdk), clients::queue(&config, &sdk));
    lambda_runtime::run(service_fn(|event: LambdaEvent<Tick>| {
        run(&store, &queue, event.payload, event.context.request_id)
    }))
    .await
}
