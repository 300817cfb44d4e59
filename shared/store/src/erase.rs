//! Erasing a mailbox: every row and every object, in steps that each end soon.
//!
//! The fence goes up first: the generation is raised and the lease taken away, so that a worker that is
//! at it just now can commit nothing more. `SYNC` goes last: as long as it is there, there is more to do.

use aws_sdk_dynamodb::types::{DeleteRequest, WriteRequest};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use sync_core::{MailboxId, Timestamp, state::Status};

use crate::{
    Erased, Store, StoreError,
    error::contention_delay,
    item::{Change, Fields, text, time},
    keys::{self, Key},
    mailboxes::due,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Most rows one step deletes: a few seconds.
const ROWS_MAX: i32 = 1_000;
/// Most writes of one batch: DynamoDB's limit.
const BATCH_MAX: usize = 25;
/// How often what a batch left is written again.
const BATCH_TRIES: u32 = 8;

impl Store {
    /// One step of erasing a mailbox: up to 1,000 rows and 1,000 objects. Call it until it is done; after
    /// a failure just call it again. An erased mailbox, or one that never was, is done.
    pub async fn erase_mailbox(&self, mailbox: &MailboxId, now: Timestamp) -> Result<Erased> {
        let Some(sync) = self.read_sync(mailbox).await? else { return Ok(Erased::Done) };
        let change = Change::default()
            .set("status", text(Status::Deactivated.name()))
            .add("generation", 1)
            .set("updated_at", time(now))
            .remove("lease_owner")
            .remove("lease_until")
            .remove("lease_token")
            .when("attribute_exists(#pk)");
        self.update_existing("erase", mailbox, due(change, mailbox, None)).await?;
        // Its address is free from now on: a new connection makes a new mailbox.
        let places = vec![
            keys::tenant_address(&sync.tenant, &sync.address),
            keys::address(&sync.address, mailbox),
            keys::credential(mailbox),
        ];
        self.delete_all(places).await?;

        let objects_left = self.erase_objects(mailbox).await?;
        let rows_left = self.erase_rows(mailbox).await?;
        if objects_left || rows_left {
            return Ok(Erased::More);
        }
        let last =
            vec![keys::tenant_mailbox(&sync.tenant, mailbox), keys::registry(mailbox), keys::sync(mailbox)];
        self.delete_all(last).await?;
        Ok(Erased::Done)
    }

    /// Deletes one page of the partition, `SYNC` not. Whether more is left.
    async fn erase_rows(&self, mailbox: &MailboxId) -> Result<bool> {
        let answer = self
            .dynamo
            .query()
            .table_name(&self.config.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(keys::partition(mailbox)))
            .projection_expression("pk, sk")
            .limit(ROWS_MAX)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("erase", &error))?;
        let more = answer.last_evaluated_key.is_some();
        let sync = keys::sync(mailbox);
        let mut found = Vec::new();
        for item in answer.items.unwrap_or_default() {
            let fields = Fields::new("key", &item);
            let key = Key { pk: fields.text("pk")?.to_owned(), sk: fields.text("sk")?.to_owned() };
            if key != sync {
                found.push(key);
            }
        }
        self.delete_all(found).await?;
        Ok(more)
    }

    async fn delete_all(&self, keys: Vec<Key>) -> Result<()> {
        for chunk in keys.chunks(BATCH_MAX) {
            let mut requests = Vec::with_capacity(chunk.len());
            for key in chunk {
                let delete = DeleteRequest::builder().set_key(Some(key.attributes())).build();
                let delete = delete.map_err(|_| StoreError::corrupt("key", "its attributes"))?;
                requests.push(WriteRequest::builder().delete_request(delete).build());
            }
            let mut attempt = 0;
            while !requests.is_empty() {
                let answer = self
                    .dynamo
                    .batch_write_item()
                    .request_items(&self.config.table, requests)
                    .send()
                    .await
                    .map_err(|error| StoreError::from_sdk("erase", &error))?;
                let left = answer.unprocessed_items.and_then(|mut left| left.remove(&self.config.table));
                requests = left.unwrap_or_default();
                attempt += 1;
                if !requests.is_empty() {
                    if attempt == BATCH_TRIES {
                        return Err(StoreError::Throttled { operation: "erase" });
                    }
                    tokio::time::sleep(contention_delay(attempt)).await;
                }
            }
        }
        Ok(())
    }

    /// Deletes one page of the objects. Whether more are left.
    async fn erase_objects(&self, mailbox: &MailboxId) -> Result<bool> {
        let answer = self
            .s3
            .list_objects_v2()
            .bucket(&self.config.bucket)
            .prefix(format!("{mailbox}/"))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk("erase objects", &error))?;
        let more = answer.is_truncated().unwrap_or(false);
        let mut found = Vec::new();
        for object in answer.contents() {
            let object = ObjectIdentifier::builder().set_key(object.key().map(ToOwned::to_owned)).build();
            found.push(object.map_err(|_| StoreError::corrupt("object", "its key"))?);
        }
        if found.is_empty() {
            return Ok(false);
        }
        let delete = Delete::builder().set_objects(Some(found)).quiet(true).build();
        let delete = delete.map_err(|_| StoreError::corrupt("object", "its key"))?;
        let answer = self.s3.delete_objects().bucket(&self.config.bucket).delete(delete).send().await;
        let answer = answer.map_err(|error| StoreError::from_sdk("erase objects", &error))?;
        // The call succeeds even when single objects did not go: then they are found again.
        Ok(more || !answer.errors().is_empty())
    }
}
