//! Messages on their way into the object store: whole threads where that is cheaper, the others a batch at a time.
//!
//! Invariant: each message that is asked for is answered at most once, and what a thread lacks is asked for singly;
//! what is not answered counts as failed, never as done. A body lies in the object store before its message is
//! given to the engine. What is cheaper is the core's to say ([`FetchPlan`]).

use std::panic::AssertUnwindSafe;

use futures::StreamExt as _;
use sync_core::{
    Disposition, Failure, MessageId, ThreadId, Timestamp,
    message::{BodyForm, Message},
    quota::Method,
    state::Content,
    sync::{FetchPlan, Fetched, Listed, answers_of},
};
use sync_gmail::{
    GmailError,
    formats::{FetchedMessage, Mail},
    mime,
};

use super::{gmail::GmailSide, stored};
use crate::access::Access;

/// Bodies put at once: the bucket answers in parallel, memory is bounded by the batch.
const PUTS_AT_ONCE: usize = 8;
/// Threads asked for at once: Gmail fails in part when there are more single calls, and each may be long.
const THREADS_AT_ONCE: usize = 4;

type Answers = Vec<(MessageId, Result<FetchedMessage, GmailError>)>;

/// What came of some threads.
#[derive(Default)]
struct OfThreads {
    answers: Answers,
    /// To be asked for singly.
    singles: Vec<MessageId>,
}

impl GmailSide {
    /// Gets messages, so many at a time that only so many bodies are in memory.
    pub async fn fetch(
        &mut self,
        content: Content,
        messages: &[Listed],
        now: Timestamp,
    ) -> Result<Vec<(MessageId, Fetched)>, Failure> {
        let FetchPlan { threads, mut singles } = FetchPlan::new(messages, content, self.prices());
        let mut results = Vec::with_capacity(messages.len());
        let mut refused = false;
        for some in threads.chunks(THREADS_AT_ONCE) {
            let mut got = self.get_threads(some, content, now).await?;
            if is_unauthorized(&got.answers) && !std::mem::replace(&mut refused, true) {
                self.refresh(now).await?;
                got = self.get_threads(some, content, now).await?;
            }
            singles.append(&mut got.singles);
            let stop = is_out_of_quota(&got.answers);
            results.extend(self.keep(got.answers).await);
            // Asking for the rest would only earn more refusals.
            if stop {
                return Ok(results);
            }
        }
        for some in singles.chunks(self.fetch_window()) {
            let mut answers = self.get_singles(some, content, now).await?;
            if is_unauthorized(&answers) && !std::mem::replace(&mut refused, true) {
                self.refresh(now).await?;
                answers = self.get_singles(some, content, now).await?;
            }
            let stop = is_out_of_quota(&answers);
            results.extend(self.keep(answers).await);
            if stop {
                break;
            }
        }
        Ok(results)
    }

    async fn get_singles(
        &mut self,
        ids: &[MessageId],
        content: Content,
        now: Timestamp,
    ) -> Result<Answers, Failure> {
        let Access { token, .. } = self.access(None, now).await?;
        self.charge(Method::MessagesGet, ids.len());
        Ok(self.client().get_messages(&token, ids, content).await)
    }

    /// Whatever is wrong with a thread alone, its length or one of its messages, a single get finds out.
    async fn get_threads(
        &mut self,
        threads: &[(ThreadId, Vec<MessageId>)],
        content: Content,
        now: Timestamp,
    ) -> Result<OfThreads, Failure> {
        let Access { token, .. } = self.access(None, now).await?;
        self.charge(Method::ThreadsGet, threads.len());
        // Owned by each call: a borrowing closure would not be `Send` for every lifetime.
        let ids: Vec<ThreadId> = threads.iter().map(|(thread, _)| *thread).collect();
        let calls = ids.into_iter().map(|thread| {
            let (gmail, token) = (self.client().clone(), token.clone());
            async move { gmail.get_thread(&token, thread, content).await }
        });
        let wholes: Vec<_> = futures::stream::iter(calls).buffered(THREADS_AT_ONCE).collect().await;
        let mut got = OfThreads::default();
        for ((_, asked), whole) in threads.iter().zip(wholes) {
            match whole {
                Ok(members) => {
                    let members = members.into_iter().map(|message| (message.id, Ok(message)));
                    let (answers, missing) = answers_of(asked, members);
                    got.answers.extend(answers);
                    got.singles.extend(missing);
                }
                Err(error) if error.is_about_one_message() => got.singles.extend(asked),
                Err(error) => got.answers.extend(asked.iter().map(|id| (*id, Err(error.clone())))),
            }
        }
        Ok(got)
    }

    /// Parses what was got and puts the bodies, before any row can name them.
    async fn keep(&self, answers: Answers) -> Vec<(MessageId, Fetched)> {
        let kept = answers.into_iter().map(|(id, answer)| async move {
            let fetched = match answer {
                Ok(message) => self
                    .keep_one(message)
                    .await
                    .map_or_else(Fetched::Failed, |message| Fetched::Message(Box::new(message))),
                Err(GmailError::NotFound) => Fetched::NotFound,
                Err(error) => Fetched::Failed(error.failure()),
            };
            (id, fetched)
        });
        futures::stream::iter(kept).buffer_unordered(PUTS_AT_ONCE).collect().await
    }

    async fn keep_one(&self, fetched: FetchedMessage) -> Result<Message, Failure> {
        let owner = self.owner()?;
        // Mail is hostile: one message that breaks the parser is one debt, not a dead worker.
        let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| mime::fetched_to_message(&fetched, owner)));
        let parsed =
            parsed.map_err(|_| Failure::new(Disposition::Defect, "the message could not be parsed"))?;
        let mut message = parsed.map_err(|error| error.failure())?;
        let (bytes, form) = match fetched.mail {
            Mail::Raw(bytes) => (bytes, BodyForm::Raw),
            Mail::Parts(json) => (json, BodyForm::Parts),
            Mail::Headers(_) => return Ok(message),
        };
        message.body = Some(self.store().put_body(self.mailbox(), bytes, form).await.map_err(stored)?);
        Ok(message)
    }
}

fn is_unauthorized(answers: &Answers) -> bool {
    answers.iter().any(|(_, answer)| matches!(answer, Err(GmailError::Unauthorized)))
}

fn is_out_of_quota(answers: &Answers) -> bool {
    answers.iter().any(|(_, answer)| matches!(answer, Err(GmailError::RateLimited { .. })))
}
