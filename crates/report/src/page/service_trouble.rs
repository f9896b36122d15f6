//! The nodes that the service itself reports trouble on, counted by kind.

use std::collections::HashMap;

use fleetlogs_model::node_facts::{NodeFacts, NodeState};

use crate::ticket_findings::is_troubled;

/// Kinds that are kept apart; the others are one kind.
const MOST_KINDS: usize = 30;
const OTHER: &str = "other errors";

/// What was found in the pass over all nodes.
#[derive(Debug, Default)]
pub(super) struct ServiceTrouble {
    places: HashMap<String, u32>,
    /// Nodes of each kind.
    counts: Vec<u64>,
    not_collected: u64,
    /// The kind of each place in the table of evidence; none without trouble.
    of_evidence: Vec<Option<u32>>,
}

impl ServiceTrouble {
    /// Takes a node in, and returns its kind.
    pub(super) fn add(&mut self, facts: &NodeFacts, collected: bool) -> Option<u32> {
        let kind = self.place(kind_of(facts)?);
        self.counts[kind as usize] += 1;
        self.not_collected += u64::from(!collected);
        Some(kind)
    }

    fn place(&mut self, kind: String) -> u32 {
        let is_full = self.places.len() >= MOST_KINDS && !self.places.contains_key(&kind);
        let next = u32::try_from(self.counts.len()).unwrap_or(u32::MAX);
        let place = *self.places.entry(if is_full { OTHER.to_owned() } else { kind }).or_insert(next);
        if place == next {
            self.counts.push(0);
        }
        place
    }

    /// Notes of which kind the evidence at a place is.
    pub(super) fn note(&mut self, evidence: u32, kind: Option<u32>) {
        if evidence as usize == self.of_evidence.len() {
            self.of_evidence.push(kind);
        }
    }

    /// All such nodes.
    pub(super) fn nodes(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those of them that were not collected.
    pub(super) fn not_collected(&self) -> u64 {
        self.not_collected
    }

    /// Place, name and nodes of each kind, those with the most nodes first.
    pub(super) fn kinds(&self) -> Vec<(u32, &str, u64)> {
        let mut kinds: Vec<_> = self
            .places
            .iter()
            .map(|(kind, place)| (*place, kind.as_str(), self.counts[*place as usize]))
            .collect();
        kinds.sort_by_key(|(place, _, nodes)| (std::cmp::Reverse(*nodes), *place));
        kinds
    }

    /// The names of the kinds, by place.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.places.iter().map(|(kind, place)| (*place, kind.as_str())).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, kind)| kind).collect()
    }

    pub(super) fn of_evidence(&self) -> &[Option<u32>] {
        &self.of_evidence
    }
}

/// What is wrong with a node, in a few words: its state, or the first of its errors.
fn kind_of(facts: &NodeFacts) -> Option<String> {
    if !is_troubled(facts) {
        return None;
    }
    Some(match &facts.state {
        Some(NodeState::Unusable) => "unusable".into(),
        Some(NodeState::Unknown) => "state unknown".into(),
        Some(NodeState::StartTaskFailed) => START_TASK_FAILED.into(),
        _ => match facts.errors.first() {
            Some(error) => format!("error {}", error.code),
            None => START_TASK_FAILED.into(),
        },
    })
}

const START_TASK_FAILED: &str = "start task failed";

#[cfg(test)]
mod tests {
    use fleetlogs_model::node_facts::NodeError;

    use super::*;

    fn with_error(code: &str) -> NodeFacts {
        let error = NodeError { code: code.into(), message: "it is full".into() };
        NodeFacts { errors: vec![error], ..NodeFacts::default() }
    }

    #[test]
    fn each_node_is_of_one_kind() {
        let mut trouble = ServiceTrouble::default();
        let state = |state| NodeFacts { state: Some(state), ..with_error("DiskFull") };
        assert_eq!(trouble.add(&NodeFacts::default(), true), None);
        assert_eq!(trouble.add(&state(NodeState::Idle), true), Some(0));
        assert_eq!(trouble.add(&state(NodeState::Unusable), false), Some(1));
        assert_eq!(trouble.add(&state(NodeState::Unusable), true), Some(1));

        assert_eq!((trouble.nodes(), trouble.not_collected()), (3, 1));
        assert_eq!(trouble.kinds(), [(1, "unusable", 2), (0, "error DiskFull", 1)]);
        assert_eq!(trouble.names(), ["error DiskFull", "unusable"]);
    }

    #[test]
    fn kinds_are_bounded_and_every_node_is_counted() {
        let mut trouble = ServiceTrouble::default();
        for at in 0..100 {
            trouble.add(&with_error(&format!("E{at}")), true);
        }
        assert_eq!((trouble.nodes(), trouble.kinds().len()), (100, MOST_KINDS + 1));
        assert_eq!(trouble.kinds()[0], (30, OTHER, 70));
    }
}
