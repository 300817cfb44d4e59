//! What tenants and mailboxes' owners have otherwise than the deployment.
//!
//! A mailbox's lies on `SYNC`, which every look reads anyway. A tenant's lies on `TENANT` and is kept in memory for five
//! minutes: every look needs it, it hardly ever changes, and one read a look would be as dear as the look's own. So a
//! change takes so long to reach every worker, and whoever changes has to reckon with it. Deliberately absent: a copy on
//! each of the tenant's mailboxes, which would make one change a thousand writes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sync_core::{MailboxId, TenantId, Timestamp, overrides::Overrides, state::Status};

use crate::{
    Store, StoreError,
    item::{Change, Fields, nested, text},
    keys,
    mailboxes::due,
    table::Updated,
};

type Result<T> = std::result::Result<T, StoreError>;

/// How long a tenant's overrides are kept in memory, at the longest.
pub const OVERRIDES_KEPT: Duration = Duration::from_mins(5);
/// Most tenants whose overrides are kept: about a megabyte.
const TENANTS_MAX: usize = 10_000;

/// Tenants' overrides as they were last read. Clones share them.
#[derive(Clone)]
pub(crate) struct TenantCache {
    kept: Duration,
    known: Arc<Mutex<HashMap<TenantId, (Instant, Overrides)>>>,
}

impl Default for TenantCache {
    fn default() -> Self {
        Self::keeping(OVERRIDES_KEPT)
    }
}

impl TenantCache {
    pub fn keeping(kept: Duration) -> Self {
        Self { kept, known: Arc::default() }
    }

    /// What is known of the tenant, and whether that is recent enough to be used unasked.
    fn get(&self, tenant: &TenantId) -> Option<(bool, Overrides)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(tenant).map(|(at, overrides)| (at.elapsed() < self.kept, overrides.clone()))
    }

    fn put(&self, tenant: &TenantId, overrides: &Overrides) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TENANTS_MAX && !known.contains_key(tenant) {
            known.clear();
        }
        known.insert(tenant.clone(), (Instant::now(), overrides.clone()));
    }
}

impl Store {
    /// What the tenant has otherwise, as it was five minutes ago at the earliest. Whoever never chose has nothing.
    ///
    /// Errors: it cannot be read, and never was. What is known from earlier is better than a mailbox left alone.
    pub async fn tenant_overrides(&self, tenant: &TenantId) -> Result<Overrides> {
        let known = self.tenants.get(tenant);
        if let Some((true, overrides)) = known {
            return Ok(overrides);
        }
        match (self.read_tenant_overrides(tenant).await, known) {
            (Err(error), Some((_, earlier))) if error.is_retryable() => Ok(earlier),
            (read, _) => read,
        }
    }

    /// What the tenant has otherwise, read now.
    pub async fn read_tenant_overrides(&self, tenant: &TenantId) -> Result<Overrides> {
        let item = self.get("read tenant's overrides", &keys::tenant(tenant)).await?.unwrap_or_default();
        let overrides = Fields::new("tenant", &item).optional_nested("overrides")?.unwrap_or_default();
        self.tenants.put(tenant, &overrides);
        Ok(overrides)
    }

    /// Chooses what the tenant has otherwise. Errors: no such tenant.
    pub async fn set_tenant_overrides(&self, tenant: &TenantId, overrides: &Overrides) -> Result<()> {
        let change = changed(Change::default(), overrides)?.when("attribute_exists(#pk)");
        match self.update("set tenant's overrides", &keys::tenant(tenant), change).await? {
            Updated::Done(_) => {
                self.tenants.put(tenant, overrides);
                Ok(())
            }
            Updated::Refused(_) => Err(StoreError::NotFound { what: "tenant" }),
        }
    }

    /// Chooses what a mailbox has otherwise. With a time it is looked at then, whoever holds it: how often it is
    /// looked at has changed.
    pub async fn set_overrides(
        &self,
        mailbox: &MailboxId,
        overrides: &Overrides,
        due_at: Option<Timestamp>,
    ) -> Result<()> {
        let change = changed(Change::default(), overrides)?.when("attribute_exists(#pk)");
        let change = match due_at {
            Some(_) => due(change.add("asked", 1), mailbox, due_at),
            None => change,
        };
        self.update_existing("set overrides", mailbox, change).await
    }

    /// Has an active mailbox looked at by then, unless it is due earlier. Whether that was to be changed.
    pub async fn due_by(&self, mailbox: &MailboxId, at: Timestamp) -> Result<bool> {
        let change = Change::default()
            .when("#status = :active")
            .value(":active", text(Status::Active.name()))
            .when("attribute_not_exists(#due_at) OR #due_at > :due_at");
        match self.update("due by", &keys::sync(mailbox), due(change, mailbox, Some(at))).await? {
            Updated::Done(_) => Ok(true),
            Updated::Refused(_) => Ok(false),
        }
    }
}

/// A map with nothing in it is left out: a row that never had one looks the same.
fn changed(change: Change, overrides: &Overrides) -> Result<Change> {
    let value = (!overrides.is_empty()).then(|| nested("overrides", overrides)).transpose()?;
    Ok(change.set_or_remove("overrides", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_tenants_are_kept_as_fit_into_memory() {
        let cache = TenantCache::default();
        let tenant = |n: usize| format!("ten_{n}").parse::<TenantId>().expect("an id");
        for n in 0..=TENANTS_MAX {
            cache.put(&tenant(n), &Overrides::default());
        }
        assert!(cache.get(&tenant(TENANTS_MAX)).is_some() && cache.get(&tenant(0)).is_none());
        assert_eq!(cache.known.lock().expect("a lock").len(), 1);
    }
}
