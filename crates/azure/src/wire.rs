//! JSON as the Batch REST reference spells it.
//!
//! Every member of a pool or node but `id` may be missing or null, and unknown ones are passed over: the service
//! adds members over time, and nodes that are still booting lack many. Ids and times are read in place.

use std::borrow::Cow;
use std::fmt;

use fleetlogs_model::ids::{NodeId, PoolId};
use fleetlogs_model::service::{
    Node, NodeError, NodeState, Page, PageLink, Pool, RecentTask, StartTaskResult, Task,
};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// The form of times in a request.
const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Body of an upload call. Holds a SAS, so it has no Debug.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadRequest<'a> {
    pub(crate) container_url: &'a str,
    pub(crate) start_time: String,
    pub(crate) end_time: String,
    /// Instead of a SAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity_reference: Option<IdentityReference<'a>>,
}

/// A user-assigned managed identity of the node's pool.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IdentityReference<'a> {
    pub(crate) resource_id: &'a str,
}

/// Answer to an upload call. Without a directory it is no answer; a count that is missing or odd takes nothing from the
/// fact that the call was accepted, and repeating it would make a second directory.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadAnswer {
    pub(crate) virtual_directory_name: String,
    #[serde(default, deserialize_with = "count")]
    pub(crate) number_of_files_uploaded: Option<u32>,
}

/// A number, also where it is spelled otherwise than expected; none where it is none.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_u64().and_then(|number| number.try_into().ok()),
        serde_json::Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// One page of a list.
#[derive(Deserialize)]
pub(crate) struct ListAnswer<T> {
    /// Required: some other JSON must not pass for an empty list, as nodes would be missing from the plan unnoticed.
    value: Vec<T>,
    #[serde(rename = "odata.nextLink")]
    next_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolAnswer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    state: Option<String>,
    allocation_state: Option<String>,
    current_dedicated_nodes: Option<i64>,
    target_dedicated_nodes: Option<i64>,
    current_low_priority_nodes: Option<i64>,
    target_low_priority_nodes: Option<i64>,
    virtual_machine_configuration: Option<VirtualMachineConfiguration>,
    vm_size: Option<String>,
    metadata: Option<Vec<MetadataItem>>,
    #[serde(default, deserialize_with = "items")]
    resize_errors: Vec<NodeErrorAnswer>,
}

#[derive(Deserialize)]
struct MetadataItem {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct VirtualMachineConfiguration {
    #[serde(rename = "nodeAgentSKUId")]
    node_agent_sku: Option<String>,
}

/// A pool, for what is attached to it.
#[derive(Deserialize)]
pub(crate) struct PoolIdentityAnswer {
    pub(crate) identity: Option<PoolIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolIdentity {
    #[serde(default)]
    pub(crate) user_assigned_identities: Vec<UserAssignedIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserAssignedIdentity {
    pub(crate) resource_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeAnswer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    state: Option<String>,
    #[serde(default)]
    state_transition_time: Moment,
    #[serde(default)]
    allocation_time: Moment,
    #[serde(default)]
    last_boot_time: Moment,
    #[serde(default, deserialize_with = "lenient")]
    is_dedicated: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    scheduling_state: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    virtual_machine_info: Option<VirtualMachineInfo>,
    #[serde(default, deserialize_with = "lenient")]
    node_agent_info: Option<NodeAgentInfo>,
    #[serde(default, deserialize_with = "items")]
    errors: Vec<NodeErrorAnswer>,
    #[serde(default, deserialize_with = "lenient")]
    start_task_info: Option<StartTaskInfo>,
    #[serde(default, deserialize_with = "items")]
    recent_tasks: Vec<RecentTaskAnswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecentTaskAnswer {
    job_id: Option<String>,
    task_id: Option<String>,
    execution_info: Option<Execution>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Execution {
    #[serde(default)]
    start_time: Moment,
    #[serde(default)]
    end_time: Moment,
    exit_code: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskAnswer {
    id: String,
    execution_info: Option<Execution>,
    node_info: Option<TaskPlace>,
    multi_instance_settings: Option<MultiInstance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskPlace {
    pool_id: Option<String>,
    node_id: Option<String>,
}

impl TaskPlace {
    fn into_pair(self) -> Option<(PoolId, NodeId)> {
        Some((PoolId::new(self.pool_id?), NodeId::new(self.node_id?)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MultiInstance {
    number_of_instances: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubtaskAnswer {
    node_info: Option<TaskPlace>,
    #[serde(default)]
    start_time: Moment,
    #[serde(default)]
    end_time: Moment,
}

impl From<TaskAnswer> for Task {
    fn from(answer: TaskAnswer) -> Self {
        let times = answer.execution_info.unwrap_or_default();
        Self {
            id: answer.id,
            ran_on: answer.node_info.and_then(TaskPlace::into_pair),
            started: times.start_time.0,
            ended: times.end_time.0,
            instances: answer.multi_instance_settings.and_then(|many| many.number_of_instances).unwrap_or(1),
        }
    }
}

impl SubtaskAnswer {
    pub(crate) fn into_task(self, task: &str) -> Task {
        Task {
            id: task.to_owned(),
            ran_on: self.node_info.and_then(TaskPlace::into_pair),
            started: self.start_time.0,
            ended: self.end_time.0,
            instances: 1,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VirtualMachineInfo {
    image_reference: Option<ImageReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageReference {
    publisher: Option<String>,
    offer: Option<String>,
    sku: Option<String>,
    version: Option<String>,
    exact_version: Option<String>,
    virtual_machine_image_id: Option<String>,
}

impl ImageReference {
    /// One text: the ARM id of an image of one's own, or the parts of one of the marketplace's.
    fn into_text(self) -> Option<String> {
        let version = self.exact_version.or(self.version);
        let parts: Vec<_> = [self.publisher, self.offer, self.sku, version].into_iter().flatten().collect();
        self.virtual_machine_image_id.or_else(|| (!parts.is_empty()).then(|| parts.join(":")))
    }
}

#[derive(Deserialize)]
struct NodeAgentInfo {
    version: Option<String>,
}

#[derive(Deserialize)]
struct NodeErrorAnswer {
    code: Option<String>,
    message: Option<String>,
}

/// More errors of one node or pool than this say nothing new, and neither do longer texts.
const MOST_ERRORS: usize = 10;
const LONGEST_ERROR: usize = 1000;

fn errors(answers: Vec<NodeErrorAnswer>) -> Vec<NodeError> {
    let text = |text: Option<String>| {
        let mut text = text.unwrap_or_default();
        if let Some((end, _)) = text.char_indices().nth(LONGEST_ERROR) {
            text.truncate(end);
        }
        text
    };
    let error =
        |answer: NodeErrorAnswer| NodeError { code: text(answer.code), message: text(answer.message) };
    answers.into_iter().take(MOST_ERRORS).map(error).collect()
}

/// A member that is worth less than what it stands in: one that is not as expected is none.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(serde_json::Value::deserialize(deserializer)?).ok())
}

/// The same for a list, item by item.
fn items<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list: Option<Vec<serde_json::Value>> = lenient(deserializer)?;
    Ok(list.into_iter().flatten().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartTaskInfo {
    state: Option<String>,
    result: Option<String>,
    exit_code: Option<i64>,
}

/// A time in an answer. What is not a time is no time: it is worth less than the node it stands in.
#[derive(Default)]
struct Moment(Option<OffsetDateTime>);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;

        impl Visitor<'_> for AnyScalar {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_str<E>(self, text: &str) -> Result<Moment, E> {
                // Close to the end of time there may be none in UTC.
                let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
                Ok(Moment(moment.and_then(|moment| moment.checked_to_offset(time::UtcOffset::UTC))))
            }

            fn visit_unit<E>(self) -> Result<Moment, E> {
                Ok(Moment(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Moment, E> {
                Ok(Moment(None))
            }
        }

        deserializer.deserialize_any(AnyScalar)
    }
}

impl<T> ListAnswer<T> {
    /// What a list without pages holds.
    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        self.value.into_iter()
    }

    pub(crate) fn into_page<U: From<T>>(self) -> Page<U> {
        Page {
            items: self.value.into_iter().map(U::from).collect(),
            next: self.next_link.filter(|link| !link.is_empty()).map(PageLink),
        }
    }
}

impl From<PoolAnswer<'_>> for Pool {
    fn from(answer: PoolAnswer<'_>) -> Self {
        let total = |dedicated: Option<i64>, spot: Option<i64>| dedicated.unwrap_or(0) + spot.unwrap_or(0);
        let current = total(answer.current_dedicated_nodes, answer.current_low_priority_nodes);
        let target = total(answer.target_dedicated_nodes, answer.target_low_priority_nodes);
        // A target that is not told is not a target of zero.
        let target_known =
            answer.target_dedicated_nodes.is_some() || answer.target_low_priority_nodes.is_some();
        let is = |text: &Option<String>, state: &str| {
            text.as_ref().is_some_and(|text| text.eq_ignore_ascii_case(state))
        };
        Self {
            id: PoolId::new(&*answer.id),
            deleting: is(&answer.state, "deleting"),
            shrinking: is(&answer.allocation_state, "resizing") && target_known && target < current,
            current_nodes: u32::try_from(current.max(0)).unwrap_or(u32::MAX),
            os: answer.virtual_machine_configuration.and_then(|machine| machine.node_agent_sku),
            vm_size: answer.vm_size,
            allocation_state: answer.allocation_state,
            metadata: answer
                .metadata
                .unwrap_or_default()
                .into_iter()
                .map(|item| (item.name, item.value))
                .collect(),
            target_nodes: target_known.then(|| u32::try_from(target.max(0)).unwrap_or(u32::MAX)),
            resize_errors: errors(answer.resize_errors),
        }
    }
}

impl From<NodeAnswer<'_>> for Node {
    fn from(answer: NodeAnswer<'_>) -> Self {
        Self {
            id: NodeId::new(&*answer.id),
            state: answer.state.map(NodeState::from),
            state_since: answer.state_transition_time.0,
            allocation_time: answer.allocation_time.0,
            last_boot_time: answer.last_boot_time.0,
            dedicated: answer.is_dedicated,
            scheduling_enabled: answer.scheduling_state.map(|state| state.eq_ignore_ascii_case("enabled")),
            image: answer.virtual_machine_info.and_then(|info| info.image_reference?.into_text()),
            agent_version: answer.node_agent_info.and_then(|agent| agent.version),
            errors: errors(answer.errors),
            start_task: answer.start_task_info.map(|task| StartTaskResult {
                state: task.state,
                result: task.result,
                exit_code: task.exit_code.and_then(|code| i32::try_from(code).ok()),
            }),
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
}

/// A moment as requests spell it: ISO 8601, UTC, milliseconds.
pub(crate) fn time_text(moment: OffsetDateTime) -> String {
    moment.to_offset(time::UtcOffset::UTC).format(TIME).expect("a UTC time can be written so")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn pool(json: &str) -> Pool {
        serde_json::from_str::<PoolAnswer<'_>>(json).unwrap().into()
    }

    fn node(json: &str) -> Node {
        serde_json::from_str::<NodeAnswer<'_>>(json).unwrap().into()
    }

    #[test]
    fn a_node_that_is_still_booting_has_little_but_its_id() {
        let node = node(
            r#"{"id":"tvm-1","state":"creating","errors":null,"lastBootTime":null,"allocationTime":0,"novelty":{"a":[1]}}"#,
        );
        assert_eq!(node.id.as_str(), "tvm-1");
        assert_eq!(node.state, Some(NodeState::Creating));
        assert_eq!((node.last_boot_time, node.agent_version, node.start_task), (None, None, None));
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
        assert_eq!(node.errors[0].code, "DiskFull");
        assert_eq!(node.start_task.unwrap().exit_code, Some(3));
    }

    #[test]
    fn what_is_odd_about_a_node_costs_no_more_than_itself() {
        let node = node(
            r#"{"id":"tvm-1","state":7,"allocationTime":"9999-12-31T23:59:59-12:00","isDedicated":"yes",
                "errors":[null,{"code":"DiskFull"},3],"startTaskInfo":[],"nodeAgentInfo":1,
                "recentTasks":[null,{"jobId":"j","taskId":"t","executionInfo":{"startTime":"9999-12-31T23:59:59-12:00"}}]}"#,
        );
        assert_eq!((node.state, node.allocation_time, node.dedicated), (None, None, None));
        assert_eq!(node.errors.iter().map(|error| error.code.as_str()).collect::<Vec<_>>(), ["DiskFull"]);
        assert_eq!((node.recent_tasks.len(), node.recent_tasks[0].started), (1, None));
    }

    #[test]
    fn long_lists_of_long_errors_are_cut() {
        let errors = vec![format!(r#"{{"code":"A","message":"{}"}}"#, "é".repeat(5000)); 300].join(",");
        let pool = pool(&format!(r#"{{"id":"p","resizeErrors":[{errors}]}}"#));
        assert_eq!((pool.resize_errors.len(), pool.resize_errors[0].message.chars().count()), (10, 1000));
    }

    #[test]
    fn a_pool_shrinks_while_it_is_resizing_to_fewer_nodes() {
        let shrinking = |rest: &str| pool(&format!(r#"{{"id":"p",{rest}}}"#)).shrinking;
        assert!(shrinking(
            r#""allocationState":"resizing","currentDedicatedNodes":3,"targetDedicatedNodes":3,
               "currentLowPriorityNodes":2,"targetLowPriorityNodes":0"#
        ));
        assert!(!shrinking(
            r#""allocationState":"steady","currentDedicatedNodes":3,"targetDedicatedNodes":0"#
        ));
        assert!(!shrinking(
            r#""allocationState":"resizing","currentDedicatedNodes":3,"targetDedicatedNodes":4"#
        ));
        assert!(!shrinking(r#""allocationState":"resizing","currentDedicatedNodes":3"#));
    }

    #[test]
    fn an_empty_page_may_have_a_next_one() {
        let answer: ListAnswer<PoolAnswer<'_>> =
            serde_json::from_str("{\r\n  \"value\": [],\r\n  \"odata.nextLink\": \"https://e/pools?x\"\r\n}")
                .unwrap();
        let page: Page<Pool> = answer.into_page();
        assert!(page.items.is_empty());
        assert_eq!(page.next, Some(PageLink("https://e/pools?x".into())));
    }

    #[test]
    fn times_are_sent_in_utc() {
        assert_eq!(time_text(datetime!(2026-11-22 10:30:00.5 +1)), "2026-11-22T09:30:00.500Z");
    }
}
