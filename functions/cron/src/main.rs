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
    let tasks = clients::tasks(&config).await;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Tick>| {
        run(&tasks, event.payload, event.context.request_id)
    }))
    .await
}
