//! What is chosen for a mailbox, and what bounds one run, hold in the engine.

use prove::world::Setting as World;
use sync_core::{
    Disposition, Failure, SignedDuration,
    job::{JobKind, Lane, RequestOptions, Trigger},
    overrides::Setting,
    state::Status,
    sync::{Effect, Happened, HistoryPage, Seen, Settings},
};

use crate::bench::{Bench, setting};

/// The most that any run fetched until there was nothing left to do, and how many runs there were that fetched.
fn fetched_by_run(bench: &mut Bench) -> (usize, usize) {
    let (mut most, mut runs) = (0, 0);
    while let Some(job) = bench.next_hint() {
        let mut fetched = 0;
        bench.run_with(job, |effect| {
            if let Effect::Fetch { messages, .. } = effect {
                fetched += messages.len();
            }
            None
        });
        most = most.max(fetched);
        runs += usize::from(fetched > 0);
    }
    (most, runs)
}

#[test]
fn a_run_fetches_its_share_and_another_one_goes_on() {
    let settings = Settings { batch_max: 4, slice: 3, ..setting().settings };
    let mut bench = Bench::of(World { settings, ..setting() }, 22);
    bench.ask(JobKind::Initial, RequestOptions::default());
    assert_eq!(fetched_by_run(&mut bench), (4, 6), "twenty-two by four");
    assert_eq!(bench.sim().store.kept.rows.len(), 22);
    bench.finish();
}

#[test]
fn a_poll_that_finds_what_was_invisible_is_not_cut_short_by_its_share() {
    let settings = Settings { batch_max: 1, ..setting().settings };
    let mut bench = Bench::of(World { settings, page: 1, ..setting() }, 1);
    bench.ask(JobKind::Initial, RequestOptions::default());
    bench.drain();
    let new = [bench.arrive(), bench.arrive(), bench.arrive()];
    let push = bench.job(Trigger::Push, Lane::Sync);
    let history_id = push.target.expect("a target");
    bench.run_with(push, |effect| {
        let nothing = HistoryPage { records: Vec::new(), history_id, next_page_token: None };
        matches!(effect, Effect::ListHistory { .. }).then_some(Seen::History(nothing))
    });
    let stored = |bench: &Bench| new.iter().filter(|id| bench.sim().store.kept.rows.contains_key(id)).count();
    assert_eq!(stored(&bench), 0, "the present was out, its records were not");
    bench.pass(600);
    let poll = bench.job(Trigger::Schedule, Lane::Sync);
    bench.run(poll);
    assert_eq!(stored(&bench), 3, "the next poll would begin where this one began");
}

#[test]
fn a_share_that_is_chosen_for_the_mailbox_beats_the_deployments() {
    let mut bench = Bench::of(setting(), 12);
    bench.sim().store.kept.sync.overrides.set(Setting::BatchMax, Some(1));
    bench.ask(JobKind::Initial, RequestOptions::default());
    assert_eq!(fetched_by_run(&mut bench), (1, 12));
    bench.finish();
}

#[test]
fn the_next_look_is_at_the_interval_that_is_chosen() {
    let mut bench = Bench::copied(3);
    let wait = |bench: &mut Bench| {
        let job = bench.job(Trigger::Schedule, Lane::Sync);
        bench.run(job);
        let sim = bench.sim();
        sim.store.kept.sync.due_at.expect("due").duration_since(sim.now)
    };
    bench.pass(600);
    assert!(wait(&mut bench) > SignedDuration::from_mins(50));
    bench.sim().store.kept.sync.overrides.set(Setting::SyncIntervalMinutes, Some(2));
    bench.pass(600);
    assert!(wait(&mut bench) <= SignedDuration::from_mins(2));
}

#[test]
fn the_first_windows_are_those_that_are_chosen() {
    let mut bench = Bench::of(setting(), 9);
    bench.sim().store.kept.sync.overrides.set(Setting::InitialNewest, Some(5));
    bench.sim().store.kept.sync.overrides.set(Setting::InitialDays, Some(0));
    bench.ask(JobKind::Initial, RequestOptions::default());
    let mut windows = Vec::new();
    while let Some(job) = bench.next_hint() {
        bench.run_with(job, |effect| {
            if let Effect::ListMessages { window, .. } = effect {
                windows.push(format!("{window:?}"));
            }
            None
        });
    }
    windows.dedup();
    assert_eq!(windows, ["Newest(5)", "All"]);
    bench.finish();
}

#[test]
fn a_mailbox_rests_after_as_many_failures_and_for_as_long_as_is_set() {
    let minutes = SignedDuration::from_mins;
    let settings = Settings { cooldown_failures: 2, cooldown: minutes(7), ..setting().settings };
    let mut bench = Bench::of(World { settings, ..setting() }, 1);
    bench.ask(JobKind::Initial, RequestOptions::default());
    bench.drain();
    bench.arrive();
    let mut waits = Vec::new();
    for _ in 0..2 {
        let push = bench.job(Trigger::Push, Lane::Sync);
        bench.run_with(push, |effect| {
            let failure = Failure::new(Disposition::Retry(SignedDuration::ZERO), "no answer");
            matches!(effect, Effect::ListHistory { .. }).then(|| Seen::Failed(failure))
        });
        let mut sim = bench.sim();
        let until = sim.store.kept.sync.progress.errors.cooldown_until.expect("a rest");
        waits.push(until.duration_since(sim.now));
        sim.now = until;
    }
    assert!(waits[0] <= SignedDuration::from_secs(5) && waits[1] > minutes(6), "{waits:?}");
    let failed = |event: &Happened| matches!(event, Happened::SyncFailed { .. });
    assert_eq!(bench.sim().store.events.iter().filter(|event| failed(&event.what)).count(), 1);
    bench.finish();
}

#[test]
fn a_mailbox_stops_at_the_deletions_that_are_chosen_for_it() {
    for (chosen, status) in [(None, Status::Active), (Some(1), Status::NeedsAttention)] {
        let mut bench = Bench::copied(20);
        bench.sim().store.kept.sync.overrides.set(Setting::MassDeletionMessages, chosen);
        bench.sim().store.kept.sync.overrides.set(Setting::MassDeletionPercent, chosen);
        let ids = bench.ids();
        bench.delete(&ids[..3]);
        bench.arrive();
        bench.sim().expire();
        bench.push();
        bench.drain();
        assert_eq!(bench.sim().store.kept.sync.status, status, "{chosen:?}");
    }
}
