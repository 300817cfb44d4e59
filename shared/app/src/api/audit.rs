//! The audit trail: noting what was done, and reading it.

use std::sync::Arc;

use axum::{Json, extract::State};
use jiff::Timestamp;
use sync_core::{MailboxId, TenantId};
use sync_store::{AuditAction, AuditRow, NewAudit};

use super::{
    ApiState,
    auth::{Caller, ToAdminister},
    mailbox::owned,
    problem::Problem,
    query::{CURSOR_BYTES_MAX, Query},
    view::ListView,
};

/// Something that a caller has just done.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    tenant: TenantId,
    actor: String,
    action: AuditAction,
    mailbox: Option<MailboxId>,
    trace: String,
}

impl Deed {
    /// This caller did this.
    pub fn of<N>(caller: &Caller<N>, action: AuditAction, trace: &str) -> Self {
        Self {
            tenant: caller.tenant.clone(),
            actor: caller.name.clone(),
            action,
            mailbox: None,
            trace: trace.to_owned(),
        }
    }

    /// Somebody of that name did this, whose token or session was asked with before.
    pub fn by(tenant: &TenantId, actor: &str, action: AuditAction, trace: &str) -> Self {
        let (tenant, actor, trace) = (tenant.clone(), actor.to_owned(), trace.to_owned());
        Self { tenant, actor, action, mailbox: None, trace }
    }

    /// Whose mailboxes it is about.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The correlation id.
    pub fn trace(&self) -> &str {
        &self.trace
    }

    /// With this mailbox.
    #[must_use]
    pub fn with(self, mailbox: &MailboxId) -> Self {
        Self { mailbox: Some(mailbox.clone()), ..self }
    }
}

/// Adds a deed to the trail. What was done is done: a row that cannot be written is told of in the log.
pub(super) async fn note(state: &ApiState, deed: &Deed) {
    let row = NewAudit {
        tenant: deed.tenant.clone(),
        actor: deed.actor.clone(),
        action: deed.action,
        mailbox: deed.mailbox.clone(),
        trace: deed.trace.clone(),
    };
    if let Err(error) = state.store.audit(&row, Timestamp::now()).await {
        tracing::error!(%error, action = ?deed.action, audits_lost = 1, "the audit trail lacks a row");
    }
}

/// `GET /api/audit`: newest first, of the tenant or of one of its mailboxes.
pub async fn trail(
    caller: Caller<ToAdminister>,
    State(state): State<Arc<ApiState>>,
    mut query: Query,
) -> Result<Json<ListView<AuditRow>>, Problem> {
    let limit = query.limit();
    let cursor = query.text_of("cursor", CURSOR_BYTES_MAX);
    let named = query.text("mailbox");
    query.finish()?;
    let mailbox = match &named {
        Some(named) => Some(erased_or_owned(&state, &caller, named).await?),
        None => None,
    };
    let (store, now) = (&state.store, Timestamp::now());
    let page = store.audit_trail(&caller.tenant, mailbox.as_ref(), limit, cursor.as_deref(), now).await?;
    Ok(Json(ListView { items: page.items, next_cursor: page.next }))
}

/// An erased mailbox has a trail still: its id finds it, inside the caller's own trail.
async fn erased_or_owned(
    state: &ApiState,
    caller: &Caller<ToAdminister>,
    named: &str,
) -> Result<MailboxId, Problem> {
    match owned(state, &caller.tenant, named).await {
        Ok(sync) => Ok(sync.mailbox),
        Err(problem) => named.parse().ok().filter(|_| !named.contains('@')).ok_or(problem),
    }
}
