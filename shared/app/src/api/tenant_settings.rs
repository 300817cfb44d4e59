//! What a tenant has otherwise than the deployment, for all its mailboxes that have not chosen themselves.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sync_core::{
    TenantId,
    overrides::{Overrides, Setting},
    state::{Status, Sync},
    sync::Settings,
};
use sync_store::{AuditAction, OVERRIDES_KEPT, StoreError};

use super::{
    ApiState,
    audit::{Deed, note},
    auth::{Caller, ToAdminister, ToRead},
    body::JsonBody,
    overrides::{Changes, EffectiveView, Given},
    problem::{CorrelationId, Problem},
    query::Query,
};

/// Mailboxes of one page, and the most that are due earlier at once: ten thousand. Others are at their next look.
const PAGE: u32 = 500;
const PAGES_MAX: usize = 20;
/// Mailboxes that are written at once.
const AT_ONCE: usize = 25;

/// Settings of a tenant.
#[derive(Serialize)]
pub struct TenantSettingsView {
    overrides: Overrides,
    effective: EffectiveView,
}

/// Settings as they are given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    overrides: Option<Given>,
}

impl TenantSettingsView {
    fn new(state: &ApiState, overrides: Overrides) -> Self {
        let effective = EffectiveView::new(&state.config.engine, state.store.retention(), &overrides);
        Self { overrides, effective }
    }
}

/// `GET /api/settings`
pub async fn get(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    query: Query,
) -> Result<Json<TenantSettingsView>, Problem> {
    query.finish()?;
    let overrides = state.store.read_tenant_overrides(&caller.tenant).await?;
    Ok(Json(TenantSettingsView::new(&state, overrides)))
}

/// `PUT /api/settings`: what is left out is as the deployment has it.
pub async fn put(
    caller: Caller<ToAdminister>,
    State(state): State<Arc<ApiState>>,
    Extension(trace): Extension<CorrelationId>,
    query: Query,
    JsonBody(body): JsonBody<TenantSettings>,
) -> Result<Json<TenantSettingsView>, Problem> {
    change(&caller, &state, &trace, query, body, |_| Overrides::default()).await
}

/// `PATCH /api/settings`: what is left out stays.
pub async fn patch(
    caller: Caller<ToAdminister>,
    State(state): State<Arc<ApiState>>,
    Extension(trace): Extension<CorrelationId>,
    query: Query,
    JsonBody(body): JsonBody<TenantSettings>,
) -> Result<Json<TenantSettingsView>, Problem> {
    change(&caller, &state, &trace, query, body, Overrides::clone).await
}

async fn change(
    caller: &Caller<ToAdminister>,
    state: &ApiState,
    trace: &CorrelationId,
    mut query: Query,
    body: TenantSettings,
    base: impl FnOnce(&Overrides) -> Overrides,
) -> Result<Json<TenantSettingsView>, Problem> {
    if body.overrides.is_none() {
        query.refuse("overrides", "is required: {\"syncIntervalMinutes\": 15, …}");
    }
    let changes = Changes::parse(&mut query, &body.overrides.unwrap_or_default());
    query.finish()?;
    let before = state.store.read_tenant_overrides(&caller.tenant).await?;
    let after = changes.applied_to(base(&before));
    if after != before {
        state.store.set_tenant_overrides(&caller.tenant, &after).await?;
        note(state, &Deed::of(caller, AuditAction::SettingsChanged, &trace.0)).await;
    }
    // Also when it is as it was: a call that was cut short is made whole by the same call.
    if after.get(Setting::SyncIntervalMinutes) != before.get(Setting::SyncIntervalMinutes) || after == before
    {
        look_sooner(state, &caller.tenant, &after).await?;
    }
    Ok(Json(TenantSettingsView::new(state, after)))
}

/// A mailbox that is due later than its new interval allows is due within it: not at once, because all of them together
/// would be a crowd, and not before every worker has forgotten the old interval.
async fn look_sooner(state: &ApiState, tenant: &TenantId, overrides: &Overrides) -> Result<(), Problem> {
    let settings = state.config.engine.overridden(overrides);
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = state.store.mailboxes_of_tenant(tenant, PAGE, cursor.as_deref()).await?;
        let now = Timestamp::now();
        let late: Vec<(&Sync, Timestamp)> = page
            .items
            .iter()
            .map(|sync| (sync, latest_look(&settings, sync, rand::random(), now)))
            .filter(|(sync, by)| sync.status == Status::Active && sync.due_at.is_none_or(|due| due > *by))
            .collect();
        for some in late.chunks(AT_ONCE) {
            let looks = some.iter().map(|(sync, by)| state.store.due_by(&sync.mailbox, *by));
            futures::future::join_all(looks).await.into_iter().collect::<Result<Vec<bool>, StoreError>>()?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

/// By when a mailbox is looked at whose interval may have changed; `dice` is uniform in `[0, 1)`.
fn latest_look(settings: &Settings, sync: &Sync, dice: f64, now: Timestamp) -> Timestamp {
    let known_to_all = SignedDuration::try_from(OVERRIDES_KEPT).unwrap_or(SignedDuration::ZERO);
    let interval = settings.interval_of(sync, now).as_secs_f64();
    now + known_to_all + SignedDuration::from_secs_f64(interval * dice)
}
