//! The list of all mailboxes, whoever owns them and whatever their status: what upkeep goes through.
//!
//! Written with the mailbox and deleted with it. It lies in a few partitions of its own, because finding the
//! `SYNC` items by a scan would read every mail.

use sync_core::MailboxId;

use crate::{Page, Store, StoreError, item::Fields, keys, paging};

type Result<T> = std::result::Result<T, StoreError>;

/// Mailboxes of one page.
const PAGE: i32 = 100;

impl Store {
    /// A page of a hundred mailboxes of one of the shards `0..REGISTRY_SHARDS`.
    pub async fn registered(&self, shard: u8, cursor: Option<&str>) -> Result<Page<MailboxId>> {
        let list = format!("registry {shard}");
        let after = paging::decode_optional(&list, cursor)?;
        // A space sorts before every character of an id, so it makes the start exclusive.
        let first = after.map_or_else(|| keys::MAILBOX.to_owned(), |id| format!("{}{id} ", keys::MAILBOX));
        let answer = self
            .query_range(keys::registry_partition(shard), first, format!("{}~", keys::MAILBOX))
            .limit(PAGE)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("list all mailboxes", &error))?;
        let more = answer.last_evaluated_key.is_some();
        let items = answer.items.unwrap_or_default();
        let items: Vec<MailboxId> = items
            .iter()
            .map(|item| Fields::new("registry", item).parsed("mailbox"))
            .collect::<Result<_>>()?;
        let next = items.last().filter(|_| more).map(|id| paging::encode(&list, id.as_str()));
        Ok(Page { items, next })
    }
}
