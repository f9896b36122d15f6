//! A Batch service that shares nothing with the simulator: canned answers in the forms that were recorded of the real
//! service (CR LF, unknown members, both spellings of the content type, bodies in chunks).

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::stage::{Run, fleetlogs};

pub(crate) struct Service {
    pub(crate) endpoint: String,
    /// Request lines with their bodies, in order.
    seen: Arc<Mutex<Vec<String>>>,
}

/// A canned answer: status line, headers, and a body that is sent in chunks.
#[derive(Clone)]
pub(crate) struct Canned(pub(crate) &'static str, pub(crate) &'static str, pub(crate) String);

pub(crate) fn ok(body: &str) -> Canned {
    Canned("200 OK", "application/json;odata=minimalmetadata", body.replace('\n', "\r\n"))
}

/// Serves until the test ends. Answers are found by method and path.
pub(crate) fn serve<K>(answers: impl FnOnce(&str) -> HashMap<K, Canned>) -> Service
where
    K: Borrow<str> + Eq + Hash + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::new(answers(&endpoint));
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answers, log) = (answers.clone(), log.clone());
            std::thread::spawn(move || answer_all(stream, &answers, &log));
        }
    });
    Service { endpoint, seen }
}

fn answer_all<K: Borrow<str> + Eq + Hash>(
    stream: TcpStream,
    answers: &HashMap<K, Canned>,
    log: &Mutex<Vec<String>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header == "\r\n" {
                break;
            }
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        log.lock().unwrap().push(format!("{} {}", request.trim(), String::from_utf8(body).unwrap()));
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let page = if target.contains("$skiptoken") { " page 2" } else { "" };
        let key = format!("{method} {}{page}", target.split('?').next().unwrap());
        let missing = Canned("404 Not Found", "application/json; odata=minimalmetadata", String::new());
        let Canned(status, kind, body) = answers.get(key.as_str()).cloned().unwrap_or(missing);
        let (first, second) = body.split_at(body.len() / 2);
        let chunk = |part: &str| {
            if part.is_empty() { String::new() } else { format!("{:x}\r\n{part}\r\n", part.len()) }
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nServer: Microsoft-HTTPAPI/2.0\r\nrequest-id: fbe93aba-21e0-4d2a-943e-d52b06b49f56\r\n\
             DataServiceVersion: 3.0\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
            chunk(first),
            chunk(second)
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The config of an account at this service, without verification; `more` comes first.
pub(crate) fn config(service: &Service, dir: &Path, more: &str) -> PathBuf {
    let config = dir.join("fleetlogs.toml");
    std::fs::write(dir.join("key"), "ZmFrZSBrZXk=").unwrap();
    let url = "https://logs.blob.core.windows.net/logs?sr=c&sp=w&se=2036-01-01&sig=fake";
    std::fs::write(dir.join("url"), url).unwrap();
    let text = format!(
        r#"
        {more}
        [verify]
        enabled = false
        [destination]
        container_url = {{ file = "url" }}
        [[account]]
        name = "contoso"
        endpoint = "{}"
        auth = {{ shared_key = {{ file = "key" }} }}
        "#,
        service.endpoint
    );
    std::fs::write(&config, text).unwrap();
    config
}

fn run(service: &Service, more: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let config = config(service, dir.path(), more);
    let output = fleetlogs().arg("run").arg(&config).current_dir(dir.path()).output().unwrap();
    let run = Run::of(dir.path(), output);
    // The directory is read by the caller after this returns.
    std::mem::forget(dir);
    run
}

const POOLS: &str = r#"{
  "odata.metadata":"https://contoso.eastus2.batch.azure.com/$metadata#pools","value":[
    {
      "id":"JSSDKTest-Pool","eTag":"0x8DD6713722D7F02","state":"active","allocationState":"steady",
      "currentDedicatedNodes":2,"targetDedicatedNodes":2,"jobDefaultOrder":"none","upgradePolicy":{"mode":"manual"}
    }
  ]
}"#;

#[test]
fn recorded_answers_of_the_real_service_are_understood() {
    let service = serve(|endpoint| {
        let next = format!(
            "{endpoint}/pools/JSSDKTest-Pool/nodes?api-version=2024-07-01.20.0&$skiptoken=WATV2:a/b^m^D:1$1"
        );
        HashMap::from([
            ("GET /pools", ok(POOLS)),
            (
                "GET /pools/JSSDKTest-Pool/nodes",
                ok(&format!(r#"{{
  "odata.metadata":"x","value":[
    {{ "id":"tvmps_01_d","state":"idle","schedulingState":"enabled","stateTransitionTime":"2025-03-19T21:05:47.1234567Z",
       "nodeAgentInfo":{{"version":"1.10.0","lastUpdateTime":"2025-03-19T21:05:47.123456Z"}},"ipv6Address":"::1" }},
    {{ "id":"tvmps_02_d","state":"starting" }}
  ],"odata.nextLink":"{next}"
}}"#)),
            ),
            (
                "GET /pools/JSSDKTest-Pool/nodes page 2",
                ok(r#"{"odata.metadata":"x","value":[{"id":"tvmps_03_d","state":"defragmenting"}]}"#),
            ),
            (
                "POST /pools/JSSDKTest-Pool/nodes/tvmps_01_d/uploadbatchservicelogs",
                ok(r#"{
  "odata.metadata":"x","virtualDirectoryName":"batch-22ECC15FFD102503/jssdktest-pool/tvmps_01_d/fbe93aba-21e0-4d2a-943e-d52b06b49f56",
  "numberOfFilesUploaded":4
}"#),
            ),
            (
                "POST /pools/JSSDKTest-Pool/nodes/tvmps_02_d/uploadbatchservicelogs",
                Canned(
                    "409 The specified operation is not valid for the node.",
                    "application/json; odata=minimalmetadata",
                    r#"{"odata.metadata":"x","code":"OperationNotValidOnNode","message":{"lang":"en-US","value":"Not valid.\nRequestId:1\nTime:2026-01-22T20:18:17.6076943Z"},"values":[{"key":"Reason","value":"agent too old"}]}"#.into(),
                ),
            ),
            (
                "POST /pools/JSSDKTest-Pool/nodes/tvmps_03_d/uploadbatchservicelogs",
                ok(r#"{"odata.metadata":"x","virtualDirectoryName":"d","numberOfFilesUploaded":0}"#),
            ),
        ])
    });
    let run = run(&service, "");
    assert_eq!(run.code, 3, "{}", run.stderr);
    let manifest = run.manifest();
    let node = |id: &str| {
        manifest["nodes"].as_array().unwrap().iter().find(|node| node["node"] == id).unwrap().clone()
    };
    let first = node("tvmps_01_d");
    assert_eq!(
        first["virtual_directory"],
        "batch-22ECC15FFD102503/jssdktest-pool/tvmps_01_d/fbe93aba-21e0-4d2a-943e-d52b06b49f56"
    );
    assert_eq!(first["attempts"][0]["request_id"], "fbe93aba-21e0-4d2a-943e-d52b06b49f56");
    assert_eq!((&first["outcome"], &first["agent_version"]), (&"accepted".into(), &"1.10.0".into()));
    let refused = node("tvmps_02_d");
    assert_eq!(refused["outcome"], "failed");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("409 OperationNotValidOnNode") && reason.contains("agent too old"), "{reason}");
    assert!(!reason.contains("RequestId"), "{reason}");
    let odd = node("tvmps_03_d");
    assert_eq!((&odd["outcome"], &odd["state"]), (&"empty".into(), &"defragmenting".into()));

    let seen = service.seen.lock().unwrap();
    let second_page = seen.iter().find(|line| line.contains("$skiptoken")).unwrap();
    assert!(
        second_page.contains("?api-version=2024-07-01.20.0&$skiptoken=WATV2:a/b^m^D:1$1 HTTP/1.1"),
        "{second_page}"
    );
    let post = seen.iter().find(|line| line.starts_with("POST")).unwrap();
    assert!(
        post.contains("\"containerUrl\":\"https://logs.blob.core.windows.net/logs?")
            && post.contains("\"startTime\":\"20"),
        "{post}"
    );
    assert_eq!(seen.iter().filter(|line| line.starts_with("POST")).count(), 3, "each node is called once");
}

#[test]
fn a_request_that_is_wrong_for_all_stops_the_run() {
    let service = serve(|_| {
        let invalid = Canned(
            "400 Bad Request",
            "application/json; odata=minimalmetadata",
            r#"{"odata.metadata":"x","code":"InvalidPropertyValue","message":{"lang":"en-US","value":"The value provided for one of the properties is invalid."}}"#.into(),
        );
        let nodes: Vec<_> = (0..200).map(|node| format!(r#"{{"id":"n{node}","state":"idle"}}"#)).collect();
        let mut answers = HashMap::from([
            ("GET /pools", ok(POOLS)),
            (
                "GET /pools/JSSDKTest-Pool/nodes",
                ok(&format!(r#"{{"odata.metadata":"x","value":[{}]}}"#, nodes.join(","))),
            ),
        ]);
        for node in 0..200 {
            let path = format!("POST /pools/JSSDKTest-Pool/nodes/n{node}/uploadbatchservicelogs");
            answers.insert(&*path.leak(), invalid.clone());
        }
        answers
    });
    let run = run(&service, "limits = { concurrency = 4 }");
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("InvalidPropertyValue"), "{}", run.stderr);
    let posts = service.seen.lock().unwrap().iter().filter(|line| line.starts_with("POST")).count();
    assert!(posts <= 8, "{posts} calls after the first refusal");
}
