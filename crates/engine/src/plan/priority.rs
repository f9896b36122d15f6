//! How urgent a node is: which are called first.

use fleetlogs_model::planned::Priority;
use fleetlogs_model::service::{Node, NodeState, Pool};

/// How urgent a node is.
pub(crate) fn priority(pool: &Pool, node: &Node) -> Priority {
    match &node.facts.state {
        Some(NodeState::LeavingPool) => Priority::Leaving,
        Some(
            NodeState::Unknown
            | NodeState::Creating
            | NodeState::Starting
            | NodeState::Rebooting
            | NodeState::Reimaging
            | NodeState::UpgradingOs,
        ) => Priority::OutOfReach,
        _ if pool.deleting || pool.shrinking => Priority::PoolShrinking,
        _ if node.facts.dedicated == Some(false) => Priority::Spot,
        Some(NodeState::Unusable | NodeState::StartTaskFailed) => Priority::HasErrors,
        _ if !node.facts.errors.is_empty() => Priority::HasErrors,
        _ => Priority::Ordinary,
    }
}
