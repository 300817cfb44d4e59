use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Url, redirect::Policy};
use serde_json::{Value, json};

use crate::{World, read, reason};

async fn token(world: &World, form: &[(&str, &str)]) -> (u16, Value) {
    read(world.client.post(world.url("/token")).form(form).send().await.unwrap()).await
}

/// A call of the API with any token.
async fn call(world: &World, method: Method, path: &str, token: &str) -> (u16, Value) {
    let request = world.client.request(method, world.url(&format!("/gmail/v1/users/me/{path}")));
    read(request.bearer_auth(token).json(&json!({})).send().await.unwrap()).await
}

async fn profile(world: &World, token: &str) -> u16 {
    call(world, Method::GET, "profile", token).await.0
}

const REFRESH: [(&str, &str); 2] =
    [("grant_type", "refresh_token"), ("refresh_token", "sim:alice@example.com")];
const CALLBACK: &str = "http://127.0.0.1:1/cb";
const METADATA: &str = "https://www.googleapis.com/auth/gmail.metadata";
const READONLY: &str = "https://www.googleapis.com/auth/gmail.readonly";
const SEND: &str = "https://www.googleapis.com/auth/gmail.send";
const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-one-0123456789";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()))
}

/// Goes through the consent of a scope with `sim_approve=1`; answers the query of the callback.
async fn consent(world: &World, scope: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let browser = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let challenge = challenge();
    let mut query = vec![
        ("client_id", "c"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", scope),
        ("state", "s p/a+c=e"),
        ("access_type", "offline"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("sim_approve", "1"),
        ("login_hint", "alice@example.com"),
    ];
    query.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    query.extend(more);
    let response = browser.get(world.url("/o/oauth2/v2/auth")).query(&query).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 302, "{}", response.text().await.unwrap());
    let target = Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
    assert!(target.as_str().starts_with(CALLBACK));
    target.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn field<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

async fn redeem(world: &World, code: &str, change: &[(&str, &str)]) -> (u16, Value) {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", "c"),
        ("client_secret", "x"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(name, _)| !change.iter().any(|(other, _)| other == name));
    form.extend(change);
    token(world, &form).await
}

/// Tokens of a scope, by consent.
async fn granted(world: &World, scope: &str) -> Value {
    let code = consent(world, scope, &[("prompt", "consent")]).await;
    let (status, tokens) = redeem(world, field(&code, "code").unwrap(), &[]).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

fn invalid_grant() -> Value {
    json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
}

#[tokio::test]
async fn access_tokens_expire_with_the_clock_and_die_with_the_grant() {
    let world = World::new().await;
    let (status, first) = token(&world, &REFRESH).await;
    assert_eq!((status, &first["token_type"], &first["expires_in"]), (200, &json!("Bearer"), &json!(3_599)));
    let first = first["access_token"].as_str().unwrap();
    assert_eq!(profile(&world, first).await, 200);
    world.sim(Method::POST, "clock", json!({"advance_s": 3_600})).await;
    let (status, body) = call(&world, Method::GET, "profile", first).await;
    assert_eq!((status, reason(&body).as_str()), (401, "authError"));
    let error = &body["error"];
    assert_eq!(
        (&error["status"], &error["errors"][0]["domain"]),
        (&json!("UNAUTHENTICATED"), &json!("global"))
    );
    assert_eq!(error["errors"][0]["locationType"], "header");
    assert!(
        error["message"].as_str().unwrap().starts_with("Request had invalid authentication credentials.")
    );

    let (_, second) = token(&world, &REFRESH).await;
    world.sim(Method::POST, "mailboxes/alice@example.com/revoke", Value::Null).await;
    assert_eq!(profile(&world, second["access_token"].as_str().unwrap()).await, 401);
    assert_eq!(profile(&world, "sim:alice@example.com").await, 401);
    assert_eq!(token(&world, &REFRESH).await, (400, invalid_grant()));
    world.sim(Method::DELETE, "mailboxes/alice@example.com/revoke", Value::Null).await;
    assert_eq!(token(&world, &REFRESH).await.0, 200);
}

#[tokio::test]
async fn a_code_is_redeemed_once_by_the_verifier_client_and_address_it_was_made_for() {
    let world = World::new().await;
    let code = async || {
        let callback = consent(&world, METADATA, &[]).await;
        assert_eq!(field(&callback, "state"), Some("s p/a+c=e"), "the state comes back as it was");
        field(&callback, "code").unwrap().to_owned()
    };
    let error = async |code: String, change: &[(&str, &str)]| {
        let (status, body) = redeem(&world, &code, change).await;
        assert!((400..=401).contains(&status), "{body}");
        body["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(error(code().await, &[("code_verifier", "another")]).await, "invalid_grant");
    assert_eq!(error(code().await, &[("code_verifier", "")]).await, "invalid_grant");
    assert_eq!(error(code().await, &[("client_id", "other")]).await, "invalid_grant");
    assert_eq!(error(code().await, &[("client_id", "")]).await, "invalid_client");
    assert_eq!(
        error(code().await, &[("redirect_uri", "http://127.0.0.1:1/x")]).await,
        "redirect_uri_mismatch"
    );
    let late = code().await;
    world.sim(Method::POST, "clock", json!({"advance_s": 601})).await;
    assert_eq!(error(late, &[]).await, "invalid_grant", "a code lives ten minutes");
    let good = code().await;
    let (status, tokens) = redeem(&world, &good, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    assert!(tokens["refresh_token"].is_string() && tokens["scope"] == METADATA);
    assert_eq!(error(good, &[]).await, "invalid_grant", "a code is good once");
    let again = redeem(&world, &code().await, &[]).await.1;
    assert!(again["access_token"].is_string() && again["refresh_token"].is_null(), "only the first time");
    assert!(granted(&world, METADATA).await["refresh_token"].is_string(), "unless asked for again");
}

#[tokio::test]
async fn a_refresh_token_belongs_to_its_client_and_may_be_narrowed_but_not_widened() {
    let world = World::new().await;
    let tokens = granted(&world, &format!("{READONLY} {SEND}")).await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let by = async |client: &str, scope: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_id", client),
            ("scope", scope),
        ];
        token(&world, &form).await
    };
    let (status, refreshed) = by("c", "").await;
    assert_eq!((status, &refreshed["scope"]), (200, &json!(format!("{READONLY} {SEND}"))));
    assert_eq!(profile(&world, refreshed["access_token"].as_str().unwrap()).await, 200);
    assert_eq!(by("c", SEND).await.1["scope"], SEND);
    assert_eq!(by("c", METADATA).await.1["error"], "invalid_scope");
    assert_eq!(
        by("other", "").await,
        (401, json!({"error": "unauthorized_client", "error_description": "Unauthorized"}))
    );
}

#[tokio::test]
async fn the_user_may_refuse_all_or_grant_in_part() {
    let world = World::new().await;
    let both = format!("{READONLY} {SEND}");
    let part = consent(&world, &both, &[("sim_scope", SEND)]).await;
    assert_eq!(field(&part, "scope"), Some(SEND));
    let (_, tokens) = redeem(&world, field(&part, "code").unwrap(), &[]).await;
    assert_eq!(tokens["scope"], SEND);
    let (status, body) =
        call(&world, Method::GET, "messages", tokens["access_token"].as_str().unwrap()).await;
    assert_eq!((status, reason(&body).as_str()), (403, "insufficientPermissions"));
    assert_eq!(body["error"]["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");

    for refusal in [("sim_deny", "1"), ("sim_chosen", "1")] {
        let refused = consent(&world, &both, &[refusal]).await;
        assert_eq!(field(&refused, "error"), Some("access_denied"));
        assert!(field(&refused, "code").is_none() && field(&refused, "state") == Some("s p/a+c=e"));
    }
    // Together with what was granted before, when the client says so.
    let all = consent(&world, READONLY, &[("include_granted_scopes", "true")]).await;
    assert_eq!(field(&all, "scope"), Some(format!("{SEND} {READONLY}").as_str()));
}

#[tokio::test]
async fn the_consent_page_shows_the_scopes_and_its_form_leads_to_a_code() {
    let world = World::new().await;
    let query = [
        ("client_id", "<b>c"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", READONLY),
        ("state", "\"><script>"),
    ];
    let page = world.client.get(world.url("/o/oauth2/v2/auth")).query(&query).send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let html = page.text().await.unwrap();
    assert!(html.contains(READONLY) && html.contains("Allow as alice@example.com"));
    assert!(!html.contains("<script>") && !html.contains("<b>c"), "what a client sends is text: {html}");
    // What the form's own fields send.
    let mut sent: Vec<(&str, &str)> = query.to_vec();
    sent.extend([("sim_approve", "1"), ("sim_chosen", "1"), ("sim_scope", READONLY)]);
    sent.push(("sim_user", "alice@example.com"));
    let browser = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let answer = browser.get(world.url("/o/oauth2/v2/auth")).query(&sent).send().await.unwrap();
    let target = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    assert!(target.query_pairs().any(|(name, value)| name == "code" && value.starts_with("4/0")));
    assert!(target.query_pairs().any(|(name, value)| name == "state" && value == "\"><script>"));
    for broken in [&query[1..], &query[..1], &[("scope", "x")]] {
        let page = world.client.get(world.url("/o/oauth2/v2/auth")).query(broken).send().await.unwrap();
        assert_eq!(page.status().as_u16(), 400);
    }
}

#[tokio::test]
async fn the_metadata_scope_reads_headers_and_history_only_whatever_stands_beside_it() {
    let world = World::new().await;
    let start = world.history_id().await;
    let id = world.deliver("secret").await;
    for scope in [METADATA.to_owned(), format!("{METADATA} {READONLY}")] {
        let tokens = granted(&world, &scope).await;
        let access = tokens["access_token"].as_str().unwrap();
        let check = async |path: String, status: u16| {
            let (got, body) = call(&world, Method::GET, &path, access).await;
            assert_eq!(got, status, "{path} with {scope}: {body}");
            if status == 403 {
                assert_eq!(
                    (body["error"]["status"].as_str(), reason(&body).as_str()),
                    (Some("PERMISSION_DENIED"), "forbidden")
                );
            }
        };
        for format in ["raw", "full"] {
            check(format!("messages/{id}?format={format}"), 403).await;
        }
        check(format!("messages/{id}"), 403).await;
        check("messages?q=secret".to_owned(), 403).await;
        check("messages?q=".to_owned(), 403).await;
        check("threads?q=secret".to_owned(), 403).await;
        check(format!("threads/{id}?format=full"), 403).await;
        for good in ["messages", "threads", "labels", "profile"] {
            check(good.to_owned(), 200).await;
        }
        check(format!("messages/{id}?format=metadata"), 200).await;
        check(format!("messages/{id}?format=minimal"), 200).await;
        check(format!("history?startHistoryId={start}"), 200).await;
    }
}

#[tokio::test]
async fn each_scope_opens_its_own_methods_and_no_others() {
    let world = World::new().await;
    let id = world.deliver("scoped").await;
    let modify = format!("messages/{id}/modify");
    let delete = format!("messages/{id}");
    let calls = [
        (Method::GET, "messages"),
        (Method::POST, modify.as_str()),
        (Method::POST, "labels"),
        (Method::GET, "drafts"),
        (Method::POST, "messages/send"),
        (Method::DELETE, delete.as_str()),
    ];
    // Which of the calls above get past the scopes; their empty bodies are refused with 400 after that.
    for (scope, open) in [
        ("gmail.readonly", [true, false, false, true, false, false]),
        ("gmail.modify", [true, true, true, true, true, false]),
        ("gmail.send", [false, false, false, false, true, false]),
        ("gmail.compose", [false, false, false, true, true, false]),
        ("gmail.labels", [false, false, true, false, false, false]),
        ("gmail.insert", [false; 6]),
        ("gmail.metadata", [true, false, false, false, false, false]),
    ] {
        let tokens = granted(&world, &format!("https://www.googleapis.com/auth/{scope}")).await;
        let access = tokens["access_token"].as_str().unwrap();
        for ((method, path), open) in calls.iter().zip(open) {
            let (status, body) = call(&world, method.clone(), path, access).await;
            assert_eq!(status != 403, open, "{scope}: {method} {path}: {body}");
            if status == 403 {
                assert_eq!(reason(&body), "insufficientPermissions");
            }
        }
    }
    let all = granted(&world, "https://mail.google.com/").await;
    assert_eq!(call(&world, Method::DELETE, &delete, all["access_token"].as_str().unwrap()).await.0, 204);
}

#[tokio::test]
async fn revoking_a_token_ends_its_clients_grant_and_no_other() {
    let world = World::new().await;
    let tokens = granted(&world, READONLY).await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let revoke = async |token: &str| {
        let request = world.client.post(world.url("/revoke")).form(&[("token", token)]);
        read(request.send().await.unwrap()).await
    };
    assert_eq!(revoke(refresh).await, (200, json!({})));
    assert_eq!(profile(&world, access).await, 401);
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", "c")];
    assert_eq!(token(&world, &form).await, (400, invalid_grant()));
    assert_eq!(revoke(refresh).await.1["error"], "invalid_token");
    assert_eq!(profile(&world, "sim:alice@example.com").await, 200, "another client's grant stands");
    // An access token is as good as its refresh token for that.
    let (_, own) = token(&world, &REFRESH).await;
    assert_eq!(revoke(own["access_token"].as_str().unwrap()).await.0, 200);
    assert_eq!(token(&world, &REFRESH).await, (400, invalid_grant()));
    granted(&world, READONLY).await;
    assert_eq!(token(&world, &REFRESH).await.0, 200, "consent given anew");
}

#[tokio::test]
async fn the_token_endpoint_refuses_nonsense_in_oauths_own_form() {
    let world = World::new().await;
    for (form, status, error) in [
        (&[][..], 400, "invalid_request"),
        (&[("grant_type", "password")][..], 400, "unsupported_grant_type"),
        (&[("grant_type", "refresh_token")][..], 400, "invalid_request"),
        (&[("grant_type", "refresh_token"), ("refresh_token", "1//0made-up")][..], 400, "invalid_grant"),
        (&[("grant_type", "refresh_token"), ("refresh_token", "sim:nobody@x.org")][..], 400, "invalid_grant"),
        (
            &[("grant_type", "authorization_code"), ("code", "x"), ("client_id", "c")][..],
            400,
            "invalid_grant",
        ),
        (&[("grant_type", "authorization_code"), ("client_id", "c")][..], 400, "invalid_request"),
    ] {
        let (got, body) = token(&world, form).await;
        assert_eq!((got, body["error"].as_str()), (status, Some(error)), "{form:?}");
        assert!(body["error_description"].is_string());
    }
    let request = world.client.post(world.url("/token")).json(&json!({
        "grant_type": "refresh_token", "refresh_token": "sim:alice@example.com",
    }));
    let answer = request.send().await.unwrap();
    assert!(answer.headers()["cache-control"].to_str().unwrap().contains("no-store"));
    assert_eq!(answer.status().as_u16(), 200, "JSON is taken as well, as Google does");
}

#[tokio::test]
async fn faults_befall_the_token_endpoint_in_its_own_form_and_by_mailbox() {
    let world = World::new().await;
    world.sim(Method::POST, "mailboxes/bob@example.com", Value::Null).await;
    world.fault(json!({"kind": "invalid_grant", "mailbox": "alice@example.com", "count": 1})).await;
    let bob = [("grant_type", "refresh_token"), ("refresh_token", "sim:bob@example.com")];
    assert_eq!(token(&world, &bob).await.0, 200);
    assert_eq!(token(&world, &REFRESH).await, (400, invalid_grant()));
    assert_eq!(token(&world, &REFRESH).await.0, 200);
    for (kind, status, error) in [
        (json!(401), 401, "unauthorized_client"),
        (json!(503), 503, "internal_failure"),
        (json!(400), 400, "invalid_grant"),
    ] {
        world.fault(json!({"kind": kind, "method": "token", "count": 1})).await;
        let (got, body) = token(&world, &REFRESH).await;
        assert_eq!((got, body["error"].as_str()), (status, Some(error)));
    }
    for api_only in [json!({"kind": 500, "mailbox": "alice@example.com"}), json!({"kind": "domainPolicy"})] {
        world.fault(api_only).await;
        assert_eq!(token(&world, &REFRESH).await.0, 200, "what befalls the API does not befall the grant");
    }
    world.sim(Method::DELETE, "faults", Value::Null).await;
    world.fault(json!({"kind": "retry_after", "method": "token", "count": 1, "seconds": 7})).await;
    let answer = world.client.post(world.url("/token")).form(&REFRESH).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    world.fault(json!({"kind": "reset", "method": "token", "count": 1})).await;
    assert!(world.client.post(world.url("/token")).form(&REFRESH).send().await.is_err());
    let (_, stats) = world.sim(Method::GET, "stats", Value::Null).await;
    assert_eq!(stats["mailboxes"]["bob@example.com"]["methods"]["token"]["calls"], 1);
}

#[tokio::test]
async fn the_discovery_document_names_endpoints_that_are_there() {
    let world = World::new().await;
    let request = world.client.get(world.url("/.well-known/openid-configuration"));
    let (_, document) = read(request.send().await.unwrap()).await;
    assert_eq!(document["issuer"], "https://accounts.google.com");
    for (name, path) in [
        ("authorization_endpoint", "/o/oauth2/v2/auth"),
        ("token_endpoint", "/token"),
        ("revocation_endpoint", "/revoke"),
        ("jwks_uri", "/oauth2/v3/certs"),
    ] {
        assert_eq!(document[name], world.url(path));
    }
    let keys = world.client.get(document["jwks_uri"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(keys.headers()["cache-control"], "public, max-age=19800, must-revalidate, no-transform");
}

#[tokio::test]
async fn the_openid_scope_brings_an_identity_that_the_published_keys_verify() {
    let world = World::new().await;
    let scope = format!("openid email {READONLY}");
    let code = consent(&world, &scope, &[("nonce", "n-1")]).await;
    let (_, tokens) = redeem(&world, field(&code, "code").unwrap(), &[]).await;
    let keys = world.client.get(world.url("/oauth2/v3/certs")).send().await.unwrap();
    let keys: jsonwebtoken::jwk::JwkSet = keys.json().await.unwrap();
    let token = tokens["id_token"].as_str().unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["c"]);
    validation.set_issuer(&["https://accounts.google.com"]);
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
    assert_eq!((&claims["email"], &claims["nonce"]), (&json!("alice@example.com"), &json!("n-1")));
    assert!(granted(&world, READONLY).await["id_token"].is_null(), "only when it is asked for");
}
