//! The nodes and calls that go into a ticket: a few of each kind, picked during the pass over all nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fleetlogs_model::evidence::NodeFacts;
use fleetlogs_model::history::Attempt;
use fleetlogs_model::ids::NodeRef;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::planned::PlannedPool;
use fleetlogs_model::service::{NodeState, StartTaskResult};
use time::OffsetDateTime;

use crate::node_end::NodeEnd;

/// Calls and nodes that are kept.
const MOST_CALLS: usize = 25;
const MOST_NODES: usize = 25;
/// Entries of each kind: a thousand calls with the same answer need not be listed one by one.
const MOST_OF_A_KIND: u32 = 5;
/// Kinds that are distinguished.
const MOST_KINDS: usize = 200;

/// What was found in the pass over all nodes.
#[derive(Debug, Default)]
pub(crate) struct TicketFindings {
    /// Some of the calls that failed, or whose files did not arrive.
    pub(crate) calls: Vec<NotedCall>,
    /// The number of all such calls.
    pub(crate) failed_calls: u64,
    /// Some of the nodes on which the service reports problems.
    pub(crate) nodes: Vec<TroubledNode>,
    /// The number of all such nodes.
    pub(crate) troubled: u64,
    kinds_of_calls: HashMap<KindOfCall, u32>,
    kinds_of_nodes: HashMap<KindOfNode, u32>,
    agents: HashMap<Arc<str>, u64>,
}

/// How the node ended, and status and code of the answer.
type KindOfCall = (Outcome, Option<u16>, Option<Box<str>>);
/// State, and the code of the first error.
type KindOfNode = (Option<NodeState>, Option<String>);

/// A call worth a look.
#[derive(Debug)]
pub(crate) struct NotedCall {
    pub(crate) node: NodeRef,
    pub(crate) attempt: Attempt,
    pub(crate) outcome: Outcome,
}

/// A node on which the service reports problems.
#[derive(Debug)]
pub(crate) struct TroubledNode {
    pub(crate) node: NodeRef,
    pub(crate) place: Arc<PlannedPool>,
    pub(crate) facts: Arc<NodeFacts>,
    pub(crate) state_since: Option<OffsetDateTime>,
}

impl TicketFindings {
    /// Takes a node in.
    pub(crate) fn add(&mut self, end: &NodeEnd<'_>, verification: bool) {
        let lost = !end.outcome.is_collected(verification);
        for attempt in &end.history.attempts {
            // An accepted call is listed, too, if its files did not arrive.
            if attempt.status != Some(200) || lost {
                self.add_call(end, attempt);
            }
        }
        let facts = &end.node.evidence.facts;
        if let Some(version) = &facts.agent_version
            && (self.agents.len() < MOST_KINDS || self.agents.contains_key(version))
        {
            *self.agents.entry(version.clone()).or_default() += 1;
        }
        if is_troubled(facts) {
            self.add_node(end, facts);
        }
    }

    fn add_call(&mut self, end: &NodeEnd<'_>, attempt: &Attempt) {
        self.failed_calls += 1;
        let kind = (end.outcome, attempt.status, attempt.code.clone());
        if self.calls.len() < MOST_CALLS && has_room(&mut self.kinds_of_calls, kind) {
            let (node, attempt) = (end.node.at(), attempt.clone());
            self.calls.push(NotedCall { node, attempt, outcome: end.outcome });
        }
    }

    fn add_node(&mut self, end: &NodeEnd<'_>, facts: &Arc<NodeFacts>) {
        self.troubled += 1;
        let kind = (facts.state.clone(), facts.errors.first().map(|error| error.code.clone()));
        if self.nodes.len() < MOST_NODES && has_room(&mut self.kinds_of_nodes, kind) {
            self.nodes.push(TroubledNode {
                node: end.node.at(),
                place: end.node.place.clone(),
                facts: facts.clone(),
                state_since: end.node.evidence.state_since,
            });
        }
    }

    /// Versions of the node agent and how many nodes have each; those with the most nodes first, five at most.
    pub(crate) fn agent_versions(&self) -> Vec<(&str, u64)> {
        let by_name: BTreeMap<&str, u64> =
            self.agents.iter().map(|(version, nodes)| (&**version, *nodes)).collect();
        let mut versions: Vec<_> = by_name.into_iter().collect();
        versions.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        versions.truncate(5);
        versions
    }
}

fn has_room<K: Eq + std::hash::Hash>(kinds: &mut HashMap<K, u32>, kind: K) -> bool {
    if kinds.len() >= MOST_KINDS && !kinds.contains_key(&kind) {
        return false;
    }
    let seen = kinds.entry(kind).or_default();
    *seen += 1;
    *seen <= MOST_OF_A_KIND
}

/// Whether the service reports problems on a node.
pub(crate) fn is_troubled(facts: &NodeFacts) -> bool {
    let bad_state =
        matches!(facts.state, Some(NodeState::Unusable | NodeState::StartTaskFailed | NodeState::Unknown));
    bad_state || !facts.errors.is_empty() || facts.start_task.as_ref().is_some_and(StartTaskResult::failed)
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::AccountIndex;

    use super::*;
    use crate::testing::{failure, history_of, interrupted, requested, retried, richly_planned};
    use fleetlogs_model::failure::FailureClass;

    #[test]
    fn twenty_thousand_nodes_leave_a_few_of_each_kind() {
        let mut noticed = TicketFindings::default();
        let busy = |code| failure(FailureClass::Throttled, 429, code, "slow down");
        let facts = interrupted("SIGINT");
        for number in 0..20_000 {
            let code = if number == 19_999 { "ServerBusy" } else { "TooManyRequests" };
            let history = history_of(&[requested(1), retried(1, busy(code))]);
            let node = richly_planned("contoso", "render", &format!("tvm-{number}"));
            noticed.add(&NodeEnd::new(&node, AccountIndex(0), &history, &facts, None), true);
        }
        assert_eq!((noticed.failed_calls, noticed.troubled), (20_000, 20_000));
        assert_eq!((noticed.calls.len(), noticed.nodes.len()), (6, 5));
        assert_eq!(noticed.calls[5].attempt.code.as_deref(), Some("ServerBusy"), "the odd one is among them");
        assert_eq!(noticed.agent_versions(), [("1.11.9", 20_000)]);
    }
}
