//! A month of several snapshots on paused time, with the process killed again and again: at random moments, and between
//! the steps that must not come apart. What holds at the end is said in [`check`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::home::{Answer, StateHome};
use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::interval::Interval;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use parking_lot::{Mutex, MutexGuard};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::*;
use crate::schedule::state::JobId;
use crate::schedule::{CatchUp, Overlap, Timetable};
use crate::testing::plan_at;

mod check;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Both weeks in which clocks change, in New York and in Berlin: 8 and 29 March, 25 October and 1 November.
const MONTHS: [OffsetDateTime; 2] = [datetime!(2026-03-03 10:17 UTC), datetime!(2026-10-08 10:17 UTC)];
const DAYS: i64 = 31;

/// Where a process may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    BeforePublish,
    AfterPublish,
    BeforeBegun,
    AfterBegun,
    BeforeEnd,
}

const POINTS: [Point; 5] =
    [Point::BeforePublish, Point::AfterPublish, Point::BeforeBegun, Point::AfterBegun, Point::BeforeEnd];

/// What outlives a process, and what was seen.
struct World {
    start: OffsetDateTime,
    clock: Clock,
    rng: Mutex<fastrand::Rng>,
    trap: Mutex<Option<(Point, u32)>>,
    sprung: Notify,
    /// The state as the others see it, where it is shared.
    published: Mutex<Option<Vec<u8>>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What is in progress now.
    going: Vec<(Lane, SnapshotName)>,
    dirs: HashMap<PathBuf, Dir>,
    /// Directories that are on record, as far as the runner was told.
    begun: HashMap<JobId, PathBuf>,
    reached: HashMap<SnapshotName, OffsetDateTime>,
    /// Processes: when each began, and up to when times were considered before it.
    lives: Vec<(OffsetDateTime, HashMap<SnapshotName, OffsetDateTime>)>,
    resumed: u32,
    wrong: Vec<String>,
}

struct Dir {
    snapshot: SnapshotRef,
    window: Interval,
    left: Duration,
    outcome: RunOutcome,
    ended: bool,
}

impl Seen {
    /// A run ends, for the first time or once more.
    fn end(&mut self, dir: &Path) -> RunOutcome {
        let run = self.dirs.get_mut(dir).unwrap();
        run.ended = true;
        if run.outcome == RunOutcome::Complete {
            self.reached.insert(run.snapshot.name.clone(), run.window.to);
        }
        run.outcome
    }
}

impl World {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock()
    }

    fn draw(&self, from: u64, to: u64) -> Duration {
        Duration::from_secs(self.rng.lock().u64(from..to))
    }

    fn chance(&self, of: u32) -> bool {
        self.rng.lock().u32(..of) == 0
    }

    fn draw_trap(&self) -> (Point, u32) {
        let mut rng = self.rng.lock();
        (POINTS[rng.usize(..POINTS.len())], rng.u32(..60))
    }

    /// Passes a point where the process may be killed.
    async fn pass(&self, point: Point) {
        let caught = match &mut *self.trap.lock() {
            Some((at, 0)) if *at == point => true,
            Some((at, left)) if *at == point => {
                *left -= 1;
                false
            }
            _ => false,
        };
        if caught {
            self.sprung.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

struct Home(Arc<World>);

impl StateHome for Home {
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>> {
        self.read()
    }
    fn renew(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn publish(&self, state: Vec<u8>) -> Answer<'_, ()> {
        Box::pin(async move {
            sleep(Duration::from_millis(20)).await;
            self.0.pass(Point::BeforePublish).await;
            *self.0.published.lock() = Some(state);
            self.0.pass(Point::AfterPublish).await;
            Ok(())
        })
    }
    fn release(&self) -> Answer<'_, ()> {
        self.renew()
    }
    fn read(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Ok(self.0.published.lock().clone()) })
    }
    fn lease(&self) -> Duration {
        Duration::from_mins(1)
    }
}

struct Simulated {
    world: Arc<World>,
    stop: StopHandle,
}

/// A run in progress; it is over once this is dropped, whether it ended, was interrupted or was killed.
struct Going(Arc<World>, Lane, SnapshotName);

impl Going {
    fn enter(world: &Arc<World>, SnapshotRef { name, trigger, due }: &SnapshotRef) -> Self {
        let lane = Lane::of(*trigger);
        let mut seen = world.seen();
        if let Some(other) = seen.going.iter().find(|(other, of)| *other == lane || of == name).cloned() {
            seen.wrong.push(format!("{name} of {due} begins beside {other:?}"));
        }
        seen.going.push((lane, name.clone()));
        Self(world.clone(), lane, name.clone())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        let at = seen.going.iter().position(|(lane, name)| *lane == self.1 && *name == self.2);
        seen.going.remove(at.unwrap());
    }
}

impl Runner for Simulated {
    async fn run(&self, job: Job, begun: StartRecord) -> JobEnd {
        let world = &self.world;
        let _going = Going::enter(world, &job.snapshot);
        let mut ended = JobEnd { outcome: None, exit_code: 0, reason: None, interrupted: false };
        let on_record = world.seen().begun.get(&job.id).cloned();
        // A process may be killed after the directory is on record, and before the runner is told so.
        if on_record.is_some() && job.begun != on_record {
            let text = format!("{:?} goes on in {:?}, and was in {on_record:?}", job.id, job.begun);
            world.seen().wrong.push(text);
        }
        let dir = match job.begun {
            Some(dir) => {
                world.seen().resumed += 1;
                dir
            }
            None => match self.begin(&job, begun).await {
                Ok(dir) => dir,
                Err(error) => panic!("{error}"),
            },
        };
        let (left, already) = {
            let seen = world.seen();
            (seen.dirs[&dir].left, seen.dirs[&dir].ended)
        };
        if !already {
            tokio::select! {
                () = sleep(left) => {}
                () = self.stop.reached(Stop::Drain) => {
                    ended.interrupted = true;
                    return ended;
                }
            }
        }
        ended.outcome = Some(world.seen().end(&dir));
        world.pass(Point::BeforeEnd).await;
        ended
    }
}

impl Simulated {
    /// Plans for ten seconds, and puts the run on record.
    async fn begin(&self, job: &Job, begun: StartRecord) -> Result<PathBuf, StateError> {
        let world = &self.world;
        sleep(Duration::from_secs(10)).await;
        let now = world.clock.now();
        let left = match job.snapshot.name.as_str() {
            "often" => world.draw(MINUTE, 15 * MINUTE),
            "hourly" if world.chance(4) => world.draw(HOUR, 3 * HOUR),
            _ => world.draw(MINUTE, 30 * MINUTE),
        };
        let outcome = if world.chance(10) { RunOutcome::Partial } else { RunOutcome::Complete };
        let dir = {
            let mut seen = world.seen();
            let dir = PathBuf::from(format!("runs/{}", seen.dirs.len()));
            let from = seen.reached.get(&job.snapshot.name).copied().unwrap_or(world.start);
            let window = Interval { from, to: now };
            let run = Dir { snapshot: job.snapshot.clone(), window, left, outcome, ended: false };
            seen.dirs.insert(dir.clone(), run);
            dir
        };
        world.pass(Point::BeforeBegun).await;
        begun.record(&plan_at(now), &dir).await?;
        world.seen().begun.insert(job.id, dir.clone());
        world.pass(Point::AfterBegun).await;
        Ok(dir)
    }
}

fn rule(
    name: &str,
    (cron, zone, jitter): (&str, &str, u64),
    overlap: Overlap,
    catch_up: CatchUp,
    hours: u64,
) -> Rule {
    let name = SnapshotName::new(name);
    let timetable = Timetable::new(&name, cron, zone, Duration::from_secs(jitter * MINUTE)).unwrap();
    let catch_up_within = Duration::from_secs(hours * HOUR);
    Rule { name, timetable: Some(timetable), overlap, catch_up, catch_up_within }
}

fn rules() -> Vec<Rule> {
    let mut rules = vec![
        rule("nightly", ("30 2 * * *", "Europe/Berlin", 10), Overlap::Skip, CatchUp::Once, 24),
        rule("york", ("15 1 * * *", "America/New_York", 90), Overlap::Skip, CatchUp::No, 24),
        rule("hourly", ("0 * * * *", "UTC", 5), Overlap::Skip, CatchUp::Each, 6),
        rule("often", ("*/10 5-10 * * *", "Europe/Berlin", 0), Overlap::Queue, CatchUp::Once, 12),
        rule("weekly", ("0 3 * * 0", "Europe/Berlin", 0), Overlap::Queue, CatchUp::Each, 100),
    ];
    let captures = Rule { name: SnapshotName::new("captures"), timetable: None, ..rules[0].clone() };
    rules.push(captures);
    rules
}

/// Puts captures into the queue now and then.
async fn watch(world: &World, store: &Store) {
    loop {
        sleep(world.draw(MINUTE, 20 * HOUR)).await;
        let name = if world.chance(2) { "captures" } else { "hourly" };
        let now = world.clock.now();
        let row = SnapshotRef { name: SnapshotName::new(name), trigger: Trigger::State, due: now };
        store.change(|state| runs::enqueue(state, &row, now)).await.unwrap();
    }
}

async fn open(world: &Arc<World>, path: &Path, shared: bool) -> Store {
    let home = Home(world.clone());
    let fetched = home.acquire().await.unwrap();
    let shared = shared.then(|| (Arc::new(home) as Arc<dyn StateHome>, fetched));
    let store = Store::open(path, shared).unwrap();
    // Processes are killed here, and the power stays on.
    let quick = |state: &Connection| Ok(state.pragma_update(None, "synchronous", "off")?);
    store.read(quick).await.unwrap();
    store
}

async fn considered(store: &Store) -> HashMap<SnapshotName, OffsetDateTime> {
    let look = |state: &Connection| {
        let mut all = HashMap::new();
        for rule in rules() {
            all.extend(runs::considered(state, &rule.name)?.map(|until| (rule.name, until)));
        }
        Ok(all)
    };
    store.read(look).await.unwrap()
}

/// One process: until it is killed, or told to stop.
async fn live(world: &Arc<World>, store: Store) {
    *world.trap.lock() = Some(world.draw_trap());
    let before = considered(&store).await;
    world.seen().lives.push((world.clock.now(), before));
    let stop = StopHandle::default();
    let runner = Arc::new(Simulated { world: world.clone(), stop: stop.clone() });
    let scheduler = Scheduler::new(store.clone(), rules(), world.clock, "here".into(), runner);
    let mut process = Box::pin(scheduler.run(stop.clone()));
    let for_long = world.draw(MINUTE, 50 * HOUR);
    let told_to_stop = tokio::select! {
        result = &mut process => panic!("it ended by itself: {result:?}"),
        () = world.sprung.notified() => false,
        () = sleep(for_long) => world.chance(3),
        () = watch(world, &store) => false,
    };
    if told_to_stop {
        *world.trap.lock() = None;
        stop.stop(Stop::Drain, StopReason::Signal);
        process.await.unwrap();
    }
}

/// The rest of the queue, with nothing that adds to it.
async fn finish(world: &Arc<World>, store: Store) {
    *world.trap.lock() = None;
    let before = considered(&store).await;
    world.seen().lives.push((world.clock.now(), before));
    let stop = StopHandle::default();
    let runner = Arc::new(Simulated { world: world.clone(), stop: stop.clone() });
    let rules = rules().into_iter().map(|rule| Rule { timetable: None, ..rule }).collect();
    let scheduler = Scheduler::new(store, rules, world.clock, "here".into(), runner);
    let told = async {
        sleep(Duration::from_secs(48 * HOUR)).await;
        stop.stop(Stop::Drain, StopReason::Signal);
    };
    let (result, ()) = tokio::join!(scheduler.run(stop.clone()), told);
    result.unwrap();
}

async fn month(seed: u64, start: OffsetDateTime, shared: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("schedule.db");
    let world = Arc::new(World {
        start,
        clock: Clock::Since(start, Instant::now()),
        rng: Mutex::new(fastrand::Rng::with_seed(seed)),
        trap: Mutex::default(),
        sprung: Notify::new(),
        published: Mutex::default(),
        seen: Mutex::default(),
    });
    let end = start + time::Duration::days(DAYS);
    while world.clock.now() < end {
        let store = open(&world, &path, shared).await;
        live(&world, store).await;
        // The tasks of a process that was killed end when the runtime comes to them.
        sleep(Duration::from_millis(1)).await;
        let long = if world.chance(8) { 100 * HOUR } else { 3 * HOUR };
        sleep(world.draw(1, long)).await;
    }
    let store = open(&world, &path, shared).await;
    finish(&world, store.clone()).await;
    let told = store.read(|state| check::month(&world.seen(), state, start)).await.unwrap();
    println!("seed {seed}: {told}");
    assert!(world.seen().wrong.is_empty(), "seed {seed}: {:#?}", world.seen().wrong);
}

#[tokio::test(start_paused = true)]
async fn a_month_in_spring_on_one_machine() {
    month(seed(1), MONTHS[0], false).await;
}

#[tokio::test(start_paused = true)]
async fn a_month_in_autumn_with_a_shared_state() {
    month(seed(2), MONTHS[1], true).await;
}

/// Other months with `FLEETLOGS_SEED`.
fn seed(test: u64) -> u64 {
    let base = std::env::var("FLEETLOGS_SEED").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    base * 2 + test
}
