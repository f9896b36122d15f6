//! `init`: a config that works after two values are filled in, one with every key, one that Azure fills in, and one that
//! answers on a terminal fill in.

use std::path::Path;
use std::process::Command;

use crate::credentials::with_identity;
use crate::stage::{Run, Sim, fleetlogs};

fn init(dir: &Path, arguments: &[&str]) -> Run {
    let output = fleetlogs().arg("init").args(arguments).current_dir(dir).output().unwrap();
    Run::of(dir, output)
}

#[test]
fn a_config_is_written_once_and_says_what_is_left_to_do() {
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(init(dir.path(), &[]).picture(), @r"
    exit code: 0
    ----- stderr -----
    wrote fleetlogs.toml
    next:
      1. write the endpoint of your Batch account in fleetlogs.toml
      2. set FLEETLOGS_CONTAINER_URL to the container's URL with its SAS
      3. fleetlogs check
      4. fleetlogs run
    for completion in editors: fleetlogs schema config > fleetlogs.schema.json, beside it
    ");
    let written = std::fs::read_to_string(dir.path().join("fleetlogs.toml")).unwrap();
    assert!(written.starts_with("#:schema ./fleetlogs.schema.json\n"), "{written}");
    insta::assert_snapshot!(init(dir.path(), &[]).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `fleetlogs.toml` exists, and is not overwritten
      help: name another file, or print the config with `fleetlogs init -`
    ");
    insta::assert_snapshot!(init(dir.path(), &["."]).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `.` is a directory
      help: name the file: `fleetlogs init ./fleetlogs.toml`
    ");
    assert_eq!(std::fs::read_to_string(dir.path().join("fleetlogs.toml")).unwrap(), written);
    let printed = init(dir.path(), &["-"]);
    assert_eq!((printed.code, printed.stdout.as_str(), printed.stderr.as_str()), (0, written.as_str(), ""));

    // What a shell made for a redirection is empty, and is filled.
    std::fs::write(dir.path().join("empty.toml"), "").unwrap();
    assert_eq!(init(dir.path(), &["empty.toml", "--quiet"]).stderr, "");
    assert_eq!(std::fs::read_to_string(dir.path().join("empty.toml")).unwrap(), written);

    let full = init(dir.path(), &["--full", "-"]).stdout;
    assert!(full.starts_with("#:schema ./fleetlogs.schema.json\n"), "{full}");
    assert!(full.contains("[limits]") && full.contains("# [[snapshot]]"), "{full}");

    // Exactly two values are missing.
    let output = fleetlogs().arg("check").current_dir(dir.path()).output().unwrap();
    insta::assert_snapshot!(Run::of(dir.path(), output).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: fleetlogs.toml:10: `destination.container_url.env`: the environment variable `FLEETLOGS_CONTAINER_URL` is not set
      help: set `FLEETLOGS_CONTAINER_URL` and run again
    error: fleetlogs.toml:14: `account[0].endpoint`: this is still to be filled in
      help: write the endpoint of your account: `az batch account show --name NAME --resource-group GROUP --query accountEndpoint`, or the portal's Overview
    ");
}

/// Three Batch accounts in two subscriptions, and three storage accounts in one of them.
const FLEET: &str = r#"
[storage]
others = ["archive", "backup"]
[[account]]
name = "contoso"
auth = ["entra"]
[[account.pool]]
id = "a"
nodes = 2
arrival = "50ms"
[[account]]
name = "fabrikam"
[[account.pool]]
id = "a"
nodes = 1
arrival = "50ms"
[[account]]
name = "northwind"
subscription = "00000000-0000-4000-8000-00000000000b"
[[account.pool]]
id = "a"
nodes = 1
arrival = "50ms"
"#;

#[test]
fn what_the_identity_sees_is_found_and_can_be_run_as_it_is() {
    let sim = Sim::start(FLEET);
    let arm = sim.ready["arm"].as_str().unwrap();
    let found = with_identity(&sim, &["init", "found.toml", "--discover", "--management", arm]);
    insta::assert_snapshot!(found.picture(), @r"
    exit code: 0
    ----- stderr -----
    2 subscriptions: Simulated 1, Simulated 2
    3 Batch accounts: contoso (westeurope), fabrikam (westeurope), northwind (westeurope)
    3 storage accounts: simlogs (westeurope), archive (westeurope), backup (westeurope)
    wrote found.toml
    next:
      1. check `[destination]` in found.toml: logs go to the storage account `http://127.0.0.1:PORT/archive`
      2. fleetlogs check found.toml
      3. fleetlogs run found.toml
    for completion in editors: fleetlogs schema config > fleetlogs.schema.json, beside it
    ");
    // The storage account of the simulator is one of three.
    let config = sim.dir.path().join("found.toml");
    let written = std::fs::read_to_string(&config).unwrap();
    insta::assert_snapshot!(crate::picture::without_what_varies(&written), @r#"
    #:schema ./fleetlogs.schema.json
    # A short config; `fleetlogs init --full -` prints every key. Check it with `fleetlogs check`.
    # Found with `fleetlogs init --discover`: 2 subscriptions, 3 Batch accounts, 3 storage accounts.

    [window]
    last = "2h"   # the logs of this long, up to now; or `start` and `end`, or `around`

    [destination]
    # fleetlogs creates short-lived SAS with your login, which needs the roles Storage Blob Delegator and
    # Storage Blob Data Contributor on this storage account.
    mint = "user-delegation"
    account = "http://127.0.0.1:PORT/archive"   # westeurope
    # account = "http://127.0.0.1:PORT/backup"   # or this one: westeurope
    # account = "http://127.0.0.1:PORT/simlogs"   # or this one: westeurope
    container = "incident-{run_id}"   # each run creates its own

    [[account]]
    name = "contoso"
    endpoint = "http://127.0.0.1:PORT"
    auth = "entra"   # `az login`, a managed identity, or a client secret

    [[account]]
    name = "fabrikam"
    endpoint = "http://127.0.0.1:PORT"
    auth = "entra"   # `az login`, a managed identity, or a client secret

    [[account]]
    name = "northwind"
    endpoint = "http://127.0.0.1:PORT"
    auth = "entra"   # `az login`, a managed identity, or a client secret
    "#);
    let simulated = sim.ready["storage"]["endpoint"].as_str().unwrap();
    let first = written.lines().find(|line| line.starts_with("account = ")).unwrap();
    std::fs::write(&config, written.replace(first, &format!("account = \"{simulated}\""))).unwrap();
    let run = with_identity(&sim, &["run", "found.toml"]);
    assert_eq!((run.code, sim.upload_calls()), (0, 4), "{}", run.stderr);
    assert_eq!(run.count("verified"), 4);

    let subscription = "00000000-0000-4000-8000-00000000000B";
    let one = with_identity(&sim, &["init", "-", "--discover", subscription, "--management", arm]);
    assert_eq!(one.code, 0, "{}", one.stderr);
    assert!(one.stdout.contains("northwind") && !one.stdout.contains("fabrikam"), "{}", one.stdout);
    assert!(one.stdout.contains("FLEETLOGS_CONTAINER_URL"), "no storage account there: {}", one.stdout);

    let nothing = "00000000-0000-4000-8000-0000000000ff";
    let none = with_identity(&sim, &["init", "none.toml", "--discover", nothing, "--management", arm]);
    insta::assert_snapshot!(none.picture(), @r"
    exit code: 5
    ----- stderr -----
    error: the accounts of subscription ID cannot be listed: 404 SubscriptionNotFound: The subscription 'ID' could not be found.
      help: give the identity the role Reader on the subscription, or fill the config in by hand
    ");
    assert!(!sim.dir.path().join("none.toml").exists());
    let slip = with_identity(&sim, &["init", "--discover", "none.toml"]);
    assert_eq!(slip.code, 2);
    assert!(slip.stderr.contains("this is not the id of a subscription"), "{}", slip.stderr);
}

/// Runs the program under a terminal, and types.
#[cfg(unix)]
const TYPING: &str = r"
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
os.write(terminal, sys.argv[1].encode())
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    sys.stdout.buffer.write(part)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

#[cfg(unix)]
#[test]
fn on_a_terminal_it_asks_and_with_yes_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let typed = |typed: &str, arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", TYPING, typed, env!("CARGO_BIN_EXE_fleetlogs"), "init"]).args(arguments);
        let output = command.current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = typed("contoso.westeurope.batch.azure.com\n\ncontosologs\n\n30m\n", &["asked.toml"]);
    assert!(
        shown.contains("Endpoint of the Batch account") && shown.contains("Logs of the last [2h]"),
        "{shown}"
    );
    let written = std::fs::read_to_string(dir.path().join("asked.toml")).unwrap();
    for line in [
        "endpoint = \"https://contoso.westeurope.batch.azure.com\"",
        "auth = \"entra\"",
        "account = \"contosologs\"",
        "last = \"30m\"",
    ] {
        assert!(written.contains(line), "{line} is not in\n{written}");
    }
    let quiet = typed("", &["unasked.toml", "--yes"]);
    assert!(!quiet.contains("Endpoint of the Batch account,"), "{quiet}");
}

/// The second config of `sim --ready` does for what the first does not.
#[test]
fn the_full_config_of_the_simulator_does_for_share_and_ticket() {
    let sim = Sim::start(FLEET);
    let config = sim.ready["full_config"].as_str().unwrap();
    let with_environment = |arguments: &[&str]| {
        let given = sim.ready["environment"].as_object().unwrap();
        let output = fleetlogs()
            .args(arguments)
            .envs(given.iter().map(|(name, value)| (name, value.as_str().unwrap())))
            .current_dir(sim.dir.path())
            .output()
            .unwrap();
        // Who shares prints a SAS, on stdout and alone.
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, _, stderr) = with_environment(&["run", config]);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, sas, stderr) = with_environment(&["share", "latest"]);
    assert!(code == Some(0) && sas.contains("sig="), "{stderr}");
    let (code, _, stderr) = with_environment(&["ticket", config, "latest", "--yes"]);
    assert_eq!(code, Some(0), "{stderr}");
}
