//! Spending quota: reserved before it is spent, at the address and at the project.
//!
//! A [`Purse`] is one visit's. It reserves at the address's ledger, whose limit Google counts by user, and takes from
//! the [`Project`]'s chunk, which all visits of a process share. One write reserves for a call and settles the call
//! before it. Invariant: what is granted here was written down before; a crash can only have reserved too much.
//! Deliberately absent: waiting. Who gets nothing ends and is told when to come again.

use std::{collections::BTreeMap, sync::Arc};

use sync_core::{
    Disposition, EmailAddress, Failure, SignedDuration, Timestamp,
    quota::{Ask, Granted, Ledger, Method, Priority, Quota, Reservation},
};
use sync_store::{LedgerOf, SeenLedger, Store, StoreError};
use tokio::sync::Mutex;

/// How long a reservation may be drawn on: the last call drawn has the rest of `CALL_MAX` to reach Google.
const USABLE: SignedDuration = SignedDuration::from_secs(5);
/// Units of the project that one process holds at most: a second's work of a busy worker.
const CHUNK_MAX: u32 = 2_000;
/// What is left of a chunk goes back when it is at least this much; less lapses by itself.
const WORTH_RETURNING: u32 = 50;
/// Other ledgers of the project that are tried when one has nothing left.
const SHARDS_TRIED: u8 = 3;

/// What came of asking for calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many may be made now.
    pub count: u32,
    /// When the others may be.
    pub wait: SignedDuration,
}

/// A reservation that is being drawn on.
#[derive(Debug, Clone, Copy)]
struct Open {
    reservation: Reservation,
    left: u32,
    until: Timestamp,
}

impl Open {
    fn new(reservation: Reservation, now: Timestamp) -> Self {
        Self { reservation, left: reservation.units, until: now + USABLE }
    }

    fn spent(&self) -> u32 {
        self.reservation.units - self.left
    }

    fn holds(&self, units: u32, now: Timestamp) -> bool {
        now < self.until && units <= self.left
    }
}

/// The project's quota, as one process shares it among its visits.
pub struct Project {
    store: Store,
    quota: Quota,
    chunks: Mutex<BTreeMap<Priority, Chunk>>,
}

/// A part of the project's quota that this process holds.
#[derive(Default)]
struct Chunk {
    shard: u8,
    seen: Option<SeenLedger>,
    open: Option<Open>,
}

impl Project {
    /// Nothing is reserved yet.
    pub fn new(store: Store, quota: Quota) -> Self {
        Self { store, quota, chunks: Mutex::default() }
    }

    /// Prices and limits.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Takes calls out of the chunk in hand, or out of a new one.
    async fn take(&self, ask: Ask, priority: Priority, now: Timestamp) -> Result<Taken, Failure> {
        let mut chunks = self.chunks.lock().await;
        let chunk = chunks.entry(priority).or_insert_with(|| self.chunk(rand::random()));
        let all = ask.each.saturating_mul(ask.most);
        let mut wait = SignedDuration::ZERO;
        if !chunk.open.is_some_and(|open| open.holds(all, now)) {
            wait = self.lease(chunk, ask, priority, now).await?;
        }
        let Some(open) = chunk.open.as_mut() else { return Ok(Taken { count: 0, wait }) };
        let count = (open.left / ask.each.max(1)).min(ask.most);
        open.left -= count * ask.each;
        Ok(Taken { count, wait })
    }

    fn chunk(&self, dice: u8) -> Chunk {
        Chunk { shard: dice % self.quota.shards(), ..Chunk::default() }
    }

    /// Reserves a new chunk and settles the one before, in one write: twice what the last one was used for, so that a
    /// busy process writes rarely and an idle one holds nothing. Without room there is no chunk; when there will be.
    async fn lease(
        &self,
        chunk: &mut Chunk,
        ask: Ask,
        priority: Priority,
        now: Timestamp,
    ) -> Result<SignedDuration, Failure> {
        let all = ask.each.saturating_mul(ask.most);
        let recent = chunk.open.filter(|open| now < open.until).map_or(0, |open| open.spent());
        let most = all.max(recent.saturating_mul(2).min(CHUNK_MAX));
        let units = Ask { each: 1, least: ask.each.saturating_mul(ask.least), most };
        // Counted also where Google sets no limit.
        let day = self.quota.shard_day().unwrap_or(u64::MAX);
        let mut wait = SignedDuration::ZERO;
        for _ in 0..SHARDS_TRIED {
            let before = chunk.open.take();
            let reserved = self
                .store
                .change_ledger(&LedgerOf::Project(chunk.shard), &mut chunk.seen, now, |ledger| {
                    settle(ledger, before, now);
                    ledger.reserve(units, priority, self.quota.shard(), Some(day), now)
                })
                .await
                .map_err(|error| failed(&error))?;
            match reserved {
                Ok(granted) => {
                    chunk.open = Some(Open::new(granted.reservation, now));
                    return Ok(granted.wait);
                }
                Err(until) => {
                    wait = if wait.is_zero() { until } else { wait.min(until) };
                    // The chunk before lapses by itself; another ledger may have room.
                    *chunk = self.chunk(rand::random());
                }
            }
        }
        Ok(wait)
    }

    /// Puts back what a purse took and did not spend.
    async fn put_back(&self, units: u32, priority: Priority) {
        if let Some(open) = self.chunks.lock().await.get_mut(&priority).and_then(|chunk| chunk.open.as_mut())
        {
            open.left = (open.left + units).min(open.reservation.units);
        }
    }

    /// Gives back what is left of a chunk, when it is worth a write.
    async fn settle(&self, priority: Priority, now: Timestamp) -> Result<(), StoreError> {
        let mut chunks = self.chunks.lock().await;
        let Some(chunk) = chunks.get_mut(&priority) else { return Ok(()) };
        if chunk.open.is_some_and(|open| open.left >= WORTH_RETURNING) {
            let before = chunk.open.take();
            let of = LedgerOf::Project(chunk.shard);
            change(&self.store, &of, &mut chunk.seen, now, |ledger| settle(ledger, before, now)).await?;
        }
        Ok(())
    }

    /// Google says that the project's day is spent: nobody asks before it turns.
    async fn close(&self, wait: SignedDuration, now: Timestamp) -> Result<(), StoreError> {
        for shard in 0..self.quota.shards() {
            let of = LedgerOf::Project(shard);
            change(&self.store, &of, &mut None, now, |ledger| ledger.close(wait, now)).await?;
        }
        self.chunks.lock().await.clear();
        Ok(())
    }
}

/// What one visit to one mailbox spends.
pub struct Purse {
    project: Arc<Project>,
    address: LedgerOf,
    seen: Option<SeenLedger>,
    open: Option<Open>,
    calls: BTreeMap<Method, u64>,
}

impl Purse {
    /// Nothing is reserved yet.
    pub fn new(project: Arc<Project>, address: EmailAddress) -> Self {
        let address = LedgerOf::Address(address);
        Self { project, address, seen: None, open: None, calls: BTreeMap::new() }
    }

    /// Calls so far, by method.
    pub fn calls(&self) -> &BTreeMap<Method, u64> {
        &self.calls
    }

    /// Units so far.
    pub fn units(&self) -> u64 {
        let price = |method| u64::from(self.project.quota.price(method));
        self.calls.iter().map(|(method, calls)| price(*method) * calls).sum()
    }

    /// How many calls Gmail takes at once for this address, as far as is known.
    pub fn parts(&self) -> u32 {
        self.seen.as_ref().map_or(sync_core::quota::PARTS_MAX, |seen| seen.ledger().parts())
    }

    /// Takes up to so many calls; none, when there is no room for `least`.
    ///
    /// # Errors
    /// When a ledger cannot be written: what cannot be reserved is not spent.
    pub async fn take(
        &mut self,
        method: Method,
        least: u32,
        most: u32,
        priority: Priority,
        now: Timestamp,
    ) -> Result<Taken, Failure> {
        let each = self.project.quota.price(method);
        let ask = Ask { each, least, most };
        let of_project = self.project.take(ask, priority, now).await?;
        if of_project.count < least {
            return Ok(Taken { count: 0, wait: of_project.wait });
        }
        let asked = Ask { most: of_project.count, ..ask };
        let taken = match self.draw(asked, now) {
            Some(taken) => taken,
            None => self.reserve(asked, priority, now).await?,
        };
        if taken.count < of_project.count {
            self.project.put_back((of_project.count - taken.count) * each, priority).await;
        }
        if taken.count > 0 {
            *self.calls.entry(method).or_default() += u64::from(taken.count);
        }
        let rest = taken.count < most;
        Ok(Taken { wait: if rest { taken.wait.max(of_project.wait) } else { SignedDuration::ZERO }, ..taken })
    }

    /// Calls that were taken and not made: they can be drawn again, or go back when the reservation is settled.
    pub fn give_back(&mut self, method: Method, count: u32) {
        let units = count * self.project.quota.price(method);
        if let Some(open) = &mut self.open {
            open.left = (open.left + units).min(open.reservation.units);
        }
        if let Some(calls) = self.calls.get_mut(&method) {
            *calls = calls.saturating_sub(u64::from(count));
        }
    }

    /// Out of the reservation in hand.
    fn draw(&mut self, ask: Ask, now: Timestamp) -> Option<Taken> {
        let units = ask.each.saturating_mul(ask.most);
        let open = self.open.as_mut().filter(|open| open.holds(units, now))?;
        open.left -= units;
        Some(Taken { count: ask.most, wait: SignedDuration::ZERO })
    }

    async fn reserve(&mut self, ask: Ask, priority: Priority, now: Timestamp) -> Result<Taken, Failure> {
        let before = self.open.take();
        let limit = self.project.quota.address;
        let reserved: Result<Granted, SignedDuration> = self
            .project
            .store
            .change_ledger(&self.address, &mut self.seen, now, |ledger| {
                settle(ledger, before, now);
                ledger.reserve(ask, priority, limit, None, now)
            })
            .await
            .map_err(|error| failed(&error))?;
        let granted = match reserved {
            Ok(granted) => granted,
            Err(wait) => {
                // Nothing was written, the settling neither.
                self.open = before;
                return Ok(Taken { count: 0, wait });
            }
        };
        let mut open = Open::new(granted.reservation, now);
        open.left -= granted.count * ask.each;
        self.open = Some(open);
        Ok(Taken { count: granted.count, wait: granted.wait })
    }

    /// The calls went well: Gmail takes a few more at once again.
    pub async fn went_well(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.parts() >= sync_core::quota::PARTS_MAX {
            return Ok(());
        }
        change(&self.project.store, &self.address, &mut self.seen, now, Ledger::grow_parts).await
    }

    /// Gmail had too many calls at once, of whomever: half as many from now on.
    pub async fn too_many_at_once(&mut self, now: Timestamp) -> Result<(), StoreError> {
        change(&self.project.store, &self.address, &mut self.seen, now, Ledger::halve_parts).await
    }

    /// Gmail has named a time before which this address is not to be asked, by any worker.
    pub async fn close(&mut self, wait: SignedDuration, now: Timestamp) -> Result<(), StoreError> {
        self.open = None;
        change(&self.project.store, &self.address, &mut self.seen, now, |ledger| ledger.close(wait, now))
            .await
    }

    /// Google says that the project's day is spent.
    pub async fn close_project(&self, wait: SignedDuration, now: Timestamp) -> Result<(), StoreError> {
        self.project.close(wait, now).await
    }

    /// The visit is over: what was reserved and not spent goes back, as far as it is worth a write. A reservation that
    /// is not settled counts half a minute longer than its calls took.
    pub async fn settle(&mut self, priority: Priority, now: Timestamp) -> Result<(), StoreError> {
        if let Some(open) = self.open.take()
            && open.reservation.units >= self.project.quota.price(Method::MessagesGet)
        {
            let (store, of) = (&self.project.store, &self.address);
            change(store, of, &mut self.seen, now, |ledger| settle(ledger, Some(open), now)).await?;
        }
        self.project.settle(priority, now).await
    }
}

fn settle(ledger: &mut Ledger, open: Option<Open>, now: Timestamp) {
    if let Some(open) = open {
        ledger.settle(open.reservation, open.spent(), now);
    }
}

/// A change that is never refused.
async fn change(
    store: &Store,
    of: &LedgerOf,
    seen: &mut Option<SeenLedger>,
    now: Timestamp,
    mut how: impl FnMut(&mut Ledger),
) -> Result<(), StoreError> {
    let decide = |ledger: &mut Ledger| {
        how(ledger);
        Ok::<(), std::convert::Infallible>(())
    };
    store.change_ledger(of, seen, now, decide).await.map(|done| done.unwrap_or(()))
}

fn failed(error: &StoreError) -> Failure {
    Failure::new(error.disposition(), error.to_string())
}

/// A refusal of our own: nothing failed.
pub fn out_of_quota(wait: SignedDuration) -> Failure {
    Failure::new(Disposition::Wait(wait.max(SignedDuration::from_secs(1))), "the quota is used up for now")
}
