//! Workers that share a run, die and freeze: simulated on paused time, with a seed for each story.
//!
//! The accounts, their faults and the container are those of the simulation of a single process. A worker that dies
//! leaves its messages hidden and its leases taken until both run out. One that freezes wakes up after its leases have
//! ended, and works on with what it had in its hands. Messages are delivered twice.
//!
//! `FLEETLOGS_SEED=n` runs that seed alone.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::RunStore;
use fleetlogs_model::work_queue::WorkItem;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::split_plan;
use super::testing::{LEASE, Life, MemoryQueue, Records, SETTINGS, items, part_of, work_on};
use super::worker::{PartitionWork, WorkerSettings, work};
use crate::clock::{Clock, SetClock};
use crate::recorded_run::{RecordedRun, ResumedRun, RunClaim};
use crate::run_record::RunRecord;
use crate::settings::Limits;
use crate::simulation::{Circumstances, Tally, World, deed, judge, on_paused_time};
use crate::stop::StopHandle;
use crate::testing::{NOW, plan_over};

/// How long a worker takes to plan a partition.
const PLANNING: Duration = Duration::from_secs(20);

/// What happens to a worker.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lives,
    DiesAfter(Duration),
    /// When, and for how long.
    Freezes(Duration, Duration),
}

/// A run, and those who work on it.
struct Story {
    plan: Plan,
    worlds: BTreeMap<AccountName, Arc<World>>,
    records: Records,
    queue: MemoryQueue,
    clock: &'static SetClock,
    rate: Option<f64>,
    seed: u64,
}

/// One worker.
struct SimulatedWorker<'a> {
    story: &'a Story,
    life: Arc<Life>,
    random: Rng,
}

impl PartitionWork for SimulatedWorker<'_> {
    fn store(&self, item: &WorkItem) -> Box<dyn RunStore> {
        self.story.records.store(&item.partition, &self.life)
    }

    async fn plan(&self, item: &WorkItem, given_up: Option<&str>) -> Result<(), Failure> {
        assert_eq!(given_up, None, "no partition of the story is at fault");
        sleep(PLANNING).await;
        self.story.records.lay_out(&part_of(&self.story.plan, &item.partition)).await;
        Ok(())
    }

    async fn carry_out(
        &self,
        item: &WorkItem,
        run: ResumedRun,
        listener: Box<dyn EventSink>,
        stop: StopHandle,
    ) -> Result<(), Failure> {
        let story = self.story;
        let limits = Limits { rate: story.rate, concurrency: 16, max_uploads_in_flight: None, relist: None };
        let world = &story.worlds[&item.partition];
        work_on(world, run, limits, story.clock, listener, stop, self.random.clone()).await;
        Ok(())
    }
}

impl Story {
    async fn new(accounts: u32, nodes: u32, rate: Option<f64>, seed: u64, holds_exclude: bool) -> Self {
        let names: Vec<_> = (0..accounts).map(|number| format!("a{number:04}")).collect();
        let accounts: Vec<_> = names.iter().map(|name| (name.as_str(), nodes)).collect();
        let plan = plan_over(&accounts);
        let worlds = plan.accounts.iter().enumerate().map(|(number, account)| {
            let seed = seed << 16 ^ number as u64;
            let deeds = move |node, call| deed(seed, node, call);
            (account.name.clone(), Arc::new(World::new(account.nodes as usize, deeds)))
        });
        let worlds = worlds.collect();
        // Every third partition is planned by its worker.
        let names: Vec<_> = plan.accounts.iter().map(|account| account.name.clone()).collect();
        let by_worker: HashSet<_> = names.iter().skip(2).step_by(3).cloned().collect();
        let records = Records::with(&plan, holds_exclude, |name| !by_worker.contains(name)).await;
        let queue = MemoryQueue::default();
        items(&plan).for_each(|item| queue.put(&item));
        Self { plan, worlds, records, queue, clock: SetClock::start(NOW), rate, seed }
    }

    /// All workers begin at once. Returns how long it took until the last one ended.
    async fn live(&self, settings: &WorkerSettings, fates: &[Fate]) -> Duration {
        let began = Instant::now();
        let workers = fates.iter().enumerate().map(|(number, fate)| async move {
            let random = Rng::with_seed(self.seed ^ (number as u64) << 40);
            let worker = SimulatedWorker { story: self, life: Arc::default(), random };
            let stop = StopHandle::default();
            let mut working = pin!(work(&self.queue, &worker, settings, Clock::Set(self.clock), &stop));
            match *fate {
                Fate::Lives => drop(working.await.unwrap()),
                Fate::DiesAfter(time) => tokio::select! {
                    biased;
                    () = async { sleep(time).await; worker.life.die() } => {}
                    end = &mut working => drop(end.unwrap()),
                },
                Fate::Freezes(after, time) => tokio::select! {
                    biased;
                    () = async { sleep(after).await; worker.life.freeze() } => {
                        sleep(time).await;
                        worker.life.thaw();
                        drop(working.await.unwrap());
                    }
                    end = &mut working => drop(end.unwrap()),
                },
            }
        });
        join_all(workers).await;
        began.elapsed()
    }

    /// Compares what is on record with what the service did: every partition, and the run as a whole.
    async fn judge(&self) -> Tally {
        let mut tally = Tally::default();
        for part in split_plan(&self.plan) {
            let part = part.unwrap();
            let name = &part.accounts[0].name;
            judge(&part, &self.worlds[name], &self.records.events(name), Circumstances::ORDINARY, &mut tally);
        }
        assert_eq!(tally.doubled, 0, "nodes were asked twice");
        assert_eq!(self.queue.poison(), [], "no partition kills its worker here");
        let run = RecordedRun::open(&self.records.merged(&self.plan), RunClaim::Rest).await.unwrap();
        let record = RunRecord::of(&run.journal.run_events().unwrap());
        assert!(record.ended_at.is_some() && record.stopped.is_none(), "the run ended in order");
        let ledger = run.ledger().unwrap();
        let mut nodes = 0;
        for row in run.journal.histories().unwrap().rows().unwrap() {
            let (node, history) = row.unwrap();
            assert_eq!(ledger.status(node), history.status, "{}", run.plan.node(node).at());
            nodes += 1;
        }
        assert_eq!(nodes, self.plan.nodes.len(), "every node has a history");
        tally
    }
}

/// What a seed brings: some die, some freeze for longer than their lease, and the last one lives.
fn fates(workers: usize, random: &mut Rng) -> Vec<Fate> {
    let mut fates: Vec<_> = (1..workers)
        .map(|_| {
            let when = Duration::from_millis(random.u64(0..400_000));
            match random.u8(0..3) {
                0 => Fate::Lives,
                1 => Fate::DiesAfter(when),
                _ => Fate::Freezes(when, LEASE.mul_f64(0.5 + 4.0 * random.f64())),
            }
        })
        .collect();
    fates.push(Fate::Lives);
    fates
}

/// The story of a seed, to its end.
async fn told(seed: u64, holds_exclude: bool) -> Story {
    let mut random = Rng::with_seed(seed);
    // Without a ceiling, intents are recorded ahead of their calls: a worker that wakes up has some in its hands.
    let rate = *random.choice(&[None, Some(5.0)]).unwrap();
    let story = Story::new(random.u32(2..12), random.u32(1..40), rate, seed, holds_exclude).await;
    // Sending a message is repeated if its answer is lost.
    for item in items(&story.plan).filter(|_| random.u8(0..4) == 0) {
        story.queue.put(&item);
    }
    let workers = random.usize(1..5);
    let settings = WorkerSettings { at_once: random.usize(1..4), ..SETTINGS };
    let fates = fates(workers, &mut random);
    story.live(&settings, &fates).await;
    story
}

#[test]
fn no_node_is_lost_and_none_is_asked_twice_whichever_workers_die_or_freeze() {
    let alone = std::env::var("FLEETLOGS_SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let next = AtomicU64::new(alone.unwrap_or(0));
    let end = alone.map_or(200, |seed| seed + 1);
    let failed = std::thread::scope(|scope| {
        let work = || {
            let mut failed = vec![];
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return failed;
                }
                let one = std::panic::AssertUnwindSafe(|| {
                    on_paused_time(async { told(seed, true).await.judge().await })
                });
                if std::panic::catch_unwind(one).is_err() {
                    failed.push(seed);
                }
            }
        };
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    assert!(failed.is_empty(), "FLEETLOGS_SEED runs each of these alone: {failed:?}");
}

#[test]
fn the_simulation_sees_what_holds_that_keep_nobody_out_do() {
    let doubled: usize = (0..20)
        .map(|seed| {
            let story = on_paused_time(told(seed, false));
            let taken = story.worlds.values().flat_map(|world| world.taken());
            taken.filter(|calls| calls.len() > 1).count()
        })
        .sum();
    assert!(doubled > 20, "{doubled} nodes were asked twice");
}

/// The same fleet with and without deaths. The work of a dead worker is done again only as far as it is in doubt.
fn with_deaths(accounts: u32, nodes: u32, workers: u32, deaths: u32) {
    let run = |fates: Vec<Fate>| {
        on_paused_time(async {
            let story = Story::new(accounts, nodes, Some(20.0), 1, true).await;
            let settings = WorkerSettings { at_once: 4, ..SETTINGS };
            let took = story.live(&settings, &fates).await;
            story.judge().await;
            took
        })
    };
    let clean = run(vec![Fate::Lives; workers as usize]);
    let mut random = Rng::with_seed(1);
    let mut fates = vec![Fate::Lives; workers as usize];
    for fate in &mut fates[..deaths as usize] {
        *fate = Fate::DiesAfter(clean.mul_f64(0.1 + 0.4 * random.f64()));
    }
    let hit = run(fates);
    println!(
        "{accounts} accounts of {nodes} nodes, {workers} workers: {clean:?}; {deaths} of them die: {hit:?}"
    );
    // Half of the work remains when the last one dies, at most a lease later it is taken over, and the last partition
    // may begin then.
    let living = f64::from(workers) / f64::from(workers - deaths);
    let bound = clean.mul_f64(living) + 2 * LEASE + clean.mul_f64(0.5);
    assert!(hit < bound, "{hit:?} with deaths, {clean:?} without");
}

/// `FLEETLOGS_FLEET=1000,1000,50,10` plays it with other numbers: accounts, nodes of each, workers, and how many of them
/// die. A million nodes take minutes and gigabytes.
#[test]
fn workers_that_die_cost_their_share_and_a_lease() {
    let fleet = std::env::var("FLEETLOGS_FLEET").unwrap_or("30,40,6,2".into());
    let numbers: Vec<u32> = fleet.split(',').map(|number| number.parse().expect("a number")).collect();
    let [accounts, nodes, workers, deaths] = numbers[..] else { panic!("{fleet} is not four numbers") };
    with_deaths(accounts, nodes, workers, deaths);
}
