//! The scenarios: what is searched in full, and what shows that a guard is needed.

use sync_core::{MessageId, SignedDuration, job::JobKind, state::Content, sync::Guard};

use crate::model::{
    chance::Chance::{
        Act, AnswerLost, Crash, Dropped, Duplicate, Expiry, Lapse, NotVisible, ObjectLost, Omitted, Refused,
        Request, Revoke, SequenceTaken, Slow, Stale, Torn, TornGet, Unanswered, Unlock, Unreadable,
    },
    gmail::{Deed, Manner},
    scenario::{
        Deeds::{Arrive, Delete, LabelAll, Toggle},
        Plan, Start,
    },
};

const CALM: Plan = Plan::CALM;
const MANNER: Manner = CALM.manner;

/// One page holds one record and one id.
const NARROW: Manner = Manner { records: 1, ids: 1, ..MANNER };
/// Listings page by count.
const SHIFTING: Manner = Manner { ids: 1, shifts: true, ..MANNER };

/// A message whose label changed, one that was deleted, one that arrived.
const GAP: Start = Start::Gap(&[Deed::Toggle(MessageId(1)), Deed::Delete(MessageId(2)), Deed::Arrive]);
const TWO: &[&[&str]] = &[&["L"], &["L"]];
/// So many that one label on all of them takes two transactions.
const MANY: &[&[&str]] = &[&[] as &[&str]; 46];

/// The scenarios that every build searches in full.
pub fn scenarios() -> Vec<Plan> {
    let mut all = lease();
    all.extend(deltas());
    all.extend(copies());
    all.extend(comparisons());
    all.extend(mishaps());
    all
}

/// Larger ones, a minute or so each, beside the others.
pub fn larger() -> Vec<Plan> {
    vec![
        Plan {
            name: "three pushes, three workers, and a crash",
            deeds: &[Toggle],
            chances: &[(Act, 3), (Crash, 1)],
            workers: 3,
            ..CALM
        },
        Plan {
            name: "a push, a crash and an oversleep",
            deeds: &[Arrive],
            chances: &[(Act, 1), (Crash, 1), (Lapse, 1)],
            ..CALM
        },
        Plan {
            name: "first copy, mail moves, two workers and a crash",
            mail: TWO,
            start: Start::Connected,
            deeds: &[Arrive, Toggle, Delete],
            chances: &[(Act, 1), (Crash, 1)],
            manner: NARROW,
            slice: 1,
            ..CALM
        },
        Plan {
            name: "a comparison, two workers, a change and a crash",
            mail: TWO,
            start: GAP,
            deeds: &[Toggle],
            chances: &[(Act, 1), (Crash, 1)],
            ..CALM
        },
        Plan {
            name: "a comparison while pages shift, two workers",
            mail: TWO,
            start: GAP,
            deeds: &[Toggle, Delete],
            chances: &[(Act, 1)],
            manner: SHIFTING,
            ..CALM
        },
    ]
}

/// Who may work, and who comes back.
fn lease() -> Vec<Plan> {
    vec![
        Plan { name: "two pushes and a crash", deeds: &[Toggle], chances: &[(Act, 2), (Crash, 1)], ..CALM },
        Plan {
            name: "two pushes, a worker oversleeps",
            deeds: &[Toggle],
            chances: &[(Act, 2), (Lapse, 1)],
            ..CALM
        },
        Plan {
            name: "two pushes, three workers, a hint comes twice",
            deeds: &[Toggle],
            chances: &[(Act, 2), (Duplicate, 1)],
            workers: 3,
            ..CALM
        },
        Plan {
            name: "unlocked under a worker, and a crash",
            deeds: &[Toggle],
            chances: &[(Act, 2), (Unlock, 1), (Crash, 1)],
            ..CALM
        },
        Plan {
            name: "the index lags behind its pushes, and a hint comes twice",
            deeds: &[Toggle],
            chances: &[(Act, 2), (Duplicate, 1)],
            manner: Manner { lag: SignedDuration::from_secs(10), ..MANNER },
            ..CALM
        },
        Plan {
            name: "a push is dropped in a burst",
            deeds: &[Toggle],
            chances: &[(Act, 2), (Dropped, 1), (Crash, 1)],
            ..CALM
        },
        Plan {
            name: "a record is invisible while its id is out",
            deeds: &[Toggle],
            chances: &[(Torn, 1), (Act, 1)],
            ..CALM
        },
        Plan {
            name: "the grant is revoked and given again",
            deeds: &[Toggle],
            chances: &[(Act, 2), (Revoke, 1)],
            ..CALM
        },
        Plan {
            name: "Gmail refuses until the mailbox cools down",
            deeds: &[Toggle],
            chances: &[(Act, 2), (Refused, 6)],
            ..CALM
        },
    ]
}

/// History, page by page.
fn deltas() -> Vec<Plan> {
    vec![
        Plan {
            name: "three changes, a record a page",
            deeds: &[Arrive, Toggle, Delete],
            chances: &[(Act, 3)],
            manner: NARROW,
            workers: 1,
            ..CALM
        },
        Plan {
            name: "pages of one present",
            deeds: &[Arrive, Toggle],
            chances: &[(Act, 3)],
            manner: Manner { pinned: true, ..NARROW },
            workers: 1,
            ..CALM
        },
        Plan {
            name: "new mail waits its turn",
            deeds: &[Arrive, Toggle, Delete],
            chances: &[(Act, 3), (Stale, 1)],
            inline: 0,
            workers: 1,
            ..CALM
        },
        Plan {
            name: "gets that are early, old or torn",
            deeds: &[Arrive, Toggle, Delete],
            chances: &[(Act, 2), (NotVisible, 1), (Stale, 1), (TornGet, 1)],
            mail: &[],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "gets that fail or are not answered",
            deeds: &[Arrive, Delete],
            chances: &[(Act, 2), (Unanswered, 1), (Unreadable, 1)],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "more than one transaction, and a crash",
            mail: MANY,
            deeds: &[LabelAll],
            chances: &[(Act, 1), (Crash, 1), (Lapse, 1)],
            manner: Manner { ids: 100, ..MANNER },
            slice: 100,
            ..CALM
        },
        Plan {
            name: "only one label is copied",
            deeds: &[Toggle, Delete],
            chances: &[(Act, 3), (Stale, 1)],
            include: Some("L"),
            workers: 1,
            ..CALM
        },
    ]
}

/// First copies.
fn copies() -> Vec<Plan> {
    vec![
        Plan {
            name: "first copy, mail moves, and a crash",
            mail: TWO,
            start: Start::Connected,
            deeds: &[Arrive, Toggle, Delete],
            chances: &[(Act, 1), (Crash, 1)],
            manner: NARROW,
            slice: 1,
            workers: 1,
            ..CALM
        },
        Plan {
            name: "first copy in the order of its threads, mail moves, and a crash",
            mail: &[&["L"], &["L"], &["L"]],
            start: Start::Connected,
            deeds: &[Arrive, Delete],
            chances: &[(Act, 1), (Crash, 1)],
            content: Content::Full,
            workers: 1,
            ..CALM
        },
        Plan {
            name: "first copy, and two workers",
            start: Start::Connected,
            deeds: &[Arrive, Delete],
            chances: &[(Act, 1), (Stale, 1)],
            ..CALM
        },
    ]
}

/// Comparisons after a gap.
fn comparisons() -> Vec<Plan> {
    vec![
        Plan {
            name: "a comparison, a change and a crash",
            mail: TWO,
            start: GAP,
            deeds: &[Toggle],
            chances: &[(Act, 1), (Crash, 1)],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "a comparison in the order of its threads, and a list is lost",
            mail: &[&["L"], &["L"], &["L"]],
            start: GAP,
            deeds: &[Arrive],
            chances: &[(Act, 1), (ObjectLost, 1)],
            content: Content::Metadata,
            workers: 1,
            ..CALM
        },
        Plan {
            name: "a comparison, two workers and two crashes",
            mail: TWO,
            start: GAP,
            chances: &[(Crash, 2)],
            ..CALM
        },
        Plan {
            name: "a comparison, its worker oversleeps, another goes on",
            mail: TWO,
            start: GAP,
            chances: &[(Lapse, 1)],
            ..CALM
        },
        Plan {
            name: "a comparison is unlocked, and mail comes",
            mail: TWO,
            start: GAP,
            deeds: &[Arrive],
            chances: &[(Unlock, 1), (Act, 1)],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "a comparison while pages shift",
            mail: TWO,
            start: GAP,
            deeds: &[Toggle, Delete],
            chances: &[(Act, 2)],
            manner: SHIFTING,
            workers: 1,
            ..CALM
        },
        Plan {
            name: "a comparison whose listing misses a stored message",
            mail: TWO,
            start: GAP,
            deeds: &[Toggle],
            chances: &[(Omitted, 1), (Act, 1)],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "history expires under a worker",
            deeds: &[Arrive, Toggle],
            chances: &[(Act, 2), (Expiry, 1)],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "history expires again under a comparison",
            start: GAP,
            mail: TWO,
            deeds: &[Toggle],
            chances: &[(Act, 1), (Expiry, 1)],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "most of the mailbox is gone",
            mail: TWO,
            start: Start::Gap(&[Deed::Delete(MessageId(1)), Deed::Delete(MessageId(2))]),
            chances: &[(Crash, 1)],
            guard: 0,
            ..CALM
        },
    ]
}

/// What is asked for, and what goes wrong around the protocol.
fn mishaps() -> Vec<Plan> {
    vec![
        Plan {
            name: "everything is asked for twice over",
            mail: TWO,
            deeds: &[Toggle],
            requests: &[JobKind::Full, JobKind::Historical],
            chances: &[(Request, 2), (Act, 1)],
            workers: 1,
            ..CALM
        },
        Plan {
            name: "answers are lost after the effect",
            deeds: &[Arrive],
            chances: &[(Act, 2), (AnswerLost, 1)],
            ..CALM
        },
        Plan {
            name: "somebody else writes an event",
            deeds: &[Arrive, Toggle],
            chances: &[(Act, 2), (SequenceTaken, 1)],
            ..CALM
        },
        Plan {
            name: "a worker must end inside a listing",
            mail: TWO,
            start: GAP,
            chances: &[(Slow, 2), (ObjectLost, 1)],
            manner: NARROW,
            ..CALM
        },
    ]
}

/// The scenario in which a guard is missed.
pub fn showing(guard: Guard) -> Plan {
    let toggles = Plan { name: "two label changes", deeds: &[Toggle], chances: &[(Act, 2)], ..CALM };
    let arrives = Plan { name: "new mail", deeds: &[Arrive], chances: &[(Act, 1)], workers: 1, ..CALM };
    let gap = Plan { name: "a comparison", mail: TWO, start: GAP, workers: 1, ..CALM };
    match guard {
        Guard::CursorAfterData => Plan {
            name: "more than one transaction, and a crash",
            mail: MANY,
            deeds: &[LabelAll],
            chances: &[(Act, 1), (Crash, 1)],
            manner: Manner { ids: 100, ..MANNER },
            slice: 100,
            workers: 1,
            ..CALM
        },
        Guard::Fence => Plan { chances: &[(Act, 2), (Lapse, 1)], ..toggles },
        Guard::ConditionalRelease | Guard::ConditionalAsk => toggles,
        Guard::TargetBeforeLease => {
            Plan { manner: Manner { lag: SignedDuration::from_secs(10), ..MANNER }, ..toggles }
        }
        Guard::BaselineBeforeListing => {
            Plan { name: "first copy, and new mail", start: Start::Connected, ..arrives }
        }
        Guard::BackfillKeepsCursor => Plan {
            name: "old mail is asked for, and new mail comes",
            requests: &[JobKind::Historical],
            chances: &[(Request, 1), (Act, 1)],
            ..arrives
        },
        Guard::VerifyVanished => Plan { chances: &[(Omitted, 1)], ..gap },
        Guard::CompleteListing => Plan {
            name: "everything is compared",
            mail: TWO,
            requests: &[JobKind::Full],
            chances: &[(Request, 1)],
            manner: NARROW,
            workers: 1,
            ..CALM
        },
        Guard::RepeatListing => Plan {
            name: "a comparison while pages shift",
            start: Start::Gap(&[Deed::Arrive]),
            deeds: &[Toggle],
            chances: &[(Act, 1)],
            manner: SHIFTING,
            ..gap
        },
        Guard::CorrectBelowBaseline => Plan { deeds: &[Toggle], chances: &[(Act, 1)], workers: 2, ..gap },
        Guard::PatienceWithMissing => Plan { chances: &[(Act, 1), (NotVisible, 1)], ..arrives },
        Guard::TombstoneOfUnknown => Plan {
            name: "first copy, and a deletion",
            start: Start::Connected,
            deeds: &[Delete],
            chances: &[(Act, 1), (Stale, 1)],
            workers: 2,
            ..CALM
        },
        Guard::FreshEnoughGet => {
            Plan { deeds: &[Arrive, Toggle], chances: &[(Act, 2), (Stale, 1)], ..arrives }
        }
        Guard::FirstPageWins => Plan {
            name: "three label changes, pages of one present",
            manner: Manner { pinned: true, ..NARROW },
            chances: &[(Act, 3)],
            workers: 1,
            ..toggles
        },
        Guard::NumericCompare => Plan { workers: 1, ..toggles },
        Guard::OweFailures => Plan { chances: &[(Act, 1), (Unreadable, 1)], ..arrives },
        Guard::OweUnanswered => Plan { chances: &[(Act, 1), (Unanswered, 1)], ..arrives },
        Guard::SkipOldRecords => Plan {
            name: "two label changes, a record a page, and a crash",
            chances: &[(Act, 2), (Torn, 1)],
            manner: NARROW,
            workers: 1,
            ..toggles
        },
    }
}
