//! Gmail's side of the live world: listings, counters, messages, the watch.
//!
//! Every call goes through the mailbox's [`Account`], which pays for it. Deliberately absent: retries and tokens, which
//! are the account's, and the batches of a fetch, which are beside it.

use std::{collections::BTreeMap, sync::Arc};

use sync_core::{
    Disposition, Failure, MailboxId, MessageId, Timestamp,
    quota::{Method, Priority},
    state::{Content, Sync},
    sync::{Effect, FetchPlan, Fetched, Listed, Prices, Seen},
};
use sync_gmail::{GmailError, History, mime::OwnAddresses, requests::watch_due};

use super::{Clients, LiveSettings, fetch::Fetching};
use crate::{account::Account, aliases::aliases_of};

/// Gmail, for the time of one visit to one mailbox.
pub(super) struct GmailSide {
    clients: Arc<Clients>,
    settings: LiveSettings,
    mailbox: MailboxId,
    /// Whose mailbox it is, once the lease is taken: the addresses that its owner sends from, and what may be called.
    owner: Option<(OwnAddresses, Account)>,
    priority: Priority,
    /// Where a listing's window of days begins from: the same on every page.
    began_at: Timestamp,
}

impl GmailSide {
    pub fn new(clients: Arc<Clients>, settings: LiveSettings, mailbox: MailboxId, now: Timestamp) -> Self {
        Self { clients, settings, mailbox, owner: None, priority: Priority::Delta, began_at: now }
    }

    /// Calls so far, by method.
    pub fn calls(&self) -> BTreeMap<Method, u64> {
        self.owner.as_ref().map(|(_, account)| account.calls().clone()).unwrap_or_default()
    }

    /// Quota units spent so far.
    pub fn units(&self) -> u64 {
        self.owner.as_ref().map_or(0, |(_, account)| account.units())
    }

    /// The version of the grant that was used last.
    pub fn credential_version(&self) -> Option<u64> {
        self.owner.as_ref().and_then(|(_, account)| account.credential_version())
    }

    /// Whose mailbox it is.
    pub fn owned_by(&mut self, sync: &Sync) {
        let gmail = self.clients.gmail();
        let account = Account::new(gmail, self.mailbox.clone(), sync.address.clone(), self.priority);
        let addresses = std::iter::once(&sync.address).chain(&sync.aliases.addresses).collect();
        self.owner = Some((addresses, account));
    }

    /// Who spends from now on.
    pub fn spends_as(&mut self, priority: Priority) {
        self.priority = priority;
        if let Some((_, account)) = &mut self.owner {
            account.spends_as(priority);
        }
    }

    /// The visit is over: what was reserved and not spent goes back.
    pub async fn settle(&mut self) {
        if let Some((_, account)) = &mut self.owner {
            account.settle().await;
        }
    }

    fn account(&mut self) -> Result<&mut Account, GmailError> {
        let owner = self.owner.as_mut().map(|(_, account)| account);
        owner.ok_or_else(|| {
            GmailError::NotSent(Failure::new(Disposition::Defect, "Gmail is asked without a lease"))
        })
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
        let account = self.account().map_err(|error| error.to_string())?;
        let watch = account.call(Method::Watch, |gmail, token| {
            let topic = topic.clone();
            async move { gmail.watch(&token, &topic).await }
        });
        let watch = watch.await.map_err(|error| error.to_string())?;
        let noted = self.clients.store.set_watch(&self.mailbox, Some(watch.expires_at)).await;
        noted.map(|()| true).map_err(|error| error.to_string())
    }

    /// Asks for the owner's aliases when it is time.
    pub async fn keep_aliases(&mut self, sync: &Sync, now: Timestamp) -> Result<(), String> {
        if !sync.aliases.are_due(now) {
            return Ok(());
        }
        let account = self.account().map_err(|error| error.to_string())?;
        let answer = account
            .call(Method::SendAsList, |gmail, token| async move { gmail.list_send_as(&token).await })
            .await;
        let aliases = aliases_of(answer, sync, now).map_err(|error| error.to_string())?;
        let noted = self.clients.store.set_aliases(&self.mailbox, &aliases).await;
        noted.map_err(|error| error.to_string())
    }

    /// A call that answers with one observation.
    pub async fn ask(&mut self, effect: &Effect) -> Result<Seen, Failure> {
        self.call(effect).await.map_err(|error| error.failure())
    }

    async fn call(&mut self, effect: &Effect) -> Result<Seen, GmailError> {
        let began_at = self.began_at;
        Ok(match effect {
            Effect::ListHistory { start, page_token } => {
                let (start, page_token) = (*start, page_token.clone());
                let history = self.account()?.call(Method::HistoryList, |gmail, token| {
                    let page_token = page_token.clone();
                    async move { gmail.list_history(&token, start, page_token.as_deref()).await }
                });
                match history.await? {
                    History::Page(page) => Seen::History(page),
                    History::Expired => Seen::HistoryExpired,
                }
            }
            // A page token of an earlier run may be refused: that is a defect like any other wrong request,
            // and the engine lists anew.
            Effect::ListMessages { window, label, page_token } => {
                let of = (window.clone(), label.clone(), page_token.clone());
                let listed = self.account()?.call(Method::MessagesList, |gmail, token| {
                    let (window, label, page_token) = of.clone();
                    async move {
                        let (label, page_token) = (label.as_deref(), page_token.as_deref());
                        gmail.list_messages(&token, &window, label, page_token, began_at).await
                    }
                });
                Seen::Listed(listed.await?)
            }
            Effect::ListLabels => Seen::LabelNames(self.account()?.label_ids().await?),
            Effect::CountLabels(ids) if ids.is_empty() => {
                let ids = self.account()?.label_ids().await?;
                Seen::LabelCounts(self.account()?.count_labels(ids).await?)
            }
            Effect::CountLabels(ids) => Seen::LabelCounts(self.account()?.count_labels(ids.clone()).await?),
            _ => {
                let profile = self
                    .account()?
                    .call(Method::GetProfile, |gmail, token| async move { gmail.profile(&token).await });
                Seen::Profile(profile.await?.profile)
            }
        })
    }

    /// Gets messages; see [`Fetching::run`].
    pub async fn fetch(
        &mut self,
        content: Content,
        messages: &[Listed],
    ) -> Result<Vec<(MessageId, Fetched)>, Failure> {
        let quota = self.clients.project.quota();
        let price = |method| u64::from(quota.price(method));
        let prices = Prices { message: price(Method::MessagesGet), thread: price(Method::ThreadsGet) };
        let Some((owner, account)) = &mut self.owner else {
            return Err(Failure::new(Disposition::Defect, "Gmail is asked without a lease"));
        };
        let fetching = Fetching {
            account,
            client: &self.clients.gmail,
            store: &self.clients.store,
            mailbox: &self.mailbox,
            owner,
            content,
            window: self.settings.fetch_window,
        };
        Ok(fetching.run(FetchPlan::new(messages, content, prices)).await)
    }
}
