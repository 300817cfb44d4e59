//! What the replica owes: messages known of and not stored yet, each with a reason and a time.
//!
//! Nothing is ever skipped silently. A message that cannot be stored now is a row here until it is
//! stored, found deleted, or accepted as lost by its owner.

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

/// When a debt is tried again after `tries` failures: 1 min, 5 min, 30 min, 2 h, 12 h, then daily for 30 days.
/// `None` after that: it stays listed until somebody accepts it or has it tried again.
pub fn retry_delay(tries: u32) -> Option<SignedDuration> {
    const MINUTES: [i64; 5] = [1, 5, 30, 120, 720];
    const DAYS: usize = 30;
    let index = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let daily = (index < MINUTES.len() + DAYS).then_some(1_440);
    MINUTES.get(index).copied().or(daily).map(SignedDuration::from_mins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_retried_ever_more_rarely_for_thirty_days_and_then_waits_for_a_person() {
        let minutes: Vec<i64> = (1..=100).map_while(retry_delay).map(|delay| delay.as_mins()).collect();
        assert_eq!(minutes[..6], [1, 5, 30, 120, 720, 1_440]);
        assert_eq!(minutes.len(), 35, "five tries of the first day, then thirty days");
        assert_eq!(retry_delay(u32::MAX), None);
    }
}
