//! How far the estimated time left is off.
//!
//! Each scene is a run of the program on an embedded simulator. Afterwards its journal is replayed through the same code
//! that draws the bars, on a clock that stands at each whole second in turn, and what was estimated then is compared with
//! the time until the run really ended. The first tenth of the run does not count.
//!
//! `just bench` runs it. Nothing in it depends on the speed of the build, so `cargo bench --profile dev -p fleetlogs
//! --bench eta` says the same. With `--keep DIR` the runs are kept there. With run directories as
//! arguments, it replays those instead; with the variable `EACH_SECOND` it prints every estimate.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetlogs_engine::local_store::LocalRunStore;
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim};
use fleetlogs_model::event::Recorded;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::ledger::Ledger;
use fleetlogs_report::{Progress, ProgressClock, ProgressMode};

/// A run that is measured.
struct Scene {
    name: &'static str,
    scenario: Scenario,
    /// Lines of the config.
    config: &'static str,
}

enum Scenario {
    /// The demo of this repository, with its own config.
    Demo,
    /// Accounts, each with what its account table says, what its pools say, and its pools of a thousand nodes.
    Fleet(&'static [(&'static str, &'static str, u32)]),
}

const SCENES: [Scene; 5] = [
    Scene { name: "demo", scenario: Scenario::Demo, config: "" },
    Scene {
        name: "10,000 nodes",
        scenario: Scenario::Fleet(&[
            ("", "arrival = { min = \"1s\", max = \"12s\" }", 7),
            ("", "arrival = { min = \"1s\", max = \"12s\" }", 3),
        ]),
        config: "[limits]\nrate = 60\n",
    },
    Scene {
        name: "capacity halves",
        scenario: Scenario::Fleet(&[(
            "capacity = 200\n[[account.capacity_change]]\nat = \"32s\"\ncapacity = 100",
            "arrival = { min = \"1s\", max = \"4s\" }",
            10,
        )]),
        config: "[limits]\nrate = 1000\nconcurrency = 64\n",
    },
    Scene {
        name: "pauses of 3s",
        scenario: Scenario::Fleet(&[(
            "capacity = 100\nretry_after = \"3s\"",
            "arrival = { min = \"1s\", max = \"4s\" }",
            7,
        )]),
        config: "[limits]\nrate = 1000\nconcurrency = 64\n",
    },
    Scene {
        name: "pauses of 20s",
        scenario: Scenario::Fleet(&[(
            "capacity = 100\nretry_after = \"20s\"",
            "arrival = { min = \"1s\", max = \"4s\" }",
            7,
        )]),
        config: "[limits]\nrate = 1000\nconcurrency = 64\n",
    },
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").peekable();
    let kept = arguments.next_if(|argument| argument == "--keep").and_then(|_| arguments.next());
    let runs: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    println!(
        "{:>16} {:>8} {:>8} {:>8} {:>9} {:>9} {:>10}",
        "", "took", "seconds", "silent", "median", "90 %", "times off"
    );
    if runs.is_empty() {
        let removed = tempfile::tempdir().expect("a directory");
        let dir = kept.map_or_else(|| removed.path().to_owned(), PathBuf::from);
        for scene in &SCENES {
            measure(scene.name, &scene.play(&dir));
        }
    }
    for run in runs {
        measure(&run.display().to_string(), &run);
    }
}

impl Scene {
    /// Runs it, and returns the run directory.
    fn play(&self, dir: &Path) -> PathBuf {
        let dir = dir.join(self.name.replace([' ', ','], "-"));
        std::fs::create_dir(&dir).expect("a directory");
        let config = match self.scenario {
            Scenario::Demo => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/demo.toml"),
            Scenario::Fleet(accounts) => {
                std::fs::write(dir.join("fleet.toml"), fleet(accounts)).expect("a scenario");
                let config = dir.join("fleetlogs.toml");
                let text = format!("[simulator]\nscenario = \"fleet.toml\"\n{}", self.config);
                std::fs::write(&config, text).expect("a config");
                config
            }
        };
        let config = config.canonicalize().expect("a config");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetlogs"));
        command.args(["--quiet", "run"]).arg(config).current_dir(&dir);
        let status = command.stdout(Stdio::null()).status().expect("the program starts");
        // The demo is partial.
        assert!(matches!(status.code(), Some(0 | 3)), "{}: {status}", self.name);
        let mut runs =
            std::fs::read_dir(dir.join("runs")).expect("a run").map(|run| run.expect("a run").path());
        runs.find(|run| run.join("run.db").exists()).expect("a run")
    }
}

fn fleet(accounts: &[(&str, &str, u32)]) -> String {
    let mut text = "seed = 17\n".to_owned();
    for (number, (account, pool, pools)) in accounts.iter().enumerate() {
        let _ = writeln!(text, "[[account]]\nname = \"account{number}\"\nlatency = \"50ms\"\n{account}");
        for number in 0..*pools {
            let _ = writeln!(
                text,
                "[[account.pool]]\nid = \"pool-{number}\"\nnodes = 1000\nunknown_state = 0\n{pool}"
            );
        }
    }
    text
}

/// Prints a line about a run that has ended.
fn measure(name: &str, run: &Path) {
    let estimates = replay(run);
    let took = estimates.len();
    let counted: Vec<(f64, f64)> = estimates
        .iter()
        .skip(took / 10)
        .filter_map(|(told, left)| Some((told.as_ref()?.as_secs_f64(), left.as_secs_f64())))
        .collect();
    let silent = took - took / 10 - counted.len();
    let mut errors: Vec<f64> = counted.iter().map(|(told, left)| (told - left).abs() / left).collect();
    errors.sort_by(f64::total_cmp);
    // What is shown is a whole second at least.
    let off = |(told, left): &(f64, f64)| (told.max(1.0) / left).max(left / told.max(1.0));
    let worst = counted.iter().map(off).fold(1.0, f64::max);
    let at = |share: f64| {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let place = ((errors.len() as f64 * share) as usize).min(errors.len().saturating_sub(1));
        errors.get(place).map_or("-".into(), |error| format!("{:.1} %", error * 100.0))
    };
    println!(
        "{name:>16} {took:>7}s {:>8} {silent:>8} {:>9} {:>9} {worst:>10.1}",
        counted.len(),
        at(0.5),
        at(0.9)
    );
    if std::env::var_os("EACH_SECOND").is_some() {
        for (second, (told, left)) in estimates.iter().enumerate() {
            let told = told.map_or("-".into(), |told| format!("{:.0}", told.as_secs_f64()));
            println!("{second:>24}s  told {told:>5}  left {:>5.0}", left.as_secs_f64());
        }
    }
}

/// For each whole second of a run: the time left as it was estimated, and as it was.
fn replay(run: &Path) -> Vec<(Option<Duration>, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let RecordedRun { plan, journal, .. } = runtime
        .block_on(RecordedRun::open(&LocalRunStore::new(run), RunClaim::Rest))
        .expect("a recorded run");
    let mut events: Vec<Recorded> = vec![];
    journal.events_after(0, &mut |recorded| events.push(recorded.clone())).expect("events");
    let (first, last) = (events.first().expect("an event").at, events.last().expect("an event").at);
    let start = Instant::now();
    let now = Arc::new(Mutex::new(start));
    let clock = ProgressClock::new(first, {
        let now = now.clone();
        move || *now.lock().expect("a time")
    });
    let mut ledger = Ledger::new(&plan);
    let mode = ProgressMode::Plain(Box::new(io::sink()));
    let mut progress = Progress::new(mode, clock, plan, &ledger, true);
    let mut estimates = vec![];
    for recorded in &events {
        let passed = (recorded.at - first).unsigned_abs();
        while passed >= Duration::from_secs(estimates.len() as u64 + 1) {
            let second = Duration::from_secs(estimates.len() as u64 + 1);
            *now.lock().expect("a time") = start + second;
            let left = (last - first).unsigned_abs().saturating_sub(second);
            estimates.push((progress.time_left().map(|told| told.left), left));
        }
        *now.lock().expect("a time") = start + passed;
        ledger.apply(recorded);
        progress.hear(std::slice::from_ref(recorded), &ledger);
    }
    // At the very end nothing is left, and a share of it says nothing.
    estimates.retain(|(_, left)| *left >= Duration::from_secs(1));
    estimates
}
