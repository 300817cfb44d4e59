//! A batch with poison in it: what nobody can read, and what makes a worker panic, beside good jobs.

#[path = "../../../queue/tests/it/fixture.rs"]
mod queues;

use std::sync::{Arc, Mutex};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use sync_core::{Timestamp, job::Lane, job::Trigger};
use sync_lambda::{batch, emf::Emf};
use sync_queue::JobMessage;

use queues::Queues;

fn job(mailbox: &str) -> String {
    let message = JobMessage::V1 {
        mailbox: mailbox.parse().expect("an id"),
        trigger: Trigger::Push,
        target: None,
        step: None,
        trace: format!("trace-of-{mailbox}"),
        sent_at: Timestamp::UNIX_EPOCH,
    };
    message.body()
}

/// The batch as Lambda's poller would hand it over.
async fn batch_of(world: &Queues, bodies: &[String]) -> SqsEvent {
    for body in bodies {
        world
            .client
            .send_message()
            .queue_url(&world.config.sync_url)
            .message_body(body)
            .send()
            .await
            .expect("sent");
    }
    let receive = world.client.receive_message().queue_url(&world.config.sync_url).max_number_of_messages(10);
    let received = receive.send().await.expect("received").messages.unwrap_or_default();
    assert_eq!(received.len(), bodies.len());
    let records = received.into_iter().map(|message| {
        let mut record = SqsMessage::default();
        record.message_id = message.message_id;
        record.receipt_handle = message.receipt_handle;
        record.body = message.body;
        record.attributes.insert("ApproximateReceiveCount".to_owned(), "1".to_owned());
        record
    });
    let mut event = SqsEvent::default();
    event.records = records.collect();
    event
}

#[tokio::test]
async fn poison_blocks_no_job_beside_it() {
    let world = Queues::new().await;
    let bodies =
        [job("mbx_good1"), "nonsense".to_owned(), job("mbx_panics"), job("mbx_fails"), job("mbx_good2")];
    let event = batch_of(&world, &bodies).await;
    let id_of = |mailbox: &str| {
        let record = event.records.iter().find(|record| record.body.as_deref() == Some(&job(mailbox)));
        record.and_then(|record| record.message_id.clone()).expect("in the batch")
    };
    let mut failing = [id_of("mbx_panics"), id_of("mbx_fails")];
    failing.sort();
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&done);
    let handle = move |message: JobMessage, lane| {
        let seen = Arc::clone(&seen);
        async move {
            assert_eq!(lane, Lane::Sync);
            let mailbox = message.mailbox().to_string();
            assert!(mailbox != "mbx_panics", "poison");
            if mailbox == "mbx_fails" {
                return Err("no".to_owned());
            }
            seen.lock().expect("one at a time").push(mailbox);
            Ok(())
        }
    };
    let response = batch::run(&world.queue, &Emf::new("test", "worker"), event, handle).await;
    let mut failed: Vec<String> =
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
    failed.sort();
    assert_eq!(failed, failing, "these come again; what nobody can read does not");
    let mut done = done.lock().expect("all are done").clone();
    done.sort();
    assert_eq!(done, ["mbx_good1", "mbx_good2"]);
    let letters = world.queue.dead_letters().await.expect("read");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].job.as_ref(), letters[0].reason.as_str()), (None, "malformed: not JSON"));
}
