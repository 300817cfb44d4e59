//! `make run`: starts the local system, says where to look, and delivers a mail now and then until Ctrl-C.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Result, bail};
use clap::Parser;
use jiff::Timestamp;
use local::{Gmail, Options, Progress, Registration, Seed, System, demo, target_directory};
use tokio::signal::unix::{SignalKind, signal};

/// Between two mails to the demo mailbox.
const MAIL_EVERY: Duration = Duration::from_secs(20);
/// Longest wait for what was under way when the signal came; what is left then, the watchdog ends.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Emulated AWS, the Gmail simulator and the real functions, by one command.
#[derive(Debug, Parser)]
#[command(name = "local")]
struct Arguments {
    /// Port of the dashboard and the API.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Port of the Gmail simulator.
    #[arg(long, env = "SIM_PORT", default_value_t = 4100)]
    simulator_port: u16,
    /// Port of the emulated AWS.
    #[arg(long, env = "AWS_PORT", default_value_t = 4566)]
    aws_port: u16,
    /// Whose Gmail: sim, or live with `GOOGLE_CLIENT_ID` and `GOOGLE_CLIENT_SECRET`; `WATCH=yes` sets watches there.
    #[arg(long, env = "GMAIL", default_value = "sim")]
    gmail: Side,
    /// 0 starts without mail or mailboxes.
    #[arg(long, env = "SEED", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    seed: u8,
    /// An mbox, a Maildir or a folder of messages to sync instead of the demo's.
    #[arg(long, env = "MAIL")]
    mail: Option<PathBuf>,
    /// The simulator's quota: current, legacy or off.
    #[arg(long, env = "QUOTA")]
    quota: Option<String>,
    /// The simulator's latency in milliseconds.
    #[arg(long, env = "LATENCY_MS")]
    latency_ms: Option<u32>,
    /// Where logs and `env` go; `target/local` by default.
    #[arg(long, env = "STATE")]
    state: Option<PathBuf>,
}

/// Whose Gmail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    Sim,
    Live,
}

impl Arguments {
    fn options(self) -> Result<Options> {
        let mut simulator_arguments = Vec::new();
        if let Some(quota) = self.quota {
            simulator_arguments.extend(["--quota".to_owned(), quota]);
        }
        if let Some(latency_ms) = self.latency_ms {
            simulator_arguments.extend(["--latency-ms".to_owned(), latency_ms.to_string()]);
        }
        let mail = self.mail.filter(|path| !is_login_mailbox(path));
        let (gmail, seed) = match (self.gmail, mail, self.seed) {
            (Side::Live, Some(_), _) => bail!("MAIL fills the simulator, which GMAIL=live does without"),
            (Side::Live, None, _) => {
                (Gmail::Live(Registration::from_lookup(|name| std::env::var(name).ok())?), Seed::Nothing)
            }
            (Side::Sim, Some(path), _) => (Gmail::Simulated, Seed::Mail(path)),
            (Side::Sim, None, 0) => (Gmail::Simulated, Seed::Nothing),
            (Side::Sim, None, _) => (Gmail::Simulated, Seed::Demo),
        };
        Ok(Options {
            gmail,
            port: self.port,
            simulator_port: self.simulator_port,
            aws_port: self.aws_port,
            seed,
            directory: Some(self.state.unwrap_or_else(|| target_directory().join("local"))),
            simulator_arguments,
            parameters: Vec::new(),
            watched_workers: false,
            progress: Progress::Shown,
        })
    }
}

/// Login shells set `MAIL` to the account's spool: nobody means that to be seeded.
fn is_login_mailbox(path: &Path) -> bool {
    path.starts_with("/var/mail") || path.starts_with("/var/spool/mail")
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let options = match arguments.options() {
        Ok(options) => options,
        Err(error) => return failed(&error),
    };
    let result = runtime.block_on(run(options));
    runtime.shutdown_timeout(STOP_MAX);
    result.unwrap_or_else(|error| failed(&error))
}

/// Runs until a signal comes, whatever it is at then.
async fn run(options: Options) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // Dropped with the system in it when a signal wins, which ends every process.
    tokio::select! {
        result = serve(options) => result.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = hang_up.recv() => Ok(ExitCode::from(129)),
    }
}

async fn serve(options: Options) -> Result<()> {
    let seed = options.seed.clone();
    let system = System::start(options).await?;
    say(&welcome(&system));
    if seed == Seed::Demo { deliver(&system).await } else { std::future::pending().await }
}

/// A mail now and then, so that one sees pushes arrive.
async fn deliver(system: &System) -> Result<()> {
    let mut generator = demo::Generator::new(Timestamp::now().as_millisecond().unsigned_abs());
    let mut ticks = tokio::time::interval(MAIL_EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let mail = generator.arrival(Timestamp::now());
        // The simulator may be stopped by whoever tries what happens then; the next mail tells.
        match system.simulator().deliver(demo::OWNER, mail.labels, mail.raw).await {
            Ok(()) => say("a mail arrived"),
            Err(error) => say(&format!("no mail delivered: {error:#}")),
        }
    }
}

fn welcome(system: &System) -> String {
    let gmail = if system.is_live() { "Google's own".to_owned() } else { system.simulator().url() };
    format!(
        "\n  Dashboard   {url}\n  Sign in     {link}   (works once)\n  Gmail       {gmail}\n  \
         AWS         {aws}\n  For programs  . {file}\n\nCtrl-C ends everything.\n",
        url = system.url(),
        link = system.sign_in_link(),
        aws = system.cloud().endpoint(),
        file = system.environment_file().display(),
    )
}

/// A line to the person who runs this. A closed output is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "make run: {error:#}");
    ExitCode::FAILURE
}
