//! Blobs in blocks, headers that a SAS asks for, and many deletions in one request.

use crate::common::storage::{Storage, code, later, signature};
use crate::common::{http, one_pool, simulate};
use reqwest::Method;

fn list(parts: &[(&str, &str)]) -> String {
    let parts: Vec<String> = parts.iter().map(|(kind, id)| format!("<{kind}>{id}</{kind}>")).collect();
    let parts = parts.concat();
    format!("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>{parts}</BlockList>")
}

#[tokio::test]
async fn a_blob_is_put_together_from_the_blocks_of_its_list() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let put = async |query: &str, body: &str| {
        let request = storage.with_token(Method::PUT, &format!("/batch-logs/x?{query}"));
        let answer = request.body(body.to_owned()).send().await.expect("an answer");
        let (status, code) = code(&answer);
        (status, code.to_owned())
    };
    let get = async |query: &str| {
        let request = storage.with_token(Method::GET, &format!("/batch-logs/x{query}"));
        request.send().await.expect("an answer").text().await.expect("text")
    };
    let good = (201, String::new());
    let bad = |code: &str| (400, code.to_owned());

    assert_eq!(put("comp=block&blockid=YQ%3D%3D", "one").await, good);
    assert_eq!(put("comp=block&blockid=Yg%3D%3D", "two").await, good);
    assert_eq!(put("comp=block&blockid=YWFhYWFh", "x").await, bad("InvalidBlobOrBlock"), "of another length");
    assert_eq!(put("comp=block&blockid=!", "x").await, bad("InvalidQueryParameterValue"));
    assert!(get("").await.contains("BlobNotFound"), "no list has named them");
    assert!(
        get("?comp=blocklist&blocklisttype=uncommitted").await.contains("<Name>YQ==</Name><Size>3</Size>")
    );
    assert_eq!(put("comp=blocklist", &list(&[("Latest", "Yw==")])).await, bad("InvalidBlockList"));
    assert_eq!(put("comp=blocklist", "text").await, bad("InvalidXmlDocument"));

    assert_eq!(put("comp=blocklist", &list(&[("Latest", "Yg=="), ("Uncommitted", "YQ==")])).await, good);
    assert_eq!(get("").await, "twoone");
    assert_eq!(put("comp=blocklist", &list(&[("Uncommitted", "YQ==")])).await, bad("InvalidBlockList"));
    assert_eq!(put("comp=blocklist", &list(&[("Committed", "YQ==")])).await, good);
    assert_eq!(get("").await, "one");

    let sas = storage.service_sas("batch-logs", "r");
    let refused = storage.with_sas(Method::PUT, "/batch-logs/x?comp=block&blockid=YQ%3D%3D", &sas).await;
    assert_eq!(code(&refused), (403, "AuthorizationPermissionMismatch"));
}

#[tokio::test]
async fn an_answer_has_the_headers_that_the_sas_asks_for() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    let put = storage.with_token(Method::PUT, "/batch-logs/x").header("x-ms-blob-type", "BlockBlob");
    put.body("content").send().await.expect("an answer");
    let (expiry, account) = (later(3600), &storage.account);
    let text = format!(
        "r\n\n{expiry}\n/blob/{account}/batch-logs\n\n\n\n2022-11-02\nc\n\n\nno-store\ninline\ngzip\nde\ntext/x-log"
    );
    let sas = format!(
        "sv=2022-11-02&sr=c&sp=r&se={expiry}&rscc=no-store&rscd=inline&rsce=gzip&rscl=de&rsct=text%2Fx-log&sig={}",
        signature(&storage.key, &text)
    );

    let answer =
        http().get(format!("{}/batch-logs/x?{sas}", storage.endpoint)).send().await.expect("an answer");

    assert_eq!(code(&answer), (200, ""));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("content-disposition", "inline"),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("content-type", "text/x-log"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
}

#[tokio::test]
async fn a_batch_deletes_what_each_of_its_parts_may_delete() {
    let simulator = simulate(&one_pool("", "")).await;
    let storage = Storage::new(&simulator).await;
    for name in ["a", "b", "c"] {
        let put = storage.with_token(Method::PUT, &format!("/batch-logs/{name}"));
        put.header("x-ms-blob-type", "BlockBlob").body("x").send().await.expect("an answer");
    }
    let sas = storage.service_sas("batch-logs", "d");
    let only_read = storage.service_sas("batch-logs", "r");
    let part = |id: usize, path: &str| {
        format!(
            "--mine\r\nContent-Type: application/http\r\nContent-ID: {id}\r\n\r\nDELETE {path} HTTP/1.1\r\nContent-Length: \
             0\r\n\r\n\r\n"
        )
    };
    let body = [
        part(0, &format!("/batch-logs/a?{sas}")),
        part(1, &format!("/{}/batch-logs/b?{sas}", storage.account)),
        part(2, &format!("/batch-logs/c?{only_read}")),
        part(3, &format!("/batch-logs/d?{sas}")),
        "--mine--\r\n".to_owned(),
    ];
    let url = format!("{}/batch-logs?restype=container&comp=batch&{sas}", storage.endpoint);
    let request = http().post(url).header("content-type", "multipart/mixed; boundary=mine");

    let answer = request.body(body.concat()).send().await.expect("an answer");

    assert_eq!(answer.status().as_u16(), 202);
    let text = answer.text().await.expect("text");
    let statuses: Vec<&str> =
        text.split("HTTP/1.1 ").skip(1).filter_map(|part| part.split(' ').next()).collect();
    assert_eq!(statuses, ["202", "202", "403", "404"], "{text}");
    assert_eq!(simulator.ledger().storage.probes_deleted, 2);
    assert_eq!(simulator.ledger().storage.blobs, 1);
}
