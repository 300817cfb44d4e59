//! A change as the feed tells it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sync_core::{
    MailboxId,
    sync::{Happened, MessageNews},
};
use sync_store::{EmailId, EventRow};

use super::job::CountsView;

/// A change. Its `id` is the same for ever, however often it is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    id: String,
    seq: u64,
    /// The number before it: a reader that has not seen that one has missed something.
    previous_seq: u64,
    mailbox: MailboxId,
    r#type: &'static str,
    at: Timestamp,
    data: Value,
}

impl From<EventRow> for ChangeView {
    fn from(event: EventRow) -> Self {
        let id = event.id();
        let (r#type, data) = said(&event.mailbox, &event.what);
        Self {
            id,
            seq: event.seq,
            previous_seq: event.seq.saturating_sub(1),
            mailbox: event.mailbox,
            r#type,
            at: event.at,
            data,
        }
    }
}

fn said(mailbox: &MailboxId, what: &Happened) -> (&'static str, Value) {
    match what {
        Happened::Created(news) => ("message.created", about(mailbox, news)),
        Happened::Updated(news) => ("message.updated", about(mailbox, news)),
        Happened::Deleted(news) => ("message.deleted", about(mailbox, news)),
        Happened::NeedsReauth => ("mailbox.needs_reauth", json!({})),
        Happened::SyncFailed { error } => ("sync.failed", json!({ "error": error })),
        Happened::BackfillCompleted { counts } => {
            ("backfill.completed", json!({ "counts": CountsView::from(counts) }))
        }
    }
}

fn about(mailbox: &MailboxId, news: &MessageNews) -> Value {
    let id = EmailId { mailbox: mailbox.clone(), message: news.gmail_id };
    json!({
        "id": id.to_string(),
        "gmailId": news.gmail_id,
        "historyId": news.history_id,
        "labelIds": news.label_ids,
    })
}

#[cfg(test)]
mod tests {
    use sync_core::{HistoryId, MessageId};

    use super::*;

    #[test]
    fn a_change_names_the_one_before_it_and_the_mail_it_is_about() {
        let news = MessageNews {
            gmail_id: MessageId(0xabc),
            history_id: HistoryId(7),
            label_ids: ["INBOX".to_owned()].into(),
        };
        let event = EventRow {
            mailbox: "mbx_1".parse().expect("an id"),
            seq: 3,
            at: Timestamp::UNIX_EPOCH,
            what: Happened::Created(news),
        };
        let id = event.id();
        let change = serde_json::to_value(ChangeView::from(event)).expect("serialisable");
        assert_eq!(
            change,
            json!({
                "id": id, "seq": 3, "previousSeq": 2, "mailbox": "mbx_1", "type": "message.created",
                "at": "1970-01-01T00:00:00Z",
                "data": {"id": "mbx_1.abc", "gmailId": "abc", "historyId": "7", "labelIds": ["INBOX"]},
            })
        );
    }
}
