//! Use case: the schedule asks who is due, whose access token lapses soon, and who changed since the last probe.
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

/// Most mailboxes of one shard that one tick has probed: a thousand in all. With a tick in ten minutes, and 25 labels a
/// mailbox, that is one twentieth of the units that Gmail grants a project a day.
const PROBES_MAX: u16 = 125;
/// A tick's probes begin within this, so that they do not take what new mail wants: half of the time between two ticks.
const PROBES_SPREAD: SignedDuration = SignedDuration::from_mins(5);
/// Jobs that begin together: as many as one call sends.
const TOGETHER: usize = 10;

/// How far ahead tokens are refreshed: the task comes hourly.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// Whom the schedule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Mailboxes that are due for a look.
    Due,
    /// Mailboxes whose access tokens lapse within the hour.
    Lapsing,
    /// Mailboxes that changed since they were last probed, if that is as long ago as this.
    Changed {
        /// The latest time of the last probe.
        before: Timestamp,
    },
}

impl Round {
    fn trigger(self) -> Trigger {
        match self {
            Self::Due => Trigger::Schedule,
            Self::Lapsing => Trigger::Refresh,
            Self::Changed { .. } => Trigger::Probe,
        }
    }

    /// The time over which its jobs are spread.
    fn spread(self) -> SignedDuration {
        match self {
            Self::Due | Self::Lapsing => SignedDuration::ZERO,
            Self::Changed { .. } => PROBES_SPREAD,
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
            // The rest changed later, and its turn comes later.
            Self::Changed { before } => {
                let items = store.changed(before, shard, PROBES_MAX).await?;
                Ok(Page { items, next: None })
            }
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
        Round::Lapsing | Round::Changed { .. } => None,
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
        for (place, together) in (0..).zip(jobs.chunks(TOGETHER)) {
            let delay = delay_of(place, jobs.len().div_ceil(TOGETHER), round.spread());
            queue.send_batch(Lane::Sync, together, delay).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let overdue = longest_due.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    Ok(FannedOut { queued, overdue })
}

/// When the jobs at this place of so many begin, evenly over the time.
fn delay_of(place: i32, places: usize, spread: SignedDuration) -> SignedDuration {
    spread * place / i32::try_from(places.max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticks_jobs_begin_evenly_within_the_time_they_are_spread_over() {
        let delays: Vec<i64> = (0..5).map(|place| delay_of(place, 5, PROBES_SPREAD).as_secs()).collect();
        assert_eq!(delays, [0, 60, 120, 180, 240]);
        assert_eq!(delay_of(3, 5, Round::Due.spread()), SignedDuration::ZERO);
        assert_eq!(delay_of(0, 0, PROBES_SPREAD), SignedDuration::ZERO);
    }
}
