use std::collections::BTreeSet;
use std::path::Path;

use fleetlogs_model::home::{Answer, StateHome};
use fleetlogs_model::ids::NodeId;
use fleetlogs_model::service::{Accepted, UploadOrder};
use fleetlogs_model::timestamp;
use globset::{Glob, GlobSet, GlobSetBuilder};
use parking_lot::Mutex;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::state::JobId;
use super::*;
use crate::select::PoolFilter;
use crate::testing::NOW;

const MINUTE: u64 = 60;

/// A node and its life: from which second on it is in which state.
#[derive(Clone, Debug)]
struct ScriptedNode {
    pool: &'static str,
    id: String,
    life: Vec<(u64, NodeState)>,
}

/// An account whose nodes have lives. It does not care for filters, and puts three nodes on a page.
struct Fleet {
    started: Instant,
    pools: Vec<&'static str>,
    nodes: Vec<ScriptedNode>,
    /// From which second until which one calls fail how.
    fails: Vec<(u64, u64, Failure)>,
    /// The same for the node lists of a pool.
    pool_fails: Vec<(&'static str, u64, u64)>,
    calls: Mutex<Vec<Duration>>,
    /// What lists told: when, node, state, second.
    told: Mutex<Vec<(u64, String, NodeState, u64)>>,
}

impl Fleet {
    fn new(nodes: Vec<ScriptedNode>) -> Self {
        let started = Instant::now();
        let (fails, pool_fails, calls, told) = (vec![], vec![], Mutex::default(), Mutex::default());
        Self { started, pools: vec!["Pool"], nodes, fails, pool_fails, calls, told }
    }

    fn called(&self) -> Result<u64, Failure> {
        let elapsed = self.started.elapsed();
        self.calls.lock().push(elapsed);
        let now = elapsed.as_secs();
        let failing = self.fails.iter().find(|(from, until, _)| (*from..*until).contains(&now));
        failing.map_or(Ok(now), |(.., failure)| Err(failure.clone()))
    }
}

impl BatchService for Fleet {
    async fn list_pools(&self, _: Option<&PageLink>) -> Result<Page<Pool>, Failure> {
        self.called()?;
        Ok(Page { items: self.pools.iter().map(|id| Pool::bare(PoolId::new(*id))).collect(), next: None })
    }

    async fn list_nodes(&self, pool: &PoolId, page: Option<&PageLink>) -> Result<Page<Node>, Failure> {
        let now = self.called()?;
        let fails =
            |(id, from, until): &(&str, u64, u64)| *id == pool.as_str() && (*from..*until).contains(&now);
        if self.pool_fails.iter().any(fails) {
            return Err(Failure::new(FailureClass::Refused, "scripted"));
        }
        let first: usize = page.map_or(0, |link| link.0.parse().unwrap());
        let of_pool: Vec<_> = self.nodes.iter().filter(|node| node.pool == pool.as_str()).collect();
        let items = of_pool.iter().skip(first).take(3).map(|node| {
            let (since, state) = node.life.iter().rfind(|(from, _)| *from <= now).unwrap();
            self.told.lock().push((now, node.id.clone(), state.clone(), *since));
            Node {
                state_since: Some(NOW + Duration::from_secs(*since)),
                ..Node::in_state(NodeId::new(node.id.as_str()), state.clone())
            }
        });
        let items = items.collect();
        Ok(Page { items, next: (first + 3 < of_pool.len()).then(|| PageLink((first + 3).to_string())) })
    }

    async fn get_node(&self, _: &PoolId, _: &NodeId) -> Result<Node, Failure> {
        unreachable!("the watcher reads lists only")
    }

    async fn upload_logs(
        &self,
        _: &PoolId,
        _: &NodeId,
        _: &UploadOrder,
        _: Uuid,
        _: Duration,
    ) -> Result<Accepted, Failure> {
        unreachable!("the watcher sends no upload")
    }
}

/// A shared home in which one change never arrives, so that the watcher can be killed right after it made that change.
#[derive(Default)]
struct StuckHome {
    changes_before: AtomicU64,
    stuck: Notify,
}

impl StateHome for StuckHome {
    fn acquire(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Ok(None) })
    }
    fn renew(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn publish(&self, _: Vec<u8>) -> Answer<'_, ()> {
        Box::pin(async {
            if self.changes_before.fetch_sub(1, Ordering::Relaxed) == 0 {
                self.stuck.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
    fn release(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn read(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async { Ok(None) })
    }
    fn lease(&self) -> Duration {
        Duration::from_secs(60)
    }
}

fn all() -> GlobSet {
    GlobSetBuilder::new().add(Glob::new("*").unwrap()).build().unwrap()
}

fn selection() -> Selection {
    Selection {
        pools: PoolFilter::by_id(all(), GlobSet::empty()),
        nodes: NodeFilter::default(),
        jobs: vec![],
        exact: None,
    }
}

/// Every minute, gathered for one, quiet for fifteen.
fn rule(accounts: &[&str]) -> WatchRule {
    let seconds = Duration::from_secs;
    WatchRule {
        snapshot: SnapshotName::new("bad"),
        states: vec![NodeState::Unusable, NodeState::StartTaskFailed],
        every: seconds(MINUTE),
        gather: seconds(MINUTE),
        quiet: seconds(15 * MINUTE),
        max_age: seconds(24 * 60 * MINUTE),
        selections: accounts.iter().map(|name| (AccountName::new(*name), selection())).collect(),
    }
}

struct Bench {
    store: Store,
    dir: tempfile::TempDir,
    clock: Clock,
    rule: WatchRule,
    poll_rate: f64,
    accounts: Vec<(AccountName, Arc<Fleet>)>,
    counters: Arc<WatchCounters>,
}

impl Bench {
    fn over(fleets: impl IntoIterator<Item = (&'static str, Fleet)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let accounts: Vec<_> =
            fleets.into_iter().map(|(name, fleet)| (AccountName::new(name), Arc::new(fleet))).collect();
        let names: Vec<_> = accounts.iter().map(|(name, _)| name.as_str()).collect();
        Self {
            store: Store::open(&dir.path().join("schedule.db"), None).unwrap(),
            dir,
            clock: Clock::Since(NOW, Instant::now()),
            rule: rule(&names),
            poll_rate: 10.0,
            accounts,
            counters: Arc::default(),
        }
    }

    fn fleet(&self, at: usize) -> &Fleet {
        &self.accounts[at].1
    }

    fn watch(&self) -> impl Future<Output = StateError> + use<> {
        watch(Watch {
            accounts: self.accounts.clone(),
            rules: vec![self.rule.clone()],
            store: self.store.clone(),
            clock: self.clock,
            poll_rate: self.poll_rate,
            counters: self.counters.clone(),
            random: fastrand::Rng::with_seed(5),
        })
    }

    async fn watch_for(&self, seconds: u64) {
        let _ = timeout(Duration::from_secs(seconds), self.watch()).await.map_err(|_| ());
    }

    /// As another process would find it, which will be killed right after this many changes.
    fn reopen(&mut self, changes_before: u64) -> Arc<StuckHome> {
        let home = Arc::new(StuckHome { changes_before: changes_before.into(), ..StuckHome::default() });
        let shared: Arc<dyn StateHome> = home.clone();
        self.store = Store::open(&self.dir.path().join("schedule.db"), Some((shared, None))).unwrap();
        home
    }

    /// Begins and ends all that waits in the queue.
    async fn run_all(&self) {
        run_all(&self.store, self.clock).await;
    }

    /// Node, second of its state and status, in order.
    fn rows(&self) -> Vec<(String, u64, String)> {
        rows(&self.dir.path().join("schedule.db"))
            .into_iter()
            .map(|(_, node, _, since, status, _)| (node, since, status))
            .collect()
    }

    /// The nodes of each run.
    async fn runs(&self) -> Vec<Vec<String>> {
        let jobs = self.store.read(|state| {
            let mut select = state.prepare("SELECT id FROM run ORDER BY id")?;
            let jobs = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
            jobs.into_iter().map(|job| occurrences::of_run(state, JobId(job))).collect::<Result<Vec<_>, _>>()
        });
        let node = |occurrence: occurrences::Occurrence| occurrence.node.node.to_string();
        jobs.await.unwrap().into_iter().map(|run| run.into_iter().map(node).collect()).collect()
    }
}

async fn run_all(store: &Store, clock: Clock) {
    let queued = store.read(|state| {
        Ok(state
            .query_row("SELECT count(*) FROM run WHERE status = 'queued'", [], |row| row.get::<_, u64>(0))?)
    });
    if queued.await.unwrap() == 0 {
        return;
    }
    let now = timestamp::text(clock.now());
    let end = "UPDATE run SET status = 'ended', started_at = ?1, ended_at = ?1 WHERE status = 'queued'";
    store.change(|state| Ok(state.execute(end, [&now])?)).await.unwrap();
}

type Row = (String, String, String, u64, String, Option<i64>);

/// Account, node, state, second of the state, status, run.
fn rows(path: &Path) -> Vec<Row> {
    let state = rusqlite::Connection::open(path).unwrap();
    let mut select = state
        .prepare(
            "SELECT account, node, state, since, status, run FROM occurrence ORDER BY account, node, since",
        )
        .unwrap();
    let rows = select.query_map([], |row| {
        let since: String = row.get(3)?;
        let since =
            crate::schedule::state::stored_time(&since).map_or(0, |since| (since - NOW).whole_seconds());
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, since.cast_unsigned(), row.get(4)?, row.get(5)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn node(id: &str, life: &[(u64, NodeState)]) -> ScriptedNode {
    ScriptedNode { pool: "Pool", id: id.into(), life: life.to_vec() }
}

/// Idle, and from a second on unusable.
fn fails_at(id: &str, second: u64) -> ScriptedNode {
    node(id, &[(0, NodeState::Idle), (second, NodeState::Unusable)])
}

#[tokio::test(start_paused = true)]
async fn an_occurrence_is_captured_once_however_long_it_lasts() {
    let bench = Bench::over([("contoso", Fleet::new(vec![fails_at("n1", 90), fails_at("n2", 1 << 40)]))]);

    for _ in 0..6 {
        bench.watch_for(20 * MINUTE).await;
        bench.run_all().await;
    }

    assert_eq!(bench.runs().await, [["n1"]]);
    assert_eq!(bench.rows(), [("n1".into(), 90, "claimed".into())]);
}

#[tokio::test(start_paused = true)]
async fn nodes_are_gathered_into_one_run_and_later_ones_join_it_while_it_waits() {
    let nodes = vec![fails_at("n1", 30), fails_at("n2", 100), fails_at("n3", 400), fails_at("n4", 900)];
    let bench = Bench::over([("contoso", Fleet::new(nodes))]);

    // Seen after a minute and after two.
    bench.watch_for(119).await;
    assert_eq!(bench.runs().await.len(), 0, "they are still gathered");
    bench.watch_for(120).await;
    assert_eq!(bench.runs().await, [["n1", "n2"]]);
    bench.watch_for(400).await;
    assert_eq!(bench.runs().await, [["n1", "n2", "n3"]], "its plan is not made yet");
    bench.run_all().await;
    bench.watch_for(600).await;
    assert_eq!(bench.runs().await, [vec!["n1", "n2", "n3"], vec!["n4"]]);
}

#[tokio::test(start_paused = true)]
async fn without_gathering_a_node_is_captured_right_after_the_look() {
    let mut bench = Bench::over([("contoso", Fleet::new(vec![fails_at("n1", 30)]))]);
    bench.rule.gather = Duration::ZERO;

    bench.watch_for(62).await;

    assert_eq!(bench.runs().await, [["n1"]]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_fails_as_a_whole_is_one_run() {
    let nodes = (0..1000).map(|number| fails_at(&format!("n{number}"), 70)).collect();
    let mut bench = Bench::over([("contoso", Fleet::new(nodes))]);
    bench.poll_rate = 100.0;

    bench.watch_for(30 * MINUTE).await;

    let runs = bench.runs().await;
    assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [1000]);
    assert_eq!(bench.rows().len(), 1000);
    assert_eq!(bench.counters.claimed.load(Ordering::Relaxed), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_flaps_is_captured_once_in_each_quiet_time() {
    // Bad for two minutes in every four.
    let life: Vec<_> = (0..60)
        .map(|turn| (turn * 120, if turn % 2 == 0 { NodeState::Idle } else { NodeState::Unusable }))
        .collect();
    let bench = Bench::over([("contoso", Fleet::new(vec![node("n1", &life)]))]);

    let mut captured = Vec::new();
    for minute in 0..120 {
        bench.watch_for(MINUTE).await;
        let before = captured.len();
        if bench.runs().await.len() > before {
            captured.push(minute);
            bench.run_all().await;
        }
    }

    let apart: Vec<_> = captured.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.iter().all(|minutes| (15..=20).contains(minutes)), "{captured:?}");
    assert!(captured.len() >= 6, "{captured:?}");
    let rows = bench.rows();
    let damped = rows.iter().filter(|(.., status)| status == "damped").count();
    assert_eq!(rows.len(), 30);
    assert!(damped + captured.len() >= 29, "the last one may be held: {rows:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stays_bad_when_the_quiet_time_is_over_is_captured_again() {
    use NodeState::{Idle, Unusable};
    let life = [(0, Idle), (30, Unusable), (200, Idle), (300, Unusable), (400, Idle), (500, Unusable)];
    let bench = Bench::over([("contoso", Fleet::new(vec![node("n1", &life)]))]);

    bench.watch_for(150).await;
    bench.run_all().await;
    bench.watch_for(10 * MINUTE).await;
    let status = |status: &str| status.to_owned();
    let held = [
        ("n1".into(), 30, status("claimed")),
        ("n1".into(), 300, status("damped")),
        ("n1".into(), 500, status("held")),
    ];
    assert_eq!(bench.rows(), held);
    bench.watch_for(10 * MINUTE).await;
    assert_eq!(bench.rows()[2].2, "claimed");
    assert_eq!(bench.runs().await, [["n1"], ["n1"]]);
}

#[tokio::test(start_paused = true)]
async fn without_a_quiet_time_every_occurrence_is_captured() {
    let life: Vec<_> = (0..20)
        .map(|turn| (turn * 120, if turn % 2 == 0 { NodeState::Idle } else { NodeState::StartTaskFailed }))
        .collect();
    let mut bench = Bench::over([("contoso", Fleet::new(vec![node("n1", &life)]))]);
    bench.rule.quiet = Duration::ZERO;

    for _ in 0..45 {
        bench.watch_for(MINUTE).await;
        bench.run_all().await;
    }

    assert_eq!(bench.runs().await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fails_holds_up_no_other_and_is_asked_less_often() {
    let mut sick = Fleet::new(vec![fails_at("s1", 600)]);
    sick.fails = vec![(0, 3600, Failure::new(FailureClass::Auth, "scripted"))];
    let bench = Bench::over([("sick", sick), ("well", Fleet::new(vec![fails_at("w1", 600)]))]);

    bench.watch_for(15 * MINUTE).await;
    assert_eq!(bench.runs().await, [["w1"]]);
    bench.run_all().await;
    bench.watch_for(60 * MINUTE).await;
    assert_eq!(bench.runs().await, [["w1"], ["s1"]]);
    let calls = |at: usize| bench.fleet(at).calls.lock().len();
    let tries = bench.fleet(0).calls.lock().iter().filter(|at| at.as_secs() < 3600).count();
    assert!((12..=20).contains(&tries), "{tries}");
    assert!(calls(1) > 140, "{}", calls(1));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_account_rests_as_long_as_it_asks_for() {
    let mut busy = Fleet::new(vec![fails_at("n1", 30)]);
    let mut failure = Failure::new(FailureClass::Throttled, "scripted");
    failure.retry_after_ms = Some(50_000);
    busy.fails = vec![(60, 61, failure)];
    let bench = Bench::over([("contoso", busy)]);

    bench.watch_for(5 * MINUTE).await;

    let calls: Vec<_> = bench.fleet(0).calls.lock().iter().map(Duration::as_secs).collect();
    let throttled = calls.iter().position(|at| *at == 60).unwrap();
    assert!((110..=112).contains(&calls[throttled + 1]), "{calls:?}");
    assert_eq!(bench.runs().await, [["n1"]]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_be_listed_says_nothing_of_its_nodes() {
    use NodeState::{Idle, Unusable};
    let life = [(0, Idle), (30, Unusable), (300, Idle), (400, Unusable)];
    let mut fleet = Fleet::new(vec![node("n1", &life)]);
    // From when the second occurrence is held until the quiet time is over.
    fleet.pool_fails = vec![("Pool", 600, 1800)];
    fleet.pools = vec!["Other", "Pool"];
    let bench = Bench::over([("contoso", fleet)]);

    bench.watch_for(150).await;
    bench.run_all().await;
    bench.watch_for(25 * MINUTE).await;
    assert_eq!(bench.rows()[1].2, "held");
    bench.watch_for(10 * MINUTE).await;
    assert_eq!(bench.runs().await, [["n1"], ["n1"]]);
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_left_alone() {
    let mut bench = Bench::over([("contoso", Fleet::new(vec![fails_at("n1", 0), fails_at("n2", 3000)]))]);
    bench.rule.max_age = Duration::from_secs(1800);

    sleep(Duration::from_secs(3600)).await;
    bench.watch_for(20 * MINUTE).await;

    assert_eq!(bench.runs().await, [["n2"]]);
    assert_eq!(bench.rows()[0].2, "old");
}

#[tokio::test(start_paused = true)]
async fn an_account_is_asked_no_oftener_than_it_may_be() {
    let mut fleet = Fleet::new((0..30).map(|number| fails_at(&format!("n{number}"), 0)).collect());
    fleet.pools = vec!["Pool", "a", "b", "c"];
    let mut bench = Bench::over([("contoso", fleet)]);
    (bench.poll_rate, bench.rule.every) = (0.5, Duration::from_secs(5));

    bench.watch_for(10 * MINUTE).await;

    let calls = bench.fleet(0).calls.lock();
    assert!(
        calls.windows(2).all(|pair| pair[1].saturating_sub(pair[0]) >= Duration::from_millis(1999)),
        "{calls:?}"
    );
    assert!(calls.len() > 290, "{}", calls.len());
}

#[tokio::test(start_paused = true)]
async fn only_nodes_that_are_wanted_are_watched() {
    let mut fleet = Fleet::new(vec![fails_at("n1", 0), fails_at("x1", 0)]);
    fleet.pools = vec!["Pool", "other"];
    fleet.nodes.push(ScriptedNode { pool: "other", ..fails_at("n2", 0) });
    let mut bench = Bench::over([("contoso", fleet)]);
    let wanted = |pattern: &str| GlobSetBuilder::new().add(Glob::new(pattern).unwrap()).build().unwrap();
    let selection = &mut bench.rule.selections[0].1;
    selection.pools.only = Some(wanted("Po*"));
    selection.nodes.only = Some(wanted("n*"));

    bench.watch_for(5 * MINUTE).await;

    assert_eq!(bench.runs().await, [["n1"]]);
}

#[tokio::test(start_paused = true)]
async fn rows_are_forgotten_a_month_after_and_not_while_the_node_is_as_it_was() {
    let life = [(0, NodeState::Unusable), (600, NodeState::Idle)];
    let mut bench = Bench::over([("contoso", Fleet::new(vec![node("n1", &life), fails_at("n2", 0)]))]);
    bench.rule.max_age = Duration::from_secs(90 * 24 * 3600);
    bench.watch_for(300).await;
    bench.run_all().await;
    assert_eq!(bench.rows().len(), 2);

    sleep(Duration::from_secs(31 * 24 * 3600)).await;
    bench.watch_for(300).await;

    assert_eq!(bench.rows(), [("n2".into(), 0, "claimed".into())]);
    assert_eq!(bench.runs().await.len(), 1);
}

/// Turns of a node: seconds in a good state, then seconds in a bad one, and which.
type Turns = Vec<(u64, u64, bool)>;

fn lives() -> impl Strategy<Value = Vec<Turns>> {
    let turn = (20_u64..900, 20_u64..900, any::<bool>());
    proptest::collection::vec(proptest::collection::vec(turn, 0..5), 3)
}

fn scripted(lives: &[Turns]) -> Vec<ScriptedNode> {
    let node_of = |(number, turns): (usize, &Turns)| {
        let (mut life, mut at) = (vec![(0, NodeState::Idle)], 0);
        for (good, bad, failed) in turns {
            let state = if *failed { NodeState::StartTaskFailed } else { NodeState::Unusable };
            life.extend([(at + good, state), (at + good + bad, NodeState::Idle)]);
            at += good + bad;
        }
        node(&format!("n{number}"), &life)
    };
    lives.iter().enumerate().map(node_of).collect()
}

/// Watches, is killed at moments that are not of its choosing and started anew, while runs begin and end; then all
/// nodes are well, and everything comes to its end. Returns the bench and when it was killed.
async fn killed_now_and_then(
    lives: [&[Turns]; 2],
    kills: &[(u64, u64)],
    runs_every: u64,
    gather: u64,
    quiet: u64,
    outage: (u64, u64),
) -> (Bench, Vec<u64>) {
    let mut second = Fleet::new(scripted(lives[1]));
    let failure = Failure::new(FailureClass::NotSent, "scripted");
    second.fails = vec![(outage.0, outage.0 + outage.1, failure)];
    let mut bench = Bench::over([("contoso", Fleet::new(scripted(lives[0]))), ("fabrikam", second)]);
    bench.rule.gather = Duration::from_secs(gather);
    bench.rule.quiet = Duration::from_secs(quiet);
    let mut killed = Vec::new();
    let rest = 9000 + 2 * quiet;
    for (changes, millis) in kills.iter().copied().chain([(u64::MAX, rest * 1000)]) {
        let home = bench.reopen(changes);
        let running = async {
            loop {
                run_all(&bench.store, bench.clock).await;
                sleep(Duration::from_secs(runs_every)).await;
            }
        };
        tokio::select! {
            error = bench.watch() => panic!("{error}"),
            () = running => unreachable!("it goes on for ever"),
            () = home.stuck.notified() => {}
            () = sleep(Duration::from_millis(millis)) => {}
        }
        killed.push(bench.fleet(0).started.elapsed().as_secs());
    }
    (bench, killed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_happens_each_occurrence_has_one_fate_and_one_run_at_most(
        first in lives(), second in lives(), kills in proptest::collection::vec((0_u64..9, 100_u64..1_500_000), 0..12),
        runs_every in 20_u64..900, gather in 0_u64..150, quiet in 0_u64..1800,
        outage in (0_u64..3600, 0_u64..1800),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let story = killed_now_and_then([&first, &second], &kills, runs_every, gather, quiet, outage);
        let (bench, killed) = runtime.block_on(story);
        let rows = rows(&bench.dir.path().join("schedule.db"));
        let runs = runtime.block_on(bench.runs());
        for row in &rows {
            let (.., status, run) = row;
            prop_assert!(matches!(status.as_str(), "claimed" | "damped"), "{row:?}");
            prop_assert_eq!(status == "claimed", run.is_some(), "{:?}", row);
        }
        prop_assert!(runs.iter().all(|nodes| !nodes.is_empty()), "a run of nothing: {runs:?}");
        let claimed = rows.iter().filter(|(.., run)| run.is_some()).count();
        prop_assert_eq!(runs.iter().map(Vec::len).sum::<usize>(), claimed);
        if quiet == 0 {
            prop_assert_eq!(claimed, rows.len());
        }
        // What a look saw that was not cut short is on record.
        let known: BTreeSet<_> =
            rows.iter().map(|(account, node, state, since, ..)| (account, node, state.as_str(), since)).collect();
        for (account, fleet) in &bench.accounts {
            let account = account.as_str().to_owned();
            for (at, node, state, since) in fleet.told.lock().iter() {
                let cut_short = killed.iter().any(|killed| (*at..at + 60).contains(killed));
                let is_bad = bench.rule.states.contains(state);
                prop_assert!(
                    !is_bad || cut_short || known.contains(&(&account, node, state.as_str(), since)),
                    "{account} {node} {state:?} {since}, told at {at}"
                );
            }
        }
    }
}
