use serde_json::{Value, json};
use sync_core::{
    HistoryId, SignedDuration, Timestamp,
    job::Counts,
    state::{Errors, FetchList, Progress, Window, Work, WorkKind},
};

use super::world::World;

/// What a mailbox shows whose first copy is in this window, half through its list, begun ten minutes ago.
fn half_way(window: Window, progress: &Progress) -> Progress {
    let list = FetchList { key: "1-1".to_owned(), total: 1_000, position: 500, verify_from: u64::MAX };
    let began = Timestamp::now() - SignedDuration::from_mins(10);
    let counts = Counts { listed: 1_000, fetched: 500, ..Counts::default() };
    let work = Work { list: Some(list), counts, ..Work::new(WorkKind::Initial { window }, None, began) };
    Progress { work: vec![work], ..progress.clone() }
}

#[tokio::test]
async fn a_backfill_tells_how_far_it_is_and_when_it_ends_as_fast_as_so_far() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let status = async || world.get(&token, &format!("/api/sync/{id}/status")).await.json();
    let show = async |change: &dyn Fn(&Progress) -> Progress| {
        world.commit(&id, |commit| commit.progress = change(&commit.progress)).await;
        status().await
    };

    let shown = show(&|progress| half_way(Window::All, progress)).await;
    let backfill = &shown["backfill"];
    assert_eq!(
        (&backfill["listed"], &backfill["fetched"], &backfill["total"]),
        (&json!(1_000), &json!(500), &json!(1_000)),
        "{shown}"
    );
    let end: Timestamp = backfill["expectedEnd"].as_str().expect("an end").parse().expect("a time");
    let minutes = end.duration_since(Timestamp::now()).as_secs_f64() / 60.0;
    assert!((9.0..11.0).contains(&minutes), "half of it took ten minutes: {minutes}");
    assert_eq!(shown["healthy"], false);

    // The newest fifty say nothing of the rest.
    let shown = show(&|progress| half_way(Window::Newest(50), progress)).await;
    assert_eq!(
        (&shown["backfill"]["total"], &shown["backfill"]["expectedEnd"]),
        (&Value::Null, &Value::Null)
    );

    // Nor does anybody know how long what is queued behind it takes.
    let shown = show(&|progress| {
        let mut progress = half_way(Window::All, progress);
        let kind = WorkKind::Resync { baseline: HistoryId(1), restarts: 0, accept_deletions: false };
        progress.work.push(Work::new(kind, None, Timestamp::now()));
        progress
    })
    .await;
    assert_eq!(shown["backfill"]["expectedEnd"], Value::Null);

    let until = Timestamp::now() + SignedDuration::from_mins(30);
    let shown = show(&|progress| {
        let errors = Errors {
            consecutive: 5,
            last: Some("Gmail answered 500".to_owned()),
            cooldown_until: Some(until),
        };
        Progress { errors, ..half_way(Window::All, progress) }
    })
    .await;
    assert_eq!(shown["backfill"]["expectedEnd"], Value::Null, "nothing moves: {shown}");
    assert_eq!((&shown["consecutiveErrors"], &shown["lastError"]), (&json!(5), &json!("Gmail answered 500")));
    assert!(shown["cooldownUntil"].is_string());

    let shown =
        show(&|progress| Progress { work: Vec::new(), errors: Errors::default(), ..progress.clone() }).await;
    assert_eq!((&shown["backfill"], &shown["healthy"]), (&Value::Null, &json!(true)), "{shown}");
}

#[tokio::test]
async fn only_a_mailbox_with_nothing_left_to_do_is_healthy() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let status = async || world.get(&token, &format!("/api/sync/{id}/status")).await.json();
    assert_eq!(status().await["healthy"], false, "never synced");
    world.commit(&id, |_| {}).await;
    assert_eq!(status().await["healthy"], true);

    world.commit(&id, |commit| commit.progress.probe.drift = 3).await;
    let drifted = status().await;
    assert_eq!((&drifted["drift"], &drifted["healthy"]), (&json!(3), &json!(false)));
    world.commit(&id, |commit| commit.progress.probe.drift = 0).await;

    world.commit(&id, |commit| commit.totals.debts = 1).await;
    assert_eq!(status().await["healthy"], false, "a debt");
    world.commit(&id, |commit| commit.totals.debts = -1).await;

    world.commit(&id, |commit| commit.totals.waiting = 2).await;
    let waiting = status().await;
    assert_eq!((&waiting["healthy"], &waiting["backfill"]["total"]), (&json!(false), &json!(2)), "{waiting}");
    world.commit(&id, |commit| commit.totals.waiting = -2).await;

    let old = Timestamp::now() - SignedDuration::from_mins(11);
    world.commit(&id, |commit| commit.progress.last_sync_at = Some(old)).await;
    let stale = status().await;
    assert_eq!(stale["healthy"], false, "twice five minutes without a watch: {stale}");
    assert!(stale["stalenessSeconds"].as_u64().expect("seconds") >= 660);
    world.commit(&id, |_| {}).await;

    world.store.raise_target(&id, HistoryId(1_000_001)).await.expect("raised");
    assert_eq!(status().await["healthy"], false, "a push named more");
    world.commit(&id, |commit| commit.progress.cursor = Some(HistoryId(1_000_001))).await;
    assert_eq!(status().await["healthy"], true);
    let listed = world.get(&token, &format!("/api/integrations/{id}")).await.json();
    assert_eq!(listed["healthy"], true, "the same everywhere");
    world.store.pause(&id, Timestamp::now()).await.expect("paused");
    assert_eq!(status().await["healthy"], false);
}

#[tokio::test]
async fn drift_is_what_the_last_probe_found() {
    let world = World::new().await;
    let token = world.admin("ten_1").await;
    let id = world.mailbox("ten_1", "alice@example.com").await;
    let drift = async || world.get(&token, &format!("/api/sync/{id}/drift")).await.json();
    let never = drift().await;
    assert_eq!(
        (&never["probedAt"], &never["drift"], &never["labels"]),
        (&Value::Null, &json!(0), &json!([]))
    );
    let at = Timestamp::now();
    world
        .commit(&id, |commit| {
            (commit.progress.probe.at, commit.progress.probe.drift) = (Some(at), 2);
            commit.labels = [("INBOX".to_owned(), 5), ("UNREAD".to_owned(), 1)].into();
        })
        .await;
    let unknown = drift().await;
    assert_eq!((&unknown["drift"], &unknown["countable"]), (&json!(2), &json!(true)), "{unknown}");
    assert!(unknown["probedAt"].is_string());
    assert_eq!(unknown["stored"], json!({"INBOX": 5, "UNREAD": 1}));
    assert_eq!(unknown["labels"], Value::Null, "without a grant nobody can tell");

    world.grant(&id).await;
    world.gmail_has_labels(&[("INBOX", 7), ("UNREAD", 1), ("SPAM", 0)]).await;
    let found = drift().await;
    assert_eq!(
        found["labels"],
        json!([{"label": "INBOX", "gmail": 7, "stored": 5, "difference": -2}]),
        "{found}"
    );
}
