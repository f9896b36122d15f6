//! The nodes of one account while it is being listed.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::node::PlannedNode;
use super::pool::PlannedPool;
use super::{NodeAt, PlannedNodes};
use crate::ids::NodeIndex;

/// The nodes of an account, pushed as they are found and sorted when all are known.
#[derive(Debug)]
pub struct FoundNodes {
    /// In the order in which they were pushed.
    pub(super) nodes: PlannedNodes,
    /// Where the line of each node begins, and how long it is.
    lines: Vec<(u64, u32)>,
    /// Empty until the nodes are sorted.
    pub(super) order: Vec<u32>,
}

impl FoundNodes {
    /// No nodes yet; their details go into the spool of the plan that will [take](PlannedNodes::append) them.
    #[must_use]
    pub fn beside(plan: &PlannedNodes) -> Self {
        Self { nodes: plan.beside(), lines: vec![], order: vec![] }
    }

    /// Adds a node.
    ///
    /// # Errors
    /// The temporary file cannot be written; or there are more nodes than can be counted.
    pub fn push(&mut self, node: &PlannedNode) -> io::Result<()> {
        self.nodes.push_slot(node)?;
        let line = self.nodes.details.text().push(node)?;
        let length = u32::try_from(line.end - line.start).map_err(io::Error::other)?;
        self.lines.push((line.start, length));
        Ok(())
    }

    /// Sorts by priority, then by what `order` returns for the pool, then by id. A pool for which it returns nothing
    /// is dropped with its nodes.
    pub fn sort(&mut self, order: impl Fn(&Arc<PlannedPool>) -> Option<usize>) {
        let pools: Vec<Option<usize>> = self.nodes.places.iter().map(order).collect();
        let pool = |at: u32| pools[self.nodes.slot(at as usize).place as usize];
        let key = |at: u32| {
            let node = self.nodes.get(NodeIndex(at));
            (node.priority, pool(at), node.id())
        };
        // All were counted when they were pushed.
        let all = 0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.order = all.filter(|at| pool(*at).is_some()).collect();
        self.order.sort_by_cached_key(|at| key(*at));
    }

    /// Number of sorted nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are no sorted nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeAt<'_>> {
        self.order.iter().map(|at| self.nodes.get(NodeIndex(*at)))
    }

    /// Where the line of a node is.
    pub(super) fn line(&self, at: u32) -> Range<u64> {
        let (begins, length) = self.lines[at as usize];
        begins..begins + u64::from(length)
    }
}
