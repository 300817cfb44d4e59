//! A storm: deliveries, label changes, trash, purge and drafts at a steady rate.
//!
//! Invariant: within every hundred operations each kind happens as often as its share says; order and targets are
//! drawn from the seed. An operation that finds nothing to work on becomes a delivery and is counted as one.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::state::{Account, Shared, lock};
use crate::model::{INBOX, Mailbox, MessageId, Millis, NewMessage, Random, STARRED, TRASH, UNREAD};

/// Most operations of one storm.
const OPERATIONS_MAX: u64 = 1_000_000;
/// Most operations a second: what one mailbox can be changed by without falling behind.
const PER_SECOND_MAX: f64 = 10_000.0;
/// The mix is exact within so many operations.
const HAND: u64 = 100;
/// How far back from the newest message targets are drawn.
const TARGETS: usize = 1_000;

/// A storm as it is ordered.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Operations a second: above 0, at most 10,000.
    pub per_second: f64,
    /// How long it lasts.
    pub seconds: f64,
    /// How often each kind happens.
    #[serde(default)]
    pub mix: StormMix,
}

/// How often each kind happens, relative to the others. What is left out of a mix that is given does not happen.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StormMix {
    /// New mail.
    #[serde(alias = "deliveries", alias = "delivery")]
    pub deliver: f64,
    /// A message is starred, unstarred, read or unread.
    #[serde(alias = "labels", alias = "label_changes", alias = "modify")]
    pub label: f64,
    /// A message is put into the bin.
    pub trash: f64,
    /// A message is deleted for good.
    #[serde(alias = "delete")]
    pub purge: f64,
    /// A draft is made, saved again or thrown away.
    #[serde(alias = "drafts")]
    pub draft: f64,
}

impl Default for StormMix {
    fn default() -> Self {
        Self { deliver: 0.0, label: 0.0, trash: 0.0, purge: 0.0, draft: 0.0 }
    }
}

/// What happens when no mix is given.
const USUAL: [f64; KINDS] = [50.0, 30.0, 8.0, 4.0, 8.0];

const KINDS: usize = 5;
const NAMES: [&str; KINDS] = ["deliver", "label", "trash", "purge", "draft"];
const DELIVER: usize = 0;

/// What the storms of a mailbox have done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    ordered: u64,
    ended: u64,
    done: [u64; KINDS],
}

impl Weather {
    pub(crate) fn json(&self) -> Value {
        let by_kind: serde_json::Map<String, Value> =
            NAMES.iter().zip(self.done).map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        let done: u64 = self.done.iter().sum();
        json!({"operations": self.ordered, "done": done, "running": self.ended < self.ordered, "kinds": by_kind})
    }
}

impl StormMix {
    fn shares(self) -> Result<[f64; KINDS], String> {
        let weights = [self.deliver, self.label, self.trash, self.purge, self.draft];
        if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) {
            return Err("mix: a share must be 0 or more".to_owned());
        }
        let sum: f64 = weights.iter().sum();
        Ok(if sum > 0.0 { weights } else { USUAL })
    }
}

/// Kinds dealt so that each comes as often as its share says.
struct Hand {
    shares: [f64; KINDS],
    owed: [f64; KINDS],
    size: f64,
    dealt: Vec<usize>,
}

impl Hand {
    #[expect(clippy::cast_precision_loss, reason = "at most a hundred")]
    fn new(weights: [f64; KINDS], operations: u64) -> Self {
        let sum: f64 = weights.iter().sum();
        let size = operations.clamp(1, HAND) as f64;
        Self { shares: weights.map(|weight| weight / sum), owed: [0.0; KINDS], size, dealt: Vec::new() }
    }

    fn next(&mut self, random: &mut Random) -> usize {
        if self.dealt.is_empty() {
            for kind in 0..KINDS {
                self.owed[kind] += self.shares[kind] * self.size;
                // Less than a thousandth short is rounding, not a debt.
                while self.owed[kind] > 0.999 {
                    self.owed[kind] -= 1.0;
                    self.dealt.push(kind);
                }
            }
            for place in (1..self.dealt.len()).rev() {
                let other = random.below(place as u64 + 1);
                self.dealt.swap(place, usize::try_from(other).unwrap_or(0));
            }
        }
        // What is owed to several kinds at once may leave a small hand empty.
        self.dealt.pop().unwrap_or_else(|| {
            let most = (0..KINDS).max_by(|left, right| self.owed[*left].total_cmp(&self.owed[*right]));
            let kind = most.unwrap_or(DELIVER);
            self.owed[kind] -= 1.0;
            kind
        })
    }
}

/// Starts a storm in the background; answers how many operations it will have.
pub(crate) fn start(shared: &Arc<Shared>, account: Arc<Account>, storm: &Storm) -> Result<u64, String> {
    if !(storm.per_second > 0.0 && storm.per_second <= PER_SECOND_MAX) {
        return Err(format!("per_second: must be above 0 and at most {PER_SECOND_MAX}"));
    }
    let operations = storm.per_second * storm.seconds;
    #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
    if !(0.0..=OPERATIONS_MAX as f64).contains(&operations) {
        return Err(format!("seconds: per_second times seconds must be 0 to {OPERATIONS_MAX}"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let count = operations.round() as u64;
    let hand = Hand::new(storm.mix.shares()?, count);
    let pause = Duration::from_secs_f64(1.0 / storm.per_second.max(0.001));
    let seed = lock(&shared.random).next_u64();
    account.state().weather.ordered += count;
    let runtime = shared.runtime.clone();
    let shared = Arc::clone(shared);
    runtime.spawn(async move {
        let mut dice = (hand, Random::new(seed));
        let mut ending = shared.ending.subscribe();
        // A tick that comes late is made up for: the rate holds over the storm, whatever the machine does.
        let mut clock = tokio::time::interval(pause);
        for number in 0..count {
            tokio::select! {
                _ = clock.tick() => {}
                _ = ending.wait_for(|ending| *ending) => return,
            }
            let (shared, account) = (Arc::clone(&shared), Arc::clone(&account));
            // It may have to wait for a search to end: not on a thread that answers calls.
            let turn = tokio::task::spawn_blocking(move || {
                turn(&shared, &account, number, &mut dice);
                dice
            });
            match turn.await {
                Ok(after) => dice = after,
                Err(_) => return,
            }
        }
    });
    Ok(count)
}

/// One operation of a storm, and its place in the count.
fn turn(shared: &Arc<Shared>, account: &Account, number: u64, (hand, random): &mut (Hand, Random)) {
    let now = shared.now();
    let kind = hand.next(random);
    let done = account.change(shared, |mailbox| one(mailbox, kind, number, random, now));
    let mut state = account.state();
    state.weather.done[done] += 1;
    state.weather.ended += 1;
}

/// Does one operation of a kind; answers the kind that it became.
fn one(mailbox: &mut Mailbox, kind: usize, number: u64, random: &mut Random, now: Millis) -> usize {
    match (kind, target(mailbox, kind, random)) {
        (1, Some(id)) => {
            let label = if random.below(2) == 0 { UNREAD } else { STARRED };
            let wears = mailbox.message(id).is_ok_and(|message| message.labels.has(label));
            let (add, remove) = if wears { (vec![], vec![label]) } else { (vec![label], vec![]) };
            mailbox.modify(&[id], &add, &remove, now);
        }
        (2, Some(id)) => mailbox.trash(&[id], now),
        (3, Some(id)) => mailbox.delete(&[id], now),
        (4, _) => draft(mailbox, number, random, now),
        _ => {
            let new = NewMessage {
                raw: text(mailbox.address(), number, random).into(),
                labels: vec![INBOX, UNREAD],
                internal_date: None,
                thread: None,
            };
            // Mail without a named thread is never refused.
            let _ = mailbox.insert(new, now);
            return DELIVER;
        }
    }
    kind
}

/// Saves the first draft again, or makes one; now and then throws it away.
fn draft(mailbox: &mut Mailbox, number: u64, random: &mut Random, now: Millis) {
    let raw = text(mailbox.address(), number, random).into();
    let new = NewMessage { raw, labels: Vec::new(), internal_date: None, thread: None };
    let first = mailbox.drafts().next().map(|(draft, _)| draft);
    let _ = match first {
        Some(draft) if random.below(5) == 0 => mailbox.delete_draft(draft, now),
        Some(draft) => mailbox.update_draft(draft, new, now).map(|_| ()),
        None => mailbox.create_draft(new, now).map(|_| ()),
    };
}

/// A recent message that the operation changes for sure; drafts are left to their own kind.
fn target(mailbox: &Mailbox, kind: usize, random: &mut Random) -> Option<MessageId> {
    if !(1..=3).contains(&kind) {
        return None;
    }
    let drafts: Vec<MessageId> = mailbox.drafts().map(|(_, message)| message).collect();
    let lies_in_bin = |id: &MessageId| mailbox.message(*id).is_ok_and(|message| message.labels.has(TRASH));
    let mut recent = mailbox.newest(TARGETS);
    recent.retain(|id| !(drafts.contains(id) || kind == 2 && lies_in_bin(id)));
    let place = usize::try_from(random.below(recent.len() as u64)).ok()?;
    recent.get(place).copied()
}

fn text(owner: &str, number: u64, random: &mut Random) -> Vec<u8> {
    let noise = random.next_u64();
    format!(
        "From: Storm <storm@generated.example>\r\nTo: <{owner}>\r\nSubject: storm {number}\r\n\
         Message-ID: <s{noise:016x}@generated.example>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         Number {number} of a storm, {noise:x}.\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(weights: [f64; KINDS], operations: u64) -> [u64; KINDS] {
        let mut hand = Hand::new(weights, operations);
        let mut random = Random::new(1);
        let mut counts = [0; KINDS];
        for _ in 0..operations {
            counts[hand.next(&mut random)] += 1;
        }
        counts
    }

    #[test]
    fn the_mix_is_exact_within_a_hundred_operations_and_close_within_ten() {
        assert_eq!(dealt(USUAL, 100), [50, 30, 8, 4, 8]);
        assert_eq!(dealt(USUAL, 1_000), [500, 300, 80, 40, 80]);
        assert_eq!(dealt([0.5, 0.5, 0.0, 0.0, 0.0], 10), [5, 5, 0, 0, 0]);
        assert_eq!(dealt([1.0, 1.0, 1.0, 0.0, 0.0], 300), [100, 100, 100, 0, 0]);
        assert_eq!(dealt([0.0, 0.0, 0.0, 0.0, 1e-9], 3), [0, 0, 0, 0, 3]);
    }
}
