//! Who did what: connected, erased, unlocked, forced, made a token, moved dead letters.
//!
//! Rows of the tenant's partition in the order of time, kept for `AUDIT_KEPT_DAYS` by TTL. Written after the deed; a
//! row that could not be written is an error in the log and does not undo the deed. Deliberately absent: addresses,
//! tokens and mail. A row names the token by its name, and the mailbox by its id.

use serde::{Deserialize, Serialize};
use sync_core::{MailboxId, TenantId, Timestamp};

use crate::{
    Page, Store, StoreError,
    item::{Fields, Item, SCHEMA_VERSION, nested, number, text, time, ttl},
    keys,
    owed::next_cursor,
    paging,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most rows of one page.
const PAGE_MAX: u32 = 500;
/// Longest name of a token that is kept.
const ACTOR_CHARS_MAX: usize = 100;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// A mailbox was connected, or connected again.
    Connected,
    /// A mailbox was disconnected; its mail stays.
    Disconnected,
    /// A mailbox was erased.
    Erased,
    /// Whoever held a mailbox was stopped.
    Unlocked,
    /// The same, and it was synced.
    Forced,
    /// A mailbox was paused.
    Paused,
    /// A mailbox goes on.
    Resumed,
    /// A comparison was told that the deletions are meant.
    DeletionsAccepted,
    /// A debt was taken as lost.
    DebtAccepted,
    /// The selection of labels was changed.
    SelectionChanged,
    /// What else is chosen for a mailbox, or for a tenant's mailboxes, was changed.
    SettingsChanged,
    /// Rows are made again from raw mail.
    RebuildStarted,
    /// Dead letters were moved back to their queues.
    DeadLettersRedriven,
    /// A dead letter was thrown away.
    DeadLetterDiscarded,
    /// A token was made.
    TokenCreated,
}

/// Something that somebody has just done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// Whose trail.
    pub tenant: TenantId,
    /// The name of the token, or of the program.
    pub actor: String,
    /// What.
    pub action: AuditAction,
    /// With which mailbox, if with one.
    pub mailbox: Option<MailboxId>,
    /// Correlation id of the request.
    pub trace: String,
}

/// Something that somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRow {
    /// Its id.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who: the name of the token.
    pub actor: String,
    /// What.
    pub action: AuditAction,
    /// With which mailbox, if with one.
    pub mailbox: Option<MailboxId>,
    /// Correlation id of the request.
    pub trace: String,
}

impl Store {
    /// Adds to the trail.
    pub async fn audit(&self, what: &NewAudit, now: Timestamp) -> Result<()> {
        let actor: String = what.actor.chars().filter(|c| !c.is_control()).take(ACTOR_CHARS_MAX).collect();
        let mut item = Item::from([
            ("v".to_owned(), number(SCHEMA_VERSION)),
            ("at".to_owned(), time(now)),
            ("actor".to_owned(), text(actor)),
            ("action".to_owned(), nested("audit", &what.action)?),
            ("trace".to_owned(), text(&what.trace)),
            ("ttl".to_owned(), ttl(now + self.retention.audit)),
        ]);
        item.extend(what.mailbox.as_ref().map(|id| ("mailbox".to_owned(), text(id.as_str()))));
        let unique = uuid::Uuid::new_v4().simple().to_string();
        self.put("audit", &keys::audit(&what.tenant, now, &unique), item).await
    }

    /// A tenant's trail, newest first, of one mailbox or of all. A page may be short and have a next one. Rows that
    /// TTL has not taken yet, although their time is over, are left out.
    pub async fn audit_trail(
        &self,
        tenant: &TenantId,
        mailbox: Option<&MailboxId>,
        limit: u32,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<Page<AuditRow>> {
        let list = format!("audit of {tenant} {}", mailbox.map_or("", MailboxId::as_str));
        let partition = keys::tenant_partition(tenant);
        let start = paging::decode_optional(&list, cursor)?
            .map(|sk| Item::from([("pk".to_owned(), text(&partition)), ("sk".to_owned(), text(sk))]));
        let answer = self
            .query_range(partition, keys::AUDIT.to_owned(), format!("{}~", keys::AUDIT))
            .scan_index_forward(false)
            .limit(i32::try_from(limit.clamp(1, PAGE_MAX)).unwrap_or(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("audit trail", &error))?;
        let next = next_cursor(&list, answer.last_evaluated_key.as_ref())?;
        let mut items = Vec::new();
        for item in answer.items.unwrap_or_default() {
            let lapses: i64 = Fields::new("audit", &item).number("ttl")?;
            let row = row_from(&item)?;
            if lapses > now.as_second() && mailbox.is_none_or(|wanted| row.mailbox.as_ref() == Some(wanted)) {
                items.push(row);
            }
        }
        Ok(Page { items, next })
    }
}

fn row_from(item: &Item) -> Result<AuditRow> {
    let fields = Fields::new("audit", item);
    let key = fields.text("sk")?;
    Ok(AuditRow {
        id: key.rsplit('#').next().unwrap_or(key).to_owned(),
        at: fields.time("at")?,
        actor: fields.text("actor")?.to_owned(),
        action: fields.nested("action")?,
        mailbox: fields.optional_text("mailbox")?.map(|_| fields.parsed("mailbox")).transpose()?,
        trace: fields.text("trace")?.to_owned(),
    })
}
