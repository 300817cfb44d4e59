//! The lease and what others raise without it. Each method is one conditional update of `SYNC`.
//!
//! `target` and `asked` have conditions of their own, never one together: one condition for both reads
//! an older push as a free lease, and loops.

use sync_core::{
    Generation, HistoryId, MailboxId, Timestamp,
    sync::{Acquired, Released},
};

use crate::{
    Release, Store, StoreError,
    item::{Change, Fields, Item, number, text, time},
    keys,
    mailboxes::{due, sync_from},
    table::{Updated, new_token},
};

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Raises the target. Whether it was raised: not when it is there already, or the mailbox is not.
    pub async fn raise_target(&self, mailbox: &MailboxId, target: HistoryId) -> Result<bool> {
        let change = Change::default()
            .set("target", number(target))
            .when("attribute_exists(#pk) AND (attribute_not_exists(#target) OR #target < :target)");
        self.updated("raise target", mailbox, change).await
    }

    /// Lowers the target to `to`, if it is still `from`. Whether it was.
    pub async fn lower_target(&self, mailbox: &MailboxId, from: HistoryId, to: HistoryId) -> Result<bool> {
        let change =
            Change::default().set("target", number(to)).when("#target = :from").value(":from", number(from));
        self.updated("lower target", mailbox, change).await
    }

    /// Takes the lease until then, if it is free or lapsed at `now`. Never waits for the holder.
    ///
    /// `due_at` becomes `until`: when the holder dies, the fan-out finds the mailbox then.
    pub async fn acquire(
        &self,
        mailbox: &MailboxId,
        owner: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Acquired> {
        let token = new_token();
        let change = Change::default()
            .set("lease_owner", text(owner))
            .set("lease_until", time(until))
            .set("lease_token", text(&token))
            .add("generation", 1)
            .when("attribute_exists(#pk) AND (attribute_not_exists(#lease_until) OR #lease_until < :now)")
            .value(":now", time(now));
        let change = due(change, mailbox, Some(until));
        match self.update("acquire", &keys::sync(mailbox), change).await? {
            Updated::Done(item) => Ok(Acquired::Held(Box::new(sync_from(&item)?))),
            Updated::Refused(None) => Ok(Acquired::Unknown),
            // The answer to our own first try was lost, and the client's second one found our lease.
            Updated::Refused(Some(item)) if is_text(&item, "lease_token", &token) => {
                Ok(Acquired::Held(Box::new(sync_from(&item)?)))
            }
            Updated::Refused(Some(_)) => Ok(Acquired::Busy),
        }
    }

    /// Raises `asked` on condition that the lease is held at `now`. Whether it was: if not, acquire.
    pub async fn raise_asked(&self, mailbox: &MailboxId, now: Timestamp) -> Result<bool> {
        let change = Change::default().add("asked", 1).when("#lease_until >= :now").value(":now", time(now));
        self.updated("raise asked", mailbox, change).await
    }

    /// Gives work from outside: `asked` is raised and the mailbox due at that time, whatever the lease.
    /// The time is the present: a later one would hide a holder that dies.
    pub async fn ask(&self, mailbox: &MailboxId, due_at: Timestamp) -> Result<()> {
        let change = Change::default().add("asked", 1).when("attribute_exists(#pk)");
        self.update_existing("ask", mailbox, due(change, mailbox, Some(due_at))).await
    }

    /// Takes the mailbox from whoever holds it: the fence stops that one, and the mailbox is due now.
    pub async fn unlock(&self, mailbox: &MailboxId, now: Timestamp) -> Result<()> {
        let change = Change::default()
            .add("generation", 1)
            .add("asked", 1)
            .remove("lease_owner")
            .remove("lease_until")
            .remove("lease_token")
            .set("updated_at", time(now))
            .when("attribute_exists(#pk)");
        self.update_existing("unlock", mailbox, due(change, mailbox, Some(now))).await
    }

    /// Gives the lease back, if nobody has asked since.
    pub async fn release(&self, mailbox: &MailboxId, release: &Release) -> Result<Released> {
        let mut change = Change::default()
            .remove("lease_owner")
            .remove("lease_until")
            .remove("lease_token")
            .when("#generation = :held AND attribute_exists(#lease_until) AND #asked = :seen")
            .value(":held", number(release.generation.0))
            .value(":seen", number(release.asked));
        if let Some(status) = release.status {
            change = change.set("status", text(status.name()));
        }
        if let Some(version) = release.credential_version {
            change = change.when("#credential_version = :version").value(":version", number(version));
        }
        match self.update("release", &keys::sync(mailbox), due(change, mailbox, release.due_at)).await? {
            Updated::Done(_) => Ok(Released::Free),
            Updated::Refused(None) => Ok(Released::Fenced),
            Updated::Refused(Some(item)) => {
                let fields = Fields::new("SYNC", &item);
                if Generation(fields.number("generation")?) != release.generation {
                    return Ok(Released::Fenced);
                }
                // Ours, and free: the answer to our own first try was lost.
                let held = fields.optional_time("lease_until")?.is_some();
                Ok(if held { Released::AskedAgain } else { Released::Free })
            }
        }
    }

    /// A change of `SYNC` whose refusal is an answer.
    async fn updated(&self, operation: &'static str, mailbox: &MailboxId, change: Change) -> Result<bool> {
        match self.update(operation, &keys::sync(mailbox), change).await? {
            Updated::Done(_) => Ok(true),
            Updated::Refused(_) => Ok(false),
        }
    }
}

/// Whether the item has this text there.
pub(crate) fn is_text(item: &Item, name: &str, value: &str) -> bool {
    item.get(name).and_then(|found| found.as_s().ok()).is_some_and(|found| found == value)
}
