//! Who asks too often: the limit of each token and each session, over all processes.
//!
//! A process draws requests from the token's bucket in the table and lets them through from memory. Invariant: nothing is
//! let through that was not drawn. When the table does not answer, a request fails as it would without a limit: its token
//! could not be read either.

use std::{collections::HashMap, sync::Mutex};

use sync_core::{
    SignedDuration, Timestamp,
    rate::{Lease, Rate, Spent},
};
use sync_store::{Store, StoreError};

/// Most callers that a process remembers. One that is forgotten draws anew.
const LEASES_MAX: usize = 1_000;

/// The limit, as one process keeps it.
pub struct Limiter {
    store: Store,
    rate: Rate,
    leases: Mutex<HashMap<String, Lease>>,
}

impl Limiter {
    /// Nothing is drawn yet.
    pub fn new(store: Store, rate: Rate) -> Self {
        Self { store, rate, leases: Mutex::new(HashMap::new()) }
    }

    /// Lets a request of the token or session of this hash through; or the time after which to come again.
    pub async fn let_through(
        &self,
        token_sha256: &str,
        now: Timestamp,
    ) -> Result<Result<(), SignedDuration>, StoreError> {
        let most = match self.with_lease(token_sha256, now, |lease| lease.spend(self.rate, now)) {
            Spent::Yes => return Ok(Ok(())),
            Spent::Refused(wait) => return Ok(Err(wait)),
            Spent::Draw(most) => most,
        };
        let drawn = self.store.draw_requests(token_sha256, self.rate, most, now).await?;
        self.with_lease(token_sha256, now, |lease| match drawn {
            Ok(count) => lease.drew(count, now),
            Err(wait) => lease.refused(wait, now),
        });
        Ok(drawn.map(|_| ()))
    }

    fn with_lease<T>(&self, token_sha256: &str, now: Timestamp, act: impl FnOnce(&mut Lease) -> T) -> T {
        let mut leases = self.leases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if leases.len() >= LEASES_MAX {
            leases.retain(|_, lease| !lease.is_over(now));
        }
        if leases.len() >= LEASES_MAX {
            leases.clear();
        }
        act(leases.entry(token_sha256.to_owned()).or_default())
    }
}
