//! What of a message is fetched, chosen over HTTP; and what is fetched when somebody asks.

use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use secrecy::SecretString;
use serde_json::{Value, json};
use sync_core::{
    MailboxId, SignedDuration, Timestamp,
    message::{BodyForm, RowState, Touched},
    state::Content,
    sync::RowWrite,
};
use sync_store::{CredentialKind, NewCredential};
use wiremock::{
    Mock, ResponseTemplate,
    matchers::{path, query_param},
};

use super::world::{World, mail, put};

const RAW: &str = "Subject: Subject 5\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
    --b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nAQID\r\n--b--\r\n";
const PARTS: &str = r#"{"mimeType":"multipart/mixed","headers":[{"name":"Subject","value":"Subject 5"},
    {"name":"Content-Type","value":"multipart/mixed; boundary=b"}],"body":{"size":0},"parts":[
    {"mimeType":"text/plain","headers":[{"name":"Content-Type","value":"text/plain"}],"body":{"size":5,"data":"SGVsbG8="}},
    {"mimeType":"application/pdf","filename":"a.pdf","headers":[{"name":"Content-Type","value":"application/pdf; name=a.pdf"}],
     "body":{"attachmentId":"x","size":3}}]}"#;

/// A mailbox with a mail of parts (5) and one of headers only (6).
async fn mailbox(world: &World, content: Content) -> (String, MailboxId) {
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.store.set_content(&id, content).await.expect("set");
    let mut parted = mail(5, &["INBOX"]);
    let body = world.store.put_body(&id, PARTS.as_bytes().to_vec(), BodyForm::Parts).await;
    parted.body = Some(body.expect("a body"));
    world.work(&id, vec![put(parted), put(mail(6, &["INBOX"]))], Vec::new()).await;
    (token, id)
}

async fn gmail_has(world: &World, message: &str, times: u64) {
    let answer = json!({ "id": message, "threadId": "1", "historyId": "9", "internalDate": "0",
        "raw": URL_SAFE.encode(RAW) });
    Mock::given(path(format!("/gmail/v1/users/me/messages/{message}")))
        .and(query_param("format", "raw"))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(times)
        .mount(&world.gmail)
        .await;
}

async fn gmail_answers(world: &World, status: u16, reason: &str) {
    let error = json!({ "error": { "code": status, "message": "no", "errors": [{ "reason": reason }] } });
    let lapsed = ResponseTemplate::new(400).set_body_json(json!({ "error": "invalid_grant" }));
    Mock::given(path("/token")).respond_with(lapsed).mount(&world.gmail).await;
    Mock::given(path("/gmail/v1/users/me/messages/5"))
        .respond_with(ResponseTemplate::new(status).set_body_json(error))
        .mount(&world.gmail)
        .await;
}

#[tokio::test]
async fn one_get_serves_the_raw_mail_and_every_file_of_it() {
    let world = World::new().await;
    let (token, id) = mailbox(&world, Content::Full).await;
    world.grant(&id).await;
    gmail_has(&world, "5", 1).await;
    let path = format!("/api/emails/{id}.5");
    let parted = world.get(&token, &path).await.json();
    assert_eq!((&parted["content"], &parted["text"]), (&json!("full"), &json!("Hello")));
    let file = &parted["attachments"][0];
    assert_eq!((&file["hash"], &file["size"]), (&Value::Null, &json!(3)), "{file}");
    let bytes = world.get(&token, file["url"].as_str().expect("an address")).await;
    assert_eq!((bytes.status, bytes.bytes.as_slice()), (StatusCode::OK, &[1, 2, 3][..]));
    let raw = world.get(&token, &format!("{path}/raw")).await;
    assert_eq!((raw.status, raw.bytes.as_slice()), (StatusCode::OK, RAW.as_bytes()));
    let whole = world.get(&token, &path).await.json();
    assert_eq!((&whole["content"], &whole["text"]), (&json!("raw"), &json!("Hello")));
    let url = whole["attachments"][0]["url"].as_str().expect("an address");
    assert_eq!(world.get(&token, url).await.bytes, [1, 2, 3]);
    assert_eq!(world.get(&token, &format!("{path}/attachments/part-1")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_body_that_metadata_left_out_comes_when_its_mailbox_has_more() {
    let world = World::new().await;
    let (token, id) = mailbox(&world, Content::Metadata).await;
    world.grant(&id).await;
    gmail_has(&world, "6", 1).await;
    let path = format!("/api/emails/{id}.6");
    let bare = world.get(&token, &path).await.json();
    assert_eq!((&bare["content"], &bare["text"]), (&json!("metadata"), &Value::Null));
    for below in ["raw", "attachments/part-0", &format!("attachments/{}", "0".repeat(64))] {
        let refused = world.get(&token, &format!("{path}/{below}")).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{below}");
        assert!(refused.json()["detail"].as_str().expect("a sentence").contains("metadata"));
    }
    let parted = world.get(&token, &format!("/api/emails/{id}.5")).await.json();
    assert_eq!(parted["content"], "full", "what it has, it shows");
    world.store.set_content(&id, Content::Full).await.expect("set");
    for _ in 0..2 {
        let whole = world.get(&token, &path).await.json();
        assert_eq!((&whole["content"], &whole["text"]), (&json!("raw"), &json!("Hello")));
    }
}

#[tokio::test]
async fn a_raw_mail_that_is_not_to_be_had_says_why_and_the_rest_is_shown() {
    for (status, reason, expected) in [
        (404, "notFound", StatusCode::GONE),
        (403, "insufficientPermissions", StatusCode::CONFLICT),
        (401, "authError", StatusCode::CONFLICT),
        (429, "rateLimitExceeded", StatusCode::SERVICE_UNAVAILABLE),
        (400, "invalidArgument", StatusCode::BAD_GATEWAY),
    ] {
        let world = World::new().await;
        let (token, id) = mailbox(&world, Content::Full).await;
        let path = format!("/api/emails/{id}.5");
        let without = world.get(&token, &format!("{path}/raw")).await;
        assert_eq!(without.status, StatusCode::CONFLICT, "without a grant: {without:?}");
        world.grant(&id).await;
        gmail_answers(&world, status, reason).await;
        assert_eq!(world.get(&token, &format!("{path}/raw")).await.status, expected, "{reason}");
        assert_eq!(world.get(&token, &path).await.json()["text"], "Hello");
        assert_eq!(world.get(&token, &format!("/api/emails/{id}.6")).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_deleted_and_was_never_fetched_is_gone() {
    let world = World::new().await;
    let (token, id) = mailbox(&world, Content::Full).await;
    let bury = |message: u64| RowWrite::Tombstone {
        id: sync_core::MessageId(message),
        state: RowState::Deleted,
        history_id: sync_core::HistoryId(2_000),
        labels: None,
        touched: Touched::new(),
    };
    world.work(&id, vec![bury(5), bury(7)], Vec::new()).await;
    let status =
        async |message: u64| world.get(&token, &format!("/api/emails/{id}.{message}/raw")).await.status;
    assert_eq!(status(5).await, StatusCode::GONE, "it was stored");
    assert_eq!(status(7).await, StatusCode::NOT_FOUND, "only its deletion is known");
}

#[tokio::test]
async fn content_is_chosen_by_name_and_is_no_work() {
    let world = World::new().await;
    let (token, id) = mailbox(&world, Content::Raw).await;
    let path = format!("/api/integrations/{id}/settings");
    for (method, name) in [(Method::PATCH, "full"), (Method::PUT, "metadata"), (Method::PATCH, "raw")] {
        let answer = world.with_json(&token, method, &path, &json!({ "content": name })).await;
        assert_eq!((answer.status, &answer.json()["job"]), (StatusCode::OK, &Value::Null), "{answer:?}");
        assert_eq!(world.get(&token, &path).await.json()["content"], name);
        let shown = world.get(&token, &format!("/api/integrations/{id}")).await.json();
        assert_eq!(shown["content"], name);
    }
    assert!(world.store.read_requests(&id).await.expect("read").is_empty());
    for (body, field) in [(json!({ "content": "minimal" }), "content"), (json!({}), "labels")] {
        assert_eq!(world.with_json(&token, Method::PATCH, &path, &body).await.fields(), [field]);
    }
}

#[tokio::test]
async fn a_grant_for_headers_only_is_not_asked_for_more() {
    let world = World::new().await;
    let (token, id) = mailbox(&world, Content::Metadata).await;
    let now = Timestamp::now();
    let credential = NewCredential {
        kind: CredentialKind::Oauth,
        secret: SecretString::from("refresh"),
        access_token: Some(SecretString::from("access")),
        expires_at: Some(now + SignedDuration::from_hours(1)),
        scopes: vec!["https://www.googleapis.com/auth/gmail.metadata".to_owned()],
    };
    world.store.save_credential(&id, &credential, now).await.expect("saved");
    let settings = format!("/api/integrations/{id}/settings");
    let refused = world.with_json(&token, Method::PATCH, &settings, &json!({ "content": "full" })).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let stretch = json!({ "startDate": "2024-01-01", "endDate": "2024-02-01" });
    for (kind, body) in [("historical", stretch), ("contact", json!({ "email": "bob@example.com" }))] {
        let refused = world.post_json(&token, &format!("/api/sync/{id}/{kind}"), &body).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{kind} needs a search");
    }
    assert_eq!(world.post(&token, &format!("/api/sync/{id}")).await.status, StatusCode::ACCEPTED);
}
