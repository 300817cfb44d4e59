//! Logs: one JSON line for one outcome, on standard output, where Lambda collects it.
//!
//! Whatever the spans around an event say (its trace above all) stands in its line, beside the event's own fields.
//! Invariant: a level that an operator asks for is ours alone. What foreign crates say below a warning may quote what
//! they carry, and that is people's mail, so it is not written.

use std::{fmt, str::FromStr as _};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::{LookupSpan, Scope},
};

/// Crates of ours, and the functions themselves.
const OURS: [&str; 10] = [
    "sync_core",
    "sync_gmail",
    "sync_store",
    "sync_queue",
    "sync_app",
    "sync_lambda",
    "webhook",
    "api",
    "cron",
    "worker",
];

/// Starts logging. `LOG_LEVEL` is a level, or a filter such as `warn,sync_app=debug`; a wrong one means `info`.
pub fn init() {
    let filter = filter(std::env::var("LOG_LEVEL").ok().as_deref());
    // Fails only when a test has started it already.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .fmt_fields(JsonFields::new())
            .event_format(OneLine)
            .try_init(),
    );
}

fn filter(asked: Option<&str>) -> EnvFilter {
    let asked = asked.map(str::trim).filter(|asked| !asked.is_empty()).unwrap_or("info");
    let directives = match LevelFilter::from_str(asked) {
        Ok(level) => of_level(level),
        Err(_) => asked.to_owned(),
    };
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(of_level(LevelFilter::INFO)))
}

fn of_level(level: LevelFilter) -> String {
    let foreign = level.min(LevelFilter::WARN);
    OURS.iter().fold(foreign.to_string(), |directives, ours| format!("{directives},{ours}={level}"))
}

/// A flat JSON object on a line of its own.
struct OneLine;

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        // The innermost span speaks last, and the event after it.
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
            if let Some(Ok(Value::Object(fields))) = fields.map(serde_json::from_str) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        line.insert("timestamp".to_owned(), Value::from(jiff::Timestamp::now().to_string()));
        line.insert("level".to_owned(), Value::from(event.metadata().level().as_str()));
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Puts an event's fields into its line.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, i64::try_from(value).map_or_else(|_| Value::from(value.to_string()), Value::from));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, u64::try_from(value).map_or_else(|_| Value::from(value.to_string()), Value::from));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one writer").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn lines(level: &str, log: impl FnOnce()) -> Vec<Value> {
        let written = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(Some(level)))
            .fmt_fields(JsonFields::new())
            .event_format(OneLine)
            .with_writer(written.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().expect("one writer").clone();
        let text = String::from_utf8(bytes).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
    }

    #[test]
    fn every_line_of_a_job_has_its_trace_whatever_the_level() {
        let log = || {
            let span = tracing::error_span!("job", trace = "t-1", mailbox.id = %"mbx_1");
            span.in_scope(|| {
                tracing::warn!(mailbox.id = %"mbx_2", count = 3_u64, duration_ms = 7_i128, "a \"sentence\"\nof two lines");
                tracing::info!("not at this level");
            });
        };
        let found = lines("warn", log);
        assert_eq!(found.len(), 1, "{found:?}");
        let line = &found[0];
        assert_eq!(
            (&line["trace"], &line["count"], &line["duration_ms"]),
            (&"t-1".into(), &3.into(), &7.into())
        );
        assert_eq!(line["mailbox.id"], "mbx_2", "the event knows better than its span");
        assert_eq!(
            (&line["level"], &line["message"]),
            (&"WARN".into(), &"a \"sentence\"\nof two lines".into())
        );
    }

    #[test]
    fn a_level_is_ours_and_foreign_crates_stay_at_warnings() {
        let found = lines("trace", || {
            tracing::debug!(target: "hyper::proto", "a header of somebody's");
            tracing::info!(target: "aws_smithy_runtime", "a body of somebody's");
            tracing::warn!(target: "aws_smithy_runtime", "slow");
            tracing::trace!(target: "sync_store::table", "ours");
        });
        let said: Vec<&str> = found.iter().filter_map(|line| line["message"].as_str()).collect();
        assert_eq!(said, ["slow", "ours"]);
        assert!(lines("error", || tracing::warn!(target: "hyper", "no")).is_empty());
        assert_eq!(lines("sync_app=loud", || tracing::info!("ours")).len(), 1, "a wrong one means info");
    }
}
