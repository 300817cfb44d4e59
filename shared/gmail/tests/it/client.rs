//! Calls, batches, bounds.

use std::time::Duration;

use jiff::Timestamp;
use sync_core::{
    Disposition, HistoryId, MessageId, ThreadId,
    state::{Content, Window},
};
use sync_gmail::{GmailClient, GmailError, History, formats::Mail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path, query_param},
};

use crate::{SECRET, client, config, impatient, requests, token};

const PROFILE: &str = r#"{"emailAddress":"Alice@example.com","messagesTotal":3,"historyId":"5"}"#;

fn refusal(status: u16, reason: &str, message: &str) -> ResponseTemplate {
    let body = serde_json::json!({"error":{"code":status,"message":message,
        "errors":[{"message":message,"domain":"global","reason":reason}],"status":"X"}});
    ResponseTemplate::new(status).set_body_json(body)
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn a_call_asks_for_gzip_in_both_headers_and_reads_it() {
    // `{"historyId":"5","emailAddress":"alice@example.com","messagesTotal":"3"}`, compressed.
    let zipped = hex::decode("1f8b0800000000000203ab56cac82c2ec92faaf44c51b2523255d2514acd4dcccc714c49294a2d2e060a25e66426a73aa45624e616e4a4ea25e7e70295e402a512d3538b43f24b1273806a8c956a01ef60a2ae48000000").expect("hex");
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_bytes(zipped);
    let server = answering(answer).await;
    let account = client(&server).profile(&token()).await.expect("a profile");
    assert_eq!(account.address.as_str(), "alice@example.com");
    assert_eq!((account.profile.history_id, account.profile.messages_total), (HistoryId(5), 3));

    let sent = &requests(&server).await[0];
    let header = |name: &str| sent.headers[name].to_str().expect("text").to_owned();
    assert!(header("user-agent").contains("gzip") && header("accept-encoding").contains("gzip"));
    assert_eq!(header("authorization"), format!("Bearer {SECRET}"));
    assert!(sent.url.query().is_some_and(|query| query.contains("fields=")));
}

#[tokio::test]
async fn every_refusal_has_its_disposition_and_a_call_is_one_request() {
    let check = |status: u16, reason: &'static str, message: &'static str| async move {
        let server = answering(refusal(status, reason, message)).await;
        let error = client(&server).profile(&token()).await.expect_err(reason);
        assert_eq!(requests(&server).await.len(), 1, "{status} {reason}: who repeats it pays again");
        assert_eq!(error.is_worth_repeating(), status >= 500, "{status} {reason}");
        let failure = error.failure();
        assert!(!failure.message.contains(SECRET) && !failure.message.contains('@'), "{failure:?}");
        failure.disposition
    };
    assert_eq!(check(400, "invalidArgument", "Invalid id value").await, Disposition::Defect);
    assert_eq!(check(400, "failedPrecondition", "").await, Disposition::NeedsAttention);
    assert_eq!(check(401, "authError", "").await, Disposition::NeedsReauth);
    for reason in ["userRateLimitExceeded", "rateLimitExceeded", "dailyLimitExceeded"] {
        assert!(matches!(check(403, reason, "").await, Disposition::Retry(_)));
    }
    assert_eq!(check(403, "domainPolicy", "").await, Disposition::NeedsAttention);
    assert_eq!(check(403, "insufficientPermissions", "").await, Disposition::NeedsReauth);
    assert_eq!(check(404, "notFound", "").await, Disposition::Debt);
    assert!(matches!(check(429, "rateLimitExceeded", "Retry after 2999-01-01T00:00:00Z").await,
        Disposition::Retry(wait) if wait == sync_gmail::error::RATE_WAIT_MAX));
    for status in [500, 502, 503, 504] {
        assert!(matches!(check(status, "backendError", "Backend Error").await, Disposition::Retry(_)));
    }
}

#[tokio::test]
async fn silence_and_refused_connections_are_retryable() {
    let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
    let mut slow = config(&server);
    slow.timeouts = impatient();
    let slow = GmailClient::new(slow).expect("a client");
    assert_eq!(slow.profile(&token()).await, Err(GmailError::TimedOut));
    assert!(!GmailError::TimedOut.is_worth_repeating(), "it has cost its seconds already");

    let gone = config(&server);
    drop(server);
    // The pool of the test's mock servers may keep a port open: take one that is certainly closed.
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let endpoint = sync_gmail::Endpoint::parse(&format!("http://{closed}")).expect("loopback");
    let gone = sync_gmail::GmailConfig { api_url: endpoint, ..gone };
    let error = GmailClient::new(gone).expect("a client").profile(&token()).await;
    assert_eq!(error, Err(GmailError::Connection));
    assert!(matches!(GmailError::Connection.disposition(), Disposition::Retry(_)));
}

#[tokio::test]
async fn a_body_that_stops_half_way_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"historyId\"";
        socket.write_all(head).await.expect("written");
        std::future::pending::<()>().await;
    });
    let server = MockServer::start().await;
    let mut stalled = config(&server);
    stalled.api_url = sync_gmail::Endpoint::parse(&format!("http://{address}")).expect("loopback");
    stalled.timeouts = impatient();
    let error = GmailClient::new(stalled).expect("a client").profile(&token()).await;
    assert_eq!(error, Err(GmailError::TimedOut));
    serving.abort();
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token_away() {
    let elsewhere = answering(ResponseTemplate::new(200).set_body_string(PROFILE)).await;
    let server = answering(ResponseTemplate::new(302).insert_header("location", elsewhere.uri())).await;
    assert!(client(&server).profile(&token()).await.is_err());
    assert!(requests(&elsewhere).await.is_empty());
}

#[tokio::test]
async fn history_comes_in_pages_or_is_expired() {
    let server = MockServer::start().await;
    let history = || Mock::given(path("/gmail/v1/users/me/history"));
    history()
        .and(query_param("startHistoryId", "7"))
        .respond_with(refusal(404, "notFound", "Requested entity was not found."))
        .mount(&server)
        .await;
    history()
        .and(query_param("startHistoryId", "8"))
        .and(query_param("pageToken", "p2"))
        .and(query_param("maxResults", "500"))
        .respond_with(ResponseTemplate::new(200).set_body_string(r#"{"historyId":"10"}"#))
        .mount(&server)
        .await;
    let client = client(&server);
    assert_eq!(client.list_history(&token(), HistoryId(7), None).await, Ok(History::Expired));
    let page = client.list_history(&token(), HistoryId(8), Some("p2")).await;
    assert!(
        matches!(page, Ok(History::Page(page)) if page.records.is_empty() && page.history_id == HistoryId(10))
    );
}

#[tokio::test]
async fn watch_stop_labels_and_lists_go_where_the_reference_says() {
    let server = MockServer::start().await;
    let json = |body: &str| ResponseTemplate::new(200).set_body_string(body);
    Mock::given(method("POST"))
        .and(path("/gmail/v1/users/me/watch"))
        .and(wiremock::matchers::body_json(serde_json::json!({"topicName":"projects/p/topics/t"})))
        .respond_with(json(r#"{"historyId":"9","expiration":"1700000000000"}"#))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/gmail/v1/users/me/stop"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&server)
        .await;
    Mock::given(path("/gmail/v1/users/me/labels"))
        .respond_with(json(r#"{"labels":[{"id":"INBOX","name":"INBOX"}]}"#))
        .mount(&server)
        .await;
    Mock::given(path("/gmail/v1/users/me/messages"))
        .and(query_param("labelIds", "INBOX"))
        .and(query_param("includeSpamTrash", "true"))
        .respond_with(json(r#"{"messages":[{"id":"1f"}]}"#))
        .mount(&server)
        .await;
    let client = client(&server);
    let watch = client.watch(&token(), "projects/p/topics/t").await.expect("a watch");
    assert_eq!(watch.history_id, HistoryId(9));
    client.stop(&token()).await.expect("stopped");
    assert_eq!(client.list_labels(&token()).await.expect("labels")[0].id, "INBOX");
    let page = client.list_messages(&token(), &Window::All, Some("INBOX"), None, Timestamp::UNIX_EPOCH).await;
    assert_eq!(
        page.expect("a page").messages.iter().map(|one| one.id).collect::<Vec<_>>(),
        [MessageId(0x1f)]
    );
}

fn message(id: &str, raw: &str) -> String {
    format!(r#"{{"id":"{id}","threadId":"1","historyId":"7","internalDate":"1","raw":"{raw}"}}"#)
}

/// Serves batches as Gmail does: in another order, and odd ids are not there.
fn batch(request: &Request) -> ResponseTemplate {
    let body = String::from_utf8(request.body.clone()).expect("text");
    let ids = body.split("Content-ID: <").skip(1).filter_map(|rest| rest.split('>').next());
    let mut parts: Vec<String> = Vec::new();
    for id in ids {
        assert!(body.contains(&format!("GET /gmail/v1/users/me/messages/{id}?format=raw")), "{body}");
        let number = u64::from_str_radix(id, 16).expect("hex");
        let inner = if number.is_multiple_of(2) {
            format!("HTTP/1.1 200 OK\r\n\r\n{}", message(id, &"YWJj".repeat(100)))
        } else {
            "HTTP/1.1 404 Not Found\r\n\r\n{\"error\":{\"errors\":[{\"reason\":\"notFound\"}]}}".to_owned()
        };
        // One part is lost.
        if number != 4 {
            parts.push(format!(
                "--B\r\nContent-Type: application/http\r\nContent-ID: <response-{id}>\r\n\r\n{inner}\r\n"
            ));
        }
    }
    assert!(parts.len() <= 25, "Gmail refuses part of a larger batch");
    parts.reverse();
    ResponseTemplate::new(200).set_body_raw(parts.concat() + "--B--\r\n", "multipart/mixed; boundary=B")
}

async fn gmail() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/batch/gmail/v1")).respond_with(batch).mount(&server).await;
    let single = |request: &Request| {
        let id = request.url.path().rsplit('/').next().expect("an id").to_owned();
        ResponseTemplate::new(200).set_body_string(message(&id, &"YWJj".repeat(100)))
    };
    Mock::given(method("GET")).respond_with(single).mount(&server).await;
    server
}

#[tokio::test]
async fn a_batch_gives_one_result_for_each_id_whatever_comes_back() {
    let server = gmail().await;
    let ids: Vec<MessageId> = (1..=25).map(MessageId).collect();
    let results = client(&server).get_messages(&token(), &ids, Content::Raw).await.expect("a batch");
    assert_eq!(results.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids, "in the order asked");
    for (id, result) in results {
        match (id.0, result) {
            (4, result) => {
                assert_eq!(result, Err(GmailError::MissingPart));
                assert!(matches!(GmailError::MissingPart.disposition(), Disposition::Retry(_)), "never done");
            }
            (odd, result) if odd % 2 == 1 => assert_eq!(result, Err(GmailError::NotFound)),
            (_, result) => assert_eq!(result.expect("a message").mail, Mail::Raw(b"abc".repeat(100))),
        }
    }
    assert_eq!(requests(&server).await.len(), 1);
}

#[tokio::test]
async fn a_batch_that_is_too_long_asks_for_fewer_and_a_message_that_is_too_long_is_a_debt() {
    let server = gmail().await;
    let mut narrow = config(&server);
    (narrow.batch_bytes_max, narrow.single_bytes_max) = (1_500, 100);
    let client = GmailClient::new(narrow).expect("a client");
    let ids: Vec<MessageId> = (1..=8).map(|n| MessageId(n * 8)).collect();
    let whole = client.get_messages(&token(), &ids, Content::Raw).await.expect_err("eight are too long");
    assert_eq!(whole, GmailError::TooLarge { bytes_max: 1_500 });
    assert_eq!(client.get_messages(&token(), &ids[..2], Content::Raw).await.expect("two fit").len(), 2);
    let alone =
        client.get_messages(&token(), &ids[..1], Content::Raw).await.expect("a failure of one message");
    let error = alone[0].1.clone().expect_err("too long alone");
    assert_eq!(error, GmailError::TooLarge { bytes_max: 100 });
    assert_eq!(error.disposition(), Disposition::Debt);
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_says_nothing_of_its_messages() {
    let check = |answer: ResponseTemplate| async move {
        let server = answering(answer).await;
        let failed =
            client(&server).get_messages(&token(), &[MessageId(2), MessageId(6)], Content::Raw).await;
        assert_eq!(requests(&server).await.len(), 1);
        failed.expect_err("as a whole")
    };
    assert_eq!(check(ResponseTemplate::new(503)).await, GmailError::Server { status: 503 });
    assert_eq!(check(refusal(401, "authError", "")).await, GmailError::Unauthorized);
    let limit = refusal(429, "rateLimitExceeded", "User-rate limit exceeded.");
    assert!(matches!(check(limit).await, GmailError::RateLimited { concurrency: false, .. }));
    // Were it "not found", the messages would be taken for deleted ten minutes later.
    assert_eq!(check(refusal(404, "notFound", "")).await.disposition(), Disposition::Defect);
    assert!(matches!(check(ResponseTemplate::new(404)).await, GmailError::Unreadable { .. }));
    let page = ResponseTemplate::new(200).set_body_raw("<html>", "text/html");
    assert!(matches!(check(page).await, GmailError::Unreadable { .. }));
}

#[tokio::test]
async fn the_bound_holds_for_what_is_unpacked() {
    // 300,000 spaces, compressed.
    let zipped = hex::decode("1f8b0800000000000203edc1010d000000c2a02aef9fd21e0e280000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000f831df2a1f54e0930400").expect("hex");
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_bytes(zipped);
    let server = answering(answer).await;
    let mut narrow = config(&server);
    narrow.single_bytes_max = 100_000;
    let error = GmailClient::new(narrow).expect("a client").profile(&token()).await;
    assert_eq!(error, Err(GmailError::TooLarge { bytes_max: 100_000 }));
}

#[tokio::test]
async fn a_thread_that_is_too_long_says_so_and_raw_mails_have_no_threads() {
    let thread = serde_json::json!({ "messages": [{ "id": "1", "snippet": "x".repeat(500) }] });
    let server = answering(ResponseTemplate::new(200).set_body_json(thread)).await;
    let mut narrow = config(&server);
    narrow.thread_bytes_max = 400;
    let client = GmailClient::new(narrow).expect("a client");
    let got = client.get_thread(&token(), ThreadId(1), Content::Full).await;
    assert_eq!(got, Err(GmailError::TooLarge { bytes_max: 400 }));
    assert_eq!(client.get_thread(&token(), ThreadId(1), Content::Raw).await, Err(GmailError::Unsendable));
    assert_eq!(requests(&server).await.len(), 1, "the second one was not asked for");
}
