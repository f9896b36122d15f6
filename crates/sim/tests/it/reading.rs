//! Reading blobs: ranges, conditions, checksums and faults.

use crate::common::{http, one_pool, simulate};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use fleetlogs_sim::Simulator;
use md5::{Digest as _, Md5};
use reqwest::Response;

const TEXT: &str = "0123456789";

/// A simulator with a blob `x` of ten bytes, and the URL to read it.
async fn with_blob(storage: &str) -> (Simulator, String) {
    let simulator = simulate(&format!("{storage}\n{}", one_pool("", ""))).await;
    let at = |url: &str| url.replacen('?', "/x?", 1);
    let put =
        http().put(at(&simulator.ready().container_url)).header("x-ms-blob-type", "BlockBlob").body(TEXT);
    assert_eq!(put.send().await.expect("an answer").status().as_u16(), 201);
    let url = at(&simulator.ready().verify_url);
    (simulator, url)
}

async fn read(url: &str, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(http().get(url), |request, (name, value)| request.header(*name, *value));
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn a_range_of_the_blob_that_was_seen_can_be_read_and_of_no_other() {
    let (simulator, url) = with_blob("").await;
    let whole = read(&url, &[]).await;
    let etag = whole.headers()["etag"].to_str().expect("text").to_owned();
    assert_eq!(whole.headers()["content-md5"], BASE64_STANDARD.encode(Md5::digest(TEXT)));

    let rest = read(&url, &[("range", "bytes=4-"), ("if-match", &etag)]).await;
    assert_eq!(
        (rest.status().as_u16(), &rest.headers()["content-range"]),
        (206, &"bytes 4-9/10".parse().expect("a value"))
    );
    assert_eq!(rest.headers()["x-ms-blob-content-md5"], BASE64_STANDARD.encode(Md5::digest(TEXT)));
    assert_eq!(rest.text().await.expect("text"), "456789");

    let other = read(&url, &[("range", "bytes=4-"), ("if-match", "\"0x1\"")]).await;
    assert_eq!(
        (other.status().as_u16(), &other.headers()["x-ms-error-code"]),
        (412, &"ConditionNotMet".parse().expect("a value"))
    );
    assert_eq!(simulator.ledger().storage.blob_reads, 3);
}

#[tokio::test]
async fn a_read_is_cut_spoiled_or_refused_as_often_as_the_scenario_says() {
    let (_simulator, url) = with_blob("[[storage.read_fault]]\nkind = \"truncated\"").await;
    let cut = read(&url, &[]).await;
    assert_eq!(cut.headers()["content-length"], "10");
    assert!(cut.bytes().await.is_err());
    assert_eq!(read(&url, &[]).await.text().await.expect("text"), TEXT);

    let (_simulator, url) = with_blob("[[storage.read_fault]]\nkind = \"corrupt\"\nfirst = 2").await;
    for _ in 0..2 {
        let text = read(&url, &[]).await.text().await.expect("text");
        assert_eq!((text.len(), text == TEXT), (10, false));
    }
    assert_eq!(read(&url, &[]).await.text().await.expect("text"), TEXT);

    let (_simulator, url) = with_blob("[[storage.read_fault]]\nkind = \"server-busy\"\nsuffix = \"x\"").await;
    assert_eq!(read(&url, &[]).await.status().as_u16(), 503);
    assert_eq!(read(&url, &[]).await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_blob_may_grow_while_it_is_read() {
    let (_simulator, url) = with_blob("[[storage.read_fault]]\nkind = \"grows\"").await;
    let first = read(&url, &[]).await;
    let etag = first.headers()["etag"].to_str().expect("text").to_owned();
    assert!(first.bytes().await.is_err());
    assert_eq!(read(&url, &[("if-match", &etag)]).await.status().as_u16(), 412);
    assert!(read(&url, &[]).await.text().await.expect("text").len() > TEXT.len());
}
