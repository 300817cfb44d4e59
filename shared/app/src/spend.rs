//! Spending quota: reserved before it is spent, at the address and at the project.
//!
//! A [`Purse`] is one visit's. It reserves at the address's ledger, whose limit Google counts by user, and takes from
//! the [`Project`]'s chunk, which all visits of a process share. One write reserves for a call and settles the call
//! before it. Invariant: what is granted here was written down before; a crash can only have reserved too much.
//! Deliberately absent: waiting. Who gets nothing ends and is told when to come again.

use std::{collections::BTreeMap, sync::Arc};

use sync_core::{
    Disposition, EmailAddress, Failure, SignedDuration, Timestamp,
    quota::{Ask, DRAWN_FOR, Granted, Ledger, Method, PartSpent, Priority, Quota, Reservation},
};
use sync_store::{SeenLedger, Store, StoreError};
use tokio::sync::Mutex;

/// How long a reservation may be drawn on: the last call drawn has the rest of `CALL_MAX` to reach Google.
const USABLE: SignedDuration = SignedDuration::from_secs(5);
/// Units of the project that one process holds at most: half a second's work of a busy worker.
const CHUNK_MAX: u32 = 1_000;
/// Other parts of the project that are tried when one has nothing left.
const PARTS_TRIED: u8 = 3;

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

/// Units of the project that this process has drawn.
#[derive(Default)]
struct Chunk {
    /// Of which part.
    part: u8,
    seen: PartSpent,
    units: u32,
    left: u32,
    until: Timestamp,
}

impl Chunk {
    fn left(&self, now: Timestamp) -> u32 {
        if now < self.until { self.left } else { 0 }
    }

    fn recently_spent(&self, now: Timestamp) -> u32 {
        if now < self.until { self.units - self.left } else { 0 }
    }
}

impl Project {
    /// Nothing is drawn yet.
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
        if chunk.left(now) < all {
            wait = self.draw(chunk, ask, priority, now).await?;
        }
        let count = (chunk.left(now) / ask.each.max(1)).min(ask.most);
        chunk.left -= count * ask.each;
        Ok(Taken { count, wait })
    }

    fn chunk(&self, dice: u8) -> Chunk {
        Chunk { part: dice % self.quota.parts(), ..Chunk::default() }
    }

    /// Draws a new chunk and brings back what is left of the one before, in one write: twice what was just used, so that
    /// a busy process writes rarely and an idle one holds nothing. Without room there is no chunk; when there will be.
    async fn draw(
        &self,
        chunk: &mut Chunk,
        ask: Ask,
        priority: Priority,
        now: Timestamp,
    ) -> Result<SignedDuration, Failure> {
        let all = ask.each.saturating_mul(ask.most);
        let most = all.max(chunk.recently_spent(now).saturating_mul(2).min(CHUNK_MAX));
        let units = Ask { each: 1, least: ask.each.saturating_mul(ask.least), most };
        let (part, mut wait) = (self.quota.part(), SignedDuration::ZERO);
        for _ in 0..PARTS_TRIED {
            let brings = chunk.left(now);
            let drawn = self
                .store
                .draw_quota(chunk.part, &part, &mut chunk.seen, units, brings, priority, now)
                .await
                .map_err(|error| failed(&error))?;
            match drawn {
                Ok(drawn) => {
                    (chunk.units, chunk.left, chunk.until) = (drawn.units, drawn.units, now + DRAWN_FOR);
                    return Ok(drawn.wait);
                }
                Err(until) => {
                    wait = if wait.is_zero() { until } else { wait.min(until) };
                    // What is left of the chunk lapses; another part may have room.
                    *chunk = self.chunk(rand::random());
                }
            }
        }
        Ok(wait)
    }

    /// Puts back what a purse took and did not spend.
    async fn put_back(&self, units: u32, priority: Priority) {
        if let Some(chunk) = self.chunks.lock().await.get_mut(&priority) {
            chunk.left = (chunk.left + units).min(chunk.units);
        }
    }

    /// Google says that the project's day is spent: nobody asks before it turns.
    async fn close(&self, wait: SignedDuration, now: Timestamp) -> Result<(), StoreError> {
        for part in 0..self.quota.parts() {
            self.store.close_quota(part, now + wait, now).await?;
        }
        self.chunks.lock().await.clear();
        Ok(())
    }
}

/// What one visit to one mailbox spends.
pub struct Purse {
    project: Arc<Project>,
    address: EmailAddress,
    seen: Option<SeenLedger>,
    open: Option<Open>,
    calls: BTreeMap<Method, u64>,
}

impl Purse {
    /// Nothing is reserved yet.
    pub fn new(project: Arc<Project>, address: EmailAddress) -> Self {
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
                ledger.reserve(ask, priority, limit, now)
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
    pub async fn settle(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if let Some(open) = self.open.take()
            && open.reservation.units >= self.project.quota.price(Method::MessagesGet)
        {
            let (store, of) = (&self.project.store, &self.address);
            change(store, of, &mut self.seen, now, |ledger| settle(ledger, Some(open), now)).await?;
        }
        Ok(())
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
    of: &EmailAddress,
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
