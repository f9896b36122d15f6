//! What a run costs besides calls: time against the ideal of its rate, time to its first call, memory, list calls, and
//! the size of the program.
//!
//! `cargo bench -p fleetlogs --bench scale` takes some minutes; with `-- --million` it runs a million nodes of a hundred
//! accounts instead, which takes an hour on two cores. The server (`fleetlogs sim`) is a process of its own and shares
//! the machine. Each measurement is made three times; the table has the median, and the least and the most.

mod server;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::server::Server;

const ROUNDS: usize = 3;

fn main() {
    let million = std::env::args().any(|argument| argument == "--million");
    let mut rows = Vec::new();
    if million {
        let run =
            Measured::of(&fleet(100, 10, 1000, 4, "1s", None), "rate = \"unlimited\"\nconcurrency = 64");
        rows.push(row(
            "peak MiB, 1,000,000 nodes x 4 files, 100 accounts, verified",
            "MiB",
            256.0,
            &[run.peak_mib],
        ));
        rows.push(row("seconds of it", "s", f64::INFINITY, &[run.seconds]));
    } else {
        let size = std::fs::metadata(env!("CARGO_BIN_EXE_fleetlogs")).expect("the program").len();
        rows.push(row("size of the program", "MiB", 25.0, &[mib(size)]));

        // 2,000 calls at 200/s take 10 s, and the last upload one more.
        let ideal = 11.0;
        let paced = fleet(1, 2, 1000, 4, "1s", Some("50ms"));
        let paced = rounds(|| Measured::of(&paced, "rate = 200\nconcurrency = 64").seconds / ideal);
        rows.push(row("time of 2,000 nodes at 200/s, 50 ms, against the ideal", "x", 1.02, &paced));

        let first = fleet(1, 20, 500, 4, "1s", Some("20ms"));
        let first = rounds(|| Measured::of(&first, "rate = 1000\nconcurrency = 64").first_call);
        rows.push(row("start to first call, 10,000 nodes in 20 pools, 20 ms", "s", 0.5, &first));

        let large = fleet(1, 100, 1000, 8, "1s", None);
        let runs: Vec<Measured> =
            (0..ROUNDS).map(|_| Measured::of(&large, "rate = \"unlimited\"\nconcurrency = 64")).collect();
        let of = |what: fn(&Measured) -> f64| runs.iter().map(what).collect::<Vec<_>>();
        rows.push(row("peak MiB, 100,000 nodes x 8 files, verified", "MiB", 64.0, &of(|run| run.peak_mib)));
        rows.push(row("list calls of it", "calls", 1000.0, &of(|run| run.list_calls)));
    }
    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(if million { "million.json" } else { "scale.json" });
    std::fs::write(&file, Value::from(rows).to_string()).expect("the result can be written");
    println!("written to {}", file.display());
}

fn rounds(measure: impl Fn() -> f64) -> Vec<f64> {
    (0..ROUNDS).map(|_| measure()).collect()
}

/// Prints a line of the table, and gives the same as JSON.
fn row(what: &str, unit: &str, bar: f64, measured: &[f64]) -> Value {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, median, most) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let met = if median <= bar { "met" } else { "not met" };
    println!("{what:<62} {median:>9.2} {unit:<5} ({least:.2} to {most:.2})  bar {bar}: {met}");
    json!({ "what": what, "unit": unit, "bar": bar, "median": median, "measured": measured })
}

/// A scenario of so many accounts, each with so many pools of so many nodes.
fn fleet(accounts: u32, pools: u32, nodes: u32, files: u32, arrival: &str, latency: Option<&str>) -> String {
    let pools: Vec<_> = (0..pools)
        .map(|pool| {
            format!(
                "[[account.pool]]\nid = \"pool-{pool}\"\nnodes = {nodes}\nunknown_state = 0\nfiles = {files}\n\
                 file_size = \"1KiB\"\narrival = \"{arrival}\"\n"
            )
        })
        .collect();
    let latency = latency.map_or_else(String::new, |latency| format!("latency = \"{latency}\"\n"));
    let pools = pools.concat();
    let account = |account| format!("[[account]]\nname = \"acct{account}\"\n{latency}{pools}");
    (0..accounts).map(account).collect::<Vec<_>>().concat()
}

struct Measured {
    /// The whole process.
    seconds: f64,
    /// From the start of the process to the first call's intent.
    first_call: f64,
    peak_mib: f64,
    list_calls: f64,
}

impl Measured {
    fn of(scenario: &str, limits: &str) -> Self {
        let server = Server::start(scenario);
        let written = server.config().replace("deadline = \"1m\"", "deadline = \"10m\"");
        let config = server.dir.path().join("bench.toml");
        std::fs::write(&config, format!("[limits]\n{limits}\n{written}")).expect("the config");
        let (started, clock) = (Instant::now(), SystemTime::now());
        let mut child = Command::new(env!("CARGO_BIN_EXE_fleetlogs"))
            .args(["run", "bench.toml", "--quiet"])
            .current_dir(server.dir.path())
            .spawn()
            .expect("the run starts");
        let mut peak_kib = 0;
        let status = loop {
            if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
                peak_kib = peak_kib.max(peak.unwrap_or(0_u64));
            }
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = started.elapsed().as_secs_f64();
        assert!(status.success(), "the run ended with {status}");
        let run = std::fs::read_dir(server.dir.path().join("runs")).expect("runs").next();
        let manifest = run.expect("a run").expect("a run").path().join("manifest.json");
        let (list_calls, first) = facts(&manifest);
        let first_call = first - clock.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs_f64();
        Self { seconds, first_call, peak_mib: mib(peak_kib * 1024), list_calls }
    }
}

/// List calls of the verification, and when the first call was recorded; read line by line, as it may be large.
fn facts(manifest: &Path) -> (f64, f64) {
    use std::io::BufRead;
    let file = std::io::BufReader::new(std::fs::File::open(manifest).expect("a manifest"));
    let (mut list_calls, mut first) = (0.0, f64::INFINITY);
    for line in file.lines().map(|line| line.expect("text")) {
        if let Some(verification) = line.strip_prefix("\"verification\": ") {
            let verification: Value = serde_json::from_str(verification.trim_end_matches(',')).expect("JSON");
            list_calls = verification["list_calls"].as_f64().expect("a number");
        }
        let Ok(node) = serde_json::from_str::<Value>(line.trim_end_matches(',')) else { continue };
        let Some(sent) = node["attempts"][0]["sent_at"].as_str() else { continue };
        let sent = time::OffsetDateTime::parse(sent, &time::format_description::well_known::Rfc3339);
        #[expect(clippy::cast_precision_loss, reason = "microseconds do not matter here")]
        let sent = sent.expect("a time").unix_timestamp_nanos() as f64 / 1e9;
        first = first.min(sent);
    }
    (list_calls, first)
}

fn mib(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
