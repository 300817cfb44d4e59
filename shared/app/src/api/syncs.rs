//! Starting syncs. Each path says what kind of job it is for; what a worker then does follows from the rows.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sync_core::{
    EmailAddress, MailboxId,
    job::{JobKind, RequestOptions},
    state::{Status, Sync, Window},
};
use sync_store::AuditAction;

use super::{
    body::{JsonBody, MaybeJson},
    content::refuse_headers_only,
    order::{Order, refuse_unless_active, waits},
    problem::Problem,
    query::{Query, TIME_EXPECTED, parse_time},
    requests::Ask,
};

/// Most messages of a contact's history.
const CONTACT_MESSAGES_MAX: u32 = 100;
/// Most messages that a full sync fetches before it answers.
const MAX_RESULTS_MAX: usize = 5_000;

/// `POST /api/sync/{mailbox}`: what changed since the cursor.
pub async fn incremental(order: Order, query: Query) -> Result<Response, Problem> {
    plain(&order, query, Ask::by_hand("sync", JobKind::Incremental)).await
}

/// `POST /api/sync/{mailbox}/initial`: the first copy of the mailbox.
pub async fn initial(order: Order, query: Query) -> Result<Response, Problem> {
    plain(&order, query, Ask::by_hand("initial", JobKind::Initial)).await
}

/// `POST /api/sync/{mailbox}/force`: whoever holds the mailbox is stopped, and it is synced anew.
pub async fn force(order: Order, query: Query) -> Result<Response, Problem> {
    let ask = Ask { unlock: true, ..Ask::by_hand("force", JobKind::Incremental) };
    plain(&order, query, ask).await
}

async fn plain(order: &Order, mut query: Query, ask: Ask) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    query.finish()?;
    let sync = order.mailbox().await?;
    refuse_unless_active(&sync)?;
    order.place(&sync, &ask, wait).await
}

/// What unlocking answers when nothing is synced after it.
#[derive(Serialize)]
struct OnlyUnlocked {
    mailbox: MailboxId,
    unlocked: bool,
    job: Option<()>,
}

/// `POST /api/sync/{mailbox}/unlock`: whoever holds the mailbox is stopped, whatever its status. An active one is
/// looked at then, by the job that is answered.
pub async fn unlock(order: Order, mut query: Query) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    query.finish()?;
    let sync = order.mailbox().await?;
    if sync.status == Status::Active {
        let ask = Ask { unlock: true, ..Ask::by_hand("unlock", JobKind::Incremental) };
        return order.place(&sync, &ask, wait).await;
    }
    order.state.store.unlock(&sync.mailbox, Timestamp::now()).await?;
    order.note(&sync, AuditAction::Unlocked).await;
    let unlocked = OnlyUnlocked { mailbox: sync.mailbox, unlocked: true, job: None };
    Ok((StatusCode::OK, Json(unlocked)).into_response())
}

/// What a full sync takes, in the body or in the query.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Full {
    #[serde(alias = "maxResults")]
    max_results: Option<usize>,
    #[serde(alias = "acceptDeletions")]
    accept_deletions: Option<bool>,
}

/// `POST /api/sync/{mailbox}/full`: everything is listed and compared.
pub async fn full(
    order: Order,
    mut query: Query,
    MaybeJson(body): MaybeJson<Full>,
) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    if body.max_results.is_some_and(|asked| !(1..=MAX_RESULTS_MAX).contains(&asked)) {
        query.refuse("max_results", format!("must be 1 to {MAX_RESULTS_MAX}"));
    }
    let max_results =
        query.once("max_results", body.max_results, |query, name| query.number(name, 1..=MAX_RESULTS_MAX));
    let accept_deletions =
        query.once("accept_deletions", body.accept_deletions, Query::flag).unwrap_or(false);
    query.finish()?;
    let sync = order.mailbox().await?;
    // What the mass-deletion guard stopped goes on only by somebody saying that the deletions are meant.
    if !(accept_deletions && sync.status == Status::NeedsAttention) {
        refuse_unless_active(&sync)?;
    }
    let max_results = max_results.and_then(|most| u32::try_from(most).ok());
    let options = RequestOptions { max_results, accept_deletions, ..RequestOptions::default() };
    let ask = Ask { options, reactivate: accept_deletions, ..Ask::by_hand("full", JobKind::Full) };
    order.place(&sync, &ask, wait).await
}

/// A stretch of time.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Historical {
    start_date: Option<String>,
    end_date: Option<String>,
}

/// `POST /api/sync/{mailbox}/historical`: the mail of a stretch of time. The end is exclusive.
pub async fn historical(
    order: Order,
    mut query: Query,
    JsonBody(body): JsonBody<Historical>,
) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    let after = date(&mut query, "startDate", body.start_date.as_deref());
    let before = date(&mut query, "endDate", body.end_date.as_deref());
    if let (Some(after), Some(before)) = (after, before)
        && before <= after
    {
        query.refuse("endDate", "must be after startDate: the end is exclusive");
    }
    query.finish()?;
    let window = after.zip(before).map(|(after, before)| Window::Between { after, before });
    place_window(&order, Ask::by_hand("historical", JobKind::Historical), window, wait).await
}

fn date(query: &mut Query, field: &str, text: Option<&str>) -> Option<Timestamp> {
    let Some(text) = text else {
        query.refuse(field, format!("is required; {TIME_EXPECTED}"));
        return None;
    };
    let time = parse_time(text);
    match time {
        None => query.refuse(field, TIME_EXPECTED),
        Some(time) if time < Timestamp::UNIX_EPOCH => query.refuse(field, "must not be before 1970"),
        Some(_) => {}
    }
    time
}

/// Whose history.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    email: Option<String>,
    contact_id: Option<String>,
}

/// `POST /api/sync/{mailbox}/contact`: the newest hundred mails to or from an address.
pub async fn contact(
    order: Order,
    mut query: Query,
    JsonBody(body): JsonBody<Contact>,
) -> Result<Response, Problem> {
    let wait = waits(&mut query);
    let address = body.email.as_deref().and_then(|email| {
        let address = contact_address(email);
        if address.is_none() {
            query.refuse("email", "must be an e-mail address");
        }
        address
    });
    match (&body.email, &body.contact_id) {
        (None, None) => query.refuse("email", "is required, or contactId"),
        (Some(_), Some(_)) => query.refuse("contactId", "is given beside email: name one of them"),
        (Some(_), None) | (None, Some(_)) => {}
    }
    query.finish()?;
    let Some(address) = address else {
        // Whose mailbox it is comes first: what is not the caller's tells nothing of contacts.
        order.mailbox().await?;
        return Err(Problem::not_found("contact"));
    };
    let window = Window::Contact { address, limit: CONTACT_MESSAGES_MAX };
    place_window(&order, Ask::by_hand("contact", JobKind::Contact), Some(window), wait).await
}

/// An address that means itself inside a search: nothing in it is an operator, a quote or a bracket.
fn contact_address(text: &str) -> Option<EmailAddress> {
    let plain = |c: char| !"\"'(){}[]<>,;:\\|".contains(c);
    text.parse().ok().filter(|_| text.chars().all(plain) && !text.starts_with('-'))
}

async fn place_window(
    order: &Order,
    ask: Ask,
    window: Option<Window>,
    wait: bool,
) -> Result<Response, Problem> {
    let sync: Sync = order.mailbox().await?;
    refuse_unless_active(&sync)?;
    // Old mail is found by a search.
    refuse_headers_only(&order.state, &sync).await?;
    let options = RequestOptions { window, ..RequestOptions::default() };
    order.place(&sync, &Ask { options, ..ask }, wait).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_would_search_for_more_than_itself_is_refused() {
        assert!(contact_address("bob+tag@example.com").is_some());
        for bad in
            ["bob", "a OR b@example.com", "{a@b.c", "\"a\"@b.c", "a@b.c,d@e.f", "-a@b.c", "from:a@b.c", ""]
        {
            assert!(contact_address(bad).is_none(), "{bad:?}");
        }
    }
}
