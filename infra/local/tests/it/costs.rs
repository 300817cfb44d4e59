//! What a choice costs, as `/sim/stats` counts it: the figures of `docs/GMAIL.md`.

use std::collections::BTreeMap;

use local::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    queue::Queue,
    world::{SOON, World, mail},
};

const ALICE: &str = "alice@example.com";
/// Messages of the mailbox at first: more than one page of a listing, and of history.
const MAILS: u64 = 600;
/// Mail that a generator makes, in threads of real shape.
const GENERATED: u64 = 1_500;

/// Units by method since it was last asked, and their sum.
struct Meter<'a> {
    world: &'a World,
    email: &'a str,
    before: BTreeMap<String, u64>,
}

impl<'a> Meter<'a> {
    async fn new(world: &'a World, email: &'a str) -> Self {
        let mut meter = Self { world, email, before: BTreeMap::new() };
        meter.before = meter.methods().await;
        meter
    }

    async fn methods(&self) -> BTreeMap<String, u64> {
        let stats = self.world.sim(Method::GET, "stats", &Value::Null).await;
        let methods = stats["mailboxes"][self.email]["methods"].as_object().cloned().unwrap_or_default();
        methods.into_iter().map(|(name, one)| (name, one["units"].as_u64().unwrap_or(0))).collect()
    }

    /// Waits until nothing is under way, and takes down what it took.
    async fn read(&mut self, what: &str) -> u64 {
        Queue::new(self.world, "SyncQueueUrl").until_empty().await;
        let now = self.methods().await;
        let spent: BTreeMap<&String, u64> = now
            .iter()
            .map(|(name, units)| (name, units - self.before.get(name).copied().unwrap_or(0)))
            .filter(|(_, units)| *units > 0)
            .collect();
        let sum = spent.values().sum();
        self.world.note(&format!("{what}: {sum} units, {spent:?}"));
        self.before = now;
        sum
    }
}

#[tokio::test]
async fn what_a_choice_costs_is_what_the_page_says() {
    let options = Options {
        simulator_arguments: ["--quota", "off"].map(str::to_owned).to_vec(),
        parameters: vec![("FanOutSchedule".into(), "rate(1 day)".into())],
        ..Options::default()
    };
    let world = World::start(options).await;
    world.create(ALICE).await;
    world.sim(Method::POST, &format!("mailboxes/{ALICE}/generate"), &json!({ "count": MAILS })).await;
    let mut meter = Meter::new(&world, ALICE).await;
    world.connect(ALICE).await;
    world.until_equal_within("the first copy", ALICE, 6 * SOON).await;
    world.until_healthy(ALICE).await;
    let first_copy = meter.read("a first copy of 600").await;
    let beside_the_gets = first_copy - 20 * MAILS;
    assert!((105..200).contains(&beside_the_gets), "a watch, and listings: {beside_the_gets}");

    changes_cost_no_get(&world, &mut meter).await;
    a_comparison_costs_listings(&world, &mut meter).await;
    threads_cost_less_than_their_messages(&world).await;
}

/// A look by hand, whatever else a look does now and then.
async fn look(world: &World) {
    let answer = world.api(Method::POST, &format!("/api/sync/{ALICE}?wait=true"), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn changes_cost_no_get(world: &World, meter: &mut Meter<'_>) {
    look(world).await;
    meter.read("the first look by hand").await;
    look(world).await;
    assert_eq!(meter.read("a look that finds nothing").await, 2);

    world.deliver(ALICE, "INBOX,UNREAD", mail("news")).await;
    world.until_equal("a new message", ALICE).await;
    assert_eq!(meter.read("a new message, with the look after news").await, 2 + 20 + 2);

    let ids: Vec<String> = world.snapshot(ALICE).await.keys().take(500).cloned().collect();
    let body = json!({ "ids": ids, "addLabelIds": ["STARRED"] });
    world.gmail(ALICE, Method::POST, "messages/batchModify", &body).await;
    meter.before = meter.methods().await;
    world.until_equal("500 label changes", ALICE).await;
    let changed = meter.read("500 label changes").await;
    assert!(changed <= 3 * 2, "{changed}");

    world.gmail(ALICE, Method::POST, &format!("messages/{}/trash", ids[0]), &json!({})).await;
    meter.before = meter.methods().await;
    world.until_equal("a message in the trash", ALICE).await;
    assert_eq!(meter.read("a message put into the trash").await, 2 + 2);
    world.gmail(ALICE, Method::DELETE, &format!("messages/{}", ids[1]), &json!({})).await;
    meter.before = meter.methods().await;
    world.until_equal("a message deleted", ALICE).await;
    assert_eq!(meter.read("a message deleted for ever").await, 2 + 2);
}

async fn a_comparison_costs_listings(world: &World, meter: &mut Meter<'_>) {
    let answer = world.api(Method::POST, &format!("/api/sync/{ALICE}/full?wait=true"), None).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    world.until_healthy(ALICE).await;
    let compared = meter.read("a comparison of 600, nothing changed").await;
    assert!(compared < 300, "no get is in it: {compared}");
    let before = world.calls(ALICE, "labels.get").await;
    let path = format!("/api/sync/{ALICE}/drift?wait=true");
    let answer = world.api(Method::POST, &path, None).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let asked = meter.read("looking for drift").await;
    let labels = world.calls(ALICE, "labels.get").await - before;
    assert!(labels > 0 && asked <= labels + 6, "one for each of {labels} labels, and a look: {asked}");
}

async fn threads_cost_less_than_their_messages(world: &World) {
    let mut spent = Vec::new();
    for content in ["raw", "full"] {
        let email = format!("{content}@example.com");
        world.create(&email).await;
        let path = format!("mailboxes/{email}/generate");
        world.sim(Method::POST, &path, &json!({ "count": GENERATED })).await;
        let mut meter = Meter::new(world, &email).await;
        let keys = json!({ "refreshToken": format!("sim:{email}") });
        let body = json!({ "authType": "oauth", "keys": keys, "content": content });
        world.api(Method::POST, "/api/integrations", Some(&body)).await.ok("connected");
        world.until_equal_within(content, &email, 9 * SOON).await;
        world.until_healthy(&email).await;
        spent.push(meter.read(&format!("a first copy of {GENERATED}, {content}")).await);
    }
    assert!(spent[1] * 3 < spent[0] * 2, "{spent:?}");
}
