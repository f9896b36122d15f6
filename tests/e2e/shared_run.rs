//! A run that is shared out: its record is that of its partitions, and every command reads it as one run. The storage is
//! real: Azurite.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_azure::{BlobRunStore, SasSource, StoredPartition, http_client};
use fleetlogs_engine::node_spool::node_spool;
use fleetlogs_engine::scale_out::split_plan;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::PlannedNodes;
use fleetlogs_model::sas::SasUrl;
use serde_json::Value;

use crate::blob_journal::{Stage, json};
use crate::schemas::assert_as_described;
use crate::stage::{Server, assert_manifest_equals_ledger_but_for_unsent_calls, fleetlogs, wait_for};

const FLEET: &str = r#"
[[account]]
name = "contoso"
latency = { min = "5ms", max = "60ms" }
[[account.pool]]
id = "Pool_A"
nodes = 120
arrival = { min = "50ms", max = "500ms" }
[[account.fault]]
kind = "timeout-accepted"
share = 0.02
[[account]]
name = "fabrikam"
latency = "10ms"
[[account.pool]]
id = "Pool_B"
nodes = 30
arrival = "50ms"
[[account]]
name = "private"
latency = "10ms"
[[account.pool]]
id = "Pool_C"
nodes = 10
arrival = "50ms"
"#;

/// A run of the whole fleet, laid out as `fan-out` does, with the plans of its partitions.
struct SharedOut {
    stage: Stage,
    whole: BlobRunStore,
    parts: Vec<Plan>,
    id: String,
}

impl SharedOut {
    /// The last account is that of a site, and not planned yet.
    async fn lay_out() -> Self {
        let stage = tokio::task::spawn_blocking(|| Stage::of(FLEET, "")).await.unwrap();
        let config = stage.config.display().to_string();
        let planned = stage.on(0, &["plan", &config, "--output", "planned.json", "--quiet"]);
        assert_eq!(planned.code, 0, "{}", planned.stderr);
        let text = std::fs::File::open(stage.machine(0).join("planned.json")).unwrap();
        let plan = Plan::from_json(text, node_spool()).unwrap();
        let parts: Vec<_> = split_plan(&plan).map(Result::unwrap).collect();

        let sas = SasUrl::parse(&stage.azurite.container_sas("rcwl")).unwrap();
        let source: SasSource = Arc::new(move || {
            let sas = sas.clone();
            Box::pin(async move { Ok(sas) })
        });
        let (id, http) = (plan.run_id.to_string(), http_client(2).unwrap());
        let whole = BlobRunStore::new(http, source, format!("fleetlogs/{id}"), Duration::from_secs(15));
        for part in &parts[..2] {
            whole.partition(part.accounts[0].name.as_str()).lay_out(part, &config).await.unwrap();
        }
        let partitions: Vec<_> = parts
            .iter()
            .map(|part| part.accounts[0].name.clone())
            .map(|name| StoredPartition { site: (name.as_str() == "private").then(|| "west".into()), name })
            .collect();
        let nodes = PlannedNodes::spooled(node_spool());
        let seed = Plan { accounts: vec![], pools: vec![], left_out: vec![], nodes, ..plan };
        whole.lay_out_whole(&seed, &config, &partitions, None).await.unwrap();
        Self { stage, whole, parts, id }
    }

    fn url(&self, account: &str) -> String {
        format!("{}/fleetlogs/{}/p/{account}", self.stage.azurite.container(), self.id)
    }

    /// What `status` says of each partition: its state, and the worker that has it.
    fn partitions(&self) -> Vec<(String, Option<String>)> {
        let status = json(&self.stage.on(1, &["status", &self.id, "--json"]));
        assert_as_described("status", &status);
        let of = |part: &Value| {
            let text = |name: &str| part[name].as_str().map(str::to_owned);
            (text("state").unwrap(), text("worker"))
        };
        status["partitions"].as_array().unwrap().iter().map(of).collect()
    }

    fn states(&self) -> Vec<String> {
        self.partitions().into_iter().map(|(state, _)| state).collect()
    }

    /// Works on a partition to its end, as a worker does.
    fn work_on(&self, account: &str) {
        let done = wait_for("the lease of the partition", || {
            let done = self.stage.on(0, &["resume", &self.url(account), "--json"]);
            let is_held = done.code == 5 && done.stderr.contains("another process");
            (!is_held).then_some(done)
        });
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert_eq!(json(&done)["run_id"], *self.id);
    }
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn every_command_reads_a_run_that_is_shared_out_as_one_run() {
    // The store of the test works on its own threads; the commands are processes.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let run = runtime.block_on(SharedOut::lay_out());
    let (stage, id) = (&run.stage, &*run.id);
    assert_eq!(run.states(), ["waiting", "waiting", "not-planned"]);
    let status = stage.on(1, &["status", id]);
    for told in [
        format!("run {id} waits for workers, none is at work now: `fleetlogs fan-in "),
        "3 partitions: 2 waiting, 1 not planned".into(),
        "private west not planned ? 0 0 0".into(),
    ] {
        let flat = status.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&told), "{told}: {}", status.stdout);
    }
    assert!(!status.stdout.contains("INTERRUPTED"), "{}", status.stdout);
    let refused = stage.on(1, &["resume", id]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for told in ["fleetlogs fan-in ", "/p/ACCOUNT", "3 partitions"] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    // It is reported as far as it is, without a worker.
    let early = stage.on(1, &["report", id, "--json"]);
    assert_eq!(early.code, 0, "{}", early.stderr);
    let early = json(&early);
    let expected = (&"interrupted".into(), &150.into(), &1.into());
    let counts =
        (&early["outcome"], &early["counts"]["not-sent"], &early["uncounted"]["accounts_not_listed"]);
    assert_eq!(counts, expected);
    assert_eq!(early["reason"], "not all of its partitions are done");
    assert!(early["resume"].as_str().unwrap().starts_with("fleetlogs fan-in "), "{}", early["resume"]);
    assert_eq!(early["next"][0]["command"], early["resume"]);

    // A worker is at work on one of them, and dies.
    let worker = stage.start(0, &["resume", &run.url("contoso"), "--quiet"]);
    let (_, who) = wait_for("the worker", || {
        let first = run.partitions().remove(0);
        (first.0 == "at-work").then_some(first)
    });
    assert!(who.is_some_and(|who| who.starts_with(&format!("process {}", worker.0.id()))));
    let busy = stage.on(1, &["report", id]);
    assert_eq!(busy.code, 5, "{}", busy.stderr);
    assert!(busy.stderr.contains("partition contoso: another process (process "), "{}", busy.stderr);
    wait_for("calls", || (stage.sim.upload_calls() >= 20).then_some(()));
    drop(worker);
    wait_for("its lease to run out", || (run.states()[0] == "silent").then_some(()));

    run.work_on("contoso");
    run.work_on("fabrikam");
    assert_eq!(run.states(), ["done", "done", "not-planned"]);
    assert_eq!(json(&stage.on(1, &["runs", "--json"]))["runs"][0]["state"], "waiting");

    // A follower sees that the last one is planned, and ends with the run.
    let mut follower = fleetlogs();
    follower.args(["status", id, "--follow", "--json"]).env("FLEETLOGS_CONFIG", &stage.config);
    let mut follower = Server(follower.current_dir(stage.machine(1)).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let partition = |line: &str| {
        let status: Value = serde_json::from_str(line).unwrap();
        (status["partitions"][2]["state"].as_str().unwrap().to_owned(), status["state"].clone())
    };
    assert_eq!(partition(&lines.next().unwrap()), ("not-planned".into(), "waiting".into()));
    let private = run.whole.partition("private");
    runtime.block_on(private.lay_out(&run.parts[2], &stage.config.display().to_string())).unwrap();
    let last = std::thread::scope(|scope| {
        let last = scope.spawn(|| lines.last().unwrap());
        run.work_on("private");
        last.join().unwrap()
    });
    assert_eq!(partition(&last), ("done".into(), "ended".into()));

    // From here on it is a run like any other.
    let counts = json(&stage.on(1, &["status", id, "--json"]))["counts"].clone();
    assert_eq!(counts["verified"].as_u64().unwrap() + counts["adopted"].as_u64().unwrap(), 160, "{counts}");
    let reported = stage.on(1, &["report", id, "--json"]);
    assert_eq!(reported.code, 0, "{}", reported.stderr);
    let manifest = reported.manifest();
    let kept: Value = serde_json::from_str(&reported.file("plan.json")).unwrap();
    assert_eq!(
        kept["nodes"].as_array().unwrap().len(),
        160,
        "the copy of the plan is not that of the early report"
    );
    assert_manifest_equals_ledger_but_for_unsent_calls(&manifest, &stage.sim.ledger());
    assert_eq!(manifest["nodes"].as_array().unwrap().len(), 160);
    let listed = json(&stage.on(1, &["runs", "--json"]));
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed["runs"][0]["state"], &listed["runs"][0]["counts"]["not-sent"]),
        (&"ended".into(), &0.into())
    );
    let text = stage.on(1, &["status", id]).stdout;
    assert!(text.contains("3 partitions: 3 done"), "{text}");
    assert_eq!(listed["runs"][0]["partitions"], 3);
    let text = stage.on(1, &["runs"]).stdout;
    assert!(text.contains("3 partitions"), "{text}");
    for arguments in [&["verify", id][..], &["fetch", id], &["bundle", id, "--with-logs"]] {
        let done = stage.output(1, arguments);
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
