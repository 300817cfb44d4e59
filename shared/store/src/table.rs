//! The few calls that everything else is made of: get, update, transact, query, batch get.
//!
//! A lost race and a refused condition are results here; retries on contention and on unprocessed keys
//! are bounded. The SDK itself retries throttling and lost connections.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        query::builders::QueryFluentBuilder, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
    types::{
        CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValue,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};

use crate::{
    Store, StoreError,
    error::contention_delay,
    item::{Change, Item},
    keys::Key,
};

type Result<T> = std::result::Result<T, StoreError>;

/// How often an item that others write is tried: about two seconds in all.
const CONTENTION_TRIES: u32 = 8;
/// Most keys of one batch get: DynamoDB's limit.
pub(crate) const BATCH_GET_MAX: usize = 100;

/// What came of a conditional update.
pub(crate) enum Updated {
    /// Done; the item as it is now.
    Done(Item),
    /// The condition did not hold; the item as it was, if there is one.
    Refused(Option<Item>),
}

/// What came of a transaction.
pub(crate) enum Transacted {
    /// All of it is true.
    Done,
    /// None of it: one reason for each item, in order.
    Cancelled(Vec<CancellationReason>),
}

impl Transacted {
    /// Whether the item at this place failed its condition.
    pub fn refused_at(&self, index: usize) -> bool {
        match self {
            Self::Done => false,
            Self::Cancelled(reasons) => {
                reasons.get(index).and_then(|reason| reason.code()) == Some("ConditionalCheckFailed")
            }
        }
    }
}

impl Store {
    /// A consistent read.
    pub(crate) async fn get(&self, operation: &'static str, key: &Key) -> Result<Option<Item>> {
        let answer = self
            .dynamo
            .get_item()
            .table_name(&self.config.table)
            .set_key(Some(key.attributes()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(operation, &error))?;
        Ok(answer.item)
    }

    /// A conditional update that gives the new item, or the old one when it was refused.
    pub(crate) async fn update(&self, operation: &'static str, key: &Key, change: Change) -> Result<Updated> {
        for attempt in 0..CONTENTION_TRIES {
            let result = self
                .dynamo
                .update_item()
                .table_name(&self.config.table)
                .set_key(Some(key.attributes()))
                .set_update_expression(change.update_expression())
                .set_condition_expression(change.condition_expression())
                .set_expression_attribute_names(change.names())
                .set_expression_attribute_values(change.values())
                .return_values(ReturnValue::AllNew)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let error = match result {
                Ok(answer) => return Ok(Updated::Done(answer.attributes.unwrap_or_default())),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                    return Ok(Updated::Refused(refusal.item().filter(|item| !item.is_empty()).cloned()));
                }
                // A transaction is at this item just now: a single update must wait for it.
                Some(UpdateItemError::TransactionConflictException(_)) => {
                    tokio::time::sleep(contention_delay(attempt)).await;
                }
                _ => return Err(StoreError::from_sdk(operation, &error)),
            }
        }
        Err(StoreError::Busy { operation })
    }

    /// One transaction, tried again while other writers are at its items. For all but commits, which must
    /// not be repeated blindly.
    pub(crate) async fn transact(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<Transacted> {
        // One token for all tries: a try whose answer was lost is recognised and not applied twice.
        let mut token = new_token();
        for attempt in 0..CONTENTION_TRIES {
            let transacted = match self.transact_once(items.clone(), &token).await {
                Ok(transacted) => transacted,
                // The first try is under way still: the same token finds out how it ends.
                Err(error) if is_in_progress(&error) => {
                    tokio::time::sleep(contention_delay(attempt)).await;
                    continue;
                }
                Err(error) => return Err(StoreError::from_sdk(operation, &error)),
            };
            let busy = match &transacted {
                Transacted::Done => false,
                Transacted::Cancelled(reasons) => {
                    let code = |wanted| reasons.iter().any(|reason| reason.code() == Some(wanted));
                    if code("ThrottlingError") || code("ProvisionedThroughputExceeded") {
                        return Err(StoreError::Throttled { operation });
                    }
                    !code("ConditionalCheckFailed") && code("TransactionConflict")
                }
            };
            if !busy {
                return Ok(transacted);
            }
            // Cancelled for certain, so the next try is a new transaction.
            token = new_token();
            tokio::time::sleep(contention_delay(attempt)).await;
        }
        Err(StoreError::Busy { operation })
    }

    /// One call, with its token.
    pub(crate) async fn transact_once(
        &self,
        items: Vec<TransactWriteItem>,
        token: &str,
    ) -> std::result::Result<Transacted, SdkError<TransactWriteItemsError>> {
        let result = self
            .dynamo
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(token)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Transacted::Done),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    Ok(Transacted::Cancelled(cancelled.cancellation_reasons().to_vec()))
                }
                _ => Err(error),
            },
        }
    }

    /// An update inside a transaction. Its old item comes with a refusal.
    pub(crate) fn transact_update(&self, key: &Key, change: &Change) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(&self.config.table)
            .set_key(Some(key.attributes()))
            .set_update_expression(change.update_expression())
            .set_condition_expression(change.condition_expression())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|_| construction())?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// A condition inside a transaction, on an item that it does not write.
    pub(crate) fn transact_check(&self, key: &Key, guard: &Change) -> Result<TransactWriteItem> {
        let check = ConditionCheck::builder()
            .table_name(&self.config.table)
            .set_key(Some(key.attributes()))
            .set_condition_expression(guard.condition_expression())
            .set_expression_attribute_names(guard.names())
            .set_expression_attribute_values(guard.values())
            .build()
            .map_err(|_| construction())?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// A put inside a transaction, under the conditions of `guard`.
    pub(crate) fn transact_put(
        &self,
        key: &Key,
        mut item: Item,
        guard: &Change,
    ) -> Result<TransactWriteItem> {
        item.extend(key.attributes());
        let put = Put::builder()
            .table_name(&self.config.table)
            .set_item(Some(item))
            .set_condition_expression(guard.condition_expression())
            .set_expression_attribute_names(guard.names())
            .set_expression_attribute_values(guard.values())
            .build()
            .map_err(|_| construction())?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// A deletion inside a transaction; nothing happens when there is nothing.
    pub(crate) fn transact_delete(&self, key: &Key) -> Result<TransactWriteItem> {
        self.transact_guarded_delete(key, &Change::default())
    }

    /// A deletion inside a transaction, under the conditions of `guard`.
    pub(crate) fn transact_guarded_delete(&self, key: &Key, guard: &Change) -> Result<TransactWriteItem> {
        let delete = Delete::builder()
            .table_name(&self.config.table)
            .set_key(Some(key.attributes()))
            .set_condition_expression(guard.condition_expression())
            .set_expression_attribute_names(guard.names())
            .set_expression_attribute_values(guard.values())
            .build()
            .map_err(|_| construction())?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// A plain put.
    pub(crate) async fn put(&self, operation: &'static str, key: &Key, mut item: Item) -> Result<()> {
        item.extend(key.attributes());
        self.dynamo
            .put_item()
            .table_name(&self.config.table)
            .set_item(Some(item))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(operation, &error))?;
        Ok(())
    }

    /// A plain deletion.
    pub(crate) async fn delete(&self, operation: &'static str, key: &Key) -> Result<()> {
        self.dynamo
            .delete_item()
            .table_name(&self.config.table)
            .set_key(Some(key.attributes()))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(operation, &error))?;
        Ok(())
    }

    /// A consistent query of one partition, sort keys from `first` to `last`, both inclusive.
    pub(crate) fn query_range(&self, pk: String, first: String, last: String) -> QueryFluentBuilder {
        self.dynamo
            .query()
            .table_name(&self.config.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", crate::item::text(pk))
            .expression_attribute_values(":first", crate::item::text(first))
            .expression_attribute_values(":last", crate::item::text(last))
    }

    /// Consistent reads of many items; those that do not exist are absent, the order is any.
    ///
    /// `projection` names attributes and the one of them that is a reserved word, written `#word` there;
    /// everything, when `None`.
    pub(crate) async fn batch_get(
        &self,
        operation: &'static str,
        keys: Vec<Key>,
        projection: Option<(&str, &str)>,
    ) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(BATCH_GET_MAX) {
            let mut wanted = KeysAndAttributes::builder()
                .set_keys(Some(chunk.iter().map(Key::attributes).collect()))
                .consistent_read(true)
                .set_projection_expression(projection.map(|(names, _)| names.to_owned()))
                .set_expression_attribute_names(
                    projection.map(|(_, word)| [(format!("#{word}"), word.to_owned())].into()),
                )
                .build()
                .map_err(|_| construction())?;
            let mut attempt = 0;
            loop {
                let answer = self
                    .dynamo
                    .batch_get_item()
                    .request_items(&self.config.table, wanted)
                    .send()
                    .await
                    .map_err(|error| StoreError::from_sdk(operation, &error))?;
                items.extend(answer.responses.into_iter().flatten().flat_map(|(_, found)| found));
                // A partial answer is a success to the SDK: what is missing comes back here.
                let unprocessed =
                    answer.unprocessed_keys.and_then(|mut keys| keys.remove(&self.config.table));
                match unprocessed {
                    Some(rest) if !rest.keys().is_empty() => wanted = rest,
                    _ => break,
                }
                attempt += 1;
                if attempt == CONTENTION_TRIES {
                    return Err(StoreError::Throttled { operation });
                }
                tokio::time::sleep(contention_delay(attempt)).await;
            }
        }
        Ok(items)
    }
}

/// Whether a transaction of the same token is being carried out.
pub(crate) fn is_in_progress(error: &SdkError<TransactWriteItemsError>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("TransactionInProgressException")
}

/// A request that the SDK will not build is our own mistake.
fn construction() -> StoreError {
    StoreError::Refused { operation: "request", code: "construction failure".to_owned() }
}

/// A client request token: at most 36 characters.
pub(crate) fn new_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
