//! What was used: of Gmail's quota, and at AWS.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use serde::Serialize;
use sync_core::{MailboxId, quota::pacific_day_elapsed};
use sync_store::{DayUsage, USAGE_DAYS_MAX};

use super::{
    ApiState,
    auth::{Caller, ToOperate, ToRead},
    mailbox::owned,
    problem::Problem,
    query::Query,
};

/// Days of an answer, unless asked for otherwise.
const DAYS_DEFAULT: u32 = 30;
/// Less of a day than this says nothing of the rest: a quarter of an hour.
const FORECAST_FROM: f64 = 0.01;

/// What a mailbox used.
#[derive(Debug, Serialize)]
pub struct UsageView {
    mailbox: MailboxId,
    items: Vec<DayUsage>,
}

/// `GET /api/sync/{mailbox}/usage`: by day of Google's, newest first.
pub async fn of_mailbox(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    mut query: Query,
) -> Result<Json<UsageView>, Problem> {
    let days = query.number("days", 1..=USAGE_DAYS_MAX as usize);
    query.finish()?;
    let days = days.and_then(|days| u32::try_from(days).ok()).unwrap_or(DAYS_DEFAULT);
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let items = state.store.usage_of(&sync.mailbox, days).await?;
    Ok(Json(UsageView { mailbox: sync.mailbox, items }))
}

/// The project's day at Gmail.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaView {
    date: String,
    /// By the ledgers: what was granted, whoever asked for it.
    units_today: u64,
    /// What a day may cost; null where Google sets no limit.
    units_day: Option<u64>,
    percent: Option<f64>,
    /// As fast as so far, at the end of the day; null while the day is too young to say.
    forecast_units: Option<u64>,
    forecast_percent: Option<f64>,
    units_by_method: BTreeMap<String, u64>,
}

/// `GET /api/operations/quota`
pub async fn quota(
    _: Caller<ToOperate>,
    State(state): State<Arc<ApiState>>,
    query: Query,
) -> Result<Json<QuotaView>, Problem> {
    query.finish()?;
    let now = Timestamp::now();
    let quota = state.project.quota();
    let (today, parts) = tokio::try_join!(
        state.store.project_usage_today(now),
        state.store.read_project_quota(quota.parts())
    )?;
    let units_today = parts.iter().map(|part| part.today(now)).sum();
    Ok(Json(quota_view(today, units_today, quota.project_day, pacific_day_elapsed(now))))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "percentages and forecasts for people"
)]
fn quota_view(today: DayUsage, units_today: u64, units_day: Option<u64>, elapsed: f64) -> QuotaView {
    let percent =
        |units: u64| units_day.map(|day| (units as f64 * 1_000.0 / day.max(1) as f64).round() / 10.0);
    let forecast = forecast(units_today as f64, elapsed).map(|units| units as u64);
    QuotaView {
        date: today.date,
        units_today,
        units_day,
        percent: percent(units_today),
        forecast_units: forecast,
        forecast_percent: forecast.and_then(percent),
        units_by_method: today.gmail_units,
    }
}

/// As fast as so far, over the whole day.
pub(super) fn forecast(so_far: f64, elapsed: f64) -> Option<f64> {
    (elapsed >= FORECAST_FROM).then(|| so_far / elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_as_fast_as_so_far_and_a_young_day_has_none() {
        let view = quota_view(DayUsage::default(), 30_000_000, Some(80_000_000), 0.5);
        assert_eq!(
            (view.percent, view.forecast_units, view.forecast_percent),
            (Some(37.5), Some(60_000_000), Some(75.0))
        );
        let young = quota_view(DayUsage::default(), 5, Some(80_000_000), 0.001);
        assert_eq!(young.forecast_units, None);
        let boundless = quota_view(DayUsage::default(), 5, None, 0.5);
        assert_eq!((boundless.percent, boundless.forecast_percent), (None, None));
    }
}
