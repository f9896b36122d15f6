//! Creating containers, and keeping them apart.

use crate::common::storage::{Storage, code};
use crate::common::{Caller, one_pool, simulate, wait_for};
use reqwest::{Method, Response};

const CREATE: &str = "/new-logs?restype=container";
const MISMATCH: (u16, &str) = (403, "AuthorizationPermissionMismatch");

async fn by_token(storage: &Storage, method: Method, path: &str) -> Response {
    let request = storage.with_token(method, path).header("x-ms-blob-type", "BlockBlob");
    request.body("").send().await.expect("an answer")
}

#[tokio::test]
async fn a_container_is_made_once_with_a_token() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;

    assert_eq!(code(&by_token(&storage, Method::HEAD, CREATE).await).0, 404);
    let made = by_token(&storage, Method::PUT, CREATE).await;
    assert_eq!(code(&made), (201, ""));
    assert!(made.headers().contains_key("etag") && made.headers().contains_key("last-modified"));
    assert_eq!(code(&by_token(&storage, Method::PUT, CREATE).await), (409, "ContainerAlreadyExists"));
    assert_eq!(code(&by_token(&storage, Method::HEAD, CREATE).await), (200, ""));
    assert_eq!(simulator.ledger().storage.containers_created, 1);
}

#[tokio::test]
async fn a_container_keeps_its_metadata_and_goes_with_its_blobs() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let made = storage.with_token(Method::PUT, CREATE).header("x-ms-meta-madeby", "Me").body("").send().await;
    assert_eq!(code(&made.expect("an answer")), (201, ""));
    by_token(&storage, Method::PUT, "/new-logs/a/x").await;
    let seen = by_token(&storage, Method::GET, CREATE).await;
    assert_eq!(seen.headers()["x-ms-meta-madeby"], "Me");
    let delete = async |since: &str| {
        let request = storage.with_token(Method::DELETE, CREATE).header("if-unmodified-since", since);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), code(&answer).1.to_owned())
    };

    assert_eq!(
        code(&storage.with_sas(Method::DELETE, CREATE, &storage.service_sas("new-logs", "racwdl")).await),
        MISMATCH
    );
    assert_eq!(
        code(&storage.with_sas(Method::DELETE, CREATE, &storage.account_sas("c", "rcwl")).await),
        MISMATCH
    );
    assert_eq!(delete("Wed, 01 Jan 2025 12:00:00 GMT").await, (412, "ConditionNotMet".into()));
    assert_eq!(delete("soon").await, (400, "InvalidHeaderValue".into()));
    let modified = seen.headers()["last-modified"].to_str().expect("text");
    assert_eq!(delete(modified).await, (202, String::new()));
    assert_eq!(delete(modified).await, (404, "ContainerNotFound".into()));
    assert_eq!(code(&by_token(&storage, Method::PUT, "/new-logs/x").await), (404, "ContainerNotFound"));
    assert_eq!(code(&by_token(&storage, Method::PUT, CREATE).await), (201, ""));
    let sas = storage.account_sas("c", "d");
    assert_eq!(code(&storage.with_sas(Method::DELETE, CREATE, &sas).await), (202, ""));
}

#[tokio::test]
async fn an_account_sas_makes_a_container_if_it_reaches_that_far() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let create = async |name: &str, sas: &str| {
        storage.with_sas(Method::PUT, &format!("/{name}?restype=container"), sas).await
    };

    assert_eq!(code(&create("with-c", &storage.account_sas("c", "c")).await), (201, ""));
    assert_eq!(code(&create("with-w", &storage.account_sas("sco", "w")).await), (201, ""));
    assert_eq!(code(&create("new-logs", &storage.account_sas("sco", "rdl")).await), MISMATCH);
    let of_blobs = storage.account_sas("so", "cw");
    assert_eq!(code(&create("new-logs", &of_blobs).await), (403, "AuthorizationResourceTypeMismatch"));
    let forged = storage.account_sas("o", "cw").replace("srt=o", "srt=co");
    assert_eq!(code(&create("new-logs", &forged).await), (403, "AuthenticationFailed"));
    assert_eq!(simulator.ledger().storage.containers_created, 2);
}

#[tokio::test]
async fn a_sas_for_one_container_makes_none() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let key = storage.delegation_key(3600).await;
    let delegated =
        storage.delegated_sas(&key, "2022-11-02", "new-logs", "racwdl", &crate::common::storage::later(60));

    for sas in [storage.service_sas("new-logs", "racwdl"), delegated] {
        assert_eq!(code(&storage.with_sas(Method::PUT, CREATE, &sas).await), MISMATCH);
    }
    let nobody = crate::common::http().put(format!("{}{CREATE}", storage.endpoint)).body("");
    assert_eq!(code(&nobody.send().await.expect("an answer")), (409, "PublicAccessNotPermitted"));
    assert_eq!(simulator.ledger().storage.containers_created, 0);
}

#[tokio::test]
async fn a_container_has_a_plain_name() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;

    for name in ["ab", "New-Logs", "new_logs", "-logs", "new--logs", &"a".repeat(64)] {
        let refused = by_token(&storage, Method::PUT, &format!("/{name}?restype=container")).await;
        assert_eq!(code(&refused), (400, "InvalidResourceName"), "{name}");
    }
}

#[tokio::test]
async fn a_scenario_may_forbid_to_make_containers() {
    let simulator = simulate(&format!("[storage]\nrefuse_create = true\n{}", one_pool("", ""))).await;
    let storage = Storage::new(&simulator).await;

    assert_eq!(code(&by_token(&storage, Method::PUT, CREATE).await), MISMATCH);
    let sas = storage.account_sas("c", "c");
    assert_eq!(code(&storage.with_sas(Method::PUT, CREATE, &sas).await), MISMATCH);
    assert_eq!(code(&by_token(&storage, Method::PUT, "/batch-logs/x").await), (201, ""));
}

#[tokio::test]
async fn each_container_has_its_own_blobs() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    by_token(&storage, Method::PUT, CREATE).await;
    by_token(&storage, Method::PUT, "/new-logs/a/x").await;

    let list = async |container: &str| {
        let path = format!("/{container}?restype=container&comp=list");
        by_token(&storage, Method::GET, &path).await.text().await.expect("text")
    };
    let (new, old) = (list("new-logs").await, list("batch-logs").await);
    assert!(new.contains("ContainerName=\"new-logs\"") && new.contains("<Name>a/x</Name>"), "{new}");
    assert!(old.contains("ContainerName=\"batch-logs\"") && !old.contains("<Blob>"), "{old}");
    assert_eq!(code(&by_token(&storage, Method::DELETE, "/batch-logs/a/x").await), (404, "BlobNotFound"));
    let nowhere = by_token(&storage, Method::PUT, "/not-there/x").await;
    assert_eq!(code(&nowhere), (404, "ContainerNotFound"));
    assert_eq!(simulator.ledger().storage.blobs, 1);
}

#[tokio::test]
async fn the_containers_can_be_listed_by_who_may_see_the_account() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    by_token(&storage, Method::PUT, CREATE).await;
    let list =
        async |kinds| storage.with_sas(Method::GET, "?comp=list", &storage.account_sas(kinds, "rl")).await;

    assert_eq!(code(&list("co").await), (403, "AuthorizationResourceTypeMismatch"));
    let xml = list("s").await.text().await.expect("text");
    assert!(xml.contains("<Name>batch-logs</Name>") && xml.contains("<Name>new-logs</Name>"), "{xml}");
}

#[tokio::test]
async fn nodes_write_to_the_container_that_the_call_names() {
    let simulator = simulate(&one_pool("nodes = 2\nfiles = 2\narrival = \"0s\"", "")).await;
    let (caller, storage) = (Caller::new(&simulator), Storage::new(&simulator).await);
    let nodes = caller.node_ids().await;
    by_token(&storage, Method::PUT, CREATE).await;
    let url = |container: &str| {
        format!("{}/{container}?{}", simulator.ready().storage.endpoint, storage.service_sas(container, "w"))
    };

    caller.upload_of(&nodes[0], &url("new-logs")).send().await.expect("an answer");
    caller.upload_of(&nodes[1], &url("not-there")).send().await.expect("an answer");

    let ledger = wait_for(&simulator, |ledger| ledger.storage.put_calls == 4).await;
    assert_eq!((ledger.storage.blobs, ledger.storage.put_failures), (2, 2));
    let list = by_token(&storage, Method::GET, "/new-logs?restype=container&comp=list").await;
    assert_eq!(list.text().await.expect("text").matches("<Blob>").count(), 2);
}

#[tokio::test]
async fn probes_are_written_and_deleted_and_are_no_files_of_a_node() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let send = async |method, permissions: &str| {
        storage.with_sas(method, "/batch-logs/probe", &storage.service_sas("batch-logs", permissions)).await
    };

    assert_eq!(code(&send(Method::PUT, "rdl").await), MISMATCH);
    assert_eq!(code(&send(Method::PUT, "c").await), (201, ""));
    assert_eq!(code(&send(Method::PUT, "c").await), (403, "UnauthorizedBlobOverwrite"));
    assert_eq!(code(&send(Method::PUT, "w").await), (201, ""));
    assert_eq!(code(&send(Method::DELETE, "rwl").await), MISMATCH);
    assert_eq!(code(&send(Method::DELETE, "d").await), (202, ""));
    assert_eq!(code(&send(Method::DELETE, "d").await), (404, "BlobNotFound"));
    assert_eq!(code(&by_token(&storage, Method::PUT, "/batch-logs/probe").await), (201, ""));
    assert_eq!(code(&by_token(&storage, Method::DELETE, "/batch-logs/probe").await), (202, ""));
    let of_objects = storage.account_sas("o", "cd");
    assert_eq!(code(&storage.with_sas(Method::PUT, "/batch-logs/probe", &of_objects).await), (201, ""));
    assert_eq!(code(&storage.with_sas(Method::DELETE, "/batch-logs/probe", &of_objects).await), (202, ""));

    let ledger = simulator.ledger();
    assert_eq!((ledger.storage.probes_written, ledger.storage.probes_deleted), (4, 3));
    assert_eq!((ledger.storage.blobs, ledger.nodes.len()), (0, 0));
}
