//! Jobs, tasks and subtasks over HTTP.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Caller, one_pool, refusal, simulate};
use serde_json::{Value, json};

const SECRET: &str = "FAKE-SECRET-IN-TASK";

fn scenario(job: &str) -> String {
    one_pool("nodes = 20", "") + "[[account.job]]\nid = \"Nightly\"\npool = \"p\"\n" + job
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no {path} in {value}"))
}

#[tokio::test]
async fn tasks_are_spread_over_the_first_nodes_of_the_pool() {
    let simulator = simulate(&scenario(
        r"
        tasks = 40
        nodes = 10
        gone = 2
        failed = 3
        ",
    ))
    .await;
    let caller = Caller::new(&simulator);
    let nodes = caller.node_ids().await;

    let (tasks, pages) = caller.walk("/jobs/nightly/tasks?maxresults=7").await;

    let ids: BTreeSet<_> = tasks.iter().map(|task| text(task, "/id")).collect();
    assert_eq!((tasks.len(), ids.len(), pages), (40, 40, 6));
    let mut used: BTreeMap<&str, u32> = BTreeMap::new();
    for task in &tasks {
        *used.entry(text(task, "/nodeInfo/nodeId")).or_default() += 1;
    }
    let gone: Vec<_> = used.keys().filter(|node| !nodes.iter().any(|there| there == *node)).collect();
    assert_eq!(gone.len(), 2);
    for node in gone {
        let answer = caller.get(&format!("/pools/p/nodes/{node}")).await;
        assert_eq!(refusal(answer).await, (404, "NodeNotFound".to_owned()));
    }
    let there: Vec<u32> = nodes.iter().map(|node| used.get(node.as_str()).copied().unwrap_or(0)).collect();
    assert_eq!(there[..10], [3, 3, 4, 4, 4, 4, 4, 4, 4, 4]);
    assert!(there[10..].iter().all(|tasks| *tasks == 0));
    let failed: Vec<_> = tasks.iter().filter(|task| task["executionInfo"]["result"] == "failure").collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|task| task["executionInfo"]["exitCode"] == 1
        && text(task, "/executionInfo/failureInfo/code") == "FailureExitCode"));
    assert!(
        tasks[0]["executionInfo"].get("failureInfo").is_none() && tasks[0]["executionInfo"]["exitCode"] == 0
    );
}

#[tokio::test]
async fn a_task_says_where_and_when_it_ran() {
    let simulator = simulate(&scenario("started = \"1h\"\nlasted = \"10m\"")).await;
    let caller = Caller::new(&simulator);

    let task = caller.get_json("/jobs/nightly/tasks/TASK-0000").await;

    let node = text(&task, "/nodeInfo/nodeId");
    assert_eq!(text(&task, "/nodeInfo/poolId"), "p");
    assert_eq!(text(&task, "/nodeInfo/affinityId"), format!("TVM:{node}"));
    assert_eq!(text(&task, "/nodeInfo/nodeUrl"), format!("{}/pools/p/nodes/{node}", caller.endpoint));
    let directory = text(&task, "/nodeInfo/taskRootDirectory");
    assert!(directory.ends_with("/task-0000"), "{directory}");
    assert!(text(&task, "/nodeInfo/taskRootDirectoryUrl").ends_with(directory));
    let seconds = |path: &str| {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(text(&task, path), format).expect("a time").unix_timestamp()
    };
    let (start, end) = (seconds("/executionInfo/startTime"), seconds("/executionInfo/endTime"));
    assert_eq!(end - start, 600);
    assert!((3595..3660).contains(&(time::OffsetDateTime::now_utc().unix_timestamp() - start)));
    assert_eq!(task["executionInfo"]["requeueCount"], 0);
    assert_eq!(task.get("multiInstanceSettings"), None);
}

#[tokio::test]
async fn a_job_that_is_not_over_has_tasks_in_every_state() {
    let simulator = simulate(&scenario("tasks = 60\nstarted = \"1h\"\nlasted = \"2h\"")).await;
    let caller = Caller::new(&simulator);
    let (tasks, _) = caller.walk("/jobs/Nightly/tasks").await;

    let mut all = 0;
    for state in ["active", "running", "completed"] {
        let path = format!("/jobs/Nightly/tasks?$filter=state%20eq%20'{state}'");
        let (some, _) = caller.walk(&path).await;
        assert!(!some.is_empty() && some.iter().all(|task| task["state"] == state), "{state}");
        for task in &some {
            let info = &task["executionInfo"];
            assert_eq!(task.get("nodeInfo").is_some(), state != "active");
            assert_eq!(info.get("startTime").is_some(), state != "active");
            assert_eq!(info.get("exitCode").is_some(), state == "completed");
        }
        all += some.len();
    }
    assert_eq!(all, tasks.len());
    assert_eq!(caller.get_json("/jobs/Nightly").await["state"], "active");
}

#[tokio::test]
async fn tasks_are_found_by_when_they_started_and_by_what_came_of_them() {
    let simulator = simulate(&scenario("tasks = 30\nfailed = 4")).await;
    let caller = Caller::new(&simulator);
    let (tasks, _) = caller.walk("/jobs/nightly/tasks").await;
    let middle = text(&tasks[9], "/executionInfo/startTime");
    let found = async |filter: &str| {
        let path = format!("/jobs/nightly/tasks?$filter={}&$select=id", filter.replace(' ', "%20"));
        caller.walk(&path).await.0.len()
    };

    let later = tasks.iter().filter(|task| text(task, "/executionInfo/startTime") >= middle).count();
    assert_eq!(found(&format!("executionInfo/startTime ge DateTime'{middle}'")).await, later);
    assert_eq!(found(&format!("executionInfo/startTime lt DateTime'{middle}'")).await, 30 - later);
    assert_eq!(found("executionInfo/exitCode ne 0 and state eq 'completed'").await, 4);
    let refused = caller.get("/jobs/nightly/tasks?$filter=nodeInfo/nodeId%20eq%20'x'").await;
    assert_eq!(refusal(refused).await, (400, "InvalidQueryParameterValue".to_owned()));
}

#[tokio::test]
async fn the_subtasks_of_a_task_are_on_other_nodes() {
    let simulator = simulate(&scenario("tasks = 3\nnodes = 5\ninstances = 3")).await;
    let caller = Caller::new(&simulator);
    let nodes = caller.node_ids().await;

    let task = caller.get_json("/jobs/nightly/tasks/task-0001").await;
    let subtasks = caller.get_json("/jobs/nightly/tasks/task-0001/subtasksinfo").await;

    assert_eq!(task["multiInstanceSettings"]["numberOfInstances"], 3);
    let subtasks = subtasks["value"].as_array().expect("a list");
    assert_eq!(subtasks.iter().map(|subtask| &subtask["id"]).collect::<Vec<_>>(), [&json!(1), &json!(2)]);
    let mut used: BTreeSet<&str> = subtasks.iter().map(|subtask| text(subtask, "/nodeInfo/nodeId")).collect();
    used.insert(text(&task, "/nodeInfo/nodeId"));
    assert_eq!(used.len(), 3);
    assert!(used.iter().all(|node| nodes[..5].iter().any(|there| there == node)));
    for subtask in subtasks {
        assert_eq!((&subtask["state"], &subtask["exitCode"]), (&json!("completed"), &json!(0)));
        assert!(text(subtask, "/startTime") <= text(subtask, "/endTime"));
    }
}

#[tokio::test]
async fn a_task_on_one_node_has_no_subtasks() {
    let simulator = simulate(&scenario("")).await;

    let subtasks = Caller::new(&simulator).get_json("/jobs/nightly/tasks/task-0000/subtasksinfo").await;

    assert_eq!(subtasks["value"], json!([]));
}

#[tokio::test]
async fn jobs_are_listed_page_by_page() {
    let more = r#"
        [[account.job]]
        id = "hourly"
        pool = "p"
        started = "1m"
        lasted = "1h"
        [[account.job]]
        id = "weekly:job-1"
        pool = "p"
    "#;
    let simulator = simulate(&scenario(more)).await;
    let caller = Caller::new(&simulator);

    let (jobs, pages) = caller.walk("/jobs?maxresults=2").await;
    let (active, _) = caller.walk("/jobs?$filter=state%20eq%20'active'&$select=id,state").await;

    assert_eq!(
        jobs.iter().map(|job| text(job, "/id")).collect::<Vec<_>>(),
        ["hourly", "Nightly", "weekly:job-1"]
    );
    assert_eq!((pages, text(&jobs[1], "/poolInfo/poolId"), text(&jobs[1], "/state")), (2, "p", "completed"));
    assert_eq!(active, [json!({ "id": "hourly", "state": "active" })]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let simulator = simulate(&scenario("")).await;
    let caller = Caller::new(&simulator);

    for (path, code) in [
        ("/jobs/daily", "JobNotFound"),
        ("/jobs/daily/tasks", "JobNotFound"),
        ("/jobs/daily/tasks/task-0000", "JobNotFound"),
        ("/jobs/nightly/tasks/task-0001", "TaskNotFound"),
        ("/jobs/nightly/tasks/task-0001/subtasksinfo", "TaskNotFound"),
    ] {
        assert_eq!(refusal(caller.get(path).await).await, (404, code.to_owned()), "{path}");
    }
    let ledger = simulator.ledger();
    assert_eq!((ledger.accounts[0].list_calls, ledger.accounts[0].get_calls), (2, 3));
}

#[tokio::test]
async fn secrets_of_tasks_come_with_all_members_and_not_with_those_that_are_selected() {
    let simulator = simulate(&scenario("instances = 2")).await;
    let caller = Caller::new(&simulator);

    for path in ["/jobs", "/jobs/nightly", "/jobs/nightly/tasks", "/jobs/nightly/tasks/task-0000"] {
        let all = caller.get(path).await.text().await.expect("text");
        let few = caller.get(&format!("{path}?$select=id,state,nodeInfo")).await.text().await.expect("text");

        assert!(all.contains(SECRET) && !few.contains(SECRET), "{path}");
    }
}

#[tokio::test]
async fn the_same_scenario_has_the_same_tasks() {
    let text = scenario(
        r"
        tasks = 25
        nodes = 7
        gone = 3
        failed = 5
        ",
    );
    let (one, other) = (simulate(&text).await, simulate(&text).await);

    let look = async |simulator| {
        let (tasks, _) = Caller::new(simulator).walk("/jobs/nightly/tasks").await;
        let of =
            |task: &Value| (task["nodeInfo"]["nodeId"].clone(), task["executionInfo"]["exitCode"].clone());
        tasks.iter().map(of).collect::<Vec<_>>()
    };

    assert_eq!(look(&one).await, look(&other).await);
}

#[tokio::test]
async fn a_fault_may_strike_lists_of_tasks() {
    let fault = r#"
        [[account.fault]]
        on = "list-tasks"
        kind = "server-busy"
        first = 1
    "#;
    let simulator = simulate(&(scenario("") + "\n" + fault)).await;
    let caller = Caller::new(&simulator);

    let first = caller.get("/jobs/nightly/tasks").await.status().as_u16();
    let second = caller.get("/jobs/nightly/tasks").await.status().as_u16();

    assert_eq!((first, second, caller.get("/jobs").await.status().as_u16()), (503, 200, 200));
}
