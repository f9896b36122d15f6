//! The members of pools and nodes.

mod common;

use common::{Caller, one_pool, simulate};
use serde_json::{Value, json};

const SECRET: &str = "FAKE-SECRET-IN-TASK";

#[tokio::test]
async fn a_pool_says_what_the_scenario_gave_it() {
    let pool = r#"
        nodes = 3
        spot = 1
        vm_size = "standard_nc6"
        resize_error = "AllocationFailed"
        auto_scale = true
        image = "contoso:linux:gpu:1.2.3"
        metadata = { team = "render", cost = "42" }
    "#;
    let simulator = simulate(&one_pool(pool, "")).await;

    let pool = Caller::new(&simulator).get_json("/pools/p").await;

    assert_eq!(pool["vmSize"], "standard_nc6");
    assert_eq!(
        pool["metadata"],
        json!([{ "name": "cost", "value": "42" }, { "name": "team", "value": "render" }])
    );
    assert_eq!(pool["resizeErrors"][0]["code"], "AllocationFailed");
    assert!(pool["resizeErrors"][0]["message"].is_string());
    assert_eq!((&pool["enableAutoScale"], &pool["currentDedicatedNodes"]), (&json!(true), &json!(2)));
    assert_eq!(pool["targetDedicatedNodes"], 3, "it did not get all it wanted");
    assert_eq!(pool["virtualMachineConfiguration"]["imageReference"]["sku"], "gpu");
}

#[tokio::test]
async fn what_a_pool_was_not_given_is_absent() {
    let simulator = simulate(&one_pool("", "")).await;

    let pool = Caller::new(&simulator).get_json("/pools/p").await;

    for name in ["metadata", "resizeErrors", "autoScaleFormula", "identity"] {
        assert_eq!(pool.get(name), None, "{name}");
    }
    assert_eq!(pool["enableAutoScale"], false);
}

#[tokio::test]
async fn nodes_say_their_image_and_its_exact_version() {
    for (line, sku, exact) in [
        ("", "22_04-lts", "22.04.202509090"),
        ("os = \"windows\"", "2022-datacenter", "20348.4171.250903"),
        ("image = \"a:b:c:1.2.3\"", "c", "1.2.3"),
    ] {
        let simulator = simulate(&one_pool(line, "")).await;

        let (nodes, _) = Caller::new(&simulator).walk("/pools/p/nodes").await;

        let image = &nodes[0]["virtualMachineInfo"]["imageReference"];
        assert_eq!((image["sku"].as_str(), image["exactVersion"].as_str()), (Some(sku), Some(exact)));
    }
}

#[tokio::test]
async fn nodes_without_scheduling_say_so_and_only_they() {
    let simulator = simulate(&one_pool("nodes = 6\nscheduling_disabled = 2", "")).await;

    let (nodes, _) = Caller::new(&simulator).walk("/pools/p/nodes?$select=schedulingState,state").await;

    let said: Vec<_> = nodes.iter().map(|node| (&node["schedulingState"], &node["state"])).collect();
    assert_eq!(said[..2], [(&json!("disabled"), &json!("offline")); 2]);
    assert_eq!(said[2..], [(&json!("enabled"), &json!("idle")); 4]);
}

#[tokio::test]
async fn secrets_of_start_tasks_come_with_all_members_and_not_with_those_that_are_selected() {
    let simulator = simulate(&one_pool("nodes = 20", "")).await;
    let caller = Caller::new(&simulator);

    for path in ["/pools", "/pools/p/nodes"] {
        let all = caller.get(path).await.text().await.expect("text");
        let few =
            caller.get(&format!("{path}?$select=id,state,startTaskInfo")).await.text().await.expect("text");

        assert!(all.contains(SECRET) && all.contains("environmentSettings"), "{path}");
        assert!(!few.contains(SECRET), "{path}");
    }
}

#[tokio::test]
async fn recent_tasks_are_those_of_the_jobs_and_fit_the_total() {
    let job = r#"
        [[account.job]]
        id = "nightly"
        pool = "p"
        tasks = 8
        nodes = 2
        instances = 2
        failed = 8
    "#;
    let simulator = simulate(&one_pool(&format!("nodes = 3\nunknown_state = 0\n{job}"), "")).await;

    let (nodes, _) = Caller::new(&simulator).walk("/pools/p/nodes").await;

    let of = |node: &Value| -> Vec<Value> {
        let recent = node["recentTasks"].as_array().cloned().unwrap_or_default();
        recent.into_iter().filter(|task| task["jobId"] == "nightly").collect()
    };
    assert_eq!(nodes.iter().map(|node| of(node).len()).collect::<Vec<_>>(), [8, 8, 0]);
    assert!(of(&nodes[0]).iter().all(|task| task.get("subtaskId").is_none()), "the primary tasks");
    assert!(of(&nodes[1]).iter().all(|task| task["subtaskId"] == 1));
    for task in of(&nodes[1]) {
        assert_eq!(task["taskState"], "completed");
        assert_eq!(
            (&task["executionInfo"]["exitCode"], &task["executionInfo"]["retryCount"]),
            (&json!(1), &json!(0))
        );
        assert!(task["executionInfo"]["startTime"].as_str() > nodes[1]["allocationTime"].as_str());
    }
    for node in &nodes {
        let (total, good) = (node["totalTasksRun"].as_u64(), node["totalTasksSucceeded"].as_u64());
        let (total, good) = (total.expect("a number"), good.expect("a number"));
        assert!(total >= good + of(node).len() as u64, "{total} and {good}");
    }
}
