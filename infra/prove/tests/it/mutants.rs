//! A proof that cannot fail proves nothing: with one guard left out the simulation finds what it prevents.
//!
//! The model checker finds the same in its own way, see [`crate::model`].

use std::num::NonZero;

use prove::{
    search::{Found, Search, search},
    world::{Dice, Options, Promise, run, shrink},
};
use sync_core::sync::Guard;

/// Histories that are run before the next look at what was found.
const BLOCK: u64 = 256;
/// Histories that shrinking a story may take.
const SHRINK_TRIES_MAX: u32 = 600;

/// The first loss of so many histories, by the lowest seed.
fn first_loss(guard: Guard, histories: u64) -> Option<Found> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let options = Options { mutant: Some(guard), ..Options::default() };
    (0..histories).step_by(usize::try_from(BLOCK).unwrap_or(1)).find_map(|first| {
        let report = search(Search { first, histories: BLOCK, threads, options }, &|_, _| {});
        report.found.into_values().min_by_key(|found| found.seed)
    })
}

/// Left out, the guard is missed within so many histories; in place, the same history breaks nothing.
#[expect(clippy::print_stdout, reason = "the story, for those who ask for it")]
fn check(guard: Guard, promises: &[Promise], histories: u64) {
    let found = first_loss(guard, histories);
    let found = found.unwrap_or_else(|| panic!("nothing is lost without {guard:?} in {histories} histories"));
    let options = Options { mutant: Some(guard), ..Options::default() };
    let short = shrink(found.tape.clone(), &found.broken, options, SHRINK_TRIES_MAX);
    println!("without {guard:?}, seed {}, the shortest story:", found.seed);
    println!("{}", short.verdict.story.join("\n"));
    assert!(promises.contains(&found.broken.promise), "without {guard:?}: {}", found.broken);
    for tape in [found.tape, short.tape] {
        let healed = run(Dice::of_tape(tape), Options::default());
        assert_eq!(healed.broken, None, "seed {} with every guard", found.seed);
    }
}

macro_rules! mutants {
    ($($name:ident: $guard:ident breaks $($promise:ident)|+ in $histories:literal;)*) => {
        $(#[test] fn $name() { check(Guard::$guard, &[$(Promise::$promise),+], $histories); })*

        #[test]
        fn every_guard_is_missed_by_the_simulation() {
            let shown = [$(Guard::$guard),*];
            assert!(Guard::ALL.iter().all(|guard| shown.contains(guard)));
        }
    };
}

mutants! {
    the_cursor_never_moves_before_its_rows: CursorAfterData breaks NothingLost | NothingSkipped in 20_000;
    a_worker_that_overslept_writes_nothing: Fence breaks AppliedOnce | Announced in 500;
    whoever_asked_before_a_release_is_heard: ConditionalRelease breaks NothingSkipped in 2_000;
    whoever_asks_is_heard_by_somebody: ConditionalAsk breaks NothingSkipped in 60_000;
    a_target_is_raised_before_the_lease: TargetBeforeLease breaks NothingSkipped in 60_000;
    a_baseline_is_read_before_its_listing: BaselineBeforeListing breaks AppliedOnce | NothingLost | NothingSkipped in 1_000;
    a_backfill_leaves_the_cursor_alone: BackfillKeepsCursor breaks AppliedOnce | NothingLost | NothingSkipped in 1_000;
    a_listing_alone_buries_nothing: VerifyVanished breaks NothingLost | NothingSkipped in 10_000;
    a_listing_cut_short_deletes_nothing: CompleteListing breaks NothingLost | NothingSkipped | Announced in 500;
    a_listing_is_repeated_until_it_was_quiet: RepeatListing breaks NothingLost | NothingSkipped | Announced in 20_000;
    a_listing_corrects_nothing_above_its_baseline: CorrectBelowBaseline breaks AppliedOnce in 1_000;
    a_first_404_proves_nothing: PatienceWithMissing breaks NothingLost | NothingSkipped in 1_000;
    a_deletion_of_an_unknown_message_is_kept: TombstoneOfUnknown breaks NothingLost | NothingSkipped in 10_000;
    a_get_older_than_its_records_is_not_believed: FreshEnoughGet breaks NothingLost | NothingSkipped in 2_000;
    the_first_page_names_the_cursor: FirstPageWins breaks NothingLost | NothingSkipped in 10_000;
    history_ids_are_compared_as_numbers: NumericCompare breaks NothingLost | NothingSkipped in 2_000;
    what_failed_is_owed: OweFailures breaks NothingLost | NothingSkipped in 5_000;
    what_was_not_answered_is_owed: OweUnanswered breaks NothingLost | NothingSkipped in 5_000;
    records_that_a_row_holds_are_skipped: SkipOldRecords breaks AppliedOnce in 500;
}
