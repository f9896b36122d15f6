//! `fleetlogs history`: which minutes a series of runs proves, and which it does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_engine::schedule::JobEnd;
use fleetlogs_engine::schedule::state::{Store, runs};
use fleetlogs_engine::window::{NodeWindows, SinceLast, VerifiedUntil};
use fleetlogs_model::ids::{AccountName, NodeId, PoolId, RunId, SnapshotName};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::planned::{PlannedNode, PlannedPool};
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use fleetlogs_model::timestamp;
use fleetlogs_model::window::Window;
use fleetlogs_report::{History, read_head};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::stage::{Run, Sim, fleetlogs};

const NIGHTLY: &str = r#"
[[snapshot]]
name = "nightly"
window = "since-last"
"#;

const FLEET: &str = r#"
[[account]]
name = "contoso"
latency = "5ms"
[[account.pool]]
id = "render"
nodes = 4
files = 2
arrival = { min = "20ms", max = "100ms" }
"#;

const BLOCKED: &str = r#"
[[account.pool]]
id = "blocked"
nodes = 1
files = 2
storage_blocked = true
"#;

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
    insta::assert_snapshot!(none.picture(), @r"
    exit code: 4
    ----- stdout -----
    nightly
      nodes     0
      minutes   0 of 0 verified
    NO RUN  no run of this snapshot was found.
    ");

    let by_hand = sim.run(&config);
    assert_eq!(by_hand.manifest()["snapshot"], Value::Null);
    assert_eq!(history(&sim, &config, &[]).code, 4, "a run by hand is of no series");

    for _ in 0..2 {
        assert_eq!(run_of_nightly(&sim, &config).code, 0);
    }
    let whole = history(&sim, &config, &[]);
    assert_eq!(whole.code, 0, "{}{}", whole.stdout, whole.stderr);
    assert!(whole.stdout.ends_with("NO GAPS  no minute is missing.\n"), "{}", whole.stdout);
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
    assert!(shown.stdout.contains("gap       contoso, pool blocked, "), "{}", shown.stdout);
    assert!(shown.stdout.lines().last().unwrap().starts_with("GAPS  1 node with 1 gap, "));
}

#[test]
fn a_time_that_no_run_speaks_of_is_not_proven() {
    let sim = Sim::start(FLEET);
    let config = sim.config(NIGHTLY);
    assert_eq!(run_of_nightly(&sim, &config).code, 0);
    assert_eq!(history(&sim, &config, &[]).code, 0);
    for outside in [
        &["--to", "2001-01-01T00:00:00Z"][..],
        &["--from", "2099-01-01T00:00:00Z"],
        &["--from", "2098-01-01T00:00:00Z", "--to", "2099-01-01T00:00:00Z"],
    ] {
        let run = history(&sim, &config, outside);
        assert_eq!(run.code, 4, "{outside:?}: {}", run.stdout);
        assert!(run.stdout.contains("NO PROOF  the series has nothing in that time range"), "{}", run.stdout);
    }
    std::thread::sleep(Duration::from_millis(1_500));
    let later = history(&sim, &config, &["--to", "2099-01-01T00:00:00Z"]);
    assert_eq!(later.code, 3, "{}", later.stdout);
    assert!(
        later.stderr.contains("`--to` is in the future: using the present time instead"),
        "{}",
        later.stderr
    );
    assert_eq!(later.stdout.matches("no run has requested it yet").count(), 5, "{}", later.stdout);
    assert!(
        later.stdout.lines().last().unwrap().starts_with("GAPS  4 nodes with 4 gaps, "),
        "{}",
        later.stdout
    );
}

/// Puts runs on the record of the schedule, each with whether it has ended.
fn put_on_record(sim: &Sim, runs: &[(&Path, bool)]) -> (Store, tokio::runtime::Runtime) {
    let store = Store::open(&sim.dir.path().join("runs").join("schedule.db"), None).unwrap();
    let ended =
        JobEnd { outcome: Some(RunOutcome::Complete), exit_code: 0, reason: None, interrupted: false };
    let record = store.change(|state| {
        for (dir, has_ended) in runs {
            let of = SnapshotRef { name: SnapshotName::new("nightly"), trigger: Trigger::Cron, due: START };
            let job = runs::enqueue(state, &of, START)?;
            runs::start_row(state, job, "here", START)?;
            runs::record_begin(state, job, &id(dir), dir)?;
            if *has_ended {
                runs::record_end(state, job, &ended, START)?;
            }
        }
        Ok(())
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(record).unwrap();
    (store, runtime)
}

fn id(dir: &Path) -> RunId {
    dir.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn a_newest_run_that_ended_and_cannot_be_read_leaves_its_time_open() {
    let sim = Sim::start(FLEET);
    let config = sim.config(NIGHTLY);
    let first = run_of_nightly(&sim, &config).dir.unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    let last = run_of_nightly(&sim, &config).dir.unwrap();
    let manifest = last.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let judge = |code, said: &str| {
        let run = history(&sim, &config, &[]);
        assert_eq!(run.code, code, "{said}: {}", run.stdout);
        assert!(run.stdout.contains(&format!("not read  {}: {said}", id(&last))), "{said}: {}", run.stdout);
        assert_eq!(run.stdout.contains("\nGAPS"), code == 3, "{}", run.stdout);
        assert!(code == 0 || !run.stdout.contains("fleetlogs resume"), "{}", run.stdout);
    };
    let with = |text: &str, code, said| {
        std::fs::write(&manifest, text).unwrap();
        judge(code, said);
    };
    let broken = || {
        with("", 3, "its manifest is not in the form that fleetlogs writes: the text is cut off");
        with(
            &text[..text.len() / 2],
            3,
            "its manifest is not in the form that fleetlogs writes: the text is cut off",
        );
        with(
            &text.replace("manifest/v1", "manifest/v2"),
            3,
            "its manifest has the schema `fleetlogs.manifest/v2`",
        );
        with(&text.replace("\"planned\":4", "\"planned\":5"), 3, "its manifest contradicts itself");
    };
    broken();
    std::fs::remove_file(&manifest).unwrap();
    judge(0, "it has no manifest; resume it with `fleetlogs resume ");

    let (store, runtime) = put_on_record(&sim, &[(&first, true), (&last, true)]);
    broken();
    with(&text.replace("\"nightly\"", "\"weekly\""), 3, "its manifest names weekly");
    let of = text.find("\"snapshot\": ").unwrap();
    let end = of + text[of..].find('}').unwrap() + 1;
    with(&format!("{}\"snapshot\": null{}", &text[..of], &text[end..]), 3, "its manifest names no snapshot");
    std::fs::remove_file(&manifest).unwrap();
    judge(3, "it is recorded as ended, but its manifest is missing");
    std::fs::remove_dir_all(&last).unwrap();
    judge(3, "its directory is not here");

    runtime.block_on(store.change(|state| runs::record_removed(state, &[id(&last)], START))).unwrap();
    let removed = history(&sim, &config, &[]);
    assert_eq!((removed.code, removed.stdout.contains("not read")), (0, false), "{}", removed.stdout);
}

#[test]
fn a_newest_run_that_has_not_ended_leaves_nothing_open() {
    let sim = Sim::start(FLEET);
    let config = sim.config(NIGHTLY);
    assert_eq!(run_of_nightly(&sim, &config).code, 0);
    let other = sim.dir.path().join("20990101T000000Z-0000");
    drop(put_on_record(&sim, &[(&other, false)]));
    let run = history(&sim, &config, &[]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(
        run.stdout.contains("not read  20990101T000000Z-0000: its directory is not here"),
        "{}",
        run.stdout
    );
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_can_be() {
    let sim = Sim::start(FLEET);
    let two = r#"
        [[snapshot]]
        name = "a"
        window = "6h"
        [[snapshot]]
        name = "b"
        window = "6h"
    "#;
    let mut told = String::new();
    for (more, arguments) in [
        ("", &[][..]),
        ("", &["weekly"]),
        (NIGHTLY, &["weekly"]),
        (NIGHTLY, &["--from", "yesterday"]),
        (NIGHTLY, &["--from", "2026-11-22T00:00:00Z", "--to", "2026-11-21T00:00:00Z"]),
        (two, &[]),
    ] {
        told += &format!("> history {}\n", arguments.join(" ")).replace(" \n", "\n");
        told += &history(&sim, &sim.config(more), arguments).picture();
    }
    insta::assert_snapshot!(told, @r#"
    > history
    exit code: 2
    ----- stderr -----
    error: the config has no snapshot
      help: add a [[snapshot]]; `fleetlogs init --full -` shows an example
    > history weekly
    exit code: 2
    ----- stderr -----
    error: the config has no snapshot
      help: add a [[snapshot]]; `fleetlogs init --full -` shows an example
    > history weekly
    exit code: 2
    ----- stderr -----
    error: the config has no snapshot `weekly`
      help: it has: nightly
    > history --from yesterday
    exit code: 2
    ----- stderr -----
    error: `yesterday` is not a value of `--from <TIME>`: write a time with its offset, such as 2026-11-22T08:00:00Z
      help: `fleetlogs history --help` shows its arguments and options
    > history --from 2026-11-22T00:00:00Z --to 2026-11-21T00:00:00Z
    exit code: 2
    ----- stderr -----
    error: `--to` is not after `--from`
      help: pass the earlier time as `--from`
    > history
    exit code: 2
    ----- stderr -----
    error: no snapshot of the config has `window = "since-last"`
      help: name a snapshot: a, b
    "#);
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

fn series() -> impl Strategy<Value = Vec<(u32, [Part; NODES])>> {
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
        let mut known = VerifiedUntil::since(began);
        for ((id, allocated), until) in &reached {
            known.insert(("contoso", "render", &format!("n{id}")), Some(*allocated), *until);
        }
        let since = SinceLast { margin, longest, otherwise: MINUTE * 90, reached: known.into() };
        let windows = NodeWindows::Last(since);
        let mut whole = windows.least(now);
        let (mut nodes, mut counts) = (Vec::new(), json!({}));
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
            counts[outcome] = (counts[outcome].as_u64().unwrap_or_default() + 1).into();
            nodes.push((id, outcome, start, end));
        }
        counts["planned"] = nodes.len().into();
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
            "nodes": nodes, "left_out": [], "schema": "fleetlogs.manifest/v1", "counts": counts, "ended_at": time(now),
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
    fn windows_since_the_last_leave_no_hole(runs in series(), margin in 0_u32..20) {
        let (holes, cut) = simulate(runs, MINUTE * 10_000, MINUTE * margin);
        prop_assert_eq!((holes, cut), (json!([]), json!([])));
    }

    /// With a limit, exactly what it cut is named, but for what the node had answered before with nothing to send.
    #[test]
    fn what_longest_cut_is_what_is_named(mut runs in series(), margin in 0_u32..20) {
        for part in runs.iter_mut().flat_map(|(_, parts)| parts).filter(|part| **part == Part::Empty) {
            *part = Part::Failed;
        }
        let (holes, cut) = simulate(runs, MINUTE * 200, MINUTE * margin);
        prop_assert_eq!(holes, cut);
    }
}
