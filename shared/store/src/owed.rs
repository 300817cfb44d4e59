//! What the replica owes: one item a message, written by commits only.

use std::collections::BTreeSet;

use sync_core::{MailboxId, MessageId, owed::Owed};

use crate::{
    Page, Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, text, time},
    keys, paging,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most items of one page.
const PAGE_MAX: u32 = 500;
/// Most items that are ordered by their time at once: a few MB, ten reads.
pub const OWED_SCAN_MAX: usize = 5_000;
/// Highest sort key of an owed item.
const LAST: &str = "OWED#~";

impl Store {
    /// What a mailbox owes and tries by itself, due or not, earliest first, at most `limit`. What waits for a
    /// person is not among it: see [`Store::list_owed`].
    ///
    /// Reads at most [`OWED_SCAN_MAX`] items, those of the newest messages: beyond that they stand for all.
    pub async fn read_owed(&self, mailbox: &MailboxId, limit: u32) -> Result<Vec<Owed>> {
        let mut found: Vec<Owed> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.list_owed(mailbox, PAGE_MAX, cursor.as_deref()).await?;
            found.extend(page.items);
            cursor = page.next;
            if cursor.is_none() || found.len() >= OWED_SCAN_MAX {
                break;
            }
        }
        found.retain(|owed| owed.due_at.is_some());
        found.sort_by_key(|owed| owed.due_at);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// The owed items of these messages, read consistently; the others are absent.
    pub async fn read_owed_of(&self, mailbox: &MailboxId, ids: &[MessageId]) -> Result<Vec<Owed>> {
        let unique: BTreeSet<MessageId> = ids.iter().copied().collect();
        let keys = unique.into_iter().map(|id| keys::owed(mailbox, id)).collect();
        self.batch_get("read owed", keys, None).await?.iter().map(owed_from).collect()
    }

    /// All that a mailbox owes, newest message first, at most `limit` (up to 500) a page.
    pub async fn list_owed(
        &self,
        mailbox: &MailboxId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<Owed>> {
        self.list_owed_of(mailbox, false, limit, cursor).await
    }

    /// The same without what merely waits its turn. A page may be short, even empty, and have a next one.
    pub async fn list_debts(
        &self,
        mailbox: &MailboxId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<Owed>> {
        self.list_owed_of(mailbox, true, limit, cursor).await
    }

    async fn list_owed_of(
        &self,
        mailbox: &MailboxId,
        debts_only: bool,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<Owed>> {
        let list = format!("{} {mailbox}", if debts_only { "debts of" } else { "owed by" });
        let start = paging::decode_optional(&list, cursor)?.map(|sk| position(mailbox, &sk));
        let answer = self
            .query_range(keys::partition(mailbox), keys::OWED.to_owned(), LAST.to_owned())
            .scan_index_forward(false)
            .limit(i32::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("list owed", &error))?;
        let next = next_cursor(&list, answer.last_evaluated_key.as_ref())?;
        let items = answer.items.unwrap_or_default();
        let mut items = items.iter().map(owed_from).collect::<Result<Vec<_>>>()?;
        items.retain(|owed| !debts_only || owed.reason.is_debt());
        Ok(Page { items, next })
    }
}

/// The change that makes an item say this. `due_at` is beside it as a number, for people who query; what
/// waits for somebody's decision has none.
pub(crate) fn change_of(owed: &Owed) -> Result<Change> {
    Ok(Change::default()
        .set("v", number(SCHEMA_VERSION))
        .set_or_remove("due_at", owed.due_at.map(time))
        .set("reason", text(owed.reason.name()))
        .set("owed", nested("owed", owed)?))
}

fn owed_from(item: &Item) -> Result<Owed> {
    Fields::new("owed", item).nested("owed")
}

/// A key of a mailbox's partition, to go on from.
pub(crate) fn position(mailbox: &MailboxId, sk: &str) -> Item {
    Item::from([("pk".to_owned(), text(keys::partition(mailbox))), ("sk".to_owned(), text(sk))])
}

/// The cursor of a query's last key.
pub(crate) fn next_cursor(list: &str, last_key: Option<&Item>) -> Result<Option<String>> {
    last_key.map(|key| Ok(paging::encode(list, Fields::new("key", key).text("sk")?))).transpose()
}
