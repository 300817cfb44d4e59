//! Commits: applied once or not at all, and what they announce.

use sync_core::{
    HistoryId, MessageId, SignedDuration,
    job::Counts,
    message::Labels,
    state::{Errors, FetchList, Lag, Progress, Totals, Window, Work, WorkKind},
    sync::{Committed, Effect, Event, Happened, MessageNews, OwedWrite, Seen},
};

use super::{Bench, Deed, Told, applied, apply, at, commit, hold, outside, rows::put, same, see, sync};
use crate::contract::requests::owed;

fn created(id: u64) -> Happened {
    let label_ids: Labels = ["INBOX".to_owned()].into();
    Happened::Created(MessageNews { gmail_id: MessageId(id), history_id: HistoryId(u64::MAX), label_ids })
}

/// A progress in which nothing is left at its default.
fn whole_progress() -> Progress {
    let work = |kind, list| Work {
        kind,
        request: None,
        listing: Some("7-2.listing".to_owned()),
        list,
        max_results: Some(5_000),
        started_at: at(3),
        counts: Counts { listed: u64::MAX, ..Counts::default() },
    };
    let list = FetchList { key: "7-1".to_owned(), total: u64::MAX, position: 1, verify_from: 7 };
    let between = Window::Between { after: at(1), before: at(2) + SignedDuration::from_millis(1) };
    let resync = WorkKind::Resync { baseline: HistoryId(u64::MAX), restarts: 1, accept_deletions: true };
    Progress {
        epoch: 2,
        cursor: Some(HistoryId(u64::MAX)),
        first_cursor: Some(HistoryId((1 << 53) | 1)),
        gap: Some(HistoryId(u64::MAX - 1)),
        lag: Some(Lag { target: HistoryId(9), tries: 4, next_at: Some(at(12)) }),
        work: vec![
            work(WorkKind::Initial { window: Window::Newest(50) }, None),
            work(WorkKind::Backfill { window: between }, Some(list)),
            work(resync, None),
        ],
        step: u64::MAX,
        owed_due_at: Some(at(5)),
        errors: Errors { consecutive: 5, last: Some("no".to_owned()), cooldown_until: Some(at(6)) },
        last_sync_at: Some(at(7)),
        marks: vec![HistoryId(8), HistoryId(u64::MAX)],
        accepted: 3,
        behind: 2,
        ..Progress::default()
    }
}

pub async fn a_commit_is_applied_once<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    let mut first = commit(&held, vec![put(1, &["INBOX"])]);
    first.progress = whole_progress();
    apply(bench, &first).await?;
    let seen = sync(bench).await?;
    same("its number", seen.commit, held.commit + 1)?;
    same("the progress, whole", seen.progress.clone(), first.progress.clone())?;
    same("the lease stays", seen.lease.clone(), held.lease.clone())?;
    same("once more", applied(bench, &first).await?, Committed::Conflict)?;
    same("nothing of the second is true", sync(bench).await?, seen)
}

pub async fn a_commit_of_a_former_holder_writes_nothing<B: Bench>(bench: &mut B) -> Told {
    let old = hold(bench, 0, 5).await?;
    let new = hold(bench, 6, 60).await?;
    let mut late = commit(&old, vec![put(1, &[])]);
    late.owed = vec![OwedWrite::Put(owed(2, Some(0)))];
    (late.seq, late.events) = (old.seq, vec![Event { seq: old.seq + 1, what: created(1) }]);
    same("it lost the lease", applied(bench, &late).await?, Committed::Fenced)?;
    same("SYNC", sync(bench).await?, new)?;
    let rows = see(bench, Effect::ReadRows(vec![MessageId(1)]), at(10)).await;
    same("its row", rows, Seen::Rows(Vec::new()))?;
    let owed = see(bench, Effect::ReadOwedOf(vec![MessageId(2)]), at(10)).await;
    same("its debt", owed, Seen::Owed(Vec::new()))?;
    same("its event", bench.events(0).await, Vec::new())
}

pub async fn a_commit_without_the_lease_writes_nothing<B: Bench>(bench: &mut B) -> Told {
    let free = sync(bench).await?;
    same("nobody holds it", applied(bench, &commit(&free, vec![put(1, &[])])).await?, Committed::Fenced)?;
    same("SYNC", sync(bench).await?, free)
}

pub async fn a_number_that_somebody_took_is_a_conflict<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    outside(bench, Deed::Announce, at(1)).await;
    let mut late = commit(&held, vec![put(1, &[])]);
    late.events = vec![Event { seq: held.seq + 1, what: created(1) }];
    same("the number is taken", applied(bench, &late).await?, Committed::Conflict)?;
    let rows = see(bench, Effect::ReadRows(vec![MessageId(1)]), at(10)).await;
    same("nothing of it is true", rows, Seen::Rows(Vec::new()))?;
    let seen = sync(bench).await?;
    same("nor counted", (seen.commit, seen.seq), (held.commit, held.seq + 1))?;
    // Whoever announces nothing does not care who does.
    let mut silent = commit(&held, vec![put(1, &[])]);
    silent.seq = held.seq;
    apply(bench, &silent).await?;
    same("the sequence stays", sync(bench).await?.seq, held.seq + 1)
}

pub async fn events_are_one_sequence_whoever_announces<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    let mut first = commit(&held, vec![put(1, &["INBOX"]), put(2, &["INBOX"])]);
    first.events = (1..=2).map(|seq| Event { seq, what: created(seq) }).collect();
    apply(bench, &first).await?;
    outside(bench, Deed::Announce, at(11)).await;
    let seen = sync(bench).await?;
    same("the last number", seen.seq, 3)?;
    let mut last = commit(&seen, Vec::new());
    let counts = Counts { inserted: 2, ..Counts::default() };
    last.events = vec![Event { seq: 4, what: Happened::BackfillCompleted { counts } }];
    apply(bench, &last).await?;
    let mut expected = first.events.clone();
    expected.push(Event { seq: 3, what: Happened::NeedsReauth });
    expected.extend(last.events);
    same("the whole sequence", bench.events(0).await, expected.clone())?;
    same("what comes after the second", bench.events(2).await, expected.split_off(2))?;
    same("what comes after the last", bench.events(4).await, Vec::new())
}

pub async fn counters_are_added_to<B: Bench>(bench: &mut B) -> Told {
    let held = hold(bench, 0, 60).await?;
    let mut expected = held.totals;
    for totals in [
        Totals { messages: 5, deleted: 1, debts: 3, waiting: 2 },
        Totals { messages: -2, deleted: 2, debts: -3, waiting: -2 },
    ] {
        let mut next = commit(&sync(bench).await?, Vec::new());
        next.totals = totals;
        apply(bench, &next).await?;
        expected.add(&totals);
    }
    same("the sums", sync(bench).await?.totals, expected)
}
