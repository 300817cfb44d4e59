//! The worker against an emulated AWS: what it does beyond the engine's decisions.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use sync_app::{
    live::LiveSettings,
    metrics::Metric,
    report::Report,
    sync::{Worker, sync},
};
use sync_core::{
    MailboxId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    overrides::{Overrides, Setting},
    state::Status,
    sync::{Outcome, Settings},
};
use sync_store::{CredentialKind, NewCredential, NewMailbox, TenantRow};
use wiremock::{Mock, ResponseTemplate, matchers::path};

use crate::api::world::{World, tenant};

pub const ADDRESS: &str = "watched@example.com";

/// A connected mailbox without mail, and a Gmail that knows it.
pub async fn connected(world: &World) -> MailboxId {
    world.gmail_knows(ADDRESS).await;
    for (of, answer) in [
        ("/gmail/v1/users/me/history", json!({"historyId": "100"})),
        ("/gmail/v1/users/me/messages", json!({"resultSizeEstimate": 0})),
    ] {
        let answer = ResponseTemplate::new(200).set_body_json(answer);
        Mock::given(path(of)).respond_with(answer).mount(&world.gmail).await;
    }
    let now = Timestamp::now();
    let new = NewMailbox { tenant: tenant("ten_a"), address: ADDRESS.parse().expect("an address"), now };
    let mailbox = world.store.create_mailbox(&new).await.expect("created").mailbox().clone();
    let credential = NewCredential {
        kind: CredentialKind::Oauth,
        secret: SecretString::from(ADDRESS),
        access_token: None,
        expires_at: None,
        scopes: Vec::new(),
    };
    world.store.save_credential(&mailbox, &credential, now).await.expect("saved");
    mailbox
}

pub fn worker(world: &World) -> Worker {
    Worker {
        clients: Arc::new(world.clients.clone()),
        settings: Settings::default(),
        live: LiveSettings { fetch_window: 25, topic: Some("projects/p/topics/t".into()) },
        memory_megabytes: 512,
    }
}

async fn look(world: &World, mailbox: &MailboxId) -> Outcome {
    report(world, mailbox).await.outcome
}

async fn report(world: &World, mailbox: &MailboxId) -> Report {
    let worker = worker(world);
    let job = Job {
        mailbox: mailbox.clone(),
        trigger: Trigger::Schedule,
        target: None,
        step: None,
        lane: Lane::Backfill,
    };
    let checkpoint_at = Timestamp::now() + SignedDuration::from_secs(60);
    sync(&worker, job, "trace", "owner", checkpoint_at).await
}

#[tokio::test]
async fn a_mailbox_without_a_live_watch_gets_one_at_its_next_look_and_then_no_other() {
    let world = World::new().await;
    world.gmail_is_well().await;
    world.gmail_has_labels(&[]).await;
    let mailbox = connected(&world).await;
    let outcome = look(&world, &mailbox).await;
    assert!(matches!(outcome, Outcome::Synced(_)), "{outcome:?}");
    let sync = world.store.read_sync(&mailbox).await.expect("read").expect("there");
    assert!(sync.watch_expires_at.is_some_and(|at| at > Timestamp::now() + SignedDuration::from_hours(150)));
    look(&world, &mailbox).await;
    let requests = world.gmail.received_requests().await.expect("recorded");
    let watches = requests.iter().filter(|request| request.url.path().ends_with("/watch")).count();
    assert_eq!(watches, 1, "a watch costs 100 units");
}

#[tokio::test]
async fn a_revoked_grant_parks_the_mailbox_and_no_call_follows() {
    let world = World::new().await;
    let refusal =
        json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."});
    let refusal = ResponseTemplate::new(400).set_body_json(refusal);
    Mock::given(path("/token")).respond_with(refusal).up_to_n_times(1).mount(&world.gmail).await;
    let mailbox = connected(&world).await;
    assert!(matches!(look(&world, &mailbox).await, Outcome::Failed(_)));
    let status = |sync: Option<sync_core::state::Sync>| sync.expect("there").status;
    assert_eq!(status(world.store.read_sync(&mailbox).await.expect("read")), Status::NeedsReauth);
    let before = world.gmail.received_requests().await.expect("recorded").len();
    assert_eq!(look(&world, &mailbox).await, Outcome::NotActive(Status::NeedsReauth));
    let after = world.gmail.received_requests().await.expect("recorded").len();
    assert_eq!(before, after, "a parked mailbox makes no calls");
}

#[tokio::test]
async fn a_watch_that_had_lapsed_is_measured_and_what_the_look_used_is_counted() {
    let world = World::new().await;
    world.gmail_is_well().await;
    world.gmail_has_labels(&[]).await;
    let mailbox = connected(&world).await;
    look(&world, &mailbox).await;
    let now = Timestamp::now();
    let before = world.store.usage_today(&mailbox, now).await.expect("read");
    assert!(before.visits == 1 && before.gmail_calls["watch"] == 1, "{before:?}");
    assert!(before.dynamodb_write_units > 0.0 && before.dynamodb_read_units > 0.0, "{before:?}");

    world.store.set_watch(&mailbox, Some(now - SignedDuration::from_hours(1))).await.expect("set");
    let report = report(&world, &mailbox).await;
    assert!(report.watch.lapsed && report.watch.set, "{report:?}");
    assert_eq!(report.measures().get(Metric::WatchesLapsed), Some(1.0));
    let after = world.store.usage_today(&mailbox, now).await.expect("read");
    assert_eq!((after.visits, after.quota_units), (2, before.quota_units + report.quota_units));
}

#[tokio::test]
async fn a_look_is_made_with_what_the_tenant_and_the_mailbox_have_otherwise() {
    let world = World::new().await;
    world.gmail_is_well().await;
    world.gmail_has_labels(&[]).await;
    let row = TenantRow { id: tenant("ten_a"), name: "A".to_owned(), created_at: Timestamp::now() };
    world.store.create_tenant(&row).await.expect("made");
    let mailbox = connected(&world).await;
    let polled = |minutes: u32| {
        let mut overrides = Overrides::default();
        overrides.set(Setting::SyncIntervalMinutes, Some(minutes));
        overrides
    };
    let next = async || {
        let outcome = look(&world, &mailbox).await;
        assert!(matches!(outcome, Outcome::Synced(_)), "{outcome:?}");
        let sync = world.store.read_sync(&mailbox).await.expect("read").expect("there");
        sync.due_at.expect("due").duration_since(Timestamp::now()).as_secs()
    };
    next().await;
    let (nearly, minute) = (0.9 * 60.0, 60.0);
    let fits = |seconds: i64, minutes: f64| {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let seconds = seconds as f64;
        (minutes * nearly - 5.0..=minutes * minute).contains(&seconds)
    };
    let deployment = next().await;
    assert!(fits(deployment, 60.0), "{deployment}");
    world.store.set_tenant_overrides(&tenant("ten_a"), &polled(20)).await.expect("set");
    let of_tenant = next().await;
    assert!(fits(of_tenant, 20.0), "{of_tenant}");
    world.store.set_overrides(&mailbox, &polled(7), None).await.expect("set");
    let own = next().await;
    assert!(fits(own, 7.0), "{own}");
}
