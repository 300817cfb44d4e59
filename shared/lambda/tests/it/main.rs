//! `docs/CONFIGURATION.md`, `template.yaml` and the code say the same about every setting; and a batch with poison.

mod poison;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use sync_lambda::Config;

/// Read before the configuration is: a log line must be possible when it is wrong.
const READ_BY_TELEMETRY: &str = "LOG_LEVEL";
/// Read from a variable on this machine only, so that the template must not have it.
const LOCAL: &str = "ENCRYPTION_KEY";
/// Stands for "no value" in the document.
const NONE: &str = "";

/// A row of one of the document's tables, by the titles of its columns; backticks are dropped.
type Row = BTreeMap<String, String>;

fn repository(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rows of every table that has this column.
fn documented(column: &str) -> Vec<Row> {
    let document = repository("docs/CONFIGURATION.md");
    let mut rows = Vec::new();
    let mut titles: Vec<String> = Vec::new();
    for line in document.lines() {
        let Some(inside) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            titles.clear();
            continue;
        };
        let cells: Vec<String> = inside.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        if titles.is_empty() {
            titles = cells;
        } else if titles.iter().any(|title| title == column) && !cells[0].starts_with("---") {
            assert_eq!(cells.len(), titles.len(), "a row of another width: {line}");
            rows.push(titles.iter().cloned().zip(cells).collect());
        }
    }
    assert!(!rows.is_empty(), "no table has a column {column}");
    rows
}

/// Lines below `heading:` at the top level of the template, without it.
fn section(heading: &str) -> Vec<String> {
    let template = repository("template.yaml");
    let after = template.lines().skip_while(|line| *line != format!("{heading}:")).skip(1);
    let lines: Vec<String> =
        after.take_while(|line| line.is_empty() || line.starts_with(' ')).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "the template has no {heading}");
    lines
}

/// The functions' environment: variable, and what the template gives it.
fn environment() -> BTreeMap<String, String> {
    let globals = section("Globals");
    let after = globals.iter().skip_while(|line| line.trim() != "Variables:").skip(1);
    let pairs = after.map_while(|line| line.strip_prefix("        ")?.split_once(": !Ref "));
    pairs.map(|(name, of)| (name.to_owned(), of.to_owned())).collect()
}

/// The template's parameters with their properties.
fn parameters() -> BTreeMap<String, Row> {
    let mut parameters: BTreeMap<String, Row> = BTreeMap::new();
    let mut name = String::new();
    for line in section("Parameters") {
        match line.strip_prefix("    ") {
            Some(property) => {
                let (key, value) = property.split_once(": ").expect("a property");
                let value = value.trim_matches('"').to_owned();
                parameters.get_mut(&name).expect("its parameter").insert(key.to_owned(), value);
            }
            None if line.trim().is_empty() => {}
            None => {
                line.trim().trim_end_matches(':').clone_into(&mut name);
                parameters.insert(name.clone(), Row::new());
            }
        }
    }
    parameters
}

/// A parameter's bounds as the document writes them.
fn bounds(parameter: &Row) -> String {
    let property = |name: &str| parameter.get(name).map(String::as_str);
    match (property("MinValue"), property("MaxValue"), property("AllowedValues")) {
        (Some(least), Some(most), None) => format!("{least} to {most}"),
        (Some(least), None, None) => format!("{least} or more"),
        (None, None, Some(values)) => values.trim_matches(['[', ']']).replace('"', ""),
        _ => NONE.to_owned(),
    }
}

fn complete(name: &str) -> Option<String> {
    Some(match name {
        LOCAL | "GMAIL_API_URL" | "GOOGLE_OAUTH_URL" | "GOOGLE_CERTS_URL" | "GOOGLE_AUTH_URL" => return None,
        "APP_BASE_URL" | "GOOGLE_REDIRECT_URI" => "https://mail.example.com".to_owned(),
        name if name.starts_with("QUOTA_") || name.starts_with("TOKEN_REQUESTS_") => return None,
        "WORKER_TIMEOUT_SECONDS" => "900".to_owned(),
        "WATCH" => "yes".to_owned(),
        "WAIT_SECONDS" | "LONG_POLL_SECONDS" => "20".to_owned(),
        "BATCH_MAX" | "PAGE_SIZE" | "CALL_REPETITIONS" | "COOLDOWN_FAILURES" => "1".to_owned(),
        name if name.ends_with("_SECONDS") || name.ends_with("_MINUTES") => "60".to_owned(),
        name if name.starts_with("INITIAL_") || name == "FETCH_WINDOW" => "1".to_owned(),
        name if name.starts_with("MASS_DELETION_") || name.ends_with("_DAYS") => "1".to_owned(),
        name => format!("the-{name}"),
    })
}

/// Every variable that the code reads, found by letting it read.
fn read_by_the_code() -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::from([READ_BY_TELEMETRY.to_owned()]));
    Config::from_lookup(|name| {
        asked.borrow_mut().insert(name.to_owned());
        complete(name)
    })
    .expect("a complete configuration");
    asked.into_inner()
}

/// What the code says to this value; `None` when it takes it.
fn complaint(variable: &str, value: &str) -> Option<String> {
    let lookup = |name: &str| if name == variable { Some(value.to_owned()) } else { complete(name) };
    Config::from_lookup(lookup).err().map(|error| error.to_string())
}

#[test]
fn document_template_and_code_name_the_same_variables() {
    let table: BTreeSet<String> = documented("variable").iter().map(|row| row["variable"].clone()).collect();
    let template: BTreeSet<String> = environment().into_keys().collect();
    let mut read = read_by_the_code();
    assert!(read.remove(LOCAL) && repository("docs/CONFIGURATION.md").contains(&format!("`{LOCAL}`")));
    assert_eq!(template, read, "left: template.yaml, right: the code");
    assert_eq!(table, template, "left: docs/CONFIGURATION.md, right: template.yaml");
}

#[test]
fn every_variable_is_documented_with_its_parameter_default_and_bounds() {
    let (environment, parameters) = (environment(), parameters());
    for row in documented("variable") {
        let variable = &row["variable"];
        let source = &environment[variable];
        let Some(parameter) = parameters.get(source) else {
            let resource = format!("  {source}:");
            // What CloudFormation itself knows, such as the stack's name, is no resource and needs no parameter.
            assert!(
                source.starts_with("AWS::") || section("Resources").contains(&resource),
                "{variable} is of {source}, which is not there"
            );
            assert_eq!(row["parameter"], NONE, "{variable} is of a resource");
            continue;
        };
        assert_eq!(&row["parameter"], source, "{variable}");
        assert_eq!(row["default"], parameter["Default"], "{variable}");
        assert_eq!(row["bounds"], bounds(parameter), "{variable}");
    }
}

#[test]
fn every_other_parameter_is_documented_with_its_default_and_bounds() {
    let parameters = parameters();
    let passed_on: BTreeSet<String> = environment().into_values().collect();
    let others: BTreeSet<String> =
        parameters.keys().filter(|name| !passed_on.contains(*name)).cloned().collect();
    let rows: Vec<Row> =
        documented("parameter").into_iter().filter(|row| !row.contains_key("variable")).collect();
    let table: BTreeSet<String> = rows.iter().map(|row| row["parameter"].clone()).collect();
    assert_eq!(table, others, "left: docs/CONFIGURATION.md, right: template.yaml");
    for row in &rows {
        let parameter = &parameters[&row["parameter"]];
        assert_eq!(row["default"], parameter["Default"], "{}", row["parameter"]);
        assert_eq!(row["bounds"], bounds(parameter), "{}", row["parameter"]);
    }
}

#[test]
fn the_code_keeps_the_documented_bounds_and_names_them() {
    let mut bounded = 0;
    for row in documented("variable") {
        let variable = &row["variable"];
        let Some((least, most)) = row["bounds"].split_once(" to ") else { continue };
        let (least, most): (i64, i64) = (least.parse().expect("a number"), most.parse().expect("a number"));
        for outside in [least - 1, most + 1] {
            let said = complaint(variable, &outside.to_string()).expect("out of bounds");
            assert_eq!(said, format!(r#"{variable}: must be {least} to {most}, is "{outside}""#));
        }
        // The least time-out leaves no room for the checkpoint of this test's configuration.
        let fitting = if variable == "WORKER_TIMEOUT_SECONDS" { vec![most] } else { vec![least, most] };
        for inside in fitting {
            assert_eq!(complaint(variable, &inside.to_string()), None, "{variable}={inside}");
        }
        bounded += 1;
    }
    assert!(bounded >= 7, "only {bounded} settings have bounds");
}

#[test]
fn the_code_and_the_template_have_the_same_defaults() {
    let parameters = parameters();
    let default = |name: &str| parameters[name]["Default"].clone();
    let bare = |name: &str| {
        let of_a_resource = ["_NAME", "_URL", "_ID"].iter().any(|ending| name.ends_with(ending))
            && !name.starts_with('G')
            && name != "APP_BASE_URL";
        of_a_resource.then(|| format!("the-{name}"))
    };
    let config = Config::from_lookup(bare).expect("only what has no default");
    assert_eq!(config.gmail_api_url.as_str().trim_end_matches('/'), default("GmailApiUrl"));
    assert_eq!(config.google_oauth_url.as_str().trim_end_matches('/'), default("GoogleOauthUrl"));
    assert_eq!(config.google_certs_url.as_str(), default("GoogleCertsUrl"));
    assert_eq!(config.google_auth_url.as_str(), default("GoogleAuthUrl"));
    assert_eq!(config.checkpoint.as_secs().to_string(), default("CheckpointSeconds"));
    assert_eq!(config.fetch_window.to_string(), default("FetchWindow"));
    let engine = &config.engine;
    // The lease is the worker's time-out and half a minute.
    assert_eq!((engine.lease.as_secs() - 30).to_string(), default("WorkerTimeoutSeconds"));
    assert_eq!(engine.interval.as_mins().to_string(), default("SyncIntervalMinutes"));
    assert_eq!(
        engine.interval_without_watch.as_mins().to_string(),
        default("SyncIntervalWithoutWatchMinutes")
    );
    assert_eq!(engine.visibility_grace.as_secs().to_string(), default("VisibilityGraceSeconds"));
    assert_eq!(engine.probe_interval.as_mins().to_string(), default("ProbeIntervalMinutes"));
    assert_eq!(engine.initial_newest.to_string(), default("InitialNewest"));
    assert_eq!(config.rate.per_minute.to_string(), default("TokenRequestsPerMinute"));
    assert_eq!(config.rate.burst.to_string(), default("TokenRequestsBurst"));
    assert_eq!(engine.initial_days.to_string(), default("InitialDays"));
    assert_eq!(engine.batch_max.to_string(), default("BatchMax"));
    assert_eq!(engine.cooldown_failures.to_string(), default("CooldownFailures"));
    assert_eq!(engine.cooldown.as_mins().to_string(), default("CooldownMinutes"));
    let waits = (1..=6).filter_map(|tries| engine.debts.delay(tries)).map(|wait| wait.as_mins().to_string());
    assert_eq!(waits.collect::<Vec<_>>().join(","), default("DebtScheduleMinutes"));
    let tries = (1..1_000).map_while(|tries| engine.debts.delay(tries)).count();
    assert_eq!((tries - 5).to_string(), default("DebtDays"), "daily for so many days, after the first five");
    assert_eq!(config.page_size.to_string(), default("PageSize"));
    assert_eq!(config.call_repetitions.to_string(), default("CallRepetitions"));
    assert_eq!(config.wait_max.as_secs().to_string(), default("WaitSeconds"));
    assert_eq!(config.long_poll_max.as_secs().to_string(), default("LongPollSeconds"));
}

#[test]
fn a_lease_outlives_the_worker_that_holds_it_and_lapses_before_its_job_comes_again() {
    let allowed = |name: &str| -> Vec<i64> {
        let values = bounds(&parameters()[name]);
        values.split(", ").map(|value| value.parse().expect("a number")).collect()
    };
    for timeout in allowed("WorkerTimeoutSeconds") {
        for checkpoint in allowed("CheckpointSeconds") {
            let config = Config::from_lookup(|name| match name {
                "WORKER_TIMEOUT_SECONDS" => Some(timeout.to_string()),
                "CHECKPOINT_SECONDS" => Some(checkpoint.to_string()),
                name => complete(name),
            });
            // As the template's rules have it; see infra/testkit/tests/it/template.rs.
            assert_eq!(config.is_ok(), 2 * checkpoint <= timeout, "{checkpoint} of {timeout}");
            let Ok(config) = config else { continue };
            let lease = config.engine.lease.as_secs();
            assert!(timeout < lease && lease < 6 * timeout, "a lease of {lease} s, workers of {timeout} s");
        }
    }
}
