//! Dead letters: jobs that failed for good, and what nobody could read.
//!
//! A letter is looked at by receiving it and giving it back at once, and moved by sending its body to its queue and
//! then deleting it: in that order, so that a failure between the two leaves it twice, which is harmless, and never
//! not at all. Deliberately absent: `StartMessageMoveTask`, which moves what nobody can read along with the rest.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName};
use sync_core::{Timestamp, job::Lane};

use crate::{JobMessage, Queue, QueueError, queue::refused};

/// Most letters that one call looks at. SQS has no order and no pages.
pub const LETTERS_MAX: usize = 500;
/// How long a letter is held while all are looked at.
const HELD_SECONDS: i32 = 60;
/// Messages of one receive: SQS's limit.
const RECEIVE_MAX: i32 = 10;
/// Receives that find nothing before a queue counts as empty: SQS asks only some of its servers.
const EMPTY_MAX: u32 = 2;

/// A dead letter. Its body stays where it is: it may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// SQS's id of it.
    pub id: String,
    /// The queue that it was in.
    pub lane: Lane,
    /// Why it is here.
    pub reason: String,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// The job, if it is one.
    pub job: Option<JobMessage>,
}

/// What came of moving letters back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Back in their queue.
    pub moved: u64,
    /// Still dead: this version cannot read them either.
    pub unreadable: u64,
}

impl Queue {
    /// The letters, oldest first, at most [`LETTERS_MAX`] of each queue.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError> {
        let mut letters = Vec::new();
        for lane in [Lane::Sync, Lane::Backfill] {
            let held = self.hold_letters(lane).await?;
            letters.extend(held.values().map(|message| letter_of(message, lane)));
            self.give_back(lane, held.into_values().collect()).await;
        }
        letters.sort_by(|one, other| one.sent_at.cmp(&other.sent_at).then_with(|| one.id.cmp(&other.id)));
        Ok(letters)
    }

    /// Sends letters back to their queues: that one, or all. What cannot be read stays.
    pub async fn redrive(&self, id: Option<&str>) -> Result<Redriven, QueueError> {
        let mut redriven = Redriven::default();
        for lane in [Lane::Sync, Lane::Backfill] {
            let mut kept = Vec::new();
            let mut failure = None;
            for message in self.hold_letters(lane).await?.into_values() {
                let is_wanted = id.is_none_or(|id| message.message_id() == Some(id));
                if !is_wanted || failure.is_some() {
                    kept.push(message);
                    continue;
                }
                match self.redrive_one(lane, &message).await {
                    Ok(true) => redriven.moved += 1,
                    Ok(false) => {
                        redriven.unreadable += 1;
                        kept.push(message);
                    }
                    Err(error) => {
                        failure = Some(error);
                        kept.push(message);
                    }
                }
            }
            self.give_back(lane, kept).await;
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(redriven)
    }

    /// Whether it could be read, and so was moved.
    async fn redrive_one(&self, lane: Lane, message: &Message) -> Result<bool, QueueError> {
        let Ok(job) = JobMessage::parse(message.body().unwrap_or_default()) else { return Ok(false) };
        self.send(lane, &job, sync_core::SignedDuration::ZERO, None).await?;
        self.delete_letter(lane, message).await?;
        Ok(true)
    }

    /// Throws a letter away. Whether it was there.
    pub async fn discard_dead_letter(&self, id: &str) -> Result<bool, QueueError> {
        let mut found = false;
        for lane in [Lane::Sync, Lane::Backfill] {
            let mut held = self.hold_letters(lane).await?;
            let letter = held.remove(id);
            self.give_back(lane, held.into_values().collect()).await;
            if let Some(letter) = letter {
                self.delete_letter(lane, &letter).await?;
                found = true;
            }
        }
        Ok(found)
    }

    async fn delete_letter(&self, lane: Lane, message: &Message) -> Result<(), QueueError> {
        let handle = message.receipt_handle().ok_or_else(|| refused("delete dead letter", "no handle"))?;
        self.client
            .delete_message()
            .queue_url(self.dead_letter_url(lane))
            .receipt_handle(handle)
            .send()
            .await
            .map_err(|error| QueueError::from_sdk("delete dead letter", &error))?;
        Ok(())
    }

    /// Receives letters until there are no more, by their ids: a letter may come twice.
    async fn hold_letters(&self, lane: Lane) -> Result<BTreeMap<String, Message>, QueueError> {
        let mut held = BTreeMap::new();
        let mut empty = 0;
        while held.len() < LETTERS_MAX && empty < EMPTY_MAX {
            let answer = self
                .client
                .receive_message()
                .queue_url(self.dead_letter_url(lane))
                .max_number_of_messages(RECEIVE_MAX)
                .visibility_timeout(HELD_SECONDS)
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .send()
                .await
                .map_err(|error| QueueError::from_sdk("read dead letters", &error))?;
            let messages = answer.messages.unwrap_or_default();
            if messages.is_empty() {
                empty += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for message in messages {
                held.insert(message.message_id().unwrap_or_default().to_owned(), message);
            }
        }
        Ok(held)
    }

    /// Makes letters visible again. One that cannot be given back is visible again after a minute.
    async fn give_back(&self, lane: Lane, messages: Vec<Message>) {
        for chunk in messages.chunks(usize::try_from(RECEIVE_MAX).unwrap_or(1)) {
            let entries = chunk.iter().enumerate().filter_map(|(index, message)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(message.receipt_handle()?)
                    .visibility_timeout(0)
                    .build()
                    .ok()
            });
            let given_back = self
                .client
                .change_message_visibility_batch()
                .queue_url(self.dead_letter_url(lane))
                .set_entries(Some(entries.collect()))
                .send()
                .await;
            drop(given_back);
        }
    }
}

fn letter_of(message: &Message, lane: Lane) -> DeadLetter {
    let attribute = |name| message.attributes().and_then(|all| all.get(&name)).map(String::as_str);
    let sent_ms = attribute(MessageSystemAttributeName::SentTimestamp).and_then(|ms| ms.parse().ok());
    let told =
        message.message_attributes().and_then(|all| all.get("reason")).and_then(|one| one.string_value());
    let parsed = JobMessage::parse(message.body().unwrap_or_default());
    let reason = match (told, &parsed) {
        (Some(told), _) => told.to_owned(),
        (None, Ok(_)) => "it failed as often as the queue allows; the log of its trace says why".to_owned(),
        (None, Err(error)) => error.to_string(),
    };
    DeadLetter {
        id: message.message_id().unwrap_or_default().to_owned(),
        lane,
        reason,
        sent_at: sent_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        job: parsed.ok(),
    }
}
