//! The curve of cost: every command at several sizes of a fleet.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cost::{Cost, Repeat, cost_of, fleetlogs};
use crate::fleet::{Fleet, ServedFleet, member_of};

const UNLIMITED: &str = "rate = \"unlimited\"\nconcurrency = 64";
/// Exit code of a run that was stopped.
const INTERRUPTED: i32 = 6;
/// The name of an event: a call was accepted.
const ACCEPTED: &[u8] = b"upload-accepted";

/// A size at which every command is measured.
pub(crate) struct Size {
    pub(crate) fleet: Fleet,
    pub(crate) rounds: usize,
    /// How many runs `history` reads; 0 if it is not measured.
    pub(crate) runs_of_history: u16,
}

/// What every command costs at a size.
pub(crate) struct MeasuredSize {
    pub(crate) nodes: u32,
    files: u32,
    /// Each command with its rounds.
    pub(crate) commands: Vec<(&'static str, Vec<Cost>)>,
    /// Requests for a page of blobs that the run made, in each round.
    pub(crate) blob_list_calls: Vec<f64>,
    /// The share of the nodes that was called before each resumed run was stopped.
    done_before: Vec<f64>,
}

impl Size {
    pub(crate) fn measure(&self) -> MeasuredSize {
        let nodes = self.fleet.nodes();
        let mut measured = MeasuredSize {
            nodes,
            files: self.fleet.files,
            commands: vec![],
            blob_list_calls: vec![],
            done_before: vec![],
        };
        for round in 1..=self.rounds {
            eprintln!("{nodes} nodes, round {round} of {}", self.rounds);
            self.whole_run(&mut measured);
            self.resumed_run(&mut measured);
        }
        measured
    }

    /// A run, and what is done with it later.
    fn whole_run(&self, measured: &mut MeasuredSize) {
        let fleet = self.fleet.serve(UNLIMITED);
        let (dir, nodes) = (fleet.server.dir.path(), self.fleet.nodes());
        let mut work = Work::with(&fleet, measured);
        work.cost("plan", &["plan", "bench.toml", "--output", "plan.json"], Repeat::IfQuick);
        assert_eq!(nodes_of_plan(&dir.join("plan.json")), nodes, "nodes in the plan");
        work.cost("run", &["run", "bench.toml", "--quiet"], Repeat::Never);
        fleet.assert_all_collected();
        work.cost("status", &["status", "latest", "--json"], Repeat::IfQuick);
        assert_eq!(printed(dir)["counts"]["verified"], nodes, "nodes in the status");
        work.cost("report", &["report", "latest", "--quiet"], Repeat::IfQuick);
        fleet.assert_all_collected();
        work.cost("verify", &["verify", "latest", "--quiet"], Repeat::Never);
        let verify = fleet.run_dir().join("verify.json");
        assert_eq!(member_of(&verify, "counts")["intact"], nodes, "nodes that are intact");
        assert_eq!(member_of(&verify, "files"), nodes * self.fleet.files, "files that are there");
        let bundle = ["bundle", "latest", "--output", "bundle.zip", "--force", "--quiet"];
        work.cost("bundle", &bundle, Repeat::IfQuick);
        let mut check = fleetlogs(dir, &["bundle", "--check", "bundle.zip", "--quiet"]);
        assert!(check.status().expect("a check").success(), "the bundle is sound");
        if self.runs_of_history > 0 {
            make_history(dir, &fleet.run_dir().join("manifest.json"), self.runs_of_history);
            work.cost("history", &["history", "history.toml", "hourly", "--json"], Repeat::IfQuick);
            let history = &printed(dir)["series"][0];
            assert_eq!(history["runs"]["read"], self.runs_of_history, "runs of the history");
            assert_eq!(history["totals"]["nodes"], nodes, "nodes of the history");
        }
    }

    /// A run that is stopped when half of its calls were accepted, and resumed.
    fn resumed_run(&self, measured: &mut MeasuredSize) {
        let (fleet, done) = (0..5).find_map(|_| self.half_done()).expect("a run that can be stopped");
        Work::with(&fleet, measured).cost("resume", &["resume", "latest", "--quiet"], Repeat::Never);
        fleet.assert_all_collected();
        measured.done_before.push(done);
    }

    /// A run that was stopped, and the share of its nodes that was called; none if it ended before that.
    fn half_done(&self) -> Option<(ServedFleet, f64)> {
        let fleet = self.fleet.serve(UNLIMITED);
        let dir = fleet.server.dir.path();
        let arguments = ["run", "bench.toml", "--quiet", "--events", "events.jsonl"];
        let mut child = fleetlogs(dir, &arguments).spawn().expect("the run starts");
        let pid = Pid::from_raw(child.id().try_into().expect("a small number")).expect("a process");
        let (mut events, mut line, mut accepted) = (None, Vec::new(), 0);
        while accepted < self.fleet.nodes() / 2 {
            if child.try_wait().expect("a child").is_some() {
                return None;
            }
            let Some(events) = &mut events else {
                events = File::open(dir.join("events.jsonl")).map(BufReader::new).ok();
                continue;
            };
            if events.read_until(b'\n', &mut line).expect("events") == 0 {
                std::thread::sleep(Duration::from_millis(1));
            } else if line.ends_with(b"\n") {
                accepted += u32::from(line.windows(ACCEPTED.len()).any(|text| text == ACCEPTED));
                line.clear();
            }
        }
        kill_process(pid, Signal::INT).expect("the run is there");
        let status = child.wait().expect("a child");
        if status.code() != Some(INTERRUPTED) {
            assert!(status.success(), "the run that was to be stopped ended with {status}");
            return None;
        }
        let done = f64::from(fleet.ledger().accepted()) / f64::from(self.fleet.nodes());
        Some((fleet, done))
    }
}

/// Commands that work with a fleet.
struct Work<'a> {
    fleet: &'a ServedFleet,
    measured: &'a mut MeasuredSize,
    /// Pages that were asked for up to now: of any kind, and of blobs.
    list_calls: (u32, u32),
}

impl<'a> Work<'a> {
    fn with(fleet: &'a ServedFleet, measured: &'a mut MeasuredSize) -> Self {
        Self { fleet, measured, list_calls: fleet.ledger().list_calls() }
    }

    /// Measures a command.
    fn cost(&mut self, command: &'static str, arguments: &[&str], repeat: Repeat) {
        let spent = cost_of(self.fleet.server.dir.path(), arguments, repeat);
        let (all, of_blobs) = self.fleet.ledger().list_calls();
        if command == "run" {
            self.measured.blob_list_calls.push(f64::from(of_blobs - self.list_calls.1));
        }
        self.measured.add(command, spent.with_list_calls(all - self.list_calls.0));
        self.list_calls = (all, of_blobs);
    }
}

/// What the last command printed.
fn printed(dir: &Path) -> Value {
    serde_json::from_reader(BufReader::new(File::open(dir.join("stdout")).expect("a file"))).expect("JSON")
}

fn nodes_of_plan(plan: &Path) -> u32 {
    #[derive(serde::Deserialize)]
    struct Plan {
        nodes: Vec<serde::de::IgnoredAny>,
    }
    let plan: Plan =
        serde_json::from_reader(BufReader::new(File::open(plan).expect("a plan"))).expect("JSON");
    plan.nodes.len().try_into().expect("a small number")
}

/// Makes runs of an hourly snapshot out of one manifest: each is of the hour after the one before.
fn make_history(dir: &Path, manifest: &Path, runs: u16) {
    let config = std::fs::read_to_string(dir.join("bench.toml")).expect("the config");
    let config = format!("{config}\n[output]\ndir = \"history\"\n[[snapshot]]\nname = \"hourly\"\n");
    std::fs::write(dir.join("history.toml"), config).expect("the config");
    let text = |member: &Value| member.as_str().expect("a text").to_owned();
    let end = text(&member_of(manifest, "window")["end"]);
    let end = OffsetDateTime::parse(&end, &Rfc3339).expect("a time");
    let stamp = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    for run in 0..runs {
        let end = end - time::Duration::hours((runs - 1 - run).into());
        let times = [end - time::Duration::HOUR, end].map(|time| time.format(&Rfc3339).expect("a time"));
        let run_id = format!("{}-{run:04x}", end.format(stamp).expect("a time"));
        let place = dir.join("history").join(&run_id);
        std::fs::create_dir_all(&place).expect("a directory");
        let mut from = BufReader::new(File::open(manifest).expect("a manifest"));
        let mut copy = File::create(place.join("manifest.json")).expect("a file");
        let mut line = String::new();
        while from.read_line(&mut line).expect("text") > 0 && line != "\"nodes\": [\n" {
            let member = match line.split_once(": ") {
                Some(("\"run_id\"", _)) => Some(("run_id", json!(run_id))),
                Some(("\"window\"", _)) => Some(("window", json!({ "start": times[0], "end": times[1] }))),
                Some(("\"snapshot\"", _)) => {
                    Some(("snapshot", json!({ "name": "hourly", "trigger": "cron", "due": times[1] })))
                }
                _ => None,
            };
            match member {
                Some((name, value)) => writeln!(copy, "\"{name}\": {value},"),
                None => copy.write_all(line.as_bytes()),
            }
            .expect("the copy can be written");
            line.clear();
        }
        copy.write_all(line.as_bytes()).expect("the copy can be written");
        std::io::copy(&mut from, &mut copy).expect("the copy can be written");
    }
}

/// What is measured of a command: name, unit and how to get it.
type Measure = (&'static str, fn(&Cost) -> f64);

const MEASURES: [Measure; 5] = [
    ("seconds", |cost| cost.seconds),
    ("cpu_seconds", |cost| cost.cpu),
    ("peak_mib", |cost| cost.peak_mib),
    ("disk_mib", |cost| cost.disk_mib),
    ("list_calls", |cost| cost.list_calls),
];

impl MeasuredSize {
    fn add(&mut self, command: &'static str, cost: Cost) {
        match self.commands.iter_mut().find(|(known, _)| *known == command) {
            Some((_, rounds)) => rounds.push(cost),
            None => self.commands.push((command, vec![cost])),
        }
    }

    /// The rounds of a command.
    pub(crate) fn rounds_of(&self, command: &str) -> &[Cost] {
        self.commands.iter().find(|(known, _)| *known == command).map_or(&[], |(_, rounds)| rounds)
    }

    pub(crate) fn to_json(&self) -> Value {
        let of = |rounds: &[Cost]| -> Value {
            let measure = |(name, what): Measure| {
                let values: Vec<f64> = rounds.iter().map(what).collect();
                let (least, median, most) = spread(&values);
                (name.to_owned(), json!({ "median": median, "least": least, "most": most }))
            };
            Value::Object(MEASURES.map(measure).into_iter().collect())
        };
        let commands = self.commands.iter().map(|(command, rounds)| ((*command).to_owned(), of(rounds)));
        json!({
            "nodes": self.nodes,
            "files_per_node": self.files,
            "rounds": self.blob_list_calls.len(),
            "blob_list_calls_of_run": self.blob_list_calls,
            "done_before_resume": self.done_before,
            "commands": commands.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// Least, median and most.
pub(crate) fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

/// Prints a line for each command and size: medians, with the factor from the size before.
pub(crate) fn print(curve: &[MeasuredSize]) {
    let Some(first) = curve.first() else { return };
    println!(
        "\n{:<8} {:>9} | {:>8} {:^17} {:>6} | {:>8} {:^17} {:>6} {:>8} | {:>8} {:>6} | {:>8} {:>6} | {:>7}",
        "command",
        "nodes",
        "s",
        "least to most",
        "growth",
        "CPU s",
        "least to most",
        "growth",
        "us/node",
        "peak MiB",
        "growth",
        "disk MiB",
        "growth",
        "lists"
    );
    for (command, _) in &first.commands {
        let mut before: Option<Cost> = None;
        for size in curve {
            let rounds = size.rounds_of(command);
            if rounds.is_empty() {
                continue;
            }
            let of = |what: fn(&Cost) -> f64| spread(&rounds.iter().map(what).collect::<Vec<_>>());
            let [seconds, cpu, peak, disk, lists] = MEASURES.map(|(_, what)| of(what));
            let now = Cost {
                seconds: seconds.1,
                cpu: cpu.1,
                peak_mib: peak.1,
                disk_mib: disk.1,
                list_calls: lists.1,
            };
            let growth = |what: fn(&Cost) -> f64| match before.map(|before| what(&now) / what(&before)) {
                Some(factor) if factor.is_finite() => format!("{factor:.1} x"),
                _ => String::new(),
            };
            let range = |(least, _, most): (f64, f64, f64)| format!("({least:.2} to {most:.2})");
            println!(
                "{command:<8} {:>9} | {:>8.2} {:^17} {:>6} | {:>8.2} {:^17} {:>6} {:>8.1} | {:>8.1} {:>6} | {:>8.2} {:>6} | {:>7.0}",
                size.nodes,
                seconds.1,
                range(seconds),
                growth(|cost| cost.seconds),
                cpu.1,
                range(cpu),
                growth(|cost| cost.cpu),
                cpu.1 * 1e6 / f64::from(size.nodes),
                peak.1,
                growth(|cost| cost.peak_mib),
                disk.1,
                growth(|cost| cost.disk_mib),
                lists.1,
            );
            before = Some(now);
        }
    }
    let rounds: Vec<String> = curve
        .iter()
        .map(|size| format!("{} with {} nodes", size.blob_list_calls.len(), size.nodes))
        .collect();
    println!("rounds: {}; each node has {} files", rounds.join(", "), first.files);
    let done = curve.iter().flat_map(|size| &size.done_before).map(|done| format!("{:.0} %", done * 100.0));
    println!("nodes called before a run was stopped and resumed: {}", done.collect::<Vec<_>>().join(", "));
    println!("a history is of 30 runs, each with all nodes");
}
