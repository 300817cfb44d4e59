//! Whether table, bucket and keys can be reached, each with its latency.

use std::time::Instant;

use crate::{HealthCheck, Store, StoreError, keys::Key};

impl Store {
    /// Checks the three at once. Reads only, with the permissions that the store needs anyway.
    pub async fn health(&self) -> Vec<HealthCheck> {
        // Boxed: the state of three AWS calls is too large for the caller's own.
        let (table, bucket, secrets) = tokio::join!(
            Box::pin(check("table", self.check_table())),
            Box::pin(check("bucket", self.check_bucket())),
            Box::pin(check("secrets", self.vault.check())),
        );
        vec![table, bucket, secrets]
    }

    async fn check_table(&self) -> Result<(), StoreError> {
        // There is no such item; a missing table or permission is an error all the same.
        let key = Key { pk: "HEALTH".to_owned(), sk: "HEALTH".to_owned() };
        self.get("check table", &key).await.map(|_| ())
    }

    async fn check_bucket(&self) -> Result<(), StoreError> {
        self.s3
            .list_objects_v2()
            .bucket(&self.config.bucket)
            .prefix("health/")
            .max_keys(1)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("check bucket", &error))?;
        Ok(())
    }
}

async fn check(name: &'static str, probe: impl Future<Output = Result<(), StoreError>>) -> HealthCheck {
    let began = Instant::now();
    let result = probe.await;
    HealthCheck { name, latency: began.elapsed(), result }
}
