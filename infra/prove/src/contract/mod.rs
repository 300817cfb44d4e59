//! What every store keeps, whatever it is made of: stories of effects and of what is seen of them.
//!
//! The simulation proves the protocol against a store in memory. That says something about production only if the
//! store of production does the same, so these stories are told to both: to the simulated store here, to DynamoDB and S3
//! behind the live world's own store side in `shared/app/tests/it/contract.rs`. Invariant: a story asks nothing of a
//! store but what the engine asks. Deliberately absent: lost answers and throttling, which are tested where they happen.

mod aggregate;
mod commits;
mod kept;
mod requests;
mod rows;
#[cfg(test)]
mod simulated;

use std::{fmt::Debug, future::Future};

use sync_core::{
    Generation, Timestamp,
    job::{JobKind, RequestOptions},
    state::{Content, Scope, Sync},
    sync::{Acquired, Commit, Committed, Effect, Event, RowWrite, Seen, World},
};

/// A mailbox that was just connected, in a store, as one worker and the people around it reach it.
pub trait Bench: World + Send {
    /// From now on it is this time.
    fn set_time(&mut self, now: Timestamp);

    /// The worker has used the grant of this version.
    fn use_grant(&mut self, version: u64);

    /// Somebody who does not hold the lease does something.
    fn outside(&mut self, deed: Deed) -> impl Future<Output = ()> + Send;

    /// What a reader of the feed sees after that number.
    fn events(&mut self, after: u64) -> impl Future<Output = Vec<Event>> + Send;
}

/// What is done without the lease.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Work is given from outside, due now.
    Ask,
    /// A request is written.
    Request(JobKind, RequestOptions),
    /// The mailbox is taken from whoever holds it.
    Unlock,
    /// The owner signs in again.
    NewGrant,
    /// The owner chooses labels.
    SetScope(Scope),
    /// The owner chooses what of a message is fetched from now on.
    SetContent(Content),
    /// Something is announced.
    Announce,
}

/// Where a store does something else than the contract says.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: expected {expected}, seen {seen}")]
pub struct Breach {
    /// What was looked at.
    pub what: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub seen: String,
}

/// How a story ends.
pub type Told = Result<(), Breach>;

macro_rules! stories {
    ($($module:ident: $($name:ident)*;)*) => {
        /// Tells every story to a fresh mailbox each, and gives its name and where it was broken.
        pub async fn tell_all<B: Bench, F: Future<Output = B>>(fresh: impl Fn() -> F) -> Vec<(&'static str, Told)> {
            let mut told = Vec::new();
            $($({
                let mut bench = Box::pin(fresh()).await;
                // On the heap: all stories together are more than a stack holds.
                told.push((stringify!($name), Box::pin($module::$name(&mut bench)).await));
            })*)*
            told
        }
    };
}

stories! {
    aggregate:
        a_free_lease_is_taken_and_a_held_one_is_not
        asked_is_raised_only_while_the_lease_is_held
        the_target_only_rises_and_is_lowered_only_from_what_was_read
        a_lease_is_given_back_only_if_nobody_asked
        a_former_holder_gives_nothing_back
        an_old_grant_parks_nothing
        an_unlocked_mailbox_fences_its_holder
        work_from_outside_is_due_whatever_the_lease
        a_scope_is_read_with_the_mailbox
        content_is_chosen_without_any_work;
    commits:
        a_commit_is_applied_once
        a_commit_of_a_former_holder_writes_nothing
        a_commit_without_the_lease_writes_nothing
        a_number_that_somebody_took_is_a_conflict
        events_are_one_sequence_whoever_announces
        counters_are_added_to;
    rows:
        a_row_is_put_relabelled_buried_and_revived
        a_message_never_stored_can_be_buried
        rows_are_read_once_and_absent_ones_are_absent
        rows_are_scanned_in_the_order_of_their_ids
        labels_are_counted;
    requests:
        requests_wait_in_order_until_a_commit_closes_them
        what_is_owed_is_read_earliest_first
        a_fenced_commit_closes_nothing;
    kept:
        a_list_is_read_by_position
        a_list_by_thread_keeps_the_threads
        a_listing_is_read_as_it_was_kept;
}

/// A time, seconds after the contract's beginning.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap_or_default()
}

/// Whether two things are the same.
#[expect(clippy::needless_pass_by_value, reason = "both are made for this line; references would hide them")]
fn same<T: PartialEq + Debug>(what: impl Into<String>, seen: T, expected: T) -> Told {
    if seen == expected {
        return Ok(());
    }
    Err(Breach { what: what.into(), expected: format!("{expected:?}"), seen: format!("{seen:?}") })
}

fn unexpected(what: &str, seen: &impl Debug) -> Breach {
    Breach { what: what.to_owned(), expected: "another kind of answer".to_owned(), seen: format!("{seen:?}") }
}

/// Carries out an effect at a time.
async fn see<B: Bench>(bench: &mut B, effect: Effect, now: Timestamp) -> Seen {
    bench.set_time(now);
    Box::pin(bench.perform(effect)).await.seen
}

/// Does something from outside at a time.
async fn outside<B: Bench>(bench: &mut B, deed: Deed, now: Timestamp) {
    bench.set_time(now);
    Box::pin(bench.outside(deed)).await;
}

/// The aggregate root as it is.
async fn sync<B: Bench>(bench: &mut B) -> Result<Sync, Breach> {
    match Box::pin(bench.perform(Effect::ReadSync)).await.seen {
        Seen::Sync(sync) => Ok(*sync),
        other => Err(unexpected("reading SYNC", &other)),
    }
}

/// Takes the lease, which must be free, from `from` until `until`.
async fn hold<B: Bench>(bench: &mut B, from: i64, until: i64) -> Result<Sync, Breach> {
    match see(bench, Effect::Acquire { until: at(until) }, at(from)).await {
        Seen::Acquired(Acquired::Held(sync)) => Ok(*sync),
        other => Err(unexpected("taking a free lease", &other)),
    }
}

/// A commit of these rows that follows on `sync`.
fn commit(sync: &Sync, rows: Vec<RowWrite>) -> Commit {
    Commit {
        mailbox: sync.mailbox.clone(),
        generation: sync.generation,
        after: sync.commit,
        rows,
        owed: Vec::new(),
        closed: Vec::new(),
        progress: sync.progress.clone(),
        totals: sync_core::state::Totals::default(),
        labels: std::collections::BTreeMap::new(),
        seq: sync.seq,
        events: Vec::new(),
        now: at(10),
    }
}

/// What comes of a commit.
async fn applied<B: Bench>(bench: &mut B, commit: &Commit) -> Result<Committed, Breach> {
    match see(bench, Effect::Commit(Box::new(commit.clone())), commit.now).await {
        Seen::Committed(committed) => Ok(committed),
        other => Err(unexpected("a commit", &other)),
    }
}

/// A commit that must be applied.
async fn apply<B: Bench>(bench: &mut B, commit: &Commit) -> Told {
    same("a commit that fits", applied(bench, commit).await?, Committed::Applied)
}

fn after(generation: Generation) -> Generation {
    Generation(generation.0 + 1)
}
