//! The raw mail of a message that was stored without it: fetched from Gmail when somebody asks for it, once.
//!
//! Invariants: a row is judged by what it has, not by what its mailbox fetches now; what was fetched lies in the bucket
//! before the row names it, in an attribute that no worker writes. Whatever is asked of Gmail here goes through
//! [`get`]. Deliberately absent: single attachments. Each costs what the raw mail costs, which has them all.

use sync_core::{
    Disposition, MessageId,
    message::{BodyForm, RowState},
    quota::Method,
    state::{Content, Sync},
};
use sync_gmail::{GmailError, formats::Mail};
use sync_store::StoredMessage;

use super::{ApiState, mailbox, problem::Problem};

use axum::http::StatusCode;

/// The raw mail: stored, or else fetched and stored.
pub(super) async fn raw_of(state: &ApiState, message: &StoredMessage) -> Result<Vec<u8>, Problem> {
    if let Some(raw) = stored_raw(state, message).await? {
        return Ok(raw);
    }
    let sync = mailbox::read(state, &message.mailbox).await?;
    refuse_unless_fetchable(&sync, message)?;
    fetch(state, &sync, message).await
}

/// The raw mail, if it is stored.
pub(super) async fn stored_raw(
    state: &ApiState,
    message: &StoredMessage,
) -> Result<Option<Vec<u8>>, Problem> {
    match message.raw_body() {
        Some(body) => Ok(state.store.get_body(&message.mailbox, body).await?),
        None => Ok(None),
    }
}

/// The raw mail of a message of which only the headers are stored, where its mailbox has more by now. A failure is
/// for the log: what is stored can be shown without it.
pub(super) async fn raw_if_wanted(
    state: &ApiState,
    message: &StoredMessage,
) -> Result<Option<Vec<u8>>, Problem> {
    let sync = mailbox::read(state, &message.mailbox).await?;
    if refuse_unless_fetchable(&sync, message).is_err() {
        return Ok(None);
    }
    let fetched = fetch(state, &sync, message).await;
    if let Err(problem) = &fetched {
        tracing::info!(mailbox.id = %message.mailbox, status = problem.status().as_u16(), "a body was not to be had");
    }
    Ok(fetched.ok())
}

fn refuse_unless_fetchable(sync: &Sync, message: &StoredMessage) -> Result<(), Problem> {
    match message.state {
        RowState::Live => {}
        RowState::Deleted if message.thread_id.is_some() => return Err(gone()),
        RowState::Deleted | RowState::OutOfScope | RowState::Accepted => {
            return Err(Problem::not_found("raw mail: only its deletion is known"));
        }
    }
    match sync.content {
        Content::Raw | Content::Full => Ok(()),
        Content::Metadata => Err(Problem::conflict(
            "Only the headers of this mail are stored, because its mailbox's content is metadata. Choose full or raw \
             in the mailbox's settings to have bodies.",
        )),
    }
}

async fn fetch(state: &ApiState, sync: &Sync, message: &StoredMessage) -> Result<Vec<u8>, Problem> {
    let within = tokio::time::timeout(state.config.wait_max, get(state, sync, message.id));
    let raw = within.await.unwrap_or(Err(GmailError::TimedOut)).map_err(|error| {
        tracing::warn!(mailbox.id = %sync.mailbox, %error, "a raw mail was asked for and not got");
        problem(&error)
    })?;
    let body = state.store.put_body(&sync.mailbox, raw.clone(), BodyForm::Raw).await?;
    state.store.note_raw(&sync.mailbox, message.id, &body).await?;
    Ok(raw)
}

/// One `messages.get` for somebody who waits.
async fn get(state: &ApiState, sync: &Sync, id: MessageId) -> Result<Vec<u8>, GmailError> {
    let mut account = state.account(&sync.mailbox, &sync.address);
    let message = account.call(Method::MessagesGet, move |gmail, token| async move {
        gmail.get_message(&token, id, Content::Raw).await
    });
    match message.await?.mail {
        Mail::Raw(raw) => Ok(raw),
        Mail::Parts(_) | Mail::Headers(_) => Err(GmailError::Unreadable { what: "a raw mail" }),
    }
}

fn problem(error: &GmailError) -> Problem {
    let reconnect =
        || Problem::conflict("The mailbox's grant is gone or shows no bodies: connect it again first.");
    let unavailable = || Problem::unavailable("Gmail does not answer now; try again.");
    match error {
        GmailError::NotFound => gone(),
        GmailError::Unauthorized
        | GmailError::GrantRevoked
        | GmailError::KeyRefused
        | GmailError::DelegationRefused
        | GmailError::InsufficientScope
        | GmailError::DomainPolicy
        | GmailError::Forbidden { .. }
        | GmailError::FailedPrecondition => reconnect(),
        GmailError::NotSent(failure) => match failure.disposition {
            Disposition::NeedsReauth | Disposition::NeedsAttention => reconnect(),
            Disposition::Wait(_) => {
                Problem::unavailable("Gmail's quota is used up for now; try again later.")
            }
            Disposition::Retry(_) | Disposition::Debt | Disposition::Defect => unavailable(),
        },
        GmailError::RateLimited { .. } | GmailError::DailyLimit { .. } => {
            Problem::unavailable("Gmail's rate limit is reached; try again later.")
        }
        GmailError::Server { .. } | GmailError::TimedOut | GmailError::Connection => unavailable(),
        GmailError::TooLarge { .. } => {
            Problem::new(StatusCode::NOT_IMPLEMENTED, "This mail is larger than what is fetched on demand.")
        }
        GmailError::ClientRefused { .. }
        | GmailError::Rejected { .. }
        | GmailError::Unreadable { .. }
        | GmailError::MissingPart
        | GmailError::Unsendable => {
            Problem::new(StatusCode::BAD_GATEWAY, "Gmail's answer was not what it should be.")
        }
    }
}

fn gone() -> Problem {
    Problem::new(
        StatusCode::GONE,
        "Gmail does not have this mail any more, and its raw form was never fetched.",
    )
}

#[cfg(test)]
mod tests {
    use sync_core::{Failure, SignedDuration};

    use super::*;

    #[test]
    fn each_refusal_says_whether_waiting_helps_or_connecting_or_nothing() {
        let of = |error: GmailError| problem(&error).status();
        let wait = SignedDuration::from_secs(1);
        assert_eq!(of(GmailError::NotFound), StatusCode::GONE);
        assert_eq!(of(GmailError::InsufficientScope), StatusCode::CONFLICT);
        for error in [GmailError::RateLimited { wait, concurrency: true }, GmailError::TimedOut] {
            assert_eq!(of(error), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(of(GmailError::MissingPart), StatusCode::BAD_GATEWAY);
        let no_token = |disposition| of(GmailError::NotSent(Failure::new(disposition, "")));
        assert_eq!(no_token(Disposition::NeedsReauth), StatusCode::CONFLICT);
        assert_eq!(no_token(Disposition::Retry(wait)), StatusCode::SERVICE_UNAVAILABLE);
    }
}
