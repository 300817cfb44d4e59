//! Gmail's side of the live world: tokens, listings, and messages on their way into the object store.
//!
//! Invariant: every call is counted in quota units before it is made, and a body lies in the object store before its
//! message is given to the engine.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _};
use sync_core::{
    Disposition, EmailAddress, Failure, MailboxId, MessageId, Timestamp,
    message::Message,
    quota::{Method, units},
    sync::{Effect, Fetched, Seen},
};
use sync_gmail::{GmailError, History, RawMessage, requests::watch_due};

use super::{Clients, LiveSettings, stored};
use crate::access::{Access, access};

/// Bodies put at once: the bucket answers in parallel, memory is bounded by the batch.
const PUTS_AT_ONCE: usize = 8;
/// Labels asked for at once: a mailbox may have thousands, and Gmail allows few calls at a time.
const LABELS_AT_ONCE: usize = 4;

/// Gmail, for the time of one visit to one mailbox.
pub(super) struct GmailSide {
    clients: Arc<Clients>,
    settings: LiveSettings,
    mailbox: MailboxId,
    /// The mailbox's own address, once the lease is taken.
    owner: Option<EmailAddress>,
    access: Option<Access>,
    /// Where a listing's window of days begins from: the same on every page.
    began_at: Timestamp,
    units: u64,
    calls: BTreeMap<Method, u64>,
}

impl GmailSide {
    pub fn new(clients: Arc<Clients>, settings: LiveSettings, mailbox: MailboxId, now: Timestamp) -> Self {
        Self {
            clients,
            settings,
            mailbox,
            owner: None,
            access: None,
            began_at: now,
            units: 0,
            calls: BTreeMap::new(),
        }
    }

    /// Quota units spent so far.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Calls so far, by method.
    pub fn spent(&self) -> &BTreeMap<Method, u64> {
        &self.calls
    }

    /// The version of the grant that was used last.
    pub fn credential_version(&self) -> Option<u64> {
        self.access.as_ref().map(|access| access.version)
    }

    /// Whose mailbox it is: what its owner wrote is told from what others wrote.
    pub fn owned_by(&mut self, address: EmailAddress) {
        self.owner = Some(address);
    }

    fn charge(&mut self, method: Method, calls: usize) {
        let calls = calls as u64;
        self.units += units(method, self.settings.regime) * calls;
        *self.calls.entry(method).or_default() += calls;
    }

    /// Sets the watch anew when it is due. Whether it was; the error is for the log.
    pub async fn keep_watch(
        &mut self,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, String> {
        let Some(topic) = self.settings.topic.clone().filter(|_| watch_due(expires_at, now)) else {
            return Ok(false);
        };
        let access = self.access(None, now).await.map_err(|failure| failure.message)?;
        self.charge(Method::Watch, 1);
        let watch = self.clients.gmail.watch(&access.token, &topic).await;
        let watch = watch.map_err(|error| error.to_string())?;
        let noted = self.clients.store.set_watch(&self.mailbox, Some(watch.expires_at)).await;
        noted.map(|()| true).map_err(|error| error.to_string())
    }

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
    pub async fn ask(&mut self, effect: &Effect, now: Timestamp) -> Result<Seen, Failure> {
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
        Ok(match effect {
            Effect::ListHistory { start, page_token } => {
                self.charge(Method::HistoryList, 1);
                match gmail.list_history(token, *start, page_token.as_deref()).await? {
                    History::Page(page) => Seen::History(page),
                    History::Expired => Seen::HistoryExpired,
                }
            }
            // A page token of an earlier run may be refused: that is a defect like any other wrong request,
            // and the engine lists anew.
            Effect::ListMessages { window, label, page_token } => {
                self.charge(Method::MessagesList, 1);
                let (label, page_token) = (label.as_deref(), page_token.as_deref());
                Seen::Listed(gmail.list_messages(token, window, label, page_token, self.began_at).await?)
            }
            Effect::ListLabels => Seen::LabelNames(self.label_ids(access).await?),
            Effect::CountLabels(ids) if ids.is_empty() => {
                let ids = self.label_ids(access).await?;
                Seen::LabelCounts(self.count_labels(&ids, access).await?)
            }
            Effect::CountLabels(ids) => Seen::LabelCounts(self.count_labels(ids, access).await?),
            _ => {
                self.charge(Method::GetProfile, 1);
                Seen::Profile(gmail.profile(token).await?.profile)
            }
        })
    }

    async fn label_ids(&mut self, access: &Access) -> Result<Vec<String>, GmailError> {
        self.charge(Method::LabelsList, 1);
        let labels = self.clients.gmail.list_labels(&access.token).await?;
        Ok(labels.into_iter().map(|label| label.id).collect())
    }

    /// How many messages wear each of these; one that was deleted meanwhile is absent.
    async fn count_labels(
        &mut self,
        ids: &[String],
        access: &Access,
    ) -> Result<BTreeMap<String, i64>, GmailError> {
        self.charge(Method::LabelsGet, ids.len());
        // Owned by each call: a borrowing closure would not be `Send` for every lifetime.
        let counts = ids.iter().cloned().map(|id| {
            let (gmail, token) = (self.clients.gmail.clone(), access.token.clone());
            async move { Ok((gmail.count_label(&token, &id).await?, id)) }
        });
        let counts: Vec<(Option<i64>, String)> =
            futures::stream::iter(counts).buffer_unordered(LABELS_AT_ONCE).try_collect().await?;
        Ok(counts.into_iter().filter_map(|(count, id)| Some((id, count?))).collect())
    }

    /// Gets messages a window at a time, so that only so many bodies are in memory.
    pub async fn fetch(
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
        self.charge(Method::MessagesGet, ids.len());
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
            self.owner.as_ref().ok_or_else(|| Failure::new(Disposition::Defect, "no lease was taken"))?;
        // Mail is hostile: one message that breaks the parser is one debt, not a dead worker.
        let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| sync_gmail::mime::to_message(&raw, owner)));
        let mut message =
            parsed.map_err(|_| Failure::new(Disposition::Defect, "the message could not be parsed"))?;
        message.body = Some(self.clients.store.put_body(&self.mailbox, raw.mail).await.map_err(stored)?);
        Ok(message)
    }
}
