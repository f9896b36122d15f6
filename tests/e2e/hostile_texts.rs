//! A service whose names and texts try to do something to the terminal they are shown on, and whose numbers are beyond
//! all sums.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::foreign_service::{Canned, config, ok, serve};
use crate::stage::{Run, fleetlogs};

/// Writes the clipboard, clears the screen (with both spellings of the escape code), turns text around, hides some of
/// it, and begins a line of its own.
const HOSTILE: &str =
    "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\u{9b}2J\u{202e}\u{61c}\u{200b}\u{e0041}\u{2028}\r\nERROR forged";

/// What a terminal must never get, except what our own colours need.
fn raw(text: &str) -> Option<char> {
    let is_raw = |char: &char| match *char {
        '\n' => false,
        char if char.is_control() => true,
        char => matches!(
            char,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{e0000}'..='\u{e0fff}'
        ),
    };
    text.chars().find(is_raw)
}

/// As the path of a request spells a name.
fn escaped(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

fn refusal(status: &'static str, code: &str) -> Canned {
    let body = json!({ "code": code, "message": { "lang": "en", "value": HOSTILE },
        "values": [{ "key": HOSTILE, "value": HOSTILE }] });
    Canned(status, "application/json; odata=minimalmetadata", body.to_string())
}

fn hostile_run(level: &[&str]) -> Run {
    let (pool, node) = (format!("pool{HOSTILE}"), format!("node{HOSTILE}"));
    let service = serve(|_| {
        let error = json!({ "code": HOSTILE, "message": HOSTILE });
        let pools = json!({ "value": [
            { "id": pool, "allocationState": HOSTILE, "vmSize": HOSTILE, "resizeErrors": [error] },
            { "id": "refused", "metadata": [{ "name": HOSTILE, "value": HOSTILE }] },
            { "id": HOSTILE },
        ] });
        let nodes = json!({ "value": [
            { "id": node, "state": HOSTILE, "errors": [error], "nodeAgentInfo": { "version": HOSTILE } },
            { "id": "lost", "state": "idle" },
            { "id": "throttled", "state": "idle" },
            { "id": "failed", "state": "idle", "startTaskInfo": { "state": HOSTILE, "result": HOSTILE } },
        ] });
        let mut answers = HashMap::from([
            ("GET /pools".to_owned(), ok(&pools.to_string())),
            (format!("GET /pools/{}/nodes", escaped(&pool)), ok(&nodes.to_string())),
            ("GET /pools/refused/nodes".into(), refusal("403 Forbidden", HOSTILE)),
            (format!("GET /pools/{}/nodes", escaped(HOSTILE)), refusal("500 Oops", HOSTILE)),
        ]);
        let mut post = |node: &str, answer| {
            let path =
                format!("POST /pools/{}/nodes/{}/uploadbatchservicelogs", escaped(&pool), escaped(node));
            answers.insert(path, answer);
        };
        let directory = json!({ "virtualDirectoryName": HOSTILE, "numberOfFilesUploaded": 4 });
        post(&node, ok(&directory.to_string()));
        post("lost", refusal("500 Oops", "InternalError"));
        post("throttled", refusal("429 Busy", "TooManyRequests"));
        post("failed", refusal("409 No", "OperationNotValidOnNode"));
        answers
    });
    let dir = tempfile::tempdir().unwrap();
    let more =
        "deadlines = { node = \"2s\", run = \"6s\" }\nretry = { attempts = 2, base_delay = \"100ms\" }";
    let config = config(&service, dir.path(), more);
    let output = fleetlogs().arg("run").arg(&config).args(level).current_dir(dir.path()).output().unwrap();
    let run = Run::of(dir.path(), output);
    // The caller reads its files.
    std::mem::forget(dir);
    run
}

#[test]
fn no_name_of_the_service_does_anything_to_the_terminal_at_any_level() {
    for level in [&["-q"][..], &[], &["-v"], &["-vv"], &["-vv", "--log-format", "json"]] {
        let run = hostile_run(level);
        assert_ne!(run.code, 1, "{}", run.stderr);
        assert_eq!(raw(&run.stderr), None, "{level:?}: {:?}", run.stderr);
        assert_eq!(raw(&run.stdout), None, "{level:?}: {:?}", run.stdout);
        let forged = run.stderr.lines().find(|line| line.trim_start().starts_with("ERROR forged"));
        assert_eq!(forged, None, "{level:?}");
        let log = run.file("log.jsonl");
        assert_eq!(raw(&log), None, "{level:?}");
        for line in log.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
        if level.contains(&"-vv") {
            assert!(run.stderr.contains("the nodes of a pool cannot be listed"), "{}", run.stderr);
            // Nothing is lost in the log that programs read.
            let has_name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["pool"] == HOSTILE;
            assert!(log.lines().any(has_name), "{log}");
        }
    }
}

#[test]
fn what_is_refused_and_listed_is_shown_without_doing_anything() {
    let service = serve(|_| HashMap::from([("GET /pools".to_owned(), refusal("403 Forbidden", HOSTILE))]));
    let dir = tempfile::tempdir().unwrap();
    let config = config(&service, dir.path(), "");
    for command in [&["run"][..], &["check"], &["plan"], &["check", "--json"], &["plan", "--json"]] {
        let (name, more) = command.split_first().unwrap();
        let output = fleetlogs().arg(name).arg(&config).args(more).current_dir(dir.path()).output().unwrap();
        for text in [output.stdout, output.stderr] {
            let text = String::from_utf8(text).unwrap();
            assert_eq!(raw(&text), None, "{command:?}: {text:?}");
        }
        assert_eq!(output.status.code(), Some(5), "{command:?}");
    }
}

#[test]
fn a_node_with_a_time_that_cannot_be_written_refuses_nothing() {
    let service = serve(|_| {
        let odd = |id: &str, time: &str| {
            json!({ "id": id, "state": "idle", "stateTransitionTime": time, "allocationTime": time,
                "lastBootTime": time, "recentTasks": [{ "jobId": "j", "taskId": "t",
                    "executionInfo": { "startTime": time, "endTime": time } }] })
        };
        let nodes = json!({ "value": [
            odd("early", "0000-01-01T00:00:00+23:59"),
            odd("late", "9999-12-31T23:59:59-23:59"),
            odd("last", "9999-12-31T23:59:59Z"),
            odd("unset", "0001-01-01T00:00:00Z"),
        ] });
        let accepted = json!({ "virtualDirectoryName": "d", "numberOfFilesUploaded": 0 }).to_string();
        let mut answers = HashMap::from([
            ("GET /pools".to_owned(), ok(&json!({ "value": [{ "id": "p" }] }).to_string())),
            ("GET /pools/p/nodes".into(), ok(&nodes.to_string())),
        ]);
        for node in ["early", "late", "last", "unset"] {
            answers.insert(format!("POST /pools/p/nodes/{node}/uploadbatchservicelogs"), ok(&accepted));
        }
        answers
    });
    for window in ["boot", "allocation", "state"] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&service, dir.path(), &format!("window = {{ since = \"{window}\" }}"));
        let output = fleetlogs().arg("run").arg(&config).current_dir(dir.path()).output().unwrap();
        let run = Run::of(dir.path(), output);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(run.manifest()["counts"]["empty"], 4, "{}", run.stderr);
    }
}
