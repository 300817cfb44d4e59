//! What goes wrong, by kind: how often in a history, and how often it did.

use crate::world::dice::Dice;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// In words.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// A worker dies with an effect decided and not carried out.
    CrashBefore = "crash before an effect",
    /// A worker dies with an effect carried out and its answer not heard.
    CrashAfter = "crash after an effect",
    /// An effect is refused for now.
    Throttled = "throttled",
    /// An effect takes place and its answer is lost.
    AnswerLost = "time-out after the effect took place",
    /// A worker goes on after its lease has lapsed.
    StaleLease = "worker sleeps past its lease",
    /// A queue message comes twice.
    Duplicate = "queue message doubled",
    /// A queue message overtakes an older one.
    Reordered = "queue message out of order",
    /// A queue message is given up.
    DeadLetter = "queue message given up",
    /// Gmail drops a push.
    PushDropped = "push dropped",
    /// A push comes late.
    PushLate = "push late",
    /// History up to some id is gone.
    HistoryExpired = "history expired",
    /// A record does not show yet, and the response says so.
    IndexLag = "history index behind its push",
    /// A record does not show, though the response names its id.
    RecordInvisible = "record invisible while its id is out",
    /// A later page of history names a present whose records no page of this reading holds.
    LaterPageAhead = "later history page names what it does not hold",
    /// A response names a present below the cursor, once.
    ReplicaBehind = "history answered by a replica that is behind",
    /// New mail answers 404.
    NotVisibleYet = "404 for mail that exists",
    /// A get finds deleted what a listing or a record named.
    DeletedMeanwhile = "deletion between list and get",
    /// A get shows an older state with its older id.
    StaleGet = "get of an older state",
    /// A get shows an older state under the newest id.
    TornGet = "get older than its history id",
    /// Part of a batch answer is missing.
    MissingPart = "missing batch part",
    /// A message cannot be had for a while.
    FailedPart = "message refused",
    /// A page of a listing is cut by count while mail moves.
    PageShifted = "shifting page",
    /// New mail is in no listing yet.
    NotListedYet = "mail that exists and is not listed",
    /// A page token that was kept from an earlier run is refused.
    TokenRefused = "kept page token refused",
    /// The mailbox is made anew: its ids start again.
    MadeAnew = "mailbox made anew",
    /// The grant is revoked.
    GrantRevoked = "grant revoked",
    /// An object of ours cannot be read.
    ObjectLost = "kept list gone",
    /// A writer without the lease takes a number of the event sequence.
    SequenceTaken = "outside writer takes a sequence number",
    /// A person takes the lease away.
    Unlocked = "unlocked by hand",
}

/// How often each kind happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; Fault::ALL.len()])
    }
}

impl Counts {
    /// One more.
    pub fn note(&mut self, fault: Fault) {
        if let Some(count) = self.0.get_mut(fault as usize) {
            *count += 1;
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// How often this one did.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(fault as usize).copied().unwrap_or_default()
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// How often, of a thousand chances, each fault happens in one history. A history in which everything fails
/// explores little, so each kind is off in half of them.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    of_thousand: Vec<u32>,
}

impl Plan {
    /// A plan of this history's own.
    pub fn of(dice: &mut Dice) -> Self {
        let calm = dice.below(8) == 0;
        let rates = Fault::ALL.iter().map(|fault| if calm { 0 } else { rate(*fault, dice) });
        let mut plan = Self { of_thousand: rates.collect() };
        // Nobody can tell that a page shifted when what made it shift does not show, though its id is out.
        if plan.rate(Fault::PageShifted) > 0 {
            plan.turn_off(Fault::RecordInvisible);
        }
        plan
    }

    fn turn_off(&mut self, fault: Fault) {
        if let Some(rate) = self.of_thousand.get_mut(fault as usize) {
            *rate = 0;
        }
    }

    /// Only these, each so often.
    pub fn only(faults: &[(Fault, u32)]) -> Self {
        let rate =
            |fault: &Fault| faults.iter().find(|(named, _)| named == fault).map_or(0, |(_, rate)| *rate);
        Self { of_thousand: Fault::ALL.iter().map(rate).collect() }
    }

    /// How often of a thousand.
    pub fn rate(&self, fault: Fault) -> u32 {
        self.of_thousand.get(fault as usize).copied().unwrap_or_default()
    }
}

/// Highest rate of a kind; rare where one is enough for a whole history.
fn rate(fault: Fault, dice: &mut Dice) -> u32 {
    let highest = match fault {
        Fault::Throttled | Fault::MissingPart | Fault::FailedPart => 60,
        Fault::CrashBefore
        | Fault::CrashAfter
        | Fault::StaleLease
        | Fault::AnswerLost
        | Fault::ObjectLost
        | Fault::ReplicaBehind => 30,
        Fault::Duplicate | Fault::Reordered => 300,
        Fault::PushDropped | Fault::PushLate | Fault::NotVisibleYet | Fault::LaterPageAhead => 400,
        Fault::IndexLag | Fault::RecordInvisible | Fault::NotListedYet | Fault::StaleGet | Fault::TornGet => {
            250
        }
        Fault::PageShifted | Fault::TokenRefused => 1_000,
        Fault::HistoryExpired | Fault::SequenceTaken => 25,
        Fault::MadeAnew | Fault::GrantRevoked | Fault::Unlocked => 8,
        // These follow from others.
        Fault::DeadLetter | Fault::DeletedMeanwhile => return 0,
    };
    if dice.below(2) == 0 { 0 } else { dice.between(1, highest) }
}
