//! What is no proof, and what is read and not believed.

use fleetlogs_model::plan::PLAN_SCHEMA;

use super::*;

/// The verdict over a stretch, the open minutes, and why.
fn judged(runs: &Runs, from: Option<i64>, to: Option<i64>) -> (Verdict, i64, Vec<String>) {
    let series = runs.history.series(from.map(at), to.map(at));
    let why = series.holes.iter().map(|hole| hole.why.clone()).collect();
    (series.verdict(), series.totals.open_seconds / 60, why)
}

#[test]
fn a_stretch_of_which_nothing_lies_in_the_series_is_no_proof() {
    let runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
    for (from, to) in
        [(Some(60), None), (Some(500), None), (None, Some(0)), (None, Some(-50)), (Some(70), Some(90))]
    {
        assert_eq!(judged(&runs, from, to), (Verdict::Nothing, 0, vec![]), "{from:?} {to:?}");
    }
    let shown = runs.history.series(Some(at(500)), None).to_terminal(&Look::default(), false);
    let said = "NO PROOF  the series has nothing in that time range: its runs cover 2026-11-22 00:00:00 to 2026-11-22 01:00:00 UTC.\n";
    assert!(shown.replace("\n  ", " ").ends_with(said), "{shown}");
    assert_eq!(judged(&runs, Some(59), None), (Verdict::Whole, 0, vec![]));
}

#[test]
fn the_time_after_the_last_run_is_open_where_it_is_asked_for() {
    let runs = Runs::new()
        .ran((0, 60), &[("a", -99, (0, 60), "verified"), ("old", -99, (0, 60), "verified")])
        .ran((60, 120), &[("a", -99, (60, 120), "verified"), ("b", -99, (0, 120), "failed")]);
    let not_yet = "no run has requested it yet";
    let failed = format!("failed in run 20261122T020000Z-0000: because of failed; {not_yet}");
    assert_eq!(judged(&runs, None, Some(150)), (Verdict::Gaps, 180, vec![not_yet.into(), failed]));
    assert_eq!(judged(&runs, Some(60), Some(120)).1, 60, "of `b`");

    let nobody = Runs::new().ran((0, 60), &[]);
    assert_eq!(judged(&nobody, None, Some(60)).0, Verdict::Whole);
    assert_eq!(judged(&nobody, None, Some(90)).0, Verdict::Gaps, "nodes may have come since");
    let shown = nobody.history.series(None, Some(at(90))).to_terminal(&Look::default(), false);
    assert!(
        shown.ends_with("GAPS  no run that can be read is later than 2026-11-22 01:00:00 UTC.\n"),
        "{shown}"
    );
}

#[test]
fn a_last_run_that_cannot_be_read_leaves_its_time_open() {
    let ran = || Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
    let with_unread = |is_over| {
        let mut runs = ran();
        runs.history.add_unread(RunId::new(at(120), 7).as_str(), "its directory is not here", is_over);
        runs
    };
    let why = "run 20261122T020000Z-0007 cannot be read";
    let runs = with_unread(true);
    assert_eq!(judged(&runs, None, None), (Verdict::Gaps, 60, vec![why.into()]));
    assert_eq!(judged(&runs, None, Some(60)), (Verdict::Whole, 0, vec![]));
    let later = runs.ran((60, 180), &[("a", -99, (60, 180), "verified")]);
    assert_eq!(judged(&later, None, None), (Verdict::Whole, 0, vec![]), "the next one went back");
    assert_eq!(judged(&with_unread(false), None, None), (Verdict::Whole, 0, vec![]), "it is yet to ask");

    let mut at_once = ran();
    at_once.history.add_unread(RunId::new(at(60), 7).as_str(), "its directory is not here", true);
    assert_eq!(judged(&at_once, None, None).0, Verdict::Gaps);
}

#[test]
fn a_manifest_that_contradicts_itself_counts_for_nothing() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 11] = [
        (|it| it["schema"] = "fleetlogs.manifest/v9".into(), "has the schema `fleetlogs.manifest/v9`"),
        (
            |it| (it["schema"], it["window"]) = ("fleetlogs.manifest/v9".into(), 7.into()),
            "has the schema `fleetlogs.manifest/v9`",
        ),
        (|it| it["schema"] = PLAN_SCHEMA.into(), "has the schema `fleetlogs.plan/v1`"),
        (|it| it["counts"]["planned"] = 2.into(), "it counts 2 nodes, but lists 1"),
        (|it| it["counts"]["failed"] = 1.into(), "it counts 1 nodes as failed, but lists 0"),
        (|it| it["counts"] = json!({ "planned": 1 }), "it counts 0 nodes as verified, but lists 1"),
        (|it| it["nodes"] = json!([]), "it counts 1 nodes, but lists 0"),
        (|it| it["window"]["end"] = text(59).into(), "a time window ends before it begins"),
        (|it| it["nodes"][0]["window"]["end"] = text(59).into(), "a time window ends before it begins"),
        (|it| it["nodes"][0]["window"]["end"] = text(122).into(), "a time window ends after the run"),
        (|it| it["ended_at"] = text(118).into(), "a time window ends after the run"),
    ];
    for (change, said) in cases {
        let mut runs = Runs::new().ran((0, 60), &[("a", -99, (0, 60), "verified")]);
        let mut manifest = Runs::manifest((60, 120), &[("a", -99, (60, 120), "verified")]);
        change(&mut manifest);
        std::fs::write(runs.path(), manifest.to_string()).unwrap();
        let id = RunId::new(at(120), 0);
        let (snapshot, window) = (None, Interval { from: at(60), to: at(120) });
        runs.history.add_run(&runs.path(), &RunHead { run_id: id, snapshot, window });
        let unread = &runs.history.unread[0].why;
        assert!(unread.contains(said), "{unread}");
        assert_eq!(judged(&runs, None, None).0, Verdict::Gaps, "{said}");
        assert_eq!(judged(&runs, None, Some(60)), (Verdict::Whole, 0, vec![]), "{said}");
    }
}

#[test]
fn files_that_may_be_of_another_life_prove_nothing() {
    let with = |now: Value| {
        let mut runs = Runs::new();
        let mut manifest = Runs::manifest((0, 60), &[("a", -99, (0, 60), "verified")]);
        manifest["nodes"][0]["identity_changed"] = true.into();
        manifest["nodes"][0]["identity_now"] = now;
        runs.add(&manifest);
        runs
    };
    let booted = with(json!({ "allocation_time": text(-99), "last_boot_time": text(30) }));
    let why = "verified in run 20261122T010000Z-0000: it rebooted or was replaced in the meantime: its files may be from before that";
    assert_eq!(booted.holes(), [hole("a", 0, 60, why)]);
    let gone = with(Value::Null);
    assert_eq!((gone.holes(), gone.ended()), (vec![], vec![("a".into(), 0, 60, "gone")]));
}

#[test]
fn a_missing_second_is_not_rounded_away() {
    let mut runs = Runs::new();
    let mut manifest = Runs::manifest((0, 60), &[("a", -99, (0, 60), "verified")]);
    manifest["window"]["start"] = timestamp::text(at(0) - Duration::seconds(2)).into();
    runs.add(&manifest);
    let shown = runs.history.series(None, None).to_terminal(&Look::default(), false);
    assert!(shown.contains("minutes   60 of 61 verified\n"), "{shown}");
    assert!(shown.ends_with("GAPS  1 node with 1 gap, 2s in total.\n"), "{shown}");
}

#[test]
fn of_a_series_whose_runs_were_all_removed_the_record_is_told() {
    let mut history = History::new(SnapshotName::new("nightly"), Some(at(0)), None);
    assert_eq!(last_line(&history), "NO RUN  no run of this snapshot was found.");
    history.add_folded(
        ("contoso", "render", "a"),
        Some(at(-99)),
        Outcome::Verified,
        Interval { from: at(0), to: at(60) },
    );
    assert_eq!(history.series(None, None).verdict(), Verdict::Nothing);
    let said = last_line(&history);
    assert!(said.contains("recorded up to 2026-11-22 01:00:00 UTC"), "{said}");
    assert!(said.starts_with("NO RUN  none of its runs can be read."), "{said}");
}

fn last_line(history: &History) -> String {
    let shown = history.series(None, None).to_terminal(&Look::default(), false);
    shown[shown.rfind("NO RUN").unwrap()..]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("RUN n", "RUN  n")
}
