//! Grants over their whole life: withdrawn and given again, refreshed by the hour, of service accounts, under another
//! key.

use local::{Options, binary};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, SOON, World, eventually, mail, text};

const OWNER: &str = "grants@example.com";
const ROBOT: &str = "robot@project.iam.gserviceaccount.com";

#[tokio::test]
async fn a_withdrawn_grant_ends_all_calls_and_a_new_one_loses_nothing() {
    let world = World::start(Options::default()).await;
    world.create(OWNER).await;
    world.deliver(OWNER, "INBOX", mail("before")).await;
    let mailbox = world.connect_and_sync(OWNER).await;

    world.sim(Method::POST, &format!("mailboxes/{OWNER}/revoke"), &json!({})).await;
    world.deliver(OWNER, "INBOX", mail("in-between")).await;
    let asked = world.api(Method::POST, &format!("/api/sync/{OWNER}"), None).await;
    // The push may have been quicker.
    assert!(matches!(asked.status, 202 | 409), "{asked:?}");
    let parked = world.until_status(OWNER, "parked", |status| status["status"] == "needs_reauth").await;
    assert_eq!(parked["reconnect"], format!("/gmail/auth/url?redirect=true&mailbox={mailbox}"), "{parked}");
    assert!(text(&parked["lastError"]).contains("revoked"), "{parked}");

    let before = world.calls(OWNER, "token").await;
    world.deliver(OWNER, "INBOX", mail("after")).await;
    let looks = world.logged("worker", "not to be synced").await.len();
    push(&world).await;
    world.until_logged("worker", "not to be synced", looks).await;
    for task in ["fan-out", "refresh"] {
        world.system.run_cron(task).await.expect("the task runs");
    }
    let refused = world.api(Method::POST, &format!("/api/sync/{OWNER}"), None).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(world.calls(OWNER, "token").await, before, "a grant that is gone is not asked with");
    assert_eq!(events(&world, &mailbox, "mailbox.needs_reauth").await, 1);

    world.sim(Method::DELETE, &format!("mailboxes/{OWNER}/revoke"), &json!({})).await;
    let (again, answer) = world.connect(OWNER).await;
    assert_eq!((again.as_str(), answer.status), (mailbox.as_str(), 200), "the same mailbox");
    world.until_equal("a new grant", OWNER).await;
    assert!(world.until_healthy(OWNER).await["reconnect"].is_null());
    assert_eq!(events(&world, &mailbox, "mailbox.needs_reauth").await, 1, "one event, however often");
}

/// A push as one that Gmail sent before it knew: signed, and for a mailbox that is parked.
async fn push(world: &World) {
    world.sim(Method::DELETE, &format!("mailboxes/{OWNER}/revoke"), &json!({})).await;
    let topic = json!({"topicName": "projects/gmail-sync-local/topics/gmail-notifications"});
    // A watch fires one push at once.
    world.gmail(OWNER, Method::POST, "watch", &topic).await;
    world.sim(Method::POST, &format!("mailboxes/{OWNER}/revoke"), &json!({})).await;
}

async fn events(world: &World, mailbox: &str, kind: &str) -> usize {
    let changes = world.get(&format!("/api/changes?mailbox={mailbox}&after=0&limit=500")).await;
    changes["items"].as_array().expect("items").iter().filter(|change| change["type"] == kind).count()
}

#[tokio::test]
async fn a_service_account_syncs_a_mailbox_of_its_domain_and_its_token_is_refreshed_by_the_hour() {
    let world = World::start(Options::default()).await;
    world.create(OWNER).await;
    world.deliver(OWNER, "INBOX", mail("delegated")).await;
    let made = world.sim(Method::POST, &format!("service-accounts/{ROBOT}"), &json!({})).await;
    let connect = async |key: String, user: &str| -> Answer {
        let keys =
            json!({"serviceAccountEmail": ROBOT, "serviceAccountKey": key, "impersonatedUserEmail": user});
        let body = json!({"authType": "service_account", "keys": keys});
        world.api(Method::POST, "/api/integrations", Some(&body)).await
    };
    let stranger = connect(made.to_string(), "nobody@example.com").await;
    assert_eq!(
        (stranger.status, &stranger.body["errors"][0]["field"]),
        (400, &json!("keys.serviceAccountKey"))
    );
    let narrow = json!({"scopes": ["https://www.googleapis.com/auth/gmail.send"]});
    world.sim(Method::POST, &format!("service-accounts/{ROBOT}"), &narrow).await;
    let refused = connect(text(&made["private_key"]), OWNER).await;
    assert_eq!(
        (refused.status, &refused.body["errors"][0]["field"]),
        (400, &json!("keys.serviceAccountEmail"))
    );
    let wide = json!({"scopes": ["https://www.googleapis.com/auth/gmail.readonly"]});
    world.sim(Method::POST, &format!("service-accounts/{ROBOT}"), &wide).await;

    let connected = connect(made.to_string(), OWNER).await;
    assert_eq!((connected.status, &connected.body["mailbox"]["authType"]), (201, &json!("service_account")));
    let mailbox = text(&connected.body["mailbox"]["id"]);
    world.until_equal("the delegated mailbox", OWNER).await;
    world.until_healthy(OWNER).await;

    let before = world.calls(OWNER, "token").await;
    let ticked = world.system.run_cron("refresh").await.expect("the task runs");
    assert_eq!(ticked["queued"], 1, "its token lapses within the hour");
    eventually("the token is refreshed", SOON, async || {
        let calls = world.calls(OWNER, "token").await;
        if calls == before + 1 { Ok(()) } else { Err(format!("{calls} calls")) }
    })
    .await;

    rotates_the_key(&world).await;
    world.deliver(OWNER, "INBOX", mail("under-the-new-key")).await;
    world.until_equal("another key", OWNER).await;

    let gone = world.api(Method::DELETE, &format!("/api/integrations/{mailbox}?purge=true"), None).await;
    assert_eq!((gone.status, &gone.body["purged"], &gone.body["warnings"]), (200, &json!(true), &json!([])));
    assert_eq!(world.calls(OWNER, "stop").await, 1, "the watch is stopped");
    // The key is its owner's still: only the token was given back.
    assert_eq!(connect(made.to_string(), OWNER).await.status, 201);
}

/// The first half of a rotation, as an operator runs it; the second comes twenty minutes later.
async fn rotates_the_key(world: &World) {
    let output = tokio::process::Command::new(binary("gmail-sync"))
        .args(["admin", "rotate-key", "--json"])
        .env("TABLE_NAME", world.output("TableName"))
        .env("ENCRYPTION_SECRET_ID", world.output("EncryptionSecretId"))
        .env("AWS_ENDPOINT_URL", world.system.cloud().endpoint())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .expect("gmail-sync starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rotated: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&rotated["stage"], &rotated["key"]), (&json!("waiting"), &json!("k2")), "{rotated}");
    assert_eq!((&rotated["credentials"], &rotated["resealed"]), (&json!(1), &json!(1)), "{rotated}");
    assert!(rotated["againAfter"].is_string());
}

#[tokio::test]
async fn two_tenants_share_an_address_and_the_last_one_gives_the_grant_back() {
    let world = World::start(Options::default()).await;
    world.create(OWNER).await;
    let (first, _) = world.connect(OWNER).await;
    let other = world.another_tenant("other").await;
    let body = json!({"authType": "oauth", "keys": {"refreshToken": format!("sim:{OWNER}")}});
    let connected = world.api_as(&other, Method::POST, "/api/integrations", Some(&body)).await;
    assert_eq!(connected.status, 201, "{connected:?}");
    let second = text(&connected.body["mailbox"]["id"]);

    let gone = world.api(Method::DELETE, &format!("/api/integrations/{first}?purge=true"), None).await;
    assert_eq!((gone.status, &gone.body["purged"]), (200, &json!(true)), "{gone:?}");
    assert_eq!(world.calls(OWNER, "stop").await, 0, "the other tenant's pushes go on");
    let synced = world.api_as(&other, Method::POST, &format!("/api/sync/{second}?wait=true"), None).await;
    assert_eq!(synced.body["status"], "success", "and its grant works: {synced:?}");
    let gone = world.api_as(&other, Method::DELETE, &format!("/api/integrations/{second}"), None).await;
    assert_eq!((gone.status, &gone.body["warnings"]), (200, &json!([])), "{gone:?}");
    assert_eq!(world.calls(OWNER, "stop").await, 1);
    let refused = world.api(Method::POST, "/api/integrations", Some(&body)).await;
    assert_eq!(
        (refused.status, &refused.body["errors"][0]["field"]),
        (400, &json!("keys.refreshToken")),
        "given back"
    );
}
