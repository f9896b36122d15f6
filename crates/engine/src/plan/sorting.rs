//! Sorts the nodes of an account into wanted ones and others, as the pages of its lists come in.

use std::io;
use std::sync::Arc;

use fleetlogs_model::evidence::{NodeEvidence, SharedFacts};
use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use fleetlogs_model::plan::{LeftOut, LeftOutReason};
use fleetlogs_model::planned::{FoundNodes, PlannedNode, PlannedPool};
use fleetlogs_model::service::{Node, Pool};
use parking_lot::{Mutex, MutexGuard};
use time::OffsetDateTime;

use super::priority::priority;
use super::reader::{SeenIds, Sight};
use crate::jobs::{TaskNodes, TaskTimes};
use crate::select::{Selection, WantedNodes, inability};
use crate::window::NodeWindows;

/// Nodes of one pool that are held with all their details; of earlier ones only the necessary part stays in memory.
pub(super) const HELD_AT_ONCE: usize = 2000;

/// Sorts nodes as their pages come in, so that no list is ever held as a whole.
pub(super) struct Sorting<'plan> {
    selection: &'plan Selection,
    now: OffsetDateTime,
    since: Option<&'plan NodeWindows>,
    /// Pools are listed side by side.
    shared: Mutex<SharedNodes>,
}

struct SharedNodes {
    places: TaskNodes,
    /// If exact nodes are planned: those that no list had yet.
    awaited: Option<WantedNodes>,
    facts: SharedFacts,
    nodes: FoundNodes,
}

/// The nodes of one pool.
pub(super) struct PoolNodes {
    pub(super) pool: Arc<PlannedPool>,
    seen: SeenIds,
    wanted: Vec<PlannedNode>,
    pub(super) left_out: Vec<LeftOut>,
    /// How many wanted nodes were kept so far.
    pub(super) count: u32,
    kept: io::Result<()>,
}

impl PoolNodes {
    pub(super) fn of(pool: PlannedPool) -> Self {
        let (wanted, left_out) = (vec![], vec![]);
        Self { pool: pool.into(), seen: SeenIds::default(), wanted, left_out, count: 0, kept: Ok(()) }
    }
}

impl<'plan> Sorting<'plan> {
    pub(super) fn new(
        selection: &'plan Selection,
        now: OffsetDateTime,
        since: Option<&'plan NodeWindows>,
        places: TaskNodes,
        awaited: Option<WantedNodes>,
        nodes: FoundNodes,
    ) -> Self {
        let facts = SharedFacts::default();
        Self { selection, now, since, shared: Mutex::new(SharedNodes { places, awaited, facts, nodes }) }
    }

    /// Returns whether the node is new.
    pub(super) fn sort(&self, node: Node, pool: &Pool, into: &mut PoolNodes) -> bool {
        let reason = match into.seen.see(node.id.as_str()) {
            Sight::First => None,
            Sight::Again => return false,
            Sight::InOtherCase => Some(LeftOutReason::ListedTwice),
        };
        let mut shared = self.shared();
        let SharedNodes { places, awaited, facts, .. } = &mut *shared;
        let jobs = &self.selection.jobs;
        let ran = if reason.is_none() {
            places.take(&pool.id, &node.id, &node.recent_tasks, jobs, self.now)
        } else {
            None
        };
        let of_no_job = (!jobs.is_empty() && ran.is_none()).then_some(LeftOutReason::NoTaskOfJob);
        let is_awaited = awaited.as_mut().map(|awaited| awaited.take(&pool.id, &node.id));
        let reason = reason.or_else(|| match is_awaited {
            Some(false) => Some(LeftOutReason::IdNotSelected),
            Some(true) => of_no_job.or_else(|| inability(&node)),
            None => of_no_job.or_else(|| self.selection.nodes.unwanted(&node, self.now)),
        });
        if let Some(reason) = reason {
            let entry = left(&into.pool.account, &pool.id, Some(&node.id), reason);
            let evidence = reason.is_inability().then(|| Box::new(NodeEvidence::of(node, facts)));
            into.left_out.push(LeftOut { evidence, ..entry });
            return reason != LeftOutReason::ListedTwice;
        }
        let mut node = PlannedNode {
            place: into.pool.clone(),
            priority: priority(pool, &node),
            node: node.id.clone(),
            evidence: NodeEvidence::of(node, facts),
            window: None,
            ran: ran.and_then(|TaskTimes(ran)| ran).map(Box::new),
        };
        node.window = self.since.map(|since| since.of(&node, self.now).into());
        into.wanted.push(node);
        drop(shared);
        if into.wanted.len() >= HELD_AT_ONCE && self.selection.nodes.limit_per_pool.is_none() {
            self.keep(into);
        }
        true
    }

    /// Moves the wanted nodes to where they take little memory. In order, so that they can be read back with few calls.
    fn keep(&self, from: &mut PoolNodes) {
        from.wanted.sort_by(|x, y| (x.priority, &x.node).cmp(&(y.priority, &y.node)));
        let nodes = &mut self.shared().nodes;
        for node in from.wanted.drain(..) {
            if from.kept.is_ok() {
                from.kept = nodes.push(&node);
                from.count += 1;
            }
        }
    }

    /// The pool is listed completely: keeps the wanted nodes, or a sample of them.
    pub(super) fn complete(&self, mut pool: PoolNodes) -> io::Result<PoolNodes> {
        let wanted = std::mem::take(&mut pool.wanted);
        let (sample, rest) = match self.selection.exact {
            Some(_) => (wanted, vec![]),
            None => self.selection.nodes.sample(wanted),
        };
        pool.wanted = sample;
        self.keep(&mut pool);
        for node in rest {
            let (account, id) = (node.account(), node.pool());
            pool.left_out.push(left(account, id, Some(&node.node), LeftOutReason::NotInSample));
        }
        std::mem::replace(&mut pool.kept, Ok(())).map(|()| pool)
    }

    /// The wanted nodes of all pools, and the wanted ones that no list had, each with its reason.
    pub(super) fn into_nodes(self) -> (FoundNodes, Vec<(PoolId, NodeId, LeftOutReason)>) {
        let SharedNodes { places, awaited, nodes, .. } = self.shared.into_inner();
        (nodes, gone(places, awaited, self.selection))
    }

    fn shared(&self) -> MutexGuard<'_, SharedNodes> {
        self.shared.lock()
    }
}

/// Nodes that no list had, although they are wanted by id or tasks of wanted jobs ran on them.
fn gone(
    places: TaskNodes,
    awaited: Option<WantedNodes>,
    selection: &Selection,
) -> Vec<(PoolId, NodeId, LeftOutReason)> {
    match awaited {
        Some(awaited) => {
            awaited.gone().map(|(pool, node)| (pool, node, LeftOutReason::WatchedNodeGone)).collect()
        }
        None => (places.gone().into_iter())
            .filter(|place| selection.pools.wants_id(&place.pool))
            .map(|place| (place.pool, place.node, LeftOutReason::JobNodeGone))
            .collect(),
    }
}

/// An entry about a pool, or one of its nodes, that is left out.
pub(super) fn left(
    account: &AccountName,
    pool: &PoolId,
    node: Option<&NodeId>,
    reason: LeftOutReason,
) -> LeftOut {
    LeftOut {
        account: account.clone(),
        pool: pool.clone(),
        node: node.cloned(),
        reason,
        cause: None,
        evidence: None,
    }
}
