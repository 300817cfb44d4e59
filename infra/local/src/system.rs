//! The whole system, from nothing to a sign-in link.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{MiniStack, StartOptions};
use tokio::net::TcpListener;

use crate::{
    Cloud, Outputs, Progress, Simulator,
    claim::Claim,
    demo, functions,
    parameters::{Gmail, PUSH_AUDIENCE, PUSH_SERVICE_ACCOUNT, parameters},
    payloads::{Known, Payload, payloads},
    ports, process,
    proxy::Proxy,
    stack::{self, CREDENTIAL, REGION},
};

/// Whose mailbox `MAIL=` fills.
const MAIL_OWNER: &str = "me@example.com";
/// The folder of the watched workers' logs.
const WORKER_LOGS: &str = "workers";
/// Longest wait for any one answer while the system starts.
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// Longest wait for the mailbox of the seed to be synced before the system counts as started anyway.
const FIRST_SYNC_MAX: Duration = Duration::from_secs(45);

/// What mail a system starts with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seed {
    /// No mailbox: a tenant, a token and the push subscription only.
    #[default]
    Nothing,
    /// A demo mailbox with made-up mail.
    Demo,
    /// A mailbox with the mail of an mbox, a Maildir or a folder of messages.
    Mail(PathBuf),
}

/// How to start a system. The default is what a test wants: free ports, no mail, no output.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Port of the dashboard and the API; 0 for any.
    pub port: u16,
    /// Port of the simulator; 0 for any.
    pub simulator_port: u16,
    /// Port of the emulated AWS; 0 for any.
    pub aws_port: u16,
    /// Whose Gmail it talks to.
    pub gmail: Gmail,
    /// Mail to start with.
    pub seed: Seed,
    /// Where logs and `env` go; a folder of this system's own under `target/local` when `None`.
    pub directory: Option<PathBuf>,
    /// Further arguments of the simulator, such as `--quota off`.
    pub simulator_arguments: Vec<String>,
    /// Parameters of the template that differ from what the local system sets.
    pub parameters: Vec<(String, String)>,
    /// Each process of the worker writes a log of its own, effect by effect, instead of into its log group.
    pub watched_workers: bool,
    /// Where progress goes.
    pub progress: Progress,
}

/// A running system. Dropping it ends every process that it started.
#[derive(Debug)]
pub struct System {
    // Ends in this order: who calls before who is called.
    _proxy: Proxy,
    _ministack: Watched,
    simulator: Simulator,
    url: String,
    cloud: Cloud,
    outputs: Outputs,
    operator: Operator,
    client: reqwest::Client,
    progress: Progress,
    is_live: bool,
    /// Last, so that `env` says nothing of a system that is going.
    claim: Claim,
}

/// What `gmail-sync admin bootstrap` answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operator {
    tenant_id: String,
    token: String,
    signin_path: String,
}

/// The emulator, also ended should this process be killed.
#[derive(Debug)]
struct Watched {
    group: Option<u32>,
    ministack: Option<MiniStack>,
}

impl Watched {
    fn new(ministack: MiniStack, port: u16) -> Self {
        let group = ports::holder(port).and_then(|holder| u32::try_from(holder.id).ok());
        if let Some(group) = group {
            process::watch(group);
        }
        Self { group, ministack: Some(ministack) }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ministack = None;
        if let Some(group) = self.group {
            process::unwatch(group);
        }
    }
}

impl System {
    /// Builds, deploys and starts everything. Under a minute once built.
    pub async fn start(options: Options) -> Result<Self> {
        let progress = options.progress;
        require_tools()?;
        ports::require_free(options.port, "PORT")?;
        ports::require_free(options.simulator_port, "SIM_PORT")?;
        ports::require_free(options.aws_port, "AWS_PORT")?;
        let claim = Claim::take(&options.directory.clone().unwrap_or_else(own_directory))?;
        // Bound first: its address is part of what is deployed.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let url = format!("http://localhost:{}", listener.local_addr()?.port());
        let client = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build()?;

        let aws_port = ports::or_free(options.aws_port)?;
        let aws_log = claim.path("ministack.log");
        let (built, ministack) =
            tokio::join!(functions::build(progress), start_ministack(aws_port, aws_log.clone()));
        let ministack = ministack?;
        built?;
        let cloud = Cloud::new(client.clone(), ministack.ministack_endpoint(), &aws_log);
        let mut simulator = Simulator::ready(
            ports::or_free(options.simulator_port)?,
            options.simulator_arguments.clone(),
            claim.path("gmail-sim.log"),
            client.clone(),
        );
        if matches!(options.gmail, Gmail::Simulated) {
            simulator.start_again().await?;
        }

        let watched = options.watched_workers.then(|| claim.fresh_folder(WORKER_LOGS)).transpose()?;
        let outputs = deploy(&cloud, &simulator, &url, &options, watched).await?;
        let proxy = Proxy::start(listener, cloud.endpoint(), outputs.get("ApiId")?)?;
        let operator = bootstrap(&cloud, &outputs).await?;
        if matches!(options.gmail, Gmail::Simulated) {
            let push_endpoint = format!("{url}/webhooks/gmail");
            simulator.subscribe(&push_endpoint, PUSH_AUDIENCE, PUSH_SERVICE_ACCOUNT).await?;
        }

        let system = Self {
            _proxy: proxy,
            _ministack: ministack,
            simulator,
            url,
            cloud,
            outputs,
            operator,
            client,
            progress,
            is_live: matches!(options.gmail, Gmail::Live(_)),
            claim,
        };
        system.seed(&options.seed).await?;
        system.claim.write_environment(&system.environment()?)?;
        Ok(system)
    }

    /// The dashboard and the API, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it talks to Google itself, and there is no simulator.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// An API token with every scope.
    pub fn token(&self) -> &str {
        &self.operator.token
    }

    /// The token's tenant.
    pub fn tenant(&self) -> &str {
        &self.operator.tenant_id
    }

    /// A link that signs a browser in, once.
    pub fn sign_in_link(&self) -> String {
        format!("{}{}", self.url, self.operator.signin_path)
    }

    /// What was deployed.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The emulated AWS.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The simulator.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// The simulator, to end it and to start it again.
    pub fn simulator_mut(&mut self) -> &mut Simulator {
        &mut self.simulator
    }

    /// Where watched workers write: `<process id>.log` each.
    pub fn worker_logs(&self) -> PathBuf {
        self.claim.path(WORKER_LOGS)
    }

    /// The file that other programs read.
    pub fn environment_file(&self) -> PathBuf {
        self.claim.environment_file()
    }

    /// How often the worker has been invoked.
    pub async fn worker_invocations(&self) -> Result<usize> {
        self.cloud.invocations(self.outputs.get("WorkerLogGroupName")?).await
    }

    /// How many processes of the worker the emulator has launched.
    pub fn worker_cold_starts(&self) -> Result<usize> {
        self.cloud.cold_starts(self.outputs.get("WorkerFunctionName")?)
    }

    /// Runs a task of the cron function now, such as `fan-out`.
    pub async fn run_cron(&self, task: &str) -> Result<Value> {
        self.cloud.invoke(self.outputs.get("CronFunctionName")?, &json!({ "task": task })).await
    }

    /// Connects a mailbox of the simulator as a person would, and answers what the API does.
    pub async fn connect(&self, email: &str) -> Result<Value> {
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        let body = json!({
            "authType": "oauth",
            "keys": {
                "accessToken": format!("sim:{email}"),
                "refreshToken": format!("sim:{email}"),
                "expiresAt": expires.to_string(),
            },
        });
        let request = self.client.post(format!("{}/api/integrations", self.url));
        let answer = request.bearer_auth(self.token()).json(&body).send().await?;
        crate::json_answer("the API", answer).await
    }

    async fn seed(&self, seed: &Seed) -> Result<()> {
        let (owner, path) = match seed {
            Seed::Nothing => return Ok(()),
            Seed::Demo => (demo::OWNER, self.write_demo_mail()?),
            Seed::Mail(path) => (MAIL_OWNER, path.clone()),
        };
        let step = self.progress.step("connecting a mailbox");
        self.simulator.create_mailbox(owner).await?;
        self.simulator.load(owner, &path).await?;
        self.connect(owner).await?;
        step.done(owner);
        self.wait_for_first_sync(owner).await?;
        self.write_payloads(owner).await
    }

    /// The payloads of `events/` for a mailbox of the simulator. Their push token is good for an hour.
    pub async fn payloads(&self, email: &str) -> Result<BTreeMap<String, Payload>> {
        let (url, token) = (format!("{}/api/integrations/{email}", self.url), self.token());
        let mailbox =
            crate::json_answer("the API", self.client.get(url).bearer_auth(token).send().await?).await?;
        let id = mailbox["id"].as_str().context("the API names no mailbox")?;
        payloads(&Known {
            mailbox: id.to_owned(),
            email: email.to_owned(),
            history_id: self.simulator.history_id(email).await?,
            push_token: self.simulator.push_token().await?,
            api_token: token.to_owned(),
            cron_secret: self.cloud.secret(self.outputs.get("CronSecretId")?).await?,
        })
    }

    /// Leaves the payloads, and the functions' variables as `sam local invoke --env-vars` takes them, for people.
    async fn write_payloads(&self, email: &str) -> Result<()> {
        let folder = self.claim.fresh_folder("events")?;
        for payload in self.payloads(email).await?.values() {
            let text = serde_json::to_string_pretty(&payload.event)?;
            std::fs::write(folder.join(format!("{}.json", payload.name)), text)?;
        }
        let mut variables = BTreeMap::new();
        for (resource, output) in [
            ("WebhookFunction", "WebhookFunctionName"),
            ("ApiFunction", "ApiFunctionName"),
            ("CronFunction", "CronFunctionName"),
            ("WorkerFunction", "WorkerFunctionName"),
        ] {
            let mut own = self.cloud.environment(self.outputs.get(output)?).await?;
            own.insert("AWS_ENDPOINT_URL".to_owned(), self.cloud.endpoint().to_owned());
            variables.insert(resource, own);
        }
        std::fs::write(self.claim.path("sam-env.json"), serde_json::to_string_pretty(&variables)?)
            .context("cannot write sam-env.json")
    }

    /// Shows the first sync; a long one goes on after the start.
    async fn wait_for_first_sync(&self, owner: &str) -> Result<()> {
        let step = self.progress.step("first sync");
        let url = format!("{}/api/sync/{owner}/status", self.url);
        let deadline = std::time::Instant::now() + FIRST_SYNC_MAX;
        loop {
            let answer = self.client.get(&url).bearer_auth(self.token()).send().await?;
            let status = crate::json_answer("the API", answer).await?;
            let messages = format!("{} messages", status["totals"]["messages"]);
            if status["healthy"] == true {
                step.done(&messages);
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                step.done(&format!("{messages} so far, going on"));
                return Ok(());
            }
            step.detail(&messages);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Writes the demo's mail to a folder that the simulator loads.
    fn write_demo_mail(&self) -> Result<PathBuf> {
        let folder = self.claim.path("demo");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        for (index, mail) in demo::Generator::new(1).history(Timestamp::now()).iter().enumerate() {
            let text = format!("X-Gmail-Labels: {}\r\n{}", mail.labels, mail.raw);
            std::fs::write(folder.join(format!("{index:03}.eml")), text)?;
        }
        Ok(folder)
    }

    /// What `env` says: where everything is, so that any program can drive what runs.
    fn environment(&self) -> Result<Vec<(String, String)>> {
        let mut variables = vec![
            ("GMAIL_SYNC_URL", self.url.clone()),
            ("GMAIL_SYNC_TOKEN", self.operator.token.clone()),
            ("AWS_ENDPOINT_URL", self.cloud.endpoint().to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", CREDENTIAL.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", CREDENTIAL.to_owned()),
        ];
        if !self.is_live {
            variables.push(("GMAIL_SIM_URL", self.simulator.url()));
        }
        for (name, output) in [
            ("TABLE_NAME", "TableName"),
            ("BUCKET_NAME", "BucketName"),
            ("SYNC_QUEUE_URL", "SyncQueueUrl"),
            ("BACKFILL_QUEUE_URL", "BackfillQueueUrl"),
            ("DEAD_LETTER_QUEUE_URL", "SyncDeadLetterQueueUrl"),
            ("BACKFILL_DEAD_LETTER_QUEUE_URL", "BackfillDeadLetterQueueUrl"),
            ("ENCRYPTION_SECRET_ID", "EncryptionSecretId"),
            ("OAUTH_SECRET_ID", "OauthSecretId"),
            ("CRON_SECRET_ID", "CronSecretId"),
            ("WEBHOOK_FUNCTION", "WebhookFunctionName"),
            ("API_FUNCTION", "ApiFunctionName"),
            ("CRON_FUNCTION", "CronFunctionName"),
            ("WORKER_FUNCTION", "WorkerFunctionName"),
            ("WORKER_LOG_GROUP", "WorkerLogGroupName"),
        ] {
            variables.push((name, self.outputs.get(output)?.to_owned()));
        }
        Ok(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// A directory that no other system of this machine has.
fn own_directory() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    functions::target_directory().join("local").join(name)
}

/// Names what is missing, with the cure.
fn require_tools() -> Result<()> {
    if MiniStack::program().is_file() {
        return Ok(());
    }
    if process::find_program("python3").is_none() {
        bail!(
            "python3 is missing, and the emulated AWS is a Python program: install Python 3.10 or newer \
             (on Debian `apt-get install python3 python3-venv`), then `make tools`"
        );
    }
    bail!("the emulated AWS is not installed: run `make tools`")
}

async fn start_ministack(port: u16, log: PathBuf) -> Result<Watched> {
    let options = StartOptions {
        environment: vec![
            ("MINISTACK_REGION".to_owned(), REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID".to_owned(), CREDENTIAL.to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), CREDENTIAL.to_owned()),
            // Or the start deploys with whoever the caller's shell is signed in as.
            ("AWS_SESSION_TOKEN".to_owned(), String::new()),
            ("LAMBDA_EXECUTOR".to_owned(), "local".to_owned()),
        ],
        log: Some(log),
    };
    tokio::task::spawn_blocking(move || Ok(Watched::new(MiniStack::start_on(port, &options)?, port))).await?
}

impl Watched {
    fn ministack_endpoint(&self) -> &str {
        self.ministack.as_ref().map_or("", MiniStack::endpoint)
    }
}

/// Uploads and deploys.
async fn deploy(
    cloud: &Cloud,
    simulator: &Simulator,
    url: &str,
    options: &Options,
    watched: Option<PathBuf>,
) -> Result<Outputs> {
    let step = options.progress.step("deploying template.yaml");
    let config = stack::sdk_config(cloud.endpoint()).await;
    step.detail("uploading the functions");
    let package = move |function: &str| match &watched {
        Some(logs) if function == "worker" => functions::watched_package(function, logs),
        _ => functions::package(function),
    };
    stack::upload(&config, package).await?;
    step.detail("creating the stack");
    let (simulated, given) = (&options.simulator_arguments, &options.parameters);
    let parameters = parameters(&options.gmail, &simulator.url(), simulated, url, given)?;
    let outputs = stack::deploy(&config, &parameters).await?;
    step.done("");
    Ok(outputs)
}

/// Makes the first tenant and token as an operator would, with AWS credentials and the command line.
async fn bootstrap(cloud: &Cloud, outputs: &Outputs) -> Result<Operator> {
    let output = tokio::process::Command::new(functions::binary("gmail-sync"))
        .args(["admin", "bootstrap", "--json"])
        .env("TABLE_NAME", outputs.get("TableName")?)
        .env("BUCKET_NAME", outputs.get("BucketName")?)
        .env("ENCRYPTION_SECRET_ID", outputs.get("EncryptionSecretId")?)
        .env("OAUTH_SECRET_ID", outputs.get("OauthSecretId")?)
        .env("AWS_ENDPOINT_URL", cloud.endpoint())
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", CREDENTIAL)
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start gmail-sync")?;
    if !output.status.success() {
        bail!("gmail-sync admin bootstrap fails:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("gmail-sync admin bootstrap answers something else")
}
