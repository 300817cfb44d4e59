//! What one simulator holds: accounts, tokens, faults, counters, clock.
//!
//! Invariant: a mailbox is changed only through [`Account::change`], which is what makes every change push.
//! Locks are never held across an await, and no two accounts are locked at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use tokio::sync::watch;

use super::Options;
use super::clock::Clock;
use super::faults::Faults;
use super::keys::KeyRing;
use super::push::{self, Subscription, Watch};
use super::quota::Meter;
use super::storm::Weather;
use super::tokens::Tokens;
use super::upload::Uploads;
use crate::model::{Mailbox, Millis, Random};

/// A mailbox and what Gmail knows beside it.
pub(crate) struct AccountState {
    pub(crate) mailbox: Mailbox,
    /// By project: a mailbox has at most one for each.
    pub(crate) watches: BTreeMap<String, Watch>,
    /// What its storms have done.
    pub(crate) weather: Weather,
    /// What its owner sends from besides its own address.
    pub(crate) aliases: Vec<String>,
    /// When the last push went out: at most one a second.
    pub(crate) pushed_at: Option<Millis>,
}

/// One account.
pub(crate) struct Account {
    pub(crate) email: String,
    state: RwLock<AccountState>,
}

/// Takes a lock whether or not a panic has passed through it: the simulator stays up.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    /// Looks at the mailbox. A search may take seconds: never on a thread that answers calls.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Mailbox) -> R) -> R {
        self.look(|state| look(&state.mailbox))
    }

    /// Looks at the mailbox and at what Gmail knows beside it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&AccountState) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the mailbox, and pushes when something did change.
    pub(crate) fn change<R>(&self, shared: &Arc<Shared>, act: impl FnOnce(&mut Mailbox) -> R) -> R {
        let mut state = self.state();
        let before = state.mailbox.history_id();
        let answer = act(&mut state.mailbox);
        if state.mailbox.history_id() != before {
            push::changed(shared, self, &mut state, before);
        }
        answer
    }

    /// The watch and all else, for the push side.
    pub(crate) fn state(&self) -> RwLockWriteGuard<'_, AccountState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One simulator.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) keys: Mutex<KeyRing>,
    pub(crate) http: reqwest::Client,
    /// Where pushes and storms run, whoever starts them.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) meter: Mutex<Meter>,
    pub(crate) uploads: Mutex<Uploads>,
    pub(crate) subscription: Mutex<Option<Subscription>>,
    pub(crate) random: Mutex<Random>,
    /// Turns true when the server ends; every task of its own listens.
    pub(crate) ending: watch::Sender<bool>,
    accounts: RwLock<BTreeMap<String, Arc<Account>>>,
}

impl Shared {
    pub(crate) fn new(options: Options) -> anyhow::Result<Arc<Self>> {
        // The provider is named here because both may be compiled in by somebody else's features.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Arc::new(Self {
            clock: Clock::starting(options.clock),
            keys: Mutex::new(KeyRing::generate()?),
            http,
            runtime: tokio::runtime::Handle::try_current()?,
            tokens: Mutex::new(Tokens::default()),
            faults: Mutex::new(Faults::new(options.seed)),
            meter: Mutex::new(Meter::new(options.quota, options.concurrency_max)),
            uploads: Mutex::new(Uploads::default()),
            subscription: Mutex::new(None),
            random: Mutex::new(Random::new(options.seed ^ 0x0BAD_5EED)),
            ending: watch::Sender::new(false),
            accounts: RwLock::new(BTreeMap::new()),
            options,
        }))
    }

    /// The account of an address, compared without case.
    pub(crate) fn account(&self, email: &str) -> Option<Arc<Account>> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.get(&email.to_ascii_lowercase()).cloned()
    }

    /// Makes an account; false when it was there already.
    pub(crate) fn create(&self, email: &str) -> (Arc<Account>, bool) {
        let email = email.to_ascii_lowercase();
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&email) {
            return (Arc::clone(account), false);
        }
        let mailbox = Mailbox::new(&email, self.options.seed);
        let state = AccountState {
            mailbox,
            watches: BTreeMap::new(),
            aliases: Vec::new(),
            pushed_at: None,
            weather: Weather::default(),
        };
        let account = Arc::new(Account { email: email.clone(), state: RwLock::new(state) });
        accounts.insert(email, Arc::clone(&account));
        (account, true)
    }

    /// Forgets an account and everything in it.
    pub(crate) fn remove(&self, email: &str) -> bool {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        accounts.remove(&email.to_ascii_lowercase()).is_some()
    }

    /// Every address.
    pub(crate) fn emails(&self) -> Vec<String> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }
}
