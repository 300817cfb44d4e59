//! Long lists in S3, under the mailbox's prefix: ids to fetch, and listings that outlast a run.
//!
//! A list is written once, under a name that nobody else uses, and read by position. `SYNC` points at those that
//! are in use; the others are swept when they are older than a day.

use std::{collections::BTreeSet, io::Read};

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use sync_core::{
    MailboxId, MessageId, SignedDuration, Timestamp,
    state::{FetchList, Sync},
    sync::{Listed, Listing},
};

use crate::{
    Store, StoreError,
    objects::{COMPRESSION_LEVEL, blocking},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Tells the bucket's lifecycle rule what is a list: it expires, mail never does.
const LIST_TAG: &str = "kind=fetch-list";
/// Bytes of an id in a list; with its thread, where the list's name says so, it takes twice as many.
const ID_BYTES: u64 = 8;
/// Most messages read at once.
const LIST_READ_MAX: u32 = 100_000;
/// Largest listing, bytes: a million messages with fifty labels take 40 MB, a worker has a few hundred.
const LISTING_BYTES_MAX: usize = 128 * 1_024 * 1_024;
/// How old a list is at least that is swept: a younger one may be about to be pointed at.
const SWEPT_AFTER: SignedDuration = SignedDuration::from_hours(24);

impl Store {
    /// Writes a list of messages in this order, their threads too where its name says so
    /// ([`FetchList::is_by_thread`]). The name is 1 to 200 letters, digits, `-`, `_`, `.`, `/`.
    pub async fn save_list(&self, mailbox: &MailboxId, name: &str, messages: &[Listed]) -> Result<()> {
        let bytes = if FetchList::is_by_thread(name) {
            messages.iter().flat_map(|message| message.to_bytes()).collect()
        } else {
            messages.iter().flat_map(|message| message.id.0.to_be_bytes()).collect()
        };
        self.put_object("save list", list_key(mailbox, name)?, bytes, Some(LIST_TAG)).await
    }

    /// Reads at most `limit` (up to 100,000) messages of a list from this position; fewer only at its end.
    pub async fn load_list(
        &self,
        mailbox: &MailboxId,
        name: &str,
        position: u64,
        limit: u32,
    ) -> Result<Vec<Listed>> {
        let limit = u64::from(limit.min(LIST_READ_MAX));
        let key = list_key(mailbox, name)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let is_by_thread = FetchList::is_by_thread(name);
        let entry = if is_by_thread { 2 * ID_BYTES } else { ID_BYTES };
        let first = position.saturating_mul(entry);
        let last = first.saturating_add(limit * entry - 1);
        let range = format!("bytes={first}-{last}");
        let bytes = self.get_object("load list", key, Some(range)).await?;
        let bytes = bytes.ok_or(StoreError::NotFound { what: "list" })?;
        if !bytes.len().is_multiple_of(if is_by_thread { 16 } else { 8 }) {
            return Err(StoreError::corrupt("list", "its length is no multiple of an entry's"));
        }
        if is_by_thread {
            return Ok(bytes.as_chunks().0.iter().copied().map(Listed::from_bytes).collect());
        }
        let alone = |id: &[u8; 8]| Listed::alone(MessageId(u64::from_be_bytes(*id)));
        Ok(bytes.as_chunks().0.iter().map(alone).collect())
    }

    /// Where in a fetch list a message waits, from 0; `None` when it is not in what is left of it, or the list
    /// is gone. Reads what is left: 8 or 16 bytes a message.
    pub async fn list_position(
        &self,
        mailbox: &MailboxId,
        list: &FetchList,
        id: MessageId,
    ) -> Result<Option<u64>> {
        let mut position = list.position;
        loop {
            let messages = match self.load_list(mailbox, &list.key, position, LIST_READ_MAX).await {
                Err(StoreError::NotFound { .. }) => return Ok(None),
                messages => messages?,
            };
            if let Some(at) = messages.iter().position(|one| one.id == id) {
                return Ok(Some(position + at as u64));
            }
            if messages.is_empty() {
                return Ok(None);
            }
            position += messages.len() as u64;
        }
    }

    /// Keeps a listing that the end of a run cuts short. The name is bound as a list's.
    ///
    /// Errors: more than 128 MiB.
    pub async fn save_listing(&self, mailbox: &MailboxId, name: &str, listing: Listing) -> Result<()> {
        let key = list_key(mailbox, name)?;
        // One copy at a time in memory: a listing may be as large as half of what a worker has.
        let work = move || {
            let bytes = listing.to_bytes();
            drop(listing);
            if bytes.len() > LISTING_BYTES_MAX {
                let (actual, max) = (bytes.len(), LISTING_BYTES_MAX);
                return Err(StoreError::TooLarge { what: "bytes of a listing", actual, max });
            }
            zstd::encode_all(bytes.as_slice(), COMPRESSION_LEVEL)
                .map_err(|error| StoreError::corrupt("listing", error.kind().to_string()))
        };
        let compressed = blocking(work).await??;
        self.put_object("save listing", key, compressed, Some(LIST_TAG)).await
    }

    /// Reads a listing that was kept; `None` when it is gone or cannot be read, for then it is made anew.
    pub async fn load_listing(&self, mailbox: &MailboxId, name: &str) -> Result<Option<Listing>> {
        let Some(compressed) = self.get_object("load listing", list_key(mailbox, name)?, None).await? else {
            return Ok(None);
        };
        blocking(move || {
            let bytes = decompress(&compressed)?;
            drop(compressed);
            Listing::from_bytes(&bytes)
        })
        .await
    }

    /// Deletes lists that nothing points at and that are older than a day, of a page of a thousand. Gives how
    /// many. Errors: no such mailbox.
    pub async fn sweep_lists(&self, mailbox: &MailboxId, now: Timestamp) -> Result<usize> {
        let sync = self.read_sync(mailbox).await?.ok_or(StoreError::NotFound { what: "mailbox" })?;
        let used = lists_of(&sync);
        let prefix = format!("{mailbox}/lists/");
        let answer = self
            .s3
            .list_objects_v2()
            .bucket(&self.config.bucket)
            .prefix(&prefix)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("sweep lists", &error))?;
        let oldest_kept = (now - SWEPT_AFTER).as_second();
        let mut swept = Vec::new();
        for object in answer.contents() {
            let Some(key) = object.key() else { continue };
            let is_used = key.strip_prefix(&prefix).is_some_and(|name| used.contains(name));
            let is_old = object.last_modified().is_some_and(|at| at.secs() < oldest_kept);
            if is_old && !is_used {
                let object = ObjectIdentifier::builder().key(key).build();
                swept.push(object.map_err(|_| StoreError::corrupt("object", "its key"))?);
            }
        }
        let count = swept.len();
        if count == 0 {
            return Ok(0);
        }
        let delete = Delete::builder().set_objects(Some(swept)).quiet(true).build();
        let delete = delete.map_err(|_| StoreError::corrupt("object", "its key"))?;
        let answer = self.s3.delete_objects().bucket(&self.config.bucket).delete(delete).send().await;
        let answer = answer.map_err(|error| StoreError::from_sdk("sweep lists", &error))?;
        Ok(count.saturating_sub(answer.errors().len()))
    }
}

/// The lists and listings that the open work points at.
fn lists_of(sync: &Sync) -> BTreeSet<&str> {
    let works = sync.progress.work.iter();
    works
        .flat_map(|work| [work.list.as_ref().map(|list| list.key.as_str()), work.listing.as_deref()])
        .flatten()
        .collect()
}

/// Under the mailbox's prefix, and never out of it.
fn list_key(mailbox: &MailboxId, name: &str) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if name.is_empty() || name.len() > 200 || !name.bytes().all(fits) || name.contains("..") {
        return Err(StoreError::corrupt("list", "its name"));
    }
    Ok(format!("{mailbox}/lists/{name}"))
}

/// What was compressed, unless it is broken or larger than a listing may be.
fn decompress(compressed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::new(compressed).ok()?;
    decoder.take(LISTING_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= LISTING_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_stays_under_its_mailbox() {
        let mailbox: MailboxId = "mbx_1".parse().expect("an id");
        assert_eq!(list_key(&mailbox, "7-3.ids").expect("a name"), "mbx_1/lists/7-3.ids");
        for bad in ["", "../mbx_2/raw/x", "a b", "a\n", &"x".repeat(201)] {
            assert!(list_key(&mailbox, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_listing_is_nothing() {
        assert_eq!(decompress(b"not compressed"), None);
        let bomb =
            zstd::encode_all(std::io::repeat(0).take(LISTING_BYTES_MAX as u64 + 1), 1).expect("compressed");
        assert_eq!(decompress(&bomb), None);
        let whole = zstd::encode_all(&b"bytes"[..], 1).expect("compressed");
        assert_eq!(decompress(&whole).as_deref(), Some(&b"bytes"[..]));
    }
}
