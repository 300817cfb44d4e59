//! Asking for a sync: the request is written first, then its hint is sent.
//!
//! Invariant: a hint that is lost delays the job and never loses it, because the request also makes the mailbox due.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use sync_core::{
    JobId, MailboxId, TenantId,
    job::{JobKind, Lane, RequestOptions, Trigger},
    state::Sync,
};
use sync_queue::JobMessage;
use sync_store::{AuditAction, IdempotencyKey, JobRow, NewRequest};

use super::{
    ApiState,
    problem::{FieldError, Problem},
};

/// What is asked for, and why.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// The path's name: two paths that lead to the same kind of job are still two requests.
    pub operation: &'static str,
    pub kind: JobKind,
    pub options: RequestOptions,
    pub trigger: Trigger,
    /// Whoever holds the mailbox is stopped first.
    pub unlock: bool,
    /// A mailbox that stopped for somebody to look goes on with this request.
    pub reactivate: bool,
}

impl Ask {
    /// By hand, with nothing else said.
    pub fn by_hand(operation: &'static str, kind: JobKind) -> Self {
        Self {
            operation,
            kind,
            options: RequestOptions::default(),
            trigger: Trigger::Manual,
            unlock: false,
            reactivate: false,
        }
    }

    /// What the audit trail calls it; `None` for what anybody may ask for at any time.
    pub fn audited(&self) -> Option<AuditAction> {
        match (self.operation, self.kind) {
            ("force", _) => Some(AuditAction::Forced),
            ("unlock", _) => Some(AuditAction::Unlocked),
            (_, JobKind::AcceptDebt) => Some(AuditAction::DebtAccepted),
            _ => self.options.accept_deletions.then_some(AuditAction::DeletionsAccepted),
        }
    }

    /// What makes a repeated request the same one. A digest, because it may hold an address.
    fn fingerprint(&self, mailbox: &MailboxId) -> String {
        let said = serde_json::to_string(&self.options).unwrap_or_default();
        let whole = format!("{mailbox}\n{}\n{said}", self.operation);
        hex::encode(digest(&SHA256, whole.as_bytes()))
    }
}

/// Writes the request and sends its hint; gives the job. A key that was used gives the job it was used for.
pub(super) async fn ask(
    state: &ApiState,
    sync: &Sync,
    ask: &Ask,
    key: Option<&str>,
    trace: &str,
) -> Result<JobRow, Problem> {
    let now = Timestamp::now();
    let key = key.map(|key| IdempotencyKey {
        tenant: sync.tenant.clone(),
        key: key.to_owned(),
        request: ask.fingerprint(&sync.mailbox),
    });
    let request = NewRequest {
        kind: ask.kind,
        trigger: ask.trigger,
        options: ask.options.clone(),
        key,
        reactivate: ask.reactivate,
    };
    let requested = state.store.create_request(&sync.mailbox, &request, now).await?;
    if requested.repeated && !requested.matches {
        return Err(key_reused());
    }
    let job = read_job(state, &requested.mailbox, &requested.job).await?;
    if requested.repeated {
        return Ok(job);
    }
    if ask.unlock {
        state.store.unlock(&sync.mailbox, now).await?;
    }
    hint(state, &sync.mailbox, &sync.tenant, ask.trigger, trace).await;
    Ok(job)
}

/// Has the mailbox looked at now rather than at the next tick. What it is to be looked at for is written already.
pub(super) async fn hint(
    state: &ApiState,
    mailbox: &MailboxId,
    tenant: &TenantId,
    trigger: Trigger,
    trace: &str,
) {
    let message = JobMessage::V1 {
        mailbox: mailbox.clone(),
        trigger,
        target: None,
        step: None,
        trace: trace.to_owned(),
        sent_at: Timestamp::now(),
    };
    let sent = state.queue.send(Lane::Sync, &message, SignedDuration::ZERO, Some(tenant)).await;
    if let Err(error) = sent {
        tracing::warn!(mailbox.id = %mailbox, %error, "the hint was not sent; the fan-out finds the mailbox");
    }
}

fn key_reused() -> Problem {
    let error = FieldError {
        field: "Idempotency-Key".to_owned(),
        message: "was used for another request".to_owned(),
    };
    Problem::fields(vec![error]).with_status(axum::http::StatusCode::UNPROCESSABLE_ENTITY)
}

/// A job of this mailbox.
pub(super) async fn read_job(state: &ApiState, mailbox: &MailboxId, job: &JobId) -> Result<JobRow, Problem> {
    state.store.read_job(mailbox, job).await?.ok_or_else(|| Problem::not_found("job"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_same_only_for_the_same_mailbox_path_and_options() {
        let mailbox = |name: &str| name.parse::<MailboxId>().expect("an id");
        let sync = Ask::by_hand("sync", JobKind::Incremental);
        let force = Ask::by_hand("force", JobKind::Incremental);
        let options = RequestOptions { max_results: Some(5), ..RequestOptions::default() };
        let bounded = Ask { options, ..sync.clone() };
        let first = sync.fingerprint(&mailbox("mbx_1"));
        assert_eq!(first, sync.fingerprint(&mailbox("mbx_1")));
        assert_ne!(first, sync.fingerprint(&mailbox("mbx_2")));
        assert_ne!(first, force.fingerprint(&mailbox("mbx_1")));
        assert_ne!(first, bounded.fingerprint(&mailbox("mbx_1")));
    }
}
