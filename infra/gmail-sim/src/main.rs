//! The `gmail-sim` command: one port that behaves like Gmail.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use gmail_sim::{Options, Regime, Server};

/// A strict Gmail simulator: API, batch, OAuth, signed pushes, quota, history that expires.
///
/// Point any Gmail client at the printed address with the bearer token `sim:ADDRESS`, or the refresh token
/// `sim:ADDRESS` at /token. Mailboxes are made by --load, --generate or POST /sim/mailboxes/ADDRESS.
#[derive(Parser)]
#[command(name = "gmail-sim", version, after_help = CONTROL)]
struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:4100", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Quota units: prices and limits of projects since 2026-05, of older ones, or none
    #[arg(long, value_enum, default_value_t = Regime::Current)]
    quota: Regime,
    /// Most calls in flight for one mailbox before 429 answers; 0 for no limit
    #[arg(long, default_value_t = 40, value_name = "CALLS")]
    concurrency: u64,
    /// How long every API call takes at least
    #[arg(long, default_value_t = 0, value_name = "N")]
    latency_ms: u64,
    /// Ids, history gaps, batch order and drawn faults follow from it
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Loads an mbox, a Maildir or a folder of messages; may be repeated
    #[arg(long, value_name = "EMAIL=PATH", value_parser = load)]
    load: Vec<(String, PathBuf)>,
    /// Fills a mailbox with synthetic mail; may be repeated
    #[arg(long, value_name = "EMAIL=COUNT", value_parser = generate)]
    generate: Vec<(String, u32)>,
}

const CONTROL: &str = "\
Control face (JSON; no credentials):
  POST   /sim/mailboxes/EMAIL                        creates (201, or 200 when it is there)
  DELETE /sim/mailboxes/EMAIL                        forgets
  POST   /sim/mailboxes/EMAIL/messages?labels=A,B    delivers the body, an RFC 5322 message
  POST   /sim/mailboxes/EMAIL/load                   {\"path\"}
  POST   /sim/mailboxes/EMAIL/generate               {\"count\"}
  GET    /sim/mailboxes/EMAIL/snapshot               every message, one JSON a line
  POST   /sim/mailboxes/EMAIL/expire-history         every history id up to now is expired
  POST   /sim/mailboxes/EMAIL/revoke                 the grant is withdrawn; DELETE gives it back
  POST   /sim/mailboxes/EMAIL/storm                  {\"per_second\",\"seconds\",\"mix\"}
  POST   /sim/subscription                           {\"push_endpoint\",\"audience\",\"service_account_email\"}
  POST   /sim/faults                                 {\"kind\",\"method\",\"mailbox\",\"count\",\"probability\"}; DELETE clears
  GET    /sim/stats                                  calls, units, refusals; DELETE resets
  POST   /sim/clock                                  {\"advance_s\"}

Fault kinds: any status (429) or Gmail reason (userRateLimitExceeded), retry_after, timeout, reset, slow,
missing_part, history_lag, not_visible, stale_get, shifting_pages, duplicate_push, drop_push, invalid_grant.";

fn load(text: &str) -> Result<(String, PathBuf), String> {
    let (email, path) = text.split_once('=').ok_or("must be EMAIL=PATH")?;
    Ok((email.to_owned(), PathBuf::from(path)))
}

fn generate(text: &str) -> Result<(String, u32), String> {
    let (email, count) = text.split_once('=').ok_or("must be EMAIL=COUNT")?;
    Ok((email.to_owned(), count.parse().map_err(|_| format!("{count:?} is no number of messages"))?))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the one line that tells where it listens")]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let server = Server::start(Options {
        listen: arguments.listen,
        quota: arguments.quota,
        concurrency_max: arguments.concurrency,
        latency_ms: arguments.latency_ms,
        seed: arguments.seed,
        load: arguments.load,
        generate: arguments.generate,
    })
    .await?;
    println!("gmail-sim listens on {}", server.url());
    ended().await
}

/// Waits for Ctrl-C or a polite end.
async fn ended() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("signals cannot be listened for")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("signals cannot be listened for"),
        _ = terminate.recv() => Ok(()),
    }
}
