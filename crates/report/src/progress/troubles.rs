//! What goes wrong during a run, grouped by cause, as in the summary at the end.
//!
//! It needs two bytes a node, to withdraw a problem when its node is called again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::ledger::{Ledger, NodeStatus};
use fleetlogs_model::outcome::{Outcome, Shortfall};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::PlannedPool;

use crate::cause::{Cause, MOST_CAUSES, MOST_EXAMPLES, STORAGE_BLOCKED, folded};
use crate::trouble::Trouble;

/// Accepted calls from which a pool counts as silent.
const SILENT_FROM: u64 = 3;
/// A pool counts as silent after this multiple of the longest time that any node took, and after this time at least.
const SILENT_FACTOR: u32 = 2;
const SILENT_AT_LEAST: Duration = Duration::from_secs(15);

/// Troubles so far.
pub(crate) struct Troubles {
    plan: Arc<Plan>,
    found: Vec<FoundTrouble>,
    at: HashMap<Key, u16>,
    /// For each node, one more than the position of its problem in `found`; 0 for none.
    of_node: Vec<u16>,
    pools: HashMap<usize, Arrivals>,
}

/// Pool, outcome and folded reason. The pool is identified by its address: all nodes of a pool share one.
type Key = (usize, Outcome, String);

struct FoundTrouble {
    pool: Arc<PlannedPool>,
    outcome: Outcome,
    reason: String,
    nothing_came: bool,
    nodes: u64,
    examples: Vec<NodeIndex>,
}

/// What is known of the files of a pool.
#[derive(Default)]
struct Arrivals {
    delivered: bool,
    told: bool,
    /// Nodes that accepted a call and promised files, and since when the first of them is awaited.
    accepted: u64,
    first_accepted: Option<(NodeIndex, Instant)>,
}

impl Arrivals {
    fn accept(&mut self, node: NodeIndex, at: Instant) {
        self.accepted += 1;
        self.first_accepted.get_or_insert((node, at));
    }
}

/// A pool from which nothing has come while others deliver.
pub(crate) struct SilentPool {
    pub(crate) pool: Arc<PlannedPool>,
    pub(crate) accepted: u64,
    pub(crate) since: Duration,
}

impl Troubles {
    /// What the ledger knows of pools that deliver is known from the start. Nodes that it counts as accepted are awaited
    /// from now on.
    pub(crate) fn new(plan: Arc<Plan>, ledger: &Ledger, now: Instant) -> Self {
        let of_node = vec![0; plan.nodes.len()];
        let mut pools = HashMap::<usize, Arrivals>::new();
        for (at, node) in (0..).zip(plan.nodes.iter()) {
            let pool = address(node.place);
            match ledger.status(NodeIndex(at)) {
                NodeStatus::Verified | NodeStatus::Adopted => pools.entry(pool).or_default().delivered = true,
                NodeStatus::Accepted => pools.entry(pool).or_default().accept(NodeIndex(at), now),
                NodeStatus::Planned
                | NodeStatus::Requested
                | NodeStatus::Waiting
                | NodeStatus::InDoubt
                | NodeStatus::Empty
                | NodeStatus::Incomplete
                | NodeStatus::Failed
                | NodeStatus::Gone => {}
            }
        }
        Self { plan, found: vec![], at: HashMap::new(), of_node, pools }
    }

    /// Takes an event in, which happened at this time.
    pub(crate) fn hear(&mut self, recorded: &Recorded, at: Instant) {
        let Some(node) = recorded.node else { return };
        match &recorded.event {
            Event::UploadRequested { .. } => self.take_back(node),
            Event::UploadFailed { cause, .. } => {
                let gone = cause.class == FailureClass::Gone;
                let outcome = if gone { Outcome::Gone } else { Outcome::Failed };
                self.add(node, outcome, &cause.to_string(), false);
            }
            Event::UploadAccepted { files: Some(1..), .. } => {
                self.arrivals(node).accept(node, at);
            }
            Event::FilesVerified { files: 1.., .. } => self.arrivals(node).delivered = true,
            Event::FilesAdopted { reason, .. } => {
                self.arrivals(node).delivered = true;
                self.add(node, Outcome::Adopted, reason, false);
            }
            Event::FilesIncomplete { files, reason, shortfall, .. } => {
                self.arrivals(node).delivered |= *files > 0;
                // Journals of earlier versions do not say what is wrong.
                let nothing_came = shortfall.map_or(*files == 0, |why| why == Shortfall::NothingArrived);
                self.add(node, Outcome::Incomplete, reason, nothing_came);
            }
            Event::RunStarted { .. }
            | Event::UploadCancelled { .. }
            | Event::UploadAccepted { .. }
            | Event::UploadWillRetry { .. }
            | Event::UploadInDoubt { .. }
            | Event::UploadAbsent { .. }
            | Event::UploadAdopted { .. }
            | Event::DirectoriesFound { .. }
            | Event::IdentityChanged { .. }
            | Event::NodeSeenAgain { .. }
            | Event::PoolSeenAgain { .. }
            | Event::NodesAppeared { .. }
            | Event::OrderFollowed { .. }
            | Event::FilesVerified { .. }
            | Event::AccountThrottled { .. }
            | Event::AccountStopped { .. }
            | Event::RunDraining { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    fn arrivals(&mut self, node: NodeIndex) -> &mut Arrivals {
        self.pools.entry(address(self.plan.node(node).place)).or_default()
    }

    fn add(&mut self, node: NodeIndex, outcome: Outcome, reason: &str, nothing_came: bool) {
        self.take_back(node);
        let planned = self.plan.node(node);
        let reason = if nothing_came { STORAGE_BLOCKED.into() } else { folded(reason, &planned.id()) };
        let key = (address(planned.place), outcome, reason);
        let at = match self.at.get(&key) {
            Some(at) => *at,
            // Nobody reads that many causes; the counts by outcome include all nodes.
            None if self.found.len() >= MOST_CAUSES => return,
            None => {
                let pool = planned.place.clone();
                let reason = key.2.clone();
                self.found.push(FoundTrouble {
                    pool,
                    outcome,
                    reason,
                    nothing_came,
                    nodes: 0,
                    examples: vec![],
                });
                let at = u16::try_from(self.found.len()).unwrap_or(u16::MAX);
                self.at.insert(key, at);
                at
            }
        };
        let found = &mut self.found[usize::from(at) - 1];
        found.nodes += 1;
        if found.examples.len() < MOST_EXAMPLES {
            found.examples.push(node);
        }
        self.of_node[node.get()] = at;
    }

    /// The node is called again, so its earlier problem no longer counts.
    fn take_back(&mut self, node: NodeIndex) {
        let at = std::mem::take(&mut self.of_node[node.get()]);
        if let Some(found) = usize::from(at).checked_sub(1).map(|at| &mut self.found[at]) {
            found.nodes -= 1;
            found.examples.retain(|example| *example != node);
        }
    }

    /// The troubles, those with the most nodes first.
    pub(crate) fn folded(&self) -> Vec<Trouble> {
        self.folded_of(|_| true)
    }

    /// Pools newly found to have blocked storage. Each is returned once.
    pub(crate) fn newly_blocked(&mut self) -> Vec<Trouble> {
        let mut news = BTreeSet::new();
        for found in self.found.iter().filter(|found| found.nothing_came && found.nodes > 0) {
            let arrivals = self.pools.entry(address(&found.pool)).or_default();
            if !arrivals.delivered && !std::mem::replace(&mut arrivals.told, true) {
                news.insert(address(&found.pool));
            }
        }
        if news.is_empty() {
            return vec![];
        }
        self.folded_of(|found| found.nothing_came && news.contains(&address(&found.pool)))
    }

    /// Pools from which nothing has come although their nodes accepted calls long ago, compared with what other nodes
    /// of this run took at most. Each is returned once, and not again when its deadline passes.
    pub(crate) fn newly_silent(&mut self, seen: Duration, now: Instant) -> Vec<SilentPool> {
        let patience = (seen * SILENT_FACTOR).max(SILENT_AT_LEAST);
        let mut silent = vec![];
        for arrivals in self.pools.values_mut() {
            let Arrivals { delivered: false, told: false, accepted, first_accepted: Some((node, at)) } =
                *arrivals
            else {
                continue;
            };
            let since = now.saturating_duration_since(at);
            if accepted >= SILENT_FROM && since > patience {
                arrivals.told = true;
                silent.push(SilentPool { pool: self.plan.node(node).place.clone(), accepted, since });
            }
        }
        silent.sort_by(|one, other| {
            (&one.pool.account, &one.pool.pool).cmp(&(&other.pool.account, &other.pool.pool))
        });
        silent
    }

    fn folded_of(&self, wanted: impl Fn(&FoundTrouble) -> bool) -> Vec<Trouble> {
        let mut shown: Vec<&FoundTrouble> =
            self.found.iter().filter(|found| found.nodes > 0 && wanted(found)).collect();
        shown.sort_by_key(|found| (&found.pool.account, &found.pool.pool));
        let causes: Vec<Cause> = shown.into_iter().map(|found| self.cause(found)).collect();
        Trouble::fold(&causes)
    }

    fn cause(&self, found: &FoundTrouble) -> Cause {
        let delivered = self.pools.get(&address(&found.pool)).is_some_and(|pool| pool.delivered);
        // If files of other nodes in the pool arrived, it is not blocked.
        let reason = if found.nothing_came && delivered { "no file arrived" } else { &found.reason };
        Cause {
            outcome: found.outcome,
            reason: reason.into(),
            code: None,
            shortfall: None,
            account: found.pool.account.clone(),
            pools: vec![found.pool.pool.clone()],
            nodes: found.nodes,
            examples: found.examples.iter().map(|node| self.plan.node(*node).at()).collect(),
        }
    }
}

fn address(pool: &Arc<PlannedPool>) -> usize {
    Arc::as_ptr(pool).addr()
}
