//! Every route of a mailbox and of a mail: who may, and that another tenant's does not exist.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sync_store::{Scope, TokenKind};

use super::world::{Answer, World, mail};

/// A route, what is sent to it, and the scope it needs. `{m}` is a mailbox, `{e}` a mail.
fn routes() -> Vec<(Method, &'static str, Value, Scope)> {
    let dates = json!({"startDate": "2026-01-01", "endDate": "2026-02-01"});
    let task = json!({"type": "task", "id": "1"});
    let labels = json!({"labels": {"include": [], "exclude": []}});
    vec![
        (Method::GET, "/api/integrations/{m}", Value::Null, Scope::Read),
        (Method::DELETE, "/api/integrations/{m}", Value::Null, Scope::Admin),
        (Method::GET, "/api/integrations/{m}/settings", Value::Null, Scope::Read),
        (Method::PUT, "/api/integrations/{m}/settings", labels.clone(), Scope::Admin),
        (Method::PATCH, "/api/integrations/{m}/settings", labels, Scope::Admin),
        (Method::GET, "/gmail/auth/url?mailbox={m}", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}/initial", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}/full", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}/historical", dates, Scope::Sync),
        (Method::POST, "/api/sync/{m}/contact", json!({"email": "bob@example.com"}), Scope::Sync),
        (Method::POST, "/api/sync/{m}/contact", json!({"contactId": "con_1"}), Scope::Sync),
        (Method::POST, "/api/sync/{m}/force", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}/unlock", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}/pause", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}/resume", Value::Null, Scope::Sync),
        (Method::GET, "/api/sync/{m}/debts", Value::Null, Scope::Read),
        (Method::POST, "/api/sync/{m}/debts/1/retry", Value::Null, Scope::Sync),
        (Method::POST, "/api/sync/{m}/debts/1/accept", Value::Null, Scope::Sync),
        (Method::GET, "/api/sync/{m}/drift", Value::Null, Scope::Read),
        (Method::POST, "/api/sync/{m}/drift", Value::Null, Scope::Sync),
        (Method::GET, "/api/sync/{m}/status", Value::Null, Scope::Read),
        (Method::GET, "/api/sync/{m}/jobs", Value::Null, Scope::Read),
        (Method::GET, "/api/sync/{m}/jobs/job_1", Value::Null, Scope::Read),
        (Method::GET, "/api/changes?mailbox={m}", Value::Null, Scope::Read),
        (Method::GET, "/api/emails?mailbox={m}", Value::Null, Scope::Read),
        (Method::GET, "/api/emails/1?mailbox={m}", Value::Null, Scope::Read),
        (Method::GET, "/api/emails/1/why?mailbox={m}", Value::Null, Scope::Read),
        (Method::GET, "/api/emails/{e}", Value::Null, Scope::Read),
        (Method::GET, "/api/emails/{e}/raw", Value::Null, Scope::Read),
        (Method::GET, "/api/emails/{e}/why", Value::Null, Scope::Read),
        (Method::POST, "/api/emails/{e}/references", task.clone(), Scope::Sync),
        (Method::POST, "/api/emails/1/references?mailbox={m}", task, Scope::Sync),
        (Method::DELETE, "/api/emails/{e}/references?type=task&id=1", Value::Null, Scope::Sync),
    ]
}

async fn call(world: &World, token: &str, method: &Method, path: &str, body: &Value) -> Answer {
    if body.is_null() {
        world.call(token, method.clone(), path).await
    } else {
        world.with_json(token, method.clone(), path, body).await
    }
}

#[tokio::test]
async fn every_route_asks_for_a_token_and_for_its_scope() {
    let world = World::new().await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    for (method, path, body, scope) in routes() {
        let path = path.replace("{m}", id.as_str()).replace("{e}", &format!("{id}.1"));
        let others: Vec<Scope> =
            [Scope::Read, Scope::Sync, Scope::Send].into_iter().filter(|one| *one != scope).collect();
        let token = world.token("ten_1", &others, TokenKind::Api).await;
        for (token, status) in [("gst_nobody", StatusCode::UNAUTHORIZED), (&token, StatusCode::FORBIDDEN)] {
            let answer = call(&world, token, &method, &path, &body).await;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn on_every_route_another_tenants_mailbox_and_mail_do_not_exist() {
    let world = World::new().await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.store_mails(&id, vec![(mail(1, &["INBOX"]), Some("Subject: x\r\n\r\nx"))]).await;
    let before = world.store.read_sync(&id).await.expect("read").expect("there");
    world.mailbox("ten_2", "bob@example.com").await;
    world.mailbox("ten_2", "carol@example.com").await;
    let stranger = world.admin("ten_2").await;
    for (method, path, body, _) in routes() {
        for name in [id.as_str(), "alice%40example.com", "ten_1", "mbx_nobody"] {
            let path = path.replace("{m}", name).replace("{e}", &format!("{id}.1"));
            let answer = call(&world, &stranger, &method, &path, &body).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {answer:?}");
        }
    }
    let after = world.store.read_sync(&id).await.expect("read").expect("there");
    assert_eq!(before, after, "nothing was asked of it");
    let owner = world.admin("ten_1").await;
    let mail = world.get(&owner, &format!("/api/emails/{id}.1")).await.json();
    assert_eq!(mail["references"], json!([]));
}

#[tokio::test]
async fn a_parameter_that_a_path_does_not_take_is_refused_by_name() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    for (method, path, body, _) in routes() {
        let path = path.replace("{m}", id.as_str()).replace("{e}", &format!("{id}.1"));
        let path = format!("{path}{}nonsense=1", if path.contains('?') { '&' } else { '?' });
        let answer = call(&world, &token, &method, &path, &body).await;
        assert_eq!(answer.fields(), ["nonsense"], "{method} {path}: {answer:?}");
    }
}
