//! What a run asks for, and what it costs.

use gmail_sim::model::STARRED;
use sync_core::{
    job::{JobKind, Lane, RequestOptions, Trigger},
    sync::Outcome,
};

use crate::bench::{Bench, setting};

fn position(trace: &[String], wanted: &str) -> usize {
    trace.iter().position(|name| name == wanted).unwrap_or_else(|| panic!("no {wanted} in {trace:?}"))
}

#[test]
fn the_baseline_is_read_and_written_before_anything_is_listed() {
    let mut bench = Bench::of(setting(), 2);
    let job = bench.job(Trigger::Connect, Lane::Backfill);
    let trace = bench.run(job);
    let places = ["GetProfile", "Commit", "ListMessages"].map(|name| position(&trace, name));
    assert!(places.is_sorted(), "{trace:?}");
}

#[test]
fn a_push_of_one_new_mail_costs_one_history_page_one_get_and_one_commit_and_is_followed_by_a_look() {
    let mut bench = Bench::copied(2);
    bench.arrive();
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
    ];
    assert_eq!(bench.push(), wanted);
}

#[test]
fn a_label_costs_no_get() {
    let mut bench = Bench::copied(3);
    let (ids, gets) = (bench.ids(), bench.sim().gets);
    for _ in 0..3 {
        bench.label(&ids, &[STARRED], &[]);
        bench.push();
        bench.label(&ids[..2], &[], &[STARRED]);
        bench.push();
    }
    assert_eq!(bench.sim().gets, gets);
    bench.finish();
}

#[test]
fn a_comparison_of_an_unchanged_mailbox_makes_no_get() {
    let mut bench = Bench::copied(20);
    let gets = bench.sim().gets;
    bench.ask(JobKind::Full, RequestOptions::default());
    let trace = bench.drain();
    assert!(trace.contains(&"ListMessages".to_owned()) && !trace.contains(&"Fetch".to_owned()));
    assert_eq!(bench.sim().gets, gets);
    assert!(bench.sim().store.kept.requests.is_empty(), "it is answered");
    bench.finish();
}

#[test]
fn a_comparison_corrects_labels_without_a_get() {
    let mut bench = Bench::copied(4);
    let (ids, gets) = (bench.ids(), bench.sim().gets);
    bench.label(&ids[..2], &[STARRED], &[]);
    bench.sim().expire();
    bench.push();
    bench.drain();
    assert!(bench.sim().store.kept.rows[&ids[0]].labels.contains("STARRED"));
    assert_eq!(bench.sim().gets, gets);
    bench.finish();
}

#[test]
fn expired_history_is_written_down_as_work_and_a_listing_alone_deletes_nothing() {
    let mut bench = Bench::copied(3);
    let gone = bench.ids()[0];
    bench.delete(&[gone]);
    bench.sim().expire();
    let job = bench.job(Trigger::Schedule, Lane::Backfill);
    let trace = bench.run(job);
    let places = ["GetProfile", "Commit", "ListMessages", "Fetch"].map(|name| position(&trace, name));
    assert!(places.is_sorted(), "{trace:?}");
    assert!(bench.sim().store.kept.rows[&gone].is_live(), "a listing alone deletes nothing");
    assert!(bench.sim().store.kept.owed.contains_key(&gone), "what a listing misses is owed an answer");
    bench.finish();
}

#[test]
fn a_probe_comes_when_the_last_is_old_enough_for_whoever_asks() {
    let mut bench = Bench::copied(2);
    let mut counts = |minutes: i64, trigger| {
        bench.pass(minutes * 60);
        let job = bench.job(trigger, Lane::Sync);
        let trace = bench.run(job);
        bench.drain();
        trace.iter().filter(|name| *name == "CountLabels").count()
    };
    assert_eq!(counts(1, Trigger::Probe), 1, "the first");
    assert_eq!(counts(59, Trigger::Probe), 0, "the last is not an hour old");
    assert_eq!(counts(1, Trigger::Probe), 1);
    assert_eq!(counts(70, Trigger::Schedule), 0, "a poll is in no hurry");
    assert_eq!(counts(300, Trigger::Push), 0, "who brings news does not wait for counters");
    assert_eq!(counts(0, Trigger::Schedule), 1);
}

#[test]
fn a_busy_mailbox_is_asked_for_and_left_alone() {
    let mut bench = Bench::copied(1);
    let job = bench.job(Trigger::Schedule, Lane::Sync);
    let mut holder = bench.start(job);
    while holder.next() != "ReadRequests" {
        assert!(holder.step(&bench, None).is_none());
    }
    let asked = bench.sim().store.kept.sync.asked;
    let push = bench.job(Trigger::Push, Lane::Sync);
    let (outcome, trace) = bench.run_with(push, |_| None);
    assert_eq!((outcome, bench.sim().store.kept.sync.asked), (Outcome::Busy, asked + 1));
    assert_eq!(trace, ["RaiseTarget", "Acquire", "RaiseAsked"]);
    holder.finish(&bench);
    bench.finish();
}

#[test]
fn the_last_change_of_a_burst_is_found_though_its_push_was_dropped() {
    let mut bench = Bench::copied(1);
    bench.arrive();
    bench.push();
    let silent = bench.arrive();
    let look = bench.next_hint().expect("a look that follows the push");
    assert_eq!((look.lane, look.step), (Lane::Sync, None));
    bench.run(look);
    assert!(bench.sim().store.kept.rows.contains_key(&silent));
    bench.drain();
    assert!(bench.sim().queue.is_empty(), "without news nobody comes again");
    bench.finish();
}
