//! Use case: the schedule asks who is due, and whose access token lapses soon.
//!
//! Due is whatever `due_at` says: a poll, a debt, a continuation whose message was lost, a lease that a
//! crashed worker left behind. The fan-out only sends hints; a mailbox that is due twice is hinted twice.

use sync_core::{
    MailboxId, SignedDuration, Timestamp,
    job::{Lane, Trigger},
};
use sync_queue::{JobMessage, Queue, QueueError};
use sync_store::{DUE_SHARDS, Page, Store, StoreError};

/// Why a fan-out stopped; what it queued before stays queued.
#[derive(Debug, thiserror::Error)]
pub enum FanOutError {
    /// The index could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Jobs could not be sent.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Pages of one shard in one tick; what is left is due at the next one.
const PAGES_MAX: usize = 1_000;

/// How far ahead tokens are refreshed: the task comes hourly.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// Whom the schedule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Mailboxes that are due for a look.
    Due,
    /// Mailboxes whose access tokens lapse within the hour.
    Lapsing,
}

impl Round {
    fn trigger(self) -> Trigger {
        match self {
            Self::Due => Trigger::Schedule,
            Self::Lapsing => Trigger::Refresh,
        }
    }

    async fn page(
        self,
        store: &Store,
        shard: u8,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<Page<MailboxId>, StoreError> {
        match self {
            Self::Due => store.due(now, shard, cursor).await,
            Self::Lapsing => store.lapsing(now + AHEAD, shard, cursor).await,
        }
    }
}

/// What a tick found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FannedOut {
    /// Mailboxes queued.
    pub queued: usize,
    /// How long the mailbox has been due that has been for longest: more than a tick or two says that looks fail.
    pub overdue: SignedDuration,
}

/// Queues a job for every mailbox of the round at `now`.
pub async fn fan_out(
    store: &Store,
    queue: &Queue,
    round: Round,
    trace: &str,
    now: Timestamp,
) -> Result<FannedOut, FanOutError> {
    let shards = (0..DUE_SHARDS).map(|shard| fan_out_shard(store, queue, round, trace, shard, now));
    let fanned: Vec<Result<FannedOut, FanOutError>> = futures::future::join_all(shards).await;
    let mut all = FannedOut::default();
    for shard in fanned {
        let shard = shard?;
        all.queued += shard.queued;
        all.overdue = all.overdue.max(shard.overdue);
    }
    tracing::info!(
        round = ?round,
        queued = all.queued,
        overdue_seconds = all.overdue.as_secs(),
        "the mailboxes of this round were queued"
    );
    Ok(all)
}

async fn fan_out_shard(
    store: &Store,
    queue: &Queue,
    round: Round,
    trace: &str,
    shard: u8,
    now: Timestamp,
) -> Result<FannedOut, FanOutError> {
    let longest_due = match round {
        Round::Due => store.longest_due(now, shard).await?,
        Round::Lapsing => None,
    };
    let mut cursor: Option<String> = None;
    let mut queued = 0;
    for _ in 0..PAGES_MAX {
        let page = round.page(store, shard, cursor.as_deref(), now).await?;
        let jobs: Vec<_> = page
            .items
            .into_iter()
            .map(|mailbox| JobMessage::V1 {
                mailbox,
                trigger: round.trigger(),
                target: None,
                step: None,
                trace: trace.to_owned(),
                sent_at: now,
            })
            .map(|job| (job, None))
            .collect();
        queued += jobs.len();
        if !jobs.is_empty() {
            queue.send_batch(Lane::Sync, &jobs, SignedDuration::ZERO).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let overdue = longest_due.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    Ok(FannedOut { queued, overdue })
}
