//! Use case: Gmail says that a mailbox changed.
//!
//! A push is verified, its mailboxes are looked up, a durable job is written for each, and only then it is
//! acknowledged. An unknown mailbox is acknowledged too, and counted: Pub/Sub would deliver it for a week.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret as _, SecretString};
use sync_core::{
    SignedDuration, Timestamp,
    job::{Lane, Trigger},
};
use sync_gmail::{PushNotification, PushRejected, PushVerifier};
use sync_queue::{JobMessage, Queue};
use sync_store::Store;

use crate::metrics::{Measures, Metric};

/// Everything the webhook needs, built once at start.
pub struct PushReceiver {
    /// Finds the mailboxes.
    pub store: Store,
    /// Takes the jobs.
    pub queue: Queue,
    /// Checks the token that Pub/Sub signed.
    pub verifier: PushVerifier,
    /// The second, optional check: a shared token in the URL.
    pub verification_token: Option<SecretString>,
}

/// A push as it arrived.
#[derive(Debug)]
pub struct Push<'a> {
    /// The bearer token, without the word.
    pub bearer: Option<&'a str>,
    /// `?token=`.
    pub url_token: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// Correlation id, carried to the worker's log.
    pub trace: &'a str,
}

/// What came of a push, each with the status that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// 204: so many jobs were queued; none for a mailbox that nobody has connected.
    Queued(usize),
    /// 401: not Google's, or not for us.
    Forged(&'static str),
    /// 400: names the field.
    Malformed(String),
    /// 503: Pub/Sub delivers it again.
    Unavailable(String),
}

impl Received {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Queued(_) => 204,
            Self::Forged(_) => 401,
            Self::Malformed(_) => 400,
            Self::Unavailable(_) => 503,
        }
    }

    /// The same in numbers: each of them, so that nothing happening is a zero and not a gap.
    pub fn measures(&self) -> Measures {
        let metric = match self {
            Self::Queued(0) => Metric::PushesUnknown,
            Self::Queued(_) => Metric::PushesAccepted,
            Self::Forged(_) | Self::Malformed(_) => Metric::PushesRefused,
            Self::Unavailable(_) => Metric::PushesUnavailable,
        };
        let all =
            [Metric::PushesAccepted, Metric::PushesRefused, Metric::PushesUnknown, Metric::PushesUnavailable];
        all.into_iter().fold(Measures::default(), |all, one| all.count(one, u64::from(one == metric)))
    }
}

/// Receives one push. Its trace is in the span around it.
pub async fn receive_push(receiver: &PushReceiver, push: Push<'_>, now: Timestamp) -> Received {
    let outcome = receive(receiver, &push, now).await;
    let duration_ms = Timestamp::now().duration_since(now).as_millis();
    match &outcome {
        Received::Queued(0) => {
            tracing::info!(duration_ms, pushes_unknown = 1, "a push for a mailbox that nobody has connected");
        }
        Received::Queued(jobs) => tracing::info!(duration_ms, jobs, "a push was queued"),
        Received::Forged(why) => {
            tracing::warn!(duration_ms, pushes_forged = 1, why, "a push was refused");
        }
        Received::Malformed(what) => {
            tracing::warn!(duration_ms, pushes_malformed = 1, what, "a push was refused");
        }
        Received::Unavailable(why) => tracing::error!(duration_ms, why, "a push could not be taken"),
    }
    outcome
}

async fn receive(receiver: &PushReceiver, push: &Push<'_>, now: Timestamp) -> Received {
    if let Some(expected) = &receiver.verification_token {
        let given = push.url_token.unwrap_or_default().as_bytes();
        if verify_slices_are_equal(given, expected.expose_secret().as_bytes()).is_err() {
            return Received::Forged("the verification token is not ours");
        }
    }
    let Some(bearer) = push.bearer else { return Received::Forged("no bearer token") };
    match receiver.verifier.verify(bearer, now).await {
        Ok(()) => {}
        Err(PushRejected::Forged(why)) => return Received::Forged(why),
        Err(PushRejected::KeysUnavailable) => return Received::Unavailable("Google's keys".to_owned()),
    }
    let notification = match PushNotification::parse(push.body) {
        Ok(notification) => notification,
        Err(error) => return Received::Malformed(error.to_string()),
    };
    let mailboxes = match receiver.store.mailboxes_by_address(&notification.address).await {
        Ok(mailboxes) => mailboxes,
        Err(error) => return Received::Unavailable(error.to_string()),
    };
    for mailbox in &mailboxes {
        let job = JobMessage::V1 {
            mailbox: mailbox.clone(),
            trigger: Trigger::Push,
            target: Some(notification.history_id),
            step: None,
            trace: push.trace.to_owned(),
            sent_at: now,
        };
        if let Err(error) = receiver.queue.send(Lane::Sync, &job, SignedDuration::ZERO, None).await {
            // Those queued already will come twice: a job is a hint, and twice is harmless.
            return Received::Unavailable(error.to_string());
        }
    }
    Received::Queued(mailboxes.len())
}
