//! Alarms, judged as CloudWatch judges them, over the metrics that functions really wrote.
//!
//! The emulator evaluates no metrics out of logs, and no dimensions. So the alarms are taken from it as the template
//! made them, the numbers from the functions' own lines, and both are put together here by CloudWatch's rules: the
//! namespace, the name and all dimensions of an alarm must be those of a metric, to the letter.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// One value of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub at: Timestamp,
    pub namespace: String,
    pub name: String,
    /// Sorted.
    pub dimensions: Vec<(String, String)>,
    pub value: f64,
}

/// The values of a line in the embedded metric format, one for each set of dimensions; nothing for any other line.
pub fn extract(line: &str) -> Vec<Datum> {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let Some(at) = line["_aws"]["Timestamp"].as_i64() else { return Vec::new() };
    let at = Timestamp::from_millisecond(at).expect("a time");
    let mut data = Vec::new();
    for directive in line["_aws"]["CloudWatchMetrics"].as_array().expect("directives") {
        for names in directive["Dimensions"].as_array().expect("sets of dimensions") {
            let names = names.as_array().expect("names").iter().map(text);
            let mut dimensions: Vec<(String, String)> =
                names.map(|name| (name.clone(), text(&line[&name]))).collect();
            dimensions.sort();
            for metric in directive["Metrics"].as_array().expect("metrics") {
                let name = text(&metric["Name"]);
                let value = line[&name].as_f64().unwrap_or_else(|| panic!("{name} has no value: {line}"));
                let (namespace, dimensions) = (text(&directive["Namespace"]), dimensions.clone());
                data.push(Datum { at, namespace, name, dimensions, value });
            }
        }
    }
    data
}

/// An alarm as it was deployed.
#[derive(Debug)]
pub struct Alarm<'a>(pub &'a Value);

impl Alarm<'_> {
    /// Its logical name in the template.
    pub fn name(&self) -> String {
        let name = text(&self.0["AlarmName"]);
        name.split('-').find(|part| part.ends_with("Alarm")).map_or(name.clone(), str::to_owned)
    }

    /// The metric that it is about.
    pub fn metric(&self) -> String {
        text(&self.0["MetricName"])
    }

    fn dimensions(&self) -> Vec<(String, String)> {
        let dimensions = self.0["Dimensions"].as_array().expect("dimensions").iter();
        let mut dimensions: Vec<(String, String)> =
            dimensions.map(|one| (text(&one["Name"]), text(&one["Value"]))).collect();
        dimensions.sort();
        dimensions
    }

    /// Whether this value is of its metric.
    pub fn is_about(&self, datum: &Datum) -> bool {
        datum.name == self.metric()
            && datum.namespace == text(&self.0["Namespace"])
            && datum.dimensions == self.dimensions()
    }

    /// Whether it is in alarm at that time: all of its last periods breach.
    pub fn rings(&self, data: &[Datum], now: Timestamp) -> bool {
        let period = SignedDuration::from_secs(self.0["Period"].as_i64().expect("a period"));
        let periods = i32::try_from(self.0["EvaluationPeriods"].as_i64().expect("periods")).expect("few");
        (0..periods).all(|back| {
            let (from, to) = (now - period * (back + 1), now - period * back);
            let in_period = |datum: &&Datum| self.is_about(datum) && datum.at > from && datum.at <= to;
            let values: Vec<f64> = data.iter().filter(in_period).map(|datum| datum.value).collect();
            if values.is_empty() { self.breaches_by_silence() } else { self.breaches(self.statistic(values)) }
        })
    }

    fn breaches_by_silence(&self) -> bool {
        match text(&self.0["TreatMissingData"]).as_str() {
            "breaching" => true,
            "notBreaching" => false,
            other => panic!("{}: TreatMissingData {other} is not used here", self.name()),
        }
    }

    fn breaches(&self, value: f64) -> bool {
        let threshold = self.0["Threshold"].as_f64().expect("a threshold");
        match text(&self.0["ComparisonOperator"]).as_str() {
            "GreaterThanThreshold" => value > threshold,
            "GreaterThanOrEqualToThreshold" => value >= threshold,
            "LessThanThreshold" => value < threshold,
            "LessThanOrEqualToThreshold" => value <= threshold,
            other => panic!("{}: {other} is no comparison", self.name()),
        }
    }

    fn statistic(&self, mut values: Vec<f64>) -> f64 {
        let count = u32::try_from(values.len()).expect("few");
        values.sort_by(f64::total_cmp);
        if let Some(percentile) = self.0["ExtendedStatistic"].as_str() {
            let percent: usize = percentile.trim_start_matches('p').parse().expect("p and a number");
            let index = (values.len() * percent).div_ceil(100).max(1) - 1;
            return values[index];
        }
        match text(&self.0["Statistic"]).as_str() {
            "Sum" => values.iter().sum(),
            "Average" => values.iter().sum::<f64>() / f64::from(count),
            "Maximum" => values[values.len() - 1],
            "Minimum" => values[0],
            other => panic!("{}: {other} is no statistic", self.name()),
        }
    }
}

/// The names of the alarms that ring.
pub fn ringing(alarms: &[Value], data: &[Datum], now: Timestamp) -> Vec<String> {
    let alarms = alarms.iter().map(Alarm).filter(|alarm| alarm.rings(data, now));
    let mut names: Vec<String> = alarms.map(|alarm| alarm.name()).collect();
    names.sort();
    names
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
