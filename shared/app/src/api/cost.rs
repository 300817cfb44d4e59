//! What a day costs at AWS, and what it will have cost.
//!
//! Invariant: every price that is used is in the answer beside what it was multiplied by; they are AWS's list prices
//! of one region, and whoever pays others takes the amounts and their own prices. Deliberately absent: storage,
//! traffic, the gateway and the logs, which no visit of a worker causes by itself.

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Serialize;
use sync_core::quota::pacific_day_elapsed;
use sync_store::DayUsage;

use super::{
    ApiState,
    auth::{Caller, ToOperate},
    problem::Problem,
    query::Query,
    usage::forecast,
};

/// List prices, in US dollars. `docs/API.md` has the same table.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    region: &'static str,
    as_of: &'static str,
    lambda_gb_second: f64,
    dynamodb_million_read_units: f64,
    dynamodb_million_write_units: f64,
    sqs_million_requests: f64,
    s3_thousand_reads: f64,
    s3_thousand_writes: f64,
}

/// On demand, without the free tier; Lambda on arm64.
const PRICES: Prices = Prices {
    region: "us-east-1",
    as_of: "2026-01",
    lambda_gb_second: 0.000_013_333_4,
    dynamodb_million_read_units: 0.125,
    dynamodb_million_write_units: 0.625,
    sqs_million_requests: 0.40,
    s3_thousand_reads: 0.0004,
    s3_thousand_writes: 0.005,
};

/// A day's cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CostView {
    used: DayUsage,
    prices: Prices,
    /// US dollars so far today.
    usd_today: f64,
    /// At the end of the day, as fast as so far; null while the day is too young to say.
    usd_forecast: Option<f64>,
}

/// `GET /api/operations/cost`
pub async fn cost(
    _: Caller<ToOperate>,
    State(state): State<Arc<ApiState>>,
    query: Query,
) -> Result<Json<CostView>, Problem> {
    query.finish()?;
    let now = Timestamp::now();
    let used = state.store.project_usage_today(now).await?;
    let usd_today = usd(&used);
    let usd_forecast = forecast(usd_today, pacific_day_elapsed(now)).map(rounded);
    Ok(Json(CostView { used, prices: PRICES, usd_today: rounded(usd_today), usd_forecast }))
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn usd(used: &DayUsage) -> f64 {
    used.lambda_gb_seconds * PRICES.lambda_gb_second
        + used.dynamodb_read_units / 1e6 * PRICES.dynamodb_million_read_units
        + used.dynamodb_write_units / 1e6 * PRICES.dynamodb_million_write_units
        + used.sqs_requests as f64 / 1e6 * PRICES.sqs_million_requests
        + used.s3_reads as f64 / 1e3 * PRICES.s3_thousand_reads
        + used.s3_writes as f64 / 1e3 * PRICES.s3_thousand_writes
}

/// To a millionth of a dollar.
fn rounded(usd: f64) -> f64 {
    (usd * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_costs_the_sum_of_what_it_used() {
        let used = DayUsage {
            lambda_gb_seconds: 1_000_000.0,
            dynamodb_read_units: 8e6,
            dynamodb_write_units: 1.6e6,
            sqs_requests: 2_500_000,
            s3_reads: 10_000,
            s3_writes: 1_000,
            ..DayUsage::default()
        };
        assert!((usd(&used) - (13.3334 + 1.0 + 1.0 + 1.0 + 0.004 + 0.005)).abs() < 1e-9);
    }
}
