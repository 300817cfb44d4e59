//! A listing under way: which ids there are, and who wears which label.
//!
//! Pages shift while mail moves, so a listing may miss what it should hold. It is repeated and united until
//! history shows nothing taken out between its start and its end. Ids are sorted numbers, 16 bytes each with their
//! thread; labels are bitmaps by rank in that list, so that a million messages fit in a worker's memory. A listing that
//! outlasts its run is kept as one object and goes on in the next.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
};

use roaring::RoaringBitmap;

use crate::{
    ids::{HistoryId, MessageId},
    message::Labels,
    sync::{effect::ListPage, threads::Listed},
};

/// What is listed: everything, or who wears a label.
pub(super) type Key = Option<String>;

/// How often a listing is repeated before the totals decide.
pub(super) const TRIES_MAX: u32 = 3;

/// What is known of a mailbox while it is being listed and compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    pub(super) stage: Stage,
    /// History shows what was taken out since this.
    pub(super) since: HistoryId,
    /// Rounds of this stage that were not quiet.
    pub(super) tries: u32,
    /// What is still to be listed in this round, what is being listed last.
    pub(super) todo: Vec<Key>,
    /// From the page before.
    pub(super) page_token: Option<String>,
    /// What took more than one page in this round: only that can shift.
    pub(super) paged: BTreeSet<Key>,
    /// What is being listed, as it came.
    pub(super) gathered: Vec<Listed>,
    /// Everything listed, sorted by id.
    pub(super) messages: Vec<Listed>,
    /// Who wears which label, by rank in `messages`.
    pub(super) members: Vec<(String, RoaringBitmap)>,
    /// While comparing: listed and not stored.
    pub(super) missing: Vec<Listed>,
    /// While comparing: stored and not listed.
    pub(super) vanished: Vec<MessageId>,
    /// While comparing: the last row that was compared.
    pub(super) after: Option<MessageId>,
}

/// How far a listing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// All ids, or those of the labels in scope.
    Ids,
    /// Every label's members.
    Labels,
    /// Comparing with the rows.
    Compare,
}

impl Eq for Listing {}

impl Hash for Listing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_bytes().hash(state);
    }
}

impl Listing {
    /// A listing of these keys that begins now; `since` is not above the mailbox's present.
    pub(super) fn begin(keys: Vec<Key>, since: HistoryId) -> Self {
        Self {
            stage: Stage::Ids,
            since,
            tries: 0,
            todo: keys,
            page_token: None,
            paged: BTreeSet::new(),
            gathered: Vec::new(),
            messages: Vec::new(),
            members: Vec::new(),
            missing: Vec::new(),
            vanished: Vec::new(),
            after: None,
        }
    }

    /// The next stage: every label's members.
    pub(super) fn begin_labels(&mut self, names: Vec<String>, since: HistoryId) {
        self.stage = Stage::Labels;
        self.tries = 0;
        self.begin_round(names.into_iter().map(Some).collect(), since);
    }

    /// Another round of what was not quiet.
    pub(super) fn begin_round(&mut self, keys: Vec<Key>, since: HistoryId) {
        self.since = since;
        self.todo = keys;
        self.page_token = None;
        self.paged.clear();
        self.gathered = Vec::new();
    }

    /// What is being listed.
    pub(super) fn key(&self) -> Option<&Key> {
        self.todo.last()
    }

    /// Takes a page. Whether what was being listed is complete.
    pub(super) fn take(&mut self, page: ListPage) -> bool {
        self.gathered.extend(page.messages);
        self.page_token = page.next_page_token;
        if self.page_token.is_some() {
            self.paged.extend(self.todo.last().cloned());
            return false;
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.sort_unstable();
        gathered.dedup_by_key(|one| one.id);
        match (self.stage, self.todo.pop()) {
            (Stage::Labels, Some(Some(name))) => self.unite_members(name, &gathered),
            _ => self.unite_messages(gathered),
        }
        true
    }

    fn unite_messages(&mut self, mut gathered: Vec<Listed>) {
        if self.messages.is_empty() {
            self.messages = gathered;
            return;
        }
        // What is known already would lie in memory twice.
        gathered.retain(|one| self.rank(one.id).is_err());
        self.messages.extend(gathered);
        self.messages.sort_unstable();
    }

    /// Where a message stands in the list, or would stand.
    pub(super) fn rank(&self, id: MessageId) -> Result<usize, usize> {
        self.messages.binary_search_by_key(&id, |one| one.id)
    }

    /// Members that are not in the list of ids came after it: a delta brings them.
    fn unite_members(&mut self, name: String, gathered: &[Listed]) {
        let ranks = ranks(&self.messages, gathered);
        match self.members.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => *members |= ranks,
            None => self.members.push((name, ranks)),
        }
    }

    /// How many messages a listing of this key has found.
    pub(super) fn count(&self, key: &Key) -> u64 {
        match key {
            None => self.messages.len() as u64,
            Some(label) => {
                let members = self.members.iter().find(|(name, _)| name == label);
                members.map_or(0, |(_, members)| members.len())
            }
        }
    }

    /// The labels that a listed message wears.
    pub(super) fn labels_at(&self, rank: usize) -> Labels {
        let Ok(rank) = u32::try_from(rank) else { return Labels::new() };
        let worn = self.members.iter().filter(|(_, members)| members.contains(rank));
        worn.map(|(name, _)| name.clone()).collect()
    }

    /// What it holds, bytes: ids, bitmaps and lists.
    pub fn bytes(&self) -> usize {
        let lists = [&self.messages, &self.gathered, &self.missing];
        let listed: usize = lists.iter().map(|list| list.capacity() * size_of::<Listed>()).sum();
        let vanished = self.vanished.capacity() * size_of::<MessageId>();
        listed + vanished + self.members.iter().map(|(_, members)| members.serialized_size()).sum::<usize>()
    }
}

/// Where these members stand in the list of messages, both sorted.
fn ranks(messages: &[Listed], members: &[Listed]) -> RoaringBitmap {
    let mut ranks = RoaringBitmap::new();
    let mut from = 0;
    for member in members {
        let Some(rest) = messages.get(from..) else { break };
        match rest.binary_search_by_key(&member.id, |one| one.id) {
            Ok(at) => {
                from += at + 1;
                let Ok(rank) = u32::try_from(from - 1) else { break };
                ranks.insert(rank);
            }
            Err(at) => from += at,
        }
    }
    ranks
}

/// Names the layout; another one is read as nothing, and the listing begins anew.
const LAYOUT: u64 = 2;

impl Listing {
    /// As one object.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(self.bytes() + 1_024));
        writer.number(LAYOUT);
        writer.number(match self.stage {
            Stage::Ids => 0,
            Stage::Labels => 1,
            Stage::Compare => 2,
        });
        writer.number(self.since.0);
        writer.number(u64::from(self.tries));
        writer.keys(self.todo.iter());
        writer.optional_text(self.page_token.as_deref());
        writer.keys(self.paged.iter());
        for messages in [&self.gathered, &self.messages, &self.missing] {
            writer.messages(messages);
        }
        writer.ids(&self.vanished);
        writer.number(self.members.len() as u64);
        for (name, members) in &self.members {
            writer.text(name);
            let mut bytes = Vec::with_capacity(members.serialized_size());
            // Writing into memory cannot fail.
            drop(members.serialize_into(&mut bytes));
            writer.bytes(&bytes);
        }
        writer.ids(self.after.as_slice());
        writer.0
    }

    /// From an object; `None` when it is not one of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.number()? != LAYOUT {
            return None;
        }
        let stage = match reader.number()? {
            0 => Stage::Ids,
            1 => Stage::Labels,
            2 => Stage::Compare,
            _ => return None,
        };
        let mut listing = Self::begin(Vec::new(), HistoryId(0));
        listing.stage = stage;
        listing.since = HistoryId(reader.number()?);
        listing.tries = u32::try_from(reader.number()?).ok()?;
        listing.todo = reader.keys()?;
        listing.page_token = reader.key()?;
        listing.paged = reader.keys()?.into_iter().collect();
        listing.gathered = reader.messages()?;
        listing.messages = reader.messages()?;
        listing.missing = reader.messages()?;
        listing.vanished = reader.ids()?;
        for _ in 0..reader.number()? {
            let name = reader.text()?;
            listing.members.push((name, RoaringBitmap::deserialize_from(reader.bytes()?).ok()?));
        }
        listing.after = reader.ids()?.first().copied();
        let sorted = listing.messages.is_sorted_by_key(|one| one.id);
        (reader.0.is_empty() && sorted).then_some(listing)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn keys<'a>(&mut self, keys: impl ExactSizeIterator<Item = &'a Key>) {
        self.number(keys.len() as u64);
        for key in keys {
            self.optional_text(key.as_deref());
        }
    }

    fn messages(&mut self, messages: &[Listed]) {
        self.number(messages.len() as u64);
        for message in messages {
            self.0.extend(message.to_bytes());
        }
    }

    fn ids(&mut self, ids: &[MessageId]) {
        self.number(ids.len() as u64);
        for id in ids {
            self.number(id.0);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn key(&mut self) -> Option<Key> {
        let is_some = self.number()? == 1;
        let text = self.text()?;
        Some(is_some.then_some(text))
    }

    fn keys(&mut self) -> Option<Vec<Key>> {
        (0..self.number()?).map(|_| self.key()).collect()
    }

    fn messages(&mut self) -> Option<Vec<Listed>> {
        let count = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(count.checked_mul(16)?)?;
        self.0 = rest;
        Some(bytes.as_chunks().0.iter().copied().map(Listed::from_bytes).collect())
    }

    fn ids(&mut self) -> Option<Vec<MessageId>> {
        let count = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(count.checked_mul(8)?)?;
        self.0 = rest;
        let id = |bytes: &[u8; 8]| MessageId(u64::from_be_bytes(*bytes));
        Some(bytes.as_chunks().0.iter().map(id).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ThreadId;

    fn page(ids: impl IntoIterator<Item = u64>, more: bool) -> ListPage {
        ListPage {
            messages: ids.into_iter().map(|id| Listed::new(MessageId(id), ThreadId(id / 3))).collect(),
            next_page_token: more.then(|| "more".to_owned()),
        }
    }

    fn of_labels() -> Listing {
        let mut listing = Listing::begin(vec![None], HistoryId(7));
        assert!(!listing.take(page([9, 5], true)));
        assert!(listing.take(page([5, 1], false)));
        listing.begin_labels(vec!["INBOX".into(), "UNREAD".into()], HistoryId(8));
        assert!(listing.take(page([9, 8], false)));
        assert!(listing.take(page([9, 1], false)));
        listing
    }

    #[test]
    fn rounds_are_united_and_a_member_that_is_not_listed_is_left_to_the_delta() {
        let listing = of_labels();
        assert_eq!(listing.messages, page([1, 5, 9], false).messages);
        assert_eq!(listing.labels_at(0), Labels::from(["INBOX".to_owned()]));
        assert_eq!(listing.labels_at(1), Labels::new());
        assert_eq!(listing.labels_at(2), Labels::from(["INBOX".to_owned(), "UNREAD".to_owned()]));
        assert_eq!(listing.count(&Some("UNREAD".into())), 1);
    }

    #[test]
    fn what_is_kept_is_read_again_and_anything_else_is_nothing() {
        let mut listing = of_labels();
        listing.paged.insert(None);
        listing.page_token = Some("token".into());
        listing.after = Some(MessageId(5));
        listing.missing = page([3], false).messages;
        let bytes = listing.to_bytes();
        assert_eq!(Listing::from_bytes(&bytes), Some(listing));
        for cut in 0..bytes.len() {
            assert_eq!(Listing::from_bytes(&bytes[..cut]), None, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x55;
            // Whatever it is read as, it is read without a panic.
            drop(Listing::from_bytes(&broken));
        }
    }

    #[test]
    fn a_million_messages_with_fifty_labels_take_less_than_forty_megabytes() {
        const MESSAGES: u64 = 1_000_000;
        let id = |n: u64| 0x18c_0000_0000_0000 + n * 977;
        let mut listing = Listing::begin(vec![None], HistoryId(1));
        let all = (0..MESSAGES).step_by(500);
        for first in all {
            let more = first + 500 < MESSAGES;
            listing.take(page((first..first + 500).rev().map(id), more));
        }
        listing.begin_labels((0..50).map(|n| format!("Label_{n}")).collect(), HistoryId(2));
        for label in (0..50_u64).rev() {
            // Some labels are on everything, some on nearly nothing.
            let step = 1 + usize::try_from(label * label).expect("small");
            listing.take(page((0..MESSAGES).step_by(step).map(id), false));
        }
        assert_eq!(listing.messages.len(), 1_000_000);
        assert!(listing.bytes() < 40_000_000, "{} bytes", listing.bytes());
    }
}
