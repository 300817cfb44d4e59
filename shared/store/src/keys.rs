//! The keys of the single table, in one place. `docs/DATA-MODEL.md` says what each is for.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use sync_core::{EmailAddress, JobId, MailboxId, MessageId, TenantId, ThreadId, Timestamp};

use crate::{DUE_SHARDS, REGISTRY_SHARDS};

/// Prefixes of the sort keys inside a mailbox's partition.
pub(crate) const MESSAGE: &str = "MSG#";
pub(crate) const OWED: &str = "OWED#";
pub(crate) const JOB: &str = "JOB#";
pub(crate) const OPEN: &str = "OPEN#";
pub(crate) const EVENT: &str = "EVT#";
pub(crate) const MAILBOX: &str = "MAILBOX#";
pub(crate) const USAGE: &str = "USAGE#";
pub(crate) const AUDIT: &str = "AUDIT#";

/// Names of the indexes.
pub(crate) const INDEX_DUE: &str = "due";
pub(crate) const INDEX_BY_DATE: &str = "mail_by_date";
pub(crate) const INDEX_BY_THREAD: &str = "mail_by_thread";

/// A primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    /// As the SDK takes it.
    pub fn attributes(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            ("pk".to_owned(), AttributeValue::S(self.pk.clone())),
            ("sk".to_owned(), AttributeValue::S(self.sk.clone())),
        ])
    }
}

pub(crate) fn partition(mailbox: &MailboxId) -> String {
    format!("M#{mailbox}")
}

pub(crate) fn sync(mailbox: &MailboxId) -> Key {
    Key::new(partition(mailbox), "SYNC")
}

pub(crate) fn credential(mailbox: &MailboxId) -> Key {
    Key::new(partition(mailbox), "CRED")
}

pub(crate) fn message(mailbox: &MailboxId, id: MessageId) -> Key {
    Key::new(partition(mailbox), message_sk(id))
}

/// Fixed width, so that the order of the keys is the order of the ids.
pub(crate) fn message_sk(id: MessageId) -> String {
    format!("{MESSAGE}{:016x}", id.0)
}

pub(crate) fn owed(mailbox: &MailboxId, id: MessageId) -> Key {
    Key::new(partition(mailbox), format!("{OWED}{:016x}", id.0))
}

/// Fixed width, so that the order of the keys is the order of the sequence.
pub(crate) fn event_sk(seq: u64) -> String {
    format!("{EVENT}{seq:020}")
}

pub(crate) fn event(mailbox: &MailboxId, seq: u64) -> Key {
    Key::new(partition(mailbox), event_sk(seq))
}

/// The counters of live rows by label.
pub(crate) fn labels(mailbox: &MailboxId) -> Key {
    Key::new(partition(mailbox), "LABELS")
}

pub(crate) fn job(mailbox: &MailboxId, job: &JobId) -> Key {
    Key::new(partition(mailbox), format!("{JOB}{job}"))
}

pub(crate) fn open(mailbox: &MailboxId, job: &JobId) -> Key {
    Key::new(partition(mailbox), format!("{OPEN}{job}"))
}

pub(crate) fn tenant_partition(tenant: &TenantId) -> String {
    format!("T#{tenant}")
}

pub(crate) fn tenant(tenant: &TenantId) -> Key {
    Key::new(tenant_partition(tenant), "TENANT")
}

pub(crate) fn tenant_mailbox(tenant: &TenantId, mailbox: &MailboxId) -> Key {
    Key::new(tenant_partition(tenant), format!("{MAILBOX}{mailbox}"))
}

/// Makes a tenant's address unique.
pub(crate) fn tenant_address(tenant: &TenantId, address: &EmailAddress) -> Key {
    Key::new(tenant_partition(tenant), format!("ADDRESS#{}", address.as_str()))
}

pub(crate) fn address_partition(address: &EmailAddress) -> String {
    format!("A#{}", address.as_str())
}

pub(crate) fn address(address: &EmailAddress, mailbox: &MailboxId) -> Key {
    Key::new(address_partition(address), format!("{MAILBOX}{mailbox}"))
}

/// What an address has spent of its quota.
pub(crate) fn address_quota(address: &EmailAddress) -> Key {
    Key::new(format!("Q#{}", address.as_str()), "LEDGER")
}

/// What a part of the project has spent. A partition of its own each, so that none is hot.
pub(crate) fn project_quota(shard: u8) -> Key {
    Key::new(format!("Q#project#{shard}"), "PART")
}

pub(crate) fn token(sha256: &str) -> Key {
    Key::new(format!("K#{sha256}"), "TOKEN")
}

/// How often a token may still ask.
pub(crate) fn requests(token_sha256: &str) -> Key {
    Key::new(format!("K#{token_sha256}"), "REQUESTS")
}

/// A consent under way, by the SHA-256 of its state.
pub(crate) fn consent(sha256: &str) -> Key {
    Key::new(format!("S#{sha256}"), "CONSENT")
}

/// Who is at a task of the schedule.
pub(crate) fn task(name: &str) -> Key {
    Key::new(format!("TASK#{name}"), "CLAIM")
}

pub(crate) fn idempotency(tenant: &TenantId, key: &str) -> Key {
    Key::new(format!("I#{tenant}#{key}"), "JOB")
}

/// What a mailbox used on a day of Google's.
pub(crate) fn usage(mailbox: &MailboxId, date: &str) -> Key {
    Key::new(partition(mailbox), format!("{USAGE}{date}"))
}

/// A shard of what everybody used on that day.
pub(crate) fn project_usage(date: &str, shard: u8) -> Key {
    Key::new(format!("U#{date}"), format!("{USAGE}{date}#{shard}"))
}

/// A shard of the list of all mailboxes.
pub(crate) fn registry_partition(shard: u8) -> String {
    format!("R#{shard}")
}

/// A mailbox in the list of all mailboxes.
pub(crate) fn registry(mailbox: &MailboxId) -> Key {
    Key::new(registry_partition(shard(mailbox, REGISTRY_SHARDS)), format!("{MAILBOX}{mailbox}"))
}

/// Something that somebody did, in the order of time. `unique` tells two of one millisecond apart.
pub(crate) fn audit(tenant: &TenantId, at: Timestamp, unique: &str) -> Key {
    let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
    Key::new(tenant_partition(tenant), format!("{AUDIT}{ms:013}#{unique}"))
}

/// The shard of the `due` index that a mailbox's credential is in.
pub(crate) fn grant_shard(mailbox: &MailboxId) -> AttributeValue {
    AttributeValue::S(grant_shard_name(shard(mailbox, DUE_SHARDS)))
}

/// One of `0..DUE_SHARDS`, as the index names it for credentials.
pub(crate) fn grant_shard_name(shard: u8) -> String {
    format!("grant-{shard}")
}

/// The shard of the `due` index that a mailbox is in which changed since its last probe.
pub(crate) fn probe_shard(mailbox: &MailboxId) -> AttributeValue {
    AttributeValue::S(probe_shard_name(shard(mailbox, DUE_SHARDS)))
}

/// One of `0..DUE_SHARDS`, as the index names it for mailboxes that changed.
pub(crate) fn probe_shard_name(shard: u8) -> String {
    format!("probe-{shard}")
}

/// The shard of the `due` index that a mailbox is in.
pub(crate) fn due_shard(mailbox: &MailboxId) -> AttributeValue {
    AttributeValue::S(shard(mailbox, DUE_SHARDS).to_string())
}

/// One of so many shards, the same for ever. FNV-1a: stable, which `Hash` is not.
pub(crate) fn shard(mailbox: &MailboxId, shards: u8) -> u8 {
    let hash = mailbox
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    u8::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
}

/// Partition of the date index: live rows and tombstones apart.
pub(crate) fn mail_pk(mailbox: &MailboxId, deleted: bool) -> String {
    format!("{}#{mailbox}", if deleted { 'D' } else { 'L' })
}

pub(crate) fn thread_pk(mailbox: &MailboxId, thread: ThreadId) -> String {
    format!("{mailbox}#{:016x}", thread.0)
}

/// A place in the date order: milliseconds, then id. Orders as [`mail_sk`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub received_ms: u64,
    pub id: u64,
}

impl Position {
    /// Largest time that 13 digits hold: the year 2286.
    const MS_MAX: u64 = 9_999_999_999_999;
    pub const FIRST: Self = Self { received_ms: 0, id: 0 };
    pub const LAST: Self = Self { received_ms: Self::MS_MAX, id: u64::MAX };

    /// The first place of this time. A time outside of 13 digits is cut down to them: a forged date must
    /// not break the order of the others.
    pub fn at(time: Timestamp) -> Self {
        Self { received_ms: u64::try_from(time.as_millisecond()).unwrap_or(0).min(Self::MS_MAX), id: 0 }
    }

    pub fn of(time: Timestamp, id: MessageId) -> Self {
        Self { id: id.0, ..Self::at(time) }
    }

    /// The place just before, if there is one.
    pub fn before(self) -> Option<Self> {
        match (self.received_ms, self.id) {
            (0, 0) => None,
            (received_ms, 0) => Some(Self { received_ms: received_ms - 1, id: u64::MAX }),
            (received_ms, id) => Some(Self { received_ms, id: id - 1 }),
        }
    }

    /// As the index's sort key.
    pub fn mail_sk(self) -> String {
        format!("{:013}#{:016x}", self.received_ms, self.id)
    }

    pub fn parse(mail_sk: &str) -> Option<Self> {
        let (received_ms, id) = mail_sk.split_once('#')?;
        Some(Self { received_ms: received_ms.parse().ok()?, id: u64::from_str_radix(id, 16).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_order_as_numbers_do() {
        assert!(message_sk(MessageId(0x9)) < message_sk(MessageId(0x10)));
        assert!(event_sk(9) < event_sk(10) && event_sk(10) < event_sk(u64::MAX));
        let early = Position { received_ms: 999, id: u64::MAX };
        let late = Position { received_ms: 1_000, id: 0 };
        assert!(early.mail_sk() < late.mail_sk());
        assert_eq!(late.before(), Some(early));
        assert_eq!(Position::parse(&early.mail_sk()), Some(early));
        assert_eq!(Position::FIRST.before(), None);
    }

    #[test]
    fn a_date_before_1970_or_far_away_still_has_its_place() {
        assert_eq!(Position::at(Timestamp::MIN), Position::FIRST);
        assert_eq!(Position::at(Timestamp::MAX).received_ms, Position::MS_MAX);
    }

    #[test]
    fn every_mailbox_is_in_one_of_the_shards_and_they_spread() {
        let shards: std::collections::BTreeSet<String> = (0..200)
            .map(|n| due_shard(&format!("mbx_{n}").parse().expect("an id")).as_s().expect("text").clone())
            .collect();
        assert_eq!(shards.len(), usize::from(DUE_SHARDS));
    }
}
