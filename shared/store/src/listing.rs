//! Listing mail for people, newest first, from the indexes.
//!
//! Date, thread and deletion are keys of an index; the other filters are applied to a bounded stretch of
//! rows, so a page may be short and still have a next one. Lists are eventually consistent: nothing is
//! decided on them.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use sync_core::MailboxId;

use crate::{
    MailQuery, Page, Store, StoreError, StoredMessage,
    item::text,
    keys::{self, Position},
    paging,
    rows::message_from,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most rows asked for at once.
const READ_MAX: usize = 500;

/// A place in a list that is merged from several mailboxes: rows after it come next.
type Place = (Position, String);

/// What one mailbox gave.
struct Stretch {
    found: Vec<StoredMessage>,
    /// The last row looked at; `None` when there are no more.
    reached: Option<Position>,
}

impl Store {
    /// One page of mail. Errors: a cursor of another query, or more mailboxes than
    /// [`MailQuery::MAILBOXES_MAX`].
    pub async fn list_messages(&self, query: &MailQuery) -> Result<Page<StoredMessage>> {
        if query.mailboxes.len() > MailQuery::MAILBOXES_MAX {
            return Err(StoreError::TooLarge {
                what: "mailboxes of a list",
                actual: query.mailboxes.len(),
                max: MailQuery::MAILBOXES_MAX,
            });
        }
        let list = list_name(query);
        let after = match paging::decode_optional(&list, query.cursor.as_deref())? {
            None => None,
            Some(position) => Some(parse_place(&position)?),
        };
        let limit = usize::try_from(query.limit.clamp(1, MailQuery::LIMIT_MAX)).unwrap_or(1);

        let mut found: Vec<(Place, StoredMessage)> = Vec::new();
        // Below this, some mailbox may have rows that were not looked at yet.
        let mut horizon: Option<Place> = None;
        for mailbox in query.mailboxes.iter().collect::<BTreeSet<_>>() {
            // One more than is shown tells whether there is a next page.
            let stretch = self.read_stretch(query, mailbox, after.as_ref(), limit + 1).await?;
            if let Some(reached) = stretch.reached {
                horizon = horizon.max(Some((reached, mailbox.to_string())));
            }
            found.extend(stretch.found.into_iter().map(|message| (place_of(&message), message)));
        }
        found.sort_by(|(one, _), (other, _)| other.cmp(one));
        if let Some(horizon) = &horizon {
            found.retain(|(place, _)| place >= horizon);
        }
        let next = if found.len() > limit {
            found.truncate(limit);
            found.last().map(|(place, _)| place.clone())
        } else {
            horizon
        };
        Ok(Page {
            items: found.into_iter().map(|(_, message)| message).collect(),
            next: next.map(|(position, mailbox)| {
                paging::encode(&list, &format!("{}/{mailbox}", position.mail_sk()))
            }),
        })
    }

    /// Reads one mailbox's rows until `limit` fit, its rows end or the stretch does.
    async fn read_stretch(
        &self,
        query: &MailQuery,
        mailbox: &MailboxId,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Stretch> {
        let mut stretch = Stretch { found: Vec::new(), reached: None };
        let Some((first, mut last)) = range(query, mailbox, after) else { return Ok(stretch) };
        let mut read = 0;
        // Without filters every row fits; with them, rather read too much at once than too often.
        let page = if has_filters(query) { READ_MAX } else { limit };
        while first <= last {
            let items = self.read_index(query, mailbox, first, last, page).await?;
            let ended = items.len() < page;
            for item in &items {
                let message = message_from(mailbox, item)?;
                let position = place_of(&message).0;
                read += 1;
                stretch.reached = Some(position);
                if matches(query, &message) {
                    stretch.found.push(message);
                }
                if stretch.found.len() == limit || read >= MailQuery::STRETCH_ROWS_MAX {
                    return Ok(stretch);
                }
            }
            if ended {
                break;
            }
            let Some(before) = stretch.reached.and_then(Position::before) else { break };
            last = before;
        }
        stretch.reached = None;
        Ok(stretch)
    }

    /// Up to `page` rows of the index, newest first; fewer only at the end.
    async fn read_index(
        &self,
        query: &MailQuery,
        mailbox: &MailboxId,
        first: Position,
        last: Position,
        page: usize,
    ) -> Result<Vec<HashMap<String, AttributeValue>>> {
        let (index, key, pk) = match query.thread {
            Some(thread) => (keys::INDEX_BY_THREAD, "thread_pk", keys::thread_pk(mailbox, thread)),
            None => (keys::INDEX_BY_DATE, "mail_pk", keys::mail_pk(mailbox, query.deleted.unwrap_or(false))),
        };
        let mut items = Vec::new();
        let mut start = None;
        // One answer holds at most 1 MB, so a page may take several.
        while items.len() < page {
            let answer = self
                .dynamo
                .query()
                .table_name(&self.config.table)
                .index_name(index)
                .key_condition_expression(format!("{key} = :pk AND mail_sk BETWEEN :first AND :last"))
                .expression_attribute_values(":pk", text(&pk))
                .expression_attribute_values(":first", text(first.mail_sk()))
                .expression_attribute_values(":last", text(last.mail_sk()))
                .scan_index_forward(false)
                .limit(i32::try_from(page - items.len()).unwrap_or(1))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| StoreError::from_sdk("list messages", &error))?;
            items.extend(answer.items.unwrap_or_default());
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(items)
    }
}

/// The positions to read in one mailbox, both inclusive.
fn range(query: &MailQuery, mailbox: &MailboxId, after: Option<&Place>) -> Option<(Position, Position)> {
    let first = query.after.map_or(Position::FIRST, Position::at);
    let mut last = match query.before {
        None => Position::LAST,
        Some(before) => Position::at(before).before()?,
    };
    if let Some((position, reached)) = after {
        // At one position the mailboxes come in falling order of their ids.
        let next = if mailbox.as_str() < reached.as_str() { Some(*position) } else { position.before() };
        last = last.min(next?);
    }
    (first <= last).then_some((first, last))
}

fn place_of(message: &StoredMessage) -> Place {
    let received_at = message.received_at.unwrap_or(sync_core::Timestamp::UNIX_EPOCH);
    (Position::of(received_at, message.id), message.mailbox.to_string())
}

fn parse_place(text: &str) -> Result<Place> {
    let (position, mailbox) = text.split_once('/').ok_or(StoreError::Cursor)?;
    Ok((Position::parse(position).ok_or(StoreError::Cursor)?, mailbox.to_owned()))
}

/// Everything of the query that decides what is listed, as one text.
fn list_name(query: &MailQuery) -> String {
    let MailQuery {
        mailboxes, label, thread, outbound, unread, deleted, after, before, subject, sender, ..
    } = query;
    let mut mailboxes: Vec<&str> = mailboxes.iter().map(MailboxId::as_str).collect();
    mailboxes.sort_unstable();
    format!(
        "mail {:?}",
        (mailboxes, label, thread, outbound, unread, deleted, after, before, subject, sender)
    )
}

fn has_filters(query: &MailQuery) -> bool {
    query.label.is_some()
        || query.outbound.is_some()
        || query.unread.is_some()
        || query.subject.is_some()
        || query.sender.is_some()
        || (query.thread.is_some() && query.deleted.is_some())
}

fn matches(query: &MailQuery, message: &StoredMessage) -> bool {
    let fits = |wanted: Option<bool>, actual: bool| wanted.is_none_or(|wanted| wanted == actual);
    let contains = |wanted: &Option<String>, texts: &[&str]| {
        wanted.as_ref().is_none_or(|wanted| {
            let wanted = wanted.to_lowercase();
            texts.iter().any(|text| text.to_lowercase().contains(&wanted))
        })
    };
    let from = message.envelope.from.as_ref();
    let sender = [
        from.map_or("", |from| from.email.as_str()),
        from.and_then(|from| from.name.as_deref()).unwrap_or(""),
    ];
    fits(query.outbound, message.envelope.outbound)
        && fits(query.unread, message.labels.contains("UNREAD"))
        && fits(query.deleted, message.is_deleted())
        && query.label.as_ref().is_none_or(|label| message.labels.contains(label))
        && contains(&query.subject, &[message.envelope.subject.as_str()])
        && contains(&query.sender, &sender)
}
