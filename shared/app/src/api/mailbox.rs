//! From the `{mailbox}` of a path to a mailbox of the caller's.
//!
//! Invariant: what is not the caller's is "no such mailbox", whether it exists or not.

use sync_core::{
    EmailAddress, MailboxId, TenantId,
    state::{Status, Sync},
};

use super::{ApiState, problem::Problem};

/// Most mailboxes looked at to find out whether a tenant has just one.
const LOOK_MAX: u32 = 50;

/// A mailbox of the tenant's, by its id, its address, or the tenant's id when it has just one.
pub(super) async fn owned(state: &ApiState, tenant: &TenantId, named: &str) -> Result<Sync, Problem> {
    let id = if named.contains('@') {
        let address: EmailAddress = named.parse().map_err(|_| Problem::not_found("mailbox"))?;
        state.store.mailbox_of_address(tenant, &address).await?
    } else {
        named.parse::<MailboxId>().ok()
    };
    if let Some(id) = id
        && let Some(sync) = state.store.read_sync(&id).await?
        && sync.tenant == *tenant
    {
        return Ok(sync);
    }
    if named == tenant.as_str() {
        return only_one(state, tenant).await;
    }
    Err(Problem::not_found("mailbox"))
}

async fn only_one(state: &ApiState, tenant: &TenantId) -> Result<Sync, Problem> {
    let page = state.store.mailboxes_of_tenant(tenant, LOOK_MAX, None).await?;
    let mut connected = page.items.into_iter().filter(|sync| sync.status != Status::Deactivated);
    match (connected.next(), connected.next()) {
        (Some(only), None) if page.next.is_none() => Ok(only),
        (None, _) if page.next.is_none() => Err(Problem::not_found("mailbox")),
        _ => Err(Problem::conflict("The tenant has several mailboxes: name one by its id or address.")),
    }
}

/// A mailbox that was there a moment ago.
pub(super) async fn read(state: &ApiState, mailbox: &MailboxId) -> Result<Sync, Problem> {
    state.store.read_sync(mailbox).await?.ok_or_else(|| Problem::not_found("mailbox"))
}
