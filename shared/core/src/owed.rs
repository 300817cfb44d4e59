//! What the replica owes: messages known of and not stored yet, each with a reason and a time.
//!
//! Nothing is ever skipped silently. A message that cannot be stored now is a row here until it is
//! stored, found deleted, or accepted as lost by its owner.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{HistoryId, MessageId};

/// A message that is still to be fetched, and everything seen of it meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owed {
    /// Which message.
    pub id: MessageId,
    /// Why it is not stored.
    pub reason: OwedReason,
    /// Highest record id seen for it. A get below that is too old and is tried again.
    pub at_least: HistoryId,
    /// Label changes seen since, replayed over the answer of the get: `(record, label, added)`.
    pub label_changes: Vec<(HistoryId, String, bool)>,
    /// Failed tries so far.
    pub tries: u32,
    /// When it was first owed.
    pub since: Timestamp,
    /// When a get first answered 404; every other answer forgets it. A message is gone only when it is
    /// missing for the whole grace, however long it waited before.
    #[serde(default)]
    pub missing_since: Option<Timestamp>,
    /// When it is to be tried again; `None` when nothing more is tried by itself, and somebody must decide.
    pub due_at: Option<Timestamp>,
    /// Whether it is news: whoever stores it announces it.
    #[serde(default)]
    pub announce: bool,
    /// The epoch of the history ids.
    #[serde(default)]
    pub epoch: u32,
}

/// Why a message is not stored yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum OwedReason {
    /// Its turn has not come: work, not a debt.
    Waiting,
    /// A get answered 404. It may be invisible still, or gone.
    NotVisibleYet,
    /// Stored, missing from a complete listing, and a get answered 404: a tombstone if it still does.
    Vanished,
    /// The get or the parse failed.
    Failed {
        /// One sentence for the owner; no address, subject or token.
        error: String,
    },
}

impl OwedReason {
    /// Work that merely waits is not a debt.
    pub fn is_debt(&self) -> bool {
        match self {
            Self::Waiting => false,
            Self::NotVisibleYet | Self::Vanished | Self::Failed { .. } => true,
        }
    }

    /// The name that API and logs show.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::NotVisibleYet => "not_visible_yet",
            Self::Vanished => "vanished",
            Self::Failed { .. } => "failed",
        }
    }
}

/// How long a 404 may mean "not visible yet", unless configured otherwise.
pub const VISIBILITY_GRACE: SignedDuration = SignedDuration::from_mins(10);

/// When a debt is tried again: after each of some waits that grow, then after the last of them again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DebtSchedule {
    /// Minutes, never none and each more than the one before.
    minutes: Arc<[u32]>,
    /// For how long the last is repeated.
    days: u32,
}

impl DebtSchedule {
    /// Most waits before they repeat.
    pub const WAITS_MAX: usize = 12;
    /// Longest wait, minutes: a week.
    pub const MINUTES_MAX: u32 = 10_080;

    /// A schedule of these waits. None when there are none or too many, one is none or too long, or they do not grow.
    pub fn new(minutes: &[u32], days: u32) -> Option<Self> {
        let fits = (1..=Self::WAITS_MAX).contains(&minutes.len())
            && minutes.iter().all(|wait| (1..=Self::MINUTES_MAX).contains(wait))
            && minutes.is_sorted_by(|one, next| one < next);
        fits.then(|| Self { minutes: minutes.into(), days })
    }

    /// The wait after `tries` failures. `None` when all of them are over: the debt stays listed until somebody accepts
    /// it or has it tried again.
    pub fn delay(&self, tries: u32) -> Option<SignedDuration> {
        let index = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
        let last = *self.minutes.last()?;
        let repetitions =
            usize::try_from(self.days.saturating_mul(1_440) / last.max(1)).unwrap_or(usize::MAX);
        let before_last = self.minutes.len() - 1;
        let again = (index < before_last.saturating_add(repetitions.max(1))).then_some(last);
        self.minutes.get(index).copied().or(again).map(|wait| SignedDuration::from_mins(wait.into()))
    }
}

impl Default for DebtSchedule {
    /// 1 min, 5 min, 30 min, 2 h, 12 h, then daily for 30 days.
    fn default() -> Self {
        Self { minutes: [1, 5, 30, 120, 720, 1_440].into(), days: 30 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_retried_ever_more_rarely_for_thirty_days_and_then_waits_for_a_person() {
        let minutes = waits(&DebtSchedule::default());
        assert_eq!(minutes[..6], [1, 5, 30, 120, 720, 1_440]);
        assert_eq!(minutes.len(), 35, "five tries of the first day, then thirty days");
        assert_eq!(DebtSchedule::default().delay(u32::MAX), None);
    }

    #[test]
    fn the_last_wait_of_a_schedule_is_repeated_for_so_many_days_and_made_once_at_least() {
        let of = |minutes: &[u32], days| waits(&DebtSchedule::new(minutes, days).expect("a schedule"));
        assert_eq!(of(&[2, 480], 1), [2, 480, 480, 480]);
        assert_eq!(of(&[1, 10_080], 2), [1, 10_080], "a week is longer than two days");
        for wrong in
            [&[][..], &[0], &[5, 5], &[5, 1], &[10_081], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]]
        {
            assert_eq!(DebtSchedule::new(wrong, 30), None, "{wrong:?}");
        }
    }

    fn waits(schedule: &DebtSchedule) -> Vec<i64> {
        (1..=100).map_while(|tries| schedule.delay(tries)).map(|delay| delay.as_mins()).collect()
    }
}
