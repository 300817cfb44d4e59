//! Many histories on all cores, and what came of them.
//!
//! Invariant: what is found does not depend on the number of threads; of each kind of loss the lowest seed is kept.
//! Deliberately absent: shrinking. Whoever wants the shortest story of a loss asks [`crate::world::shrink`].

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::world::{Broken, Counts, Options, Tape, run_seed};

/// How many histories a thread takes at a time.
const BLOCK: u64 = 32;

/// Which histories are run, and how.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// The first seed; the others follow it.
    pub first: u64,
    /// How many.
    pub histories: u64,
    /// On how many threads.
    pub threads: NonZero<usize>,
    /// How each is run.
    pub options: Options,
}

/// A kind of loss that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// In how many histories.
    pub times: u64,
    /// The lowest seed that shows it.
    pub seed: u64,
    /// The choices of that history.
    pub tape: Tape,
    /// The promise, and how it was broken.
    pub broken: Broken,
}

/// What came of a search.
#[derive(Debug, Default)]
pub struct Report {
    /// Histories that were run.
    pub histories: u64,
    /// Effects that they carried out.
    pub effects: u64,
    /// Faults that were injected, by kind.
    pub faults: Counts,
    /// What was lost, by kind.
    pub found: BTreeMap<String, Found>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Histories a minute.
    pub fn a_minute(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX).max(1);
        self.histories.saturating_mul(60_000) / millis
    }

    fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.effects += other.effects;
        self.faults.add(&other.faults);
        for (kind, found) in other.found {
            self.note(kind, found);
        }
    }

    fn note(&mut self, kind: String, found: Found) {
        match self.found.get_mut(&kind) {
            None => drop(self.found.insert(kind, found)),
            Some(before) => {
                let times = before.times + found.times;
                if found.seed < before.seed {
                    *before = found;
                }
                before.times = times;
            }
        }
    }
}

/// Runs them all. `watch` hears, from any thread, of histories that are done: how many, and how many of them lost
/// something.
pub fn search(search: Search, watch: &(dyn Fn(u64, u64) + Sync)) -> Report {
    let began = Instant::now();
    let taken = AtomicU64::new(0);
    let mut report = Report::default();
    thread::scope(|scope| {
        let work = || work(search, &taken, watch);
        let threads: Vec<_> = (0..search.threads.get()).map(|_| scope.spawn(work)).collect();
        for done in threads.into_iter().filter_map(|thread| thread.join().ok()) {
            report.add(done);
        }
    });
    report.took = began.elapsed();
    report
}

fn work(search: Search, taken: &AtomicU64, watch: &(dyn Fn(u64, u64) + Sync)) -> Report {
    let mut report = Report::default();
    loop {
        let from = taken.fetch_add(BLOCK, Ordering::Relaxed);
        let until = from.saturating_add(BLOCK).min(search.histories);
        if from >= until {
            return report;
        }
        let before = lost(&report);
        for offset in from..until {
            let seed = search.first.wrapping_add(offset);
            let verdict = run_seed(seed, search.options);
            report.histories += 1;
            report.effects += verdict.effects;
            report.faults.add(&verdict.counts);
            if let Some(broken) = verdict.broken {
                let found = Found { times: 1, seed, tape: verdict.tape, broken };
                report.note(found.broken.kind(), found);
            }
        }
        watch(until - from, lost(&report) - before);
    }
}

fn lost(report: &Report) -> u64 {
    report.found.values().map(|found| found.times).sum()
}
