//! The nodes of one pool that a plan knows: shows which of them a later list lacks, and which nodes are new in it.

use std::collections::HashMap;
use std::ops::Range;

use fleetlogs_model::ids::{NodeId, NodeIndex};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::PlannedPool;

/// The nodes of one pool, by id without regard to case.
pub(crate) struct Roster {
    known: HashMap<Box<str>, RosterEntry>,
    appeared: Vec<NodeId>,
}

struct RosterEntry {
    /// None for a node that the plan left out.
    index: Option<NodeIndex>,
    seen: bool,
}

impl Roster {
    /// `among` are positions that hold all nodes of the pool, and may hold others.
    pub(crate) fn of(plan: &Plan, pool: &PlannedPool, among: Range<u32>) -> Self {
        let mut roster = Self { known: HashMap::new(), appeared: vec![] };
        let is_of_pool = |other: &PlannedPool| {
            std::ptr::eq(other, pool) || (other.pool == pool.pool && other.account == pool.account)
        };
        for index in among.map(NodeIndex) {
            let node = plan.node(index);
            if is_of_pool(node.place) {
                roster.known.insert(key(&node.id()), RosterEntry { index: Some(index), seen: false });
            }
        }
        for left in &plan.left_out {
            if left.pool == pool.pool && left.account == pool.account {
                let Some(node) = &left.node else { continue };
                roster.known.entry(key(node.as_str())).or_insert(RosterEntry { index: None, seen: false });
            }
        }
        roster
    }

    /// Notes that a list has a node. Returns the node's position in the plan.
    pub(crate) fn see(&mut self, node: &NodeId) -> Option<NodeIndex> {
        let key = key(node.as_str());
        if let Some(known) = self.known.get_mut(&key) {
            known.seen = true;
            return known.index;
        }
        self.appeared.push(node.clone());
        self.known.insert(key, RosterEntry { index: None, seen: true });
        None
    }

    /// Nodes of the plan that no list had.
    pub(crate) fn missing(&self) -> impl Iterator<Item = NodeIndex> {
        self.known.values().filter(|known| !known.seen).filter_map(|known| known.index)
    }

    /// Nodes that were not there when the plan was made.
    pub(crate) fn into_appeared(self) -> Vec<NodeId> {
        self.appeared
    }
}

fn key(node: &str) -> Box<str> {
    node.to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::{AccountName, PoolId};
    use fleetlogs_model::plan::{LeftOut, LeftOutReason};

    use super::*;
    use crate::testing::plan_over;

    #[test]
    fn who_is_new_was_neither_planned_nor_left_out() {
        let mut plan = plan_over(&[("contoso", 3), ("fabrikam", 2)]);
        plan.left_out.push(LeftOut {
            account: AccountName::new("contoso"),
            pool: PoolId::new("Pool"),
            node: Some(NodeId::new("stopped")),
            reason: LeftOutReason::Deallocated,
            cause: None,
            evidence: None,
        });
        let mut roster = Roster::of(&plan, plan.node(NodeIndex(0)).place, 0..5);
        let found: Vec<_> =
            ["N1", "new", "stopped", "NEW", "n1"].map(|id| roster.see(&NodeId::new(id))).into();
        assert_eq!(found, [Some(NodeIndex(1)), None, None, None, Some(NodeIndex(1))]);
        let mut missing: Vec<_> = roster.missing().collect();
        missing.sort();
        assert_eq!(missing, [NodeIndex(0), NodeIndex(2)]);
        assert_eq!(roster.into_appeared(), [NodeId::new("new")]);
    }
}
