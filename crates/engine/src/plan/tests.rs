use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, NodeId, NodeRef, PoolId};
use fleetlogs_model::plan::{LeftOutReason, PlannedAccount};
use fleetlogs_model::planned::PlannedNodes;
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::service::{Accepted, NodeError, UploadOrder};
use fleetlogs_model::service::{BatchService, Node, NodeState, Page, PageLink, Pool};
use globset::{Glob, GlobSet, GlobSetBuilder};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::account::{AccountPlan, NotPlanned, PlanFailure, PlanListener, Planning, plan_account};
use super::merge::{AccountToPlan, PlanRequest, PlannedFleet, PlanningError, plan_fleet};
use super::priority::priority;
use super::sorting::HELD_AT_ONCE;
use crate::select::{NodeFilter, PoolFilter, Selection};
use crate::testing::NOW;

type Pages<T> = Vec<Result<Page<T>, Failure>>;

/// An account whose lists are scripted: pages of pools, and for each pool pages of nodes.
#[derive(Default)]
struct Listed {
    pools: Pages<Pool>,
    nodes: Vec<(&'static str, Pages<Node>)>,
    asked: Mutex<Vec<String>>,
    latency: Duration,
}

impl Listed {
    /// Links are the numbers of pages; a failing page is given once, then the one after it.
    fn page<T: Clone>(
        &self,
        pages: &[Result<Page<T>, Failure>],
        link: Option<&PageLink>,
        what: &str,
    ) -> Result<Page<T>, Failure> {
        let at = link.map_or("0", |link| &link.0);
        let mut asked = self.asked.lock();
        let request = format!("{what} {at}");
        let again = asked.iter().filter(|earlier| **earlier == request).count();
        asked.push(request);
        let first: usize = at.parse().unwrap();
        pages[(first + again).min(pages.len() - 1)].clone()
    }
}

impl BatchService for Listed {
    async fn list_pools(&self, page: Option<&PageLink>) -> Result<Page<Pool>, Failure> {
        let answer = self.page(&self.pools, page, "pools");
        tokio::time::sleep(self.latency).await;
        answer
    }

    async fn list_nodes(&self, pool: &PoolId, page: Option<&PageLink>) -> Result<Page<Node>, Failure> {
        let (_, pages) = self.nodes.iter().find(|(id, _)| *id == pool.as_str()).unwrap();
        self.page(pages, page, pool.as_str())
    }

    async fn get_node(&self, _: &PoolId, _: &NodeId) -> Result<Node, Failure> {
        Err(Failure::new(FailureClass::Refused, "planning reads no single node"))
    }

    async fn upload_logs(
        &self,
        _: &PoolId,
        _: &NodeId,
        _: &UploadOrder,
        _: Uuid,
        _: Duration,
    ) -> Result<Accepted, Failure> {
        Err(Failure::new(FailureClass::Refused, "planning sends no upload"))
    }
}

struct Nobody;

impl PlanListener for Nobody {
    fn listed(&self, _: &AccountName, _: u32, _: u32) {}
}

fn pool(id: &str) -> Pool {
    Pool::bare(PoolId::new(id))
}

fn node(id: &str, state: &str) -> Node {
    let mut node = Node::in_state(NodeId::new(id), NodeState::from(state.to_owned()));
    node.facts.dedicated = Some(true);
    node
}

#[expect(clippy::unnecessary_wraps, reason = "scripts hold results")]
fn page<T>(items: impl Into<Vec<T>>, next: Option<&str>) -> Result<Page<T>, Failure> {
    Ok(Page { items: items.into(), next: next.map(|link| PageLink(link.into())) })
}

fn globs(patterns: &[&str]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).unwrap());
    }
    set.build().unwrap()
}

async fn plan(service: &Listed, pools: &[&str], exclude: &[&str]) -> Result<AccountPlan, Failure> {
    let selection = Selection {
        pools: PoolFilter::by_id(globs(pools), globs(exclude)),
        nodes: NodeFilter::default(),
        jobs: vec![],
        exact: None,
    };
    plan_of(service, &selection).await
}

const RETRY: RetryPolicy =
    RetryPolicy { attempts: 3, base_delay: Duration::from_secs(1), max_delay: Duration::from_secs(9) };

fn account(name: &str) -> PlannedAccount {
    PlannedAccount {
        name: AccountName::new(name),
        endpoint: String::new(),
        api_version: String::new(),
        pools: 0,
        nodes: 0,
        list_calls: 0,
        unlisted: None,
        missing: None,
    }
}

async fn plan_of(service: &Listed, selection: &Selection) -> Result<AccountPlan, Failure> {
    let (slots, since) = (&Semaphore::new(1), None);
    let nodes = &PlannedNodes::default();
    let planning = Planning { now: NOW, since, retry: &RETRY, slots, nodes, listener: &Nobody };
    plan_account(account("contoso"), service, selection, planning, fastrand::Rng::with_seed(1)).await.map_err(
        |not_planned| {
            let (calls, NotPlanned { cause, list_calls }) = (service.asked.lock().len(), not_planned);
            assert_eq!(list_calls as usize, calls, "calls are counted, whatever came of them");
            let PlanFailure::Unlisted(failure) = cause else { panic!("{cause}") };
            failure
        },
    )
}

fn ids(plan: &AccountPlan) -> Vec<std::borrow::Cow<'_, str>> {
    plan.nodes.iter().map(|node| node.id()).collect()
}

#[tokio::test(start_paused = true)]
async fn all_pages_are_read_and_repeated_nodes_taken_once() {
    let service = Listed {
        pools: vec![page([pool("a")], Some("1")), page([pool("b"), pool("A")], None)],
        nodes: vec![
            (
                "a",
                vec![
                    page([node("n1", "idle")], Some("1")),
                    page([], Some("2")),
                    page([node("N1", "idle"), node("n2", "idle")], None),
                ],
            ),
            ("b", vec![page([node("n1", "running")], None)]),
        ],
        ..Listed::default()
    };
    let plan = plan(&service, &["*"], &[]).await.unwrap();
    assert_eq!(ids(&plan), ["n1", "n2", "n1"]);
    let again: Vec<_> = plan.left_out.iter().map(|left| (left.pool.as_str(), left.reason.as_str())).collect();
    assert_eq!(again, [("A", "listed-twice"), ("a", "listed-twice")], "nothing is dropped without a word");
    assert_eq!((plan.account.pools, plan.account.nodes, plan.account.list_calls), (2, 3, 6));
}

#[tokio::test(start_paused = true)]
async fn pools_are_chosen_by_globs_and_what_is_left_out_has_a_reason() {
    let service = Listed {
        pools: vec![page([pool("render-1"), pool("render-old"), pool("web")], None)],
        nodes: vec![(
            "render-1",
            vec![page(
                [
                    node("n1", "idle"),
                    node("n2", "creating"),
                    node("n3", "preempted"),
                    node("n4", "deallocated"),
                ],
                None,
            )],
        )],
        ..Listed::default()
    };
    let plan = plan(&service, &["render-*"], &["*-old"]).await.unwrap();
    assert_eq!(ids(&plan), ["n1"]);
    let reasons: Vec<_> =
        plan.left_out.iter().map(|left| (left.pool.as_str(), left.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            ("render-1", "no-agent-yet"),
            ("render-1", "preempted"),
            ("render-1", "deallocated"),
            ("render-old", "pool-not-selected"),
            ("web", "pool-not-selected")
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn those_about_to_vanish_are_asked_first() {
    let mut shrinking = pool("shrinking");
    shrinking.shrinking = true;
    let mut spot = node("spot", "idle");
    spot.facts.dedicated = Some(false);
    let mut sick = node("sick", "idle");
    sick.facts.errors.push(NodeError { code: "DiskFull".into(), message: String::new() });
    let service = Listed {
        pools: vec![page([pool("a"), shrinking], None)],
        nodes: vec![
            (
                "a",
                vec![page(
                    [
                        node("plain", "idle"),
                        node("lost", "unknown"),
                        sick,
                        spot,
                        node("leaving", "leavingpool"),
                    ],
                    None,
                )],
            ),
            ("shrinking", vec![page([node("squeezed", "running")], None)]),
        ],
        ..Listed::default()
    };
    let plan = plan(&service, &["*"], &[]).await.unwrap();
    assert_eq!(ids(&plan), ["leaving", "squeezed", "spot", "sick", "plain", "lost"]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_vanishes_while_listing_is_left_out_and_the_rest_planned() {
    let gone = Failure::new(FailureClass::Gone, "PoolNotFound");
    let service = Listed {
        pools: vec![page([pool("a"), pool("b")], None)],
        nodes: vec![("a", vec![Err(gone)]), ("b", vec![page([node("n1", "idle")], None)])],
        ..Listed::default()
    };
    let plan = plan(&service, &["*"], &[]).await.unwrap();
    assert_eq!(ids(&plan), ["n1"]);
    assert_eq!(plan.left_out[0].reason, LeftOutReason::PoolGone);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_be_listed_does_not_cost_the_others() {
    let refused = || Err(Failure::new(FailureClass::Refused, "no"));
    let service = Listed {
        pools: vec![page([pool("a"), pool("b")], None)],
        nodes: vec![("a", vec![refused()]), ("b", vec![page([node("n1", "idle")], None)])],
        ..Listed::default()
    };
    let found = plan(&service, &["*"], &[]).await.unwrap();
    assert_eq!(ids(&found), ["n1"]);
    assert_eq!(found.left_out[0].reason, LeftOutReason::PoolNotListed);
    let many: Vec<_> = (0..HELD_AT_ONCE + 10).map(|number| node(&format!("n{number}"), "idle")).collect();
    let half_way = |end| Listed {
        pools: vec![page([pool("a"), pool("b")], None)],
        nodes: vec![
            ("a", vec![page(many.clone(), Some("1")), end]),
            ("b", vec![page([node("n1", "idle")], None)]),
        ],
        ..Listed::default()
    };
    let found = plan(&half_way(refused()), &["*"], &[]).await.unwrap();
    assert_eq!((ids(&found), found.account.nodes), (vec!["n1".into()], 1), "part of a pool is none of it");
    let found = plan(&half_way(page([], None)), &["*"], &[]).await.unwrap();
    assert!(found.nodes.iter().take(many.len()).map(|node| node.id()).is_sorted(), "by id, however many");
    assert_eq!(found.nodes.len(), many.len() + 1);
    let nothing = Listed {
        pools: vec![page([pool("a")], None)],
        nodes: vec![("a", vec![refused()])],
        ..Listed::default()
    };
    assert!(plan(&nothing, &["*"], &[]).await.is_err(), "nothing could be listed at all");
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_is_tried_again_and_a_refusal_is_not() {
    let busy = Failure::new(FailureClass::Throttled, "busy");
    let service = Listed { pools: vec![Err(busy.clone()), Err(busy), page([], None)], ..Listed::default() };
    assert!(plan(&service, &["*"], &[]).await.is_ok());
    assert_eq!(service.asked.lock().len(), 3);

    let refused = Listed { pools: vec![Err(Failure::new(FailureClass::Auth, "no"))], ..Listed::default() };
    assert_eq!(plan(&refused, &["*"], &[]).await.unwrap_err().class, FailureClass::Auth);
    assert_eq!(refused.asked.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_goes_in_a_circle_ends() {
    let service = Listed {
        pools: vec![page([pool("a")], Some("1")), page([pool("b")], Some("1"))],
        ..Listed::default()
    };
    let failure = plan(&service, &["*"], &[]).await.unwrap_err();
    assert!(failure.message.contains("loops"), "{failure}");
}

/// A node of a made-up fleet: as the lists show it, and when it vanishes, in seconds, which no planner can know.
struct Mortal {
    pool: Pool,
    node: Node,
    dies: f64,
}

/// Fleets as incidents have them: steady pools, Spot nodes that go one by one, a pool that shrinks, nodes that leave.
fn mortal_fleet(random: &mut fastrand::Rng) -> Vec<Mortal> {
    let mut fleet = Vec::new();
    let mut add = |pool: &Pool, count: usize, state: &str, dedicated: bool, dies: &mut dyn FnMut() -> f64| {
        for _ in 0..count {
            let id = format!("tvm-{:08x}", fastrand::Rng::with_seed(fleet.len() as u64).u32(..));
            let mut node = node(&id, state);
            node.facts.dedicated = Some(dedicated);
            fleet.push(Mortal { pool: pool.clone(), node, dies: dies() });
        }
    };
    let steady = pool("a-steady");
    let shrinking = Pool { shrinking: true, ..pool("b-shrinking") };
    let spot = pool("c-spot");
    let steady_nodes = random.usize(300..1500);
    add(&steady, steady_nodes, "running", true, &mut || f64::INFINITY);
    // An eviction has half a minute's notice at most, so it cannot be seen in the list; some nodes are never evicted.
    let mean = 600.0 + random.f64() * 3000.0;
    let spot_nodes = random.usize(50..300);
    add(&spot, spot_nodes, "idle", false, &mut || -mean * (1.0 - random.f64()).ln());
    let shrinking_nodes = random.usize(20..150);
    add(&shrinking, shrinking_nodes, "idle", true, &mut || 60.0 + random.f64() * 400.0);
    let leaving_nodes = random.usize(5..60);
    add(&steady, leaving_nodes, "leavingpool", true, &mut || 5.0 + random.f64() * 40.0);
    fleet
}

/// How many of the nodes that will vanish are called in time, at a rate per second. The others can wait, and
/// say nothing of an order.
fn captured(order: impl Iterator<Item = f64>, rate: f64) -> usize {
    let asked_at = (1..).map(|number| f64::from(number) / rate);
    asked_at.zip(order).filter(|(asked, dies)| asked <= dies && dies.is_finite()).count()
}

/// The most of them that anybody could capture who knew when each is gone: those that go first are asked first, and
/// whoever cannot be reached in time is not asked at all.
fn most_captured(fleet: &[Mortal], rate: f64) -> usize {
    let mut deaths: Vec<f64> =
        fleet.iter().map(|mortal| mortal.dies).filter(|dies| dies.is_finite()).collect();
    deaths.sort_by(f64::total_cmp);
    let mut asked = 0.0;
    let mut in_time = |dies: f64| {
        let reached = (asked + 1.0) / rate <= dies;
        asked += f64::from(u8::from(reached));
        reached
    };
    deaths.into_iter().filter(|dies| in_time(*dies)).count()
}

#[test]
fn endangered_first_captures_nearly_what_an_oracle_could_and_more_than_first_come() {
    let (mut ours, mut first_come, mut oracle) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let fleet = mortal_fleet(&mut random);
        let rate = 2.0 + random.f64() * 18.0;
        let mut ordered: Vec<&Mortal> = fleet.iter().collect();
        first_come += captured(ordered.iter().map(|mortal| mortal.dies), rate);
        ordered.sort_by_key(|mortal| {
            (priority(&mortal.pool, &mortal.node), mortal.pool.id.clone(), mortal.node.id.clone())
        });
        ours += captured(ordered.iter().map(|mortal| mortal.dies), rate);
        oracle += most_captured(&fleet, rate);
    }
    println!("of {oracle} that could be captured: {ours} endangered first, {first_come} first come");
    assert!(ours * 100 >= oracle * 95, "{ours} of {oracle}");
    assert!(
        first_come * 100 < oracle * 80,
        "the fleets are no test: first come captures {first_come} of {oracle}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_account_that_answers_nothing_is_given_up_soon_and_one_that_answers_is_not() {
    let busy = |status| {
        let failure = Failure { status, ..Failure::new(FailureClass::Transient, "operation timed out") };
        vec![Err(failure.clone()), Err(failure), page([pool("a")], None)]
    };
    let service = |status| Listed {
        pools: busy(status),
        nodes: vec![("a", vec![page([node("n1", "idle")], None)])],
        latency: Duration::from_secs(20),
        ..Listed::default()
    };
    let failure = plan(&service(None), &["*"], &[]).await.unwrap_err();
    assert_eq!(&*failure.message, "no answer at all within 30 s");
    assert_eq!(ids(&plan(&service(Some(503)), &["*"], &[]).await.unwrap()), ["n1"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_brings_nothing_new_is_not_read_for_ever() {
    let pages = |barren: usize| {
        let nth = |at: usize| page([pool("a")], (at < barren).then(|| (at + 1).to_string()).as_deref());
        Listed {
            pools: (0..=barren).map(nth).collect(),
            nodes: vec![("a", vec![page([node("n1", "idle")], None)])],
            ..Listed::default()
        }
    };
    assert_eq!(ids(&plan(&pages(99), &["*"], &[]).await.unwrap()), ["n1"]);
    let failure = plan(&pages(2000), &["*"], &[]).await.unwrap_err();
    assert!(failure.message.contains("100 pages brought nothing new"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn exact_nodes_are_planned_whatever_the_filters_say_and_those_gone_are_named() {
    let service = Listed {
        pools: vec![page([pool("Render"), pool("other"), pool("third")], None)],
        nodes: vec![(
            "Render",
            vec![page([node("N1", "idle"), node("n2", "unusable"), node("n3", "preempted")], None)],
        )],
        ..Listed::default()
    };
    let wanted = [("render", "n1"), ("render", "n3"), ("render", "n4"), ("gone", "n5")];
    let exact = wanted.map(|(pool, node)| NodeRef {
        account: AccountName::new("contoso"),
        pool: PoolId::new(pool),
        node: NodeId::new(node),
    });
    let selection = Selection {
        pools: PoolFilter::by_id(globs(&["third"]), globs(&[])),
        nodes: NodeFilter {
            states: Some(vec![NodeState::Unusable]),
            limit_per_pool: Some(0),
            ..NodeFilter::default()
        },
        jobs: vec![],
        exact: Some(exact.into_iter().collect()),
    };

    let plan = plan_of(&service, &selection).await.unwrap();

    assert_eq!(ids(&plan), ["N1"]);
    let left: Vec<_> = plan
        .left_out
        .iter()
        .map(|left| (left.pool.as_str(), left.node.as_ref().map(NodeId::as_str), left.reason.as_str()))
        .collect();
    let expected = [
        ("Render", Some("n2"), "id-not-selected"),
        ("Render", Some("n3"), "preempted"),
        ("gone", Some("n5"), "watched-node-gone"),
        ("other", None, "pool-not-selected"),
        ("render", Some("n4"), "watched-node-gone"),
        ("third", None, "pool-not-selected"),
    ];
    assert_eq!(left, expected);
    assert_eq!(*service.asked.lock(), ["pools 0", "Render 0"], "other pools are not listed");
}

/// Plans accounts that all want everything, with one more that is known only by name.
async fn merged(
    accounts: &[(&str, &Listed)],
    strict: bool,
    not_planned: &[PlannedAccount],
) -> Result<PlannedFleet, PlanningError> {
    let selection = Selection {
        pools: PoolFilter::by_id(globs(&["*"]), globs(&[])),
        nodes: NodeFilter::default(),
        jobs: vec![],
        exact: None,
    };
    let accounts: Vec<_> = accounts
        .iter()
        .map(|(name, service)| AccountToPlan {
            account: account(name),
            selection: &selection,
            service: *service,
        })
        .collect();
    let request = PlanRequest {
        since: None,
        retry: &RETRY,
        strict,
        not_planned,
        listener: &Nobody,
        random: fastrand::Rng::with_seed(1),
    };
    plan_fleet(crate::testing::plan_over(&[]), &accounts, request).await
}

fn listed(node_id: &str, latency: u64) -> Listed {
    Listed {
        pools: vec![page([pool("a")], None)],
        nodes: vec![("a", vec![page([node(node_id, "idle")], None)])],
        latency: Duration::from_secs(latency),
        ..Listed::default()
    }
}

fn refused() -> Listed {
    Listed { pools: vec![Err(Failure::new(FailureClass::Auth, "no role"))], ..Listed::default() }
}

#[tokio::test(start_paused = true)]
async fn accounts_stand_in_the_plan_in_the_order_of_the_config_and_one_not_listed_says_why() {
    let (slow, bad, fast) = (listed("n1", 9), refused(), listed("n2", 1));
    let unknown = PlannedAccount { unlisted: Some("no right".into()), ..account("subscription") };
    let accounts = [("slow", &slow), ("bad", &bad), ("fast", &fast)];
    let PlannedFleet { plan, unlisted } = merged(&accounts, false, &[unknown]).await.unwrap();
    let names: Vec<_> =
        plan.accounts.iter().map(|account| (account.name.as_str(), account.unlisted.as_deref())).collect();
    let expected =
        [("slow", None), ("bad", Some("no role")), ("fast", None), ("subscription", Some("no right"))];
    assert_eq!(names, expected);
    assert_eq!(plan.nodes.iter().map(|node| node.id()).collect::<Vec<_>>(), ["n1", "n2"]);
    assert_eq!(unlisted.iter().map(|account| account.position).collect::<Vec<_>>(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_lacks_something_is_refused_if_it_must_not_or_if_nothing_is_left() {
    let (good, bad) = (listed("n1", 0), refused());
    let error = merged(&[("good", &good), ("bad", &bad)], true, &[]).await.unwrap_err();
    assert!(matches!(&error, PlanningError::Unlisted(accounts) if accounts.len() == 1), "{error:?}");
    let error = merged(&[("bad", &refused())], false, &[]).await.unwrap_err();
    assert!(matches!(error, PlanningError::Unlisted(_)), "{error:?}");
    let pools = vec![page([pool("a"), pool("b")], None)];
    let broken = vec![Err(Failure::new(FailureClass::Refused, "no"))];
    let half = Listed {
        pools,
        nodes: vec![("a", vec![page([node("n1", "idle")], None)]), ("b", broken)],
        ..Listed::default()
    };
    let error = merged(&[("half", &half)], true, &[]).await.unwrap_err();
    let PlanningError::Incomplete(pools) = error else { panic!("{error:?}") };
    assert_eq!(pools, [(AccountName::new("half"), PoolId::new("b"))]);
}
