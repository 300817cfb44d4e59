//! Whatever crashed, came twice, late or never: once a mailbox is quiet, the replica equals it.

use rand::Rng;
use sync_core::{
    HistoryId, SignedDuration, Timestamp,
    job::{Job, JobKind, JobStatus, Lane, Request, Trigger},
    message::Labels,
    sync::{Effect, Engine, Settings},
};

use crate::world::{Faults, World};

/// A worker that is somewhere between two effects.
struct Worker {
    engine: Engine,
    effect: Effect,
}

fn settings() -> Settings {
    Settings { initial_newest: 2, initial_days: 1, inline_fetch_max: 2, slice: 3, ..Settings::default() }
}

fn job(world: &World, trigger: Trigger, target: Option<HistoryId>, lane: Lane, step: Option<u64>) -> Job {
    Job { mailbox: world.sync.mailbox.clone(), trigger, target, step, lane }
}

fn start(world: &mut World, job: Job) -> Worker {
    let checkpoint_at = world.now + SignedDuration::from_secs(280);
    let dice = world.rng.random_range(0.0..1.0);
    let mut engine = Engine::new(settings(), job, checkpoint_at, dice);
    let effect = engine.start(world.now);
    Worker { engine, effect }
}

/// Lets a worker carry out one effect; `false` when its run is over.
fn advance(world: &mut World, worker: &mut Worker) -> bool {
    let effect = std::mem::replace(&mut worker.effect, Effect::ReadSync);
    match world.perform(effect) {
        Some(observed) => {
            worker.effect = worker.engine.step(observed);
            true
        }
        None => false,
    }
}

fn run(world: &mut World, job: Job) {
    let mut worker = start(world, job);
    for _ in 0..100_000 {
        if !advance(world, &mut worker) {
            return;
        }
    }
    panic!("a run without end");
}

fn take_hint(world: &mut World) -> Option<Job> {
    let now = world.now;
    let index = world.hints.iter().position(|(at, ..)| *at <= now)?;
    let (_, lane, step) = world.hints.remove(index);
    Some(job(world, Trigger::Continuation, None, lane, step))
}

/// Without crashes no push needs the poll: hints alone bring the replica to every target.
fn check_that_hints_suffice(world: &mut World, mut workers: Vec<Worker>, seed: u64) {
    world.faults = Faults::default();
    while let Some(mut worker) = workers.pop() {
        while advance(world, &mut worker) {}
    }
    let until = world.now + SignedDuration::from_secs(120);
    while world.now < until {
        while let Some(hint) = take_hint(world) {
            run(world, hint);
        }
        world.now += SignedDuration::from_secs(1);
    }
    let sync = &world.sync;
    let waits =
        sync.lease.is_some() || sync.progress.errors.consecutive > 0 || !sync.progress.work.is_empty();
    if !waits {
        assert!(
            sync.progress.cursor >= sync.target,
            "seed {seed}: only the poll would find the push's change"
        );
        assert!(world.requests.is_empty(), "seed {seed}: only the poll would find the request");
    }
}

/// No more faults: time passes, hints are delivered, the fan-out comes, until nothing is left to do.
fn settle(world: &mut World) {
    world.faults = Faults::default();
    for _ in 0..4_000 {
        while let Some(hint) = take_hint(world) {
            run(world, hint);
        }
        let quiet = world.owed.is_empty()
            && world.sync.progress.work.is_empty()
            && world.requests.is_empty()
            && world.sync.progress.cursor
                >= Some(HistoryId(world.log.last().map_or(0, |record| record.id.0)))
            && world.sync.lease.is_none();
        if quiet && world.hints.is_empty() {
            return;
        }
        world.now += SignedDuration::from_secs(60);
        if world.sync.due_at.is_some_and(|due| due <= world.now) {
            let poll = job(world, Trigger::Schedule, None, Lane::Sync, None);
            run(world, poll);
        }
    }
    panic!("never quiet: {:?}\nowed {:?}\nhead {}", world.sync, world.owed, world.head);
}

fn check_equal(world: &World, seed: u64) {
    let stored: Vec<(u64, &Labels)> =
        world.rows.iter().filter(|(_, row)| !row.deleted).map(|(id, row)| (id.0, &row.labels)).collect();
    let truth: Vec<(u64, &Labels)> = world.mailbox.iter().map(|(id, (labels, _))| (id.0, labels)).collect();
    assert_eq!(stored, truth, "seed {seed}: the replica differs from the mailbox");
    let totals = world.sync.totals;
    assert_eq!(totals.messages, stored.len().cast_signed() as i64, "seed {seed}: the counter of messages");
    let dead = world.rows.values().filter(|row| row.deleted).count();
    assert_eq!(totals.deleted, dead.cast_signed() as i64, "seed {seed}: the counter of tombstones");
    assert_eq!((totals.debts, totals.waiting), (0, 0), "seed {seed}: the counters of what is owed");
    assert_eq!(world.sync.progress.errors.consecutive, 0, "seed {seed}: errors outlived their cause");
}

/// Random work of a user, pushes, requests, workers that crash or oversleep their lease.
fn live(world: &mut World, steps: u32, expiry: bool) -> Vec<Worker> {
    let mut workers: Vec<Worker> = Vec::new();
    let mut requests = 0;
    for _ in 0..steps {
        match world.rng.random_range(0..100) {
            0..=7 => world.user_acts(),
            8..=13 => {
                let target = Some(HistoryId(world.head));
                let push = job(world, Trigger::Push, target, Lane::Sync, None);
                workers.push(start(world, push));
            }
            14..=16 => {
                let poll = job(world, Trigger::Schedule, None, Lane::Sync, None);
                workers.push(start(world, poll));
            }
            17..=18 if requests < 3 => {
                requests += 1;
                let kind = if world.rng.random_bool(0.5) { JobKind::Full } else { JobKind::Incremental };
                let id = format!("job_{requests}").parse().expect("an id");
                world.requests.push(Request { id, kind, trigger: Trigger::Manual });
                world.sync.asked += 1;
                world.sync.due_at = Some(world.now);
            }
            19 if !workers.is_empty() && world.chance(400) => {
                // A crash: whatever it was about to do is not done.
                let index = world.rng.random_range(0..workers.len());
                workers.swap_remove(index);
            }
            20..=22 => {
                let seconds = world.rng.random_range(1..400);
                world.now += SignedDuration::from_secs(seconds);
            }
            23 if expiry => world.expired_up_to = world.head,
            24..=32 => {
                if let Some(hint) = take_hint(world) {
                    workers.push(start(world, hint));
                }
            }
            _ => {
                if workers.is_empty() {
                    continue;
                }
                let index = world.rng.random_range(0..workers.len());
                if !advance(world, &mut workers[index]) {
                    workers.swap_remove(index);
                }
            }
        }
    }
    workers
}

/// Tries as many histories as `seeds` holds, times `HISTORIES_SCALE` (1 unless set). Each names its seed.
fn histories(seeds: std::ops::Range<u64>, faults: Faults, expiry: bool) {
    let scale = std::env::var("HISTORIES_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1_u64);
    let end = seeds.start + (seeds.end - seeds.start) * scale;
    for seed in seeds.start..end {
        let mut world = World::new(seed, faults);
        for _ in 0..world.rng.random_range(0..8) {
            world.user_acts();
        }
        let workers = live(&mut world, 600, expiry);
        check_that_hints_suffice(&mut world, workers, seed);
        settle(&mut world);
        check_equal(&world, seed);
        assert!(world.closed.values().all(|status| *status != JobStatus::Queued));
    }
}

const ROUGH: Faults = Faults {
    retry: 60,
    not_visible: 250,
    missing_part: 60,
    stale_get: 0,
    commit_lost_answer: 40,
    user_between_effects: 60,
};

#[test]
fn a_calm_mailbox_is_copied() {
    histories(0..300, Faults::default(), false);
}

#[test]
fn crashes_races_and_faults_lose_nothing() {
    histories(1_000..2_500, ROUGH, false);
}

#[test]
fn a_get_older_than_its_records_does_not_bring_back_old_labels() {
    histories(5_000..6_000, Faults { stale_get: 200, ..ROUGH }, false);
}

#[test]
fn expired_history_lists_everything_and_loses_nothing() {
    histories(10_000..11_500, ROUGH, true);
}

#[test]
fn the_cursor_never_sticks_when_a_digit_is_added() {
    let mut world = World::new(7, Faults::default());
    assert!(world.head < 1_000, "the ids are about to grow a digit");
    let first = job(&world, Trigger::Connect, None, Lane::Sync, None);
    run(&mut world, first);
    for _ in 0..30 {
        world.deliver();
        let target = Some(HistoryId(world.head));
        let push = job(&world, Trigger::Push, target, Lane::Sync, None);
        run(&mut world, push);
        assert_eq!(world.sync.progress.cursor, target);
    }
    assert!(world.head > 1_000);
}

#[test]
fn a_known_message_is_never_fetched_again_for_a_label() {
    let mut world = World::new(3, Faults::default());
    let id = world.deliver();
    let connect = job(&world, Trigger::Connect, None, Lane::Backfill, None);
    run(&mut world, connect);
    settle(&mut world);
    assert!(world.rows.contains_key(&id));
    let gets = world.gets;
    while world.mailbox.len() == 1 && world.log.len() < 20 {
        world.user_acts();
        if world.mailbox.len() != 1 {
            break;
        }
        let push = job(&world, Trigger::Push, Some(HistoryId(world.head)), Lane::Sync, None);
        run(&mut world, push);
        assert_eq!(world.gets, gets, "a label change cost a get");
    }
}

#[test]
fn time_is_always_set_when_something_remains() {
    for seed in 0..200 {
        let mut world = World::new(seed, ROUGH);
        live(&mut world, 300, true);
        let far: Timestamp = world.now + SignedDuration::from_hours(2);
        assert!(world.sync.due_at.is_some_and(|due| due <= far), "seed {seed}: nobody would look again");
    }
}
