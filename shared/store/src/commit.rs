//! A commit: one transaction under the fence, and what its failure means.
//!
//! Three failures that look alike are told apart: a cancellation with reasons (nothing happened, and the
//! reasons say why), throttling (nothing happened), and a lost answer (it may have happened). For the
//! last, `SYNC` carries the token of its last commit: whose token is there, is applied.

use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use sync_core::{
    MailboxId, Timestamp,
    sync::{Commit, Committed, JobClose, OwedWrite},
};

use crate::{
    Retention, Store, StoreError,
    error::contention_delay,
    events::number_change,
    item::{Change, Fields, Item, nested, number, time, ttl},
    keys,
    lease::is_text,
    owed, rows,
    table::{Transacted, is_in_progress, new_token},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most bytes of one transaction: DynamoDB's limit of 4 MB, less what its own wrapping may need.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
const TRANSACTION_BYTES_MAX: usize = 4_000_000;
/// How often a lost answer is asked for again with the same token, before `SYNC` is read.
const LOST_ANSWER_TRIES: u32 = 3;

impl Store {
    /// Applies a commit, all of it or nothing.
    ///
    /// `Fenced` means that another generation holds the mailbox (or nobody does), and only that.
    /// `Conflict` is any other mismatch. Errors: throttled or unavailable (nothing happened, or it could
    /// not be found out), and more than one transaction holds.
    pub async fn commit(&self, commit: &Commit) -> Result<Committed> {
        let token = new_token();
        let items = self.commit_items(commit, &token).await?;
        let mut attempt = 0;
        loop {
            let error = match self.transact_once(items.clone(), &token).await {
                Ok(Transacted::Done) => return Ok(Committed::Applied),
                Ok(Transacted::Cancelled(reasons)) => return self.judge(commit, &token, &reasons).await,
                Err(error) => error,
            };
            let in_progress = is_in_progress(&error);
            let error = StoreError::from_sdk("commit", &error);
            attempt += 1;
            // Whatever the last answer says (throttled, `IdempotentParameterMismatch`), an earlier try, ours
            // or the client's own, may have taken effect: `SYNC` must say what is true.
            let lost = in_progress || matches!(error, StoreError::Unavailable { .. });
            if !lost || attempt == LOST_ANSWER_TRIES {
                return self.find_out(commit, &token, error).await;
            }
            tokio::time::sleep(contention_delay(attempt)).await;
        }
    }

    /// What a cancellation means.
    async fn judge(&self, commit: &Commit, token: &str, reasons: &[CancellationReason]) -> Result<Committed> {
        let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
        // `SYNC` is the first item.
        if let Some(reason) = reasons.first().filter(|reason| code(reason) == "ConditionalCheckFailed") {
            let found = match reason.item().filter(|item| !item.is_empty()) {
                Some(item) => Some(item.clone()),
                // Not every emulator gives the old item.
                None => self.get("commit", &keys::sync(&commit.mailbox)).await?,
            };
            return fence(commit, token, found.as_ref()).map(|fenced| fenced.unwrap_or(Committed::Conflict));
        }
        let others = ["None", "ConditionalCheckFailed", "TransactionConflict"];
        match reasons.iter().map(code).find(|code| !others.contains(&code.as_str())) {
            Some(unexpected) => Err(StoreError::from_code("commit", unexpected)),
            None => Ok(Committed::Conflict),
        }
    }

    /// What a lost answer means: `SYNC` says.
    async fn find_out(&self, commit: &Commit, token: &str, error: StoreError) -> Result<Committed> {
        let found = self.get("commit", &keys::sync(&commit.mailbox)).await?;
        fence(commit, token, found.as_ref())?.ok_or(error)
    }

    /// The transaction's items, `SYNC` first.
    async fn commit_items(&self, commit: &Commit, token: &str) -> Result<Vec<TransactWriteItem>> {
        let mut batch = Batch::new(self);
        let mailbox = &commit.mailbox;
        batch.update(&keys::sync(mailbox), &sync_change(commit, token)?)?;
        for write in &commit.rows {
            batch.update(&keys::message(mailbox, write.id()), &rows::change_of(commit, write)?)?;
        }
        for write in &commit.owed {
            let key = keys::owed(mailbox, write.id());
            match write {
                OwedWrite::Put(owed) => batch.update(&key, &owed::change_of(owed)?)?,
                OwedWrite::Clear(_) => batch.delete(&key)?,
            }
        }
        for close in &commit.closed {
            batch.update(
                &keys::job(mailbox, &close.id),
                &close_change(close, mailbox, commit.now, self.retention)?,
            )?;
            batch.delete(&keys::open(mailbox, &close.id))?;
        }
        for (item, bytes) in self.event_puts(commit)?.into_iter().chain(self.label_write(commit).await?) {
            batch.push(item, bytes);
        }
        batch.finish()
    }
}

/// The items of a transaction, and how large they are.
struct Batch<'a> {
    store: &'a Store,
    items: Vec<TransactWriteItem>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, items: Vec::new(), bytes: 0 }
    }

    fn update(&mut self, key: &keys::Key, change: &Change) -> Result<()> {
        self.bytes += key.pk.len() + key.sk.len() + change.bytes();
        self.items.push(self.store.transact_update(key, change)?);
        Ok(())
    }

    fn delete(&mut self, key: &keys::Key) -> Result<()> {
        self.bytes += key.pk.len() + key.sk.len();
        self.items.push(self.store.transact_delete(key)?);
        Ok(())
    }

    fn push(&mut self, item: TransactWriteItem, bytes: usize) {
        self.bytes += bytes;
        self.items.push(item);
    }

    fn finish(self) -> Result<Vec<TransactWriteItem>> {
        let bound = |what, actual, max| {
            if actual > max { Err(StoreError::TooLarge { what, actual, max }) } else { Ok(()) }
        };
        bound("items of a commit", self.items.len(), Commit::ITEMS_MAX)?;
        bound("bytes of a commit", self.bytes, TRANSACTION_BYTES_MAX)?;
        Ok(self.items)
    }
}

fn sync_change(commit: &Commit, token: &str) -> Result<Change> {
    let change = match commit.events.last() {
        // Others announce too, without the lease: a number is taken by whoever is first.
        Some(last) => number_change(Change::default(), commit.seq, last.seq, commit.now),
        None => Change::default(),
    };
    Ok(change
        .set("commit", number(commit.after + 1))
        .set("commit_token", crate::item::text(token))
        .set("progress", nested("progress", &commit.progress)?)
        .set("updated_at", time(commit.now))
        .add("total_messages", commit.totals.messages)
        .add("total_deleted", commit.totals.deleted)
        .add("total_debts", commit.totals.debts)
        .add("total_waiting", commit.totals.waiting)
        .when("#generation = :held AND attribute_exists(#lease_until) AND #commit = :after")
        .value(":held", number(commit.generation.0))
        .value(":after", number(commit.after)))
}

fn close_change(
    close: &JobClose,
    mailbox: &MailboxId,
    now: Timestamp,
    retention: Retention,
) -> Result<Change> {
    Ok(Change::default()
        .set("mailbox", crate::item::text(mailbox.as_str()))
        .set("status", nested("job", &close.status)?)
        .set("counts", nested("job", &close.counts)?)
        .set("errors", nested("job", &close.errors)?)
        .set("finished_at", time(now))
        .set("ttl", ttl(now + retention.finished_jobs)))
}

/// Who `SYNC` belongs to: applied when it carries our token, fenced when another generation or nobody
/// holds it, and `None` when the fence is not what failed.
fn fence(commit: &Commit, token: &str, found: Option<&Item>) -> Result<Option<Committed>> {
    // Erased meanwhile: nobody may write here any more.
    let Some(item) = found else { return Ok(Some(Committed::Fenced)) };
    if is_text(item, "commit_token", token) {
        return Ok(Some(Committed::Applied));
    }
    let fields = Fields::new("SYNC", item);
    let ours = fields.number::<u64>("generation")? == commit.generation.0
        && fields.optional_time("lease_until")?.is_some();
    Ok((!ours).then_some(Committed::Fenced))
}
