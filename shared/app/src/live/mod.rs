//! The live world: effects carried out with Gmail, DynamoDB, S3 and SQS.
//!
//! Two sides that know nothing of each other: [`gmail`] and [`fetch`] ask Google, [`store`] reads and writes what is ours. Every
//! failure becomes an observation with its disposition, so that the engine can still give the lease back.
//! Deliberately absent: deciding, waiting and retrying.

mod fetch;
mod gmail;
pub mod store;

use std::{collections::BTreeSet, sync::Arc};

use sync_core::{
    Disposition, Failure, JobId, MailboxId, SignedDuration, Timestamp,
    job::{Lane, Trigger},
    quota::Regime,
    sync::{Acquired, Effect, Observed, Seen, World},
};
use sync_gmail::{ClientCredentials, GmailClient};
use sync_queue::{JobMessage, Queue};
use sync_store::{Store, StoreError};

use self::{gmail::GmailSide, store::StoreSide};

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
}

/// What the worker may be configured with, beyond the engine's own settings.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    /// Messages in one batch call, 1 to 25: more at once fails in part.
    pub fetch_window: usize,
    /// Which price list counts the units.
    pub regime: Regime,
    /// Where Gmail's pushes go, `projects/P/topics/T`; without it no watch is set.
    pub topic: Option<String>,
}

/// One job's visit to one mailbox.
pub struct LiveWorld {
    clients: Arc<Clients>,
    mailbox: MailboxId,
    trace: String,
    store: StoreSide,
    gmail: GmailSide,
}

impl LiveWorld {
    /// A visit to `mailbox` that began `now`.
    pub fn new(
        clients: Arc<Clients>,
        settings: LiveSettings,
        mailbox: MailboxId,
        trace: String,
        owner: String,
        now: Timestamp,
    ) -> Self {
        Self {
            store: StoreSide::new(clients.store.clone(), mailbox.clone(), owner),
            gmail: GmailSide::new(Arc::clone(&clients), settings, mailbox.clone(), now),
            clients,
            mailbox,
            trace,
        }
    }

    /// Quota units spent so far.
    pub fn units(&self) -> u64 {
        self.gmail.units()
    }

    /// Requests that were open during the visit.
    pub fn jobs(&self) -> &BTreeSet<JobId> {
        self.store.jobs()
    }

    /// Sets the watch anew when it is about to lapse, or was never set. Whatever fails is tried at the next
    /// look; meanwhile the poll covers the mailbox.
    pub async fn keep_watch(&mut self, now: Timestamp) {
        let expires_at = self.store.found().and_then(|sync| sync.watch_expires_at);
        match self.gmail.keep_watch(expires_at, now).await {
            Ok(false) => {}
            Ok(true) => tracing::info!(mailbox.id = %self.mailbox, watches_set = 1, "the watch was set anew"),
            Err(error) => {
                tracing::warn!(mailbox.id = %self.mailbox, error, watches_failed = 1, "the watch was not set");
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
        match effect {
            Effect::GetProfile
            | Effect::ListHistory { .. }
            | Effect::ListMessages { .. }
            | Effect::ListLabels
            | Effect::CountLabels(_) => self.gmail.ask(&effect, now).await,
            Effect::Fetch { content, messages } => {
                self.gmail.fetch(content, &messages, now).await.map(Seen::Fetched)
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
        &self,
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
