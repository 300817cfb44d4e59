//! Workers that die: SIGKILL between any two effects, over and over, and the replica is the mailbox in the end.
//!
//! `KILLS` says how often, `SEED` which effects and moments are drawn. One mailbox is taken from its dead worker by
//! `force` each time; two others get no help at all: their leases lapse, and the fan-out or a push finds them.
//! Deliberately absent: choosing the very instruction. The log says where a process died, and the table shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use local::Options;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    feed,
    hunter::{Death, Hunter, WITHOUT_LEASE},
    world::{World, eventually, mail},
};

/// Kills of a usual run.
const KILLS: u64 = 30;
/// Messages of the mailbox before anything happens.
const MESSAGES: u64 = 300;
/// The same of those that get no help.
const MESSAGES_LEFT_ALONE: u64 = 120;
/// Longest wait for the effect that was drawn.
const DRAWN_MAX: Duration = Duration::from_secs(2);
/// Longest wait for any effect at all, once somebody was asked to work.
const ANY_MAX: Duration = Duration::from_secs(30);
/// Longest wait until whoever was left alone has recovered: a lease, a delivery that comes again, and a look.
const RECOVERED_MAX: Duration = Duration::from_mins(4);

const FORCED: &str = "killed@example.com";
const SILENT: &str = "left-alone@example.com";
const PUSHED: &str = "pushed@example.com";

/// What is drawn from. Rare ones (`LowerTarget`: after 22 seconds of lag) happen or not.
const EFFECTS: [&str; 22] = [
    "RaiseTarget",
    "Acquire",
    "RaiseAsked",
    "ReadSync",
    "ReadRequests",
    "GetProfile",
    "ListHistory",
    "ListMessages",
    "ListLabels",
    "CountLabels",
    "ReadLabelCounts",
    "ReadRows",
    "ScanRows",
    "ReadOwed",
    "ReadOwedOf",
    "Fetch",
    "SaveList",
    "LoadList",
    "SaveListing",
    "Commit",
    "SendContinuation",
    "Release",
];

fn options() -> Options {
    // A lease of a minute.
    let parameters = [
        ("WorkerTimeoutSeconds", "30"),
        ("CheckpointSeconds", "5"),
        ("VisibilityGraceSeconds", "5"),
        ("FanOutSchedule", "rate(1 day)"),
    ];
    Options {
        parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        // Whoever dies spends twice: what is tried here is not the quota.
        simulator_arguments: ["--quota", "off"].map(str::to_owned).to_vec(),
        watched_workers: true,
        ..Options::default()
    }
}

/// A dead worker's message again after half a minute and not after six of its longest runs: nobody waits for that.
async fn come_again_soon(world: &World) {
    for queue in ["SyncQueueUrl", "BackfillQueueUrl"] {
        let attributes =
            json!({ "QueueUrl": world.output(queue), "Attributes": { "VisibilityTimeout": "30" } });
        let cloud = world.system.cloud();
        cloud.call("AmazonSQS.SetQueueAttributes", &attributes).await.expect("the emulator's queue");
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The deaths so far.
#[derive(Default)]
struct Table {
    deaths: BTreeMap<(String, String), u64>,
    before: BTreeMap<String, u64>,
    prompts: BTreeMap<&'static str, u64>,
}

impl Table {
    fn add(&mut self, world: &World, death: Death) {
        let Death { after, before } = &death;
        world.note(&format!("kill {}: after {after}, before the end of {before}", self.total() + 1));
        *self.before.entry(death.before.clone()).or_default() += 1;
        *self.deaths.entry((death.after, death.before)).or_default() += 1;
    }

    fn total(&self) -> u64 {
        self.deaths.values().sum()
    }

    /// Of the effects that were hit least, one by lot.
    fn draw(&self, random: &mut StdRng) -> &'static str {
        let hits = |effect: &str| self.before.get(effect).copied().unwrap_or(0);
        let least = EFFECTS.iter().map(|effect| hits(effect)).min().unwrap_or(0);
        // One more than the least: an effect that does not come must not be waited for all the time.
        let fit: Vec<&str> = EFFECTS.iter().copied().filter(|effect| hits(effect) <= least + 1).collect();
        fit[random.random_range(0..fit.len())]
    }

    /// Deaths of somebody who held the mailbox.
    fn of_holders(&self) -> u64 {
        let held = |(after, before): &(String, String)| {
            after != "the start" && !WITHOUT_LEASE.contains(&before.as_str())
        };
        self.deaths.iter().filter(|(place, _)| held(place)).map(|(_, times)| times).sum()
    }

    fn tell(&self, world: &World) {
        for ((after, before), times) in &self.deaths {
            world.note(&format!("killed after {after}, before the end of {before}: {times} times"));
        }
        let (total, held, places) = (self.total(), self.of_holders(), self.deaths.len());
        world.note(&format!("{total} kills in {places} places, {held} of somebody who held the mailbox"));
        world.note(&format!("meanwhile asked for: {:?}", self.prompts));
    }
}

/// A mailbox that gets no help.
struct LeftAlone {
    email: &'static str,
    mailbox: String,
    /// When it was killed, and how much had been done on it by then; none while it is well.
    dead_since: Option<(Instant, usize)>,
    kills: u64,
    recovered: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_between_any_two_effects_loses_and_doubles_nothing() {
    let (kills, seed) = (number("KILLS", KILLS), number("SEED", 1));
    let world = World::start(options()).await;
    come_again_soon(&world).await;
    for (email, count) in [(FORCED, MESSAGES), (SILENT, MESSAGES_LEFT_ALONE), (PUSHED, MESSAGES_LEFT_ALONE)] {
        world.create(email).await;
        world.sim(Method::POST, &format!("mailboxes/{email}/generate"), &json!({ "count": count })).await;
    }
    let mut run = Run {
        hunter: Hunter::new(&world.system.worker_logs()),
        random: StdRng::seed_from_u64(seed),
        table: Table::default(),
        mailbox: String::new(),
        left_alone: Vec::new(),
        old: None,
        world,
    };
    for email in [SILENT, PUSHED] {
        let (mailbox, _) = run.world.connect(email).await;
        let mut one = LeftAlone { email, mailbox, dead_since: None, kills: 0, recovered: Vec::new() };
        run.kill_once(&mut one, Some("Commit"), ANY_MAX);
        assert_eq!(one.kills, 1, "{email} is being copied");
        run.left_alone.push(one);
    }
    (run.mailbox, _) = run.world.connect(FORCED).await;
    while run.table.total() < kills {
        run.kill_those_left_alone();
        run.storm().await;
        run.kill_one().await;
        run.world.deliver(PUSHED, "INBOX,UNREAD", mail("pushed")).await;
        run.world.system.run_cron("fan-out").await.expect("cron runs");
    }
    run.table.tell(&run.world);
    run.all_is_well().await;
}

struct Run {
    world: World,
    hunter: Hunter,
    random: StdRng,
    table: Table,
    mailbox: String,
    left_alone: Vec<LeftAlone>,
    /// What the mailbox held before anything in it was news.
    old: Option<BTreeSet<String>>,
}

impl Run {
    /// One death of the mailbox that is forced on.
    async fn kill_one(&mut self) {
        let drawn = self.table.draw(&mut self.random);
        self.prompt(drawn).await;
        let delay = Duration::from_micros(self.random.random_range(0..6_000));
        let mut death = self.kill_at(Some(drawn), delay, DRAWN_MAX);
        if death.is_none() {
            self.order("").await;
            death = self.kill_at(None, delay, ANY_MAX);
        }
        if let Some(death) = death {
            self.table.add(&self.world, death);
        }
        // Whoever holds it is dead, as far as anybody knows.
        self.order("/force").await;
    }

    fn kill_at(&mut self, effect: Option<&str>, delay: Duration, bound: Duration) -> Option<Death> {
        let (hunter, mailbox) = (&mut self.hunter, &self.mailbox);
        tokio::task::block_in_place(|| hunter.kill(mailbox, effect, delay, bound))
    }

    /// Makes work that comes to this effect.
    async fn prompt(&mut self, effect: &str) {
        let listing = ["ListMessages", "ListLabels", "ScanRows", "SaveList", "LoadList", "SaveListing"];
        let what = match effect {
            // The first copy is listing enough.
            _ if self.old.is_none() => return,
            "SaveListing" => {
                let fault = json!({ "kind": 429, "method": "messages.list", "mailbox": FORCED, "count": 1, "probability": 0.3 });
                self.world.sim(Method::POST, "faults", &fault).await;
                "full"
            }
            _ if listing.contains(&effect) => {
                let is_comparing = !self.world.status(FORCED).await["backfill"].is_null();
                // Expired again and again under a comparison, somebody must look; here nobody does.
                let second = if is_comparing { "full" } else { "expired" };
                ["full", second, "historical", "initial"][self.random.random_range(0..4)]
            }
            "CountLabels" | "ReadLabelCounts" | "GetProfile" => "drift",
            "ReadOwed" | "ReadOwedOf" => "not_visible",
            _ => "look",
        };
        *self.table.prompts.entry(what).or_default() += 1;
        match what {
            "expired" => {
                self.world.sim(Method::POST, &format!("mailboxes/{FORCED}/expire-history"), &json!({})).await;
                self.order("").await;
            }
            "historical" => {
                let body = json!({ "startDate": "2020-01-01", "endDate": "2030-01-01" });
                let path = format!("/api/sync/{FORCED}/historical");
                let answer = self.world.api(Method::POST, &path, Some(&body)).await;
                assert_eq!(answer.status, 202, "{answer:?}");
            }
            "not_visible" => {
                let fault = json!({ "kind": "not_visible", "mailbox": FORCED, "count": 2 });
                self.world.sim(Method::POST, "faults", &fault).await;
                self.world.deliver(FORCED, "INBOX,UNREAD", mail("hidden")).await;
            }
            "look" => {
                self.world.deliver(FORCED, "INBOX,UNREAD", mail("seen")).await;
                self.order("").await;
            }
            path => self.order(&format!("/{path}")).await,
        }
    }

    async fn order(&self, path: &str) {
        let path = format!("/api/sync/{FORCED}{path}");
        let answer = self.world.api(Method::POST, &path, None).await;
        assert_eq!(answer.status, 202, "{path}: {answer:?}");
    }

    /// Keeps mail moving, once what moves is news.
    async fn storm(&mut self) {
        if self.old.is_none() {
            if self.world.status(FORCED).await["cursor"].is_null() {
                return;
            }
            self.old = Some(self.world.snapshot(FORCED).await.into_keys().collect());
        }
        let path = format!("mailboxes/{FORCED}/storm");
        if self.world.sim(Method::GET, &path, &Value::Null).await["running"] != true {
            let mix = json!({ "deliver": 45, "label": 35, "trash": 8, "purge": 6, "draft": 6 });
            let storm = json!({ "per_second": 5, "seconds": 5, "mix": mix });
            self.world.sim(Method::POST, &path, &storm).await;
        }
    }

    /// Kills once whoever works on these, and again whenever they have recovered without help.
    fn kill_those_left_alone(&mut self) {
        let mut all = std::mem::take(&mut self.left_alone);
        for one in &mut all {
            if let Some((killed, work)) = one.dead_since {
                if self.hunter.work_on(&one.mailbox) <= work {
                    continue;
                }
                one.recovered.push(killed.elapsed().as_secs());
                one.dead_since = None;
            }
            self.kill_once(one, None, Duration::from_millis(200));
        }
        self.left_alone = all;
    }

    fn kill_once(&mut self, one: &mut LeftAlone, effect: Option<&str>, bound: Duration) {
        let delay = Duration::from_micros(self.random.random_range(0..6_000));
        let hunter = &mut self.hunter;
        let death = tokio::task::block_in_place(|| hunter.kill(&one.mailbox, effect, delay, bound));
        if let Some(death) = death {
            self.table.add(&self.world, death);
            one.kills += 1;
            one.dead_since = Some((Instant::now(), hunter.work_on(&one.mailbox)));
        }
    }

    /// Nobody dies any more: everything comes right by itself.
    async fn all_is_well(mut self) {
        self.world.no_faults().await;
        let storm = format!("mailboxes/{FORCED}/storm");
        let world = &self.world;
        eventually("the storm ends", Duration::from_secs(30), async || {
            let weather = world.sim(Method::GET, &storm, &Value::Null).await;
            if weather["running"] == false { Ok(()) } else { Err(weather.to_string()) }
        })
        .await;
        for email in [FORCED, SILENT, PUSHED] {
            self.is_well(email).await;
        }
        let truth = self.world.snapshot(FORCED).await;
        let old = self.old.take().expect("the storm began");
        let news = truth.keys().filter(|id| !old.contains(*id)).cloned().collect();
        let changes = feed::read(&self.world, &self.mailbox).await;
        feed::is_one_sequence(&changes);
        feed::nothing_is_revived(&changes);
        feed::tells_the_truth(&changes, &truth, &news);
        self.world.note(&format!(
            "{} changes told, {} of {} messages are news",
            changes.len(),
            news.len(),
            truth.len()
        ));
        self.those_left_alone_recovered().await;
    }

    /// The mailbox becomes healthy by itself, is then the replica, and every request has ended.
    async fn is_well(&self, email: &str) {
        let world = &self.world;
        let began = Instant::now();
        eventually(&format!("{email} is healthy"), RECOVERED_MAX, async || {
            // What a schedule does every few minutes.
            world.system.run_cron("fan-out").await.expect("cron runs");
            let status = world.status(email).await;
            if status["healthy"] == true { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        world.note(&format!("{email}: healthy after {:.1} s", began.elapsed().as_secs_f64()));
        world.until_equal_within(email, email, Duration::from_secs(30)).await;
        for job in world.jobs(email).await {
            assert!(matches!(job["status"].as_str(), Some("success" | "partial")), "{job}");
        }
    }

    async fn those_left_alone_recovered(&mut self) {
        for one in &mut self.left_alone {
            if let Some((killed, _)) = one.dead_since.take() {
                one.recovered.push(killed.elapsed().as_secs());
            }
            assert!(one.kills > 0, "{} was never killed", one.email);
            let what = format!("{}: {} kills without help", one.email, one.kills);
            self.world.note(&format!("{what}, at work again after at most {:?} s", one.recovered));
            let changes = feed::read(&self.world, &one.mailbox).await;
            feed::is_one_sequence(&changes);
            feed::tells_the_truth(&changes, &self.world.snapshot(one.email).await, &BTreeSet::new());
        }
    }
}
