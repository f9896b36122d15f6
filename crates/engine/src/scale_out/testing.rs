//! What the tests of workers share: a queue and leased records in memory, and workers that die or freeze.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use fleetlogs_model::event::Recorded;
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::PlannedNodes;
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunStore, StoreFuture, StoredPlan,
    Tenure,
};
use fleetlogs_model::work_queue::{Delivery, QueueAnswer, WorkItem, WorkQueue};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::local_queue::LocalQueue;
use super::split_plan;
use super::store::{MergedRunStore, PartitionStore, RunSeed};
use super::worker::WorkerSettings;
use crate::access::Access;
use crate::clock::{Clock, SetClock};
use crate::collect::{Collection, ProcessFacts, collect};
use crate::event_log::LogMode;
use crate::recorded_run::ResumedRun;
use crate::settings::Limits;
use crate::simulation::{ATTEMPTS, SETTLE, World, services, settings};
use crate::stop::StopHandle;
use crate::testing::{MemoryRunStore, order_until};

pub(super) const LEASE: Duration = Duration::from_secs(60);

pub(super) const SETTINGS: WorkerSettings = WorkerSettings {
    at_once: 2,
    hidden: LEASE,
    heartbeat: Duration::from_secs(15),
    failures: 5,
    idle: Duration::from_secs(5),
    forever: false,
};

/// Works on a partition of simulated accounts to its end, with the function that `run` uses.
pub(super) async fn work_on(
    world: &Arc<World>,
    run: ResumedRun,
    limits: Limits,
    clock: &'static SetClock,
    listener: Box<dyn EventSink>,
    stop: StopHandle,
    random: Rng,
) {
    let ResumedRun { plan, ledger, outstanding, journal, .. } = run;
    let written = collect(Collection {
        services: services(world, &plan, clock),
        plan,
        ledger,
        outstanding,
        journal,
        listeners: vec![listener],
        log_mode: LogMode::Inline,
        store: Some(world.clone()),
        access: Access::fixed(order_until("2027-11-23T09:30:00Z")),
        settings: settings(limits, ATTEMPTS, SETTLE),
        process: ProcessFacts::default(),
        clock: Clock::Set(clock),
        stop,
        random,
    })
    .await;
    drop(written);
}

/// A queue that may be out of reach for a time.
#[derive(Default)]
pub(super) struct MemoryQueue {
    queue: LocalQueue,
    down_until: Mutex<Option<Instant>>,
}

impl MemoryQueue {
    pub(super) fn put(&self, item: &WorkItem) {
        self.queue.put(item);
    }

    /// Every call fails for a time.
    pub(super) fn go_down(&self, time: Duration) {
        *self.down_until.lock() = Some(Instant::now() + time);
    }

    pub(super) fn poison(&self) -> Vec<(WorkItem, String)> {
        self.queue.poison()
    }

    fn unless_down<'a, T: Send + 'a>(
        &self,
        answer: impl FnOnce() -> QueueAnswer<'a, T>,
    ) -> QueueAnswer<'a, T> {
        if self.down_until.lock().is_some_and(|until| Instant::now() < until) {
            let failure = Failure::new(FailureClass::NotSent, "no connection");
            return Box::pin(std::future::ready(Err(failure.into())));
        }
        answer()
    }
}

impl WorkQueue for MemoryQueue {
    fn send<'a>(&'a self, item: &'a WorkItem) -> QueueAnswer<'a, ()> {
        self.unless_down(|| self.queue.send(item))
    }

    fn receive(&self, hidden: Duration) -> QueueAnswer<'_, Option<Delivery>> {
        self.unless_down(|| self.queue.receive(hidden))
    }

    fn hide<'a>(&'a self, delivery: &'a mut Delivery, hidden: Duration) -> QueueAnswer<'a, ()> {
        self.unless_down(|| self.queue.hide(delivery, hidden))
    }

    fn delete<'a>(&'a self, delivery: &'a Delivery) -> QueueAnswer<'a, ()> {
        self.unless_down(|| self.queue.delete(delivery))
    }

    fn bury<'a>(&'a self, delivery: &'a Delivery, reason: &'a str) -> QueueAnswer<'a, ()> {
        self.unless_down(|| self.queue.bury(delivery, reason))
    }

    fn left(&self) -> QueueAnswer<'_, u64> {
        self.unless_down(|| self.queue.left())
    }
}

/// Whether a worker lives. It renews its leases as long as it does.
#[derive(Default)]
pub(super) struct Life(Mutex<State>);

#[derive(Default)]
struct State {
    /// Since when it renews nothing.
    still_since: Option<Instant>,
    is_dead: bool,
}

impl Life {
    pub(super) fn die(&self) {
        let mut state = self.0.lock();
        state.still_since.get_or_insert_with(Instant::now);
        state.is_dead = true;
    }

    pub(super) fn freeze(&self) {
        self.0.lock().still_since = Some(Instant::now());
    }

    pub(super) fn thaw(&self) {
        self.0.lock().still_since = None;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.lock().is_dead
    }

    fn holds(&self) -> bool {
        self.0.lock().still_since.is_none_or(|since| since.elapsed() < LEASE)
    }

    /// Of a lease of this worker: it was renewed a heartbeat ago, if the worker lives.
    fn lease_left(&self) -> Duration {
        let still = self.0.lock().still_since.map_or(SETTINGS.heartbeat, |since| since.elapsed());
        LEASE.saturating_sub(still)
    }
}

/// The record of one partition, with a lease as its hold.
#[derive(Default)]
pub(super) struct LeasedRecord {
    store: MemoryRunStore,
    /// Whether the hold keeps nobody out.
    is_open: bool,
    lease: Mutex<(u64, Option<Arc<Life>>)>,
}

/// A record as one worker has it.
#[derive(Clone)]
pub(super) struct LeasedRunStore {
    pub(super) record: Arc<LeasedRecord>,
    pub(super) life: Arc<Life>,
}

/// Holds a record until it is dropped in order. A worker that dies holds it for the rest of its lease.
struct Lease {
    store: LeasedRunStore,
    number: u64,
}

impl LeasedRunStore {
    fn take(&self) -> Result<Lease, JournalError> {
        let mut lease = self.record.lease.lock();
        if !self.record.is_open && lease.1.as_ref().is_some_and(|life| life.holds()) {
            return Err(JournalError::new(JournalErrorKind::Busy, "another process works on this run"));
        }
        *lease = (lease.0 + 1, Some(self.life.clone()));
        Ok(Lease { store: self.clone(), number: lease.0 })
    }
}

impl Lease {
    fn is_ours(&self) -> bool {
        let lease = self.store.record.lease.lock();
        lease.0 == self.number && lease.1.is_some()
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({})", self.number)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.store.life.is_dead() && self.is_ours() {
            self.store.record.lease.lock().1 = None;
        }
    }
}

struct LeasedJournal {
    lease: Lease,
    journal: Box<dyn Journal>,
}

impl Journal for LeasedJournal {
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
        if !self.lease.store.record.is_open && !self.lease.is_ours() {
            return Err(JournalError::new(JournalErrorKind::TakenOver, "another process took the run over"));
        }
        self.journal.append(events)
    }

    fn tenure(&self) -> Option<Arc<dyn Tenure>> {
        let (store, number) = (self.lease.store.clone(), self.lease.number);
        Some(Arc::new(LeaseTenure { store, number }))
    }
}

/// What a worker knows about its lease.
struct LeaseTenure {
    store: LeasedRunStore,
    number: u64,
}

impl std::fmt::Debug for LeaseTenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeaseTenure({})", self.number)
    }
}

impl Tenure for LeaseTenure {
    fn left(&self) -> Duration {
        let lease = self.store.record.lease.lock();
        let is_ours = lease.0 == self.number && lease.1.is_some();
        if is_ours || self.store.record.is_open { self.store.life.lease_left() } else { Duration::ZERO }
    }

    fn length(&self) -> Duration {
        LEASE
    }
}

impl RunStore for LeasedRunStore {
    fn create<'a>(&'a self, plan: &'a Plan, config: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        self.record.store.create(plan, config)
    }

    fn append(&self, _: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        Box::pin(async move {
            let lease = self.take()?;
            // The store in memory holds a run as long as its journal lives, and a frozen worker's lives on.
            let journal = self.record.store.append_beside().await?;
            Ok(Box::new(LeasedJournal { lease, journal }) as Box<dyn Journal>)
        })
    }

    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        self.record.store.plan()
    }

    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        self.record.store.read()
    }

    fn hold(&self) -> StoreFuture<'_, RunHold> {
        Box::pin(std::future::ready(self.take().map(|lease| Box::new(lease) as RunHold)))
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        let held = self.record.lease.lock().1.as_ref().is_some_and(|life| life.holds());
        Box::pin(std::future::ready(Ok(held)))
    }
}

/// The records of a run with partitions, as somebody put them there before the workers come.
#[derive(Clone)]
pub(super) struct Records(Arc<BTreeMap<AccountName, Arc<LeasedRecord>>>);

impl Records {
    /// The holds may keep nobody out, and partitions may lack a plan.
    pub(super) async fn with(plan: &Plan, exclude: bool, is_planned: impl Fn(&AccountName) -> bool) -> Self {
        let mut records = BTreeMap::new();
        for part in split_plan(plan) {
            let part = part.unwrap();
            let name = part.accounts[0].name.clone();
            let record = Arc::new(LeasedRecord { is_open: !exclude, ..LeasedRecord::default() });
            if is_planned(&name) {
                drop(record.store.create(&part, "fleetlogs.toml").await.unwrap());
            }
            records.insert(name, record);
        }
        Self(Arc::new(records))
    }

    /// Puts the plan of a partition there, as the worker does that makes it. One that is there already stands.
    pub(super) async fn lay_out(&self, part: &Plan) {
        let record = &self.0[&part.accounts[0].name];
        if record.store.plan().await.is_err() {
            drop(record.store.create(part, "fleetlogs.toml").await.unwrap());
        }
    }

    pub(super) fn store(&self, partition: &AccountName, life: &Arc<Life>) -> Box<dyn RunStore> {
        Box::new(LeasedRunStore { record: self.0[partition].clone(), life: life.clone() })
    }

    /// All of them, for somebody who looks.
    pub(super) fn merged(&self, plan: &Plan) -> MergedRunStore {
        let life = Arc::default();
        let parts = plan.accounts.iter().map(|account| PartitionStore {
            name: account.name.clone(),
            site: None,
            store: self.store(&account.name, &life),
        });
        MergedRunStore::new(seed_of(plan), parts.collect())
    }

    pub(super) fn events(&self, partition: &AccountName) -> Vec<Recorded> {
        self.0[partition].store.events()
    }
}

/// What is stored of a run as a whole.
pub(super) fn seed_of(plan: &Plan) -> RunSeed {
    let plan = Plan {
        accounts: vec![],
        pools: vec![],
        nodes: PlannedNodes::default(),
        left_out: vec![],
        ..plan.clone()
    };
    let plan = StoredPlan { plan, digest: "seed".into() };
    RunSeed { plan, config: "fleetlogs.toml".into(), url: None }
}

/// The plan of one partition.
pub(super) fn part_of(plan: &Plan, partition: &AccountName) -> Plan {
    let mut parts = split_plan(plan).map(|part| part.unwrap());
    parts.find(|part| part.accounts[0].name == *partition).unwrap()
}

/// A message for each partition that has nodes.
pub(super) fn items(plan: &Plan) -> impl Iterator<Item = WorkItem> {
    let accounts = plan.accounts.iter().filter(|account| account.nodes > 0);
    accounts.map(|account| WorkItem { run: plan.run_id.clone(), partition: account.name.clone() })
}
