//! Requests and the history of jobs.
//!
//! A request is written before its hint: its row, the marker `OPEN#` that the worker reads, and the raised
//! `asked` become true together. The commit that finishes it closes it.

use sync_core::{
    JobId, MailboxId, SignedDuration, Timestamp,
    job::{JobKind, JobStatus, Request, RequestOptions, Trigger},
    state::{Content, Scope, Status},
};

use crate::{
    IdempotencyKey, JobRow, NewRequest, Page, Requested, Retention, Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, text, time, ttl},
    keys,
    mailboxes::{cancelled, due},
    owed::{next_cursor, position},
    paging,
    table::{Transacted, Updated},
};

type Result<T> = std::result::Result<T, StoreError>;

/// How long an idempotency key is kept.
const KEY_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Most jobs of one page.
const PAGE_MAX: u32 = 500;
/// Most open requests that are read at once; the others wait for these.
const OPEN_MAX: i32 = 100;
/// Most labels of a scope: together a few KB of `SYNC`.
const SCOPE_LABELS_MAX: usize = 500;

impl Store {
    /// An id for a new job: sorts by the time it was made.
    ///
    /// # Panics
    ///
    /// Never: a prefix and 32 hexadecimal digits are an id.
    pub fn new_job_id() -> JobId {
        let id = format!("job_{}", uuid::Uuid::now_v7().simple());
        #[expect(clippy::expect_used, reason = "see the documentation; the tests make a hundred")]
        id.parse().expect("a valid id")
    }

    /// Writes a request: its job is queued, the mailbox is asked for and due at once, whatever its lease.
    ///
    /// With a key that was used within 24 hours nothing is written and the earlier job is given.
    pub async fn create_request(
        &self,
        mailbox: &MailboxId,
        request: &NewRequest,
        now: Timestamp,
    ) -> Result<Requested> {
        self.request_with(mailbox, request, Change::default(), now).await
    }

    /// Chooses which labels are copied and what of a message, and asks for the comparison that makes the labels so,
    /// in one transaction.
    ///
    /// Errors: more than 500 labels.
    pub async fn set_scope(
        &self,
        mailbox: &MailboxId,
        scope: &Scope,
        content: Content,
        trigger: Trigger,
        now: Timestamp,
    ) -> Result<Requested> {
        let labels = scope.include.len() + scope.exclude.len();
        if labels > SCOPE_LABELS_MAX {
            return Err(StoreError::TooLarge {
                what: "labels of a scope",
                actual: labels,
                max: SCOPE_LABELS_MAX,
            });
        }
        let scoped =
            Change::default().set("scope", nested("scope", scope)?).set("content", text(content.name()));
        self.request_with(mailbox, &NewRequest::new(JobKind::Full, trigger), scoped, now).await
    }

    /// A request, and a change of `SYNC` with it.
    async fn request_with(
        &self,
        mailbox: &MailboxId,
        request: &NewRequest,
        change: Change,
        now: Timestamp,
    ) -> Result<Requested> {
        let job = Self::new_job_id();
        let key = request.key.as_ref();
        let row = JobRow {
            id: job.clone(),
            kind: request.kind,
            trigger: request.trigger,
            status: JobStatus::Queued,
            created_at: now,
            started_at: None,
            finished_at: None,
            counts: sync_core::job::Counts::default(),
            quota_units: 0,
            errors: Vec::new(),
            options: request.options.clone(),
        };
        let mut asked = change.add("asked", 1).when("attribute_exists(#pk)");
        if request.reactivate {
            let parked = text(Status::NeedsAttention.name());
            asked = asked
                .set("status", text(Status::Active.name()))
                .when("#status = :status OR #status = :parked")
                .value(":parked", parked);
        }
        let item = job_item(&row, self.retention)?;
        let mut items = vec![
            self.transact_update(&keys::sync(mailbox), &due(asked, mailbox, Some(now)))?,
            self.transact_put(&keys::job(mailbox, &job), item.clone(), &Change::default())?,
            self.transact_put(&keys::open(mailbox, &job), item, &Change::default())?,
        ];
        if let Some(key) = key {
            // TTL deletes late, by days: a lapsed key counts as none.
            let unused =
                Change::default().when("attribute_not_exists(#pk) OR #ttl < :now").value(":now", ttl(now));
            let used = Item::from([
                ("v".to_owned(), number(SCHEMA_VERSION)),
                ("job".to_owned(), text(job.as_str())),
                ("mailbox".to_owned(), text(mailbox.as_str())),
                ("request".to_owned(), text(&key.request)),
                ("ttl".to_owned(), ttl(now + KEY_KEPT)),
            ]);
            items.push(self.transact_put(&keys::idempotency(&key.tenant, &key.key), used, &unused)?);
        }
        let transacted = self.transact("create request", items).await?;
        match (&transacted, key) {
            (Transacted::Done, _) => {
                Ok(Requested { job, mailbox: mailbox.clone(), repeated: false, matches: true })
            }
            (Transacted::Cancelled(_), Some(key)) if transacted.refused_at(3) => self.repeated(key).await,
            (Transacted::Cancelled(_), _) if transacted.refused_at(0) => {
                match self.read_sync(mailbox).await? {
                    None => Err(StoreError::NotFound { what: "mailbox" }),
                    Some(_) => Err(StoreError::Busy { operation: "create request" }),
                }
            }
            (Transacted::Cancelled(reasons), _) => Err(cancelled("create request", reasons)),
        }
    }

    /// The request that used the key first.
    async fn repeated(&self, key: &IdempotencyKey) -> Result<Requested> {
        let item = self.get("create request", &keys::idempotency(&key.tenant, &key.key)).await?;
        // Deleted in between means lapsed in between: the caller may just try again.
        let item = item.ok_or(StoreError::Busy { operation: "create request" })?;
        let fields = Fields::new("idempotency key", &item);
        let asked_then = fields.optional_text("request")?;
        Ok(Requested {
            job: fields.parsed("job")?,
            mailbox: fields.parsed("mailbox")?,
            repeated: true,
            matches: asked_then.is_none_or(|asked_then| asked_then == key.request),
        })
    }

    /// The open requests, oldest first, read consistently; at most 100.
    pub async fn read_requests(&self, mailbox: &MailboxId) -> Result<Vec<Request>> {
        let answer = self
            .query_range(keys::partition(mailbox), keys::OPEN.to_owned(), format!("{}~", keys::OPEN))
            .limit(OPEN_MAX)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("read requests", &error))?;
        let items = answer.items.unwrap_or_default();
        let requests = items.iter().map(|item| {
            let fields = Fields::new("request", item);
            Ok(Request {
                id: fields.parsed("job")?,
                kind: fields.nested("kind")?,
                trigger: fields.nested("trigger")?,
                options: fields.optional_nested("options")?.unwrap_or_default(),
            })
        });
        requests.collect()
    }

    /// One job.
    pub async fn read_job(&self, mailbox: &MailboxId, job: &JobId) -> Result<Option<JobRow>> {
        let item = self.get("read job", &keys::job(mailbox, job)).await?;
        Ok(item.map(|item| job_from(&item)).transpose()?.flatten())
    }

    /// A mailbox's jobs, newest first, at most `limit` (up to 500) a page.
    pub async fn list_jobs(
        &self,
        mailbox: &MailboxId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<JobRow>> {
        let list = format!("jobs of {mailbox}");
        let start = paging::decode_optional(&list, cursor)?.map(|sk| position(mailbox, &sk));
        let answer = self
            .query_range(keys::partition(mailbox), keys::JOB.to_owned(), format!("{}~", keys::JOB))
            .scan_index_forward(false)
            .limit(i32::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("list jobs", &error))?;
        let next = next_cursor(&list, answer.last_evaluated_key.as_ref())?;
        let jobs = answer.items.unwrap_or_default();
        let jobs = jobs.iter().map(job_from).filter_map(Result::transpose);
        Ok(Page { items: jobs.collect::<Result<_>>()?, next })
    }

    /// Writes a run that nobody requested, finished or not.
    pub async fn record_run(&self, mailbox: &MailboxId, job: &JobRow) -> Result<()> {
        self.put("record run", &keys::job(mailbox, &job.id), job_item(job, self.retention)?).await
    }

    /// A worker begins a job: queued becomes running, anything else stays.
    pub async fn mark_running(&self, mailbox: &MailboxId, job: &JobId, now: Timestamp) -> Result<()> {
        let change = Change::default()
            .set("status", nested("job", &JobStatus::Running)?)
            .set_if_absent("started_at", time(now))
            .when("#status = :queued")
            .value(":queued", nested("job", &JobStatus::Queued)?);
        match self.update("mark running", &keys::job(mailbox, job), change).await? {
            Updated::Done(_) | Updated::Refused(_) => Ok(()),
        }
    }

    /// Adds Gmail quota units to what a job spent; nothing happens when the job is gone.
    pub async fn add_job_quota(&self, mailbox: &MailboxId, job: &JobId, units: u64) -> Result<()> {
        let change = Change::default().add("quota_units", units).when("attribute_exists(#pk)");
        match self.update("add quota", &keys::job(mailbox, job), change).await? {
            Updated::Done(_) | Updated::Refused(_) => Ok(()),
        }
    }
}

fn job_item(job: &JobRow, retention: Retention) -> Result<Item> {
    let kept = if job.finished_at.is_some() { retention.finished_jobs } else { retention.unfinished_jobs };
    let mut item = Item::from([
        ("v".to_owned(), number(SCHEMA_VERSION)),
        ("job".to_owned(), text(job.id.as_str())),
        ("kind".to_owned(), nested("job", &job.kind)?),
        ("trigger".to_owned(), nested("job", &job.trigger)?),
        ("status".to_owned(), nested("job", &job.status)?),
        ("created_at".to_owned(), time(job.created_at)),
        ("counts".to_owned(), nested("job", &job.counts)?),
        ("quota_units".to_owned(), number(job.quota_units)),
        ("errors".to_owned(), nested("job", &job.errors)?),
        ("ttl".to_owned(), ttl(job.finished_at.unwrap_or(job.created_at) + kept)),
    ]);
    if job.options != RequestOptions::default() {
        item.insert("options".to_owned(), nested("job", &job.options)?);
    }
    for (name, at) in [("started_at", job.started_at), ("finished_at", job.finished_at)] {
        item.extend(at.map(|at| (name.to_owned(), time(at))));
    }
    Ok(item)
}

/// `None` for what a late close left of a job whose row had lapsed: it has no kind.
fn job_from(item: &Item) -> Result<Option<JobRow>> {
    let fields = Fields::new("job", item);
    let Some(kind) = fields.optional_nested::<JobKind>("kind")? else { return Ok(None) };
    Ok(Some(JobRow {
        id: fields.parsed("job")?,
        kind,
        trigger: fields.nested("trigger")?,
        status: fields.nested("status")?,
        created_at: fields.time("created_at")?,
        started_at: fields.optional_time("started_at")?,
        finished_at: fields.optional_time("finished_at")?,
        counts: fields.optional_nested("counts")?.unwrap_or_default(),
        quota_units: fields.optional_number("quota_units")?.unwrap_or(0),
        errors: fields.optional_nested("errors")?.unwrap_or_default(),
        options: fields.optional_nested("options")?.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use sync_core::state::Window;

    use super::*;

    #[test]
    fn job_ids_sort_by_the_time_they_were_made() {
        let ids: Vec<JobId> = (0..100).map(|_| Store::new_job_id()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn a_job_row_is_read_back_as_it_was_written() {
        let job = JobRow {
            id: Store::new_job_id(),
            kind: JobKind::Full,
            trigger: Trigger::Manual,
            status: JobStatus::Partial,
            created_at: Timestamp::UNIX_EPOCH,
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: None,
            counts: sync_core::job::Counts { listed: u64::MAX, ..Default::default() },
            quota_units: u64::MAX,
            errors: vec![sync_core::job::JobError {
                message_id: Some(sync_core::MessageId(u64::MAX)),
                error: "no".to_owned(),
                at: Timestamp::UNIX_EPOCH,
            }],
            options: RequestOptions {
                window: Some(Window::Between { after: Timestamp::UNIX_EPOCH, before: Timestamp::MAX }),
                max_results: Some(u32::MAX),
                accept_deletions: true,
                message: Some(sync_core::MessageId(u64::MAX)),
            },
        };
        let item = job_item(&job, Retention::default()).expect("serialisable");
        assert_eq!(job_from(&item).expect("readable"), Some(job));
    }
}
