//! Tokens for storage, the user delegation keys that they allow, and the SAS that those keys sign.

use std::time::Duration;

use crate::common::storage::{DelegationKey, Storage, code, later};
use crate::common::{Caller, http, one_pool, simulate, token, wait_for};
use reqwest::{Method, Response};

const LIST: &str = "/batch-logs?restype=container&comp=list";
const FAILED: (u16, &str) = (403, "AuthenticationFailed");

async fn sent(request: reqwest::RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn a_token_for_storage_opens_it_with_and_without_the_slash() {
    let simulator = simulate(&one_pool("", "")).await;
    for resource in ["https://storage.azure.com/", "https://storage.azure.com"] {
        let storage = Storage { token: token(&simulator, resource).await, ..Storage::new(&simulator).await };

        assert_eq!(code(&sent(storage.with_token(Method::GET, LIST)).await), (200, ""), "{resource}");
    }
    assert_eq!(simulator.ledger().storage.credentials_leaked, 0);
}

#[tokio::test]
async fn a_token_for_batch_is_refused_and_counted_as_carried_away() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage {
        token: token(&simulator, "https://batch.core.windows.net/").await,
        ..Storage::new(&simulator).await
    };

    let refused = sent(storage.with_token(Method::GET, LIST)).await;

    assert_eq!(code(&refused), (401, "InvalidAuthenticationInfo"));
    let how = refused.headers()["www-authenticate"].to_str().expect("text");
    assert!(how.starts_with("Bearer ") && how.contains("https://storage.azure.com"), "{how}");
    let xml = refused.text().await.expect("text");
    assert!(xml.contains("<Code>InvalidAuthenticationInfo</Code>") && xml.contains("audience"), "{xml}");
    assert_eq!(simulator.ledger().storage.credentials_leaked, 1);
}

#[tokio::test]
async fn a_token_for_storage_does_not_open_batch() {
    let simulator = simulate(&one_pool("", "")).await;
    let token = token(&simulator, "https://storage.azure.com/").await;
    let url = format!("{}/pools?api-version=2025-06-01", simulator.ready().accounts[0].endpoint);

    assert_eq!(sent(http().get(url).bearer_auth(token)).await.status().as_u16(), 401);
}

#[tokio::test]
async fn a_token_that_has_expired_or_comes_without_a_version_is_refused() {
    let simulator = simulate(&format!("[identity]\ntoken_lifetime = \"10s\"\n{}", one_pool("", ""))).await;
    let storage = Storage::new(&simulator).await;

    let without_version = http().get(format!("{}{LIST}", storage.endpoint)).bearer_auth(&storage.token);
    assert_eq!(code(&sent(without_version).await), FAILED);
    assert_eq!(code(&sent(storage.with_token(Method::GET, LIST)).await), (200, ""));
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    let refused = sent(storage.with_token(Method::GET, LIST)).await;
    assert_eq!(code(&refused), (401, "InvalidAuthenticationInfo"));
}

#[tokio::test]
async fn a_key_is_handed_out_for_seven_days_at_most() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let week = 7 * 86_400;

    let key = storage.delegation_key(week).await;
    assert_eq!((key["SignedService"].as_str(), key["SignedVersion"].as_str()), ("b", "2022-11-02"));
    let bad = (400, "InvalidXmlNodeValue");
    for (start, expiry) in [(0, week + 1), (0, -1), (3600, 3600), (-week, 1), (-week - 10, -5)] {
        let refused = storage.ask_for_key(&later(start), &later(expiry)).await;
        assert_eq!(code(&refused), bad, "{start} {expiry}");
    }
    assert_eq!(code(&storage.ask_for_key("now", &later(60)).await), bad);
    assert_eq!(simulator.ledger().storage.delegation_keys, 1);
}

#[tokio::test]
async fn a_key_is_for_the_owner_of_a_token_only() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let path = "?restype=service&comp=userdelegationkey";

    let by_sas = storage.with_sas(Method::POST, path, &storage.account_sas("sco", "rwdlacup")).await;
    assert_eq!(code(&by_sas), FAILED);
    let batch = token(&simulator, "https://batch.core.windows.net/").await;
    let by_batch = Storage { token: batch, ..Storage::new(&simulator).await };
    let refused = by_batch.ask_for_key(&later(0), &later(60)).await;
    assert_eq!(code(&refused), (401, "InvalidAuthenticationInfo"));
    assert_eq!(simulator.ledger().storage.delegation_keys, 0);
}

#[tokio::test]
async fn a_key_may_be_refused_or_end_early_if_the_scenario_says_so() {
    let refusing = simulate(&format!("[storage]\nrefuse_delegation_key = true\n{}", one_pool("", ""))).await;
    let refused = Storage::new(&refusing).await.ask_for_key(&later(0), &later(60)).await;
    assert_eq!(code(&refused), (403, "AuthorizationPermissionMismatch"));

    let short = format!("[storage]\ndelegation_key_lifetime = \"90s\"\n{}", one_pool("", ""));
    let short = simulate(&short).await;
    let storage = Storage::new(&short).await;
    let (earliest, key) = (later(90), storage.delegation_key(3600).await);
    assert!(earliest <= key["SignedExpiry"] && key["SignedExpiry"] <= later(90), "{}", key["SignedExpiry"]);
    let asked_for_less = storage.delegation_key(60).await;
    assert!(asked_for_less["SignedExpiry"] <= later(60));
}

#[tokio::test]
async fn a_delegated_sas_opens_its_container_in_either_layout() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let key = storage.delegation_key(3600).await;
    let list = async |sas: &str| storage.with_sas(Method::GET, LIST, sas).await;
    for version in ["2020-12-06", "2022-11-02", "2025-05-05", "2025-07-05"] {
        let sas = storage.delegated_sas(&key, version, "batch-logs", "rl", &later(3600));

        assert_eq!(code(&list(&sas).await), (200, ""), "{version}");
        assert_eq!(code(&list(&sas.replace("sp=rl", "sp=rwl")).await), FAILED);
        assert_eq!(code(&storage.with_sas(Method::PUT, "/batch-logs/x", &sas).await).0, 403);
    }
    let other = storage.delegated_sas(&key, "2022-11-02", "other", "rl", &later(3600));
    assert_eq!(code(&list(&other).await), FAILED);
    let for_one_user = storage.delegated_sas(&key, "2025-07-05", "batch-logs", "rl", &later(3600));
    assert_eq!(code(&list(&format!("{for_one_user}&sduoid=somebody")).await), FAILED);
}

#[tokio::test]
async fn a_delegated_sas_of_a_key_that_nobody_handed_out_opens_nothing() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let key = storage.delegation_key(3600).await;
    let code_of = async |key: DelegationKey| {
        let sas = storage.delegated_sas(&key, "2022-11-02", "batch-logs", "rl", &later(3600));
        storage.with_sas(Method::GET, LIST, &sas).await.status().as_u16()
    };

    assert_eq!(code_of(key.clone()).await, 200);
    for (field, value) in [
        ("SignedOid", "00000000-0000-0000-0000-000000000000"),
        ("SignedTid", "00000000-0000-0000-0000-000000000000"),
        ("SignedExpiry", later(7200).as_str()),
        ("SignedService", "q"),
        ("SignedVersion", "2020-12-06"),
        ("Value", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ] {
        let mut other = key.clone();
        other.insert(field.to_owned(), value.to_owned());
        assert_eq!(code_of(other).await, 403, "{field}");
    }
}

#[tokio::test]
async fn a_delegated_sas_works_while_both_it_and_its_key_do() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let (short, long) = (storage.delegation_key(10).await, storage.delegation_key(3600).await);
    let of_short_key = storage.delegated_sas(&short, "2022-11-02", "batch-logs", "rl", &later(3600));
    let short_itself = storage.delegated_sas(&long, "2022-11-02", "batch-logs", "rl", &later(10));
    let late = storage.delegation_key_from(10, 3600).await;
    let of_late_key = storage.delegated_sas(&late, "2022-11-02", "batch-logs", "rl", &later(3600));

    assert_eq!(code(&storage.with_sas(Method::GET, LIST, &of_late_key).await), FAILED);
    for sas in [&of_short_key, &short_itself] {
        assert_eq!(code(&storage.with_sas(Method::GET, LIST, sas).await), (200, ""));
    }
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    for sas in [&of_short_key, &short_itself] {
        assert_eq!(code(&storage.with_sas(Method::GET, LIST, sas).await), FAILED);
    }
    assert_eq!(code(&storage.with_sas(Method::GET, LIST, &of_late_key).await), (200, ""));
}

#[tokio::test]
async fn a_node_writes_with_a_delegated_sas_until_its_key_ends() {
    let simulator = simulate(&one_pool("nodes = 2\nfiles = 1\narrival = \"0s\"", "")).await;
    let (caller, storage) = (Caller::new(&simulator), Storage::new(&simulator).await);
    let nodes = caller.node_ids().await;
    let key = storage.delegation_key(10).await;
    let sas = storage.delegated_sas(&key, "2022-11-02", "batch-logs", "w", &later(3600));
    let url = format!("{}?{sas}", simulator.ready().container);

    sent(caller.upload_of(&nodes[0], &url)).await;
    wait_for(&simulator, |ledger| ledger.storage.blobs == 1).await;
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    assert_eq!(sent(caller.upload_of(&nodes[1], &url)).await.status().as_u16(), 200);
    let ledger = wait_for(&simulator, |ledger| ledger.storage.put_failures == 1).await;

    assert_eq!(ledger.storage.blobs, 1);
    assert_eq!(ledger.nodes[0].directories[0].sas_expires_at.as_ref(), Some(&key["SignedExpiry"]));
}
