//! Tasks, and where they ran.

use fleetlogs_model::ids::{NodeId, PoolId};
use fleetlogs_model::service::Task;
use serde::Deserialize;

use super::execution::ExecutionInfo;
use super::list::{HasId, ListItem};
use super::values::{WireTime, lenient_count, lenient_name, lenient_value};
use crate::redact::verbatim_if_harmless;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskAnswer {
    id: String,
    #[serde(default, deserialize_with = "lenient_value")]
    execution_info: Option<ExecutionInfo>,
    #[serde(default, deserialize_with = "lenient_value")]
    node_info: Option<NodeInfo>,
    #[serde(default, deserialize_with = "lenient_value")]
    multi_instance_settings: Option<MultiInstanceSettings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    #[serde(default, deserialize_with = "lenient_name")]
    pool_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_name")]
    node_id: Option<String>,
}

impl NodeInfo {
    fn into_pair(self) -> Option<(PoolId, NodeId)> {
        Some((PoolId::new(self.pool_id?), NodeId::new(self.node_id?)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MultiInstanceSettings {
    #[serde(default, deserialize_with = "lenient_count")]
    number_of_instances: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubtaskAnswer {
    #[serde(default, deserialize_with = "lenient_value")]
    node_info: Option<NodeInfo>,
    #[serde(default)]
    start_time: WireTime,
    #[serde(default)]
    end_time: WireTime,
}

impl HasId for TaskAnswer {
    fn id(&self) -> &str {
        &self.id
    }
}

impl ListItem for Task {
    type Answer<'a> = TaskAnswer;

    fn of(answer: TaskAnswer) -> Self {
        let times = answer.execution_info.unwrap_or_default();
        Self {
            id: verbatim_if_harmless(answer.id),
            ran_on: answer.node_info.and_then(NodeInfo::into_pair),
            started: times.start_time.0,
            ended: times.end_time.0,
            instances: answer.multi_instance_settings.and_then(|many| many.number_of_instances).unwrap_or(1),
        }
    }
}

impl HasId for SubtaskAnswer {
    /// Subtasks are numbered.
    fn id(&self) -> &'static str {
        ""
    }
}

impl ListItem for SubtaskAnswer {
    type Answer<'a> = Self;

    fn of(answer: Self) -> Self {
        answer
    }
}

impl SubtaskAnswer {
    pub(crate) fn into_task(self, task: &str) -> Task {
        Task {
            id: task.to_owned(),
            ran_on: self.node_info.and_then(NodeInfo::into_pair),
            started: self.start_time.0,
            ended: self.end_time.0,
            instances: 1,
        }
    }
}
