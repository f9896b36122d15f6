//! Clocks that are wrong, or are set while a run works or lies still: no node is called twice, and nothing of before is
//! taken for this run's.
//!
//! This machine's clock cannot be set here, so the clocks of all services are: that looks the same from this side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::Value;

use crate::stage::{
    Run, Sim, assert_manifest_equals_ledger, assert_manifest_equals_ledger_but_for_unsent_calls, fleetlogs,
    wait_for,
};

/// Sets the clocks of all services.
fn shift(sim: &Sim, by: &str) {
    let endpoint = sim.ready["accounts"][0]["endpoint"].as_str().unwrap();
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST /_sim/clock?by={by} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Directories that the service made, and whether all of their files are there.
fn directories(sim: &Sim) -> (u64, bool) {
    let ledger = sim.ledger();
    let nodes = ledger["nodes"].as_array().unwrap();
    let made: Vec<&Value> = nodes.iter().flat_map(|node| node["directories"].as_array().unwrap()).collect();
    let whole = made.iter().all(|made| made["files_written"] == made["files_promised"]);
    (made.len() as u64, whole)
}

/// Every node was called once, whatever the clocks showed, and no directory is in question.
fn assert_called_once(run: &Run, sim: &Sim, nodes: u64, case: &str) {
    assert_eq!(directories(sim).0, nodes, "{case}: a node has two directories");
    let manifest = run.manifest();
    for node in manifest["nodes"].as_array().unwrap() {
        assert_eq!(node["may_have_duplicates"], false, "{case}: {node}");
        assert!(node["duplicates"].as_array().unwrap().is_empty(), "{case}: {node}");
    }
}

#[test]
fn a_clock_that_is_put_right_between_kill_and_resume_makes_no_call_twice() {
    // How far this machine's clock is ahead when the process is killed, and when the run is resumed.
    for (then, later) in
        [("60s", "0s"), ("5s", "0s"), ("2s", "0s"), ("60s", "60s"), ("0s", "60s"), ("-60s", "0s")]
    {
        let case = format!("{then} ahead, then {later}");
        let opposite = |by: &str| by.strip_prefix('-').map_or_else(|| format!("-{by}"), str::to_owned);
        let seconds = |by: &str| by.trim_end_matches('s').parse::<i64>().unwrap();
        let sim = Sim::start(&format!(
            r#"
            clock_skew = "{}"
            [[account]]
            name = "contoso"
            [[account.pool]]
            id = "a"
            nodes = 36
            arrival = {{ min = "50ms", max = "300ms" }}
            # The first calls are taken, and their process is killed before an answer.
            [[account.fault]]
            kind = "silent"
            accepted = true
            delay = "30s"
            nodes = {{ min = 0, max = 15 }}
            "#,
            opposite(then)
        ));
        let config = sim.config(
            "limits = { rate = 500, concurrency = 16 }\ndeadlines = { call = \"20s\", run = \"60s\" }",
        );
        let mut command = fleetlogs();
        command.arg("run").arg(&config).current_dir(sim.dir.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("sixteen calls in flight", || (sim.upload_calls() >= 16).then_some(()));
        wait_for("their files", || (directories(&sim) == (16, true)).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        let by = seconds(then) - seconds(later);
        if by != 0 {
            shift(&sim, &format!("{by}s"));
        }
        let dir = std::fs::read_dir(sim.dir.path().join("runs")).unwrap().next().unwrap().unwrap().path();
        let resume = fleetlogs().arg("resume").arg(&dir).current_dir(sim.dir.path()).output().unwrap();
        let run = Run::of(sim.dir.path(), resume);
        assert_eq!((run.code, run.count("verified")), (0, 36), "{case}: {}", run.stderr);
        assert_manifest_equals_ledger_but_for_unsent_calls(&run.manifest(), &sim.ledger());
        assert_called_once(&run, &sim, 36, &case);
    }
}

/// With the settle time of the defaults, whose wait no test could bear.
#[test]
fn lost_answers_are_found_as_soon_as_their_directories_show() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 600
        arrival = { min = "50ms", max = "400ms" }
        [[account.fault]]
        kind = "timeout-accepted"
        share = 0.03
        "#,
    );
    let more = r#"
        limits = { rate = 200, concurrency = 32 }
        verify = { settle = "10m" }
        deadlines = { call = "35s", run = "5m" }
    "#;
    let events = sim.dir.path().join("events.jsonl");
    let run = sim.run_with(&sim.config(more), &["--events", events.to_str().unwrap()]);
    // The run could not have waited for the settle time: it would have been cut off.
    assert_eq!((run.code, run.count("verified")), (0, 600), "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(sim.upload_calls(), 600, "no node is called twice");
    assert_called_once(&run, &sim, 600, "early");
    let events = std::fs::read_to_string(events).unwrap();
    let count = |event: &str| events.matches(&format!(r#""event":"{event}""#)).count();
    assert!(count("upload-in-doubt") >= 5 && count("upload-adopted") == count("upload-in-doubt"));
    assert_eq!(count("upload-absent"), 0);
}

#[test]
fn clocks_that_are_set_in_mid_run_or_differ_change_nothing() {
    let ten_minutes = r#"
        [[clock_shift]]
        by = "SIGN10m"
        after_uploads = 20
    "#;
    for (name, top, account) in [
        ("set forward", ten_minutes.replace("SIGN", ""), ""),
        ("set back", ten_minutes.replace("SIGN", "-"), ""),
        ("Batch ahead of storage", String::new(), "clock_skew = \"10m\""),
        ("Batch behind storage", String::new(), "clock_skew = \"-10m\""),
    ] {
        let sim = Sim::start(&format!(
            r#"
            {top}
            [[account]]
            name = "contoso"
            {account}
            [[account.pool]]
            id = "a"
            nodes = 40
            arrival = {{ min = "50ms", max = "300ms" }}
            [[account.fault]]
            kind = "timeout-accepted"
            share = 0.4
            "#
        ));
        let run = sim.run(&sim.config("limits = { rate = 50 }"));
        assert_eq!((run.code, run.count("verified")), (0, 40), "{name}: {}", run.stderr);
        assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
        assert_eq!(sim.upload_calls(), 40, "{name}");
        assert_called_once(&run, &sim, 40, name);
    }
}
