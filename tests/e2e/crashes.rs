//! The process ends again and again, at random moments and at every step of a call, and is resumed until the run is done.
//! Then the manifest must equal the ledger: no node lost, none collected twice.
//!
//! `FLEETLOGS_KILLS` is the number of kills per series (44 if it is not set: every step at each of its
//! eleven passings); `just soak-kills` has 2,000.
#![cfg(unix)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::stage::{Sim, assert_manifest_equals_ledger_but_for_unsent_calls, fleetlogs};

/// Faults that lose answers, too, so that doubts of both kinds meet. Every upload is in the container long before the
/// settle time of the config is over.
fn fleet(nodes: usize) -> String {
    format!(
        r#"
        [[account]]
        name = "contoso"
        latency = {{ min = "5ms", max = "60ms" }}
        [[account.pool]]
        id = "Pool_A"
        nodes = {nodes}
        arrival = {{ min = "10ms", max = "400ms" }}
        [[account.fault]]
        kind = "timeout-accepted"
        share = 0.01
        [[account.fault]]
        kind = "drop-before"
        share = 0.01
        [[account.fault]]
        kind = "throttle"
        share = 0.01
        "#
    )
}

const CONFIG: &str = r#"
[limits]
rate = 200
concurrency = 6
[deadlines]
call = "1s"
node = "60s"
run = "1h"
[verify]
deadline = "10s"
settle = "1500ms"
[retry]
attempts = 50
base_delay = "50ms"
max_delay = "500ms"
"#;

fn kills() -> usize {
    std::env::var("FLEETLOGS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(44)
}

/// Starts the run, or resumes it.
fn command(sim: &Sim, config: &PathBuf) -> Command {
    let run = std::fs::read_dir(sim.dir.path().join("runs")).ok().and_then(|mut runs| runs.next());
    let journal = run.map(|run| run.unwrap().path()).filter(|run| run.join("run.db").exists());
    let mut command = fleetlogs();
    match journal {
        Some(run) => command.arg("resume").arg(run),
        None => command.arg("run").arg(config),
    };
    command.args(["--quiet"]).current_dir(sim.dir.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A process that was killed before its journal was whole left a directory that cannot be resumed, and sent nothing.
/// Returns whether a run has begun.
fn clear_unbegun(sim: &Sim) -> bool {
    let mut has_begun = false;
    for run in std::fs::read_dir(sim.dir.path().join("runs")).into_iter().flatten() {
        let run = run.unwrap().path();
        let begun = fleetlogs().arg("status").arg(&run).output().unwrap().status.success();
        has_begun |= begun;
        if !begun {
            assert_eq!(sim.upload_calls(), 0, "a call was sent without a journal");
            std::fs::remove_dir_all(run).unwrap();
        }
    }
    has_begun
}

fn finish(sim: &Sim, config: &PathBuf, kills: usize) {
    let output = command(sim, config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let run = std::fs::read_dir(sim.dir.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    let manifest: Value = serde_json::from_slice(&std::fs::read(run.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{} {} {said}", manifest["reason"], manifest["counts"]);
    assert_manifest_equals_ledger_but_for_unsent_calls(&manifest, &sim.ledger());
    assert_eq!(manifest["counts"]["verified"], manifest["counts"]["planned"], "{}", manifest["counts"]);
    let doubled =
        manifest["nodes"].as_array().unwrap().iter().filter(|node| node["may_have_duplicates"] == true);
    println!(
        "{kills} kills, {} nodes, {} that may have been doubled",
        manifest["counts"]["planned"],
        doubled.count()
    );
}

#[test]
fn killed_at_random_moments() {
    let (kills, mut random) = (kills(), fastrand::Rng::with_seed(7));
    let sim = Sim::start(&fleet(kills * 14));
    let config = sim.config(CONFIG);
    let (mut killed, mut has_begun) = (0, false);
    while killed < kills {
        let mut child = command(&sim, &config).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(60..450)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success(), "the run was over after {killed} kills; it needs more nodes");
        killed += 1;
        // On a busy machine many of them may be killed before any has begun.
        has_begun = has_begun || clear_unbegun(&sim);
    }
    finish(&sim, &config, killed);
}

#[cfg(feature = "failpoints")]
#[test]
fn killed_at_every_step_of_a_call() {
    let kills = kills();
    let sim = Sim::start(&fleet(kills * 14));
    let config = sim.config(CONFIG);
    let points = ["before-commit", "after-commit", "before-send", "after-answer"];
    let mut killed = 0;
    while killed < kills {
        // The step at which it ends wanders: the 2nd to 12th time that the point is passed. The first commit is only
        // the run's own beginning.
        let (point, passed) = (points[killed % points.len()], 1 + killed / points.len() % 11);
        let output = command(&sim, &config)
            .env("FAILPOINTS", format!("{point}={passed}*off->return"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let status = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(status, Some(6), "{point} {passed} after {killed} kills: {said}");
        killed += 1;
    }
    finish(&sim, &config, killed);
}
