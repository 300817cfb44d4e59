//! `prove`: as many seeded histories as asked, on all cores, and the model checker's scenarios.
//!
//! Each history is a mailbox, a queue, a store and up to three workers that run the production engine, with faults at
//! every effect; afterwards the copy is compared with the mailbox. A history is a function of its seed: what was
//! found once is told again, to the last line, with `--histories 1 --seed N --story`. What breaks a promise is cut to
//! the shortest history that breaks it in the same way, and told. Exit code: 0 when every promise held, else 1.
#![expect(clippy::print_stdout, reason = "the command's answer")]

use std::{
    num::NonZero,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use prove::{
    model::{self, Limit, Scenario, scenarios, showing},
    search::{Report, Search, search},
    world::{Fault, Options, run_seed, shrink},
};
use sync_core::sync::Guard;

/// Runs seeded histories of the sync protocol, with faults at every effect, and checks every promise after each.
///
/// Prints the histories a minute, the faults injected by kind, the states that the model checker explored, and of
/// whatever broke a promise the shortest story.
#[derive(Debug, Parser)]
#[command(name = "prove")]
struct Arguments {
    /// How many histories.
    #[arg(long, default_value_t = 20_000)]
    histories: u64,
    /// The seed of the first; each has the next. Taken from the clock unless given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; as many as there are cores unless given.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Leave a guard out, by its name in `sync_core::sync::Guard`, to see what it prevents.
    #[arg(long, value_parser = guard)]
    without: Option<Guard>,
    /// Tell the whole story of the first history, and nothing else.
    #[arg(long)]
    story: bool,
    /// Leave out the model checker's scenarios.
    #[arg(long)]
    no_model: bool,
}

/// Histories that shrinking a story may take.
const SHRINK_TRIES_MAX: u32 = 4_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of the engine is a broken promise of its history, and told there.
    std::panic::set_hook(Box::new(|_| {}));
    let options = Options { mutant: arguments.without, tells: false };
    let seed = arguments.seed.unwrap_or_else(seed_of_now);
    if arguments.story {
        return tell(seed, options);
    }
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let threads = arguments.threads.unwrap_or(cores);
    println!("{} histories from seed {seed}, {threads} at a time", HumanCount(arguments.histories));
    let report = run(Search { first: seed, histories: arguments.histories, threads, options });
    print_report(&report, options);
    let model_holds = arguments.no_model || explore_model(options.mutant, threads.get());
    if report.found.is_empty() && model_holds {
        println!("\nevery promise held");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Searches the model: all interleavings of small histories. Whether every promise held in all of them.
fn explore_model(mutant: Option<Guard>, threads: usize) -> bool {
    println!("\nall interleavings of small histories:");
    let limit = Limit { threads, ..Limit::default() };
    let plans = mutant.map_or_else(scenarios, |guard| vec![showing(guard)]);
    let mut holds = true;
    for plan in &plans {
        let report = match Scenario::new(plan, mutant) {
            Ok(scenario) => model::search(scenario, limit),
            Err(unfit) => {
                println!("{unfit}");
                return false;
            }
        };
        holds &= report.failures.is_empty() && report.complete;
        let end = if report.complete || !report.failures.is_empty() { "" } else { ", cut short by a limit" };
        println!(
            "{:>14} states, {} of them different, {:.0} s: {}{end}",
            HumanCount(report.states as u64).to_string(),
            HumanCount(report.unique as u64),
            report.seconds,
            report.name
        );
        for failure in &report.failures {
            println!("\n{}: {}\n  the shortest story:", failure.promise, failure.how);
            for line in &failure.story {
                println!("{line}");
            }
        }
    }
    holds
}

fn guard(name: &str) -> Result<Guard, String> {
    let names = || Guard::ALL.map(|guard| format!("{guard:?}"));
    let found = Guard::ALL.into_iter().find(|guard| format!("{guard:?}") == name);
    found.ok_or_else(|| format!("must be one of {}", names().join(", ")))
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() * 1_000_000)
}

/// The whole story of one history.
fn tell(seed: u64, options: Options) -> ExitCode {
    let verdict = run_seed(seed, Options { tells: true, ..options });
    for line in verdict.story {
        println!("{line}");
    }
    if verdict.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(wanted: Search) -> Report {
    let bar = ProgressBar::new(wanted.histories);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}, {msg}{eta} to go") {
        bar.set_style(style);
    }
    let lost = std::sync::atomic::AtomicU64::new(0);
    let report = search(wanted, &|done, newly_lost| {
        bar.inc(done);
        let lost = lost.fetch_add(newly_lost, std::sync::atomic::Ordering::Relaxed) + newly_lost;
        if newly_lost > 0 {
            bar.set_message(format!("{lost} lost something, "));
        }
    });
    bar.finish_and_clear();
    report
}

fn print_report(report: &Report, options: Options) {
    println!(
        "{} histories in {}: {} a minute, {} effects",
        HumanCount(report.histories),
        HumanDuration(report.took),
        HumanCount(report.a_minute()),
        HumanCount(report.effects)
    );
    println!("faults injected: {}", HumanCount(report.faults.total()));
    for fault in Fault::ALL {
        println!("{:>14}  {}", HumanCount(report.faults.of(*fault)).to_string(), fault.name());
    }
    for (kind, found) in &report.found {
        println!("\n{kind}\n  in {} histories, the first is seed {}", HumanCount(found.times), found.seed);
        println!("  the shortest story that breaks it so:");
        let short = shrink(found.tape.clone(), &found.broken, options, SHRINK_TRIES_MAX);
        for line in short.verdict.story {
            println!("{line}");
        }
    }
}
