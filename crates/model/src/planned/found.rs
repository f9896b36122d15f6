//! The nodes of one account while it is being listed.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::details::{READ_AT_ONCE, Spool};
use super::node::PlannedNode;
use super::pool::PlannedPool;
use super::{NodeAt, PlannedNodes};
use crate::ids::NodeIndex;

/// The nodes of an account, pushed as they are found and sorted when all are known.
#[derive(Debug, Default)]
pub struct FoundNodes {
    /// In the order in which they were pushed.
    pub(super) nodes: PlannedNodes,
    /// Where the line of each node ends.
    line_ends: Vec<u64>,
    /// Empty until the nodes are sorted.
    pub(super) order: Vec<u32>,
}

impl FoundNodes {
    /// No nodes yet; their details go into a spool.
    #[must_use]
    pub fn spooled(spool: Box<dyn Spool>) -> Self {
        Self { nodes: PlannedNodes::spooled(spool), ..Self::default() }
    }

    /// Adds a node.
    ///
    /// # Errors
    /// The temporary file cannot be written; or there are more nodes than can be counted.
    pub fn push(&mut self, node: &PlannedNode) -> io::Result<()> {
        self.nodes.push(node)?;
        self.line_ends.push(self.nodes.details.end());
        Ok(())
    }

    /// Sorts by priority, then by what `order` returns for the pool, then by id. A pool for which it returns nothing
    /// is dropped with its nodes.
    pub fn sort(&mut self, order: impl Fn(&Arc<PlannedPool>) -> Option<usize>) {
        let pools: Vec<Option<usize>> = self.nodes.places.iter().map(order).collect();
        let pool = |at: u32| pools[self.nodes.slots[at as usize].place as usize];
        let key = |at: u32| {
            let node = self.nodes.get(NodeIndex(at));
            (node.priority, pool(at), node.id)
        };
        // All were counted when they were pushed.
        let all = 0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.order = all.filter(|at| pool(*at).is_some()).collect();
        self.order.sort_by(|x, y| key(*x).cmp(&key(*y)));
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

    /// Where the lines of the nodes are, in order: adjacent lines are read together, up to the size of one read.
    pub(super) fn stretches(&self) -> impl Iterator<Item = Range<u64>> {
        let mut lines = self.order.iter().map(|at| self.line(*at as usize)).peekable();
        std::iter::from_fn(move || {
            let mut stretch = lines.next()?;
            let joins = |stretch: &Range<u64>, line: &Range<u64>| {
                line.start == stretch.end && line.end - stretch.start <= READ_AT_ONCE as u64
            };
            while let Some(line) = lines.next_if(|line| joins(&stretch, line)) {
                stretch.end = line.end;
            }
            Some(stretch)
        })
    }

    fn line(&self, at: usize) -> Range<u64> {
        let begins = if at == 0 { 0 } else { self.line_ends[at - 1] };
        begins..self.line_ends[at]
    }
}
