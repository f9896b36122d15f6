//! What the service reported about a node: stored in the plan and the manifest, because a node may be gone before
//! anybody looks.

use std::collections::HashSet;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

pub use crate::node_facts::NodeFacts;
use crate::node_facts::{BetweenFacts, FactMembers, Members};
use crate::service::{Node, RecentTask};

/// Recent tasks that are stored for a node: the ones that started last.
const MOST_TASKS: usize = 3;

/// What the service reported about a node at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct NodeEvidence {
    /// When the node entered its state.
    #[serde(default, with = "crate::timestamp::exact::option")]
    pub state_since: Option<OffsetDateTime>,
    /// When it was allocated; distinguishes it from an earlier or later node with the same id.
    #[serde(default, with = "crate::timestamp::exact::option")]
    pub allocation_time: Option<OffsetDateTime>,
    /// When it last booted.
    #[serde(default, with = "crate::timestamp::exact::option")]
    pub last_boot_time: Option<OffsetDateTime>,
    /// The last tasks that ran on it, three at most.
    #[serde(default)]
    pub recent_tasks: Box<[RecentTask]>,
    /// The facts that it shares with many other nodes.
    #[serde(flatten)]
    pub facts: Arc<NodeFacts>,
}

/// Evidence in the form of JSON: flat, and without what the service did not report.
#[derive(Serialize)]
struct EvidenceText<'a> {
    #[serde(flatten)]
    facts: FactMembers<'a, Times>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    recent_tasks: &'a [RecentTask],
}

impl Serialize for NodeEvidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { state_since, allocation_time, last_boot_time, recent_tasks, facts } = self;
        let between = Times([*state_since, *allocation_time, *last_boot_time]);
        let facts = FactMembers { facts, between, nulls: false };
        EvidenceText { facts, recent_tasks }.serialize(serializer)
    }
}

/// Names of a node's times, in the order of documents.
pub const TIMES: [&str; 3] = ["state_since", "allocation_time", "last_boot_time"];

struct Times([Option<OffsetDateTime>; 3]);

impl BetweenFacts for Times {
    fn after_state<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error> {
        TIMES
            .into_iter()
            .zip(self.0)
            .try_for_each(|(name, time)| members.optional(name, time.map(Rfc3339).as_ref()))
    }

    fn after_scheduling<M: SerializeMap>(&self, _: &mut Members<'_, M>) -> Result<(), M::Error> {
        Ok(())
    }
}

#[derive(Serialize)]
struct Rfc3339(#[serde(with = "crate::timestamp::exact")] OffsetDateTime);

impl NodeEvidence {
    /// From a node as the service lists it.
    #[must_use]
    pub fn of(node: Node, facts: &mut SharedFacts) -> Self {
        let mut tasks = node.recent_tasks;
        tasks.sort_by_key(|task| std::cmp::Reverse(task.started));
        tasks.truncate(MOST_TASKS);
        for task in &mut tasks {
            task.job = facts.share_name(&task.job);
        }
        Self {
            state_since: node.state_since,
            allocation_time: node.allocation_time,
            last_boot_time: node.last_boot_time,
            recent_tasks: tasks.into(),
            facts: facts.share(node.facts),
        }
    }
}

/// Makes equal facts, and equal names of jobs, share their memory.
#[derive(Debug, Default)]
pub struct SharedFacts {
    facts: HashSet<Arc<NodeFacts>>,
    names: HashSet<Arc<str>>,
}

impl SharedFacts {
    /// The facts, or equal ones that were already there.
    pub fn share(&mut self, facts: NodeFacts) -> Arc<NodeFacts> {
        if let Some(known) = self.facts.get(&facts) {
            return known.clone();
        }
        let facts = Arc::new(facts);
        self.facts.insert(facts.clone());
        facts
    }

    /// The name, or an equal one that was already there.
    pub fn share_name(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        self.names.insert(name.clone());
        name.clone()
    }
}
