//! The Blob service over HTTP, and what a SAS allows.

use crate::common::storage::Storage;
use crate::common::{Caller, http, one_pool, simulate, wait_for};
use reqwest::{Method, Response};

/// `url` with a blob name appended to its path.
fn blob(url: &str, name: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    format!("{path}/{name}?{query}")
}

async fn put(url: &str, content: &str) -> Response {
    http()
        .put(url)
        .header("x-ms-blob-type", "BlockBlob")
        .body(content.to_owned())
        .send()
        .await
        .expect("an answer")
}

async fn send(method: Method, url: &str) -> Response {
    http().request(method, url).send().await.expect("an answer")
}

fn code(response: &Response) -> (u16, &str) {
    let code = response.headers().get("x-ms-error-code").map_or("", |code| code.to_str().expect("text"));
    (response.status().as_u16(), code)
}

#[tokio::test]
async fn a_blob_that_was_put_can_be_read_listed_and_not_deleted() {
    let simulator = simulate(&one_pool("", "")).await;
    let ready = simulator.ready();

    let created = put(&blob(&ready.container_url, "dir/a%26b.log"), "0123456789").await;
    assert_eq!(created.status().as_u16(), 201);
    let etag = created.headers()["etag"].clone();

    let url = blob(&ready.verify_url, "dir/a%26b.log");
    let head = send(Method::HEAD, &url).await;
    assert_eq!(
        (&head.headers()["content-length"], &head.headers()["etag"]),
        (&"10".parse().expect("text"), &etag)
    );
    assert_eq!(send(Method::GET, &url).await.text().await.expect("text"), "0123456789");
    let part = http().get(&url).header("range", "bytes=2-4").send().await.expect("an answer");
    assert_eq!((part.status().as_u16(), part.text().await.expect("text").as_str()), (206, "234"));
    let xml = send(Method::GET, &format!("{}&restype=container&comp=list", ready.verify_url)).await;
    let xml = xml.text().await.expect("text");
    assert!(xml.contains("<Name>dir/a&amp;b.log</Name>"), "{xml}");
    assert!(xml.contains("<Content-MD5>eB5eJF1ptWaXm4bijSPyxw==</Content-MD5>"), "{xml}");
    assert_eq!(code(&send(Method::DELETE, &url).await), (403, "AuthorizationPermissionMismatch"));
}

#[tokio::test]
async fn a_sas_opens_only_what_its_letters_say() {
    let simulator = simulate(&one_pool("", "")).await;
    let ready = simulator.ready();
    let list = |url: &str| format!("{url}&restype=container&comp=list");
    let mismatch = (403, "AuthorizationPermissionMismatch");

    assert_eq!(code(&send(Method::GET, &list(&ready.container_url)).await), mismatch);
    assert_eq!(code(&send(Method::GET, &blob(&ready.container_url, "x")).await), mismatch);
    assert_eq!(code(&put(&blob(&ready.verify_url, "x"), "x").await), mismatch);
    assert_eq!(code(&send(Method::GET, &list(&ready.verify_url)).await), (200, ""));
    assert_eq!(code(&send(Method::GET, &blob(&ready.verify_url, "x")).await), (404, "BlobNotFound"));
}

#[tokio::test]
async fn letters_of_a_sas_have_one_order() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    for (letters, expected) in [
        ("racwdxyltfmeopi", (404, "BlobNotFound")),
        ("rtfm", (404, "BlobNotFound")),
        ("rmf", (403, "AuthenticationFailed")),
        ("rr", (403, "AuthenticationFailed")),
    ] {
        let sas = storage.service_sas("batch-logs", letters);
        assert_eq!(code(&storage.with_sas(Method::GET, "/batch-logs/x", &sas).await), expected, "{letters}");
    }
}

#[tokio::test]
async fn a_sas_that_was_changed_or_is_missing_opens_nothing() {
    let simulator = simulate(&one_pool("", "")).await;
    let ready = simulator.ready();
    let failed = (403, "AuthenticationFailed");

    let wider = ready.verify_url.replace("sp=rl", "sp=rwl");
    assert_eq!(code(&put(&blob(&wider, "x"), "x").await), failed);
    let elsewhere = ready.verify_url.replace("/batch-logs?", "/other?");
    assert_eq!(code(&send(Method::GET, &blob(&elsewhere, "x")).await), failed);
    let delegated = format!("{}&skoid=1", ready.verify_url);
    assert_eq!(code(&send(Method::GET, &blob(&delegated, "x")).await), failed);
    assert_eq!(
        code(&send(Method::GET, &blob(&ready.container, "x")).await),
        (409, "PublicAccessNotPermitted")
    );
}

#[tokio::test]
async fn a_sas_that_has_expired_opens_nothing() {
    let simulator = simulate(&format!("[storage]\nsas_lifetime = \"10s\"\n{}", one_pool("", ""))).await;
    let url = blob(&simulator.ready().container_url, "x");

    let before = put(&url, "x").await.status().as_u16();
    tokio::time::sleep(std::time::Duration::from_millis(10_100)).await;

    assert_eq!(before, 201);
    assert_eq!(code(&put(&url, "x").await), (403, "AuthenticationFailed"));
}

#[tokio::test]
async fn a_blob_may_be_put_on_the_condition_that_there_is_none() {
    let simulator = simulate(&one_pool("", "")).await;
    let url = blob(&simulator.ready().container_url, "x");
    let put_new =
        || http().put(&url).header("x-ms-blob-type", "BlockBlob").header("if-none-match", "*").body("x");

    assert_eq!(put_new().send().await.expect("an answer").status().as_u16(), 201);
    assert_eq!(code(&put_new().send().await.expect("an answer")), (409, "BlobAlreadyExists"));
}

#[tokio::test]
async fn a_list_goes_on_at_its_marker() {
    let simulator = simulate(&one_pool("", "")).await;
    let ready = simulator.ready();
    for name in ["a/1", "a/2", "a/3", "b/1"] {
        put(&blob(&ready.container_url, name), "x").await;
    }
    let list = async |more: &str| {
        let url = format!("{}&restype=container&comp=list&{more}", ready.verify_url);
        send(Method::GET, &url).await.text().await.expect("text")
    };
    let between = |xml: &str, tag: &str| -> Vec<String> {
        let tag = format!("<{tag}>");
        xml.split(&tag).skip(1).map(|part| part.split('<').next().unwrap_or_default().to_owned()).collect()
    };

    let first = list("prefix=a/&maxresults=2").await;
    let marker = between(&first, "NextMarker").remove(0);
    let second = list(&format!("prefix=a/&maxresults=2&marker={marker}")).await;

    assert_eq!(between(&first, "Name"), ["a/1", "a/2"]);
    assert_eq!(between(&second, "Name"), ["a/3"]);
    assert!(second.contains("<NextMarker />"));
    assert_eq!(between(&list("delimiter=/").await, "Name"), ["a/", "b/"]);
}

#[tokio::test]
async fn a_batch_credential_that_is_carried_here_is_noticed() {
    let simulator = simulate(&one_pool("", "")).await;
    let url = format!("{}/pools", simulator.ready().storage.endpoint);

    http().get(url).header("authorization", "SharedKey contoso:fake").send().await.expect("an answer");

    assert_eq!(simulator.ledger().storage.credentials_leaked, 1);
}

async fn arrivals(fault: &str, blobs: u64) -> (fleetlogs_sim::LedgerSnapshot, fleetlogs_sim::Simulator) {
    let account = format!("[[account.arrival_fault]]\n{fault}");
    let pool = "files = 3\nfile_size = 100\narrival = \"0s\"";
    let simulator = simulate(&format!("{}\n{account}", one_pool(pool, ""))).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);
    assert_eq!(caller.upload(&simulator, &node).await.expect("an answer").status().as_u16(), 200);
    let ledger = wait_for(&simulator, |ledger| ledger.storage.blobs == blobs).await;
    (ledger, simulator)
}

#[tokio::test]
async fn files_fail_to_come_in_the_way_the_scenario_says() {
    let written = |ledger: &fleetlogs_sim::LedgerSnapshot| {
        let made = &ledger.nodes[0].directories[0];
        (made.files_promised, made.files_written, made.bytes)
    };

    let (short, _simulator) = arrivals("kind = \"short\"", 2).await;
    assert_eq!(written(&short), (3, 2, 200));

    let (foreign, _simulator) = arrivals("kind = \"foreign\"", 6).await;
    assert_eq!(written(&foreign), (3, 3, 300));

    let (never, simulator) = arrivals("kind = \"never\"", 0).await;
    assert_eq!(written(&never), (3, 0, 0));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(simulator.ledger().storage.blobs, 0);

    let (_, simulator) = arrivals("kind = \"late\"\ndelay = \"5s\"", 0).await;
    wait_for(&simulator, |ledger| ledger.storage.blobs == 3).await;

    let (first, simulator) = arrivals("kind = \"rewrite\"\ndelay = \"5s\"", 3).await;
    assert_eq!(written(&first), (3, 3, 150));
    wait_for(&simulator, |ledger| written(ledger) == (3, 3, 300)).await;
}

#[tokio::test]
async fn a_pool_whose_storage_is_blocked_accepts_and_brings_nothing() {
    let simulator = simulate(&one_pool("storage_blocked = true\narrival = \"0s\"", "")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);

    caller.upload(&simulator, &node).await.expect("an answer");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;

    let ledger = simulator.ledger();
    assert_eq!((ledger.accounts[0].accepted, ledger.storage.blobs, ledger.storage.put_calls), (1, 0, 0));
}
