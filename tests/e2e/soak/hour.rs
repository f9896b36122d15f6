//! The soak itself.
//!
//! `FLEETLOGS_SOAK` is for how many minutes it goes on; `just soak` has 60. If it is not set, everything happens once, which
//! takes a minute or two. `FLEETLOGS_SEED` is the seed of the fleet and of the story. The last three fifths of a long soak kill
//! no daemon, so that both live long enough to show whether they grow.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use fleetlogs_engine::schedule::state::runs::{self, PastRun};
use fleetlogs_engine::schedule::state::{StateError, Store};
use fleetlogs_model::ids::SnapshotName;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::books::{Books, differences};
use super::ground::{Ground, SNAPSHOTS, figures_file};
use super::records::{Archive, tidy};
use super::samples::{Course, Sample, courses, csv, look, medians};
use super::weather::{ALL, Record, Weather, befall};

/// How long a SAS lasts, and how often a new one comes.
const SAS: Duration = Duration::from_secs(300);
const ROTATION: Duration = Duration::from_secs(120);

/// How long a journal stays after the directories of its run.
const JOURNALS_KEPT: Duration = Duration::from_secs(180);

/// How long it may take until a run ends. Nothing rests on it but the end of a soak in which no run ends any more.
const STUCK: Duration = Duration::from_secs(1800);

/// What goes on beside the story: sampling, and keeping manifests.
struct Witness {
    began: Instant,
    samples: Mutex<Vec<Sample>>,
    archive: Mutex<Archive>,
    over: AtomicBool,
}

impl Witness {
    fn watch(&self, living: &Mutex<Vec<super::ground::Life>>, machines: &[PathBuf; 2]) {
        let mut next = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            for (machine, dir) in machines.iter().enumerate() {
                self.archive.lock().keep(machine, dir);
            }
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_secs(2);
                let living = living.lock().clone();
                let at = self.began.elapsed().as_secs_f64();
                let looks = living.into_iter().filter_map(|life| look(life, &machines[life.machine], at));
                self.samples.lock().extend(looks);
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

/// What a soak did.
#[derive(Default)]
struct Told {
    weather: Record,
    promised: Vec<i64>,
    containers: Vec<(f64, u64)>,
}

/// The story. It goes on for `length`, or until everything happened once.
fn tell(ground: &mut Ground, witness: &Witness, length: Option<Duration>, random: &mut Rng) -> Told {
    let mut told = Told::default();
    let (mut deck, mut rotated) = (vec![], Instant::now());
    let mut chapters = 0;
    loop {
        let elapsed = witness.began.elapsed();
        let is_over = length.map_or(chapters == ALL.len(), |length| elapsed >= length);
        if is_over {
            return told;
        }
        if deck.is_empty() {
            deck = ALL.into_iter().rev().collect();
            if length.is_some() {
                random.shuffle(&mut deck);
            }
        }
        let mut what = deck.pop().expect("a full deck");
        let spares_daemons = length.is_some_and(|length| elapsed > length * 2 / 5);
        if spares_daemons && what.ends_a_daemon() {
            what = Weather::ScheduleLeaseIsBroken;
        }
        let before = witness.archive.lock().runs();
        told.promised.extend(ground.alert(chapters));
        std::thread::sleep(Duration::from_millis(random.u64(200..5000)));
        befall(ground, what, SAS, random, &mut told.weather);
        rotate_in_time(ground, &mut rotated, random, &mut told.weather);
        told.containers.push((elapsed.as_secs_f64(), tidy(ground, JOURNALS_KEPT)));
        let waits = Instant::now();
        while witness.archive.lock().runs() == before {
            ground.assert_alive();
            rotate_in_time(ground, &mut rotated, random, &mut told.weather);
            assert!(waits.elapsed() < STUCK, "no run ends any more");
            std::thread::sleep(Duration::from_millis(200));
        }
        chapters += 1;
    }
}

/// Long before a SAS expires, another takes its place.
fn rotate_in_time(ground: &mut Ground, rotated: &mut Instant, random: &mut Rng, record: &mut Record) {
    if rotated.elapsed() > ROTATION {
        *rotated = Instant::now();
        befall(ground, Weather::SasIsRotated, SAS, random, record);
    }
}

/// The rows of all snapshots.
fn rows(state: &[u8]) -> Vec<PastRun> {
    let store = Store::look_at(state).unwrap();
    let read = store.read(|state| {
        let of = |name| runs::past_rows(state, &SnapshotName::new(name), None);
        Ok::<_, StateError>(SNAPSHOTS.map(of).into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    });
    tokio::runtime::Runtime::new().unwrap().block_on(read).unwrap()
}

fn figures(
    told: &Told,
    rows: &[PastRun],
    ledger: &Value,
    courses: &[Course],
    seconds: f64,
    ground: &Ground,
) -> Value {
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    let mut statuses: BTreeMap<&str, u32> = BTreeMap::new();
    for row in rows {
        *statuses.entry(row.status.as_str()).or_default() += 1;
        if row.run_id.is_some() {
            *outcomes.entry(row.outcome.map_or("none", |outcome| outcome.as_str())).or_default() += 1;
        }
    }
    let accounts = ledger["accounts"].as_array().unwrap();
    let sum = |name: &str| accounts.iter().map(|account| account[name].as_u64().unwrap()).sum::<u64>();
    let said = ground.said(0) + &ground.said(1);
    json!({
        "seconds": seconds.round(),
        "runs_by_outcome": outcomes,
        "rows_by_status": statuses,
        "upload_calls": sum("upload_calls"), "accepted": sum("accepted"), "throttled": sum("throttled"),
        "list_calls": sum("list_calls"),
        "weather": told.weather.0,
        "alerts": told.promised.len(),
        "daemons_started": ground.started,
        "ownerships_lost": said.matches("until this machine owns the schedule again").count(),
        "runs_resumed_elsewhere": said.matches("is in Blob storage; this machine resumes it").count(),
        "panics": said.matches("panicked").count(),
        "warnings": said.matches(" WARN ").count(),
        "lives": courses.iter().map(Course::to_json).collect::<Vec<_>>(),
        "container_kib": told.containers.iter().map(|(at, bytes)| (at.round(), bytes / 1024)).collect::<Vec<_>>(),
    })
}

/// The median of the container's size in the last quarter of the looks, against that in the second.
fn container_growth(sizes: &[(f64, u64)]) -> Option<String> {
    if sizes.len() < 20 {
        return None;
    }
    let sizes: Vec<_> = sizes.iter().map(|(_, bytes)| *bytes).collect();
    let (early, late) = medians(&sizes);
    // The schedule remembers its runs, and the size of a journal depends on what went wrong in its run.
    let most = early + early / 2 + (1 << 20);
    (late > most).then(|| format!("the container grew from {early} to {late} bytes"))
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn daemons_in_bad_weather_lose_nothing_double_nothing_and_do_not_grow() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("FLEETLOGS_SEED").unwrap_or(20);
    let length = number("FLEETLOGS_SOAK").map(|minutes| Duration::from_secs(minutes * 60));
    let mut random = Rng::with_seed(seed);
    let mut ground = Ground::new(seed, SAS);
    let archive = Archive::new(ground.sim.dir.path().join("archive"));
    let witness = Witness {
        began: Instant::now(),
        samples: Mutex::default(),
        archive: Mutex::new(archive),
        over: AtomicBool::new(false),
    };
    let machines = [0, 1].map(|machine: usize| ground.machines[machine].dir.clone());
    let living = ground.living.clone();
    let told = std::thread::scope(|scope| {
        let watching = scope.spawn(|| witness.watch(&living, &machines));
        let story = || {
            let told = tell(&mut ground, &witness, length, &mut random);
            ground.close();
            told
        };
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
        witness.over.store(true, Ordering::Relaxed);
        watching.join().unwrap();
        told.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let seconds = witness.began.elapsed().as_secs_f64();
    let (samples, mut archive) = (witness.samples.into_inner(), witness.archive.into_inner());
    for (machine, dir) in machines.iter().enumerate() {
        archive.keep(machine, dir);
    }
    let (ledger, rows, manifests) = (ground.sim.ledger(), rows(&ground.state()), archive.manifests());
    let courses = courses(&samples);
    let figures = figures(&told, &rows, &ledger, &courses, seconds, &ground);
    figures_file("soak.json").write_all(serde_json::to_string_pretty(&figures).unwrap().as_bytes()).unwrap();
    figures_file("samples.csv").write_all(csv(&samples).as_bytes()).unwrap();
    println!("{}", serde_json::to_string_pretty(&figures).unwrap());

    ground.assert_no_secret_was_told();
    assert_eq!(figures["panics"], 0, "{}", ground.said(0) + &ground.said(1));
    let books = Books { manifests: &manifests, ledger: &ledger, rows: &rows, promised: &told.promised };
    let differences = differences(&books);
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    let mut growth: Vec<_> = courses.iter().flat_map(Course::growth).collect();
    growth.extend(container_growth(&told.containers));
    assert!(growth.is_empty(), "{}", growth.join("\n"));
    for what in ALL {
        assert!(told.weather.count(what) > 0, "{what:?} did not happen");
    }
}
