//! Why one message is, or is not, in the replica: one answer, and everything it rests on.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use serde::Serialize;
use sync_core::{
    HistoryId, MailboxId, MessageId,
    message::{Labels, RowState},
    owed::{Owed, OwedReason},
    state::{Scope, Sync, Window, WorkKind},
};
use sync_store::{EmailId, ListPlace, WhyFacts};

use super::{
    ApiState,
    auth::{Caller, ToRead},
    mailbox::owned,
    problem::Problem,
    query::Query,
    view::DebtView,
};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Stored,
    OutOfScope,
    Debt,
    Waiting,
    Deleted,
    Accepted,
    NeverSeen,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyView {
    id: String,
    mailbox: MailboxId,
    gmail_id: MessageId,
    verdict: Verdict,
    /// The same in a sentence.
    because: String,
    /// Up to which record the row is current, when there is one.
    history_id: Option<HistoryId>,
    label_ids: Option<Labels>,
    deleted_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    /// The rule that leaves it out.
    rule: Option<String>,
    debt: Option<DebtView>,
    /// Where it waits to be fetched or checked.
    waiting: Vec<PlaceView>,
    /// Up to where the mailbox is synced: what came after that is not known yet.
    cursor: Option<HistoryId>,
}

/// A place in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlaceView {
    list: String,
    /// From 0; null for what waits without an order.
    position: Option<u64>,
    ahead: Option<u64>,
    /// Whether it is stored and only to be checked.
    verify: bool,
}

/// `GET /api/emails/{id}/why`; `{id}` may be Gmail's with `?mailbox=`, and need not be stored.
pub async fn why(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<WhyView>, Problem> {
    let named = query.text_of("mailbox", 400);
    query.finish()?;
    let (sync, message) = addressed(&state, &caller, &id, named.as_deref()).await?;
    let facts = state.store.why(&sync.mailbox, message).await?;
    Ok(Json(explain(message, &facts)))
}

async fn addressed(
    state: &ApiState,
    caller: &Caller<ToRead>,
    id: &str,
    named: Option<&str>,
) -> Result<(Sync, MessageId), Problem> {
    let not_found = || Problem::not_found("e-mail");
    let named_mailbox = match named {
        Some(named) => Some(owned(state, &caller.tenant, named).await?),
        None => None,
    };
    if let Ok(id) = id.parse::<EmailId>() {
        let sync = owned(state, &caller.tenant, id.mailbox.as_str())
            .await
            .map_err(|problem| problem.or_not_found("e-mail"))?;
        if named_mailbox.is_some_and(|named| named.mailbox != sync.mailbox) {
            return Err(not_found());
        }
        return Ok((sync, id.message));
    }
    let message: MessageId = id.parse().map_err(|_| not_found())?;
    let sync = named_mailbox.ok_or_else(|| Problem::field("mailbox", "is required with an id of Gmail's"))?;
    Ok((sync, message))
}

fn explain(message: MessageId, facts: &WhyFacts) -> WhyView {
    let mailbox = facts.sync.mailbox.clone();
    let row = facts.row.as_ref();
    let debt = facts.owed.as_ref().filter(|owed| owed.reason.is_debt());
    let waiting = places(facts);
    let (verdict, rule) = match (debt, row.map(|row| row.state)) {
        (Some(_), _) => (Verdict::Debt, None),
        (None, Some(RowState::Live)) => (Verdict::Stored, None),
        // A tombstone that is to be fetched again waits, whatever it was before.
        (None, _) if !waiting.is_empty() => (Verdict::Waiting, None),
        (None, Some(RowState::OutOfScope)) => {
            let labels = row.map(|row| row.labels.clone()).unwrap_or_default();
            (Verdict::OutOfScope, Some(rule(&facts.sync.scope, &labels)))
        }
        (None, Some(RowState::Deleted)) => (Verdict::Deleted, None),
        (None, Some(RowState::Accepted)) => (Verdict::Accepted, None),
        (None, None) => (Verdict::NeverSeen, None),
    };
    let because = sentence(verdict, facts, debt, rule.as_deref(), &waiting);
    WhyView {
        id: EmailId { mailbox: mailbox.clone(), message }.to_string(),
        gmail_id: message,
        verdict,
        because,
        history_id: row.map(|row| row.history_id),
        label_ids: row.map(|row| row.labels.clone()),
        deleted_at: facts.message.as_ref().and_then(|message| message.deleted_at),
        updated_at: facts.message.as_ref().map(|message| message.updated_at),
        rule,
        debt: debt.map(|owed| DebtView::new(&mailbox, owed)),
        waiting,
        cursor: facts.sync.progress.cursor,
        mailbox,
    }
}

/// Every place where it waits: lists of the work under way, and what deltas left for later.
fn places(facts: &WhyFacts) -> Vec<PlaceView> {
    let mut places: Vec<PlaceView> = facts
        .lists
        .iter()
        .map(|place: &ListPlace| PlaceView {
            list: format!("{} ({})", place.key, work_name(&place.kind)),
            position: Some(place.position),
            ahead: Some(place.ahead),
            verify: place.verify,
        })
        .collect();
    if facts.owed.as_ref().is_some_and(|owed| owed.reason == OwedReason::Waiting) {
        places.push(PlaceView { list: "owed".to_owned(), position: None, ahead: None, verify: false });
    }
    places
}

fn work_name(kind: &WorkKind) -> &'static str {
    match kind {
        WorkKind::Initial { window: Window::Newest(_) } => "the first copy, its newest mails",
        WorkKind::Initial { window: Window::Days(_) } => "the first copy, its last days",
        WorkKind::Initial { .. } => "the first copy",
        WorkKind::Backfill { .. } => "old mail on demand",
        WorkKind::Resync { .. } => "a comparison of everything",
    }
}

/// Why a message that wears these labels is outside.
fn rule(scope: &Scope, labels: &Labels) -> String {
    let listed =
        |labels: Vec<&String>| labels.iter().map(|label| label.as_str()).collect::<Vec<_>>().join(", ");
    let excluded: Vec<&String> = scope.exclude.intersection(labels).collect();
    if !excluded.is_empty() {
        return format!("labels.exclude holds {}", listed(excluded));
    }
    if !scope.include.is_empty() && scope.include.is_disjoint(labels) {
        return format!("it has none of labels.include: {}", listed(scope.include.iter().collect()));
    }
    "an earlier selection; the present one holds it, and a comparison brings it back".to_owned()
}

fn sentence(
    verdict: Verdict,
    facts: &WhyFacts,
    debt: Option<&Owed>,
    rule: Option<&str>,
    waiting: &[PlaceView],
) -> String {
    let history = facts.row.as_ref().map(|row| row.history_id.to_string()).unwrap_or_default();
    match verdict {
        Verdict::Stored => format!("It is stored as of history {history}."),
        Verdict::OutOfScope => {
            format!("It is outside of the mailbox's selection: {}.", rule.unwrap_or_default())
        }
        Verdict::Debt => debt.map_or_else(String::new, owes),
        Verdict::Waiting => waiting.first().map_or_else(String::new, waits),
        Verdict::Deleted => {
            let at = facts.message.as_ref().and_then(|message| message.deleted_at);
            let when = at.map(|at| format!(", seen {at}")).unwrap_or_default();
            format!("It was deleted in Gmail at history {history}{when}.")
        }
        Verdict::Accepted => "It could not be had, and its owner has accepted that it is lost.".to_owned(),
        Verdict::NeverSeen => match facts.sync.progress.cursor {
            Some(cursor) if facts.sync.progress.work.is_empty() => {
                format!("It was never seen: neither a listing nor history up to {cursor} named it.")
            }
            Some(cursor) => format!(
                "It was not seen yet: history up to {cursor} did not name it, and a listing is still under way."
            ),
            None => "It was not seen yet: the mailbox's first sync has not begun.".to_owned(),
        },
    }
}

fn owes(owed: &Owed) -> String {
    let reason = match &owed.reason {
        OwedReason::Failed { error } => error.trim_end_matches('.').to_owned(),
        OwedReason::NotVisibleYet => {
            "Gmail says that there is no such message, which may only be too early".to_owned()
        }
        OwedReason::Vanished => "it is stored, but a complete listing did not name it".to_owned(),
        OwedReason::Waiting => "its turn has not come".to_owned(),
    };
    let next = match owed.due_at {
        Some(due_at) => format!("it is tried again at {due_at}"),
        None => "nothing more is tried by itself: retry it, or accept that it is lost".to_owned(),
    };
    let tries = if owed.tries == 1 { "1 try".to_owned() } else { format!("{} tries", owed.tries) };
    format!("It is in debt since {}, because {reason}; {tries}, {next}.", owed.since)
}

fn waits(place: &PlaceView) -> String {
    match (place.position, place.ahead) {
        (Some(position), Some(ahead)) => {
            format!("It waits in the list {} at position {position}, {ahead} before it.", place.list)
        }
        _ => "It waits its turn among the messages that changes named.".to_owned(),
    }
}
