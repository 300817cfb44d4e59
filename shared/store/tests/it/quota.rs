//! Quota ledgers: reserved before it is spent, by many at once.

use sync_core::{
    EmailAddress, SignedDuration,
    quota::{Ask, Granted, Limit, Priority},
};
use sync_store::{LedgerOf, SeenLedger, Store};

use crate::fixture::{World, at};

const LIMIT: Limit = Limit { units: 6_000, kept_percent: 5 };

fn address(text: &str) -> LedgerOf {
    LedgerOf::Address(text.parse::<EmailAddress>().expect("an address"))
}

async fn reserve(
    store: &Store,
    of: &LedgerOf,
    seen: &mut Option<SeenLedger>,
    count: u32,
    seconds: i64,
) -> Result<Granted, SignedDuration> {
    let ask = Ask { each: 20, least: 1, most: count };
    let now = at(seconds);
    let decide = |ledger: &mut sync_core::quota::Ledger| {
        ledger.reserve(ask, Priority::Delta, LIMIT, Some(1_000_000), now)
    };
    store.change_ledger(of, seen, now, decide).await.expect("the ledger is written")
}

#[tokio::test]
async fn many_at_once_never_reserve_more_than_there_is() {
    let world = World::new().await;
    let of = address("shared@example.com");
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (store, of) = (world.store.clone(), of.clone());
        workers.spawn(async move {
            let (mut seen, mut granted) = (None, 0);
            // Asks on until nothing is left; each has its own, soon outdated, view of the ledger.
            while let Ok(some) = reserve(&store, &of, &mut seen, 13, 0).await {
                granted += some.count;
            }
            granted
        });
    }
    let granted: u32 = workers.join_all().await.into_iter().sum();
    assert_eq!(granted, 300, "6,000 units at 20 each, all of them and not one more");
    let ledger = world.store.read_ledger(&of).await.expect("read");
    assert_eq!((ledger.ledger().last_minute(at(0)), ledger.ledger().today(at(0))), (6_000, 6_000));
    let other = reserve(&world.store, &address("other@example.com"), &mut None, 5, 0).await;
    assert_eq!(other.expect("a ledger of its own").count, 5);
}

#[tokio::test]
async fn a_refusal_is_only_believed_of_a_ledger_that_was_just_read() {
    let world = World::new().await;
    let of = address("seen@example.com");
    let mut mine = None;
    let all = reserve(&world.store, &of, &mut mine, 300, 0).await.expect("an empty ledger");
    assert!(reserve(&world.store, &of, &mut mine, 1, 1).await.is_err());
    let settle = |ledger: &mut sync_core::quota::Ledger| {
        ledger.settle(all.reservation, 100, at(1));
        Ok::<(), ()>(())
    };
    world.store.change_ledger(&of, &mut None, at(1), settle).await.expect("written").expect("settled");
    let some = reserve(&world.store, &of, &mut mine, 300, 1).await.expect("what was given back is there");
    assert_eq!(some.count, 295);
}

#[tokio::test]
async fn the_projects_ledgers_are_read_together() {
    let world = World::new().await;
    assert!(world.store.read_project_ledgers(20).await.expect("read").is_empty(), "none yet");
    for shard in [3, 7] {
        reserve(&world.store, &LedgerOf::Project(shard), &mut None, 10, 0).await.expect("room");
    }
    let ledgers = world.store.read_project_ledgers(20).await.expect("read");
    assert_eq!(ledgers.iter().map(|ledger| ledger.today(at(0))).sum::<u64>(), 400);
}
