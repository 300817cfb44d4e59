//! The fuzzers' targets for a short while, on the stable toolchain: every seed that is kept, then mutants of them.
//!
//! A failure prints the input; put it into `fuzz/corpus/TARGET` and it is tried first from then on.
//! `GMAIL_SIM_FUZZ_ROUNDS` makes it longer, `GMAIL_SIM_FUZZ_SEED` other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use gmail_sim::fuzzing;
use gmail_sim::model::Random;

/// Longest that one input may take: far above the slowest, far below a hang.
const PATIENCE: Duration = Duration::from_secs(20);
/// Largest mutant.
const BYTES_MAX: usize = 20_000;
/// Pieces that parsers care about.
const WORDS: [&[u8]; 32] = [
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"--b",
    b"--",
    b"(",
    b")",
    b"{",
    b"}",
    b"\"",
    b":",
    b"-",
    b" OR ",
    b"from:(",
    b"=?utf-8?Q?",
    b"?=",
    b"%",
    b"%00",
    b"&",
    b"=",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"\0",
    b"18446744073709551616",
    b"-1",
    b"1e999",
    b"null",
    b"[[[[",
    b"Content-Type: ",
    b"multipart/mixed; boundary=b\r\n",
    b"Content-Length: 99\r\n",
    b"newer_than:",
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "the seeds of {target} are gone");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn place(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64 + 1)).unwrap()
}

fn mutant(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let any = |random: &mut Random| &seeds[usize::try_from(random.below(seeds.len() as u64)).unwrap()];
    let mut bytes = any(random).clone();
    for _ in 0..=random.below(6) {
        let (one, other) = (place(random, bytes.len()), place(random, bytes.len()));
        let (start, end) = (one.min(other), one.max(other));
        match random.below(7) {
            0 => drop(bytes.drain(start..end)),
            1 => {
                let copy = bytes[start..end].to_vec();
                for _ in 0..=random.below(40) {
                    bytes.splice(start..start, copy.iter().copied());
                    bytes.truncate(BYTES_MAX);
                }
            }
            2 | 3 => {
                let word = WORDS[usize::try_from(random.below(WORDS.len() as u64)).unwrap()];
                let times = if random.below(20) == 0 { 500 } else { 1 };
                bytes.splice(start..start, word.repeat(times));
            }
            4 => {
                let from = any(random);
                bytes.splice(start..end, from[place(random, from.len())..].to_vec());
            }
            5 if start < bytes.len() => bytes[start] = random.next_u64().to_le_bytes()[0],
            _ if start < bytes.len() => bytes[start] ^= 1 << random.below(8),
            _ => {}
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn run(name: &str, rounds: u64, target: fn(&[u8])) {
    let try_one = |bytes: &[u8]| {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(bytes)));
        let shown = bytes.escape_ascii();
        assert!(outcome.is_ok(), "{name} failed on:\n{shown}");
        assert!(begun.elapsed() < PATIENCE, "{name} took {:?} on:\n{shown}", begun.elapsed());
    };
    let seeds = seeds(name);
    for seed in &seeds {
        try_one(seed);
    }
    let mut random = Random::new(number("GMAIL_SIM_FUZZ_SEED", 1));
    for _ in 0..number("GMAIL_SIM_FUZZ_ROUNDS", rounds) {
        try_one(&mutant(&mut random, &seeds));
    }
}

#[test]
fn any_request_gets_an_answer_of_gmails() {
    run("request", 3_000, fuzzing::request);
}

#[test]
fn any_batch_is_answered_part_by_part_or_refused() {
    run("batch", 1_500, fuzzing::batch);
}

#[test]
fn any_text_is_a_search_whose_pages_end() {
    run("query", 5_000, fuzzing::query);
}

#[test]
fn any_bytes_are_a_message() {
    run("message", 5_000, fuzzing::message);
}
