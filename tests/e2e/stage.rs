//! What every story stands on: a simulator process, the program under test, and the comparison of manifest and
//! ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tempfile::TempDir;

use crate::picture::picture;

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(300);

/// The program under test, with a clean environment: what the machine has set must not matter.
pub(crate) fn fleetlogs() -> Command {
    in_clean_environment(Path::new(env!("CARGO_BIN_EXE_fleetlogs")))
}

/// The same for a copy of the program, which a later build does not replace.
pub(crate) fn in_clean_environment(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        if name.starts_with("AZURE_")
            || name.starts_with("FLEETLOGS_")
            || name.to_lowercase().ends_with("_proxy")
        {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + START;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {START:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child that does not outlive its test.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `fleetlogs sim` with a scenario, and a directory for its run.
pub(crate) struct Sim {
    pub(crate) ready: Value,
    pub(crate) dir: TempDir,
    _server: Server,
}

impl Sim {
    pub(crate) fn start(scenario: &str) -> Self {
        Self::start_in(scenario, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_in(scenario: &str, env: &[(&str, &str)]) -> Self {
        Self::start_as(scenario, |mut command| {
            command.envs(env.iter().copied());
            command
        })
    }

    /// The same, by the command that `run_by` makes of the program.
    pub(crate) fn start_as(scenario: &str, run_by: impl FnOnce(Command) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scenario.toml");
        std::fs::write(&file, scenario).unwrap();
        let ready = dir.path().join("ready.json");
        let log = std::fs::File::create(dir.path().join("sim.log")).unwrap();
        let mut command = fleetlogs();
        command.arg("sim").arg(&file).arg("--ready").arg(&ready);
        let server = run_by(command).stderr(log).spawn().unwrap();
        let server = Server(server);
        let text = wait_for("the simulator", || std::fs::read(&ready).ok());
        Self { ready: serde_json::from_slice(&text).unwrap(), dir, _server: server }
    }

    /// The config that the simulator wrote, with more lines behind it.
    pub(crate) fn config(&self, more: &str) -> PathBuf {
        let written = std::fs::read_to_string(self.ready["config"].as_str().unwrap()).unwrap();
        // Its own settings of speed give way to the test's.
        let quick_start = written.find("\n[deadlines]").unwrap();
        let quick_end = written.find("\n[[account]]").unwrap();
        let written = format!("{}{}", &written[..quick_start], &written[quick_end..]);
        // Tables of the config must come before its arrays of tables.
        self.write_config(&format!("{}\n{written}", quick(more)))
    }

    pub(crate) fn write_config(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("fleetlogs.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn ledger(&self) -> Value {
        serde_json::from_str(&get(self.ready["ledger"].as_str().unwrap())).unwrap()
    }

    /// Upload calls that reached any account.
    pub(crate) fn upload_calls(&self) -> u64 {
        let ledger = self.ledger();
        ledger["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|account| account["upload_calls"].as_u64().unwrap())
            .sum()
    }

    /// Runs the program on a config, in this simulator's directory.
    pub(crate) fn run(&self, config: &Path) -> Run {
        self.run_with(config, &[])
    }

    pub(crate) fn run_with(&self, config: &Path, arguments: &[&str]) -> Run {
        let output =
            fleetlogs().arg("run").arg(config).args(arguments).current_dir(self.dir.path()).output().unwrap();
        Run::of(self.dir.path(), output)
    }
}

/// Settings under which a test does not wait long; `more` comes first and wins.
fn quick(more: &str) -> String {
    let mut text = more.to_owned();
    for (table, keys) in [
        ("retry", r#"base_delay = "200ms", max_delay = "2s""#),
        ("deadlines", r#"call = "2s", node = "5m", run = "1h""#),
        ("verify", r#"deadline = "4s", settle = "3s""#),
    ] {
        let is_set = text.contains(&format!("[{table}]")) || text.contains(&format!("{table} = {{"));
        if !is_set {
            let keys = keys.replace(", ", "\n");
            text = format!("{text}\n[{table}]\n{keys}\n");
        }
    }
    text
}

/// What a run of the program left behind.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The newest run directory, if there is one.
    pub(crate) dir: Option<PathBuf>,
    /// Where it ran.
    stage: PathBuf,
}

impl Run {
    pub(crate) fn of(dir: &Path, output: Output) -> Self {
        let runs = std::fs::read_dir(dir.join("runs")).into_iter().flatten();
        let run = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            stage: dir.to_owned(),
            // Ids tell runs apart to the second only.
            dir: runs.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).max_by_key(|run| {
                std::fs::metadata(run.join("plan.json")).and_then(|plan| plan.modified()).ok()
            }),
        };
        run.holds_no_secret(dir);
        run
    }

    /// What a person saw of it, for a snapshot.
    pub(crate) fn picture(&self) -> String {
        picture(&self.stage, self.code, &self.stdout, &self.stderr)
    }

    /// Searches everything that the program said and wrote for every secret it was given. Every test ends with this.
    fn holds_no_secret(&self, dir: &Path) {
        let mut written = vec![("stdout".to_owned(), self.stdout.clone().into_bytes())];
        written.push(("stderr".to_owned(), self.stderr.clone().into_bytes()));
        // Tests put the stream of events there.
        let events = dir.join("events.jsonl");
        written.extend(std::fs::read(&events).ok().map(|bytes| (events.display().to_string(), bytes)));
        let runs = std::fs::read_dir(dir.join("runs")).into_iter().flatten().map(|run| run.unwrap().path());
        // Of a process beside this one, which tries the directory out.
        let is_trial =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        for run in runs.filter(|path| !is_trial(path)) {
            let files = if run.is_dir() {
                std::fs::read_dir(run).unwrap().map(|file| file.unwrap().path()).collect()
            } else {
                // The state of a schedule.
                vec![run]
            };
            for file in files {
                written.push((file.display().to_string(), std::fs::read(&file).unwrap()));
            }
        }
        let mut secrets = secrets_of(dir);
        // Of whatever signature and token: requests are signed, and tokens are got, with nobody here knowing them.
        secrets.extend(["sig=", "SharedKey contoso:", "Bearer ey"].map(String::from));
        for (place, bytes) in written {
            let text = String::from_utf8_lossy(&bytes);
            for secret in &secrets {
                let shown = text.match_indices(secret.as_str()).find(|(at, _)| {
                    // A place where one was taken out, or where a long text was cut, says so. No signature begins with
                    // a quote, `<` or `=`; a checksum in Base64 may end with `sig==`.
                    let after = &text[at + secret.len()..];
                    !["\"", "<", "&lt;", "\\u003c", "…", "\\u2026", "...", "="]
                        .iter()
                        .any(|harmless| after.starts_with(harmless))
                });
                assert!(
                    shown.is_none(),
                    "a secret ({}) is in {place}: {text}",
                    &secret[..secret.len().min(6)]
                );
            }
        }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.as_ref().expect("a run directory").join(name)).unwrap()
    }

    pub(crate) fn manifest(&self) -> Value {
        serde_json::from_str(&self.file("manifest.json")).unwrap()
    }

    pub(crate) fn count(&self, outcome: &str) -> u64 {
        self.manifest()["counts"][outcome].as_u64().unwrap()
    }

    /// Every text the run made, for a search.
    pub(crate) fn everything(&self) -> String {
        let mut all = format!("{}\n{}", self.stdout, self.stderr);
        for entry in std::fs::read_dir(self.dir.as_ref().expect("a run directory")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
        all
    }
}

/// The secrets that a simulator, or a test, put into a directory: keys whole, of a SAS its signature.
pub(crate) fn secrets_of(dir: &Path) -> Vec<String> {
    let mut secrets = Vec::new();
    let mut add = |text: &str| {
        let secret = text.rsplit("sig=").next().unwrap_or(text).split('&').next().unwrap_or_default().trim();
        if secret.len() > 8 {
            secrets.push(secret.to_owned());
            secrets.push(secret.replace("%2B", "+").replace("%2F", "/").replace("%3D", "="));
        }
    };
    for file in std::fs::read_dir(dir).into_iter().flatten() {
        let file = file.unwrap();
        let name = file.file_name().to_string_lossy().into_owned();
        let is_secret =
            name.starts_with("secret") || name.starts_with("ready.json.") && !name.contains("toml");
        if is_secret && let Ok(text) = std::fs::read_to_string(file.path()) {
            add(&text);
        }
    }
    if let Ok(ready) = std::fs::read(dir.join("ready.json")) {
        let ready: Value = serde_json::from_slice(&ready).unwrap();
        for secret in [&ready["storage"]["key"], &ready["container_url"], &ready["verify_url"]] {
            add(secret.as_str().unwrap_or_default());
        }
        for account in ready["accounts"].as_array().into_iter().flatten() {
            add(account["key"].as_str().unwrap_or_default());
        }
    }
    secrets
}

/// A container URL with a service SAS, signed with the storage account's key.
pub(crate) fn service_sas(key: &[u8], container: &str, canonical: &str, permissions: &str) -> String {
    service_sas_until(key, container, canonical, permissions, time::macros::datetime!(2036-01-01 00:00 UTC))
}

/// The same, until a time.
pub(crate) fn service_sas_until(
    key: &[u8],
    container: &str,
    canonical: &str,
    permissions: &str,
    until: time::OffsetDateTime,
) -> String {
    let expiry =
        until.replace_nanosecond(0).unwrap().format(&time::format_description::well_known::Rfc3339).unwrap();
    let text = format!("{permissions}\n\n{expiry}\n{canonical}\n\n\nhttps,http\n2021-12-02\nc\n\n\n\n\n\n\n");
    let query = format!("sv=2021-12-02&sp={permissions}&se={expiry}&spr=https,http&sr=c");
    format!("{container}?{query}&sig={}", signature(key, &text))
}

/// HMAC-SHA256 in Base64, for a query.
pub(crate) fn signature(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// A plain GET.
pub(crate) fn get(url: &str) -> String {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = fleetlogs_azure::http_client(1).unwrap();
        client.get(url).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    })
}

fn key_of(node: &Value) -> (String, String, String) {
    let text = |name: &str| node[name].as_str().unwrap().to_owned();
    (text("account"), text("pool"), text("node"))
}

/// The oracle: what the manifest says is what the service saw.
pub(crate) fn assert_manifest_equals_ledger(manifest: &Value, ledger: &Value) {
    compare(manifest, ledger, false);
}

/// The same after a process was killed: a call that was recorded may not have been sent.
pub(crate) fn assert_manifest_equals_ledger_but_for_unsent_calls(manifest: &Value, ledger: &Value) {
    compare(manifest, ledger, true);
}

fn compare(manifest: &Value, ledger: &Value, unsent_calls: bool) {
    let nodes = manifest["nodes"].as_array().unwrap();
    let mut seen: BTreeMap<_, _> =
        ledger["nodes"].as_array().unwrap().iter().map(|node| (key_of(node), node)).collect();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for node in nodes {
        let key = key_of(node);
        let outcome = node["outcome"].as_str().unwrap();
        *counts.entry(outcome).or_default() += 1;
        let attempts = node["attempts"].as_array().unwrap();
        let Some(truth) = seen.remove(&key) else {
            assert!(
                attempts.is_empty() || unsent_calls,
                "{key:?} says it was called, and the service never saw a call"
            );
            assert_ne!(outcome, "verified", "{key:?} is verified, and the service never saw a call");
            continue;
        };
        let (recorded, received) = (attempts.len() as u64, truth["received"].as_u64().unwrap());
        assert!(
            recorded == received || unsent_calls && recorded > received,
            "{recorded} calls of {key:?} are on record, and {received} were received"
        );
        let made = truth["directories"].as_array().unwrap();
        let directory = node["virtual_directory"].as_str();
        let named = usize::from(directory.is_some()) + node["duplicates"].as_array().unwrap().len();
        assert_eq!(named, made.len(), "directories of {key:?}");
        assert!(node["duplicates"].as_array().unwrap().is_empty(), "{key:?} was collected twice");
        let Some(directory) = directory else {
            assert!(matches!(outcome, "gone" | "failed" | "not-sent" | "in-doubt"), "{key:?} is {outcome}");
            continue;
        };
        let truth = made
            .iter()
            .find(|made| made["name"] == directory)
            .expect("the directory of the ledger, verbatim");
        if !node["files_promised"].is_null() {
            assert_eq!(node["files_promised"], truth["files_promised"], "files promised by {key:?}");
        }
        match outcome {
            "verified" => {
                assert_eq!(node["files_arrived"], truth["files_written"], "files of {key:?}");
                assert_eq!(node["bytes"], truth["bytes"], "bytes of {key:?}");
                assert!(
                    truth["files_written"].as_u64() >= truth["files_promised"].as_u64(),
                    "{key:?} is short"
                );
            }
            "incomplete" => assert_ne!(truth["files_written"], truth["files_promised"], "{key:?} is whole"),
            "adopted" => {
                assert!(node["files_promised"].is_null(), "the promise of {key:?} is known");
                assert_eq!(node["files_arrived"], truth["files_written"], "files of {key:?}");
            }
            other => assert!(matches!(other, "accepted" | "empty"), "{key:?} is {other} with a directory"),
        }
    }
    let unknown: Vec<_> = seen.keys().collect();
    assert!(
        unknown.is_empty(),
        "the service saw calls for nodes that the manifest does not have: {unknown:?}"
    );
    assert_eq!(manifest["counts"]["planned"].as_u64().unwrap(), nodes.len() as u64);
    for (outcome, count) in
        manifest["counts"].as_object().unwrap().iter().filter(|(name, _)| *name != "planned")
    {
        assert_eq!(
            count.as_u64().unwrap(),
            counts.get(outcome.as_str()).copied().unwrap_or(0),
            "count of {outcome}"
        );
    }
}
