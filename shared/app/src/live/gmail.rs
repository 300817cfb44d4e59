//! Gmail's side of the live world: tokens, listings, counters, and what is kept fresh beside the mail. Messages are got in
//! `fetch`.
//!
//! Invariant: every call is counted in quota units before it is made.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _};
use sync_core::{
    Disposition, Failure, MailboxId, Timestamp,
    quota::{Method, units},
    state::Sync,
    sync::{Effect, Prices, Seen},
};
use sync_gmail::{GmailClient, GmailError, History, mime::OwnAddresses, requests::watch_due};
use sync_store::Store;

use super::{Clients, LiveSettings};
use crate::{
    access::{Access, access},
    aliases::read_aliases,
};

/// Labels asked for at once: a mailbox may have thousands, and Gmail allows few calls at a time.
const LABELS_AT_ONCE: usize = 4;

/// Gmail, for the time of one visit to one mailbox.
pub(super) struct GmailSide {
    clients: Arc<Clients>,
    settings: LiveSettings,
    mailbox: MailboxId,
    /// The addresses that its owner sends from, once the lease is taken.
    owner: Option<OwnAddresses>,
    access: Option<Access>,
    /// Where a listing's window of days begins from: the same on every page.
    began_at: Timestamp,
    units: u64,
}

impl GmailSide {
    pub fn new(clients: Arc<Clients>, settings: LiveSettings, mailbox: MailboxId, now: Timestamp) -> Self {
        Self { clients, settings, mailbox, owner: None, access: None, began_at: now, units: 0 }
    }

    /// Quota units spent so far.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The version of the grant that was used last.
    pub fn credential_version(&self) -> Option<u64> {
        self.access.as_ref().map(|access| access.version)
    }

    /// Whose mailbox it is: what its owner wrote is told from what others wrote.
    pub fn owned_by(&mut self, sync: &Sync) {
        self.owner = Some(std::iter::once(&sync.address).chain(&sync.aliases.addresses).collect());
    }

    pub(super) fn owner(&self) -> Result<&OwnAddresses, Failure> {
        self.owner.as_ref().ok_or_else(|| Failure::new(Disposition::Defect, "no lease was taken"))
    }

    pub(super) fn mailbox(&self) -> &MailboxId {
        &self.mailbox
    }

    pub(super) fn store(&self) -> &Store {
        &self.clients.store
    }

    pub(super) fn client(&self) -> &GmailClient {
        &self.clients.gmail
    }

    pub(super) fn prices(&self) -> Prices {
        Prices::of(self.settings.regime)
    }

    /// Messages of one batch.
    pub(super) fn fetch_window(&self) -> usize {
        self.settings.fetch_window
    }

    /// Counts so many calls, before they are made.
    pub(super) fn charge(&mut self, method: Method, calls: usize) {
        self.units += units(method, self.settings.regime) * calls as u64;
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

    /// Asks for the owner's aliases when it is time.
    pub async fn keep_aliases(&mut self, sync: &Sync, now: Timestamp) -> Result<(), String> {
        if !sync.aliases.are_due(now) {
            return Ok(());
        }
        let access = self.access(None, now).await.map_err(|failure| failure.message)?;
        self.charge(Method::SendAsList, 1);
        let aliases = read_aliases(&self.clients.gmail, &access.token, sync, now).await;
        let aliases = aliases.map_err(|error| error.to_string())?;
        let noted = self.clients.store.set_aliases(&self.mailbox, &aliases).await;
        noted.map_err(|error| error.to_string())
    }

    /// Another token than the one that was refused.
    pub(super) async fn refresh(&mut self, now: Timestamp) -> Result<(), Failure> {
        let refused = self.access.clone();
        self.access(refused.as_ref(), now).await.map(drop)
    }

    pub(super) async fn access(
        &mut self,
        refused: Option<&Access>,
        now: Timestamp,
    ) -> Result<Access, Failure> {
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
}
