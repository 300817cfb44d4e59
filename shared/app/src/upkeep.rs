//! Use case: upkeep of one mailbox: retention, rows made again from raw mail, and a watch that nobody renewed.
//!
//! Each is a job of the `backfill` queue, one a mailbox, so that it never delays new mail and never runs long: near
//! the worker's end what remains is sent on. Gmail has no part in it: what needs Gmail is a look, and is asked for.
//! Invariant: doing it twice, or ending it anywhere, is as good as doing it once.

use std::panic::AssertUnwindSafe;

use sync_core::{
    EmailAddress, MailboxId, MessageId, SignedDuration, Timestamp,
    job::{Lane, Trigger},
    message::BodyForm,
    overrides::Setting,
    state::{Status, Sync},
};
use sync_gmail::formats::Mail;
use sync_queue::{JobMessage, Queue, QueueError, Upkeep};
use sync_store::{KnownBodies, REGISTRY_SHARDS, Store, StoreError, StoredMessage};

use crate::metrics::{Measures, Metric};

/// Why a step ended; the queue brings the job again, and nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What remains could not be sent on.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Pages of one shard in one tick: a hundred thousand mailboxes.
const PAGES_MAX: usize = 1_000;
/// A watch that lapses within this is looked at: looks renew one that has a day left, so two say that none has.
const LAPSES_WITHIN: SignedDuration = SignedDuration::from_hours(48);

/// A step of upkeep.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which mailbox.
    pub mailbox: MailboxId,
    /// What is to be done.
    pub upkeep: Upkeep,
    /// The last row that was done.
    pub after: Option<MessageId>,
    /// Correlation id.
    pub trace: String,
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Tombstones that went.
    pub tombstones: usize,
    /// Bodies that went.
    pub bodies: usize,
    /// Rows that were made again.
    pub rebuilt: usize,
    /// Rows that could not be: their body is gone or broken.
    pub unreadable: usize,
    /// The watch had lapsed.
    pub watch_lapsed: bool,
    /// Messages sent.
    pub sent: u64,
    /// What remains was sent on.
    pub continued: bool,
}

/// Queues a step of upkeep for every mailbox, of whatever status; gives how many. How many run at once is the
/// queue's to bound.
pub async fn queue_upkeep(
    store: &Store,
    queue: &Queue,
    upkeep: Upkeep,
    trace: &str,
    now: Timestamp,
) -> Result<usize, UpkeepError> {
    let mut queued = 0;
    for shard in 0..REGISTRY_SHARDS {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = store.registered(shard, cursor.as_deref()).await?;
            let jobs: Vec<_> = page
                .items
                .into_iter()
                .map(|mailbox| JobMessage::Upkeep {
                    mailbox,
                    upkeep,
                    after: None,
                    trace: trace.to_owned(),
                    sent_at: now,
                })
                .map(|job| (job, None))
                .collect();
            queued += jobs.len();
            queue.send_batch(Lane::Backfill, &jobs, SignedDuration::ZERO).await?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    tracing::info!(upkeep = upkeep.name(), queued, "upkeep of all mailboxes was queued");
    Ok(queued)
}

impl Kept {
    /// The same in numbers: those that somebody has to see.
    pub fn measures(&self) -> Measures {
        if self.watch_lapsed { Measures::one(Metric::WatchesLapsed) } else { Measures::default() }
    }
}

/// Does one step: as much as fits before `checkpoint_at`.
pub async fn keep_up(
    store: &Store,
    queue: &Queue,
    step: &Step,
    owner: &str,
    checkpoint_at: Timestamp,
) -> Result<Kept, UpkeepError> {
    let began_at = Timestamp::now();
    let Some(sync) = store.read_sync(&step.mailbox).await? else {
        tracing::info!("upkeep of a mailbox that is erased");
        return Ok(Kept::default());
    };
    let mut kept = Kept::default();
    let left = match step.upkeep {
        Upkeep::Watch => {
            watch(queue, step, &sync, began_at, &mut kept).await?;
            None
        }
        Upkeep::Retention => {
            let before = began_at - deleted_mail_kept(store, &sync).await?;
            retain(store, queue, step, owner, (before, checkpoint_at), &mut kept).await?
        }
        Upkeep::Rebuild => rebuild(store, step, &sync.address, checkpoint_at, &mut kept).await?,
    };
    if let Some(after) = left {
        let message = JobMessage::Upkeep {
            mailbox: step.mailbox.clone(),
            upkeep: step.upkeep,
            after: Some(after),
            trace: step.trace.clone(),
            sent_at: Timestamp::now(),
        };
        queue.send(Lane::Backfill, &message, SignedDuration::ZERO, Some(&sync.tenant)).await?;
        kept.sent += 1;
        kept.continued = true;
    }
    tracing::info!(
        upkeep = step.upkeep.name(),
        tombstones = kept.tombstones,
        bodies = kept.bodies,
        rebuilt = kept.rebuilt,
        unreadable = kept.unreadable,
        watches_lapsed = u64::from(kept.watch_lapsed),
        continued = kept.continued,
        duration_ms = Timestamp::now().duration_since(began_at).as_millis(),
        "upkeep was done"
    );
    Ok(kept)
}

/// How long the mailbox remembers deletions.
async fn deleted_mail_kept(store: &Store, sync: &Sync) -> Result<SignedDuration, StoreError> {
    let overrides = sync.overrides.over(&store.tenant_overrides(&sync.tenant).await?);
    let days = overrides.get(Setting::DeletedMailKeptDays);
    Ok(days.map_or(store.retention().deleted_mail, |days| SignedDuration::from_hours(24 * i64::from(days))))
}

/// Tombstones of deletions before that time, then bodies. Gives the row to go on from.
async fn retain(
    store: &Store,
    queue: &Queue,
    step: &Step,
    owner: &str,
    (before, checkpoint_at): (Timestamp, Timestamp),
    kept: &mut Kept,
) -> Result<Option<MessageId>, UpkeepError> {
    let began_at = Timestamp::now();
    let mut known = KnownBodies::default();
    let mut after = step.after;
    loop {
        let swept = store.sweep_tombstones(&step.mailbox, before, after, &mut known).await?;
        kept.tombstones += swept.tombstones;
        after = swept.next;
        if after.is_none() {
            break;
        }
        if Timestamp::now() >= checkpoint_at {
            return Ok(after);
        }
    }
    // Which bodies are named is known only to a run that has read every row.
    if step.after.is_none() && known.finish() {
        sweep_bodies(store, queue, step, &known, owner, (began_at, checkpoint_at), kept).await?;
    }
    store.sweep_lists(&step.mailbox, began_at).await?;
    Ok(None)
}

/// Ends early near the worker's end: the next day's run begins anew, with less to do.
async fn sweep_bodies(
    store: &Store,
    queue: &Queue,
    step: &Step,
    known: &KnownBodies,
    owner: &str,
    (began_at, checkpoint_at): (Timestamp, Timestamp),
    kept: &mut Kept,
) -> Result<(), UpkeepError> {
    let mut cursor: Option<String> = None;
    while Timestamp::now() < checkpoint_at {
        let sweep = store.sweep_bodies(&step.mailbox, known, cursor.as_deref(), owner, began_at).await?;
        kept.bodies += sweep.swept;
        if sweep.asked {
            // Somebody wanted it looked at while its lease was held here.
            look_soon(queue, step, Trigger::Continuation).await?;
            kept.sent += 1;
        }
        cursor = sweep.next;
        if sweep.busy || cursor.is_none() {
            break;
        }
    }
    Ok(())
}

/// Asks for a look when the watch lapses within two days and no look has renewed it: a look does. A mailbox that never
/// had a watch is polled on purpose.
async fn watch(
    queue: &Queue,
    step: &Step,
    sync: &Sync,
    now: Timestamp,
    kept: &mut Kept,
) -> Result<(), QueueError> {
    let Some(lapses_at) = sync.watch_expires_at.filter(|_| sync.status == Status::Active) else {
        return Ok(());
    };
    kept.watch_lapsed = lapses_at <= now;
    if lapses_at <= now + LAPSES_WITHIN {
        look_soon(queue, step, Trigger::Schedule).await?;
        kept.sent += 1;
    }
    Ok(())
}

/// Has the mailbox looked at.
async fn look_soon(queue: &Queue, step: &Step, trigger: Trigger) -> Result<(), QueueError> {
    let message = JobMessage::V1 {
        mailbox: step.mailbox.clone(),
        trigger,
        target: None,
        step: None,
        trace: step.trace.clone(),
        sent_at: Timestamp::now(),
    };
    queue.send(Lane::Sync, &message, SignedDuration::ZERO, None).await
}

/// Rows of an earlier projection are made again from their bodies. Gives the row to go on from.
async fn rebuild(
    store: &Store,
    step: &Step,
    owner: &EmailAddress,
    checkpoint_at: Timestamp,
    kept: &mut Kept,
) -> Result<Option<MessageId>, UpkeepError> {
    let mut after = step.after;
    loop {
        let page = store.outdated_rows(&step.mailbox, after).await?;
        for row in &page.rows {
            if rebuild_one(store, row, owner).await? {
                kept.rebuilt += 1;
            } else {
                kept.unreadable += 1;
            }
        }
        after = page.next;
        if after.is_none() || Timestamp::now() >= checkpoint_at {
            return Ok(after);
        }
    }
}

/// Whether the row is as this version would have written it.
async fn rebuild_one(store: &Store, row: &StoredMessage, owner: &EmailAddress) -> Result<bool, StoreError> {
    let Some(body) = &row.body else { return Ok(false) };
    let mail = match store.get_body(&row.mailbox, body).await {
        Ok(Some(bytes)) => match body.form {
            BodyForm::Raw => Mail::Raw(bytes),
            BodyForm::Parts => Mail::Parts(bytes),
        },
        Ok(None) => return Ok(unreadable(row, "its body is gone")),
        Err(StoreError::Corrupt { .. } | StoreError::TooLarge { .. }) => {
            return Ok(unreadable(row, "its body cannot be read"));
        }
        Err(error) => return Err(error),
    };
    let read = || sync_gmail::mime::envelope_in(&mail, owner, &row.labels);
    // Mail is hostile: one that breaks the parser is one row that stays as it is.
    match std::panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(Err(_)) => Ok(unreadable(row, "the tree of its parts cannot be read")),
        Ok(Ok(mut envelope)) => {
            // Whose a mail is was told by all the addresses that the owner had then; the raw mail does not know them.
            envelope.outbound = row.envelope.outbound;
            store.put_projection(row, &envelope).await?;
            Ok(true)
        }
        Err(_) => Ok(unreadable(row, "it could not be parsed")),
    }
}

fn unreadable(row: &StoredMessage, why: &'static str) -> bool {
    tracing::warn!(message.id = %row.id, why, "a row was not made again");
    false
}
