//! The fuzz targets on the stable toolchain: every kept seed, and a fixed number of seeded changes of each.
//!
//! The budget is a count, so a run is the same everywhere. cargo-fuzz runs the same functions for longer.

use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Changed inputs for each target.
const RUNS: usize = 3_000;
/// Longest input, bytes.
const BYTES_MAX: usize = 32 * 1024;
/// Most changes at once.
const CHANGES_MAX: u64 = 6;

/// What steers a parser further than random bytes do.
const TOKENS: [&[u8]; 32] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"--b",
    b"--b--",
    b"--",
    b"=?",
    b"?=",
    b"=?utf-8?B?",
    b"=?utf-8?Q?",
    b"=\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"(",
    b")",
    b"<",
    b">",
    b";",
    b"*0*=utf-8''%",
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"\xff\xfe",
    b"\x1b$B",
];

/// xorshift64*: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % end.max(1)
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 1, "seeds are kept for {target}");
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

fn changed(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut input = seeds[numbers.below(seeds.len())].clone();
    let changes = 1 + numbers.below(usize::try_from(CHANGES_MAX).expect("few"));
    for _ in 0..changes {
        let at = numbers.below(input.len() + 1);
        let end = (at + 1 + numbers.below(64)).min(input.len());
        match numbers.below(7) {
            0 if at < input.len() => input[at] = u8::try_from(numbers.below(256)).expect("a byte"),
            1 if at < input.len() => input[at] ^= 1 << numbers.below(8),
            2 if at < end => drop(input.drain(at..end)),
            // A piece again and again, which is what nests and lists are.
            3 if at < end => {
                let piece = input[at..end].repeat(1 + numbers.below(50));
                input.splice(at..at, piece);
            }
            4 => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len());
                input.splice(at.., other[from..].iter().copied());
            }
            5 => input.truncate(at),
            _ => drop(input.splice(at..at, TOKENS[numbers.below(TOKENS.len())].iter().copied())),
        }
        input.truncate(BYTES_MAX);
    }
    input
}

fn check(name: &str) {
    let target = targets::TARGETS.iter().find(|(known, _)| *known == name).expect("a target").1;
    let seeds = seeds(name);
    for seed in &seeds {
        target(seed);
    }
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for run in 0..RUNS {
        let input = changed(&seeds, &mut numbers);
        // The number finds the input again.
        assert!(std::panic::catch_unwind(|| target(&input)).is_ok(), "{name}: run {run}: {input:?}");
    }
}

#[test]
fn no_mail_breaks_the_parser() {
    check("mail");
}

#[test]
fn no_answer_to_a_batch_breaks_its_reader() {
    check("batch");
}

#[test]
fn no_json_breaks_the_wire_types() {
    check("wire");
}

#[test]
fn no_header_breaks_its_reader() {
    check("words");
}

#[test]
fn no_push_breaks_its_reader() {
    check("push");
}

/// A tree of parts so deep that serde's recursion would overflow the stack.
#[test]
fn a_tree_of_two_hundred_thousand_parts_is_read() {
    const DEPTH: usize = 200_000;
    let head = r#"{"id":"1","threadId":"1","historyId":"7","payload":"#;
    let deep = [
        head,
        &r#"{"mimeType":"multipart/mixed","body":{},"parts":["#.repeat(DEPTH),
        r#"{"mimeType":"text/plain","body":{"data":"eA"}}"#,
        &"]}".repeat(DEPTH),
        "}",
    ]
    .concat();
    targets::wire(deep.as_bytes());
    let part = r#"{"mimeType":"text/plain","body":{"data":"eA"}},"#;
    let flat = format!(
        r#"{head}{{"mimeType":"multipart/mixed","body":{{}},"parts":[{}{{}}]}}}}"#,
        part.repeat(DEPTH)
    );
    targets::wire(flat.as_bytes());
}
