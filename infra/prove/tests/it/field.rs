//! Sixteen failures that lost or doubled real users' mail in well-known projects, one test each.

use gmail_sim::model::{INBOX, STARRED, TRASH};
use prove::world::{Fault, Plan};
use sync_core::{
    Disposition, Failure, SignedDuration, Timestamp,
    job::{JobKind, Lane, RequestOptions, Trigger},
    message::RowState,
    owed::OwedReason,
    state::{Status, WorkKind},
    sync::{Effect, Happened, Outcome, Seen},
};

use crate::bench::{Bench, name, setting};

/// More effects than any of these runs has.
const EFFECTS_MAX: usize = 400;

#[test]
fn expired_history_is_compared_and_what_happened_in_the_gap_is_found() {
    let mut bench = Bench::copied(4);
    let ids = bench.ids();
    bench.label(&ids[..1], &[STARRED], &[]);
    bench.delete(&ids[1..2]);
    let new = bench.arrive();
    bench.sim().expire();
    bench.push();
    {
        let sim = bench.sim();
        let progress = &sim.store.kept.sync.progress;
        let compares = |kind: &WorkKind| matches!(kind, WorkKind::Resync { .. });
        assert!(progress.work.iter().any(|work| compares(&work.kind)), "the gap is work, not a jump");
        assert!(!sim.store.kept.rows.contains_key(&new));
    }
    let shared = bench.shared.clone();
    bench.finish();
    let sim = prove::world::lock(&shared);
    assert!(sim.store.kept.rows[&ids[0]].labels.contains("STARRED"));
    assert!(!sim.store.kept.rows[&ids[1]].is_live());
    assert!(sim.store.kept.rows[&new].is_live());
}

#[test]
fn a_crash_before_any_effect_leaves_no_cursor_that_is_ahead_of_its_messages() {
    for crash_at in 0.. {
        let mut bench = Bench::copied(2);
        let new = bench.arrive();
        let job = bench.job(Trigger::Push, Lane::Sync);
        let mut run = bench.start(job);
        let over = (0..crash_at).any(|_| run.step(&bench, None).is_some());
        drop(run);
        // Nobody acknowledged the hint: it comes again.
        let head = bench.sim().gmail.head();
        let again = bench.sim().now + SignedDuration::from_secs(400);
        bench.sim().send(Trigger::Push, Some(head), Lane::Sync, None, again);
        {
            let sim = bench.sim();
            let has_passed = sim.store.kept.sync.progress.cursor >= Some(sim.gmail.head());
            let is_kept = sim.store.kept.rows.contains_key(&new) || sim.store.kept.owed.contains_key(&new);
            assert!(!has_passed || is_kept, "crash before effect {crash_at}");
        }
        bench.finish();
        if over {
            return;
        }
    }
}

#[test]
fn mail_that_arrives_at_any_moment_of_the_first_copy_is_not_lost() {
    for arrives_at in 0..EFFECTS_MAX {
        let mut bench = Bench::of(setting(), 3);
        let request = RequestOptions::default();
        bench.ask(JobKind::Initial, request);
        let job = bench.job(Trigger::Connect, Lane::Backfill);
        let mut run = bench.start(job);
        let over = (0..arrives_at).any(|_| run.step(&bench, None).is_some());
        let new = bench.arrive();
        run.finish(&bench);
        let shared = bench.shared.clone();
        bench.finish();
        assert!(
            prove::world::lock(&shared).store.kept.rows.contains_key(&new),
            "arrived at effect {arrives_at}"
        );
        if over {
            return;
        }
    }
    panic!("the first copy never ends");
}

#[test]
fn the_cursor_goes_on_when_its_number_grows_a_digit() {
    let start = sync_core::HistoryId(900);
    let mut bench = Bench::of(prove::world::Setting { start, ..setting() }, 1);
    bench.ask(JobKind::Initial, RequestOptions::default());
    bench.drain();
    while bench.sim().gmail.head().0 < 1_100 {
        bench.arrive();
        bench.push();
        let sim = bench.sim();
        assert_eq!(sim.store.kept.sync.progress.cursor, Some(sim.gmail.head()));
    }
    bench.finish();
}

#[test]
fn one_message_that_fails_neither_holds_up_the_others_nor_is_forgotten() {
    let mut bench = Bench::copied(1);
    bench.sim().plan = Plan::only(&[(Fault::FailedPart, 1_000)]);
    let refused = bench.arrive();
    bench.sim().plan = Plan::only(&[]);
    bench.push();
    {
        let sim = bench.sim();
        assert!(matches!(sim.store.kept.owed[&refused].reason, OwedReason::Failed { .. }));
        assert_eq!(sim.store.kept.sync.progress.cursor, Some(sim.gmail.head()), "the cursor is not pinned");
        assert!(!sim.store.kept.sync.is_healthy(sim.poll_interval(), sim.now), "a debt is not healthy");
    }
    let next = bench.arrive();
    bench.push();
    assert!(bench.sim().store.kept.rows.contains_key(&next));
    let shared = bench.shared.clone();
    bench.finish();
    assert!(
        prove::world::lock(&shared).store.kept.rows.contains_key(&refused),
        "it is tried again by itself"
    );
}

#[test]
fn mail_that_is_trashed_and_purged_between_two_looks_is_a_tombstone() {
    let mut bench = Bench::copied(2);
    let known = bench.ids()[0];
    let unknown = bench.arrive();
    bench.label(&[known, unknown], &[TRASH], &[INBOX]);
    bench.delete(&[known, unknown]);
    bench.push();
    for id in [known, unknown] {
        assert_eq!(bench.sim().store.kept.rows[&id].state, RowState::Deleted);
    }
    bench.finish();
}

#[test]
fn a_full_sync_that_fetches_only_so_many_deletes_nothing() {
    let mut bench = Bench::copied(8);
    for _ in 0..3 {
        bench.arrive();
    }
    bench.sim().expire();
    bench.ask(JobKind::Full, RequestOptions { max_results: Some(1), ..RequestOptions::default() });
    bench.drain();
    assert_eq!(bench.sim().store.kept.sync.totals.messages, 11);
    assert!(bench.sim().store.kept.rows.values().all(sync_core::message::RowHead::is_live));
    bench.finish();
}

#[test]
fn mail_that_arrives_at_any_moment_of_a_comparison_is_not_deleted() {
    for arrives_at in 0..EFFECTS_MAX {
        let mut bench = Bench::copied(4);
        bench.ask(JobKind::Full, RequestOptions::default());
        let job = bench.job(Trigger::Manual, Lane::Backfill);
        let mut run = bench.start(job);
        let over = (0..arrives_at).any(|_| run.step(&bench, None).is_some());
        let new = bench.arrive();
        bench.push();
        run.finish(&bench);
        let shared = bench.shared.clone();
        bench.finish();
        let sim = prove::world::lock(&shared);
        assert!(sim.store.kept.rows[&new].is_live(), "arrived at effect {arrives_at}");
        let deleted = |what: &Happened| matches!(what, Happened::Deleted(_));
        assert!(!sim.store.events.iter().any(|event| deleted(&event.what)), "effect {arrives_at}");
        if over {
            return;
        }
    }
    panic!("the comparison never ends");
}

#[test]
fn a_worker_that_outslept_its_lease_writes_nothing_over_its_successor() {
    for sleeps_at in 2..EFFECTS_MAX {
        let mut bench = Bench::copied(2);
        let ids = bench.ids();
        bench.label(&ids[..1], &[STARRED], &[]);
        let job = bench.job(Trigger::Push, Lane::Sync);
        let mut slow = bench.start(job);
        (0..sleeps_at).for_each(|_| drop(slow.step(&bench, None)));
        let over = slow.next() == "Finish";
        bench.pass(400);
        bench.label(&ids[..1], &[], &[STARRED]);
        bench.push();
        let seen = bench.sim().store.kept.sync.progress.cursor;
        let outcome = slow.finish(&bench);
        assert!(over || outcome == Outcome::Fenced, "slept before effect {sleeps_at}: {outcome:?}");
        assert_eq!(bench.sim().store.kept.sync.progress.cursor, seen);
        assert!(!bench.sim().store.kept.rows[&ids[0]].labels.contains("STARRED"));
        bench.finish();
        if over {
            return;
        }
    }
    panic!("the run never ends");
}

#[test]
fn a_batch_answer_with_parts_missing_is_not_taken_as_complete() {
    let mut bench = Bench::copied(1);
    let new = [bench.arrive(), bench.arrive()];
    bench.sim().plan = Plan::only(&[(Fault::MissingPart, 1_000)]);
    bench.push();
    bench.sim().plan = Plan::only(&[]);
    for id in new {
        let sim = bench.sim();
        assert!(sim.store.kept.owed.contains_key(&id) && !sim.store.kept.rows.contains_key(&id));
    }
    bench.drain();
    assert!(new.iter().all(|id| bench.sim().store.kept.rows.contains_key(id)));
    bench.finish();
}

#[test]
fn a_mailbox_whose_watch_has_lapsed_is_polled_often_and_finds_its_mail() {
    let mut bench = Bench::copied(1);
    {
        let sim = &mut *bench.sim();
        sim.store.kept.sync.watch_expires_at = Some(sim.now - SignedDuration::from_secs(1));
    }
    let poll = bench.job(Trigger::Schedule, Lane::Sync);
    bench.run(poll.clone());
    let new = bench.arrive();
    let due = bench.sim().store.kept.sync.due_at.expect("due");
    let soon = bench.sim().now + SignedDuration::from_mins(10);
    assert!(due <= soon, "without a watch nobody pushes: the next look is at {due}");
    bench.sim().now = due;
    bench.run(poll);
    assert!(bench.sim().store.kept.rows.contains_key(&new));
    bench.finish();
}

fn refuses_history(after: SignedDuration) -> impl FnMut(&Effect) -> Option<Seen> {
    move |effect| {
        let failure = Failure::new(Disposition::Retry(after), "rate limit exceeded");
        (name(effect) == "ListHistory").then(|| Seen::Failed(failure.clone()))
    }
}

#[test]
fn a_rate_limit_is_waited_for_and_a_rest_does_not_slide() {
    let mut bench = Bench::copied(1);
    bench.arrive();
    let push = bench.job(Trigger::Push, Lane::Sync);
    let rest = |bench: &Bench| bench.sim().store.kept.sync.progress.errors.cooldown_until.expect("a rest");
    let mut waits = Vec::new();
    for _ in 0..5 {
        let until: Timestamp = {
            let asked = SignedDuration::from_secs(2);
            bench.run_with(push.clone(), refuses_history(asked));
            rest(&bench)
        };
        waits.push(until.duration_since(bench.sim().now).as_secs());
        // Whoever comes meanwhile asks Gmail nothing and moves nothing.
        let trace = bench.run(push.clone());
        assert!(!trace.contains(&"ListHistory".to_owned()), "{trace:?}");
        assert_eq!(rest(&bench), until, "the rest does not slide");
        bench.sim().now = until;
    }
    assert_eq!(waits.iter().map(|wait| (wait + 1) / 5 * 5).collect::<Vec<_>>(), [5, 15, 60, 300, 1_800]);
    let long = SignedDuration::from_mins(40);
    bench.run_with(push, refuses_history(long));
    assert!(rest(&bench) >= bench.sim().now + long - SignedDuration::from_secs(1), "Gmail said when");
    bench.finish();
}

#[test]
fn a_revoked_grant_is_tried_once_and_then_nobody_asks_gmail() {
    let mut bench = Bench::copied(1);
    bench.sim().revoke();
    bench.arrive();
    bench.push();
    assert_eq!(bench.sim().store.kept.sync.status, Status::NeedsReauth);
    for _ in 0..20 {
        bench.pass(3_600);
        let trace = bench.push();
        let asks = |name: &String| matches!(name.as_str(), "GetProfile" | "ListHistory" | "Fetch");
        assert!(!trace.iter().any(asks), "{trace:?}");
    }
    let told = |what: &Happened| matches!(what, Happened::NeedsReauth);
    let events = bench.sim().store.events.iter().filter(|event| told(&event.what)).count();
    assert_eq!(events, 1, "it is told once");
    bench.finish();
}

#[test]
fn a_grant_that_ends_while_somebody_asks_is_told_of_once() {
    let mut bench = Bench::copied(1);
    bench.sim().revoke();
    bench.arrive();
    let poll = bench.job(Trigger::Schedule, Lane::Sync);
    let mut run = bench.start(poll);
    while run.next() != "Release" {
        assert!(run.step(&bench, None).is_none());
    }
    // The end is in the feed already, the status is not written yet.
    bench.ask(JobKind::Incremental, RequestOptions::default());
    while run.step(&bench, None).is_none() {}
    bench.drain();
    assert_eq!(bench.sim().store.kept.sync.status, Status::NeedsReauth);
    let told = |what: &Happened| matches!(what, Happened::NeedsReauth);
    assert_eq!(bench.sim().store.events.iter().filter(|event| told(&event.what)).count(), 1);
    bench.finish();
}

#[test]
fn a_bulk_import_stays_on_its_own_queue_and_lets_new_mail_pass() {
    let mut bench = Bench::of(setting(), 40);
    bench.ask(JobKind::Initial, RequestOptions::default());
    let first = bench.next_hint().expect("a hint");
    let trace = bench.run(first);
    assert!(!trace.contains(&"ListMessages".to_owned()), "the sync queue lists nothing: {trace:?}");
    let hint = bench.next_hint().expect("a continuation");
    assert_eq!(hint.lane, Lane::Backfill);
    let mut slices = bench.start(hint);
    while slices.next() != "LoadList" {
        assert!(slices.step(&bench, None).is_none());
    }
    let new = bench.arrive();
    bench.push();
    let mut old = 0;
    while !bench.sim().store.kept.rows.contains_key(&new) {
        old += u32::from(slices.next() == "Fetch");
        assert!(slices.step(&bench, None).is_none(), "the copy ended without the new mail");
    }
    assert!(old <= 2, "one slice of old mail, and the new mail itself; {old} gets");
    slices.finish(&bench);
    bench.finish();
}

#[test]
fn a_backfill_announces_its_end_and_no_old_mail() {
    let bench = Bench::copied(12);
    let sim = bench.sim();
    assert_eq!(sim.store.kept.rows.len(), 12);
    let end = |what: &Happened| matches!(what, Happened::BackfillCompleted { .. });
    assert!(sim.store.events.len() == 1 && end(&sim.store.events[0].what), "{:?}", sim.store.events);
}

#[test]
fn nothing_is_called_healthy_while_mail_is_missing() {
    let mut bench = Bench::of(setting(), 9);
    bench.ask(JobKind::Initial, RequestOptions::default());
    let mut missing = 0;
    while let Some(job) = bench.next_hint() {
        let mut run = bench.start(job);
        while run.step(&bench, None).is_none() {
            let sim = bench.sim();
            let whole = sim.store.kept.rows.len() == sim.gmail.count();
            missing += u32::from(!whole);
            assert!(whole || !sim.store.kept.sync.is_healthy(sim.poll_interval(), sim.now));
        }
    }
    assert!(missing > 10);
    let sim = bench.sim();
    assert!(sim.store.kept.sync.is_healthy(sim.poll_interval(), sim.now), "and healthy when it is whole");
}
