//! One pool of a scenario, and the lives of its nodes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use super::values::{Between, Count, Image, Size, Span};

/// `[[account.pool]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolScenario {
    pub(crate) id: String,
    #[serde(default = "one_node")]
    pub(crate) nodes: u32,
    #[serde(default = "some_vm_size")]
    pub(crate) vm_size: String,
    #[serde(default)]
    pub(crate) os: Os,
    /// The image of its nodes, instead of one that goes with `os`.
    pub(crate) image: Option<Image>,
    /// Name and value; only for those who read it.
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Its size follows from a formula.
    #[serde(default)]
    pub(crate) auto_scale: bool,
    /// Code of what kept the last resize from reaching its target, which is one node more than there are.
    pub(crate) resize_error: Option<String>,
    /// So many of the first nodes take no new tasks; those of them that begin idle are `offline`.
    #[serde(default)]
    pub(crate) scheduling_disabled: u32,
    /// How many of the nodes are low priority. They are the first ones, so that a `life` that pre-empts meets them.
    #[serde(default)]
    pub(crate) spot: u32,
    /// Shares of the nodes by the state they begin in. What is left to 1 is idle.
    #[serde(default)]
    pub(crate) states: BTreeMap<NodeState, f64>,
    /// Share of the nodes, rounded down and taken from the idle ones, that list a state nobody has heard of.
    #[serde(default = "now_and_then")]
    pub(crate) unknown_state: f64,
    #[serde(default)]
    pub(crate) state: PoolState,
    #[serde(default)]
    pub(crate) allocation_state: AllocationState,
    /// Log files per upload.
    #[serde(default = "four_files")]
    pub(crate) files: Between<Count>,
    #[serde(default = "four_kib")]
    pub(crate) file_size: Between<Size>,
    #[serde(default)]
    pub(crate) content: FileContent,
    /// How long after the 200 each file arrives.
    #[serde(default = "one_second")]
    pub(crate) arrival: Between<Span>,
    /// Calls are accepted, and nothing ever arrives.
    #[serde(default)]
    pub(crate) storage_blocked: bool,
    /// Resource ids of the user-assigned identities that its nodes have.
    #[serde(default)]
    pub(crate) identities: Vec<String>,
    /// When the state of the pool turns to `deleting`.
    pub(crate) deleting_at: Option<Span>,
    /// When the pool is gone: 404 `PoolNotFound`.
    pub(crate) vanishes_at: Option<Span>,
    /// How long after the start each node is gone for good, whatever its other lives say.
    pub(crate) leaves_after: Option<Between<Span>>,
    /// For how long before that it is `leavingpool`.
    #[serde(default = "three_seconds")]
    pub(crate) notice: Span,
    /// The pool is being resized to so many nodes fewer. Of `leaves_after`, the last so many nodes are meant, not all.
    pub(crate) shrinking: Option<u32>,
    #[serde(default, rename = "life")]
    pub(crate) lives: Vec<Life>,
}

impl PoolScenario {
    /// The places of the nodes that `leaves_after` is about.
    pub(crate) fn leaving(&self) -> Range<u32> {
        match self.leaves_after {
            None => 0..0,
            Some(_) => self.nodes.saturating_sub(self.shrinking.unwrap_or(self.nodes))..self.nodes,
        }
    }

    /// What lists say of its size.
    pub(crate) fn allocation_state(&self) -> AllocationState {
        if self.shrinking.is_some() { AllocationState::Resizing } else { self.allocation_state }
    }
}

/// `[[account.pool.life]]`: what happens to some of the nodes.
///
/// Each life takes the next nodes in line, beginning after those that the lives before it took; `from` says otherwise.
/// Where several lives cover a node, the last one in the file that is in force counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Life {
    /// How many nodes; `share` says the same in proportion. With neither: all that are left.
    pub(crate) nodes: Option<u32>,
    pub(crate) share: Option<f64>,
    /// Place of the first node in the pool, instead of the next one in line.
    pub(crate) from: Option<u32>,
    /// Only nodes that begin in this state count.
    pub(crate) of: Option<NodeState>,
    pub(crate) at: Span,
    pub(crate) becomes: NodeState,
    /// Back to the state it began in (idle if that was passing), under the same id with a new `allocationTime`,
    /// this long after `at`.
    pub(crate) back_after: Option<Span>,
    /// The same, but as the machine that it was: only its state changes.
    pub(crate) recovers_after: Option<Span>,
    /// Gone for good this long after `at`.
    pub(crate) gone_after: Option<Span>,
    /// It happens again so long after it happened, and so on.
    pub(crate) every: Option<Span>,
    /// So often in all; without it, for ever.
    pub(crate) times: Option<u32>,
}

/// The states a node can be in; the spelling of a scenario is the one of the service.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub(crate) enum NodeState {
    Idle,
    Running,
    Offline,
    StartTaskFailed,
    WaitingForStartTask,
    Unusable,
    Creating,
    Starting,
    Rebooting,
    Reimaging,
    UpgradingOs,
    Unknown,
    LeavingPool,
    Preempted,
    Deallocating,
    Deallocated,
    /// No state of any documentation; works like an idle node.
    Hibernating,
    /// Not a state of the service: the node is not there.
    Gone,
}

impl NodeState {
    /// As lists spell it.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Offline => "offline",
            Self::StartTaskFailed => "starttaskfailed",
            Self::WaitingForStartTask => "waitingforstarttask",
            Self::Unusable => "unusable",
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Rebooting => "rebooting",
            Self::Reimaging => "reimaging",
            Self::UpgradingOs => "upgradingos",
            Self::Unknown => "unknown",
            Self::LeavingPool => "leavingpool",
            Self::Preempted => "preempted",
            Self::Deallocating => "deallocating",
            Self::Deallocated => "deallocated",
            Self::Hibernating => "hibernating",
            Self::Gone => "gone",
        }
    }

    /// The machine has not come up yet: no boot time, no agent, no start task.
    pub(crate) fn is_before_boot(self) -> bool {
        matches!(self, Self::Creating | Self::Starting)
    }
}

/// What runs on the nodes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Os {
    #[default]
    Linux,
    Windows,
}

/// What is in log files.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileContent {
    /// Lines with times, over all of the time that was asked for.
    #[default]
    Lines,
    /// The same, but for a fifth of it in the middle: every other file ends before, and the others begin behind it.
    Gap,
    /// What looks compressed.
    Opaque,
}

/// State of a pool as a whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PoolState {
    #[default]
    Active,
    Deleting,
}

/// Whether a pool is changing its size.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AllocationState {
    #[default]
    Steady,
    Resizing,
    Stopping,
}

fn one_node() -> u32 {
    1
}

fn some_vm_size() -> String {
    "standard_d2s_v3".to_owned()
}

fn now_and_then() -> f64 {
    0.002
}

fn four_files() -> Between<Count> {
    Between::always(Count(4))
}

fn four_kib() -> Between<Size> {
    Between::always(Size(4096))
}

fn three_seconds() -> Span {
    Span(Duration::from_secs(3))
}

fn one_second() -> Between<Span> {
    Between::always(Span(Duration::from_secs(1)))
}
