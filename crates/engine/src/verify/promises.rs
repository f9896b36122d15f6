//! What nodes promised: proof for the files of a peer whose own promise was lost with the answer to its call.
//!
//! The agents of a pool run the same image and write the same files, so nodes that are asked for the same time window
//! promise alike. That is no certainty, so the bar is the highest promise of any of them, and one or two promises are
//! not enough to know it. A node with a time window of its own has no peers unless theirs is the same.

use std::collections::HashMap;
use std::sync::Arc;

use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::window::Window;

/// Nodes whose promise must be known, at least.
const ENOUGH: usize = 3;

/// The promises of a run, by what nodes have in common.
#[derive(Debug, Default)]
pub(super) struct Promises(HashMap<Peers, PeerPromises>);

/// Nodes of the same pool, and with it of the same operating system, that were asked for the same window. The pool is
/// identified by its address: all nodes of a pool share one.
type Peers = (usize, Option<Window>);

#[derive(Debug, Default)]
struct PeerPromises {
    most: u32,
    /// The nodes that promised; those beyond [`ENOUGH`] are not kept.
    nodes: Vec<NodeIndex>,
}

/// What the promises of a node's peers say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerProof {
    /// As many files are there as the most that was promised to any of them.
    Given,
    /// A peer was promised this many, which is more.
    Fewer(u32),
    /// Too few promises are known.
    TooFewKnown,
}

impl Promises {
    /// A node promised a number of files.
    pub(super) fn add(&mut self, plan: &Plan, node: NodeIndex, files: u32) {
        // A node without files has nothing in common with one that has some.
        if files == 0 {
            return;
        }
        let known = self.0.entry(peers_of(plan, node)).or_default();
        known.most = known.most.max(files);
        if known.nodes.len() < ENOUGH && !known.nodes.contains(&node) {
            known.nodes.push(node);
        }
    }

    /// Whether the promises of a node's peers prove that this many files are all of its files.
    pub(super) fn prove(&self, plan: &Plan, node: NodeIndex, files: u32) -> PeerProof {
        match self.0.get(&peers_of(plan, node)) {
            Some(known) if known.nodes.len() < ENOUGH => PeerProof::TooFewKnown,
            Some(known) if files < known.most => PeerProof::Fewer(known.most),
            Some(_) => PeerProof::Given,
            None => PeerProof::TooFewKnown,
        }
    }
}

fn peers_of(plan: &Plan, node: NodeIndex) -> Peers {
    let planned = plan.node(node);
    (Arc::as_ptr(planned.place).addr(), planned.window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan_of;

    #[test]
    fn the_bar_is_the_highest_promise_known_from_three_nodes() {
        let plan = plan_of(6);
        let mut promises = Promises::default();
        let prove = |promises: &Promises, files| promises.prove(&plan, NodeIndex(5), files);
        assert_eq!(prove(&promises, 9), PeerProof::TooFewKnown);
        promises.add(&plan, NodeIndex(0), 4);
        promises.add(&plan, NodeIndex(1), 5);
        // The same node again, and a node without files, make no third.
        promises.add(&plan, NodeIndex(1), 4);
        promises.add(&plan, NodeIndex(2), 0);
        assert_eq!(prove(&promises, 9), PeerProof::TooFewKnown);
        promises.add(&plan, NodeIndex(3), 4);
        assert_eq!(prove(&promises, 4), PeerProof::Fewer(5));
        assert_eq!(prove(&promises, 5), PeerProof::Given);
        promises.add(&plan, NodeIndex(4), 7);
        assert_eq!(prove(&promises, 5), PeerProof::Fewer(7));
    }
}
