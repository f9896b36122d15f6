//! What the service said of a node: kept in the plan and the manifest, as a node may be gone before anybody looks.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::service::{Node, NodeError, NodeState, RecentTask, StartTaskResult};

/// Recent tasks that are kept of a node: those that started last.
const MOST_TASKS: usize = 3;

/// What the service said of a node at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "EvidenceText", into = "EvidenceText")]
pub struct NodeEvidence {
    /// Since when it was in its state.
    pub state_since: Option<OffsetDateTime>,
    /// When it was allocated; tells it from an earlier or later node of the same id.
    pub allocation_time: Option<OffsetDateTime>,
    /// When it last booted.
    pub last_boot_time: Option<OffsetDateTime>,
    /// The last tasks that ran on it, three at most.
    pub recent_tasks: Box<[RecentTask]>,
    /// What it has in common with many others.
    pub facts: Arc<NodeFacts>,
}

/// What many nodes have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeFacts {
    /// Its state.
    pub state: Option<NodeState>,
    /// Dedicated rather than Spot.
    pub dedicated: Option<bool>,
    /// Whether tasks may be scheduled on it.
    pub scheduling_enabled: Option<bool>,
    /// Version of its node agent.
    pub agent_version: Option<Arc<str>>,
    /// Image that its VM was made from.
    pub image: Option<Arc<str>>,
    /// What the service says is wrong with it.
    pub errors: Vec<NodeError>,
    /// How its start task ended.
    pub start_task: Option<StartTaskResult>,
}

/// Evidence as JSON has it: flat.
#[derive(Serialize, Deserialize)]
struct EvidenceText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<NodeState>,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    state_since: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    allocation_time: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    last_boot_time: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedicated: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduling_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_version: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<NodeError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_task: Option<StartTaskResult>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    recent_tasks: Box<[RecentTask]>,
}

impl From<EvidenceText> for NodeEvidence {
    fn from(text: EvidenceText) -> Self {
        let facts = NodeFacts {
            state: text.state,
            dedicated: text.dedicated,
            scheduling_enabled: text.scheduling_enabled,
            agent_version: text.agent_version,
            image: text.image,
            errors: text.errors,
            start_task: text.start_task,
        };
        Self {
            state_since: text.state_since,
            allocation_time: text.allocation_time,
            last_boot_time: text.last_boot_time,
            recent_tasks: text.recent_tasks,
            facts: facts.into(),
        }
    }
}

impl From<NodeEvidence> for EvidenceText {
    fn from(evidence: NodeEvidence) -> Self {
        let facts = NodeFacts::clone(&evidence.facts);
        Self {
            state: facts.state,
            state_since: evidence.state_since,
            allocation_time: evidence.allocation_time,
            last_boot_time: evidence.last_boot_time,
            dedicated: facts.dedicated,
            scheduling_enabled: facts.scheduling_enabled,
            agent_version: facts.agent_version,
            image: facts.image,
            errors: facts.errors,
            start_task: facts.start_task,
            recent_tasks: evidence.recent_tasks,
        }
    }
}

impl NodeEvidence {
    /// Of a node as the service lists it.
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
            facts: facts.share(NodeFacts {
                state: node.state,
                dedicated: node.dedicated,
                scheduling_enabled: node.scheduling_enabled,
                agent_version: node.agent_version.map(Into::into),
                image: node.image.map(Into::into),
                errors: node.errors,
                start_task: node.start_task,
            }),
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
    /// The facts, or equal ones that were there before.
    pub fn share(&mut self, facts: NodeFacts) -> Arc<NodeFacts> {
        if let Some(known) = self.facts.get(&facts) {
            return known.clone();
        }
        let facts = Arc::new(facts);
        self.facts.insert(facts.clone());
        facts
    }

    /// The name, or an equal one that was there before.
    pub fn share_name(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        self.names.insert(name.clone());
        name.clone()
    }
}
