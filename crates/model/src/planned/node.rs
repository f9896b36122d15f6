//! A node of a plan with everything known about it, and its form in plan.json.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use super::pool::PlannedPool;
use crate::evidence::NodeEvidence;
use crate::ids::{AccountName, NodeId, NodeRef, PoolId};
use crate::node_facts::{NodeError, NodeFacts, NodeState, RecentTask, StartTaskResult};
use crate::scrub;
use crate::window::Window;

/// A node that will be called, as it was at plan time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "PlannedNodeRead")]
pub struct PlannedNode {
    /// Its place.
    pub place: Arc<PlannedPool>,
    /// The node.
    pub node: NodeId,
    /// The reason for its position in the order.
    pub priority: Priority,
    /// What the service reported about it.
    pub evidence: NodeEvidence,
    /// Its time range, if it has one of its own.
    pub window: Option<Box<Window>>,
    /// When the tasks ran for which it was selected.
    pub ran: Option<Box<Window>>,
}

/// A planned node in the form in which plan.json is written.
#[derive(Serialize)]
struct PlannedNodeText<'a> {
    account: &'a AccountName,
    pool: &'a PoolId,
    node: &'a NodeId,
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<&'a str>,
    #[serde(flatten)]
    evidence: &'a NodeEvidence,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<&'a Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<&'a Window>,
}

impl Serialize for PlannedNode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { place, node, priority, evidence, window, ran } = self;
        let text = PlannedNodeText {
            account: &place.account,
            pool: &place.pool,
            node,
            priority: *priority,
            os: place.os.as_deref(),
            evidence,
            window: window.as_deref(),
            ran: ran.as_deref(),
        };
        text.serialize(serializer)
    }
}

/// A planned node in the form in which plan.json is read. Unlike in writing, nothing is flattened: serde buffers what
/// it may have to pass to a flattened member, and a plan has up to a million nodes.
#[derive(Deserialize)]
struct PlannedNodeRead {
    account: AccountName,
    pool: PoolId,
    node: NodeId,
    priority: Priority,
    os: Option<Arc<str>>,
    #[serde(default, with = "crate::timestamp::exact::option")]
    state_since: Option<OffsetDateTime>,
    #[serde(default, with = "crate::timestamp::exact::option")]
    allocation_time: Option<OffsetDateTime>,
    #[serde(default, with = "crate::timestamp::exact::option")]
    last_boot_time: Option<OffsetDateTime>,
    #[serde(default)]
    recent_tasks: Box<[RecentTask]>,
    state: Option<NodeState>,
    dedicated: Option<bool>,
    scheduling_enabled: Option<bool>,
    #[serde(default, deserialize_with = "scrub::shared")]
    agent_version: Option<Arc<str>>,
    #[serde(default, deserialize_with = "scrub::shared")]
    image: Option<Arc<str>>,
    #[serde(default)]
    errors: Vec<NodeError>,
    start_task: Option<StartTaskResult>,
    window: Option<Box<Window>>,
    ran: Option<Box<Window>>,
}

impl From<PlannedNodeRead> for PlannedNode {
    fn from(read: PlannedNodeRead) -> Self {
        let place = PlannedPool { os: read.os, ..PlannedPool::bare(read.account, read.pool) };
        let facts = NodeFacts {
            state: read.state,
            dedicated: read.dedicated,
            scheduling_enabled: read.scheduling_enabled,
            agent_version: read.agent_version,
            image: read.image,
            errors: read.errors,
            start_task: read.start_task,
        };
        let evidence = NodeEvidence {
            state_since: read.state_since,
            allocation_time: read.allocation_time,
            last_boot_time: read.last_boot_time,
            recent_tasks: read.recent_tasks,
            facts: facts.into(),
        };
        Self {
            place: place.into(),
            node: read.node,
            priority: read.priority,
            evidence,
            window: read.window,
            ran: read.ran,
        }
    }
}

impl PlannedNode {
    /// A node about which nothing is known.
    #[must_use]
    pub fn bare(place: Arc<PlannedPool>, node: NodeId) -> Self {
        let evidence = NodeEvidence::default();
        Self { place, node, priority: Priority::Ordinary, evidence, window: None, ran: None }
    }

    /// Its Batch account.
    #[must_use]
    pub fn account(&self) -> &AccountName {
        &self.place.account
    }

    /// Its pool.
    #[must_use]
    pub fn pool(&self) -> &PoolId {
        &self.place.pool
    }

    /// Its place.
    #[must_use]
    pub fn at(&self) -> NodeRef {
        let (account, pool) = (self.account().clone(), self.pool().clone());
        NodeRef { account, pool, node: self.node.clone() }
    }
}

/// Why a node is called early or late. The first ones in this list are called first: they are about to disappear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// It is leaving its pool.
    Leaving,
    /// Its pool is being deleted or is losing nodes.
    PoolShrinking,
    /// A Spot node, which can be pre-empted at any moment.
    Spot,
    /// The service reports errors for it, or it is unusable.
    HasErrors,
    /// Nothing special.
    Ordinary,
    /// It is booting, or the service lost contact with it: there is little hope now, so it is called last.
    OutOfReach,
}
