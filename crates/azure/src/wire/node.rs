//! Nodes.

use std::borrow::Cow;
use std::sync::Arc;

use fleetlogs_model::ids::NodeId;
use fleetlogs_model::node_facts::NodeFacts;
use fleetlogs_model::service::{Node, NodeState, RecentTask, StartTaskResult};
use serde::Deserialize;

use super::execution::ExecutionInfo;
use super::list::{HasId, ListItem};
use super::node_error::{MOST_ERRORS, NodeErrorAnswer, node_errors};
use super::values::{WireTime, lenient_items, lenient_name, lenient_text, lenient_value};
use crate::redact::verbatim_if_harmless;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeAnswer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient_text")]
    state: Option<String>,
    #[serde(default)]
    state_transition_time: WireTime,
    #[serde(default)]
    allocation_time: WireTime,
    #[serde(default)]
    last_boot_time: WireTime,
    #[serde(default, deserialize_with = "lenient_value")]
    is_dedicated: Option<bool>,
    #[serde(default, deserialize_with = "lenient_text")]
    scheduling_state: Option<String>,
    #[serde(default, deserialize_with = "lenient_value")]
    virtual_machine_info: Option<VirtualMachineInfo>,
    #[serde(default, deserialize_with = "lenient_value")]
    node_agent_info: Option<NodeAgentInfo>,
    #[serde(borrow, default, deserialize_with = "lenient_items::<_, _, MOST_ERRORS>")]
    errors: Vec<NodeErrorAnswer<'a>>,
    #[serde(default, deserialize_with = "lenient_value")]
    start_task_info: Option<StartTaskInfo>,
    #[serde(default, deserialize_with = "lenient_items::<_, _, MOST_RECENT_TASKS>")]
    recent_tasks: Vec<RecentTaskAnswer>,
}

/// The service shows ten.
const MOST_RECENT_TASKS: usize = 10;

impl HasId for NodeAnswer<'_> {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecentTaskAnswer {
    #[serde(default, deserialize_with = "lenient_name")]
    job_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_name")]
    task_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_value")]
    execution_info: Option<ExecutionInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VirtualMachineInfo {
    #[serde(default, deserialize_with = "lenient_value")]
    image_reference: Option<ImageReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageReference {
    #[serde(default, deserialize_with = "lenient_text")]
    publisher: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    offer: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    sku: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    version: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    exact_version: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    virtual_machine_image_id: Option<String>,
}

impl ImageReference {
    /// One text: the ARM id of a custom image, or the parts of a marketplace image.
    fn into_text(self) -> Option<String> {
        let version = self.exact_version.or(self.version);
        let parts: Vec<_> = [self.publisher, self.offer, self.sku, version].into_iter().flatten().collect();
        self.virtual_machine_image_id.or_else(|| (!parts.is_empty()).then(|| parts.join(":")))
    }
}

#[derive(Deserialize)]
struct NodeAgentInfo {
    #[serde(default, deserialize_with = "lenient_text")]
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartTaskInfo {
    #[serde(default, deserialize_with = "lenient_text")]
    state: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    result: Option<String>,
    #[serde(default, deserialize_with = "lenient_value")]
    exit_code: Option<i64>,
}

impl ListItem for Node {
    type Answer<'a> = NodeAnswer<'a>;

    fn of(answer: NodeAnswer<'_>) -> Self {
        Self {
            id: NodeId::new(verbatim_if_harmless(answer.id.into_owned())),
            state_since: answer.state_transition_time.0,
            allocation_time: answer.allocation_time.0,
            last_boot_time: answer.last_boot_time.0,
            facts: NodeFacts {
                state: answer.state.map(NodeState::from),
                dedicated: answer.is_dedicated,
                scheduling_enabled: answer
                    .scheduling_state
                    .map(|state| state.eq_ignore_ascii_case("enabled")),
                image: answer
                    .virtual_machine_info
                    .and_then(|info| info.image_reference?.into_text())
                    .map(Into::into),
                agent_version: answer.node_agent_info.and_then(|agent| agent.version).map(Into::into),
                errors: node_errors(answer.errors),
                start_task: answer.start_task_info.map(|task| StartTaskResult {
                    state: task.state,
                    result: task.result,
                    exit_code: task.exit_code.and_then(|code| i32::try_from(code).ok()),
                }),
            },
            recent_tasks: answer
                .recent_tasks
                .into_iter()
                .filter_map(|recent| {
                    let execution = recent.execution_info.unwrap_or_default();
                    Some(RecentTask {
                        job: recent.job_id?.into(),
                        task: recent.task_id?.into(),
                        started: execution.start_time.0,
                        ended: execution.end_time.0,
                        exit_code: execution.exit_code.and_then(|code| i32::try_from(code).ok()),
                    })
                })
                .collect(),
        }
    }

    fn share_with(&mut self, before: &Self) {
        let share = |name: &mut Option<Arc<str>>, before: &Option<Arc<str>>| {
            if name == before {
                name.clone_from(before);
            }
        };
        share(&mut self.facts.image, &before.facts.image);
        share(&mut self.facts.agent_version, &before.facts.agent_version);
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn node(json: &str) -> Node {
        Node::of(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_node_that_is_still_booting_has_little_but_its_id() {
        let node = node(
            r#"{"id":"tvm-1","state":"creating","errors":null,"lastBootTime":null,"allocationTime":0,"novelty":{"a":[1]}}"#,
        );
        assert_eq!(node.id.as_str(), "tvm-1");
        assert_eq!(node.facts.state, Some(NodeState::Creating));
        assert_eq!(
            (node.last_boot_time, node.facts.agent_version, node.facts.start_task),
            (None, None, None)
        );
    }

    #[test]
    fn a_full_node_is_read_and_a_bad_time_is_no_time() {
        let node = node(
            r#"{"id":"tvm\u002d1","state":"startTaskFailed","stateTransitionTime":"2026-11-22T09:30:00.1234567Z",
                "allocationTime":"yesterday","isDedicated":false,"nodeAgentInfo":{"version":"1.12.15"},
                "errors":[{"code":"DiskFull","message":"no space","errorDetails":[{"name":"a","value":"b"}]}],
                "startTaskInfo":{"state":"completed","result":"failure","exitCode":3,"retryCount":0}}"#,
        );
        assert_eq!(node.id.as_str(), "tvm-1");
        assert_eq!(node.state_since, Some(datetime!(2026-11-22 09:30:00.1234567 UTC)));
        assert_eq!(node.allocation_time, None);
        assert_eq!(node.facts.errors[0].code, "DiskFull");
        assert_eq!(node.facts.start_task.unwrap().exit_code, Some(3));
    }

    #[test]
    fn what_is_odd_about_a_node_costs_no_more_than_itself() {
        let node = node(
            r#"{"id":"tvm-1","state":7,"allocationTime":"9999-12-31T23:59:59-12:00","isDedicated":"yes",
                "errors":[null,{"code":"DiskFull"},3],"startTaskInfo":[],"nodeAgentInfo":1,
                "recentTasks":[null,{"jobId":"j","taskId":"t","executionInfo":{"startTime":"9999-12-31T23:59:59-12:00"}}]}"#,
        );
        assert_eq!((node.facts.state, node.allocation_time, node.facts.dedicated), (None, None, None));
        assert_eq!(
            node.facts.errors.iter().map(|error| error.code.as_str()).collect::<Vec<_>>(),
            ["DiskFull"]
        );
        assert_eq!((node.recent_tasks.len(), node.recent_tasks[0].started), (1, None));
    }
}
