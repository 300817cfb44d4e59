//! The queue's contract, over the real SDK against an emulated AWS.

mod fixture;

use aws_sdk_sqs::types::Message;
use sync_core::{HistoryId, SignedDuration, Timestamp, job::Lane, job::Trigger};
use sync_queue::{JobMessage, MessageError, Queue, QueueConfig};

use fixture::{Queues, sdk};

impl Queues {
    /// Puts a body into a dead-letter queue, as SQS does with what failed too often.
    async fn bury(&self, url: &str, body: &str) {
        self.client.send_message().queue_url(url).message_body(body).send().await.expect("sent");
    }

    /// Messages of a queue, until there are `count` or ten receives were empty.
    async fn receive(&self, url: &str, count: usize) -> Vec<Message> {
        let mut found = Vec::new();
        for _ in 0..10 {
            let receive = self.client.receive_message().queue_url(url).max_number_of_messages(10);
            let receive = receive.message_attribute_names("All").wait_time_seconds(1);
            found.extend(receive.send().await.expect("received").messages.unwrap_or_default());
            if found.len() >= count {
                break;
            }
        }
        found
    }
}

fn message(n: u64) -> JobMessage {
    JobMessage::V1 {
        mailbox: format!("mbx_{n}").parse().expect("an id"),
        trigger: Trigger::Push,
        target: Some(HistoryId(u64::MAX)),
        step: Some(n),
        trace: "trace".to_owned(),
        sent_at: Timestamp::UNIX_EPOCH,
    }
}

fn parse(message: &Message) -> JobMessage {
    JobMessage::parse(message.body().expect("a body")).expect("a job")
}

#[tokio::test]
async fn a_job_arrives_whole_in_its_own_lane() {
    let world = Queues::new().await;
    let tenant = "ten_1".parse().expect("an id");
    let send = |lane, n| {
        let (queue, tenant) = (&world.queue, &tenant);
        async move { queue.send(lane, &message(n), SignedDuration::ZERO, Some(tenant)).await }
    };
    send(Lane::Sync, 1).await.expect("sent");
    send(Lane::Backfill, 2).await.expect("sent");
    assert_eq!(world.queue.depth(Lane::Sync).await.expect("read").ready, 1);
    let received = world.receive(&world.config.sync_url, 1).await;
    assert_eq!(received.iter().map(parse).collect::<Vec<_>>(), [message(1)]);
    let health = world.queue.health().await.expect("read");
    assert_eq!((health.sync.in_flight, health.backfill.ready, health.dead_letters.ready), (1, 1, 0));
}

#[tokio::test]
async fn a_batch_larger_than_ten_arrives_whole() {
    let world = Queues::new().await;
    let tenant: sync_core::TenantId = "ten_1".parse().expect("an id");
    let messages: Vec<_> = (0..23).map(|n| (message(n), (n % 2 == 0).then(|| tenant.clone()))).collect();
    world.queue.send_batch(Lane::Backfill, &messages, SignedDuration::ZERO).await.expect("sent");
    let received = world.receive(&world.config.backfill_url, 23).await;
    let mut mailboxes: Vec<String> = received.iter().map(|one| parse(one).mailbox().to_string()).collect();
    mailboxes.sort_unstable();
    mailboxes.dedup();
    assert_eq!(mailboxes.len(), 23);
    world.queue.send_batch(Lane::Sync, &[], SignedDuration::ZERO).await.expect("nothing to send");
}

#[tokio::test]
async fn a_delay_beyond_what_sqs_takes_is_cut_down_and_the_message_waits() {
    let world = Queues::new().await;
    world.queue.send(Lane::Sync, &message(1), SignedDuration::from_hours(5), None).await.expect("sent");
    let depth = world.queue.depth(Lane::Sync).await.expect("read");
    assert_eq!((depth.ready, depth.delayed), (0, 1));
}

#[tokio::test]
async fn a_message_put_off_comes_again_when_its_time_has_come() {
    let world = Queues::new().await;
    world.queue.send(Lane::Sync, &message(1), SignedDuration::ZERO, None).await.expect("sent");
    let first = world.receive(&world.config.sync_url, 1).await;
    let handle = first[0].receipt_handle().expect("a handle");
    world.queue.retry_later(Lane::Sync, handle, SignedDuration::ZERO).await.expect("put off");
    let again = world.receive(&world.config.sync_url, 1).await;
    assert_eq!(parse(&again[0]), message(1));
}

#[tokio::test]
async fn what_nobody_can_read_is_parked_with_its_reason() {
    let world = Queues::new().await;
    let newer = r#"{"v":"7","what":"is this"}"#;
    let error = JobMessage::parse(newer).expect_err("an unknown version");
    assert!(matches!(error, MessageError::UnknownVersion(_)));
    world.queue.dead_letter(newer, &error.to_string()).await.expect("parked");
    world.queue.dead_letter("", "").await.expect("an empty body is parked too");
    let parked = world.receive(&world.config.dead_letter_url, 2).await;
    assert_eq!(parked.len(), 2);
    let letter = parked.iter().find(|letter| letter.body() == Some(newer)).expect("the body as it was");
    let reason = letter.message_attributes().expect("attributes")["reason"].string_value();
    assert_eq!(reason, Some("unknown version \"7\""));
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_a_lasting_error() {
    let world = Queues::new().await;
    let url = world.client.create_queue().queue_name(format!("gone-{}", std::process::id()));
    let url = url.send().await.expect("a queue").queue_url.expect("its address");
    world.client.delete_queue().queue_url(&url).send().await.expect("deleted");
    let config = QueueConfig { sync_url: url, ..world.config.clone() };
    let sdk = sdk(world.config.sync_url.split("/000").next().expect("an endpoint")).await;
    let queue = Queue::new(&sdk, config);
    let error = queue.send(Lane::Sync, &message(1), SignedDuration::ZERO, None).await.expect_err("gone");
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn dead_letters_are_shown_without_their_bodies_and_stay_where_they_are() {
    let world = Queues::new().await;
    world.queue.dead_letter("alice@example.com wrote this", "not JSON").await.expect("parked");
    world.bury(&world.config.backfill_dead_letter_url, &message(7).body()).await;
    for _ in 0..2 {
        let mut letters = world.queue.dead_letters().await.expect("read");
        letters.sort_by_key(|letter| letter.lane == Lane::Backfill);
        assert_eq!(letters.len(), 2, "{letters:?}");
        assert_eq!(
            (letters[0].reason.as_str(), letters[0].lane, &letters[0].job),
            ("not JSON", Lane::Sync, &None)
        );
        assert_eq!((letters[1].lane, &letters[1].job), (Lane::Backfill, &Some(message(7))));
        assert!(letters[1].reason.contains("failed as often"), "{letters:?}");
        assert!(letters.iter().all(|letter| letter.sent_at.is_some()));
        assert!(!format!("{letters:?}").contains("alice"), "a body may hold anything");
    }
    assert_eq!(world.queue.dead_letters_depth().await.expect("read").total(), 2);
}

#[tokio::test]
async fn dead_letters_go_back_to_their_own_queue_and_what_nobody_reads_stays() {
    let world = Queues::new().await;
    for n in 0..25 {
        world.bury(&world.config.dead_letter_url, &message(n).body()).await;
    }
    world.queue.dead_letter("nonsense", "not JSON").await.expect("parked");
    world.bury(&world.config.backfill_dead_letter_url, &message(99).body()).await;
    let letters = world.queue.dead_letters().await.expect("read");
    let one = letters.iter().find(|letter| letter.job == Some(message(3))).expect("buried");
    let moved = |moved, unreadable| sync_queue::Redriven { moved, unreadable };
    assert_eq!(world.queue.redrive(Some(&one.id)).await.expect("moved"), moved(1, 0));
    assert_eq!(
        world.receive(&world.config.sync_url, 1).await.iter().map(parse).collect::<Vec<_>>(),
        [message(3)]
    );
    assert_eq!(world.queue.redrive(None).await.expect("moved"), moved(25, 1));
    assert_eq!(world.receive(&world.config.sync_url, 24).await.len(), 24);
    assert_eq!(
        world.receive(&world.config.backfill_url, 1).await.iter().map(parse).collect::<Vec<_>>(),
        [message(99)]
    );
    let left = world.queue.dead_letters().await.expect("read");
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(world.queue.discard_dead_letter(&left[0].id).await.expect("discarded"));
    assert!(!world.queue.discard_dead_letter(&left[0].id).await.expect("answered"), "it is gone");
    assert_eq!(world.queue.dead_letters().await.expect("read"), []);
}
