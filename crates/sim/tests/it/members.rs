//! The members of pools and nodes.

use crate::common::{Caller, one_pool, simulate};
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
async fn single_things_are_read_under_conditions_and_their_tag_is_a_time() {
    let job = "[[account.job]]\nid = \"j\"\npool = \"p\"";
    let simulator = simulate(&one_pool(&format!("deleting_at = \"0s\"\n{job}"), "")).await;
    let caller = Caller::new(&simulator);

    for path in ["/pools/p", "/jobs/j", "/jobs/j/tasks/task-0000"] {
        let answer = caller.get(path).await;
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        let (etag, date) = (header("etag"), header("last-modified"));
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["eTag"], etag);
        assert_eq!(body["lastModified"], body["stateTransitionTime"], "{path}");
        let modified = body["lastModified"].as_str().expect("a time");
        let modified = time::OffsetDateTime::parse(modified, &time::format_description::well_known::Rfc3339);
        let ticks = modified.expect("a time").unix_timestamp_nanos() / 100 + 621_355_968_000_000_000;
        assert_eq!(etag, format!("0x{ticks:X}"), "{path}");

        let past = "Wed, 01 Jan 2020 12:00:00 GMT";
        for (name, value, expected) in [
            ("if-none-match", etag.as_str(), 304),
            ("if-none-match", "*", 304),
            ("if-none-match", "0x8DD6713722D7F02", 200),
            ("if-match", etag.as_str(), 200),
            ("if-match", "0x8DD6713722D7F02", 412),
            ("if-modified-since", date.as_str(), 304),
            ("if-modified-since", past, 200),
            ("if-unmodified-since", date.as_str(), 200),
            ("if-unmodified-since", past, 412),
        ] {
            let answer = caller.get_if(path, name, value).await;
            assert_eq!(answer.status().as_u16(), expected, "{path} {name}: {value}");
            if expected == 412 {
                assert_eq!(crate::common::refusal(answer).await.1, "ConditionNotMet");
            }
        }
    }
}

#[tokio::test]
async fn a_pool_exists_or_does_not() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);

    for (path, expected) in [("/pools/p", 200), ("/pools/q", 404), ("/jobs", 405)] {
        let path = format!("{path}?api-version=2024-07-01.20.0");
        let answer = caller.request(reqwest::Method::HEAD, &path, None).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), expected);
        assert!(answer.text().await.expect("text").is_empty());
    }
}

#[tokio::test]
async fn members_are_those_of_recordings() {
    let more = "os = \"windows\"\nnodes = 2\n[[account.job]]\nid = \"j\"\npool = \"p\"";
    let of_user = "auth = [\"entra\"]\npool_allocation_mode = \"UserSubscription\"";
    let simulator = simulate(&one_pool(more, "")).await;
    let caller = Caller::new(&simulator);
    let pool = caller.get_json("/pools/p").await;
    assert_eq!(pool["taskSchedulingPolicy"]["nodeFillType"], "Spread");
    assert!(
        pool["startTask"]["commandLine"].as_str().is_some_and(|line| line.starts_with("cmd /c ")),
        "{pool}"
    );
    let (nodes, _) = caller.walk("/pools/p/nodes").await;
    assert_eq!((&nodes[0]["ipAddress"], &nodes[1]["ipAddress"]), (&json!("10.0.0.4"), &json!("10.0.0.5")));
    assert_eq!(nodes[0]["virtualMachineInfo"].get("scaleSetVmResourceId"), None);
    let job = caller.get_json("/jobs/j").await;
    assert_eq!((&job["maxParallelTasks"], &job["constraints"]["maxTaskRetryCount"]), (&json!(-1), &json!(0)));
    let task = caller.get_json("/jobs/j/tasks/task-0000").await;
    assert_eq!(task["userIdentity"]["autoUser"]["elevationLevel"], "nonadmin");
    assert_eq!(task["constraints"]["retentionTime"], "P7D");
    let subtasks = caller.get_json("/jobs/j/tasks/task-0000/subtasksinfo").await;
    assert!(subtasks["odata.metadata"].as_str().is_some_and(|text| text.ends_with("$metadata#subtaskinfo")));

    let simulator = simulate(&one_pool("", of_user)).await;
    let token = crate::common::token(&simulator, "https://batch.core.windows.net/").await;
    let url = format!("{}/pools/p/nodes?api-version=2024-07-01.20.0", simulator.ready().accounts[0].endpoint);
    let answer = crate::common::http().get(url).bearer_auth(token).send().await.expect("an answer");
    let nodes: Value = answer.json().await.expect("JSON");
    let id = &nodes["value"][0]["virtualMachineInfo"]["scaleSetVmResourceId"];
    assert!(id.as_str().is_some_and(|id| id.starts_with("/subscriptions/00000000-")), "{nodes}");
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
