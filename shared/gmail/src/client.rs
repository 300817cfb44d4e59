//! The calls, over one pool of connections that outlives an invocation.
//!
//! A call is one request: whoever calls has paid for one. Repeating it is the caller's, who pays again;
//! [`GmailClient::pause`] says how long to wait before.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use reqwest::RequestBuilder;
use secrecy::ExposeSecret as _;
use sync_core::{
    EmailAddress, HistoryId, MessageId, ThreadId, retry,
    state::{Content, Window},
    sync::{HistoryPage, ListPage},
};

pub use crate::transport::Timeouts;
use crate::{
    batch::{self, Gotten},
    endpoint::Endpoint,
    error::GmailError,
    formats::{self, FetchedMessage},
    oauth::AccessToken,
    requests::{self, Account, Label, Method, Request, Watch},
    transport::{self, Answer},
};

/// The waits between repetitions of one call: <https://developers.google.com/workspace/gmail/api/guides/handle-errors>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Least wait, and the most before the first repetition; then twice as much each time, with full jitter.
    pub first: Duration,
    /// Repetitions of one call: many would be waiting, and waiting is the queue's.
    pub repetitions: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), repetitions: 3 }
    }
}

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct GmailConfig {
    /// Where the API is, `https://gmail.googleapis.com`.
    pub api_url: Endpoint,
    /// Where tokens come from, `https://oauth2.googleapis.com`.
    pub oauth_url: Endpoint,
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// The repetitions.
    pub backoff: Backoff,
    /// Items of one page of history or of a listing, 1 to [`requests::PAGE_MAX`].
    pub page_size: u32,
    /// Longest answer of a batch, bytes: beyond it fewer are asked for. A worker has a few hundred MB.
    pub batch_bytes_max: u64,
    /// Longest answer of any other call, bytes: beyond it a message is a debt.
    pub single_bytes_max: u64,
    /// Longest answer that is a thread, bytes: beyond it its messages are got one by one. Several come at once.
    pub thread_bytes_max: u64,
}

impl GmailConfig {
    /// The usual bounds for these two endpoints.
    pub fn new(api_url: Endpoint, oauth_url: Endpoint) -> Self {
        Self {
            api_url,
            oauth_url,
            timeouts: Timeouts::default(),
            backoff: Backoff::default(),
            page_size: requests::PAGE_MAX,
            batch_bytes_max: 96 << 20,
            single_bytes_max: 64 << 20,
            thread_bytes_max: 16 << 20,
        }
    }
}

/// What came of asking for history. Expiry is an outcome: the engine has a plan for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// A page.
    Page(HistoryPage),
    /// 404: the start is too old.
    Expired,
}

/// Gmail, for any mailbox: the token says whose. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GmailClient {
    http: reqwest::Client,
    config: GmailConfig,
}

impl GmailClient {
    /// A client with its own pool of connections. Make one at start and keep it.
    ///
    /// # Errors
    /// [`GmailError::Unsendable`] when TLS cannot be set up.
    pub fn new(config: GmailConfig) -> Result<Self, GmailError> {
        let http = transport::http_client(config.timeouts, &config.api_url)?;
        Ok(Self { http, config })
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) fn config(&self) -> &GmailConfig {
        &self.config
    }

    /// Whose mailbox the token opens, and its present.
    pub async fn profile(&self, token: &AccessToken) -> Result<Account, GmailError> {
        requests::read_profile(&self.call(&requests::profile(), token).await?.body)
    }

    /// One page of message ids, SPAM and TRASH included. `now` places a window of days; pass the same on
    /// every page.
    pub async fn list_messages(
        &self,
        token: &AccessToken,
        window: &Window,
        label: Option<&str>,
        page_token: Option<&str>,
        now: Timestamp,
    ) -> Result<ListPage, GmailError> {
        let request = requests::list_messages(window, label, page_token, self.config.page_size, now)?;
        requests::read_message_list(&self.call(&request, token).await?.body, window)
    }

    /// One page of history after `start`; pass the same `start` on every page.
    pub async fn list_history(
        &self,
        token: &AccessToken,
        start: HistoryId,
        page_token: Option<&str>,
    ) -> Result<History, GmailError> {
        let request = requests::list_history(start, page_token, self.config.page_size);
        match self.call(&request, token).await {
            Ok(answer) => Ok(History::Page(requests::read_history(&answer.body)?)),
            Err(GmailError::NotFound) => Ok(History::Expired),
            Err(error) => Err(error),
        }
    }

    /// All labels of the mailbox.
    pub async fn list_labels(&self, token: &AccessToken) -> Result<Vec<Label>, GmailError> {
        requests::read_labels(&self.call(&requests::list_labels(), token).await?.body)
    }

    /// How many messages wear this label; `None` when there is no such label.
    pub async fn count_label(&self, token: &AccessToken, id: &str) -> Result<Option<i64>, GmailError> {
        match self.call(&requests::count_label(id)?, token).await {
            Ok(answer) => requests::read_label_count(&answer.body).map(Some),
            Err(GmailError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The addresses that the owner sends from, the mailbox's own among them.
    pub async fn list_send_as(&self, token: &AccessToken) -> Result<Vec<EmailAddress>, GmailError> {
        formats::read_send_as(&self.call(&formats::list_send_as(), token).await?.body)
    }

    /// One message in this format.
    pub async fn get_message(
        &self,
        token: &AccessToken,
        id: MessageId,
        content: Content,
    ) -> Result<FetchedMessage, GmailError> {
        let answer = self.call(&formats::get_message(id, content), token).await?;
        formats::read_message(&answer.body, id, content)
    }

    /// All messages of a thread that can be read, in this format.
    ///
    /// # Errors
    /// [`GmailError::TooLarge`] for a thread beyond [`GmailConfig::thread_bytes_max`]: its messages may be had one
    /// by one. [`GmailError::Unsendable`] for format `raw`.
    pub async fn get_thread(
        &self,
        token: &AccessToken,
        thread: ThreadId,
        content: Content,
    ) -> Result<Vec<FetchedMessage>, GmailError> {
        let request = formats::get_thread(thread, content)?;
        let answer = self.call_within(&request, token, self.config.thread_bytes_max).await?;
        formats::read_thread(&answer.body, content)
    }

    /// These messages in this format, in one call: one result for each id in the order given. At most
    /// [`batch::PARTS_MAX`] ids: more at once fail in part.
    ///
    /// # Errors
    /// What is about the call as a whole; [`GmailError::TooLarge`] asks for fewer.
    pub async fn get_messages(
        &self,
        token: &AccessToken,
        ids: &[MessageId],
        content: Content,
    ) -> Result<Gotten, GmailError> {
        match ids {
            [id] => match self.get_message(token, *id, content).await {
                Err(error) if !error.is_about_one_message() => Err(error),
                answer => Ok(vec![(*id, answer)]),
            },
            _ => self.batch_call(token, ids, content).await,
        }
    }

    /// Sets a watch on everything. `topic` is `projects/P/topics/T`. Fires one push at once.
    pub async fn watch(&self, token: &AccessToken, topic: &str) -> Result<Watch, GmailError> {
        requests::read_watch(&self.call(&requests::watch(topic), token).await?.body)
    }

    /// Ends the mailbox's watch. Nothing happens when there is none.
    pub async fn stop(&self, token: &AccessToken) -> Result<(), GmailError> {
        self.call(&requests::stop(), token).await.map(drop)
    }

    async fn batch_call(
        &self,
        token: &AccessToken,
        ids: &[MessageId],
        content: Content,
    ) -> Result<Gotten, GmailError> {
        let url = self.config.api_url.join(batch::PATH);
        let request = self
            .http
            .post(&url)
            .header(reqwest::header::CONTENT_TYPE, batch::content_type())
            .body(batch::body(ids, content));
        let answer = match self.authorized(request, token, self.config.batch_bytes_max).await {
            // A wrong address of the batch endpoint says nothing of any message.
            Err(GmailError::NotFound) => {
                return Err(GmailError::Rejected { status: 404, reason: "batch".to_owned() });
            }
            answer => answer?,
        };
        let content_type = answer.header("content-type").unwrap_or_default();
        batch::read(content_type, &answer.body, ids, content, Timestamp::now())
    }

    async fn call(&self, request: &Request, token: &AccessToken) -> Result<Answer, GmailError> {
        self.call_within(request, token, self.config.single_bytes_max).await
    }

    async fn call_within(
        &self,
        request: &Request,
        token: &AccessToken,
        bytes_max: u64,
    ) -> Result<Answer, GmailError> {
        let url = self.config.api_url.join(&request.path);
        let build = match (request.method, &request.json) {
            (Method::Get, _) => self.http.get(&url),
            (Method::Post, Some(json)) => self.http.post(&url).json(json),
            // Google wants a length on a body that is not there.
            (Method::Post, None) => self.http.post(&url).header(reqwest::header::CONTENT_LENGTH, 0),
        };
        self.authorized(build, token, bytes_max).await
    }

    async fn authorized(
        &self,
        build: RequestBuilder,
        token: &AccessToken,
        bytes_max: u64,
    ) -> Result<Answer, GmailError> {
        let request = build.bearer_auth(token.token.expose_secret());
        let answer = transport::send(request, self.config.timeouts, bytes_max).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        let retry_after = answer.header("retry-after");
        Err(GmailError::from_response(answer.status, retry_after, &answer.body, Timestamp::now()))
    }

    /// Repeats a call of the token endpoint, which costs no quota, while that may help.
    pub(crate) async fn with_retries<T, F>(&self, call: impl Fn() -> F) -> Result<T, GmailError>
    where
        F: Future<Output = Result<T, GmailError>>,
    {
        let mut repetition = 0;
        loop {
            match call().await {
                Err(error) if self.may_repeat(&error, repetition) => {
                    self.pause(repetition).await;
                    repetition += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether a call that failed so, after so many repetitions, is made once more.
    pub fn may_repeat(&self, error: &GmailError, repetitions: u32) -> bool {
        error.is_worth_repeating() && repetitions < self.config.backoff.repetitions
    }

    /// Waits before a call is made again for the `repetition`th time, from 0. Full jitter: workers that failed
    /// together do not come back together.
    pub async fn pause(&self, repetition: u32) {
        let wait = retry::backoff(repetition, rand::random());
        tokio::time::sleep(self.config.backoff.first.mul_f64(wait.as_secs_f64())).await;
    }
}
