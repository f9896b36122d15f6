//! `fleetlogs verify` after a run: what somebody did to the files in between, and which time they cover.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::Value;

use crate::azurite::Azurite;
use crate::stage::{Run, Sim, fleetlogs, service_sas};

const FLEET: &str = r#"
[[account]]
name = "contoso"
latency = "5ms"
[[account.pool]]
id = "Mixed-Case"
nodes = 8
files = 3
arrival = { min = "20ms", max = "200ms" }
"#;

fn verify(sim: &Sim, run: &Run, arguments: &[&str]) -> Run {
    let dir = run.dir.as_ref().unwrap();
    let output =
        fleetlogs().arg("verify").arg(dir).args(arguments).current_dir(sim.dir.path()).output().unwrap();
    Run::of(sim.dir.path(), output)
}

/// A SAS for the simulator's container that may do everything, and nobody gives to the program.
fn owners_sas(sim: &Sim) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let key = BASE64_STANDARD.decode(text(&sim.ready["storage"]["key"])).unwrap();
    service_sas(&key, &text(&sim.ready["container"]), "/blob/simlogs/batch-logs", "rwdl")
}

/// Writes a blob, or deletes it where there is no content.
fn tamper(sas: &str, blob: &str, content: Option<String>) {
    let (container, query) = sas.split_once('?').unwrap();
    let url = format!("{container}/{blob}?{query}");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = fleetlogs_azure::http_client(1).unwrap();
        let method = if content.is_some() { Method::PUT } else { Method::DELETE };
        let request = client.request(method, url).header("x-ms-version", "2021-12-02");
        let request = match content {
            Some(content) => request.header("x-ms-blob-type", "BlockBlob").body(content),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    });
}

/// A line of files.csv as its cells.
fn inventory(run: &Run) -> Vec<Vec<String>> {
    run.file("files.csv").lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// Each node's directory and the first two of its files, by the inventory.
fn files_of_nodes(run: &Run) -> Vec<(String, Vec<String>)> {
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in inventory(run) {
        nodes.entry(line[3].clone()).or_default().push(line[4].clone());
    }
    nodes.into_iter().collect()
}

fn document(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

/// What is said of the node with a directory.
fn standing<'a>(document: &'a Value, directory: &str) -> &'a Value {
    let of = |node: &&Value| node["virtual_directory"] == directory;
    document["nodes"].as_array().unwrap().iter().find(of).unwrap()
}

#[test]
fn what_was_done_to_the_files_is_told_apart_and_named() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let manifest = run.file("manifest.json");

    let before = sim.ledger()["storage"]["list_calls"].as_u64().unwrap();
    let first = verify(&sim, &run, &["--json"]);
    assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
    let told = document(&first);
    assert_eq!(told["schema"], "fleetlogs.verify/v1");
    assert_eq!((&told["counts"]["intact"], &told["compared_with"]), (&8.into(), &"run.db".into()));
    assert_eq!(told["list_calls"], 1, "one page holds them all");
    let calls = sim.ledger()["storage"]["list_calls"].as_u64().unwrap() - before;
    assert_eq!(calls, 2, "and one to see whether it can be listed");
    let lines = inventory(&first);
    assert_eq!(lines.len(), 24);
    assert!(
        lines.iter().all(|line| line[5] == "4096" && line[11] == "present" && !line[7].is_empty()),
        "{lines:?}"
    );

    let sas = owners_sas(&sim);
    let nodes = files_of_nodes(&first);
    let path = |node: usize, file: usize| format!("{}/{}", nodes[node].0, nodes[node].1[file]);
    tamper(&sas, &path(0, 0), None);
    tamper(&sas, &path(1, 0), Some("short".into()));
    tamper(&sas, &path(2, 0), Some("x".repeat(4096)));
    tamper(&sas, &format!("{}/added.log", nodes[3].0), Some("more".into()));
    (0..3).for_each(|file| tamper(&sas, &path(4, file), None));
    tamper(&sas, &path(5, 0), Some("x".repeat(5000)));
    tamper(&sas, &path(6, 0), None);
    tamper(&sas, &format!("{}/%3Dcmd.log", nodes[6].0), Some("y".repeat(4096)));

    let second = verify(&sim, &run, &["--json"]);
    assert_eq!(second.code, 3, "{}", second.stderr);
    let told = document(&second);
    assert_eq!(told["compared_with"], "files.csv");
    for (node, expected, missing, named) in [
        (0, "missing", 1, vec![(nodes[0].1[0].as_str(), "missing")]),
        (1, "truncated", 0, vec![(nodes[1].1[0].as_str(), "truncated")]),
        (2, "changed", 0, vec![(nodes[2].1[0].as_str(), "changed")]),
        (3, "grown", 0, vec![("added.log", "new")]),
        (4, "missing", 3, nodes[4].1.iter().map(|file| (file.as_str(), "missing")).collect()),
        (5, "changed", 0, vec![(nodes[5].1[0].as_str(), "changed")]),
        (6, "missing", 1, vec![("=cmd.log", "new"), (nodes[6].1[0].as_str(), "missing")]),
        (7, "intact", 0, vec![]),
    ] {
        let node = standing(&told, &nodes[node].0);
        assert_eq!(
            (&node["standing"], &node["files_missing"]),
            (&expected.into(), &missing.into()),
            "{node}"
        );
        let files = node["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        let files: Vec<_> = files
            .iter()
            .map(|file| (file["file"].as_str().unwrap(), file["status"].as_str().unwrap()))
            .collect();
        assert_eq!(files, named, "{node}");
    }
    let said = verify(&sim, &run, &[]);
    assert_eq!(said.code, 3);
    for expected in [
        "NOT ALL INTACT  the files of 1 of 8 collected nodes are as they were verified.",
        "1 intact, 1 grown, 2 changed, 1 truncated, 3 missing",
        "3 nodes, contoso, pool Mixed-Case: 5 files missing",
        "restore the files",
        nodes[2].1[0].as_str(),
    ] {
        assert!(said.stderr.contains(expected), "{expected} in {}", said.stderr);
    }
    assert_eq!(said.stdout, "");
    // What was found does not become what is expected.
    assert_eq!(inventory(&said), inventory(&second));
    assert_eq!(run.file("manifest.json"), manifest, "the proof of the run stays as it was");
}

#[test]
fn the_journal_alone_tells_that_files_were_exchanged_or_lost() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let first = verify(&sim, &run, &[]);
    assert!(first.stderr.starts_with("INTACT  the files of 8 of 8 collected nodes"), "{}", first.stderr);
    let nodes = files_of_nodes(&first);
    let forget = || std::fs::remove_file(run.dir.as_ref().unwrap().join("files.csv")).unwrap();
    forget();

    let sas = owners_sas(&sim);
    let path = |node: usize, file: &str| format!("{}/{file}", nodes[node].0);
    tamper(&sas, &path(0, &nodes[0].1[0]), None);
    tamper(&sas, &path(0, "other.log"), Some("x".repeat(4096)));
    tamper(&sas, &path(1, &nodes[1].1[0]), None);
    tamper(&sas, &path(2, &nodes[2].1[0]), Some("x".repeat(4095)));

    let told = verify(&sim, &run, &["--json"]);
    assert_eq!(told.code, 3);
    let told = document(&told);
    let standings: Vec<_> =
        (0..4).map(|node| standing(&told, &nodes[node].0)["standing"].as_str().unwrap()).collect();
    assert_eq!(standings, ["changed", "missing", "truncated", "intact"]);

    let told = verify(&sim, &run, &[]);
    for line in inventory(&told).iter().filter(|line| line[11] != "missing") {
        tamper(&sas, &format!("{}/{}", line[3], line[4]), None);
    }
    let gone = verify(&sim, &run, &["-q"]);
    assert_eq!((gone.code, gone.stdout.as_str(), gone.stderr.as_str()), (4, "", ""));
    forget();
    assert_eq!(verify(&sim, &run, &[]).code, 4, "by the journal as well");
}

#[test]
fn what_the_lines_cover_is_told_and_holes_are_named() {
    let pool = |id: &str, more: &str| {
        format!(
            r#"
            [[account.pool]]
            id = "{id}"
            nodes = 3
            files = 2
            arrival = "50ms"
            {more}
            "#
        )
    };
    let sim = Sim::start(&format!(
        r#"
        [[account]]
        name = "contoso"
        latency = "5ms"
        {}
        {}
        {}
        "#,
        pool("lines", r#"file_size = "300KiB""#),
        pool("gap", r#"content = "gap""#),
        pool("opaque", r#"content = "opaque""#),
    ));
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);

    let looked = verify(&sim, &run, &["--coverage"]);
    assert_eq!(looked.code, 0, "{}", looked.stderr);
    assert!(
        looked.stderr.contains("3 full, 3 partial, 3 unknown of the window, by node"),
        "{}",
        looked.stderr
    );
    assert!(looked.stderr.contains("3 nodes, contoso, pool gap: up to 24m 0"), "{}", looked.stderr);

    let coverage: Value = serde_json::from_str(&looked.file("coverage.json")).unwrap();
    assert_eq!(coverage["schema"], "fleetlogs.coverage/v1");
    assert_eq!(coverage["counts"], serde_json::json!({ "full": 3, "partial": 3, "none": 0, "unknown": 3 }));
    let reads = sim.ledger()["storage"]["blob_reads"].as_u64().unwrap();
    assert_eq!(coverage["reads"], reads, "every read is counted");
    assert_eq!(reads, 3 * 2 * 2 + 3 * 2 + 3 * 2, "two of a large file, one of a small one");
    for node in coverage["nodes"].as_array().unwrap() {
        match node["pool"].as_str().unwrap() {
            "lines" => {
                assert_eq!((&node["covers"], node["holes"].as_array().unwrap().len()), (&"full".into(), 0));
            }
            "gap" => {
                assert_eq!(
                    (&node["covers"], node["holes"].as_array().unwrap().len()),
                    (&"partial".into(), 1)
                );
                assert_eq!(node["covered"].as_array().unwrap().len(), 2);
            }
            _ => {
                assert_eq!((&node["covers"], &node["unknown"]["compressed"]), (&"unknown".into(), &2.into()));
            }
        }
    }
    let lines = inventory(&looked);
    assert_eq!(lines.iter().filter(|line| !line[9].is_empty() && line[9] < line[10]).count(), 12);

    // Lines without a time, and a second look without coverage, which keeps the times of what did not change.
    let of_lines = lines.iter().find(|line| line[1] == "lines").unwrap();
    tamper(&owners_sas(&sim), &format!("{}/{}", of_lines[3], of_lines[4]), Some("no time\nhere\n".into()));
    let again = verify(&sim, &run, &[]);
    assert_eq!(again.code, 3);
    assert!(!again.stderr.contains("of the window"), "{}", again.stderr);
    assert_eq!(inventory(&again).iter().filter(|line| !line[9].is_empty()).count(), 11);
    assert_eq!(sim.ledger()["storage"]["blob_reads"], reads);
    let covered = verify(&sim, &run, &["--coverage", "--json"]);
    assert_eq!(
        document(&covered)["coverage"],
        serde_json::json!({ "full": 3, "partial": 3, "none": 0, "unknown": 3 })
    );
    let coverage: Value = serde_json::from_str(&covered.file("coverage.json")).unwrap();
    let nodes = coverage["nodes"].as_array().unwrap();
    let told: Vec<_> = nodes.iter().filter(|node| node["unknown"]["none-recognised"] == 1).collect();
    assert_eq!((told.len(), &told[0]["covers"]), (1, &"full".into()), "its other file covers all of it");
}

#[test]
fn a_node_that_was_never_verified_is_not_intact_whatever_is_there() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 2
        arrival = "50ms"
        [[account.pool]]
        id = "b"
        nodes = 2
        storage_blocked = true
        "#,
    );
    let run = sim.run(&sim.config(r#"verify = { deadline = "1s", settle = "1s" }"#));
    assert_eq!(run.code, 3, "{}", run.stderr);
    let looked = verify(&sim, &run, &["--coverage"]);
    insta::assert_snapshot!(looked.picture(), @r"
    exit code: 0
    ----- stderr -----
    INTACT  the files of 2 of 2 collected nodes are as they were verified; 2 were never collected.
      nodes         2 intact, 2 not-collected
      not-collected 2 nodes, contoso, pool b
      files         8 files, 32.0 KiB, in http://127.0.0.1:PORT/simlogs/batch-logs
      coverage      2 full, 2 none of the window, by node
      cost          1 list call, 8 reads
      inventory     runs/RUN/files.csv
      next          2 incomplete: retry:
                      fleetlogs resume runs/RUN --retry incomplete
    ");
    let dir = run.dir.as_ref().unwrap().file_name().unwrap().to_str().unwrap();
    let command = format!("fleetlogs resume runs/{dir} --retry incomplete\n");
    assert!(looked.stderr.contains(&command), "{command} in {}", looked.stderr);
}

#[test]
fn names_that_look_alike_are_told_apart_over_two_looks() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 1
        arrival = "50ms"
        "#,
    );
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let directory = files_of_nodes(&verify(&sim, &run, &[])).remove(0).0;
    std::fs::remove_file(run.dir.as_ref().unwrap().join("files.csv")).unwrap();
    let sas = owners_sas(&sim);
    let path = |name: &str| format!("{directory}/{name}");
    for name in ["%3Df", "%27%3Df", "a%20b.log", "a%0Ab.log"] {
        tamper(&sas, &path(name), Some("x".repeat(10)));
    }
    assert_eq!(verify(&sim, &run, &[]).code, 3, "more than the run verified");
    tamper(&sas, &path("%3Df"), None);
    tamper(&sas, &path("a%0Ab.log"), None);

    let looked = verify(&sim, &run, &["--json"]);
    assert_eq!(looked.code, 3, "{}", looked.stderr);
    let told = document(&looked);
    let node = standing(&told, &directory);
    assert_eq!((&node["standing"], &node["files_missing"]), (&"missing".into(), &2.into()), "{node}");
    let of = |name: &str| serde_json::json!({ "file": name, "status": "missing", "bytes": 10 });
    assert_eq!(node["files"], serde_json::json!([of("=f"), of("a\nb.log")]));
    let spelled: Vec<_> = inventory(&looked).into_iter().map(|mut line| line.swap_remove(4)).collect();
    for name in ["\\u{3d}f", "\\u{27}=f", "a b.log", "a\\u{a}b.log"] {
        assert!(spelled.iter().any(|cell| cell == name), "{name} in {spelled:?}");
    }
}

#[test]
fn nodes_whose_files_nobody_looked_for_are_looked_for_by_resume_and_not_called() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 2
        arrival = "50ms"
        "#,
    );
    let config = sim.config("verify = { enabled = false }");
    let run = sim.run(&config);
    assert_eq!(run.count("accepted"), 2, "{}", run.stderr);
    let looked = verify(&sim, &run, &[]);
    assert_eq!(looked.code, 3, "{}", looked.stderr);
    let dir = run.dir.as_ref().unwrap().file_name().unwrap().to_str().unwrap();
    let command = format!("    fleetlogs resume runs/{dir} --accept-changes\n");
    for expected in ["2 not-collected", "2 accepted", "set verify.enabled = true", &command] {
        assert!(looked.stderr.contains(expected), "{expected} in {}", looked.stderr);
    }
    assert!(!looked.stderr.contains("--retry"), "{}", looked.stderr);

    let calls = sim.upload_calls();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("enabled = false", "enabled = true")).unwrap();
    assert!(verify(&sim, &run, &[]).stderr.contains(&command.replace(" --accept-changes", "")));
    let resumed = fleetlogs().arg("resume").arg(run.dir.as_ref().unwrap()).arg("--accept-changes").output();
    let resumed = resumed.unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert_eq!(sim.upload_calls(), calls);
    assert_eq!(verify(&sim, &run, &[]).code, 0);
}

#[test]
fn a_look_that_would_not_work_is_refused_and_leaves_what_is_there() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 2
        arrival = "50ms"
        "#,
    );
    let config = sim.config("");
    let run = sim.run(&config);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let dir = run.dir.clone().unwrap();
    assert_eq!(verify(&sim, &run, &[]).code, 0);
    let kept = run.file("files.csv");

    let with = |name: &str, url: &str| {
        std::fs::write(sim.dir.path().join("secret.other"), url).unwrap();
        let text = std::fs::read_to_string(&config).unwrap();
        let path = sim.dir.path().join(name);
        std::fs::write(&path, text.replace("\"ready.json.verify_url\"", "\"secret.other\"")).unwrap();
        path.display().to_string()
    };
    let refused = |arguments: &[&str]| {
        let run = verify(&sim, &run, arguments);
        assert!(!run.stderr.contains("upload") && !run.stderr.contains("enabled"), "{}", run.stderr);
        assert_eq!(run.file("files.csv"), kept);
        assert!(!dir.join(".files.csv.tmp").exists() && !dir.join("coverage.json").exists());
        run.picture()
    };
    let sas = |permissions: &str| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key = BASE64_STANDARD.decode(text(&sim.ready["storage"]["key"])).unwrap();
        service_sas(&key, &text(&sim.ready["container"]), "/blob/simlogs/batch-logs", permissions)
    };
    let list_only = with("list-only.toml", &sas("l"));
    insta::assert_snapshot!(refused(&["--config", &list_only, "--coverage"]), @r"
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: its SAS lacks the permission `r`, which `--coverage` needs
      help: set `destination.verify_url` to a SAS with the permissions `r` and `l`
    ");
    assert_eq!(verify(&sim, &run, &["--config", &list_only]).code, 0, "to count them it is enough");
    let read_only = with("read-only.toml", &sas("r"));
    insta::assert_snapshot!(refused(&["--config", &read_only]), @r"
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: the SAS lacks the permission `l` (verification lists the container with it)
      help: create a container SAS with the permissions `r` and `l` for `verify_url`
    ");

    let url = sas("rl");
    let (_, path) = url.split_once("://").unwrap().1.split_once('/').unwrap();
    // Nobody listens there.
    let down = with("down.toml", &format!("http://127.0.0.1:9/{path}"));
    insta::assert_snapshot!(refused(&["--config", &down]), @r"
    exit code: 5
    ----- stderr -----
    error: the container cannot be listed: cannot connect: tcp connect error: Connection refused (os error 111)
      help: check that storage is up, DNS, proxy and the storage firewall; then run `verify` again: earlier results stay as they are
    ");
    let elsewhere = with("elsewhere.toml", &url.replacen("/batch-logs?", "/others?", 1));
    insta::assert_snapshot!(refused(&["--config", &elsewhere]), @r"
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: it is for another container than that of the run: http://127.0.0.1:PORT/simlogs/others
      help: create one for http://127.0.0.1:PORT/simlogs/batch-logs
    ");

    let lock = std::fs::File::open(&dir).unwrap();
    lock.lock().unwrap();
    insta::assert_snapshot!(refused(&[]), @r"
    exit code: 5
    ----- stderr -----
    error: another process works on this run (process PID; it holds `DIR/runs/RUN/run.lock`)
      help: wait for the other process, or end it; `fleetlogs status` shows its progress
    ");
    drop(lock);
    assert_eq!(verify(&sim, &run, &[]).code, 0);

    std::fs::write(dir.join("files.csv"), "edited,by,hand\n").unwrap();
    let edited = verify(&sim, &run, &[]);
    insta::assert_snapshot!(edited.picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `DIR/runs/RUN/files.csv`: its columns are not those of an inventory of this version; move it away to start a new inventory
    ");
    assert_eq!(edited.file("files.csv"), "edited,by,hand\n");
    assert!(Path::new(&dir).join("manifest.json").exists());
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn real_blob_storage_tells_the_same() {
    let azurite = Azurite::start();
    let sim = Sim::start(FLEET);
    let run = azurite.collect(&sim);

    let first = verify(&sim, &run, &["--coverage"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("8 full of the window"), "{}", first.stderr);
    let lines = inventory(&first);
    assert!(lines.iter().all(|line| !line[7].is_empty() && !line[8].is_empty()), "etag and MD5: {lines:?}");

    let sas = azurite.container_sas("rwdl");
    let nodes = files_of_nodes(&first);
    let path = |node: usize| format!("{}/{}", nodes[node].0, nodes[node].1[0]);
    tamper(&sas, &path(0), None);
    tamper(&sas, &path(1), Some("short".into()));
    tamper(&sas, &path(2), Some("x".repeat(4096)));
    tamper(&sas, &format!("{}/added.log", nodes[3].0), Some("more".into()));
    let second = verify(&sim, &run, &["--json"]);
    assert_eq!(second.code, 3, "{}", second.stderr);
    let told = document(&second);
    let standings: Vec<_> =
        (0..5).map(|node| standing(&told, &nodes[node].0)["standing"].as_str().unwrap()).collect();
    assert_eq!(standings, ["missing", "truncated", "changed", "grown", "intact"]);
}
