//! The `gmail-sim` command: one port that behaves like Gmail.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Ids, history gaps, batch order, storms and drawn faults follow from it; the upper bits of a message's id are
    /// its date, so mail that is delivered "now" repeats only as far as its time does
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// When the simulated clock starts, as 2026-08-27T10:00:00Z; the real time unless given. Push tokens and service
    /// accounts always go by the real time
    #[arg(long, value_name = "TIME")]
    clock: Option<jiff::Timestamp>,
    /// Loads an mbox, a Maildir or a folder of messages; may be repeated
    #[arg(long, value_name = "EMAIL=PATH", value_parser = load)]
    load: Vec<(String, PathBuf)>,
    /// Fills a mailbox with synthetic mail; may be repeated
    #[arg(long, value_name = "EMAIL=COUNT", value_parser = generate)]
    generate: Vec<(String, u32)>,
}

const CONTROL: &str = "\
Gmail's faces: /gmail/v1/users/{me|ADDRESS}/…, /upload/gmail/v1/…, /batch, /batch/gmail/v1, /token, /revoke,
/o/oauth2/v2/auth (&sim_approve=1 skips the page, &login_hint=ADDRESS names the user, &sim_scope=… grants in part),
/oauth2/v3/certs, /.well-known/openid-configuration.

Control face (JSON; no credentials):
  GET    /sim/health                                 answers when it is up
  GET    /sim/mailboxes                              every address
  POST   /sim/mailboxes/EMAIL                        creates (201, or 200 when it is there)
  GET    /sim/mailboxes/EMAIL                        totals, history id, watches
  DELETE /sim/mailboxes/EMAIL                        forgets
  POST   /sim/mailboxes/EMAIL/messages?labels=A,B    delivers the body, an RFC 5322 message; also internal_date_ms=
                                                     and thread_id=
  POST   /sim/mailboxes/EMAIL/load                   {\"path\"}
  POST   /sim/mailboxes/EMAIL/generate               {\"count\"}
  POST   /sim/mailboxes/EMAIL/aliases                {\"addresses\"}: what its owner sends from besides
  GET    /sim/mailboxes/EMAIL/snapshot               every message, one JSON a line
  POST   /sim/mailboxes/EMAIL/expire-history         every history id up to now is expired
  POST   /sim/mailboxes/EMAIL/revoke                 the grants are withdrawn; DELETE gives them back
  POST   /sim/mailboxes/EMAIL/storm                  {\"per_second\",\"seconds\",\"mix\":{\"deliver\",\"label\",\"trash\",\"purge\",
                                                     \"draft\"}}; GET tells how far it is
  POST   /sim/subscription                           {\"push_endpoint\",\"audience\",\"service_account_email\"}; also
                                                     \"subscription\", \"topic\", \"ack_deadline_s\", \"token_age_s\" and
                                                     \"form\": production, documented or alternating; DELETE ends pushes
  GET    /sim/push-token                             a token as the subscription's next push would carry it
  POST   /sim/faults                                 {\"kind\",\"method\",\"mailbox\",\"count\",\"probability\"}; also \"reason\",
                                                     \"seconds\", \"milliseconds\"; GET lists, DELETE clears
  GET    /sim/stats                                  calls, units, refusals, pushes; DELETE resets
  POST   /sim/clock                                  {\"advance_s\"}; GET tells the time
  POST   /sim/quota                                  {\"regime\",\"user_per_minute\",\"project_per_minute\",\"project_per_day\",
                                                     \"concurrency\"}; GET tells what holds
  POST   /sim/service-accounts/EMAIL                 answers Google's key file; {\"scopes\"} are delegated, all unless
                                                     given; {\"publicKeyPem\",\"keyId\"} brings a key; DELETE forgets
  POST   /sim/keys                                   {\"rotate\",\"withdraw\",\"max_age_s\"}: the keys that sign pushes

Fault kinds: any status (429) or Gmail reason (userRateLimitExceeded), retry_after, timeout, reset, slow,
missing_part, history_lag, not_visible, stale_get, shifting_pages, duplicate_push, drop_push, late_push, invalid_grant.
Methods: as in the API's reference (messages.get, history.list, getProfile, …), and batch, token, push.";

fn load(text: &str) -> Result<(String, PathBuf), String> {
    let (email, path) = text.split_once('=').ok_or("must be EMAIL=PATH")?;
    Ok((email.to_owned(), PathBuf::from(path)))
}

fn generate(text: &str) -> Result<(String, u32), String> {
    let (email, count) = text.split_once('=').ok_or("must be EMAIL=COUNT")?;
    Ok((email.to_owned(), count.parse().map_err(|_| format!("{count:?} is no number of messages"))?))
}

/// How long what is under way may take to end: a search through a large mailbox must not hold up a stop.
const ENDING: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no threads could be started")?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = run(arguments) => done,
            done = ended() => done,
        }
    });
    runtime.shutdown_timeout(ENDING);
    done
}

#[expect(clippy::print_stdout, reason = "the one line that tells where it listens")]
async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let server = Server::start(Options {
        listen: arguments.listen,
        quota: arguments.quota,
        concurrency_max: arguments.concurrency,
        latency_ms: arguments.latency_ms,
        seed: arguments.seed,
        clock: arguments.clock.map(jiff::Timestamp::as_millisecond),
        load: arguments.load,
        generate: arguments.generate,
    })
    .await?;
    println!("gmail-sim listens on {}", server.url());
    std::future::pending().await
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
