//! Logs: one JSON line for one outcome, on standard output, where Lambda collects it.

use tracing_subscriber::EnvFilter;

/// Starts logging. `LOG_LEVEL` is a filter such as `info` or `warn,sync_app=debug`; a wrong one means `info`.
pub fn init() {
    let filter = std::env::var("LOG_LEVEL").ok().and_then(|level| EnvFilter::try_new(level).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    // Fails only when a test has started it already.
    drop(
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_env_filter(filter)
            .try_init(),
    );
}
