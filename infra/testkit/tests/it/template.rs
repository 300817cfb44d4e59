//! Claims about what is deployed, made of the translated template: SAM's transform adds to what the source says.

use std::{collections::BTreeSet, fs};

use serde_json::{Map, Value, json};

use crate::documents::quoted;

fn template() -> Value {
    testkit::translated_template().expect("`make tools` was run")
}

/// The resources of a type, by name.
fn of_type(template: &Value, kind: &str) -> Map<String, Value> {
    let all = template["Resources"].as_object().expect("resources").iter();
    let found: Map<String, Value> = all
        .filter(|(_, one)| one["Type"] == kind)
        .map(|(name, one)| (name.clone(), one["Properties"].clone()))
        .collect();
    assert!(!found.is_empty(), "the template has no {kind}");
    found
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// Every statement of a role, those of a policy under a condition included.
fn statements(role: &Value) -> Vec<&Value> {
    let policies = role["Policies"].as_array().expect("policies of its own").iter();
    let policies =
        policies.map(|policy| if policy["Fn::If"].is_array() { &policy["Fn::If"][1] } else { policy });
    policies
        .flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().expect("statements"))
        .collect()
}

fn actions(role: &Value) -> BTreeSet<String> {
    statements(role).into_iter().flat_map(|one| texts(&one["Action"])).map(str::to_owned).collect()
}

#[test]
fn the_table_of_permissions_is_what_the_translated_roles_allow() {
    let template = template();
    let root = testkit::workspace_root();
    let security = fs::read_to_string(root.join("docs/SECURITY.md")).expect("the document");
    let roles = of_type(&template, "AWS::IAM::Role");
    for (name, role) in &roles {
        let function = name.strip_suffix("Role").expect("named after its function").to_ascii_lowercase();
        assert!(role["ManagedPolicyArns"].is_null(), "{name} has what AWS put together for everybody");
        let row = security.lines().find(|line| line.starts_with(&format!("| {function} | `")));
        let row = row.unwrap_or_else(|| panic!("docs/SECURITY.md has no row of {function}"));
        let named: BTreeSet<String> = quoted(row).into_iter().map(str::to_owned).collect();
        let mut allowed = actions(role);
        // Said once above the table, for all of them.
        for everywhere in ["logs:CreateLogStream", "logs:PutLogEvents", "kms:Decrypt", "kms:GenerateDataKey"]
        {
            assert!(allowed.remove(everywhere), "{name} may not {everywhere}");
        }
        assert_eq!(named, allowed, "left: docs/SECURITY.md, right: the template, of {function}");
    }
    let functions = of_type(&template, "AWS::Lambda::Function");
    let own: BTreeSet<&str> =
        functions.values().filter_map(|function| function["Role"]["Fn::GetAtt"][0].as_str()).collect();
    assert_eq!(own, roles.keys().map(String::as_str).collect(), "a role a function");
    assert_eq!(own.len(), functions.len(), "no two functions share one");
}

#[test]
fn no_role_reaches_beyond_this_stack() {
    for (name, role) in of_type(&template(), "AWS::IAM::Role") {
        for statement in statements(&role) {
            assert_eq!(statement["Effect"], "Allow", "{name}");
            for action in texts(&statement["Action"]) {
                assert!(!action.contains('*'), "{name} allows {action}");
            }
            let resources = match &statement["Resource"] {
                Value::Array(resources) => resources.clone(),
                resource => vec![resource.clone()],
            };
            for resource in resources {
                // A text would be somebody else's, or everything.
                assert!(resource.is_object(), "{name} allows {} on {resource}", statement["Action"]);
                let text = resource["Fn::Sub"].as_str().unwrap_or("${");
                assert!(text.starts_with("${"), "{name} allows {} on {text}", statement["Action"]);
            }
        }
    }
}

#[test]
fn a_jobs_message_outlives_the_worker_that_holds_it_whatever_the_parameters() {
    let template = template();
    let timeouts =
        template["Parameters"]["WorkerTimeoutSeconds"]["AllowedValues"].as_array().expect("values");
    let mapped = template["Mappings"]["WorkerTimeout"].as_object().expect("a mapping");
    assert_eq!(mapped.len(), timeouts.len());
    for timeout in timeouts.iter().filter_map(Value::as_u64) {
        let visibility = mapped[&timeout.to_string()]["QueueVisibilitySeconds"].as_u64().expect("a number");
        assert!(visibility >= 6 * timeout, "AWS's own advice: {visibility} for {timeout}");
    }
    let sources = of_type(&template, "AWS::Lambda::EventSourceMapping");
    for (name, source) in &sources {
        // A batching window would come on top of the time that a message is held.
        assert_eq!(source["MaximumBatchingWindowInSeconds"], 0, "{name}");
        assert_eq!(texts(&source["FunctionResponseTypes"]), ["ReportBatchItemFailures"], "{name}");
        let concurrency = source["ScalingConfig"]["MaximumConcurrency"]["Ref"].as_str().expect("a parameter");
        assert_eq!(template["Parameters"][concurrency]["MinValue"], 2, "{concurrency}: AWS's least");
        let queue = source["EventSourceArn"]["Fn::GetAtt"][0].as_str().expect("a queue");
        let visibility = &template["Resources"][queue]["Properties"]["VisibilityTimeout"];
        assert_eq!(visibility["Fn::FindInMap"][0], "WorkerTimeout", "{queue}: {visibility}");
    }
    let worker = &template["Resources"]["WorkerFunction"]["Properties"];
    assert_eq!(worker["RecursiveLoop"], "Allow", "or Lambda ends a backfill at its sixteenth slice");
}

/// What a rule says to these values of parameters: the functions that rules may use.
fn holds(expression: &Value, values: &dyn Fn(&str) -> String) -> bool {
    let text =
        |value: &Value| value["Ref"].as_str().map_or_else(|| value.as_str().unwrap_or("").to_owned(), values);
    let (function, arguments) = expression.as_object().and_then(|one| one.iter().next()).expect("a function");
    let arguments = arguments.as_array().expect("arguments");
    match function.as_str() {
        "Fn::Equals" => text(&arguments[0]) == text(&arguments[1]),
        "Fn::Contains" => texts(&arguments[0]).contains(&text(&arguments[1]).as_str()),
        "Fn::Not" => !holds(&arguments[0], values),
        "Fn::And" => arguments.iter().all(|one| holds(one, values)),
        "Fn::Or" => arguments.iter().any(|one| holds(one, values)),
        other => panic!("{other} is unknown here"),
    }
}

/// The rules that these values break, all other parameters at their defaults.
fn broken(template: &Value, set: &[(&str, &str)]) -> Vec<String> {
    let values = |name: &str| {
        let default = &template["Parameters"][name]["Default"];
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        set.iter().find(|(given, _)| *given == name).map_or(default, |(_, value)| (*value).to_owned())
    };
    let rules = template["Rules"].as_object().expect("rules").iter();
    let applies = |rule: &Value| rule["RuleCondition"].is_null() || holds(&rule["RuleCondition"], &values);
    let breaks = |rule: &Value| {
        rule["Assertions"].as_array().expect("assertions").iter().any(|one| !holds(&one["Assert"], &values))
    };
    rules.filter(|(_, rule)| applies(rule) && breaks(rule)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn parameters_that_contradict_each_other_are_refused_before_anything_is_made() {
    let template = template();
    assert_eq!(broken(&template, &[]), Vec::<String>::new(), "the defaults fit");
    let allowed =
        |name: &str| template["Parameters"][name]["AllowedValues"].as_array().expect("values").clone();
    for timeout in allowed("WorkerTimeoutSeconds") {
        for checkpoint in allowed("CheckpointSeconds") {
            let fits = 2 * checkpoint.as_u64().expect("a number") <= timeout.as_u64().expect("a number");
            let set = [
                ("WorkerTimeoutSeconds", timeout.to_string()),
                ("CheckpointSeconds", checkpoint.to_string()),
            ];
            let set = set.each_ref().map(|(name, value)| (*name, value.as_str()));
            assert_eq!(broken(&template, &set).is_empty(), fits, "{set:?}");
        }
    }
    assert_eq!(broken(&template, &[("PushAudience", "us")]), ["PushesAreVerifiedWhole"]);
    assert_eq!(broken(&template, &[("PushServiceAccount", "us")]), ["PushesAreVerifiedWhole"]);
    assert!(broken(&template, &[("PushAudience", "us"), ("PushServiceAccount", "us")]).is_empty());
    assert_eq!(broken(&template, &[("GoogleClientSecret", "s")]), ["OauthClientIsWhole"]);
}

#[test]
fn each_queue_has_a_dead_letter_queue_that_takes_from_it_alone_and_keeps_longer() {
    let template = template();
    let queues = of_type(&template, "AWS::SQS::Queue");
    let working: Vec<_> = queues.iter().filter(|(_, queue)| !queue["RedrivePolicy"].is_null()).collect();
    assert_eq!(working.len() * 2, queues.len());
    for (name, queue) in working {
        let letters =
            queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0].as_str().expect("a queue");
        let letters = &queues[letters];
        let own = queue["QueueName"]["Fn::Sub"].as_str().expect("a name");
        let own = format!("arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{own}");
        let takes_from = json!({"redrivePermission": "byQueue", "sourceQueueArns": [{"Fn::Sub": own}]});
        assert_eq!(letters["RedriveAllowPolicy"], takes_from, "{name}'s");
        assert!(
            letters["MessageRetentionPeriod"].as_u64() > queue["MessageRetentionPeriod"].as_u64(),
            "{name}"
        );
        assert_eq!(
            queue["RedriveAllowPolicy"]["redrivePermission"], "denyAll",
            "{name} is nobody's dead letters"
        );
    }
}

#[test]
fn every_function_logs_where_logs_end_and_no_log_of_requests_is_about_people() {
    let template = template();
    let groups = of_type(&template, "AWS::Logs::LogGroup");
    for (name, group) in &groups {
        assert_eq!(group["RetentionInDays"]["Ref"], "LogRetentionDays", "{name}");
    }
    for (name, function) in of_type(&template, "AWS::Lambda::Function") {
        let group = function["LoggingConfig"]["LogGroup"]["Ref"].as_str().expect("a group");
        assert!(groups.contains_key(group), "{name} logs to {group}");
    }
    for (_, stage) in of_type(&template, "AWS::ApiGatewayV2::Stage") {
        let format = stage["AccessLogSettings"]["Format"].as_str().expect("a format");
        assert!(serde_json::from_str::<Value>(format).is_ok(), "{format}");
        for personal in ["identity", "sourceIp", "userAgent", ".path", "authorizer", "querystring"] {
            assert!(!format.contains(personal), "the log of requests has {personal}");
        }
        assert!(stage["DefaultRouteSettings"]["ThrottlingRateLimit"]["Ref"].is_string());
        assert!(stage["DefaultRouteSettings"]["ThrottlingBurstLimit"]["Ref"].is_string());
    }
}

#[test]
fn what_is_stored_survives_mistakes_and_is_read_over_tls_alone() {
    let template = template();
    let resources = &template["Resources"];
    let table = &resources["Table"]["Properties"];
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(table["DeletionProtectionEnabled"]["Ref"], "DeletionProtection");
    assert_eq!(table["TimeToLiveSpecification"]["AttributeName"], "ttl");
    assert_eq!(table["StreamSpecification"]["StreamViewType"], "NEW_IMAGE");
    for kept in ["Table", "Bucket", "EncryptionSecret"] {
        assert_eq!(resources[kept]["DeletionPolicy"], "RetainExceptOnCreate", "{kept}");
        assert_eq!(resources[kept]["UpdateReplacePolicy"], "Retain", "{kept}");
    }
    let public =
        resources["Bucket"]["Properties"]["PublicAccessBlockConfiguration"].as_object().expect("a block");
    assert!(public.len() == 4 && public.values().all(|blocked| *blocked == true), "{public:?}");
    let tls = &resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"][0];
    assert_eq!(
        (&tls["Effect"], &tls["Condition"]["Bool"]["aws:SecureTransport"]),
        (&"Deny".into(), &"false".into())
    );
}

#[test]
fn every_schedule_has_a_payload_to_try_it_with() {
    let events = testkit::workspace_root().join("events");
    for (name, rule) in of_type(&template(), "AWS::Events::Rule") {
        let input = rule["Targets"][0]["Input"].as_str().expect("an input");
        let tick: Value = serde_json::from_str(input).expect("JSON");
        let file = events.join(format!("cron-{}.json", tick["task"].as_str().expect("a task")));
        let payload =
            fs::read_to_string(&file).unwrap_or_else(|_| panic!("{name} has no {}", file.display()));
        assert_eq!(serde_json::from_str::<Value>(&payload).expect("JSON"), tick, "{}", file.display());
    }
}

#[test]
fn every_kind_of_resource_is_compared_with_the_emulators_in_the_document() {
    let document = fs::read_to_string(testkit::workspace_root().join("docs/LOCAL.md")).expect("the document");
    let template = template();
    let kinds = template["Resources"].as_object().expect("resources").values();
    let kinds: BTreeSet<&str> = kinds.filter_map(|one| one["Type"].as_str()).collect();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `AWS::")?.split('`').next());
    let rows: BTreeSet<String> = rows.map(|kind| format!("AWS::{kind}")).collect();
    assert_eq!(
        rows,
        kinds.into_iter().map(str::to_owned).collect(),
        "left: docs/LOCAL.md, right: the template"
    );
}
