//! What authorizes nodes to write, a SAS or an identity, and how the ledger records it.

use crate::common::storage::{Storage, later, signature};
use crate::common::{Caller, entry, one_pool, refusal, simulate, wait_for};
use fleetlogs_sim::AccessKind;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const LOGS: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/logs";

fn pool_with_identity() -> String {
    one_pool(
        &format!(
            r#"
            nodes = 3
            files = 1
            arrival = "0s"
            identities = ["{LOGS}"]
            "#
        ),
        "",
    )
}

fn body(url: &str, identity: &str) -> String {
    json!({
        "containerUrl": url, "startTime": "2025-01-01T00:00:00.1234567Z",
        "identityReference": { "resourceId": identity }
    })
    .to_string()
}

#[tokio::test]
async fn an_identity_of_the_pool_needs_no_sas() {
    let simulator = simulate(&pool_with_identity()).await;
    let caller = Caller::new(&simulator);
    let nodes = caller.node_ids().await;
    let ready = simulator.ready();
    let missing = format!("{}/not-there", ready.storage.endpoint);

    for (node, body) in nodes.iter().zip([
        body(&ready.container, LOGS),
        body(&ready.container, &LOGS.to_uppercase()),
        body(&missing, LOGS),
    ]) {
        let answer = caller.upload_with(node, &body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{body}");
    }

    let ledger = wait_for(&simulator, |ledger| ledger.storage.put_calls == 3).await;
    assert_eq!((ledger.storage.blobs, ledger.storage.put_failures), (2, 1));
    let made = entry(&ledger, &nodes[0]).directories.remove(0);
    assert_eq!((made.access, made.sas_expires_at), (AccessKind::Identity, None));
}

#[tokio::test]
async fn a_call_has_either_a_sas_or_an_identity_of_the_pool() {
    let simulator = simulate(&pool_with_identity()).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);
    let ready = simulator.ready();
    let neither = json!({ "containerUrl": ready.container, "startTime": "2025-01-01T00:00:00Z" }).to_string();

    for (body, property) in [
        (body(&ready.container, &LOGS.replace("logs", "others")), "identityReference"),
        (body(&ready.container_url, LOGS), "identityReference"),
        (body("http://contoso.invalid/logs?sv=x&sig=x", LOGS), "identityReference"),
        (neither, "containerUrl"),
    ] {
        let answer = caller.upload_with(&node, &body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 400, "{body}");
        let error: Value = answer.json().await.expect("JSON");
        assert_eq!(error["code"], "InvalidPropertyValue");
        assert_eq!(error["values"][0], json!({ "key": "PropertyName", "value": property }));
    }
    assert_eq!(simulator.ledger().accounts[0].accepted, 0);
}

#[tokio::test]
async fn a_pool_without_identities_takes_none() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);

    let body = body(&simulator.ready().container, LOGS);
    let refused = caller.upload_with(&node, &body).send().await.expect("an answer");

    assert_eq!(refusal(refused).await, (400, "InvalidPropertyValue".to_owned()));
}

#[tokio::test]
async fn a_pool_shows_its_identities_where_they_are_asked_for() {
    let simulator = simulate(&pool_with_identity()).await;
    let caller = Caller::new(&simulator);
    let expected = json!({ "type": "UserAssigned", "userAssignedIdentities": [{ "resourceId": LOGS }] });

    assert_eq!(caller.get_json("/pools/p").await["identity"], expected);
    assert_eq!(caller.get_json("/pools").await["value"][0]["identity"], expected);
    let selected = caller.get_json("/pools?$select=id,identity").await;
    assert_eq!(selected["value"][0], json!({ "id": "p", "identity": expected }));
    assert_eq!(caller.get_json("/pools?$select=id").await["value"][0], json!({ "id": "p" }));
    let plain = simulate(&one_pool("", "")).await;
    assert!(Caller::new(&plain).get_json("/pools/p").await.get("identity").is_none());
}

#[tokio::test]
async fn the_ledger_tells_when_a_sas_ends_and_when_the_call_came_but_not_the_sas() {
    let simulator = simulate(&one_pool("", "latency = \"300ms\"")).await;
    let (caller, storage) = (Caller::new(&simulator), Storage::new(&simulator).await);
    let node = caller.node_ids().await.remove(0);
    let container = &simulator.ready().container;
    let key = storage.delegation_key(600).await;
    let policy = format!("sv=2022-11-02&sr=c&si=writers&sig={}", signature(&storage.key, "x"));
    let by_account = storage.service_sas("batch-logs", "w");
    let account_ends = by_account.split("se=").nth(1).and_then(|rest| rest.split('&').next());
    let short = later(60);
    let before = OffsetDateTime::now_utc();
    for (sas, ends) in [
        (by_account.clone(), account_ends),
        (
            storage.delegated_sas(&key, "2022-11-02", "batch-logs", "w", &later(7200)),
            Some(&*key["SignedExpiry"]),
        ),
        (storage.delegated_sas(&key, "2022-11-02", "batch-logs", "w", &short), Some(&*short)),
        (policy, None),
    ] {
        let url = format!("{container}?{sas}");
        assert_eq!(caller.upload_of(&node, &url).send().await.expect("an answer").status().as_u16(), 200);

        let made = entry(&simulator.ledger(), &node).directories.pop().expect("accepted");
        assert_eq!((made.access, made.sas_expires_at.as_deref()), (AccessKind::Sas, ends));
        let received = OffsetDateTime::parse(&made.received_at, &Rfc3339).expect("a time");
        let accepted = OffsetDateTime::from_unix_timestamp_nanos(i128::from(made.accepted_at) * 1_000_000);
        let waited = accepted.expect("a time") - received;
        assert!(received >= before - time::Duration::milliseconds(1), "{received}");
        assert!(
            waited >= time::Duration::milliseconds(290),
            "the call came in before it was served: {waited}"
        );
    }
    let elsewhere = caller.upload_of(&node, "http://contoso.invalid").send().await.expect("an answer");
    assert_eq!(elsewhere.status().as_u16(), 200);
    let ledger = serde_json::to_value(simulator.ledger()).expect("JSON");
    let directories = ledger["nodes"][0]["directories"].as_array().expect("a list");
    assert_eq!((&directories[0]["access"], &directories[4]["access"]), (&json!("sas"), &json!("none")));
    assert!(!ledger.to_string().contains("sig="), "no signature is kept");
}

#[tokio::test]
async fn the_address_that_a_sas_is_for_is_the_one_of_the_node() {
    let simulator = simulate(&one_pool("nodes = 2\nfiles = 1\narrival = \"0s\"", "")).await;
    let (caller, storage) = (Caller::new(&simulator), Storage::new(&simulator).await);
    let (nodes, _) = caller.walk("/pools/p/nodes").await;
    let address = nodes[1]["ipAddress"].as_str().expect("an address");
    let expiry = later(600);
    let text = format!(
        "w\n\n{expiry}\n/blob/{}/batch-logs\n\n{address}\n\n2022-11-02\nc\n\n\n\n\n\n\n",
        storage.account
    );
    let signature = signature(&storage.key, &text);
    let url = format!(
        "{}?sv=2022-11-02&sr=c&sp=w&se={expiry}&sip={address}&sig={signature}",
        simulator.ready().container
    );

    for node in &nodes {
        let id = node["id"].as_str().expect("an id");
        caller.upload_of(id, &url).send().await.expect("an answer");
    }

    let ledger = wait_for(&simulator, |ledger| ledger.storage.put_calls == 2).await;
    assert_eq!((ledger.storage.blobs, ledger.storage.put_failures), (1, 1));
    let of_node = entry(&ledger, nodes[1]["id"].as_str().expect("an id"));
    assert_eq!(of_node.directories[0].files_written, 1);
}
