//! What the service reports about a node besides its times. Plan, manifest and report page all have these members,
//! with the names given here.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use crate::scrub;

/// The facts that many nodes share. A new fact is added here and to [`FactMembers`], and then everything that writes
/// facts has it. The compiler then asks for it where a planned node is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct NodeFacts {
    /// Its state; absent if the service did not report it.
    pub state: Option<NodeState>,
    /// Dedicated rather than Spot.
    pub dedicated: Option<bool>,
    /// Whether tasks may be scheduled on it.
    pub scheduling_enabled: Option<bool>,
    /// Version of its node agent.
    #[serde(deserialize_with = "scrub::shared")]
    pub agent_version: Option<Arc<str>>,
    /// The image of its VM: publisher, offer, SKU and version, joined by colons, or the image's ARM id.
    #[serde(deserialize_with = "scrub::shared")]
    pub image: Option<Arc<str>>,
    /// The errors that the service reports for it.
    pub errors: Vec<NodeError>,
    /// How its start task ended.
    pub start_task: Option<StartTaskResult>,
}

/// The facts as members of a larger object, in a fixed order.
#[derive(Clone, Copy, Debug)]
pub struct FactMembers<'a, B> {
    /// The facts.
    pub facts: &'a NodeFacts,
    /// The members between them.
    pub between: B,
    /// Whether facts that the service did not report are written, too: as null, or as an empty list.
    pub nulls: bool,
}

/// Members of the larger object between the facts.
pub trait BetweenFacts {
    /// Those after `state`.
    ///
    /// # Errors
    /// The serializer's.
    fn after_state<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error>;

    /// Those after `scheduling_enabled`.
    ///
    /// # Errors
    /// The serializer's.
    fn after_scheduling<M: SerializeMap>(&self, members: &mut Members<'_, M>) -> Result<(), M::Error>;
}

impl<B: BetweenFacts> Serialize for FactMembers<'_, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { facts, between, nulls } = self;
        let mut map = serializer.serialize_map(None)?;
        let mut members = Members { map: &mut map, nulls: *nulls };
        members.optional("state", facts.state.as_ref())?;
        between.after_state(&mut members)?;
        members.optional("dedicated", facts.dedicated.as_ref())?;
        members.optional("scheduling_enabled", facts.scheduling_enabled.as_ref())?;
        between.after_scheduling(&mut members)?;
        members.optional("agent_version", facts.agent_version.as_ref())?;
        members.optional("image", facts.image.as_ref())?;
        members.list("errors", &facts.errors)?;
        members.optional("start_task", facts.start_task.as_ref())?;
        map.end()
    }
}

/// The members of an object, one after another.
#[derive(Debug)]
pub struct Members<'m, M> {
    map: &'m mut M,
    nulls: bool,
}

impl<M: SerializeMap> Members<'_, M> {
    /// Writes a member that may have no value.
    ///
    /// # Errors
    /// The serializer's.
    pub fn optional(
        &mut self,
        name: &'static str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), M::Error> {
        if value.is_some() || self.nulls { self.map.serialize_entry(name, &value) } else { Ok(()) }
    }

    fn list(&mut self, name: &'static str, values: &[impl Serialize]) -> Result<(), M::Error> {
        if values.is_empty() && !self.nulls { Ok(()) } else { self.map.serialize_entry(name, values) }
    }
}

/// State of a node. The service's list grows over time, so an unknown state is kept verbatim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum NodeState {
    /// Ready, without a task.
    Idle,
    /// Runs tasks.
    Running,
    /// Scheduling disabled by the user; the agent is alive.
    Offline,
    /// The start task failed; the agent is alive.
    StartTaskFailed,
    /// The start task is still running.
    WaitingForStartTask,
    /// Not usable.
    Unusable,
    /// The VM exists but has not joined; no agent yet.
    Creating,
    /// Batch is starting on the VM.
    Starting,
    /// Rebooting.
    Rebooting,
    /// Being re-imaged.
    Reimaging,
    /// Its operating system is being upgraded.
    UpgradingOs,
    /// The service lost contact with it.
    Unknown,
    /// Being removed; its logs disappear with the VM.
    LeavingPool,
    /// A Spot node that was pre-empted.
    Preempted,
    /// Being stopped.
    Deallocating,
    /// Stopped.
    Deallocated,
    /// A state that this version does not know, verbatim.
    Other(String),
}

/// The spelling of each known state in requests and answers (design: wire reference, section 5.3).
const NODE_STATES: [(&str, NodeState); 16] = [
    ("idle", NodeState::Idle),
    ("running", NodeState::Running),
    ("offline", NodeState::Offline),
    ("starttaskfailed", NodeState::StartTaskFailed),
    ("waitingforstarttask", NodeState::WaitingForStartTask),
    ("unusable", NodeState::Unusable),
    ("creating", NodeState::Creating),
    ("starting", NodeState::Starting),
    ("rebooting", NodeState::Rebooting),
    ("reimaging", NodeState::Reimaging),
    ("upgradingos", NodeState::UpgradingOs),
    ("unknown", NodeState::Unknown),
    ("leavingpool", NodeState::LeavingPool),
    ("preempted", NodeState::Preempted),
    ("deallocating", NodeState::Deallocating),
    ("deallocated", NodeState::Deallocated),
];

impl From<String> for NodeState {
    fn from(text: String) -> Self {
        let known = NODE_STATES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
        known.map_or_else(|| Self::Other(scrub::hide(&text).into_owned()), |(_, state)| state.clone())
    }
}

impl NodeState {
    /// The service's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => NODE_STATES.iter().find(|(_, state)| state == known).map_or("", |(name, _)| name),
        }
    }

    /// The spellings of all known states, for messages.
    pub fn known() -> impl Iterator<Item = &'static str> {
        NODE_STATES.iter().map(|(name, _)| *name)
    }
}

impl From<NodeState> for String {
    fn from(state: NodeState) -> Self {
        state.as_str().to_owned()
    }
}

/// A task that ran on a node, as the node reports it. Without its command line, which may contain secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecentTask {
    /// Id of its job.
    pub job: Arc<str>,
    /// Id of the task.
    pub task: Box<str>,
    /// When it started there.
    #[serde(default, with = "crate::timestamp::exact::option", skip_serializing_if = "Option::is_none")]
    pub started: Option<OffsetDateTime>,
    /// When it ended there.
    #[serde(default, with = "crate::timestamp::exact::option", skip_serializing_if = "Option::is_none")]
    pub ended: Option<OffsetDateTime>,
    /// Exit code of its process, if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// One entry of a node's `errors`, or of a pool's `resizeErrors`. The service quotes URLs in them, with their SAS; they
/// are read without it, also from files of earlier versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeError {
    /// The service's code.
    #[serde(deserialize_with = "scrub::text")]
    pub code: String,
    /// Its message.
    #[serde(deserialize_with = "scrub::text")]
    pub message: String,
}

/// How a start task ended, or its current state; without its command line, which may contain secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StartTaskResult {
    /// `running` or `completed`.
    #[serde(default, deserialize_with = "scrub::optional")]
    pub state: Option<String>,
    /// `success` or `failure`.
    #[serde(default, deserialize_with = "scrub::optional")]
    pub result: Option<String>,
    /// Exit code of its process.
    pub exit_code: Option<i32>,
}

impl StartTaskResult {
    /// Whether it failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result.eq_ignore_ascii_case("failure"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_without_regard_to_case_and_unknown_ones_are_kept() {
        assert_eq!(NodeState::from("StartTaskFailed".to_owned()), NodeState::StartTaskFailed);
        let unknown = NodeState::from("hibernating".to_owned());
        assert_eq!(unknown.as_str(), "hibernating");
        for name in NodeState::known() {
            assert_eq!(NodeState::from(name.to_owned()).as_str(), name);
        }
    }

    #[test]
    fn facts_without_a_value_are_left_out_or_null_and_all_keep_their_place() {
        struct Os;
        impl BetweenFacts for Os {
            fn after_state<M: SerializeMap>(&self, _: &mut Members<'_, M>) -> Result<(), M::Error> {
                Ok(())
            }

            fn after_scheduling<M: SerializeMap>(
                &self,
                members: &mut Members<'_, M>,
            ) -> Result<(), M::Error> {
                members.optional("os", Some("linux"))
            }
        }
        let facts =
            NodeFacts { state: Some(NodeState::Idle), dedicated: Some(false), ..NodeFacts::default() };
        let text = |nulls| serde_json::to_string(&FactMembers { facts: &facts, between: Os, nulls }).unwrap();
        assert_eq!(text(false), r#"{"state":"idle","dedicated":false,"os":"linux"}"#);
        assert_eq!(serde_json::from_str::<NodeFacts>(&text(false)).unwrap(), facts);
        assert_eq!(
            text(true),
            r#"{"state":"idle","dedicated":false,"scheduling_enabled":null,"os":"linux","agent_version":null,"image":null,"errors":[],"start_task":null}"#
        );
    }
}
