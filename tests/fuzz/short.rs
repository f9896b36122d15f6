//! The short form of fuzzing, a part of `cargo test`: every input of the corpora, then a fixed number of inputs that are
//! made from them. A seed decides which, so a failure comes again. Each crate with targets includes this file.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// Inputs that are made for each target. `FLEETLOGS_FUZZ_INPUTS` says another number.
const INPUTS: usize = 400;

/// Of those that are made, in bytes.
const LONGEST: usize = 16 << 10;

/// Set in the process that runs the targets.
const INSIDE: &str = "FLEETLOGS_FUZZ_INSIDE";

/// In a process of its own: what a target reads may be learned as a secret, and then be hidden in the texts of other tests.
#[test]
fn what_readers_promise_holds_for_the_corpora_and_what_is_made_from_them() {
    if std::env::var_os(INSIDE).is_some() {
        return all_hold();
    }
    let (_, module) = module_path!().split_once("::").expect("it is in a crate");
    let name = format!("{module}::what_readers_promise_holds_for_the_corpora_and_what_is_made_from_them");
    let program = std::env::current_exe().expect("a test has a program");
    let mut inside = Command::new(program);
    let output = inside.args([&name, "--exact", "--nocapture"]).env(INSIDE, "1").output();
    let output = output.expect("a test can be run again");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn all_hold() {
    let inputs = std::env::var("FLEETLOGS_FUZZ_INPUTS").ok().and_then(|number| number.parse().ok());
    let mut failed = Vec::new();
    for (name, target) in super::TARGETS {
        if !holds(name, target, inputs.unwrap_or(INPUTS)) {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "the inputs that fail are above, of: {failed:?}");
}

/// Whether a target holds, up to the first input for which it does not.
fn holds(name: &str, target: fn(&[u8]), inputs: usize) -> bool {
    let corpus = corpus_of(name);
    let mut made = Made { state: seed_of(name), corpus: &corpus };
    corpus.iter().all(|(file, input)| passes(name, file, target, input))
        && (0..inputs).all(|number| passes(name, &format!("made {number}"), target, &made.input()))
}

/// The inputs of a target by the names of their files, in order.
fn corpus_of(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(name);
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut corpus: Vec<_> = files
        .map(|file| {
            let file = file.expect("a corpus can be listed");
            let input = std::fs::read(file.path()).expect("an input can be read");
            (file.file_name().to_string_lossy().into_owned(), input)
        })
        .collect();
    corpus.sort();
    assert!(!corpus.is_empty(), "the corpus of `{name}` is empty");
    corpus
}

fn passes(name: &str, input: &str, target: fn(&[u8]), data: &[u8]) -> bool {
    let passed = catch_unwind(AssertUnwindSafe(|| target(data))).is_ok();
    if !passed {
        let hex = data.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        eprintln!("target `{name}`, input `{input}`: {}\nin hex: {hex}", data.escape_ascii());
    }
    passed
}

fn seed_of(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Makes inputs from those of a corpus.
struct Made<'a> {
    state: u64,
    corpus: &'a [(String, Vec<u8>)],
}

impl Made<'_> {
    /// splitmix64.
    fn number(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default() % below.max(1)
    }

    fn any_of_corpus(&mut self) -> Vec<u8> {
        let (_, input) = &self.corpus[self.number(self.corpus.len())];
        input.clone()
    }

    /// A part of a text, of some bytes in most cases.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let begin = self.number(length + 1);
        let most = if self.number(4) == 0 { length } else { 12 };
        begin..(begin + self.number(most + 1)).min(length)
    }

    fn input(&mut self) -> Vec<u8> {
        const BYTES: &[u8] = b"\0\n\r \"'\\/<>&=?#%+-.:,;{}[]()09azAZ_\x7f\xc3\xa9\xff";
        const TEXTS: [&str; 12] = [
            "18446744073709551615",
            "-9223372036854775808",
            "1e999",
            "9999-12-31T23:59:59.999999999-23:59",
            "0000-01-01T00:00:00+23:59",
            "null",
            "\u{feff}",
            "\\ud800",
            "&#0;",
            "%00",
            "<![CDATA[",
            "{\"\":[]}",
        ];
        let mut input = self.any_of_corpus();
        for _ in 0..=self.number(4) {
            let (at, part) = (self.number(input.len() + 1), self.part(input.len()));
            match self.number(7) {
                0 if at < input.len() => input[at] = BYTES[self.number(BYTES.len())],
                1 if at < input.len() => input[at] ^= 1 << self.number(8),
                2 => drop(input.drain(part)),
                3 => input.insert(at, BYTES[self.number(BYTES.len())]),
                4 => drop(input.splice(part, TEXTS[self.number(TEXTS.len())].bytes())),
                5 => {
                    let again = input[part].to_vec();
                    input.splice(at..at, again);
                }
                _ => {
                    let other = self.any_of_corpus();
                    let other = other[self.part(other.len())].to_vec();
                    input.splice(part, other);
                }
            }
        }
        input.truncate(LONGEST);
        input
    }
}
