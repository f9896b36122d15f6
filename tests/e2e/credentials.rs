//! Every way into Batch and storage, and credentials that expire during a run.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::stage::{Run, Sim, assert_manifest_equals_ledger, fleetlogs, service_sas_until, wait_for};

const FLEET: &str = r#"
[[account]]
name = "contoso"
auth = ["shared-key", "entra"]
latency = "20ms"
[[account.pool]]
id = "a"
nodes = 60
arrival = { min = "50ms", max = "200ms" }
"#;

const QUICK: &str = r#"
[deadlines]
call = "2s"
node = "5m"
run = "1h"
[verify]
deadline = "4s"
settle = "3s"
"#;

/// A config whose container is reached in another way than by the simulator's own SAS.
pub(crate) fn config(sim: &Sim, destination: &str, more: &str) -> PathBuf {
    let account = &sim.ready["accounts"][0];
    sim.write_config(&format!(
        r#"
        {more}
        {QUICK}
        [destination]
        {destination}
        [[account]]
        name = {}
        endpoint = {}
        auth = {{ shared_key = {{ file = "ready.json.contoso.key" }} }}
        "#,
        account["name"], account["endpoint"],
    ))
}

/// The program with a managed identity that the simulator plays.
pub(crate) fn with_identity(sim: &Sim, arguments: &[&str]) -> Run {
    let identity = sim.ready["ledger"].as_str().unwrap().replace("/_sim/ledger", "/_sim/identity");
    let output = fleetlogs()
        .args(arguments)
        .env("IDENTITY_ENDPOINT", identity)
        .env("IDENTITY_HEADER", "fake-header")
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    Run::of(sim.dir.path(), output)
}

fn storage(sim: &Sim) -> String {
    sim.ready["storage"]["endpoint"].as_str().unwrap().to_owned()
}

fn time_of(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

/// Every directory that the ledger knows.
fn directories(ledger: &Value) -> Vec<Value> {
    let nodes = ledger["nodes"].as_array().unwrap();
    nodes.iter().flat_map(|node| node["directories"].as_array().unwrap().clone()).collect()
}

/// No upload was accepted with a SAS that ended before the allowance did; how many SAS were in use.
fn assert_no_call_outlived_its_sas(sim: &Sim, allowance: Duration) -> usize {
    let mut ends: Vec<_> = directories(&sim.ledger())
        .iter()
        .map(|directory| {
            let (at, ends) = (time_of(&directory["received_at"]), time_of(&directory["sas_expires_at"]));
            assert!(at + allowance <= ends + Duration::from_secs(1), "received at {at}, SAS until {ends}");
            ends
        })
        .collect();
    ends.sort();
    ends.dedup();
    ends.len()
}

#[test]
fn a_sas_in_a_file_is_taken_up_when_it_is_rotated() {
    let sim = Sim::start(FLEET);
    let key = BASE64_STANDARD.decode(sim.ready["storage"]["key"].as_str().unwrap()).unwrap();
    let rotate = &|life: u64| {
        let until = OffsetDateTime::now_utc() + Duration::from_secs(life);
        let container = sim.ready["container"].as_str().unwrap();
        let url = service_sas_until(&key, container, "/blob/simlogs/batch-logs", "w", until);
        let (file, new) = (sim.dir.path().join("secret.sas"), sim.dir.path().join("secret.new"));
        std::fs::write(&new, url).unwrap();
        std::fs::rename(new, file).unwrap();
    };
    rotate(12);
    let destination = r#"
        container_url = { file = "secret.sas" }
        verify_url = { file = "ready.json.verify_url" }
        upload_allowance = "4s"
    "#;
    let config = config(&sim, destination, "limits = { rate = 3, concurrency = 4 }");
    let mut command = fleetlogs();
    command.arg("run").arg(config).current_dir(sim.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let (is_over, over) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while over.recv_timeout(Duration::from_secs(5)) == Err(RecvTimeoutError::Timeout) {
                rotate(12);
            }
        });
        let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
        drop(is_over);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
        assert_eq!(run.count("verified"), 60);
    });
    let used = assert_no_call_outlived_its_sas(&sim, Duration::from_secs(4));
    assert!(used >= 3, "{used} SAS were in use");
}

/// Whoever rotates it makes a mistake first: the old SAS serves on, and the good one is taken when it comes.
#[test]
fn a_worse_sas_is_not_taken_up() {
    let sim = Sim::start(FLEET);
    let key = BASE64_STANDARD.decode(sim.ready["storage"]["key"].as_str().unwrap()).unwrap();
    let put = |permissions: &str, life: u64, cut: usize| {
        let until = OffsetDateTime::now_utc() + Duration::from_secs(life);
        let container = sim.ready["container"].as_str().unwrap();
        let url = service_sas_until(&key, container, "/blob/simlogs/batch-logs", permissions, until);
        std::fs::write(sim.dir.path().join("secret.sas"), &url[..url.len() - cut]).unwrap();
    };
    put("w", 24, 0);
    let destination = r#"
        container_url = { file = "secret.sas" }
        verify_url = { file = "ready.json.verify_url" }
        upload_allowance = "4s"
    "#;
    let config = config(&sim, destination, "limits = { rate = 3, concurrency = 4 }");
    let said = sim.dir.path().join("said");
    let mut command = fleetlogs();
    command.arg("run").arg(config).current_dir(sim.dir.path()).stdout(Stdio::piped());
    let child = command.stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
    wait_for("the first call", || (sim.upload_calls() > 0).then_some(()));
    put("rl", 600, 0);
    let refused = "cannot be renewed: the new SAS: the SAS lacks the permission `w`";
    wait_for("the warning", || std::fs::read_to_string(&said).unwrap().contains(refused).then_some(()));
    put("w", 600, 20);
    // It is asked for each second or two.
    std::thread::sleep(Duration::from_millis(2500));
    put("w", 600, 0);
    let run = Run::of(sim.dir.path(), child.wait_with_output().unwrap());
    assert_eq!(run.code, 0, "{}", std::fs::read_to_string(&said).unwrap());
    assert_eq!(run.count("verified"), 60);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(sim.ledger()["storage"]["put_failures"], 0);
}

#[test]
fn a_sas_that_nobody_rotates_stops_the_run_before_a_call_would_outlive_it() {
    let sim = Sim::start(FLEET);
    let key = BASE64_STANDARD.decode(sim.ready["storage"]["key"].as_str().unwrap()).unwrap();
    let until = OffsetDateTime::now_utc() + Duration::from_secs(9);
    let container = sim.ready["container"].as_str().unwrap();
    let url = service_sas_until(&key, container, "/blob/simlogs/batch-logs", "w", until);
    std::fs::write(sim.dir.path().join("secret.sas"), url).unwrap();
    let destination = r#"
        container_url = { command = ["cat", "secret.sas"] }
        verify_url = { file = "ready.json.verify_url" }
        upload_allowance = "4s"
    "#;
    let run = sim.run(&config(&sim, destination, "limits = { rate = 6, concurrency = 4 }"));
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("the container SAS expires at"), "{}", run.stderr);
    assert!(run.count("not-sent") > 0 && run.count("verified") > 0, "{}", run.manifest()["counts"]);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_no_call_outlived_its_sas(&sim, Duration::from_secs(4));
}

#[test]
fn a_minted_sas_is_renewed_and_every_run_has_its_own_container() {
    let sim = Sim::start(FLEET);
    let destination = format!(
        r#"
        mint = "user-delegation"
        account = "{}"
        container = "incident-{{run_id}}"
        lifetime = "10s"
        upload_allowance = "4s"
        "#,
        storage(&sim)
    );
    let path = config(&sim, &destination, "limits = { rate = 4, concurrency = 4 }");
    let run = with_identity(&sim, &["run", path.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 60);
    let container = run.manifest()["destination"].as_str().unwrap().to_owned();
    let run_id = run.manifest()["run_id"].as_str().unwrap().to_lowercase();
    assert!(container.ends_with(&format!("/incident-{run_id}")), "{container}");
    let used = assert_no_call_outlived_its_sas(&sim, Duration::from_secs(4));
    assert!(used >= 3, "{used} SAS were in use");
}

#[test]
fn a_delegation_key_that_ends_early_is_replaced() {
    let sim = Sim::start(&format!(
        r#"
        [storage]
        delegation_key_lifetime = "12s"
        {FLEET}
        "#
    ));
    let destination = format!(
        r#"
        mint = "user-delegation"
        account = "{}"
        container = "batch-logs"
        lifetime = "1h"
        upload_allowance = "4s"
        "#,
        storage(&sim)
    );
    let path = config(&sim, &destination, "limits = { rate = 4, concurrency = 4 }");
    let run = with_identity(&sim, &["run", path.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.count("verified"), 60);
    assert!(assert_no_call_outlived_its_sas(&sim, Duration::from_secs(4)) >= 2);
}

#[test]
fn the_accounts_key_makes_a_sas_and_a_container() {
    let sim = Sim::start(FLEET);
    std::fs::write(sim.dir.path().join("secret.storage"), sim.ready["storage"]["key"].as_str().unwrap())
        .unwrap();
    let destination = format!(
        r#"
        mint = "account-key"
        account = "{}"
        account_key = {{ file = "secret.storage" }}
        container = "incident-{{run_id}}"
        start_time = true
        "#,
        storage(&sim)
    );
    let path = config(&sim, &destination, "");
    let run = sim.run(&path);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 60);
    // A second incident does not see the first one's files.
    let again = sim.run(&path);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_ne!(again.manifest()["destination"], run.manifest()["destination"]);
}

#[test]
fn nodes_write_by_their_own_identity() {
    let id =
        "/subscriptions/0/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/logs";
    let sim = Sim::start(&format!(r#"{FLEET} identities = ["{id}"]"#));
    let destination = format!(
        r#"
        identity = "{id}"
        account = "{}"
        container = "batch-logs"
        "#,
        storage(&sim)
    );
    let path = config(&sim, &destination, "");
    let run = with_identity(&sim, &["run", path.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 60);
    assert!(directories(&sim.ledger()).iter().all(|directory| directory["access"] == "identity"));
}

#[test]
fn check_says_what_it_found_and_sends_and_makes_nothing() {
    let sim = Sim::start(FLEET);
    let destination = format!(
        r#"
        mint = "user-delegation"
        account = "{}"
        container = "incident-{{run_id}}"
        "#,
        storage(&sim)
    );
    let path = config(&sim, &destination, "");
    let text = std::fs::read_to_string(&path).unwrap();
    let key = r#"auth = { shared_key = { file = "ready.json.contoso.key" } }"#;
    sim.write_config(&text.replace(key, r#"auth = "entra""#));
    let check = with_identity(&sim, &["check", path.to_str().unwrap()]);
    insta::assert_snapshot!(check.picture(), @r"
    exit code: 0
    ----- stdout -----
         ok  config: `DIR/fleetlogs.toml` is valid, and the secrets of accounts and storage were found
         ok  output.dir: run directories go to `DIR/runs`
         ok  account `contoso`: has a token from managed identity (IDENTITY_ENDPOINT is set), valid until TIME and renewed before that
         ok  account `contoso`: this machine's clock agrees with the service's
         ok  account `contoso`: 1 pool and 60 nodes selected, with 2 list calls
         ok  destination.mint: by its text a user delegation SAS for the container, permissions `w`, until TIME
         ok  destination.mint: by its text a user delegation SAS for the container, permissions `rl`, until TIME
         ok  destination.container: http://127.0.0.1:PORT/simlogs/incident-RUN will be created when the run starts, if the credential permits it
    a run would start: 0 problems, 0 warnings
    ");
    let json = with_identity(&sim, &["check", "--json", path.to_str().unwrap()]);
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&document["ready"], &document["exit_code"]), (&true.into(), &0.into()));
    assert!(
        document["findings"].as_array().unwrap().iter().all(|finding| finding["level"] == "good"),
        "{document:#}"
    );
    assert_eq!(sim.upload_calls(), 0);
    assert!(check.dir.is_none(), "a run directory was made");
}

#[test]
fn check_tries_writing_on_request_and_leaves_nothing() {
    let sim = Sim::start(FLEET);
    let destination = format!(
        r#"
        mint = "user-delegation"
        account = "{}"
        container = "batch-logs"
        "#,
        storage(&sim)
    );
    let path = config(&sim, &destination, "");
    let check = with_identity(&sim, &["check", "--probe-write", path.to_str().unwrap()]);
    insta::assert_snapshot!(check.picture(), @r"
    exit code: 0
    ----- stdout -----
         ok  config: `DIR/fleetlogs.toml` is valid, and the secrets of accounts and storage were found
         ok  output.dir: run directories go to `DIR/runs`
         ok  account `contoso`: uses the account key (Shared Key)
         ok  account `contoso`: this machine's clock agrees with the service's
         ok  account `contoso`: 1 pool and 60 nodes selected, with 2 list calls
         ok  destination.mint: by its text a user delegation SAS for the container, permissions `w`, until TIME
         ok  destination.mint: by its text a user delegation SAS for the container, permissions `rl`, until TIME
         ok  destination.mint: the container http://127.0.0.1:PORT/simlogs/batch-logs exists and can be listed
         ok  destination.mint: a blob was written and deleted again
    a run would start: 0 problems, 0 warnings
    ");
    let storage = &sim.ledger()["storage"];
    assert_eq!((&storage["probes_written"], &storage["probes_deleted"]), (&1.into(), &1.into()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_shows_no_secret_to_others_and_leaves_no_core_dump() {
    let sim = Sim::start(FLEET);
    let config = sim.config("limits = { rate = 10, concurrency = 2 }");
    let mut command = fleetlogs();
    command.arg("run").arg(config).current_dir(sim.dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = crate::stage::Server(command.spawn().unwrap());
    wait_for("some calls", || (sim.upload_calls() > 3).then_some(()));
    let read = |name: &str| std::fs::read(format!("/proc/{}/{name}", child.0.id())).unwrap();
    let arguments = String::from_utf8_lossy(&read("cmdline")).into_owned();
    assert!(arguments.contains("run") && !arguments.contains("sig="), "{arguments}");
    let limits = String::from_utf8(read("limits")).unwrap();
    let core: Vec<_> = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    child.0.kill().unwrap();
}
