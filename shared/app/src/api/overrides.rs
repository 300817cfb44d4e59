//! Settings that somebody has otherwise than the deployment, as they are given and shown.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sync_core::{
    SignedDuration,
    overrides::{Overrides, Setting},
    sync::Settings,
};
use sync_store::Retention;

use super::query::Query;

/// Overrides as they are given: a number chooses, null takes a choice back.
pub(super) type Given = BTreeMap<String, Value>;

/// What is to be chosen and what taken back.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<(Setting, Option<u32>)>);

impl Changes {
    /// What was given; what is wrong with it is noted, each with its bounds.
    pub fn parse(query: &mut Query, given: &Given) -> Self {
        let parse = |(name, value): (&String, &Value)| {
            let field = format!("overrides.{name}");
            let Some(setting) = Setting::named(name) else {
                let known = Setting::ALL.map(Setting::name).join(", ");
                query.refuse(&field, format!("is none of {known}"));
                return None;
            };
            let chosen = value.as_u64().and_then(|value| setting.holds(value));
            if chosen.is_none() && !value.is_null() {
                let (least, most) = setting.bounds().into_inner();
                query.refuse(&field, format!("must be {least} to {most}, or null"));
            }
            Some((setting, chosen))
        };
        Self(given.iter().filter_map(parse).collect())
    }

    /// The overrides once they are changed.
    pub fn applied_to(self, mut overrides: Overrides) -> Overrides {
        for (setting, value) in self.0 {
            overrides.set(setting, value);
        }
        overrides
    }
}

/// The settings as they hold in the end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EffectiveView {
    sync_interval_minutes: i64,
    sync_interval_without_watch_minutes: i64,
    initial_newest: u32,
    initial_days: u32,
    batch_max: u64,
    mass_deletion_percent: u32,
    mass_deletion_messages: u64,
    deleted_mail_kept_days: i64,
}

impl EffectiveView {
    /// The deployment's, with what is chosen laid over them.
    pub fn new(deployment: &Settings, retention: Retention, overrides: &Overrides) -> Self {
        let settings = deployment.overridden(overrides);
        let kept = overrides.get(Setting::DeletedMailKeptDays).map(i64::from);
        let days = |duration: SignedDuration| duration.as_hours() / 24;
        Self {
            sync_interval_minutes: settings.interval.as_mins(),
            sync_interval_without_watch_minutes: settings.interval_without_watch.as_mins(),
            initial_newest: settings.initial_newest,
            initial_days: settings.initial_days,
            batch_max: settings.batch_max,
            mass_deletion_percent: settings.guard_percent,
            mass_deletion_messages: settings.guard_messages,
            deleted_mail_kept_days: kept.unwrap_or_else(|| days(retention.deleted_mail)),
        }
    }
}
