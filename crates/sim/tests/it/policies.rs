//! Stored access policies: who may change them, and what a SAS that refers to one allows.

use crate::common::storage::{Storage, code, later, signature};
use crate::common::{http, one_pool, simulate};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, Response};
use sha2::Sha256;
use time::macros::format_description;

const ACL: &str = "/batch-logs?restype=container&comp=acl";
const LIST: &str = "/batch-logs?restype=container&comp=list";

fn policy(id: &str) -> String {
    let expiry = later(3600);
    format!(
        "<SignedIdentifiers><SignedIdentifier><Id>{id}</Id><AccessPolicy><Expiry>{expiry}</Expiry>\
         <Permission>rl</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>"
    )
}

/// Sets the policies, signed with the account's key this many seconds ago.
async fn set(storage: &Storage, body: &str, seconds_ago: i64) -> Response {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let signed_at = time::OffsetDateTime::now_utc() - time::Duration::seconds(seconds_ago);
    let (date, account) = (signed_at.format(form).expect("a date"), &storage.account);
    let text = format!(
        "PUT\n\n\n{}\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2022-11-02\n/{account}/{account}/batch-logs\ncomp:acl\n\
         restype:container",
        // Storage signs no length if there is no body.
        if body.is_empty() { String::new() } else { body.len().to_string() }
    );
    let key = BASE64_STANDARD.decode(&storage.key).expect("Base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length is a key");
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    http()
        .put(format!("{}{ACL}", storage.endpoint))
        .header("x-ms-date", date)
        .header("x-ms-version", "2022-11-02")
        .header("authorization", format!("SharedKey {account}:{signature}"))
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer")
}

/// A SAS without any field of its own.
fn sas(storage: &Storage, policy: &str) -> String {
    let text =
        format!("\n\n\n/blob/{}/batch-logs\n{policy}\n\n\n2022-11-02\nc\n\n\n\n\n\n\n", storage.account);
    format!("sv=2022-11-02&sr=c&si={policy}&sig={}", signature(&storage.key, &text))
}

#[tokio::test]
async fn policies_are_for_the_account_key_alone() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let refused = (403, "AuthorizationFailure");

    let by_token = storage.with_token(Method::PUT, ACL).body(policy("p")).send().await.expect("an answer");
    assert_eq!(code(&by_token), refused);
    for sas in [storage.account_sas("sco", "rwdlac"), storage.service_sas("batch-logs", "racwdl")] {
        assert_eq!(code(&storage.with_sas(Method::PUT, ACL, &sas).await), refused);
        assert_eq!(code(&storage.with_sas(Method::GET, ACL, &sas).await), refused);
    }
    assert_eq!(
        code(&set(&storage, &policy("p"), 1000).await),
        (403, "AuthenticationFailed"),
        "signed too long ago"
    );
    assert_eq!(code(&set(&storage, &policy("p"), 0).await), (200, ""));
    assert_eq!(simulator.ledger().storage.credentials_leaked, 0);
}

#[tokio::test]
async fn a_sas_opens_what_its_policy_says_for_as_long_as_it_is_there() {
    let simulator = simulate(&format!("[storage]\npolicy_delay = \"5s\"\n{}", one_pool("", ""))).await;
    let storage = Storage::new(&simulator).await;
    let sas = sas(&storage, "p");
    let refused = (403, "AuthenticationFailed");
    let list = async || storage.with_sas(Method::GET, LIST, &sas).await;

    assert_eq!(code(&list().await), refused);
    set(&storage, &policy("p"), 0).await;
    assert_eq!(code(&list().await), refused, "storage does not know it yet");
    tokio::time::sleep(std::time::Duration::from_millis(5100)).await;
    assert_eq!(code(&list().await), (200, ""));
    let written = storage.with_sas(Method::PUT, "/batch-logs/new", &sas).await;
    assert_eq!(code(&written), (403, "AuthorizationPermissionMismatch"));
    set(&storage, &policy("other"), 0).await;
    assert_eq!(code(&list().await), refused);
    set(&storage, &policy("p"), 0).await;
    tokio::time::sleep(std::time::Duration::from_millis(5100)).await;
    assert_eq!(code(&list().await), (200, ""));
    assert_eq!(code(&set(&storage, "", 0).await), (200, ""), "an empty body takes all of them away");
    assert_eq!(code(&list().await), refused);
}
