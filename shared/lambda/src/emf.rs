//! Metrics, in CloudWatch's embedded metric format: one JSON line on standard output, which CloudWatch Logs turns
//! into metrics by itself. No call, no wait, no permission.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
//!
//! Invariant: written whatever `LOG_LEVEL` says, for an alarm must not depend on it. Dimensions are the stack and the
//! function, never a mailbox. Deliberately absent: sums over several outcomes; CloudWatch adds up.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sync_app::metrics::Measures;

/// The namespace of all our metrics.
pub const NAMESPACE: &str = "GmailSync";

/// Where a function's metrics are from.
#[derive(Debug, Clone)]
pub struct Emf {
    stack: String,
    function: &'static str,
}

impl Emf {
    /// Of this function of this stack.
    pub fn new(stack: &str, function: &'static str) -> Self {
        Self { stack: stack.to_owned(), function }
    }

    /// Writes what was measured; nothing when that is nothing.
    pub fn write(&self, measures: &Measures) {
        let Some(mut line) = self.line(measures, Timestamp::now()) else { return };
        line.push('\n');
        // In one call, so that lines of jobs side by side do not mix. Output that nobody takes is lost, not fatal.
        let _lost = std::io::stdout().lock().write_all(line.as_bytes());
    }

    fn line(&self, measures: &Measures, now: Timestamp) -> Option<String> {
        if measures.is_empty() {
            return None;
        }
        let definitions: Vec<Value> = measures
            .iter()
            .map(|(metric, _)| json!({ "Name": metric.name(), "Unit": metric.unit() }))
            .collect();
        let metadata = json!({
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["Stack"], ["Stack", "Function"]],
                "Metrics": definitions,
            }],
        });
        let mut line = Map::from_iter([
            ("_aws".to_owned(), metadata),
            ("Stack".to_owned(), Value::from(self.stack.as_str())),
            ("Function".to_owned(), Value::from(self.function)),
        ]);
        line.extend(measures.iter().map(|(metric, value)| (metric.name(), Value::from(value))));
        Some(Value::Object(line).to_string())
    }
}

#[cfg(test)]
mod tests {
    use sync_app::metrics::Metric;

    use super::*;

    #[test]
    fn a_line_is_what_awss_schema_asks_for_with_every_metric() {
        let schema: Value = serde_json::from_str(include_str!("../tests/emf.schema.json")).expect("JSON");
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        let all = Metric::ALL.into_iter().fold(Measures::default(), |all, metric| all.with(metric, 1.5));
        let line = Emf::new("gmail-sync", "worker").line(&all, Timestamp::now()).expect("a line");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let errors: Vec<String> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let defined = value["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("definitions");
        // CloudWatch takes a hundred metrics and drops a definition whose member is missing.
        assert!((1..=100).contains(&defined.len()));
        for one in defined {
            assert!(value[one["Name"].as_str().expect("a name")].is_number(), "{one}");
        }
        let mut broken = value;
        broken["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"] = "Mails".into();
        assert!(!schema.is_valid(&broken), "the schema refuses what is wrong");
    }

    #[test]
    fn nothing_measured_is_no_line() {
        assert_eq!(Emf::new("s", "api").line(&Measures::default(), Timestamp::now()), None);
    }
}
