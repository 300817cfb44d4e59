//! Mailboxes: connecting, finding, parking, and the index of those that are due.
//!
//! One mailbox for a tenant and an address, guaranteed by the key `ADDRESS#` of the tenant's partition.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use sync_core::{
    EmailAddress, Generation, MailboxId, TenantId, Timestamp,
    state::{Aliases, Content, Lease, Progress, Status, Sync, Totals},
};

use crate::{
    Created, NewMailbox, Page, StatusChange, Store, StoreError,
    item::{Change, Fields, Item, SCHEMA_VERSION, nested, number, text, time},
    keys, labels, paging,
    table::{Transacted, Updated},
};

type Result<T> = std::result::Result<T, StoreError>;

/// How often two connects of one address at once are sorted out.
const CONNECT_TRIES: u32 = 3;
/// Most mailboxes one page of the fan-out holds.
const DUE_PAGE: i32 = 500;
/// Most mailboxes of one page of a tenant's.
const TENANT_PAGE_MAX: u32 = 500;

impl Store {
    /// Connects a mailbox, or finds it connected. A deactivated one becomes active again, with its rows
    /// and its cursor. Nothing is due until [`Store::due_by`], [`Store::ask`] or [`Store::create_request`].
    pub async fn create_mailbox(&self, new: &NewMailbox) -> Result<Created> {
        for _ in 0..CONNECT_TRIES {
            if let Some(mailbox) = self.mailbox_of_address(&new.tenant, &new.address).await? {
                self.reactivate(&mailbox, new).await?;
                self.register(&mailbox, new).await?;
                return Ok(Created::Exists(mailbox));
            }
            let id = format!("mbx_{}", uuid::Uuid::now_v7().simple());
            let mailbox: MailboxId = id.parse().map_err(|_| StoreError::corrupt("mailbox", "new id"))?;
            if self.insert_mailbox(&mailbox, new).await? {
                return Ok(Created::New(mailbox));
            }
            // Somebody connected the same address in between: find theirs.
        }
        Err(StoreError::Busy { operation: "create mailbox" })
    }

    /// Whether it was inserted; false when the address is taken.
    async fn insert_mailbox(&self, mailbox: &MailboxId, new: &NewMailbox) -> Result<bool> {
        let absent = Change::default().when("attribute_not_exists(#pk)");
        let named = || {
            Item::from([
                ("v".to_owned(), number(SCHEMA_VERSION)),
                ("mailbox".to_owned(), text(mailbox.as_str())),
                ("tenant".to_owned(), text(new.tenant.as_str())),
                ("created_at".to_owned(), time(new.now)),
            ])
        };
        let mut sync = named();
        sync.extend([
            ("address".to_owned(), text(new.address.as_str())),
            ("status".to_owned(), text(Status::Active.name())),
            ("asked".to_owned(), number(0)),
            // Begins at the time, so that a worker of an erased mailbox never fits a later one's fence.
            ("generation".to_owned(), number(new.now.as_millisecond().max(0))),
            ("commit".to_owned(), number(0)),
            ("seq".to_owned(), number(0)),
            ("credential_version".to_owned(), number(0)),
            ("progress".to_owned(), nested("progress", &Progress::default())?),
            ("updated_at".to_owned(), time(new.now)),
        ]);
        let transacted = self
            .transact(
                "create mailbox",
                vec![
                    self.transact_put(&keys::tenant_address(&new.tenant, &new.address), named(), &absent)?,
                    self.transact_put(&keys::sync(mailbox), sync, &absent)?,
                    self.transact_put(
                        &keys::tenant_mailbox(&new.tenant, mailbox),
                        named(),
                        &Change::default(),
                    )?,
                    self.transact_put(&keys::address(&new.address, mailbox), named(), &Change::default())?,
                    self.transact_put(&keys::labels(mailbox), labels::none_yet(), &Change::default())?,
                    self.transact_put(&keys::registry(mailbox), named(), &Change::default())?,
                ],
            )
            .await?;
        match &transacted {
            Transacted::Done => Ok(true),
            Transacted::Cancelled(_) if transacted.refused_at(0) => Ok(false),
            Transacted::Cancelled(reasons) => Err(cancelled("create mailbox", reasons)),
        }
    }

    async fn reactivate(&self, mailbox: &MailboxId, new: &NewMailbox) -> Result<()> {
        let sync = self.read_sync(mailbox).await?.ok_or(StoreError::NotFound { what: "mailbox" })?;
        if sync.status != Status::Deactivated {
            return Ok(());
        }
        let activated = Change::default()
            .set("status", text(Status::Active.name()))
            .add("asked", 1)
            .set("updated_at", time(new.now))
            .when("#status = :deactivated")
            .value(":deactivated", text(Status::Deactivated.name()));
        let found = Item::from([
            ("v".to_owned(), number(SCHEMA_VERSION)),
            ("mailbox".to_owned(), text(mailbox.as_str())),
            ("tenant".to_owned(), text(new.tenant.as_str())),
        ]);
        let transacted = self
            .transact(
                "reactivate mailbox",
                vec![
                    self.transact_update(&keys::sync(mailbox), &activated)?,
                    self.transact_put(&keys::address(&new.address, mailbox), found, &Change::default())?,
                ],
            )
            .await?;
        match &transacted {
            Transacted::Done => Ok(()),
            // Somebody else reactivated it: as good.
            Transacted::Cancelled(_) if transacted.refused_at(0) => Ok(()),
            Transacted::Cancelled(reasons) => Err(cancelled("reactivate mailbox", reasons)),
        }
    }

    /// Puts a mailbox into the list of all: one that was connected before there was a list is not in it.
    async fn register(&self, mailbox: &MailboxId, new: &NewMailbox) -> Result<()> {
        let row = Change::default()
            .set("v", number(SCHEMA_VERSION))
            .set("mailbox", text(mailbox.as_str()))
            .set("tenant", text(new.tenant.as_str()))
            .set_if_absent("created_at", time(new.now));
        self.update("register mailbox", &keys::registry(mailbox), row).await.map(|_| ())
    }

    /// The aggregate root, read consistently.
    pub async fn read_sync(&self, mailbox: &MailboxId) -> Result<Option<Sync>> {
        self.get("read sync", &keys::sync(mailbox)).await?.as_ref().map(sync_from).transpose()
    }

    /// A tenant's mailboxes in the order they were connected, deactivated ones included.
    pub async fn mailboxes_of_tenant(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<Sync>> {
        let list = format!("mailboxes of {tenant}");
        let after = paging::decode_optional(&list, cursor)?;
        // A space sorts before every character of an id, so it makes the start exclusive.
        let first = after.map_or_else(|| keys::MAILBOX.to_owned(), |id| format!("{}{id} ", keys::MAILBOX));
        let limit = limit.clamp(1, TENANT_PAGE_MAX);
        let answer = self
            .query_range(keys::tenant_partition(tenant), first, format!("{}~", keys::MAILBOX))
            .limit(i32::try_from(limit).unwrap_or(1))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("list mailboxes", &error))?;
        let more = answer.last_evaluated_key.is_some();
        let ids = mailbox_ids(&answer.items.unwrap_or_default())?;
        let next = ids.last().filter(|_| more).map(|id| paging::encode(&list, id.as_str()));
        let items = self.batch_get("list mailboxes", ids.iter().map(keys::sync).collect(), None).await?;
        let mut syncs = items.iter().map(sync_from).collect::<Result<Vec<_>>>()?;
        syncs.sort_by(|one, other| one.mailbox.cmp(&other.mailbox));
        Ok(Page { items: syncs, next })
    }

    /// The mailboxes of an address that are connected (not deactivated), of all tenants.
    pub async fn mailboxes_by_address(&self, address: &EmailAddress) -> Result<Vec<MailboxId>> {
        // Bounded by one answer of 1 MB: thousands of tenants.
        let answer = self
            .query_range(
                keys::address_partition(address),
                keys::MAILBOX.to_owned(),
                format!("{}~", keys::MAILBOX),
            )
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("find mailboxes", &error))?;
        mailbox_ids(&answer.items.unwrap_or_default())
    }

    /// The tenant's mailbox of that address, deactivated or not.
    pub async fn mailbox_of_address(
        &self,
        tenant: &TenantId,
        address: &EmailAddress,
    ) -> Result<Option<MailboxId>> {
        let item = self.get("find mailbox", &keys::tenant_address(tenant, address)).await?;
        item.map(|item| Fields::new("address", &item).parsed("mailbox")).transpose()
    }

    /// Sets the status. Whoever looks at the mailbox just now is asked to look again; an active mailbox
    /// is due at once, any other never.
    pub async fn set_status(&self, mailbox: &MailboxId, status: Status, now: Timestamp) -> Result<()> {
        let change = Change::default()
            .set("status", text(status.name()))
            .add("asked", 1)
            .set("updated_at", time(now))
            .when("attribute_exists(#pk)");
        let change = match status {
            Status::Active => due(change, mailbox, Some(now)),
            Status::Paused | Status::NeedsReauth | Status::NeedsAttention | Status::Deactivated => {
                due(change, mailbox, None)
            }
        };
        self.update_existing("set status", mailbox, change).await
    }

    /// Parks a mailbox until [`Store::resume`]. Refused for one that is disconnected.
    pub async fn pause(&self, mailbox: &MailboxId, now: Timestamp) -> Result<StatusChange> {
        let from = [Status::Active, Status::Paused, Status::NeedsReauth, Status::NeedsAttention];
        self.change_status(mailbox, &from, Status::Paused, now).await
    }

    /// Goes on with a mailbox that was paused or needs attention, at once. Refused when the grant is gone or
    /// the mailbox is disconnected: that needs a new grant.
    pub async fn resume(&self, mailbox: &MailboxId, now: Timestamp) -> Result<StatusChange> {
        let from = [Status::Active, Status::Paused, Status::NeedsAttention];
        self.change_status(mailbox, &from, Status::Active, now).await
    }

    async fn change_status(
        &self,
        mailbox: &MailboxId,
        from: &[Status],
        to: Status,
        now: Timestamp,
    ) -> Result<StatusChange> {
        let mut change =
            Change::default().set("status", text(to.name())).add("asked", 1).set("updated_at", time(now));
        let mut allowed = Vec::new();
        for status in from {
            let placeholder = format!(":from_{}", status.name());
            allowed.push(format!("#status = {placeholder}"));
            change = change.value(&placeholder, text(status.name()));
        }
        let change = change.when(&allowed.join(" OR "));
        let due_at = (to == Status::Active).then_some(now);
        match self.update("change status", &keys::sync(mailbox), due(change, mailbox, due_at)).await? {
            Updated::Done(_) => Ok(StatusChange::Done),
            Updated::Refused(None) => Err(StoreError::NotFound { what: "mailbox" }),
            Updated::Refused(Some(item)) => {
                Ok(StatusChange::Refused(Fields::new("SYNC", &item).nested("status")?))
            }
        }
    }

    /// Notes when the watch lapses; `None` when there is none.
    pub async fn set_watch(&self, mailbox: &MailboxId, expires_at: Option<Timestamp>) -> Result<()> {
        let change = Change::default()
            .set_or_remove("watch_expires_at", expires_at.map(time))
            .when("attribute_exists(#pk)");
        self.update_existing("set watch", mailbox, change).await
    }

    /// Chooses what of a message is fetched from now on. What is stored stays, so nothing is to be done.
    pub async fn set_content(&self, mailbox: &MailboxId, content: Content) -> Result<()> {
        let change = Change::default().set("content", text(content.name())).when("attribute_exists(#pk)");
        self.update_existing("set content", mailbox, change).await
    }

    /// Notes the addresses that the owner sends from besides the mailbox's own.
    pub async fn set_aliases(&self, mailbox: &MailboxId, aliases: &Aliases) -> Result<()> {
        let change =
            Change::default().set("aliases", nested("aliases", aliases)?).when("attribute_exists(#pk)");
        self.update_existing("set aliases", mailbox, change).await
    }

    /// Disconnects a mailbox: it is not found by its address any more, it is never due, its credential is
    /// gone, its rows stay. Doing it twice is as good as once.
    pub async fn deactivate_mailbox(&self, mailbox: &MailboxId, now: Timestamp) -> Result<()> {
        let sync = self.read_sync(mailbox).await?.ok_or(StoreError::NotFound { what: "mailbox" })?;
        let change = Change::default()
            .set("status", text(Status::Deactivated.name()))
            .add("asked", 1)
            .set("updated_at", time(now))
            .remove("watch_expires_at")
            .when("attribute_exists(#pk)");
        let transacted = self
            .transact(
                "deactivate mailbox",
                vec![
                    self.transact_update(&keys::sync(mailbox), &due(change, mailbox, None))?,
                    self.transact_delete(&keys::address(&sync.address, mailbox))?,
                    self.transact_delete(&keys::credential(mailbox))?,
                ],
            )
            .await?;
        match &transacted {
            Transacted::Done => Ok(()),
            Transacted::Cancelled(_) if transacted.refused_at(0) => {
                Err(StoreError::NotFound { what: "mailbox" })
            }
            Transacted::Cancelled(reasons) => Err(cancelled("deactivate mailbox", reasons)),
        }
    }

    /// Mailboxes due at `now` in one of the shards `0..DUE_SHARDS`, earliest first, at most 500 a page.
    ///
    /// Read from an index, so it may be a moment old: a hint too many or one tick late, never lost.
    pub async fn due(&self, now: Timestamp, shard: u8, cursor: Option<&str>) -> Result<Page<MailboxId>> {
        self.due_page(&shard.to_string(), "SYNC", now, cursor).await
    }

    /// One page of the index `due`: whose items of this kind (`sk`) are due until then.
    pub(crate) async fn due_page(
        &self,
        shard: &str,
        sk: &str,
        until: Timestamp,
        cursor: Option<&str>,
    ) -> Result<Page<MailboxId>> {
        let list = format!("due in {shard}");
        let start = match paging::decode_optional(&list, cursor)? {
            None => None,
            Some(position) => Some(due_position(shard, sk, &position)?),
        };
        let answer = self
            .due_query(shard, until)
            .limit(DUE_PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("due", &error))?;
        let next = match &answer.last_evaluated_key {
            None => None,
            Some(key) => {
                let fields = Fields::new("due index", key);
                let position = format!("{}/{}", fields.number::<i64>("due_at")?, fields.text("pk")?);
                Some(paging::encode(&list, &position))
            }
        };
        let items = answer.items.unwrap_or_default();
        Ok(Page { items: items.iter().map(mailbox_of_partition).collect::<Result<_>>()?, next })
    }

    /// What a shard of the index `due` has until then, earliest first.
    pub(crate) fn due_query(&self, shard: &str, until: Timestamp) -> QueryFluentBuilder {
        self.dynamo
            .query()
            .table_name(&self.config.table)
            .index_name(keys::INDEX_DUE)
            .key_condition_expression("due_shard = :shard AND due_at <= :until")
            .expression_attribute_values(":shard", text(shard))
            .expression_attribute_values(":until", time(until))
    }

    /// Since when the mailbox of a shard is due that has been due for longest.
    pub async fn longest_due(&self, now: Timestamp, shard: u8) -> Result<Option<Timestamp>> {
        let answer = self
            .due_query(&shard.to_string(), now)
            .limit(1)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("longest due", &error))?;
        let first = answer.items.unwrap_or_default().into_iter().next();
        first.map(|item| Fields::new("due index", &item).time("due_at")).transpose()
    }

    /// An update of `SYNC` that must find it.
    pub(crate) async fn update_existing(
        &self,
        operation: &'static str,
        mailbox: &MailboxId,
        change: Change,
    ) -> Result<()> {
        match self.update(operation, &keys::sync(mailbox), change).await? {
            Updated::Done(_) => Ok(()),
            Updated::Refused(_) => Err(StoreError::NotFound { what: "mailbox" }),
        }
    }
}

/// Sets when somebody must look again. The shard is there only while the time is: the index is sparse.
pub(crate) fn due(change: Change, mailbox: &MailboxId, due_at: Option<Timestamp>) -> Change {
    change
        .set_or_remove("due_at", due_at.map(time))
        .set_or_remove("due_shard", due_at.map(|_| keys::due_shard(mailbox)))
}

/// A transaction that was cancelled for a reason nobody expects.
pub(crate) fn cancelled(
    operation: &'static str,
    reasons: &[aws_sdk_dynamodb::types::CancellationReason],
) -> StoreError {
    let code = reasons.iter().filter_map(|reason| reason.code()).find(|code| *code != "None");
    StoreError::from_code(operation, code.unwrap_or("TransactionCanceledException").to_owned())
}

fn mailbox_ids(items: &[Item]) -> Result<Vec<MailboxId>> {
    items.iter().map(|item| Fields::new("mailbox", item).parsed("mailbox")).collect()
}

/// The mailbox that a key of its partition names.
pub(crate) fn mailbox_of_partition(item: &Item) -> Result<MailboxId> {
    let pk = Fields::new("due index", item).text("pk")?;
    let id = pk.strip_prefix("M#").and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::corrupt("due index", "attribute pk"))
}

/// The index's key of a cursor's position.
fn due_position(shard: &str, sk: &str, position: &str) -> Result<Item> {
    let (due_at, pk) = position.split_once('/').ok_or(StoreError::Cursor)?;
    Ok(Item::from([
        ("due_shard".to_owned(), text(shard)),
        ("due_at".to_owned(), number(due_at)),
        ("pk".to_owned(), text(pk)),
        ("sk".to_owned(), text(sk)),
    ]))
}

/// `SYNC` as the core has it.
pub(crate) fn sync_from(item: &Item) -> Result<Sync> {
    let fields = Fields::new("SYNC", item);
    let generation = Generation(fields.number("generation")?);
    let until = fields.optional_time("lease_until")?;
    let owner = fields.optional_text("lease_owner")?.unwrap_or_default().to_owned();
    let status: Status = fields.nested("status")?;
    let total = |name| Ok::<i64, StoreError>(fields.optional_number(name)?.unwrap_or(0));
    Ok(Sync {
        mailbox: fields.parsed("mailbox")?,
        tenant: fields.parsed("tenant")?,
        address: fields.parsed("address")?,
        target: fields.optional_number("target")?.map(sync_core::HistoryId),
        asked: fields.number("asked")?,
        lease: until.map(|until| Lease { owner, generation, until }),
        generation,
        due_at: fields.optional_time("due_at")?,
        status,
        watch_expires_at: fields.optional_time("watch_expires_at")?,
        credential_version: fields.number("credential_version")?,
        credential_kind: fields.optional_nested("credential_kind")?.unwrap_or_default(),
        scope: fields.optional_nested("scope")?.unwrap_or_default(),
        content: fields.optional_nested("content")?.unwrap_or_default(),
        overrides: fields.optional_nested("overrides")?.unwrap_or_default(),
        aliases: fields.optional_nested("aliases")?.unwrap_or_default(),
        commit: fields.number("commit")?,
        seq: fields.optional_number("seq")?.unwrap_or(0),
        progress: fields.nested("progress")?,
        totals: Totals {
            messages: total("total_messages")?,
            deleted: total("total_deleted")?,
            debts: total("total_debts")?,
            waiting: total("total_waiting")?,
        },
    })
}
