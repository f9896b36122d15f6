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
    /// The image of the nodes, if it is not the default for `os`.
    pub(crate) image: Option<Image>,
    /// Name and value; only clients read them.
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// The pool's size follows from an autoscale formula.
    #[serde(default)]
    pub(crate) auto_scale: bool,
    /// Code of the error that stopped the last resize; its target is one node more than the pool has.
    pub(crate) resize_error: Option<String>,
    /// The text of that error.
    #[serde(default = "could_not_be_allocated")]
    pub(crate) resize_message: String,
    /// An error that every node shows in `errors`, in addition to those of its state.
    pub(crate) node_error: Option<NodeError>,
    /// Text at the end of every node id.
    #[serde(default)]
    pub(crate) node_suffix: String,
    /// The text that stands for every time of every node.
    pub(crate) node_times: Option<String>,
    /// The first nodes, this many, accept no new tasks; those that begin idle are `offline`.
    #[serde(default)]
    pub(crate) scheduling_disabled: u32,
    /// How many of the nodes are low priority. They are the first ones, so that a `life` with pre-emption applies to
    /// them.
    #[serde(default)]
    pub(crate) spot: u32,
    /// Shares of the nodes by their initial state. The rest is idle.
    #[serde(default)]
    pub(crate) states: BTreeMap<NodeState, f64>,
    /// Share of the nodes, rounded down and taken from the idle ones, whose state is one that no documentation lists.
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
    /// Calls are accepted, but no file ever arrives.
    #[serde(default)]
    pub(crate) storage_blocked: bool,
    /// Resource ids of the user-assigned identities of the nodes.
    #[serde(default)]
    pub(crate) identities: Vec<String>,
    /// When the state of the pool changes to `deleting`.
    pub(crate) deleting_at: Option<Span>,
    /// When the pool disappears: 404 `PoolNotFound`.
    pub(crate) vanishes_at: Option<Span>,
    /// How long after the start each node leaves for good, whatever its lives say.
    pub(crate) leaves_after: Option<Between<Span>>,
    /// For how long before it leaves the node is `leavingpool`.
    #[serde(default = "three_seconds")]
    pub(crate) notice: Span,
    /// The pool is being resized to this many nodes fewer. `leaves_after` then applies to that many last nodes only.
    pub(crate) shrinking: Option<u32>,
    #[serde(default, rename = "life")]
    pub(crate) lives: Vec<Life>,
}

impl PoolScenario {
    /// The positions of the nodes that `leaves_after` applies to.
    pub(crate) fn leaving(&self) -> Range<u32> {
        match self.leaves_after {
            None => 0..0,
            Some(_) => self.nodes.saturating_sub(self.shrinking.unwrap_or(self.nodes))..self.nodes,
        }
    }

    /// What lists say about the pool's size.
    pub(crate) fn allocation_state(&self) -> AllocationState {
        if self.shrinking.is_some() { AllocationState::Resizing } else { self.allocation_state }
    }
}

/// `[[account.pool.life]]`: what happens to some of the nodes.
///
/// Each life takes the next nodes in order, after those of the lives before it, unless `from` says otherwise. If
/// several lives apply to a node at a given time, the last one in the file counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Life {
    /// How many nodes; `share` gives the same as a proportion. With neither: all remaining nodes.
    pub(crate) nodes: Option<u32>,
    pub(crate) share: Option<f64>,
    /// Position of the first node in the pool, instead of the next one in order.
    pub(crate) from: Option<u32>,
    /// Only nodes with this initial state.
    pub(crate) of: Option<NodeState>,
    pub(crate) at: Span,
    pub(crate) becomes: NodeState,
    /// Back in its initial state (idle if that state passes by itself), under the same id with a new
    /// `allocationTime`, this long after `at`.
    pub(crate) back_after: Option<Span>,
    /// The same, but on the same machine: only the state changes.
    pub(crate) recovers_after: Option<Span>,
    /// Leaves for good this long after `at`.
    pub(crate) gone_after: Option<Span>,
    /// The life repeats with this period.
    pub(crate) every: Option<Span>,
    /// How often it happens in total; without it, without end.
    pub(crate) times: Option<u32>,
}

/// The states of a node; scenarios spell them as the service does.
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
    /// A state that no documentation lists; the node works like an idle one.
    Hibernating,
    /// Not a state of the service: the node does not exist.
    Gone,
}

impl NodeState {
    /// The spelling in lists.
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

    /// Whether the machine has not come up yet: it has no boot time, no agent and no start task.
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

/// What log files contain.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileContent {
    /// Lines with times that span the whole requested window.
    #[default]
    Lines,
    /// The same with a gap of a fifth in the middle: half of the files end before it, the others begin after it.
    Gap,
    /// Bytes that look compressed.
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

/// Whether the pool is changing its size.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AllocationState {
    #[default]
    Steady,
    Resizing,
    Stopping,
}

/// `node_error` of a pool.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeError {
    pub(crate) code: String,
    pub(crate) message: String,
}

fn could_not_be_allocated() -> String {
    "Desired number of dedicated nodes could not be allocated".to_owned()
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
