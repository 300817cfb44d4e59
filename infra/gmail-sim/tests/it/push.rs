use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::{ALICE, World, reason};

/// One push as it came in.
struct Pushed {
    at: Instant,
    head: String,
    body: Value,
}

impl Pushed {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn data(&self) -> Value {
        let bytes = STANDARD.decode(self.body["message"]["data"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// A push endpoint that answers as it is told: each status once, then 204. 0 answers nothing at all.
struct Endpoint {
    url: String,
    answers: Arc<Mutex<VecDeque<u16>>>,
    pushes: mpsc::UnboundedReceiver<Pushed>,
}

impl Endpoint {
    async fn new(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/push?token=shared%20secret", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<u16>>()));
        let (sender, pushes) = mpsc::unbounded_channel();
        let told = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, sender.clone(), Arc::clone(&told)));
            }
        });
        Self { url, answers, pushes }
    }

    async fn next(&mut self) -> Pushed {
        tokio::time::timeout(Duration::from_secs(30), self.pushes.recv()).await.unwrap().unwrap()
    }

    /// Nothing more comes: the push that would was counted as sent or dropped by now.
    fn is_quiet(&mut self) -> bool {
        self.pushes.try_recv().is_err()
    }
}

async fn take(
    mut stream: TcpStream,
    sender: mpsc::UnboundedSender<Pushed>,
    answers: Arc<Mutex<VecDeque<u16>>>,
) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    let (head, body) = loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            break (head.to_owned(), body);
        }
    };
    let answer = answers.lock().unwrap().pop_front().unwrap_or(204);
    sender.send(Pushed { at: Instant::now(), head, body }).unwrap();
    if answer == 102 {
        // An interim answer, and nothing after it.
        stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.unwrap();
    } else if answer > 0 {
        let reply = format!("HTTP/1.1 {answer} X\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(reply.as_bytes()).await;
    }
    // Open until the other side has enough.
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// A world that pushes to an endpoint, and a watch on it whose own push has been taken.
async fn watched(answers: &[u16], more: Value) -> (World, Endpoint) {
    let world = World::new().await;
    let endpoint = Endpoint::new(answers).await;
    subscribe(&world, &endpoint, more).await;
    (world, endpoint)
}

async fn subscribe(world: &World, endpoint: &Endpoint, more: Value) {
    let mut order = json!({"push_endpoint": endpoint.url});
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        order[name] = value;
    }
    let (status, body) = world.sim(Method::POST, "subscription", order).await;
    assert_eq!(status, 200, "{body}");
}

async fn watch(world: &World, order: Value) -> Value {
    let mut body = json!({"topicName": "projects/p/topics/t"});
    for (name, value) in order.as_object().cloned().unwrap_or_default() {
        body[name] = value;
    }
    let (status, answer) = world.api(Method::POST, "watch", body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn advance(world: &World, seconds: i64) {
    assert_eq!(world.sim(Method::POST, "clock", json!({"advance_s": seconds})).await.0, 200);
}

async fn pushes_counted(world: &World, outcome: &str) -> u64 {
    world.sim(Method::GET, "stats", Value::Null).await.1["pushes"][outcome].as_u64().unwrap_or(0)
}

/// Waits until so many pushes had an outcome.
async fn until_counted(world: &World, outcome: &str, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while pushes_counted(world, outcome).await < count {
        assert!(Instant::now() < deadline, "{count} pushes were never {outcome}");
        tokio::task::yield_now().await;
    }
}

async fn claims(world: &World, push: &Pushed, audience: &str) -> Result<Value, String> {
    let request = world.client.get(world.url("/oauth2/v3/certs"));
    let keys: JwkSet = request.send().await.unwrap().json().await.unwrap();
    let token = push.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.alg, jsonwebtoken::Algorithm::RS256);
    let key = keys.find(&header.kid.unwrap()).ok_or("unknown kid")?;
    let key = jsonwebtoken::DecodingKey::from_jwk(key).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["https://accounts.google.com"]);
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation);
    decoded.map(|token| token.claims).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_watch_fires_one_push_at_once_and_a_change_another_with_the_present_in_it() {
    let (world, mut endpoint) = watched(&[], json!({"subscription": "projects/p/subscriptions/s"})).await;
    let before = world.history_id().await;
    let answer = watch(&world, Value::Null).await;
    assert_eq!(answer["historyId"], before);
    let in_a_week = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
        + 7 * 86_400_000;
    let expiration: i64 = answer["expiration"].as_str().unwrap().parse().unwrap();
    assert!((in_a_week - 60_000..=in_a_week).contains(&expiration), "{expiration}");
    let first = endpoint.next().await;
    assert_eq!(first.data(), json!({"emailAddress": ALICE, "historyId": before.parse::<u64>().unwrap()}));
    assert!(first.head.starts_with("POST /push?token=shared%20secret HTTP/1.1"));
    assert_eq!(first.header("content-type"), Some("application/json"));
    let message = &first.body["message"];
    assert_eq!(first.body["subscription"], "projects/p/subscriptions/s");
    assert!(message["messageId"].is_string() && message["messageId"] == message["message_id"]);
    assert!(message["publishTime"].as_str().unwrap().ends_with('Z') && message["attributes"] == json!({}));
    world.deliver("pushed").await;
    let second = endpoint.next().await;
    assert_eq!(second.data()["historyId"].to_string(), world.history_id().await);
    assert_ne!(second.body["message"]["messageId"], message["messageId"]);
}

#[tokio::test]
async fn the_token_is_signed_and_carries_every_claim_in_real_time() {
    let order = json!({"audience": "the-audience", "service_account_email": "push@x.iam"});
    let (world, mut endpoint) = watched(&[], order).await;
    // The clock of the simulator is none of the verifier's business.
    advance(&world, 86_400).await;
    watch(&world, Value::Null).await;
    let push = endpoint.next().await;
    let claims_of = claims(&world, &push, "the-audience").await.unwrap();
    assert!(claims_of["email"] == "push@x.iam" && claims_of["email_verified"] == true);
    let issued = claims_of["iat"].as_i64().unwrap();
    assert_eq!(claims_of["exp"].as_i64().unwrap() - issued, 3_600);
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    assert!((now - 60..=now).contains(&issued), "iat {issued} at {now}");
    assert!(claims(&world, &push, "another").await.is_err());
    // The same for whoever makes a push by hand.
    let by_hand = world.client.get(world.url("/sim/push-token")).send().await.unwrap();
    let token = by_hand.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let push = Pushed {
        at: Instant::now(),
        head: format!("POST / HTTP/1.1\nAuthorization: Bearer {token}"),
        body: Value::Null,
    };
    assert_eq!(claims(&world, &push, "the-audience").await.unwrap()["email"], "push@x.iam");
    // A token that has expired, for those who test their verifier.
    subscribe(&world, &endpoint, json!({"audience": "the-audience", "token_age_s": 7_200})).await;
    watch(&world, Value::Null).await;
    let error = claims(&world, &endpoint.next().await, "the-audience").await.unwrap_err();
    assert_eq!(error, "ExpiredSignature");
}

#[tokio::test]
async fn a_push_token_by_hand_is_only_read_and_only_of_a_subscription_that_signs() {
    let world = World::new().await;
    let (status, answer) = world.sim(Method::GET, "push-token", Value::Null).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer.to_string().contains("no subscription"), "{answer}");
    let endpoint = Endpoint::new(&[]).await;
    let order = json!({"audience": "one", "service_account_email": "first@x.iam", "token_age_s": 60});
    subscribe(&world, &endpoint, order).await;
    let (status, answer) = world.sim(Method::GET, "push-token", Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let token = answer["token"].as_str().unwrap();
    let signed: Vec<&str> = token.split('.').collect();
    let said: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed[1]).unwrap()).unwrap();
    assert_eq!((&said["aud"], &said["email"]), (&json!("one"), &json!("first@x.iam")));
    assert_eq!(world.sim(Method::POST, "push-token", Value::Null).await.0, 404, "it changes nothing");
    world.sim(Method::DELETE, "subscription", Value::Null).await;
    assert_eq!(world.sim(Method::GET, "push-token", Value::Null).await.0, 400);
}

#[tokio::test]
async fn keys_rotate_beside_the_old_ones_or_withdraw_them() {
    let (world, mut endpoint) = watched(&[], json!({"audience": "a"})).await;
    watch(&world, Value::Null).await;
    let old = endpoint.next().await;
    let (_, first) = world.sim(Method::POST, "keys", json!({"rotate": true, "max_age_s": 60})).await;
    watch(&world, Value::Null).await;
    let new = endpoint.next().await;
    let kid = |push: &Pushed| {
        let token = push.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
    };
    assert!(kid(&old) != kid(&new) && first["kid"] == kid(&new));
    assert!(claims(&world, &old, "a").await.is_ok() && claims(&world, &new, "a").await.is_ok());
    let certs = world.client.get(world.url("/oauth2/v3/certs")).send().await.unwrap();
    assert!(certs.headers()["cache-control"].to_str().unwrap().contains("max-age=60,"));
    world.sim(Method::POST, "keys", json!({"withdraw": true})).await;
    assert_eq!(claims(&world, &new, "a").await.unwrap_err(), "unknown kid");
}

#[tokio::test]
async fn only_102_200_201_202_and_204_acknowledge() {
    for acknowledging in [102, 200, 201, 202, 204] {
        let (world, mut endpoint) = watched(&[acknowledging], Value::Null).await;
        watch(&world, Value::Null).await;
        endpoint.next().await;
        until_counted(&world, "acknowledged", 1).await;
        assert_eq!(pushes_counted(&world, "failed").await, 0, "{acknowledging}");
        assert!(endpoint.is_quiet());
    }
    for refusing in [203, 206, 301, 302, 400, 401, 404, 429, 500, 503] {
        let (world, mut endpoint) = watched(&[refusing], Value::Null).await;
        watch(&world, Value::Null).await;
        let (first, again) = (endpoint.next().await, endpoint.next().await);
        assert_eq!(first.body, again.body, "what was not acknowledged with {refusing} comes again, the same");
        until_counted(&world, "acknowledged", 1).await;
        assert_eq!(pushes_counted(&world, "failed").await, 1);
    }
}

#[tokio::test]
async fn redelivery_waits_100_ms_and_then_twice_as_long_each_time() {
    let (world, mut endpoint) = watched(&[500, 500, 500, 500], Value::Null).await;
    watch(&world, Value::Null).await;
    let mut last = endpoint.next().await.at;
    for wait in [100, 200, 400, 800] {
        let next = endpoint.next().await.at;
        let waited = (next - last).as_millis();
        assert!(waited >= wait && waited < wait + 2_000, "{waited} ms instead of {wait}");
        last = next;
    }
}

#[tokio::test]
async fn ten_seconds_without_an_answer_are_a_refusal() {
    let (world, mut endpoint) = watched(&[0], Value::Null).await;
    watch(&world, Value::Null).await;
    let (first, again) = (endpoint.next().await, endpoint.next().await);
    let waited = again.at - first.at;
    assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(15), "{waited:?}");
    assert_eq!(first.body, again.body);
}

#[tokio::test]
async fn a_push_that_fails_does_not_hold_up_those_after_it() {
    let (world, mut endpoint) = watched(&[], json!({"ack_deadline_s": 1})).await;
    watch(&world, Value::Null).await;
    let first = endpoint.next().await;
    endpoint.answers.lock().unwrap().extend([503; 3]);
    world.deliver("refused").await;
    let refused = endpoint.next().await;
    assert!(refused.data()["historyId"].as_u64() > first.data()["historyId"].as_u64());
    until_counted(&world, "failed", 1).await;
    advance(&world, 2).await;
    world.deliver("later").await;
    // Redeliveries of the one and the other overtake each other.
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(endpoint.next().await.data()["historyId"].as_u64().unwrap());
        if pushes_counted(&world, "acknowledged").await >= 3 {
            break;
        }
    }
    until_counted(&world, "acknowledged", 3).await;
    assert!(seen.contains(&world.history_id().await.parse().unwrap()), "{seen:?}");
}

#[tokio::test]
async fn what_exceeds_one_event_a_second_of_a_mailbox_is_dropped_not_delayed() {
    let (world, mut endpoint) = watched(&[], Value::Null).await;
    watch(&world, Value::Null).await;
    endpoint.next().await;
    world.deliver("first").await;
    let named = endpoint.next().await.data()["historyId"].clone();
    for number in 0..3 {
        world.deliver(&format!("too soon {number}")).await;
    }
    assert_eq!(pushes_counted(&world, "droppedByRate").await, 3);
    assert!(endpoint.is_quiet());
    assert_ne!(named.to_string(), world.history_id().await, "so the last push names no present");
    advance(&world, 1).await;
    world.deliver("a second later").await;
    assert_eq!(endpoint.next().await.data()["historyId"].to_string(), world.history_id().await);
    // Another mailbox has a second of its own.
    world.sim(Method::POST, "mailboxes/bob@example.com", Value::Null).await;
    let order = world.client.post(world.url("/gmail/v1/users/me/watch")).bearer_auth("sim:bob@example.com");
    order.json(&json!({"topicName": "projects/p/topics/t"})).send().await.unwrap();
    assert_eq!(endpoint.next().await.data()["emailAddress"], "bob@example.com");
}

#[tokio::test]
async fn faults_drop_double_and_delay_pushes_of_the_mailbox_they_name() {
    let (world, mut endpoint) = watched(&[], Value::Null).await;
    world.fault(json!({"kind": "drop push", "count": 1, "mailbox": ALICE})).await;
    world.fault(json!({"kind": "duplicate push", "count": 1, "mailbox": ALICE})).await;
    world.fault(json!({"kind": "drop push", "mailbox": "bob@example.com"})).await;
    watch(&world, Value::Null).await;
    assert_eq!(pushes_counted(&world, "droppedByFault").await, 1);
    world.deliver("twice").await;
    let (one, two) = (endpoint.next().await, endpoint.next().await);
    assert_eq!(one.body, two.body);
    until_counted(&world, "acknowledged", 2).await;
    assert!(endpoint.is_quiet());
    // Out of order: the one that was sent first comes last.
    world.fault(json!({"kind": "late_push", "count": 1, "milliseconds": 500})).await;
    advance(&world, 1).await;
    world.deliver("early").await;
    advance(&world, 1).await;
    world.deliver("late").await;
    let (first, second) = (endpoint.next().await.data(), endpoint.next().await.data());
    assert!(first["historyId"].as_u64() > second["historyId"].as_u64(), "{first} then {second}");
}

#[tokio::test]
async fn data_comes_as_production_or_as_the_documentation_has_it() {
    let world = World::new().await;
    // An address whose JSON differs between the two alphabets.
    let email = "~~~?@example.com";
    world.server.create_mailbox(email).unwrap();
    let mut endpoint = Endpoint::new(&[]).await;
    let push = async |form: &str, endpoint: &mut Endpoint| {
        subscribe(&world, endpoint, json!({"form": form})).await;
        let request = world.client.post(world.url("/gmail/v1/users/me/watch"));
        let request = request.bearer_auth(format!("sim:{email}"));
        let answer = request.json(&json!({"topicName": "projects/p/topics/t"})).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        endpoint.next().await.body["message"]["data"].as_str().unwrap().to_owned()
    };
    let production = push("production", &mut endpoint).await;
    let read: Value = serde_json::from_slice(&STANDARD.decode(&production).unwrap()).unwrap();
    assert!(read["historyId"].is_u64() && production.contains(['+', '/']), "{production}");
    let documented = push("documented", &mut endpoint).await;
    let read: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&documented).unwrap()).unwrap();
    assert!(read["historyId"].is_string() && documented.contains(['-', '_']), "{documented}");
    let alternating = [push("alternating", &mut endpoint).await, push("alternating", &mut endpoint).await];
    assert!(alternating.iter().any(|data| data.contains('_') || data.contains('-')), "{alternating:?}");
    assert!(alternating.iter().any(|data| data.contains('/') || data.contains('+')), "{alternating:?}");
    let (status, body) = world.sim(Method::POST, "subscription", json!({"push_endpoint": "ftp://x/"})).await;
    assert!(status == 400 && body["error"].as_str().unwrap().starts_with("push_endpoint"));
}

#[tokio::test]
async fn a_watch_lapses_silently_after_seven_days_and_is_renewed_by_another() {
    let (world, mut endpoint) = watched(&[], Value::Null).await;
    let first = watch(&world, Value::Null).await;
    endpoint.next().await;
    advance(&world, 6 * 86_400).await;
    world.deliver("in time").await;
    endpoint.next().await;
    let renewed = watch(&world, Value::Null).await;
    endpoint.next().await;
    let expiration = |watch: &Value| watch["expiration"].as_str().unwrap().parse::<i64>().unwrap();
    assert!(expiration(&renewed) - expiration(&first) >= 6 * 86_400_000);
    advance(&world, 7 * 86_400).await;
    world.deliver("nobody watches").await;
    // A push would have been counted before the delivery was answered.
    assert_eq!(pushes_counted(&world, "sent").await, 3);
    assert!(endpoint.is_quiet());
    watch(&world, Value::Null).await;
    endpoint.next().await;
}

#[tokio::test]
async fn stop_ends_the_watch() {
    let (world, mut endpoint) = watched(&[], Value::Null).await;
    watch(&world, Value::Null).await;
    endpoint.next().await;
    assert_eq!(world.api(Method::POST, "stop", Value::Null).await, (204, json!("")));
    world.deliver("nobody watches").await;
    assert_eq!(pushes_counted(&world, "sent").await, 1);
    assert_eq!(world.api(Method::POST, "stop", Value::Null).await.0, 204, "stopping twice is no error");
}

#[tokio::test]
async fn a_watch_looks_at_its_labels_only_or_at_all_but_them() {
    for (behavior, pushed) in [("include", [true, false]), ("exclude", [false, true])] {
        let (world, mut endpoint) = watched(&[], Value::Null).await;
        watch(&world, json!({"labelIds": ["INBOX"], "labelFilterBehavior": behavior})).await;
        endpoint.next().await;
        for (labels, pushed) in ["INBOX", "SENT"].into_iter().zip(pushed) {
            let before = pushes_counted(&world, "sent").await;
            let url = world.url(&format!("/sim/mailboxes/{ALICE}/messages?labels={labels}"));
            world.client.post(url).body("Subject: x\r\n\r\ny\r\n").send().await.unwrap();
            let sent = pushes_counted(&world, "sent").await - before;
            assert_eq!(sent == 1, pushed, "{behavior} INBOX, delivery to {labels}");
            advance(&world, 1).await;
        }
    }
}

#[tokio::test]
async fn a_mailbox_has_one_watch_for_each_project() {
    let (world, mut endpoint) = watched(&[], Value::Null).await;
    watch(&world, Value::Null).await;
    endpoint.next().await;
    watch(&world, Value::Null).await;
    endpoint.next().await;
    let other = json!({"topicName": "projects/p/topics/other"});
    let (status, body) = world.api(Method::POST, "watch", other.clone()).await;
    assert_eq!((status, reason(&body).as_str()), (400, "invalidArgument"));
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "Only one user push notification client allowed per developer (call /stop then try again)"
    );
    // Another project may watch as well; one change is one push all the same.
    watch(&world, json!({"topicName": "projects/q/topics/t"})).await;
    endpoint.next().await;
    world.deliver("once").await;
    endpoint.next().await;
    assert_eq!(pushes_counted(&world, "sent").await, 4);
    let (_, mailbox) = world.sim(Method::GET, &format!("mailboxes/{ALICE}"), Value::Null).await;
    assert_eq!(mailbox["watches"].as_array().unwrap().len(), 2);
    world.api(Method::POST, "stop", Value::Null).await;
    assert_eq!(world.api(Method::POST, "watch", other).await.0, 200);
}

#[tokio::test]
async fn a_watch_that_makes_no_sense_is_refused() {
    let (world, mut endpoint) = watched(&[], Value::Null).await;
    for order in [
        json!({}),
        json!({"topicName": "t"}),
        json!({"topicName": "projects//topics/t"}),
        json!({"topicName": "projects/p/topics/t", "labelIds": ["NONE"]}),
        json!({"topicName": "projects/p/topics/t", "labelIds": "INBOX"}),
        json!({"topicName": "projects/p/topics/t", "labelFilterBehavior": "odd"}),
    ] {
        let (status, body) = world.api(Method::POST, "watch", order.clone()).await;
        assert_eq!((status, reason(&body).as_str()), (400, "invalidArgument"), "{order}");
    }
    assert!(endpoint.is_quiet() && pushes_counted(&world, "sent").await == 0);
}
