//! A node of a plan, with all that is known of it, and its form in plan.json.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pool::PlannedPool;
use crate::evidence::NodeEvidence;
use crate::ids::{AccountName, NodeId, NodeRef, PoolId};
use crate::window::Window;

/// A node that will be asked, as it was at plan time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PlannedNodeText", into = "PlannedNodeText")]
pub struct PlannedNode {
    /// Where it is.
    pub place: Arc<PlannedPool>,
    /// The node.
    pub node: NodeId,
    /// Why it stands where it stands in the order.
    pub priority: Priority,
    /// What the service said of it.
    pub evidence: NodeEvidence,
    /// The time range it is asked for, where it has one of its own.
    pub window: Option<Box<Window>>,
    /// When the tasks ran that it was chosen for.
    pub ran: Option<Box<Window>>,
}

/// A planned node as plan.json has it.
#[derive(Serialize, Deserialize)]
struct PlannedNodeText {
    account: AccountName,
    pool: PoolId,
    node: NodeId,
    priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os: Option<Arc<str>>,
    #[serde(flatten)]
    evidence: NodeEvidence,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Box<Window>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ran: Option<Box<Window>>,
}

impl From<PlannedNodeText> for PlannedNode {
    fn from(text: PlannedNodeText) -> Self {
        let place = PlannedPool { os: text.os, ..PlannedPool::bare(text.account, text.pool) };
        Self {
            place: place.into(),
            node: text.node,
            priority: text.priority,
            evidence: text.evidence,
            window: text.window,
            ran: text.ran,
        }
    }
}

impl From<PlannedNode> for PlannedNodeText {
    fn from(node: PlannedNode) -> Self {
        Self {
            account: node.place.account.clone(),
            pool: node.place.pool.clone(),
            node: node.node,
            priority: node.priority,
            os: node.place.os.clone(),
            evidence: node.evidence,
            window: node.window,
            ran: node.ran,
        }
    }
}

impl PlannedNode {
    /// A node of which nothing is known.
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

    /// Where it is.
    #[must_use]
    pub fn at(&self) -> NodeRef {
        let (account, pool) = (self.account().clone(), self.pool().clone());
        NodeRef { account, pool, node: self.node.clone() }
    }
}

/// Why a node is asked early or late. The first listed are asked first: they are about to vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// It is leaving its pool.
    Leaving,
    /// Its pool is being deleted or loses nodes.
    PoolShrinking,
    /// A Spot node, which can be taken away at any moment.
    Spot,
    /// The service reports errors on it, or it is unusable.
    HasErrors,
    /// Nothing special.
    Ordinary,
    /// It is booting, or the service lost contact with it: little hope now, so it is asked last.
    OutOfReach,
}
