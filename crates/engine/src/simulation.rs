//! A fleet that fails in every way the service knows, and a process that is killed while it works: simulated on
//! paused time, a thousand times over, with a seed for each.
//!
//! The service keeps a ledger of its own: every call that it took, and the directory it made for it. What the run says
//! of a node is compared with that. A crash drops executor and verifier where they stand; the service works on, and of
//! the journal what was appended stays, except for the last group if that is lost too. Then a new process resumes the
//! run. This machine's clock is set at any moment, in mid-run and between processes, by up to two hours; the container
//! holds directories of an earlier run.
//!
//! `FLEETLOGS_SEED=n` runs that seed alone.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::{NodeId, PoolId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::plan::{Plan, PlannedAccount};
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::run_store::{Journal, JournalError, JournalErrorKind};
use fleetlogs_model::service::{
    Accepted, BatchService, Blob, BlobPage, LogStore, Node, NodeState, Page, PageLink, Pool, UploadOrder,
};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::access::Access;
use crate::clock::{Clock, SetClock};
use crate::collect::{Collection, ProcessFacts, collect};
use crate::event_log::LogMode;
use crate::resume::Replay;
use crate::run_record::RunRecord;
use crate::settings::{Budget, Deadlines, Limits, RunSettings, VerifySettings};
use crate::stop::{Stop, StopHandle};
use crate::testing::{NOW, order_until, plan_over};

const SEEDS: u64 = 1000;

/// Nodes of each of the two accounts.
const NODES: u32 = 250;

/// The longest time from the start of a call to its first blob: a silent service takes it after [`SILENCE`], and the
/// node needs [`SLOWEST_UPLOAD`].
const SILENCE: Duration = Duration::from_secs(20);
const SLOWEST_UPLOAD: Duration = Duration::from_secs(60);

/// What a listing takes. Slow, as the verifier makes the fewer of them then: they are most of what a seed costs.
const LISTING: Duration = Duration::from_secs(3);

/// What a list of the nodes of a pool takes.
const NODE_LIST: Duration = Duration::from_millis(200);

pub(crate) const ATTEMPTS: u32 = 4;

const CALL: Duration = Duration::from_secs(35);

/// Longer than the slowest upload, as the settle time must be.
pub(crate) const SETTLE: Duration = Duration::from_secs(75);

/// No simulated process may take longer than this: a run ends.
const LONGEST_PROCESS: Duration = Duration::from_secs(24 * 3600);

/// What the service does about one upload call.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    /// When it takes the call; never, if none.
    pub(crate) takes_after: Option<Duration>,
    /// How long the files need from then on.
    pub(crate) shows_after: Duration,
    pub(crate) files: u32,
    pub(crate) answers_after: Duration,
    /// What the caller gets; the directory, if none.
    pub(crate) failure: Option<Failure>,
}

impl Deed {
    /// Takes the call and says so.
    pub(crate) fn takes(files: u32, after: Duration, shows_after: Duration) -> Self {
        Self { takes_after: Some(after), shows_after, files, answers_after: after, failure: None }
    }

    /// Takes the call, but the answer is lost.
    pub(crate) fn unheard(self, message: &str) -> Self {
        Self { failure: Some(Failure::new(FailureClass::InDoubt, message)), ..self }
    }

    /// Does not take the call.
    pub(crate) fn refuses(class: FailureClass, code: &str, after: Duration) -> Self {
        let failure = Failure { code: Some(code.into()), ..Failure::new(class, code) };
        Self {
            takes_after: None,
            shows_after: Duration::ZERO,
            files: 0,
            answers_after: after,
            failure: Some(failure),
        }
    }

    pub(crate) fn asks_to_wait(mut self, seconds: u64) -> Self {
        if let Some(failure) = &mut self.failure {
            failure.retry_after_ms = Some(seconds * 1000);
        }
        self
    }
}

/// A call that the service took.
#[derive(Clone, Debug)]
pub(crate) struct AcceptedCall {
    pub(crate) directory: Box<str>,
    pub(crate) files: u32,
}

struct Shown {
    blob: Blob,
    from: Instant,
}

#[derive(Default)]
struct Books {
    /// Calls per node of the plan, and of those the ones that were taken.
    calls: Vec<u32>,
    taken: Vec<Vec<AcceptedCall>>,
    /// Requests that were sent at all.
    heard: HashSet<Uuid>,
    /// By name. What a call will create is entered when the call is sent, because nothing can stop it after that.
    blobs: BTreeMap<String, Shown>,
}

/// The service behind all accounts, and the container.
pub(crate) struct World {
    books: Mutex<Books>,
    /// What is done about a node's call, by the node's position in the plan and the number of calls before it.
    deeds: Box<dyn Fn(usize, u32) -> Deed + Send + Sync>,
    started: Instant,
}

impl World {
    pub(crate) fn new(nodes: usize, deeds: impl Fn(usize, u32) -> Deed + Send + Sync + 'static) -> Self {
        let books = Books { calls: vec![0; nodes], taken: vec![vec![]; nodes], ..Books::default() };
        Self { books: Mutex::new(books), deeds: Box::new(deeds), started: Instant::now() }
    }

    /// Puts a directory of half an hour ago into the container: that of another run.
    fn put_earlier(&self, account: &str, node: u32) {
        let name = format!("{account}-0123456789ABCDEF/pool/n{node}/earlier/0.log");
        let created_at = Some(NOW - time::Duration::minutes(30));
        let blob = Blob { name: name.clone(), size: 100, created_at };
        self.books.lock().blobs.insert(name, Shown { blob, from: self.started });
    }

    /// The calls that were taken, per node.
    pub(crate) fn taken(&self) -> Vec<Vec<AcceptedCall>> {
        self.books.lock().taken.clone()
    }

    fn heard(&self, request: &Uuid) -> bool {
        self.books.lock().heard.contains(request)
    }

    fn call(&self, node: usize, path: &str, request: Uuid) -> (Deed, Box<str>) {
        let mut books = self.books.lock();
        books.heard.insert(request);
        let number = books.calls[node];
        books.calls[node] += 1;
        let deed = (self.deeds)(node, number);
        let directory: Box<str> = format!("{path}/call-{number}").into();
        if let Some(after) = deed.takes_after {
            let from = Instant::now() + after + deed.shows_after;
            let created = NOW + (from - self.started);
            for file in 0..deed.files {
                let name = format!("{directory}/{file}.log");
                let created_at = Some(created.replace_nanosecond(0).unwrap());
                let blob = Blob { name: name.clone(), size: 100, created_at };
                books.blobs.insert(name, Shown { blob, from });
            }
            books.taken[node].push(AcceptedCall { directory: directory.clone(), files: deed.files });
        }
        (deed, directory)
    }
}

impl LogStore for World {
    async fn list(&self, prefix: &str, marker: Option<&str>) -> Result<BlobPage, Failure> {
        assert!(marker.is_none(), "all blobs fit on a page");
        sleep(LISTING).await;
        let now = Instant::now();
        let books = self.books.lock();
        let below = books.blobs.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let below = below.take_while(|(name, _)| name.starts_with(prefix));
        let blobs =
            below.filter(|(_, shown)| shown.from <= now).map(|(_, shown)| shown.blob.clone()).collect();
        Ok(BlobPage { blobs, next: None, date: Some(NOW + (now - self.started)) })
    }
}

/// One account of a [`World`].
pub(crate) struct Account {
    world: Arc<World>,
    name: String,
    /// Where its nodes begin in the plan, and how many there are.
    first: usize,
    nodes: u32,
    clock: &'static SetClock,
    /// How far this machine's clock was off when the service last answered this process. Its time is known until the
    /// clock is set.
    told: Mutex<Option<time::Duration>>,
}

impl Account {
    fn tell_time(&self) {
        *self.told.lock() = Some(self.clock.ahead());
    }
}

impl BatchService for Account {
    async fn list_pools(&self, _: Option<&PageLink>) -> Result<Page<Pool>, Failure> {
        unreachable!("the plan is made")
    }

    /// For the second look: every node is as it was planned.
    async fn list_nodes(&self, _: &PoolId, _: Option<&PageLink>) -> Result<Page<Node>, Failure> {
        sleep(NODE_LIST).await;
        self.tell_time();
        let listed = |id| Node::in_state(id, NodeState::Idle);
        let items = (0..self.nodes).map(|number| listed(NodeId::new(format!("n{number}")))).collect();
        Ok(Page { items, next: None })
    }

    async fn get_node(&self, _: &PoolId, node: &NodeId) -> Result<Node, Failure> {
        self.tell_time();
        Ok(Node::in_state(node.clone(), NodeState::Idle))
    }

    fn time(&self) -> Option<OffsetDateTime> {
        (*self.told.lock() == Some(self.clock.ahead())).then(|| self.clock.true_time())
    }

    async fn upload_logs(
        &self,
        _: &PoolId,
        node: &NodeId,
        _: &UploadOrder,
        client_request_id: Uuid,
        time_limit: Duration,
    ) -> Result<Accepted, Failure> {
        let number: usize = node.as_str().trim_start_matches('n').parse().unwrap();
        let path = format!("{}-0123456789ABCDEF/pool/{node}", self.name);
        let (deed, directory) = self.world.call(self.first + number, &path, client_request_id);
        sleep(deed.answers_after.min(time_limit)).await;
        if deed.answers_after > time_limit {
            return Err(Failure::new(FailureClass::InDoubt, "no answer in time"));
        }
        if deed.failure.as_ref().is_none_or(|failure| failure.class != FailureClass::NotSent) {
            self.tell_time();
        }
        match deed.failure {
            Some(failure) => Err(failure),
            None => Ok(Accepted { directory, files: Some(deed.files), request_id: None }),
        }
    }
}

/// A journal in memory, which outlives the processes that write it. It may be full after some number of events: that is
/// what a process that was killed at that event left.
#[derive(Clone)]
pub(crate) struct Kept {
    events: Arc<Mutex<Vec<Recorded>>>,
    most: usize,
    full: Arc<Notify>,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self { events: Arc::default(), most: usize::MAX, full: Arc::default() }
    }

    /// The same events, with room for others up to this number.
    pub(crate) fn full_at(&self, most: usize) -> Self {
        Self { events: self.events.clone(), most, full: Arc::default() }
    }

    pub(crate) async fn full(&self) {
        self.full.notified().await;
    }

    pub(crate) fn events(&self) -> Vec<Recorded> {
        self.events.lock().clone()
    }

    /// As an earlier version would have written it.
    fn forget_service_clock(&self) {
        for recorded in &mut *self.events.lock() {
            if let Event::UploadRequested { service_ahead_ms, .. } = &mut recorded.event {
                *service_ahead_ms = None;
            }
        }
    }

    /// Loses some of the last events. An intent whose call was sent is not among them: it was durable before.
    fn lose_last_group(&self, world: &World, random: &mut Rng) {
        let mut events = self.events.lock();
        let sent = |recorded: &Recorded| matches!(&recorded.event, Event::UploadRequested { client_request_id, .. } if world.heard(client_request_id));
        let durable = events.iter().rposition(sent).map_or(0, |at| at + 1);
        let kept = random.usize(durable..=events.len());
        events.truncate(kept);
    }
}

impl Journal for Kept {
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
        let mut kept = self.events.lock();
        if kept.len() + events.len() > self.most {
            self.full.notify_one();
            return Err(JournalError::new(JournalErrorKind::Failed, "the disk is full"));
        }
        kept.extend_from_slice(events);
        Ok(())
    }
}

/// A run as a person starts it and, after each crash, starts it again.
pub(crate) struct Scene {
    pub(crate) plan: Arc<Plan>,
    pub(crate) world: Arc<World>,
    pub(crate) limits: Limits,
    pub(crate) attempts: u32,
    pub(crate) settle: Duration,
    /// Without it nothing is verified, and calls in doubt are repeated.
    pub(crate) can_list: bool,
    /// For the backoff.
    pub(crate) seed: u64,
    pub(crate) stop: StopHandle,
    /// This machine's.
    pub(crate) clock: &'static SetClock,
}

impl Scene {
    pub(crate) fn new(plan: Arc<Plan>, world: World) -> Self {
        Self {
            plan,
            world: Arc::new(world),
            limits: Limits { rate: None, concurrency: 16, max_uploads_in_flight: None, relist: None },
            attempts: ATTEMPTS,
            settle: SETTLE,
            can_list: true,
            seed: 0,
            stop: StopHandle::default(),
            clock: SetClock::start(NOW),
        }
    }

    /// One process: works on what the journal says is outstanding, until the run ends or the process crashes.
    /// Returns whether the run ended.
    pub(crate) async fn process(&self, journal: &Kept, crash: impl Future<Output = ()>) -> bool {
        let mut replay = Replay::new(&self.plan);
        journal.events.lock().iter().for_each(|recorded| replay.apply(recorded));
        let (ledger, outstanding) = replay.finish(&self.plan, &[]);
        let working = collect(Collection {
            plan: self.plan.clone(),
            ledger,
            outstanding,
            journal: Box::new(journal.clone()),
            listeners: vec![],
            log_mode: LogMode::Inline,
            services: services(&self.world, &self.plan, self.clock),
            store: self.can_list.then(|| self.world.clone()),
            access: Access::fixed(order_until("2027-11-23T09:30:00Z")),
            settings: settings(self.limits.clone(), self.attempts, self.settle),
            process: ProcessFacts::default(),
            clock: Clock::Set(self.clock),
            stop: self.stop.clone(),
            random: Rng::with_seed(self.seed ^ journal.events.lock().len() as u64),
        });
        tokio::select! {
            biased;
            () = crash => false,
            ended = tokio::time::timeout(LONGEST_PROCESS, working) => {
                // A journal that failed is a process that was killed.
                ended.expect("a run ends").ledger.is_ok()
            }
        }
    }
}

/// The accounts of a plan, for one process.
pub(crate) fn services(
    world: &Arc<World>,
    plan: &Plan,
    clock: &'static SetClock,
) -> Vec<Option<Arc<Account>>> {
    let mut first = 0;
    let service = |account: &PlannedAccount| {
        let (world, name, nodes) = (world.clone(), account.name.to_string(), account.nodes);
        let service = Account { world, name, first, nodes, clock, told: Mutex::default() };
        first += nodes as usize;
        Some(Arc::new(service))
    };
    plan.accounts.iter().map(service).collect()
}

/// How a simulated process works.
pub(crate) fn settings(limits: Limits, attempts: u32, settle: Duration) -> RunSettings {
    let seconds = Duration::from_secs;
    RunSettings {
        limits,
        retry: RetryPolicy { attempts, base_delay: seconds(1), max_delay: seconds(30) },
        deadlines: Deadlines { call: CALL, node: seconds(900), run: LONGEST_PROCESS },
        budget: Budget::default(),
        verify: VerifySettings { deadline: seconds(120), settle, upload_allowance: seconds(600) },
    }
}

/// A process that is not killed.
pub(crate) async fn no_crash() {
    std::future::pending::<()>().await;
}

/// What became of every node, by its events.
pub(crate) fn histories(plan: &Plan, events: &[Recorded]) -> Vec<NodeHistory> {
    let mut histories = vec![NodeHistory::default(); plan.nodes.len()];
    for recorded in events {
        if let Some(node) = recorded.node {
            histories[node.get()].apply(recorded);
        }
    }
    histories
}

/// Runs a future on paused time.
pub(crate) fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

/// What the service does about a call: drawn by seed, node and number of the call alone, so that it does not depend on
/// the order in which calls come.
pub(crate) fn deed(seed: u64, node: usize, number: u32) -> Deed {
    let mut random = Rng::with_seed(seed << 32 ^ (node as u64) << 8 ^ u64::from(number));
    let after = Duration::from_millis(random.u64(20..800));
    let shows_after = Duration::from_millis(random.u64(1000..=60_000)).min(SLOWEST_UPLOAD);
    let takes = Deed::takes(random.u32(1..=2), after, shows_after);
    match random.u32(0..100) {
        0..5 => {
            let busy = Deed::refuses(FailureClass::Throttled, "TooManyRequests", after);
            if random.bool() { busy.asks_to_wait(random.u64(1..10)) } else { busy }
        }
        5..8 => Deed::refuses(FailureClass::Throttled, "ServerBusy", after),
        8..11 => Deed::refuses(FailureClass::NotSent, "no connection", after),
        11..14 if random.bool() => takes.unheard("500 InternalError"),
        11..14 => Deed::refuses(FailureClass::InDoubt, "InternalError", after),
        14..17 => Deed::refuses(FailureClass::InDoubt, "connection reset", after),
        17..21 => takes.unheard("connection reset"),
        21..23 => Deed {
            takes_after: random.bool().then_some(SILENCE),
            answers_after: CALL + Duration::from_secs(60),
            ..takes
        },
        23 => takes.unheard("the answer ends in its middle"),
        24 => Deed::refuses(FailureClass::Wait, "NodeBeingStarted", after),
        25 => Deed::refuses(FailureClass::Gone, "NodeNotFound", after),
        _ => takes,
    }
}

/// What a seed showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    seeds: u64,
    crashes: u64,
    pub(crate) calls: u64,
    /// Nodes for which the service took two calls or more.
    pub(crate) doubled: u64,
    /// Of those, the nodes for which the run reports a second directory, or that there may be one.
    admitted: u64,
    /// Nodes for which the run reports that there may be an unseen directory.
    marked: u64,
    adopted: u64,
    in_doubt: u64,
    simulated: Duration,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.crashes += other.crashes;
        self.calls += other.calls;
        self.doubled += other.doubled;
        self.admitted += other.admitted;
        self.marked += other.marked;
        self.adopted += other.adopted;
        self.in_doubt += other.in_doubt;
        self.simulated += other.simulated;
    }
}

/// How the seeds are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    settle: Duration,
    can_list: bool,
    /// Whether every process but the last is of a version that did not record the service's clock.
    silent_journal: bool,
}

impl Circumstances {
    pub(crate) const ORDINARY: Self = Self { settle: SETTLE, can_list: true, silent_journal: false };
}

/// Sets this machine's clock, or leaves it as it is.
fn set_clock(clock: &SetClock, random: &mut Rng) {
    let seconds = *random.choice(&[0, 0, 1, 7, 60, 3600, 7200]).unwrap();
    let seconds = if random.bool() { seconds } else { -seconds };
    clock.set_ahead(time::Duration::seconds(seconds));
}

/// A run with its crashes; returns the service's side and the journal's.
async fn live(seed: u64, plan: &Arc<Plan>, given: Circumstances) -> (Arc<World>, Kept, Tally) {
    let mut random = Rng::with_seed(seed);
    let world = World::new(plan.nodes.len(), move |node, number| deed(seed, node, number));
    let mut scene = Scene::new(plan.clone(), world);
    scene.settle = given.settle;
    scene.can_list = given.can_list;
    scene.seed = seed;
    for account in &plan.accounts {
        for node in 0..account.nodes {
            if random.u32(0..4) == 0 && !given.silent_journal {
                scene.world.put_earlier(account.name.as_str(), node);
            }
        }
    }
    set_clock(scene.clock, &mut random);
    scene.limits = Limits {
        rate: *random.choice(&[None, Some(20.0), Some(100.0)]).unwrap(),
        concurrency: *random.choice(&[1, 4, 32]).unwrap(),
        max_uploads_in_flight: *random.choice(&[None, Some(100)]).unwrap(),
        relist: None,
    };
    let journal = Kept::new();
    let crashes = random.u64(0..=3);
    let mut died = 0;
    let started = Instant::now();
    for _ in 0..crashes {
        // While calls are sent, or while what is in doubt is waited for.
        let longest = *random.choice(&[10_000, 250_000]).unwrap();
        let before = Duration::from_millis(random.u64(0..longest));
        let after = Duration::from_millis(random.u64(0..longest));
        let crash = async {
            sleep(before).await;
            set_clock(scene.clock, &mut random);
            sleep(after).await;
        };
        if scene.process(&journal, crash).await {
            break;
        }
        died += 1;
        set_clock(scene.clock, &mut random);
        if given.silent_journal {
            journal.forget_service_clock();
        }
        if random.bool() {
            journal.lose_last_group(&scene.world, &mut random);
        }
        if random.bool() {
            sleep(Duration::from_millis(random.u64(0..300_000))).await;
        }
    }
    let sets_clock = async {
        sleep(Duration::from_millis(random.u64(0..100_000))).await;
        set_clock(scene.clock, &mut random);
        no_crash().await;
    };
    scene.process(&journal, sets_clock).await;
    assert_eq!(scene.stop.level(), Stop::No, "the run ended by itself");
    let calls = scene.world.books.lock().calls.iter().map(|calls| u64::from(*calls)).sum();
    let tally = Tally { seeds: 1, crashes: died, calls, simulated: started.elapsed(), ..Tally::default() };
    (scene.world, journal, tally)
}

/// Compares what the run says with what the service did.
pub(crate) fn judge(
    plan: &Plan,
    world: &World,
    events: &[Recorded],
    given: Circumstances,
    tally: &mut Tally,
) {
    let mut ledger = Ledger::new(plan);
    for recorded in events {
        ledger.apply(recorded);
    }
    let mut counts = OutcomeCounts::default();
    let mut accepted = HashSet::new();
    for (((node, planned), history), taken) in plan.indexed().zip(histories(plan, events)).zip(world.taken())
    {
        let outcome = history.status.outcome();
        let at = planned.at();
        counts.add(outcome);
        if history.status.is_accepted() {
            accepted.insert((at.account.clone(), at.pool.clone()));
        }
        assert_eq!(ledger.status(node), history.status, "{at}");
        tally.marked += u64::from(history.may_have_duplicates);
        let is_ours = |directory: &str| taken.iter().any(|taken| &*taken.directory == directory);
        let others = history.directory.iter().chain(&history.duplicates).find(|found| !is_ours(found));
        assert_eq!(others, None, "{at}: the service made it for no call of this run");
        if taken.len() > 1 {
            tally.doubled += 1;
            tally.admitted += u64::from(history.may_have_duplicates || !history.duplicates.is_empty());
        }
        match outcome {
            Outcome::Verified => {
                let counted = taken.iter().find(|taken| Some(&taken.directory) == history.directory.as_ref());
                let counted =
                    counted.unwrap_or_else(|| panic!("{at}: the service made no {:?}", history.directory));
                assert_eq!(history.files_arrived, Some(counted.files), "{at}");
                assert!(history.files_promised.is_none_or(|promised| promised == counted.files), "{at}");
                tally.adopted += u64::from(history.files_promised.is_none());
            }
            Outcome::Adopted => {
                assert_eq!(history.files_promised, None, "{at}");
                assert!(
                    taken.iter().any(|taken| Some(&taken.directory) == history.directory.as_ref()),
                    "{at}"
                );
                tally.adopted += 1;
            }
            Outcome::Accepted | Outcome::InDoubt if !given.can_list => {}
            // A clock was set, so that nobody can tell, and no attempt is left.
            Outcome::InDoubt if history.attempts.len() >= ATTEMPTS as usize => tally.in_doubt += 1,
            Outcome::Failed | Outcome::Gone => {
                let unseen = taken.iter().filter(|_| !history.may_have_duplicates).count();
                assert!(
                    unseen == 0 || given.settle < SETTLE,
                    "{at} ended {outcome}, and the service took a call"
                );
            }
            _ => panic!("{at} ended {outcome}"),
        }
    }
    assert_eq!(counts, ledger.outcomes());
    assert_eq!(counts.total(), plan.nodes.len() as u64);
    let of_run: Vec<_> = events.iter().filter(|recorded| recorded.node.is_none()).cloned().collect();
    let record = RunRecord::of(&of_run);
    assert!(record.ended_at.is_some() && record.cut_short.is_none(), "the run ended in order");
    assert_eq!(
        record.seen_again, accepted,
        "every pool with a node that accepted a call was looked at again"
    );
}

/// Runs seeds on two threads, and says which one failed.
fn simulate(seeds: u64, given: Circumstances) -> Tally {
    let alone =
        std::env::var("FLEETLOGS_SEED").ok().map(|seed| seed.parse::<u64>().expect("a seed is a number"));
    let next = AtomicU64::new(alone.unwrap_or(0));
    let end = alone.map_or(seeds, |seed| seed + 1);
    let began = std::time::Instant::now();
    let work = || {
        let plan = Arc::new(plan_over(&[("contoso", NODES), ("fabrikam", NODES)]));
        let (mut total, mut failed) = (Tally::default(), vec![]);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return (total, failed);
            }
            let one = || {
                let (world, journal, mut tally) = on_paused_time(live(seed, &plan, given));
                judge(&plan, &world, &journal.events(), given, &mut tally);
                if given.can_list && given.settle >= SETTLE && !given.silent_journal {
                    assert_eq!(tally.doubled, 0, "nodes were asked twice");
                }
                assert!(
                    given.settle < SETTLE || tally.doubled == tally.admitted,
                    "a second directory is not admitted"
                );
                tally
            };
            match catch_unwind(AssertUnwindSafe(one)) {
                Ok(tally) => total.add(&tally),
                Err(_) => failed.push(seed),
            }
        }
    };
    let (mut total, mut failed) = (Tally::default(), vec![]);
    std::thread::scope(|scope| {
        for thread in [scope.spawn(work), scope.spawn(work)] {
            let (tally, seeds) = thread.join().unwrap();
            total.add(&tally);
            failed.extend(seeds);
        }
    });
    println!("{given:?} in {:?}: {total:?}", began.elapsed());
    assert!(failed.is_empty(), "FLEETLOGS_SEED runs each of these alone: {failed:?}");
    total
}

#[test]
fn no_node_is_lost_and_none_is_asked_twice_whatever_fails_and_however_often_the_process_dies() {
    simulate(SEEDS, Circumstances::ORDINARY);
}

#[test]
fn after_a_version_that_did_not_record_the_services_clock_every_node_that_was_asked_twice_is_marked() {
    simulate(100, Circumstances { silent_journal: true, ..Circumstances::ORDINARY });
}

#[test]
fn the_simulation_sees_what_a_settle_time_that_is_too_short_does() {
    let tally = simulate(20, Circumstances { settle: Duration::ZERO, ..Circumstances::ORDINARY });
    assert!(tally.doubled > tally.seeds, "{tally:?}");
}

#[test]
fn without_list_permission_every_node_that_was_asked_twice_is_marked() {
    let tally = simulate(100, Circumstances { can_list: false, ..Circumstances::ORDINARY });
    assert!(tally.doubled > 0, "{tally:?}");
    assert_eq!(tally.doubled, tally.admitted);
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let plan = Arc::new(plan_over(&[("contoso", NODES), ("fabrikam", NODES)]));
    let given = Circumstances::ORDINARY;
    let story = |seed| {
        let (_, journal, _) = on_paused_time(live(seed, &plan, given));
        let mut events = journal.events();
        for recorded in &mut events {
            if let Event::UploadRequested { client_request_id, .. } = &mut recorded.event {
                *client_request_id = Uuid::nil();
            }
        }
        events
    };
    for seed in 0..20 {
        let (first, second) = (story(seed), story(seed));
        let differs = first.iter().zip(&second).position(|(one, other)| one != other);
        let differs = differs.map(|at| (&first[at], &second[at]));
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}
