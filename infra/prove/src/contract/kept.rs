//! Lists and listings: long things that outlast a run.

use sync_core::{
    MessageId, ThreadId,
    sync::{Effect, Listed, Listing, Seen},
};

use super::{Bench, Told, at, same, see, unexpected};

pub async fn a_list_is_read_by_position<B: Bench>(bench: &mut B) -> Told {
    let listed = |n| Listed::alone(MessageId(u64::MAX - n));
    is_read_by_position(bench, "7-1.ids", (0..300).rev().map(listed).collect()).await
}

pub async fn a_list_by_thread_keeps_the_threads<B: Bench>(bench: &mut B) -> Told {
    // The last ones are of no known thread.
    let listed = |n| Listed::new(MessageId(u64::MAX - n), ThreadId(n / 5));
    is_read_by_position(bench, "7-1.threads", (0..300).rev().map(listed).collect()).await
}

async fn is_read_by_position<B: Bench>(bench: &mut B, key: &str, messages: Vec<Listed>) -> Told {
    let save = Effect::SaveList { key: key.to_owned(), messages: messages.clone() };
    same("saved", see(bench, save, at(0)).await, Seen::Done)?;
    let load = |key: &str, position, limit| Effect::LoadList { key: key.to_owned(), position, limit };
    for (position, limit, first, last) in [(0, 3, 0, 3), (298, 25, 298, 300), (300, 5, 300, 300)] {
        let seen = see(bench, load(key, position, limit), at(0)).await;
        let expected = messages.get(first..last).unwrap_or_default().to_vec();
        same(format!("from {position}"), seen, Seen::ListSlice(expected))?;
    }
    let far = see(bench, load(key, u64::MAX, 5), at(0)).await;
    same("far beyond its end", far, Seen::ListSlice(Vec::new()))?;
    same("one that is gone", see(bench, load("7-2.threads", 0, 5), at(0)).await, Seen::ListSlice(Vec::new()))
}

pub async fn a_listing_is_read_as_it_was_kept<B: Bench>(bench: &mut B) -> Told {
    // Layout 2, the first stage, a history id, and nothing else: what a worker at its very beginning keeps.
    let numbers = [2, 0, u64::MAX, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = numbers.iter().flat_map(|number: &u64| number.to_be_bytes()).collect();
    let listing = Listing::from_bytes(&bytes).ok_or_else(|| unexpected("a listing of ours", &"none"))?;
    let key = || "7-1.listing".to_owned();
    let none = see(bench, Effect::LoadListing { key: key() }, at(0)).await;
    same("none at first", none, Seen::Listing(None))?;
    let save = Effect::SaveListing { key: key(), listing: Box::new(listing.clone()) };
    same("saved", see(bench, save, at(0)).await, Seen::Done)?;
    let loaded = see(bench, Effect::LoadListing { key: key() }, at(0)).await;
    same("as it was", loaded, Seen::Listing(Some(Box::new(listing))))
}
