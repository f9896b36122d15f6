//! One job of a scenario.

use std::time::Duration;

use serde::Deserialize;

use super::values::Span;

/// `[[account.job]]`: tasks that run on the first nodes of a pool, in turn.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobScenario {
    pub(crate) id: String,
    /// Id of the pool its tasks run on.
    pub(crate) pool: String,
    #[serde(default = "at_least_one")]
    pub(crate) tasks: u32,
    /// The first nodes of the pool, this many, share the tasks; all nodes of the pool if left out.
    pub(crate) nodes: Option<u32>,
    /// How long before the start of the simulator the first task started.
    #[serde(default = "two_hours")]
    pub(crate) started: Span,
    /// How long after its start the last task ended.
    #[serde(default = "twenty_minutes")]
    pub(crate) lasted: Span,
    /// The text that stands for the end of every task that has ended.
    pub(crate) end_times: Option<String>,
    /// Nodes per task: with more than one, tasks are multi-instance tasks and have subtasks.
    #[serde(default = "at_least_one")]
    pub(crate) instances: u32,
    /// The first tasks, this many, ran on nodes that are no longer in the pool.
    #[serde(default)]
    pub(crate) gone: u32,
    /// The last tasks, this many, failed.
    #[serde(default)]
    pub(crate) failed: u32,
}

fn at_least_one() -> u32 {
    1
}

fn two_hours() -> Span {
    Span(Duration::from_secs(2 * 3600))
}

fn twenty_minutes() -> Span {
    Span(Duration::from_secs(20 * 60))
}
