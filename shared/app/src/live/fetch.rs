//! Getting messages: paid for, a batch at a time, their bodies put into the object store.
//!
//! Invariants: every id is answered exactly once or not at all, and what is not answered counts as not done; a body
//! lies in the object store before its message is given to the engine.

use std::{collections::VecDeque, panic::AssertUnwindSafe};

use futures::StreamExt as _;
use sync_core::{
    Disposition, EmailAddress, Failure, MailboxId, MessageId, SignedDuration, Timestamp, message::Message,
    quota::Method, sync::Fetched,
};
use sync_gmail::{GmailClient, GmailError, REPETITIONS, RawMessage, batch::Gotten};
use sync_store::Store;

use super::stored;
use crate::{account::Account, spend::out_of_quota};

/// Bodies put at once: the bucket answers in parallel, memory is bounded by the batch.
const PUTS_AT_ONCE: usize = 8;
/// How old a reservation may get before its last call is made: the rest of `CALL_MAX` is the call's.
const PAID_FOR: SignedDuration = SignedDuration::from_secs(8);

/// One [`sync_core::sync::Effect::Fetch`] under way.
pub(super) struct Fetching<'a> {
    pub account: &'a mut Account,
    pub client: &'a GmailClient,
    pub store: &'a Store,
    pub mailbox: &'a MailboxId,
    /// Whose mailbox it is: what its owner wrote is told from what others wrote.
    pub owner: &'a EmailAddress,
    /// Most messages of one batch: so many bodies are in memory.
    pub window: usize,
}

/// Calls that are paid for and not made yet.
struct Paid {
    count: u32,
    until: Timestamp,
    /// When more may be had.
    wait: SignedDuration,
}

impl Fetching<'_> {
    /// Gets these messages. What is missing from the answer could not be asked for; the last entry then says why.
    pub async fn run(mut self, ids: &[MessageId]) -> Vec<(MessageId, Fetched)> {
        let mut todo: VecDeque<MessageId> = ids.iter().copied().collect();
        let mut results = Vec::with_capacity(ids.len());
        let (mut repetition, mut refused) = (0, false);
        let mut paid = Paid { count: 0, until: Timestamp::MIN, wait: SignedDuration::ZERO };
        while let Some(next) = todo.front().copied() {
            if let Err(error) = self.pay(&mut paid, todo.len()).await {
                results.push((next, Fetched::Failed(error.failure())));
                break;
            }
            let size = self.window.min(self.account.parts()).min(paid.count as usize).max(1);
            let some: Vec<MessageId> = todo.drain(..size.min(todo.len())).collect();
            paid.count -= u32::try_from(some.len()).unwrap_or(paid.count);
            let got = self.get(&some).await;
            match self.judge(got, &some, &mut repetition, &mut refused).await {
                Judged::Got(answers) => {
                    let stop = answers.iter().any(|(_, answer)| is_final(answer));
                    if some.len() >= self.account.parts() && !stop {
                        self.account.went_well().await;
                    }
                    results.extend(self.keep(answers).await);
                    // Asking for the rest would only earn more refusals.
                    if stop {
                        break;
                    }
                }
                Judged::Again => some.into_iter().rev().for_each(|id| todo.push_front(id)),
            }
        }
        self.account.give_back(Method::MessagesGet, paid.count);
        results
    }

    /// Makes sure that something is paid for: all that is left, in one write, if there is room.
    async fn pay(&mut self, paid: &mut Paid, wanted: usize) -> Result<(), GmailError> {
        let now = Timestamp::now();
        if paid.count > 0 && now < paid.until {
            return Ok(());
        }
        self.account.give_back(Method::MessagesGet, std::mem::take(&mut paid.count));
        // What was granted in part has been told when there is more.
        if paid.wait.is_positive() {
            return Err(GmailError::NotSent(out_of_quota(paid.wait)));
        }
        let most = u32::try_from(wanted).unwrap_or(u32::MAX);
        let taken = self.account.take(Method::MessagesGet, 1, most).await?;
        if taken.count == 0 {
            return Err(GmailError::NotSent(out_of_quota(taken.wait)));
        }
        *paid = Paid { count: taken.count, until: now + PAID_FOR, wait: taken.wait };
        Ok(())
    }

    async fn get(&mut self, ids: &[MessageId]) -> Result<Gotten, GmailError> {
        let access = self.account.access(None).await?;
        let got = self.client.get_raw_batch(&access.token, ids).await;
        if is_unauthorized(&got) {
            // A token that was refused is refreshed; who asks again is told so.
            self.account.access(Some(&access)).await?;
        }
        got
    }

    /// Whether the answers count, or the same is to be asked once more.
    async fn judge(
        &mut self,
        got: Result<Gotten, GmailError>,
        ids: &[MessageId],
        repetition: &mut u32,
        refused: &mut bool,
    ) -> Judged {
        if is_unauthorized(&got) && !std::mem::replace(refused, true) {
            return Judged::Again;
        }
        let error = match got {
            Ok(answers) => {
                *repetition = 0;
                let limit = answers
                    .iter()
                    .find_map(|(_, answer)| answer.as_ref().err().filter(|error| is_limit(error)));
                if let Some(error) = limit.cloned() {
                    self.account.heed(&error).await;
                }
                return Judged::Got(answers);
            }
            Err(error) => error,
        };
        self.account.heed(&error).await;
        match error {
            GmailError::TooLarge { .. } if ids.len() > 1 => {
                self.window = ids.len().div_ceil(2);
                Judged::Again
            }
            error if error.is_worth_repeating() && *repetition < REPETITIONS => {
                self.client.pause(*repetition).await;
                *repetition += 1;
                Judged::Again
            }
            error => Judged::Got(ids.iter().map(|id| (*id, Err(error.clone()))).collect()),
        }
    }

    /// Parses what was got and puts the bodies, before any row can name them.
    async fn keep(&self, answers: Gotten) -> Vec<(MessageId, Fetched)> {
        let kept = answers.into_iter().map(|(id, answer)| async move {
            let fetched = match answer {
                Ok(raw) => self
                    .keep_one(raw)
                    .await
                    .map_or_else(Fetched::Failed, |message| Fetched::Message(Box::new(message))),
                Err(GmailError::NotFound) => Fetched::NotFound,
                Err(error) => Fetched::Failed(error.failure()),
            };
            (id, fetched)
        });
        futures::stream::iter(kept).buffer_unordered(PUTS_AT_ONCE).collect().await
    }

    async fn keep_one(&self, raw: RawMessage) -> Result<Message, Failure> {
        // Mail is hostile: one message that breaks the parser is one debt, not a dead worker.
        let parsed =
            std::panic::catch_unwind(AssertUnwindSafe(|| sync_gmail::mime::to_message(&raw, self.owner)));
        let mut message =
            parsed.map_err(|_| Failure::new(Disposition::Defect, "the message could not be parsed"))?;
        message.body = Some(self.store.put_body(self.mailbox, raw.mail).await.map_err(stored)?);
        Ok(message)
    }
}

enum Judged {
    Got(Gotten),
    Again,
}

fn is_unauthorized(got: &Result<Gotten, GmailError>) -> bool {
    match got {
        Err(error) => *error == GmailError::Unauthorized,
        Ok(answers) => answers.iter().any(|(_, answer)| matches!(answer, Err(GmailError::Unauthorized))),
    }
}

fn is_limit(error: &GmailError) -> bool {
    matches!(error, GmailError::RateLimited { .. } | GmailError::DailyLimit { .. })
}

/// Whether nothing more is to be asked after this answer.
fn is_final(answer: &Result<RawMessage, GmailError>) -> bool {
    answer.as_ref().is_err_and(|error| !error.is_about_one_message())
}
