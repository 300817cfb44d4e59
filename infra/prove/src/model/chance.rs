//! What may happen only so often: a search is exhaustive because everything that is not the protocol is counted.

macro_rules! chances {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that happens only so often in one history.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Chance { $($(#[$doc])* $name,)* }

        impl Chance {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

chances! {
    /// The user changes something.
    Act,
    /// The user changes something, and Gmail drops the push because another went out within the second.
    Dropped,
    /// The user changes something whose record stays invisible for a minute while its id is out.
    Torn,
    /// A worker dies.
    Crash,
    /// A worker sleeps until its lease has lapsed.
    Lapse,
    /// An effect takes so long that its worker must begin nothing new.
    Slow,
    /// All of history so far expires.
    Expiry,
    /// A hint is delivered and stays in the queue.
    Duplicate,
    /// A get answers 404 for new mail.
    NotVisible,
    /// A part of a batch's answer is missing.
    Unanswered,
    /// A message cannot be had.
    Unreadable,
    /// A get shows an older state, with its older id.
    Stale,
    /// A get shows an older state under the newest id.
    TornGet,
    /// A listing misses a message that is stored.
    Omitted,
    /// Gmail refuses a call for now.
    Refused,
    /// An effect takes place, and its answer is lost.
    AnswerLost,
    /// A kept object is gone.
    ObjectLost,
    /// A writer without the lease takes a number of the event sequence.
    SequenceTaken,
    /// A person takes the lease away.
    Unlock,
    /// The grant is revoked.
    Revoke,
    /// A person asks for something.
    Request,
}

/// How often each of them may still happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Budget(Vec<u8>);

impl Budget {
    /// Only these, each so often.
    pub fn of(chances: &[(Chance, u8)]) -> Self {
        let of = |chance: &Chance| {
            chances.iter().find(|(named, _)| named == chance).map_or(0, |(_, times)| *times)
        };
        Self(Chance::ALL.iter().map(of).collect())
    }

    /// How often it may still happen.
    pub fn left(&self, chance: Chance) -> u8 {
        self.0.get(chance as usize).copied().unwrap_or_default()
    }

    /// Whether it may.
    pub fn allows(&self, chance: Chance) -> bool {
        self.left(chance) > 0
    }

    /// It happens.
    pub fn spend(&mut self, chance: Chance) {
        if let Some(left) = self.0.get_mut(chance as usize) {
            *left = left.saturating_sub(1);
        }
    }
}
