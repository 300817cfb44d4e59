//! What a mailbox's owner chose to have: its selection of labels, what of each message, and what differs from the
//! deployment's settings.
//!
//! Invariant: a selection never changes without a comparison that makes the replica fit it, written in the same
//! transaction. The content of messages and all else hold from the next look on, so their change is no work. A label that Gmail does not know is refused: including only that one would empty the replica.

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
    overrides::{Overrides, Setting},
    quota::Method,
    state::{Content, Scope, Status, Sync},
};
use sync_store::AuditAction;

use super::{
    ApiState,
    auth::{Caller, ToAdminister, ToRead},
    body::JsonBody,
    content::{self, refuse_headers_only},
    mailbox::owned,
    order::{Order, location, refuse_unless_active, waits},
    overrides::{Changes, EffectiveView, Given},
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
    /// What is chosen for this mailbox.
    overrides: Overrides,
    /// What holds in the end: the mailbox's, else the tenant's, else the deployment's.
    effective: EffectiveView,
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

/// Everything that an owner chooses.
#[derive(Clone, Default)]
struct Choices {
    scope: Scope,
    content: Content,
    overrides: Overrides,
}

impl Choices {
    fn of(sync: &Sync) -> Self {
        Self { scope: sync.scope.clone(), content: sync.content, overrides: sync.overrides.clone() }
    }

    async fn view(&self, state: &ApiState, sync: &Sync) -> Result<SettingsView, Problem> {
        let Self { scope, content, overrides } = self.clone();
        let labels = SelectionView { include: scope.include, exclude: scope.exclude };
        // Read now: whoever has just changed the tenant's wants to see what came of it.
        let of_all = overrides.over(&state.store.read_tenant_overrides(&sync.tenant).await?);
        let effective = EffectiveView::new(&state.config.engine, state.store.retention(), &of_all);
        Ok(SettingsView {
            mailbox: sync.mailbox.clone(),
            labels,
            content: content.name(),
            overrides,
            effective,
        })
    }
}

/// Settings as they are given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    labels: Option<Selection>,
    content: Option<String>,
    overrides: Option<Given>,
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
    Ok(Json(Choices::of(&sync).view(&state, &sync).await?))
}

/// `PUT /api/integrations/{mailbox}/settings`: what is left out is the default: everything, raw, as the tenant has it.
pub async fn put(
    order: Order<ToAdminister>,
    query: Query,
    JsonBody(body): JsonBody<Settings>,
) -> Result<Response, Problem> {
    change(&order, query, body, |_| Choices::default()).await
}

/// `PATCH /api/integrations/{mailbox}/settings`: what is left out stays.
pub async fn patch(
    order: Order<ToAdminister>,
    query: Query,
    JsonBody(body): JsonBody<Settings>,
) -> Result<Response, Problem> {
    change(&order, query, body, Choices::of).await
}

async fn change(
    order: &Order<ToAdminister>,
    mut query: Query,
    body: Settings,
    base: impl FnOnce(&Sync) -> Choices,
) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    if body.labels.is_none() && body.content.is_none() && body.overrides.is_none() {
        query.refuse("labels", "is required, or content, or overrides: {\"include\": […], \"exclude\": […]}");
    }
    let content = body.content.as_deref().map(content::named);
    if content == Some(None) {
        query.refuse("content", content::EXPECTED);
    }
    let given = body.labels.unwrap_or_default();
    let include = given.include.map(|labels| checked(&mut query, "labels.include", labels));
    let exclude = given.exclude.map(|labels| checked(&mut query, "labels.exclude", labels));
    let changes = Changes::parse(&mut query, &body.overrides.unwrap_or_default());
    query.finish()?;
    let sync = order.mailbox().await?;
    let before = base(&sync);
    let scope = Scope {
        include: include.unwrap_or(before.scope.include),
        exclude: exclude.unwrap_or(before.scope.exclude),
    };
    let content = content.flatten().unwrap_or(before.content);
    let chosen = Choices { scope, content, overrides: changes.applied_to(before.overrides) };
    let changes_labels = chosen.scope != sync.scope;
    consistent(&chosen.scope)?;
    if chosen.content != sync.content && chosen.content != Content::Metadata {
        refuse_headers_only(&order.state, &sync).await?;
    }
    if changes_labels {
        refuse_unless_active(&sync)?;
        known(&order.state, &sync, &chosen.scope).await?;
    }
    choose(order, &sync, &chosen).await?;
    let settings = chosen.view(&order.state, &sync).await?;
    if changes_labels {
        compare(order, &sync, &chosen, settings, wait).await
    } else {
        Ok(Json(Changed { settings, job: None }).into_response())
    }
}

/// Writes all that is no work. A mailbox whose interval has changed is looked at once, so that the next look is at
/// the new one.
async fn choose(order: &Order<ToAdminister>, sync: &Sync, chosen: &Choices) -> Result<(), Problem> {
    let (before, store) = (Choices::of(sync), &order.state.store);
    if chosen.content != before.content {
        store.set_content(&sync.mailbox, chosen.content).await?;
    }
    if chosen.overrides != before.overrides {
        let interval = Setting::SyncIntervalMinutes;
        let is_due =
            chosen.overrides.get(interval) != before.overrides.get(interval) && sync.status == Status::Active;
        let due_at = is_due.then(Timestamp::now);
        store.set_overrides(&sync.mailbox, &chosen.overrides, due_at).await?;
    }
    if (chosen.content, &chosen.overrides) != (before.content, &before.overrides) {
        order.note(sync, AuditAction::SettingsChanged).await;
    }
    Ok(())
}

/// Writes the selection with the comparison that makes the replica fit it.
async fn compare(
    order: &Order<ToAdminister>,
    sync: &Sync,
    chosen: &Choices,
    settings: SettingsView,
    wait: bool,
) -> Result<Response, Problem> {
    let (state, now) = (&order.state, Timestamp::now());
    let Choices { scope, content, .. } = chosen;
    let requested = state.store.set_scope(&sync.mailbox, scope, *content, Trigger::Manual, now).await?;
    order.note(sync, AuditAction::SelectionChanged).await;
    requests::hint(state, &sync.mailbox, &sync.tenant, Trigger::Manual, &order.trace).await;
    let job = requests::read_job(state, &sync.mailbox, &requested.job).await?;
    let (status, job) = order.follow(sync, job, wait).await?;
    let place = location(sync, &job);
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
