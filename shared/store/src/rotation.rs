//! Rotating the encryption key without a pause.
//!
//! A new key is added and made current in one conditional write of the secret; every credential is sealed anew; the
//! old key goes when nothing can need it any more. Invariant: no key leaves the secret while something is sealed with
//! it. Whoever seals has read the secret within the last [`KEYS_KEPT`](crate::KEYS_KEPT), and a consent under way lives
//! for ten minutes, so a walk that begins after both and finds nothing to do is the proof. Every step may be repeated:
//! a walk that was broken off leaves less to the next one. Deliberately absent: waiting; the caller comes again.

use secrecy::ExposeSecret as _;
use sync_core::{MailboxId, SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::{
    DUE_SHARDS, Store, StoreError,
    credentials::{ACCESS_TOKEN, secret_attribute, unchanged},
    item::{Change, Fields},
    keys,
    tenants::random_secret,
    vault::{KeyTexts, key_of},
};

type Result<T> = std::result::Result<T, StoreError>;

/// How often a credential is tried that others write just now; the next walk has another chance.
const RESEAL_TRIES: u32 = 3;

/// Most walks of one call: each leaves to the next only what was written while it went.
const WALKS_MAX: u32 = 3;

/// How far a rotation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationStage {
    /// There is one key, and it stays.
    Idle,
    /// Everything is sealed with the new key. The old one goes when the same is called after this.
    Waiting(Timestamp),
    /// Others wrote whenever some credential was tried: call again.
    Busy,
    /// These keys are gone.
    Finished(Vec<String>),
}

/// What a call of [`Store::rotate_key`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The key that everything is sealed with.
    pub current: String,
    /// Credentials that were looked at in the last walk.
    pub checked: u64,
    /// Credentials that were sealed anew.
    pub resealed: u64,
    /// How far it is.
    pub stage: RotationStage,
}

/// Names of the encryption keys, never their texts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyNames {
    /// What everything is sealed with from now on.
    current: String,
    /// Those that only open what was sealed before.
    old: Vec<String>,
    /// Since when it is so.
    since: Timestamp,
}

/// How far a walk over the sealed credentials came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Walk {
    /// Credentials looked at.
    checked: u64,
    /// Those that are sealed with the current key now and were not.
    changed: u64,
    /// Those that others wrote whenever we tried: the next walk finds them.
    busy: u64,
    /// Where the next page begins; `None` at the end of the shard.
    next: Option<String>,
}

/// What came of one credential.
enum One {
    Current,
    Resealed,
    Busy,
}

impl Store {
    /// Rotates the key as far as it can be at `now`: begins unless one is under way (and `may_begin`), seals everything
    /// anew, and removes the old key once `grace` is over since the new one became current. `grace` is at least the
    /// five minutes of a cache and the ten of a consent.
    pub async fn rotate_key(
        &self,
        may_begin: bool,
        grace: SignedDuration,
        now: Timestamp,
    ) -> Result<Rotated> {
        let keys = if may_begin { self.add_key().await? } else { self.key_names().await? };
        let mut rotated =
            Rotated { current: keys.current.clone(), checked: 0, resealed: 0, stage: RotationStage::Idle };
        if keys.old.is_empty() {
            return Ok(rotated);
        }
        let removable_at = keys.since.saturating_add(grace).unwrap_or(Timestamp::MAX);
        for _ in 0..WALKS_MAX {
            let walk = self.reseal_all().await?;
            rotated.checked = walk.checked;
            rotated.resealed += walk.changed;
            rotated.stage = RotationStage::Busy;
            if walk.busy > 0 {
                continue;
            }
            if now < removable_at {
                rotated.stage = RotationStage::Waiting(removable_at);
                break;
            }
            // What was sealed anew just now may have moved past the walk: only one that finds nothing proves it.
            if walk.changed == 0 {
                self.remove_old_keys(&keys).await?;
                rotated.stage = RotationStage::Finished(keys.old);
                break;
            }
        }
        Ok(rotated)
    }

    async fn reseal_all(&self) -> Result<Walk> {
        let mut total = Walk::default();
        for shard in 0..DUE_SHARDS {
            let mut cursor = None;
            loop {
                let page = self.reseal(shard, cursor.as_deref()).await?;
                total.checked += page.checked;
                total.changed += page.changed;
                total.busy += page.busy;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(total)
    }

    /// The names of the keys, as the secret has them now.
    async fn key_names(&self) -> Result<KeyNames> {
        self.vault.key_texts().await.map(|keys| names(&keys))
    }

    /// Adds a key and makes it current, unless there is more than one already: then a rotation is under way, and goes
    /// on.
    async fn add_key(&self) -> Result<KeyNames> {
        let read = self.vault.key_texts().await?;
        if read.texts.len() > 1 {
            return Ok(names(&read));
        }
        let id = next_id(&read);
        let mut texts = read.texts.clone();
        texts.insert(id.clone(), Zeroizing::new(random_secret()?.expose_secret().to_owned()));
        if !self.vault.replace_keys(&read.version, &id, &texts).await? {
            return Err(StoreError::Busy { operation: "add an encryption key" });
        }
        self.key_names().await
    }

    /// Seals with the current key what one page of a shard's credentials has sealed with another.
    async fn reseal(&self, shard: u8, cursor: Option<&str>) -> Result<Walk> {
        let page = self.sealed(shard, cursor).await?;
        let current = self.key_names().await?.current;
        let mut done = Walk { next: page.next, ..Walk::default() };
        for mailbox in &page.items {
            done.checked += 1;
            match self.reseal_one(mailbox, &current).await? {
                One::Current => {}
                One::Resealed => done.changed += 1,
                One::Busy => done.busy += 1,
            }
        }
        Ok(done)
    }

    async fn reseal_one(&self, mailbox: &MailboxId, current: &str) -> Result<One> {
        for _ in 0..RESEAL_TRIES {
            let Some(item) = self.get("reseal", &keys::credential(mailbox)).await? else {
                return Ok(One::Current);
            };
            let attribute = secret_attribute(Fields::new("credential", &item).nested("kind")?);
            let mut old = Vec::new();
            for name in [attribute, ACCESS_TOKEN] {
                if let Some(sealed) = item.get(name)
                    && key_of(name, sealed)? != current
                {
                    old.push((name, sealed));
                }
            }
            if old.is_empty() {
                return Ok(One::Current);
            }
            let read = self.open_credential(mailbox, &item).await?;
            // A grant or a refresh that comes meanwhile wins: it is newer, and sealed anew itself.
            let mut change = unchanged(Change::default(), &read);
            for (name, sealed) in old {
                let secret = self.vault.open(mailbox.as_str(), name, sealed).await?;
                change = change.set(name, self.vault.seal(mailbox.as_str(), name, &secret).await?);
            }
            if self.credential_update("reseal", mailbox, change).await? {
                return Ok(One::Resealed);
            }
        }
        Ok(One::Busy)
    }

    /// Takes all keys but the current one out of the secret, on condition that it is still the one of these names.
    /// Only after a walk that found nothing to do and began later than anybody could have sealed with them.
    async fn remove_old_keys(&self, seen: &KeyNames) -> Result<KeyNames> {
        let read = self.vault.key_texts().await?;
        if names(&read) != *seen {
            return Err(StoreError::Busy { operation: "remove an encryption key" });
        }
        let mut texts = read.texts.clone();
        texts.retain(|id, _| *id == read.current);
        if !self.vault.replace_keys(&read.version, &read.current, &texts).await? {
            return Err(StoreError::Busy { operation: "remove an encryption key" });
        }
        self.vault.forget_previous(&read.version).await?;
        self.key_names().await
    }
}

fn names(keys: &KeyTexts) -> KeyNames {
    let old = keys.texts.keys().filter(|id| **id != keys.current).cloned().collect();
    KeyNames { current: keys.current.clone(), old, since: keys.since }
}

/// `k2` after `k1`; a name that is not of that form is followed by `k1`.
fn next_id(keys: &KeyTexts) -> String {
    let number = |id: &String| id.strip_prefix('k').and_then(|number| number.parse::<u32>().ok());
    let last = keys.texts.keys().filter_map(number).max().unwrap_or(0);
    format!("k{}", last.saturating_add(1))
}
