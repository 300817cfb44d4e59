//! A job as the API shows it.

use jiff::Timestamp;
use serde::Serialize;
use sync_core::{
    JobId, MailboxId, MessageId,
    job::{Counts, JobError, JobKind, JobStatus, RequestOptions, Trigger},
    state::Window,
};
use sync_store::JobRow;

/// A job.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    id: JobId,
    mailbox: MailboxId,
    kind: JobKind,
    trigger: Trigger,
    status: JobStatus,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    duration_ms: Option<i64>,
    counts: CountsView,
    quota_units: u64,
    errors: Vec<JobError>,
    /// What was asked for beside the kind; null when nothing was.
    parameters: Option<ParametersView>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountsView {
    listed: u64,
    fetched: u64,
    inserted: u64,
    updated: u64,
    deleted: u64,
    debts: u64,
    sales_added: u64,
    expenses_added: u64,
}

impl From<&Counts> for CountsView {
    fn from(counts: &Counts) -> Self {
        Self {
            listed: counts.listed,
            fetched: counts.fetched,
            inserted: counts.inserted,
            updated: counts.updated,
            deleted: counts.deleted,
            debts: counts.debts,
            sales_added: 0,
            expenses_added: 0,
        }
    }
}

/// What a request said beside its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ParametersView {
    #[serde(skip_serializing_if = "Option::is_none")]
    start_date: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_date: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_results: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    accept_deletions: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    gmail_id: Option<MessageId>,
}

impl ParametersView {
    fn of(options: &RequestOptions) -> Option<Self> {
        let mut said = Self {
            max_results: options.max_results,
            accept_deletions: options.accept_deletions,
            gmail_id: options.message,
            ..Self::default()
        };
        match &options.window {
            Some(Window::Between { after, before }) => {
                (said.start_date, said.end_date) = (Some(*after), Some(*before));
            }
            Some(Window::Contact { address, .. }) => said.email = Some(address.as_str().to_owned()),
            Some(Window::Newest(_) | Window::Days(_) | Window::All) | None => {}
        }
        (said != Self::default()).then_some(said)
    }
}

impl JobView {
    /// A job of this mailbox.
    pub fn new(mailbox: &MailboxId, job: &JobRow) -> Self {
        let began = job.started_at.unwrap_or(job.created_at);
        Self {
            id: job.id.clone(),
            mailbox: mailbox.clone(),
            kind: job.kind,
            trigger: job.trigger,
            status: job.status,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            duration_ms: job
                .finished_at
                .map(|end| i64::try_from(end.duration_since(began).as_millis()).unwrap_or(i64::MAX)),
            counts: CountsView::from(&job.counts),
            quota_units: job.quota_units,
            errors: job.errors.clone(),
            parameters: ParametersView::of(&job.options),
        }
    }
}

/// Whether a job has ended.
pub fn is_finished(status: JobStatus) -> bool {
    match status {
        JobStatus::Queued | JobStatus::Running => false,
        JobStatus::Success | JobStatus::Partial | JobStatus::Failed => true,
    }
}
