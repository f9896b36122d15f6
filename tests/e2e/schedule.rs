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

const FLEET: &str = r#"
[[account]]
name = "contoso"
latency = { min = "5ms", max = "20ms" }
[[account.pool]]
id = "a"
nodes = 40
arrival = { min = "50ms", max = "300ms" }
"#;

/// A run of some seconds.
const SLOW: &str = r#"
[limits]
rate = 8
concurrency = 2
[deadlines]
call = "2s"
"#;

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
    let snapshot = r#"
        [[snapshot]]
        name = "nightly"
        window = "since-last"
        margin = "30s"
    "#;
    let config = config(&sim, r#"window = { last = "2h" }"#, snapshot);
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
    let snapshot = r#"
        [[snapshot]]
        name = "minutely"
        cron = "* * * * *"
        window = "1h"
    "#;
    let config = config(&sim, SLOW, snapshot);
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
    let snapshot = r#"
        [[snapshot]]
        name = "slow"
        window = "1h"
    "#;
    let config = config(&sim, SLOW, snapshot);
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
fn a_run_that_storage_refuses_to_resume_is_resumed_as_soon_as_storage_answers_again() {
    // The first look at the container is that of the new run, and the next ones those of the run that is resumed.
    let busy =
        "[[storage.fault]]\nkind = \"server-busy\"\nname = \"fleetlogs-preflight\"\nskip = 1\nfirst = 4\n";
    let sim = Sim::start(&format!("{FLEET}\n{busy}"));
    let config = config(&sim, SLOW, "[[snapshot]]\nname = \"slow\"\nwindow = \"1h\"\n");
    let child = {
        let mut command = fleetlogs();
        command.arg("schedule").arg(&config).args(["--once", "slow"]).current_dir(sim.dir.path());
        Daemon(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    wait_for("some calls", || (sim.upload_calls() > 4).then_some(()));
    child.kill();

    let run = once(&sim, &config, "slow");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("cannot be finished yet"), "{}", run.stderr);
    assert_eq!(run_dirs(&sim).len(), 1, "it was resumed");
    assert_manifest_equals_ledger_but_for_unsent_calls(&run.manifest(), &sim.ledger());
}

#[test]
fn a_daemon_is_asked_to_run_a_snapshot_now_and_those_who_are_to_hear_of_it_do() {
    let sim = Sim::start(FLEET);
    let snapshot = r#"
        [[snapshot]]
        name = "yearly"
        cron = "0 0 1 1 *"
        window = "1h"
        [[notify]]
        command = ["sh", "-c", "cat > told.$FLEETLOGS_RUN_ID"]
    "#;
    let config = config(&sim, "", snapshot);
    let told = || {
        let files = std::fs::read_dir(sim.dir.path()).unwrap().map(|file| file.unwrap().file_name());
        files.filter(|name| name.to_string_lossy().starts_with("told.")).count()
    };
    let alone = once(&sim, &config, "yearly");
    assert_eq!((alone.code, told()), (0, 1), "{}", alone.stderr);
    assert!(alone.stderr.contains("40 of 40 nodes"), "{}", alone.stderr);

    let daemon = Daemon::start(sim.dir.path(), &config);
    wait_for("the daemon", || {
        std::fs::read_to_string(sim.dir.path().join("runs/schedule.db.lock"))
            .ok()
            .filter(|lock| lock.starts_with("daemon"))
    });
    let asked = once(&sim, &config, "yearly");
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    assert!(asked.stderr.contains("was asked to run yearly"), "{}", asked.stderr);
    let (code, said) = daemon.end();
    assert_eq!((code, told()), (0, 2), "{said}");
    assert!(said.contains("40 of 40 nodes"), "{said}");
    assert_eq!(run_dirs(&sim).len(), 2);
}

#[test]
fn runs_that_are_no_longer_kept_are_removed_and_not_forgotten() {
    let sim = Sim::start(FLEET);
    let snapshot = r#"
        [[snapshot]]
        name = "nightly"
        window = "since-last"
        keep_runs = 1
    "#;
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

/// Half of a pool goes bad at once, and a node of another goes in and out every ten seconds, so many times.
fn failing(times: u32) -> String {
    format!(
        r#"
        [[account]]
        name = "contoso"
        page_size = 5
        [[account.pool]]
        id = "Render"
        nodes = 40
        unknown_state = 0
        arrival = {{ min = "50ms", max = "300ms" }}
        [[account.pool.life]]
        share = 0.5
        at = "6s"
        becomes = "starttaskfailed"
        [[account.pool]]
        id = "encode"
        nodes = 7
        unknown_state = 0
        arrival = {{ min = "50ms", max = "300ms" }}
        [[account.pool.life]]
        nodes = 1
        at = "18s"
        becomes = "starttaskfailed"
        recovers_after = "6s"
        every = "10s"
        times = {times}
        "#
    )
}

/// Upload calls of each node, as the service counted them.
fn calls(sim: &Sim, pool: &str) -> Vec<u64> {
    let ledger = sim.ledger();
    let nodes = ledger["nodes"].as_array().unwrap().iter().filter(|node| node["pool"] == pool);
    nodes.map(|node| node["received"].as_u64().unwrap()).collect()
}

#[test]
fn nodes_that_go_bad_are_captured_once_each_time_also_when_the_daemon_is_killed() {
    let sim = Sim::start(&failing(3));
    let snapshot = r#"
        [schedule]
        poll_rate = 20
        [[snapshot]]
        name = "went-bad"
        window = "1h"
        on_state = ["starttaskfailed"]
        every = "1s"
        gather = "1s"
        quiet = "0s"
    "#;
    let config = config(&sim, "", snapshot);
    let daemon = Daemon::start(sim.dir.path(), &config);
    wait_for("the capture of the pool", || (calls(&sim, "Render").len() == 20).then_some(()));
    daemon.kill();
    let daemon = Daemon::start(sim.dir.path(), &config);
    // It goes bad at 18, 28 and 38 seconds.
    wait_for("the captures of the node", || (calls(&sim, "encode") == [3]).then_some(()));
    std::thread::sleep(Duration::from_secs(4));
    let (code, said) = daemon.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(calls(&sim, "Render"), vec![1; 20], "each node of the pool once");
    assert_eq!(calls(&sim, "encode"), [3], "the node once each time");
    let manifests: Vec<_> = run_dirs(&sim).iter().map(|dir| manifest(dir).unwrap()).collect();
    let planned: Vec<_> = manifests.iter().map(|manifest| manifest["counts"]["planned"].clone()).collect();
    assert_eq!(planned, [20, 1, 1, 1], "the pool is one run");
    assert!(manifests.iter().all(|manifest| manifest["snapshot"]["trigger"] == "state"));
}

#[test]
fn an_alert_begins_a_snapshot_once_and_the_metrics_tell_of_it() {
    let sim = Sim::start(FLEET);
    std::fs::write(sim.dir.path().join("secret.alert"), "plainly-fake-alert-secret").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let snapshot = format!(
        r#"
        [schedule.listener]
        address = "127.0.0.1:{port}"
        secret = {{ file = "secret.alert" }}
        [[snapshot]]
        name = "incident"
        window = "1h"
        "#
    );
    let config = config(&sim, "", &snapshot);
    let daemon = Daemon::start(sim.dir.path(), &config);
    let client = fleetlogs_azure::http_client(1).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    wait_for("the listener", || {
        runtime.block_on(client.get(url("/healthz/active")).send()).ok()?.error_for_status().ok()
    });
    let alert = serde_json::json!({
        "schemaId": "azureMonitorCommonAlertSchema",
        "data": { "essentials": {
            "alertId": "/subscriptions/0/providers/Microsoft.AlertsManagement/alerts/1", "alertRule": "nodes",
            "severity": "Sev1", "signalType": "Metric", "monitorCondition": "Fired",
            "firedDateTime": "2026-11-22T09:00:00.000Z",
        }, "alertContext": {} },
    });
    let send = |secret: &str| {
        let request = client.post(url("/alerts/incident")).bearer_auth(secret).body(alert.to_string());
        runtime.block_on(request.send()).unwrap().status().as_u16()
    };
    assert_eq!(send("some-other-secret"), 401);
    assert_eq!((send("plainly-fake-alert-secret"), send("plainly-fake-alert-secret")), (202, 202));
    let dir =
        wait_for("the run", || run_dirs(&sim).into_iter().find(|dir| dir.join("manifest.json").exists()));
    let metrics = wait_for("the metric of the run", || {
        let text = crate::stage::get(&url("/metrics"));
        text.contains("fleetlogs_runs_total{snapshot=\"incident\",trigger=\"alert\",outcome=\"complete\"} 1")
            .then_some(text)
    });
    assert!(
        metrics.contains("fleetlogs_run_nodes_total{snapshot=\"incident\",outcome=\"verified\"} 40"),
        "{metrics}"
    );
    let (code, said) = daemon.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("1 snapshot; none has a `cron`; listener on 127.0.0.1:{port}")), "{said}");
    assert!(!said.contains("plainly-fake"), "{said}");
    assert_eq!(run_dirs(&sim).len(), 1, "the alert was sent twice");
    assert_eq!(manifest(&dir).unwrap()["snapshot"]["trigger"], "alert");
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn of_two_daemons_one_works_and_the_other_takes_over_when_it_is_killed() {
    let azurite = crate::azurite::Azurite::start();
    let sim = Sim::start(&failing(9));
    std::fs::write(sim.dir.path().join("secret.state"), azurite.container_sas("rcw")).unwrap();
    let snapshot = r#"
        [schedule]
        poll_rate = 20
        [schedule.lease]
        container_url = { file = "secret.state" }
        duration = "15s"
        [[snapshot]]
        name = "went-bad"
        window = "1h"
        on_state = ["starttaskfailed"]
        every = "1s"
        gather = "1s"
        quiet = "0s"
        [[snapshot]]
        name = "nightly"
        window = "since-last"
    "#;
    let config = config(&sim, "", snapshot);
    let machines = [sim.dir.path().join("one"), sim.dir.path().join("two")];
    for machine in &machines {
        std::fs::create_dir(machine).unwrap();
    }
    let runs_of = |machine: &Path| {
        let entries = std::fs::read_dir(machine.join("runs")).into_iter().flatten();
        let dirs =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("manifest.json").exists());
        dirs.count()
    };
    let first = Daemon::start(&machines[0], &config);
    wait_for("the capture of the pool", || (runs_of(&machines[0]) == 1).then_some(()));
    let second = Daemon::start(&machines[1], &config);
    std::thread::sleep(Duration::from_secs(1));
    first.kill();
    wait_for("the captures of the node", || (calls(&sim, "encode").iter().sum::<u64>() >= 1).then_some(()));
    wait_for("a run of the second", || (runs_of(&machines[1]) >= 1).then_some(()));
    let (code, said) = second.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("another machine owns the schedule"), "{said}");
    assert_eq!(calls(&sim, "Render"), vec![1; 20], "what the first captured the second does not");
    assert_eq!(runs_of(&machines[0]), 1);

    // The second gave the lease back, so that the first need not wait for it.
    let output = fleetlogs()
        .arg("schedule")
        .arg(&config)
        .args(["--once", "nightly"])
        .current_dir(&machines[0])
        .output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("another machine owns the schedule"), "{said}");
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn an_owner_that_slept_longer_than_its_lease_stands_by_and_takes_over_again() {
    let azurite = crate::azurite::Azurite::start();
    let sim = Sim::start(FLEET);
    std::fs::write(sim.dir.path().join("secret.state"), azurite.container_sas("rcw")).unwrap();
    let snapshot = r#"
        [schedule.lease]
        container_url = { file = "secret.state" }
        duration = "15s"
        [[snapshot]]
        name = "nightly"
    "#;
    let config = config(&sim, "", snapshot);
    let machines = [sim.dir.path().join("one"), sim.dir.path().join("two")];
    for machine in &machines {
        std::fs::create_dir(machine).unwrap();
    }
    let owns = |machine: &Path| machine.join("runs/schedule.db").exists().then_some(());
    let signal = |daemon: &Daemon, name: &str| {
        Command::new("kill").arg(name).arg(daemon.0.id().to_string()).status().unwrap();
    };
    let mut first = Daemon::start(&machines[0], &config);
    wait_for("the first to own it", || owns(&machines[0]));
    let second = Daemon::start(&machines[1], &config);
    std::thread::sleep(Duration::from_secs(1));
    assert!(owns(&machines[1]).is_none());
    signal(&first, "-STOP");
    wait_for("the second to own it", || owns(&machines[1]));
    signal(&first, "-CONT");
    std::thread::sleep(Duration::from_secs(8));
    assert!(first.0.try_wait().unwrap().is_none(), "it stands by");
    assert_eq!(second.end().0, 0);
    std::thread::sleep(Duration::from_secs(6));
    let (code, said) = first.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("until this machine owns the schedule again"), "{said}");
    assert_eq!(said.matches("this machine owns the schedule\n").count(), 2, "{said}");
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn an_owner_whose_sas_is_refused_for_a_while_owns_the_schedule_again() {
    let azurite = crate::azurite::Azurite::start();
    let sim = Sim::start(FLEET);
    // So soon before its end, a SAS is read again each time.
    let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(600);
    let (url, resource) = (azurite.container(), format!("/blob/{}/logs", crate::azurite::ACCOUNT));
    let good = crate::stage::service_sas_until(crate::azurite::KEY, &url, &resource, "rcw", soon);
    let bad = crate::stage::service_sas_until(b"another key", &url, &resource, "rcw", soon);
    let give = |sas: &str| std::fs::write(sim.dir.path().join("secret.state"), sas).unwrap();
    give(&good);
    let snapshot = r#"
        [schedule.lease]
        container_url = { file = "secret.state" }
        duration = "15s"
        [[snapshot]]
        name = "nightly"
    "#;
    let config = config(&sim, "", snapshot);
    let log = sim.dir.path().join("daemon.log");
    let mut command = fleetlogs();
    command.arg("schedule").arg(&config).current_dir(sim.dir.path()).stdout(Stdio::null());
    let daemon = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut daemon = crate::stage::Server(daemon);
    let said = || std::fs::read_to_string(&log).unwrap();
    wait_for("the daemon to own the schedule", || said().contains("1 snapshot").then_some(()));
    give(&bad);
    wait_for("the daemon to be refused", || said().contains("; trying again").then_some(()));
    give(&good);
    wait_for("the daemon to own it again", || (said().matches("1 snapshot").count() == 2).then_some(()));
    crate::scale_out::signal(&daemon, "-TERM");
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0), "{}", said());
}

#[test]
fn what_cannot_be_scheduled_is_told_beforehand() {
    let sim = Sim::start(FLEET);
    let none = sim.config("");
    let output = schedule(&sim, &none, &[]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), output).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `DIR/fleetlogs.toml` has no snapshot
      help: add a [[snapshot]] with `name` and `cron`; docs/guide/snapshots.md has examples
    ");

    let bad = config(&sim, "", include_str!("configs/bad_schedule.toml"));
    let output = schedule(&sim, &bad, &["--list"]);
    // Both mistakes of a snapshot are told; `overlap` is fine without `cron`, because `--once` obeys it as well.
    insta::assert_snapshot!(Run::of(sim.dir.path(), output).picture(), @r#"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:28: `snapshot[0].name`: `Nightly!` cannot be the name of a snapshot
      help: use up to 63 lower-case letters, digits and hyphens
    error: DIR/fleetlogs.toml:32: `snapshot[1].cron`: not a cron expression: `61` is not a valid minute (0 to 59)
      help: write minute, hour, day of month, month and day of week, such as "15 2 * * *", or "@daily"
    error: DIR/fleetlogs.toml:38: `snapshot[2].time_zone`: there is no such time zone; write its IANA name, such as "Europe/Berlin"
    error: DIR/fleetlogs.toml:39: `snapshot[2].on_stat`: unknown key
      help: did you mean `on_state`?
    error: DIR/fleetlogs.toml:41: `snapshot[3]`: `jitter` needs `cron`
      help: remove it, or add `cron`
    error: DIR/fleetlogs.toml:42: `snapshot[3].name`: two snapshots are named `b`; the first is on line 36
      help: give each its own name
    error: DIR/fleetlogs.toml:48: `snapshot[4].cron`: not a cron expression: it has 4 fields instead of five
      help: write minute, hour, day of month, month and day of week, such as "15 2 * * *", or "@daily"
    error: DIR/fleetlogs.toml:49: `snapshot[4].time_zone`: there is no such time zone; write its IANA name, such as "Europe/Berlin"
    "#);
    let good = config(
        &sim,
        "",
        r#"
        [[snapshot]]
        name = "a"
        cron = "@daily"
        "#,
    );
    let output = schedule(&sim, &good, &["--once", "b"]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), output).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: the config has no snapshot `b`
      help: it has: a
    ");
}
