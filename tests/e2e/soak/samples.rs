//! What the daemons use, every two seconds, and whether it grows.

#![expect(clippy::cast_precision_loss, reason = "medians of what a process uses")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::ground::Life;
use super::records::run_dirs;

/// What is measured: of a process, and of its machine's disk.
pub(super) const MEASURES: [&str; 6] =
    ["rss_kib", "anonymous_kib", "descriptors", "threads", "disk_kib", "run_dirs"];

/// By how much the last quarter of a life may exceed its second one: a part, and an amount on top. A process that does the
/// same all the time has both: the amount is what a run in progress has, and a median may or may not see it.
const ALLOWANCE: [(f64, f64); 6] =
    [(0.2, 8192.0), (0.2, 8192.0), (0.0, 8.0), (0.0, 6.0), (0.2, 1024.0), (0.0, 4.0)];

/// A life with fewer samples proves nothing: it takes minutes until retention has something to remove. Ten minutes.
const ENOUGH: usize = 300;

#[derive(Clone)]
pub(super) struct Sample {
    pub(super) at: f64,
    pub(super) life: usize,
    pub(super) machine: usize,
    pub(super) values: [f64; 6],
}

/// One look at a living daemon; none if it ended meanwhile.
pub(super) fn look(life: Life, machine: &Path, at: f64) -> Option<Sample> {
    let process = Path::new("/proc").join(life.pid.to_string());
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let of = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<f64>().ok()
    };
    let descriptors = std::fs::read_dir(process.join("fd")).ok()?.count();
    let runs = machine.join("runs");
    let values = [
        of("VmRSS:")?,
        of("RssAnon:")?,
        descriptors as f64,
        of("Threads:")?,
        bytes_in(&runs) as f64 / 1024.0,
        run_dirs(machine).len() as f64,
    ];
    Some(Sample { at, life: life.number, machine: life.machine, values })
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // Files come and go.
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// What a life used, in the second and in the last quarter of its samples.
pub(super) struct Course {
    pub(super) life: usize,
    pub(super) machine: usize,
    pub(super) seconds: f64,
    /// Medians of each measure.
    pub(super) quarters: [(f64, f64); 6],
}

impl Course {
    pub(super) fn growth(&self) -> Vec<String> {
        let each = MEASURES.iter().zip(ALLOWANCE).zip(self.quarters);
        each.filter(|((_, (part, amount)), (early, late))| *late > early * (1.0 + part) + amount)
            .map(|((measure, _), (early, late))| {
                format!(
                    "{measure} of life {} grew from {early} to {late} in {:.0} s",
                    self.life, self.seconds
                )
            })
            .collect()
    }

    pub(super) fn to_json(&self) -> Value {
        let of: BTreeMap<_, _> = MEASURES
            .iter()
            .zip(self.quarters)
            .map(|(name, (early, late))| (*name, json!({ "second_quarter": early, "last_quarter": late })))
            .collect();
        json!({ "life": self.life, "machine": self.machine, "seconds": self.seconds.round(), "medians": of })
    }
}

/// Of every life that is long enough to tell.
pub(super) fn courses(samples: &[Sample]) -> Vec<Course> {
    let mut lives: BTreeMap<usize, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        lives.entry(sample.life).or_default().push(sample);
    }
    let long = lives.into_values().filter(|samples| samples.len() >= ENOUGH);
    long.map(|samples| {
        let of = |measure: usize| {
            let values: Vec<_> = samples.iter().map(|sample| sample.values[measure]).collect();
            medians(&values)
        };
        Course {
            life: samples[0].life,
            machine: samples[0].machine,
            seconds: samples[samples.len() - 1].at - samples[0].at,
            quarters: std::array::from_fn(of),
        }
    })
    .collect()
}

/// The medians of the second and of the last quarter.
pub(super) fn medians<T: Copy + PartialOrd>(values: &[T]) -> (T, T) {
    let quarter = values.len() / 4;
    let median = |part: &[T]| {
        let mut part = part.to_vec();
        part.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
        part[part.len() / 2]
    };
    (median(&values[quarter..2 * quarter]), median(&values[values.len() - quarter..]))
}

pub(super) fn csv(samples: &[Sample]) -> String {
    let mut text = format!("seconds,machine,life,{}\n", MEASURES.join(","));
    for sample in samples {
        let values = sample.values.map(|value| format!("{value:.0}")).join(",");
        let _ = writeln!(text, "{:.1},{},{},{values}", sample.at, sample.machine, sample.life);
    }
    text
}

/// A life of ten minutes whose measures are those that `at` gives.
fn life_of(at: impl Fn(usize) -> [f64; 6]) -> Vec<Sample> {
    (0..ENOUGH).map(|n| Sample { at: n as f64 * 2.0, life: 0, machine: 0, values: at(n) }).collect()
}

#[test]
fn what_comes_and_goes_is_no_growth() {
    let busy = |n: usize| if n % 7 < 3 { 1.0 } else { 0.0 };
    let samples = life_of(|n| {
        let busy = busy(n);
        [
            60e3 + busy * 6e3,
            20e3 + busy * 6e3,
            20.0 + busy * 7.0,
            8.0 + busy * 5.0,
            3e3 + busy * 500.0,
            18.0 + busy,
        ]
    });
    assert!(courses(&samples)[0].growth().is_empty());
    // The start of a process is none either.
    let samples = life_of(|n| [n.min(20) as f64 * 3e3; 6]);
    assert!(courses(&samples)[0].growth().is_empty());
}

#[test]
fn each_measure_that_grows_is_told() {
    for measure in 0..MEASURES.len() {
        let samples = life_of(|n| {
            let mut values = [60e3, 20e3, 20.0, 8.0, 3e3, 18.0];
            values[measure] *= 1.0 + n as f64 / 100.0;
            values
        });
        let growth = courses(&samples)[0].growth();
        assert_eq!(growth.len(), 1, "{growth:?}");
        assert!(growth[0].starts_with(MEASURES[measure]), "{growth:?}");
    }
    assert!(courses(&life_of(|_| [1.0; 6])[..ENOUGH - 1]).is_empty(), "too short to tell");
}
