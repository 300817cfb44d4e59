//! Settings, parsed once at start. A wrong one ends the start with its name.

mod reader;

use std::time::Duration;

use jiff::SignedDuration;
use secrecy::SecretString;
use sync_core::{quota::Quota, rate::Rate, sync::Settings};
use sync_gmail::{Endpoint, requests::PAGE_MAX};
use sync_store::{EncryptionKey, Retention};

use self::reader::{Reader, error};

/// Longest that a request of the API may wait: the gateway ends at 30 seconds.
const WAIT_SECONDS_MAX: u64 = 25;

/// Why a start ended: `FETCH_WINDOW: must be 1 to 25, is "200"`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

/// Everything the functions may be configured with; see `docs/CONFIGURATION.md`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The DynamoDB table.
    pub table: String,
    /// The bucket of bodies and lists.
    pub bucket: String,
    /// The queue of deltas.
    pub sync_queue_url: String,
    /// The queue of slices.
    pub backfill_queue_url: String,
    /// Where unreadable jobs go, and those for new mail that failed for good.
    pub dead_letter_queue_url: String,
    /// Where jobs for old mail go that failed for good.
    pub backfill_dead_letter_queue_url: String,
    /// The stack, as metrics name it.
    pub stack: String,
    /// The secret that holds the encryption keys.
    pub encryption_secret_id: String,
    /// A key in its place, of a system of this machine.
    pub encryption_key: Option<EncryptionKey>,
    /// The secret that holds the OAuth client.
    pub oauth_secret_id: String,
    /// The secret that a clock sends to run a task over HTTPS.
    pub cron_secret_id: String,
    /// Gmail.
    pub gmail_api_url: Endpoint,
    /// Google's token endpoint.
    pub google_oauth_url: Endpoint,
    /// Google's consent page.
    pub google_auth_url: Endpoint,
    /// Where that page leads back to, when it is not `app_base_url` and the usual path.
    pub google_redirect_uri: Option<String>,
    /// Google's signing keys.
    pub google_certs_url: Endpoint,
    /// Whether watches are set and stopped, and grants revoked, at Google.
    pub watch: bool,
    /// `projects/P/topics/T`, when a project is configured and watches are set.
    pub topic: Option<String>,
    /// What a push's token must say; without it every push is refused.
    pub push: Option<PushConfig>,
    /// The second, optional check of a push.
    pub verification_token: Option<SecretString>,
    /// Where people reach the system; else the request's own origin.
    pub app_base_url: Option<String>,
    /// How long before the Lambda deadline a worker begins nothing new.
    pub checkpoint: SignedDuration,
    /// Messages in one batch call.
    pub fetch_window: usize,
    /// Gmail's prices and limits.
    pub quota: Quota,
    /// How often a token or session may ask.
    pub rate: Rate,
    /// Items of one page of history or of a listing.
    pub page_size: u32,
    /// Repetitions of one call of Gmail's that failed.
    pub call_repetitions: u32,
    /// Longest that a request waits for its job.
    pub wait_max: Duration,
    /// Longest that a reader of the feed waits for news.
    pub long_poll_max: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// The engine's bounds and intervals.
    pub engine: Settings,
}

/// What a push's token must say.
#[derive(Debug, Clone)]
pub struct PushConfig {
    /// `aud`.
    pub audience: String,
    /// `email`.
    pub service_account: String,
}

impl Config {
    /// From the process's environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// From any lookup, so that tests set no environment. An empty value counts as none: that is how a
    /// template leaves a parameter out.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let reader = Reader { lookup: &lookup };
        let timeout: i64 = reader.number("WORKER_TIMEOUT_SECONDS", 300, 30..=900)?;
        let checkpoint: i64 = reader.number("CHECKPOINT_SECONDS", 20, 1..=300)?;
        if checkpoint * 2 > timeout {
            return Err(error("CHECKPOINT_SECONDS", "must be at most half of WORKER_TIMEOUT_SECONDS"));
        }
        Ok(Self {
            table: reader.required("TABLE_NAME")?,
            bucket: reader.required("BUCKET_NAME")?,
            sync_queue_url: reader.required("SYNC_QUEUE_URL")?,
            backfill_queue_url: reader.required("BACKFILL_QUEUE_URL")?,
            dead_letter_queue_url: reader.required("DEAD_LETTER_QUEUE_URL")?,
            backfill_dead_letter_queue_url: reader.required("BACKFILL_DEAD_LETTER_QUEUE_URL")?,
            stack: reader.required("STACK_NAME")?,
            encryption_secret_id: reader.required("ENCRYPTION_SECRET_ID")?,
            encryption_key: reader.encryption_key()?,
            oauth_secret_id: reader.required("OAUTH_SECRET_ID")?,
            cron_secret_id: reader.required("CRON_SECRET_ID")?,
            gmail_api_url: reader.endpoint("GMAIL_API_URL", "https://gmail.googleapis.com")?,
            google_oauth_url: reader.endpoint("GOOGLE_OAUTH_URL", "https://oauth2.googleapis.com")?,
            google_auth_url: reader
                .endpoint("GOOGLE_AUTH_URL", "https://accounts.google.com/o/oauth2/v2/auth")?,
            google_redirect_uri: reader.own_address("GOOGLE_REDIRECT_URI")?,
            google_certs_url: reader
                .endpoint("GOOGLE_CERTS_URL", "https://www.googleapis.com/oauth2/v3/certs")?,
            watch: reader.watch()?,
            topic: if reader.watch()? { reader.topic() } else { None },
            push: reader.push()?,
            verification_token: reader.optional("PUBSUB_VERIFICATION_TOKEN").map(SecretString::from),
            app_base_url: reader.own_address("APP_BASE_URL")?,
            checkpoint: SignedDuration::from_secs(checkpoint),
            fetch_window: reader.number("FETCH_WINDOW", 25, 1..=25)?,
            quota: reader.quota()?,
            rate: Rate {
                per_minute: reader.number("TOKEN_REQUESTS_PER_MINUTE", 600, 1..=100_000)?,
                burst: reader.number("TOKEN_REQUESTS_BURST", 100, 1..=100_000)?,
            },
            retention: reader.retention()?,
            page_size: reader.number("PAGE_SIZE", PAGE_MAX, 1..=PAGE_MAX)?,
            call_repetitions: reader.number("CALL_REPETITIONS", 3, 0..=10)?,
            wait_max: Duration::from_secs(reader.number("WAIT_SECONDS", 25, 1..=WAIT_SECONDS_MAX)?),
            long_poll_max: Duration::from_secs(reader.number(
                "LONG_POLL_SECONDS",
                20,
                1..=WAIT_SECONDS_MAX,
            )?),
            // A living worker must never lose its lease: its time-out, and a margin for clocks.
            engine: reader.engine(SignedDuration::from_secs(timeout + 30))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use sync_core::quota::{Method, Regime};
    use sync_gmail::Backoff;

    use super::*;

    fn complete(name: &str) -> Option<String> {
        let required = [
            "TABLE_NAME",
            "BUCKET_NAME",
            "SYNC_QUEUE_URL",
            "BACKFILL_QUEUE_URL",
            "DEAD_LETTER_QUEUE_URL",
            "BACKFILL_DEAD_LETTER_QUEUE_URL",
            "STACK_NAME",
            "ENCRYPTION_SECRET_ID",
            "OAUTH_SECRET_ID",
            "CRON_SECRET_ID",
        ];
        required.contains(&name).then(|| format!("the-{name}"))
    }

    fn with(name: &'static str, value: &'static str) -> Result<Config, ConfigError> {
        Config::from_lookup(move |asked| if asked == name { Some(value.to_owned()) } else { complete(asked) })
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = Config::from_lookup(complete).expect("complete");
        assert_eq!(config.engine.lease.as_secs(), 330);
        assert_eq!(config.engine.interval.as_mins(), 60);
        assert_eq!(config.engine.visibility_grace.as_secs(), 600);
        assert_eq!(
            (config.engine.initial_newest, config.engine.initial_days, config.fetch_window),
            (50, 30, 25)
        );
        assert!(config.push.is_none() && config.topic.is_none());
        let engine = Settings::default();
        assert_eq!(config.engine, engine);
        assert_eq!((config.page_size, config.call_repetitions), (500, Backoff::default().repetitions));
        assert_eq!((config.wait_max.as_secs(), config.long_poll_max.as_secs()), (25, 20));
        assert_eq!(config.retention, Retention::default());
        assert_eq!(config.quota, Quota::of(Regime::Current));
    }

    #[test]
    fn a_key_in_a_variable_is_taken_on_this_machine_only_and_never_shown() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let config = |key: &'static str, aws: Option<&'static str>| {
            Config::from_lookup(move |name| match name {
                "ENCRYPTION_KEY" => Some(key.to_owned()),
                "AWS_ENDPOINT_URL" => aws.map(str::to_owned),
                name => complete(name),
            })
        };
        let local = config(key, Some("http://127.0.0.1:4566")).expect("local");
        assert!(local.encryption_key.is_some() && !format!("{local:?}").contains(key));
        for aws in
            [None, Some(""), Some("https://dynamodb.eu-central-1.amazonaws.com"), Some("http://10.0.0.1")]
        {
            let refusal = config(key, aws).expect_err("deployed").to_string();
            assert!(
                refusal.starts_with("ENCRYPTION_KEY: is for a system of this machine"),
                "{aws:?}: {refusal}"
            );
            assert!(!refusal.contains(key));
        }
        let wrong = config("too short", Some("http://localhost:4566")).expect_err("no key").to_string();
        assert_eq!(wrong, "ENCRYPTION_KEY: must be 32 bytes in base64");
        assert!(Config::from_lookup(complete).expect("complete").encryption_key.is_none());
    }

    #[test]
    fn own_numbers_take_the_place_of_the_regimes() {
        let quota = |name, value| with(name, value).expect("a setting").quota;
        assert_eq!(quota("QUOTA_REGIME", "legacy"), Quota::of(Regime::Legacy));
        assert_eq!(quota("QUOTA_USER_MINUTE", "9000").address.units, 9_000);
        assert_eq!(quota("QUOTA_PROJECT_DAY", "5000000").project_day, Some(5_000_000));
        assert_eq!(quota("QUOTA_KEPT_PERCENT", "20").project.kept_percent, 20);
        let dearer = quota("QUOTA_PRICES", "messages.get=30, threads.get=60");
        assert_eq!((dearer.price(Method::MessagesGet), dearer.price(Method::Watch)), (30, 100));
        for (name, value) in [
            ("QUOTA_USER_MINUTE", "999"),
            ("QUOTA_PROJECT_MINUTE", "-1"),
            ("QUOTA_PRICES", "messages.get"),
            ("QUOTA_PRICES", "messages.fetch=3"),
            ("QUOTA_PRICES", "messages.get=0"),
        ] {
            assert!(with(name, value).expect_err(value).to_string().starts_with(name), "{value}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_bounds() {
        let complain = |name, value| with(name, value).expect_err("wrong").to_string();
        assert_eq!(complain("FETCH_WINDOW", "200"), r#"FETCH_WINDOW: must be 1 to 25, is "200""#);
        assert_eq!(complain("INITIAL_NEWEST", "many"), r#"INITIAL_NEWEST: must be 0 to 500, is "many""#);
        assert_eq!(complain("TABLE_NAME", " "), "TABLE_NAME: is required");
        assert_eq!(complain("PUSH_AUDIENCE", "us"), "PUSH_SERVICE_ACCOUNT: is required beside PUSH_AUDIENCE");
        assert!(
            complain("CHECKPOINT_SECONDS", "299").starts_with("CHECKPOINT_SECONDS: must be at most half")
        );
        assert_eq!(complain("WATCH", "true"), r#"WATCH: must be yes or no, is "true""#);
        for wrong in ["1,1", "5,1", "0", "1,2,", "10081", "a"] {
            let expected = format!(
                r#"DEBT_SCHEDULE_MINUTES: must be at most 12 numbers that grow, each 1 to 10080, is "{wrong}""#
            );
            assert_eq!(complain("DEBT_SCHEDULE_MINUTES", wrong), expected);
        }
        assert!(complain("QUOTA_REGIME", "free").starts_with("QUOTA_REGIME: must be current or legacy"));
    }

    #[test]
    fn our_own_address_is_https_or_this_machines() {
        let base = |value| with("APP_BASE_URL", value);
        assert!(base("https://mail.example.com").is_ok() && base("http://localhost:8080").is_ok());
        for bad in
            ["mail.example.com", "http://mail.example.com", "https://", "ftp://localhost", "https://a/#b"]
        {
            let said = base(bad).expect_err(bad).to_string();
            assert_eq!(said, "APP_BASE_URL: must be an https address, or http at localhost", "{bad}");
        }
        assert!(with("GOOGLE_AUTH_URL", "https://accounts.google.com/o/oauth2/v2/auth").is_ok());
        assert!(with("GOOGLE_AUTH_URL", "https://accounts.example.com/auth").is_err());
    }

    #[test]
    fn without_watches_there_is_no_topic_that_one_could_be_set_on() {
        let with_project = |watch: Option<&'static str>| {
            Config::from_lookup(move |name| match name {
                "GOOGLE_CLOUD_PROJECT_ID" => Some("project".to_owned()),
                "WATCH" => watch.map(str::to_owned),
                name => complete(name),
            })
        };
        let topic = |watch| with_project(watch).expect("complete").topic;
        assert_eq!(topic(None).as_deref(), Some("projects/project/topics/gmail-notifications"));
        assert_eq!(topic(Some("yes")), topic(None));
        assert_eq!(topic(Some("no")), None);
    }

    #[test]
    fn endpoints_are_googles_or_this_machines() {
        assert!(with("GMAIL_API_URL", "http://127.0.0.1:4100").is_ok());
        assert!(
            with("GMAIL_API_URL", "https://gmail.example.com")
                .expect_err("foreign")
                .to_string()
                .starts_with("GMAIL_API_URL")
        );
    }
}
