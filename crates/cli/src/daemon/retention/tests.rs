use std::time::Duration;

use fleetlogs_azure::{StorageAuth, http_client};
use fleetlogs_engine::schedule::{CatchUp, JobId, Overlap, Rule};
use fleetlogs_model::secret::Secret;
use fleetlogs_model::snapshot::Trigger;
use fleetlogs_sim::{Scenario, Simulator};
use time::macros::datetime;
use url::Url;

use super::*;
use crate::args::Pick;
use crate::config::SnapshotWindow;

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00:00 UTC);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Runs of so many days ago, each with its outcome.
fn past(runs: &[(i64, Option<RunOutcome>)]) -> Vec<PastRun> {
    let run = |(days, outcome): &(i64, Option<RunOutcome>)| {
        let created = NOW - time::Duration::days(*days);
        let run = RunId::new(created, 0);
        PastRun {
            dir: Path::new("runs").join(run.as_str()),
            run,
            created,
            outcome: *outcome,
            is_left_over: false,
        }
    };
    runs.iter().map(run).collect()
}

fn retention(runs: Option<u32>, days: Option<u32>) -> Retention {
    Retention { runs, age: days.map(|days| DAY * days), containers: true }
}

/// Of the runs, the days ago of those that go, in this order.
fn going(retention: &Retention, runs: &[(i64, Option<RunOutcome>)]) -> Vec<i64> {
    let past = past(runs);
    spent(retention, &past, NOW).iter().map(|run| (NOW - run.created).whole_days()).collect()
}

const COMPLETE: Option<RunOutcome> = Some(RunOutcome::Complete);
const PARTIAL: Option<RunOutcome> = Some(RunOutcome::Partial);
const CUT_SHORT: Option<RunOutcome> = Some(RunOutcome::Interrupted);

#[test]
fn the_newest_so_many_are_kept_and_those_that_are_no_older() {
    let runs = [(3, COMPLETE), (1, COMPLETE), (0, COMPLETE), (2, PARTIAL), (4, COMPLETE)];
    assert_eq!(going(&retention(Some(2), None), &runs), [4, 3, 2]);
    assert_eq!(going(&retention(None, Some(2)), &runs), [4, 3]);
    assert_eq!(going(&retention(Some(4), Some(2)), &runs), [4, 3]);
    assert_eq!(going(&retention(Some(1), Some(30)), &runs), [4, 3, 2, 1]);
    assert!(going(&Retention::default(), &runs).is_empty());
}

#[test]
fn the_newest_run_and_the_newest_complete_one_are_never_removed() {
    let old = [(400, PARTIAL), (401, PARTIAL), (402, COMPLETE), (403, COMPLETE)];
    assert_eq!(going(&retention(Some(1), Some(30)), &old), [403, 401]);
    assert!(going(&retention(Some(1), Some(30)), &[(400, PARTIAL)]).is_empty());
}

#[test]
fn what_goes_on_is_kept_and_what_can_go_on_until_it_is_too_old() {
    let runs = [(0, COMPLETE), (1, None), (2, CUT_SHORT), (3, Some(RunOutcome::BudgetSpent)), (4, PARTIAL)];
    assert_eq!(going(&retention(Some(1), None), &runs), [4]);
    assert_eq!(going(&retention(Some(1), Some(2)), &runs), [4, 3]);
    assert!(going(&retention(Some(1), Some(2)), &[(0, COMPLETE), (400, None)]).is_empty());
}

#[test]
fn files_of_a_run_that_another_machine_removed_go_and_do_not_count_as_kept() {
    let mut past = past(&[(0, COMPLETE), (1, PARTIAL), (2, PARTIAL), (3, PARTIAL)]);
    past[0].is_left_over = true;
    past[2].is_left_over = true;
    let going = spent(&retention(Some(1), None), &past, NOW);
    let days: Vec<_> = going.iter().map(|run| (NOW - run.created).whole_days()).collect();
    assert_eq!(days, [2, 0, 3], "the newest that another machine did not remove stays");
}

/// A row of a run in Blob storage, which a machine worked on last.
fn row(run: &RunId, machine: &str, place: &str) -> runs::PastRun {
    runs::PastRun {
        id: JobId(1),
        snapshot: SnapshotRef { name: SnapshotName::new("nightly"), trigger: Trigger::Cron, due: NOW },
        begins_at: NOW,
        status: runs::Status::Ended,
        machine: Some(machine.into()),
        run_id: Some(run.clone()),
        dir: Some(place.into()),
        started_at: Some(NOW),
        ended_at: Some(NOW),
        outcome: COMPLETE,
        exit_code: Some(0),
        reason: None,
        removed_at: None,
    }
}

#[test]
fn a_run_that_another_machine_took_over_has_left_a_directory_here() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunId::new(NOW, 0);
    let url = format!("https://contosologs.blob.core.windows.net/state/fleetlogs/{run}");
    let here = |row| PastRun::here(row, "ours", dir.path());
    assert!(here(row(&run, "theirs", &url)).is_none(), "nothing is here");
    assert!(
        here(row(&run, "ours", &url)).is_some(),
        "a directory that somebody deleted is recorded as removed"
    );

    std::fs::create_dir(dir.path().join(run.as_str())).unwrap();
    let found = here(row(&run, "theirs", &url)).unwrap();
    assert_eq!((found.dir, found.is_left_over), (dir.path().join(run.as_str()), false));
    let removed = runs::PastRun { removed_at: Some(NOW), ..row(&run, "theirs", &url) };
    assert!(here(removed).unwrap().is_left_over);
    let on_their_disk = dir.path().join(run.as_str()).display().to_string();
    assert!(here(row(&run, "theirs", &on_their_disk)).is_none(), "a run on the disk of another machine");
}

#[test]
fn an_age_without_end_keeps_everything() {
    let forever = Retention { age: Some(Duration::MAX), ..Retention::default() };
    assert!(going(&forever, &[(0, COMPLETE), (40_000, COMPLETE)]).is_empty());
}

fn settings(retention: Retention) -> SnapshotSettings {
    let rule = Rule {
        name: SnapshotName::new("nightly"),
        timetable: None,
        overlap: Overlap::Skip,
        catch_up: CatchUp::No,
        catch_up_within: DAY,
    };
    SnapshotSettings {
        rule,
        cron: None,
        time_zone: "UTC".into(),
        window: SnapshotWindow::OfConfig,
        pick: Pick::default(),
        watch: None,
        retention,
    }
}

/// A directory of runs: three that ended, the oldest of which is not to be kept.
struct Runs {
    dir: tempfile::TempDir,
    past: Vec<PastRun>,
}

impl Runs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut past = past(&[(0, COMPLETE), (1, COMPLETE), (40, COMPLETE)]);
        for run in &mut past {
            run.dir = dir.path().join(run.run.as_str());
            std::fs::create_dir(&run.dir).unwrap();
            std::fs::write(run.dir.join("manifest.json"), "{}").unwrap();
            write_plan(&run.dir, run.run.as_str(), "nightly");
        }
        Self { dir, past }
    }

    fn oldest(&self) -> &PastRun {
        &self.past[2]
    }

    async fn apply(&self) -> Vec<RunId> {
        self.apply_with(None, async |_| Ok::<_, String>(())).await
    }

    async fn apply_with<E: Display>(
        &self,
        containers: Option<&Containers>,
        fold: impl AsyncFnMut(&RunDir) -> Result<(), E>,
    ) -> Vec<RunId> {
        let settings = settings(retention(None, Some(30)));
        let journals = KnownJournals::new(None);
        apply(&settings, self.dir.path(), &self.past, NOW, containers, &journals, fold).await
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn write_plan(dir: &Path, run: &str, snapshot: &str) {
    let plan = serde_json::json!({
        "schema": "fleetlogs.plan.v1", "run_id": run, "nodes": [{ "id": "tvm-1" }],
        "snapshot": { "name": snapshot, "trigger": "cron", "due": "2026-11-22T00:00:00.000Z" },
    });
    std::fs::write(dir.join(PLAN_FILE), plan.to_string()).unwrap();
}

#[tokio::test]
async fn a_directory_goes_after_what_it_says_was_taken_over() {
    let runs = Runs::new();
    let mut folded = vec![];
    let gone = runs
        .apply_with(None, async |dir: &RunDir| {
            assert!(dir.path.join("manifest.json").exists());
            folded.push(dir.path.file_name().unwrap().to_owned());
            Ok::<_, String>(())
        })
        .await;
    assert_eq!(gone, [runs.oldest().run.clone()]);
    assert_eq!(folded, [runs.oldest().run.as_str()]);
    assert_eq!(runs.names(), [runs.past[1].run.as_str(), runs.past[0].run.as_str()]);
    // That it is gone is told until it is on record.
    assert_eq!(runs.apply().await, [runs.oldest().run.clone()]);
}

#[tokio::test]
async fn what_cannot_be_taken_over_stays() {
    let runs = Runs::new();
    assert!(runs.apply_with(None, async |_| Err("disk full")).await.is_empty());
    assert_eq!(runs.names().len(), 3);
}

#[tokio::test]
async fn a_directory_of_another_run_or_snapshot_or_without_a_plan_stays() {
    let runs = Runs::new();
    let dir = &runs.oldest().dir;
    write_plan(dir, runs.oldest().run.as_str(), "weekly");
    assert!(runs.apply().await.is_empty());
    write_plan(dir, runs.past[0].run.as_str(), "nightly");
    assert!(runs.apply().await.is_empty());
    std::fs::write(dir.join(PLAN_FILE), "{}").unwrap();
    assert!(runs.apply().await.is_empty());
    std::fs::remove_file(dir.join(PLAN_FILE)).unwrap();
    assert!(runs.apply().await.is_empty());
    assert_eq!(runs.names().len(), 3);
}

#[test]
fn only_the_directory_of_a_run_of_the_snapshot_is_that_of_the_run() {
    let runs = Runs::new();
    let (dir, nightly) = (&runs.oldest().dir, SnapshotName::new("nightly"));
    assert!(is_run_of(dir, &nightly));
    assert!(!is_run_of(dir, &SnapshotName::new("weekly")));
    assert!(!is_run_of(runs.dir.path(), &nightly), "the name is no run id");
    write_plan(dir, runs.past[0].run.as_str(), "nightly");
    assert!(!is_run_of(dir, &nightly), "its plan is of another run");
    // That it cannot be read is told by whoever opens it.
    std::fs::remove_file(dir.join(PLAN_FILE)).unwrap();
    assert!(is_run_of(dir, &nightly));
}

#[tokio::test]
async fn a_run_that_somebody_works_on_stays() {
    let runs = Runs::new();
    let held = RunDir::on_disk(runs.oldest().dir.clone()).store.hold().await.unwrap();
    assert!(runs.apply().await.is_empty());
    drop(held);
    assert_eq!(runs.apply().await.len(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn no_link_leads_out_of_the_directory_of_runs() {
    let runs = Runs::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let kept = elsewhere.path().join(runs.oldest().run.as_str());
    // The run's directory is a link.
    std::fs::rename(&runs.oldest().dir, &kept).unwrap();
    std::os::unix::fs::symlink(&kept, &runs.oldest().dir).unwrap();
    std::os::unix::fs::symlink(&kept, runs.dir.path().join(format!("{REMOVING}{}", runs.oldest().run)))
        .unwrap();
    assert!(runs.apply().await.is_empty());
    assert!(kept.join("manifest.json").exists());

    // It is on record as somewhere else.
    let mut other = Runs { dir: tempfile::tempdir().unwrap(), past: runs.past.clone() };
    other.past[2].dir = kept.clone();
    assert!(other.apply().await.is_empty());

    // A link within it is removed as a link.
    std::fs::remove_file(&runs.oldest().dir).unwrap();
    let precious = elsewhere.path().join("precious");
    std::fs::write(&precious, "x").unwrap();
    std::fs::rename(&kept, &runs.oldest().dir).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), runs.oldest().dir.join("link")).unwrap();
    std::fs::remove_file(runs.dir.path().join(format!("{REMOVING}{}", runs.oldest().run))).unwrap();
    assert_eq!(runs.apply().await.len(), 1);
    assert!(precious.exists());
}

#[tokio::test]
async fn what_an_earlier_process_was_about_to_remove_goes_and_nothing_else_of_the_like() {
    let runs = Runs::new();
    let left = set_aside(&runs.oldest().dir, &runs.oldest().run).unwrap();
    let other = runs.dir.path().join(".removing-mine");
    std::fs::create_dir(&other).unwrap();
    assert_eq!(runs.apply().await, [runs.oldest().run.clone()]);
    assert!(!left.exists() && other.exists());
}

#[tokio::test]
async fn a_container_that_cannot_be_deleted_keeps_the_directory() {
    let runs = Runs::new();
    // Nothing listens there.
    let endpoint = Url::parse("http://127.0.0.1:1/acct").unwrap();
    let key = StorageAuth::Key(Secret::new("cGxhaW5seSBmYWtl".into()));
    let storage = StorageAccount::new(http_client(1).unwrap(), endpoint, key).unwrap();
    let containers =
        Containers { storage, place: Place::of_test("http://127.0.0.1:1/acct", "logs-{run_id}") };
    assert!(runs.apply_with(Some(&containers), async |_| Ok::<_, String>(())).await.is_empty());
    assert_eq!(runs.names().len(), 3);
}

#[tokio::test]
async fn a_container_goes_with_the_directory_of_the_run_that_made_it_and_no_other() {
    let scenario =
        Scenario::from_toml("[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"p\"\n").unwrap();
    let simulator = Simulator::start(scenario, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let ready = &simulator.ready().storage;
    let key = StorageAuth::Key(Secret::new(ready.key.clone()));
    let endpoint = Url::parse(&ready.endpoint).unwrap();
    let storage = StorageAccount::new(http_client(1).unwrap(), endpoint, key).unwrap();
    let is_there = async |name: &str, run: &RunId| !storage.create_container(name, run).await.unwrap();

    for made_by_it in [true, false] {
        let runs = Runs::new();
        let run = &runs.oldest().run;
        let name = format!("logs-{}", run.as_str().to_lowercase());
        let maker = if made_by_it { run } else { &runs.past[0].run };
        storage.create_container(&name, maker).await.unwrap();
        let place = Place::of_test(&ready.endpoint, "logs-{run_id}");
        let containers = Containers { storage: storage.clone(), place };
        assert_eq!(
            runs.apply_with(Some(&containers), async |_| Ok::<_, String>(())).await,
            std::slice::from_ref(run)
        );
        assert!(!runs.oldest().dir.exists());
        assert_eq!(is_there(&name, run).await, !made_by_it);
        storage.delete_container(&name, run).await.unwrap();
    }
}
