//! Sending, postponing, parking.

use std::{collections::HashMap, time::Duration};

use aws_sdk_sqs::{
    Client,
    types::{BatchResultErrorEntry, MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry},
};
use sync_core::{SignedDuration, TenantId, job::Lane};

use crate::{JobMessage, QueueError};

/// Longest delay of a message: SQS's limit. Longer waits go through the mailbox's `due_at`.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const DELAY_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Most messages of one batch call: SQS's limit.
const BATCH_MAX: usize = 10;
/// How often the failed entries of a batch are sent again.
const BATCH_TRIES: u32 = 4;
/// Longest reason kept beside a dead letter.
const REASON_CHARS_MAX: usize = 500;

/// Where a deployment keeps its queues.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Deltas: push, manual, poll.
    pub sync_url: String,
    /// Slices of a backfill or a resync.
    pub backfill_url: String,
    /// Jobs of the first queue that failed for good, and what nobody could read.
    pub dead_letter_url: String,
    /// Jobs of the second queue that failed for good.
    pub backfill_dead_letter_url: String,
}

/// The queues. Cheap to clone; built once at start.
#[derive(Debug, Clone)]
pub struct Queue {
    pub(crate) client: Client,
    pub(crate) config: QueueConfig,
}

/// How deep a queue is, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be received.
    pub ready: u64,
    /// Received and not yet deleted.
    pub in_flight: u64,
    /// Not to be received before their delay has passed.
    pub delayed: u64,
}

/// The depth of every queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueHealth {
    /// Deltas.
    pub sync: Depth,
    /// Slices.
    pub backfill: Depth,
    /// Dead letters of both.
    pub dead_letters: Depth,
}

impl Depth {
    /// Ready, held or delayed: all that are there.
    pub fn total(self) -> u64 {
        self.ready + self.in_flight + self.delayed
    }

    fn and(self, other: Self) -> Self {
        Self {
            ready: self.ready + other.ready,
            in_flight: self.in_flight + other.in_flight,
            delayed: self.delayed + other.delayed,
        }
    }
}

impl Queue {
    /// A client for this configuration. Nothing is called yet.
    pub fn new(sdk: &aws_config::SdkConfig, config: QueueConfig) -> Self {
        Self { client: Client::new(sdk), config }
    }

    /// Sends one job, not to be received before `delay` (at most [`DELAY_MAX`], cut down to it).
    ///
    /// `tenant` keeps one tenant's burst from delaying the others (SQS fair queues).
    pub async fn send(
        &self,
        lane: Lane,
        message: &JobMessage,
        delay: SignedDuration,
        tenant: Option<&TenantId>,
    ) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(self.url(lane))
            .message_body(message.body())
            .delay_seconds(delay_seconds(delay))
            .set_message_group_id(tenant.map(ToString::to_string))
            .send()
            .await
            .map_err(|error| QueueError::from_sdk("send", &error))?;
        Ok(())
    }

    /// Sends many, ten at a time. Entries that fail for a passing reason are sent again; a message may
    /// therefore arrive twice, and the first lasting failure ends it.
    pub async fn send_batch(
        &self,
        lane: Lane,
        messages: &[(JobMessage, Option<TenantId>)],
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        for chunk in messages.chunks(BATCH_MAX) {
            let mut entries = Vec::with_capacity(chunk.len());
            for (index, (message, tenant)) in chunk.iter().enumerate() {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(message.body())
                    .delay_seconds(delay_seconds(delay))
                    .set_message_group_id(tenant.as_ref().map(ToString::to_string))
                    .build()
                    .map_err(|_| refused("send batch", "construction failure"))?;
                entries.push(entry);
            }
            self.send_entries(lane, entries).await?;
        }
        Ok(())
    }

    async fn send_entries(
        &self,
        lane: Lane,
        mut entries: Vec<SendMessageBatchRequestEntry>,
    ) -> Result<(), QueueError> {
        for attempt in 0..BATCH_TRIES {
            let answer = self
                .client
                .send_message_batch()
                .queue_url(self.url(lane))
                .set_entries(Some(entries.clone()))
                .send()
                .await
                .map_err(|error| QueueError::from_sdk("send batch", &error))?;
            if answer.failed().is_empty() {
                return Ok(());
            }
            entries = still_to_send(entries, answer.failed())?;
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        }
        Err(QueueError::Unavailable { operation: "send batch", detail: "entries kept failing".to_owned() })
    }

    /// Parks a body that nobody can read, with the reason as the attribute `reason`.
    pub async fn dead_letter(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
        let reason = if reason.is_empty() { "unknown".to_owned() } else { reason };
        let attribute = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(reason)
            .build()
            .map_err(|_| refused("dead letter", "construction failure"))?;
        // SQS refuses an empty body, and an empty body is one of the things nobody can read.
        let body = if body.is_empty() { "(empty)" } else { body };
        self.client
            .send_message()
            .queue_url(&self.config.dead_letter_url)
            .message_body(body)
            .message_attributes("reason", attribute)
            .send()
            .await
            .map_err(|error| QueueError::from_sdk("dead letter", &error))?;
        Ok(())
    }

    /// Makes a received message visible again after `delay` (at most 12 hours, cut down to it).
    pub async fn retry_later(
        &self,
        lane: Lane,
        receipt_handle: &str,
        delay: SignedDuration,
    ) -> Result<(), QueueError> {
        let seconds = delay.as_secs().clamp(0, 43_200);
        self.client
            .change_message_visibility()
            .queue_url(self.url(lane))
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(seconds).unwrap_or(43_200))
            .send()
            .await
            .map_err(|error| QueueError::from_sdk("retry later", &error))?;
        Ok(())
    }

    /// About how many messages each queue holds; also the health check, because it needs every queue.
    pub async fn health(&self) -> Result<QueueHealth, QueueError> {
        Ok(QueueHealth {
            sync: self.depth_of(&self.config.sync_url).await?,
            backfill: self.depth_of(&self.config.backfill_url).await?,
            dead_letters: self.dead_letters_depth().await?,
        })
    }

    /// About how many dead letters there are.
    pub async fn dead_letters_depth(&self) -> Result<Depth, QueueError> {
        let of_sync = self.depth_of(self.dead_letter_url(Lane::Sync)).await?;
        Ok(of_sync.and(self.depth_of(self.dead_letter_url(Lane::Backfill)).await?))
    }

    /// About how many messages a lane holds.
    pub async fn depth(&self, lane: Lane) -> Result<Depth, QueueError> {
        self.depth_of(self.url(lane)).await
    }

    async fn depth_of(&self, url: &str) -> Result<Depth, QueueError> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed)
            .send()
            .await
            .map_err(|error| QueueError::from_sdk("depth", &error))?;
        let empty = HashMap::new();
        let attributes = answer.attributes().unwrap_or(&empty);
        let number = |name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Depth {
            ready: number(QueueAttributeName::ApproximateNumberOfMessages),
            in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            delayed: number(QueueAttributeName::ApproximateNumberOfMessagesDelayed),
        })
    }

    /// Where a lane's jobs go that failed for good.
    pub(crate) fn dead_letter_url(&self, lane: Lane) -> &str {
        match lane {
            Lane::Sync => &self.config.dead_letter_url,
            Lane::Backfill => &self.config.backfill_dead_letter_url,
        }
    }

    /// The lane of the queue that a record names as its source; of one that is neither, new mail's.
    pub fn lane_of(&self, arn: &str) -> Lane {
        if is_name_of(arn, &self.config.backfill_url) { Lane::Backfill } else { Lane::Sync }
    }

    pub(crate) fn url(&self, lane: Lane) -> &str {
        match lane {
            Lane::Sync => &self.config.sync_url,
            Lane::Backfill => &self.config.backfill_url,
        }
    }
}

/// Whether a queue's ARN and URL end in the same name. A part of the name proves nothing: it begins with the stack's,
/// which may say anything.
fn is_name_of(arn: &str, url: &str) -> bool {
    arn.rsplit(':').next() == url.trim_end_matches('/').rsplit('/').next()
}

/// The entries that failed for a passing reason; the first lasting failure is an error.
fn still_to_send(
    entries: Vec<SendMessageBatchRequestEntry>,
    failed: &[BatchResultErrorEntry],
) -> Result<Vec<SendMessageBatchRequestEntry>, QueueError> {
    for failure in failed {
        let error = QueueError::from_code("send batch", failure.code().to_owned(), failure.sender_fault());
        if !error.is_retryable() {
            return Err(error);
        }
    }
    Ok(entries.into_iter().filter(|entry| failed.iter().any(|failure| failure.id() == entry.id())).collect())
}

pub(crate) fn refused(operation: &'static str, code: &str) -> QueueError {
    QueueError::Refused { operation, code: code.to_owned() }
}

/// Whole seconds, rounded up: a message must not come before its time.
fn delay_seconds(delay: SignedDuration) -> i32 {
    let bounded = delay.clamp(SignedDuration::ZERO, DELAY_MAX);
    let seconds = bounded.as_secs() + i64::from(bounded.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_known_by_its_whole_name() {
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/backfill-backfill";
        assert!(is_name_of("arn:aws:sqs:eu-central-1:123456789012:backfill-backfill", url));
        assert!(!is_name_of("arn:aws:sqs:eu-central-1:123456789012:backfill-sync", url));
        assert!(!is_name_of("", url));
    }
}
