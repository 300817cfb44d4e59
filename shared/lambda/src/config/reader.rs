//! One setting after the other, each within its bounds.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use jiff::SignedDuration;
use sync_core::{
    overrides::Setting,
    owed::DebtSchedule,
    quota::{Limit, Method, Quota, Regime},
    sync::Settings,
};
use sync_gmail::Endpoint;
use sync_store::{EncryptionKey, Retention};

use super::{ConfigError, PushConfig};

/// Dearest call: what the smallest project may spend at once, with all that is kept of it, is more.
const PRICE_MAX: u32 = 200;

type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

pub struct Reader<'a> {
    pub lookup: &'a Lookup<'a>,
}

pub fn error(name: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { name, problem: problem.into() }
}

impl Reader<'_> {
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.optional(name).ok_or_else(|| error(name, "is required"))
    }

    pub fn number<T>(
        &self,
        name: &'static str,
        default: T,
        bounds: std::ops::RangeInclusive<T>,
    ) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.optional(name) else { return Ok(default) };
        let fits = |value: &T| bounds.contains(value);
        text.parse().ok().filter(fits).ok_or_else(|| {
            error(name, format!("must be {} to {}, is {text:?}", bounds.start(), bounds.end()))
        })
    }

    fn minutes(&self, name: &'static str, default: i64) -> Result<SignedDuration, ConfigError> {
        self.number(name, default, 1..=1_440).map(SignedDuration::from_mins)
    }

    fn days(&self, name: &'static str, default: i64, most: i64) -> Result<SignedDuration, ConfigError> {
        self.number(name, default, 1..=most).map(|days| SignedDuration::from_hours(24 * days))
    }

    /// One that a tenant or a mailbox may have otherwise, inside the same bounds.
    fn chosen(&self, name: &'static str, default: u32, setting: Setting) -> Result<u32, ConfigError> {
        self.number(name, default, setting.bounds())
    }

    pub fn retention(&self) -> Result<Retention, ConfigError> {
        let deleted_mail = self.chosen("DELETED_MAIL_KEPT_DAYS", 30, Setting::DeletedMailKeptDays)?;
        Ok(Retention {
            events: self.days("EVENTS_KEPT_DAYS", 30, 400)?,
            deleted_mail: SignedDuration::from_hours(24 * i64::from(deleted_mail)),
            finished_jobs: self.days("FINISHED_JOBS_KEPT_DAYS", 90, 400)?,
            unfinished_jobs: self.days("UNFINISHED_JOBS_KEPT_DAYS", 7, 90)?,
            audit: self.days("AUDIT_KEPT_DAYS", 400, 3_650)?,
            usage: self.days("USAGE_KEPT_DAYS", 400, 3_650)?,
        })
    }

    pub fn engine(&self, lease: SignedDuration) -> Result<Settings, ConfigError> {
        let probe_interval =
            SignedDuration::from_mins(self.number("PROBE_INTERVAL_MINUTES", 60, 10..=10_080)?);
        let interval = |name, default| {
            let minutes = self.chosen(name, default, Setting::SyncIntervalMinutes);
            minutes.map(|minutes| SignedDuration::from_mins(minutes.into()))
        };
        Ok(Settings {
            lease,
            interval: interval("SYNC_INTERVAL_MINUTES", 60)?,
            interval_without_watch: interval("SYNC_INTERVAL_WITHOUT_WATCH_MINUTES", 5)?,
            visibility_grace: SignedDuration::from_secs(self.number(
                "VISIBILITY_GRACE_SECONDS",
                600,
                1..=86_400,
            )?),
            initial_newest: self.chosen("INITIAL_NEWEST", 50, Setting::InitialNewest)?,
            initial_days: self.chosen("INITIAL_DAYS", 30, Setting::InitialDays)?,
            batch_max: self.chosen("BATCH_MAX", 1_000, Setting::BatchMax)?.into(),
            guard_percent: self.chosen("MASS_DELETION_PERCENT", 10, Setting::MassDeletionPercent)?,
            guard_messages: self.chosen("MASS_DELETION_MESSAGES", 50, Setting::MassDeletionMessages)?.into(),
            debts: self.debts()?,
            cooldown_failures: self.number("COOLDOWN_FAILURES", 5, 1..=100)?,
            cooldown: self.minutes("COOLDOWN_MINUTES", 30)?,
            probe_interval,
            quiet_probe_interval: probe_interval.max(Settings::QUIET_PROBE_INTERVAL),
            ..Settings::default()
        })
    }

    /// `1,5,30,120,720,1440`: minutes that grow.
    fn debts(&self) -> Result<DebtSchedule, ConfigError> {
        const NAME: &str = "DEBT_SCHEDULE_MINUTES";
        let days = self.number("DEBT_DAYS", 30, 1..=365)?;
        let text = self.optional(NAME).unwrap_or_else(|| "1,5,30,120,720,1440".to_owned());
        let minutes: Option<Vec<u32>> = text.split(',').map(|wait| wait.trim().parse().ok()).collect();
        minutes.and_then(|minutes| DebtSchedule::new(&minutes, days)).ok_or_else(|| {
            let (most, longest) = (DebtSchedule::WAITS_MAX, DebtSchedule::MINUTES_MAX);
            error(NAME, format!("must be at most {most} numbers that grow, each 1 to {longest}, is {text:?}"))
        })
    }

    pub fn endpoint(&self, name: &'static str, default: &str) -> Result<Endpoint, ConfigError> {
        let text = self.optional(name).unwrap_or_else(|| default.to_owned());
        Endpoint::parse(&text).map_err(|problem| error(name, problem.to_string()))
    }

    /// An address of this system: Google takes http only on the caller's own machine, and no fragment.
    pub fn own_address(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.optional(name) else { return Ok(None) };
        let url = url::Url::parse(&text).ok().filter(|url| url.has_host() && url.fragment().is_none());
        let is_local = |url: &url::Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let fits =
            url.is_some_and(|url| url.scheme() == "https" || (url.scheme() == "http" && is_local(&url)));
        if fits { Ok(Some(text)) } else { Err(error(name, "must be an https address, or http at localhost")) }
    }

    /// Refused where the table may be a deployed system's: what this key seals nobody there could open.
    pub fn encryption_key(&self) -> Result<Option<EncryptionKey>, ConfigError> {
        const NAME: &str = "ENCRYPTION_KEY";
        let Some(text) = self.optional(NAME) else { return Ok(None) };
        let aws = self.optional("AWS_ENDPOINT_URL").and_then(|url| Endpoint::parse(&url).ok());
        if !aws.is_some_and(|aws| aws.is_loopback()) {
            let problem = "is for a system of this machine, whose AWS_ENDPOINT_URL is loopback; a deployed one has its keys in the secret of ENCRYPTION_SECRET_ID";
            return Err(error(NAME, problem));
        }
        let key = EncryptionKey::from_base64(&text);
        key.map(Some).ok_or_else(|| error(NAME, "must be 32 bytes in base64"))
    }

    pub fn watch(&self) -> Result<bool, ConfigError> {
        match self.optional("WATCH").as_deref() {
            None | Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(other) => Err(error("WATCH", format!("must be yes or no, is {other:?}"))),
        }
    }

    pub fn topic(&self) -> Option<String> {
        let project = self.optional("GOOGLE_CLOUD_PROJECT_ID")?;
        let topic = self.optional("PUBSUB_TOPIC").unwrap_or_else(|| "gmail-notifications".to_owned());
        Some(format!("projects/{project}/topics/{topic}"))
    }

    pub fn push(&self) -> Result<Option<PushConfig>, ConfigError> {
        match (self.optional("PUSH_AUDIENCE"), self.optional("PUSH_SERVICE_ACCOUNT")) {
            (Some(audience), Some(service_account)) => Ok(Some(PushConfig { audience, service_account })),
            (None, None) => Ok(None),
            // Half a check would be no check.
            (Some(_), None) => Err(error("PUSH_SERVICE_ACCOUNT", "is required beside PUSH_AUDIENCE")),
            (None, Some(_)) => Err(error("PUSH_AUDIENCE", "is required beside PUSH_SERVICE_ACCOUNT")),
        }
    }

    /// A regime's prices and limits, or own numbers in their place.
    pub fn quota(&self) -> Result<Quota, ConfigError> {
        let of_regime = Quota::of(self.regime()?);
        let kept_percent = self.number("QUOTA_KEPT_PERCENT", of_regime.address.kept_percent, 0..=50)?;
        let own = |name, of_regime: u32| {
            // A batch must fit into what is left to a backfill, and a watch into any share.
            let units: u32 = self.number(name, 0, 0..=100_000_000)?;
            match units {
                0 => Ok(of_regime),
                1..1_000 => Err(error(name, format!("must be 0 or at least 1000, is \"{units}\""))),
                _ => Ok(units),
            }
        };
        let limit = |units| Limit { units, kept_percent };
        let day: u64 = self.number("QUOTA_PROJECT_DAY", 0, 0..=100_000_000_000)?;
        Ok(Quota {
            address: limit(own("QUOTA_USER_MINUTE", of_regime.address.units)?),
            project: limit(own("QUOTA_PROJECT_MINUTE", of_regime.project.units)?),
            project_day: if day == 0 { of_regime.project_day } else { Some(day) },
            prices: self.prices()?,
            regime: of_regime.regime,
        })
    }

    /// `messages.get=20,threads.get=40`: prices that differ from the regime's.
    fn prices(&self) -> Result<BTreeMap<Method, u32>, ConfigError> {
        let Some(text) = self.optional("QUOTA_PRICES") else { return Ok(BTreeMap::new()) };
        let price = |pair: &str| {
            let (method, units) = pair.split_once('=')?;
            let units = units.trim().parse().ok().filter(|units| (1..=PRICE_MAX).contains(units))?;
            Some((method.trim().parse().ok()?, units))
        };
        text.split(',')
            .map(|pair| {
                let problem = format!(
                    "must be pairs such as messages.get=20, units 1 to {PRICE_MAX}; {pair:?} is none"
                );
                price(pair).ok_or_else(|| error("QUOTA_PRICES", problem))
            })
            .collect()
    }

    fn regime(&self) -> Result<Regime, ConfigError> {
        match self.optional("QUOTA_REGIME").as_deref() {
            None | Some("current") => Ok(Regime::Current),
            Some("legacy") => Ok(Regime::Legacy),
            Some(other) => Err(error("QUOTA_REGIME", format!("must be current or legacy, is {other:?}"))),
        }
    }
}
