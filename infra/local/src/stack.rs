//! Deploys this repository's own `template.yaml` to the emulator, through CloudFormation.
//!
//! Invariant: the template is deployed as it is, but for two things. Each `CodeUri` names the uploaded package
//! instead of the folder, which is what `sam deploy` does to it as well. And each `MaximumConcurrency` is a
//! number instead of a reference to a parameter: the emulator keeps a parameter's text, compares it with a
//! number, and from then on polls no queue.

use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudformation::{
    Client as CloudFormation,
    config::Credentials,
    error::DisplayErrorContext,
    types::{Capability, Parameter, StackStatus},
};
use aws_sdk_s3::{Client as S3, primitives::ByteStream};

use crate::functions::{FUNCTIONS, workspace_root};

/// Name of the stack.
pub const STACK: &str = "gmail-sync";
/// Where the packages are uploaded to.
const ARTIFACTS: &str = "gmail-sync-artifacts";
/// The template beside them.
const TEMPLATE: &str = "template.yaml";
/// The emulator's region.
pub const REGION: &str = "us-east-1";
/// The emulator takes any credentials; these say what they are.
pub const CREDENTIAL: &str = "test";
/// Longest wait for the stack: it needs seconds.
const DEPLOY_MAX: Duration = Duration::from_mins(2);
/// Between two looks at the stack.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the stack says about itself.
#[derive(Debug, Clone)]
pub struct Outputs(BTreeMap<String, String>);

impl Outputs {
    /// An output by its name in the template.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("the template has no output {name}, which the local system needs"))
    }
}

/// Clients for the emulator at this URL.
pub async fn sdk_config(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(CREDENTIAL, CREDENTIAL, None, None, "local"))
        .load()
        .await
}

fn s3(config: &SdkConfig) -> S3 {
    S3::from_conf(aws_sdk_s3::config::Builder::from(config).force_path_style(true).build())
}

/// Uploads the packages of all functions, as `package` makes them.
pub async fn upload<P>(config: &SdkConfig, package: P) -> Result<()>
where
    P: Fn(&str) -> Result<Vec<u8>> + Clone + Send + 'static,
{
    let client = s3(config);
    client.create_bucket().bucket(ARTIFACTS).send().await.map_err(shown).context("cannot create a bucket")?;
    for function in FUNCTIONS {
        let make = package.clone();
        let package = tokio::task::spawn_blocking(move || make(function)).await??;
        client
            .put_object()
            .bucket(ARTIFACTS)
            .key(format!("{function}.zip"))
            .body(ByteStream::from(package))
            .send()
            .await
            .map_err(shown)
            .with_context(|| format!("cannot upload {function}"))?;
    }
    Ok(())
}

/// Deploys the template with these parameters and waits until it stands.
pub async fn deploy(config: &SdkConfig, parameters: &[(String, String)]) -> Result<Outputs> {
    let path = workspace_root().join("template.yaml");
    let template =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let template = with_numbers(&with_packages(&template), parameters)?;
    let client = CloudFormation::new(config);
    let mut request = client
        .create_stack()
        .stack_name(STACK)
        .template_url(uploaded(config, template).await?)
        .capabilities(Capability::CapabilityIam)
        .capabilities(Capability::CapabilityAutoExpand);
    for (name, value) in parameters {
        request = request.parameters(Parameter::builder().parameter_key(name).parameter_value(value).build());
    }
    request.send().await.map_err(shown).context("CloudFormation refuses template.yaml")?;
    wait_until_complete(&client).await
}

/// The template's address: with a request itself, CloudFormation takes no more than 51,200 bytes.
async fn uploaded(config: &SdkConfig, template: String) -> Result<String> {
    let client = s3(config);
    let put = client.put_object().bucket(ARTIFACTS).key(TEMPLATE).body(template.into_bytes().into());
    put.send().await.map_err(shown).context("cannot upload the template")?;
    let endpoint = config.endpoint_url().context("the emulated AWS has an address")?;
    Ok(format!("{}/{ARTIFACTS}/{TEMPLATE}", endpoint.trim_end_matches('/')))
}

async fn wait_until_complete(client: &CloudFormation) -> Result<Outputs> {
    let deadline = Instant::now() + DEPLOY_MAX;
    loop {
        let answer = client.describe_stacks().stack_name(STACK).send().await.map_err(shown)?;
        let stack = answer.stacks().first().context("the stack vanished")?;
        match stack.stack_status() {
            Some(StackStatus::CreateComplete) => {
                let outputs = stack.outputs().iter().filter_map(|output| {
                    Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()))
                });
                return Ok(Outputs(outputs.collect()));
            }
            Some(StackStatus::CreateInProgress) | None if Instant::now() < deadline => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            status => {
                let status = status.map_or("nothing", StackStatus::as_str);
                bail!("the stack says {status}:\n{}", failures(client).await);
            }
        }
    }
}

/// Why resources failed, oldest first.
async fn failures(client: &CloudFormation) -> String {
    let Ok(answer) = client.describe_stack_events().stack_name(STACK).send().await else {
        return "and CloudFormation does not say why".to_owned();
    };
    let mut lines: Vec<String> = answer
        .stack_events()
        .iter()
        .filter(|event| event.resource_status().is_some_and(|status| status.as_str().ends_with("FAILED")))
        .map(|event| {
            let resource = event.logical_resource_id().unwrap_or("?");
            format!("  {resource}: {}", event.resource_status_reason().unwrap_or("no reason given"))
        })
        .collect();
    lines.reverse();
    lines.join("\n")
}

/// The template with every function's folder replaced by its uploaded package.
fn with_packages(template: &str) -> String {
    let mut text = String::with_capacity(template.len() + 256);
    for line in template.lines() {
        let function =
            line.trim_start().strip_prefix("CodeUri: functions/").map(|rest| rest.trim_end_matches('/'));
        if let Some(function) = function {
            let indent = &line[..line.len() - line.trim_start().len()];
            text.push_str(indent);
            text.push_str("CodeUri: s3://");
            text.push_str(ARTIFACTS);
            text.push('/');
            text.push_str(function);
            text.push_str(".zip");
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// The template with the value of its parameter in place of each reference that must be a number.
fn with_numbers(template: &str, parameters: &[(String, String)]) -> Result<String> {
    const REFERENCE: &str = "MaximumConcurrency: !Ref ";
    let mut text = String::with_capacity(template.len());
    for line in template.lines() {
        if let Some((indent, name)) = line.split_once(REFERENCE) {
            let given =
                parameters.iter().find(|(parameter, _)| parameter == name).map(|(_, value)| value.as_str());
            let value = given
                .or_else(|| default_of(template, name))
                .with_context(|| format!("parameter {name} has neither a value nor a default"))?;
            let _ = writeln!(text, "{indent}MaximumConcurrency: {value}");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    Ok(text)
}

/// A parameter's default, in the template as it is written here: one property a line.
fn default_of<'a>(template: &'a str, parameter: &str) -> Option<&'a str> {
    let mut lines = template.lines().skip_while(|line| *line != format!("  {parameter}:")).skip(1);
    lines
        .by_ref()
        .take_while(|line| line.starts_with("    "))
        .find_map(|line| line.trim().strip_prefix("Default: "))
}

/// An SDK's error with its causes: by itself it says "service error".
fn shown<E: std::error::Error>(error: E) -> anyhow::Error {
    anyhow::anyhow!("{}", DisplayErrorContext(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concurrency_is_the_given_value_or_the_default() {
        let template = "Parameters:\n  N:\n    Type: Number\n    Default: 50\nResources:\n      MaximumConcurrency: !Ref N\n";
        let last = |parameters: &[(String, String)]| {
            let text = with_numbers(template, parameters).expect("it has a default");
            text.lines().last().map(str::to_owned)
        };
        assert_eq!(last(&[]).as_deref(), Some("      MaximumConcurrency: 50"));
        let given = [("N".to_owned(), "8".to_owned())];
        assert_eq!(last(&given).as_deref(), Some("      MaximumConcurrency: 8"));
    }

    #[test]
    fn only_the_code_of_a_function_is_rewritten() {
        let template = "A:\n  Properties:\n    CodeUri: functions/api/\n    Description: functions/api/\n";
        assert_eq!(
            with_packages(template),
            "A:\n  Properties:\n    CodeUri: s3://gmail-sync-artifacts/api.zip\n    Description: functions/api/\n"
        );
    }
}
