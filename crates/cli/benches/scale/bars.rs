//! The rows with bars: what is measured, and how much it may be.

use std::io::{BufRead as _, BufReader};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cost::{Cost, Repeat, cost_of, fleetlogs, mib};
use crate::curve::{MeasuredSize, spread};
use crate::fleet::Fleet;

/// What is measured: its name, its unit, and how much it may be; infinite if there is no limit.
struct Bar(&'static str, &'static str, f64);

const SIZE: Bar = Bar("size of the program", "MiB", 25.0);
const SPAN: Bar = Bar("time of 2,000 nodes at 200/s, 50 ms, against the ideal", "x", 1.01);
const FIRST_CALL: Bar = Bar("start to first call, 10,000 nodes in 20 pools, 20 ms", "s", 0.5);
const PLAN_PEAK: Bar = Bar("peak of a plan, 120,000 nodes in 40 accounts", "MiB", 64.0);
const RUN_PEAK: Bar = Bar("peak of a verified run, 100,000 nodes x 8 files", "MiB", 64.0);
const RUN_LISTS: Bar = Bar("pages of blobs it asked for", "calls", 1000.0);
const MILLION_PEAK: Bar = Bar("peak of a verified run, 1,000,000 x 2 files, 100 accounts", "MiB", 350.0);
const MILLION_LISTS: Bar = Bar("pages of blobs it asked for", "calls", 2000.0);
const MILLION_TIME: Bar = Bar("time of it", "s", f64::INFINITY);
const MILLION_CPU: Bar = Bar("processor time of it", "s", f64::INFINITY);

/// What is measured beside the curve.
pub(crate) fn of_small_runs(rounds: usize) -> Vec<Value> {
    let times = |measure: fn() -> f64| (0..rounds).map(|_| measure()).collect::<Vec<_>>();
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_fleetlogs")).expect("the program").len();
    vec![
        SIZE.row(&[mib(size)]),
        // 2,000 calls at 200/s take 10 s, and the last upload one more.
        SPAN.row(&times(|| paced_seconds() / 11.0)),
        FIRST_CALL.row(&times(first_call)),
        PLAN_PEAK.row(&times(plan_peak)),
    ]
}

pub(crate) fn of_a_hundred_thousand(size: &MeasuredSize) -> Vec<Value> {
    vec![RUN_PEAK.row(&of_run(size, |run| run.peak_mib)), RUN_LISTS.row(&size.blob_list_calls)]
}

pub(crate) fn of_a_million(size: &MeasuredSize) -> Vec<Value> {
    vec![
        MILLION_PEAK.row(&of_run(size, |run| run.peak_mib)),
        MILLION_LISTS.row(&size.blob_list_calls),
        MILLION_TIME.row(&of_run(size, |run| run.seconds)),
        MILLION_CPU.row(&of_run(size, |run| run.cpu)),
    ]
}

fn of_run(size: &MeasuredSize, what: fn(&Cost) -> f64) -> Vec<f64> {
    size.rounds_of("run").iter().map(what).collect()
}

fn paced_seconds() -> f64 {
    let fleet =
        Fleet { files: 4, latency: "50ms", ..Fleet::of_one_account(2) }.serve("rate = 200\nconcurrency = 64");
    let spent = cost_of(fleet.server.dir.path(), &["run", "bench.toml", "--quiet"], Repeat::Never);
    fleet.assert_all_collected();
    spent.with_list_calls(0).seconds
}

/// From the start of the process to the moment at which its first call is on record.
fn first_call() -> f64 {
    let fleet = Fleet { files: 4, latency: "20ms", ..Fleet::of_one_account(20) }
        .serve("rate = 2000\nconcurrency = 64");
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    let run = fleetlogs(fleet.server.dir.path(), &["run", "bench.toml", "--quiet"]).status();
    assert!(run.expect("the run starts").success(), "the run ends well");
    fleet.assert_all_collected();
    let manifest = std::fs::File::open(fleet.run_dir().join("manifest.json")).expect("a manifest");
    let mut first = f64::INFINITY;
    for line in BufReader::new(manifest).lines().map(|line| line.expect("text")) {
        let Ok(node) = serde_json::from_str::<Value>(line.trim_end_matches(',')) else { continue };
        let Some(sent) = node["attempts"][0]["sent_at"].as_str() else { continue };
        let sent = time::OffsetDateTime::parse(sent, &time::format_description::well_known::Rfc3339);
        let since_1970 = sent.expect("a time") - time::OffsetDateTime::UNIX_EPOCH;
        first = first.min(since_1970.as_seconds_f64());
    }
    first - clock.as_secs_f64()
}

fn plan_peak() -> f64 {
    let fleet = Fleet { accounts: 40, ..Fleet::of_one_account(3) }.serve("");
    cost_of(fleet.server.dir.path(), &["plan", "bench.toml"], Repeat::Never).with_list_calls(0).peak_mib
}

impl Bar {
    /// Prints a line of the table, and gives the same as JSON.
    fn row(&self, measured: &[f64]) -> Value {
        let Self(what, unit, bar) = *self;
        let (least, median, most) = spread(measured);
        let verdict = match bar {
            f64::INFINITY => String::new(),
            _ if median <= bar => format!("bar {bar}: met"),
            _ => format!("bar {bar}: not met"),
        };
        println!("{what:<60} {median:>9.2} {unit:<5} ({least:.2} to {most:.2})  {verdict}");
        json!({ "what": what, "unit": unit, "bar": bar, "median": median, "measured": measured })
    }
}
