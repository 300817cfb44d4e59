//! Use case: a worker refreshes a mailbox's access token before it lapses, because the hourly task says so.
//!
//! No look: mail comes by pushes and polls. When Google refuses for good the ordinary look follows, so that the
//! engine parks the mailbox, with its one event. A passing failure is left to the next look, which refreshes too.

use sync_core::{Disposition, Timestamp, job::Job, state::Status};

use sync_store::StoreError;

use crate::{
    access::{Need, Tokens},
    report::Report,
    sync::{Worker, sync},
};

/// Refreshes unless that has been done since `asked_at`: a job that came twice asks Google once. The look's report, when
/// there was one.
pub async fn refresh(
    worker: &Worker,
    job: Job,
    trace: &str,
    owner: &str,
    checkpoint_at: Timestamp,
    asked_at: Timestamp,
) -> Result<Option<Report>, StoreError> {
    let (store, mailbox) = (&worker.clients.store, &job.mailbox);
    let Some(sync_row) = store.read_sync(mailbox).await? else { return Ok(None) };
    if sync_row.status != Status::Active {
        store.rest_credential(mailbox, sync_row.credential_version).await?;
        tracing::info!(mailbox.id = %mailbox, status = sync_row.status.name(), "not to be refreshed");
        return Ok(None);
    }
    let clients = &worker.clients;
    let tokens = Tokens { store, gmail: &clients.gmail, client: &clients.oauth, mailbox };
    let Err(denied) = tokens.obtain(Need::MadeSince(asked_at), Timestamp::now()).await else {
        tracing::info!(mailbox.id = %mailbox, tokens_refreshed = 1, "the access token was refreshed");
        return Ok(None);
    };
    let error = &denied.failure.message;
    match denied.failure.disposition {
        Disposition::NeedsReauth | Disposition::NeedsAttention => {
            tracing::warn!(mailbox.id = %mailbox, error, tokens_refused = 1, "the access token was not refreshed");
            Ok(Some(sync(worker, job, trace, owner, checkpoint_at).await))
        }
        Disposition::Retry(_) | Disposition::Wait(_) | Disposition::Debt | Disposition::Defect => {
            tracing::warn!(mailbox.id = %mailbox, error, "the access token was not refreshed; the next look tries again");
            Ok(None)
        }
    }
}
