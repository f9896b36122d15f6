//! Services that lie, flood, repeat what they hear, or answer before they are asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::{Caller, http, one_pool, simulate, wait_for};
use fleetlogs_sim::Simulator;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn with_fault(pool: &str, fault: &str) -> (Simulator, Caller, Vec<String>) {
    let simulator = simulate(&format!("{}\n[[account.fault]]\nkind = {fault}", one_pool(pool, ""))).await;
    let caller = Caller::new(&simulator);
    let plain = simulate(&one_pool(pool, "")).await;
    let nodes = Caller::new(&plain).node_ids().await;
    (simulator, caller, nodes)
}

async fn directory(caller: &Caller, simulator: &Simulator, node: &str) -> String {
    let answer: Value = caller.upload(simulator, node).await.expect("an answer").json().await.expect("JSON");
    answer["virtualDirectoryName"].as_str().expect("a directory").to_owned()
}

#[tokio::test]
async fn an_early_answer_comes_in_one_write_with_the_answer_before_it() {
    let (simulator, caller, nodes) = with_fault("nodes = 3", "\"early-answer\"").await;
    let request = caller.upload_of(&nodes[0], "http://contoso.invalid").build().expect("a request");
    let host = caller.endpoint.strip_prefix("http://").expect("a host");
    let (path, query) = (request.url().path(), request.url().query().expect("a query"));
    let mut lines = vec![format!("POST {path}?{query} HTTP/1.1"), format!("host: {host}")];
    for (name, value) in request.headers() {
        lines.push(format!("{name}: {}", value.to_str().expect("text")));
    }
    let body = request.body().and_then(|body| body.as_bytes()).expect("a body");
    lines.extend([format!("content-length: {}", body.len()), String::new()]);
    lines.push(std::str::from_utf8(body).expect("text").to_owned());
    let text = lines.join("\r\n");
    let mut stream = tokio::net::TcpStream::connect(host).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("sent");

    let mut read = String::new();
    while read.matches("virtualDirectoryName").count() < 2 {
        let mut buffer = [0; 8192];
        let count = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
        let count = count.expect("two answers to one call").expect("read");
        assert!(count > 0, "{read}");
        read += std::str::from_utf8(&buffer[..count]).expect("text");
    }

    assert_eq!(read.matches("HTTP/1.1 200 OK").count(), 2, "{read}");
    let directories: Vec<&str> =
        read.split("virtualDirectoryName").skip(1).filter_map(|text| text.split('"').nth(2)).collect();
    assert!(directories[0].contains(&nodes[0]) && directories[1].contains(&nodes[1]), "{directories:?}");
    let ledger = simulator.ledger();
    assert_eq!((ledger.accounts[0].upload_calls, ledger.accounts[0].accepted), (1, 1));
}

#[tokio::test]
async fn a_flood_makes_one_part_of_an_answer_large() {
    let items = "\"flood\"\nsize = \"1MiB\"\non = \"list-nodes\"";
    let (_simulator, caller, _) = with_fault("nodes = 2", items).await;
    let (flooded, pages) = caller.walk("/pools/p/nodes").await;
    assert!(flooded.len() > 50_000 && pages == 1, "{}", flooded.len());
    assert!(flooded.iter().all(|node| node["id"].is_string()));

    let (_simulator, caller, _) = with_fault("nodes = 2", &format!("{items}\npart = \"errors\"")).await;
    let (nodes, _) = caller.walk("/pools/p/nodes").await;
    assert_eq!(nodes.len(), 3);
    assert!(nodes[2]["errors"].as_array().is_some_and(|errors| errors.len() > 100_000));

    let link = "\"flood\"\nsize = \"20KiB\"\npart = \"link\"\non = \"list-nodes\"";
    let (_simulator, caller, _) = with_fault("nodes = 2", link).await;
    let page = caller.get_json("/pools/p/nodes").await;
    let link = page["odata.nextLink"].as_str().expect("a link");
    assert_eq!(link.len(), 20 << 10);
    assert!(caller.follow(link).await["value"].as_array().is_some_and(Vec::is_empty));

    let part = "\"flood\"\nsize = \"900KiB\"\npart = \"directory\"";
    let (simulator, caller, nodes) = with_fault("", part).await;
    assert_eq!(directory(&caller, &simulator, &nodes[0]).await.len(), 900 << 10);
}

#[tokio::test]
async fn links_lead_on_for_ever_in_turn_or_to_ever_new_pages() {
    for (kind, different) in [("next-link-turn", 3), ("next-link-new", 9)] {
        let fault = format!("\"{kind}\"\non = \"list-nodes\"\nsize = \"2KiB\"");
        let (_simulator, caller, _) = with_fault("nodes = 2", &fault).await;
        let mut page = caller.get_json("/pools/p/nodes").await;
        assert_eq!(page["value"].as_array().map(Vec::len), Some(2));
        let mut links = BTreeSet::new();
        for _ in 0..9 {
            let link = page["odata.nextLink"].as_str().expect("a link").to_owned();
            assert_eq!(link.len(), 2048, "{kind}");
            page = caller.follow(&link).await;
            assert_eq!(page["value"].as_array().map(Vec::len), Some(0), "{page}");
            links.insert(link);
        }
        assert!(links.len().abs_diff(different) <= 1, "{kind}: {}", links.len());
    }
}

#[tokio::test]
async fn an_upload_names_a_directory_that_is_not_its_own() {
    for (form, check) in [
        ("account", (|name, _| name.split('/').count() == 1) as fn(&str, &[String]) -> bool),
        ("pool", |name, _| name.ends_with("/p") && name.split('/').count() == 2),
        ("node", |name, nodes| name.ends_with(&nodes[1])),
        ("first", |name, nodes| name.split('/').nth(2) == Some(&nodes[0]) && name.split('/').count() == 4),
        ("first-node", |name, nodes| name.ends_with(&nodes[0])),
        ("next-node", |name, nodes| name.split('/').nth(2) == Some(&nodes[2])),
    ] {
        let fault = format!("\"directory\"\ndirectory = \"{form}\"\nnodes = {{ min = 1, max = 2 }}");
        let (simulator, caller, nodes) = with_fault("nodes = 3", &fault).await;
        let own = directory(&caller, &simulator, &nodes[0]).await;
        assert_eq!(own.split('/').nth(2), Some(nodes[0].as_str()), "position 0 is spared");

        let told = directory(&caller, &simulator, &nodes[1]).await;

        assert!(check(&told, &nodes), "{form}: {told}");
        assert!(form != "first" || told == own, "{told}");
    }
}

#[tokio::test]
async fn a_promise_and_the_nodes_of_an_arrival_fault_are_as_told() {
    let faults = "\"promise\"\nfiles = 4294967296\n[[account.arrival_fault]]\nkind = \"never\"\nnodes = { min = 1, max = 1 }";
    let (simulator, caller, nodes) = with_fault("nodes = 2\nfiles = 2\narrival = \"0s\"", faults).await;

    for node in &nodes {
        let answer: Value =
            caller.upload(&simulator, node).await.expect("an answer").json().await.expect("JSON");
        assert_eq!(answer["numberOfFilesUploaded"], 4_294_967_296_u64);
    }

    let ledger = wait_for(&simulator, |ledger| ledger.storage.blobs == 2).await;
    let written: Vec<u32> = ledger.nodes.iter().map(|node| node.directories[0].files_written).collect();
    assert_eq!(written, [2, 0]);
}

/// What fleets met: every answer is lost after the call was taken, and every node is one file short of its promise.
#[tokio::test]
async fn every_answer_is_lost_and_every_node_is_short() {
    for (kind, share, lost) in [
        ("internal-error\"\naccepted = true", 1.0, 100..=100),
        ("timeout-accepted\"", 1.0, 100..=100),
        ("timeout-accepted\"", 0.03, 1..=9),
    ] {
        let faults = format!("\"{kind}\nshare = {share:?}\n[[account.arrival_fault]]\nkind = \"short\"");
        let (simulator, caller, nodes) =
            with_fault("nodes = 100\nfiles = 3\narrival = \"0s\"", &faults).await;
        let mut bad = 0;
        for node in &nodes {
            bad +=
                u64::from(caller.upload(&simulator, node).await.expect("an answer").status().as_u16() == 500);
        }
        let ledger = wait_for(&simulator, |ledger| ledger.storage.blobs == 200).await;
        assert!(lost.contains(&bad), "{bad} lost");
        assert_eq!(ledger.accounts[0].accepted, 100);
    }
}

#[tokio::test]
async fn an_account_repeats_what_it_was_sent_in_every_spelling() {
    let echo = "\"echo\"\non = \"any\"\n";
    let (simulator, caller, nodes) = with_fault("nodes = 2", echo).await;
    let response = caller.upload(&simulator, &nodes[0]).await.expect("an answer");
    let error: Value = response.json().await.expect("JSON");
    let text = error["message"]["value"].as_str().expect("a text").to_owned();
    let url = &simulator.ready().container_url;
    let (_, encoded) = url.split_once("sig=").expect("a signature");
    let plain = encoded.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    for part in [
        url.as_str(),
        &plain,
        encoded,
        &encoded.replace('%', "%25"),
        plain.trim_end_matches('='),
        &plain.trim_end_matches('=').replace('+', "-").replace('/', "_"),
        &plain.replace('+', "&#43;").replace('/', "&#47;").replace('=', "&#61;"),
        &plain.replace('+', "\\u002B").replace('/', "\\/").replace('=', "\\u003D"),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }

    for (into, on, path) in [("answer", "list-nodes", "/pools/p/nodes"), ("answer", "list-pools", "/pools")] {
        let fault = format!("\"echo\"\ninto = \"{into}\"\non = \"{on}\"\nspelling = \"hex\"");
        let (simulator, caller, nodes) = with_fault("nodes = 2", &fault).await;
        directory(&caller, &simulator, &nodes[0]).await;
        let (items, _) = caller.walk(path).await;
        let hex: Vec<String> =
            plain_signature(&simulator).bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(serde_json::to_string(&items).expect("JSON").contains(&hex.concat()), "{items:?}");
    }

    let (simulator, caller, nodes) =
        with_fault("", "\"echo\"\ninto = \"answer\"\nspelling = \"plain\"").await;
    let told = directory(&caller, &simulator, &nodes[0]).await;
    assert!(told.contains(&plain_signature(&simulator)), "{told}");

    let (simulator, caller, nodes) = with_fault("", "\"echo\"\ninto = \"redirect\"").await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.build().expect("a client");
    let request = caller.upload_of(&nodes[0], &simulator.ready().container_url).build().expect("a request");
    let answer = client.execute(request).await.expect("an answer");
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    assert!(answer.status().as_u16() == 307 && location.contains("%20end"), "{location}");
}

fn plain_signature(simulator: &Simulator) -> String {
    let (_, encoded) = simulator.ready().container_url.split_once("sig=").expect("a signature");
    encoded.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
}

#[tokio::test]
async fn names_texts_and_times_can_be_anything() {
    let id = "\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}";
    let pool = r#"
        nodes = 2
        states = { starttaskfailed = 1.0 }
        node_suffix = "\u001b[2J\u061c\U000e0041\n"
        node_error = { code = "Evil", message = "BlobSource: https://x?sig=abc%3D\nforged" }
        node_times = "0000-01-01T00:00:00+23:59"
        resize_error = "AllocationFailed"
        resize_message = "\u202e"
    "#;
    let job = "[[account.job]]\nid = \"j\"\npool = \"\\u001b]52;c;ZXZpbA==\\u0007\\u202e\"\nend_times = \"9999-12-31T23:59:59Z\"";
    let fault =
        "[[account.fault]]\nkind = \"code\"\nstatus = 403\ncode = \"Nope\"\nmessage = \"\\u001b[31m\"";
    let text = one_pool(pool, "any_ids = true")
        .replace("id = \"p\"", "id = \"\\u001b]52;c;ZXZpbA==\\u0007\\u202e\"");
    let simulator = simulate(&format!("{text}\n{job}\n{fault}")).await;
    let caller = Caller::new(&simulator);
    let pools = caller.get_json("/pools").await;
    assert_eq!(pools["value"][0]["id"], id);
    assert_eq!(pools["value"][0]["resizeErrors"][0]["message"], "\u{202e}");

    let path = "/pools/%1B%5D52%3Bc%3BZXZpbA%3D%3D%07%E2%80%AE/nodes";
    let (nodes, _) = caller.walk(path).await;
    let node = nodes[0]["id"].as_str().expect("an id");
    assert!(node.ends_with("\u{1b}[2J\u{61c}\u{e0041}\n"), "{node:?}");
    assert_eq!(nodes[0]["errors"][0]["code"], "Evil");
    assert_eq!(nodes[0]["lastBootTime"], "0000-01-01T00:00:00+23:59");
    let tasks = caller.get_json("/jobs/j/tasks").await;
    assert_eq!(tasks["value"][0]["executionInfo"]["endTime"], "9999-12-31T23:59:59Z");

    let short = node.split('\u{1b}').next().expect("an id");
    let path = format!(
        "{path}/{short}%1B%5B2J%D8%9C%F3%A0%81%81%0A/uploadbatchservicelogs?api-version=2024-07-01.20.0"
    );
    let body = "{\"containerUrl\":\"http://x.invalid\",\"startTime\":\"2025-01-01T00:00:00Z\"}";
    let answer = caller.request(Method::POST, &path, Some(body)).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 403);
    let error: Value = answer.json().await.expect("JSON");
    assert!(error["message"]["value"].as_str().is_some_and(|text| text.starts_with("\u{1b}[31m")), "{error}");
}

async fn names(simulator: &Simulator, query: &str) -> (Vec<String>, Option<String>, String) {
    let url = format!("{}&restype=container&comp=list{query}", simulator.ready().verify_url);
    let xml = http().get(url).send().await.expect("an answer").text().await.expect("text");
    let inside = |tag: &str| -> Vec<String> {
        let tag = format!("<{tag}>");
        xml.split(&tag).skip(1).map(|text| text.split('<').next().unwrap_or_default().to_owned()).collect()
    };
    (inside("Name"), inside("NextMarker").pop(), xml.clone())
}

/// Three blobs, and faults of storage.
async fn with_blobs(faults: &str) -> Simulator {
    let pool = one_pool("files = 3\narrival = \"0s\"", "");
    let simulator = simulate(&format!("{faults}\n{pool}")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);
    caller.upload(&simulator, &node).await.expect("an answer");
    wait_for(&simulator, |ledger| ledger.storage.blobs == 3).await;
    simulator
}

#[tokio::test]
async fn listings_of_blobs_are_not_what_they_should_be() {
    let simulator = with_blobs("[[storage.fault]]\nkind = \"twice\"\n").await;
    let (twice, _, _) = names(&simulator, "").await;
    assert!(twice.len() == 6 && twice[0] == twice[1] && twice.is_sorted(), "{twice:?}");

    let simulator = with_blobs("[[storage.fault]]\nkind = \"unordered\"\n").await;
    let (unordered, _, _) = names(&simulator, "").await;
    assert!(unordered.len() == 3 && !unordered.is_sorted(), "{unordered:?}");

    for (kind, different) in [("marker-turn", 2), ("marker-new", 8)] {
        let simulator = with_blobs(&format!("[[storage.fault]]\nkind = \"{kind}\"\n")).await;
        let (mut markers, mut marker) = (BTreeSet::new(), String::new());
        for page in 0..8 {
            let (names, next, _) = names(&simulator, &format!("&marker={marker}")).await;
            assert_eq!(names.len(), if page == 0 { 3 } else { 0 });
            marker = next.expect("a marker");
            markers.insert(marker.clone());
        }
        assert_eq!(markers.len(), different, "{kind}");
    }

    let times = "[[storage.fault]]\nkind = \"times\"\ntext = \"Fri, 31 Dec 9999 23:59:59 GMT\"\n";
    let (_, _, xml) = names(&with_blobs(times).await, "").await;
    assert_eq!(xml.matches("Fri, 31 Dec 9999 23:59:59 GMT").count(), 6);

    let busy = "[[storage.fault]]\nkind = \"server-busy\"\nskip = 1\nfirst = 1\nname = \"contoso-\"\n";
    let simulator = with_blobs(busy).await;
    let mut found = Vec::new();
    for query in ["", "&prefix=contoso-", "&prefix=contoso-", "&prefix=contoso-"] {
        found.push(names(&simulator, query).await.0.len());
    }
    assert_eq!(found, [3, 3, 0, 3]);

    let simulator = with_blobs("[[storage.fault]]\nkind = \"echo\"\n").await;
    let (_, _, xml) = names(&simulator, "").await;
    let (_, encoded) = simulator.ready().verify_url.split_once("sig=").expect("a signature");
    assert!(xml.contains("AuthorizationFailure") && xml.contains(&encoded.replace('%', "%25")), "{xml}");
}

#[tokio::test]
async fn reading_a_blob_trickles_or_stalls() {
    for (kind, whole) in [("trickle", true), ("stalls", false)] {
        let fault = format!("[[storage.read_fault]]\nkind = \"{kind}\"\ndelay = \"600ms\"\n");
        let simulator = with_blobs(&fault).await;
        let (blobs, _, _) = names(&simulator, "").await;
        let url = simulator.ready().verify_url.replacen('?', &format!("/{}?", blobs[0]), 1);
        let started = Instant::now();

        let answer = http().get(url).send().await.expect("an answer").bytes().await;

        assert!(started.elapsed() >= Duration::from_millis(500), "{kind}");
        assert_eq!(answer.is_ok_and(|bytes| bytes.len() == 4096), whole, "{kind}");
    }
}
