//! Runs that are interrupted, in every way, and go on.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::stage::{
    Run, Sim, assert_manifest_equals_ledger, assert_manifest_equals_ledger_but_for_unsent_calls, fleetlogs,
    service_sas, wait_for,
};

pub(crate) const FLEET: &str = r#"
[[account]]
name = "contoso"
latency = { min = "10ms", max = "60ms" }
[[account.pool]]
id = "a"
nodes = 150
arrival = { min = "50ms", max = "400ms" }
[[account.fault]]
kind = "timeout-accepted"
share = 0.02
"#;

fn start(sim: &Sim, limits: &str) -> Child {
    let config = sim.config(limits);
    let mut command = fleetlogs();
    command.arg("run").arg(config).current_dir(sim.dir.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn run_dir(sim: &Sim) -> std::path::PathBuf {
    wait_for("a run directory", || {
        let entry = std::fs::read_dir(sim.dir.path().join("runs")).ok()?.next()?.ok()?;
        entry.path().join("run.db").exists().then(|| entry.path())
    })
}

pub(crate) fn resume(sim: &Sim, dir: &Path, arguments: &[&str]) -> Run {
    let output =
        fleetlogs().arg("resume").arg(dir).args(arguments).current_dir(sim.dir.path()).output().unwrap();
    Run::of(sim.dir.path(), output)
}

#[test]
fn a_killed_run_goes_on_and_ends_as_if_nothing_had_happened() {
    let sim = Sim::start(FLEET);
    let mut child = start(&sim, "limits = { rate = 100, concurrency = 8 }");
    let dir = run_dir(&sim);
    wait_for("some calls", || (sim.upload_calls() > 40).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!dir.join("manifest.json").exists(), "a killed run has no manifest yet");

    let status = fleetlogs().arg("status").arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("interrupted") && said.contains("not called"), "{said}");

    let run = resume(&sim, &dir, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger_but_for_unsent_calls(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 150);

    let again = resume(&sim, &dir, &[]);
    assert_eq!(again.code, 0);
    assert!(again.stderr.contains("nothing is outstanding"), "{}", again.stderr);
    assert_eq!(again.manifest(), run.manifest());
    let document: Value = serde_json::from_str(&resume(&sim, &dir, &["--json"]).stdout).unwrap();
    assert_eq!((&document["outcome"], &document["counts"]["verified"]), (&"complete".into(), &150.into()));

    // Its process may have ended between its last record and the reports.
    std::fs::remove_file(dir.join("manifest.json")).unwrap();
    assert_eq!(resume(&sim, &dir, &[]).manifest(), run.manifest());
}

fn attempts(manifest: &Value) -> u64 {
    let of_node = |node: &Value| node["attempts"].as_array().unwrap().len() as u64;
    manifest["nodes"].as_array().unwrap().iter().map(of_node).sum()
}

#[test]
fn a_drained_run_prints_the_command_that_goes_on_with_it() {
    let sim = Sim::start(FLEET);
    let child = start(&sim, "limits = { rate = 50, concurrency = 4 }");
    let dir = run_dir(&sim);
    wait_for("some calls", || (sim.upload_calls() > 10).then_some(()));
    Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
    let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("fleetlogs resume runs/"), "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert!(run.count("not-sent") > 50);
    let status = fleetlogs().arg("status").arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("stopped early: resume it with `fleetlogs resume "), "{said}");

    let run = resume(&sim, &dir, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 150);
}

#[test]
fn a_second_process_is_kept_out_and_status_sees_the_first() {
    let sim = Sim::start(FLEET);
    let mut child = start(&sim, "limits = { rate = 20, concurrency = 4 }");
    let dir = run_dir(&sim);
    wait_for("some calls", || (sim.upload_calls() > 3).then_some(()));
    let second = resume(&sim, &dir, &[]);
    assert!(second.stderr.contains(&format!("(process {};", child.id())), "{}", second.stderr);
    insta::assert_snapshot!(second.picture(), @r"
    exit code: 5
    ----- stderr -----
    error: another process works on this run (process PID; it holds `DIR/runs/RUN/run.lock`)
      help: wait for the other process, or end it; `fleetlogs status` shows its progress
    ");
    let status = fleetlogs().args(["status", "--json"]).arg(&dir).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["state"], "running");
    assert!(status["accounts"][0]["calls"].as_u64().unwrap() > 0, "{status}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_failed_is_taken_up_again_on_request_only() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 20
        arrival = "50ms"
        [[account.fault]]
        kind = "code"
        status = 409
        code = "OperationNotValidOnNode"
        first = 1
        share = 0.3
        [[account.arrival_fault]]
        kind = "short"
        share = 0.3
        "#,
    );
    let first = sim.run(&sim.config("limits = { rate = 200 }"));
    assert_eq!(first.code, 3, "{}", first.stderr);
    let (failed, incomplete) = (first.count("failed"), first.count("incomplete"));
    assert!(failed > 0 && incomplete > 0, "{}", first.manifest()["counts"]);
    let dir = first.dir.clone().unwrap();

    let nothing = resume(&sim, &dir, &[]);
    insta::assert_snapshot!(nothing.picture(), @r"
    exit code: 3
    ----- stderr -----
    nothing is outstanding in run RUN; its reports are unchanged
    ");
    assert_eq!(nothing.manifest(), first.manifest());

    let again = resume(&sim, &dir, &["--retry", "failed,incomplete"]);
    let manifest = again.manifest();
    assert_eq!(again.count("failed"), 0, "{}", again.stderr);
    let retried = manifest["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| !node["duplicates"].as_array().unwrap().is_empty());
    assert_eq!(retried.count() as u64, incomplete, "what was collected twice is listed as such");
    assert_eq!(sim.upload_calls(), attempts(&manifest));
}

#[test]
fn a_changed_config_is_noticed() {
    let sim = Sim::start(FLEET);
    let mut child = start(&sim, "limits = { rate = 50, concurrency = 4 }");
    let dir = run_dir(&sim);
    wait_for("some calls", || (sim.upload_calls() > 10).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    sim.config("limits = { rate = 100, concurrency = 4 }");
    let refused = resume(&sim, &dir, &[]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    // No picture: if the kill struck in the middle of a commit, a warning says so.
    assert!(
        refused.stderr.contains("has changed") && refused.stderr.contains("--accept-changes"),
        "{}",
        refused.stderr
    );
    let run = resume(&sim, &dir, &["--accept-changes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger_but_for_unsent_calls(&run.manifest(), &sim.ledger());
}

#[test]
fn a_sas_that_ends_during_the_run_stops_it_and_a_new_one_goes_on() {
    // The estimate trusts the ceiling; the service bears far less, so the calls outlive the SAS.
    let slow = FLEET.replace("latency", "capacity = 12\nlatency");
    let sim = Sim::start(&format!(
        r#"
        [storage]
        sas_lifetime = "605s"
        {slow}
        "#
    ));
    let first = sim.run(&sim.config("limits = { rate = 100, concurrency = 8 }"));
    assert_eq!(first.code, 6, "{}", first.stderr);
    assert!(first.stderr.contains("the container SAS expires at"), "{}", first.stderr);
    assert!(first.count("not-sent") > 0 && first.count("verified") > 0, "{}", first.manifest()["counts"]);
    assert_manifest_equals_ledger(&first.manifest(), &sim.ledger());

    let dir = first.dir.unwrap();
    let refused = resume(&sim, &dir, &[]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let key = BASE64_STANDARD.decode(text(&sim.ready["storage"]["key"])).unwrap();
    for (name, permissions) in [("container_url", "w"), ("verify_url", "rl")] {
        let url = service_sas(&key, &text(&sim.ready["container"]), "/blob/simlogs/batch-logs", permissions);
        std::fs::write(sim.dir.path().join(format!("ready.json.{name}")), url).unwrap();
    }
    let run = resume(&sim, &dir, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 150);
}

#[test]
fn the_run_deadline_ends_a_run_that_can_be_resumed() {
    let sim = Sim::start(FLEET);
    let config = r#"
        [limits]
        rate = 20
        [deadlines]
        call = "2s"
        run = "2s"
    "#;
    let run = sim.run(&sim.config(config));
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert_eq!(run.manifest()["reason"], "the run's deadline has passed");
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
}

#[test]
fn an_account_that_refuses_every_call_is_given_up_and_the_other_collected() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 100
        [[account.fault]]
        kind = "code"
        status = 403
        code = "InsufficientAccountPermissions"
        [[account]]
        name = "fabrikam"
        [[account.pool]]
        id = "b"
        nodes = 20
        arrival = "50ms"
        "#,
    );
    let run = sim.run(&sim.config("limits = { rate = 100, concurrency = 4 }"));
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert_eq!((run.count("verified"), run.count("not-sent") + run.count("failed")), (20, 100));
    let refused = sim.ledger()["accounts"][0]["upload_calls"].as_u64().unwrap();
    assert!(refused <= 8, "{refused} calls to an account that refuses them");
    let reason = run.manifest()["accounts"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("InsufficientAccountPermissions"), "{reason}");
}

#[test]
fn a_spent_error_budget_stops_the_run() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 200
        arrival = "50ms"
        [[account.fault]]
        kind = "code"
        status = 409
        code = "OperationNotValidOnNode"
        share = 0.5
        "#,
    );
    let run = sim.run(&sim.config(
        r#"
        [limits]
        rate = 200
        concurrency = 2
        [budget]
        run = "5%"
        "#,
    ));
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert!((11..=13).contains(&run.count("failed")), "{}", run.manifest()["counts"]);
    assert_eq!(run.manifest()["outcome"], "budget-spent");
}
