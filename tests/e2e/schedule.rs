//! Runs that begin by themselves: `fleetlogs schedule`.
#![cfg(unix)]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{
    Run, Sim, assert_manifest_equals_ledger, assert_manifest_equals_ledger_but_for_unsent_calls, fleetlogs,
    wait_for,
};

const FLEET: &str = "[[account]]\nname = \"contoso\"\nlatency = { min = \"5ms\", max = \"20ms\" }\n\
    [[account.pool]]\nid = \"a\"\nnodes = 40\narrival = { min = \"50ms\", max = \"300ms\" }\n";

/// The config of a simulator, with snapshots behind it.
fn config(sim: &Sim, more: &str, snapshots: &str) -> PathBuf {
    let path = sim.config(more);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n{snapshots}\n")).unwrap();
    path
}

fn once(sim: &Sim, config: &Path, name: &str) -> Run {
    Run::of(sim.dir.path(), schedule(sim, config, &["--once", name]))
}

fn schedule(sim: &Sim, config: &Path, arguments: &[&str]) -> Output {
    let mut command = fleetlogs();
    command.arg("schedule").arg(config).args(arguments).current_dir(sim.dir.path());
    command.output().unwrap()
}

/// `--list --json`.
fn list(sim: &Sim, config: &Path) -> Value {
    let output = schedule(sim, config, &["--list", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The daemon, which does not outlive its test.
struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path, config: &Path) -> Self {
        let mut command = fleetlogs();
        command.arg("schedule").arg(config).current_dir(dir);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Tells it to end, and waits until it has: its exit code, and what it said.
    fn end(mut self) -> (i32, String) {
        Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status().unwrap();
        let code = self.0.wait().unwrap().code().unwrap_or(-1);
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run_dirs(sim: &Sim) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sim.dir.path().join("runs")).into_iter().flatten();
    let mut dirs: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    dirs
}

fn manifest(dir: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).ok()?).ok()
}

fn time(text: &Value) -> time::OffsetDateTime {
    let text = text.as_str().unwrap();
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
}

#[test]
fn each_node_is_asked_for_what_came_after_its_last_verified_window() {
    let sim = Sim::start(FLEET);
    let snapshot = "[[snapshot]]\nname = \"nightly\"\nwindow = \"since-last\"\nmargin = \"30s\"";
    let config = config(&sim, "[window]\nlast = \"2h\"", snapshot);
    let first = once(&sim, &config, "nightly");
    assert_eq!(first.code, 0, "{}", first.stderr);
    let first = first.manifest();
    assert_eq!(
        (&first["snapshot"]["name"], &first["snapshot"]["trigger"]),
        (&"nightly".into(), &"once".into())
    );
    let second = once(&sim, &config, "nightly");
    assert_eq!(second.code, 0, "{}", second.stderr);
    let second = second.manifest();
    assert_ne!(first["run_id"], second["run_id"]);
    let of = |manifest: &Value, node: &str| {
        let nodes = manifest["nodes"].as_array().unwrap().clone();
        let node = nodes.into_iter().find(|at| at["node"] == node).unwrap();
        if node["window"].is_null() { manifest["window"].clone() } else { node["window"].clone() }
    };
    for node in second["nodes"].as_array().unwrap() {
        let id = node["node"].as_str().unwrap();
        let (earlier, later) = (of(&first, id), of(&second, id));
        let expected = time(&earlier["end"]) - Duration::from_secs(30);
        // The shortest window that the service takes is a minute.
        let expected = expected.min(time(&later["end"]) - Duration::from_secs(60));
        assert_eq!(time(&later["start"]), expected, "{id}");
    }
    let history =
        fleetlogs().arg("history").arg(&config).arg("nightly").current_dir(sim.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&history.stdout).into_owned();
    assert_eq!(history.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&history.stderr));
    assert!(said.contains("no minute is missing"), "{said}");
}

#[test]
fn a_daemon_that_was_killed_goes_on_with_its_run_and_runs_nothing_twice() {
    let sim = Sim::start(FLEET);
    let snapshot = "[[snapshot]]\nname = \"minutely\"\ncron = \"* * * * *\"\nwindow = \"1h\"";
    let config = config(&sim, "[limits]\nrate = 8\nconcurrency = 2\n[deadlines]\ncall = \"2s\"", snapshot);
    let daemon = Daemon::start(sim.dir.path(), &config);
    let deadline = Instant::now() + Duration::from_secs(75);
    while sim.upload_calls() < 8 {
        assert!(Instant::now() < deadline, "its time did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.kill();
    let [dir] = run_dirs(&sim).try_into().expect("one run");
    assert!(!dir.join("manifest.json").exists());
    let before = list(&sim, &config);
    let daemon = Daemon::start(sim.dir.path(), &config);
    let manifest = wait_for("the end of the run", || manifest(&dir));
    let (code, said) = daemon.end();
    assert!(code == 0 || code == 6, "{code}: {said}");
    assert_eq!(manifest["snapshot"]["trigger"], "cron", "{manifest}");
    assert_eq!(manifest["counts"]["verified"], 40);
    assert_manifest_equals_ledger_but_for_unsent_calls(&manifest, &sim.ledger());
    assert_eq!(before["snapshots"][0]["name"], "minutely");
    let after = list(&sim, &config);
    assert_eq!(after["snapshots"][0]["last"]["outcome"], "complete", "{after}");
}

#[test]
fn a_daemon_that_is_told_to_end_leaves_its_run_to_the_next() {
    let sim = Sim::start(FLEET);
    let snapshot = "[[snapshot]]\nname = \"slow\"\nwindow = \"1h\"";
    let config = config(&sim, "[limits]\nrate = 8\nconcurrency = 2\n[deadlines]\ncall = \"2s\"", snapshot);
    let child = {
        let mut command = fleetlogs();
        command.arg("schedule").arg(&config).args(["--once", "slow"]).current_dir(sim.dir.path());
        Daemon(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    };
    wait_for("some calls", || (sim.upload_calls() > 4).then_some(()));

    // Another process keeps away from it.
    let other = schedule(&sim, &config, &["--once", "slow"]);
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(0), "{said}");
    assert!(said.contains("skipped"), "{said}");
    let daemon = schedule(&sim, &config, &[]);
    let said = String::from_utf8_lossy(&daemon.stderr).into_owned();
    assert_eq!(daemon.status.code(), Some(5), "{said}");
    assert!(said.contains("another process"), "{said}");

    let (code, said) = child.end();
    assert_eq!(code, 6, "{said}");
    let run = once(&sim, &config, "slow");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run_dirs(&sim).len(), 1, "it was resumed");
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
}

#[test]
fn runs_that_are_no_longer_kept_are_removed_and_not_forgotten() {
    let sim = Sim::start(FLEET);
    let snapshot = "[[snapshot]]\nname = \"nightly\"\nwindow = \"since-last\"\nkeep_runs = 1";
    let config = config(&sim, "", snapshot);
    for _ in 0..3 {
        let run = once(&sim, &config, "nightly");
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    assert_eq!(run_dirs(&sim).len(), 1);
    let history = fleetlogs()
        .args(["history"])
        .arg(&config)
        .arg("--json")
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    assert_eq!(history.status.code(), Some(0), "{}", String::from_utf8_lossy(&history.stderr));
}

#[test]
fn what_cannot_be_scheduled_is_told_beforehand() {
    let sim = Sim::start(FLEET);
    let none = sim.config("");
    let output = schedule(&sim, &none, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no snapshot"));

    let bad = config(
        &sim,
        "",
        "[[snapshot]]\nname = \"Nightly!\"\n[[snapshot]]\nname = \"a\"\ncron = \"61 * * * *\"\ntime_zone = \"UTC\"\n\
         [[snapshot]]\nname = \"b\"\ncron = \"@daily\"\ntime_zone = \"Mars/Olympus\"\non_stat = []\n\
         [[snapshot]]\nname = \"b\"\noverlap = \"skip\"\n",
    );
    let output = schedule(&sim, &bad, &["--list"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [
        "Nightly!",
        "not a cron expression",
        "IANA name",
        "did you mean `on_state`?",
        "already, on line",
        "goes with `cron`",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let good = config(&sim, "", "[[snapshot]]\nname = \"a\"\ncron = \"@daily\"");
    let output = schedule(&sim, &good, &["--once", "b"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it has: a"));
}
