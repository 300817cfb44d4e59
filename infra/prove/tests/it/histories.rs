//! Seeded histories: a fixed budget of them, and that they can be told again and cut short.

use std::num::NonZero;

use prove::{
    search::{Search, search},
    world::{Dice, Fault, Options, Promise, run, run_seed, shrink},
};
use sync_core::sync::Guard;

/// Histories of every build. `make prove` runs as many as asked.
const HISTORIES: u64 = 6_000;

fn cores() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

#[test]
fn every_promise_holds_in_every_history_and_every_kind_of_fault_was_there() {
    let wanted = Search { first: 0, histories: HISTORIES, threads: cores(), options: Options::default() };
    let report = search(wanted, &|_, _| {});
    if let Some((kind, found)) = report.found.first_key_value() {
        let short = shrink(found.tape.clone(), &found.broken, Options::default(), 2_000);
        panic!("{kind}: {} times, seed {}\n{}", found.times, found.seed, short.verdict.story.join("\n"));
    }
    assert_eq!(report.histories, HISTORIES);
    for fault in Fault::ALL {
        assert!(report.faults.of(*fault) > 0, "never injected: {}", fault.name());
    }
}

#[test]
fn a_seed_and_its_tape_tell_the_same_story_to_the_last_line() {
    let options = Options { tells: true, ..Options::default() };
    for seed in 0..40 {
        let first = run_seed(seed, options);
        let again = run_seed(seed, options);
        let taped = run(Dice::of_tape(first.tape.clone()), options);
        assert!(first.story.len() > 20, "seed {seed} tells nothing");
        assert_eq!(first.story, again.story, "seed {seed}");
        assert_eq!(first.story, taped.story, "the tape of seed {seed}");
        assert_eq!(first.tape, taped.tape);
    }
}

#[test]
fn what_is_found_does_not_depend_on_the_number_of_threads() {
    let options = Options { mutant: Some(Guard::Fence), ..Options::default() };
    let one = Search { first: 7, histories: 200, threads: NonZero::<usize>::MIN, options };
    let three = Search { threads: NonZero::new(3).expect("three"), ..one };
    let (one, three) = (search(one, &|_, _| {}), search(three, &|_, _| {}));
    let seeds = |report: &prove::search::Report| {
        let seed = |(kind, found): (&String, &prove::search::Found)| (kind.clone(), found.seed, found.times);
        report.found.iter().map(seed).collect::<Vec<_>>()
    };
    assert!(!one.found.is_empty());
    assert_eq!((seeds(&one), one.effects), (seeds(&three), three.effects));
}

#[test]
fn a_loss_is_cut_to_a_short_history_that_breaks_the_same_promise() {
    let options = Options { mutant: Some(Guard::Fence), ..Options::default() };
    let (broken, tape) =
        (0..500).map(|seed| run_seed(seed, options)).find_map(|v| Some((v.broken?, v.tape))).expect("a loss");
    let short = shrink(tape.clone(), &broken, options, 2_000);
    let of_short = short.verdict.broken.expect("it is still a loss");
    assert_eq!((of_short.promise, of_short.kind()), (Promise::AppliedOnce, broken.kind()));
    assert!(short.tape.0.len() * 2 < tape.0.len(), "{} of {} steps", short.tape.0.len(), tape.0.len());
    let healed = run(Dice::of_tape(short.tape), Options::default());
    assert_eq!(healed.broken, None, "with the guard nothing is lost");
}
