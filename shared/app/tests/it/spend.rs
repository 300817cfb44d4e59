//! Quota: what is not reserved is not asked for, and what Google says of its limits holds for every worker.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use sync_app::{
    live::{Clients, LiveSettings, LiveWorld},
    spend::{Project, Purse},
};
use sync_core::{
    Disposition, HistoryId, MessageId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    quota::{Limit, Method, Priority, Quota, Regime},
    state::Content,
    sync::{Effect, Fetched, Listed, Seen, World as _},
};
use wiremock::{Mock, Request, ResponseTemplate, matchers::path};

use crate::api::world::World;

const ADDRESS: &str = "alice@example.com";
const HISTORY: &str = "/gmail/v1/users/me/history";
const BATCH: &str = "/batch/gmail/v1";

fn quota(address: u32, project: u32) -> Quota {
    let limit = |units| Limit { units, kept_percent: 5 };
    Quota { address: limit(address), project: limit(project), ..Quota::of(Regime::Current) }
}

fn clients(world: &World, quota: Quota) -> Arc<Clients> {
    let project = Arc::new(Project::new(world.store.clone(), quota));
    Arc::new(Clients { project, ..world.clients.clone() })
}

/// A push's visit that holds the lease, of a process of its own.
async fn visit(world: &World, quota: Quota) -> LiveWorld {
    let mailbox = world.mailbox("ten_a", ADDRESS).await;
    world.grant(&mailbox).await;
    world.store.unlock(&mailbox, Timestamp::now()).await.expect("free");
    let job = Job { mailbox, trigger: Trigger::Push, target: None, step: None, lane: Lane::Sync };
    let settings = LiveSettings { fetch_window: 25, topic: None };
    let (trace, owner) = ("trace".to_owned(), "owner".to_owned());
    let mut live = LiveWorld::new(clients(world, quota), settings, &job, trace, owner, Timestamp::now());
    let until = Timestamp::now() + SignedDuration::from_mins(5);
    assert!(matches!(see(&mut live, Effect::Acquire { until }).await, Seen::Acquired(_)));
    see(&mut live, Effect::ReadRequests).await;
    live
}

async fn see(live: &mut LiveWorld, effect: Effect) -> Seen {
    Box::pin(live.perform(effect)).await.seen
}

async fn fetch(live: &mut LiveWorld, count: u64) -> Vec<(MessageId, Fetched)> {
    let messages = (1..=count).map(|id| Listed::alone(MessageId(id))).collect();
    match see(live, Effect::Fetch { content: Content::Raw, messages }).await {
        Seen::Fetched(fetched) => fetched,
        other => panic!("{other:?}"),
    }
}

fn got(fetched: &[(MessageId, Fetched)]) -> usize {
    fetched.iter().filter(|(_, fetched)| matches!(fetched, Fetched::Message(_))).count()
}

/// Sizes of the batches that Gmail was asked for.
async fn batches(world: &World) -> Vec<usize> {
    let requests = world.gmail.received_requests().await.expect("recorded");
    let of_batch = requests.iter().filter(|request| request.url.path() == BATCH);
    of_batch.map(|request| ids_of(request).len()).collect()
}

fn ids_of(request: &Request) -> Vec<String> {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let ids = body.split("Content-ID: <").skip(1).filter_map(|rest| rest.split('>').next());
    ids.map(str::to_owned).collect()
}

fn batch_of(request: &Request, answer: impl Fn(&str) -> String) -> ResponseTemplate {
    let part = |id: &String| {
        let head = "--B\r\nContent-Type: application/http\r\nContent-ID: <response-";
        format!("{head}{id}>\r\n\r\n{}\r\n", answer(id))
    };
    let body: String = ids_of(request).iter().map(part).collect();
    ResponseTemplate::new(200).set_body_raw(body + "--B--\r\n", "multipart/mixed; boundary=B")
}

fn message(id: &str) -> String {
    let raw = "U3ViamVjdDogaGkNCg0KaGkNCg";
    let message = json!({"id": id, "threadId": id, "historyId": "7", "internalDate": "1", "raw": raw});
    format!("HTTP/1.1 200 OK\r\n\r\n{message}")
}

async fn gmail_has_messages(world: &World) {
    let all = |request: &Request| batch_of(request, message);
    Mock::given(path(BATCH)).respond_with(all).mount(&world.gmail).await;
}

#[tokio::test]
async fn what_there_is_no_quota_for_is_not_asked_for_and_nothing_has_failed() {
    let world = World::new().await;
    gmail_has_messages(&world).await;
    let mut live = visit(&world, quota(1_000, 1_200_000)).await;
    let fetched = fetch(&mut live, 75).await;
    assert_eq!((got(&fetched), batches(&world).await), (50, vec![25, 25]), "1,000 units at 20 each");
    let Some((_, Fetched::Failed(failure))) = fetched.last() else { panic!("{fetched:?}") };
    assert!(matches!(failure.disposition, Disposition::Wait(wait) if wait > SignedDuration::from_secs(30)));
    assert_eq!(fetched.len(), 51, "the others are not answered");
    assert_eq!(live.spent(), BTreeMap::from([(Method::MessagesGet, 50)]));
    assert_eq!(live.units(), 1_000);
    live.settle().await;

    // Another worker of the same address finds the window as full.
    let mut other = visit(&world, quota(1_000, 1_200_000)).await;
    let history = Effect::ListHistory { start: HistoryId(1), page_token: None };
    let Seen::Failed(failure) = see(&mut other, history).await else { panic!("it is full") };
    assert!(matches!(failure.disposition, Disposition::Wait(_)), "{failure:?}");
    assert_eq!(got(&fetch(&mut other, 3).await), 0);
    assert_eq!(batches(&world).await.len(), 2);
}

#[tokio::test]
async fn what_was_reserved_and_not_needed_is_there_for_the_next_worker() {
    let world = World::new().await;
    gmail_has_messages(&world).await;
    for _ in 0..3 {
        // The last third of a fetch is not there: only what was asked for counts.
        let mut live = visit(&world, quota(1_000, 1_200_000)).await;
        assert_eq!(got(&fetch(&mut live, 10).await), 10);
        live.settle().await;
    }
    let mut last = visit(&world, quota(1_000, 1_200_000)).await;
    assert_eq!(got(&fetch(&mut last, 75).await), 20, "50 in all");
}

#[tokio::test]
async fn a_time_that_gmail_names_holds_for_every_worker_of_the_address() {
    let world = World::new().await;
    let deadline = Timestamp::now() + SignedDuration::from_mins(5);
    let text = format!("User-rate limit exceeded.  Retry after {deadline}");
    let refusal =
        json!({"error": {"code": 429, "message": text, "errors": [{"reason": "rateLimitExceeded"}]}});
    Mock::given(path(HISTORY))
        .respond_with(ResponseTemplate::new(429).set_body_json(refusal))
        .expect(1)
        .mount(&world.gmail)
        .await;
    let history = || Effect::ListHistory { start: HistoryId(1), page_token: None };
    let mut first = visit(&world, quota(6_000, 1_200_000)).await;
    let Seen::Failed(failure) = see(&mut first, history()).await else { panic!("it was refused") };
    assert!(matches!(failure.disposition, Disposition::Retry(_)), "{failure:?}");
    let mut second = visit(&world, quota(6_000, 1_200_000)).await;
    let Seen::Failed(failure) = see(&mut second, history()).await else { panic!("the address is closed") };
    let minutes = |from, to| SignedDuration::from_mins(from)..=SignedDuration::from_mins(to);
    assert!(
        matches!(failure.disposition, Disposition::Wait(wait) if minutes(4, 5).contains(&wait)),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_day_that_google_calls_spent_closes_the_project_for_every_mailbox() {
    let world = World::new().await;
    let refusal = json!({"error": {"code": 403, "message": "Daily Limit Exceeded", "errors": [{"reason": "dailyLimitExceeded"}]}});
    Mock::given(path(HISTORY))
        .respond_with(ResponseTemplate::new(403).set_body_json(refusal))
        .expect(1)
        .mount(&world.gmail)
        .await;
    let mut live = visit(&world, quota(6_000, 1_200_000)).await;
    let history = Effect::ListHistory { start: HistoryId(1), page_token: None };
    assert!(matches!(see(&mut live, history).await, Seen::Failed(_)));
    let now = Timestamp::now();
    let project = Arc::new(Project::new(world.store.clone(), quota(6_000, 1_200_000)));
    let mut other = Purse::new(project, "other@example.com".parse().expect("an address"));
    let taken = other.take(Method::HistoryList, 1, 1, Priority::Delta, now).await.expect("a ledger");
    assert_eq!(taken.count, 0);
    let left = sync_core::quota::until_next_pacific_day(now);
    assert!((left - taken.wait).abs() < SignedDuration::from_secs(60), "{taken:?}");
}

#[tokio::test]
async fn too_many_at_once_halves_the_batches_of_the_address_and_success_grows_them_slowly() {
    let world = World::new().await;
    let crowded = |request: &Request| {
        let refusal = json!({"error": {"code": 429, "message": "Too many concurrent requests for user.",
            "errors": [{"reason": "rateLimitExceeded"}]}});
        batch_of(request, |_| format!("HTTP/1.1 429 Too Many Requests\r\n\r\n{refusal}"))
    };
    Mock::given(path(BATCH)).respond_with(crowded).up_to_n_times(1).mount(&world.gmail).await;
    gmail_has_messages(&world).await;
    let roomy = || quota(6_000, 1_200_000);
    let mut live = visit(&world, roomy()).await;
    assert_eq!(got(&fetch(&mut live, 50).await), 0);
    assert_eq!(batches(&world).await, [25], "nothing more is asked for after that");
    assert_eq!(live.spent()[&Method::MessagesGet], 25);
    live.settle().await;
    let mut next = visit(&world, roomy()).await;
    assert_eq!(got(&fetch(&mut next, 39).await), 39);
    assert_eq!(batches(&world).await[1..], [12, 13, 14]);
}

#[tokio::test]
async fn all_processes_together_stay_within_the_project() {
    let world = World::new().await;
    let now = Timestamp::now();
    let mut tasks = tokio::task::JoinSet::new();
    for process in 0..4 {
        // One part, of which 500 units are there at once: four processes draw on it.
        let project = Arc::new(Project::new(world.store.clone(), quota(6_000, 2_000)));
        tasks.spawn(async move {
            let mut calls = 0;
            for mailbox in 0..3 {
                let address = format!("m{mailbox}.p{process}@example.com").parse().expect("an address");
                let mut purse = Purse::new(Arc::clone(&project), address);
                loop {
                    let taken = purse.take(Method::MessagesGet, 1, 7, Priority::Delta, now).await;
                    match taken.expect("a ledger").count {
                        0 => break,
                        count => calls += count,
                    }
                }
            }
            calls
        });
    }
    let calls: u32 = tasks.join_all().await.into_iter().sum();
    assert!(calls <= 25, "{calls} calls of 20 units, of 500");
    assert!(calls >= 20, "{calls}: nearly all of it is used");
}
