//! Which pools and nodes of an account are wanted, and why the others are not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::ids::{AccountName, NodeId, NodeRef, PoolId};
use fleetlogs_model::plan::LeftOutReason;
use fleetlogs_model::planned::PlannedNode;
use fleetlogs_model::service::{Node, NodeState, Pool, StartTaskResult};
use globset::{GlobMatcher, GlobSet};
use time::OffsetDateTime;

use crate::jobs::JobFilter;

/// Which pools and nodes of an account are wanted. A filter that is not set lets everything pass.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Which pools.
    pub pools: PoolFilter,
    /// Which nodes in those pools.
    pub nodes: NodeFilter,
    /// Only nodes that tasks of these jobs ran on; empty for all.
    pub jobs: Vec<JobFilter>,
    /// Exactly these nodes, regardless of the filters of pools and nodes; none for all nodes that the filters want.
    pub exact: Option<ExactNodes>,
}

/// Nodes that are wanted by id. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ExactNodes(Arc<HashMap<AccountName, WantedNodes>>);

/// Nodes of one account that are wanted and were not seen yet: by pool and by id, without regard to case.
#[derive(Clone, Debug, Default)]
pub(crate) struct WantedNodes(HashMap<String, HashMap<String, (PoolId, NodeId)>>);

impl FromIterator<NodeRef> for ExactNodes {
    fn from_iter<I: IntoIterator<Item = NodeRef>>(nodes: I) -> Self {
        let mut accounts: HashMap<AccountName, WantedNodes> = HashMap::new();
        for NodeRef { account, pool, node } in nodes {
            let pools = &mut accounts.entry(account).or_default().0;
            let of_pool = pools.entry(pool.as_str().to_ascii_lowercase()).or_default();
            of_pool.insert(node.as_str().to_ascii_lowercase(), (pool, node));
        }
        Self(Arc::new(accounts))
    }
}

impl ExactNodes {
    /// The accounts that have any of them.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountName> {
        self.0.keys()
    }

    pub(crate) fn of(&self, account: &AccountName) -> WantedNodes {
        self.0.get(account).cloned().unwrap_or_default()
    }
}

impl WantedNodes {
    pub(crate) fn in_pool(&self, pool: &PoolId) -> bool {
        self.0.contains_key(&pool.as_str().to_ascii_lowercase())
    }

    /// Whether a node is one of them, and was not seen before.
    pub(crate) fn take(&mut self, pool: &PoolId, node: &NodeId) -> bool {
        let of_pool = self.0.get_mut(&pool.as_str().to_ascii_lowercase());
        of_pool.is_some_and(|nodes| nodes.remove(&node.as_str().to_ascii_lowercase()).is_some())
    }

    /// Those that were not seen.
    pub(crate) fn gone(self) -> impl Iterator<Item = (PoolId, NodeId)> {
        self.0.into_values().flat_map(HashMap::into_values)
    }
}

/// What a pool must be to be wanted.
#[derive(Clone, Debug)]
pub struct PoolFilter {
    /// Ids, as globs.
    pub ids: GlobSet,
    /// Ids to leave out, as globs.
    pub exclude: GlobSet,
    /// Ids, as globs of the command line, which narrow what the config wants.
    pub only: Option<GlobSet>,
    /// `ids` as they were written, for messages: the set does not know them.
    pub ids_written: Vec<String>,
    /// `only` as they were written.
    pub only_written: Vec<String>,
    /// Metadata that it must have: names, and globs for their values.
    pub metadata: Vec<(String, GlobMatcher)>,
    /// Allocation states (`steady`, `resizing`, `stopping`), in lower case.
    pub allocation_states: Option<Vec<String>>,
    /// VM sizes, as globs, in lower case.
    pub vm_sizes: Option<GlobSet>,
    /// Node agent SKUs, which name the operating system, as globs, in lower case.
    pub os: Option<GlobSet>,
}

/// What a node must be to be wanted.
#[derive(Clone, Debug, Default)]
pub struct NodeFilter {
    /// States; none for every state in which the call can work.
    pub states: Option<Vec<NodeState>>,
    /// Ids, as globs.
    pub ids: Option<GlobSet>,
    /// Ids to leave out, as globs.
    pub exclude: Option<GlobSet>,
    /// Ids, as globs of the command line, which narrow what the config wants.
    pub only: Option<GlobSet>,
    /// `only` as they were written, for messages.
    pub only_written: Vec<String>,
    /// Dedicated nodes, or Spot nodes.
    pub dedicated: Option<bool>,
    /// Whether tasks may be scheduled on it.
    pub scheduling: Option<bool>,
    /// Whether the service reports errors on it.
    pub errors: Option<bool>,
    /// Whether its start task failed.
    pub start_task_failed: Option<bool>,
    /// Allocated at least this long before the plan.
    pub older_than: Option<Duration>,
    /// Allocated at most this long before the plan.
    pub newer_than: Option<Duration>,
    /// At most this many nodes of each pool, spread over all that pass the other filters.
    pub limit_per_pool: Option<usize>,
    /// Decides which nodes these are: the same seed takes the same nodes.
    pub seed: u64,
}

impl PoolFilter {
    /// Pools by their ids alone.
    #[must_use]
    pub fn by_id(ids: GlobSet, exclude: GlobSet) -> Self {
        Self {
            ids,
            exclude,
            only: None,
            ids_written: vec![],
            only_written: vec![],
            metadata: vec![],
            allocation_states: None,
            vm_sizes: None,
            os: None,
        }
    }

    /// Whether a pool of this id may be wanted.
    #[must_use]
    pub fn wants_id(&self, id: &PoolId) -> bool {
        let id = id.as_str();
        self.ids.is_match(id)
            && !self.exclude.is_match(id)
            && self.only.as_ref().is_none_or(|only| only.is_match(id))
    }

    /// Whether the pool is wanted.
    #[must_use]
    pub fn wants(&self, pool: &Pool) -> bool {
        let has = |(name, value): &(String, GlobMatcher)| {
            pool.metadata.iter().any(|(known, text)| known == name && value.is_match(text))
        };
        let fits = |set: &Option<GlobSet>, text: &Option<String>| {
            set.as_ref().is_none_or(|set| text.as_ref().is_some_and(|text| set.is_match(text.to_lowercase())))
        };
        let in_state = self.allocation_states.as_ref().is_none_or(|states| {
            pool.allocation_state.as_ref().is_some_and(|state| states.contains(&state.to_lowercase()))
        });
        self.wants_id(&pool.id)
            && self.metadata.iter().all(has)
            && in_state
            && fits(&self.vm_sizes, &pool.vm_size)
            && fits(&self.os, &pool.os)
    }
}

impl NodeFilter {
    /// Why a node is not wanted; none if it is. A fact that the service does not report passes no filter.
    #[must_use]
    pub fn unwanted(&self, node: &Node, now: OffsetDateTime) -> Option<LeftOutReason> {
        use LeftOutReason as R;
        let id = node.id.as_str();
        let misses = |ids: &Option<GlobSet>| ids.as_ref().is_some_and(|ids| !ids.is_match(id));
        if misses(&self.ids)
            || misses(&self.only)
            || self.exclude.as_ref().is_some_and(|ids| ids.is_match(id))
        {
            return Some(R::IdNotSelected);
        }
        if let Some(reason) = self.unwanted_state(node) {
            return Some(reason);
        }
        let differs = |wanted: Option<bool>, is: Option<bool>| wanted.is_some() && wanted != is;
        let failed = node.facts.state == Some(NodeState::StartTaskFailed)
            || node.facts.start_task.as_ref().is_some_and(StartTaskResult::failed);
        if differs(self.dedicated, node.facts.dedicated) {
            return Some(R::KindNotSelected);
        }
        if differs(self.scheduling, node.facts.scheduling_enabled) {
            return Some(R::SchedulingNotSelected);
        }
        if differs(self.errors, Some(!node.facts.errors.is_empty())) {
            return Some(R::ErrorsNotSelected);
        }
        if differs(self.start_task_failed, Some(failed)) {
            return Some(R::StartTaskNotSelected);
        }
        let age = node.allocation_time.map(|since| now - since);
        let too_young = |least: Duration| age.is_none_or(|age| age < least);
        let too_old = |most: Duration| age.is_none_or(|age| age > most);
        if self.older_than.is_some_and(too_young) || self.newer_than.is_some_and(too_old) {
            return Some(R::AgeNotSelected);
        }
        None
    }

    fn unwanted_state(&self, node: &Node) -> Option<LeftOutReason> {
        match &self.states {
            Some(states) => {
                let wanted = node.facts.state.as_ref().is_some_and(|state| states.contains(state));
                (!wanted).then_some(LeftOutReason::StateNotSelected)
            }
            None => inability(node),
        }
    }

    /// Splits the nodes of a pool into a sample and the rest. The sample is spread evenly over the ids, because
    /// neighbours in a list often share a rack and the hour of their allocation.
    #[must_use]
    pub fn sample(&self, mut nodes: Vec<PlannedNode>) -> (Vec<PlannedNode>, Vec<PlannedNode>) {
        let Some(limit) = self.limit_per_pool.filter(|limit| *limit < nodes.len()) else {
            return (nodes, vec![]);
        };
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        let count = nodes.len();
        // One from each of `limit` stretches of equal length, at a position that the seed decides.
        let mut random = fastrand::Rng::with_seed(self.seed);
        let taken: Vec<usize> = (0..limit)
            .map(|stretch| {
                let (from, to) = (stretch * count / limit, (stretch + 1) * count / limit);
                random.usize(from..to)
            })
            .collect();
        let (mut sample, mut rest) = (Vec::with_capacity(limit), Vec::with_capacity(count - limit));
        for (at, node) in nodes.into_iter().enumerate() {
            if taken.binary_search(&at).is_ok() { sample.push(node) } else { rest.push(node) }
        }
        (sample, rest)
    }
}

/// Why a node cannot answer, by its state; none if it may.
pub(crate) fn inability(node: &Node) -> Option<LeftOutReason> {
    match node.facts.state.as_ref()? {
        NodeState::Creating => Some(LeftOutReason::NoAgentYet),
        NodeState::Preempted => Some(LeftOutReason::Preempted),
        NodeState::Deallocating | NodeState::Deallocated => Some(LeftOutReason::Deallocated),
        NodeState::Idle
        | NodeState::Running
        | NodeState::Starting
        | NodeState::Rebooting
        | NodeState::Reimaging
        | NodeState::UpgradingOs
        | NodeState::Unusable
        | NodeState::WaitingForStartTask
        | NodeState::StartTaskFailed
        | NodeState::Unknown
        | NodeState::LeavingPool
        | NodeState::Offline
        | NodeState::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::NodeId;
    use fleetlogs_model::node_facts::NodeFacts;
    use fleetlogs_model::service::NodeError;
    use globset::{Glob, GlobSetBuilder};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{NOW, plan_of};

    fn set(patterns: &[&str]) -> GlobSet {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(Glob::new(pattern).unwrap());
        }
        set.build().unwrap()
    }

    #[test]
    fn a_pool_must_fit_every_filter() {
        let pool = Pool {
            vm_size: Some("STANDARD_D4s_v5".into()),
            os: Some("batch.node.ubuntu 22.04".into()),
            allocation_state: Some("Steady".into()),
            metadata: vec![("team".into(), "render-eu".into())],
            ..Pool::bare(PoolId::new("render-1"))
        };
        let base = PoolFilter::by_id(set(&["render-*"]), set(&["*-test"]));
        let with = |change: fn(&mut PoolFilter)| {
            let mut filter = base.clone();
            change(&mut filter);
            filter.wants(&pool)
        };
        assert!(base.wants(&pool));
        assert!(with(|f| f.vm_sizes = Some(set(&["standard_d*"]))));
        assert!(!with(|f| f.vm_sizes = Some(set(&["standard_e*"]))));
        assert!(with(|f| f.os = Some(set(&["*ubuntu*"]))));
        assert!(!with(|f| f.os = Some(set(&["*windows*"]))));
        assert!(with(|f| f.allocation_states = Some(vec!["steady".into()])));
        assert!(!with(|f| f.allocation_states = Some(vec!["resizing".into()])));
        let metadata = |value: &str| vec![("team".to_owned(), Glob::new(value).unwrap().compile_matcher())];
        assert!(PoolFilter { metadata: metadata("render-*"), ..base.clone() }.wants(&pool));
        assert!(!PoolFilter { metadata: metadata("sim"), ..base.clone() }.wants(&pool));
        assert!(!base.wants(&Pool::bare(PoolId::new("render-test"))));
    }

    #[test]
    fn each_filter_of_nodes_has_its_own_reason() {
        let node = Node {
            facts: NodeFacts {
                state: Some(NodeState::Idle),
                dedicated: Some(true),
                scheduling_enabled: Some(true),
                ..NodeFacts::default()
            },
            allocation_time: Some(NOW - time::Duration::hours(5)),
            ..Node::bare(NodeId::new("tvm-1"))
        };
        let why = |filter: NodeFilter| filter.unwanted(&node, NOW).map(LeftOutReason::as_str);
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let all = NodeFilter::default;
        assert_eq!(why(all()), None);
        assert_eq!(why(NodeFilter { ids: Some(set(&["tvm-2*"])), ..all() }), Some("id-not-selected"));
        assert_eq!(why(NodeFilter { exclude: Some(set(&["tvm*"])), ..all() }), Some("id-not-selected"));
        assert_eq!(
            why(NodeFilter { states: Some(vec![NodeState::Running]), ..all() }),
            Some("state-not-selected")
        );
        assert_eq!(why(NodeFilter { dedicated: Some(false), ..all() }), Some("kind-not-selected"));
        assert_eq!(why(NodeFilter { scheduling: Some(false), ..all() }), Some("scheduling-not-selected"));
        assert_eq!(why(NodeFilter { errors: Some(true), ..all() }), Some("errors-not-selected"));
        assert_eq!(
            why(NodeFilter { start_task_failed: Some(true), ..all() }),
            Some("start-task-not-selected")
        );
        assert_eq!(why(NodeFilter { older_than: hours(6), ..all() }), Some("age-not-selected"));
        assert_eq!(why(NodeFilter { newer_than: hours(4), ..all() }), Some("age-not-selected"));
        assert_eq!(
            why(NodeFilter { older_than: hours(4), newer_than: hours(6), errors: Some(false), ..all() }),
            None
        );
    }

    #[test]
    fn a_start_task_failed_by_state_or_by_its_result() {
        let filter = NodeFilter { start_task_failed: Some(true), ..NodeFilter::default() };
        let by_state = Node::in_state(NodeId::new("a"), NodeState::StartTaskFailed);
        let result = StartTaskResult { state: None, result: Some("Failure".into()), exit_code: Some(1) };
        let mut by_result = Node::bare(NodeId::new("a"));
        by_result.facts.start_task = Some(result);
        assert_eq!(filter.unwanted(&by_state, NOW), None);
        assert_eq!(filter.unwanted(&by_result, NOW), None);
    }

    #[test]
    fn a_sample_is_spread_and_the_same_for_the_same_seed() {
        let nodes = || plan_of(100).nodes.details().map(Result::unwrap).collect::<Vec<_>>();
        let filter = NodeFilter { limit_per_pool: Some(10), seed: 7, ..NodeFilter::default() };
        let (sample, rest) = filter.sample(nodes());
        assert_eq!((sample.len(), rest.len()), (10, 90));
        assert_eq!(filter.sample(nodes()).0, sample);
        let other = NodeFilter { seed: 8, ..filter.clone() };
        assert_ne!(other.sample(nodes()).0, sample);
        let mut ids: Vec<_> = nodes().into_iter().map(|node| node.node).collect();
        ids.sort();
        for (stretch, node) in ids.chunks(10).zip(&sample) {
            assert!(stretch.contains(&node.node), "one of every ten");
        }
    }

    proptest! {
        /// A node is taken or left out, and a filter that wants everything leaves out only what cannot answer.
        #[test]
        fn whatever_a_node_is_it_is_taken_or_has_one_reason(
            state in 0_usize..16, dedicated in any::<Option<bool>>(), scheduling in any::<Option<bool>>(),
            errors in 0_usize..3, age in proptest::option::of(0_i64..100),
            wants_dedicated in any::<Option<bool>>(), wants_scheduling in any::<Option<bool>>(),
            wants_errors in any::<Option<bool>>(), limit in proptest::option::of(1_usize..20),
        ) {
            let state = NodeState::from(NodeState::known().nth(state).unwrap().to_owned());
            let error = NodeError { code: "DiskFull".into(), message: String::new() };
            let node = Node {
                facts: NodeFacts {
                    state: Some(state), dedicated, scheduling_enabled: scheduling,
                    errors: vec![error; errors],
                    ..NodeFacts::default()
                },
                allocation_time: age.map(|hours| NOW - time::Duration::hours(hours)),
                ..Node::bare(NodeId::new("n"))
            };
            let filter = NodeFilter {
                dedicated: wants_dedicated, scheduling: wants_scheduling, errors: wants_errors,
                limit_per_pool: limit, ..NodeFilter::default()
            };
            let reason = filter.unwanted(&node, NOW);
            let fits = wants_dedicated.is_none_or(|wanted| dedicated == Some(wanted))
                && wants_scheduling.is_none_or(|wanted| scheduling == Some(wanted))
                && wants_errors.is_none_or(|wanted| wanted == (errors > 0));
            let answers = NodeFilter::default().unwanted(&node, NOW).is_none();
            prop_assert_eq!(reason.is_none(), fits && answers);
            let (sample, rest) = filter.sample(plan_of(15).nodes.details().map(Result::unwrap).collect());
            prop_assert_eq!(sample.len() + rest.len(), 15);
            prop_assert!(limit.is_none_or(|limit| sample.len() == limit.min(15)));
        }
    }
}
