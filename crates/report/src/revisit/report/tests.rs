use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::inventory::{InventoryFile, NodeLook};
use fleetlogs_model::outcome::Outcome;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::look::Look;
use crate::testing::{plan_of, planned};

const AT: OffsetDateTime = datetime!(2026-11-22 12:00:00 UTC);

fn file(name: &str, status: FileStatus) -> InventoryFile {
    InventoryFile {
        file: name.into(),
        bytes: 10,
        last_modified: None,
        etag: None,
        content_md5: None,
        lines: None,
        status,
    }
}

fn look(standing: Standing, files: Vec<InventoryFile>) -> NodeLook {
    let missing = files.iter().filter(|file| file.status == FileStatus::Missing).count();
    let now = u32::try_from(files.len() - missing).unwrap();
    NodeLook {
        standing,
        files_now: now,
        bytes_now: u64::from(now) * 10,
        files_missing: u32::try_from(missing).unwrap(),
        files,
    }
}

fn coverage(covers: Covers, hole: Option<(i64, i64)>) -> NodeCoverage {
    let at = |minutes| AT - Duration::hours(2) + Duration::minutes(minutes);
    let window = Interval::between(at(0), at(120));
    let unknown = BTreeMap::from([(NoTimes::Compressed, 1)]);
    NodeCoverage {
        covers,
        window,
        covered: vec![],
        holes: hole.into_iter().map(|(from, to)| Interval::between(at(from), at(to))).collect(),
        written: None,
        files: 2,
        unknown,
        reads: 3,
    }
}

fn write(dir: &Path, looks: &[NodeLook], coverages: &[NodeCoverage]) -> (RunOutcome, String) {
    let plan = plan_of((0..looks.len()).map(|at| planned("contoso", "pool", &format!("n{at}"))).collect());
    let tolerance = (!coverages.is_empty()).then_some(Duration::minutes(5));
    let facts = RevisitFacts { at: AT, has_earlier: true, verification: true, tolerance };
    let mut reports = RevisitReports::begin(dir, &plan, facts).unwrap();
    for (at, look) in looks.iter().enumerate() {
        let index = NodeIndex(u32::try_from(at).unwrap());
        let directory = format!("acc/pool/n{at}/id");
        let verified = (look.standing != Standing::NotCollected).then_some((2, 20));
        let node = plan.node(index);
        let directory = Some(&*directory);
        let outcome = if verified.is_some() { Outcome::Verified } else { Outcome::Failed };
        let coverage = coverages.get(at);
        reports.node(NodeFinding { node, directory, outcome, verified, look, coverage }).unwrap();
    }
    let outcome = reports.outcome();
    let reported = reports.commit(7, 3).unwrap();
    assert_eq!(reported.outcome(), outcome);
    (outcome, reported.to_terminal(&Look::default(), Path::new("runs/r"), "runs/r"))
}

fn json(dir: &Path, file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join(file)).unwrap()).unwrap()
}

#[test]
fn every_node_and_every_file_that_is_not_as_it_was_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let present = || file("a.log", FileStatus::Present);
    let looks = [
        look(Standing::Intact, vec![present(), file("b.log", FileStatus::Present)]),
        look(Standing::Missing, vec![present(), file("b.log", FileStatus::Missing)]),
        look(Standing::Truncated, vec![present(), file("evil\u{1b}[2J.log", FileStatus::Truncated)]),
        look(Standing::NotCollected, vec![]),
    ];
    let (outcome, text) = write(dir.path(), &looks, &[]);

    assert_eq!(outcome, RunOutcome::Partial);
    let document = json(dir.path(), VERIFY_FILE);
    assert_eq!(document["schema"], "fleetlogs.verify/v1");
    assert_eq!(document["counts"]["planned"], 4);
    assert_eq!(document["counts"]["missing"], 1);
    assert_eq!(document["nodes"][1]["standing"], "missing");
    assert_eq!(document["nodes"][1]["files"][0]["file"], "b.log");
    assert_eq!(document["nodes"][3]["files_verified"], Value::Null);
    assert_eq!((&document["list_calls"], &document["exit_code"]), (&7.into(), &3.into()));
    assert!(!dir.path().join(COVERAGE_FILE).exists());
    for expected in [
        "NOT ALL INTACT  the files of 1 of 3 collected nodes are as they were verified; 1 was never collected.\n",
        "  nodes         1 intact, 1 not-collected, 1 truncated, 1 missing\n",
        "  missing       1 node, contoso, pool pool: 1 file missing\n  truncated     1 node, contoso, pool pool\n",
        "  file          missing contoso/pool/n1: b.log\n",
        "  next          1 failed: retry:\n                  fleetlogs resume runs/r --retry failed\n",
        "  cost          7 list calls\n",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_goes_on_with_a_node_depends_on_where_the_run_left_it() {
    let plan = plan_of(vec![planned("contoso", "pool", "n0")]);
    let told = |outcome: Outcome, verification: bool| {
        let dir = tempfile::tempdir().unwrap();
        let facts = RevisitFacts { at: AT, has_earlier: false, verification, tolerance: None };
        let mut reports = RevisitReports::begin(dir.path(), &plan, facts).unwrap();
        let look = look(Standing::NotCollected, vec![file("a", FileStatus::Present)]);
        let (node, directory) = (plan.node(NodeIndex(0)), Some("acc/pool/n0/id"));
        reports
            .node(NodeFinding { node, directory, outcome, verified: None, look: &look, coverage: None })
            .unwrap();
        let reported = reports.commit(1, 3).unwrap();
        reported.to_terminal(&Look::default(), Path::new("my runs/r"), "'my runs/r'")
    };
    for (outcome, verification, command) in [
        (Outcome::Failed, true, " --retry failed\n"),
        (Outcome::Incomplete, true, " --retry incomplete\n"),
        (Outcome::InDoubt, true, "\n"),
        (Outcome::NotSent, true, "\n"),
        (Outcome::Accepted, true, "\n"),
        (Outcome::Accepted, false, " --accept-changes\n"),
    ] {
        let text = told(outcome, verification);
        let command = format!("\n                  fleetlogs resume 'my runs/r'{command}");
        assert!(text.ends_with(&command), "{command} at the end of {text}");
        let lead = format!("  next          1 {outcome} (1 with files in the container): ");
        assert!(text.contains(&lead), "{lead} in {text}");
    }
    let text = told(Outcome::Gone, true);
    assert!(text.contains("nothing can be done") && !text.contains("fleetlogs resume"), "{text}");
}

#[test]
fn on_a_terminal_lines_are_wrapped_under_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan_of(vec![planned("contoso", "pool", "n0")]);
    let facts = RevisitFacts { at: AT, has_earlier: true, verification: true, tolerance: None };
    let mut reports = RevisitReports::begin(dir.path(), &plan, facts).unwrap();
    let look = look(Standing::Missing, vec![file("a\nb.log", FileStatus::Missing)]);
    let (node, verified) = (plan.node(NodeIndex(0)), Some((1, 10)));
    let directory = Some("acc/pool/n0/id");
    let outcome = Outcome::Verified;
    reports.node(NodeFinding { node, directory, outcome, verified, look: &look, coverage: None }).unwrap();
    let reported = reports.commit(1, 3).unwrap();
    for width in [40, 79] {
        let look = Look { width: Some(width), ..Look::default() };
        let text = reported.to_terminal(&look, Path::new("runs/r"), "runs/r");
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        let next = text.lines().skip_while(|line| !line.starts_with("  next ")).skip(1);
        assert!(
            next.clone().count() > 2 && next.clone().all(|line| line.starts_with(&" ".repeat(16))),
            "{text}"
        );
    }
    let styled = Look { width: Some(79), styled: true, ..Look::default() };
    let text = reported.to_terminal(&styled, Path::new("runs/r"), "runs/r");
    assert!(
        text.starts_with("\u{1b}[1;31mNOTHING THERE\u{1b}[0m  the files of 0 of 1 collected node"),
        "{text:?}"
    );
    assert!(text.contains("missing contoso/pool/n0: a\\u{a}b.log\n"), "{text:?}");
}

#[test]
fn all_there_is_complete_and_none_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let whole = || look(Standing::Intact, vec![file("a", FileStatus::Present)]);
    let (outcome, text) = write(dir.path(), &[whole(), whole()], &[]);
    assert_eq!(outcome, RunOutcome::Complete);
    assert!(
        text.starts_with("INTACT  the files of 2 of 2 collected nodes") && !text.contains("next"),
        "{text}"
    );
    let gone = look(Standing::Missing, vec![file("a", FileStatus::Missing)]);
    assert_eq!(write(dir.path(), &[gone], &[]).0, RunOutcome::NothingCollected);
    let empty = look(Standing::Intact, vec![]);
    assert_eq!(write(dir.path(), &[empty], &[]).0, RunOutcome::Complete, "nothing was promised");
}

#[test]
fn what_was_never_collected_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let whole = || look(Standing::Intact, vec![file("a", FileStatus::Present)]);
    let never = || look(Standing::NotCollected, vec![]);
    let (outcome, text) = write(dir.path(), &[whole(), whole(), never(), never()], &[]);
    assert_eq!(outcome, RunOutcome::Complete);
    let verdict =
        "INTACT  the files of 2 of 2 collected nodes are as they were verified; 2 were never collected.\n";
    assert!(text.starts_with(verdict), "{text}");
    assert!(text.contains("  next          2 failed: retry:\n"), "{text}");
    let (outcome, text) = write(dir.path(), &[never()], &[]);
    assert_eq!(outcome, RunOutcome::NothingCollected);
    assert!(text.starts_with("NOTHING COLLECTED  the run verified no files"), "{text}");
}

#[test]
fn holes_are_folded_by_pool_and_the_longest_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let whole = || look(Standing::Intact, vec![file("a", FileStatus::Present)]);
    let coverages = [
        coverage(Covers::Full, None),
        coverage(Covers::Partial, Some((48, 72))),
        coverage(Covers::Partial, Some((60, 70))),
        coverage(Covers::Unknown, None),
    ];
    let (_, text) = write(dir.path(), &[whole(), whole(), whole(), whole()], &coverages);

    assert!(text.contains("1 full, 2 partial, 1 unknown of the window, by node"), "{text}");
    assert!(
        text.contains("up to 24m 00s without a line, from 2026-11-22 10:48:00 to 2026-11-22 11:12:00 UTC"),
        "{text}"
    );
    assert!(text.contains("12 reads"), "{text}");
    let document = json(dir.path(), COVERAGE_FILE);
    assert_eq!(document["schema"], "fleetlogs.coverage/v1");
    assert_eq!((&document["tolerance_seconds"], &document["reads"]), (&300.into(), &12.into()));
    assert_eq!(document["counts"]["partial"], 2);
    assert_eq!(document["nodes"][1]["holes"][0]["from"], "2026-11-22T10:48:00.000Z");
    assert_eq!(document["nodes"][3]["unknown"]["compressed"], 1);
}
