//! The control face as methods, for a test in the same process.
//!
//! Every method does what the call of the same name below `/sim` does; see `gmail-sim --help`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use serde_json::Value;

use super::act::{self, Delivered, Delivery};
use super::faults::Fault;
use super::oauth::{self, ServiceAccountOrder};
use super::push::Subscription;
use super::quota::QuotaOrder;
use super::state::{Account, lock};
use super::storm::{self, Storm};
use super::{Server, control, corpus};
use crate::model::{HistoryId, Mailbox};

impl Server {
    fn account(&self, email: &str) -> anyhow::Result<Arc<Account>> {
        self.shared.account(email).ok_or_else(|| anyhow!("no mailbox {email}"))
    }

    /// Makes an empty mailbox; false when it was there already. Fails when that is no address.
    pub fn create_mailbox(&self, email: &str) -> anyhow::Result<bool> {
        ensure!(control::is_address(email), "{email:?} is no address");
        Ok(self.shared.create(email).1)
    }

    /// Makes a message arrive in the inbox, unread. Fails without such a mailbox, or when the message is empty.
    pub fn deliver(&self, email: &str, raw: impl Into<Vec<u8>>) -> anyhow::Result<Delivered> {
        let labels = vec!["INBOX".to_owned(), "UNREAD".to_owned()];
        self.deliver_as(email, Delivery { raw: raw.into(), labels, ..Delivery::default() })
    }

    /// Makes a message arrive with labels, date and thread of its own.
    pub fn deliver_as(&self, email: &str, delivery: Delivery) -> anyhow::Result<Delivered> {
        act::deliver(&self.shared, &*self.account(email)?, delivery).map_err(|wrong| anyhow!(wrong))
    }

    /// Loads an mbox, a Maildir or a folder of messages; answers how many.
    pub fn load(&self, email: &str, path: impl Into<PathBuf>) -> anyhow::Result<usize> {
        corpus::load(&self.shared, &*self.account(email)?, &path.into())
    }

    /// Adds synthetic mail without history: at most 10,000,000.
    pub fn generate(&self, email: &str, count: u32) -> anyhow::Result<()> {
        act::generate(&self.shared, &*self.account(email)?, count).map_err(|wrong| anyhow!(wrong))
    }

    /// Looks at the mailbox itself: the truth that a client's copy is compared with.
    pub fn look<R>(&self, email: &str, look: impl FnOnce(&Mailbox) -> R) -> anyhow::Result<R> {
        Ok(self.account(email)?.read(look))
    }

    /// Changes the mailbox behind every client's back; pushes when something did change. The time is an argument of
    /// every change: [`Self::now_ms`].
    pub fn change<R>(&self, email: &str, act: impl FnOnce(&mut Mailbox) -> R) -> anyhow::Result<R> {
        Ok(self.account(email)?.change(&self.shared, act))
    }

    /// Every message as JSON: `{id, threadId, labelIds, historyId, sizeEstimate}`.
    pub fn snapshot(&self, email: &str) -> anyhow::Result<Vec<Value>> {
        self.look(email, act::snapshot)
    }

    /// Makes every history id up to now expired; answers the first that is not.
    pub fn expire_history(&self, email: &str) -> anyhow::Result<HistoryId> {
        Ok(act::expire_history(&*self.account(email)?))
    }

    /// Withdraws every grant of the mailbox: its tokens die, its refresh tokens answer `invalid_grant`.
    pub fn revoke(&self, email: &str) {
        lock(&self.shared.tokens).revoke(email);
    }

    /// Gives a withdrawn grant back.
    pub fn grant_again(&self, email: &str) {
        lock(&self.shared.tokens).grant_again(email);
    }

    /// Starts a storm; answers how many operations it will have.
    pub fn storm(&self, email: &str, storm: Storm) -> anyhow::Result<u64> {
        storm::start(&self.shared, self.account(email)?, &storm).map_err(|wrong| anyhow!(wrong))
    }

    /// What storms have done to a mailbox: `{operations, done, running, kinds}`.
    pub fn storm_progress(&self, email: &str) -> anyhow::Result<Value> {
        Ok(self.account(email)?.look(|state| state.weather.json()))
    }

    /// Says where pushes go from now on.
    pub fn subscribe(&self, subscription: Subscription) -> anyhow::Result<()> {
        subscription.check().map_err(|wrong| anyhow!(wrong))?;
        *lock(&self.shared.subscription) = Some(subscription);
        Ok(())
    }

    /// Puts a fault in force. Fails when it could never hit anything.
    pub fn fault(&self, fault: Fault) -> anyhow::Result<()> {
        lock(&self.shared.faults).add(fault).map_err(|wrong| anyhow!(wrong))
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Calls and units by method and mailbox, refusals by reason, most calls in flight, pushes by outcome.
    pub fn stats(&self) -> Value {
        lock(&self.shared.meter).json()
    }

    /// Forgets what was counted.
    pub fn reset_stats(&self) {
        lock(&self.shared.meter).reset();
    }

    /// Changes quota and concurrency limits from now on.
    pub fn set_quota(&self, order: QuotaOrder) {
        lock(&self.shared.meter).order(order);
    }

    /// Simulated epoch milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.shared.now()
    }

    /// Ages tokens, watches, quota windows and history, by whole seconds up to ten years.
    pub fn advance(&self, by: Duration) -> anyhow::Result<()> {
        let seconds = i64::try_from(by.as_secs())?;
        act::advance(&self.shared, seconds).map(drop).map_err(|wrong| anyhow!(wrong))
    }

    /// Makes a service account to which every scope of every mailbox is delegated; answers Google's key file.
    pub fn service_account(&self, email: &str) -> anyhow::Result<Value> {
        ensure!(control::is_address(email), "{email:?} is no address");
        oauth::key_file(&self.shared, &self.url(), email, ServiceAccountOrder::default())
            .map_err(|wrong| anyhow!(wrong))
    }

    /// Signs pushes with another key from now on; `withdraw` unpublishes those before. Answers its id.
    pub fn rotate_keys(&self, withdraw: bool) -> anyhow::Result<String> {
        act::rotate_keys(&self.shared, withdraw).map_err(|wrong| anyhow!(wrong))
    }
}
