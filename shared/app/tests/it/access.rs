//! Access tokens: one refresh at a time, whoever asks, and none with a grant that is gone.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sync_app::{
    access::{Access, Denied, Need, Tokens},
    fan_out::{Round, fan_out},
    refresh::refresh,
};
use sync_core::{
    Disposition, MailboxId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    state::{CredentialKind, Status},
    sync::Happened,
};
use sync_store::{Claimed, NewCredential};
use wiremock::{Mock, ResponseTemplate, matchers::path};

use crate::{
    api::world::World,
    worker::{ADDRESS, connected, worker},
};

/// A grant whose access token lapses after so long.
async fn grant(world: &World, mailbox: &MailboxId, secret: &str, lapses: SignedDuration) -> u64 {
    let now = Timestamp::now();
    let credential = NewCredential {
        kind: CredentialKind::Oauth,
        secret: SecretString::from(secret),
        access_token: Some(SecretString::from("stored")),
        expires_at: Some(now + lapses),
        scopes: Vec::new(),
    };
    world.store.save_credential(mailbox, &credential, now).await.expect("saved")
}

/// The token endpoint gives `fresh`, after a while, so that callers meet.
async fn google_is_slow(world: &World) {
    let token = json!({"access_token": "fresh", "token_type": "Bearer", "expires_in": 3599});
    let answer = ResponseTemplate::new(200).set_body_json(token).set_delay(Duration::from_millis(300));
    Mock::given(path("/token")).respond_with(answer).mount(&world.gmail).await;
}

async fn google_says_no(world: &World) {
    let refusal = ResponseTemplate::new(400).set_body_json(json!({"error": "invalid_grant"}));
    Mock::given(path("/token")).respond_with(refusal).mount(&world.gmail).await;
}

async fn obtain(world: &World, mailbox: &MailboxId) -> Result<Access, Denied> {
    let clients = &world.clients;
    let (store, gmail, client) = (&world.store, &clients.gmail, &clients.oauth);
    Tokens { store, gmail, client, mailbox }.obtain(Need::Any, Timestamp::now()).await
}

/// So many callers at once; which tokens they got.
async fn callers(world: &World, mailbox: &MailboxId, count: usize) -> Vec<String> {
    let calls = (0..count).map(|_| obtain(world, mailbox));
    let given = futures::future::join_all(calls).await;
    given.into_iter().map(|a| a.expect("a token").token.token.expose_secret().to_owned()).collect()
}

#[tokio::test]
async fn of_many_callers_at_once_one_asks_google() {
    let world = World::new().await;
    google_is_slow(&world).await;
    let lapsed = world.mailbox("ten_a", "lapsed@example.com").await;
    grant(&world, &lapsed, "1//a", SignedDuration::ZERO).await;
    assert_eq!(
        callers(&world, &lapsed, 40).await,
        vec!["fresh"; 40],
        "whoever lost reads what the winner kept"
    );
    assert_eq!(world.token_calls().await, 1);

    let soon = world.mailbox("ten_a", "soon@example.com").await;
    grant(&world, &soon, "1//b", SignedDuration::from_mins(3)).await;
    let given = callers(&world, &soon, 40).await;
    assert_eq!(given.iter().filter(|token| *token == "fresh").count(), 1, "the others use what still works");
    assert_eq!(world.token_calls().await, 2);
    assert_eq!(callers(&world, &soon, 10).await, vec!["fresh"; 10]);
    assert_eq!(world.token_calls().await, 2);
}

#[tokio::test]
async fn who_waits_in_vain_comes_back_later_and_a_holder_that_died_is_not_waited_for() {
    let world = World::new().await;
    google_is_slow(&world).await;
    let mailbox = world.mailbox("ten_a", ADDRESS).await;
    grant(&world, &mailbox, "1//a", SignedDuration::ZERO).await;
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    let now = Timestamp::now();
    let claim = world.store.claim_refresh(&mailbox, &read, now + SignedDuration::from_secs(60), now).await;
    let Ok(Claimed::Ours(claim)) = claim else { panic!("nobody else wants it") };
    let clients = &world.clients;
    let tokens =
        Tokens { store: &world.store, gmail: &clients.gmail, client: &clients.oauth, mailbox: &mailbox };
    let denied = tokens.obtain(Need::Any, now).await.err().expect("somebody else is at it");
    assert!(matches!(denied.failure.disposition, Disposition::Wait(_)), "{denied:?}");
    assert_eq!(world.token_calls().await, 0);
    // Its time is over.
    let later = now + SignedDuration::from_secs(61);
    assert_eq!(tokens.obtain(Need::Any, later).await.expect("a token").token.token.expose_secret(), "fresh");
    world.store.release_refresh(&mailbox, &claim).await.expect("it is too late to do harm");
}

#[tokio::test]
async fn an_outage_of_the_token_endpoint_is_outlived_by_what_still_works() {
    let world = World::new().await;
    Mock::given(path("/token")).respond_with(ResponseTemplate::new(503)).mount(&world.gmail).await;
    let mailbox = world.mailbox("ten_a", ADDRESS).await;
    grant(&world, &mailbox, "1//a", SignedDuration::from_mins(3)).await;
    assert_eq!(callers(&world, &mailbox, 1).await, ["stored"]);
    grant(&world, &mailbox, "1//a", SignedDuration::ZERO).await;
    let failed = obtain(&world, &mailbox).await;
    assert!(matches!(failed.err().expect("nothing works").failure.disposition, Disposition::Retry(_)));
    // The claim was given back: the next one asks at once.
    let read = world.store.read_credential(&mailbox).await.expect("read").expect("there");
    let now = Timestamp::now();
    let claim = world.store.claim_refresh(&mailbox, &read, now + SignedDuration::from_secs(5), now).await;
    assert!(matches!(claim, Ok(Claimed::Ours(_))));
}

#[tokio::test]
async fn a_grant_that_is_gone_is_asked_with_once_and_a_newer_one_is_not_parked_for_it() {
    let world = World::new().await;
    google_says_no(&world).await;
    let mailbox = world.mailbox("ten_a", ADDRESS).await;
    let old = grant(&world, &mailbox, "1//old", SignedDuration::ZERO).await;
    let clients = &world.clients;
    let tokens =
        Tokens { store: &world.store, gmail: &clients.gmail, client: &clients.oauth, mailbox: &mailbox };
    for _ in 0..5 {
        let denied = tokens.obtain(Need::Any, Timestamp::now()).await.err().expect("it is gone");
        assert_eq!((denied.failure.disposition, denied.version), (Disposition::NeedsReauth, Some(old)));
    }
    assert_eq!(world.token_calls().await, 1, "no further calls");
    let new = grant(&world, &mailbox, "1//new", SignedDuration::from_hours(1)).await;
    assert!(!world.store.refuse_credential(&mailbox, old, Timestamp::now()).await.expect("answered"));
    let access = tokens.obtain(Need::Any, Timestamp::now()).await.expect("the new one works");
    assert_eq!((access.version, access.token.token.expose_secret()), (new, "stored"));
}

/// A worker that takes a job of the hourly task.
async fn refreshed(world: &World, mailbox: &MailboxId, asked_at: Timestamp) {
    let job = Job {
        mailbox: mailbox.clone(),
        trigger: Trigger::Refresh,
        target: None,
        step: None,
        lane: Lane::Sync,
    };
    let checkpoint_at = Timestamp::now() + SignedDuration::from_secs(60);
    let worker = worker(world);
    refresh(&worker, job, "trace", "owner", checkpoint_at, asked_at).await.expect("not interrupted");
}

#[tokio::test]
async fn a_token_that_lapses_within_the_hour_is_refreshed_by_its_job_once_and_without_a_look() {
    let world = World::new().await;
    google_is_slow(&world).await;
    let mailbox = world.mailbox("ten_a", ADDRESS).await;
    grant(&world, &mailbox, "1//a", SignedDuration::from_mins(50)).await;
    let paused = world.mailbox("ten_a", "paused@example.com").await;
    grant(&world, &paused, "1//b", SignedDuration::from_mins(50)).await;
    let fresh = world.mailbox("ten_a", "fresh@example.com").await;
    grant(&world, &fresh, "1//c", SignedDuration::from_mins(90)).await;
    world.store.pause(&paused, Timestamp::now()).await.expect("paused");
    let queued = async || {
        let (store, queue) = (&world.store, &world.clients.queue);
        fan_out(store, queue, Round::Lapsing, "trace", Timestamp::now()).await.expect("queued").queued
    };
    assert_eq!(queued().await, 2, "not the one that has more than an hour");

    let asked_at = Timestamp::now();
    refreshed(&world, &mailbox, asked_at).await;
    refreshed(&world, &mailbox, asked_at).await;
    refreshed(&world, &paused, asked_at).await;
    assert_eq!(world.token_calls().await, 1, "the same job twice; and one that is not synced");
    let requests = world.gmail.received_requests().await.expect("recorded");
    assert!(requests.iter().all(|request| request.url.path() == "/token"), "no look");
    assert_eq!(queued().await, 1, "the paused one rests");
    world.store.resume(&paused, Timestamp::now()).await.expect("resumed");
    grant(&world, &paused, "1//b", SignedDuration::from_mins(3)).await;
    callers(&world, &paused, 1).await;
    assert_eq!(queued().await, 2, "once it is used again it is refreshed again");
}

#[tokio::test]
async fn a_refresh_that_google_refuses_parks_the_mailbox_with_one_event_and_one_call() {
    let world = World::new().await;
    google_says_no(&world).await;
    let mailbox = connected(&world).await;
    for _ in 0..3 {
        refreshed(&world, &mailbox, Timestamp::now()).await;
    }
    let sync = world.store.read_sync(&mailbox).await.expect("read").expect("there");
    assert_eq!(sync.status, Status::NeedsReauth);
    assert!(sync.progress.errors.last.is_some_and(|error| error.contains("revoked")));
    let events = world.store.read_events(&mailbox, 0, 10, Timestamp::now()).await.expect("read").events;
    assert_eq!(events.iter().filter(|event| event.what == Happened::NeedsReauth).count(), 1, "{events:?}");
    assert_eq!(world.token_calls().await, 1);
}
