//! Raw mail that no row names any more, and how it goes.
//!
//! Invariant: a body that a row names, or that is younger than a day, is never deleted. Bodies are put before their
//! row, and always anew, so whatever is about to be named is young. Between the look at a body's age and its
//! deletion it might be put again: so the mailbox's lease is held from the one to the other, and nobody who could
//! commit such a row is at work. Deliberately absent: an index of bodies by row; retention reads all rows anyway.

use aws_sdk_s3::types::{Delete, Object, ObjectIdentifier};
use sync_core::{
    Generation, MailboxId, SignedDuration, Timestamp,
    state::Sync,
    sync::{Acquired, Released},
};

use crate::{Release, Store, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How old a body is at least that is deleted.
const SWEPT_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// How long the lease is taken for: two calls of S3, with room to spare.
const HELD: SignedDuration = SignedDuration::from_secs(60);
/// How often the lease is given back while others keep asking.
const HAND_BACK_TRIES: u32 = 5;
/// Where bodies lie: raw mail, and trees of parts.
const FOLDERS: [&str; 2] = ["/raw/", "/parts/"];
/// Most bodies that are remembered, 8 bytes each: 80 MB. A larger mailbox keeps its orphans.
const KNOWN_MAX: usize = 10_000_000;

/// Beginnings of the hashes of all bodies that rows name. Two that begin alike keep each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownBodies(Vec<u64>);

impl KnownBodies {
    /// Notes a body.
    pub fn insert(&mut self, sha256: &str) {
        // One more than fits says that not all are known.
        if self.0.len() <= KNOWN_MAX {
            self.0.extend(beginning(sha256));
        }
    }

    /// All bodies are noted: they can be asked for. Whether there are few enough to know them all.
    pub fn finish(&mut self) -> bool {
        let all = self.0.len() <= KNOWN_MAX;
        self.0.sort_unstable();
        self.0.dedup();
        all
    }

    /// Whether a row names it; one whose name is no hash is never ours to judge.
    fn has(&self, sha256: &str) -> bool {
        beginning(sha256).is_none_or(|hash| self.0.binary_search(&hash).is_ok())
    }
}

fn beginning(sha256: &str) -> Option<u64> {
    (sha256.len() == 64).then(|| sha256.get(..16)).flatten().and_then(|hex| u64::from_str_radix(hex, 16).ok())
}

/// What came of one page of bodies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodySweep {
    /// How many were deleted.
    pub swept: usize,
    /// Somebody works on the mailbox: the rest is for another day.
    pub busy: bool,
    /// The mailbox was asked for while its lease was held: somebody must look now.
    pub asked: bool,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

impl Store {
    /// Deletes, of a page of a thousand objects, bodies that are not `known` and a day older than `now`, which is when the
    /// reading of `known` began: what a row came to name since is younger.
    pub async fn sweep_bodies(
        &self,
        mailbox: &MailboxId,
        known: &KnownBodies,
        cursor: Option<&str>,
        owner: &str,
        now: Timestamp,
    ) -> Result<BodySweep> {
        let (objects, next) = self.bodies(mailbox, cursor).await?;
        let mut sweep = BodySweep { next, ..BodySweep::default() };
        let orphan = |object: &Object| is_orphan(mailbox, known, object, now);
        if !objects.iter().any(orphan) {
            return Ok(sweep);
        }
        let Some(before) = self.read_sync(mailbox).await? else { return Ok(sweep) };
        let held = self.acquire(mailbox, owner, Timestamp::now() + HELD, Timestamp::now()).await?;
        let Acquired::Held(sync) = held else { return Ok(BodySweep { busy: true, ..sweep }) };
        // Looked at again: what was put anew meanwhile is young now.
        let deleted = match self.bodies(mailbox, cursor).await {
            Ok((objects, _)) => self.delete_bodies(objects.iter().filter(|object| orphan(object))).await,
            Err(error) => Err(error),
        };
        sweep.asked = self.hand_back(&before, sync.generation).await?;
        sweep.swept = deleted?;
        Ok(sweep)
    }

    /// Gives the lease back, and the mailbox is due when it was before. Whether somebody has asked for it since: then it is
    /// due now. A lease that cannot be given back lapses within a minute.
    async fn hand_back(&self, before: &Sync, generation: Generation) -> Result<bool> {
        let (mut seen, mut asked) = (before.asked, false);
        for _ in 0..HAND_BACK_TRIES {
            let due_at = if asked { Some(Timestamp::now()) } else { before.due_at };
            let release = Release { generation, asked: seen, due_at, status: None, credential_version: None };
            match self.release(&before.mailbox, &release).await? {
                Released::Free | Released::Fenced => return Ok(asked),
                Released::AskedAgain => {
                    asked = true;
                    seen = self.read_sync(&before.mailbox).await?.map_or(seen, |sync| sync.asked);
                }
            }
        }
        Ok(true)
    }

    async fn bodies(
        &self,
        mailbox: &MailboxId,
        cursor: Option<&str>,
    ) -> Result<(Vec<Object>, Option<String>)> {
        let prefix = format!("{mailbox}/");
        // By the last key and not by S3's token, which lasts no longer than a visit.
        let answer = self
            .s3
            .list_objects_v2()
            .bucket(&self.config.bucket)
            .prefix(&prefix)
            .set_start_after(cursor.map(|name| format!("{prefix}{name}")))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("list bodies", &error))?;
        let more = answer.is_truncated().unwrap_or(false);
        let objects = answer.contents.unwrap_or_default();
        let last = objects.last().and_then(|object| object.key()?.strip_prefix(&prefix));
        let next = last.filter(|_| more).map(str::to_owned);
        Ok((objects, next))
    }

    async fn delete_bodies(&self, objects: impl Iterator<Item = &Object>) -> Result<usize> {
        let mut named = Vec::new();
        for object in objects {
            let name = ObjectIdentifier::builder().set_key(object.key().map(str::to_owned)).build();
            named.push(name.map_err(|_| StoreError::corrupt("object", "its key"))?);
        }
        if named.is_empty() {
            return Ok(0);
        }
        let count = named.len();
        let delete = Delete::builder().set_objects(Some(named)).quiet(true).build();
        let delete = delete.map_err(|_| StoreError::corrupt("object", "its key"))?;
        let answer = self.s3.delete_objects().bucket(&self.config.bucket).delete(delete).send().await;
        let answer = answer.map_err(|error| StoreError::from_sdk("sweep bodies", &error))?;
        Ok(count.saturating_sub(answer.errors().len()))
    }
}

/// Whether an object is a body of ours, old, and named by no row. What has another form of name is not ours to judge.
fn is_orphan(mailbox: &MailboxId, known: &KnownBodies, object: &Object, now: Timestamp) -> bool {
    let hash = object.key().and_then(|key| {
        let name = key.strip_prefix(mailbox.as_str())?;
        FOLDERS.iter().find_map(|folder| name.strip_prefix(folder))?.strip_suffix(".zst")
    });
    let is_old = object.last_modified().is_some_and(|at| at.secs() < (now - SWEPT_AFTER).as_second());
    is_old && hash.is_some_and(|hash| !known.has(hash))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::DateTime;

    use super::*;

    #[test]
    fn only_an_old_body_that_no_row_names_is_an_orphan() {
        let mailbox: MailboxId = "mbx_1".parse().expect("an id");
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let (named, unnamed) = ("a".repeat(64), "b".repeat(64));
        let mut known = KnownBodies::default();
        known.insert(&named);
        assert!(known.finish());
        let judged = |key: &str, hours: i64| {
            let at = DateTime::from_secs((now - SignedDuration::from_hours(hours)).as_second());
            is_orphan(&mailbox, &known, &Object::builder().key(key).last_modified(at).build(), now)
        };
        assert!(judged(&format!("mbx_1/raw/{unnamed}.zst"), 25));
        assert!(judged(&format!("mbx_1/parts/{unnamed}.zst"), 25));
        assert!(!judged(&format!("mbx_1/raw/{unnamed}.zst"), 23), "its row may be about to be written");
        assert!(!judged(&format!("mbx_1/raw/{named}.zst"), 25));
        for foreign in ["mbx_1/lists/1-1", "mbx_1/raw/readme", "mbx_2/raw/x.zst"] {
            assert!(!judged(foreign, 1_000), "{foreign}");
        }
    }
}
