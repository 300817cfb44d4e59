//! The live world's effects, one by one: what they ask of Gmail and of the store, and what they cost.

use std::sync::Arc;

use serde_json::json;
use sync_app::live::{LiveSettings, LiveWorld};
use sync_core::{
    Disposition, MailboxId, SignedDuration, Timestamp,
    job::{Job, Lane, Trigger},
    state::Window,
    sync::{Acquired, Effect, Seen, World as _},
};
use wiremock::{
    Mock, ResponseTemplate,
    matchers::{path, query_param, query_param_is_missing},
};

use crate::api::world::World;

const MESSAGES: &str = "/gmail/v1/users/me/messages";

async fn visit(world: &World) -> (LiveWorld, MailboxId) {
    let mailbox = world.mailbox("ten_a", "alice@example.com").await;
    world.grant(&mailbox).await;
    let settings = LiveSettings { fetch_window: 25, topic: None };
    let clients = Arc::new(world.clients.clone());
    let (trace, owner) = ("trace".to_owned(), "owner".to_owned());
    let job = Job { mailbox, trigger: Trigger::Manual, target: None, step: None, lane: Lane::Sync };
    let mut live = LiveWorld::new(clients, settings, &job, trace, owner, Timestamp::now());
    let acquired =
        see(&mut live, Effect::Acquire { until: Timestamp::now() + SignedDuration::from_mins(5) }).await;
    assert!(matches!(acquired, Seen::Acquired(Acquired::Held(_))), "nobody asks Gmail without the lease");
    (live, job.mailbox)
}

async fn see(live: &mut LiveWorld, effect: Effect) -> Seen {
    Box::pin(live.perform(effect)).await.seen
}

#[tokio::test]
async fn labels_are_counted_one_unit_each_and_a_label_that_is_gone_is_absent() {
    let world = World::new().await;
    world.gmail_has_labels(&[("INBOX", 12), ("Label_1", 3)]).await;
    let gone = json!({"error": {"code": 404, "message": "Not Found", "errors": [{"reason": "notFound"}]}});
    Mock::given(path("/gmail/v1/users/me/labels/Label_9"))
        .respond_with(ResponseTemplate::new(404).set_body_json(gone))
        .mount(&world.gmail)
        .await;
    let (mut live, _) = visit(&world).await;
    let named = vec!["INBOX".to_owned(), "Label_9".to_owned()];
    let counts = see(&mut live, Effect::CountLabels(named)).await;
    assert_eq!(counts, Seen::LabelCounts([("INBOX".to_owned(), 12)].into()));
    assert_eq!(live.units(), 2);
    let all = see(&mut live, Effect::CountLabels(Vec::new())).await;
    assert_eq!(all, Seen::LabelCounts([("INBOX".to_owned(), 12), ("Label_1".to_owned(), 3)].into()));
    assert_eq!(live.units(), 2 + 1 + 2, "the list of all labels, and each of them");
}

#[tokio::test]
async fn old_mail_is_searched_for_by_time_and_by_address() {
    let world = World::new().await;
    for (search, id) in [
        ("after:1700000000 before:1700086400", "1f"),
        (r#"{from:"bob@example.com" to:"bob@example.com"}"#, "2f"),
    ] {
        Mock::given(path(MESSAGES))
            .and(query_param("q", search))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"messages": [{"id": id}]})))
            .mount(&world.gmail)
            .await;
    }
    let (mut live, _) = visit(&world).await;
    let at = |second| Timestamp::from_second(second).expect("a time");
    let between = Window::Between { after: at(1_700_000_000), before: at(1_700_086_400) };
    let contact =
        |address: &str| Window::Contact { address: address.parse().expect("an address"), limit: 100 };
    let list = |window| Effect::ListMessages { window, label: None, page_token: None };
    for (window, id) in [(between, 0x1f), (contact("bob@example.com"), 0x2f)] {
        let Seen::Listed(page) = see(&mut live, list(window)).await else { panic!("a page") };
        assert_eq!(page.messages.iter().map(|one| one.id.0).collect::<Vec<_>>(), [id]);
    }
    let Seen::Failed(failure) = see(&mut live, list(contact("b}ob@example.com"))).await else {
        panic!("nobody can search for it")
    };
    assert_eq!(failure.disposition, Disposition::Defect);
    assert!(!failure.message.contains("ob@example.com"), "{}", failure.message);
}

#[tokio::test]
async fn a_refused_page_token_is_a_defect_so_that_the_listing_begins_anew() {
    let world = World::new().await;
    let refusal = json!({"error": {"code": 400, "message": "Invalid pageToken", "errors": [{"reason": "invalidArgument"}]}});
    Mock::given(path(MESSAGES))
        .and(query_param("pageToken", "of an earlier run"))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .mount(&world.gmail)
        .await;
    Mock::given(path(MESSAGES))
        .and(query_param_is_missing("pageToken"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({})))
        .mount(&world.gmail)
        .await;
    let (mut live, _) = visit(&world).await;
    let list = |page_token: Option<&str>| Effect::ListMessages {
        window: Window::All,
        label: None,
        page_token: page_token.map(str::to_owned),
    };
    let Seen::Failed(failure) = see(&mut live, list(Some("of an earlier run"))).await else {
        panic!("it was refused")
    };
    assert_eq!(failure.disposition, Disposition::Defect);
    assert!(matches!(see(&mut live, list(None)).await, Seen::Listed(_)));
}
