//! The HTTPS API and the dashboard, behind an API Gateway HTTP API.

use sync_app::api::{self, ApiConfig, ApiState, SyncIntervals};
use sync_lambda::{Config, clients, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let config = Config::from_env()?;
    let sdk = clients::sdk().await;
    let clients = clients::clients(&config, &sdk).await?;
    let state =
        ApiState::new(clients.store, clients.queue, clients.gmail, clients.oauth, api_config(&config));
    let state = state.with_cron(clients::cron_secret(&config, &sdk));
    let state = if config.watch { state } else { state.leaving_google_alone() };
    lambda_http::run(api::router(state)).await
}

fn api_config(config: &Config) -> ApiConfig {
    ApiConfig {
        intervals: SyncIntervals {
            with_watch: config.engine.interval,
            without_watch: config.engine.interval_without_watch,
        },
        watch_topic: config.topic.clone(),
        https: config.app_base_url.as_ref().map(|url| url.starts_with("https://")),
        wait_max: ApiConfig::WAIT_MAX,
    }
}
