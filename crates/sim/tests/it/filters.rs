//! `$filter` over HTTP: each list supports its own properties and no others.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{Caller, one_pool, refusal, simulate};
use serde_json::Value;

/// Encoded for a path.
fn escaped(filter: &str) -> String {
    filter.replace(' ', "%20")
}

async fn ids(caller: &Caller, list: &str, filter: &str) -> Vec<String> {
    let (members, _) = caller.walk(&format!("{list}?$filter={}", escaped(filter))).await;
    members.iter().map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn nodes_are_found_by_their_times() {
    let simulator = simulate(&one_pool("nodes = 50", "")).await;
    let caller = Caller::new(&simulator);
    let (all, _) = caller.walk("/pools/p/nodes").await;

    for property in ["stateTransitionTime", "lastBootTime", "allocationTime"] {
        let middle = all[20][property].as_str().expect("a time");
        let count = async |operator: &str| {
            ids(&caller, "/pools/p/nodes", &format!("{property} {operator} DateTime'{middle}'")).await.len()
        };

        let expected = all.iter().filter(|node| node[property].as_str() < Some(middle)).count();
        assert_eq!(count("lt").await, expected, "{property}");
        assert_eq!((count("eq").await, count("ne").await), (1, 49), "{property}");
        assert_eq!(count("ge").await + expected, 50, "{property}");
    }
}

#[tokio::test]
async fn nodes_are_found_by_their_start_task() {
    let pool = "nodes = 60\nstates = { starttaskfailed = 0.1, waitingforstarttask = 0.2, creating = 0.1 }";
    let simulator = simulate(&one_pool(pool, "")).await;
    let caller = Caller::new(&simulator);
    let count = async |filter: &str| ids(&caller, "/pools/p/nodes", filter).await.len();

    assert_eq!(count("startTaskInfo/exitCode gt 0").await, 6);
    assert_eq!(count("startTaskInfo/result eq 'Failure'").await, 6);
    assert_eq!(count("startTaskInfo/state eq 'running'").await, 12);
    assert_eq!(count("state eq 'creating' or startTaskInfo/state eq 'running'").await, 18);
    assert_eq!(count("startTaskInfo/startTime lt DateTime'2000-01-01T00:00:00Z'").await, 0);
    let done = count("startTaskInfo/endTime gt DateTime'2000-01-01T00:00:00Z'").await;
    assert!((6..48).contains(&done), "{done}");
}

#[tokio::test]
async fn pools_are_found_by_what_they_are() {
    let more = r#"
        [[account.pool]]
        id = "Render-2"
        vm_size = "standard_nc6"
        state = "deleting"
        [[account.pool]]
        id = "render-3"
        auto_scale = true
        allocation_state = "resizing"
    "#;
    let simulator = simulate(&one_pool(more, "")).await;
    let caller = Caller::new(&simulator);

    for (filter, expected) in [
        ("startswith(id, 'RENDER')", vec!["Render-2", "render-3"]),
        ("id ge 'q'", vec!["Render-2", "render-3"]),
        ("vmSize eq 'Standard_NC6'", vec!["Render-2"]),
        ("state ne 'deleting'", vec!["p", "render-3"]),
        (
            "allocationState eq 'resizing' or (state eq 'deleting' and id ne 'p')",
            vec!["Render-2", "render-3"],
        ),
        ("enableAutoScale eq true", vec!["render-3"]),
        ("enableInterNodeCommunication eq true", vec![]),
        ("creationTime lt DateTime'2020-01-01T00:00:00Z'", vec![]),
    ] {
        assert_eq!(ids(&caller, "/pools", filter).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn what_a_list_does_not_know_is_refused_with_a_reason() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);

    for (list, filter) in [
        ("/pools/p/nodes", "id eq 'x'"),
        ("/pools/p/nodes", "vmSize eq 'x'"),
        ("/pools/p/nodes", "schedulingState eq 'enabled'"),
        ("/pools/p/nodes", "state gt 'idle'"),
        ("/pools/p/nodes", "lastBootTime gt '2024-01-01T00:00:00Z'"),
        ("/pools", "nodes eq 3"),
        ("/pools", "state eq 'active' and"),
        ("/nodecounts", "state eq 'active'"),
    ] {
        let path = format!("{list}?$filter={}", escaped(filter));

        let code = refusal(caller.get(&path).await).await;
        let body: Value = caller.get_json(&path).await;

        assert_eq!(code, (400, "InvalidQueryParameterValue".to_owned()), "{filter}");
        assert_eq!(body["values"][0]["value"], "$filter");
        assert!(body["values"][2]["value"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
    }
}

#[tokio::test]
async fn pages_of_a_filtered_list_have_it_all() {
    let simulator = simulate(&one_pool("nodes = 40\nstates = { running = 0.5 }", "page_size = 3")).await;
    let caller = Caller::new(&simulator);

    assert_eq!(ids(&caller, "/pools/p/nodes", "state eq 'running' or state eq 'offline'").await.len(), 20);
}

#[tokio::test]
async fn a_node_that_flaps_is_found_by_its_state_each_time_with_a_new_time() {
    let pool = r#"
        nodes = 5
        [[account.pool.life]]
        nodes = 1
        at = "100ms"
        becomes = "starttaskfailed"
        recovers_after = "500ms"
        every = "1s"
    "#;
    let simulator = simulate(&one_pool(pool, "")).await;
    let caller = Caller::new(&simulator);
    let bad = "/pools/p/nodes?$filter=state%20eq%20%27unusable%27%20or%20state%20eq%20%27starttaskfailed%27\
               &$select=id,state,stateTransitionTime,allocationTime";

    let (mut times, mut empty) = (BTreeSet::new(), 0);
    while times.len() < 3 {
        let (nodes, _) = caller.walk(bad).await;
        assert!(nodes.len() <= 1, "{nodes:?}");
        empty += usize::from(nodes.is_empty());
        for node in &nodes {
            assert_eq!(node["state"], "starttaskfailed");
            assert!(node.get("schedulingState").is_none());
            times.insert(node["stateTransitionTime"].as_str().expect("a time").to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert!(empty > 0, "it recovers in between");
}
