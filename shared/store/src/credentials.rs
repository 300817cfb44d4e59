//! A mailbox's credential: encrypted in its own item, versioned on `SYNC`.
//!
//! A new grant is a new version; what a worker does on behalf of an old one (save an access token, say that it was
//! refused, park the mailbox) is refused by the version. Refreshing is one caller's at a time, across workers and
//! API: a claim on the item that lapses by itself. Every credential is in the index `due`, ordered by when its access
//! token lapses, those that nobody refreshes at the far end, so that whoever rotates keys can walk all of them.

use secrecy::SecretString;
use sync_core::{
    MailboxId, Timestamp,
    state::{CredentialKind, Status},
};

use crate::{
    Claimed, Credential, NewCredential, Page, Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, text, time},
    keys,
    mailboxes::{cancelled, due},
    table::{Transacted, Updated, new_token},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Two new grants at once: how often the later one tries again.
const SAVE_TRIES: u32 = 5;
/// Where a credential stands in the index that nobody refreshes: after all that lapse.
const NEVER: i64 = 9_999_999_999_999;

pub(crate) const ACCESS_TOKEN: &str = "access_token";

/// The attribute that holds the long-lived secret.
pub(crate) fn secret_attribute(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Oauth => "refresh_token",
        CredentialKind::ServiceAccount => "service_account",
    }
}

impl Store {
    /// Saves a new grant and gives its version. A mailbox that needed it is active again, asked for and
    /// due at once.
    pub async fn save_credential(
        &self,
        mailbox: &MailboxId,
        credential: &NewCredential,
        now: Timestamp,
    ) -> Result<u64> {
        for _ in 0..SAVE_TRIES {
            let sync = self.read_sync(mailbox).await?.ok_or(StoreError::NotFound { what: "mailbox" })?;
            let version = sync.credential_version + 1;
            let mut change = Change::default()
                .set("credential_version", number(version))
                .set("credential_kind", nested("credential", &credential.kind)?)
                .set("updated_at", time(now))
                .when("#credential_version = :read AND #status = :status_read")
                .value(":read", number(sync.credential_version))
                .value(":status_read", text(sync.status.name()));
            if sync.status == Status::NeedsReauth {
                change = change.set("status", text(Status::Active.name())).add("asked", 1);
                change = due(change, mailbox, Some(now));
            }
            let item = self.credential_item(mailbox, credential, version, now).await?;
            let transacted = self
                .transact(
                    "save credential",
                    vec![
                        self.transact_update(&keys::sync(mailbox), &change)?,
                        self.transact_put(&keys::credential(mailbox), item, &Change::default())?,
                    ],
                )
                .await?;
            match &transacted {
                Transacted::Done => return Ok(version),
                Transacted::Cancelled(_) if transacted.refused_at(0) => {}
                Transacted::Cancelled(reasons) => return Err(cancelled("save credential", reasons)),
            }
        }
        Err(StoreError::Busy { operation: "save credential" })
    }

    async fn credential_item(
        &self,
        mailbox: &MailboxId,
        credential: &NewCredential,
        version: u64,
        now: Timestamp,
    ) -> Result<Item> {
        let (owner, attribute) = (mailbox.as_str(), secret_attribute(credential.kind));
        let secret = self.vault.seal(owner, attribute, &credential.secret).await?;
        // Without an access token it is to be refreshed at once.
        let lapses = credential.expires_at.filter(|_| credential.access_token.is_some()).unwrap_or(now);
        let mut item = Item::from([
            ("v".to_owned(), number(SCHEMA_VERSION)),
            ("kind".to_owned(), nested("credential", &credential.kind)?),
            ("scopes".to_owned(), nested("credential", &credential.scopes)?),
            ("version".to_owned(), number(version)),
            ("updated_at".to_owned(), time(now)),
            ("refreshed_at".to_owned(), time(now)),
            ("due_shard".to_owned(), keys::grant_shard(mailbox)),
            ("due_at".to_owned(), time(lapses)),
            (attribute.to_owned(), secret),
        ]);
        if let Some(token) = &credential.access_token {
            item.insert(ACCESS_TOKEN.to_owned(), self.vault.seal(owner, ACCESS_TOKEN, token).await?);
            item.extend(credential.expires_at.map(|at| ("expires_at".to_owned(), time(at))));
        }
        Ok(item)
    }

    /// The credential, decrypted.
    pub async fn read_credential(&self, mailbox: &MailboxId) -> Result<Option<Credential>> {
        let Some(item) = self.get("read credential", &keys::credential(mailbox)).await? else {
            return Ok(None);
        };
        self.open_credential(mailbox, &item).await.map(Some)
    }

    pub(crate) async fn open_credential(&self, mailbox: &MailboxId, item: &Item) -> Result<Credential> {
        let fields = Fields::new("credential", item);
        let kind = fields.nested("kind")?;
        let attribute = secret_attribute(kind);
        let sealed = item.get(attribute);
        let sealed =
            sealed.ok_or_else(|| StoreError::corrupt("credential", format!("attribute {attribute}")))?;
        let access_token = match item.get(ACCESS_TOKEN) {
            Some(sealed) => Some(self.vault.open(mailbox.as_str(), ACCESS_TOKEN, sealed).await?),
            None => None,
        };
        Ok(Credential {
            kind,
            secret: self.vault.open(mailbox.as_str(), attribute, sealed).await?,
            access_token,
            expires_at: fields.optional_time("expires_at")?,
            scopes: fields.optional_nested("scopes")?.unwrap_or_default(),
            version: fields.number("version")?,
            refreshes: fields.optional_number("refreshes")?.unwrap_or(0),
            refreshed_at: fields.optional_time("refreshed_at")?,
            refused_at: fields.optional_time("refused_at")?,
        })
    }

    /// Claims the refresh of a credential that was just read, until then. Of all who read the same, one has it; and
    /// whoever read it before the last refresh has not.
    pub async fn claim_refresh(
        &self,
        mailbox: &MailboxId,
        read: &Credential,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Claimed> {
        let claim = new_token();
        let change = unchanged(Change::default(), read)
            .set("refreshing_until", time(until))
            .set("refreshing_by", text(&claim))
            .when("attribute_not_exists(#refreshing_until) OR #refreshing_until < :now")
            .value(":now", time(now));
        match self.update("claim refresh", &keys::credential(mailbox), change).await? {
            Updated::Done(_) => Ok(Claimed::Ours(claim)),
            Updated::Refused(None) => Ok(Claimed::Changed),
            Updated::Refused(Some(item)) => {
                let fields = Fields::new("credential", &item);
                // The answer to our own first try was lost.
                if fields.optional_text("refreshing_by")? == Some(claim.as_str()) {
                    return Ok(Claimed::Ours(claim));
                }
                let same = fields.number::<u64>("version")? == read.version
                    && fields.optional_number("refreshes")?.unwrap_or(0) == read.refreshes;
                let until = fields.optional_time("refreshing_until")?.filter(|until| same && *until >= now);
                Ok(until.map_or(Claimed::Changed, Claimed::Held))
            }
        }
    }

    /// Gives a claim back that came to nothing, so that nobody waits for it to lapse.
    pub async fn release_refresh(&self, mailbox: &MailboxId, claim: &str) -> Result<()> {
        let change = Change::default()
            .remove("refreshing_until")
            .remove("refreshing_by")
            .when("#refreshing_by = :claim")
            .value(":claim", text(claim));
        self.update("release refresh", &keys::credential(mailbox), change).await.map(drop)
    }

    /// Saves a fresh access token and ends the claim. The grant's own secret is sealed anew with it: after a key
    /// rotation that is one credential less to walk to. Whether it was saved: not when there is a newer grant.
    pub async fn save_access_token(
        &self,
        mailbox: &MailboxId,
        read: &Credential,
        token: &SecretString,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        let (owner, attribute) = (mailbox.as_str(), secret_attribute(read.kind));
        let change = of_version(Change::default(), read.version)
            .set(ACCESS_TOKEN, self.vault.seal(owner, ACCESS_TOKEN, token).await?)
            .set(attribute, self.vault.seal(owner, attribute, &read.secret).await?)
            .set("expires_at", time(expires_at))
            .set("refreshed_at", time(now))
            .set("due_at", time(expires_at))
            .set("due_shard", keys::grant_shard(mailbox))
            .add("refreshes", 1)
            .remove("refreshing_until")
            .remove("refreshing_by");
        self.credential_update("save access token", mailbox, change).await
    }

    /// Notes that Google has refused the grant for good: nobody asks with it again. Whether it was noted: not when
    /// there is a newer grant.
    pub async fn refuse_credential(&self, mailbox: &MailboxId, version: u64, now: Timestamp) -> Result<bool> {
        let change = resting(of_version(Change::default(), version), mailbox)
            .set("refused_at", time(now))
            .remove("refreshing_until")
            .remove("refreshing_by");
        self.credential_update("refuse credential", mailbox, change).await
    }

    /// Takes a credential out of the hourly refresh, until it is used again: its mailbox is not synced.
    pub async fn rest_credential(&self, mailbox: &MailboxId, version: u64) -> Result<bool> {
        let change = resting(of_version(Change::default(), version), mailbox);
        self.credential_update("rest credential", mailbox, change).await
    }

    /// Mailboxes whose access tokens lapse until then, of one of the shards `0..DUE_SHARDS`, earliest first, at most
    /// 500 a page. Read from an index, so it may be a moment old.
    pub async fn lapsing(
        &self,
        until: Timestamp,
        shard: u8,
        cursor: Option<&str>,
    ) -> Result<Page<MailboxId>> {
        self.due_page(&keys::grant_shard_name(shard), "CRED", until, cursor).await
    }

    /// Every mailbox with a credential, as [`Store::lapsing`] gives them.
    pub(crate) async fn sealed(&self, shard: u8, cursor: Option<&str>) -> Result<Page<MailboxId>> {
        let end = Timestamp::from_millisecond(NEVER).unwrap_or(Timestamp::MAX);
        self.lapsing(end, shard, cursor).await
    }

    pub(crate) async fn credential_update(
        &self,
        operation: &'static str,
        mailbox: &MailboxId,
        change: Change,
    ) -> Result<bool> {
        match self.update(operation, &keys::credential(mailbox), change).await? {
            Updated::Done(_) => Ok(true),
            Updated::Refused(_) => Ok(false),
        }
    }

    /// Forgets the credential.
    pub async fn delete_credential(&self, mailbox: &MailboxId) -> Result<()> {
        self.delete("delete credential", &keys::credential(mailbox)).await
    }
}

/// On condition that there is no newer grant.
fn of_version(change: Change, version: u64) -> Change {
    change.when("#version = :of").value(":of", number(version))
}

/// On condition that neither a new grant nor a refresh has come since it was read.
pub(crate) fn unchanged(change: Change, read: &Credential) -> Change {
    let change = of_version(change, read.version);
    if read.refreshes == 0 {
        return change.when("attribute_not_exists(#refreshes)");
    }
    change.when("#refreshes = :refreshes_read").value(":refreshes_read", number(read.refreshes))
}

fn resting(change: Change, mailbox: &MailboxId) -> Change {
    change.set("due_at", number(NEVER)).set("due_shard", keys::grant_shard(mailbox))
}
