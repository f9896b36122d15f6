//! Each kind of fault has its documented effect on the answer and on the node.

use std::time::{Duration, Instant};

use crate::common::{Caller, entry, one_pool, simulate};
use fleetlogs_sim::Simulator;
use reqwest::Response;
use serde_json::Value;

/// A simulator in which one fault applies to every upload (or to the operation in `on`).
async fn with_fault(fault: &str) -> (Simulator, Caller, String) {
    let simulator =
        simulate(&format!("{}\n[[account.fault]]\nkind = {fault}", one_pool("nodes = 3", ""))).await;
    let caller = Caller::new(&simulator);
    let node = match caller.get("/pools/p/nodes").await.json::<Value>().await {
        Ok(page) => page["value"][0]["id"].as_str().unwrap_or("unknown").to_owned(),
        Err(_) => "unknown".to_owned(),
    };
    (simulator, caller, node)
}

/// Status and code of the answer to an upload, none without an answer, and the number of accepted uploads.
async fn upload(fault: &str) -> (Option<(u16, String)>, u64) {
    let (simulator, caller, node) = with_fault(fault).await;
    let answer = match caller.upload(&simulator, &node).await {
        Ok(response) => Some(read(response).await),
        Err(_) => None,
    };
    let record = entry(&simulator.ledger(), &node);
    assert_eq!(record.received, 1, "{fault}");
    (answer, record.accepted)
}

async fn read(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let Ok(text) = response.text().await else { return (status, "broken off".to_owned()) };
    let Ok(body) = serde_json::from_str::<Value>(&text) else {
        return (status, if text.is_empty() { "empty" } else { "not JSON" }.to_owned());
    };
    let code = if body.get("virtualDirectoryName").is_some() {
        "good"
    } else {
        body["code"].as_str().unwrap_or("?")
    };
    (status, code.to_owned())
}

#[tokio::test]
async fn each_kind_answers_and_accepts_as_it_says() {
    for (fault, answer, accepted) in [
        ("\"throttle\"", Some((429, "TooManyRequests")), 0),
        ("\"server-busy\"", Some((503, "ServerBusy")), 0),
        ("\"internal-error\"", Some((500, "InternalError")), 0),
        ("\"timeout-accepted\"", Some((500, "OperationTimedOut")), 1),
        ("\"timeout-refused\"", Some((500, "OperationTimedOut")), 0),
        ("\"drop-before\"", None, 0),
        ("\"drop-after\"", None, 1),
        ("\"slow\"\ndelay = \"200ms\"", Some((200, "good")), 1),
        ("\"truncated\"", Some((200, "broken off")), 1),
        ("\"non-json\"", Some((200, "not JSON")), 0),
        ("\"bad-gateway\"", Some((502, "not JSON")), 0),
        ("\"code\"\nstatus = 409\ncode = \"PoolBeingResized\"", Some((409, "PoolBeingResized")), 0),
        ("\"empty-body\"", Some((200, "empty")), 1),
        ("\"plain-message\"", Some((500, "InternalError")), 0),
        ("\"silent\"\ndelay = \"200ms\"", None, 0),
        ("\"silent\"\ndelay = \"200ms\"\naccepted = true", None, 1),
        ("\"throttle\"\nshare = 0.0", Some((200, "good")), 1),
        ("\"throttle\"\nfrom = \"1h\"", Some((200, "good")), 1),
    ] {
        let expected = answer.map(|(status, code): (u16, &str)| (status, code.to_owned()));
        assert_eq!(upload(fault).await, (expected, accepted), "{fault}");
    }
}

#[tokio::test]
async fn throttling_speaks_of_waiting_only_if_told_to() {
    for (line, check) in [
        ("", (|value| value.is_none()) as fn(Option<&str>) -> bool),
        ("retry_after = \"1500ms\"", |value| value == Some("2")),
        ("retry_after = \"date\"", |value| value.is_some_and(|text| text.ends_with(" GMT"))),
    ] {
        let (simulator, caller, node) = with_fault(&format!("\"throttle\"\n{line}")).await;
        let response = caller.upload(&simulator, &node).await.expect("an answer");
        let value = response.headers().get("retry-after").map(|value| value.to_str().expect("text"));
        assert!(check(value), "{line}: {value:?}");
        assert_eq!(simulator.ledger().accounts[0].throttled, 1);
    }
}

#[tokio::test]
async fn the_first_calls_fail_and_those_after_do_not() {
    let (simulator, caller, node) = with_fault("\"internal-error\"\nfirst = 2").await;

    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(caller.upload(&simulator, &node).await.expect("an answer").status().as_u16());
    }

    assert_eq!(statuses, [500, 500, 200]);
}

#[tokio::test]
async fn slow_answers_take_their_time() {
    let (simulator, caller, node) = with_fault("\"slow\"\ndelay = \"2s\"").await;

    let asked = Instant::now();
    let response = caller.upload(&simulator, &node).await.expect("an answer");
    response.text().await.expect("text");

    assert!(asked.elapsed() >= Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_silence_is_let_go() {
    let (simulator, caller, node) = with_fault("\"silent\"\ndelay = \"1h\"").await;

    let upload =
        caller.upload_of(&node, &simulator.ready().container_url).timeout(Duration::from_millis(200));
    assert!(upload.send().await.expect_err("no answer").is_timeout());

    tokio::time::timeout(Duration::from_secs(2), simulator.shutdown()).await.expect("it ends at once");
}

#[tokio::test]
async fn a_looping_link_leads_to_its_own_page() {
    let (_simulator, caller, _) = with_fault("\"next-link-loop\"\non = \"list-nodes\"").await;

    let first = caller.get_json("/pools/p/nodes").await;
    let second = caller.follow(first["odata.nextLink"].as_str().expect("a link")).await;

    assert_eq!(first["value"], second["value"]);
    assert_eq!(first["odata.nextLink"], second["odata.nextLink"]);
}

#[tokio::test]
async fn a_link_elsewhere_leads_to_another_port() {
    let (simulator, caller, _) = with_fault("\"next-link-elsewhere\"\non = \"list-pools\"").await;

    let page = caller.get_json("/pools").await;

    let link = page["odata.nextLink"].as_str().expect("a link");
    let storage = simulator.ready().storage.endpoint.strip_suffix("/simlogs").expect("an account").to_owned();
    assert!(link.starts_with(&storage), "{link}");
}

#[tokio::test]
async fn lists_fail_too() {
    for (fault, expected) in [("\"truncated\"", (200, "broken off")), ("\"non-json\"", (200, "not JSON"))] {
        let (_simulator, caller, _) = with_fault(&format!("{fault}\non = \"any\"")).await;

        let answer = read(caller.get("/pools/p/nodes").await).await;

        assert_eq!((answer.0, answer.1.as_str()), expected, "{fault}");
    }
}

#[tokio::test]
async fn what_goes_beyond_the_capacity_is_throttled() {
    let simulator = simulate(&one_pool("", "capacity = 2\nretry_after = \"1s\"")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);

    let mut throttled = 0;
    for _ in 0..30 {
        let response = caller.upload(&simulator, &node).await.expect("an answer");
        throttled += u64::from(response.status().as_u16() == 429);
    }

    let account = simulator.ledger().accounts[0].clone();
    assert!(
        throttled > 0 && account.throttled == throttled && account.accepted == 30 - throttled,
        "{account:?}"
    );
    assert!(account.highest_rate > 2 || throttled < 10, "{account:?}");
}

#[tokio::test]
async fn the_ledger_counts_calls_that_do_not_wait_as_asked() {
    let (simulator, caller, node) = with_fault("\"throttle\"\nretry_after = \"60s\"").await;
    let counts = || {
        let account = simulator.ledger().accounts[0].clone();
        (account.calls_in_pause, account.early_repeats)
    };

    caller.upload(&simulator, &node).await.expect("an answer");
    assert_eq!(counts(), (0, 0));
    tokio::time::sleep(Duration::from_millis(100)).await;
    caller.upload(&simulator, &node).await.expect("an answer");
    assert_eq!(counts(), (1, 1));
}

#[tokio::test]
async fn lists_and_reads_use_the_capacity_too() {
    let simulator = simulate(&one_pool("", "capacity = 1")).await;
    let caller = Caller::new(&simulator);

    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(caller.get("/pools").await.status().as_u16());
        statuses.push(caller.get("/pools/p").await.status().as_u16());
    }

    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn two_runs_of_one_seed_meet_the_same_faults() {
    let scenario = format!(
        r#"
        {}
        [[account.fault]]
        kind = "internal-error"
        share = 0.3
        "#,
        one_pool("nodes = 60", "")
    );
    let mut runs = Vec::new();
    for reverse in [false, true] {
        let simulator = simulate(&scenario).await;
        let caller = Caller::new(&simulator);
        let mut nodes = caller.node_ids().await;
        if reverse {
            nodes.reverse();
        }
        let mut failed = Vec::new();
        for node in nodes {
            if caller.upload(&simulator, &node).await.expect("an answer").status().as_u16() == 500 {
                failed.push(node);
            }
        }
        failed.sort();
        runs.push(failed);
    }

    assert!(!runs[0].is_empty());
    assert_eq!(runs[0], runs[1]);
}
