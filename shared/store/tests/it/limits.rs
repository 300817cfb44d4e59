//! How often a token may ask, over processes that draw at once.

use std::sync::atomic::{AtomicU32, Ordering};

use sync_core::{
    SignedDuration, Timestamp,
    rate::{Lease, Rate, Spent},
};

use crate::fixture::{World, at};

const TOKEN: &str = "9f86d081884c7d65";

/// A process that asks so often, all at one time; how many were let through.
async fn process(world: &World, rate: Rate, requests: u32, now: Timestamp, writes: &AtomicU32) -> u32 {
    let (mut lease, mut let_through) = (Lease::default(), 0);
    for _ in 0..requests {
        match lease.spend(rate, now) {
            Spent::Yes => let_through += 1,
            Spent::Refused(_) => {}
            Spent::Draw(most) => {
                writes.fetch_add(1, Ordering::Relaxed);
                match world.store.draw_requests(TOKEN, rate, most, now).await.expect("answered") {
                    Ok(count) => {
                        lease.drew(count, now);
                        let_through += 1;
                    }
                    Err(wait) => lease.refused(wait, now),
                }
            }
        }
    }
    let_through
}

#[tokio::test]
async fn many_processes_at_once_let_through_the_burst_and_then_what_the_rate_gives() {
    let world = World::new().await;
    let rate = Rate { per_minute: 600, burst: 100 };
    let writes = AtomicU32::new(0);
    let all = async |now| {
        let processes = (0..8).map(|_| process(&world, rate, 40, now, &writes));
        futures::future::join_all(processes).await.into_iter().sum::<u32>()
    };
    let first = all(at(0)).await;
    // What one process drew and did not spend no other has.
    assert!((20..=100).contains(&first), "{first} of 320 at once, with a burst of 100");
    assert!(writes.load(Ordering::Relaxed) < 100, "{writes:?} draws for 320 requests");
    let later = all(at(3)).await;
    assert!((1..=30).contains(&later), "{later} after three seconds of ten");
}

#[tokio::test]
async fn a_token_has_a_bucket_of_its_own_and_is_told_when_there_is_room_again() {
    let world = World::new().await;
    let rate = Rate { per_minute: 60, burst: 3 };
    let draw =
        async |token, most, now| world.store.draw_requests(token, rate, most, now).await.expect("answered");
    assert_eq!(draw(TOKEN, 10, at(0)).await, Ok(3), "as many as there are");
    assert_eq!(draw(TOKEN, 1, at(0)).await, Err(SignedDuration::from_secs(1)));
    assert_eq!(draw("another", 1, at(0)).await, Ok(1));
    assert_eq!(draw(TOKEN, 10, at(2)).await, Ok(2));
    assert_eq!(draw(TOKEN, 10, at(9_999)).await, Ok(3), "rested");
}
