//! The feed of changes: one sequence a mailbox, without holes.
//!
//! Invariant: what is answered begins right after `after` and has no gap; a reader that goes on from `next` sees
//! each change once. Deliberately absent: subscriptions, which are told of the same changes.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use sync_core::MailboxId;
use sync_store::{Events, StoreError};
use tokio::time::Instant;

use super::{
    ApiState,
    auth::{Caller, ToRead},
    mailbox::owned,
    problem::Problem,
    query::Query,
    view::ChangeView,
};

/// First and longest pause between two looks for news.
const LOOK_FIRST: Duration = Duration::from_millis(250);
const LOOK_LONGEST: Duration = Duration::from_secs(1);

/// A stretch of the feed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Feed {
    items: Vec<ChangeView>,
    /// The `after` of the next call, always.
    next: u64,
    /// The same as text while there is more now; null when this was the last.
    next_cursor: Option<String>,
}

/// `GET /api/changes?mailbox=&after=`
pub async fn changes(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    mut query: Query,
) -> Result<Json<Feed>, Problem> {
    let began = Instant::now();
    let mailbox = query.text_of("mailbox", 400);
    if mailbox.is_none() {
        query.refuse("mailbox", "is required: every mailbox has a sequence of its own");
    }
    let after = query.place("after");
    let cursor = query.place("cursor");
    if after.is_some() && cursor.is_some() {
        query.refuse("cursor", "is given beside after: name one of them");
    }
    let limit = query.limit();
    let wait = query.seconds("wait", state.config.long_poll_max.as_secs()).unwrap_or(Duration::ZERO);
    query.finish()?;
    let mailbox = owned(&state, &caller.tenant, &mailbox.unwrap_or_default()).await?.mailbox;

    let until = began + wait;
    let mut pause = LOOK_FIRST;
    let (mut after, mut found) = first_look(&state, &mailbox, after.or(cursor), limit).await?;
    while found.events.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(LOOK_LONGEST);
        found = read(&state, &mailbox, after, limit).await?;
    }
    let known = found.seq;
    let items: Vec<ChangeView> = found
        .events
        .into_iter()
        .map(|event| {
            after = event.seq;
            ChangeView::from(event)
        })
        .collect();
    Ok(Json(Feed { items, next: after, next_cursor: (after < known).then(|| after.to_string()) }))
}

/// The first look; without a place to begin at, the oldest change that is kept.
async fn first_look(
    state: &ApiState,
    mailbox: &MailboxId,
    after: Option<u64>,
    limit: u32,
) -> Result<(u64, Events), Problem> {
    if let Some(after) = after {
        return Ok((after, read(state, mailbox, after, limit).await?));
    }
    match state.store.read_events(mailbox, 0, limit, Timestamp::now()).await {
        Err(StoreError::EventsGone { kept_from }) => {
            let after = kept_from.saturating_sub(1);
            Ok((after, read(state, mailbox, after, limit).await?))
        }
        events => Ok((0, events?)),
    }
}

async fn read(state: &ApiState, mailbox: &MailboxId, after: u64, limit: u32) -> Result<Events, Problem> {
    state.store.read_events(mailbox, after, limit, Timestamp::now()).await.map_err(|error| match error {
        StoreError::EventsGone { kept_from } => Problem::new(
            StatusCode::GONE,
            format!(
                "Changes that old are not kept any more. The oldest place to go on from is after={}; what lies \
                 before it must be read from the mail itself.",
                kept_from.saturating_sub(1)
            ),
        ),
        StoreError::Cursor => Problem::field("after", "is above the mailbox's last change"),
        error => error.into(),
    })
}
