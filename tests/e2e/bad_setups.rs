//! A table of set-ups that cannot work: each is refused before any upload, and the message says what to do.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::picture::without_what_varies;
use crate::stage::{Run, Sim, fleetlogs, signature};

pub(crate) const FLEET: &str = r#"
[[account]]
name = "contoso"
auth = ["shared-key", "entra"]
[[account.pool]]
id = "a"
nodes = 3
"#;

const KEY: &str = r#"{ shared_key = { file = "ready.json.contoso.key" } }"#;

/// One way to get it wrong.
pub(crate) struct Bad {
    destination: String,
    /// The value of `auth`, and further lines of the account.
    account: String,
    /// Tables before.
    more: String,
}

/// A config with this destination.
pub(crate) fn destination(text: impl Into<String>) -> Bad {
    Bad { destination: text.into(), account: format!("auth = {KEY}"), more: String::new() }
}

/// A config with this account, and a good destination.
pub(crate) fn account(text: &str) -> Bad {
    Bad { account: text.into(), ..destination(GOOD) }
}

/// A config with these tables, called by Entra.
pub(crate) fn entra(text: &str) -> Bad {
    Bad { more: text.into(), ..account(r#"auth = "entra""#) }
}

const GOOD: &str = r#"
container_url = { file = "ready.json.container_url" }
verify_url = { file = "ready.json.verify_url" }
"#;

fn run(sim: &Sim, bad: &Bad) -> Run {
    let mut endpoint = format!("endpoint = {}\n", sim.ready["accounts"][0]["endpoint"]);
    if bad.account.contains("endpoint") {
        endpoint.clear();
    }
    let config = sim.write_config(&format!(
        r#"
        {}
        [retry]
        attempts = 2
        base_delay = "50ms"
        max_delay = "100ms"
        [destination]
        {}
        [[account]]
        name = "contoso"
        {endpoint}
        {}
        "#,
        bad.more, bad.destination, bad.account
    ));
    let output = fleetlogs()
        .arg("run")
        .arg(config)
        // No developer tool is installed, whatever the machine has.
        .env("PATH", "/usr/bin/nowhere:/bin")
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    Run::of(sim.dir.path(), output)
}

/// What the program says of each, behind the lines that differ from a good config. Nothing is sent, and no run begun.
pub(crate) fn refusals(sim: &Sim, table: Vec<Bad>) -> String {
    let mut told = String::new();
    for bad in table {
        let run = run(sim, &bad);
        let auth = format!("auth = {KEY}");
        for lines in [&bad.more, &bad.destination, &bad.account].into_iter().filter(|lines| **lines != auth) {
            if lines.as_str() != GOOD {
                let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
                told.extend(lines.map(|line| format!("> {}\n", without_what_varies(line))));
            }
        }
        assert!(run.dir.is_none(), "a run directory was made\n{told}");
        told.push_str(&run.picture());
        told.push('\n');
    }
    assert_eq!(sim.upload_calls(), 0, "an upload was sent");
    told
}

/// A container URL of the simulator with a SAS of these parameters, signed as it should be, put into a file.
pub(crate) fn sas(sim: &Sim, name: &str, parameters: &[(&str, &str)]) -> String {
    let get =
        |name: &str| parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value);
    let (sp, st, se, sip) = (get("sp"), get("st"), get("se"), get("sip"));
    let (sr, spr) = (if get("sr").is_empty() { "c" } else { get("sr") }, get("spr"));
    let text =
        format!("{sp}\n{st}\n{se}\n/blob/simlogs/batch-logs\n\n{sip}\n{spr}\n2022-11-02\n{sr}\n\n\n\n\n\n\n");
    let key = BASE64_STANDARD.decode(sim.ready["storage"]["key"].as_str().unwrap()).unwrap();
    let mut query = format!("sv=2022-11-02&sr={sr}");
    for (name, value) in [("sp", sp), ("st", st), ("se", se), ("sip", sip), ("spr", spr)] {
        if !value.is_empty() {
            let _ = write!(query, "&{name}={value}");
        }
    }
    let url = format!("{}?{query}&sig={}", sim.ready["container"].as_str().unwrap(), signature(&key, &text));
    let file = format!("secret.{name}");
    std::fs::write(sim.dir.path().join(&file), url).unwrap();
    format!(r#"{{ file = "{file}" }}"#)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_config_that_cannot_be_meant() {
    let sim = Sim::start(FLEET);
    let write = |name: &str, text: &str| std::fs::write(sim.dir.path().join(name), text).unwrap();
    write("secret.empty", "\n");
    write("secret.word", "hunter2hunter2");
    write("secret.unsigned", "https://logs.blob.core.windows.net/c?sp=w");
    write("secret.http", "http://logs.blob.core.windows.net/c?sp=w&sr=c&sig=fakefakefake");
    let minted = |more: &str| {
        format!(
            r#"
            mint = "user-delegation"
            account = "contosologs"
            {more}
            "#
        )
    };
    let keyed = |more: &str| {
        format!(
            r#"
            mint = "account-key"
            account = "contosologs"
            container = "logs"
            {more}
            "#
        )
    };
    let by = |secret: &str| format!("container_url = {secret}");
    let named = r#"
        account = "contosologs"
        container = "logs"
    "#;
    let table = vec![
        destination(""),
        destination(by("\"https://logs.blob.core.windows.net/c?sig=x\"")),
        destination(by(r#"{ env = "NOT_SET_HERE" }"#)),
        destination(by(r#"{ env = "https://a.blob.core.windows.net/c?sig=fakefakefake" }"#)),
        destination(minted(
            r#"
                container = "incident-{run_id}"
                verify_url = { file = "ready.json.verify_url" }
                "#,
        )),
        destination(by(r#"{ file = "nowhere" }"#)),
        destination(by(r#"{ command = ["/bin/false"] }"#)),
        destination(by(r#"{ command = ["/nowhere/vault"] }"#)),
        destination(by("{ command = [] }")),
        destination(by(r#"{ file = "secret.empty" }"#)),
        destination(by(r#"{ env = "A", file = "b" }"#)),
        destination(by(r#"{ file = "secret.word" }"#)),
        destination(by(r#"{ file = "secret.unsigned" }"#)),
        destination(by(r#"{ file = "secret.http" }"#)),
        destination(r#"continer_url = { env = "X" }"#),
        destination(format!(r#"{GOOD} mint = "user-delegation""#)),
        destination(format!(r#"{GOOD} container = "logs""#)),
        destination(
            r#"
            mint = "magic"
            account = "contosologs"
            container = "logs"
            "#,
        ),
        destination(
            r#"
            mint = "user-delegation"
            container = "logs"
            "#,
        ),
        destination(minted("")),
        destination(minted(r#"container = "Logs""#)),
        destination(minted(r#"container = "incident-{run}""#)),
        destination(
            r#"
            mint = "user-delegation"
            account = "Contoso Logs"
            container = "logs"
            "#,
        ),
        destination(minted(
            r#"
                container = "logs"
                account_key = { file = "secret.word" }
                "#,
        )),
        destination(keyed("")),
        destination(keyed(r#"account_key = { file = "secret.word" }"#)),
        destination(minted(
            r#"
                container = "logs"
                lifetime = "8days"
                "#,
        )),
        destination(minted(
            r#"
                container = "logs"
                lifetime = "5m"
                "#,
        )),
        destination(format!(r#"identity = "logs" {named}"#)),
        destination(format!(
            r#"
                identity = "/subscriptions/0/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/l"
                lifetime = "1h"
                {named}
                "#
        )),
        account(r#"auth = "entre""#),
        account(r#"auth = { shared_key = { file = "secret.word" } }"#),
        account(
            r#"
            auth = "entra"
            cloud = "germany"
            "#,
        ),
        account(
            r#"
            auth = "entra"
            audience = "https://batch.core.windows.net"
            "#,
        ),
        account(
            r#"
            auth = "entra"
            endpoint = "http://contoso.westeurope.batch.azure.com"
            "#,
        ),
        account(
            r#"
            auth = "entra"
            endpoint = "https://contoso.westeurope.batch.azure.com/pools"
            "#,
        ),
        entra(r#"entra = { credential = "password" }"#),
        entra(r#"entra = { authority = "http://login.example" }"#),
        entra(r#"entra = { tenantid = "x" }"#),
    ];
    insta::assert_snapshot!(refusals(&sim, table), @r#"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination.container_url`: this key is missing
      help: add `container_url = { env = "FLEETLOGS_CONTAINER_URL" }`

    > container_url = "https://logs.blob.core.windows.net/c?sig=x"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url`: a secret must not be written in the config itself
      help: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }

    > container_url = { env = "NOT_SET_HERE" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url.env`: the environment variable `NOT_SET_HERE` is not set
      help: set `NOT_SET_HERE` and run again

    > container_url = { env = "https://a.blob.core.windows.net/c?sig=fakefakefake" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url.env`: this is not the name of an environment variable
      help: `env` is the name of a variable that holds the secret, such as "FLEETLOGS_CONTAINER_URL"

    > mint = "user-delegation"
    > account = "contosologs"
    > container = "incident-{run_id}"
    > verify_url = { file = "ready.json.verify_url" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination`: `verify_url` names one container, but with `{run_id}` every run has its own
      help: remove `verify_url`: fleetlogs creates a SAS to list with

    > container_url = { file = "nowhere" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url.file`: cannot read `DIR/nowhere`: No such file or directory (os error 2)
      help: the path is relative to the config; the file must be readable by this user and hold the secret alone

    > container_url = { command = ["/bin/false"] }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url.command`: `/bin/false` failed (exit status: 1)
      help: run it by hand, as this user and in the directory of the config

    > container_url = { command = ["/nowhere/vault"] }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url.command`: cannot run `/nowhere/vault`: No such file or directory (os error 2)
      help: run it by hand, as this user and in the directory of the config

    > container_url = { command = [] }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url.command`: the command is empty
      help: run it by hand, as this user and in the directory of the config

    > container_url = { file = "secret.empty" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url`: the secret is empty
      help: check the file, the output of the command, or the variable: it has only white space

    > container_url = { env = "A", file = "b" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url`: a secret has exactly one source
      help: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }

    > container_url = { file = "secret.word" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url`: this is not a container URL with a SAS: it is not a URL
      help: a container URL looks like https://ACCOUNT.blob.core.windows.net/CONTAINER?sp=w&se=...&sig=...

    > container_url = { file = "secret.unsigned" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url`: this is not a container URL with a SAS: it was cut off at its first `&`
      help: quote the URL in the shell, 'https://...', because `&` ends a command there; better, put it into a file: { file = "path" }

    > container_url = { file = "secret.http" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.container_url`: this is not a container URL with a SAS: it must start with https:// (http:// is for loopback addresses only)
      help: a container URL looks like https://ACCOUNT.blob.core.windows.net/CONTAINER?sp=w&se=...&sig=...

    > continer_url = { env = "X" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination.container_url`: this key is missing
      help: add `container_url = { env = "FLEETLOGS_CONTAINER_URL" }`
    error: DIR/fleetlogs.toml:8: `destination.continer_url`: unknown key
      help: did you mean `container_url`?

    > container_url = { file = "ready.json.container_url" }
    > verify_url = { file = "ready.json.verify_url" }
    > mint = "user-delegation"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination`: `container_url`, `mint` and `identity` cannot be combined
      help: keep one: an existing SAS, a SAS that fleetlogs creates, or the identity of the nodes

    > container_url = { file = "ready.json.container_url" }
    > verify_url = { file = "ready.json.verify_url" }
    > container = "logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination`: `container` needs `mint` or `identity`
      help: remove it, or add `mint`

    > mint = "magic"
    > account = "contosologs"
    > container = "logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:9: `destination.mint`: `magic` is not a way to create a SAS
      help: use `user-delegation` (a key from Entra, valid for 7 days at most) or `account-key`

    > mint = "user-delegation"
    > container = "logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination.account`: this key is missing
      help: add `account = "contosologs"`

    > mint = "user-delegation"
    > account = "contosologs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination.container`: this key is missing
      help: add `container = "incident-{run_id}"`

    > mint = "user-delegation"
    > account = "contosologs"
    > container = "Logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:11: `destination.container`: `Logs` is not the name of a container
      help: use 3 to 63 lower-case letters, digits and single hyphens; `{run_id}` stands for the id of the run

    > mint = "user-delegation"
    > account = "contosologs"
    > container = "incident-{run}"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:11: `destination.container`: `incident-{run}` is not the name of a container
      help: use 3 to 63 lower-case letters, digits and single hyphens; `{run_id}` stands for the id of the run

    > mint = "user-delegation"
    > account = "Contoso Logs"
    > container = "logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:10: `destination.account`: `Contoso Logs` is not a storage account
      help: write the storage account's name, such as "contosologs", or the URL of its blob endpoint

    > mint = "user-delegation"
    > account = "contosologs"
    > container = "logs"
    > account_key = { file = "secret.word" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination`: `account_key` needs `mint = "account-key"`
      help: remove it

    > mint = "account-key"
    > account = "contosologs"
    > container = "logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination.account_key`: this key is missing
      help: add `account_key = { env = "NAME" }`

    > mint = "account-key"
    > account = "contosologs"
    > container = "logs"
    > account_key = { file = "secret.word" }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:12: `destination.account_key`: the account key is not Base64
      help: copy the storage account's key as the portal shows it

    > mint = "user-delegation"
    > account = "contosologs"
    > container = "logs"
    > lifetime = "8days"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:13: `destination.lifetime`: must be 7 days at most
      help: it is renewed during the run; an hour is enough

    > mint = "user-delegation"
    > account = "contosologs"
    > container = "logs"
    > lifetime = "5m"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:13: `destination.lifetime`: must be at least one and a half times `upload_allowance`
      help: a SAS must outlive an upload that starts with it; set it to twice `upload_allowance` or more

    > identity = "logs"
    > account = "contosologs"
    > container = "logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:8: `destination.identity`: `logs` is not the ARM id of a user-assigned identity
      help: write /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME

    > identity = "/subscriptions/0/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/l"
    > lifetime = "1h"
    > account = "contosologs"
    > container = "logs"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:7: `destination`: `lifetime` needs `mint`
      help: remove it

    > auth = "entre"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:16: `account[0].auth`: `entre` is not a way to authenticate
      help: write "entra" or { shared_key = { env = "NAME" } }

    > auth = { shared_key = { file = "secret.word" } }
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:16: `account[0].auth.shared_key`: the account key is not Base64
      help: copy the account's key as the portal shows it

    > auth = "entra"
    > cloud = "germany"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:18: `account[0].cloud`: `germany` is not a cloud
      help: use `public`, `us-government` or `china`

    > auth = "entra"
    > audience = "https://batch.core.windows.net"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:18: `account[0].audience`: `https://batch.core.windows.net` is not an audience
      help: write it with a slash at the end, such as "https://batch.core.windows.net/"

    > auth = "entra"
    > endpoint = "http://contoso.westeurope.batch.azure.com"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:17: `account[0].endpoint`: must start with https:// (http:// is for loopback addresses only)
      help: write endpoint = "https://contoso.westeurope.batch.azure.com"

    > auth = "entra"
    > endpoint = "https://contoso.westeurope.batch.azure.com/pools"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:17: `account[0].endpoint`: must be a host without a path, query or user
      help: write endpoint = "https://contoso.westeurope.batch.azure.com"

    > entra = { credential = "password" }
    > auth = "entra"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:2: `entra.credential`: `password` is not a credential
      help: use `auto`, `workload-identity`, `managed-identity`, `client-secret` or `developer-tools`

    > entra = { authority = "http://login.example" }
    > auth = "entra"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:2: `entra.authority`: `http://login.example` is not the URL of an authority
      help: write it as "https://login.microsoftonline.com"

    > entra = { tenantid = "x" }
    > auth = "entra"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:2: `entra.tenantid`: unknown key
      help: did you mean `tenant_id`?
    "#);
    assert_eq!(sim.ledger()["accounts"][0]["list_calls"], 0, "a request was sent");
}

#[test]
fn a_clock_that_is_off() {
    let skewed =
        |by: &str| FLEET.replace("[[account.pool]]", &format!("clock_skew = \"{by}\"\n[[account.pool]]"));
    let sim = Sim::start(&skewed("20m"));
    let run = run(&sim, &destination(GOOD));
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 5
    ----- stderr -----
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: 403 AuthenticationFailed: The Date header in the request is incorrect: it is SECONDS off the time of the server; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: set this machine's clock: it is A WHILE behind the service's; Shared Key allows 15 minutes at most
    no upload was sent
    ");
    assert_eq!(sim.upload_calls(), 0);

    let sim = Sim::start(&skewed("3m"));
    let run = run_checked(&sim);
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 0
    ----- stdout -----
         ok  config: `DIR/fleetlogs.toml` is valid, and the secrets of accounts and storage were found
         ok  output.dir: run directories go to `DIR/runs`
         ok  account `contoso`: uses the account key (Shared Key)
    warning  account `contoso`: this machine's clock is A WHILE behind the service's
             fix: set the clock: it decides the time window, and when a SAS or a token counts as expired
         ok  account `contoso`: 1 pool and 3 nodes selected, with 2 list calls
         ok  destination.container_url: by its text a service SAS for the container, permissions `w`, until TIME
         ok  destination.verify_url: by its text a service SAS for the container, permissions `rl`, until TIME
         ok  destination.verify_url: the container http://127.0.0.1:PORT/simlogs/batch-logs exists and can be listed
    a run would start: 0 problems, 1 warning
    ");
}

/// A day or more is judged like less.
#[test]
fn a_clock_that_is_days_off() {
    for (by, said) in [("25h", "this machine's clock is 1d 0"), ("-49h", "this machine's clock is 2d 0")] {
        let sim = Sim::start(
            &FLEET.replace("[[account.pool]]", &format!("clock_skew = \"{by}\"\n[[account.pool]]")),
        );
        let run = run(&sim, &destination(GOOD));
        assert_eq!((run.code, sim.upload_calls()), (5, 0), "{}", run.stderr);
        let help = said.replace("clock is", "clock: it is");
        let helped = run.stderr.contains(&format!("help: set {help}"));
        assert!(helped && run.stderr.contains("Shared Key allows 15 minutes"), "{}", run.stderr);

        // A token works all the same.
        let config = sim.config("");
        let text = std::fs::read_to_string(&config).unwrap();
        let key = r#"auth = { shared_key = { file = "ready.json.contoso.key" } }"#;
        sim.write_config(&text.replace(key, r#"auth = "entra""#));
        let checked = crate::credentials::with_identity(&sim, &["check", config.to_str().unwrap()]);
        let warned = format!("warning  account `contoso`: {said}");
        assert!(checked.stdout.contains(&warned), "{by}: {}", checked.stdout);
        assert!(checked.stdout.contains("it decides the time window"), "{by}: {}", checked.stdout);
    }
}

fn run_checked(sim: &Sim) -> Run {
    let config = crate::credentials::config(sim, GOOD, "");
    let output = fleetlogs().arg("check").arg(config).current_dir(sim.dir.path()).output().unwrap();
    Run::of(sim.dir.path(), output)
}

#[test]
fn a_sas_on_the_command_line() {
    let sim = Sim::start(FLEET);
    let url = sim.ready["container_url"].as_str().unwrap();
    let output = fleetlogs().args(["run", url]).current_dir(sim.dir.path()).output().unwrap();
    let run = Run::of(sim.dir.path(), output);
    insta::assert_snapshot!(run.picture(), @r#"
    exit code: 2
    ----- stderr -----
    error: an argument holds a SAS, which every user of this machine can see in the list of processes, and which the shell keeps in its history
      help: create a new SAS, because this one has been exposed; put it into a file or an environment variable, and name that in the config: container_url = { file = "path" }
    "#);
}

/// `check` finds at once what a run would tell one after the other.
#[test]
fn check_tells_everything_that_is_wrong_and_ends_as_the_run_would() {
    let sim = Sim::start(FLEET);
    std::fs::write(sim.dir.path().join("secret.wrong"), BASE64_STANDARD.encode([7; 64])).unwrap();
    let expired = sas(&sim, "expired", &[("sp", "r"), ("se", "2026-01-01T00:00:00Z"), ("spr", "https,http")]);
    let config = crate::credentials::config(&sim, &format!("container_url = {expired}"), "");
    let text = std::fs::read_to_string(&config).unwrap();
    sim.write_config(&text.replace("ready.json.contoso.key", "secret.wrong"));
    let output = fleetlogs().arg("check").arg(&config).current_dir(sim.dir.path()).output().unwrap();
    let check = Run::of(sim.dir.path(), output);
    insta::assert_snapshot!(check.picture(), @r"
    exit code: 5
    ----- stdout -----
         ok  config: `DIR/fleetlogs.toml` is valid, and the secrets of accounts and storage were found
         ok  output.dir: run directories go to `DIR/runs`
         ok  account `contoso`: uses the account key (Shared Key)
    refused  account `contoso` (http://127.0.0.1:PORT): cannot be listed: 403 AuthenticationFailed: The MAC signature found in the HTTP request is not the same as any computed signature; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
             fix: copy the account's key again as the portal shows it: this one was cut off, rotated, or is another account's
         ok  account `contoso`: this machine's clock agrees with the service's
    refused  destination.container_url: the SAS expired at 2026-01-01T00:00:00.000Z
             fix: create a new SAS
    refused  destination.container_url: the SAS lacks the permission `w` (nodes write their logs with it)
             fix: create a container SAS with the permission `w` (write)
    warning  destination.container_url: its SAS lacks the permission `l`: nodes will end as `accepted`, and a call whose answer is lost will be repeated without looking for its files
             fix: set `destination.verify_url` to a SAS with `r` and `l`, so that fleetlogs can look for the files
    a run would be refused: 3 problems, 1 warning
    ");
    assert_eq!(sim.run(&config).code, 5);
    assert_eq!(sim.upload_calls(), 0);

    let config = sim.write_config("limts = { rate = 3 }");
    let output =
        fleetlogs().args(["check", "--json"]).arg(&config).current_dir(sim.dir.path()).output().unwrap();
    let check = Run::of(sim.dir.path(), output);
    let document: serde_json::Value = serde_json::from_str(&check.stdout).unwrap();
    assert_eq!((check.code, &document["exit_code"], &document["ready"]), (2, &2.into(), &false.into()));
    let findings = document["findings"].as_array().unwrap();
    let names =
        |finding: &serde_json::Value| finding["fix"].as_str().unwrap().contains("did you mean `limits`?");
    assert!(findings.iter().any(names), "{document:#}");
}
