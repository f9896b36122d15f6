use std::path::PathBuf;

use fleetlogs_model::home::{Answer, HomeError, StateHome};
use fleetlogs_model::ids::RunId;
use fleetlogs_model::outcome::RunOutcome;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::schedule::overview::overview;
use crate::schedule::state::{JobId, alerts};
use crate::schedule::{CatchUp, Overlap, Timetable};
use crate::testing::NOW;
use crate::testing::plan_at;

const HOUR: Duration = Duration::from_hours(1);

/// Runs take as long as they are told to, and leave a note when they begin and when they end.
struct Noted {
    stop: StopHandle,
    clock: Clock,
    long: Duration,
    notes: Mutex<Vec<String>>,
}

impl Noted {
    fn note(&self, what: &str, job: JobId) {
        let minutes = (self.clock.now() - NOW).whole_minutes();
        self.notes.lock().push(format!("{minutes}: {} {what}", job.0));
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock())
    }
}

impl Runner for Noted {
    async fn run(&self, Job { id, begun: dir, .. }: Job, begun: StartRecord) -> JobEnd {
        let mut ended = JobEnd { outcome: None, exit_code: 5, reason: None, interrupted: false };
        if let Some(dir) = dir {
            self.note(&format!("goes on in {}", dir.display()), id);
        } else {
            self.note("begins", id);
            let dir = PathBuf::from(format!("runs/{}", id.0));
            if let Err(error) = begun.record(&plan_at(self.clock.now()), &dir).await {
                ended.reason = Some(error.to_string());
                return ended;
            }
        }
        tokio::select! {
            () = sleep(self.long) => self.note("ends", id),
            () = self.stop.reached(Stop::Drain) => {
                self.note("is interrupted", id);
                ended.interrupted = true;
            }
        }
        JobEnd { outcome: Some(RunOutcome::Complete), exit_code: 0, ..ended }
    }
}

/// A state on disk, and what a process is made of.
struct Scene {
    store: Store,
    stop: StopHandle,
    runner: Arc<Noted>,
    rules: Vec<Rule>,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(long: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("schedule.db"), None).unwrap();
        let (stop, clock) = (StopHandle::default(), Clock::Since(NOW, Instant::now()));
        let runner = Arc::new(Noted { stop: stop.clone(), clock, long, notes: Mutex::default() });
        let rules = [("nightly", "0 2 * * *"), ("hourly", "0 * * * *")].map(|(name, cron)| {
            let name = SnapshotName::new(name);
            let timetable = Timetable::new(&name, cron, "UTC", Duration::ZERO).unwrap();
            let (overlap, catch_up) = (Overlap::Skip, CatchUp::Once);
            Rule { name, timetable: Some(timetable), overlap, catch_up, catch_up_within: HOUR * 24 }
        });
        Self { store, stop, runner, rules: rules.into(), dir }
    }

    fn scheduler(&self) -> Scheduler<Noted> {
        let (rules, clock) = (self.rules.clone(), self.runner.clock);
        Scheduler::new(self.store.clone(), rules, clock, "here".into(), self.runner.clone())
    }

    async fn enqueue(&self, name: &str, trigger: Trigger) -> JobId {
        let now = self.runner.clock.now();
        let row = SnapshotRef { name: SnapshotName::new(name), trigger, due: now };
        self.store.change(|state| runs::enqueue(state, &row, now)).await.unwrap()
    }

    async fn started_by(&self, machine: &str, name: &str, dir: Option<&str>) -> JobId {
        let id = self.enqueue(name, Trigger::Cron).await;
        let begin = |state: &Transaction<'_>| {
            runs::start_row(state, id, machine, NOW)?;
            dir.map_or(Ok(()), |dir| runs::record_begin(state, id, &RunId::new(NOW, 0), dir.as_ref()))
        };
        self.store.change(begin).await.unwrap();
        id
    }

    async fn row(&self, id: JobId) -> PastRun {
        self.store.read(|state| runs::find_row(state, id)).await.unwrap().unwrap()
    }

    /// A process that is killed after a while.
    async fn killed_after(&self, while_: Duration) {
        timeout(while_, self.scheduler().run(self.stop.clone())).await.unwrap_err();
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn runs_begin_at_their_times() {
    let scene = Scene::new(HOUR / 6);
    scene.killed_after(HOUR * 2).await;
    // It is half past nine.
    assert_eq!(scene.runner.notes(), ["30: 1 begins", "40: 1 ends", "90: 2 begins", "100: 2 ends"]);
    let now = scene.runner.clock.now();
    let views = scene.store.read(|state| overview(state, &scene.rules, now)).await.unwrap();
    let hourly = &views[1];
    assert_eq!(hourly.next.unwrap().due, NOW + HOUR * 5 / 2);
    assert!(hourly.running.is_none() && hourly.waiting.is_none());
    assert_eq!(hourly.last_good.as_ref().unwrap().id, JobId(2));
    assert!(views[0].last.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_process_left_is_taken_up_again_or_put_back_or_given_up() {
    let scene = Scene::new(HOUR / 6);
    let ours = scene.started_by("here", "nightly", Some("runs/ours")).await;
    let theirs = scene.started_by("there", "hourly", Some("runs/theirs")).await;
    let bare = scene.started_by("there", "hourly", None).await;
    let unknown = scene.enqueue("weekly", Trigger::Cron).await;
    scene.killed_after(HOUR / 3 + HOUR / 20).await;
    let expected = ["0: 1 goes on in runs/ours", "10: 1 ends", "10: 3 begins", "20: 3 ends", "20: 5 begins"];
    assert_eq!(scene.runner.notes(), expected);
    let anew = scene.row(JobId(5)).await.snapshot;
    assert_eq!((anew.trigger, &anew.name), (Trigger::CatchUp, &scene.row(theirs).await.snapshot.name));
    assert_eq!(scene.row(ours).await.status, Status::Ended);
    assert_eq!(scene.row(bare).await.status, Status::Ended);
    let theirs = scene.row(theirs).await;
    assert_eq!(theirs.status, Status::Lost);
    assert_eq!(theirs.reason.unwrap(), "there started it and has its run directory");
    let unknown = scene.row(unknown).await;
    assert_eq!(unknown.status, Status::Skipped);
    assert_eq!(unknown.reason.unwrap(), "the config no longer names this snapshot");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_record_every_machine_reaches_is_resumed_by_the_next_owner() {
    let scene = Scene::new(HOUR / 6);
    let url = "https://logs.blob.core.windows.net/journals/fleetlogs/20261122T093000Z-0000";
    let theirs = scene.started_by("there", "nightly", Some(url)).await;
    let lost = scene.started_by("there", "nightly", Some("runs/https")).await;
    scene.killed_after(HOUR / 3).await;
    let notes = scene.runner.notes();
    assert_eq!(notes[..2], [format!("0: 1 goes on in {url}"), "10: 1 ends".into()]);
    let row = scene.row(theirs).await;
    assert_eq!((row.status, row.machine.as_deref()), (Status::Ended, Some("here")));
    assert_eq!(scene.row(lost).await.status, Status::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_interrupted_is_taken_up_again_by_the_next_process() {
    let mut scene = Scene::new(HOUR);
    let told = async {
        sleep(HOUR).await;
        scene.stop.stop(Stop::Drain, StopReason::Signal);
    };
    let (result, ()) = tokio::join!(scene.scheduler().run(scene.stop.clone()), told);
    result.unwrap();
    assert_eq!(scene.runner.notes(), ["30: 1 begins", "60: 1 is interrupted"]);
    assert_eq!(scene.row(JobId(1)).await.status, Status::Started);

    let stop = StopHandle::default();
    let (clock, notes) = (scene.runner.clock, Mutex::default());
    scene.runner = Arc::new(Noted { stop: stop.clone(), clock, long: HOUR / 6, notes });
    scene.stop = stop;
    scene.killed_after(HOUR / 4).await;
    assert_eq!(scene.runner.notes(), ["60: 1 goes on in runs/1", "70: 1 ends"]);
}

#[tokio::test(start_paused = true)]
async fn once_that_was_killed_gets_the_same_run_and_the_next_a_new_one() {
    let scene = Scene::new(HOUR / 6);
    let hourly = SnapshotName::new("hourly");
    timeout(HOUR / 12, scene.scheduler().once(&hourly)).await.unwrap_err();
    sleep(Duration::from_millis(1)).await;
    for _ in 0..2 {
        let ended = scene.scheduler().once(&hourly).await.unwrap();
        assert_eq!(ended.outcome, Some(RunOutcome::Complete));
    }
    let expected = ["0: 1 begins", "5: 1 goes on in runs/1", "15: 1 ends", "15: 2 begins", "25: 2 ends"];
    assert_eq!(scene.runner.notes(), expected);
}

#[tokio::test(start_paused = true)]
async fn once_ends_what_a_daemon_began_and_then_begins_its_own() {
    let scene = Scene::new(HOUR / 6);
    scene.started_by("here", "hourly", Some("runs/1")).await;
    let other = scene.started_by("here", "nightly", Some("runs/2")).await;
    scene.scheduler().once(&SnapshotName::new("hourly")).await.unwrap();
    let expected = ["0: 1 goes on in runs/1", "10: 1 ends", "10: 3 begins", "20: 3 ends"];
    assert_eq!(scene.runner.notes(), expected);
    assert_eq!(scene.row(other).await.status, Status::Started);
}

#[tokio::test(start_paused = true)]
async fn a_capture_runs_beside_another_snapshot_and_not_beside_its_own() {
    let scene = Scene::new(HOUR / 6);
    let captures = async {
        sleep(HOUR / 2 + HOUR / 20).await;
        scene.enqueue("hourly", Trigger::State).await;
        scene.enqueue("nightly", Trigger::Alert).await;
    };
    let scheduler = scene.scheduler().run(scene.stop.clone());
    timeout(HOUR * 9 / 10, async { tokio::join!(scheduler, captures) }).await.unwrap_err();
    let expected = ["30: 1 begins", "33: 3 begins", "40: 1 ends", "43: 3 ends", "43: 2 begins", "53: 2 ends"];
    assert_eq!(scene.runner.notes(), expected);
}

/// A home that another machine owns after this many changes.
struct Taken(Mutex<u32>);

impl StateHome for Taken {
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>> {
        self.read()
    }
    fn renew(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn publish(&self, _: Vec<u8>) -> Answer<'_, ()> {
        let mut left = self.0.lock();
        let answer = if *left == 0 { Err(HomeError::Lost) } else { Ok(()) };
        *left = left.saturating_sub(1);
        Box::pin(async move { answer })
    }
    fn release(&self) -> Answer<'_, ()> {
        self.renew()
    }
    fn read(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Ok(None) })
    }
    fn lease(&self) -> Duration {
        Duration::from_mins(1)
    }
}

#[tokio::test(start_paused = true)]
async fn another_owner_stops_the_runs_and_the_scheduler() {
    let mut scene = Scene::new(HOUR * 2);
    let home = Arc::new(Taken(Mutex::new(5)));
    let path = scene.dir.path().join("shared.db");
    scene.store = Store::open(&path, Some((home, None))).unwrap();
    // Recovery, first look, time of ten, its start, its directory; then the time of eleven cannot be recorded.
    let result = scene.scheduler().run(scene.stop.clone()).await;
    assert!(matches!(result, Err(StateError::Home(HomeError::Lost))), "{result:?}");
    assert_eq!(scene.runner.notes(), ["30: 1 begins", "90: 1 is interrupted"]);
    assert!(matches!(scene.stop.reason(), Some(StopReason::Schedule(_))));
}

#[tokio::test(start_paused = true)]
async fn old_rows_are_forgotten_but_for_those_that_something_rests_on() {
    let scene = Scene::new(HOUR);
    let nightly = SnapshotName::new("nightly");
    let good = scene.started_by("here", "nightly", Some("/runs/good")).await;
    let with_dir = scene.started_by("here", "nightly", Some("/runs/kept")).await;
    let ended = |outcome| JobEnd { outcome: Some(outcome), exit_code: 0, reason: None, interrupted: false };
    let mut skipped = Vec::new();
    for _ in 0..10 {
        skipped.push(scene.enqueue("nightly", Trigger::Cron).await);
    }
    let waiting = scene.enqueue("nightly", Trigger::Cron).await;
    let change = |state: &Transaction<'_>| {
        runs::record_end(state, good, &ended(RunOutcome::Complete), NOW)?;
        state.execute("UPDATE run SET removed_at = ended_at WHERE id = ?1", [good.0])?;
        runs::record_end(state, with_dir, &ended(RunOutcome::Partial), NOW)?;
        for row in &skipped {
            runs::close_row(state, *row, Status::Skipped, "one goes on", NOW)?;
        }
        // An alert may have asked for a row that goes.
        alerts::take_alert(state, "alert", NOW, &nightly, NOW)?;
        state.execute("UPDATE alert SET run = ?1", [skipped[0].0])?;
        runs::forget_rows(state, &nightly, 4)
    };
    scene.store.change(change).await.unwrap();
    let left = scene.store.read(|state| runs::past_rows(state, &nightly, None)).await.unwrap();
    let left: Vec<_> = left.iter().map(|row| row.id).collect();
    assert!([good, with_dir].iter().all(|row| left.contains(row)), "{left:?}");
    let queued = scene.store.read(runs::queued_rows).await.unwrap();
    assert!(queued.iter().any(|row| row.id == waiting));
    let of_skipped: Vec<_> = skipped.iter().filter(|row| left.contains(row)).collect();
    assert_eq!(of_skipped, skipped[8..].iter().collect::<Vec<_>>(), "the newest four, of which two wait");
}

#[tokio::test(start_paused = true)]
async fn what_another_process_puts_into_the_queue_begins_within_a_minute() {
    let mut scene = Scene::new(HOUR);
    let name = SnapshotName::new("yearly");
    let timetable = Timetable::new(&name, "0 0 1 1 *", "UTC", Duration::ZERO).unwrap();
    scene.rules = vec![Rule { name, timetable: Some(timetable), ..scene.rules[0].clone() }];
    let scheduler = scene.scheduler();
    let stop = scene.stop.clone();
    let daemon = tokio::spawn(async move { scheduler.run(stop).await });
    sleep(Duration::from_secs(5)).await;
    // As another process has it: the change is made by a connection of its own.
    let other = Store::open(&scene.dir.path().join("schedule.db"), None).unwrap();
    let now = scene.runner.clock.now();
    let row = SnapshotRef { name: SnapshotName::new("yearly"), trigger: Trigger::Once, due: now };
    let job = other.change(|state| runs::enqueue(state, &row, now)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let status = other.read(|state| runs::find_row(state, job)).await.unwrap().unwrap().status;
    assert_eq!(status, Status::Started);
    daemon.abort();
}
