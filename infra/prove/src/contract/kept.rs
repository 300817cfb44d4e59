//! Lists and listings: long things that outlast a run.

use sync_core::{
    MessageId,
    sync::{Effect, Listing, Seen},
};

use super::{Bench, Told, at, same, see, unexpected};

pub async fn a_list_is_read_by_position<B: Bench>(bench: &mut B) -> Told {
    let ids: Vec<MessageId> = (0..300).rev().map(|n| MessageId(u64::MAX - n)).collect();
    let save = Effect::SaveList { key: "7-1.ids".to_owned(), ids: ids.clone() };
    same("saved", see(bench, save, at(0)).await, Seen::Done)?;
    let load = |key: &str, position, limit| Effect::LoadList { key: key.to_owned(), position, limit };
    for (position, limit, first, last) in [(0, 3, 0, 3), (298, 25, 298, 300), (300, 5, 300, 300)] {
        let seen = see(bench, load("7-1.ids", position, limit), at(0)).await;
        let expected = ids.get(first..last).unwrap_or_default().to_vec();
        same(format!("from {position}"), seen, Seen::ListSlice(expected))?;
    }
    let far = see(bench, load("7-1.ids", u64::MAX, 5), at(0)).await;
    same("far beyond its end", far, Seen::ListSlice(Vec::new()))?;
    same("one that is gone", see(bench, load("7-2.ids", 0, 5), at(0)).await, Seen::ListSlice(Vec::new()))
}

pub async fn a_listing_is_read_as_it_was_kept<B: Bench>(bench: &mut B) -> Told {
    // Layout 1, the first stage, a history id, and nothing else: what a worker at its very beginning keeps.
    let numbers = [1, 0, u64::MAX, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
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
