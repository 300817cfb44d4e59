use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use sync_store::{Scope, TokenKind};

use super::world::{Answer, World};

fn with_cookie(cookie: &str, method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::COOKIE, cookie)
}

async fn get(world: &World, path: &str) -> Answer {
    world.send(Request::get(path).body(Body::empty()).expect("a request")).await
}

async fn sign_in(world: &World, form: &str, site: &str) -> Answer {
    let request = Request::post("/signin").header("sec-fetch-site", site);
    world.send(request.body(Body::from(form.to_owned())).expect("a request")).await
}

fn cookie_of(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_link_signs_in_once_and_the_session_is_guarded() {
    let world = World::new().await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let code = world.token("ten_1", &[Scope::Admin], TokenKind::SigninCode).await;
    assert_eq!(world.get(&code, "/api/emails").await.status, StatusCode::UNAUTHORIZED, "a code is no token");

    let signed = get(&world, &format!("/signin?code={code}")).await;
    assert_eq!((signed.status, signed.header("location")), (StatusCode::SEE_OTHER, "/"));
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(signed.header("set-cookie").contains(part), "{part}");
    }
    let again = get(&world, &format!("/signin?code={code}")).await;
    assert_eq!(
        (again.status, again.header("set-cookie")),
        (StatusCode::UNAUTHORIZED, ""),
        "the link works once"
    );
    assert!(again.header("content-type").starts_with("text/html"));

    let cookie = cookie_of(&signed);
    let session = cookie.split_once('=').expect("a pair").1;
    assert_eq!(
        world.get(session, "/api/emails").await.status,
        StatusCode::UNAUTHORIZED,
        "a session is no token"
    );
    let send = async |request: axum::http::request::Builder| {
        world.send(request.body(Body::empty()).expect("a request")).await
    };
    let seen = send(with_cookie(&cookie, Method::GET, "/api/session")).await;
    assert_eq!(seen.json()["tenantId"], "ten_1");

    let sync = format!("/api/sync/{id}");
    assert_eq!(
        send(with_cookie(&cookie, Method::POST, &sync)).await.status,
        StatusCode::FORBIDDEN,
        "no guard header"
    );
    let guarded = || with_cookie(&cookie, Method::POST, &sync).header("x-requested-with", "gmail-sync");
    assert_eq!(send(guarded().header("sec-fetch-site", "cross-site")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(send(guarded().header("sec-fetch-site", "same-origin")).await.status, StatusCode::ACCEPTED);

    let out =
        send(with_cookie(&cookie, Method::POST, "/signout").header("x-requested-with", "gmail-sync")).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        send(with_cookie(&cookie, Method::GET, "/api/session")).await.status,
        StatusCode::UNAUTHORIZED,
        "also in the table"
    );
}

#[tokio::test]
async fn a_token_in_the_form_signs_in_and_anything_else_is_told_on_the_page() {
    let world = World::new().await;
    let token = world.token("ten_1", &[Scope::Read], TokenKind::Api).await;
    let signed = sign_in(&world, &format!("token={token}"), "same-origin").await;
    assert_eq!(signed.status, StatusCode::SEE_OTHER);
    assert!(!signed.header("set-cookie").contains(&token), "the browser gets a session of its own");
    let sync = with_cookie(&cookie_of(&signed), Method::POST, "/api/sync/x")
        .header("x-requested-with", "gmail-sync");
    let refused = world.send(sync.body(Body::empty()).expect("a request")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "the session may no more than its token");

    for form in ["token=gst_wrong", "token=", "", "token=%3Cscript%3E"] {
        let answer = sign_in(&world, form, "same-origin").await;
        let page = String::from_utf8(answer.bytes).expect("text");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{form}");
        assert!(page.contains("role=\"alert\"") && !page.contains("<script"), "{form}");
    }
    assert_eq!(sign_in(&world, &format!("token={token}"), "cross-site").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_this_host() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let request = Request::post("/signin").header("x-forwarded-proto", "https");
    let signed = world.send(request.body(Body::from(format!("token={token}"))).expect("a request")).await;
    assert!(signed.header("set-cookie").starts_with("__Host-"), "{}", signed.header("set-cookie"));
    assert!(signed.header("set-cookie").contains("Secure"));
}

#[tokio::test]
async fn the_pages_are_open_strict_and_cheap_to_ask_for_again() {
    let world = World::new().await;
    for path in ["/", "/signin", "/assets/app.js", "/assets/app.css", "/assets/icon.svg"] {
        let page = get(&world, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
    }
    let tag = get(&world, "/").await.header("etag").to_owned();
    let again = Request::get("/").header(header::IF_NONE_MATCH, tag).body(Body::empty()).expect("a request");
    assert_eq!(world.send(again).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(get(&world, "/api/emails").await.header("cache-control"), "no-store");
}
