//! What several tests of this crate share: a small plan, a journal that keeps nothing, scripted services.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use fleetlogs_model::access::WriteAccess;
use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::evidence::{NodeEvidence, NodeFacts};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId, RunId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::plan::{PLAN_SCHEMA, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, PlannedPool};
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::run_store::{
    HistoryQuery, HistoryRows, Journal, JournalError, JournalErrorKind, JournalReader, RunHold, RunMeta,
    RunStore, StoreFuture, StoredPlan, Tenure,
};
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::service::{
    Accepted, BatchService, Blob, BlobPage, LogStore, Node, NodeState, Page, PageLink, Pool, UploadOrder,
};
use fleetlogs_model::window::Window;
use parking_lot::Mutex;
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::access::Access;
use crate::clock::{Clock, SetClock};
use crate::collect::{Collection, ProcessFacts, collect};
use crate::event_log::{EventLog, Heard, LogMode};
use crate::execute::{Execution, execute};
use crate::resume::{Outstanding, Replay};
use crate::run::{Run, UploadSlots};
use crate::settings::{Budget, Deadlines, Limits, RunSettings, VerifySettings};
use crate::stop::StopHandle;
use crate::tenure_guard::TenureGuard;
use crate::transitions::TransitionNotes;

pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

/// A journal that keeps nothing.
pub(crate) struct VolatileJournal;

impl Journal for VolatileJournal {
    fn append(&mut self, _: &[Recorded]) -> Result<(), JournalError> {
        Ok(())
    }
}

/// The same of a run that this process has until a time.
pub(crate) struct TenuredJournal(pub(crate) Arc<ScriptedTenure>);

impl Journal for TenuredJournal {
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
        for recorded in events {
            if matches!(recorded.event, Event::UploadRequested { .. })
                && let Some(left) = self.0.after_intents.lock().pop()
            {
                *self.0.until.lock() = tokio::time::Instant::now() + left;
            }
        }
        Ok(())
    }

    fn tenure(&self) -> Option<Arc<dyn Tenure>> {
        Some(self.0.clone())
    }
}

/// A tenure that ends when the test says so.
#[derive(Debug)]
pub(crate) struct ScriptedTenure {
    pub(crate) length: Duration,
    pub(crate) until: Mutex<tokio::time::Instant>,
    /// What is left when each of the next intents is on record, the last one first: the journal took the rest.
    pub(crate) after_intents: Mutex<Vec<Duration>>,
}

impl ScriptedTenure {
    /// It lasts so long, and so much of that is left.
    pub(crate) fn with_left(length: Duration, left: Duration) -> Arc<Self> {
        let until = Mutex::new(tokio::time::Instant::now() + left);
        Arc::new(Self { length, until, after_intents: Mutex::default() })
    }
}

impl Tenure for ScriptedTenure {
    fn left(&self) -> Duration {
        self.until.lock().saturating_duration_since(tokio::time::Instant::now())
    }

    fn length(&self) -> Duration {
        self.length
    }
}

/// A store in memory: what a store must be that keeps no files. One process "holds" it while a journal or a hold lives.
#[derive(Default)]
pub(crate) struct MemoryRunStore {
    run: Arc<Mutex<Option<(Plan, RunMeta)>>>,
    events: Arc<Mutex<Vec<Recorded>>>,
    owner: Arc<()>,
}

impl MemoryRunStore {
    /// For the process that works on the run; a second owner is refused.
    fn own(&self) -> Result<Arc<()>, JournalError> {
        if Arc::strong_count(&self.owner) > 1 {
            return Err(JournalError::new(JournalErrorKind::Busy, "another process works on this run"));
        }
        Ok(self.owner.clone())
    }

    /// For a store whose hold is something else.
    pub(crate) fn append_beside(&self) -> StoreFuture<'_, Box<dyn Journal>> {
        let journal = self.stored().map(|_| {
            Box::new(MemoryJournal { events: self.events.clone(), _owner: None }) as Box<dyn Journal>
        });
        Box::pin(std::future::ready(journal))
    }

    pub(crate) fn events(&self) -> Vec<Recorded> {
        self.events.lock().clone()
    }

    fn stored(&self) -> Result<(Plan, RunMeta), JournalError> {
        let missing = || JournalError::new(JournalErrorKind::Missing, "there is no run");
        self.run.lock().clone().ok_or_else(missing)
    }
}

impl RunStore for MemoryRunStore {
    fn create<'a>(&'a self, plan: &'a Plan, config: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        Box::pin(async move {
            let meta = RunMeta { plan_digest: "digest".into(), config: config.into(), ..RunMeta::default() };
            *self.run.lock() = Some((plan.clone(), meta));
            self.append(false).await
        })
    }

    fn append(&self, _: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        let journal = self.stored().and_then(|_| self.own()).map(|owner| {
            Box::new(MemoryJournal { events: self.events.clone(), _owner: Some(owner) }) as Box<dyn Journal>
        });
        Box::pin(std::future::ready(journal))
    }

    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        let stored = self.stored().map(|(plan, meta)| StoredPlan { plan, digest: meta.plan_digest });
        Box::pin(std::future::ready(stored))
    }

    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        let reader = self.stored().map(|(_, meta)| {
            Box::new(MemoryReader { meta, events: self.events.clone() }) as Box<dyn JournalReader>
        });
        Box::pin(std::future::ready(reader))
    }

    fn hold(&self) -> StoreFuture<'_, RunHold> {
        Box::pin(std::future::ready(self.own().map(|owner| Box::new(owner) as RunHold)))
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<std::time::SystemTime>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        Box::pin(std::future::ready(Ok(Arc::strong_count(&self.owner) > 1)))
    }
}

struct MemoryJournal {
    events: Arc<Mutex<Vec<Recorded>>>,
    _owner: Option<Arc<()>>,
}

impl Journal for MemoryJournal {
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
        self.events.lock().extend_from_slice(events);
        Ok(())
    }
}

struct MemoryReader {
    meta: RunMeta,
    events: Arc<Mutex<Vec<Recorded>>>,
}

impl JournalReader for MemoryReader {
    fn meta(&self) -> Result<RunMeta, JournalError> {
        Ok(self.meta.clone())
    }

    fn events_after(&self, after: u64, hear: &mut dyn FnMut(&Recorded)) -> Result<u64, JournalError> {
        let events = self.events.lock();
        events.iter().skip(usize::try_from(after).unwrap()).for_each(hear);
        Ok(events.len() as u64)
    }

    fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let events = self.events.lock();
        Ok(events.iter().filter(|recorded| recorded.node.is_none()).cloned().collect())
    }

    fn histories(&self) -> Result<Box<dyn HistoryQuery + '_>, JournalError> {
        let mut histories = std::collections::BTreeMap::<NodeIndex, NodeHistory>::new();
        self.events_after(0, &mut |recorded| {
            if let Some(node) = recorded.node {
                histories.entry(node).or_default().apply(recorded);
            }
        })?;
        Ok(Box::new(MemoryHistories(histories.into_iter().collect())))
    }
}

struct MemoryHistories(Vec<(NodeIndex, NodeHistory)>);

impl HistoryQuery for MemoryHistories {
    fn rows(&mut self) -> Result<HistoryRows<'_>, JournalError> {
        Ok(Box::new(self.0.drain(..).map(Ok)))
    }
}

/// A plan of `nodes` nodes `n0`, `n1`, … in pool `Pool` of account `contoso`.
pub(crate) fn plan_of(nodes: u32) -> Plan {
    plan_over(&[("contoso", nodes)])
}

/// A plan of a run that begins at a time.
pub(crate) fn plan_at(now: OffsetDateTime) -> Plan {
    Plan { run_id: RunId::new(now, 0), ..plan_of(1) }
}

/// A plan over several accounts, each with a pool `Pool` of this many nodes.
pub(crate) fn plan_over(accounts: &[(&str, u32)]) -> Plan {
    let pools: Vec<_> = accounts
        .iter()
        .map(|(name, _)| Arc::new(PlannedPool::bare(AccountName::new(*name), PoolId::new("Pool"))))
        .collect();
    let facts = Arc::new(NodeFacts { state: Some(NodeState::Idle), ..NodeFacts::default() });
    let node = |pool: &Arc<PlannedPool>, number: u32| PlannedNode {
        evidence: NodeEvidence { facts: facts.clone(), ..NodeEvidence::default() },
        ..PlannedNode::bare(pool.clone(), NodeId::new(format!("n{number}")))
    };
    Plan {
        schema: PLAN_SCHEMA.into(),
        run_id: RunId::new(NOW, 0),
        tool_version: "0.0.0".into(),
        created_at: NOW,
        config_digest: String::new(),
        snapshot: None,
        window: Window { start: NOW - time::Duration::hours(2), end: NOW },
        destination: "https://logs.blob.core.windows.net/logs".into(),
        accounts: accounts
            .iter()
            .map(|(name, nodes)| PlannedAccount {
                name: AccountName::new(*name),
                endpoint: String::new(),
                api_version: String::new(),
                pools: 1,
                nodes: *nodes,
                list_calls: 0,
                unlisted: None,
                missing: None,
            })
            .collect(),
        nodes: accounts
            .iter()
            .zip(&pools)
            .flat_map(|((_, nodes), pool)| (0..*nodes).map(|number| node(pool, number)).collect::<Vec<_>>())
            .collect(),
        pools,
        left_out: vec![],
    }
}

/// An order whose SAS ends at a time.
pub(crate) fn order_until(expires: &str) -> UploadOrder {
    let url = format!("https://logs.blob.core.windows.net/logs?sr=c&sp=w&se={expires}&sig=fake");
    UploadOrder {
        window: plan_of(0).window,
        access: WriteAccess::Sas(SasUrl::parse(&url).expect("a good SAS")).into(),
    }
}

/// What a scripted account does with an upload call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Accepts; this many files arrive at once.
    Accepts(u32),
    /// Accepts and promises files, but only this many of them ever arrive.
    Short { promised: u32, arrive: u32 },
    /// Refuses.
    Fails(Failure),
    /// Accepts, but the answer is lost.
    AcceptsUnheard,
    /// The same, and only this many of the four files ever arrive.
    ShortUnheard(u32),
    /// Accepts without a word about the number of files; this many arrive.
    AcceptsUncounted(u32),
    /// Accepts, promises four files, and names this directory; its own files go where they belong.
    Misdirects(&'static str),
}

/// A Batch account and the container behind it. Nodes without a script accept four files.
#[derive(Default)]
pub(crate) struct ScriptedAccount {
    pub(crate) name: String,
    pub(crate) script: Mutex<HashMap<String, Vec<Answer>>>,
    pub(crate) node_state: Mutex<HashMap<String, NodeState>>,
    pub(crate) latency: Duration,
    /// How far the clocks of the service and of the container are ahead. The service's is known once a node was read:
    /// calls are answered by a service without one.
    pub(crate) clock_ahead: time::Duration,
    pub(crate) uploads: AtomicU32,
    /// The window of each call, in order.
    pub(crate) windows: Mutex<Vec<Window>>,
    /// The node of each call, in order.
    pub(crate) called: Mutex<Vec<String>>,
    /// What its lists have.
    pub(crate) pool: Mutex<Option<Pool>>,
    pub(crate) other_pool: Mutex<Option<Pool>>,
    pub(crate) nodes: Mutex<Vec<Node>>,
    /// Why the next list calls fail, the last one first.
    pub(crate) refuses_lists: Mutex<Vec<Failure>>,
    /// Why no list of nodes can be read.
    pub(crate) refuses_nodes: Mutex<Option<Failure>>,
    /// The pools whose nodes were asked for, in order.
    pub(crate) listed_pools: Mutex<Vec<String>>,
    /// When lists were asked for.
    pub(crate) listed: Mutex<Vec<tokio::time::Instant>>,
    pub(crate) looks: AtomicU32,
    /// Why no node can be read.
    pub(crate) refuses_looks: Mutex<Option<Failure>>,
    pub(crate) blobs: Arc<ScriptedStore>,
    pub(crate) connections: Arc<Mutex<ScriptedConnections>>,
}

/// Connections for upload calls. As in a pool, one that served a call is free a moment after the answer.
#[derive(Default)]
pub(crate) struct ScriptedConnections {
    free: u32,
    pub(crate) opened: u32,
}

impl ScriptedAccount {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), latency: Duration::from_millis(20), ..Self::default() }
    }

    /// Scripts the answers to a node's calls, in order; after the last it accepts.
    pub(crate) fn answers(self, node: &str, answers: impl Into<Vec<Answer>>) -> Self {
        let mut answers = answers.into();
        answers.reverse();
        self.script.lock().insert(node.into(), answers);
        self
    }

    /// Lets its lists show the nodes of a plan, unless a test has put others there.
    pub(crate) fn list_planned_nodes(&self, plan: &Plan) {
        let mut nodes = self.nodes.lock();
        if nodes.is_empty() {
            let own = plan.nodes.iter().filter(|node| node.account().as_str() == self.name);
            let listed = |id| Node::in_state(id, NodeState::Idle);
            nodes.extend(own.map(|node| listed(node.node())));
        }
    }

    pub(crate) fn calls(&self) -> u32 {
        self.uploads.load(Ordering::SeqCst)
    }
}

pub(crate) fn throttled(retry_after: Option<Duration>) -> Answer {
    let mut failure = Failure::new(FailureClass::Throttled, "busy");
    failure.retry_after_ms = retry_after.map(|asked| asked.as_millis().try_into().unwrap());
    Answer::Fails(failure)
}

pub(crate) fn fails(class: FailureClass) -> Answer {
    Answer::Fails(Failure::new(class, "scripted"))
}

impl BatchService for ScriptedAccount {
    async fn list_pools(&self, _: Option<&PageLink>) -> Result<Page<Pool>, Failure> {
        self.listed.lock().push(tokio::time::Instant::now());
        if let Some(failure) = self.refuses_lists.lock().pop() {
            return Err(failure);
        }
        let (pool, other) = (self.pool.lock(), self.other_pool.lock());
        Ok(Page { items: pool.iter().chain(other.iter()).cloned().collect(), next: None })
    }

    /// Two pages.
    async fn list_nodes(&self, pool: &PoolId, page: Option<&PageLink>) -> Result<Page<Node>, Failure> {
        self.listed.lock().push(tokio::time::Instant::now());
        self.listed_pools.lock().push(pool.as_str().into());
        let refusal = self.refuses_lists.lock().pop().or_else(|| self.refuses_nodes.lock().clone());
        if let Some(failure) = refusal {
            return Err(failure);
        }
        let nodes = self.nodes.lock();
        let (first, rest) = nodes.split_at(nodes.len() / 2);
        Ok(match page {
            None => Page { items: first.to_vec(), next: Some(PageLink("rest".into())) },
            Some(_) => Page { items: rest.to_vec(), next: None },
        })
    }

    async fn get_node(&self, _: &PoolId, node: &NodeId) -> Result<Node, Failure> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if let Some(failure) = self.refuses_looks.lock().clone() {
            return Err(failure);
        }
        let state = self.node_state.lock().get(node.as_str()).cloned().unwrap_or(NodeState::Idle);
        Ok(Node::in_state(node.clone(), state))
    }

    fn time(&self) -> Option<OffsetDateTime> {
        (self.looks.load(Ordering::SeqCst) > 0).then(|| self.blobs.now())
    }

    async fn upload_logs(
        &self,
        pool: &PoolId,
        node: &NodeId,
        order: &UploadOrder,
        client_request_id: Uuid,
        _: Duration,
    ) -> Result<Accepted, Failure> {
        self.uploads.fetch_add(1, Ordering::SeqCst);
        self.windows.lock().push(order.window);
        self.called.lock().push(node.as_str().into());
        {
            let mut connections = self.connections.lock();
            match connections.free.checked_sub(1) {
                Some(left) => connections.free = left,
                None => connections.opened += 1,
            }
        }
        tokio::time::sleep(self.latency).await;
        let connections = self.connections.clone();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            connections.lock().free += 1;
        });
        let answer = self.script.lock().get_mut(node.as_str()).and_then(Vec::pop);
        let directory = format!(
            "{}-0123456789ABCDEF/{}/{node}/{client_request_id}",
            self.name,
            pool.as_str().to_lowercase()
        );
        let accept = |promised: u32, arrive: u32| {
            self.blobs.put(&directory, arrive);
            Ok(Accepted {
                directory: directory.as_str().into(),
                files: Some(promised),
                request_id: Some(client_request_id.to_string().into()),
            })
        };
        match answer.unwrap_or(Answer::Accepts(4)) {
            Answer::Accepts(files) => accept(files, files),
            Answer::Short { promised, arrive } => accept(promised, arrive),
            Answer::Fails(failure) => Err(failure),
            Answer::AcceptsUnheard => {
                accept(4, 4)?;
                Err(Failure::new(FailureClass::InDoubt, "connection reset"))
            }
            Answer::ShortUnheard(arrive) => {
                accept(4, arrive)?;
                Err(Failure::new(FailureClass::InDoubt, "connection reset"))
            }
            Answer::AcceptsUncounted(arrive) => {
                accept(4, arrive).map(|accepted| Accepted { files: None, ..accepted })
            }
            Answer::Misdirects(directory) => {
                accept(4, 4).map(|accepted| Accepted { directory: directory.into(), ..accepted })
            }
        }
    }
}

/// A container in memory, on the scripted clock.
#[derive(Default)]
pub(crate) struct ScriptedStore {
    pub(crate) blobs: Mutex<std::collections::BTreeMap<String, Blob>>,
    pub(crate) lists: AtomicU32,
    pub(crate) refuses: Mutex<Option<Failure>>,
    /// Refuses only the list call with this number, from 1.
    pub(crate) refuses_call: Mutex<Option<(u32, Failure)>>,
    /// When list calls were made.
    pub(crate) listed: Mutex<Vec<tokio::time::Instant>>,
    /// How many blobs a page has, at most; 5,000 if none is set.
    pub(crate) page: Mutex<Option<usize>>,
    /// How long a list call takes.
    pub(crate) latency: Mutex<Duration>,
    /// Whether it lists every blob twice.
    pub(crate) doubles: Mutex<bool>,
    pub(crate) clock_ahead: Mutex<time::Duration>,
    started: std::sync::OnceLock<tokio::time::Instant>,
}

impl ScriptedStore {
    /// What its clock shows.
    pub(crate) fn now(&self) -> OffsetDateTime {
        NOW + self.started.get_or_init(tokio::time::Instant::now).elapsed() + *self.clock_ahead.lock()
    }

    pub(crate) fn put(&self, directory: &str, files: u32) {
        self.put_at(self.now(), directory, files);
    }

    pub(crate) fn put_at(&self, created_at: OffsetDateTime, directory: &str, files: u32) {
        let mut blobs = self.blobs.lock();
        for number in 0..files {
            let name = format!("{directory}/file-{number}.log");
            blobs.insert(name.clone(), Blob { name, size: 100, created_at: Some(created_at) });
        }
    }
}

impl LogStore for ScriptedStore {
    async fn list(&self, prefix: &str, marker: Option<&str>) -> Result<BlobPage, Failure> {
        let call = self.lists.fetch_add(1, Ordering::SeqCst) + 1;
        self.listed.lock().push(tokio::time::Instant::now());
        let page = self.page.lock().unwrap_or(5000);
        let latency = *self.latency.lock();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if let Some(failure) = self.refuses.lock().clone() {
            return Err(failure);
        }
        if let Some((_, failure)) = self.refuses_call.lock().clone().filter(|(number, _)| *number == call) {
            return Err(failure);
        }
        let blobs = self.blobs.lock();
        let from = marker.unwrap_or(prefix).to_owned();
        let mut found: Vec<Blob> = blobs
            .range(from..)
            .map(|(_, blob)| blob.clone())
            .take_while(|blob| blob.name.starts_with(prefix))
            .take(page + 1)
            .collect();
        let next = (found.len() > page).then(|| found.pop().expect("it has one more").name);
        if *self.doubles.lock() {
            found = found.into_iter().flat_map(|blob| [blob.clone(), blob]).collect();
        }
        Ok(BlobPage { blobs: found, next, date: Some(self.now()) })
    }
}

/// Everything a test run needs, with settings that a test may change before it runs.
pub(crate) struct Bench {
    pub(crate) limits: Limits,
    pub(crate) retry: RetryPolicy,
    pub(crate) deadlines: Deadlines,
    pub(crate) verify: VerifySettings,
    pub(crate) budget: Budget,
    pub(crate) sas_ends: &'static str,
    pub(crate) can_list: bool,
    /// Of the first node, its own.
    pub(crate) first_window: Option<Window>,
    /// So many of the last nodes are in another pool of the first account, `Other`.
    pub(crate) in_other_pool: usize,
    /// What an earlier process recorded.
    pub(crate) past: Vec<Recorded>,
    /// Nodes that ended with these outcomes are retried.
    pub(crate) retried: Vec<Outcome>,
    /// How long the process may work on the run, if that ends by itself.
    pub(crate) tenure: Option<Arc<ScriptedTenure>>,
    pub(crate) stop: StopHandle,
    pub(crate) started: OffsetDateTime,
    /// This machine's clock, if it is set in mid-run.
    pub(crate) clock: Option<&'static SetClock>,
    accounts: Vec<(Arc<ScriptedAccount>, u32)>,
    store: Arc<ScriptedStore>,
}

/// What a test run left behind.
pub(crate) struct End {
    pub(crate) heard: Vec<Recorded>,
    pub(crate) histories: Vec<NodeHistory>,
    pub(crate) stop: StopHandle,
    pub(crate) list_calls: u64,
    plan: Arc<Plan>,
    accounts: Vec<Arc<ScriptedAccount>>,
}

impl End {
    pub(crate) fn outcome(&self, node: usize) -> Outcome {
        self.histories[node].status.outcome()
    }

    pub(crate) fn account(&self, index: usize) -> &ScriptedAccount {
        &self.accounts[index]
    }

    pub(crate) fn plan_account(&self, index: usize) -> AccountName {
        self.plan.accounts[index].name.clone()
    }

    pub(crate) fn ledger_counts(&self) -> OutcomeCounts {
        let mut ledger = Ledger::new(&self.plan);
        self.heard.iter().for_each(|recorded| ledger.apply(recorded));
        ledger.outcomes()
    }
}

impl Bench {
    /// Accounts, each with this many nodes, and one container for all.
    pub(crate) fn over(accounts: impl IntoIterator<Item = (ScriptedAccount, u32)>) -> Self {
        let store = Arc::new(ScriptedStore::default());
        let accounts = accounts
            .into_iter()
            .map(|(mut account, nodes)| {
                account.blobs = store.clone();
                *store.clock_ahead.lock() = account.clock_ahead;
                (Arc::new(account), nodes)
            })
            .collect();
        let seconds = Duration::from_secs;
        Self {
            limits: Limits { rate: None, concurrency: 16, max_uploads_in_flight: None, relist: None },
            retry: RetryPolicy { attempts: 3, base_delay: seconds(1), max_delay: seconds(60) },
            deadlines: Deadlines { call: seconds(35), node: seconds(300), run: seconds(3600) },
            verify: VerifySettings {
                deadline: seconds(120),
                settle: seconds(600),
                upload_allowance: seconds(600),
            },
            budget: Budget::default(),
            sas_ends: "2026-11-23T09:30:00Z",
            can_list: true,
            first_window: None,
            in_other_pool: 0,
            past: vec![],
            retried: vec![],
            tenure: None,
            stop: StopHandle::default(),
            started: NOW,
            clock: None,
            accounts,
            store,
        }
    }

    pub(crate) fn store(&self) -> Arc<ScriptedStore> {
        self.store.clone()
    }

    pub(crate) fn account(&self, index: usize) -> Arc<ScriptedAccount> {
        self.accounts[index].0.clone()
    }

    /// The executor alone.
    pub(crate) async fn execute(self) -> End {
        let plan = Arc::new(self.plan());
        let clock = self.clock();
        let heard = Heard::default();
        let (journal, ledger) = (self.journal(), Ledger::new(&plan));
        let listeners: Vec<Box<dyn EventSink>> =
            vec![Box::new(heard.clone()), Box::new(TransitionNotes::of(&ledger))];
        let guard = TenureGuard::of(&*journal);
        let (log, _) = EventLog::open(LogMode::Inline, journal, ledger, listeners, clock, self.stop.clone());
        let slots = UploadSlots::new(self.limits.max_uploads_in_flight);
        let claims = Arc::default();
        let run = Run { plan: plan.clone(), log, stop: self.stop.clone(), clock, slots, guard, claims };
        let how = Execution {
            access: Access::fixed(order_until(self.sas_ends)),
            upload_allowance: self.verify.upload_allowance,
            limits: self.limits.clone(),
            retry: self.retry.clone(),
            deadlines: self.deadlines.clone(),
            settle: self.verify.settle,
            budget: self.budget,
        };
        let store = self.can_list.then(|| self.store.clone());
        execute(&run, &self.services(), store, how, Outstanding::all(&plan), Rng::with_seed(0)).await;
        self.end(plan, &heard)
    }

    /// The whole pipeline, as the binary has it.
    pub(crate) async fn collect(self) -> End {
        let plan = Arc::new(self.plan());
        for (account, _) in &self.accounts {
            account.list_planned_nodes(&plan);
        }
        let heard = Heard::default();
        let mut replay = Replay::new(&plan);
        self.past.iter().for_each(|recorded| replay.apply(recorded));
        let (ledger, outstanding) = replay.finish(&plan, &self.retried);
        let collection = Collection {
            plan: plan.clone(),
            ledger,
            outstanding,
            journal: self.journal(),
            listeners: vec![Box::new(heard.clone())],
            log_mode: LogMode::Inline,
            services: self.services(),
            store: self.can_list.then(|| self.store.clone()),
            access: Access::fixed(order_until(self.sas_ends)),
            settings: RunSettings {
                limits: self.limits.clone(),
                retry: self.retry.clone(),
                deadlines: self.deadlines.clone(),
                budget: self.budget,
                verify: self.verify.clone(),
            },
            process: ProcessFacts::default(),
            clock: self.clock(),
            stop: self.stop.clone(),
            random: Rng::with_seed(0),
        };
        let written = collect(collection).await;
        let end = self.end(plan, &heard);
        assert_eq!(written.ledger.unwrap().outcomes(), end.ledger_counts());
        end
    }

    fn journal(&self) -> Box<dyn Journal> {
        match &self.tenure {
            Some(tenure) => Box::new(TenuredJournal(tenure.clone())),
            None => Box::new(VolatileJournal),
        }
    }

    fn clock(&self) -> Clock {
        self.clock.map_or_else(|| Clock::Since(NOW, tokio::time::Instant::now()), Clock::Set)
    }

    pub(crate) fn plan(&self) -> Plan {
        let names: Vec<_> =
            self.accounts.iter().map(|(account, nodes)| (account.name.as_str(), *nodes)).collect();
        let mut plan = plan_over(&names);
        if let Some(window) = self.first_window {
            let mut nodes: Vec<_> = plan.nodes.details().map(Result::unwrap).collect();
            nodes[0].window = Some(window.into());
            plan.nodes = nodes.into_iter().collect();
        }
        if self.in_other_pool > 0 {
            let account = plan.accounts[0].name.clone();
            let other = Arc::new(PlannedPool::bare(account, PoolId::new("Other")));
            let mut nodes: Vec<_> = plan.nodes.details().map(Result::unwrap).collect();
            let first = nodes.len() - self.in_other_pool;
            nodes[first..].iter_mut().for_each(|node| node.place = other.clone());
            plan.pools.push(other);
            plan.nodes = nodes.into_iter().collect();
        }
        plan
    }

    fn services(&self) -> Vec<Option<Arc<ScriptedAccount>>> {
        self.accounts.iter().map(|(account, _)| Some(account.clone())).collect()
    }

    fn end(self, plan: Arc<Plan>, heard: &Heard) -> End {
        let mut heard = heard.events();
        heard.splice(..0, self.past.iter().cloned());
        let mut histories = vec![NodeHistory::default(); plan.nodes.len()];
        for recorded in &heard {
            if let Some(node) = recorded.node {
                histories[node.get()].apply(recorded);
            }
        }
        let accounts = self.accounts.into_iter().map(|(account, _)| account).collect();
        let list_calls = heard.iter().map(|recorded| match &recorded.event {
            Event::RunEnded { list_calls } => *list_calls,
            _ => 0,
        });
        let list_calls = list_calls.sum();
        End { heard, histories, stop: self.stop, list_calls, plan, accounts }
    }
}
