//! Operations on one mailbox: pausing it, and what it owes.
//!
//! Invariant: a debt ends by being stored, by being found deleted, or by its owner saying that it is lost; never
//! by being forgotten. Both ways out are jobs, because only the holder of the lease writes debts.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use jiff::Timestamp;
use sync_core::{
    MessageId,
    job::{JobKind, RequestOptions, Trigger},
    state::{Status, Sync},
};
use sync_store::{AuditAction, StatusChange};

use super::{
    ApiState,
    auth::{Caller, ToRead},
    mailbox::{self, owned},
    order::{Order, refuse_unless_active, waits},
    problem::Problem,
    query::{CURSOR_BYTES_MAX, Query},
    requests::{self, Ask},
    view::{DebtView, ListView, MailboxView},
};

/// `POST /api/sync/{mailbox}/pause`: nothing is synced until it is resumed; what runs ends at its next look.
pub async fn pause(order: Order, query: Query) -> Result<Json<MailboxView>, Problem> {
    query.finish()?;
    let sync = order.mailbox().await?;
    let changed = order.state.store.pause(&sync.mailbox, Timestamp::now()).await?;
    refuse(changed)?;
    order.note(&sync, AuditAction::Paused).await;
    as_it_is(&order.state, &sync).await
}

/// `POST /api/sync/{mailbox}/resume`: also the way out when it stopped for somebody to look.
pub async fn resume(order: Order, query: Query) -> Result<Json<MailboxView>, Problem> {
    query.finish()?;
    let sync = order.mailbox().await?;
    let changed = order.state.store.resume(&sync.mailbox, Timestamp::now()).await?;
    refuse(changed)?;
    order.note(&sync, AuditAction::Resumed).await;
    requests::hint(&order.state, &sync.mailbox, &sync.tenant, Trigger::Manual, &order.trace).await;
    as_it_is(&order.state, &sync).await
}

fn refuse(changed: StatusChange) -> Result<(), Problem> {
    match changed {
        StatusChange::Done => Ok(()),
        StatusChange::Refused(Status::NeedsReauth | Status::Deactivated) => {
            Err(Problem::conflict("The mailbox has no grant to sync with: connect it again first."))
        }
        StatusChange::Refused(status) => {
            Err(Problem::conflict(format!("The mailbox's status is {}.", status.name())))
        }
    }
}

async fn as_it_is(state: &ApiState, sync: &Sync) -> Result<Json<MailboxView>, Problem> {
    let sync = mailbox::read(state, &sync.mailbox).await?;
    Ok(Json(state.view_of(&sync).await?))
}

/// `GET /api/sync/{mailbox}/debts`
pub async fn debts(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    mut query: Query,
) -> Result<Json<ListView<DebtView>>, Problem> {
    let limit = query.limit();
    let cursor = query.text_of("cursor", CURSOR_BYTES_MAX);
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let page = state.store.list_debts(&sync.mailbox, limit, cursor.as_deref()).await?;
    let items = page.items.iter().map(|owed| DebtView::new(&sync.mailbox, owed)).collect();
    Ok(Json(ListView { items, next_cursor: page.next }))
}

/// `POST /api/sync/{mailbox}/debts/{gmailId}/retry`: it is tried again now.
pub async fn retry(order: Order, query: Query) -> Result<Response, Problem> {
    settle(&order, query, Ask::by_hand("debts/retry", JobKind::RetryDebt)).await
}

/// `POST /api/sync/{mailbox}/debts/{gmailId}/accept`: it is lost, and its owner says so.
pub async fn accept(order: Order, query: Query) -> Result<Response, Problem> {
    settle(&order, query, Ask::by_hand("debts/accept", JobKind::AcceptDebt)).await
}

async fn settle(order: &Order, mut query: Query, ask: Ask) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    query.finish()?;
    let sync = order.mailbox().await?;
    let not_found = || Problem::not_found("debt");
    let message: MessageId = order.part("message").parse().map_err(|_| not_found())?;
    let options = RequestOptions { message: Some(message), ..RequestOptions::default() };
    let ask = Ask { options, ..ask };
    // A repeated request finds its job, also when that has settled the debt meanwhile.
    if !order.has_key() {
        let owed = order.state.store.read_owed_of(&sync.mailbox, &[message]).await?;
        if !owed.iter().any(|owed| owed.reason.is_debt()) {
            return Err(not_found());
        }
    }
    refuse_unless_active(&sync)?;
    order.place(&sync, &ask, wait).await
}
