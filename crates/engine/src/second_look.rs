//! A second look at the nodes that were called: whether each is still the node that was planned, and what the service
//! says about it now.
//!
//! A node can be re-imaged, rebooted or replaced under the same id between the list and its upload; its logs are then
//! not those of the incident. So the pools are listed once more, a thousand nodes a call, when every call is answered;
//! the files may not have arrived yet.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::event::{Event, NodeIdentity, Recorded};
use fleetlogs_model::event_sink::EventSink;
use fleetlogs_model::evidence::{NodeEvidence, SharedFacts};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{AccountName, NodeIndex, PoolId};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::planned::Marks;
use fleetlogs_model::retry::RetryPolicy;
use fleetlogs_model::service::{BatchService, PageLink};

use futures::StreamExt;
use parking_lot::Mutex;

use crate::event_log::NotRecorded;
use crate::plan::reader::Reader;
use crate::roster::Roster;
use crate::run::Run;
use crate::stop::Stop;

/// Pools that are listed side by side.
const POOLS_AT_ONCE: usize = 4;

/// How long all of it may take: the files are what the run is for.
const LONGEST: Duration = Duration::from_secs(120);

/// Looks at `taken`, the nodes that accepted a call, and records which are no longer the planned node, and which nodes
/// are new in their pools. A pool that cannot be listed is skipped: the run has its files already.
pub async fn look_again<B: BatchService>(
    run: &Run,
    services: &[Option<Arc<B>>],
    retry: &RetryPolicy,
    mut taken: Vec<NodeIndex>,
    mut random: fastrand::Rng,
) {
    taken.sort_unstable();
    taken.dedup();
    // Each account with the positions in the plan that hold its nodes.
    let mut pools: BTreeMap<(&AccountName, &PoolId), NodeIndex> = BTreeMap::new();
    for index in &taken {
        let node = run.plan.node(*index);
        pools.entry((node.account(), node.pool())).or_insert(*index);
    }
    let mut accounts: BTreeMap<&AccountName, Range<u32>> = BTreeMap::new();
    for (index, node) in run.plan.indexed() {
        let range = accounts.entry(node.account()).or_insert(index.0..index.0);
        range.end = index.0 + 1;
    }
    let (taken, accounts) = (&taken, &accounts);
    let pools = pools.into_iter().map(|pool| (pool, random.fork()));
    let look = |(((account, pool), first), random): ((_, NodeIndex), _)| async move {
        let service = run.plan.account_index(account).and_then(|at| services.get(at.get())?.as_ref());
        let Some(service) = service else { return };
        let place = &run.plan.node(first).place;
        let roster = Roster::of(&run.plan, place, accounts[account].clone());
        let reader = Reader::new(account, retry, random);
        if let Ok(Err(failure)) = compare(run, &**service, &reader, (account, pool), roster, taken).await {
            tracing::warn!(%account, %pool, %failure, "whether its nodes are still the same is unknown: they cannot be listed again");
        }
    };
    tokio::select! {
        () = futures::stream::iter(pools).for_each_concurrent(POOLS_AT_ONCE, look) => {}
        () = run.stop.reached(Stop::Drain) => {}
        () = tokio::time::sleep(LONGEST) => {
            tracing::warn!("whether all nodes are still the same is unknown: listing them again takes too long");
        }
    }
}

/// The nodes that accepted a call so far.
#[derive(Clone, Default)]
pub struct AcceptedNodes(Arc<Mutex<Vec<u64>>>);

impl AcceptedNodes {
    /// Starts with the nodes that accepted a call in an earlier process.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let nodes = u32::try_from(ledger.outcomes().total()).unwrap_or(u32::MAX);
        let mut taken = vec![0; (nodes as usize).div_ceil(64)];
        for node in (0..nodes).map(NodeIndex).filter(|node| ledger.status(*node).is_accepted()) {
            mark(&mut taken, node);
        }
        Self(Arc::new(Mutex::new(taken)))
    }

    /// The nodes known so far.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeIndex> {
        let taken = self.0.lock();
        let nodes = (0..).zip(&*taken).flat_map(|(word, bits)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| NodeIndex(word * 64 + bit))
        });
        nodes.collect()
    }
}

/// Sets the bit of a node.
fn mark(taken: &mut [u64], node: NodeIndex) {
    if let Some(word) = taken.get_mut(node.get() / 64) {
        *word |= 1 << (node.0 % 64);
    }
}

impl EventSink for AcceptedNodes {
    fn hear(&mut self, events: &[Recorded], _: &Ledger) {
        let taken = events.iter().filter(|recorded| {
            matches!(recorded.event, Event::UploadAccepted { .. } | Event::UploadAdopted { .. })
        });
        let mut marked = self.0.lock();
        taken.filter_map(|recorded| recorded.node).for_each(|node| mark(&mut marked, node));
    }
}

/// Reads the pool's nodes page by page.
async fn compare<B: BatchService>(
    run: &Run,
    service: &B,
    reader: &Reader<'_>,
    (account, pool): (&AccountName, &PoolId),
    mut roster: Roster,
    taken: &[NodeIndex],
) -> Result<Result<(), Failure>, NotRecorded> {
    let is_taken = |index: &NodeIndex| taken.binary_search(index).is_ok();
    let mut facts = SharedFacts::default();
    let mut recorded = Ok(());
    let read = reader
        .each(
            |page: Option<PageLink>| async move { service.list_nodes(pool, page.as_ref()).await },
            |node| {
                let index = roster.see(&node.id);
                if let (Some(index), Ok(())) = (index.filter(is_taken), recorded) {
                    recorded = note_changes(run, index, &NodeEvidence::of(node, &mut facts));
                }
                // A repetition in the list does not matter: the whole look is bounded in time.
                true
            },
        )
        .await;
    recorded?;
    match read {
        Ok(()) => {}
        // The pool is gone, and its nodes with it.
        Err(failure) if failure.class == FailureClass::Gone => {}
        Err(failure) => return Ok(Err(failure)),
    }
    for index in roster.missing().filter(is_taken) {
        run.log.note(Some(index), Event::IdentityChanged { now: None })?;
    }
    let (account, pool) = (account.clone(), pool.clone());
    run.log.note(None, Event::PoolSeenAgain { account: account.clone(), pool: pool.clone() })?;
    let nodes = roster.into_appeared();
    if !nodes.is_empty() {
        run.log.note(None, Event::NodesAppeared { account, pool, nodes })?;
    }
    Ok(Ok(()))
}

fn note_changes(run: &Run, index: NodeIndex, now: &NodeEvidence) -> Result<(), NotRecorded> {
    let (planned, marks) = (run.plan.node(index).marks, Marks::of(now));
    if planned.is_of_another(marks) {
        let now = NodeIdentity {
            state: now.facts.state.clone(),
            allocation_time: now.allocation_time,
            last_boot_time: now.last_boot_time,
        };
        run.log.note(Some(index), Event::IdentityChanged { now: Some(now) })?;
    }
    if planned != marks {
        run.log.note(Some(index), Event::NodeSeenAgain { now: now.clone().into() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::NodeId;
    use fleetlogs_model::planned::PlannedNode;
    use fleetlogs_model::service::{Accepted, Node, NodeState, Page, Pool, UploadOrder};

    use super::*;
    use crate::clock::Clock;
    use crate::event_log::{EventLog, Heard, LogMode};
    use crate::run::UploadSlots;
    use crate::stop::StopHandle;
    use crate::testing::{NOW, VolatileJournal, plan_of};

    /// A pool as it is now; returns the failure if there is no pool, and does not answer if it is empty. The first
    /// call is throttled.
    struct Now(Result<Vec<Node>, FailureClass>, Mutex<bool>);

    impl BatchService for Now {
        async fn list_pools(&self, _: Option<&PageLink>) -> Result<Page<Pool>, Failure> {
            unreachable!("only nodes are listed")
        }

        async fn list_nodes(&self, _: &PoolId, page: Option<&PageLink>) -> Result<Page<Node>, Failure> {
            if !std::mem::replace(&mut *self.1.lock(), true) {
                return Err(Failure { status: Some(429), ..Failure::new(FailureClass::Throttled, "busy") });
            }
            let all = self.0.clone().map_err(|class| Failure::new(class, "down"))?;
            if all.is_empty() {
                std::future::pending::<()>().await;
            }
            // One a page, to see that pages are followed.
            let at: usize = page.map_or(0, |link| link.0.parse().unwrap());
            let next = (at + 1 < all.len()).then(|| PageLink((at + 1).to_string()));
            Ok(Page { items: all[at..=at].to_vec(), next })
        }

        async fn get_node(&self, _: &PoolId, _: &NodeId) -> Result<Node, Failure> {
            unreachable!("only nodes are listed")
        }

        async fn upload_logs(
            &self,
            _: &PoolId,
            _: &NodeId,
            _: &UploadOrder,
            _: uuid::Uuid,
            _: Duration,
        ) -> Result<Accepted, Failure> {
            unreachable!("no call is sent")
        }
    }

    /// What is recorded when nodes 0 to 3 of five were taken.
    async fn events(now: Result<Vec<Node>, FailureClass>) -> Vec<(Option<u32>, Event)> {
        let mut plan = plan_of(5);
        let born = |mut node: PlannedNode| {
            node.evidence.allocation_time = Some(NOW - time::Duration::days(1));
            node.evidence.last_boot_time = Some(NOW - time::Duration::hours(1));
            node
        };
        plan.nodes = plan.nodes.details().map(|node| born(node.unwrap())).collect();
        let heard = Heard::default();
        let clock = Clock::Since(NOW, tokio::time::Instant::now());
        let stop = StopHandle::default();
        let listeners: Vec<Box<dyn EventSink>> = vec![Box::new(heard.clone())];
        let (journal, ledger) = (Box::new(VolatileJournal), Ledger::new(&plan));
        let (log, _) = EventLog::open(LogMode::Inline, journal, ledger, listeners, clock, stop.clone());
        let slots = UploadSlots::new(None);
        let run = Run {
            plan: Arc::new(plan),
            log,
            stop,
            clock,
            slots,
            guard: crate::tenure_guard::TenureGuard::default(),
            claims: Arc::default(),
        };
        let retry = RetryPolicy {
            attempts: 2,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(1),
        };
        let services = [Some(Arc::new(Now(now, Mutex::default())))];
        look_again(
            &run,
            &services,
            &retry,
            [2, 1, 0, 3, 1].map(NodeIndex).into(),
            fastrand::Rng::with_seed(2),
        )
        .await;
        let event = |recorded: Recorded| (recorded.node.map(|node| node.0), recorded.event);
        heard.events().into_iter().map(event).collect()
    }

    async fn changes(now: Result<Vec<Node>, FailureClass>) -> Vec<(u32, Option<NodeIdentity>)> {
        let change = |(node, event)| match event {
            Event::IdentityChanged { now } => Some((node?, now)),
            _ => None,
        };
        let mut changes: Vec<_> = events(now).await.into_iter().filter_map(change).collect();
        changes.sort_by_key(|(node, _)| *node);
        changes
    }

    fn node(id: &str, booted_hours_ago: i64) -> Node {
        Node {
            allocation_time: Some(NOW - time::Duration::days(1)),
            last_boot_time: Some(NOW - time::Duration::hours(booted_hours_ago)),
            ..Node::in_state(NodeId::new(id), NodeState::Idle)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_booted_anew_or_are_gone_are_put_on_record_and_no_others() {
        let mut silent = node("n2", 1);
        silent.last_boot_time = None;
        let found = changes(Ok(vec![node("n0", 1), node("N1", 0), silent, node("other", 0)])).await;
        assert_eq!(found.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(found[0].1.as_ref().unwrap().last_boot_time, Some(NOW));
        assert_eq!(found[1].1, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_service_says_otherwise_now_is_evidence_and_who_is_new_is_named() {
        let mut unusable = node("n1", 1);
        unusable.facts.state = Some(NodeState::Unusable);
        let nodes = vec![node("n0", 1), unusable, node("n2", 1), node("n3", 1), node("n4", 0), node("n9", 1)];
        let found = events(Ok(nodes)).await;
        let (account, pool) = (AccountName::new("contoso"), PoolId::new("Pool"));
        let [(Some(1), Event::NodeSeenAgain { now }), (None, seen), (None, appeared)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(now.facts.state, Some(NodeState::Unusable));
        assert_eq!(*seen, Event::PoolSeenAgain { account: account.clone(), pool: pool.clone() });
        assert_eq!(*appeared, Event::NodesAppeared { account, pool, nodes: vec![NodeId::new("n9")] });
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_is_gone_took_its_nodes_along() {
        let found = changes(Err(FailureClass::Gone)).await;
        assert_eq!(found, [(0, None), (1, None), (2, None), (3, None)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_does_not_come_keeps_no_run_from_its_end() {
        let started = tokio::time::Instant::now();
        assert_eq!(events(Ok(vec![])).await, []);
        assert!(started.elapsed() >= LONGEST && started.elapsed() < LONGEST + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_cannot_be_listed_says_nothing_of_its_nodes() {
        assert_eq!(events(Err(FailureClass::Transient)).await, []);
    }
}
