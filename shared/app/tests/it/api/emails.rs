use axum::http::StatusCode;
use serde_json::Value;
use sync_core::{MessageId, message::RowState, sync::RowWrite};

use super::world::{World, mail};

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["gmailId"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn all_mailboxes_are_one_list_newest_first_page_by_page() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let alice = world.mailbox("ten_1", "alice@example.com").await;
    let bob = world.mailbox("ten_1", "bob@example.com").await;
    let stranger = world.mailbox("ten_2", "eve@example.com").await;
    world.store_mails(&alice, (1..=6).map(|id| (mail(2 * id, &["INBOX"]), None)).collect()).await;
    world.store_mails(&bob, (1..=6).map(|id| (mail(2 * id + 1, &["INBOX", "UNREAD"]), None)).collect()).await;
    world.store_mails(&stranger, vec![(mail(99, &["INBOX"]), None)]).await;

    let mut seen = Vec::new();
    let mut path = "/api/emails?limit=5".to_owned();
    loop {
        let page = world.get(&token, &path).await.json();
        seen.extend(ids(&page));
        assert!(seen.len() <= 12, "{seen:?}");
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/api/emails?limit=5&cursor={cursor}");
    }
    let expected: Vec<String> = (2..=13).rev().map(|id| MessageId(id).to_string()).collect();
    assert_eq!(seen, expected);

    let list = async |query: &str| ids(&world.get(&token, &format!("/api/emails?{query}")).await.json());
    assert_eq!(list(&format!("mailbox={alice}&limit=2")).await, ["c", "a"]);
    assert_eq!(list("mailbox=alice%40example.com&subject=SUBJECT%204").await, ["4"]);
    assert_eq!(list("unread=true&limit=1").await, ["d"]);
    assert_eq!(list("label=UNREAD&unread=false").await, Vec::<String>::new());
    assert_eq!(list("after=2023-11-14T22:25:20Z&before=2023-11-14T22:26:20Z").await, ["c"]);
    assert_eq!(list("sender=nobody").await, Vec::<String>::new());
    assert_eq!(list("direction=outbound").await, Vec::<String>::new());
    assert_eq!(list(&format!("thread=1&mailbox={bob}")).await, ["d", "b"]);
    let thread = world.get(&token, &format!("/api/emails/thread/1?mailbox={alice}")).await.json();
    assert_eq!(ids(&thread), ["c", "a"]);
}

#[tokio::test]
async fn a_filter_that_is_not_understood_is_refused_by_name() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    for (query, fields) in [
        ("limit=501", vec!["limit"]),
        ("limit=0", vec!["limit"]),
        ("unread=2", vec!["unread"]),
        ("thread=xyz", vec!["thread"]),
        ("direction=up&after=yesterday", vec!["direction", "after"]),
        ("contact=c1&category=sale", vec!["contact", "category"]),
        ("labels=INBOX", vec!["labels"]),
        ("cursor=nonsense", vec!["cursor"]),
        ("label=", vec!["label"]),
    ] {
        let answer = world.get(&token, &format!("/api/emails?{query}")).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, fields.iter().map(ToString::to_string).collect()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn deleted_mail_is_listed_only_when_asked_for() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.store_mails(&id, vec![(mail(1, &["INBOX"]), None), (mail(2, &["TRASH"]), None)]).await;
    let tombstone = RowWrite::Tombstone {
        id: MessageId(1),
        state: RowState::Deleted,
        history_id: sync_core::HistoryId(2_000),
        labels: None,
        touched: sync_core::message::Touched::new(),
    };
    world.work(&id, vec![tombstone], Vec::new()).await;
    assert_eq!(
        ids(&world.get(&token, "/api/emails").await.json()),
        ["2"],
        "trash is listed, tombstones are not"
    );
    let deleted = world.get(&token, "/api/emails?deleted=true").await.json();
    assert_eq!(ids(&deleted), ["1"]);
    assert_eq!(deleted["items"][0]["isDeleted"], true);
    assert!(deleted["items"][0]["deletedAt"].is_string());
}

const HOSTILE: &str = "From: Bob <bob@example.com>\r\nTo: alice@example.com\r\nSubject: Hello\r\nX-Note: =?utf-8?q?caf=C3=A9?=\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
    --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
    <p onclick=\"steal()\">Hi<script>alert(1)</script><img src=\"https://t.example/p.gif\"></p>\r\n\
    --b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=\"../page.html\"\r\n\r\n<script>1</script>\r\n--b--\r\n";

#[tokio::test]
async fn a_mail_is_shown_whole_and_harmless() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    world.store_mails(&id, vec![(mail(0xabc, &["INBOX"]), Some(HOSTILE)), (mail(5, &["INBOX"]), None)]).await;

    let path = format!("/api/emails/{id}.abc");
    let whole = world.get(&token, &path).await.json();
    assert_eq!(
        (whole["gmailId"].as_str(), whole["direction"].as_str()),
        (Some("abc"), Some("inbound")),
        "{whole}"
    );
    let html = whole["html"].as_str().expect("HTML");
    assert!(html.contains("Hi"), "{html}");
    for hostile in ["script", "onclick", "t.example"] {
        assert!(!html.contains(hostile), "{hostile} in {html}");
    }
    let headers = whole["headers"].as_array().expect("headers");
    assert!(
        headers.iter().any(|header| header["name"] == "X-Note" && header["value"] == "café"),
        "{headers:?}"
    );
    let by_gmail = world.get(&token, &format!("/api/emails/abc?mailbox={id}")).await.json();
    assert_eq!(by_gmail["id"], whole["id"]);

    let raw = world.get(&token, &format!("{path}/raw")).await;
    assert_eq!((raw.header("content-type"), raw.bytes.as_slice()), ("message/rfc822", HOSTILE.as_bytes()));
    let file = world.get(&token, whole["attachments"][0]["url"].as_str().expect("an address")).await;
    assert_eq!(file.status, StatusCode::OK, "{file:?}");
    assert!(
        file.header("content-disposition").starts_with("attachment"),
        "never shown as a page of this site"
    );
    assert!(file.header("content-security-policy").starts_with("sandbox"));
    assert!(String::from_utf8_lossy(&file.bytes).contains("<script>"), "as it was sent");

    let bare = world.get(&token, &format!("/api/emails/{id}.5")).await.json();
    assert_eq!((&bare["html"], &bare["text"]), (&Value::Null, &Value::Null));
    for missing in [
        format!("/api/emails/{id}.fff"),
        format!("{path}/attachments/{}", "0".repeat(64)),
        format!("{path}/attachments/x"),
        "/api/emails/nonsense.".to_owned(),
        "/api/emails/xyz".to_owned(),
    ] {
        assert_eq!(world.get(&token, &missing).await.status, StatusCode::NOT_FOUND, "{missing}");
    }
    let unfetched = world.get(&token, &format!("/api/emails/{id}.5/raw")).await;
    assert_eq!(unfetched.status, StatusCode::CONFLICT, "it would be fetched, if there were a grant");
    assert_eq!(world.get(&token, "/api/emails/abc").await.fields(), ["mailbox"]);
}

#[tokio::test]
async fn a_file_above_four_megabytes_is_refused_in_words() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let large = format!("Subject: large\r\n\r\n{}", "x".repeat(5 << 20));
    world.store_mails(&id, vec![(mail(1, &["INBOX"]), Some(&large))]).await;
    let raw = world.get(&token, &format!("/api/emails/{id}.1/raw")).await;
    assert_eq!(raw.status, StatusCode::NOT_IMPLEMENTED);
    assert!(raw.bytes.len() < 2_000);
    let shown = world.get(&token, &format!("/api/emails/{id}.1")).await;
    assert!(shown.status == StatusCode::OK && shown.bytes.len() < 5_000_000);
    assert_eq!(shown.json()["truncated"], true);
}
