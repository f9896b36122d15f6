//! The frozen plan: the fixed denominator of a run.
//!
//! Once written it does not change. Nodes are in the order in which they will be called; a node that was seen and
//! skipped is listed with the reason.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::evidence::NodeEvidence;
use crate::ids::{AccountIndex, AccountName, NodeId, NodeIndex, NodeRef, PoolId, RunId};
use crate::json_stream::JsonStream;
use crate::planned::{NodeAt, PlannedNodes, PlannedPool, Spool};
use crate::snapshot::SnapshotRef;
use crate::window::Window;

/// Version of the plan's JSON form. A reader refuses any other.
pub const PLAN_SCHEMA: &str = "fleetlogs.plan/v1";

/// Which nodes will be called, which will not and why; frozen before the first upload call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_SCHEMA`].
    pub schema: String,
    /// The run this plan was made for.
    pub run_id: RunId,
    /// Version of fleetlogs that created it.
    pub tool_version: String,
    /// When it was frozen.
    #[serde(with = "crate::timestamp::exact")]
    pub created_at: OffsetDateTime,
    /// SHA-256 of the config file, in hex.
    pub config_digest: String,
    /// The snapshot of the run; none for a run started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotRef>,
    /// The time range for every node that has none of its own; if nodes have their own, it contains all of them.
    pub window: Window,
    /// The container, without the query that authorizes.
    pub destination: String,
    /// The accounts, including those that could not be listed.
    pub accounts: Vec<PlannedAccount>,
    /// The pools whose nodes were listed. Plans of earlier versions do not name them.
    #[serde(default)]
    pub pools: Vec<Arc<PlannedPool>>,
    /// The nodes, in the order in which they will be called.
    // Read apart, by `Plan::from_json`, as the next member is.
    #[serde(skip_deserializing)]
    pub nodes: PlannedNodes,
    /// Nodes (and whole pools) that were seen and skipped.
    #[serde(skip_deserializing)]
    pub left_out: Vec<LeftOut>,
}

impl Plan {
    /// What the plan says of its run, without accounts, pools and nodes.
    #[must_use]
    pub fn head(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            run_id: self.run_id.clone(),
            tool_version: self.tool_version.clone(),
            created_at: self.created_at,
            config_digest: self.config_digest.clone(),
            snapshot: self.snapshot.clone(),
            window: self.window,
            destination: self.destination.clone(),
            accounts: vec![],
            pools: vec![],
            nodes: PlannedNodes::default(),
            left_out: vec![],
        }
    }
}

/// An account of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedAccount {
    /// Its name in the config.
    pub name: AccountName,
    /// Its endpoint.
    pub endpoint: String,
    /// The api-version used for it.
    pub api_version: String,
    /// Pools that were listed.
    pub pools: u32,
    /// Nodes that are in the plan.
    pub nodes: u32,
    /// List calls that planning made.
    pub list_calls: u32,
    /// Why the account could not be listed; the plan then has none of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlisted: Option<String>,
    /// Which of its pools could not be listed, and why; the plan has none of their nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl PlannedAccount {
    /// Whether every selected part of it could be listed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unlisted.is_none() && self.missing.is_none()
    }
}

/// A node, or a whole pool, that was seen and not planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The Batch account.
    pub account: AccountName,
    /// The pool.
    pub pool: PoolId,
    /// The node; none if the whole pool is skipped.
    pub node: Option<NodeId>,
    /// The reason.
    pub reason: LeftOutReason,
    /// Why a pool could not be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<str>>,
    /// What is known about a node that cannot upload anything: of its logs, nothing else is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<NodeEvidence>>,
}

impl LeftOutReason {
    /// Whether the node could not have uploaded anything, selected or not.
    #[must_use]
    pub fn is_inability(self) -> bool {
        matches!(self, Self::NoAgentYet | Self::Preempted | Self::Deallocated)
    }
}

/// The closed list of reasons for skipping a node or pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOutReason {
    /// The config's `pools` and `exclude_pools` do not select this pool.
    PoolNotSelected,
    /// The pool disappeared while it was being listed.
    PoolGone,
    /// The pool's nodes could not be listed. The run is partial.
    PoolNotListed,
    /// It was in the list twice (ids compare without regard to case); the plan has it once.
    ListedTwice,
    /// The config's `nodes.states` does not select this node's state.
    StateNotSelected,
    /// The config's `nodes.ids` and `nodes.exclude` do not select this node.
    IdNotSelected,
    /// The config selects dedicated nodes or Spot nodes (`nodes.kind`), and this node is of the other kind.
    KindNotSelected,
    /// The config's `nodes.scheduling` does not select this node.
    SchedulingNotSelected,
    /// The config's `nodes.errors` does not select this node.
    ErrorsNotSelected,
    /// The config's `nodes.start_task_failed` does not select this node.
    StartTaskNotSelected,
    /// The config's `nodes.older_than` and `nodes.newer_than` do not select this node.
    AgeNotSelected,
    /// The config's `nodes.limit_per_pool` selected others of the pool.
    NotInSample,
    /// No task of the selected jobs ran on this node, or in this pool.
    NoTaskOfJob,
    /// Tasks of the selected jobs ran on this node, and it no longer exists.
    JobNodeGone,
    /// The run is for exactly this node, which entered a watched state, and it no longer exists.
    WatchedNodeGone,
    /// The node is being created: no agent runs on it yet.
    NoAgentYet,
    /// A Spot node that was pre-empted: there is no VM.
    Preempted,
    /// The node is stopped or being stopped: no agent runs on it.
    Deallocated,
}

impl LeftOutReason {
    /// The name used in every file and table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PoolNotSelected => "pool-not-selected",
            Self::PoolGone => "pool-gone",
            Self::PoolNotListed => "pool-not-listed",
            Self::ListedTwice => "listed-twice",
            Self::StateNotSelected => "state-not-selected",
            Self::IdNotSelected => "id-not-selected",
            Self::KindNotSelected => "kind-not-selected",
            Self::SchedulingNotSelected => "scheduling-not-selected",
            Self::ErrorsNotSelected => "errors-not-selected",
            Self::StartTaskNotSelected => "start-task-not-selected",
            Self::AgeNotSelected => "age-not-selected",
            Self::NotInSample => "not-in-sample",
            Self::NoTaskOfJob => "no-task-of-job",
            Self::JobNodeGone => "job-node-gone",
            Self::WatchedNodeGone => "watched-node-gone",
            Self::NoAgentYet => "no-agent-yet",
            Self::Preempted => "preempted",
            Self::Deallocated => "deallocated",
        }
    }

    /// For people: the name, and what it means where the name alone does not say it.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        if self == Self::NoAgentYet { "still starting (no-agent-yet)" } else { self.as_str() }
    }
}

/// The text is not a plan that this version can execute.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not JSON, or not in the form of a plan.
    #[error("not a plan: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("the plan has schema `{0}`, but this fleetlogs reads `{PLAN_SCHEMA}`")]
    Schema(String),
    /// A node names an account that the plan does not list.
    #[error("node `{0}` belongs to an account that the plan does not list")]
    UnknownAccount(NodeRef),
    /// The plan lists the same node twice, so it would be called twice.
    #[error("the plan lists node `{0}` twice")]
    Twice(NodeRef),
}

impl Plan {
    /// Reads a plan and checks that this version can execute it. The text is never held in memory, as it has a kilobyte
    /// for each node; what is known about the nodes goes into the spool.
    pub fn from_json(text: impl Read, spool: Box<dyn Spool>) -> Result<Self, PlanError> {
        let mut object = JsonStream::open(text)?;
        let (mut spool, mut nodes, mut left_out) = (Some(spool), None, None);
        // Everything else: the members of the plan that are small.
        let mut rest = b"{".to_vec();
        while let Some(name) = object.next_name()? {
            if name == "nodes"
                && let Some(spool) = spool.take()
            {
                nodes = Some(PlannedNodes::read(&mut object, spool)?);
                continue;
            }
            if name == "left_out" && left_out.is_none() {
                let all = left_out.insert(Vec::new());
                object.items(|left: LeftOut| {
                    all.push(left);
                    Ok(())
                })?;
                continue;
            }
            let text = object.text()?;
            if name == "schema" {
                let schema: String = serde_json::from_slice(text)?;
                // Another version may have other members.
                if schema != PLAN_SCHEMA {
                    return Err(PlanError::Schema(schema));
                }
            }
            if rest.len() > 1 {
                rest.push(b',');
            }
            serde_json::to_writer(&mut rest, &name)?;
            rest.push(b':');
            rest.extend_from_slice(text);
        }
        rest.push(b'}');
        let mut plan: Self = serde_json::from_slice(&rest)?;
        let missing = <serde_json::Error as serde::de::Error>::missing_field;
        plan.nodes = nodes.ok_or_else(|| missing("nodes"))?;
        plan.left_out = left_out.ok_or_else(|| missing("left_out"))?;
        plan.nodes.share(&plan.pools);
        plan.check()?;
        Ok(plan)
    }

    /// Every node is of an account of the plan, and there once.
    fn check(&self) -> Result<(), PlanError> {
        let mut known = None;
        for node in self.nodes.iter().filter(|node| known.replace(node.account()) != Some(node.account())) {
            if self.account_index(node.account()).is_none() {
                return Err(PlanError::UnknownAccount(node.at()));
            }
        }
        // Numbers first: names of a million nodes in a set would take more memory than the plan.
        let hasher = RandomState::new();
        let number = |node: &NodeAt<'_>| hasher.hash_one((node.account(), node.pool(), node.id()));
        let mut numbers: Vec<u64> = self.nodes.iter().map(|node| number(&node)).collect();
        numbers.sort_unstable();
        let twice: HashSet<u64> =
            numbers.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let mut seen = HashSet::new();
        let mut alike = self.nodes.iter().filter(|node| !twice.is_empty() && twice.contains(&number(node)));
        match alike.find(|node| !seen.insert((node.account(), node.pool(), node.id()))) {
            Some(node) => Err(PlanError::Twice(node.at())),
            None => Ok(()),
        }
    }

    /// The pools that could not be listed; the plan has none of their nodes.
    pub fn unlisted_pools(&self) -> impl Iterator<Item = &LeftOut> {
        self.left_out.iter().filter(|left| left.reason == LeftOutReason::PoolNotListed)
    }

    /// Whether every selected account and pool could be listed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.accounts.iter().all(PlannedAccount::is_whole) && self.unlisted_pools().next().is_none()
    }

    /// The node at a position. Positions come from this plan, so it always exists.
    #[must_use]
    pub fn node(&self, index: NodeIndex) -> NodeAt<'_> {
        self.nodes.get(index)
    }

    /// All positions with their nodes, in order.
    pub fn indexed(&self) -> impl Iterator<Item = (NodeIndex, NodeAt<'_>)> {
        (0..).map(NodeIndex).zip(self.nodes.iter())
    }

    /// The position of an account.
    #[must_use]
    pub fn account_index(&self, name: &AccountName) -> Option<AccountIndex> {
        (0..)
            .map(AccountIndex)
            .zip(&self.accounts)
            .find(|(_, account)| account.name == *name)
            .map(|(at, _)| at)
    }

    /// For each node, the position of its account.
    #[must_use]
    pub fn accounts_of_nodes(&self) -> Vec<AccountIndex> {
        let index = |node: &NodeAt<'_>| {
            self.account_index(node.account()).expect("a plan lists the accounts of its nodes")
        };
        let mut last: Option<(&AccountName, AccountIndex)> = None;
        self.nodes
            .iter()
            .map(|node| match last {
                Some((name, at)) if name == node.account() => at,
                _ => {
                    let at = index(&node);
                    last = Some((node.account(), at));
                    at
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::evidence::NodeFacts;
    use crate::planned::PlannedNode;
    use crate::service::NodeState;

    fn plan_of(nodes: &[&str]) -> Plan {
        let now = datetime!(2026-11-22 09:30:00 UTC);
        let pool = PlannedPool {
            os: Some("batch.node.ubuntu 22.04".into()),
            ..PlannedPool::bare(AccountName::new("contoso"), PoolId::new("Render"))
        };
        let place = Arc::new(pool);
        let facts = Arc::new(NodeFacts { state: Some(NodeState::Idle), ..NodeFacts::default() });
        let node = |id: &&str| PlannedNode {
            evidence: NodeEvidence {
                allocation_time: Some(now),
                facts: facts.clone(),
                ..NodeEvidence::default()
            },
            ..PlannedNode::bare(place.clone(), NodeId::new(*id))
        };
        Plan {
            schema: PLAN_SCHEMA.into(),
            run_id: RunId::new(now, 7),
            tool_version: "0.0.0".into(),
            created_at: now,
            config_digest: "00".into(),
            snapshot: None,
            window: Window { start: now, end: now },
            destination: "https://logs.blob.core.windows.net/logs".into(),
            accounts: vec![PlannedAccount {
                name: AccountName::new("contoso"),
                endpoint: "https://contoso.westeurope.batch.azure.com".into(),
                api_version: "2024-07-01.20.0".into(),
                pools: 1,
                nodes: u32::try_from(nodes.len()).unwrap(),
                list_calls: 2,
                unlisted: None,
                missing: None,
            }],
            pools: vec![place.clone()],
            nodes: nodes.iter().map(node).collect(),
            left_out: vec![],
        }
    }

    fn read(plan: &Plan) -> Result<Plan, PlanError> {
        let text = std::io::Cursor::new(serde_json::to_vec(plan).unwrap());
        Plan::from_json(text, Box::new(std::io::Cursor::new(vec![])))
    }

    #[test]
    fn a_plan_survives_a_round_trip_and_shares_its_names() {
        let plan = plan_of(&["tvm-1", "tvm-2"]);
        let read = read(&plan).unwrap();
        let details = |plan: &Plan| plan.nodes.details().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(details(&read), details(&plan));
        assert_eq!(read.accounts, plan.accounts);
        assert_eq!(read.pools, plan.pools);
        let (first, second) = (read.node(NodeIndex(0)), read.node(NodeIndex(1)));
        assert!(Arc::ptr_eq(first.place, second.place) && Arc::ptr_eq(first.place, &read.pools[0]));
        assert_eq!((&*first.id(), &*second.id()), ("tvm-1", "tvm-2"));
        assert_eq!(first.marks, plan.node(NodeIndex(0)).marks);
    }

    #[test]
    fn plans_of_other_versions_and_doubled_nodes_are_refused() {
        let mut plan = plan_of(&["tvm-1", "tvm-1"]);
        let twice = read(&plan).unwrap_err();
        assert_eq!(twice.to_string(), "the plan lists node `contoso/Render/tvm-1` twice");
        plan.schema = "fleetlogs.plan/v9".into();
        let other = read(&plan).unwrap_err();
        assert!(other.to_string().contains("fleetlogs.plan/v9"), "{other}");
    }
}
