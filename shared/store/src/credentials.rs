//! A mailbox's credential: encrypted in its own item, versioned on `SYNC`.
//!
//! A new grant is a new version; what a worker does on behalf of an old one (save an access token, park
//! the mailbox) is refused by the version.

use secrecy::SecretString;
use sync_core::{MailboxId, Timestamp, state::Status};

use crate::{
    Credential, NewCredential, Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, text, time},
    keys,
    mailboxes::{cancelled, due},
    table::{Transacted, Updated},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Two new grants at once: how often the later one tries again.
const SAVE_TRIES: u32 = 5;

const REFRESH_TOKEN: &str = "refresh_token";
const ACCESS_TOKEN: &str = "access_token";

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
        let refresh_token = self.vault.seal(mailbox, REFRESH_TOKEN, &credential.refresh_token).await?;
        let mut item = Item::from([
            ("v".to_owned(), number(SCHEMA_VERSION)),
            ("kind".to_owned(), nested("credential", &credential.kind)?),
            ("scopes".to_owned(), nested("credential", &credential.scopes)?),
            ("version".to_owned(), number(version)),
            ("updated_at".to_owned(), time(now)),
            (REFRESH_TOKEN.to_owned(), refresh_token),
        ]);
        if let Some(token) = &credential.access_token {
            item.insert(ACCESS_TOKEN.to_owned(), self.vault.seal(mailbox, ACCESS_TOKEN, token).await?);
            item.extend(credential.expires_at.map(|at| ("expires_at".to_owned(), time(at))));
        }
        Ok(item)
    }

    /// The credential, decrypted.
    pub async fn read_credential(&self, mailbox: &MailboxId) -> Result<Option<Credential>> {
        let Some(item) = self.get("read credential", &keys::credential(mailbox)).await? else {
            return Ok(None);
        };
        let fields = Fields::new("credential", &item);
        let sealed = item.get(REFRESH_TOKEN);
        let sealed = sealed.ok_or_else(|| StoreError::corrupt("credential", "attribute refresh_token"))?;
        let access_token = match item.get(ACCESS_TOKEN) {
            Some(sealed) => Some(self.vault.open(mailbox, ACCESS_TOKEN, sealed).await?),
            None => None,
        };
        Ok(Some(Credential {
            kind: fields.nested("kind")?,
            refresh_token: self.vault.open(mailbox, REFRESH_TOKEN, sealed).await?,
            access_token,
            expires_at: fields.optional_time("expires_at")?,
            scopes: fields.optional_nested("scopes")?.unwrap_or_default(),
            version: fields.number("version")?,
        }))
    }

    /// Saves a fresh access token. Whether it was saved: not when there is a newer grant.
    pub async fn save_access_token(
        &self,
        mailbox: &MailboxId,
        version: u64,
        token: &SecretString,
        expires_at: Timestamp,
    ) -> Result<bool> {
        let change = Change::default()
            .set(ACCESS_TOKEN, self.vault.seal(mailbox, ACCESS_TOKEN, token).await?)
            .set("expires_at", time(expires_at))
            .when("#version = :of")
            .value(":of", number(version));
        match self.update("save access token", &keys::credential(mailbox), change).await? {
            Updated::Done(_) => Ok(true),
            Updated::Refused(_) => Ok(false),
        }
    }

    /// Forgets the credential.
    pub async fn delete_credential(&self, mailbox: &MailboxId) -> Result<()> {
        self.delete("delete credential", &keys::credential(mailbox)).await
    }
}
