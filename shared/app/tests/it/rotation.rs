//! The encryption key is rotated while everything goes on.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sync_app::access::{Need, Tokens};
use sync_core::{MailboxId, SignedDuration, Timestamp, state::CredentialKind};
use sync_store::{
    ConsentSpent, NewCredential, PendingConsent, RotationStage, Store, StoreConfig, random_secret,
};
use wiremock::{Mock, ResponseTemplate, matchers::path};

use crate::api::world::{World, tenant};

/// How long the stores of this test keep keys, instead of five minutes; and what a rotation waits for.
const KEPT: Duration = Duration::from_millis(500);
const GRACE: SignedDuration = SignedDuration::from_secs(3);
/// Longest rotation of a few mailboxes.
const ROTATION_MAX: Duration = Duration::from_mins(1);

/// The same table and secret, seen by another process.
fn another(world: &World) -> Store {
    let config = StoreConfig {
        table: world.table.clone(),
        bucket: "none".to_owned(),
        encryption_secret_id: world.encryption_secret_id.clone(),
    };
    Store::new(&world.aws, config).keeping_keys(KEPT)
}

async fn secret_text(world: &World) -> String {
    let secrets = aws_sdk_secretsmanager::Client::new(&world.aws);
    let read = secrets.get_secret_value().secret_id(&world.encryption_secret_id).send().await.expect("read");
    read.secret_string.expect("text")
}

async fn grant(store: &Store, mailbox: &MailboxId, lapses: SignedDuration) {
    let now = Timestamp::now();
    let credential = NewCredential {
        kind: CredentialKind::Oauth,
        secret: SecretString::from(format!("1//secret-of-{mailbox}")),
        access_token: Some(SecretString::from("ya29.secret")),
        expires_at: Some(now + lapses),
        scopes: Vec::new(),
    };
    store.save_credential(mailbox, &credential, now).await.expect("saved");
}

fn pending() -> PendingConsent {
    PendingConsent {
        tenant: tenant("ten_1"),
        asked_with: "nobody".to_owned(),
        from_dashboard: false,
        verifier: "verifier-in-clear".into(),
        redirect_uri: "http://localhost/gmail/auth/callback".to_owned(),
        return_to: None,
        mailbox: None,
        expires_at: Timestamp::now() + SignedDuration::from_mins(10),
    }
}

/// Workers refresh and people connect, until they are told to stop; how often they did.
async fn go_on(world: &World, store: &Store, mailboxes: &[MailboxId], stop: &AtomicBool) -> usize {
    let done = AtomicUsize::new(0);
    let clients = &world.clients;
    let work = mailboxes.iter().enumerate().map(async |(index, mailbox)| {
        while !stop.load(Ordering::Relaxed) {
            if index % 2 == 0 {
                // Lapsed, so that it is refreshed at once.
                grant(store, mailbox, SignedDuration::ZERO).await;
            }
            let tokens = Tokens { store, gmail: &clients.gmail, client: &clients.oauth, mailbox };
            let token = tokens.obtain(Need::MadeSince(Timestamp::now()), Timestamp::now()).await;
            assert!(token.is_ok(), "a worker never lacks a key: {:?}", token.err());
            let state = random_secret().expect("random");
            store.begin_consent(&state, None, &pending()).await.expect("begun");
            let spent = store.spend_consent(&state, None, Timestamp::now()).await.expect("answered");
            assert!(matches!(spent, ConsentSpent::Taken(_)));
            done.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    futures::future::join_all(work).await;
    done.into_inner()
}

#[tokio::test]
async fn a_key_is_rotated_while_workers_and_people_go_on_and_the_old_one_is_gone() {
    let world = World::new().await;
    let token = json!({"access_token": "ya29.fresh", "token_type": "Bearer", "expires_in": 3599});
    let answer = ResponseTemplate::new(200).set_body_json(token);
    Mock::given(path("/token")).respond_with(answer).mount(&world.gmail).await;
    let (worker, operator) = (another(&world), another(&world));
    let mut mailboxes = Vec::new();
    for index in 0..12 {
        let mailbox = world.mailbox("ten_1", &format!("user{index}@example.com")).await;
        grant(&worker, &mailbox, SignedDuration::from_mins(30)).await;
        mailboxes.push(mailbox);
    }
    // Nobody uses these: only the walk seals them anew. One grant is gone, and is walked to all the same.
    let (busy, idle) = mailboxes.split_at(4);
    let read = worker.read_credential(&idle[0]).await.expect("read").expect("there");
    worker.refuse_credential(&idle[0], read.version, Timestamp::now()).await.expect("noted");

    let stop = AtomicBool::new(false);
    let rotate = async {
        let began = tokio::time::Instant::now();
        let first = operator.rotate_key(true, GRACE, Timestamp::now()).await.expect("begun");
        assert!(matches!(first.stage, RotationStage::Waiting(_)), "{first:?}");
        assert!(first.resealed >= 8 && first.current == "k2", "{first:?}");
        assert!(
            secret_text(&world).await.contains("\"k1\""),
            "the old key opens what others seal with it still"
        );
        let removed = loop {
            let now = Timestamp::now();
            match operator.rotate_key(true, GRACE, now).await.expect("goes on").stage {
                RotationStage::Finished(removed) => break removed,
                RotationStage::Waiting(until) => {
                    let left = until.duration_since(now).unsigned_abs();
                    tokio::time::sleep(left.min(Duration::from_millis(200))).await;
                }
                RotationStage::Busy | RotationStage::Idle => {}
            }
            assert!(began.elapsed() < ROTATION_MAX, "it comes to an end");
        };
        stop.store(true, Ordering::Relaxed);
        removed
    };
    let (removed, done) = tokio::join!(rotate, go_on(&world, &worker, busy, &stop));
    assert_eq!(removed, ["k1"]);
    assert!(done > 10, "everything went on: {done}");
    assert!(!secret_text(&world).await.contains("\"k1\""));
    let fresh = another(&world);
    for mailbox in &mailboxes {
        let read =
            fresh.read_credential(mailbox).await.expect("opens with the new key alone").expect("there");
        assert_eq!(read.secret.expose_secret(), format!("1//secret-of-{mailbox}"));
    }
    let again = operator.rotate_key(false, GRACE, Timestamp::now()).await.expect("answered");
    assert_eq!(again.stage, RotationStage::Idle, "nothing is under way, and nothing is begun");
    a_copy_of_the_table_holds_no_secret(&world, &fresh).await;
}

async fn a_copy_of_the_table_holds_no_secret(world: &World, store: &Store) {
    let state = random_secret().expect("random");
    store.begin_consent(&state, None, &pending()).await.expect("begun");
    let dynamo = aws_sdk_dynamodb::Client::new(&world.aws);
    let all = dynamo.scan().table_name(&world.table).send().await.expect("read");
    let items = all.items.expect("items");
    assert!(items.len() > 30);
    let text = format!("{items:?}");
    for secret in ["1//secret-of-", "ya29.", "verifier-in-clear", state.expose_secret()] {
        // `Debug` shows bytes as numbers, so look for those too.
        let bytes = format!("{:?}", secret.as_bytes());
        assert!(!text.contains(secret) && !text.contains(bytes.trim_matches(['[', ']'])), "{secret}");
    }
}

#[tokio::test]
async fn of_two_rotations_at_once_one_makes_the_key() {
    let world = World::new().await;
    let (one, other) = (another(&world), another(&world));
    let mailbox = world.mailbox("ten_1", "alice@example.com").await;
    grant(&one, &mailbox, SignedDuration::from_mins(30)).await;
    let now = Timestamp::now();
    let (a, b) = tokio::join!(one.rotate_key(true, GRACE, now), other.rotate_key(true, GRACE, now));
    assert!(a.is_ok() || b.is_ok(), "{a:?} {b:?}");
    let keys: serde_json::Value = serde_json::from_str(&secret_text(&world).await).expect("JSON");
    assert_eq!(keys.as_object().expect("an object").len(), 3, "`current`, k1, k2");
    assert_eq!(keys["current"], "k2");
    let read = another(&world).read_credential(&mailbox).await.expect("opens").expect("there");
    assert!(read.secret.expose_secret().starts_with("1//secret-of-"));
}
