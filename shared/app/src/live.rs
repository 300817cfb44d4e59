//! The live world: effects carried out with Gmail, DynamoDB, S3 and SQS.
//!
//! Every failure becomes an observation with its disposition, so that the engine can still give the lease
//! back. Deliberately absent: deciding, waiting and retrying.

use std::{collections::BTreeSet, panic::AssertUnwindSafe, sync::Arc};

use futures::StreamExt as _;
use sync_core::{
    Disposition, EmailAddress, Failure, JobId, MailboxId, MessageId, TenantId, Timestamp,
    job::{Lane, Trigger},
    message::Message,
    quota::{Method, Regime, units},
    state::{Status, Sync},
    sync::{Acquired, Effect, Fetched, Observed, Seen},
};
use sync_gmail::{ClientCredentials, GmailClient, GmailError, History, RawMessage, requests::watch_due};
use sync_queue::{JobMessage, Queue};
use sync_store::{Release, Store, StoreError};

use crate::{
    access::{Access, access},
    world::World,
};

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

/// Bodies put at once: the bucket answers in parallel, memory is bounded by the batch.
const PUTS_AT_ONCE: usize = 8;
/// Rows of one page of a comparison.
const SCAN_PAGE: u32 = 1_000;

/// One job's visit to one mailbox.
pub struct LiveWorld {
    clients: Arc<Clients>,
    settings: LiveSettings,
    mailbox: MailboxId,
    trace: String,
    /// Names the holder of the lease to people who read the row.
    owner: String,
    tenant: Option<TenantId>,
    address: Option<EmailAddress>,
    access: Option<Access>,
    watch_expires_at: Option<Timestamp>,
    /// Where a listing's window of days begins from: the same on every page.
    began_at: Timestamp,
    units: u64,
    /// Requests that were open during the visit: what it spends is theirs.
    jobs: BTreeSet<JobId>,
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
            clients,
            settings,
            mailbox,
            trace,
            owner,
            tenant: None,
            address: None,
            access: None,
            watch_expires_at: None,
            began_at: now,
            units: 0,
            jobs: BTreeSet::new(),
        }
    }

    /// Quota units spent so far.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Requests that were open during the visit.
    pub fn jobs(&self) -> &BTreeSet<JobId> {
        &self.jobs
    }

    /// Sets the watch anew when it is about to lapse, or was never set. Whatever fails is tried at the next
    /// look; meanwhile the poll covers the mailbox.
    pub async fn keep_watch(&mut self, now: Timestamp) {
        let Some(topic) = self.settings.topic.clone() else { return };
        if !watch_due(self.watch_expires_at, now) {
            return;
        }
        let set = async {
            let access = self.access(None, now).await.map_err(|failure| failure.message)?;
            self.units += units(Method::Watch, self.settings.regime);
            let watch =
                self.clients.gmail.watch(&access.token, &topic).await.map_err(|error| error.to_string())?;
            let store = &self.clients.store;
            store.set_watch(&self.mailbox, Some(watch.expires_at)).await.map_err(|error| error.to_string())
        };
        match set.await {
            Ok(()) => tracing::info!(mailbox.id = %self.mailbox, watches_set = 1, "the watch was set anew"),
            Err::<(), String>(error) => {
                tracing::warn!(mailbox.id = %self.mailbox, error, watches_failed = 1, "the watch was not set");
            }
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<Seen, Failure> {
        let now = Timestamp::now();
        let (store, mailbox) = (self.clients.store.clone(), self.mailbox.clone());
        let mailbox = &mailbox;
        Ok(match effect {
            Effect::RaiseTarget(target) => {
                store.raise_target(mailbox, target).await.map(|_| Seen::Done).map_err(stored)?
            }
            Effect::LowerTarget { from, to } => {
                store.lower_target(mailbox, from, to).await.map(|_| Seen::Done).map_err(stored)?
            }
            Effect::Acquire { until } => {
                let acquired = store.acquire(mailbox, &self.owner, until, now).await.map_err(stored)?;
                if let Acquired::Held(sync) = &acquired {
                    self.remember(sync);
                }
                Seen::Acquired(acquired)
            }
            Effect::RaiseAsked => Seen::Asked(store.raise_asked(mailbox, now).await.map_err(stored)?),
            Effect::ReadSync => match store.read_sync(mailbox).await.map_err(stored)? {
                Some(sync) => Seen::Sync(Box::new(sync)),
                None => return Err(Failure::new(Disposition::Defect, "the mailbox is gone")),
            },
            Effect::ReadRequests => self.requests(now).await?,
            Effect::ReadRows(ids) => Seen::Rows(store.read_rows(mailbox, &ids).await.map_err(stored)?),
            Effect::ScanRows { after } => {
                let (rows, more) = store.scan_rows(mailbox, after, SCAN_PAGE).await.map_err(stored)?;
                Seen::RowPage(rows, more)
            }
            Effect::ReadOwed { limit } => Seen::Owed(store.read_owed(mailbox, limit).await.map_err(stored)?),
            Effect::ReadOwedOf(ids) => Seen::Owed(store.read_owed_of(mailbox, &ids).await.map_err(stored)?),
            Effect::SaveList { key, ids } => {
                store.save_list(mailbox, &key, &ids).await.map(|()| Seen::Done).map_err(stored)?
            }
            Effect::LoadList { key, position, limit } => {
                match store.load_list(mailbox, &key, position, limit).await {
                    Err(StoreError::NotFound { .. }) => Seen::ListSlice(Vec::new()),
                    ids => Seen::ListSlice(ids.map_err(stored)?),
                }
            }
            Effect::Commit(commit) => Seen::Committed(store.commit(&commit).await.map_err(stored)?),
            Effect::SendContinuation { lane, step, delay } => self.hint(lane, step, delay, now).await?,
            Effect::Release { generation, asked, due_at, status } => {
                // A refusal of an old grant must not park a mailbox that was just connected anew.
                let version = self.access.as_ref().map(|access| access.version);
                let credential_version = version.filter(|_| status == Some(Status::NeedsReauth));
                let release = Release { generation, asked, due_at, status, credential_version };
                Seen::Released(store.release(mailbox, &release).await.map_err(stored)?)
            }
            Effect::Fetch(ids) => Seen::Fetched(self.fetch(&ids, now).await?),
            Effect::GetProfile
            | Effect::ListHistory { .. }
            | Effect::ListMessages { .. }
            | Effect::ListLabels => self.ask_gmail(&effect, now).await?,
            Effect::Finish(_) => {
                return Err(Failure::new(Disposition::Defect, "a finished run has no effects"));
            }
        })
    }

    fn remember(&mut self, sync: &Sync) {
        self.tenant = Some(sync.tenant.clone());
        self.address = Some(sync.address.clone());
        self.watch_expires_at = sync.watch_expires_at;
    }

    async fn requests(&mut self, now: Timestamp) -> Result<Seen, Failure> {
        let store = &self.clients.store;
        let requests = store.read_requests(&self.mailbox).await.map_err(stored)?;
        for request in &requests {
            // For people who watch; the engine does not depend on it.
            if self.jobs.insert(request.id.clone())
                && let Err(error) = store.mark_running(&self.mailbox, &request.id, now).await
            {
                tracing::debug!(job.id = %request.id, %error, "a job could not be marked as running");
            }
        }
        Ok(Seen::Requests(requests))
    }

    async fn hint(
        &self,
        lane: Lane,
        step: Option<u64>,
        delay: sync_core::SignedDuration,
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
        let sent = self.clients.queue.send(lane, &message, delay, self.tenant.as_ref()).await;
        let failed = |error: sync_queue::QueueError| {
            let wait = sync_core::SignedDuration::from_secs(5);
            Failure::new(Disposition::Retry(wait), error.to_string())
        };
        sent.map(|()| Seen::Done).map_err(failed)
    }

    // ---- Gmail

    async fn access(&mut self, refused: Option<&Access>, now: Timestamp) -> Result<Access, Failure> {
        if refused.is_none()
            && let Some(access) = self.access.as_ref().filter(|access| access.token.is_usable(now))
        {
            return Ok(access.clone());
        }
        let clients = &self.clients;
        let fresh =
            access(&clients.store, &clients.gmail, &clients.oauth, &self.mailbox, refused, now).await?;
        self.access = Some(fresh.clone());
        Ok(fresh)
    }

    /// A call that answers with one observation. A refused token is refreshed once.
    async fn ask_gmail(&mut self, effect: &Effect, now: Timestamp) -> Result<Seen, Failure> {
        let token = self.access(None, now).await?;
        match self.call(effect, &token).await {
            Err(GmailError::Unauthorized) => {
                let token = self.access(Some(&token), now).await?;
                self.call(effect, &token).await.map_err(|error| error.failure())
            }
            answer => answer.map_err(|error| error.failure()),
        }
    }

    async fn call(&mut self, effect: &Effect, access: &Access) -> Result<Seen, GmailError> {
        let (gmail, token) = (self.clients.gmail.clone(), &access.token);
        let mut charge = |method| self.units += units(method, self.settings.regime);
        Ok(match effect {
            Effect::ListHistory { start, page_token } => {
                charge(Method::HistoryList);
                match gmail.list_history(token, *start, page_token.as_deref()).await? {
                    History::Page(page) => Seen::History(page),
                    History::Expired => Seen::HistoryExpired,
                }
            }
            Effect::ListMessages { window, label, page_token } => {
                charge(Method::MessagesList);
                let (label, page_token) = (label.as_deref(), page_token.as_deref());
                Seen::Listed(gmail.list_messages(token, *window, label, page_token, self.began_at).await?)
            }
            Effect::ListLabels => {
                charge(Method::LabelsList);
                Seen::LabelNames(gmail.list_labels(token).await?.into_iter().map(|label| label.id).collect())
            }
            _ => {
                charge(Method::GetProfile);
                Seen::Profile(gmail.profile(token).await?.profile)
            }
        })
    }

    /// Gets messages a window at a time, so that only so many bodies are in memory.
    async fn fetch(
        &mut self,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<Vec<(MessageId, Fetched)>, Failure> {
        let mut results = Vec::with_capacity(ids.len());
        let mut refused = false;
        for window in ids.chunks(self.settings.fetch_window) {
            let mut token = self.access(None, now).await?;
            let mut answers = self.get(window, &token).await;
            let unauthorized = |answers: &[(MessageId, Result<RawMessage, GmailError>)]| {
                answers.iter().any(|(_, answer)| matches!(answer, Err(GmailError::Unauthorized)))
            };
            if unauthorized(&answers) && !refused {
                refused = true;
                token = self.access(Some(&token), now).await?;
                answers = self.get(window, &token).await;
            }
            // Out of quota: asking for the rest would only earn more refusals.
            let stop =
                answers.iter().any(|(_, answer)| matches!(answer, Err(GmailError::RateLimited { .. })));
            results.extend(self.keep(answers).await);
            if stop {
                break;
            }
        }
        Ok(results)
    }

    async fn get(
        &mut self,
        ids: &[MessageId],
        access: &Access,
    ) -> Vec<(MessageId, Result<RawMessage, GmailError>)> {
        self.units += units(Method::MessagesGet, self.settings.regime) * ids.len() as u64;
        self.clients.gmail.get_raw_batch(&access.token, ids).await
    }

    /// Parses what was got and puts the bodies, before any row can name them.
    async fn keep(
        &self,
        answers: Vec<(MessageId, Result<RawMessage, GmailError>)>,
    ) -> Vec<(MessageId, Fetched)> {
        let kept = answers.into_iter().map(|(id, answer)| async move {
            let fetched = match answer {
                Ok(raw) => self
                    .keep_one(raw)
                    .await
                    .map_or_else(Fetched::Failed, |message| Fetched::Message(Box::new(message))),
                Err(GmailError::NotFound) => Fetched::NotFound,
                Err(error) => Fetched::Failed(error.failure()),
            };
            (id, fetched)
        });
        futures::stream::iter(kept).buffer_unordered(PUTS_AT_ONCE).collect().await
    }

    async fn keep_one(&self, raw: RawMessage) -> Result<Message, Failure> {
        let owner =
            self.address.as_ref().ok_or_else(|| Failure::new(Disposition::Defect, "no lease was taken"))?;
        // Mail is hostile: one message that breaks the parser is one debt, not a dead worker.
        let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| sync_gmail::mime::to_message(&raw, owner)));
        let mut message =
            parsed.map_err(|_| Failure::new(Disposition::Defect, "the message could not be parsed"))?;
        message.body = Some(self.clients.store.put_body(&self.mailbox, raw.raw).await.map_err(stored)?);
        Ok(message)
    }
}

impl World for LiveWorld {
    async fn perform(&mut self, effect: Effect) -> Observed {
        let seen = self.carry_out(effect).await.unwrap_or_else(Seen::Failed);
        Observed { now: Timestamp::now(), seen }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn stored(error: StoreError) -> Failure {
    Failure::new(error.disposition(), error.to_string())
}
