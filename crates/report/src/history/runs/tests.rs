mod verdict;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::LeftOut;
use fleetlogs_model::planned::PlannedNode;
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_model::timestamp;
use fleetlogs_model::window::Window;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::macros::datetime;

use super::super::manifest::{HistoryError, read_head};
use super::super::series::{self, Verdict};
use super::*;
use crate::files::MANIFEST_FILE;
use crate::look::Look;
use crate::manifest::MANIFEST_VERSION;
use crate::reports::write_reports;
use crate::run_facts::RunFacts;
use crate::testing::{left_out, plan_of, planned};

const START: OffsetDateTime = datetime!(2026-11-22 00:00 UTC);

fn at(minutes: i64) -> OffsetDateTime {
    START + Duration::minutes(minutes)
}

fn text(minutes: i64) -> String {
    timestamp::text(at(minutes))
}

/// A node's part in a run: id, when it was allocated, its window and how it ended.
type StyledPart<'a> = (&'a str, i64, (i64, i64), &'a str);

fn part((id, allocated, (from, to), outcome): StyledPart<'_>) -> Value {
    let reason = (outcome != "verified").then(|| format!("because of {outcome}"));
    json!({
        "account": "contoso", "pool": "render", "node": id, "outcome": outcome, "reason": reason,
        "allocation_time": text(allocated), "window": { "start": text(from), "end": text(to) },
        "identity_now": null,
    })
}

/// Runs of the snapshot `nightly`, each written as a manifest with its members in alphabetical order.
struct Runs {
    dir: TempDir,
    history: History,
}

impl Runs {
    fn new() -> Self {
        let longest = Some(std::time::Duration::from_secs(100 * 60));
        let history = History::new(SnapshotName::new("nightly"), None, longest);
        Self { dir: tempfile::tempdir().unwrap(), history }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("manifest.json")
    }

    fn manifest(window: (i64, i64), nodes: &[StyledPart<'_>]) -> Value {
        let mut counts = json!({ "planned": nodes.len() });
        for (.., outcome) in nodes {
            counts[*outcome] = (counts[*outcome].as_u64().unwrap_or_default() + 1).into();
        }
        json!({
            "run_id": RunId::new(at(window.1), 0), "window": { "start": text(window.0), "end": text(window.1) },
            "counts": counts, "ended_at": text(window.1),
            "snapshot": { "name": "nightly", "trigger": "cron", "due": text(window.1) },
            "accounts": [{ "name": "contoso", "reason": null, "pools": 1, "planned": nodes.len() }],
            "nodes": nodes.iter().copied().map(part).collect::<Vec<_>>(), "left_out": [], "schema": MANIFEST_VERSION,
        })
    }

    fn add(&mut self, manifest: &Value) {
        std::fs::write(self.path(), manifest.to_string()).unwrap();
        let head = read_head(&self.path()).unwrap();
        self.history.add_run(&self.path(), &head);
    }

    fn ran(mut self, window: (i64, i64), nodes: &[StyledPart<'_>]) -> Self {
        self.add(&Self::manifest(window, nodes));
        self
    }

    fn left_out(mut self, window: (i64, i64), nodes: &[StyledPart<'_>], left: &Value) -> Self {
        let mut manifest = Self::manifest(window, nodes);
        let with_place = |left: &Value| {
            let mut entry = json!({ "account": "contoso", "pool": "render", "node": null });
            for (name, value) in left.as_object().unwrap() {
                entry[name] = value.clone();
            }
            entry
        };
        manifest["left_out"] = json!([with_place(left)]);
        self.add(&manifest);
        self
    }

    /// Each hole: node, first and last minute, and why.
    fn holes(&self) -> Vec<(String, i64, i64, String)> {
        let minute = |moment: OffsetDateTime| (moment - START).whole_minutes();
        let series = self.history.series(None, None);
        assert_eq!(series.verdict() == Verdict::Gaps, series.totals.nodes_with_holes > 0);
        let hole = |hole: &series::Gap<'_>| {
            let (from, to) = (minute(hole.stretch.from), minute(hole.stretch.to));
            (hole.place.node.to_owned(), from, to, hole.why.clone())
        };
        series.holes.iter().map(hole).collect()
    }

    fn ended(&self) -> Vec<(String, i64, i64, &'static str)> {
        let minute = |moment: OffsetDateTime| (moment - START).whole_minutes();
        let series = self.history.series(None, None);
        let ended = series.ended.iter();
        ended
            .map(|ended| {
                let (from, to) = (minute(ended.unknown.from), minute(ended.unknown.to));
                (ended.place.node.to_owned(), from, to, ended.why)
            })
            .collect()
    }
}

fn hole(node: &str, from: i64, to: i64, why: &str) -> (String, i64, i64, String) {
    (node.into(), from, to, why.into())
}

#[test]
fn windows_that_touch_leave_nothing_open() {
    let runs = Runs::new()
        .ran((0, 60), &[("a", -99, (0, 60), "verified"), ("b", 30, (20, 60), "failed")])
        .ran((20, 120), &[("a", -99, (60, 120), "verified"), ("b", 30, (20, 120), "verified")]);
    assert_eq!((runs.holes(), runs.ended()), (vec![], vec![]));
    let totals = &runs.history.series(None, None).totals;
    assert_eq!((totals.nodes, totals.owed_seconds, totals.verified_seconds), (2, 210 * 60, 210 * 60));
}

#[test]
fn what_failed_last_is_named_with_its_reason() {
    let runs = Runs::new()
        .ran((0, 60), &[("a", -99, (0, 60), "verified")])
        .ran((60, 120), &[("a", -99, (60, 120), "failed")])
        .ran((60, 180), &[("a", -99, (60, 180), "incomplete")]);
    let why = "incomplete in run 20261122T030000Z-0000: because of incomplete";
    assert_eq!(runs.holes(), [hole("a", 60, 180, why)]);
}

#[test]
fn an_answer_that_there_is_nothing_is_no_hole() {
    let runs = Runs::new()
        .ran((0, 60), &[("a", -99, (0, 60), "empty")])
        .ran((0, 120), &[("a", -99, (50, 120), "verified")]);
    assert_eq!(runs.holes(), []);
    let totals = &runs.history.series(None, None).totals;
    assert_eq!((totals.verified_seconds, totals.empty_seconds), (70 * 60, 50 * 60));
}

#[test]
fn what_longest_cut_is_named_as_cut_with_what_failed_before() {
    let failing = |runs: Runs, to| runs.ran((0, to), &[("a", -99, (0.max(to - 100), to), "failed")]);
    let mut runs = Runs::new();
    for to in [60, 90, 120, 150] {
        runs = failing(runs, to);
    }
    let runs = runs.ran((80, 180), &[("a", -99, (80, 180), "verified")]);
    let why =
        "failed in run 20261122T023000Z-0000: because of failed; later time windows are limited to `longest`";
    assert_eq!(runs.holes(), [hole("a", 0, 80, why)]);
}

#[test]
fn a_gap_that_no_run_asked_for_is_told_as_such() {
    let runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
    let runs = runs.ran((100, 160), &[("a", -99, (100, 160), "verified")]);
    assert_eq!(runs.holes(), [hole("a", 60, 100, "no run requested it")]);
}

#[test]
fn a_run_that_cannot_be_read_may_be_the_reason() {
    let mut runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
    let lost = RunId::new(at(100), 7);
    runs.history.add_unread(lost.as_str(), "its directory is not here", true);
    let runs = runs.ran((100, 160), &[("a", -99, (100, 160), "verified")]);
    let why = format!("possibly requested by run {lost}, which cannot be read");
    assert_eq!(runs.holes(), [hole("a", 60, 100, &why)]);
}

#[test]
fn a_node_that_later_runs_do_not_see_has_ended() {
    let runs = Runs::new()
        .ran((0, 60), &[("a", -99, (0, 60), "verified"), ("b", -99, (0, 60), "verified")])
        .ran((50, 120), &[("a", 70, (60, 120), "verified"), ("b", -99, (50, 120), "gone")]);
    assert_eq!(runs.holes(), []);
    let ended = [("a".into(), 60, 120, "not seen again"), ("b".into(), 60, 120, "gone")];
    assert_eq!(runs.ended(), ended);
    assert_eq!(runs.history.series(None, None).totals.nodes, 3, "an id that is used again is another node");
}

#[test]
fn a_node_that_comes_back_as_it_was_has_not_ended() {
    let runs = Runs::new()
        .ran((0, 60), &[("a", -99, (0, 60), "verified")])
        .ran((0, 120), &[])
        .ran((0, 180), &[("a", -99, (50, 180), "verified")]);
    assert_eq!((runs.holes(), runs.ended()), (vec![], vec![]));
}

#[test]
fn a_spot_node_that_was_taken_away_has_ended_and_a_stopped_one_has_not() {
    let of = |reason: &str| {
        let evidence = json!({ "allocation_time": text(-99) });
        let left = json!({ "node": "a", "reason": reason, "evidence": evidence });
        Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]).left_out((0, 120), &[], &left)
    };
    let preempted = of("preempted");
    assert_eq!((preempted.holes(), preempted.ended()), (vec![], vec![("a".into(), 60, 120, "preempted")]));
    let why = "skipped in run 20261122T020000Z-0000 as deallocated";
    assert_eq!(of("deallocated").holes(), [hole("a", 60, 120, why)]);
}

#[test]
fn a_node_without_an_agent_yet_owes_nothing() {
    let left = json!({ "node": "a", "reason": "no-agent-yet" });
    let runs = Runs::new().ran((0, 60), &[]).left_out((0, 120), &[], &left);
    assert_eq!((runs.holes(), runs.ended()), (vec![], vec![]));
}

#[test]
fn a_pool_that_could_not_be_listed_leaves_open_what_its_nodes_logged() {
    let left = json!({ "reason": "pool-not-listed" });
    let runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]).left_out((0, 120), &[], &left);
    let why = "its pool could not be listed in run 20261122T020000Z-0000";
    assert_eq!(runs.holes(), [hole("a", 60, 120, why)]);
    let caught_up = runs.ran((0, 180), &[("a", -99, (50, 180), "verified")]);
    assert_eq!((caught_up.holes(), caught_up.ended()), (vec![], vec![]));
}

#[test]
fn an_account_that_could_not_be_listed_leaves_it_open_too() {
    let mut runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
    let mut manifest = Runs::manifest((0, 120), &[]);
    manifest["accounts"][0]["reason"] = "403: the role is missing".into();
    manifest["accounts"][0]["pools"] = 0.into();
    runs.add(&manifest);
    assert_eq!(runs.holes().len(), 1);
}

#[test]
fn a_node_that_is_not_chosen_any_more_is_no_hole() {
    let left = json!({ "node": "a", "reason": "state-not-selected" });
    let runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]).left_out((0, 120), &[], &left);
    assert_eq!((runs.holes(), runs.ended()), (vec![], vec![("a".into(), 60, 120, "state-not-selected")]));
}

#[test]
fn a_run_of_some_nodes_says_nothing_of_the_others() {
    let mut runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
    let mut manifest = Runs::manifest((60, 120), &[("b", -99, (0, 120), "verified")]);
    manifest["snapshot"]["trigger"] = "state".into();
    runs.add(&manifest);
    assert_eq!((runs.holes(), runs.ended()), (vec![], vec![]));
}

#[test]
fn files_that_may_be_of_another_node_prove_nothing() {
    let mut runs = Runs::new();
    let mut manifest = Runs::manifest((0, 60), &[("a", -99, (0, 60), "verified")]);
    manifest["nodes"][0]["identity_now"] = json!({ "allocation_time": text(30) });
    runs.add(&manifest);
    assert_eq!(runs.ended(), [("a".into(), 0, 60, "replaced by another node with its id")]);
    assert_eq!(runs.history.series(None, None).totals.verified_seconds, 0);
}

#[test]
fn what_removed_runs_covered_counts() {
    let mut runs = Runs::new();
    runs.history.began = Some(at(0));
    let stretch = |from, to| Interval { from: at(from), to: at(to) };
    for (outcome, covered) in [(Outcome::Verified, stretch(0, 90)), (Outcome::Empty, stretch(90, 120))] {
        runs.history.add_folded(("contoso", "render", "a"), Some(at(-99)), outcome, covered);
        runs.history.add_folded(("contoso", "render", "old"), Some(at(-99)), outcome, covered);
    }
    let runs = runs.ran((110, 180), &[("a", -99, (110, 180), "verified")]);
    assert_eq!((runs.holes(), runs.ended()), (vec![], vec![("old".into(), 120, 180, "not seen again")]));
}

#[test]
fn only_the_stretch_that_is_asked_for_counts() {
    let runs = Runs::new()
        .ran((0, 60), &[("a", -99, (0, 60), "verified")])
        .ran((60, 120), &[("a", -99, (60, 120), "failed")]);
    let open = |from, to| {
        let series = runs.history.series(Some(at(from)), Some(at(to)));
        series.totals.open_seconds / 60
    };
    assert_eq!((open(0, 60), open(30, 100), open(70, 500)), (0, 40, 430));
}

#[test]
fn a_manifest_that_breaks_off_is_named_and_counts_for_nothing() {
    let mut runs =
        Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified"), ("b", -99, (0, 60), "verified")]);
    let window = Interval { from: at(0), to: at(120) };
    let head = RunHead { run_id: RunId::new(at(120), 0), snapshot: None, window };
    let node = part(("a", -99, (50, 120), "verified"));
    std::fs::write(runs.path(), format!("{{\"nodes\": [{node}, {{\"acc")).unwrap();
    assert!(matches!(read_head(&runs.path()), Err(HistoryError::Malformed(_))));
    runs.history.add_run(&runs.path(), &head);
    let why = "run 20261122T020000Z-0000 cannot be read";
    assert_eq!(
        (runs.holes(), runs.ended()),
        (vec![hole("a", 60, 120, why), hole("b", 60, 120, why)], vec![])
    );
    let series = serde_json::to_value(runs.history.series(None, None)).unwrap();
    assert_eq!(series["unread"][0]["run_id"], "20261122T020000Z-0000");
    assert_eq!(series["no_run_after"], text(60));
    assert_eq!(series["totals"]["verified_seconds"], 120 * 60);
}

#[test]
fn of_a_manifest_as_it_is_written_no_node_is_read_for_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.json");
    let snapshot = json!({ "name": "nightly", "trigger": "once", "due": text(60) });
    let window = json!({ "start": text(0), "end": text(60) });
    let head =
        format!("\"run_id\": \"20261122T010000Z-0000\", \"snapshot\": {snapshot}, \"window\": {window}");
    std::fs::write(&path, format!("{{{head}, \"nodes\": [no json at all")).unwrap();
    let read = read_head(&path).unwrap();
    let expected = SnapshotRef { name: SnapshotName::new("nightly"), trigger: Trigger::Once, due: at(60) };
    assert_eq!(read.snapshot, Some(expected));
}

#[test]
fn the_manifest_of_a_run_and_its_plan_are_read_as_they_are_written() {
    let mut plan = plan_of(vec![PlannedNode {
        window: Some(Box::new(Window { start: at(0), end: at(60) })),
        ..planned("contoso", "render", "tvm-1")
    }]);
    plan.window = Window { start: at(0), end: at(60) };
    plan.left_out = vec![LeftOut {
        evidence: Some(planned("contoso", "render", "tvm-2").evidence.into()),
        ..left_out("contoso", "render", Some("tvm-2"), LeftOutReason::Preempted)
    }];
    plan.snapshot =
        Some(SnapshotRef { name: SnapshotName::new("nightly"), trigger: Trigger::Cron, due: at(60) });
    let dir = tempfile::tempdir().unwrap();
    let facts = RunFacts {
        outcome: RunOutcome::Interrupted,
        reason: None,
        stop_cause: None,
        unverified: None,
        is_simulated: false,
        is_killed: false,
        is_over: true,
        started_at: at(60),
        ended_at: at(61),
        verification: true,
        list_calls: 0,
        seen_again: HashSet::new(),
        appeared: BTreeSet::new(),
    };
    let nothing = std::iter::empty::<Result<_, std::convert::Infallible>>();
    write_reports(
        dir.path(),
        &plan,
        &facts,
        &Ledger::new(&plan),
        crate::advice::Commands::default(),
        nothing,
    )
    .unwrap();
    let manifest = dir.path().join(MANIFEST_FILE);
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains("<dt>Snapshot</dt><dd>nightly<br><small>cron, due "));
    let from_plan = dir.path().join("plan.json");
    serde_json::to_writer(std::fs::File::create(&from_plan).unwrap(), &plan).unwrap();
    let mut history = History::new(SnapshotName::new("nightly"), None, None);
    for file in [&manifest, &from_plan] {
        let head = read_head(file).unwrap();
        assert_eq!((head.run_id, head.snapshot), (plan.run_id.clone(), plan.snapshot.clone()));
    }
    history.add_run(&manifest, &read_head(&manifest).unwrap());
    let series = serde_json::to_value(history.series(None, None)).unwrap();
    assert_eq!(series["unread"], json!([]));
    assert_eq!(series["holes"][0]["node"], "tvm-1", "it was not sent");
    assert_eq!(series["ended"][0]["why"], "preempted");
}

#[test]
fn people_see_the_worst_first_and_the_verdict_last() {
    let mut runs = Runs::new()
        .ran((0, 60), &[("a\u{1b}[31m", -99, (0, 60), "verified"), ("b", -99, (0, 60), "verified")])
        .ran((0, 120), &[("a\u{1b}[31m", -99, (60, 120), "failed"), ("c", 90, (80, 120), "failed")]);
    runs.history.add_unread("20261122T013000Z-0000", "its directory is not here", true);
    let shown = runs.history.series(None, None).to_terminal(&Look::default(), false);
    insta::assert_snapshot!(shown, @r"
    nightly
      runs      2, 20261122T010000Z-0000 to 20261122T020000Z-0000
      not read  20261122T013000Z-0000: its directory is not here
      time      2026-11-22 00:00:00 to 2026-11-22 02:00:00 UTC
      nodes     3, 1 of them gone or no longer selected
      minutes   120 of 210 verified
      gap       contoso, pool render, a\u{1b}[31m: 1h 00m, 2026-11-22 01:00:00 to 2026-11-22 02:00:00 UTC: failed in run 20261122T020000Z-0000: because of failed
      gap       contoso, pool render, c: 30m 00s, 2026-11-22 01:30:00 to 2026-11-22 02:00:00 UTC: failed in run 20261122T020000Z-0000: because of failed
      ended     contoso, pool render, b: not seen again; nothing is known of its last 1h 00m, from 2026-11-22 01:00:00 UTC
    GAPS  2 nodes with 2 gaps, 90 minutes in total.
    ");
    let whole = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
    let shown = whole.history.series(None, None).to_terminal(&Look::default(), false);
    assert!(shown.ends_with("NO GAPS  no minute is missing.\n"), "{shown}");
}
