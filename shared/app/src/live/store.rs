//! The store's side of the live world: effects that are about rows, lists and the lease.
//!
//! Invariant: each effect is one call of the store's, or a read after which nothing is written. The contract that
//! the simulated store keeps is run against this side too.

use std::collections::BTreeSet;

use sync_core::{
    Disposition, Failure, JobId, MailboxId, Timestamp,
    state::{Status, Sync},
    sync::{Acquired, Effect, Seen},
};
use sync_store::{Release, Store, StoreError};

use super::stored;

/// Rows of one page of a comparison.
const SCAN_PAGE: u32 = 1_000;

/// What is ours of one mailbox, for the time of one visit.
pub struct StoreSide {
    store: Store,
    mailbox: MailboxId,
    /// Names the holder of the lease to people who read the row.
    owner: String,
    /// `SYNC` as the lease was taken.
    found: Option<Box<Sync>>,
    /// Requests that were open during the visit: what it spends is theirs.
    jobs: BTreeSet<JobId>,
}

impl StoreSide {
    /// A visit to a mailbox by `owner`.
    pub fn new(store: Store, mailbox: MailboxId, owner: String) -> Self {
        Self { store, mailbox, owner, found: None, jobs: BTreeSet::new() }
    }

    /// The mailbox as it was when the lease was taken; `None` before.
    pub fn found(&self) -> Option<&Sync> {
        self.found.as_deref()
    }

    /// Requests that were open during the visit.
    pub fn jobs(&self) -> &BTreeSet<JobId> {
        &self.jobs
    }

    /// Carries out an effect. `credential_version` is of the grant that the visit has used, if it used one.
    ///
    /// Errors: the store's, and a defect for an effect that is not about the store.
    pub async fn carry_out(
        &mut self,
        effect: Effect,
        credential_version: Option<u64>,
        now: Timestamp,
    ) -> Result<Seen, Failure> {
        match effect {
            Effect::RaiseTarget(_)
            | Effect::LowerTarget { .. }
            | Effect::Acquire { .. }
            | Effect::RaiseAsked
            | Effect::ReadSync
            | Effect::Release { .. } => self.aggregate(effect, credential_version, now).await,
            Effect::SaveListing { .. }
            | Effect::LoadListing { .. }
            | Effect::SaveList { .. }
            | Effect::LoadList { .. } => self.lists(effect).await,
            effect => self.rows(effect, now).await,
        }
    }

    /// What is about `SYNC`.
    async fn aggregate(
        &mut self,
        effect: Effect,
        credential_version: Option<u64>,
        now: Timestamp,
    ) -> Result<Seen, Failure> {
        let (store, mailbox) = (&self.store, &self.mailbox);
        Ok(match effect {
            Effect::RaiseTarget(target) => {
                store.raise_target(mailbox, target).await.map(|_| Seen::Done).map_err(stored)?
            }
            Effect::LowerTarget { from, to } => {
                store.lower_target(mailbox, from, to).await.map(|_| Seen::Done).map_err(stored)?
            }
            Effect::Acquire { until } => {
                let mut acquired = store.acquire(mailbox, &self.owner, until, now).await.map_err(stored)?;
                if let Acquired::Held(sync) = &mut acquired {
                    lay_over_tenants(store, sync).await?;
                    self.found = Some(sync.clone());
                }
                Seen::Acquired(acquired)
            }
            Effect::RaiseAsked => Seen::Asked(store.raise_asked(mailbox, now).await.map_err(stored)?),
            Effect::ReadSync => match store.read_sync(mailbox).await.map_err(stored)? {
                Some(mut sync) => {
                    lay_over_tenants(store, &mut sync).await?;
                    Seen::Sync(Box::new(sync))
                }
                None => return Err(Failure::new(Disposition::Defect, "the mailbox is gone")),
            },
            Effect::Release { generation, asked, due_at, status } => {
                let credential_version = credential_version.filter(|_| status == Some(Status::NeedsReauth));
                let release = Release { generation, asked, due_at, status, credential_version };
                Seen::Released(store.release(mailbox, &release).await.map_err(stored)?)
            }
            _ => return Err(not_ours()),
        })
    }

    /// What is about rows, debts, requests and counters.
    async fn rows(&mut self, effect: Effect, now: Timestamp) -> Result<Seen, Failure> {
        let (store, mailbox) = (&self.store, &self.mailbox);
        Ok(match effect {
            Effect::ReadRequests => self.requests(now).await?,
            Effect::ReadRows(ids) => Seen::Rows(store.read_rows(mailbox, &ids).await.map_err(stored)?),
            Effect::ScanRows { after } => {
                let (rows, more) = store.scan_rows(mailbox, after, SCAN_PAGE).await.map_err(stored)?;
                Seen::RowPage(rows, more)
            }
            Effect::ReadOwed { limit } => Seen::Owed(store.read_owed(mailbox, limit).await.map_err(stored)?),
            Effect::ReadOwedOf(ids) => Seen::Owed(store.read_owed_of(mailbox, &ids).await.map_err(stored)?),
            Effect::ReadLabelCounts => match store.read_label_counts(mailbox).await.map_err(stored)? {
                Some(counts) => Seen::LabelCounts(counts),
                // A mailbox of an earlier version: its rows are counted, once.
                None => Seen::LabelCounts(store.count_labels(mailbox).await.map_err(stored)?),
            },
            Effect::Commit(commit) => Seen::Committed(store.commit(&commit).await.map_err(stored)?),
            _ => return Err(not_ours()),
        })
    }

    /// What is about lists and listings.
    async fn lists(&self, effect: Effect) -> Result<Seen, Failure> {
        let (store, mailbox) = (&self.store, &self.mailbox);
        Ok(match effect {
            Effect::SaveListing { key, listing } => {
                store.save_listing(mailbox, &key, *listing).await.map(|()| Seen::Done).map_err(stored)?
            }
            Effect::LoadListing { key } => {
                Seen::Listing(store.load_listing(mailbox, &key).await.map_err(stored)?.map(Box::new))
            }
            Effect::SaveList { key, messages } => {
                store.save_list(mailbox, &key, &messages).await.map(|()| Seen::Done).map_err(stored)?
            }
            Effect::LoadList { key, position, limit } => {
                match store.load_list(mailbox, &key, position, limit).await {
                    Err(StoreError::NotFound { .. }) => Seen::ListSlice(Vec::new()),
                    messages => Seen::ListSlice(messages.map_err(stored)?),
                }
            }
            _ => return Err(not_ours()),
        })
    }

    async fn requests(&mut self, now: Timestamp) -> Result<Seen, Failure> {
        let requests = self.store.read_requests(&self.mailbox).await.map_err(stored)?;
        for request in &requests {
            // For people who watch; the engine does not depend on it.
            if self.jobs.insert(request.id.clone())
                && let Err(error) = self.store.mark_running(&self.mailbox, &request.id, now).await
            {
                tracing::debug!(job.id = %request.id, %error, "a job could not be marked as running");
            }
        }
        Ok(Seen::Requests(requests))
    }
}

/// What the mailbox has otherwise, and what its tenant has for all.
async fn lay_over_tenants(store: &Store, sync: &mut Sync) -> Result<(), Failure> {
    let below = store.tenant_overrides(&sync.tenant).await.map_err(stored)?;
    sync.overrides = sync.overrides.over(&below);
    Ok(())
}

fn not_ours() -> Failure {
    Failure::new(Disposition::Defect, "an effect went to the side that cannot carry it out")
}
