//! Gmail's pushes: verified, written down as a job, and only then acknowledged.

use lambda_http::service_fn;
use sync_lambda::{Config, clients, emf::Emf, http, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let config = Config::from_env()?;
    let emf = Emf::new(&config.stack, "webhook");
    let receiver = clients::push_receiver(&config).await?;
    lambda_http::run(service_fn(|request| http::answer_push(&receiver, &emf, request))).await
}
