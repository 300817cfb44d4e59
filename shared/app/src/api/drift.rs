//! Drift: by how much Gmail's counters and ours differed when they were last compared, and where.
//!
//! Invariant: `drift` is the last probe's, whose time is said. Which labels differ is looked up when somebody asks
//! and there is drift, and only then: it costs one call a label.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use jiff::Timestamp;
use serde::Serialize;
use sync_core::{MailboxId, job::JobKind, state::Sync};
use tokio::time::timeout;

use super::{
    ApiState,
    auth::{Caller, ToRead},
    mailbox::owned,
    order::{Order, refuse_unless_active, waits},
    problem::Problem,
    query::Query,
    requests::Ask,
};

/// Most labels that are looked up at Gmail for one answer.
const LABELS_MAX: usize = 500;
/// Longest that the look-up takes before the answer goes without it.
const LOOKUP_MAX: Duration = Duration::from_secs(20);

/// What the last probe found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftView {
    mailbox: MailboxId,
    /// When the counters were compared; null when they never were, or everything has been compared since.
    probed_at: Option<Timestamp>,
    /// The largest difference, messages.
    drift: u64,
    /// When a comparison of everything was last begun because of it.
    compared_at: Option<Timestamp>,
    /// False when the selection excludes labels: nothing counts the mail that wears none of them.
    countable: bool,
    /// What differs now, the largest differences first; null when Gmail could not be asked.
    labels: Option<Vec<LabelDriftView>>,
    /// Stored messages by label, now; null when they were not counted yet.
    stored: Option<BTreeMap<String, i64>>,
}

/// One label whose counts differ.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct LabelDriftView {
    label: String,
    gmail: i64,
    stored: i64,
    difference: i64,
}

/// `GET /api/sync/{mailbox}/drift`
pub async fn get(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(mailbox): Path<String>,
    query: Query,
) -> Result<Json<DriftView>, Problem> {
    query.finish()?;
    let sync = owned(&state, &caller.tenant, &mailbox).await?;
    let mut stored = state.store.read_label_counts(&sync.mailbox).await?;
    if let Some(counts) = &mut stored {
        counts.retain(|_, count| *count != 0);
    }
    let probe = &sync.progress.probe;
    let labels = match &stored {
        _ if probe.drift == 0 => Some(Vec::new()),
        Some(stored) => look_up(&state, &sync, stored).await,
        None => None,
    };
    Ok(Json(DriftView {
        mailbox: sync.mailbox.clone(),
        probed_at: probe.at,
        drift: probe.drift,
        compared_at: probe.compared_at,
        countable: sync.scope.exclude.is_empty(),
        labels,
        stored,
    }))
}

/// What differs now. That it could not be found out is no reason to keep the rest back.
async fn look_up(
    state: &ApiState,
    sync: &Sync,
    stored: &BTreeMap<String, i64>,
) -> Option<Vec<LabelDriftView>> {
    let mut account = state.account(&sync.mailbox, &sync.address);
    let found = async {
        let mut ids = if sync.scope.include.is_empty() {
            account.label_ids().await?
        } else {
            sync.scope.include.iter().cloned().collect()
        };
        ids.truncate(LABELS_MAX);
        account.count_labels(ids).await
    };
    match timeout(LOOKUP_MAX, found).await {
        Ok(Ok(gmail)) => Some(differences(&gmail, stored)),
        Ok(Err(error)) => {
            tracing::warn!(mailbox.id = %sync.mailbox, %error, "nobody knows which labels differ");
            None
        }
        Err(_) => None,
    }
}

fn differences(gmail: &BTreeMap<String, i64>, stored: &BTreeMap<String, i64>) -> Vec<LabelDriftView> {
    let mut labels: Vec<LabelDriftView> = gmail
        .iter()
        .map(|(label, gmail)| {
            let stored = stored.get(label).copied().unwrap_or(0);
            LabelDriftView { label: label.clone(), gmail: *gmail, stored, difference: stored - gmail }
        })
        .filter(|label| label.difference != 0)
        .collect();
    labels.sort_by_key(|label| std::cmp::Reverse(label.difference.abs()));
    labels
}

/// `POST /api/sync/{mailbox}/drift`: the counters are compared once nothing else is under way.
pub async fn probe(order: Order, mut query: Query) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    query.finish()?;
    let sync = order.mailbox().await?;
    refuse_unless_active(&sync)?;
    order.place(&sync, &Ask::by_hand("drift", JobKind::Probe), wait).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_and_the_most_first() {
        let counts = |of: &[(&str, i64)]| -> BTreeMap<String, i64> {
            of.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
        };
        let gmail = counts(&[("INBOX", 10), ("SPAM", 1), ("UNREAD", 5)]);
        let found = differences(&gmail, &counts(&[("INBOX", 9), ("UNREAD", 5), ("SPAM", 8)]));
        let told: Vec<(&str, i64)> =
            found.iter().map(|label| (label.label.as_str(), label.difference)).collect();
        assert_eq!(told, [("SPAM", 7), ("INBOX", -1)]);
    }
}
