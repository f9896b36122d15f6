//! Signals: the first drains, the second aborts; both leave a manifest that is true.
#![cfg(unix)]

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::stage::{Run, Sim, assert_manifest_equals_ledger, fleetlogs, wait_for};

const SLOW: &str = r#"
[[account]]
name = "contoso"
latency = "1s"
[[account.pool]]
id = "a"
nodes = 500
arrival = "200ms"
"#;

/// A run of which some calls are in flight. `more` is behind its config.
fn start(sim: &Sim, more: &str) -> Child {
    let config = sim.config(&format!("limits = {{ rate = 20, concurrency = 10 }}\n{more}"));
    let mut command = fleetlogs();
    command.arg("run").arg(config).current_dir(sim.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for("the first call", || (sim.upload_calls() > 3).then_some(()));
    child
}

fn interrupt(child: &Child) {
    let kill = std::process::Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
}

#[test]
fn the_first_signal_awaits_what_is_in_flight() {
    let sim = Sim::start(SLOW);
    let child = start(&sim, "");
    interrupt(&child);
    let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
    assert_eq!(run.code, 6, "{}", run.stderr);
    let manifest = run.manifest();
    assert_manifest_equals_ledger(&manifest, &sim.ledger());
    assert_eq!(manifest["outcome"], "interrupted");
    assert_eq!(manifest["reason"], "stopped by a signal");
    assert_eq!(run.count("in-doubt"), 0, "every call in flight was awaited");
    assert!(run.count("verified") > 0, "what was accepted is verified");
    assert!(run.count("not-sent") > 400);
}

#[test]
fn the_second_signal_awaits_nothing() {
    // Whoever waited for the answers would get them, and have no doubt.
    let sim = Sim::start(&SLOW.replace("1s", "6s"));
    let child = start(&sim, "deadlines = { call = \"5m\", node = \"1h\", run = \"1h\" }");
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(200));
    interrupt(&child);
    let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.count("in-doubt") > 0, "calls in flight are in doubt");
}
