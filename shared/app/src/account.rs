//! Gmail as one mailbox's: every call with its token, its quota, and its few repetitions.
//!
//! Invariants: no call is made that was not paid for before; a refused token is refreshed once; what Google says of
//! its limits is written down for every worker of the address. Deliberately absent: deciding what to ask, and any wait
//! longer than half a minute.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _};
use sync_core::{
    EmailAddress, MailboxId, Timestamp,
    quota::{Method, Priority},
};
use sync_gmail::{AccessToken, ClientCredentials, GmailClient, GmailError};
use sync_store::{Store, StoreError};

use crate::{
    access::{Access, Need, Tokens},
    spend::{Project, Purse, Taken, out_of_quota},
};

/// Labels asked for at once: a mailbox may have thousands, and Gmail allows few calls at a time.
const LABELS_AT_ONCE: usize = 4;

/// Whatever calling Gmail takes, built once at start.
#[derive(Clone)]
pub struct Gmail {
    /// The credentials, and the ledgers.
    pub store: Store,
    /// The calls.
    pub client: GmailClient,
    /// Our registration at Google.
    pub oauth: ClientCredentials,
    /// The project's quota.
    pub project: Arc<Project>,
}

/// One mailbox's Gmail, for the time of one visit.
pub struct Account {
    gmail: Gmail,
    mailbox: MailboxId,
    purse: Purse,
    /// Who spends.
    priority: Priority,
    access: Option<Access>,
    /// The version of the grant that was tried last, whether it gave a token or not.
    version: Option<u64>,
}

impl Account {
    /// The mailbox `mailbox` of that address.
    pub fn new(gmail: Gmail, mailbox: MailboxId, address: EmailAddress, priority: Priority) -> Self {
        let purse = Purse::new(Arc::clone(&gmail.project), address);
        Self { gmail, mailbox, purse, priority, access: None, version: None }
    }

    /// Who spends from now on.
    pub fn spends_as(&mut self, priority: Priority) {
        self.priority = priority;
    }

    /// Calls so far, by method.
    pub fn calls(&self) -> &BTreeMap<Method, u64> {
        self.purse.calls()
    }

    /// Quota units so far.
    pub fn units(&self) -> u64 {
        self.purse.units()
    }

    /// How many calls may be made at once.
    pub fn parts(&self) -> usize {
        usize::try_from(self.purse.parts()).unwrap_or(1)
    }

    /// The version of the grant that was used last.
    pub fn credential_version(&self) -> Option<u64> {
        self.version
    }

    /// One call: paid for, repeated while that may help within seconds, its token refreshed once.
    pub async fn call<T, F>(
        &mut self,
        method: Method,
        call: impl Fn(GmailClient, AccessToken) -> F,
    ) -> Result<T, GmailError>
    where
        F: Future<Output = Result<T, GmailError>>,
    {
        let (mut repetition, mut refused) = (0, false);
        loop {
            let access = self.access(None).await?;
            self.pay(method).await?;
            let error = match call(self.gmail.client.clone(), access.token.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            self.heed(&error).await;
            match error {
                GmailError::Unauthorized if !refused => {
                    refused = true;
                    self.access(Some(&access)).await?;
                }
                error if self.gmail.client.may_repeat(&error, repetition) => {
                    self.gmail.client.pause(repetition).await;
                    repetition += 1;
                }
                error => return Err(error),
            }
        }
    }

    /// Ids of all labels.
    pub async fn label_ids(&mut self) -> Result<Vec<String>, GmailError> {
        let labels =
            self.call(Method::LabelsList, |gmail, token| async move { gmail.list_labels(&token).await });
        Ok(labels.await?.into_iter().map(|label| label.id).collect())
    }

    /// How many messages wear each of these labels, by Gmail's own counters; one that was deleted meanwhile is absent.
    pub async fn count_labels(&mut self, ids: Vec<String>) -> Result<BTreeMap<String, i64>, GmailError> {
        // All or none: counters are compared as a whole.
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let taken = self.take(Method::LabelsGet, count, count).await?;
        if taken.count < count {
            return Err(GmailError::NotSent(out_of_quota(taken.wait)));
        }
        let access = self.access(None).await?;
        // Owned by each call: a borrowing closure would not be `Send` for every lifetime.
        let counts = ids.into_iter().map(|id| {
            let (client, access) = (self.gmail.client.clone(), access.clone());
            async move { Ok((client.count_label(&access.token, &id).await?, id)) }
        });
        let at_once = LABELS_AT_ONCE.min(self.parts());
        let counted: Result<Vec<(Option<i64>, String)>, GmailError> =
            futures::stream::iter(counts).buffer_unordered(at_once).try_collect().await;
        if let Err(error) = &counted {
            self.heed(error).await;
        }
        Ok(counted?.into_iter().filter_map(|(count, id)| Some((id, count?))).collect())
    }

    async fn pay(&mut self, method: Method) -> Result<(), GmailError> {
        let taken = self.take(method, 1, 1).await?;
        if taken.count == 0 { Err(GmailError::NotSent(out_of_quota(taken.wait))) } else { Ok(()) }
    }

    /// Takes up to so many calls, to be made with [`Account::access`]; those that are not made after all go back by
    /// [`Account::give_back`].
    pub async fn take(&mut self, method: Method, least: u32, most: u32) -> Result<Taken, GmailError> {
        self.purse
            .take(method, least, most, self.priority, Timestamp::now())
            .await
            .map_err(GmailError::NotSent)
    }

    /// Calls that were taken and not made.
    pub fn give_back(&mut self, method: Method, count: u32) {
        self.purse.give_back(method, count);
    }

    /// A token that works; another one than `refused`.
    pub async fn access(&mut self, refused: Option<&Access>) -> Result<Access, GmailError> {
        let now = Timestamp::now();
        if refused.is_none()
            && let Some(access) = self.access.as_ref().filter(|access| access.token.is_usable(now))
        {
            return Ok(access.clone());
        }
        let Gmail { store, client: gmail, oauth: client, .. } = &self.gmail;
        let tokens = Tokens { store, gmail, client, mailbox: &self.mailbox };
        let obtained = tokens.obtain(refused.map_or(Need::Any, Need::Another), now).await;
        // Also of a grant that gave none: its refusal must not park a newer one.
        self.version = match &obtained {
            Ok(access) => Some(access.version),
            Err(denied) => denied.version,
        };
        let fresh = obtained.map_err(|denied| GmailError::NotSent(denied.failure))?;
        self.access = Some(fresh.clone());
        Ok(fresh)
    }

    /// What Google says of its limits holds for every worker of the address, or of the project.
    pub async fn heed(&mut self, error: &GmailError) {
        let now = Timestamp::now();
        let heeded = match error {
            GmailError::RateLimited { concurrency: true, .. } => self.purse.too_many_at_once(now).await,
            GmailError::RateLimited { wait, concurrency: false } => {
                tracing::warn!(mailbox.id = %self.mailbox, wait_seconds = wait.as_secs(), rate_limits = 1, "Gmail's rate limit is reached");
                self.purse.close(*wait, now).await
            }
            GmailError::DailyLimit { wait } => {
                tracing::error!(day_limits = 1, "the project's quota of the day is spent");
                self.purse.close_project(*wait, now).await
            }
            _ => Ok(()),
        };
        self.told(heeded);
    }

    /// As many calls at once as there may be went well.
    pub async fn went_well(&mut self) {
        let grown = self.purse.went_well(Timestamp::now()).await;
        self.told(grown);
    }

    /// The visit is over.
    pub async fn settle(&mut self) {
        let settled = self.purse.settle(Timestamp::now()).await;
        self.told(settled);
    }

    /// A ledger that could not be written errs on the safe side: what is reserved counts as spent.
    fn told(&self, written: Result<(), StoreError>) {
        if let Err(error) = written {
            tracing::warn!(mailbox.id = %self.mailbox, %error, "a quota ledger was not written");
        }
    }
}
