//! What a mailbox's owner chose to have: its selection of labels, and what of each message.
//!
//! Invariant: a selection never changes without a comparison that makes the replica fit it, written in the same
//! transaction. The content of messages holds for what is fetched from then on, so its change is no work. A label that Gmail does not know is refused: including only that one would empty the replica.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sync_core::{
    Disposition, MailboxId,
    job::Trigger,
    message::Labels,
    quota::Method,
    state::{Content, Scope, Sync},
};
use sync_store::AuditAction;

use super::{
    ApiState,
    auth::{Caller, ToAdminister, ToRead},
    body::JsonBody,
    content::{self, refuse_headers_only},
    mailbox::owned,
    order::{Order, location, refuse_unless_active, waits},
    problem::Problem,
    query::Query,
    requests,
    view::JobView,
};

/// Most labels of a selection, both lists together.
const LABELS_MAX: usize = 500;
/// Longest label id, bytes.
const LABEL_BYTES_MAX: usize = 225;

/// Settings of a mailbox.
#[derive(Serialize)]
pub struct SettingsView {
    mailbox: MailboxId,
    labels: SelectionView,
    /// `raw`, `full` or `metadata`.
    content: &'static str,
}

#[derive(Serialize)]
struct SelectionView {
    include: Labels,
    exclude: Labels,
}

/// What a change of settings answers.
#[derive(Serialize)]
struct Changed {
    #[serde(flatten)]
    settings: SettingsView,
    /// The comparison that makes the replica fit; null when the labels are as they were.
    job: Option<JobView>,
}

impl SettingsView {
    fn new(mailbox: &MailboxId, scope: &Scope, content: Content) -> Self {
        let labels = SelectionView { include: scope.include.clone(), exclude: scope.exclude.clone() };
        Self { mailbox: mailbox.clone(), labels, content: content.name() }
    }
}

/// Settings as they are given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    labels: Option<Selection>,
    content: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
}

/// `GET /api/integrations/{mailbox}/settings`
pub async fn get(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    query: Query,
) -> Result<Json<SettingsView>, Problem> {
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    Ok(Json(SettingsView::new(&sync.mailbox, &sync.scope, sync.content)))
}

/// `PUT /api/integrations/{mailbox}/settings`: what is left out is the default, everything, raw.
pub async fn put(
    order: Order<ToAdminister>,
    query: Query,
    JsonBody(body): JsonBody<Settings>,
) -> Result<Response, Problem> {
    change(&order, query, body, |_| (Scope::default(), Content::default())).await
}

/// `PATCH /api/integrations/{mailbox}/settings`: what is left out stays.
pub async fn patch(
    order: Order<ToAdminister>,
    query: Query,
    JsonBody(body): JsonBody<Settings>,
) -> Result<Response, Problem> {
    change(&order, query, body, |sync| (sync.scope.clone(), sync.content)).await
}

async fn change(
    order: &Order<ToAdminister>,
    mut query: Query,
    body: Settings,
    base: impl FnOnce(&Sync) -> (Scope, Content),
) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    if body.labels.is_none() && body.content.is_none() {
        query.refuse("labels", "is required, or content: {\"include\": […], \"exclude\": […]}");
    }
    let chosen = body.content.as_deref().map(content::named);
    if chosen == Some(None) {
        query.refuse("content", content::EXPECTED);
    }
    let given = body.labels.unwrap_or_default();
    let include = given.include.map(|labels| checked(&mut query, "labels.include", labels));
    let exclude = given.exclude.map(|labels| checked(&mut query, "labels.exclude", labels));
    query.finish()?;
    let sync = order.mailbox().await?;
    let (before, content) = base(&sync);
    let scope =
        Scope { include: include.unwrap_or(before.include), exclude: exclude.unwrap_or(before.exclude) };
    let content = chosen.flatten().unwrap_or(content);
    consistent(&scope)?;
    if content != sync.content && content != Content::Metadata {
        refuse_headers_only(&order.state, &sync).await?;
    }
    let settings = SettingsView::new(&sync.mailbox, &scope, content);
    if scope == sync.scope {
        if content != sync.content {
            order.state.store.set_content(&sync.mailbox, content).await?;
        }
        return Ok(Json(Changed { settings, job: None }).into_response());
    }
    refuse_unless_active(&sync)?;
    known(&order.state, &sync, &scope).await?;
    let (state, now) = (&order.state, Timestamp::now());
    let requested = state.store.set_scope(&sync.mailbox, &scope, content, Trigger::Manual, now).await?;
    order.note(&sync, AuditAction::SelectionChanged).await;
    requests::hint(state, &sync.mailbox, &sync.tenant, Trigger::Manual, &order.trace).await;
    let job = requests::read_job(state, &sync.mailbox, &requested.job).await?;
    let (status, job) = order.follow(&sync, job, wait).await?;
    let place = location(&sync, &job);
    let changed = Changed { settings, job: Some(JobView::new(&sync.mailbox, &job)) };
    Ok((status, [(header::LOCATION, place)], Json(changed)).into_response())
}

fn checked(query: &mut Query, field: &str, labels: Vec<String>) -> Labels {
    let fits = |label: &String| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    if labels.len() > LABELS_MAX {
        query.refuse(field, format!("must be at most {LABELS_MAX} labels"));
    } else if !labels.iter().all(fits) {
        query.refuse(field, format!("must be label ids (INBOX, Label_12) of 1 to {LABEL_BYTES_MAX} bytes"));
    }
    labels.into_iter().collect()
}

fn consistent(scope: &Scope) -> Result<(), Problem> {
    if scope.include.len() + scope.exclude.len() > LABELS_MAX {
        return Err(Problem::field("labels", format!("must be at most {LABELS_MAX} labels in all")));
    }
    if scope.include.is_disjoint(&scope.exclude) {
        return Ok(());
    }
    Err(Problem::field("labels.exclude", "names a label that labels.include names too"))
}

/// Refuses labels that are new in the selection and that Gmail does not know; one that was chosen and has been
/// deleted since may stay.
async fn known(state: &ApiState, sync: &Sync, scope: &Scope) -> Result<(), Problem> {
    let chosen: BTreeSet<&String> = sync.scope.include.iter().chain(&sync.scope.exclude).collect();
    let is_new = |labels: &Labels| labels.iter().any(|label| !chosen.contains(label));
    if !is_new(&scope.include) && !is_new(&scope.exclude) {
        return Ok(());
    }
    let mut account = state.account(&sync.mailbox, &sync.address);
    let labels =
        account.call(Method::LabelsList, |gmail, token| async move { gmail.list_labels(&token).await });
    let labels = labels.await.map_err(|error| match error.disposition() {
        Disposition::NeedsReauth => Problem::conflict("The mailbox's grant is gone: connect it again first."),
        Disposition::Retry(_)
        | Disposition::Wait(_)
        | Disposition::Debt
        | Disposition::NeedsAttention
        | Disposition::Defect => {
            tracing::warn!(mailbox.id = %sync.mailbox, %error, "labels could not be checked");
            Problem::unavailable("Gmail does not answer now, so the labels cannot be checked; try again.")
        }
    })?;
    let exists: BTreeSet<&String> = labels.iter().map(|label| &label.id).collect();
    for (field, given) in [("labels.include", &scope.include), ("labels.exclude", &scope.exclude)] {
        if given.iter().any(|label| !exists.contains(label) && !chosen.contains(label)) {
            return Err(Problem::field(
                field,
                "names a label that the mailbox does not have; labels go by their ids (INBOX, Label_12)",
            )
            .with_status(StatusCode::BAD_REQUEST));
        }
    }
    Ok(())
}
