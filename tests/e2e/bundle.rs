//! The escalation bundle: what `fleetlogs bundle` makes of a run, opened by programs that know nothing of fleetlogs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::azurite::Azurite;
use crate::stage::{Run, Server, Sim, fleetlogs, wait_for};

/// A fleet with a bad day: nodes that deliver, a pool whose storage is blocked, and nodes that vanish.
const TROUBLED: &str = include_str!("fleets/troubled.toml");

/// One pool whose files all arrive.
const GOOD: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "good"
nodes = 4
files = 2
file_size = 5000
arrival = "50ms"
"#;

fn bundle(run: &Run, arguments: &[&str]) -> Output {
    let dir = run.dir.as_ref().unwrap();
    let bundled = fleetlogs()
        .arg("bundle")
        .arg(dir)
        .args(arguments)
        .current_dir(dir.parent().unwrap())
        .output()
        .unwrap();
    // Whatever came of it: no secret may be in what it said.
    let said = [&bundled.stdout[..], &bundled.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains("sig="), "{said:?}");
    bundled
}

/// The bundle of a run that is as it should be, and its digest.
fn made(run: &Run, arguments: &[&str], code: i32) -> (PathBuf, String) {
    let bundled = bundle(run, arguments);
    assert_eq!(bundled.status.code(), Some(code), "{}", stderr(&bundled));
    let line = String::from_utf8(bundled.stdout).unwrap();
    let (digest, name) = line.trim_end().split_once("  ").unwrap();
    (run.dir.as_ref().unwrap().parent().unwrap().join(name), digest.to_owned())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn check(file: &Path, arguments: &[&str]) -> Output {
    fleetlogs().args(["bundle", "--check"]).arg(file).args(arguments).output().unwrap()
}

/// Unpacks it with `unzip`; returns the one directory in it.
pub(crate) fn unpack(file: &Path, to: &Path) -> PathBuf {
    let tested = Command::new("unzip").arg("-tq").arg(file).output().unwrap();
    assert!(tested.status.success(), "{tested:?}");
    let unpacked = Command::new("unzip").arg("-q").arg(file).arg("-d").arg(to).output().unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    let mut tops = std::fs::read_dir(to).unwrap();
    let top = tops.next().unwrap().unwrap().path();
    assert!(tops.next().is_none(), "everything is in one directory");
    top
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Whether a file is one that was not fetched to its end.
fn is_part(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "part")
}

fn holds_no_secret(sim: &Sim, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        let text = String::from_utf8_lossy(bytes);
        for secret in crate::stage::secrets_of(sim.dir.path()) {
            assert!(!text.contains(&secret), "a secret is in {name}");
        }
        assert!(!text.contains("sig=") || text.contains("sig=<redacted>"), "a signature is in {name}");
    }
}

#[test]
fn a_bundle_answers_what_support_asks_and_others_can_open_it() {
    let sim = Sim::start(TROUBLED);
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 3, "{}", run.stderr);
    let (file, digest) = made(&run, &[], 0);
    let name = format!("fleetlogs-{}", run.manifest()["run_id"].as_str().unwrap());
    assert_eq!(file.file_name().unwrap().to_str().unwrap(), format!("{name}.zip"));

    let place = tempfile::tempdir().unwrap();
    let top = unpack(&file, place.path());
    assert_eq!(top.file_name().unwrap().to_str().unwrap(), name);
    let sums =
        Command::new("sha256sum").args(["--strict", "-c", "SHA256SUMS"]).current_dir(&top).output().unwrap();
    assert!(sums.status.success(), "{}", stderr(&sums));
    let whole = Command::new("sha256sum").arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&whole.stdout).starts_with(&digest));
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
        assert all(i.external_attr >> 16 & 0o777 == 0o644 for i in z.infolist())\nprint(len(z.namelist()))";
    let python = Command::new("python3").args(["-c", script]).arg(&file).output().unwrap();
    assert!(python.status.success(), "{}", stderr(&python));

    let files = files(&top);
    assert_eq!(String::from_utf8_lossy(&python.stdout).trim(), files.len().to_string());
    holds_no_secret(&sim, &files);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(manifest, run.manifest());
    let readme = String::from_utf8_lossy(&files["README.md"]);
    // Which accounts, nodes, times, requests and places; what is missing, and why.
    for node in manifest["nodes"].as_array().unwrap() {
        if let Some(directory) = node["virtual_directory"].as_str() {
            assert!(readme.contains(directory), "{directory}");
        }
        let last = node["attempts"].as_array().unwrap().last().unwrap();
        if node["outcome"] != "verified" {
            assert!(readme.contains(last["request_id"].as_str().unwrap()), "{last}");
            assert!(readme.contains(last["sent_at"].as_str().unwrap()), "{last}");
        }
    }
    for text in [
        "8 of 13 nodes collected, 5 not",
        "storage blocked",
        "404 NodeNotFound",
        "azcopy copy",
        "TooManyRequests",
    ] {
        assert!(readme.contains(text), "{text} in {readme}");
    }
    let evidence = String::from_utf8_lossy(&files["evidence/contoso/blocked.jsonl"]);
    assert_eq!(evidence.lines().count(), 3);
    assert!(
        evidence.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["outcome"] == "incomplete")
    );
    assert!(!files.contains_key("NOTES.md"));

    let sound = check(&file, &["--sha256", &digest]);
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stdout));
}

#[test]
fn the_same_run_gives_the_same_bytes_and_nothing_is_overwritten_unasked() {
    let sim = Sim::start(TROUBLED);
    let run = sim.run(&sim.config(""));
    let (file, first) = made(&run, &["-o", "a.zip"], 0);
    let refused = bundle(&run, &["-o", "a.zip"]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), refused).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `a.zip` already exists
      help: name another file with `--output`, or overwrite it with `--force`
    ");
    // Reports that are gone are made anew, and say the same.
    for name in ["manifest.json", "nodes.csv", "summary.md"] {
        std::fs::remove_file(run.dir.as_ref().unwrap().join(name)).unwrap();
    }
    assert_eq!(made(&run, &["-o", "a.zip", "--force"], 0), (file, first));
    assert_eq!(run.manifest()["counts"]["planned"], 13);
}

#[test]
fn a_run_of_which_nothing_was_collected_has_a_bundle_too() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 3
        [[account.fault]]
        kind = "code"
        status = 403
        code = "AuthenticationFailed"
        "#,
    );
    let run = sim.run(&sim.config(""));
    assert_ne!(run.code, 0);
    assert_eq!(run.count("verified"), 0);
    let said = bundle(&run, &["--json"]);
    let document: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&document["schema"], &document["exit_code"]), (&"fleetlogs.bundle/v1".into(), &0.into()));
    let file = run.dir.as_ref().unwrap().parent().unwrap().join(document["bundle"].as_str().unwrap());
    assert!(check(&file, &[]).status.success());
    let place = tempfile::tempdir().unwrap();
    let files = files(&unpack(&file, place.path()));
    let readme = String::from_utf8_lossy(&files["README.md"]);
    assert!(readme.contains("No node was assigned a directory"), "{readme}");
    assert!(readme.contains("AuthenticationFailed"), "{readme}");
}

#[test]
fn whatever_is_changed_in_a_bundle_is_found() {
    let sim = Sim::start(GOOD);
    let run = sim.run(&sim.config(""));
    let (file, digest) = made(&run, &["--with-logs"], 0);
    let place = tempfile::tempdir().unwrap();
    let top = unpack(&file, place.path());
    let names: Vec<String> = files(&top).into_keys().collect();
    assert!(names.iter().any(|name| name.starts_with("logs/contoso/good/")), "{names:?}");
    let repack = |to: &str| {
        let to = place.path().join(to);
        let _ = std::fs::remove_file(&to);
        let zip = "import os, sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w')\nbase = os.path.dirname(sys.argv[2])\n\
            for d, _, fs in os.walk(sys.argv[2]):\n  for f in fs:\n    p = os.path.join(d, f)\n    z.write(p, os.path.relpath(p, base))\nz.close()";
        let packed = Command::new("python3").args(["-c", zip]).arg(&to).arg(&top).output().unwrap();
        assert!(packed.status.success(), "{}", stderr(&packed));
        to
    };
    assert!(
        check(&repack("again.zip"), &[]).status.success(),
        "packed anew by another program, it is the same"
    );
    // One of each kind.
    for name in
        ["README.md", "manifest.json", "manifest.json.sha256", "SHA256SUMS", "evidence/contoso/good.jsonl"]
            .into_iter()
            .chain(names.iter().find(|name| name.starts_with("logs/")).map(String::as_str))
    {
        let path = top.join(name);
        let original = std::fs::read(&path).unwrap();
        let mut flipped = original.clone();
        flipped[original.len() / 2] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        let found = check(&repack("changed.zip"), &["--json"]);
        assert_eq!(found.status.code(), Some(3), "{name}");
        let found: Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!(found["sound"], false);
        assert!(!found["problems"].as_array().unwrap().is_empty());
        std::fs::write(&path, &original).unwrap();

        let aside = place.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        assert_eq!(check(&repack("removed.zip"), &[]).status.code(), Some(3), "without {name}");
        std::fs::rename(&aside, &path).unwrap();
        let renamed = path.with_extension("other");
        std::fs::rename(&path, &renamed).unwrap();
        assert_eq!(check(&repack("renamed.zip"), &[]).status.code(), Some(3), "with another name for {name}");
        std::fs::rename(&renamed, &path).unwrap();
    }
    std::fs::write(top.join("more.txt"), "x").unwrap();
    let found = check(&repack("more.zip"), &[]);
    assert_eq!(found.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&found.stdout).contains("more.txt"));

    // A byte of the file itself, wherever it is.
    let bytes = std::fs::read(&file).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        let path = place.path().join("flipped.zip");
        std::fs::write(&path, changed).unwrap();
        assert_eq!(check(&path, &["--sha256", &digest]).status.code(), Some(3), "byte {at}");
    }
}

#[test]
fn a_run_that_a_process_works_on_is_left_alone() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        latency = "300ms"
        [[account.pool]]
        id = "a"
        nodes = 200
        "#,
    );
    let config = sim.config("limits = { rate = 5 }");
    let running = fleetlogs().arg("run").arg(&config).current_dir(sim.dir.path()).spawn().unwrap();
    let _running = Server(running);
    let dir = wait_for("the run", || {
        let run = std::fs::read_dir(sim.dir.path().join("runs")).ok()?.next()?.ok()?.path();
        run.join("run.db").exists().then_some(run)
    });
    let refused = fleetlogs().arg("bundle").arg(&dir).current_dir(sim.dir.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    assert!(
        std::fs::read_dir(sim.dir.path())
            .unwrap()
            .all(|file| { file.unwrap().path().extension().is_none_or(|ending| ending != "zip") })
    );
}

#[test]
fn logs_that_break_off_are_gone_on_with_and_whole_ones_are_not_fetched_again() {
    let sim = Sim::start(&format!(
        r#"
        [storage]
        content_md5 = true
        [[storage.read_fault]]
        kind = "truncated"
        suffix = "log"
        [[storage.read_fault]]
        kind = "corrupt"
        suffix = "txt"
        {GOOD}
        "#
    ));
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let (file, first) = made(&run, &["--with-logs", "-o", "first.zip"], 0);
    let reads = sim.ledger()["storage"]["blob_reads"].as_u64().unwrap();
    assert!(reads > 8, "{reads} reads of 8 files, and some had to be read twice");
    let place = tempfile::tempdir().unwrap();
    let files = files(&unpack(&file, place.path()));
    holds_no_secret(&sim, &files);
    let logs: Vec<Value> = String::from_utf8_lossy(&files["logs.jsonl"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(logs.len(), 8);
    for log in &logs {
        let bytes = &files[log["file"].as_str().unwrap()];
        assert_eq!(bytes.len() as u64, log["bytes"].as_u64().unwrap());
        let blob = log["blob"].as_str().unwrap();
        let url = sim.ready["verify_url"].as_str().unwrap().replacen('?', &format!("/{blob}?"), 1);
        assert_eq!(&String::from_utf8_lossy(bytes), &crate::stage::get(&url), "{blob}");
        assert!(log["md5"].is_string());
    }
    let read_by_us = sim.ledger()["storage"]["blob_reads"].as_u64().unwrap();
    let (_, second) = made(&run, &["--with-logs", "-o", "second.zip"], 0);
    assert_eq!(first, second, "the same logs give the same bytes");
    assert_eq!(
        sim.ledger()["storage"]["blob_reads"].as_u64().unwrap(),
        read_by_us,
        "nothing was fetched again"
    );

    // One that was damaged here is fetched again.
    let log = run.dir.as_ref().unwrap().join(logs[0]["file"].as_str().unwrap());
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (_, third) = made(&run, &["--with-logs", "-o", "third.zip"], 0);
    assert_eq!(first, third);
    assert_eq!(sim.ledger()["storage"]["blob_reads"].as_u64().unwrap(), read_by_us + 1);
}

#[test]
fn logs_without_an_md5_are_told_apart_by_their_version() {
    let sim = Sim::start(GOOD);
    let run = sim.run(&sim.config(""));
    let (file, _) = made(&run, &["--with-logs"], 0);
    let place = tempfile::tempdir().unwrap();
    let files = files(&unpack(&file, place.path()));
    assert!(String::from_utf8_lossy(&files["README.md"]).contains("storage has no MD5 of 8"));
    let reads = || sim.ledger()["storage"]["blob_reads"].as_u64().unwrap();
    let before = reads();
    made(&run, &["--with-logs", "--force"], 0);
    assert_eq!(reads(), before);
}

#[test]
fn a_log_that_storage_keeps_cutting_is_gone_on_with_by_the_next_try() {
    // More cuts than one attempt survives, and each gives half of what is left.
    let sim = Sim::start(&format!(
        r#"
        [[storage.read_fault]]
        kind = "truncated"
        first = 6
        {GOOD}
        "#
    ));
    let run = sim.run(&sim.config(""));
    let (first, _) = made(&run, &["--with-logs", "-o", "first.zip"], 3);
    let place = tempfile::tempdir().unwrap();
    let cut = files(&unpack(&first, &place.path().join("first")));
    assert!(String::from_utf8_lossy(&cut["NOTES.md"]).contains("broke off"), "{:?}", cut.keys());
    assert_eq!(cut["logs.jsonl"].len(), 0);
    assert!(!cut.keys().any(|name| is_part(name)));
    let parts: Vec<_> =
        files(&run.dir.as_ref().unwrap().join("logs")).into_keys().filter(|name| is_part(name)).collect();
    assert_eq!(parts.len(), 8);
    let reads = sim.ledger()["storage"]["blob_reads"].as_u64().unwrap();
    let (second, _) = made(&run, &["--with-logs", "-o", "second.zip"], 0);
    let whole = files(&unpack(&second, &place.path().join("second")));
    assert_eq!(String::from_utf8_lossy(&whole["logs.jsonl"]).lines().count(), 8);
    assert_eq!(
        sim.ledger()["storage"]["blob_reads"].as_u64().unwrap(),
        reads + 16,
        "one cut more, then the rest"
    );
}

#[test]
fn a_log_that_changes_while_it_is_fetched_is_noted() {
    let sim = Sim::start(&format!(
        r#"
        [[storage.read_fault]]
        kind = "grows"
        {GOOD}
        "#
    ));
    let run = sim.run(&sim.config(""));
    let (file, _) = made(&run, &["--with-logs"], 3);
    let place = tempfile::tempdir().unwrap();
    let first = files(&unpack(&file, &place.path().join("first")));
    let notes = String::from_utf8_lossy(&first["NOTES.md"]);
    assert_eq!(notes.matches("it changed during the download").count(), 8, "{notes}");
    assert!(first.keys().all(|name| !name.starts_with("logs/")));
    // What it has become is fetched then, and is not what the run saw.
    let (file, _) = made(&run, &["--with-logs", "--force"], 3);
    let second = files(&unpack(&file, &place.path().join("second")));
    assert_eq!(String::from_utf8_lossy(&second["logs.jsonl"]).lines().count(), 8);
    assert!(String::from_utf8_lossy(&second["NOTES.md"]).contains("but the run saw 2 files ("), "{second:?}");
    assert!(check(&file, &[]).status.success(), "not whole, but sound");
}

#[test]
fn without_a_credential_that_reads_the_bundle_has_all_but_the_logs() {
    let sim = Sim::start(GOOD);
    let config = sim.config("");
    let run = sim.run(&config);
    let text = std::fs::read_to_string(&config).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("verify_url")).collect();
    std::fs::write(&config, without.join("\n")).unwrap();
    let (file, _) = made(&run, &["--with-logs"], 3);
    let place = tempfile::tempdir().unwrap();
    let files = files(&unpack(&file, place.path()));
    assert!(String::from_utf8_lossy(&files["NOTES.md"]).contains("no log was downloaded"));
    assert!(String::from_utf8_lossy(&files["README.md"]).contains("no log was downloaded"));
    assert!(files.contains_key("manifest.json") && !files.contains_key("logs.jsonl"));
    assert!(check(&file, &[]).status.success());

    std::fs::write(sim.dir.path().join("good.toml"), text).unwrap();
    let config = sim.dir.path().join("good.toml");
    made(&run, &["--with-logs", "--force", "--config", config.to_str().unwrap()], 0);
}

#[test]
fn nothing_but_an_earlier_bundle_is_overwritten() {
    let sim = Sim::start(GOOD);
    let run = sim.run(&sim.config(""));
    let (dir, beside) = (run.dir.clone().unwrap(), run.dir.as_ref().unwrap().parent().unwrap().to_owned());
    let lasting = || {
        let mut files = files(&dir);
        files.retain(|name, _| !name.starts_with("run."));
        files
    };
    let before = lasting();
    std::fs::create_dir(beside.join("directory")).unwrap();
    std::fs::write(beside.join("precious"), "x").unwrap();
    std::os::unix::fs::symlink(beside.join("precious"), beside.join("link")).unwrap();
    std::os::unix::fs::symlink(&dir, beside.join("way-in")).unwrap();
    let inside = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    for target in
        ["directory", "link", "/dev/null", &inside("run.db"), &inside("new.zip"), "way-in/run.db", "way-in"]
    {
        let refused = bundle(&run, &["--force", "-o", target]);
        assert_eq!(refused.status.code(), Some(2), "{target}: {}", stderr(&refused));
        assert!(stderr(&refused).contains("--output"), "{target}: {}", stderr(&refused));
    }
    assert_eq!(std::fs::read(beside.join("precious")).unwrap(), b"x");
    assert!(beside.join("link").is_symlink() && beside.join("directory").is_dir());
    assert!(lasting() == before);
    made(&run, &["-o", "good.zip"], 0);
}

/// A finished run, and the simulator that it was on, as a process to stop.
fn with_a_server(scenario: &str) -> (Server, Run, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("scenario.toml"), scenario).unwrap();
    let mut sim = fleetlogs();
    sim.args(["sim", "scenario.toml", "--ready", "ready.json"]).current_dir(place.path());
    let server = Server(sim.stderr(std::process::Stdio::null()).spawn().unwrap());
    let ready = wait_for("the simulator", || std::fs::read(place.path().join("ready.json")).ok());
    let ready: Value = serde_json::from_slice(&ready).unwrap();
    let ran =
        fleetlogs().arg("run").arg(ready["config"].as_str().unwrap()).current_dir(place.path()).output();
    let run = Run::of(place.path(), ran.unwrap());
    assert_eq!(run.code, 0, "{}", run.stderr);
    (server, run, place)
}

#[test]
fn two_bundles_of_a_run_at_once_are_one_too_many() {
    let (server, run, place) = with_a_server(GOOD);
    let dir = run.dir.as_ref().unwrap();
    let signal = |name: &str| {
        let pid = server.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    // Storage that does not answer keeps the first one waiting.
    signal("-STOP");
    let first = fleetlogs()
        .args(["bundle", "--with-logs", "-o", "first.zip"])
        .arg(dir)
        .current_dir(place.path())
        .spawn()
        .unwrap();
    let mut first = Server(first);
    wait_for("the first bundle", || dir.join(".logs.jsonl.tmp").exists().then_some(()));
    let second = bundle(&run, &["--with-logs", "-o", "second.zip"]);
    signal("-CONT");
    assert_eq!(second.status.code(), Some(5), "{}", stderr(&second));
    assert!(first.0.wait().unwrap().success());
    assert!(check(&place.path().join("first.zip"), &[]).status.success());
    made(&run, &["--with-logs", "-o", "second.zip"], 0);
}

#[test]
fn what_is_whole_on_disk_goes_in_while_storage_is_down() {
    let scenario = GOOD.replace("nodes = 4", "nodes = 100");
    let (server, run, _place) = with_a_server(&scenario);
    made(&run, &["--with-logs", "-o", "first.zip"], 0);
    let logs = run.dir.as_ref().unwrap().join("logs/contoso/good");
    let node = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_dir_all(&node).unwrap();
    std::fs::write(logs.join("stray.part"), "x").unwrap();
    drop(server);
    let (file, _) = made(&run, &["--with-logs", "-o", "second.zip"], 3);
    let place = tempfile::tempdir().unwrap();
    let files = files(&unpack(&file, place.path()));
    let notes = String::from_utf8_lossy(&files["NOTES.md"]);
    assert_eq!(notes.matches("no log was downloaded from").count(), 1, "{notes}");
    assert!(!notes.contains("could not be listed"), "the first node speaks for all: {notes}");
    assert!(notes.contains("198 logs of 99 nodes come from the run directory"), "{notes}");
    assert!(notes.contains("the logs of 1 node are missing"), "{notes}");
    assert_eq!(files.keys().filter(|name| name.starts_with("logs/")).count(), 198);
    assert_eq!(String::from_utf8_lossy(&files["logs.jsonl"]).lines().count(), 198);
    assert!(check(&file, &[]).status.success());
}

#[test]
fn a_sas_that_cannot_be_printed_is_named_with_its_end() {
    let sim = Sim::start(GOOD);
    let storage = |name: &str| sim.ready["storage"][name].as_str().unwrap().to_owned();
    std::fs::write(sim.dir.path().join("secret.storage"), storage("key")).unwrap();
    let destination = format!(
        r#"
        mint = "account-key"
        account = "{}"
        account_key = {{ file = "secret.storage" }}
        container = "incident-{{run_id}}"
        "#,
        storage("endpoint")
    );
    let run = sim.run(&crate::credentials::config(&sim, &destination, ""));
    let program = |arguments: &[&str]| {
        let mut program = fleetlogs();
        let identity = sim.ready["ledger"].as_str().unwrap().replace("/_sim/ledger", "/_sim/identity");
        program.env("IDENTITY_ENDPOINT", identity).env("IDENTITY_HEADER", "fake-header");
        program.args(arguments).arg(run.dir.as_ref().unwrap()).current_dir(sim.dir.path());
        program
    };
    for more in [&["--json"][..], &["-q"], &[]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let arguments = [&["bundle", "--share", "1h", "--force"], more].concat();
        let failed = program(&arguments).stdout(full).output().unwrap();
        let said = stderr(&failed);
        assert_eq!(failed.status.code(), Some(5), "{said}");
        let shares: Value = serde_json::from_str(&run.file("shares.json")).unwrap();
        let policy = shares["shares"].as_array().unwrap().last().unwrap()["policy"].as_str().unwrap();
        assert!(said.contains(policy) && said.contains("fleetlogs unshare"), "{said}");
        assert!(!said.contains("sig="), "{said}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = program(&["bundle", "--share", "1h", "--force"]).stdout(writer).output().unwrap();
    assert_eq!(closed.status.code(), Some(5), "{}", stderr(&closed));
    assert!(program(&["unshare"]).status().unwrap().success());
}

#[test]
fn what_a_hostile_log_line_holds_does_not_leave() {
    let sim = Sim::start(GOOD);
    let run = sim.run(&sim.config(""));
    let canary = sim.ready["container_url"].as_str().unwrap();
    let log = run.dir.as_ref().unwrap().join("log.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, format!("{text}{{\"url\":\"{canary}\"}}\n")).unwrap();
    let (file, _) = made(&run, &[], 3);
    let place = tempfile::tempdir().unwrap();
    let files = files(&unpack(&file, place.path()));
    holds_no_secret(&sim, &files);
    assert!(String::from_utf8_lossy(&files["NOTES.md"]).contains("tool.log.jsonl"));
    std::fs::write(&log, text).unwrap();
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn logs_come_out_of_real_blob_storage_and_an_interrupted_fetch_is_gone_on_with() {
    let azurite = Azurite::start();
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "Mixed-Case_Pool"
        nodes = 6
        files = 3
        file_size = 200000
        arrival = "100ms"
        "#,
    );
    let run = azurite.collect(&sim);

    let (file, first) = made(&run, &["--with-logs", "-o", "first.zip"], 0);
    let place = tempfile::tempdir().unwrap();
    let unpacked = files(&unpack(&file, place.path()));
    holds_no_secret(&sim, &unpacked);
    let logs: Vec<Value> = String::from_utf8_lossy(&unpacked["logs.jsonl"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(logs.len(), 18);
    assert!(logs.iter().all(|log| log["md5"].is_string() && log["bytes"] == 200_000), "{logs:?}");

    // As a process leaves it that is killed in the middle of a file.
    let local = run.dir.as_ref().unwrap().join(logs[0]["file"].as_str().unwrap());
    let bytes = std::fs::read(&local).unwrap();
    std::fs::remove_file(&local).unwrap();
    std::fs::write(format!("{}.part", local.display()), &bytes[..70_000]).unwrap();
    let (_, second) = made(&run, &["--with-logs", "-o", "second.zip"], 0);
    assert_eq!(first, second);

    // The version that it was of is there no longer.
    std::fs::remove_file(&local).unwrap();
    std::fs::write(format!("{}.part", local.display()), &bytes[..70_000]).unwrap();
    std::fs::write(format!("{}.etag", local.display()), "\"0x8D0000000000000\"").unwrap();
    let changed = bundle(&run, &["--with-logs", "-o", "third.zip"]);
    assert_eq!(changed.status.code(), Some(3));
    assert!(stderr(&changed).contains("changed during the download"), "{}", stderr(&changed));
    let (_, fourth) = made(&run, &["--with-logs", "-o", "fourth.zip"], 0);
    assert_eq!(first, fourth);
}
