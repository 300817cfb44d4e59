//! A storm: deliveries, label changes, trash, purge and drafts at a steady rate, drawn from the seed.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::state::{Account, Shared, lock};
use crate::model::{INBOX, Mailbox, MessageId, Millis, NewMessage, Random, STARRED, UNREAD};

/// Most operations of one storm.
const OPERATIONS_MAX: u64 = 1_000_000;

/// A storm as it is ordered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StormOrder {
    per_second: f64,
    seconds: f64,
    #[serde(default)]
    mix: Mix,
}

/// How often each kind happens, relative to the others.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mix {
    #[serde(alias = "deliveries", alias = "delivery")]
    deliver: u32,
    #[serde(alias = "labels", alias = "label_changes", alias = "modify")]
    label: u32,
    trash: u32,
    #[serde(alias = "delete")]
    purge: u32,
    #[serde(alias = "drafts")]
    draft: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { deliver: 50, label: 30, trash: 8, purge: 4, draft: 8 }
    }
}

/// Starts a storm in the background; answers how many operations it will have.
pub(crate) fn start(shared: &Arc<Shared>, account: Arc<Account>, order: &StormOrder) -> Result<u64, String> {
    let steady = order.per_second > 0.0 && order.seconds >= 0.0;
    let operations = order.per_second * order.seconds;
    #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
    if !steady || !operations.is_finite() || operations > OPERATIONS_MAX as f64 {
        return Err(format!("per_second times seconds must be 0 to {OPERATIONS_MAX}"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let count = operations.round() as u64;
    let mix = order.mix;
    if [mix.deliver, mix.label, mix.trash, mix.purge, mix.draft].iter().all(|weight| *weight == 0) {
        return Err("mix: something must happen".to_owned());
    }
    let pause = Duration::from_secs_f64(1.0 / order.per_second.max(0.001));
    let seed = lock(&shared.random).next_u64();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let mut random = Random::new(seed);
        let mut ending = shared.ending.subscribe();
        let mut clock = tokio::time::interval(pause);
        for number in 0..count {
            tokio::select! {
                _ = clock.tick() => {}
                _ = ending.wait_for(|ending| *ending) => return,
            }
            let now = shared.now();
            account.change(&shared, |mailbox| one(mailbox, mix, number, &mut random, now));
        }
    });
    Ok(count)
}

fn one(mailbox: &mut Mailbox, mix: Mix, number: u64, random: &mut Random, now: Millis) {
    let kinds = [mix.deliver, mix.label, mix.trash, mix.purge, mix.draft];
    let total: u64 = kinds.iter().map(|weight| u64::from(*weight)).sum();
    let mut draw = random.below(total);
    let mut kind = 0;
    while kind < kinds.len() - 1 && draw >= u64::from(kinds[kind]) {
        draw -= u64::from(kinds[kind]);
        kind += 1;
    }
    let target = any(mailbox, random);
    match (kind, target) {
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
        }
    }
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

fn any(mailbox: &Mailbox, random: &mut Random) -> Option<MessageId> {
    let drafts: Vec<MessageId> = mailbox.drafts().map(|(_, message)| message).collect();
    let recent: Vec<MessageId> = mailbox.newest(200).into_iter().filter(|id| !drafts.contains(id)).collect();
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
