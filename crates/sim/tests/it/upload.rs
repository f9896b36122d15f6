//! From an upload call to blobs in a container.

use crate::common::{Caller, entry, http, one_pool, refusal, simulate, wait_for};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

async fn list(url: &str, prefix: &str) -> (u16, String) {
    let response = http().get(format!("{url}&restype=container&comp=list&prefix={prefix}")).send().await;
    let response = response.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("text"))
}

#[tokio::test]
async fn an_accepted_upload_brings_its_files_into_its_directory() {
    let simulator = simulate(&one_pool("files = 3\nfile_size = 1000\narrival = \"5s\"", "")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);

    let response = caller.upload(&simulator, &node).await.expect("an answer");
    let request_id = response.headers()["request-id"].to_str().expect("text").to_owned();
    let answer: Value = response.json().await.expect("JSON");

    let directory = answer["virtualDirectoryName"].as_str().expect("a name").to_owned();
    let segments: Vec<_> = directory.split('/').collect();
    assert_eq!(segments[1..], ["p", node.as_str(), request_id.as_str()]);
    let (name, hex) = segments[0].split_once('-').expect("a hyphen");
    assert!(name == "contoso" && hex.len() == 16 && !hex.contains(|c: char| c.is_lowercase()), "{directory}");
    assert_eq!(answer["numberOfFilesUploaded"], 3);

    assert_eq!(list(&simulator.ready().verify_url, &directory).await.1.matches("<Blob>").count(), 0);
    let ledger = wait_for(&simulator, |ledger| ledger.storage.blobs == 3).await;
    let (status, xml) = list(&simulator.ready().verify_url, &directory).await;
    assert_eq!((status, xml.matches("<Content-Length>1000</Content-Length>").count()), (200, 3));
    let record = entry(&ledger, &node);
    assert_eq!((record.received, record.accepted), (1, 1));
    let made = &record.directories[0];
    assert_eq!(
        (made.name.as_str(), made.files_promised, made.files_written, made.bytes),
        (&*directory, 3, 3, 3000)
    );
}

#[tokio::test]
async fn urls_of_others_are_accepted_without_a_sas_and_only_some_can_be_written_to() {
    let simulator = simulate(&one_pool("nodes = 3\nfiles = 1\narrival = \"0s\"", "")).await;
    let caller = Caller::new(&simulator);
    let nodes = caller.node_ids().await;

    for (node, url) in nodes.iter().zip([
        simulator.ready().verify_url.as_str(),
        "http://127.0.0.1:9/nobody/home",
        "http://contoso.invalid",
    ]) {
        assert_eq!(
            caller.upload_of(node, url).send().await.expect("an answer").status().as_u16(),
            200,
            "{url}"
        );
    }

    let ledger = wait_for(&simulator, |ledger| ledger.storage.put_failures == 3).await;
    assert_eq!((ledger.storage.blobs, ledger.accounts[0].accepted), (0, 3));
}

#[tokio::test]
async fn nodes_upload_to_containers_of_others_over_http() {
    let home = simulate(&one_pool("files = 2\narrival = \"0s\"", "")).await;
    let other = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&home);
    let node = caller.node_ids().await.remove(0);

    caller.upload_of(&node, &other.ready().container_url).send().await.expect("an answer");

    let ledger = wait_for(&home, |ledger| ledger.nodes[0].directories[0].files_written == 2).await;
    assert_eq!((ledger.storage.blobs, other.ledger().storage.blobs), (0, 2));
    let directory = &ledger.nodes[0].directories[0].name;
    assert_eq!(list(&other.ready().verify_url, directory).await.1.matches("<Blob>").count(), 2);
}

#[tokio::test]
async fn a_start_in_the_future_still_promises_one_file() {
    let simulator = simulate(&one_pool("files = 8", "")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);
    let body =
        json!({ "containerUrl": simulator.ready().container_url, "startTime": "2999-01-01T00:00:00Z" });

    let response = caller.upload_with(&node, &body.to_string()).send().await.expect("an answer");

    assert_eq!(response.json::<Value>().await.expect("JSON")["numberOfFilesUploaded"], 1);
}

#[tokio::test]
async fn the_state_of_a_node_decides() {
    for (state, expected) in [
        ("creating", (409, "NodeBeingCreated")),
        ("starting", (409, "NodeBeingStarted")),
        ("rebooting", (409, "NodeBeingRebooted")),
        ("reimaging", (409, "NodeBeingReimaged")),
        ("preempted", (409, "OperationInvalidForCurrentState")),
        ("deallocated", (409, "OperationInvalidForCurrentState")),
    ] {
        let simulator = simulate(&one_pool(&format!("states = {{ {state} = 1.0 }}"), "")).await;
        let caller = Caller::new(&simulator);
        let node = caller.node_ids().await.remove(0);

        let refused = refusal(caller.upload(&simulator, &node).await.expect("an answer")).await;

        assert_eq!((refused.0, refused.1.as_str()), expected, "{state}");
        assert_eq!(entry(&simulator.ledger(), &node).accepted, 0);
    }
}

#[tokio::test]
async fn unusable_nodes_without_errors_accept_and_bring_nothing_or_refuse() {
    let pool = r#"
        nodes = 60
        states = { unusable = 1.0 }
        files = 1
        arrival = "0s"
    "#;
    let simulator = simulate(&one_pool(pool, "")).await;
    let caller = Caller::new(&simulator);
    let (nodes, _) = caller.walk("/pools/p/nodes").await;

    let (mut refused, mut alive) = (0, 0);
    for node in &nodes {
        alive += u64::from(node.get("errors").is_some());
        let response =
            caller.upload(&simulator, node["id"].as_str().expect("an id")).await.expect("an answer");
        refused += u64::from(response.status().as_u16() == 409);
    }

    let ledger = wait_for(&simulator, |ledger| ledger.storage.blobs == alive).await;
    let accepted = ledger.accounts[0].accepted;
    assert!(
        refused > 0 && alive > 0 && accepted > alive,
        "{refused} refused, {alive} alive, {accepted} accepted"
    );
    assert_eq!(accepted + refused, 60);
}

#[tokio::test]
async fn a_node_that_is_gone_is_not_found_and_one_that_comes_back_has_a_new_allocation() {
    let life = r#"
        nodes = 2
        [[account.pool.life]]
        nodes = 1
        at = "5s"
        becomes = "gone"
        [[account.pool.life]]
        nodes = 1
        at = "0s"
        becomes = "preempted"
        back_after = "5s"
    "#;
    let simulator = simulate(&one_pool(life, "")).await;
    let caller = Caller::new(&simulator);
    let (before, _) = caller.walk("/pools/p/nodes").await;
    assert_eq!(before[1]["state"], "preempted");

    tokio::time::sleep(std::time::Duration::from_millis(5100)).await;

    let id = |node: &Value| node["id"].as_str().expect("an id").to_owned();
    let gone = caller.upload(&simulator, &id(&before[0])).await.expect("an answer");
    assert_eq!(refusal(gone).await, (404, "NodeNotFound".to_owned()));
    let (after, _) = caller.walk("/pools/p/nodes").await;
    assert_eq!((after.len(), id(&after[0])), (1, id(&before[1])));
    assert_eq!(after[0]["state"], "idle");
    assert_ne!(after[0]["allocationTime"], before[1]["allocationTime"]);
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_code() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);

    let send =
        async |body: &str| refusal(caller.upload_with(&node, body).send().await.expect("an answer")).await;
    assert_eq!(send("{}").await, (400, "MissingRequiredProperty".to_owned()));
    let url = simulator.ready().container_url.as_str();
    let times = |start: &str, end: &str| {
        json!({ "containerUrl": url, "startTime": start, "endTime": end }).to_string()
    };
    let backwards = times("2025-01-02T00:00:00Z", "2025-01-01T00:00:00.5Z");
    let answer = caller.upload_with(&node, &backwards).send().await.expect("an answer");
    let error: Value = answer.json().await.expect("JSON");
    let values = [("PropertyName", "endTime"), ("PropertyValue", "2025-01-01T00:00:00.5Z")];
    for (place, (key, value)) in values.into_iter().enumerate() {
        assert_eq!(error["values"][place], json!({ "key": key, "value": value }), "{error}");
    }
    for (start, end) in [
        ("2025-02-05T12:06:22.351894814-08:00", "2025-02-06T12:06:22.351894814-08:00"),
        ("2025-02-05T12:06:22-08:00", "2025-02-05T20:06:22.123456789Z"),
    ] {
        let answer = caller.upload_with(&node, &times(start, end)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{start}");
    }
    let bad_url = r#"{"containerUrl":"contoso","startTime":"2025-01-01T00:00:00Z"}"#;
    assert_eq!(send(bad_url).await, (400, "InvalidPropertyValue".to_owned()));

    // The content type is signed, so a wrong one would need a signature of its own; a token needs none.
    let url =
        format!("{}/_sim/identity?resource=https://batch.core.windows.net/&api-version=1", caller.endpoint);
    let answer = http().get(url).header("x-identity-header", "x").send().await.expect("sent");
    let token =
        answer.json::<Value>().await.expect("JSON")["access_token"].as_str().expect("a token").to_owned();
    let path =
        format!("{}/pools/p/nodes/{node}/uploadbatchservicelogs?api-version=2025-06-01", caller.endpoint);
    let plain = http().post(path).bearer_auth(token).header(CONTENT_TYPE, "application/json").body("{}");
    assert_eq!(refusal(plain.send().await.expect("sent")).await, (400, "InvalidHeaderValue".to_owned()));
}

#[tokio::test]
async fn the_client_request_id_comes_back_only_when_asked_for() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);
    let upload = || caller.upload_of(&node, "http://contoso.invalid").header("client-request-id", "mine");

    let silent = upload().send().await.expect("an answer");
    let echoed = upload().header("return-client-request-id", "true").send().await.expect("an answer");

    assert!(silent.headers().get("client-request-id").is_none());
    assert_eq!(echoed.headers()["client-request-id"], "mine");
    let record = entry(&simulator.ledger(), &node);
    assert!(record.directories.iter().all(|made| made.client_request_id.as_deref() == Some("mine")));
}
