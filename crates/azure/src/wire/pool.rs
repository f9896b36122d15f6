//! Pools.

use std::borrow::Cow;

use fleetlogs_model::ids::PoolId;
use fleetlogs_model::service::Pool;
use serde::Deserialize;

use super::list::{HasId, ListItem};
use super::node_error::{MOST_ERRORS, NodeErrorAnswer, node_errors};
use super::values::{lenient_items, lenient_name, lenient_text, lenient_value};
use crate::redact::verbatim_if_harmless;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolAnswer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient_text")]
    state: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    allocation_state: Option<String>,
    #[serde(default, deserialize_with = "lenient_value")]
    current_dedicated_nodes: Option<i64>,
    #[serde(default, deserialize_with = "lenient_value")]
    target_dedicated_nodes: Option<i64>,
    #[serde(default, deserialize_with = "lenient_value")]
    current_low_priority_nodes: Option<i64>,
    #[serde(default, deserialize_with = "lenient_value")]
    target_low_priority_nodes: Option<i64>,
    #[serde(default, deserialize_with = "lenient_value")]
    virtual_machine_configuration: Option<VirtualMachineConfiguration>,
    #[serde(default, deserialize_with = "lenient_text")]
    vm_size: Option<String>,
    #[serde(default, deserialize_with = "lenient_items::<_, _, MOST_METADATA>")]
    metadata: Vec<MetadataItem>,
    #[serde(borrow, default, deserialize_with = "lenient_items::<_, _, MOST_ERRORS>")]
    resize_errors: Vec<NodeErrorAnswer<'a>>,
}

/// Pools have a handful.
const MOST_METADATA: usize = 1000;

/// One without a name is none.
#[derive(Deserialize)]
struct MetadataItem {
    #[serde(deserialize_with = "lenient_name")]
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient_name")]
    value: Option<String>,
}

impl HasId for PoolAnswer<'_> {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
struct VirtualMachineConfiguration {
    #[serde(rename = "nodeAgentSKUId", default, deserialize_with = "lenient_text")]
    node_agent_sku: Option<String>,
}

/// A pool with the identities attached to it.
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

impl ListItem for Pool {
    type Answer<'a> = PoolAnswer<'a>;

    fn of(answer: PoolAnswer<'_>) -> Self {
        let total = |dedicated: Option<i64>, spot: Option<i64>| {
            dedicated.unwrap_or(0).saturating_add(spot.unwrap_or(0))
        };
        let current = total(answer.current_dedicated_nodes, answer.current_low_priority_nodes);
        let target = total(answer.target_dedicated_nodes, answer.target_low_priority_nodes);
        // A missing target is not a target of zero.
        let target_known =
            answer.target_dedicated_nodes.is_some() || answer.target_low_priority_nodes.is_some();
        let is = |text: &Option<String>, state: &str| {
            text.as_ref().is_some_and(|text| text.eq_ignore_ascii_case(state))
        };
        Self {
            id: PoolId::new(verbatim_if_harmless(answer.id.into_owned())),
            deleting: is(&answer.state, "deleting"),
            shrinking: is(&answer.allocation_state, "resizing") && target_known && target < current,
            current_nodes: u32::try_from(current.max(0)).unwrap_or(u32::MAX),
            os: answer.virtual_machine_configuration.and_then(|machine| machine.node_agent_sku),
            vm_size: answer.vm_size,
            allocation_state: answer.allocation_state,
            metadata: answer
                .metadata
                .into_iter()
                .filter_map(|item| Some((item.name?, item.value.unwrap_or_default())))
                .collect(),
            target_nodes: target_known.then(|| u32::try_from(target.max(0)).unwrap_or(u32::MAX)),
            resize_errors: node_errors(answer.resize_errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(json: &str) -> Pool {
        Pool::of(serde_json::from_str(json).unwrap())
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
    fn what_is_odd_about_a_pool_costs_no_more_than_itself() {
        let odd = pool(
            r#"{"id":"p","state":7,"currentDedicatedNodes":9223372036854775807,"currentLowPriorityNodes":1,
                "targetDedicatedNodes":1e300,"vmSize":{},"virtualMachineConfiguration":3,
                "metadata":[null,{"name":"a"},{"value":"b"},{"name":"c","value":"d"}],"resizeErrors":{}}"#,
        );
        assert_eq!((odd.current_nodes, odd.target_nodes, odd.vm_size, odd.os), (u32::MAX, None, None, None));
        assert_eq!(odd.metadata, [("a".into(), String::new()), ("c".into(), "d".into())]);
    }
}
