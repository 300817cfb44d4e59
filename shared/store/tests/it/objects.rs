//! Bodies and lists in S3, and the health of the three parts.

use sync_core::{
    MailboxId, MessageId, ThreadId,
    message::{BodyForm, BodyRef},
    sync::Listed,
};
use sync_store::{Store, StoreConfig, StoreError};

use crate::fixture::World;

#[tokio::test]
async fn raw_mail_is_read_back_byte_by_byte() {
    let world = World::new().await;
    let mailbox: MailboxId = "mbx_1".parse().expect("an id");
    let large: Vec<u8> = (0..3_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for raw in [Vec::new(), b"Subject: x\r\n\r\n\0\xff".to_vec(), large] {
        for form in [BodyForm::Raw, BodyForm::Parts] {
            let put = || world.store.put_body(&mailbox, raw.clone(), form);
            let body = put().await.expect("put");
            assert_eq!(body.form, form);
            assert_eq!(put().await.expect("put again"), body);
            assert_eq!(world.store.get_body(&mailbox, &body).await.expect("read"), Some(raw.clone()));
        }
    }
    let gone = BodyRef { sha256: "0".repeat(64), bytes: 1, form: BodyForm::Raw };
    assert_eq!(world.store.get_body(&mailbox, &gone).await.expect("read"), None);
    let too_large = world.store.put_body(&mailbox, vec![0; 64 * 1_024 * 1_024 + 1], BodyForm::Raw).await;
    assert!(matches!(too_large, Err(StoreError::TooLarge { .. })));
}

#[tokio::test]
async fn a_list_is_read_by_position() {
    let world = World::new().await;
    let mailbox: MailboxId = "mbx_1".parse().expect("an id");
    let threaded: Vec<Listed> =
        (0..1_000).rev().map(|n| Listed::new(MessageId(u64::MAX - n), ThreadId(n / 7))).collect();
    let alone: Vec<Listed> = threaded.iter().map(|listed| Listed::alone(listed.id)).collect();
    for (name, expected) in [("7-1", &alone), ("7-1.threads", &threaded)] {
        world.store.save_list(&mailbox, name, &threaded).await.expect("saved");
        let load = |position, limit| world.store.load_list(&mailbox, name, position, limit);
        assert_eq!(load(0, 3).await.expect("read"), expected[..3]);
        assert_eq!(load(998, 25).await.expect("read"), expected[998..], "fewer at the end");
        for beyond in [1_000, 1_001, u64::MAX] {
            assert_eq!(load(beyond, 25).await.expect("read"), [], "position {beyond}");
        }
        assert_eq!(load(0, 0).await.expect("read"), []);
    }
    world.store.save_list(&mailbox, "empty", &[]).await.expect("saved");
    assert_eq!(world.store.load_list(&mailbox, "empty", 0, 5).await.expect("read"), []);
    let missing = world.store.load_list(&mailbox, "missing", 0, 5).await;
    assert!(matches!(missing, Err(StoreError::NotFound { what: "list" })));
}

#[tokio::test]
async fn health_names_the_part_that_is_missing() {
    let world = World::new().await;
    assert!(world.store.health().await.iter().all(|check| check.result.is_ok()));
    let config = StoreConfig { bucket: "no-such-bucket".to_owned(), ..world.config.clone() };
    let checks = Store::new(&world.sdk, config).health().await;
    let failed: Vec<&str> =
        checks.iter().filter(|check| check.result.is_err()).map(|check| check.name).collect();
    assert_eq!(failed, ["bucket"]);
}
