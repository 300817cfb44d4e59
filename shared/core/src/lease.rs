//! Who may work on a mailbox, as pure transitions of `SYNC`.
//!
//! The store makes each of these with one conditional write; the simulation and the model checker apply them as
//! they stand here, and the same contract is run against both. Invariant: at most one generation may write.

use jiff::Timestamp;

use crate::{
    ids::{Generation, HistoryId},
    state::{Lease, Status, Sync},
    sync::{Commit, Committed, Guard, Mutant, Released},
};

/// Takes the lease, if it is free or has lapsed before `now`. Whether it was taken.
pub fn acquire(sync: &mut Sync, owner: &str, until: Timestamp, now: Timestamp) -> bool {
    if is_held(sync, now) {
        return false;
    }
    sync.generation = Generation(sync.generation.0 + 1);
    sync.lease = Some(Lease { owner: owner.to_owned(), generation: sync.generation, until });
    // A holder that dies is found when its lease has lapsed.
    sync.due_at = Some(until);
    true
}

/// Whether somebody holds the lease and it has not lapsed.
pub fn is_held(sync: &Sync, now: Timestamp) -> bool {
    sync.lease.as_ref().is_some_and(|lease| lease.until >= now)
}

/// Raises `asked`, on condition that the lease is held. Whether it was.
pub fn raise_asked(sync: &mut Sync, now: Timestamp, mutant: Mutant) -> bool {
    let held = is_held(sync, now) || !mutant.keeps(Guard::ConditionalAsk);
    sync.asked += u64::from(held);
    held
}

/// Gives work from outside: `asked` is raised and the mailbox due, whatever the lease.
pub fn ask(sync: &mut Sync, due_at: Timestamp) {
    sync.asked += 1;
    sync.due_at = Some(due_at);
}

/// Raises the target, if it is lower.
pub fn raise_target(sync: &mut Sync, target: HistoryId) {
    sync.target = sync.target.max(Some(target));
}

/// Lowers the target, if it is still what was read.
pub fn lower_target(sync: &mut Sync, from: HistoryId, to: HistoryId) {
    if sync.target == Some(from) {
        sync.target = Some(to);
    }
}

/// Takes the mailbox from whoever holds it: the fence stops that one, and the mailbox is due now.
pub fn unlock(sync: &mut Sync, now: Timestamp) {
    sync.generation = Generation(sync.generation.0 + 1);
    sync.lease = None;
    ask(sync, now);
}

/// Whether a commit may be applied to this.
pub fn judge(sync: &Sync, commit: &Commit, mutant: Mutant) -> Committed {
    let fenced = commit.generation != sync.generation || sync.lease.is_none();
    if fenced && mutant.keeps(Guard::Fence) {
        return Committed::Fenced;
    }
    let other = commit.after != sync.commit || (!commit.events.is_empty() && commit.seq != sync.seq);
    if other && mutant.keeps(Guard::Fence) {
        return Committed::Conflict;
    }
    Committed::Applied
}

/// How a lease is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giving {
    /// The fence.
    pub generation: Generation,
    /// `asked` as it was before the last look.
    pub asked: u64,
    /// When somebody must look again.
    pub due_at: Option<Timestamp>,
    /// The status from now on, if it changes.
    pub status: Option<Status>,
    /// The version of the credential that failed, when the status is written because of it.
    pub credential_version: Option<u64>,
}

/// Gives the lease back, if nobody has asked since and the credential is the one that failed.
pub fn release(sync: &mut Sync, giving: &Giving, mutant: Mutant) -> Released {
    if giving.generation != sync.generation || sync.lease.is_none() {
        return Released::Fenced;
    }
    let stale = giving.asked != sync.asked
        || giving.credential_version.is_some_and(|version| version != sync.credential_version);
    if stale && mutant.keeps(Guard::ConditionalRelease) {
        return Released::AskedAgain;
    }
    sync.lease = None;
    sync.due_at = giving.due_at;
    sync.status = giving.status.unwrap_or(sync.status);
    Released::Free
}
