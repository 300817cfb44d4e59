//! Quota: taken before it is spent, by many at once.

use sync_core::{
    EmailAddress, SignedDuration,
    quota::{Ask, Granted, Limit, Part, PartSpent, Priority},
};
use sync_store::{SeenLedger, Store};

use crate::fixture::{World, at};

const LIMIT: Limit = Limit { units: 6_000, kept_percent: 5 };

fn address(text: &str) -> EmailAddress {
    text.parse().expect("an address")
}

async fn reserve(
    store: &Store,
    of: &EmailAddress,
    seen: &mut Option<SeenLedger>,
    count: u32,
    seconds: i64,
) -> Result<Granted, SignedDuration> {
    let ask = Ask { each: 20, least: 1, most: count };
    let now = at(seconds);
    let decide = |ledger: &mut sync_core::quota::Ledger| ledger.reserve(ask, Priority::Delta, LIMIT, now);
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
    assert_eq!(ledger.ledger().last_minute(at(0)), 6_000);
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

/// Draws until nothing is left; how many units.
async fn draw_all(store: &Store, part: Part, each: u32, seconds: i64) -> u32 {
    let (mut seen, mut drawn) = (PartSpent::default(), 0);
    let ask = Ask { each, least: 1, most: 3 };
    while let Ok(some) =
        store.draw_quota(4, &part, &mut seen, ask, 0, Priority::Delta, at(seconds)).await.expect("a part")
    {
        drawn += some.units;
    }
    drawn
}

#[tokio::test]
async fn many_that_draw_at_once_draw_all_of_a_part_and_not_one_unit_more() {
    let world = World::new().await;
    let part = Part::new(Limit { units: 60_000, kept_percent: 5 }, Some(2_000));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = world.store.clone();
        workers.spawn(async move { draw_all(&store, part, 20, 0).await });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<u32>(), 1_200, "what a part may spend at once");
    // When that has refilled, the day still has no more than it has.
    assert_eq!(draw_all(&world.store, part, 20, 10).await, 800);
    let parts = world.store.read_project_quota(20).await.expect("read");
    assert_eq!(parts.iter().map(|part| part.today(at(10))).collect::<Vec<_>>(), [2_000]);
}

#[tokio::test]
async fn what_is_brought_back_is_there_for_others_and_a_closed_part_gives_nothing() {
    let world = World::new().await;
    let part = Part::new(Limit { units: 60_000, kept_percent: 5 }, None);
    let (mut mine, mut theirs) = (PartSpent::default(), PartSpent::default());
    let units = |most| Ask { each: 1, least: 1, most };
    let (store, delta) = (&world.store, Priority::Delta);
    let all = store.draw_quota(0, &part, &mut mine, units(1_200), 0, delta, at(0)).await.expect("a part");
    assert_eq!(all.expect("room").units, 1_200);
    let none = store.draw_quota(0, &part, &mut theirs, units(500), 0, delta, at(0)).await.expect("a part");
    assert!(none.is_err(), "{none:?}");
    let next = store.draw_quota(0, &part, &mut mine, units(1), 900, delta, at(0)).await.expect("a part");
    assert_eq!(next.expect("room").units, 1);
    theirs = PartSpent::default();
    let some = store.draw_quota(0, &part, &mut theirs, units(2_000), 0, delta, at(0)).await.expect("a part");
    assert_eq!(some.expect("what came back").units, 899);

    store.close_quota(0, at(300), at(0)).await.expect("closed");
    store.close_quota(0, at(200), at(0)).await.expect("closed already");
    let closed = store.draw_quota(0, &part, &mut mine, units(1), 0, delta, at(60)).await.expect("a part");
    assert_eq!(closed.expect_err("Google has said so"), SignedDuration::from_secs(240));
    assert!(
        store.draw_quota(0, &part, &mut mine, units(1), 0, delta, at(300)).await.expect("a part").is_ok()
    );
}
