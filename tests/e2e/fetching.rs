//! `fleetlogs fetch`: the logs of a run, downloaded.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::azurite::Azurite;
use crate::stage::{Run, Sim, fleetlogs, get, wait_for};

const FLEET: &str = r#"
    [storage]
    content_md5 = true
    [[account]]
    name = "contoso"
    latency = "5ms"
    [[account.pool]]
    id = "render"
    nodes = 3
    files = 2
    arrival = "50ms"
    [[account.pool]]
    id = "web"
    nodes = 2
    files = 2
    arrival = "50ms"
"#;

fn fetch(run: &Run, more: &[&str]) -> Output {
    let dir = run.dir.as_ref().unwrap();
    let beside = dir.parent().unwrap().parent().unwrap();
    fleetlogs().arg("fetch").arg(dir).args(more).current_dir(beside).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The document, and the exit code, which are the same.
fn document(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["schema"], &document["exit_code"]), (&"fleetlogs.fetch/v1".into(), &code.into()));
    document
}

/// The lines of the list, by the names of the blobs.
fn list(dir: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(dir.join("logs.jsonl")).unwrap();
    let line = |line: &str| {
        let log: Value = serde_json::from_str(line).unwrap();
        (log["blob"].as_str().unwrap().to_owned(), log)
    };
    text.lines().map(line).collect()
}

fn reads(sim: &Sim) -> u64 {
    sim.ledger()["storage"]["blob_reads"].as_u64().unwrap()
}

#[test]
fn the_logs_of_a_run_come_without_a_bundle_as_a_choice_or_all_of_them() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let dir = run.dir.as_ref().unwrap();

    // A choice, elsewhere.
    let to = sim.dir.path().join("web logs");
    let web = fetch(&run, &["--pool", "web", "--to", "web logs"]);
    assert_eq!(web.status.code(), Some(0), "{}", stderr(&web));
    assert_eq!(String::from_utf8_lossy(&web.stdout), "web logs\n", "for `cd`");
    let said = stderr(&web);
    assert!(said.contains("COMPLETE  all logs of 2 nodes are on disk: 4 files, "), "{said}");
    assert_eq!(list(&to).len(), 4);
    for (blob, log) in list(&to) {
        let url = sim.ready["verify_url"].as_str().unwrap().replacen('?', &format!("/{blob}?"), 1);
        let file = log["file"].as_str().unwrap();
        assert!(file.starts_with("contoso/web/"), "{file}");
        assert_eq!(std::fs::read_to_string(to.join(file)).unwrap(), get(&url), "{blob}");
    }
    assert!(!dir.join("logs").exists() && !dir.join("logs.jsonl").exists());

    // All of them, at the place of the run, where a bundle finds them.
    let all = document(&fetch(&run, &["--json", "--concurrency", "2"]), 0);
    assert_eq!((&all["nodes"], &all["files"], &all["downloaded_files"]), (&5.into(), &10.into(), &10.into()));
    assert_eq!(all["failures"], Value::Array(vec![]));
    assert_eq!(reads(&sim), 4 + 4 + 10, "those that were compared above, too");
    assert_eq!(list(dir).len(), 10);
    let again = document(&fetch(&run, &["--json", "--missing"]), 0);
    assert_eq!((&again["files"], &again["downloaded_files"]), (&10.into(), &0.into()));
    let bundled = fleetlogs().args(["bundle", "--with-logs"]).arg(dir).current_dir(sim.dir.path()).output();
    assert_eq!(bundled.unwrap().status.code(), Some(0));
    assert_eq!(reads(&sim), 18, "nothing came twice");

    // No such node, and what there is.
    let none = fetch(&run, &["--pool", "Web"]);
    assert_eq!(none.status.code(), Some(8));
    assert!(
        stderr(&none).contains("this run has these pools: contoso/render, contoso/web"),
        "{}",
        stderr(&none)
    );
}

#[test]
fn what_cannot_be_fetched_is_told_with_the_command_that_fetches_it() {
    let sim = Sim::start(&format!(
        r#"
        [[storage.read_fault]]
        kind = "truncated"
        first = 6
        {FLEET}
        "#
    ));
    let config = sim.config("");
    let run = sim.run(&config);
    // Each read gives half of what is left, and there are five in a command.
    let web = document(&fetch(&run, &["--json", "--pool", "web"]), 4);
    assert_eq!((web["failures"].as_array().unwrap().len(), &web["files"]), (4, &0.into()), "{web}");
    let begun = reads(&sim);
    assert_eq!(document(&fetch(&run, &["--json", "--pool", "web"]), 0)["files"], 4);
    assert_eq!(reads(&sim), begun + 8, "one cut more, then the rest");
    let partial = document(&fetch(&run, &["--json", "--node", "*", "--concurrency", "3"]), 3);
    let failures = partial["failures"].as_array().unwrap();
    assert_eq!((failures.len(), &partial["files"]), (6, &4.into()), "{partial}");
    assert!(failures[0]["reason"].as_str().unwrap().contains("broke off"), "{partial}");
    let next = partial["next"].as_str().unwrap();
    assert!(next.starts_with("fleetlogs fetch ") && next.ends_with(" --node '*' --concurrency 3"), "{next}");
    assert_eq!(document(&fetch(&run, &["--json"]), 0)["downloaded_files"], 6);

    // A SAS that may not read is refused before anything is asked of storage.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        sim.dir.path().join("secret.list"),
        sim.ready["verify_url"].as_str().unwrap().replace("sp=rl", "sp=l"),
    )
    .unwrap();
    let listing = text.replace("\"ready.json.verify_url\"", "\"secret.list\"");
    std::fs::write(sim.dir.path().join("list.toml"), listing).unwrap();
    let refused = fetch(&run, &["--config", "list.toml"]);
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("lacks the permission `r`, which `fetch` needs"),
        "{}",
        stderr(&refused)
    );
    let wrong = sim.ready["verify_url"].as_str().unwrap().replacen("sig=", "sig=AAAA", 1);
    std::fs::write(sim.dir.path().join("secret.list"), wrong).unwrap();
    let refused = fetch(&run, &["--config", "list.toml"]);
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("the container cannot be listed: 403"), "{}", stderr(&refused));
}

#[test]
fn a_signal_ends_it_and_the_same_command_goes_on() {
    let sim = Sim::start(&format!(
        r#"
        [[storage.read_fault]]
        kind = "stalls"
        delay = "60s"
        {FLEET}
        "#
    ));
    let run = sim.run(&sim.config(""));
    let dir = run.dir.as_ref().unwrap();
    let mut program = fleetlogs();
    program.args(["fetch", "--json"]).arg(dir).current_dir(sim.dir.path());
    let fetching =
        program.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let logs = dir.join("logs/contoso/web");
    let parts = || {
        let dirs = std::fs::read_dir(&logs).ok()?;
        let files = dirs.flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap());
        let parts = files
            .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "part"));
        (parts.count() == 4).then_some(())
    };
    wait_for("the parts of the files", parts);
    let killed = Command::new("kill").args(["-INT", &fetching.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let stopped = document(&fetching.wait_with_output().unwrap(), 6);
    assert!(stopped["next"].as_str().unwrap().starts_with("fleetlogs fetch "), "{stopped}");
    assert_eq!((list(dir).len(), &stopped["nodes_cut_off"]), (0, &5.into()), "{stopped}");
    let rest = document(&fetch(&run, &["--json"]), 0);
    assert_eq!(rest["files"], 10);
}

/// The disk is full after some bytes; the number of a full disk is 28.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_ends_it_with_what_to_do() {
    let sim = Sim::start(FLEET);
    let run = sim.run(&sim.config(""));
    let library = crate::disk::failing_disk();
    let output = fleetlogs()
        .args(["fetch", "--concurrency", "1"])
        .arg(run.dir.as_ref().unwrap())
        .env("LD_PRELOAD", &library)
        .env("FAIL_CALL", "write")
        .env("FAIL_FILE", ".part")
        .env("FAIL_AFTER", "3")
        .env("FAIL_ERRNO", "28")
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    std::fs::remove_file(library).unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("No space left on device") && said.contains("make room on the disk"), "{said}");
    assert_eq!(document(&fetch(&run, &["--json"]), 0)["files"], 10);
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn real_storage_has_md5s_that_are_checked_and_what_is_missing_comes() {
    let azurite = Azurite::start();
    let sim = Sim::start(FLEET);
    let run = azurite.collect(&sim);
    let dir = run.dir.as_ref().unwrap();
    let first = document(&fetch(&run, &["--json"]), 0);
    assert_eq!((&first["files"], &first["files_without_md5"]), (&10.into(), &0.into()), "{first}");
    let logs = list(dir);
    assert!(
        logs.values().all(|log| log["md5"].is_string() && log["etag"].as_str().unwrap().starts_with('"'))
    );

    let files: Vec<_> = logs.values().map(|log| dir.join(log["file"].as_str().unwrap())).collect();
    std::fs::remove_file(&files[0]).unwrap();
    let mut bytes = std::fs::read(&files[1]).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&files[1], &bytes).unwrap();
    let missing = document(&fetch(&run, &["--json", "--missing"]), 0);
    assert_eq!(missing["downloaded_files"], 1, "the damaged one has its size: {missing}");
    let compared = document(&fetch(&run, &["--json"]), 0);
    assert_eq!(compared["downloaded_files"], 1, "{compared}");
    assert_ne!(std::fs::read(&files[1]).unwrap(), bytes);
    assert_eq!(list(dir), logs);
}
