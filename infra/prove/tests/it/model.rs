//! The model checker finds what every guard prevents, and finds nothing while all of them stand.

use prove::{
    model::{Limit, Scenario, ScenarioReport, explore, search, showing},
    world::Promise,
};
use sync_core::sync::Guard;

fn told(report: &ScenarioReport) -> String {
    let head = format!(
        "{}: {} states, {} different, depth {}, {:.1} s",
        report.name, report.states, report.unique, report.depth, report.seconds
    );
    let mut lines = vec![head];
    for failure in &report.failures {
        lines.push(format!("  {}: {}", failure.promise, failure.how));
        lines.extend(failure.story.iter().map(|line| format!("    {line}")));
    }
    lines.join("\n")
}

#[test]
fn no_history_of_any_scenario_breaks_a_promise() {
    let reports = explore(Limit::default()).expect("scenarios");
    let all: Vec<String> = reports.iter().map(told).collect();
    println!("{}", all.join("\n"));
    let clean = reports.iter().all(|report| report.complete && report.failures.is_empty());
    assert!(clean, "{}", all.join("\n"));
}

/// The checker finds the loss with the guard left out, and nothing with it.
#[expect(clippy::print_stdout, reason = "the story, for those who ask for it")]
fn check(guard: Guard, promises: &[Promise]) {
    let plan = showing(guard);
    let scenario = |mutant| Scenario::new(&plan, mutant).expect("a scenario");
    let clean = search(scenario(None), Limit::default());
    assert!(clean.complete && clean.failures.is_empty(), "with every guard: {}", told(&clean));
    let found = search(scenario(Some(guard)), Limit::default());
    println!("{}\nwithout {guard:?}: {}", told(&clean), told(&found));
    let named = found.failures.first().map(|failure| failure.promise);
    assert!(named.is_some_and(|promise| promises.contains(&promise)), "without {guard:?}: {}", told(&found));
    assert!(found.failures.iter().all(|failure| !failure.story.is_empty()));
}

macro_rules! mutants {
    ($($name:ident: $guard:ident breaks $($promise:ident)|+;)*) => {
        $(#[test] fn $name() { check(Guard::$guard, &[$(Promise::$promise),+]); })*

        #[test]
        fn every_guard_has_a_scenario_that_misses_it() {
            let shown = [$(Guard::$guard),*];
            assert!(Guard::ALL.iter().all(|guard| shown.contains(guard)));
        }
    };
}

mutants! {
    the_cursor_never_moves_before_its_rows: CursorAfterData breaks NothingLost | NothingSkipped;
    a_worker_that_overslept_writes_nothing: Fence breaks AppliedOnce;
    whoever_asked_before_a_release_is_heard: ConditionalRelease breaks NothingLost;
    whoever_asks_is_heard_by_somebody: ConditionalAsk breaks NothingLost;
    a_target_is_raised_before_the_lease: TargetBeforeLease breaks NothingLost;
    a_baseline_is_read_before_its_listing: BaselineBeforeListing breaks NothingLost | NothingSkipped;
    a_backfill_leaves_the_cursor_alone: BackfillKeepsCursor breaks NothingLost | NothingSkipped;
    a_listing_alone_buries_nothing: VerifyVanished breaks NothingLost | NothingSkipped;
    a_listing_cut_short_deletes_nothing: CompleteListing breaks NothingLost | NothingSkipped;
    a_listing_is_repeated_until_it_was_quiet: RepeatListing breaks NothingLost | NothingSkipped;
    a_listing_corrects_nothing_above_its_baseline: CorrectBelowBaseline breaks AppliedOnce | NothingLost;
    a_first_404_proves_nothing: PatienceWithMissing breaks NothingLost | NothingSkipped;
    a_deletion_of_an_unknown_message_is_kept: TombstoneOfUnknown breaks NothingLost | NothingSkipped;
    a_get_older_than_its_records_is_not_believed: FreshEnoughGet breaks NothingLost | NothingSkipped | AppliedOnce;
    the_first_page_names_the_cursor: FirstPageWins breaks NothingLost | NothingSkipped;
    history_ids_are_compared_as_numbers: NumericCompare breaks NothingLost | NothingSkipped | AppliedOnce;
    what_failed_is_owed: OweFailures breaks NothingLost | NothingSkipped;
    what_was_not_answered_is_owed: OweUnanswered breaks NothingLost | NothingSkipped;
    records_that_a_row_holds_are_skipped: SkipOldRecords breaks AppliedOnce;
}
