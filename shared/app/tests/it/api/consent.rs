//! Consent, request by request: Google's page is a person's, so the tests come back from it as a browser would.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use sync_core::{SignedDuration, Timestamp, state::Status};
use sync_store::{PendingConsent, Scope, TokenKind};
use url::Url;
use wiremock::{
    Mock, ResponseTemplate,
    matchers::{body_string_contains, method, path},
};

use super::world::{Answer, World, tenant};

const READONLY: &str = "https://www.googleapis.com/auth/gmail.readonly";
const METADATA: &str = "https://www.googleapis.com/auth/gmail.metadata";
const ALICE: &str = "alice@example.com";

/// Google gives for the code of this name what a person allowed.
async fn google_gives(world: &World, code: &str, address: &str, scope: &str, lasting: bool) {
    let mut token = json!({"access_token": format!("access-{address}"), "token_type": "Bearer", "expires_in": 3599, "scope": scope});
    if lasting {
        token["refresh_token"] = json!(format!("1//{address}"));
    }
    Mock::given(method("POST"))
        .and(path("/token"))
        .and(body_string_contains("grant_type=authorization_code"))
        .and(body_string_contains(format!("code={code}&")))
        .and(body_string_contains("code_verifier="))
        .respond_with(ResponseTemplate::new(200).set_body_json(token))
        .mount(&world.gmail)
        .await;
}

/// A signed-in browser, with its cookies.
struct Browser<'w> {
    world: &'w World,
    cookies: Vec<String>,
}

impl<'w> Browser<'w> {
    async fn of(world: &'w World, owner: &str) -> Self {
        let session = world.token(owner, &[Scope::Admin], TokenKind::Session).await;
        Self { world, cookies: vec![format!("gmail_sync_session={session}")] }
    }

    async fn get(&mut self, of: &str, accept: &str) -> Answer {
        let request = Request::get(of)
            .header(header::HOST, "localhost:8080")
            .header(header::ACCEPT, accept)
            .header(header::COOKIE, self.cookies.join("; "));
        let answer = self.world.send(request.body(Body::empty()).expect("a request")).await;
        if let Some((cookie, _)) = answer.header("set-cookie").split_once(';') {
            self.cookies.push(cookie.to_owned());
        }
        answer
    }

    /// Comes back from Google as a browser does: the session's strict cookie stays behind.
    async fn back(&self, query: &str) -> Answer {
        let cookies: Vec<&str> =
            self.cookies.iter().filter(|c| !c.contains("session")).map(String::as_str).collect();
        come_back(self.world, query, &cookies.join("; "), "text/html").await
    }

    /// Begins a consent; gives its state.
    async fn begin(&mut self, more: &str) -> String {
        let begun = self.get(&format!("/gmail/auth/url?{more}"), "application/json").await;
        assert_eq!(begun.status, StatusCode::OK, "{begun:?}");
        state_of(begun.json()["url"].as_str().expect("an address"))
    }
}

async fn come_back(world: &World, query: &str, cookies: &str, accept: &str) -> Answer {
    let request = Request::get(format!("/gmail/auth/callback?{query}"))
        .header(header::ACCEPT, accept)
        .header(header::COOKIE, cookies);
    world.send(request.body(Body::empty()).expect("a request")).await
}

fn state_of(url: &str) -> String {
    parameter(&url.parse().expect("an address"), "state")
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).expect(name).1.into_owned()
}

async fn world() -> World {
    let world = World::new().await;
    world.gmail_is_well().await;
    world.gmail_knows(ALICE).await;
    google_gives(&world, "alice", ALICE, READONLY, true).await;
    world
}

async fn mailboxes(world: &World, owner: &str) -> Vec<Value> {
    let token = world.admin(owner).await;
    let all = world.get(&token, "/api/integrations").await.json();
    all["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn consent_connects_a_mailbox_once_and_leads_to_it() {
    let world = world().await;
    let mut browser = Browser::of(&world, "ten_1").await;
    let begun = browser.get("/gmail/auth/url?login_hint=alice%40example.com", "application/json").await;
    for part in ["gmail_sync_consent=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(begun.header("set-cookie").contains(part), "{}", begun.header("set-cookie"));
    }
    let url: Url = begun.json()["url"].as_str().expect("an address").parse().expect("an address");
    assert_eq!(parameter(&url, "redirect_uri"), "http://localhost:8080/gmail/auth/callback");
    assert_eq!(
        (parameter(&url, "login_hint").as_str(), parameter(&url, "scope").as_str()),
        (ALICE, READONLY)
    );
    let lapses: Timestamp = begun.json()["expiresAt"].as_str().expect("a time").parse().expect("a time");
    assert!(lapses.duration_since(Timestamp::now()) <= SignedDuration::from_mins(10));
    let again = browser.get("/gmail/auth/url?redirect=true", "text/html").await;
    assert_eq!(again.status, StatusCode::FOUND);
    assert!(again.header("location").starts_with(&format!("{}/o/oauth2/v2/auth?", world.gmail.uri())));

    let query = format!("state={}&code=alice&scope=x", parameter(&url, "state"));
    let (one, other) = tokio::join!(browser.back(&query), browser.back(&query));
    let (won, lost) = if one.status == StatusCode::SEE_OTHER { (one, other) } else { (other, one) };
    let id = mailboxes(&world, "ten_1").await[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(won.header("location"), format!("/?connected={id}#/mailbox/{id}"));
    assert_eq!(lost.status, StatusCode::BAD_REQUEST, "of two at once one wins");
    let page = String::from_utf8(lost.bytes).expect("text");
    assert!(page.contains("each link works once") && page.contains("href=\"/\""), "{page}");
    let credential =
        world.store.read_credential(&id.parse().expect("an id")).await.expect("read").expect("there");
    assert_eq!(secrecy::ExposeSecret::expose_secret(&credential.secret), "1//alice@example.com");
    assert_eq!(world.token_calls().await, 1, "the loser asks Google for nothing");

    // In the other tab, which has the same cookie.
    let second = format!("state={}&code=alice", state_of(again.header("location")));
    assert_eq!(browser.back(&second).await.status, StatusCode::SEE_OTHER);
    assert_eq!(mailboxes(&world, "ten_1").await.len(), 1, "the same mailbox, connected again");
}

#[tokio::test]
async fn a_program_gets_a_link_for_somebody_else_and_an_answer_in_json() {
    let world = world().await;
    let token = world.token("ten_1", &[Scope::Sync], TokenKind::Api).await;
    let begun = world.get(&token, "/gmail/auth/url?return_to=%2Fdone%3Fa%3D1").await;
    assert_eq!(begun.status, StatusCode::BAD_REQUEST, "the Host header is missing: {begun:?}");
    let link = async |more: &str| {
        let request = super::world::request(&token, Method::GET, &format!("/gmail/auth/url?{more}"));
        let begun = world.send(request.header("host", "localhost").body(Body::empty()).expect("it")).await;
        assert_eq!(begun.header("set-cookie"), "", "whose browser it will be nobody knows");
        state_of(begun.json()["url"].as_str().expect("an address"))
    };
    let state = link("").await;
    let connected = come_back(&world, &format!("state={state}&code=alice"), "", "application/json").await;
    assert_eq!(
        (connected.status, &connected.json()["mailbox"]["email"]),
        (StatusCode::CREATED, &json!(ALICE))
    );
    assert_eq!(connected.json()["mailbox"]["authType"], "oauth");
    let state = link("").await;
    let page = come_back(&world, &format!("state={state}&code=alice"), "", "text/html").await;
    assert_eq!(page.status, StatusCode::OK, "people who have no dashboard get a page");
    assert!(String::from_utf8(page.bytes).expect("text").contains("The mailbox is connected"));
    let state = link("return_to=%2Fdone%3Fa%3D1").await;
    let sent = come_back(&world, &format!("state={state}&code=alice"), "", "text/html").await;
    assert!(sent.header("location").starts_with("/done?a=1&connected=mbx_"), "{sent:?}");

    for (bad, field) in [
        ("return_to=https%3A%2F%2Fevil.example", "return_to"),
        ("return_to=%2F%2Fevil.example", "return_to"),
        ("login_hint=nobody", "login_hint"),
        ("redirect=perhaps", "redirect"),
        ("scope=all", "scope"),
    ] {
        assert_eq!(world.get(&token, &format!("/gmail/auth/url?{bad}")).await.fields(), [field], "{bad}");
    }
    let foreign = world.mailbox("ten_2", "bob@example.com").await;
    let refused = world.get(&token, &format!("/gmail/auth/url?mailbox={foreign}")).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let reader = world.token("ten_1", &[Scope::Read], TokenKind::Api).await;
    assert_eq!(world.get(&reader, "/gmail/auth/url").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn whatever_is_wrong_is_told_to_people_and_programs_and_connects_nothing() {
    let world = world().await;
    google_gives(&world, "metadata", ALICE, METADATA, true).await;
    google_gives(&world, "hour", ALICE, READONLY, false).await;
    let spent = ResponseTemplate::new(400).set_body_json(json!({"error": "invalid_grant"}));
    Mock::given(path("/token"))
        .and(body_string_contains("code=spent&"))
        .respond_with(spent)
        .mount(&world.gmail)
        .await;
    let mut browser = Browser::of(&world, "ten_1").await;
    for (query, status, says) in [
        ("code=alice", 400, "no state"),
        ("state=never-ours&code=alice", 400, "works once"),
        ("state=STATE&error=access_denied", 403, "not granted"),
        ("state=STATE&error=admin_policy_enforced", 403, "administrators"),
        ("state=STATE&error=%3Cscript%3E", 502, "refused"),
        ("state=STATE", 400, "no code"),
        ("state=STATE&code=spent", 400, "does not accept the code"),
        ("state=STATE&code=metadata", 400, "gmail.metadata is not enough"),
        ("state=STATE&code=hour", 400, "no lasting grant"),
    ] {
        for accept in ["text/html,application/xhtml+xml", "application/json"] {
            let state = browser.begin("").await;
            let cookies = browser.cookies[1..].join("; ");
            let answer = come_back(&world, &query.replace("STATE", &state), &cookies, accept).await;
            assert_eq!(answer.status.as_u16(), status, "{query}: {answer:?}");
            if accept == "application/json" {
                assert_eq!(answer.header("content-type"), "application/problem+json");
                assert!(
                    answer.json()["detail"].as_str().expect("a detail").contains(says),
                    "{query}: {answer:?}"
                );
            } else {
                let page = String::from_utf8(answer.bytes).expect("text");
                assert!(page.contains("role=\"alert\"") && page.contains(says), "{query}: {page}");
                assert!(page.contains("<a class=\"button primary"), "there is a way out: {page}");
                assert!(!page.contains("<script"), "{page}");
            }
        }
    }
    assert!(mailboxes(&world, "ten_1").await.is_empty());
}

#[tokio::test]
async fn a_consent_is_bound_to_its_browser_its_tenant_and_whoever_asked() {
    let world = world().await;
    let mut browser = Browser::of(&world, "ten_1").await;
    let state = browser.begin("").await;
    let query = format!("state={state}&code=alice");
    // A link that was begun by somebody else: his browser has another cookie, or none.
    for cookies in ["", "gmail_sync_consent=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"] {
        let lured = come_back(&world, &query, cookies, "application/json").await;
        assert_eq!(lured.status, StatusCode::FORBIDDEN, "{lured:?}");
    }
    assert!(mailboxes(&world, "ten_1").await.is_empty());
    let mut other = Browser::of(&world, "ten_2").await;
    other.begin("").await;
    other.cookies.extend(browser.cookies[1..].iter().cloned());
    other.cookies.remove(1);
    let foreign = other.get(&format!("/gmail/auth/callback?{query}"), "application/json").await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN, "signed in as another tenant: {foreign:?}");

    let state = browser.begin("").await;
    assert_eq!(browser.back(&format!("state={state}&code=alice")).await.status, StatusCode::SEE_OTHER);

    let state = browser.begin("").await;
    let session = browser.cookies[0].split_once('=').expect("a pair").1.to_owned();
    world.store.delete_token(&session.into()).await.expect("signed out");
    let late = browser.back(&format!("state={state}&code=alice")).await;
    assert_eq!(late.status, StatusCode::FORBIDDEN, "whoever asked has signed out: {late:?}");

    let (secret, verifier) = ("lapsed-state".into(), "v".repeat(43).into());
    let token = world.admin("ten_1").await;
    let lapsed = PendingConsent {
        tenant: tenant("ten_1"),
        asked_with: sync_store::token_sha256(&token.into()),
        from_dashboard: false,
        verifier,
        redirect_uri: "http://localhost/gmail/auth/callback".into(),
        return_to: None,
        mailbox: None,
        expires_at: Timestamp::now() - SignedDuration::from_secs(1),
    };
    world.store.begin_consent(&secret, None, &lapsed).await.expect("begun");
    let late = come_back(&world, "state=lapsed-state&code=alice", "", "application/json").await;
    assert!(late.json()["detail"].as_str().expect("a detail").contains("ten minutes"), "{late:?}");
}

#[tokio::test]
async fn a_mailbox_is_connected_again_by_its_own_account_only() {
    let world = world().await;
    world.gmail_knows("mallory@example.com").await;
    google_gives(&world, "mallory", "mallory@example.com", READONLY, true).await;
    let id = world.mailbox("ten_1", ALICE).await;
    world.park(&id, Status::NeedsReauth).await;
    let token = world.admin("ten_1").await;
    let parked = world.get(&token, &format!("/api/integrations/{id}")).await.json();
    let link = parked["reconnect"].as_str().expect("a way back").to_owned();
    assert_eq!(world.get(&token, &format!("/api/sync/{id}/status")).await.json()["reconnect"], json!(link));

    let mut browser = Browser::of(&world, "ten_1").await;
    let begun = browser.get(&link, "text/html").await;
    let url: Url = begun.header("location").parse().expect("an address");
    assert_eq!(parameter(&url, "login_hint"), ALICE, "the page proposes the account");
    let other = browser.back(&format!("state={}&code=mallory", parameter(&url, "state"))).await;
    let page = String::from_utf8(other.bytes).expect("text");
    assert_eq!(other.status, StatusCode::CONFLICT, "{page}");
    assert!(page.contains("mallory@example.com") && page.contains(&format!("&amp;mailbox={id}")), "{page}");
    assert_eq!(mailboxes(&world, "ten_1").await.len(), 1);
    let requests = world.gmail.received_requests().await.expect("recorded");
    assert!(
        requests.iter().any(|request| request.url.path() == "/revoke"),
        "the stranger's grant is given back"
    );
    assert_eq!(world.store.read_sync(&id).await.expect("read").expect("there").status, Status::NeedsReauth);

    let begun = browser.get(&link, "text/html").await;
    let own = browser.back(&format!("state={}&code=alice", state_of(begun.header("location")))).await;
    assert_eq!(own.header("location"), format!("/?connected={id}#/mailbox/{id}"));
    let healed = world.get(&token, &format!("/api/integrations/{id}")).await.json();
    assert_eq!((&healed["status"], &healed["reconnect"]), (&json!("active"), &Value::Null));
}
