//! The HTTPS API and the dashboard, behind an API Gateway HTTP API.

use lambda_http::service_fn;
use sync_app::api::{self, ApiConfig, ApiState, ConsentConfig};
use sync_lambda::{Config, clients, emf::Emf, http, telemetry};

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let config = Config::from_env()?;
    let sdk = clients::sdk().await;
    let clients = clients::clients(&config, &sdk).await?;
    let state = ApiState::new(clients, api_config(&config)).with_cron(clients::cron_secret(&config, &sdk));
    let state = if config.watch { state } else { state.leaving_google_alone() };
    let (router, emf) = (api::router(state), Emf::new(&config.stack, "api"));
    lambda_http::run(service_fn(|request| http::measured(router.clone(), &emf, request))).await
}

fn api_config(config: &Config) -> ApiConfig {
    ApiConfig {
        engine: config.engine.clone(),
        watch_topic: config.topic.clone(),
        consent: ConsentConfig {
            page: config.google_auth_url.clone(),
            redirect_uri: config.google_redirect_uri.clone(),
            base_url: config.app_base_url.clone(),
        },
        https: config.app_base_url.as_ref().map(|url| url.starts_with("https://")),
        rate: config.rate,
        wait_max: config.wait_max,
        long_poll_max: config.long_poll_max,
    }
}
