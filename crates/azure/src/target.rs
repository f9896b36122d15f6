//! Where a request goes: the URLs of one account, with the part that Shared Key signs.
//!
//! What all requests of an account share (the queries, and their signed form) is computed once.

use std::borrow::Cow;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::{NodeId, PoolId};
use fleetlogs_model::service::NodeState;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::shared_key::canonical_query;

/// The members that planning reads, so that a page of 1,000 moves little data.
const POOL_MEMBERS: &str = "id,state,allocationState,currentDedicatedNodes,targetDedicatedNodes,\
    currentLowPriorityNodes,targetLowPriorityNodes,virtualMachineConfiguration,vmSize,metadata,\
    resizeErrors";
const NODE_MEMBERS: &str = "id,state,stateTransitionTime,allocationTime,lastBootTime,isDedicated,nodeAgentInfo,\
    errors,startTaskInfo,schedulingState,virtualMachineInfo,recentTasks";
/// The members by which nodes are selected.
const CHOICE_MEMBERS: &str =
    "id,state,stateTransitionTime,allocationTime,isDedicated,schedulingState,errors,startTaskInfo";
const TASK_MEMBERS: &str = "id,executionInfo,nodeInfo,multiInstanceSettings";

/// The largest page of the service.
const PAGE_SIZE: &str = "1000";

/// How many seconds the service may take for an upload call; its maximum is 30.
const UPLOAD_TIMEOUT: &str = "30";

/// What may appear unescaped in a path segment (RFC 3986, unreserved).
const ESCAPED_IN_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where one request goes.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) url: Url,
    /// Its query, in the form that Shared Key signs.
    pub(crate) signed_query: Cow<'a, [u8]>,
}

/// The URLs of one account.
pub(crate) struct AccountEndpoint {
    /// The endpoint as configured; links must stay on it.
    url: Url,
    /// Any path before the operation's, without a slash at the end.
    base: String,
    api_version: String,
    pools: AccountQuery,
    nodes: AccountQuery,
    node: AccountQuery,
    pool: AccountQuery,
    tasks: AccountQuery,
    upload: AccountQuery,
}

/// A query, as it is sent and as it is signed.
struct AccountQuery {
    /// The endpoint with this query, and without a path of its own.
    url: Url,
    signed: Vec<u8>,
}

impl AccountQuery {
    fn new(endpoint: &Url, api_version: &str, more: &[(&str, &str)]) -> Self {
        let mut sent = format!("api-version={}", utf8_percent_encode(api_version, ESCAPED_IN_SEGMENT));
        for (name, value) in more {
            sent.extend(["&", name, "=", value]);
        }
        let mut url = endpoint.clone();
        url.set_query(Some(&sent));
        url.set_fragment(None);
        Self { url, signed: canonical_query(&sent) }
    }
}

impl AccountEndpoint {
    pub(crate) fn new(url: Url, api_version: &str) -> Self {
        let query = |more: &[(&str, &str)]| AccountQuery::new(&url, api_version, more);
        Self {
            base: url.path().trim_end_matches('/').to_owned(),
            api_version: api_version.to_owned(),
            pools: query(&[("maxresults", PAGE_SIZE), ("$select", POOL_MEMBERS)]),
            nodes: query(&[("maxresults", PAGE_SIZE), ("$select", NODE_MEMBERS)]),
            node: query(&[("$select", NODE_MEMBERS)]),
            pool: query(&[]),
            tasks: query(&[("maxresults", PAGE_SIZE), ("$select", TASK_MEMBERS)]),
            upload: query(&[("timeout", UPLOAD_TIMEOUT)]),
            url,
        }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn pools(&self) -> Result<Target<'_>, Failure> {
        self.target(&["pools"], &self.pools)
    }

    pub(crate) fn pool(&self, pool: &PoolId) -> Result<Target<'_>, Failure> {
        self.target(&["pools", pool.as_str()], &self.pool)
    }

    pub(crate) fn tasks(&self, job: &str) -> Result<Target<'_>, Failure> {
        self.target(&["jobs", job, "tasks"], &self.tasks)
    }

    pub(crate) fn subtasks(&self, job: &str, task: &str) -> Result<Target<'_>, Failure> {
        self.target(&["jobs", job, "tasks", task, "subtasksinfo"], &self.pool)
    }

    pub(crate) fn nodes(&self, pool: &PoolId) -> Result<Target<'_>, Failure> {
        self.target(&["pools", pool.as_str(), "nodes"], &self.nodes)
    }

    /// The nodes of a pool that are in one of these states.
    pub(crate) fn nodes_in(&self, pool: &PoolId, states: &[NodeState]) -> Result<Target<'static>, Failure> {
        let test = |state: &NodeState| format!("state eq '{}'", state.as_str().replace('\'', "''"));
        let filter = states.iter().map(test).collect::<Vec<_>>().join(" or ");
        let filter = utf8_percent_encode(&filter, ESCAPED_IN_SEGMENT).to_string();
        let more = [("maxresults", PAGE_SIZE), ("$filter", filter.as_str()), ("$select", CHOICE_MEMBERS)];
        let query = AccountQuery::new(&self.url, &self.api_version, &more);
        let Target { url, signed_query } = self.target(&["pools", pool.as_str(), "nodes"], &query)?;
        Ok(Target { url, signed_query: Cow::Owned(signed_query.into_owned()) })
    }

    pub(crate) fn node(&self, pool: &PoolId, node: &NodeId) -> Result<Target<'_>, Failure> {
        self.target(&["pools", pool.as_str(), "nodes", node.as_str()], &self.node)
    }

    pub(crate) fn upload(&self, pool: &PoolId, node: &NodeId) -> Result<Target<'_>, Failure> {
        let path = ["pools", pool.as_str(), "nodes", node.as_str(), "uploadbatchservicelogs"];
        self.target(&path, &self.upload)
    }

    fn target<'a>(&self, path: &[&str], query: &'a AccountQuery) -> Result<Target<'a>, Failure> {
        let mut text = String::with_capacity(self.base.len() + 160);
        text.push_str(&self.base);
        for segment in path {
            // URL parsers resolve dots, even escaped ones, so such an id would name another resource.
            if matches!(*segment, "" | "." | "..") {
                return Err(Failure::new(
                    FailureClass::Refused,
                    format!("`{segment}` cannot be the id of a pool, node, job or task"),
                ));
            }
            text.push('/');
            text.extend(utf8_percent_encode(segment, ESCAPED_IN_SEGMENT));
        }
        // The rest of the URL has been parsed already.
        let mut url = query.url.clone();
        url.set_path(&text);
        Ok(Target { url, signed_query: Cow::Borrowed(&query.signed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> AccountEndpoint {
        AccountEndpoint::new(Url::parse(url).unwrap(), "2024-07-01.20.0")
    }

    #[test]
    fn the_api_version_comes_first_and_ids_are_escaped() {
        let endpoint = endpoint("https://contoso.westeurope.batch.azure.com/");
        let target = endpoint.upload(&PoolId::new("a/b?c"), &NodeId::new("tvm_1 é")).unwrap();
        assert_eq!(
            target.url.as_str(),
            "https://contoso.westeurope.batch.azure.com/pools/a%2Fb%3Fc/nodes/tvm_1%20%C3%A9/\
             uploadbatchservicelogs?api-version=2024-07-01.20.0&timeout=30"
        );
        assert_eq!(&*target.signed_query, b"\napi-version:2024-07-01.20.0\ntimeout:30");
    }

    #[test]
    fn lists_select_what_planning_needs() {
        let endpoint = endpoint("http://127.0.0.1:4001/account");
        let target = endpoint.nodes(&PoolId::new("p")).unwrap();
        assert_eq!(
            target.url.as_str(),
            "http://127.0.0.1:4001/account/pools/p/nodes?api-version=2024-07-01.20.0&maxresults=1000&$select=id,state,\
             stateTransitionTime,allocationTime,lastBootTime,isDedicated,nodeAgentInfo,errors,startTaskInfo,\
             schedulingState,virtualMachineInfo,recentTasks"
        );
    }

    #[test]
    fn a_filter_is_escaped_as_sent_and_plain_as_signed() {
        let endpoint = endpoint("https://contoso.westeurope.batch.azure.com");
        let states = [NodeState::Unusable, NodeState::Other("it's".into())];
        let target = endpoint.nodes_in(&PoolId::new("p"), &states).unwrap();
        assert_eq!(
            target.url.query(),
            Some(
                "api-version=2024-07-01.20.0&maxresults=1000&$filter=state%20eq%20%27unusable%27%20or%20state%20eq%20\
                 %27it%27%27s%27&$select=id,state,stateTransitionTime,allocationTime,isDedicated,schedulingState,errors,\
                 startTaskInfo"
            )
        );
        assert_eq!(
            String::from_utf8_lossy(&target.signed_query),
            "\n$filter:state eq 'unusable' or state eq 'it''s'\n$select:id,state,stateTransitionTime,allocationTime,\
             isDedicated,schedulingState,errors,startTaskInfo\napi-version:2024-07-01.20.0\nmaxresults:1000"
        );
    }

    #[test]
    fn an_id_of_dots_cannot_reach_another_resource() {
        let endpoint = endpoint("https://contoso.westeurope.batch.azure.com");
        for id in ["", ".", ".."] {
            let failure = endpoint.node(&PoolId::new("p"), &NodeId::new(id)).unwrap_err();
            assert_eq!(failure.class, FailureClass::Refused);
        }
    }
}
