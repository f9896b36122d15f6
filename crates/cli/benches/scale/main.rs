//! What fleetlogs costs, and how that grows with the fleet.
//!
//! `just bench` runs it, in about ten minutes on two cores that do nothing else. The server (`fleetlogs sim`) is a process
//! of its own and shares the machine. First come the rows with bars: the size of the program, time against the ideal of
//! a rate, time to the first call, memory of a plan. Then comes the curve: every command at 1,000, 10,000 and 100,000
//! nodes, with the factor from size to size. The largest run of the curve has bars, too.
//!
//! | argument | what it does |
//! | --- | --- |
//! | `--quick` | the curve at 1,000 nodes only: to try out the bench itself |
//! | `--million` | instead of all that, a million nodes in a hundred accounts, once |
//! | `--one-round` | each measurement once only |
//! | `--plots` | also draws the curve into docs/design; not of one size alone |
//!
//! The table has medians of three rounds, with the least and the most. The bench never fails because of speed. It fails if
//! a command does not end as it should, or if program and simulator disagree about the nodes.

mod bars;
mod cost;
mod curve;
mod fleet;
mod plot;
#[path = "../server/mod.rs"]
mod server;

use std::path::Path;

use serde_json::{Value, json};

use crate::curve::Size;
use crate::fleet::Fleet;

/// Thirty manifests of a million nodes would fill the disk.
const MILLION: Size = Size {
    fleet: Fleet { accounts: 100, pools: 10, files: 2, ..Fleet::of_one_account(1) },
    rounds: 1,
    runs_of_history: 0,
};

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let rounds = if has("--one-round") { 1 } else { 3 };
    let size = |pools| Size { fleet: Fleet::of_one_account(pools), rounds, runs_of_history: 30 };
    let (name, sizes) = if has("--million") {
        ("million", vec![MILLION])
    } else if has("--quick") {
        ("scale-quick", vec![size(1)])
    } else {
        ("scale", vec![size(1), size(10), size(100)])
    };
    let mut rows = if name == "scale" { bars::of_small_runs(rounds) } else { vec![] };
    let curve: Vec<_> = sizes.iter().map(Size::measure).collect();
    match curve.last() {
        Some(largest) if name == "million" => rows.extend(bars::of_a_million(largest)),
        Some(largest) if name == "scale" => rows.extend(bars::of_a_hundred_thousand(largest)),
        _ => {}
    }
    curve::print(&curve);
    if has("--plots") && curve.len() > 1 {
        plot::draw(&curve);
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let curve: Value = curve.iter().map(curve::MeasuredSize::to_json).collect();
    let document = json!({ "rows": rows, "curve": curve });
    std::fs::write(&file, document.to_string()).expect("the result can be written");
    println!("written to {}", file.display());
}
