//! What a tenant and a mailbox have otherwise than the deployment.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sync_core::{MailboxId, SignedDuration, Timestamp, state::Sync};
use sync_store::{Scope, TenantRow, TokenKind};

use super::world::{World, tenant};

const DEPLOYMENT: [(&str, u32); 8] = [
    ("syncIntervalMinutes", 60),
    ("syncIntervalWithoutWatchMinutes", 5),
    ("initialNewest", 50),
    ("initialDays", 30),
    ("batchMax", 1_000),
    ("massDeletionPercent", 10),
    ("massDeletionMessages", 50),
    ("deletedMailKeptDays", 30),
];

/// The deployment's settings with these in place.
fn effective(changed: &[(&str, u32)]) -> Value {
    DEPLOYMENT.iter().chain(changed).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

async fn tenant_and_mailbox(world: &World) -> (String, MailboxId, String) {
    let row = TenantRow { id: tenant("ten_1"), name: "One".to_owned(), created_at: Timestamp::now() };
    world.store.create_tenant(&row).await.expect("made");
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let path = format!("/api/integrations/{id}/settings");
    (world.admin("ten_1").await, id, path)
}

async fn sync(world: &World, mailbox: &MailboxId) -> Sync {
    world.store.read_sync(mailbox).await.expect("read").expect("there")
}

async fn audited(world: &World, token: &str) -> Vec<Value> {
    let trail = world.get(token, "/api/audit").await.json();
    let items = trail["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().map(|row| json!([row["action"], row["mailbox"]])).collect()
}

#[tokio::test]
async fn a_mailbox_has_its_own_settings_and_takes_them_back() {
    let world = World::new().await;
    let (token, id, path) = tenant_and_mailbox(&world).await;
    let fresh = world.get(&token, &path).await.json();
    assert_eq!((&fresh["overrides"], &fresh["effective"]), (&json!({}), &effective(&[])));
    let before = sync(&world, &id).await;

    let body = json!({"overrides": {"batchMax": 200, "initialDays": 7}});
    let patched = world.with_json(&token, Method::PATCH, &path, &body).await;
    assert_eq!((patched.status, &patched.json()["job"]), (StatusCode::OK, &Value::Null), "{patched:?}");
    assert_eq!(patched.json()["overrides"], body["overrides"]);
    assert_eq!(patched.json()["effective"], effective(&[("batchMax", 200), ("initialDays", 7)]));
    let after = sync(&world, &id).await;
    assert_eq!((after.asked, after.due_at), (before.asked, before.due_at), "nothing is to be done");
    assert!(world.store.read_requests(&id).await.expect("read").is_empty());
    assert_eq!(audited(&world, &token).await, [json!(["settings_changed", id])]);

    let body = json!({"overrides": {"batchMax": null, "massDeletionPercent": 100}});
    let patched = world.with_json(&token, Method::PATCH, &path, &body).await.json();
    assert_eq!(patched["overrides"], json!({"initialDays": 7, "massDeletionPercent": 100}), "the rest stays");
    let read = world.get(&token, &path).await.json();
    assert_eq!(read["effective"], effective(&[("initialDays", 7), ("massDeletionPercent", 100)]));

    let put =
        world.with_json(&token, Method::PUT, &path, &json!({"overrides": {"deletedMailKeptDays": 1}})).await;
    assert_eq!(put.json()["overrides"], json!({"deletedMailKeptDays": 1}), "what is left out is taken back");
    let put = world.with_json(&token, Method::PUT, &path, &json!({"content": "raw"})).await;
    assert_eq!((put.status, &put.json()["overrides"]), (StatusCode::OK, &json!({})));
    let same = audited(&world, &token).await.len();
    world.with_json(&token, Method::PATCH, &path, &json!({"overrides": {}})).await;
    assert_eq!(audited(&world, &token).await.len(), same, "nothing was changed");
}

#[tokio::test]
async fn a_new_interval_holds_from_now_on() {
    let world = World::new().await;
    let (token, id, path) = tenant_and_mailbox(&world).await;
    let far = Timestamp::now() + SignedDuration::from_hours(1);
    world.store.ask(&id, far).await.expect("asked");
    let before = sync(&world, &id).await;
    let body = json!({"overrides": {"syncIntervalMinutes": 15}});
    world.with_json(&token, Method::PATCH, &path, &body).await;
    let after = sync(&world, &id).await;
    assert_eq!(after.asked, before.asked + 1, "a worker that looks just now looks again");
    assert!(after.due_at.is_some_and(|due| due <= Timestamp::now()), "{:?}", after.due_at);

    world.post(&token, &format!("/api/sync/{id}/pause")).await;
    let body = json!({"overrides": {"syncIntervalMinutes": 30}});
    let paused = world.with_json(&token, Method::PATCH, &path, &body).await;
    assert_eq!(paused.json()["effective"]["syncIntervalMinutes"], 30);
    assert_eq!(sync(&world, &id).await.due_at, None, "nobody looks at a paused one");
}

#[tokio::test]
async fn how_old_a_healthy_copy_may_be_follows_the_interval() {
    let world = World::new().await;
    let (token, id, path) = tenant_and_mailbox(&world).await;
    let old = Timestamp::now() - SignedDuration::from_mins(25);
    world.commit(&id, |commit| commit.progress.last_sync_at = Some(old)).await;
    let healthy =
        async || world.get(&token, &format!("/api/sync/{id}/status")).await.json()["healthy"].clone();
    assert_eq!(healthy().await, false, "twice five minutes");
    let body = json!({"overrides": {"syncIntervalMinutes": 20}});
    world.with_json(&token, Method::PATCH, "/api/settings", &body).await;
    assert_eq!(healthy().await, true, "twice the tenant's");
    let body = json!({"overrides": {"syncIntervalMinutes": 10}});
    world.with_json(&token, Method::PATCH, &path, &body).await;
    assert_eq!(healthy().await, false, "twice its own");
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_named_with_its_bounds_and_nothing_changes() {
    let world = World::new().await;
    let (token, id, path) = tenant_and_mailbox(&world).await;
    let known = "is none of syncIntervalMinutes, initialNewest, initialDays, batchMax, massDeletionPercent, \
                 massDeletionMessages, deletedMailKeptDays";
    for (name, value, message) in [
        ("syncIntervalMinutes", json!(0), "must be 1 to 1440, or null"),
        ("syncIntervalMinutes", json!(1_441), "must be 1 to 1440, or null"),
        ("initialNewest", json!(501), "must be 0 to 500, or null"),
        ("initialDays", json!(-1), "must be 0 to 3650, or null"),
        ("batchMax", json!("many"), "must be 1 to 100000, or null"),
        ("massDeletionPercent", json!(5.5), "must be 1 to 100, or null"),
        ("massDeletionMessages", json!(1_000_001), "must be 0 to 1000000, or null"),
        ("deletedMailKeptDays", json!([30]), "must be 1 to 3650, or null"),
        ("deletedMailKeptDays", json!(u64::MAX), "must be 1 to 3650, or null"),
        ("fetchWindow", json!(5), known),
    ] {
        let body = json!({"overrides": {name: value, "initialDays": if name == "initialDays" { value.clone() } else { json!(1) }}});
        for (method, path) in [Method::PUT, Method::PATCH]
            .into_iter()
            .flat_map(|m| [(m.clone(), path.as_str()), (m, "/api/settings")])
        {
            let refused = world.with_json(&token, method.clone(), path, &body).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{method} {path} {body}");
            let error = &refused.json()["errors"][0];
            assert_eq!(error, &json!({"field": format!("overrides.{name}"), "message": message}));
        }
    }
    for (body, field) in [
        (json!({}), "overrides"),
        (json!({"overrides": 5}), "overrides"),
        (json!({"override": {}}), "override"),
        (json!({"labels": {}, "overrides": {}}), "labels"),
    ] {
        let refused = world.with_json(&token, Method::PATCH, "/api/settings", &body).await;
        assert_eq!(refused.fields(), [field], "{body}");
    }
    assert!(sync(&world, &id).await.overrides.is_empty());
    assert_eq!(world.get(&token, "/api/settings").await.json()["overrides"], json!({}));
    assert_eq!(audited(&world, &token).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_tenants_settings_are_those_of_its_mailboxes_that_have_none() {
    let world = World::new().await;
    let (token, _, path) = tenant_and_mailbox(&world).await;
    let other = world.mailbox("ten_2", "bob@example.com").await;
    let stranger = world.admin("ten_2").await;
    let all = json!({"overrides": {"initialDays": 14, "batchMax": 300}});
    let put = world.with_json(&token, Method::PUT, "/api/settings", &all).await;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    let chosen = effective(&[("initialDays", 14), ("batchMax", 300)]);
    assert_eq!((&put.json()["overrides"], &put.json()["effective"]), (&all["overrides"], &chosen));
    assert_eq!(world.get(&token, "/api/settings").await.json(), put.json());
    assert_eq!(audited(&world, &token).await, [json!(["settings_changed", null])]);

    let own = json!({"overrides": {"batchMax": 5}});
    let mailbox = world.with_json(&token, Method::PATCH, &path, &own).await.json();
    assert_eq!(mailbox["overrides"], own["overrides"]);
    assert_eq!(mailbox["effective"], effective(&[("initialDays", 14), ("batchMax", 5)]));
    let back = json!({"overrides": {"initialDays": null}});
    world.with_json(&token, Method::PATCH, "/api/settings", &back).await;
    assert_eq!(world.get(&token, &path).await.json()["effective"], effective(&[("batchMax", 5)]));

    let theirs = world.get(&stranger, &format!("/api/integrations/{other}/settings")).await.json();
    assert_eq!(theirs["effective"], effective(&[]), "another tenant's are as they were");
    assert_eq!(world.get(&stranger, "/api/settings").await.json()["overrides"], json!({}));

    let reader = world.token("ten_1", &[Scope::Read, Scope::Sync, Scope::Send], TokenKind::Api).await;
    assert_eq!(world.get(&reader, "/api/settings").await.status, StatusCode::OK);
    for method in [Method::PUT, Method::PATCH] {
        let refused = world.with_json(&reader, method, "/api/settings", &all).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(world.get("gst_nobody", "/api/settings").await.status, StatusCode::UNAUTHORIZED);
    let unknown = world.get(&token, "/api/settings?nonsense=1").await;
    assert_eq!(unknown.fields(), ["nonsense"]);
}

#[tokio::test]
async fn a_tenants_shorter_interval_reaches_mailboxes_that_are_due_later() {
    let world = World::new().await;
    let (token, id, _) = tenant_and_mailbox(&world).await;
    let chooses = world.mailbox("ten_1", "carol@example.com").await;
    let paused = world.mailbox("ten_1", "dave@example.com").await;
    let stranger = world.mailbox("ten_2", "bob@example.com").await;
    let far = Timestamp::now() + SignedDuration::from_hours(20);
    for mailbox in [&id, &chooses, &paused, &stranger] {
        world.store.ask(mailbox, far).await.expect("asked");
    }
    world.post(&token, &format!("/api/sync/{paused}/pause")).await;
    let due = async |mailbox: &MailboxId| sync(&world, mailbox).await.due_at;
    let far = due(&id).await;
    let own = json!({"overrides": {"syncIntervalMinutes": 1440}});
    let path = format!("/api/integrations/{chooses}/settings");
    world.with_json(&token, Method::PATCH, &path, &own).await;
    let at_once = due(&chooses).await;

    let body = json!({"overrides": {"syncIntervalMinutes": 10}});
    let put = world.with_json(&token, Method::PUT, "/api/settings", &body).await;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    // Not before every worker knows, and within the interval from then on.
    let wait = due(&id).await.expect("due").duration_since(Timestamp::now());
    let minutes = SignedDuration::from_mins;
    assert!(wait > minutes(4) && wait <= minutes(15), "{wait:?}");
    assert_eq!(due(&chooses).await, at_once, "it has an interval of its own");
    assert_eq!((due(&paused).await, due(&stranger).await), (None, far));
}
