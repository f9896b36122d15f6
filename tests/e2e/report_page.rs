//! `report.html` in a real browser: what it shows is what the manifest says, it asks nobody for anything, and no name
//! is ever run. The scripts that drive the browser are in tests/page.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fleetlogs_engine::local_store::LocalRunStore;
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::evidence::{NodeEvidence, NodeFacts};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId, RunId};
use fleetlogs_model::plan::{LeftOut, LeftOutReason, PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, PlannedPool};
use fleetlogs_model::run_store::RunStore as _;
use fleetlogs_model::service::{NodeError, NodeState, RecentTask};
use fleetlogs_model::window::Window;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::stage::{Sim, fleetlogs};

const START: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

/// Runs a script of tests/page on a page, with what it is to find there.
fn look(script: &str, page: &Path, expected: &Value) {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let installed = tests.join("tools/node_modules/playwright-core");
    assert!(installed.exists(), "{} is missing; `bash tests/all.sh` installs it", installed.display());
    let script = tests.join("page").join(script);
    let looked = Command::new("node").arg(script).arg(page).arg(expected.to_string()).output();
    let looked = looked.expect("Node is installed; `bash tests/all.sh` sees to it");
    let said =
        format!("{}{}", String::from_utf8_lossy(&looked.stdout), String::from_utf8_lossy(&looked.stderr));
    assert!(looked.status.success(), "{said}");
    println!("{said}");
}

#[test]
#[ignore = "needs Chromium, and the packages in tests/tools; tests/all.sh installs them and runs this"]
fn the_page_of_a_bad_day_says_what_the_manifest_says() {
    let sim = Sim::start(
        r#"
        seed = 3
        [[account]]
        name = "contoso"
        latency = "5ms"
        [[account.pool]]
        id = "render"
        nodes = 60
        states = { starttaskfailed = 0.1, creating = 0.05 }
        arrival = { min = "50ms", max = "900ms" }
        [[account.fault]]
        kind = "throttle"
        share = 0.1
        [[account]]
        name = "fabrikam"
        [[account.pool]]
        id = "simulate"
        nodes = 35
        arrival = "100ms"
        [[account.pool.life]]
        nodes = 3
        at = "0s"
        becomes = "rebooting"
        [[account.pool]]
        id = "blocked"
        nodes = 5
        storage_blocked = true
        "#,
    );
    // Nodes that reboot are given up soon.
    let settings = "limits = { rate = 100 }\ndeadlines = { call = \"2s\", node = \"10s\", run = \"1h\" }";
    let run = sim.run_with(&sim.config(settings), &["--json"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let page = run.dir.as_ref().unwrap().join("report.html");
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let named = sim.dir.path().join(document["report"].as_str().unwrap());
    assert_eq!(named.canonicalize().unwrap(), page.canonicalize().unwrap());

    let manifest = run.manifest();
    let nodes = manifest["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["outcome"] == "verified").unwrap();
    let attempts = || nodes.iter().flat_map(|node| node["attempts"].as_array().unwrap());
    let throttled = attempts().filter(|attempt| [429, 503].map(Value::from).contains(&attempt["status"]));
    let (planned, verified) = (run.count("planned"), run.count("verified"));
    let skipped =
        manifest["left_out"].as_array().unwrap().iter().filter(|left| !left["node"].is_null()).count();
    let expected = json!({
        "verdict": format!(
            "{verified} of {planned} nodes collected, {} not; {skipped} nodes skipped.",
            planned - verified
        ),
        "badge": "Partial",
        "counts": manifest["counts"],
        "missing": planned - verified,
        "blocked": 5,
        "calls": attempts().count(),
        "throttled": throttled.count(),
        "destination": manifest["destination"],
        "node": node["node"],
        "directory": node["virtual_directory"],
        "request_id": node["attempts"].as_array().unwrap().last().unwrap()["request_id"],
    });
    look("small_run.mjs", &page, &expected);
}

#[test]
#[ignore = "needs Chromium, and the packages in tests/tools; tests/all.sh installs them and runs this"]
fn the_page_of_ten_thousand_nodes_holds_few_of_them_at_a_time() {
    let nodes = (0..10_000).map(|at| plain_node(&format!("pool-{}", at % 23), &format!("tvm-{at}")));
    let run = RecordedRun::of(&plan_of(nodes.collect(), vec![]), |at| story(at, "the node is busy"));
    look("large_run.mjs", &run.page(), &json!({ "nodes": 10_000, "rows": 10_000 }));
}

#[test]
#[ignore = "needs Chromium, and the packages in tests/tools; tests/all.sh installs them and runs this"]
fn the_page_of_a_very_large_run_says_what_it_leaves_out() {
    let nodes = (0..21_000).map(|at| plain_node(&format!("pool-{}", at % 7), &format!("tvm-{at}")));
    let run = RecordedRun::of(&plan_of(nodes.collect(), vec![]), |at| story(at, "the node is busy"));
    look("large_run.mjs", &run.page(), &json!({ "nodes": 21_000, "rows": 20_000 }));
}

#[test]
#[ignore = "needs Chromium, and the packages in tests/tools; tests/all.sh installs them and runs this"]
fn the_page_answers_on_the_first_screen_and_keeps_its_state_in_the_address() {
    let id = |at: u128| format!("tvmps_{:032x}{:032x}_d", at.wrapping_mul(0x9e37_79b9_7f4a_7c15), at);
    let nodes = (0..2_000).map(|at| {
        let node = plain_node(if at < 300 { "isolated" } else { "render" }, &id(at));
        let state = match at {
            400..440 => NodeState::Unusable,
            500..530 => NodeState::StartTaskFailed,
            _ => return node,
        };
        let facts = NodeFacts { state: Some(state), ..NodeFacts::default() };
        PlannedNode { evidence: NodeEvidence { facts: facts.into(), ..NodeEvidence::default() }, ..node }
    });
    let mut plan = plan_of(nodes.collect(), vec![]);
    plan.accounts.push(PlannedAccount {
        name: AccountName::new("northwind"),
        pools: 0,
        nodes: 0,
        unlisted: Some("403 AuthorizationFailure: the role is missing".into()),
        ..plan.accounts[0].clone()
    });
    let incomplete = |files, reason: &str| {
        let ended = Event::FilesIncomplete { files, bytes: 0, reason: reason.into(), shortfall: None };
        vec![requested(1), accepted_of(7), ended]
    };
    let refused = |class, status, code: &str, why: &str| {
        let cause = Failure { status: Some(status), code: Some(code.into()), ..Failure::new(class, why) };
        vec![requested(1), Event::UploadFailed { attempt: 1, cause }]
    };
    let long = "the node is busy, and the service says so in a sentence that is far longer than any line of the table could ever \
                be, whatever the width of the window";
    let run = RecordedRun::of(&plan, |at| match at {
        0..300 => incomplete(0, "no file arrived before the verification deadline"),
        300..340 => refused(FailureClass::Refused, 409, "NodeBeingRebooted", long),
        340..370 => incomplete(3, "3 of 4 files arrived before the verification deadline"),
        370..395 => refused(FailureClass::Gone, 404, "NodeNotFound", "no such node"),
        395..410 => refused(FailureClass::Refused, 403, "AuthorizationFailure", "not allowed"),
        410..420 => vec![],
        _ => story(9, ""),
    });
    let expected = json!({
        "verdict": "1,580 of 2,000 nodes collected, 420 not; 1 account not listed.",
        "unlisted": "northwind",
        "why": "the role is missing",
        "causes": 6,
        "first_cause": 300,
        "trouble": 70,
        "unusable": 40,
        "missing": 420,
    });
    look("first_screen.mjs", &run.page(), &expected);
}

#[test]
#[ignore = "needs Chromium, and the packages in tests/tools; tests/all.sh installs them and runs this"]
fn a_name_is_never_run() {
    let name = "</script><script>globalThis.ran=1</script><img src=x onerror='globalThis.ran=2'>\"'&amp;\u{202e}\u{2028}{{x}}";
    let shown = "</script><script>globalThis.ran=1</script><img src=x onerror='globalThis.ran=2'>\"'&amp;\\u{202e}\\u{2028}{{x}}";
    let facts = NodeFacts {
        state: Some(NodeState::Other(name.into())),
        image: Some(name.into()),
        errors: vec![NodeError { code: "DiskFull".into(), message: name.into() }],
        ..NodeFacts::default()
    };
    let task =
        RecentTask { job: name.into(), task: name.into(), started: None, ended: None, exit_code: None };
    let node = PlannedNode {
        evidence: NodeEvidence {
            recent_tasks: [task].into(),
            facts: facts.into(),
            ..NodeEvidence::default()
        },
        // Were it the name alone, it would be folded away where a reason quotes it.
        ..plain_node(name, &format!("{name}-7"))
    };
    let left_out = LeftOut {
        account: AccountName::new("contoso"),
        pool: PoolId::new(name),
        node: Some(NodeId::new(name)),
        reason: LeftOutReason::PoolNotListed,
        cause: Some(name.into()),
        evidence: None,
    };
    let mut plan = plan_of(vec![node], vec![left_out]);
    plan.accounts[0].missing = Some(name.into());
    let run = RecordedRun::of(&plan, |_| {
        let accepted =
            Event::UploadAccepted { attempt: 1, directory: name.into(), files: Some(4), request_id: None };
        vec![requested(1), accepted, requested(2), failed(2, name)]
    });
    look("hostile_names.mjs", &run.page(), &json!({ "name": "globalThis.ran=1", "shown": shown }));
}

/// Most nodes are verified; of a hundred, some are not, for the given reason among others.
fn story(at: u32, why: &str) -> Vec<Event> {
    let accepted = accepted_of(at);
    let reason = "3 of 4 files arrived before the verification deadline".into();
    match at % 100 {
        3 => vec![requested(1), failed(1, why)],
        5 => vec![
            requested(1),
            accepted,
            Event::FilesIncomplete { files: 3, bytes: 30, reason, shortfall: None },
        ],
        7 => vec![],
        _ => vec![
            requested(1),
            accepted,
            Event::FilesVerified { files: 4, bytes: 4_096, fingerprint: None, proof: None },
        ],
    }
}

fn accepted_of(at: u32) -> Event {
    Event::UploadAccepted {
        attempt: 1,
        directory: format!("batch-2f/pool/tvm-{at}/{}", Uuid::from_u128(at.into())).into(),
        files: Some(4),
        request_id: Some(Uuid::from_u128(at.into()).to_string().into()),
    }
}

fn requested(attempt: u32) -> Event {
    let client_request_id = Uuid::from_u128(attempt.into());
    Event::UploadRequested { attempt, client_request_id, service_ahead_ms: None }
}

fn failed(attempt: u32, why: &str) -> Event {
    let status = (Some(409), Some("NodeBeingRebooted".into()));
    let cause = Failure { status: status.0, code: status.1, ..Failure::new(FailureClass::Refused, why) };
    Event::UploadFailed { attempt, cause }
}

fn plain_node(pool: &str, node: &str) -> PlannedNode {
    let place = PlannedPool::bare(AccountName::new("contoso"), PoolId::new(pool));
    PlannedNode::bare(place.into(), NodeId::new(node))
}

fn plan_of(nodes: Vec<PlannedNode>, left_out: Vec<LeftOut>) -> Plan {
    let mut pools: Vec<Arc<PlannedPool>> = nodes.iter().map(|node| node.place.clone()).collect();
    pools.sort_by(|a, b| a.pool.cmp(&b.pool));
    pools.dedup_by(|a, b| a.pool == b.pool);
    let account = PlannedAccount {
        name: AccountName::new("contoso"),
        endpoint: "https://contoso.westeurope.batch.azure.com".into(),
        api_version: "2024-07-01.20.0".into(),
        pools: u32::try_from(pools.len()).unwrap(),
        nodes: u32::try_from(nodes.len()).unwrap(),
        list_calls: 1,
        unlisted: None,
        missing: None,
    };
    Plan {
        schema: PLAN_SCHEMA.into(),
        run_id: RunId::new(START, 0x4f2a),
        tool_version: "0.1.0".into(),
        created_at: START,
        config_digest: "9f86d081884c7d65".into(),
        snapshot: None,
        window: Window { start: START - Duration::HOUR, end: START },
        destination: "https://contosologs.blob.core.windows.net/batch".into(),
        accounts: vec![account],
        pools,
        nodes: nodes.into_iter().collect(),
        left_out,
    }
}

/// A run directory made without a run: the program reports what its journal says.
struct RecordedRun(TempDir);

impl RecordedRun {
    fn of(plan: &Plan, story: impl Fn(u32) -> Vec<Event>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut journal = runtime.block_on(LocalRunStore::new(&run).create(plan, "fleetlogs.toml")).unwrap();
        let of_run = |seconds, event| Recorded { at: START + Duration::seconds(seconds), node: None, event };
        let started = Event::RunStarted {
            tool_version: "0.1.0".into(),
            verification: true,
            arrival_deadline_ms: None,
            unverified: None,
            simulated: false,
        };
        let mut events = vec![of_run(0, started)];
        for node in 0..u32::try_from(plan.nodes.len()).unwrap() {
            // A hundred nodes a second, and a second from event to event.
            let from = START + Duration::milliseconds(i64::from(node) * 10);
            let at = (0..).map(|step| from + Duration::seconds(step));
            events.extend(story(node).into_iter().zip(at).map(|(event, at)| Recorded {
                at,
                node: Some(NodeIndex(node)),
                event,
            }));
        }
        events.push(of_run(240, Event::RunEnded { list_calls: 9 }));
        journal.append(&events).unwrap();
        drop(journal);
        let report = fleetlogs().args(["report", "-q"]).arg(&run).output().unwrap();
        assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
        Self(dir)
    }

    fn page(&self) -> PathBuf {
        self.0.path().join("run/report.html")
    }
}
