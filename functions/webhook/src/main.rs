//! Gmail's pushes: verified, written down as a job, and only then acknowledged.

use lambda_http::service_fn;
use sync_lambda::{Config, clients, http, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let receiver = clients::push_receiver(&Config::from_env()?).await?;
    lambda_http::run(service_fn(|request| http::answer_push(&receiver, request))).await
}
