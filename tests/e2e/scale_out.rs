//! Runs that several workers share, as processes over real queues and blobs (Azurite): whatever becomes of a worker, no
//! node is lost, and none is called twice.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::work_queue::{WorkItem, WorkQueue};
use serde_json::Value;
use tempfile::TempDir;

use crate::azurite::Azurite;
use crate::schemas::assert_as_described;
use crate::stage::{
    Run, Server, Sim, assert_manifest_equals_ledger, assert_manifest_equals_ledger_but_for_unsent_calls,
    fleetlogs, wait_for,
};
use crate::work_queue::QueueService;

/// The accounts, and the calls per second to each.
pub(crate) const ACCOUNTS: [&str; 4] = ["contoso", "fabrikam", "tailwind", "woodgrove"];
pub(crate) const RATE: u64 = 12;

/// Accounts of `nodes` nodes, with answers that are lost.
pub(crate) fn fleet(nodes: u32) -> String {
    let account = |name| {
        format!(
            r#"
            [[account]]
            name = "{name}"
            latency = {{ min = "5ms", max = "60ms" }}
            [[account.pool]]
            id = "Pool_A"
            nodes = {nodes}
            arrival = {{ min = "50ms", max = "500ms" }}
            [[account.fault]]
            kind = "timeout-accepted"
            share = 0.02
            "#
        )
    };
    ACCOUNTS.map(account).concat()
}

/// Settings of a run whose record and queue are in storage, with as short leases as there are. `limits` and `scale_out` are
/// more keys of these tables.
pub(crate) fn settings(rate: u64, limits: &str, scale_out: &str) -> String {
    format!(
        r#"
        [limits]
        rate = {rate}
        {limits}
        [deadlines]
        call = "1s"
        node = "60s"
        run = "10m"
        [verify]
        deadline = "15s"
        settle = "3s"
        [journal]
        container_url = {{ file = "secret.journal" }}
        lease = "15s"
        [scale_out]
        queue_url = {{ file = "secret.queue" }}
        lease = "15s"
        heartbeat = "2s"
        {scale_out}
        "#
    )
}

/// A simulator, storage with queues, and the config of all. Every machine is a directory of its own.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
    pub(crate) azurite: Azurite,
    pub(crate) queues: QueueService,
    config: PathBuf,
    machines: Vec<TempDir>,
}

impl Stage {
    /// `edit` changes the accounts of the config.
    pub(crate) fn new(nodes: u32, edit: impl FnOnce(String) -> String) -> Self {
        let (sim, azurite, queues) = (Sim::start(&fleet(nodes)), Azurite::start(), QueueService::start());
        let secret = |name: &str, text: String| std::fs::write(sim.dir.path().join(name), text).unwrap();
        secret("secret.journal", azurite.container_sas("rcwl"));
        secret("secret.queue", queues.sas_of("work"));
        let config = sim.config(&settings(RATE, "concurrency = 6", "partitions_at_once = 2"));
        let text = edit(std::fs::read_to_string(&config).unwrap());
        std::fs::write(&config, text).unwrap();
        Self {
            sim,
            azurite,
            queues,
            config,
            machines: (0..5).map(|_| tempfile::tempdir().unwrap()).collect(),
        }
    }

    pub(crate) fn machine(&self, number: usize) -> &Path {
        self.machines[number].path()
    }

    /// Starts a command on a machine, which finds the config by its variable. Its log is there in `log`.
    pub(crate) fn start(&self, number: usize, arguments: &[&str], env: &[(&str, &str)]) -> Server {
        let log = std::fs::File::create(self.machine(number).join("log")).unwrap();
        let out = std::fs::File::create(self.machine(number).join("out")).unwrap();
        let child: Child = fleetlogs()
            .args(arguments)
            .env("FLEETLOGS_CONFIG", &self.config)
            .envs(env.iter().copied())
            .current_dir(self.machine(number))
            .stdout(out)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Server(child)
    }

    pub(crate) fn worker(&self, number: usize, more: &[&str]) -> Server {
        self.start(number, &[&["worker", "-v"], more].concat(), &[])
    }

    /// Waits until a process has ended, and returns its exit code.
    pub(crate) fn end_of(&self, number: usize, process: &mut Server) -> i32 {
        let status = process.0.wait().unwrap();
        assert!(!self.said(number).contains("sig="), "a secret is printed");
        status.code().unwrap_or_else(|| panic!("{status}: {}", self.said(number)))
    }

    /// What a process wrote to stderr.
    pub(crate) fn said(&self, number: usize) -> String {
        std::fs::read_to_string(self.machine(number).join("log")).unwrap_or_default()
    }

    /// Runs a command on a machine to its end.
    pub(crate) fn on(&self, number: usize, arguments: &[&str]) -> Run {
        let output: Output = fleetlogs()
            .args(arguments)
            .env("FLEETLOGS_CONFIG", &self.config)
            .current_dir(self.machine(number))
            .output()
            .unwrap();
        Run::of(self.machine(number), output)
    }

    pub(crate) fn manifest(&self, number: usize) -> Value {
        let runs = std::fs::read_dir(self.machine(number).join("runs")).unwrap();
        let is_whole = |dir: &PathBuf| dir.file_name().unwrap().to_str().unwrap().parse::<RunId>().is_ok();
        let dirs: Vec<_> = runs.map(|dir| dir.unwrap().path()).filter(is_whole).collect();
        let [dir] = &dirs[..] else { panic!("not one run: {dirs:?}; {}", self.said(number)) };
        serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap()
    }

    /// Every node has what the service says it has, once, and no account was called faster than it may be.
    pub(crate) fn assert_whole(&self, manifest: &Value, nodes: u64) {
        let ledger = self.sim.ledger();
        assert_manifest_equals_ledger_but_for_unsent_calls(manifest, &ledger);
        let counts = &manifest["counts"];
        let collected = ["verified", "adopted"].map(|outcome| counts[outcome].as_u64().unwrap());
        assert_eq!(collected.iter().sum::<u64>(), nodes, "{counts}");
        for account in ledger["accounts"].as_array().unwrap() {
            let highest = account["highest_rate"].as_u64().unwrap();
            // Those that a busy machine sent late come with the next ones: at most those in flight of two owners.
            assert!(highest <= 2 * RATE, "{highest} calls in a second: {account}");
        }
    }

    /// Whether some calls were sent, but not all.
    pub(crate) fn wait_for_calls(&self, calls: u64) {
        wait_for("some calls", || (self.sim.upload_calls() >= calls).then_some(()));
    }

    /// Sends the message of every partition once more.
    pub(crate) fn send_all_again(&self, run: &RunId) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let queue = self.queues.queue("work");
            for account in ACCOUNTS {
                let item = WorkItem { run: run.clone(), partition: AccountName::new(account) };
                queue.send(&item).await.unwrap();
            }
        });
    }

    /// The run that is in storage.
    pub(crate) fn run(&self) -> RunId {
        wait_for("a run on record", || {
            let listed = self.on(4, &["runs", "--json"]);
            let listed: Value = serde_json::from_str(&listed.stdout).ok()?;
            listed["runs"][0]["run_id"].as_str()?.parse().ok()
        })
    }
}

pub(crate) fn signal(process: &Server, signal: &str) {
    let killed = std::process::Command::new("kill").args([signal, &process.0.id().to_string()]).status();
    assert!(killed.unwrap().success());
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_run_that_is_shared_out_ends_as_one_of_a_single_process() {
    // The last account is reached from its site only.
    let stage = Stage::new(40, |config| {
        let at = config.find("name = \"woodgrove\"").unwrap();
        let (before, after) = config.split_at(at);
        format!("{before}site = \"west\"\n{after}")
    });
    let mut fan_out = stage.start(0, &["fan-out", "--json"], &[]);
    let mut workers = [stage.worker(1, &["--forever"]), stage.worker(2, &["--site", "west", "--forever"])];
    assert_eq!(stage.end_of(0, &mut fan_out), 0, "{}", stage.said(0));
    let manifest = stage.manifest(0);
    assert_manifest_equals_ledger(&manifest, &stage.sim.ledger());
    stage.assert_whole(&manifest, 160);
    let document: Value =
        serde_json::from_slice(&std::fs::read(stage.machine(0).join("out")).unwrap()).unwrap();
    assert_eq!((&document["outcome"], &document["counts"]), (&manifest["outcome"], &manifest["counts"]));
    let plan = stage.machine(0).join(document["run_dir"].as_str().unwrap()).join("plan.json");
    let planned: Value = serde_json::from_slice(&std::fs::read(plan).unwrap()).unwrap();
    assert_eq!(planned["accounts"].as_array().unwrap().len(), 4, "with what the site planned");
    for (number, worker) in (1..).zip(&mut workers) {
        signal(worker, "-TERM");
        assert_eq!(stage.end_of(number, worker), 0, "{}", stage.said(number));
        let partitions = stage.said(number).matches("the partition is done").count();
        assert_eq!(partitions, [3, 1][number - 1], "{}", stage.said(number));
    }
    // The run of one process over the same fleet.
    let alone = stage.on(3, &["run", "--json"]);
    assert_eq!(alone.code, 0, "{}", alone.stderr);
    assert_eq!(facts(&manifest), facts(&alone.manifest()));
}

/// What a manifest says, but for names and times.
fn facts(manifest: &Value) -> Vec<String> {
    let of_node = |node: &Value| {
        ["account", "pool", "node", "outcome"].map(|member| node[member].to_string()).join(" ")
    };
    let accounts = manifest["accounts"].as_array().unwrap().iter();
    let accounts = accounts.map(|account| format!("{} {}", account["name"], account["nodes"]));
    manifest["nodes"].as_array().unwrap().iter().map(of_node).chain(accounts).collect()
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn workers_that_die_or_freeze_and_a_lost_fan_out_lose_and_double_nothing() {
    let stage = Stage::new(60, |config| config);
    let fan_out = stage.start(0, &["fan-out"], &[]);
    let run = stage.run();
    let mut workers = [stage.worker(1, &[]), stage.worker(2, &[]), stage.worker(3, &[])];
    stage.wait_for_calls(30);
    // The machine that shared the run out is lost, and messages come twice.
    drop(fan_out);
    std::fs::remove_dir_all(stage.machine(0).join("runs")).unwrap();
    stage.send_all_again(&run);
    let [dies, freezes, lives] = &mut workers;
    signal(dies, "-KILL");
    signal(freezes, "-STOP");
    assert!(stage.sim.upload_calls() < 200, "the run was almost over");
    // Until somebody else works on what the frozen one had.
    wait_for("the end of the run", || {
        let status = stage.on(4, &["status", "latest", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).ok()?;
        (status["state"] != "running" && status["counts"]["not-sent"] == 0).then_some(())
    });
    signal(freezes, "-CONT");
    let fan_in = stage.on(0, &["fan-in", "latest", "--json"]);
    assert_eq!(fan_in.code, 0, "{}", fan_in.stderr);
    assert_eq!(stage.end_of(3, lives), 0, "{}", stage.said(3));
    let _ = stage.end_of(2, freezes);
    stage.assert_whole(&fan_in.manifest(), 240);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_partition_that_no_worker_can_begin_is_named_with_its_reason_and_the_rest_is_collected() {
    // Nobody listens there. The account is planned by a worker of its site.
    let stage = Stage::new(10, |config| {
        let at = config.find("name = \"woodgrove\"").unwrap();
        let (before, after) = config.split_at(at);
        let endpoint = after.find("endpoint = \"").unwrap() + "endpoint = \"".len();
        let end = endpoint + after[endpoint..].find('"').unwrap();
        format!("{before}site = \"west\"\n{}http://127.0.0.1:9{}", &after[..endpoint], &after[end..])
    });
    let checked = stage.on(3, &["check"]);
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("workers of site `west` reach it"), "{}", checked.stdout);
    let mut fan_out = stage.start(0, &["fan-out"], &[]);
    let mut workers = [stage.worker(1, &["--forever"]), stage.worker(2, &["--site", "west", "--forever"])];
    assert_eq!(stage.end_of(0, &mut fan_out), 3, "{}", stage.said(0));
    let manifest = stage.manifest(0);
    let account =
        manifest["accounts"].as_array().unwrap().iter().find(|account| account["name"] == "woodgrove");
    let why = account.unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(why.starts_with("given up after it failed 5 times without progress; the last error: "), "{why}");
    assert!(stage.said(0).contains("woodgrove"), "{}", stage.said(0));
    assert_eq!(
        manifest["counts"]["verified"].as_u64().unwrap() + manifest["counts"]["adopted"].as_u64().unwrap(),
        30
    );
    for (number, worker) in (1..).zip(&mut workers) {
        signal(worker, "-TERM");
        assert_eq!(stage.end_of(number, worker), [0, 3][number - 1], "{}", stage.said(number));
    }
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_partition_that_kills_every_worker_is_set_aside_and_the_rest_is_collected() {
    let stage = Stage::new(10, |config| config.replace("heartbeat =", "poison_after = 2\nheartbeat ="));
    let mut fan_out = stage.start(0, &["fan-out"], &[]);
    let mut deaths = 0;
    let code = loop {
        let mut worker = stage.start(1, &["worker"], &[("FAILPOINTS", "begins-woodgrove=return")]);
        deaths += u32::from(worker.0.wait().unwrap().code().is_none());
        if let Some(status) = fan_out.0.try_wait().unwrap() {
            break status.code();
        }
    };
    assert_eq!((code, deaths), (Some(6), 2), "{}", stage.said(0));
    let manifest = stage.manifest(0);
    stage.assert_whole(&manifest, 30);
    assert_eq!(manifest["counts"]["not-sent"], 10);
    let reason = "given up after its worker died 2 times without progress";
    let named = |node: &Value| node["account"] == "woodgrove" && node["reason"].to_string().contains(reason);
    assert_eq!(manifest["nodes"].as_array().unwrap().iter().filter(|node| named(node)).count(), 10);
    assert_eq!(stage.queues.poisoned("work"), 1);
    assert!(stage.said(0).contains(reason), "{}", stage.said(0));

    // What is to be done is said, and is enough.
    let said = stage.said(0);
    let partition = said.split("fleetlogs resume ").nth(1).unwrap().split(' ').next().unwrap();
    let resumed = stage.on(0, &["resume", partition]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    let first = resumed.stderr.lines().next().unwrap();
    assert!(first.contains("-woodgrove; watch it: fleetlogs status runs/"), "{first}");
    let fan_in = stage.on(0, &["fan-in", "latest"]);
    assert_eq!(fan_in.code, 0, "{}", fan_in.stderr);
    stage.assert_whole(&stage.manifest(0), 40);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn options_of_fan_out_hold_for_what_workers_plan() {
    let stage =
        Stage::new(20, |config| config.replace("[journal]", "[defaults]\nsite = \"west\"\n[journal]"));
    let some = ["--node", "tvmps_[0-7]*", "--last", "90m"];
    let fan_out = stage.on(0, &[&["fan-out", "--detach", "--json"], &some[..]].concat());
    assert_eq!(fan_out.code, 0, "{}", fan_out.stderr);
    let document: Value = serde_json::from_str(&fan_out.stdout).unwrap();
    assert_as_described("fan-out", &document);
    assert_eq!((&document["nodes"], &document["partitions"][3]["site"]), (&0.into(), &"west".into()));
    let worker = stage.on(1, &["worker", "--site", "west", "--json"]);
    assert_eq!(worker.code, 0, "{}", worker.stderr);
    let document: Value = serde_json::from_str(&worker.stdout).unwrap();
    assert_as_described("worker", &document);
    assert_eq!((&document["done"], &document["exit_code"]), (&4.into(), &0.into()));
    let fan_in = stage.on(2, &["fan-in", "latest", "--json"]);
    assert_eq!(fan_in.code, 0, "{}", fan_in.stderr);
    let manifest = fan_in.manifest();
    let planned = stage.on(3, &[&["plan", "--json"], &some[..]].concat());
    let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
    let nodes = planned["nodes"].as_array().unwrap().len() as u64;
    assert!((1..80).contains(&nodes), "{nodes}");
    stage.assert_whole(&manifest, nodes);
    assert_eq!(manifest["counts"]["planned"], nodes);
    let time = |name: &str| {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(manifest["window"][name].as_str().unwrap(), format).unwrap()
    };
    assert_eq!(time("end") - time("start"), time::Duration::minutes(90));
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_worker_with_another_config_calls_nobody_and_spoils_nothing() {
    let stage = Stage::new(10, |config| config.replace("heartbeat =", "poison_after = 2\nheartbeat ="));
    let mut fan_out = stage.start(0, &["fan-out"], &[]);
    stage.run();
    let text = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, format!("# Changed.\n{text}")).unwrap();
    let worker = stage.on(1, &["worker"]);
    assert_eq!(worker.code, 2, "{}", worker.stderr);
    assert!(worker.stderr.contains("the config of this worker is not the one that the run was started with"));
    // It costs the partitions nothing.
    assert_eq!((stage.sim.upload_calls(), stage.queues.poisoned("work")), (0, 0));
    std::fs::write(&stage.config, text).unwrap();
    let worker = stage.on(2, &["worker"]);
    assert_eq!(worker.code, 0, "{}", worker.stderr);
    assert_eq!(stage.end_of(0, &mut fan_out), 0, "{}", stage.said(0));
    stage.assert_whole(&stage.manifest(0), 40);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn a_worker_that_is_told_to_stop_hands_back_and_another_one_ends_the_run() {
    let stage = Stage::new(40, |config| config);
    let mut fan_out = stage.start(0, &["fan-out"], &[]);
    let mut worker = stage.worker(1, &["--forever"]);
    stage.wait_for_calls(20);
    signal(&worker, "-TERM");
    assert_eq!(stage.end_of(1, &mut worker), 6, "{}", stage.said(1));
    assert_eq!(stage.said(1).matches("the partition is handed back").count(), 2, "{}", stage.said(1));
    let next = stage.on(2, &["worker"]);
    assert_eq!(next.code, 0, "{}", next.stderr);
    assert_eq!(stage.end_of(0, &mut fan_out), 0, "{}", stage.said(0));
    stage.assert_whole(&stage.manifest(0), 160);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn messages_that_a_lost_fan_out_did_not_send_are_sent_by_fan_in() {
    let stage = Stage::new(10, |config| config);
    let mut fan_out = stage.start(0, &["fan-out"], &[("FAILPOINTS", "before-messages=return")]);
    assert_eq!(fan_out.0.wait().unwrap().code(), None, "killed");
    let mut fan_in = stage.start(2, &["fan-in", "latest"], &[]);
    let untaken =
        "no worker takes contoso, fabrikam, tailwind, woodgrove: start one with `fleetlogs worker`, where it";
    while !stage.said(2).contains(untaken) {
        assert_eq!(fan_in.0.try_wait().unwrap(), None, "{}", stage.said(2));
        std::thread::sleep(Duration::from_millis(100));
    }
    let _worker = stage.worker(1, &["--forever"]);
    assert_eq!(stage.end_of(2, &mut fan_in), 0, "{}", stage.said(2));
    assert_eq!(stage.said(2).matches("it has no message: sending one").count(), 4, "{}", stage.said(2));
    stage.assert_whole(&stage.manifest(2), 40);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn the_pods_of_an_indexed_job_are_one_run_and_one_that_is_restarted_continues() {
    let stage = Stage::new(60, |config| config);
    let pod = |index: &'static str| {
        [
            ("JOB_COMPLETION_INDEX", index),
            ("JOB_COMPLETIONS", "2"),
            ("FLEETLOGS_SHARD_KEY", "plainly-fake-uid"),
        ]
    };
    let mut first = stage.start(0, &["run"], &pod("0"));
    stage.wait_for_calls(20);
    // Somebody waits who has not seen all plans yet.
    let mut fan_in = stage.start(3, &["fan-in", "latest"], &[]);
    wait_for("a look at what is planned", || stage.said(3).contains(" nodes").then_some(()));
    signal(&first, "-KILL");
    first.0.wait().unwrap();
    assert!(stage.sim.upload_calls() < 200, "the run was almost over");
    let mut pods = [stage.start(0, &["run"], &pod("0")), stage.start(1, &["run"], &pod("1"))];
    for (number, pod) in pods.iter_mut().enumerate() {
        assert_eq!(stage.end_of(number, pod), 0, "{}", stage.said(number));
        assert!(stage.said(number).contains(&format!("shard {number}/2 of run")), "{}", stage.said(number));
    }
    assert_eq!(stage.end_of(3, &mut fan_in), 0, "{}", stage.said(3));
    stage.assert_whole(&stage.manifest(3), 240);
    // A key is good for one run.
    let again = stage.on(0, &["run", "--shard", "0/2", "--key", "plainly-fake-uid", "--json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_as_described("shard", &serde_json::from_str(&again.stdout).unwrap());
    assert!(again.stderr.contains("nothing is left to do: the run of key `plainly-fake-uid` began at "));
}
