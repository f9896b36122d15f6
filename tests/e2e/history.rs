//! `fleetlogs history`: which minutes a series of runs proves, and which it does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::window::{NodeWindows, Reached, SinceLast};
use fleetlogs_model::ids::{AccountName, NodeId, PoolId, RunId, SnapshotName};
use fleetlogs_model::plan::{PlannedNode, PlannedPool, Window};
use fleetlogs_model::timestamp;
use fleetlogs_report::{History, read_head};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::stage::{Run, Sim, fleetlogs};

const NIGHTLY: &str = "[[snapshot]]\nname = \"nightly\"\nwindow = \"since-last\"\n";

const FLEET: &str = "[[account]]\nname = \"contoso\"\nlatency = \"5ms\"\n\
    [[account.pool]]\nid = \"render\"\nnodes = 4\nfiles = 2\narrival = { min = \"20ms\", max = \"100ms\" }\n";

const BLOCKED: &str = "[[account.pool]]\nid = \"blocked\"\nnodes = 1\nfiles = 2\nstorage_blocked = true\n";

fn history(sim: &Sim, config: &Path, arguments: &[&str]) -> Run {
    let output =
        fleetlogs().arg("history").arg(config).args(arguments).current_dir(sim.dir.path()).output().unwrap();
    Run::of(sim.dir.path(), output)
}

/// A run by hand, made one of the snapshot.
fn run_of_nightly(sim: &Sim, config: &Path) -> Run {
    let run = sim.run(config);
    let snapshot = r#"{"name":"nightly","trigger":"cron","due":"2026-11-22T09:30:00.000Z"}"#;
    let dir = run.dir.as_ref().unwrap();
    let patch = |file: &str, from: &str, to: &str| {
        let text = run.file(file);
        assert_eq!(text.matches(from).count(), 1, "{file}");
        std::fs::write(dir.join(file), text.replace(from, to)).unwrap();
    };
    patch("manifest.json", "\"snapshot\": null", &format!("\"snapshot\": {snapshot}"));
    patch("plan.json", "\"window\":{\"start\"", &format!("\"snapshot\":{snapshot},\"window\":{{\"start\""));
    run
}

fn document(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

#[test]
fn a_series_without_a_hole_is_proven_and_a_lost_manifest_is_named() {
    let sim = Sim::start(FLEET);
    let config = sim.config(NIGHTLY);
    let none = history(&sim, &config, &[]);
    assert_eq!(none.code, 4, "{}{}", none.stdout, none.stderr);

    let by_hand = sim.run(&config);
    assert_eq!(by_hand.manifest()["snapshot"], Value::Null);
    assert_eq!(history(&sim, &config, &[]).code, 4, "a run by hand is of no series");

    for _ in 0..2 {
        assert_eq!(run_of_nightly(&sim, &config).code, 0);
    }
    let whole = history(&sim, &config, &[]);
    assert_eq!(whole.code, 0, "{}{}", whole.stdout, whole.stderr);
    assert!(whole.stdout.ends_with("WHOLE  no minute is missing.\n"), "{}", whole.stdout);
    let told = history(&sim, &config, &["nightly", "--json"]);
    let told = document(&told);
    assert_eq!(told["schema"], "fleetlogs.history/v1");
    let series = &told["series"][0];
    assert_eq!((&series["totals"]["nodes"], &series["runs"]["read"]), (&4.into(), &2.into()));
    assert_eq!(series["totals"]["verified_seconds"], series["totals"]["owed_seconds"]);

    let lost = whole.dir.as_ref().unwrap();
    std::fs::remove_file(lost.join("manifest.json")).unwrap();
    let named = history(&sim, &config, &[]);
    assert_eq!(named.code, 0);
    let id = lost.file_name().unwrap().to_str().unwrap();
    assert!(named.stdout.contains(&format!("not read  {id}: it has no manifest")), "{}", named.stdout);
}

#[test]
fn a_node_whose_files_never_came_is_a_hole_with_its_reason() {
    let sim = Sim::start(&format!("{FLEET}{BLOCKED}"));
    let config = sim.config(NIGHTLY);
    assert_eq!(run_of_nightly(&sim, &config).code, 3);
    let run = history(&sim, &config, &["--json"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    let series = document(&run)["series"][0].clone();
    let holes = series["holes"].as_array().unwrap();
    assert_eq!((holes.len(), &series["totals"]["nodes_with_holes"]), (1, &1.into()));
    assert_eq!(holes[0]["pool"], "blocked");
    assert!(holes[0]["why"].as_str().unwrap().starts_with("incomplete in run "), "{}", holes[0]);
    let shown = history(&sim, &config, &[]);
    assert!(shown.stdout.contains("hole      contoso, pool blocked, "), "{}", shown.stdout);
    assert!(shown.stdout.lines().last().unwrap().starts_with("HOLES  1 node with 1 hole, "));
    let before = history(&sim, &config, &["--to", "2001-01-01T00:00:00Z"]);
    assert_eq!(before.code, 0, "nothing is owed then: {}", before.stdout);
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_can_be() {
    let sim = Sim::start(FLEET);
    let two = "[[snapshot]]\nname = \"a\"\nwindow = \"6h\"\n[[snapshot]]\nname = \"b\"\nwindow = \"6h\"\n";
    for (more, arguments, said) in [
        ("", &[][..], "the config has no snapshot"),
        (NIGHTLY, &["weekly"], "no snapshot `weekly`"),
        (NIGHTLY, &["--from", "yesterday"], "write a time with its offset"),
        (NIGHTLY, &["--from", "2026-11-22T00:00:00Z", "--to", "2026-11-21T00:00:00Z"], "is not after"),
        (two, &[], "name one of them: a, b"),
    ] {
        let run = history(&sim, &sim.config(more), arguments);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
}

/// What becomes of a node in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Verified,
    Failed,
    Empty,
    Absent,
    /// Another node has its id, and is verified.
    Replaced,
}

const NODES: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);
const START: OffsetDateTime = datetime!(2026-11-01 00:00 UTC);

fn runs() -> impl Strategy<Value = Vec<(u32, [Part; NODES])>> {
    use Part::{Absent, Empty, Failed, Replaced, Verified};
    let part = prop_oneof![
        3 => Just(Verified), 3 => Just(Failed), 1 => Just(Empty), 1 => Just(Absent), 1 => Just(Replaced)
    ];
    prop::collection::vec((2_u32..300, prop::array::uniform3(part)), 1..12)
}

/// Plans each run as the scheduler does, and writes its manifest. Returns what the manifests prove, and for each node that
/// is there at the end what `longest` cut, by a count of its own.
fn simulate(runs: Vec<(u32, [Part; NODES])>, longest: Duration, margin: Duration) -> (Value, Value) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.json");
    let mut history = History::new(SnapshotName::new("nightly"), None, Some(longest));
    let place = Arc::new(PlannedPool::bare(AccountName::new("contoso"), PoolId::new("render")));
    let mut allocated = [START - MINUTE * 1000; NODES];
    let mut reached: BTreeMap<(usize, OffsetDateTime), OffsetDateTime> = BTreeMap::new();
    let mut cut: BTreeMap<(usize, OffsetDateTime), Vec<Value>> = BTreeMap::new();
    let mut began: Option<OffsetDateTime> = None;
    let mut now = START;
    for (minutes, parts) in runs.into_iter().chain([(30, [Part::Verified; NODES])]) {
        let before = now;
        now += MINUTE * minutes;
        let mut known = Reached::since(began);
        for ((id, allocated), until) in &reached {
            known.insert(("contoso", "render", &format!("n{id}")), Some(*allocated), *until);
        }
        let since = SinceLast { margin, longest, otherwise: MINUTE * 90, reached: known.into() };
        let windows = NodeWindows::Last(since);
        let mut whole = windows.least(now);
        let mut nodes = Vec::new();
        for (id, part) in parts.into_iter().enumerate() {
            match part {
                Part::Absent => continue,
                Part::Replaced => allocated[id] = before + (now - before) / 2,
                _ => {}
            }
            let mut node = PlannedNode::bare(place.clone(), NodeId::new(format!("n{id}")));
            node.evidence.allocation_time = Some(allocated[id]);
            let Window { start, end } = windows.of(&node, now);
            whole.start = whole.start.min(start);
            let outcome = match part {
                Part::Verified | Part::Replaced => "verified",
                Part::Empty => "empty",
                _ => "failed",
            };
            nodes.push((id, outcome, start, end));
        }
        let began = *began.get_or_insert(whole.start);
        let time = |moment| timestamp::text(moment);
        for (id, ..) in nodes.iter().filter(|(_, outcome, ..)| *outcome == "verified") {
            let of = (*id, allocated[*id]);
            let owed = reached.get(&of).copied().unwrap_or(began.max(of.1));
            if now - longest > owed {
                let (from, to) = (time(owed), time(now - longest));
                let hole = json!({ "node": format!("n{id}"), "from": from, "to": to });
                cut.entry(of).or_default().push(hole);
            }
            reached.insert(of, now);
        }
        let nodes: Vec<_> = nodes
            .into_iter()
            .map(|(id, outcome, start, end)| {
                json!({
                    "account": "contoso", "pool": "render", "node": format!("n{id}"), "outcome": outcome, "reason": null,
                    "allocation_time": time(allocated[id]), "window": { "start": time(start), "end": time(end) },
                })
            })
            .collect();
        let manifest = json!({
            "run_id": RunId::new(now, 0), "window": { "start": time(whole.start), "end": time(now) },
            "snapshot": { "name": "nightly", "trigger": "cron", "due": time(now) },
            "accounts": [{ "name": "contoso", "reason": null, "pools": 1, "planned": nodes.len() }],
            "nodes": nodes, "left_out": [],
        });
        std::fs::write(&path, manifest.to_string()).unwrap();
        history.add_run(&path, &read_head(&path).unwrap());
    }
    let there = (0..NODES).filter_map(|id| cut.remove(&(id, allocated[id]))).flatten().collect();
    let series = serde_json::to_value(history.series(None, None)).unwrap();
    let is_there = |hole: &&Value| {
        (0..NODES).any(|id| {
            hole["node"] == format!("n{id}") && hole["allocation_time"] == timestamp::text(allocated[id])
        })
    };
    let short = |hole: &Value| json!({ "node": hole["node"], "from": hole["from"], "to": hole["to"] });
    let holes = series["holes"].as_array().unwrap().iter().filter(is_there).map(short).collect();
    (holes, there)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever fails, comes and goes: once every node that is there verified, nothing of its time is missing.
    #[test]
    fn windows_since_the_last_leave_no_hole(runs in runs(), margin in 0_u32..20) {
        let (holes, cut) = simulate(runs, MINUTE * 10_000, MINUTE * margin);
        prop_assert_eq!((holes, cut), (json!([]), json!([])));
    }

    /// With a limit, exactly what it cut is named, but for what the node had answered before with nothing to send.
    #[test]
    fn what_longest_cut_is_what_is_named(mut runs in runs(), margin in 0_u32..20) {
        for part in runs.iter_mut().flat_map(|(_, parts)| parts).filter(|part| **part == Part::Empty) {
            *part = Part::Failed;
        }
        let (holes, cut) = simulate(runs, MINUTE * 200, MINUTE * margin);
        prop_assert_eq!(holes, cut);
    }
}
