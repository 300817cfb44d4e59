//! Use case: a worker compares a mailbox's counters with Gmail's, because the mailbox changed since that was last done.
//!
//! Invariant: of all jobs that ask for it within an interval one looks. The comparing itself is the engine's, after it has
//! read history to its end.

use sync_core::{Timestamp, job::Job, state::Status};
use sync_store::StoreError;

use crate::{
    report::Report,
    sync::{Worker, sync},
};

/// Looks and compares, unless somebody set out to within the interval. The look's report, when there was one.
pub async fn probe(
    worker: &Worker,
    job: Job,
    trace: &str,
    owner: &str,
    checkpoint_at: Timestamp,
) -> Result<Option<Report>, StoreError> {
    let (store, mailbox) = (&worker.clients.store, &job.mailbox);
    let Some(row) = store.read_sync(mailbox).await? else { return Ok(None) };
    if row.status != Status::Active || !row.scope.is_countable() {
        // Else every tick would ask for it, in vain.
        store.forget_change(mailbox).await?;
        tracing::info!(mailbox.id = %mailbox, status = row.status.name(), "not to be probed");
        return Ok(None);
    }
    let now = Timestamp::now();
    let is_claimed = store.claim_probe(mailbox, now - worker.settings.probe_interval, now).await?;
    // A copy that is being made has no counters to compare yet.
    if !is_claimed || !row.progress.work.is_empty() {
        tracing::info!(mailbox.id = %mailbox, "not to be probed now");
        return Ok(None);
    }
    Ok(Some(sync(worker, job, trace, owner, checkpoint_at).await))
}
