//! Reading mail out of the replica.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sync_core::{MailboxId, MessageId, TenantId, ThreadId, message::BodyForm, state::Content};
use sync_gmail::mime::{self, Attachment, FetchedParts, FullMail, Payload};
use sync_store::{EmailId, MailQuery, StoredMessage};

use super::{
    ApiState,
    attachments::PLACE,
    auth::{Caller, ToRead},
    mailbox::owned,
    on_demand::{raw_if_wanted, stored_raw},
    problem::Problem,
    query::{CURSOR_BYTES_MAX, Query},
    sanitise::sanitise,
    view::{EmailView, ListView},
};

/// Longest list, bytes: Lambda answers at most 6 MB.
const ANSWER_BYTES_MAX: usize = 5_000_000;

/// `GET /api/emails`
pub async fn list(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    mut query: Query,
) -> Result<Response, Problem> {
    let thread = query.parsed::<ThreadId>("thread");
    answer(&state, &caller.tenant, thread, query).await
}

/// `GET /api/emails/thread/{threadId}`
pub async fn thread(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(thread): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let thread: ThreadId = thread.parse().map_err(|_| Problem::not_found("thread"))?;
    answer(&state, &caller.tenant, Some(thread), query).await
}

async fn answer(
    state: &ApiState,
    tenant: &TenantId,
    thread: Option<ThreadId>,
    mut query: Query,
) -> Result<Response, Problem> {
    let mailbox = query.text_of("mailbox", 400);
    let mut filter = parse(&mut query);
    query.finish()?;
    filter.thread = thread;
    filter.mailboxes = match mailbox {
        Some(named) => vec![owned(state, tenant, &named).await?.mailbox],
        None => all(state, tenant).await?,
    };
    loop {
        let page = state.store.list_messages(&filter).await?;
        let count = page.items.len();
        let items: Vec<EmailView> = page.items.into_iter().map(EmailView::from).collect();
        let json = serde_json::to_vec(&ListView { items, next_cursor: page.next })
            .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
        if json.len() <= ANSWER_BYTES_MAX || count <= 1 {
            return Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response());
        }
        // Mails with hundreds of addresses each: a shorter page, whose cursor goes on from there.
        filter.limit = u32::try_from(count / 2).unwrap_or(1);
    }
}

/// The filters that every list takes.
fn parse(query: &mut Query) -> MailQuery {
    query.not_yet("contact");
    query.not_yet("category");
    MailQuery {
        mailboxes: Vec::new(),
        label: query.text("label"),
        thread: None,
        outbound: query.choice("direction", &[("inbound", false), ("outbound", true)]),
        unread: query.flag("unread"),
        deleted: Some(query.flag("deleted").unwrap_or(false)),
        after: query.time("after"),
        before: query.time("before"),
        subject: query.text("subject"),
        sender: query.text("sender"),
        limit: query.limit(),
        cursor: query.text_of("cursor", CURSOR_BYTES_MAX),
    }
}

/// Every mailbox of the tenant's, disconnected ones included: their mail is still there.
async fn all(state: &ApiState, tenant: &TenantId) -> Result<Vec<MailboxId>, Problem> {
    let most = u32::try_from(MailQuery::MAILBOXES_MAX).unwrap_or(u32::MAX);
    let page = state.store.mailboxes_of_tenant(tenant, most, None).await?;
    if page.next.is_some() {
        let message = format!("is required: the tenant has more than {most} mailboxes");
        return Err(Problem::field("mailbox", message));
    }
    Ok(page.items.into_iter().map(|sync| sync.mailbox).collect())
}

/// A mail of the caller's, by its id or by Gmail's with `?mailbox=`.
pub(super) async fn find(
    state: &ApiState,
    tenant: &TenantId,
    id: &str,
    mailbox: Option<&str>,
) -> Result<StoredMessage, Problem> {
    let not_found = || Problem::not_found("e-mail");
    let (mailbox, message) = if let Ok(id) = id.parse::<EmailId>() {
        if mailbox.is_some_and(|named| named != id.mailbox.as_str() && !named.contains('@')) {
            return Err(not_found());
        }
        let sync = owned(state, tenant, id.mailbox.as_str())
            .await
            .map_err(|problem| problem.or_not_found("e-mail"))?;
        (sync.mailbox, id.message)
    } else {
        let message: MessageId = id.parse().map_err(|_| not_found())?;
        let named = mailbox.ok_or_else(|| Problem::field("mailbox", "is required with an id of Gmail's"))?;
        (owned(state, tenant, named).await?.mailbox, message)
    };
    state.store.get_message(&mailbox, message).await?.ok_or_else(not_found)
}

/// A whole mail: what a list shows, and what is inside.
#[derive(Serialize)]
pub struct WholeEmail {
    #[serde(flatten)]
    email: EmailView,
    headers: Vec<HeaderView>,
    text: Option<String>,
    html: Option<String>,
    attachments: Vec<AttachmentView>,
    /// Whether something is left out; the raw mail has it.
    truncated: bool,
    /// What of the mail this was made from: with `metadata` there is no body, and `text` and `html` are null.
    content: &'static str,
}

#[derive(Serialize)]
struct HeaderView {
    name: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentView {
    /// Null while what it holds has not been fetched: its `url` fetches it.
    hash: Option<String>,
    filename: Option<String>,
    content_type: String,
    size: u64,
    inline: bool,
    url: String,
}

/// `GET /api/emails/{id}`
pub async fn get(
    caller: Caller<ToRead>,
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<WholeEmail>, Problem> {
    let mailbox = query.text_of("mailbox", 400);
    query.finish()?;
    let message = find(&state, &caller.tenant, &id, mailbox.as_deref()).await?;
    let (content, mail) = opened(&state, &message).await?;
    Ok(Json(whole(message, content, mail)))
}

/// What there is of a mail: its raw form, or its parts, or its headers only.
async fn opened(state: &ApiState, message: &StoredMessage) -> Result<(Content, FullMail), Problem> {
    if let Some(raw) = stored_raw(state, message).await? {
        return Ok((Content::Raw, mime::render(&raw)));
    }
    if let Some(body) = message.body.as_ref().filter(|body| body.form == BodyForm::Parts)
        && let Some(json) = state.store.get_body(&message.mailbox, body).await?
    {
        let parts = Payload::from_json(&json).map_err(|error| {
            tracing::error!(mailbox.id = %message.mailbox, %error, "a stored mail cannot be read");
            Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
        })?;
        return Ok((Content::Full, mime::render_parts(&parts, &FetchedParts::new())));
    }
    Ok(match raw_if_wanted(state, message).await? {
        Some(raw) => (Content::Raw, mime::render(&raw)),
        None => (Content::Metadata, FullMail::default()),
    })
}

fn whole(message: StoredMessage, content: Content, mail: FullMail) -> WholeEmail {
    let id = message.email_id();
    let path = format!("/api/emails/{id}/attachments");
    // Of a tree of parts nobody knows the hashes of the raw mail's files: they go by their places.
    let by_place = |place: usize, file: Attachment| AttachmentView {
        url: format!("{path}/{PLACE}{place}"),
        hash: None,
        filename: file.filename,
        content_type: file.content_type,
        size: file.size,
        inline: file.inline,
    };
    let by_hash = |file: Attachment| AttachmentView {
        url: format!("{path}/{}", file.sha256),
        hash: Some(file.sha256),
        filename: file.filename,
        content_type: file.content_type,
        size: file.size,
        inline: file.inline,
    };
    let files = mail.attachments.into_iter();
    let attachments = match content {
        Content::Raw => files.map(by_hash).collect(),
        // What is inside another file is fetched with it.
        Content::Full | Content::Metadata => files
            .filter(|file| file.container.is_none())
            .enumerate()
            .map(|(place, file)| by_place(place, file))
            .collect(),
    };
    WholeEmail {
        attachments,
        content: content.name(),
        headers: mail.headers.into_iter().map(|(name, value)| HeaderView { name, value }).collect(),
        text: mail.text,
        html: mail.html.map(|html| sanitise(&html)),
        truncated: mail.truncated,
        email: EmailView::from(message),
    }
}
