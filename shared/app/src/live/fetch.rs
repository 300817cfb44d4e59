//! Messages on their way into the object store: whole threads where that is cheaper, the others a batch at a time, all
//! of them paid for before.
//!
//! Invariants: each message that is asked for is answered at most once, and what a thread lacks is asked for singly;
//! what is not answered counts as not done. A body lies in the object store before its message is given to the engine.
//! What is cheaper is the core's to say ([`FetchPlan`]).

use std::{collections::VecDeque, panic::AssertUnwindSafe};

use futures::StreamExt as _;
use sync_core::{
    Disposition, Failure, MailboxId, MessageId, SignedDuration, ThreadId, Timestamp,
    message::{BodyForm, Message},
    quota::Method,
    state::Content,
    sync::{FetchPlan, Fetched, answers_of},
};
use sync_gmail::{
    GmailClient, GmailError,
    batch::Gotten,
    formats::{FetchedMessage, Mail},
    mime::{self, OwnAddresses},
};
use sync_store::Store;

use super::stored;
use crate::{account::Account, spend::out_of_quota};

/// Bodies put at once: the bucket answers in parallel, memory is bounded by the batch.
const PUTS_AT_ONCE: usize = 8;
/// Threads asked for at once: Gmail fails in part when there are more single calls, and each may be long.
const THREADS_AT_ONCE: usize = 4;
/// How old a reservation may get before its last call is made: the rest of `CALL_MAX` is the call's.
const PAID_FOR: SignedDuration = SignedDuration::from_secs(8);

/// A thread, and those of its messages that were asked for.
type Thread = (ThreadId, Vec<MessageId>);

/// One [`sync_core::sync::Effect::Fetch`] under way.
pub(super) struct Fetching<'a> {
    pub account: &'a mut Account,
    pub client: &'a GmailClient,
    pub store: &'a Store,
    pub mailbox: &'a MailboxId,
    /// What tells mail that its owner wrote from what others wrote.
    pub owner: &'a OwnAddresses,
    pub content: Content,
    /// Most messages of one batch: so many bodies are in memory.
    pub window: usize,
}

/// Calls of one method that are paid for and not made yet.
struct Paid {
    method: Method,
    count: u32,
    until: Timestamp,
    /// When more may be had.
    wait: SignedDuration,
}

impl Paid {
    fn nothing(method: Method) -> Self {
        Self { method, count: 0, until: Timestamp::MIN, wait: SignedDuration::ZERO }
    }

    /// Takes as many as are asked for, paid for, and at least one.
    fn draw(&mut self, most: usize) -> usize {
        let count = most.min(self.count as usize).max(1);
        self.count -= u32::try_from(count).unwrap_or(self.count).min(self.count);
        count
    }
}

/// What a fetch has come to.
struct Progress {
    results: Vec<(MessageId, Fetched)>,
    /// To be asked for one by one.
    singles: VecDeque<MessageId>,
    /// A token was refused and refreshed; a second refusal is the owner's.
    refused: bool,
    /// Asking for more would only earn more refusals.
    stopped: bool,
}

impl Progress {
    fn stop(&mut self, next: MessageId, error: &GmailError) {
        self.results.push((next, Fetched::Failed(error.failure())));
        self.stopped = true;
    }
}

enum Judged {
    Got(Gotten),
    Again,
}

impl Fetching<'_> {
    /// Gets the messages of a plan. What is missing from the answer could not be asked for; the last entry says why.
    pub async fn run(mut self, plan: FetchPlan) -> Vec<(MessageId, Fetched)> {
        let FetchPlan { threads, singles } = plan;
        let singles: VecDeque<MessageId> = singles.into();
        let mut progress = Progress { results: Vec::new(), singles, refused: false, stopped: false };
        self.threads(threads.into(), &mut progress).await;
        self.singles(&mut progress).await;
        progress.results
    }

    async fn threads(&mut self, mut todo: VecDeque<Thread>, progress: &mut Progress) {
        let mut paid = Paid::nothing(Method::ThreadsGet);
        while let Some(next) = todo.front().and_then(|(_, asked)| asked.first().copied())
            && !progress.stopped
        {
            if let Err(error) = self.pay(&mut paid, THREADS_AT_ONCE.min(todo.len())).await {
                progress.stop(next, &error);
                break;
            }
            let size = paid.draw(THREADS_AT_ONCE.min(self.account.parts()).min(todo.len()));
            let some: Vec<Thread> = todo.drain(..size).collect();
            let answers = self.get_threads(&some, &mut todo, progress).await;
            let kept = self.keep(answers).await;
            progress.results.extend(kept);
        }
        self.account.give_back(paid.method, paid.count);
    }

    /// Whatever is wrong with a thread alone, its length or one of its messages, a single get finds out.
    async fn get_threads(
        &mut self,
        threads: &[Thread],
        todo: &mut VecDeque<Thread>,
        progress: &mut Progress,
    ) -> Gotten {
        let access = match self.account.access(None).await {
            Ok(access) => access,
            Err(error) => {
                progress.stopped = true;
                return every(threads.iter().flat_map(|(_, asked)| asked), &error);
            }
        };
        // Owned by each call: a borrowing closure would not be `Send` for every lifetime.
        let ids: Vec<ThreadId> = threads.iter().map(|(thread, _)| *thread).collect();
        let content = self.content;
        let calls = ids.into_iter().map(|thread| {
            let (gmail, access) = (self.client.clone(), access.clone());
            async move { gmail.get_thread(&access.token, thread, content).await }
        });
        let wholes: Vec<_> = futures::stream::iter(calls).buffered(THREADS_AT_ONCE).collect().await;
        if wholes.contains(&Err(GmailError::Unauthorized)) && !std::mem::replace(&mut progress.refused, true)
        {
            threads.iter().rev().for_each(|thread| todo.push_front(thread.clone()));
            if let Err(error) = self.account.access(Some(&access)).await {
                tracing::debug!(mailbox.id = %self.mailbox, %error, "a refused token was not refreshed");
            }
            return Gotten::new();
        }
        let mut answers = Gotten::new();
        for ((_, asked), whole) in threads.iter().zip(wholes) {
            match whole {
                Ok(members) => {
                    let members = members.into_iter().map(|message| (message.id, Ok(message)));
                    let (found, missing) = answers_of(asked, members);
                    answers.extend(found);
                    progress.singles.extend(missing);
                }
                Err(error) if error.is_about_one_message() => progress.singles.extend(asked),
                Err(error) => {
                    self.account.heed(&error).await;
                    progress.stopped = true;
                    answers.extend(every(asked, &error));
                }
            }
        }
        answers
    }

    async fn singles(&mut self, progress: &mut Progress) {
        let mut paid = Paid::nothing(Method::MessagesGet);
        let mut repetition = 0;
        while let Some(next) = progress.singles.front().copied()
            && !progress.stopped
        {
            // A batch at a time: what is reserved counts as spent until it is settled, and that is when its calls are over.
            if let Err(error) = self.pay(&mut paid, self.window.min(progress.singles.len())).await {
                progress.stop(next, &error);
                break;
            }
            // How many at once, only a ledger that was read says.
            let size = paid.draw(self.window.min(self.account.parts()).min(progress.singles.len()));
            let some: Vec<MessageId> = progress.singles.drain(..size).collect();
            let got = self.get(&some).await;
            match self.judge(got, &some, &mut repetition, &mut progress.refused).await {
                Judged::Got(answers) => {
                    progress.stopped = answers.iter().any(|(_, answer)| is_final(answer));
                    if some.len() >= self.account.parts() && !progress.stopped {
                        self.account.went_well().await;
                    }
                    let kept = self.keep(answers).await;
                    progress.results.extend(kept);
                }
                Judged::Again => some.into_iter().rev().for_each(|id| progress.singles.push_front(id)),
            }
        }
        self.account.give_back(paid.method, paid.count);
    }

    /// Makes sure that something is paid for: all that is wanted, if there is room.
    async fn pay(&mut self, paid: &mut Paid, wanted: usize) -> Result<(), GmailError> {
        let now = Timestamp::now();
        if paid.count > 0 && now < paid.until {
            return Ok(());
        }
        self.account.give_back(paid.method, std::mem::take(&mut paid.count));
        // What was granted in part has been told when there is more.
        if paid.wait.is_positive() {
            return Err(GmailError::NotSent(out_of_quota(paid.wait)));
        }
        let most = u32::try_from(wanted).unwrap_or(u32::MAX);
        let taken = self.account.take(paid.method, 1, most).await?;
        if taken.count == 0 {
            return Err(GmailError::NotSent(out_of_quota(taken.wait)));
        }
        *paid = Paid { count: taken.count, until: now + PAID_FOR, wait: taken.wait, ..*paid };
        Ok(())
    }

    async fn get(&mut self, ids: &[MessageId]) -> Result<Gotten, GmailError> {
        let access = self.account.access(None).await?;
        let got = self.client.get_messages(&access.token, ids, self.content).await;
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
                let mut errors = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
                if let Some(limit) = errors.find(|error| is_limit(error)).cloned() {
                    self.account.heed(&limit).await;
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
            error if self.client.may_repeat(&error, *repetition) => {
                self.client.pause(*repetition).await;
                *repetition += 1;
                Judged::Again
            }
            error => Judged::Got(every(ids, &error)),
        }
    }

    /// Parses what was got and puts the bodies, before any row can name them.
    async fn keep(&self, answers: Gotten) -> Vec<(MessageId, Fetched)> {
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
        // Mail is hostile: one message that breaks the parser is one debt, not a dead worker.
        let parsed =
            std::panic::catch_unwind(AssertUnwindSafe(|| mime::fetched_to_message(&fetched, self.owner)));
        let parsed =
            parsed.map_err(|_| Failure::new(Disposition::Defect, "the message could not be parsed"))?;
        let mut message = parsed.map_err(|error| error.failure())?;
        let (bytes, form) = match fetched.mail {
            Mail::Raw(bytes) => (bytes, BodyForm::Raw),
            Mail::Parts(json) => (json, BodyForm::Parts),
            Mail::Headers(_) => return Ok(message),
        };
        message.body = Some(self.store.put_body(self.mailbox, bytes, form).await.map_err(stored)?);
        Ok(message)
    }
}

fn every<'a>(ids: impl IntoIterator<Item = &'a MessageId>, error: &GmailError) -> Gotten {
    ids.into_iter().map(|id| (*id, Err(error.clone()))).collect()
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
fn is_final(answer: &Result<FetchedMessage, GmailError>) -> bool {
    answer.as_ref().is_err_and(|error| !error.is_about_one_message())
}
