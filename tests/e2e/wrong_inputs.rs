//! What people put in by mistake: wrong files, secrets, windows, names and arguments. One table; each row is refused
//! with its exit code and a message that says what the thing is and what to do. No simulator is needed: nothing is sent.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::stage::{Run, fleetlogs};

/// One wrong input: files, and the arguments of the program.
struct Input {
    files: Vec<(String, Vec<u8>)>,
    arguments: Vec<String>,
    /// What stands before the message in the snapshot.
    shown: String,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The program with these arguments, in a directory that has a good config and nothing else.
fn arguments(text: &str) -> Input {
    let files = vec![("fleetlogs.toml".to_owned(), good("").into_bytes())];
    Input { files, arguments: words(text), shown: format!("$ fleetlogs {text}") }
}

/// A file in the place of a config.
fn file(name: &str, content: impl AsRef<[u8]>) -> Input {
    let files = vec![(name.to_owned(), content.as_ref().to_vec())];
    let command = format!("run {}", name.split('/').next().unwrap());
    Input { files, arguments: words(&command), shown: format!("$ fleetlogs {command}   # {name}") }
}

/// A config with lines that are wrong, which take the place of the good lines of the same keys.
fn config(lines: &str) -> Input {
    let shown: Vec<_> = lines.lines().map(|line| format!("> {}", line.trim())).collect();
    let files = vec![("fleetlogs.toml".to_owned(), good(lines).into_bytes())];
    Input { files, arguments: words("run fleetlogs.toml"), shown: shown.join("\n") }
}

/// A config whose secret `key` has this content, and what the content is.
fn secret(lines: &str, what: &str, content: &str) -> Input {
    let mut input = config(lines);
    input.files.push(("secret.wrong".to_owned(), content.as_bytes().to_vec()));
    let _ = write!(input.shown, "   # {what}");
    input
}

/// A config that would do, without those of its lines that `lines` has keys or tables for.
fn good(lines: &str) -> String {
    let destination = "[destination]\ncontainer_url = { file = \"secret.url\" }\n";
    let account = "[[account]]\n";
    let keys = [
        ("name", "name = \"contoso\""),
        ("endpoint", "endpoint = \"https://contoso.westeurope.batch.azure.com\""),
        ("auth", "auth = { shared_key = { file = \"secret.key\" } }"),
    ];
    let has = |key: &str| lines.lines().any(|line| line.trim_start().starts_with(&format!("{key} = ")));
    let kept: Vec<_> = keys.iter().filter(|(key, _)| !has(key)).map(|(_, line)| *line).collect();
    let is_of_account = keys.iter().any(|(key, _)| has(key)) || has("pools") || has("nodes");
    let destination = if lines.contains("[destination]") { "" } else { destination };
    let kept = kept.join("\n");
    if is_of_account {
        format!("{destination}{account}{kept}\n{lines}\n")
    } else {
        format!("{lines}\n{destination}{account}{kept}\n")
    }
}

const URL: &str = "https://logs.blob.core.windows.net/batch?sv=2022-11-02&sr=c&sp=w&se=2036-01-01T00:00:00Z&sig=fakefakefakefakefakefakefakefakefakefakefake%3D";

fn run(input: &Input) -> String {
    let dir = tempfile::tempdir().unwrap();
    let key = BASE64_STANDARD.encode([7; 64]);
    let secrets = [("secret.url", URL), ("secret.key", key.as_str())];
    for (name, content) in secrets.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec())) {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    for (name, content) in &input.files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let output = fleetlogs().args(&input.arguments).current_dir(dir.path()).output().unwrap();
    let run = Run::of(dir.path(), output);
    assert!(run.dir.is_none(), "a run directory was made\n{}", input.shown);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    format!("{}\n{}", input.shown, run.picture())
}

/// What the program says to each, in the order of the table.
fn told(table: &[Input]) -> String {
    let workers = std::thread::available_parallelism().map_or(2, usize::from) * 2;
    let mut told = vec![String::new(); table.len()];
    for (rows, answers) in table.chunks(workers).zip(told.chunks_mut(workers)) {
        std::thread::scope(|scope| {
            for (row, answer) in rows.iter().zip(answers) {
                scope.spawn(|| *answer = run(row));
            }
        });
    }
    told.join("\n").replace("----- stderr -----\n", "")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn files_that_are_no_config_are_called_by_their_name() {
    let key = BASE64_STANDARD.encode([7; 64]);
    let connection = format!("DefaultEndpointsProtocol=https;AccountName=logs;AccountKey={key}\r\n");
    let utf16: Vec<u8> =
        "\u{feff}[limts]\r\nrate = 3\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let manifest = r#"{"schema": "fleetlogs.manifest/v1", "run_id": "x"}"#;
    let plan = r#"{"schema": "fleetlogs.plan/v1", "run_id": "x"}"#;
    let mut in_run = file("20261130T002818Z-5e62/manifest.json", manifest);
    in_run.files.push(("20261130T002818Z-5e62/plan.json".into(), plan.into()));
    in_run.files.push(("20261130T002818Z-5e62/run.db".into(), vec![]));
    in_run.arguments = words("check 20261130T002818Z-5e62/manifest.json");
    in_run.shown = "$ fleetlogs check 20261130T002818Z-5e62/manifest.json".into();
    let mut run_directory = file("20261130T002818Z-5e62/plan.json", plan);
    run_directory.files.push(("20261130T002818Z-5e62/run.db".into(), vec![]));
    let mut ready = file("ready.json", r#"{"schema": "fleetlogs.sim-ready/v1"}"#);
    ready.files.push(("ready.json.fleetlogs.toml".into(), good("").into()));
    let with = |name: &str, content: &str, command: &str| {
        let mut input = arguments(command);
        input.files.push((name.into(), content.into()));
        input
    };
    let table = [
        file("old/plan.json", plan),
        run_directory,
        in_run,
        file("configs/fleetlogs.toml", good("")),
        file("plan.json", plan),
        ready,
        file("run.db", b"SQLite format 3\0\x10\0"),
        file("bundle.zip", b"PK\x03\x04"),
        file("fleetlogs", b"\x7fELF\x02\x01\x01\0\0\0\0"),
        file("config.json", r#"{"accounts": [1, 2, 3]}"#),
        file("config.yaml", "accounts:\n  - name: contoso\n"),
        file("page.html", "<!doctype html><title>Sign in</title>"),
        file("secret.account", &key),
        file("secret.connection", connection),
        file("secret.sas", URL),
        file("scenario.toml", "[[account]]\nname = \"a\"\n[[account.pool]]\nid = \"a\"\nnodes = 3\n"),
        file("hostname", "contoso-host\n"),
        file("empty.toml", ""),
        file("powershell.toml", utf16),
        file("latin.toml", b"# Gr\xFC\xDFe\n"),
        file("nonsense.toml", "a\nb\nc\nd\ne\n"),
        file("half.toml", "[window\nlast = \"2h\"\n"),
        arguments("run nowhere.toml"),
        arguments("sim fleetlogs.toml"),
        arguments("run fleetlogs.toml --plan fleetlogs.toml"),
        with("old/manifest.json", manifest, "run fleetlogs.toml --plan old/manifest.json"),
        with("old/plan.json", plan, "run fleetlogs.toml --plan old"),
    ];
    insta::assert_snapshot!(told(&table), @r#"
    $ fleetlogs run old   # old/plan.json
    exit code: 2
    error: `old` is a directory, not a config
      help: name a config file; `fleetlogs init` writes one

    $ fleetlogs run 20261130T002818Z-5e62   # 20261130T002818Z-5e62/plan.json
    exit code: 2
    error: `RUN` is a run directory, not a config
      help: resume the run with `fleetlogs resume RUN`, or show it with `fleetlogs status RUN`

    $ fleetlogs check 20261130T002818Z-5e62/manifest.json
    exit code: 2
    error: `RUN/manifest.json` is the manifest of a run, not a config
      help: resume the run with `fleetlogs resume RUN`, or show it with `fleetlogs status RUN`

    $ fleetlogs run configs   # configs/fleetlogs.toml
    exit code: 2
    error: `configs` is a directory, not a config
      help: name the config in it: configs/fleetlogs.toml

    $ fleetlogs run plan.json   # plan.json
    exit code: 2
    error: `plan.json` is the plan of a run, not a config
      help: run it with a config: `fleetlogs run CONFIG --plan plan.json`

    $ fleetlogs run ready.json   # ready.json
    exit code: 2
    error: `ready.json` is the ready document of a simulator, not a config
      help: name the config that the simulator wrote: ready.json.fleetlogs.toml

    $ fleetlogs run run.db   # run.db
    exit code: 2
    error: `run.db` is a database, not a config
      help: resume the run with `fleetlogs resume .`, or show it with `fleetlogs status .`

    $ fleetlogs run bundle.zip   # bundle.zip
    exit code: 2
    error: `bundle.zip` is a zip or gzip file, not a config
      help: a config is a TOML file; `fleetlogs init` writes one

    $ fleetlogs run fleetlogs   # fleetlogs
    exit code: 2
    error: `fleetlogs` is not a text file, not a config
      help: a config is a TOML file; `fleetlogs init` writes one

    $ fleetlogs run config.json   # config.json
    exit code: 2
    error: `config.json` is JSON, not a config
      help: a config is a TOML file; `fleetlogs init` writes one

    $ fleetlogs run config.yaml   # config.yaml
    exit code: 2
    error: `config.yaml` is YAML, not a config
      help: a config is a TOML file; `fleetlogs init` writes one

    $ fleetlogs run page.html   # page.html
    exit code: 2
    error: `page.html` is XML or HTML, not a config
      help: a config is a TOML file; `fleetlogs init` writes one

    $ fleetlogs run secret.account   # secret.account
    exit code: 2
    error: `secret.account` is an account key, not a config
      help: leave it in its file, and name that file in a config: { file = "secret.account" }; `fleetlogs init` writes one

    $ fleetlogs run secret.connection   # secret.connection
    exit code: 2
    error: `secret.connection` is a connection string, not a config
      help: leave it in its file, and name that file in a config: { file = "secret.connection" }; `fleetlogs init` writes one

    $ fleetlogs run secret.sas   # secret.sas
    exit code: 2
    error: `secret.sas` is a URL with a SAS, not a config
      help: leave it in its file, and name that file in a config: { file = "secret.sas" }; `fleetlogs init` writes one

    $ fleetlogs run scenario.toml   # scenario.toml
    exit code: 2
    error: `scenario.toml` is a scenario of the simulator, not a config
      help: serve it with `fleetlogs sim scenario.toml --ready ready.json`, which writes a config

    $ fleetlogs run hostname   # hostname
    exit code: 2
    error: hostname:1: not TOML: key with no value, expected `=`
      help: a config is TOML; other mistakes are listed once the whole file is

    $ fleetlogs run empty.toml   # empty.toml
    exit code: 2
    error: empty.toml:1: `destination.container_url`: this key is missing
      help: add `container_url = { env = "FLEETLOGS_CONTAINER_URL" }`
    error: empty.toml:1: there is no Batch account
      help: add an [[account]] with `name`, `endpoint` and `auth`

    $ fleetlogs run powershell.toml   # powershell.toml
    exit code: 2
    error: powershell.toml:1: `destination.container_url`: this key is missing
      help: add `container_url = { env = "FLEETLOGS_CONTAINER_URL" }`
    error: powershell.toml:1: there is no Batch account
      help: add an [[account]] with `name`, `endpoint` and `auth`
    error: powershell.toml:1: `limts`: unknown key
      help: did you mean `limits`?

    $ fleetlogs run latin.toml   # latin.toml
    exit code: 2
    error: cannot read `latin.toml`: it is not text in UTF-8 or UTF-16 (line 1)
      help: save the file as UTF-8

    $ fleetlogs run nonsense.toml   # nonsense.toml
    exit code: 2
    error: nonsense.toml:1: not TOML: key with no value, expected `=`
    error: nonsense.toml:2: not TOML: key with no value, expected `=`
    error: nonsense.toml:3: not TOML: key with no value, expected `=`
      help: 2 more places are not TOML, either: correct these first

    $ fleetlogs run half.toml   # half.toml
    exit code: 2
    error: half.toml:1: not TOML: unclosed table, expected `]`
      help: a config is TOML; other mistakes are listed once the whole file is

    $ fleetlogs run nowhere.toml
    exit code: 2
    error: cannot read `nowhere.toml`: No such file or directory (os error 2)
      help: `fleetlogs init` writes a config

    $ fleetlogs sim fleetlogs.toml
    exit code: 2
    error: `fleetlogs.toml` is a config, not a scenario
      help: a scenario has [[account]] with [[account.pool]]; docs/reference/scenario.md lists every key

    $ fleetlogs run fleetlogs.toml --plan fleetlogs.toml
    exit code: 2
    error: `fleetlogs.toml` is a config, not a plan
      help: make a plan with `fleetlogs plan CONFIG --output FILE`

    $ fleetlogs run fleetlogs.toml --plan old/manifest.json
    exit code: 2
    error: `old/manifest.json` is the manifest of a run, not a plan
      help: make a plan with `fleetlogs plan CONFIG --output FILE`

    $ fleetlogs run fleetlogs.toml --plan old
    exit code: 2
    error: `old` is a directory, not a plan
      help: name the plan in it: old/plan.json
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn secrets_in_the_wrong_place_are_called_by_their_name() {
    let key = BASE64_STANDARD.encode([7; 64]);
    let connection = format!("DefaultEndpointsProtocol=https;AccountName=logs;AccountKey={key}");
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJlc2lnbmF0dXJl";
    let (place, query) = URL.split_once('?').unwrap();
    let url = "[destination]\ncontainer_url = { file = \"secret.wrong\" }";
    let batch = "auth = { shared_key = { file = \"secret.wrong\" } }";
    let storage = "[destination]\nmint = \"account-key\"\naccount = \"contosologs\"\ncontainer = \"logs\"\naccount_key = { file = \"secret.wrong\" }";
    let webhook = "[[notify]]\nwebhook = { file = \"secret.wrong\" }";
    let entra = "[entra]\nclient_secret = { file = \"secret.wrong\" }";
    let mut argument = arguments("run");
    argument.arguments.push(URL.into());
    argument.shown.push_str(" https://...?sig=...");
    let table = [
        config(&format!("[destination]\ncontainer_url = \"{URL}\"")),
        config(&format!("[destination]\ncontainer_url = {{ env = \"{URL}\" }}")),
        argument,
        config(
            "[destination]\ncontainer_url = { env = \"NOT_SET_A\" }\nverify_url = { env = \"NOT_SET_B\" }",
        ),
        secret(url, "the account key", &key),
        secret(url, "a connection string", &connection),
        secret(url, "the query alone", query),
        secret(url, "a token", token),
        secret(url, "the URL without SAS", place),
        secret(url, "cut off by the shell", URL.split('&').next().unwrap()),
        secret(url, "the URL of the account", &URL.replace("/batch?", "/?")),
        secret(url, "white space", " \r\n"),
        secret(url, "JSON", &format!("{{\"url\": \"{URL}\"}}")),
        secret(batch, "a SAS", URL),
        secret(batch, "a connection string", &connection),
        secret(batch, "the endpoint", "https://contoso.westeurope.batch.azure.com"),
        secret(batch, "a token", token),
        secret(batch, "a cut key", &key[..59]),
        secret(storage, "a SAS", URL),
        secret(storage, "a connection string", &connection),
        secret(webhook, "a connection string", &connection),
        secret(entra, "the id of the secret", "8d2f3c1e-0000-4000-8000-1234567890ab"),
        config(&format!("auth = {{ shared_key = \"{key}\" }}")),
        secret(
            &format!("endpoint = \"{place}\"\n{batch}"),
            "swapped",
            "https://contoso.westeurope.batch.azure.com",
        ),
    ];
    let told = told(&table).replace(URL, "URL").replace(&key, "KEY");
    assert!(!told.contains("fakefake") && !told.contains(&key[..20]), "{told}");
    insta::assert_snapshot!(told, @r#"
    > [destination]
    > container_url = "URL"
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: a secret must not be written in the config itself
      help: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }

    > [destination]
    > container_url = { env = "URL" }
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url.env`: this is not the name of an environment variable
      help: `env` is the name of a variable that holds the secret, such as "FLEETLOGS_CONTAINER_URL"

    $ fleetlogs run https://...?sig=...
    exit code: 2
    error: an argument holds a SAS, which every user of this machine can see in the list of processes, and which the shell keeps in its history
      help: create a new SAS, because this one has been exposed; put it into a file or an environment variable, and name that in the config: container_url = { file = "path" }

    > [destination]
    > container_url = { env = "NOT_SET_A" }
    > verify_url = { env = "NOT_SET_B" }
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url.env`: the environment variable `NOT_SET_A` is not set
      help: set `NOT_SET_A` and run again
    error: fleetlogs.toml:3: `destination.verify_url.env`: the environment variable `NOT_SET_B` is not set
      help: set `NOT_SET_B` and run again

    > [destination]
    > container_url = { file = "secret.wrong" }   # the account key
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: this is an account key, not a container URL with a SAS
      help: create a SAS for the container; or, if it is the storage account's key, let fleetlogs create the SAS with it: mint = "account-key", `account`, `container` and `account_key`

    > [destination]
    > container_url = { file = "secret.wrong" }   # a connection string
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: this is a connection string, not a container URL with a SAS
      help: create a SAS for the container; or let fleetlogs create it with the part after `AccountKey=`: mint = "account-key", `account`, `container` and `account_key`

    > [destination]
    > container_url = { file = "secret.wrong" }   # the query alone
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: this is a SAS without its URL, not a container URL with a SAS
      help: put the URL of the container in front of it: https://ACCOUNT.blob.core.windows.net/CONTAINER?sv=...&sig=...

    > [destination]
    > container_url = { file = "secret.wrong" }   # a token
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: this is a token, not a container URL with a SAS
      help: fleetlogs gets tokens by itself: set mint = "user-delegation", `account` and `container`

    > [destination]
    > container_url = { file = "secret.wrong" }   # the URL without SAS
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: this is not a container URL with a SAS: it has no SAS: nothing follows the name of the container
      help: create a SAS for the container, and copy its whole URL: ...?sp=w&se=...&sig=...; or let fleetlogs create one (`mint`)

    > [destination]
    > container_url = { file = "secret.wrong" }   # cut off by the shell
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: this is not a container URL with a SAS: it was cut off at its first `&`
      help: quote the URL in the shell, 'https://...', because `&` ends a command there; better, put it into a file: { file = "path" }

    > [destination]
    > container_url = { file = "secret.wrong" }   # the URL of the account
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: this is not a container URL with a SAS: its path must name a container and nothing else
      help: a container URL looks like https://ACCOUNT.blob.core.windows.net/CONTAINER?sp=w&se=...&sig=...

    > [destination]
    > container_url = { file = "secret.wrong" }   # white space
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url`: the secret is empty
      help: check the file, the output of the command, or the variable: it has only white space

    > [destination]
    > container_url = { file = "secret.wrong" }   # JSON
    exit code: 2
    error: fleetlogs.toml:2: `destination.container_url.file`: `./secret.wrong`: it holds JSON, not the secret alone (for `az`, add `--output tsv`)
      help: the path is relative to the config; the file must be readable by this user and hold the secret alone

    > auth = { shared_key = { file = "secret.wrong" } }   # a SAS
    exit code: 2
    error: fleetlogs.toml:6: `account[0].auth.shared_key`: this is a URL with a SAS, not the key of a Batch account
      help: a SAS opens storage only: copy the Batch account's key as the portal shows it, or write auth = "entra"

    > auth = { shared_key = { file = "secret.wrong" } }   # a connection string
    exit code: 2
    error: fleetlogs.toml:6: `account[0].auth.shared_key`: this is a connection string, not the key of a Batch account
      help: it is of a storage account; copy the Batch account's key as the portal shows it, or write auth = "entra"

    > auth = { shared_key = { file = "secret.wrong" } }   # the endpoint
    exit code: 2
    error: fleetlogs.toml:6: `account[0].auth.shared_key`: this is a URL, not the key of a Batch account
      help: copy the Batch account's key as the portal shows it; its URL belongs into `endpoint`

    > auth = { shared_key = { file = "secret.wrong" } }   # a token
    exit code: 2
    error: fleetlogs.toml:6: `account[0].auth.shared_key`: this is a token, not the key of a Batch account
      help: fleetlogs gets tokens by itself: write auth = "entra"

    > auth = { shared_key = { file = "secret.wrong" } }   # a cut key
    exit code: 2
    error: fleetlogs.toml:6: `account[0].auth.shared_key`: the account key is not Base64
      help: copy the account's key as the portal shows it

    > [destination]
    > mint = "account-key"
    > account = "contosologs"
    > container = "logs"
    > account_key = { file = "secret.wrong" }   # a SAS
    exit code: 2
    error: fleetlogs.toml:5: `destination.account_key`: this is a URL with a SAS, not the key of a storage account
      help: with a SAS, remove `mint` and name the URL: container_url = { file = "path" }

    > [destination]
    > mint = "account-key"
    > account = "contosologs"
    > container = "logs"
    > account_key = { file = "secret.wrong" }   # a connection string
    exit code: 2
    error: fleetlogs.toml:5: `destination.account_key`: this is a connection string, not the key of a storage account
      help: keep only the part after `AccountKey=`

    > [[notify]]
    > webhook = { file = "secret.wrong" }   # a connection string
    exit code: 2
    error: fleetlogs.toml:2: `notify[0].webhook`: this is a connection string, not the URL of a webhook
      help: copy the URL that the receiver shows; it starts with https://

    > [entra]
    > client_secret = { file = "secret.wrong" }   # the id of the secret
    exit code: 2
    error: fleetlogs.toml:2: `entra.client_secret`: this is the id of a client secret, not its value
      help: create a new client secret and copy its value: the portal shows it only then

    > auth = { shared_key = "KEY" }
    exit code: 2
    error: fleetlogs.toml:6: `account[0].auth.shared_key`: a secret must not be written in the config itself
      help: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }

    > endpoint = "https://logs.blob.core.windows.net/batch"
    > auth = { shared_key = { file = "secret.wrong" } }   # swapped
    exit code: 2
    error: fleetlogs.toml:5: `account[0].endpoint`: must be a host without a path, query or user
      help: write it as https://ACCOUNT.REGION.batch.azure.com, without a path
    error: fleetlogs.toml:6: `account[0].auth.shared_key`: this is a URL, not the key of a Batch account
      help: copy the Batch account's key as the portal shows it; its URL belongs into `endpoint`
    "#);
}

#[test]
fn secrets_in_the_place_of_a_queue_are_called_by_their_name() {
    let key = BASE64_STANDARD.encode([7; 64]);
    let connection = format!("DefaultEndpointsProtocol=https;AccountName=logs;AccountKey={key}");
    let queue = "https://logs.queue.core.windows.net/work?sv=2022-11-02&ss=q&srt=co&sp=racup&se=2036-01-01&sig=fakefake";
    let (place, query) = queue.split_once('?').unwrap();
    let journal = "[journal]\naccount = \"logs\"\ncontainer = \"state\"\n";
    let row = |what: &str, content: &str| {
        let mut input = secret(
            &format!("{journal}[scale_out]\nqueue_url = {{ file = \"secret.wrong\" }}"),
            what,
            content,
        );
        input.arguments = words("worker fleetlogs.toml");
        input.shown = format!("$ fleetlogs worker   # queue_url: {what}");
        input
    };
    let table = [
        row("the account key", &key),
        row("a connection string", &connection),
        row("the query alone", query),
        row("the URL without SAS", place),
        row("cut off by the shell", queue.split('&').next().unwrap()),
        row("the URL of a container", URL),
        row("the SAS of one queue", &queue.replace("ss=q&srt=co", "sr=q")),
        row("a SAS that cannot change messages", &queue.replace("racup", "racp")),
        row("a SAS for blobs", &queue.replace("ss=q", "ss=b")),
        row("a queue of another name", &queue.replace("/work", "/Work")),
    ];
    let told = told(&table);
    assert!(!told.contains("fakefake") && !told.contains(&key[..20]), "{told}");
    insta::assert_snapshot!(told, @r"
    $ fleetlogs worker   # queue_url: the account key
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: this is an account key, not a queue's URL with a SAS
      help: with the storage account's key, set `account`, `queue` and `account_key`

    $ fleetlogs worker   # queue_url: a connection string
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: this is a connection string, not a queue's URL with a SAS
      help: set `account` and `queue`, and `account_key` to the part after `AccountKey=`

    $ fleetlogs worker   # queue_url: the query alone
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: this is a SAS without its URL, not a queue's URL with a SAS
      help: put the URL of the queue in front of it: https://ACCOUNT.queue.core.windows.net/QUEUE?sv=...&sig=...

    $ fleetlogs worker   # queue_url: the URL without SAS
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: it has no SAS, or the SAS was cut off: there is no `sig`
      help: create an account SAS for queues: ss=q, srt=co, sp=racup; copy the whole URL, and quote it in a shell: `&` ends a command there

    $ fleetlogs worker   # queue_url: cut off by the shell
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: it has no SAS, or the SAS was cut off: there is no `sig`
      help: create an account SAS for queues: ss=q, srt=co, sp=racup; copy the whole URL, and quote it in a shell: `&` ends a command there

    $ fleetlogs worker   # queue_url: the URL of a container
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: this is the URL of another service, not that of a queue
      help: write it as https://ACCOUNT.queue.core.windows.net/QUEUE?...&sig=...

    $ fleetlogs worker   # queue_url: the SAS of one queue
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: its SAS opens one queue, and so not the poison queue beside it
      help: create an account SAS for queues: ss=q, srt=co, sp=racup

    $ fleetlogs worker   # queue_url: a SAS that cannot change messages
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: its account SAS lacks `u` in `sp`
      help: create an account SAS for queues: ss=q, srt=co, sp=racup

    $ fleetlogs worker   # queue_url: a SAS for blobs
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: its account SAS lacks `q` in `ss`
      help: create an account SAS for queues: ss=q, srt=co, sp=racup

    $ fleetlogs worker   # queue_url: a queue of another name
    exit code: 2
    error: fleetlogs.toml:5: `scale_out.queue_url`: `Work` is not the name of a queue, or too long for `Work-poison`
      help: use 3 to 56 lower-case letters, digits and single hyphens
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn values_that_cannot_be_meant_are_refused_with_what_may_be() {
    let window = |line: &str| config(&format!("[window]\n{line}"));
    let table = [
        window("last = \"2h30\""),
        window("last = \"PT2H\""),
        window("last = \"2:00\""),
        window("last = 7200"),
        window("last = \"-2h\""),
        window("last = \"400d\""),
        window("last = \"0s\""),
        window("start = 2025-11-22T09:00:00"),
        window("start = 2025-11-22"),
        window("start = \"2025-11-22T09:00:00 Europe/Berlin\""),
        window("start = 2025-11-22T09:00:00Z\nend = 2025-11-22T08:00:00Z"),
        window("last = \"2h\"\nstart = 2025-11-22T09:00:00Z"),
        window("since = \"reboot\""),
        config("name = \"contoso.westeurope\""),
        config("name = \"https://contoso.westeurope.batch.azure.com\""),
        config("name = \"contoso logs\""),
        config("endpoint = \"contoso.westeurope.batch.azure.com\""),
        config("endpoint = \"http://contoso.westeurope.batch.azure.com\""),
        config("endpoint = \"https://contoso.westeurope.batch.azure.com/pools?api-version=1\""),
        config("endpoint = \"contoso\""),
        config("auth = \"key\""),
        config("pools = [\"render-[\"]"),
        config("nodes = { states = [\"unuseable\"] }"),
        config("[limts]\nrate = 3\n[window]\nlats = \"2h\""),
        config(
            "strict = \"yes\"\nlimits = { concurrency = \"many\", rate = true }\nwindow = \"2h\"\noutput = { dir = 7 }\nverify = { enabled = 1 }",
        ),
        config("output = { dir = \"\" }"),
        config("[scale_out]\naccount = \"contosologs\"\nqueue = \"work\""),
        config(
            "[journal]\naccount = \"contosologs\"\ncontainer = \"state\"\n[scale_out]\naccount = \"contosologs\"\n\
             queue = \"Fleetlogs_Work\"\nlease = \"30s\"\nheartbeat = \"20s\"",
        ),
    ];
    insta::assert_snapshot!(told(&table), @r#"
    > [window]
    > last = "2h30"
    exit code: 2
    error: fleetlogs.toml:2: `window.last`: `2h30` is not a duration: time unit needed, for example 30sec or 30ms
      help: write a number with its unit, such as "90s", "10m" or "2h"

    > [window]
    > last = "PT2H"
    exit code: 2
    error: fleetlogs.toml:2: `window.last`: `PT2H` is not a duration: expected number at 0
      help: write a number with its unit, such as "90s", "10m" or "2h"

    > [window]
    > last = "2:00"
    exit code: 2
    error: fleetlogs.toml:2: `window.last`: `2:00` is not a duration: invalid character at 1
      help: write a number with its unit, such as "90s", "10m" or "2h"

    > [window]
    > last = 7200
    exit code: 2
    error: fleetlogs.toml:2: `window.last`: expected a duration in quotes, found a number
      help: write a number with its unit, such as "90s", "10m" or "2h"

    > [window]
    > last = "-2h"
    exit code: 2
    error: fleetlogs.toml:2: `window.last`: `-2h` is not a duration: expected number at 0
      help: write a number with its unit, such as "90s", "10m" or "2h"

    > [window]
    > last = "400d"
    exit code: 2
    error: fleetlogs.toml:2: `window.last`: must be a year at most
      help: write fewer days, such as "7d"

    > [window]
    > last = "0s"
    exit code: 2
    error: fleetlogs.toml:2: `window.last`: must be above 0
      help: write a number with its unit, such as "90s", "10m" or "2h"

    > [window]
    > start = 2025-11-22T09:00:00
    exit code: 2
    error: fleetlogs.toml:2: `window.start`: `2025-11-22T09:00:00` is not a time with an offset
      help: write a time with its offset from UTC, such as 2026-11-22T09:00:00Z

    > [window]
    > start = 2025-11-22
    exit code: 2
    error: fleetlogs.toml:2: `window.start`: `2025-11-22` is not a time with an offset
      help: write a time with its offset from UTC, such as 2026-11-22T09:00:00Z

    > [window]
    > start = "2025-11-22T09:00:00 Europe/Berlin"
    exit code: 2
    error: fleetlogs.toml:2: `window.start`: `2025-11-22T09:00:00 Europe/Berlin` is not a time with an offset
      help: write a time with its offset from UTC, such as 2026-11-22T09:00:00Z

    > [window]
    > start = 2025-11-22T09:00:00Z
    > end = 2025-11-22T08:00:00Z
    exit code: 2
    error: fleetlogs.toml:1: `window`: `end` is not after `start`
      help: swap them

    > [window]
    > last = "2h"
    > start = 2025-11-22T09:00:00Z
    exit code: 2
    error: fleetlogs.toml:1: `window`: the window has more than one form
      help: keep `last`, or `start`/`end`, or `around` with `before`/`after`

    > [window]
    > since = "reboot"
    exit code: 2
    error: fleetlogs.toml:2: `window.since`: a window cannot begin at `reboot`
      help: use `boot`, `allocation`, `state` or `task`

    > name = "contoso.westeurope"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].name`: `contoso.westeurope` is not the name of a Batch account
      help: write "contoso", without `.westeurope`: the region belongs into `endpoint` only

    > name = "https://contoso.westeurope.batch.azure.com"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].name`: `https://contoso.westeurope.batch.azure.com` is not the name of a Batch account
      help: write "contoso", without `.westeurope.batch.azure.com`: the region belongs into `endpoint` only

    > name = "contoso logs"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].name`: `contoso logs` is not the name of a Batch account
      help: it has letters and digits only

    > endpoint = "contoso.westeurope.batch.azure.com"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].endpoint`: `contoso.westeurope.batch.azure.com` is not a URL
      help: write endpoint = "https://contoso.westeurope.batch.azure.com"

    > endpoint = "http://contoso.westeurope.batch.azure.com"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].endpoint`: must start with https:// (http:// is for loopback addresses only)
      help: write endpoint = "https://contoso.westeurope.batch.azure.com"

    > endpoint = "https://contoso.westeurope.batch.azure.com/pools?api-version=1"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].endpoint`: must be a host without a path, query or user
      help: write endpoint = "https://contoso.westeurope.batch.azure.com"

    > endpoint = "contoso"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].endpoint`: `contoso` is not a URL
      help: write it as https://ACCOUNT.REGION.batch.azure.com, without a path

    > auth = "key"
    exit code: 2
    error: fleetlogs.toml:6: `account[0].auth`: `key` is not a way to authenticate
      help: write "entra" or { shared_key = { env = "NAME" } }

    > pools = ["render-["]
    exit code: 2
    error: fleetlogs.toml:7: `account[0].pools`: not a pattern: error parsing glob 'render-[': unclosed character class; missing ']'
      help: use `*`, `?`, `[ab]` and `{a,b}`; write a bracket or brace itself as `[[]` or `[{]`

    > nodes = { states = ["unuseable"] }
    exit code: 2
    error: fleetlogs.toml:7: `account[0].nodes.states[0]`: `unuseable` is not a node state
      help: did you mean `unusable`?

    > [limts]
    > rate = 3
    > [window]
    > lats = "2h"
    exit code: 2
    error: fleetlogs.toml:1: `limts`: unknown key
      help: did you mean `limits`?
    error: fleetlogs.toml:4: `window.lats`: unknown key
      help: did you mean `last`?

    > strict = "yes"
    > limits = { concurrency = "many", rate = true }
    > window = "2h"
    > output = { dir = 7 }
    > verify = { enabled = 1 }
    exit code: 2
    error: fleetlogs.toml:1: `strict`: expected true or false, found a string
      help: write true or false, without quotes
    error: fleetlogs.toml:2: `limits.rate`: expected a number, found a boolean
      help: write digits without quotes and without a unit
    error: fleetlogs.toml:2: `limits.concurrency`: expected a whole number, found a string
      help: write digits without quotes and without a unit
    error: fleetlogs.toml:3: `window`: expected a table, found a string
      help: write it as a table: a line [window], and its keys below
    error: fleetlogs.toml:4: `output.dir`: expected a string, found a number
      help: write it in quotes
    error: fleetlogs.toml:5: `verify.enabled`: expected true or false, found a number
      help: write true or false, without quotes

    > output = { dir = "" }
    exit code: 2
    error: fleetlogs.toml:1: `output.dir`: the directory name is empty
      help: write "." for the current one

    > [scale_out]
    > account = "contosologs"
    > queue = "work"
    exit code: 2
    error: fleetlogs.toml:1: `scale_out`: workers share the record of a run, but it is on the disk of this machine
      help: name a container in [journal]

    > [journal]
    > account = "contosologs"
    > container = "state"
    > [scale_out]
    > account = "contosologs"
    > queue = "Fleetlogs_Work"
    > lease = "30s"
    > heartbeat = "20s"
    exit code: 2
    error: fleetlogs.toml:6: `scale_out.queue`: `Fleetlogs_Work` is not the name of a queue, or too long for `Fleetlogs_Work-poison`
      help: use 3 to 56 lower-case letters, digits and single hyphens
    error: fleetlogs.toml:7: `scale_out.lease`: no call could be sent: a worker must hold its partition for 40 s, which is `deadlines.call` and a margin
      help: write a longer `lease`, at most "60s", or a shorter `deadlines.call`
    error: fleetlogs.toml:8: `scale_out.heartbeat`: must be 1 s to a third of `lease`, here 10 s: a heartbeat that is lost must not cost the partition
      help: write "7s"
    "#);
}

#[test]
fn arguments_that_cannot_be_meant_are_refused_with_what_may_be() {
    let table = [
        arguments("plan fleetlogs.toml --account fabrikam"),
        arguments("plan fleetlogs.toml --state unuseable"),
        arguments("plan fleetlogs.toml --pool render-["),
        arguments("plan fleetlogs.toml --last 2h30"),
        arguments("plan fleetlogs.toml --start 8:00"),
        arguments("plan fleetlogs.toml --start 2025-11-22T09:00:00Z --end 2025-11-22T08:00:00Z"),
        arguments("status nosuch"),
        arguments("resume latest"),
        arguments("resume fleetlogs.toml"),
        arguments("report fleetlogs.toml"),
        arguments("resume latest --retry faled"),
        arguments("share latest --for 7"),
    ];
    insta::assert_snapshot!(told(&table), @r#"
    $ fleetlogs plan fleetlogs.toml --account fabrikam
    exit code: 2
    error: no account of the config matches; it has: contoso
      help: name one of these, or a pattern in quotes such as 'contoso*'; case matters

    $ fleetlogs plan fleetlogs.toml --state unuseable
    exit code: 2
    error: `unuseable` is not a value of `--state <STATE>`: did you mean `unusable`? known states: idle, running, offline, starttaskfailed, waitingforstarttask, unusable, creating, starting, rebooting, reimaging, upgradingos, unknown, leavingpool, preempted, deallocating, deallocated
      help: `fleetlogs plan --help` shows its arguments and options

    $ fleetlogs plan fleetlogs.toml --pool render-[
    exit code: 2
    error: `render-[` is not a value of `--pool <PATTERN>`: error parsing glob 'render-[': unclosed character class; missing ']'
      help: `fleetlogs plan --help` shows its arguments and options

    $ fleetlogs plan fleetlogs.toml --last 2h30
    exit code: 2
    error: `--last`: `2h30` is not a duration: time unit needed, for example 30sec or 30ms
      help: write a number with its unit, such as "90s", "10m" or "2h"

    $ fleetlogs plan fleetlogs.toml --start 8:00
    exit code: 2
    error: `--start`: `8:00` is not a time with an offset
      help: write a time with its offset from UTC, such as 2026-11-22T09:00:00Z

    $ fleetlogs plan fleetlogs.toml --start 2025-11-22T09:00:00Z --end 2025-11-22T08:00:00Z
    exit code: 2
    error: `--end` is not after `--start`
      help: swap them

    $ fleetlogs status nosuch
    exit code: 2
    error: there is no run `nosuch`
      looked in `runs` (the default): it does not exist
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them

    $ fleetlogs resume latest
    exit code: 2
    error: there is no run yet
      looked in `runs` (the default): it does not exist
      help: start one with `fleetlogs run`, or name the directory of all runs with `--runs-dir`

    $ fleetlogs resume fleetlogs.toml
    exit code: 2
    error: `fleetlogs.toml` is a config, not a run
      help: name a run, such as `latest`; `fleetlogs runs` lists them

    $ fleetlogs report fleetlogs.toml
    exit code: 2
    error: `fleetlogs.toml` is a config, not a run
      help: name a run, such as `latest`; `fleetlogs runs` lists them

    $ fleetlogs resume latest --retry faled
    exit code: 2
    error: `faled` is not a value of `--retry <OUTCOMES>`
      help: did you mean `failed`? known: failed, incomplete, adopted, gone, empty

    $ fleetlogs share latest --for 7
    exit code: 2
    error: `7` is not a value of `--for <TIME>`: time unit needed, for example 7sec or 7ms
      help: `fleetlogs share --help` shows its arguments and options
    "#);
}

/// The year and the hour are those of now, so the message is not quoted as a whole.
#[test]
fn a_window_of_the_future_is_refused_before_anything_is_sent() {
    let now = time::OffsetDateTime::now_utc();
    let next_year = now.replace_day(1).unwrap().replace_month(time::Month::January).unwrap();
    let next_year = next_year.replace_year(now.year() + 1).unwrap().date();
    let soon = (now + time::Duration::hours(2)).replace_nanosecond(0).unwrap();
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let year = format!("did you mean {}? `{}-01-01T00:00:00Z` has passed", now.year(), now.year());
    for (input, says) in [
        (config(&format!("[window]\nstart = {next_year}T00:00:00Z")), year.as_str()),
        (config(&format!("[window]\naround = {soon}")), "check the offset from UTC: `Z` is UTC itself"),
        (arguments(&format!("run fleetlogs.toml --start {next_year}T00:00:00Z")), year.as_str()),
        (arguments(&format!("plan fleetlogs.toml --around {next_year}T00:00:00Z")), year.as_str()),
    ] {
        let told = run(&input);
        assert!(told.contains("exit code: 2") && told.contains(says), "{told}");
        assert!(told.contains("is in the future: it is TIME now, by this machine's clock"), "{told}");
    }
}
