//! What this version and earlier ones have stored is read by this build: the fixtures in `tests/fixtures/v*`, each copied
//! and replayed. And a program that meets a file of a newer version says so. The rule: docs/design/stored-files.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleetlogs_engine::node_spool::node_spool;
use fleetlogs_engine::schedule::state::Store;
use fleetlogs_model::hex::hex;
use fleetlogs_model::plan::Plan;
use fleetlogs_report::EarlierInventory;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::azurite::Azurite;
use crate::schemas::assert_as_described;
use crate::stage::{Sim, fleetlogs, wait_for};

/// The address of the storage account in every fixture.
const STORAGE: &str = "127.0.0.1:1";

/// Where the fixtures say that they are.
const PLACE: &str = "/srv/fleetlogs";

/// A SAS of nobody: no command here calls storage with it.
const NO_SAS: &str = "http://127.0.0.1:1/simlogs/batch-logs?sv=2022-11-02&se=2036-01-01&sr=c&sp=rwl&sig=AAAA";

/// What is expected of a version is written when it has just been made.
const ACCEPT: &str = "FLEETLOGS_ACCEPT_FORMATS";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// What a version has stored, copied to where it may be written.
struct Stored {
    version: PathBuf,
    dir: TempDir,
    names: BTreeMap<String, String>,
}

impl Stored {
    fn every_version() -> Vec<Self> {
        let dirs = std::fs::read_dir(fixtures()).unwrap().map(|dir| dir.unwrap().path());
        let is_version = |dir: &PathBuf| dir.join("names.json").is_file();
        let mut versions: Vec<_> = dirs.filter(is_version).collect();
        versions.sort();
        assert!(!versions.is_empty());
        versions.into_iter().map(Self::of).collect()
    }

    fn of(version: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_tree(&version, dir.path());
        let names = serde_json::from_slice(&std::fs::read(version.join("names.json")).unwrap()).unwrap();
        Self { version, dir, names }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run_dir(&self, name: &str) -> PathBuf {
        self.path().join("runs").join(&self.names[name])
    }

    /// The runs whose record is on this machine.
    fn local(&self) -> impl Iterator<Item = (&String, &String)> {
        self.names.iter().filter(|(_, id)| self.path().join("runs").join(id).join("run.db").exists())
    }

    /// Runs the program, and returns its exit code, its document, and what it said.
    fn document(&self, arguments: &[&str]) -> (i32, Value, String) {
        let mut command = fleetlogs();
        command.args(arguments).arg("--json").current_dir(self.path());
        command.env("FIXTURE_URL", NO_SAS).env("FIXTURE_KEY", "AAAA");
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stderr}"));
        (output.status.code().unwrap(), document, stderr)
    }

    /// Holds a document against the one that is expected of the version: it may have gained members.
    fn assert_expected(&self, name: &str, found: &Value, replaced: &[(&str, &str)]) {
        let here = self.path().display().to_string();
        let replaced = replaced.iter().copied().chain([(here.as_str(), PLACE)]);
        let text = replaced.fold(found.to_string(), |text, (what, by)| text.replace(what, by));
        let found: Value = serde_json::from_str(&text).unwrap();
        let path = self.version.join("expected").join(format!("{name}.json"));
        if !path.exists() && std::env::var_os(ACCEPT).is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
        }
        let expected = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lost = lost(&serde_json::from_slice(&expected).unwrap(), &found);
        assert!(lost.is_empty(), "{}: {name}:\n{}", self.version.display(), lost.join("\n"));
    }

    /// Gives a run that is to be resumed the container of a new simulator.
    fn moves_to(&self, name: &str, sim: &Sim) {
        let dir = self.run_dir(name);
        let plan = std::fs::read_to_string(dir.join("plan.json")).unwrap().replace(STORAGE, &storage(sim));
        std::fs::write(dir.join("plan.json"), &plan).unwrap();
        let journal = rusqlite::Connection::open(dir.join("run.db")).unwrap();
        journal.execute("UPDATE run SET value = ?1 WHERE key = 'plan_sha256'", [digest(&plan)]).unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Host and port of a simulator's storage account.
fn storage(sim: &Sim) -> String {
    let url: url::Url = sim.ready["container"].as_str().unwrap().parse().unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}

/// Members that are of the moment, of the machine, or of the program that prints them.
const PASSING: [&str; 5] = ["at", "tool_version", "bytes_on_disk", "journals", "why"];

/// What of a value another one no longer has. It may have more members.
fn lost(expected: &Value, found: &Value) -> Vec<String> {
    fn compare(expected: &Value, found: &Value, place: &str, lost: &mut Vec<String>) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                for (name, expected) in expected.iter().filter(|(name, _)| !PASSING.contains(&name.as_str()))
                {
                    let place = format!("{place}.{name}");
                    match found.get(name) {
                        Some(found) => compare(expected, found, &place, lost),
                        None => lost.push(format!("{place} is no longer there")),
                    }
                }
            }
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
                    compare(expected, found, &format!("{place}[{at}]"), lost);
                }
            }
            _ if expected == found => {}
            _ => lost.push(format!("{place} was {expected}, and is {found}")),
        }
    }
    let mut lost = vec![];
    compare(expected, found, "", &mut lost);
    lost
}

#[test]
fn what_earlier_versions_recorded_is_read() {
    for stored in Stored::every_version() {
        let mut told = vec![("runs".to_owned(), "runs", vec!["runs", "--runs-dir", "runs"])];
        for (name, id) in stored.local() {
            told.push((format!("status-{name}"), "status", vec!["status", id, "--runs-dir", "runs"]));
        }
        told.push(("history".into(), "history", vec!["history", "fleetlogs.toml"]));
        told.push(("schedule".into(), "schedule", vec!["schedule", "fleetlogs.toml", "--list"]));
        for (name, schema, arguments) in told {
            let (code, document, stderr) = stored.document(&arguments);
            assert_eq!(code, 0, "{name}: {stderr}");
            assert_as_described(schema, &document);
            stored.assert_expected(&name, &document, &[]);
        }
        // A process ended in the middle of a commit: what it had not promised is gone, and nothing else.
        let count = |name: &str| stored.document(&["status", &stored.names[name], "--runs-dir", "runs"]).1;
        let planned = |status: &Value| status["accounts"][0]["planned"].as_u64().unwrap();
        let (torn, whole) = (count("torn"), count("crashed"));
        assert_eq!(planned(&torn), planned(&whole));
        assert_ne!(torn["counts"], whole["counts"]);
        // The shared state, as its home holds it.
        let shared = std::fs::read(stored.path().join("blobs/fleetlogs/schedule.db")).unwrap();
        Store::look_at(&shared).unwrap();
    }
}

#[test]
fn reports_of_earlier_versions_are_written_again_as_they_were() {
    for stored in Stored::every_version() {
        for (name, id) in stored.local() {
            let dir = stored.run_dir(name);
            let text = std::fs::read_to_string(dir.join("plan.json")).unwrap();
            let plan = Plan::from_json(std::io::Cursor::new(&text), node_spool()).unwrap();
            let again = serde_json::to_value(&plan).unwrap();
            assert_eq!(lost(&serde_json::from_str(&text).unwrap(), &again), [""; 0], "{name}");

            let Ok(manifest) = std::fs::read(dir.join("manifest.json")) else { continue };
            let table = std::fs::read_to_string(dir.join("nodes.csv")).unwrap();
            let (code, _, stderr) = stored.document(&["report", id, "--runs-dir", "runs"]);
            assert_eq!(code, 0, "{name}: {stderr}");
            let again = std::fs::read(dir.join("manifest.json")).unwrap();
            let read = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
            assert_eq!(lost(&read(&manifest), &read(&again)), [""; 0], "{name}");
            assert_as_described("manifest", &read(&manifest));
            assert_eq!(std::fs::read_to_string(dir.join("nodes.csv")).unwrap(), table, "{name}");
        }
        // The files of a later look are read by the next one.
        let mut files = EarlierInventory::open(&stored.run_dir("every-outcome")).unwrap().unwrap();
        let manifest = std::fs::read(stored.run_dir("every-outcome").join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let nodes = manifest["nodes"].as_array().unwrap().iter();
        let directories = nodes.filter(|node| node["outcome"] == "verified");
        let directories: Vec<_> =
            directories.map(|node| node["virtual_directory"].as_str().unwrap()).collect();
        assert!(!directories.is_empty());
        for directory in directories {
            assert!(!files.of(directory).unwrap().is_empty(), "{directory}");
        }

        // The program's own log, which nothing reads, is no fixture.
        std::fs::write(stored.run_dir("every-outcome").join("log.jsonl"), "").unwrap();
        let id = &stored.names["every-outcome"];
        for arguments in [
            &["bundle", "--check", "bundle.zip"][..],
            &["bundle", id, "--runs-dir", "runs", "--output", "again.zip"],
            &["bundle", "--check", "again.zip"],
        ] {
            let (code, document, stderr) = stored.document(arguments);
            assert_eq!(code, 0, "{arguments:?}: {document} {stderr}");
        }
    }
}

/// Settings of a run that is finished against a new simulator.
const SETTINGS: &str = "deadlines = { call = \"2s\", node = \"5m\", run = \"10m\" }\nverify = { deadline = \"6s\", settle = \"2s\" }\n";

#[test]
fn runs_that_ended_early_under_earlier_versions_are_finished() {
    std::thread::scope(|scope| {
        for stored in Stored::every_version() {
            let stored = std::sync::Arc::new(stored);
            for name in ["crashed", "torn", "interrupted"] {
                let stored = stored.clone();
                scope.spawn(move || finishes(&stored, name));
            }
        }
    });
}

fn finishes(stored: &Stored, name: &str) {
    let scenario = std::fs::read_to_string(stored.path().join("crashed.scenario.toml")).unwrap();
    let sim = Sim::start(&scenario);
    stored.moves_to(name, &sim);
    let config = sim.config(SETTINGS).display().to_string();
    let id = &stored.names[name];
    let before = stored.document(&["status", id, "--runs-dir", "runs"]).1["counts"].clone();
    let arguments = ["resume", id, "--runs-dir", "runs", "--config", &config, "--accept-changes"];
    let (code, document, stderr) = stored.document(&arguments);
    assert!([0, 3].contains(&code), "{name}: {document} {stderr}");
    let count = |counts: &Value, outcome: &str| counts[outcome].as_u64().unwrap();
    let after = &document["counts"];
    for open in ["not-sent", "in-doubt", "accepted"] {
        assert_eq!(count(after, open), 0, "{name}: {after}");
    }
    // What had been collected stays so without another call; what was never called, or in doubt, is collected now.
    let collected = count(after, "verified") + count(after, "adopted");
    assert_eq!(collected, count(after, "planned") - count(&before, "accepted"), "{name}: {before} {after}");
    let had = count(&before, "verified") + count(&before, "accepted");
    let nodes = count(after, "planned") - had;
    assert_eq!(sim.ledger()["nodes"].as_array().unwrap().len() as u64, nodes, "{name}: {before} {after}");
    // The files of calls that were accepted are in the container of then.
    assert_eq!(count(after, "incomplete"), count(&before, "accepted"), "{name}: {before} {after}");
}

#[test]
#[ignore = "needs Azurite in tests/tools; tests/all.sh installs it and runs this"]
fn what_earlier_versions_recorded_in_blob_storage_is_read_and_finished() {
    for stored in Stored::every_version() {
        let scenario = std::fs::read_to_string(stored.path().join("crashed.scenario.toml")).unwrap();
        let (sim, azurite) = (Sim::start(&scenario), Azurite::start());
        upload(&stored, &azurite, &storage(&sim));
        std::fs::write(sim.dir.path().join("secret.journal"), azurite.container_sas("rcwl")).unwrap();
        let container = "{ file = \"secret.journal\" }";
        let lease =
            format!("[schedule.lease]\ncontainer_url = {container}\nblob = \"fleetlogs/schedule.db\"\n");
        let journal = format!("[journal]\ncontainer_url = {container}\nlease = \"15s\"\n");
        let config = sim.config(&format!("{SETTINGS}{journal}{lease}"));
        let snapshot = "\n[[snapshot]]\nname = \"nightly\"\nwindow = \"since-last\"\n";
        std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + snapshot).unwrap();
        let config = config.display().to_string();

        let container = azurite.container();
        let address = container.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let of_storage = storage(&sim);
        let replaced = [(of_storage.as_str(), STORAGE), (address.as_str(), STORAGE)];
        for name in ["blob", "blob-crashed"] {
            let record = stored.run_dir(name).join("journal.json");
            let text = std::fs::read_to_string(&record).unwrap().replace(STORAGE, &address);
            std::fs::write(record, text).unwrap();
        }
        for name in ["blob", "blob-crashed", "shared"] {
            let (code, document, stderr) =
                stored.document(&["status", &stored.names[name], "--config", &config]);
            assert_eq!(code, 0, "{name}: {stderr}");
            assert_as_described("status", &document);
            stored.assert_expected(&format!("status-{name}"), &document, &replaced);
        }
        let (code, document, stderr) = stored.document(&["schedule", &config, "--list"]);
        assert_eq!(code, 0, "{stderr}");
        stored.assert_expected("schedule-shared", &document, &replaced);

        // On another machine, which has no directory of the run.
        let kept = std::fs::read(stored.run_dir("blob").join("manifest.json")).unwrap();
        std::fs::remove_dir_all(stored.run_dir("blob")).unwrap();
        for name in ["blob", "shared"] {
            let (code, document, stderr) =
                stored.document(&["report", &stored.names[name], "--config", &config]);
            assert_eq!(code, 0, "{name}: {stderr}");
            stored.assert_expected(&format!("report-{name}"), &document, &replaced);
        }
        let again = std::fs::read_to_string(stored.run_dir("blob").join("manifest.json")).unwrap();
        let again: Value = serde_json::from_str(&again.replace(&of_storage, STORAGE)).unwrap();
        assert_eq!(lost(&serde_json::from_slice(&kept).unwrap(), &again), [""; 0]);

        // Its last line was cut off.
        let arguments = ["resume", &stored.names["blob-crashed"], "--config", &config, "--accept-changes"];
        let (code, document, stderr) = wait_for("the run to be free", || {
            Some(stored.document(&arguments)).filter(|(_, _, stderr)| !stderr.contains("another process"))
        });
        assert!([0, 3].contains(&code), "{document} {stderr}");
        for open in ["not-sent", "in-doubt", "accepted"] {
            assert_eq!(document["counts"][open], 0, "{document}");
        }
    }
}

/// Puts the blobs of a version into a storage account. Their plans name the container of a simulator.
fn upload(stored: &Stored, azurite: &Azurite, container: &str) {
    let index: Value =
        serde_json::from_slice(&std::fs::read(stored.path().join("blobs.json")).unwrap()).unwrap();
    let read = |name: &str| std::fs::read(stored.path().join("blobs").join(name)).unwrap();
    let mut digests = BTreeMap::new();
    let names: Vec<_> = index.as_array().unwrap().iter().map(|blob| blob["name"].as_str().unwrap()).collect();
    for name in names.iter().filter(|name| name.ends_with("plan.json")) {
        let text = String::from_utf8(read(name)).unwrap();
        digests.insert(digest(&text), digest(&text.replace(STORAGE, container)));
    }
    let renewed = |text: String| digests.iter().fold(text, |text, (old, new)| text.replace(old, new));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = fleetlogs_azure::http_client(1).unwrap();
        let sas = azurite.container_sas("rcwl");
        let (base, query) = sas.split_once('?').unwrap();
        let put = async |url: String, headers: &[(String, String)], body: Vec<u8>| {
            let mut request = client.put(url).header("x-ms-version", "2021-12-02");
            // An empty body has a length, too.
            request = request.header("content-length", body.len()).body(body);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        };
        for blob in index.as_array().unwrap() {
            let (name, kind) = (blob["name"].as_str().unwrap(), blob["type"].as_str().unwrap());
            let mut content = read(name);
            if name.ends_with("plan.json") {
                content = String::from_utf8(content).unwrap().replace(STORAGE, container).into();
            } else if name.ends_with("run.json") {
                content = renewed(String::from_utf8(content).unwrap()).into();
            }
            let mut headers = vec![("x-ms-blob-type".to_owned(), kind.to_owned())];
            for (key, value) in blob["metadata"].as_object().unwrap() {
                headers.push((format!("x-ms-meta-{key}"), renewed(value.as_str().unwrap().to_owned())));
            }
            if kind == "AppendBlob" {
                put(format!("{base}/{name}?{query}"), &headers, vec![]).await;
                put(format!("{base}/{name}?comp=appendblock&{query}"), &[], content).await;
            } else {
                put(format!("{base}/{name}?{query}"), &headers, content).await;
            }
        }
    });
}

#[test]
fn a_file_of_a_newer_version_is_named_as_such_and_left_alone() {
    let stored = Stored::every_version().pop().unwrap();
    let id = |name: &str| stored.names[name].clone();
    let newer = |file: &str, from: &str, to: &str| {
        let path = stored.path().join("runs").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    let format = |file: &str| {
        let database = rusqlite::Connection::open(stored.path().join("runs").join(file)).unwrap();
        // As another version may have it, down to its tables.
        database
            .execute_batch("PRAGMA user_version = 9; CREATE TABLE later (x); PRAGMA journal_mode = DELETE;")
            .unwrap();
    };
    let [plan, journal, record, series] = ["doubts", "interrupted", "blob", "series-3"].map(id);
    newer(&format!("{plan}/plan.json"), "fleetlogs.plan/v1", "fleetlogs.plan/v9");
    newer(&format!("{plan}/plan.json"), "\"priority\"", "\"rank\"");
    format(&format!("{journal}/run.db"));
    newer(&format!("{record}/journal.json"), "fleetlogs.journal/v1", "fleetlogs.journal/v9");
    newer(&format!("{record}/journal.json"), "\"journal\"", "\"place\"");
    newer(&format!("{series}/manifest.json"), "fleetlogs.manifest/v1", "fleetlogs.manifest/v9");
    newer(&format!("{series}/manifest.json"), "\"outcome\"", "\"end\"");

    let files = [
        format!("{plan}/plan.json"),
        format!("{plan}/run.db"),
        format!("{journal}/run.db"),
        format!("{record}/journal.json"),
        format!("{series}/manifest.json"),
    ];
    let content = || files.clone().map(|file| std::fs::read(stored.path().join("runs").join(file)).unwrap());
    let before = content();
    let mut cases: Vec<(Vec<&str>, i32, &str)> = vec![];
    for command in ["status", "report", "resume", "verify", "bundle", "ticket"] {
        let config: &[&str] = match command {
            "resume" | "verify" => &["--config", "fleetlogs.toml", "--runs-dir", "runs"],
            _ => &["--runs-dir", "runs"],
        };
        let of = |run| [&[command, run][..], config].concat();
        cases.push((
            of(plan.as_str()),
            2,
            "the plan has schema `fleetlogs.plan/v9`, but this fleetlogs reads `fleetlogs.plan/v1`",
        ));
        cases.push((of(journal.as_str()), 5, "has journal format 9, but this fleetlogs reads format "));
        cases.push((
            of(record.as_str()),
            2,
            "it has schema `fleetlogs.journal/v9`, but this fleetlogs reads `fleetlogs.journal/v1`",
        ));
    }
    let mut wrong = vec![];
    for (arguments, code, told) in cases {
        let (exit, document, stderr) = stored.document(&arguments);
        if exit != code || !document["error"].to_string().contains(told) {
            wrong.push(format!("{arguments:?}: {exit}: {document} {stderr}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (_, history, _) = stored.document(&["history", "fleetlogs.toml"]);
    let unread = history["series"][0]["unread"].to_string();
    assert!(unread.contains("has the schema `fleetlogs.manifest/v9`"), "{history}");
    let (code, runs, stderr) = stored.document(&["runs", "--runs-dir", "runs"]);
    assert_eq!(code, 0, "{stderr}");
    let why = |id: &str| {
        let run = runs["runs"].as_array().unwrap().iter().find(|run| run["run_id"] == id).unwrap();
        run["why"].to_string()
    };
    assert!(why(&plan).contains("fleetlogs.plan/v9"), "{runs}");
    assert!(why(&journal).contains("journal format 9"), "{runs}");
    for (file, (before, after)) in files.iter().zip(before.into_iter().zip(content())) {
        assert!(before == after, "{file} was changed");
    }

    format("schedule.db");
    let before = std::fs::read(stored.path().join("runs/schedule.db")).unwrap();
    for command in [
        &["schedule", "fleetlogs.toml", "--list"][..],
        &["schedule", "fleetlogs.toml", "--once", "nightly"],
        &["history", "fleetlogs.toml"],
    ] {
        let (exit, document, _) = stored.document(command);
        assert!([2, 5].contains(&exit), "{command:?}: {document}");
        let told = document["error"].to_string();
        assert!(told.contains("has format 9, but this fleetlogs reads format 1"), "{command:?}: {document}");
    }
    assert!(before == std::fs::read(stored.path().join("runs/schedule.db")).unwrap(), "it was changed");
}
