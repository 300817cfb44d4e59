//! The token endpoint.

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use sync_core::Disposition;
use sync_gmail::{AccessToken, ClientCredentials, GmailClient, GmailError, RefreshToken};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string_contains, method, path},
};

use crate::{client, config, requests};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const GRANT: &str = "1//refresh-secret";

async fn refresh(server: &MockServer) -> Result<AccessToken, GmailError> {
    let credentials =
        ClientCredentials { client_id: "id.example".to_owned(), client_secret: "client-secret".into() };
    client(server).refresh(&RefreshToken(GRANT.into()), &credentials, NOW).await
}

async fn answering(status: u16, body: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/token"))
        .and(body_string_contains("grant_type=refresh_token"))
        .and(body_string_contains("refresh_token=1%2F%2Frefresh-secret"))
        .and(body_string_contains("client_id=id.example"))
        .and(body_string_contains("client_secret=client-secret"))
        .respond_with(ResponseTemplate::new(status).set_body_raw(body, "application/json"))
        .mount(&server)
        .await;
    server
}

#[tokio::test]
async fn a_refresh_gives_a_token_with_its_end_and_its_scopes() {
    let body = r#"{"access_token":"ya29.new","expires_in":3599,"scope":"a b","token_type":"Bearer"}"#;
    let token = refresh(&answering(200, body).await).await.expect("a token");
    assert_eq!(token.token.expose_secret(), "ya29.new");
    assert_eq!(token.expires_at, NOW + SignedDuration::from_secs(3_599));
    assert_eq!(token.scopes.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
    assert!(token.is_usable(NOW) && !token.is_usable(NOW + SignedDuration::from_secs(3_550)));
    assert!(!format!("{token:?}").contains("ya29"), "a token is not shown");
}

#[tokio::test]
async fn a_revoked_grant_is_asked_for_once_and_parks() {
    let body = r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#;
    let server = answering(400, body).await;
    let error = refresh(&server).await.expect_err("revoked");
    assert_eq!(error, GmailError::GrantRevoked);
    assert_eq!(error.disposition(), Disposition::NeedsReauth);
    assert_eq!(requests(&server).await.len(), 1, "never retried");
}

#[tokio::test]
async fn a_call_is_repeated_as_often_as_is_set() {
    for repetitions in [0, 2, 3] {
        let server = answering(503, "").await;
        let mut config = config(&server);
        config.backoff.repetitions = repetitions;
        let client = GmailClient::new(config).expect("a client");
        let credentials =
            ClientCredentials { client_id: "id.example".to_owned(), client_secret: "client-secret".into() };
        let refused = client.refresh(&RefreshToken(GRANT.into()), &credentials, NOW).await;
        assert!(matches!(refused, Err(GmailError::Server { status: 503 })), "{refused:?}");
        assert_eq!(requests(&server).await.len(), repetitions as usize + 1);
    }
}

#[tokio::test]
async fn other_refusals_of_the_token_endpoint_are_told_apart() {
    let check = |status, body: &'static str| async move {
        let error = refresh(&answering(status, body).await).await.expect_err(body);
        assert!(!error.failure().message.contains("secret"), "{error}");
        error.disposition()
    };
    assert_eq!(check(401, r#"{"error":"unauthorized_client"}"#).await, Disposition::NeedsAttention);
    assert_eq!(check(401, r#"{"error":"invalid_client"}"#).await, Disposition::NeedsAttention);
    for (status, body) in
        [(500, ""), (503, "<html>"), (429, "{}"), (200, "{}"), (200, "<html>"), (400, "<html>")]
    {
        assert!(matches!(check(status, body).await, Disposition::Retry(_)), "{status} {body}");
    }
    assert!(matches!(check(400, r#"{"error":"internal_failure"}"#).await, Disposition::Retry(_)));
}

#[tokio::test]
async fn revoking_a_grant_that_is_gone_succeeds() {
    for status in [200, 400] {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/revoke"))
            .and(body_string_contains("token=1%2F%2Frefresh-secret"))
            .respond_with(ResponseTemplate::new(status))
            .mount(&server)
            .await;
        client(&server).revoke(&GRANT.into(), NOW).await.expect("revoked");
    }
}

#[tokio::test]
async fn calls_may_cross_threads() {
    let server = answering(200, r#"{"access_token":"a","token_type":"Bearer"}"#).await;
    let client = client(&server);
    let spawned = tokio::spawn(async move {
        let credentials =
            ClientCredentials { client_id: "id.example".to_owned(), client_secret: "client-secret".into() };
        client.refresh(&RefreshToken(GRANT.into()), &credentials, NOW).await
    });
    let token = spawned.await.expect("joined").expect("a token");
    assert_eq!(token.expires_at, NOW + SignedDuration::from_hours(1), "an hour when nothing is said");
}
