//! The live world: effects carried out with Gmail, DynamoDB, S3 and SQS.
//!
//! Two sides that know nothing of each other: [`gmail`] and [`fetch`] ask Google, [`store`] reads and writes what is ours. Every
//! failure becomes an observation with its disposition, so that the engine can still give the lease back.
//! Deliberately absent: deciding, waiting and retrying.

mod fetch;
mod gmail;
pub mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sync_core::{
    Disposition, Failure, JobId, MailboxId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    quota::{Method, Priority},
    sync::{Acquired, Effect, Observed, Seen, World},
};
use sync_gmail::{ClientCredentials, GmailClient};
use sync_queue::{JobMessage, Queue};
use sync_store::{Store, StoreError};

use self::{gmail::GmailSide, store::StoreSide};
use crate::{account::Gmail, report::WatchKept, spend::Project};

/// The clients, built once at start.
#[derive(Clone)]
pub struct Clients {
    /// Rows and bodies.
    pub store: Store,
    /// Hints.
    pub queue: Queue,
    /// Gmail.
    pub gmail: GmailClient,
    /// Our registration at Google.
    pub oauth: ClientCredentials,
    /// The project's quota, shared by all visits of this process.
    pub project: Arc<Project>,
}

impl Clients {
    /// What calling Gmail takes.
    pub fn gmail(&self) -> Gmail {
        let Self { store, gmail, oauth, project, .. } = self.clone();
        Gmail { store, client: gmail, oauth, project }
    }
}

/// What the worker may be configured with, beyond the engine's own settings.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    /// Messages in one batch call, 1 to 25: more at once fails in part.
    pub fetch_window: usize,
    /// Where Gmail's pushes go, `projects/P/topics/T`; without it no watch is set.
    pub topic: Option<String>,
}

/// One job's visit to one mailbox.
pub struct LiveWorld {
    clients: Arc<Clients>,
    mailbox: MailboxId,
    trace: String,
    /// Who spends while the mailbox is looked at; slices spend as a backfill.
    looks_as: Priority,
    store: StoreSide,
    gmail: GmailSide,
    hints: u64,
}

/// Who spends for a job: somebody waits for what is new, or asked by hand; the schedule can wait.
pub fn priority_of(job: &Job) -> Priority {
    match (job.lane, job.trigger) {
        // Between slices somebody asked: that is new mail.
        (Lane::Backfill, _) | (Lane::Sync, Trigger::Push | Trigger::Continuation) => Priority::Delta,
        (Lane::Sync, Trigger::Manual | Trigger::Connect) => Priority::Manual,
        (Lane::Sync, Trigger::Schedule | Trigger::Refresh | Trigger::Probe) => Priority::Poll,
    }
}

impl LiveWorld {
    /// A visit for `job` that began `now`.
    pub fn new(
        clients: Arc<Clients>,
        settings: LiveSettings,
        job: &Job,
        trace: String,
        owner: String,
        now: Timestamp,
    ) -> Self {
        let mailbox = job.mailbox.clone();
        Self {
            looks_as: priority_of(job),
            store: StoreSide::new(clients.store.clone(), mailbox.clone(), owner),
            gmail: GmailSide::new(Arc::clone(&clients), settings, mailbox.clone(), now),
            clients,
            mailbox,
            trace,
            hints: 0,
        }
    }

    /// Quota units spent so far.
    pub fn units(&self) -> u64 {
        self.gmail.units()
    }

    /// Calls of Gmail so far, by method.
    pub fn spent(&self) -> BTreeMap<Method, u64> {
        self.gmail.calls()
    }

    /// The visit is over: what was reserved and not spent goes back.
    pub async fn settle(&mut self) {
        self.gmail.settle().await;
    }

    /// How old the copy was when the lease was taken; `None` before, and of a copy that never was whole.
    pub fn staleness(&self, now: Timestamp) -> Option<SignedDuration> {
        let last = self.store.found()?.progress.last_sync_at?;
        Some(now.duration_since(last).max(SignedDuration::ZERO))
    }

    /// Messages sent so far.
    pub fn hints(&self) -> u64 {
        self.hints
    }

    /// Requests that were open during the visit.
    pub fn jobs(&self) -> &BTreeSet<JobId> {
        self.store.jobs()
    }

    /// Sets the watch anew when it is about to lapse, or was never set. Whatever fails is tried at the next
    /// look; meanwhile the poll covers the mailbox.
    pub async fn keep_watch(&mut self, now: Timestamp) -> WatchKept {
        self.gmail.spends_as(self.looks_as);
        let expires_at = self.store.found().and_then(|sync| sync.watch_expires_at);
        let lapsed = expires_at.is_some_and(|at| at <= now);
        if lapsed {
            tracing::warn!(mailbox.id = %self.mailbox, watches_lapsed = 1, "the watch had lapsed; the poll covered it");
        }
        match self.gmail.keep_watch(expires_at, now).await {
            Ok(set) => {
                if set {
                    tracing::info!(mailbox.id = %self.mailbox, watches_set = 1, "the watch was set anew");
                }
                WatchKept { lapsed, set, failed: false }
            }
            Err(error) => {
                tracing::warn!(mailbox.id = %self.mailbox, error, watches_failed = 1, "the watch was not set");
                WatchKept { lapsed, set: false, failed: true }
            }
        }
    }

    /// Asks for the owner's aliases about once a day. A failure is no failure of the sync: mail that was sent from an
    /// alias has the label SENT anyway, unless somebody took it off.
    pub async fn keep_aliases(&mut self, now: Timestamp) {
        let Some(sync) = self.store.found() else { return };
        if let Err(error) = self.gmail.keep_aliases(sync, now).await {
            tracing::warn!(mailbox.id = %self.mailbox, error, "the aliases were not read");
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<Seen, Failure> {
        let now = Timestamp::now();
        match &effect {
            // A look begins with what is asked for, a slice with its list: so it is known who spends.
            Effect::ReadRequests => self.gmail.spends_as(self.looks_as),
            Effect::LoadList { .. } | Effect::ListMessages { .. } => self.gmail.spends_as(Priority::Backfill),
            _ => {}
        }
        match effect {
            Effect::GetProfile
            | Effect::ListHistory { .. }
            | Effect::ListMessages { .. }
            | Effect::ListLabels
            | Effect::CountLabels(_) => self.gmail.ask(&effect).await,
            Effect::Fetch { content, messages } => {
                self.gmail.fetch(content, &messages).await.map(Seen::Fetched)
            }
            Effect::SendContinuation { lane, step, delay } => self.hint(lane, step, delay, now).await,
            Effect::Finish(_) => Err(Failure::new(Disposition::Defect, "a finished run has no effects")),
            effect => {
                // A refusal of an old grant must not park a mailbox that was just connected anew.
                let version = self.gmail.credential_version();
                let seen = self.store.carry_out(effect, version, now).await?;
                if let Seen::Acquired(Acquired::Held(sync)) = &seen {
                    self.gmail.owned_by(sync);
                }
                Ok(seen)
            }
        }
    }

    async fn hint(
        &mut self,
        lane: Lane,
        step: Option<u64>,
        delay: SignedDuration,
        now: Timestamp,
    ) -> Result<Seen, Failure> {
        let message = JobMessage::V1 {
            mailbox: self.mailbox.clone(),
            trigger: Trigger::Continuation,
            target: None,
            step,
            trace: self.trace.clone(),
            sent_at: now,
        };
        self.hints += 1;
        let tenant = self.store.found().map(|sync| &sync.tenant);
        let sent = self.clients.queue.send(lane, &message, delay, tenant).await;
        let failed = |error: sync_queue::QueueError| {
            Failure::new(Disposition::Retry(SignedDuration::from_secs(5)), error.to_string())
        };
        sent.map(|()| Seen::Done).map_err(failed)
    }
}

impl World for LiveWorld {
    async fn perform(&mut self, effect: Effect) -> Observed {
        let name = if tracing::enabled!(tracing::Level::DEBUG) { name_of(&effect) } else { String::new() };
        tracing::debug!(mailbox.id = %self.mailbox, effect = name, "an effect begins");
        let seen = self.carry_out(effect).await.unwrap_or_else(Seen::Failed);
        tracing::debug!(mailbox.id = %self.mailbox, effect = name, "an effect is done");
        Observed { now: Timestamp::now(), seen }
    }
}

/// The effect's name alone: what it carries are people's letters, and may be large. Writing stops behind the name.
fn name_of(effect: &Effect) -> String {
    struct Name(String);
    impl std::fmt::Write for Name {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric());
            self.0.push_str(end.and_then(|end| text.get(..end)).unwrap_or(text));
            if end.is_some() { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut name = Name(String::new());
    let _stopped_behind_the_name = std::fmt::Write::write_fmt(&mut name, format_args!("{effect:?}"));
    name.0
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn stored(error: StoreError) -> Failure {
    Failure::new(error.disposition(), error.to_string())
}
