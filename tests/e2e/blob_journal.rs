//! Runs whose journal is in Blob storage: their machine is lost with its disk, and another one resumes them. The storage
//! is real: Azurite.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::azurite::{ACCOUNT, Azurite, KEY};
use crate::scale_out::signal;
use crate::stage::{
    Run, Server, Sim, assert_manifest_equals_ledger_but_for_unsent_calls, fleetlogs, service_sas,
    service_sas_until, wait_for,
};

/// Answers are lost as well, so that a run that is cut off leaves doubts of both kinds.
const FLEET: &str = r#"
[[account]]
name = "contoso"
latency = { min = "5ms", max = "60ms" }
[[account.pool]]
id = "Pool_A"
nodes = 200
arrival = { min = "50ms", max = "500ms" }
[[account.fault]]
kind = "timeout-accepted"
share = 0.02
"#;

/// A run of several seconds, whose calls in doubt are settled soon.
const SETTINGS: &str = r#"
[limits]
rate = 20
concurrency = 6
[deadlines]
call = "1s"
node = "60s"
run = "10m"
[verify]
deadline = "15s"
settle = "3s"
"#;

/// A simulator, storage, and the config of both. Every machine is a directory of its own.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
    pub(crate) azurite: Azurite,
    pub(crate) config: PathBuf,
    machines: Vec<TempDir>,
}

impl Stage {
    /// `more` is behind the tables of the config.
    fn new(more: &str) -> Self {
        Self::of(FLEET, more)
    }

    pub(crate) fn of(fleet: &str, more: &str) -> Self {
        let (sim, azurite) = (Sim::start(fleet), Azurite::start());
        std::fs::write(sim.dir.path().join("secret.journal"), azurite.container_sas("rcwl")).unwrap();
        let journal = "[journal]\ncontainer_url = { file = \"secret.journal\" }\nlease = \"15s\"\n";
        let config = sim.config(&format!("{SETTINGS}{journal}"));
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{text}\n{more}\n")).unwrap();
        Self { sim, azurite, config, machines: (0..2).map(|_| tempfile::tempdir().unwrap()).collect() }
    }

    pub(crate) fn machine(&self, number: usize) -> &Path {
        self.machines[number].path()
    }

    /// Runs a command on a machine, which finds the config by its variable, and searches what it leaves for secrets.
    pub(crate) fn on(&self, number: usize, arguments: &[&str]) -> Run {
        let output = self.output(number, arguments);
        // The secrets are beside the config.
        let seen = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("sig=");
        assert!(!seen(&output.stdout) && !seen(&output.stderr), "a secret is printed");
        Run::of(self.machine(number), output)
    }

    pub(crate) fn output(&self, number: usize, arguments: &[&str]) -> Output {
        let mut command = fleetlogs();
        command.args(arguments).env("FLEETLOGS_CONFIG", &self.config).current_dir(self.machine(number));
        command.output().unwrap()
    }

    pub(crate) fn start(&self, number: usize, arguments: &[&str]) -> Server {
        let child: Child = fleetlogs()
            .args(arguments)
            .env("FLEETLOGS_CONFIG", &self.config)
            .current_dir(self.machine(number))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Server(child)
    }

    /// Kills a process after some calls, and removes everything that its machine has on disk.
    fn lose(&self, number: usize, process: Server) {
        wait_for("the calls before the machine is lost", || (self.sim.upload_calls() >= 40).then_some(()));
        drop(process);
        for left in std::fs::read_dir(self.machine(number)).unwrap() {
            let left = left.unwrap().path();
            if left.is_dir() { std::fs::remove_dir_all(left) } else { std::fs::remove_file(left) }.unwrap();
        }
        assert!(self.sim.upload_calls() < 180, "the run was almost over when its machine was lost");
    }

    /// Every node has what the service says it has, once.
    fn assert_whole(&self, manifest: &Value) {
        assert_manifest_equals_ledger_but_for_unsent_calls(manifest, &self.sim.ledger());
        let counts = &manifest["counts"];
        let collected = ["verified", "adopted"].map(|outcome| counts[outcome].as_u64().unwrap());
        assert_eq!(collected.iter().sum::<u64>(), 200, "{counts}");
    }
}

pub(crate) fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_run_whose_machine_is_lost_with_its_disk_is_resumed_by_another() {
    let stage = Stage::new("");
    let config = stage.config.display().to_string();
    stage.lose(0, stage.start(0, &["run", &config, "--quiet"]));

    // The other machine has nothing of the run, and sees it all the same.
    let listed = json(&stage.on(1, &["runs", "--json"]));
    let run = &listed["runs"][0];
    let id = run["run_id"].as_str().unwrap().to_owned();
    let url = run["journal"].as_str().unwrap().to_owned();
    assert_eq!(url, format!("{}/fleetlogs/{id}", stage.azurite.container()));
    assert_eq!((listed["runs"].as_array().unwrap().len(), &run["latest"]), (1, &true.into()));
    let planned =
        json(&stage.on(1, &["status", &id[..12], "--json"]))["counts"]["not-sent"].as_u64().unwrap();
    assert!(planned > 0, "something is left to do");

    // Until the lease of the lost machine ends, the run is refused.
    let resumed = wait_for("the lease of the lost machine to end", || {
        let resumed = stage.on(1, &["resume", "latest", "--json"]);
        let is_held = resumed.code == 5 && resumed.stderr.contains("another process");
        (!is_held).then_some(resumed)
    });
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    stage.assert_whole(&resumed.manifest());
    let calls = stage.sim.upload_calls();

    // Every command that looks at a run takes it, also where it left no file.
    std::fs::remove_dir_all(stage.machine(1).join("runs")).unwrap();
    for name in [&id, &url, "latest"] {
        let status = json(&stage.on(1, &["status", name, "--json"]));
        assert_eq!((&status["state"], &status["counts"]["not-sent"]), (&"ended".into(), &0.into()), "{name}");
    }
    assert!(!stage.machine(1).join("runs").exists(), "looking makes no directory");
    let reported = stage.on(1, &["report", &url, "--json"]);
    assert_eq!(reported.code, 0, "{}", reported.stderr);
    assert_eq!(resumed_facts(&json(&reported)), resumed_facts(&json(&resumed)));
    stage.assert_whole(&reported.manifest());
    for arguments in [&["verify", &id][..], &["fetch", &id], &["bundle", &id, "--with-logs"]] {
        let done = stage.output(1, arguments);
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let over = stage.on(0, &["resume", &id]);
    assert_eq!((over.code, over.stderr.contains("nothing is outstanding")), (0, false), "{}", over.stderr);
    assert!(over.file("report.html").contains(&id), "the reports are written where they are missing");
    let listed = json(&stage.on(0, &["runs", "--json"]));
    assert_eq!((&listed["runs"][0]["state"], &listed["more"]), (&"ended".into(), &0.into()));
    assert_eq!(stage.sim.upload_calls(), calls, "looking sends no upload");
}

/// What a document of a run says of the run, whichever machine prints it.
fn resumed_facts(document: &Value) -> Vec<Value> {
    ["run_id", "outcome", "counts", "summary", "files", "bytes", "causes"]
        .map(|name| document[name].clone())
        .into()
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn the_next_owner_of_a_schedule_resumes_the_run_of_a_lost_machine() {
    let stage = Stage::new(
        r#"
        [schedule.lease]
        container_url = { file = "secret.journal" }
        duration = "15s"
        [[snapshot]]
        name = "nightly"
        "#,
    );
    let config = stage.config.display().to_string();
    stage.lose(0, stage.start(0, &["schedule", &config, "--once", "nightly"]));

    let daemon = stage.start(1, &["schedule", &config]);
    // Two leases have to end, and then the rest of the run.
    let deadline = Instant::now() + Duration::from_secs(300);
    let reports = || -> Option<Value> {
        let dirs = std::fs::read_dir(stage.machine(1).join("runs")).ok()?;
        dirs.filter_map(|dir| std::fs::read(dir.ok()?.path().join("manifest.json")).ok())
            .find_map(|text| serde_json::from_slice(&text).ok())
    };
    let manifest = loop {
        if let Some(manifest) = reports() {
            break manifest;
        }
        assert!(Instant::now() < deadline, "no reports of the run");
        std::thread::sleep(Duration::from_millis(200));
    };
    stage.assert_whole(&manifest);
    let row = wait_for("the end of the run in the state", || {
        let listed = json(&stage.on(1, &["schedule", &config, "--list", "--json"]));
        let last = listed["snapshots"][0]["last"].clone();
        (!last.is_null()).then_some(last)
    });
    assert_eq!((&row["status"], &row["run_id"]), (&"ended".into(), &manifest["run_id"]));
    assert!(row["run_dir"].as_str().unwrap().starts_with(&stage.azurite.container()), "{row}");
    drop(daemon);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_container_that_cannot_keep_the_journal_is_told_before_anything_is_sent() {
    let stage = Stage::new("");
    let config = stage.config.display().to_string();
    let write = |sas: &str| std::fs::write(stage.sim.dir.path().join("secret.journal"), sas).unwrap();
    let told = |part: &str| {
        for command in ["run", "check"] {
            let refused = stage.on(0, &[command, &config]);
            assert_eq!(refused.code, 5, "{}{}", refused.stdout, refused.stderr);
            let said = refused.stdout + &refused.stderr;
            assert!(said.contains("journal") && said.contains(part), "{command}: {said}");
        }
        assert_eq!(stage.sim.upload_calls(), 0);
    };
    write(&stage.azurite.container_sas("rl"));
    told("does not grant write");
    let (absent, resource) =
        (format!("{}/absent", stage.azurite.endpoint()), format!("/blob/{ACCOUNT}/absent"));
    write(&service_sas(KEY, &absent, &resource, "rcwl"));
    told("create the container first");
    write(&stage.azurite.container_sas("rcwl"));
    let checked = stage.on(0, &["check", &config]);
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("journal"), "{}", checked.stdout);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_scheduled_run_whose_reports_cannot_be_written_yet_is_reported_when_they_can() {
    let fleet = FLEET.replace("nodes = 200", "nodes = 10");
    let stage = Stage::of(&fleet, "[[snapshot]]\nname = \"nightly\"\n");
    let log = stage.sim.dir.path().join("once.log");
    let mut once = Server(
        fleetlogs()
            .args(["schedule", stage.config.to_str().unwrap(), "--once", "nightly"])
            .current_dir(stage.machine(0))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap(),
    );
    let runs = stage.machine(0).join("runs");
    let is_run = |path: &PathBuf| path.join("plan.json").is_file();
    let run = wait_for("the run", || {
        std::fs::read_dir(&runs).ok()?.flatten().map(|entry| entry.path()).find(is_run)
    });
    // A directory stands where the manifest belongs.
    let in_the_way = run.join("manifest.json");
    std::fs::create_dir(&in_the_way).unwrap();
    std::fs::write(in_the_way.join("file"), "").unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    wait_for("the reports to fail", || said().contains("its reports could not be written").then_some(()));
    std::fs::remove_dir_all(&in_the_way).unwrap();
    assert_eq!(once.0.wait().unwrap().code(), Some(0), "{}", said());
    let manifest: Value = serde_json::from_slice(&std::fs::read(run.join("manifest.json")).unwrap()).unwrap();
    assert_manifest_equals_ledger_but_for_unsent_calls(&manifest, &stage.sim.ledger());
}

/// By then, another machine may own the schedule, or the SAS may be good again.
#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_scheduled_run_that_a_bad_sas_keeps_from_being_resumed_is_left_to_the_next_process() {
    let fleet = FLEET.replace("nodes = 200", "nodes = 60");
    let stage = Stage::of(&fleet, "[[snapshot]]\nname = \"nightly\"\n");
    let log = stage.sim.dir.path().join("once.log");
    let said = || std::fs::read_to_string(&log).unwrap();
    let once = || {
        let mut command = fleetlogs();
        command.args(["schedule", stage.config.to_str().unwrap(), "--once", "nightly"]);
        command.current_dir(stage.machine(0)).stdout(Stdio::null());
        Server(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap())
    };
    let waits = || wait_for("the refusal", || said().contains("cannot be finished yet").then_some(()));
    let give = |sas: &str| std::fs::write(stage.sim.dir.path().join("secret.journal"), sas).unwrap();

    let killed = once();
    wait_for("some calls", || (stage.sim.upload_calls() > 4).then_some(()));
    drop(killed);
    let (url, resource) = (stage.azurite.container(), format!("/blob/{ACCOUNT}/logs"));
    give(&service_sas(b"the key of another storage account", &url, &resource, "rcwl"));
    let mut ended = once();
    waits();
    signal(&ended, "-TERM");
    assert_eq!(ended.0.wait().unwrap().code(), Some(6), "{}", said());

    let mut resumed = once();
    waits();
    give(&stage.azurite.container_sas("rcwl"));
    assert_eq!(resumed.0.wait().unwrap().code(), Some(0), "{}", said());
    let runs: Vec<_> = std::fs::read_dir(stage.machine(0).join("runs")).unwrap().flatten().collect();
    let manifests: Vec<_> =
        runs.iter().filter_map(|run| std::fs::read(run.path().join("manifest.json")).ok()).collect();
    assert_eq!(manifests.len(), 1, "one run: {runs:?}");
    let manifest: Value = serde_json::from_slice(&manifests[0]).unwrap();
    assert_manifest_equals_ledger_but_for_unsent_calls(&manifest, &stage.sim.ledger());
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_daemon_outlives_every_sas_that_it_was_started_with() {
    let fleet = FLEET.replace("nodes = 200", "nodes = 10");
    let stage = Stage::of(&fleet, "[[snapshot]]\nname = \"yearly\"\ncron = \"0 0 1 1 *\"\n");
    let storage = &stage.sim.ready["storage"];
    let key = BASE64_STANDARD.decode(storage["key"].as_str().unwrap()).unwrap();
    let logs = stage.sim.ready["container"].as_str().unwrap();
    let of_logs =
        format!("/blob/{}/{}", storage["account"].as_str().unwrap(), logs.rsplit('/').next().unwrap());
    let give_all = |until| {
        let give = |name: &str, sas: String| std::fs::write(stage.sim.dir.path().join(name), sas).unwrap();
        give("ready.json.container_url", service_sas_until(&key, logs, &of_logs, "w", until));
        give("ready.json.verify_url", service_sas_until(&key, logs, &of_logs, "rl", until));
        let (journal, resource) = (stage.azurite.container(), format!("/blob/{ACCOUNT}/logs"));
        give("secret.journal", service_sas_until(KEY, &journal, &resource, "rcwl", until));
    };
    let ends = OffsetDateTime::now_utc() + Duration::from_secs(20);
    give_all(ends);
    let config = stage.config.display().to_string();
    let _daemon = stage.start(0, &["schedule", &config]);
    wait_for("the daemon", || {
        let lock = std::fs::read_to_string(stage.machine(0).join("runs/schedule.db.lock"));
        lock.ok().filter(|lock| lock.starts_with("daemon"))
    });
    give_all(datetime!(2036-01-01 00:00 UTC));
    while OffsetDateTime::now_utc() <= ends {
        std::thread::sleep(Duration::from_millis(200));
    }
    let asked = stage.on(0, &["schedule", &config, "--once", "yearly"]);
    assert!(asked.stderr.contains("was asked to run yearly"), "{}", asked.stderr);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
}
