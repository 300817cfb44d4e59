//! What a piece of work costs at AWS: DynamoDB's units as DynamoDB itself counts them, requests of S3.
//!
//! Every call of the two clients passes an interceptor. It asks DynamoDB to say what a call consumed, and adds it to
//! the meter of the task that made the call, if that has one. Invariant: metering changes no call's meaning, and what
//! cannot be counted is not counted. Deliberately absent: prices.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
            FinalizerInterceptorContextRef,
        },
    },
    error::BoxError,
    operation::{
        batch_get_item::{BatchGetItemInput, BatchGetItemOutput},
        batch_write_item::{BatchWriteItemInput, BatchWriteItemOutput},
        delete_item::{DeleteItemInput, DeleteItemOutput},
        get_item::{GetItemInput, GetItemOutput},
        put_item::{PutItemInput, PutItemOutput},
        query::{QueryInput, QueryOutput},
        transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput},
        update_item::{UpdateItemInput, UpdateItemOutput},
    },
    types::{ConsumedCapacity, ReturnConsumedCapacity},
};

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// What was spent at AWS.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// DynamoDB's read units.
    pub read_units: f64,
    /// DynamoDB's write units.
    pub write_units: f64,
    /// S3 requests that read: `GET` of an object, `HEAD`.
    pub s3_reads: u64,
    /// S3 requests of the dearer kind: `PUT`, `POST`, `LIST`. Deletions are free and are counted here all the same.
    pub s3_writes: u64,
}

/// Counts in hundredths of a unit: DynamoDB's smallest is half a one.
#[derive(Debug, Default)]
struct Meter {
    read: AtomicU64,
    write: AtomicU64,
    s3_reads: AtomicU64,
    s3_writes: AtomicU64,
}

impl Meter {
    fn read(&self, hundredths: u64) {
        self.read.fetch_add(hundredths, Ordering::Relaxed);
    }

    fn write(&self, hundredths: u64) {
        self.write.fetch_add(hundredths, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "the units of one visit are far below 2^53")]
    fn spent(&self) -> Spent {
        let units = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / 100.0;
        Spent {
            read_units: units(&self.read),
            write_units: units(&self.write),
            s3_reads: self.s3_reads.load(Ordering::Relaxed),
            s3_writes: self.s3_writes.load(Ordering::Relaxed),
        }
    }
}

/// Does the work and says what it has spent. A task that the work spawns is not counted.
pub async fn metered<T>(work: impl Future<Output = T>) -> (T, Spent) {
    let meter = Arc::new(Meter::default());
    let done = METER.scope(Arc::clone(&meter), work).await;
    (done, meter.spent())
}

fn count(what: impl FnOnce(&Meter)) {
    // Outside of metered work nobody counts.
    let _nobody_counts = METER.try_with(|meter| what(meter));
}

/// Reads the meter of DynamoDB.
#[derive(Debug)]
pub(crate) struct DynamoMeter;

impl Intercept for DynamoMeter {
    fn name(&self) -> &'static str {
        "DynamoMeter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if METER.try_with(|_| ()).is_err() {
            return Ok(());
        }
        let input = context.input_mut();
        macro_rules! ask {
            ($($kind:ty),*) => {$(
                if let Some(input) = input.downcast_mut::<$kind>() {
                    input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
                    return Ok(());
                }
            )*};
        }
        ask!(
            GetItemInput,
            QueryInput,
            BatchGetItemInput,
            PutItemInput,
            UpdateItemInput,
            DeleteItemInput,
            BatchWriteItemInput,
            TransactWriteItemsInput
        );
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Ok(output)) = context.output_or_error() else { return Ok(()) };
        macro_rules! read {
            ($counter:ident: $($kind:ty),*) => {$(
                if let Some(output) = output.downcast_ref::<$kind>() {
                    let units = hundredths(output.consumed_capacity.iter());
                    count(|meter| meter.$counter(units));
                    return Ok(());
                }
            )*};
        }
        macro_rules! read_each {
            ($counter:ident: $($kind:ty),*) => {$(
                if let Some(output) = output.downcast_ref::<$kind>() {
                    let units = hundredths(output.consumed_capacity.iter().flatten());
                    count(|meter| meter.$counter(units));
                    return Ok(());
                }
            )*};
        }
        read!(read: GetItemOutput, QueryOutput);
        read!(write: PutItemOutput, UpdateItemOutput, DeleteItemOutput);
        read_each!(read: BatchGetItemOutput);
        read_each!(write: BatchWriteItemOutput, TransactWriteItemsOutput);
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "units are small and not negative"
)]
fn hundredths<'a>(consumed: impl Iterator<Item = &'a ConsumedCapacity>) -> u64 {
    consumed.map(|one| (one.capacity_units().unwrap_or(0.0) * 100.0).round() as u64).sum()
}

/// Counts the requests of S3, each try of its own: each is paid for.
#[derive(Debug)]
pub(crate) struct ObjectMeter;

impl Intercept for ObjectMeter {
    fn name(&self) -> &'static str {
        "ObjectMeter"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let reads_object = matches!(request.method(), "GET" | "HEAD") && !request.uri().contains("list-type");
        count(|meter| {
            let counter = if reads_object { &meter.s3_reads } else { &meter.s3_writes };
            counter.fetch_add(1, Ordering::Relaxed);
        });
        Ok(())
    }
}
