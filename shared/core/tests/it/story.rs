//! Traces: what the engine asks for, in order, in the situations that have lost real users' mail.

use sync_core::{
    HistoryId, SignedDuration,
    job::{Job, Lane, Trigger},
    sync::{Effect, Engine, Settings},
};

use crate::world::{Faults, World};

fn name(effect: &Effect) -> String {
    let text = format!("{effect:?}");
    text.split(['(', '{', ' ']).next().unwrap_or_default().to_owned()
}

/// Runs one job and tells its effects by name.
fn trace(world: &mut World, trigger: Trigger, lane: Lane) -> Vec<String> {
    let target = (trigger == Trigger::Push).then_some(HistoryId(world.head));
    let job = Job { mailbox: world.sync.mailbox.clone(), trigger, target, step: None, lane };
    let mut engine = Engine::new(Settings::default(), job, world.now + SignedDuration::from_secs(280), 0.5);
    let mut effect = engine.start(world.now);
    let mut names = Vec::new();
    loop {
        names.push(name(&effect));
        match world.perform(effect) {
            Some(observed) => effect = engine.step(observed),
            None => return names,
        }
    }
}

fn position(names: &[String], wanted: &str) -> usize {
    names.iter().position(|name| name == wanted).unwrap_or_else(|| panic!("no {wanted} in {names:?}"))
}

#[test]
fn the_baseline_is_read_and_written_before_anything_is_listed() {
    let mut world = World::new(1, Faults::default());
    world.deliver();
    let names = trace(&mut world, Trigger::Connect, Lane::Backfill);
    let (profile, commit, list) =
        (position(&names, "GetProfile"), position(&names, "Commit"), position(&names, "ListMessages"));
    assert!(profile < commit && commit < list, "{names:?}");
}

#[test]
fn a_push_of_one_new_mail_costs_one_history_page_one_fetch_and_one_commit_and_is_followed_by_a_look() {
    let mut world = World::new(1, Faults::default());
    trace(&mut world, Trigger::Connect, Lane::Backfill);
    world.deliver();
    let names = trace(&mut world, Trigger::Push, Lane::Sync);
    let wanted = [
        "RaiseTarget",
        "Acquire",
        "ReadRequests",
        "ListHistory",
        "ReadRows",
        "Fetch",
        "Commit",
        "SendContinuation",
        "Release",
        "Finish",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn expired_history_is_written_down_as_work_before_anything_is_deleted() {
    let mut world = World::new(1, Faults::default());
    let gone = world.deliver();
    world.deliver();
    trace(&mut world, Trigger::Connect, Lane::Backfill);
    world.mailbox.remove(&gone);
    world.head += 50;
    world.expired_up_to = world.head;
    let names = trace(&mut world, Trigger::Schedule, Lane::Backfill);
    assert!(position(&names, "GetProfile") < position(&names, "ListMessages"), "{names:?}");
    assert!(!world.rows[&gone].deleted, "a listing alone deletes nothing");
    assert!(world.owed.contains_key(&gone), "what a listing misses is owed an answer");
}

#[test]
fn a_busy_mailbox_is_asked_for_and_left_alone() {
    let mut world = World::new(1, Faults::default());
    trace(&mut world, Trigger::Connect, Lane::Backfill);
    world.sync.lease = Some(sync_core::state::Lease {
        owner: "other".into(),
        generation: world.sync.generation,
        until: world.now + SignedDuration::from_secs(60),
    });
    let asked = world.sync.asked;
    let names = trace(&mut world, Trigger::Push, Lane::Sync);
    assert_eq!(names, ["RaiseTarget", "Acquire", "RaiseAsked", "Finish"]);
    assert_eq!(world.sync.asked, asked + 1);
}

#[test]
fn the_last_change_of_a_burst_is_found_though_its_push_was_dropped() {
    let mut world = World::new(1, Faults::default());
    trace(&mut world, Trigger::Connect, Lane::Backfill);
    world.deliver();
    trace(&mut world, Trigger::Push, Lane::Sync);
    let silent = world.deliver();
    let (at, lane, step) = world.hints.pop().expect("a look that follows the push");
    assert_eq!((lane, step), (Lane::Sync, None));
    world.now = at;
    trace(&mut world, Trigger::Continuation, Lane::Sync);
    assert!(world.rows.contains_key(&silent));
    world.hints.clear();
    trace(&mut world, Trigger::Continuation, Lane::Sync);
    assert!(world.hints.is_empty(), "without news nobody comes again");
}
