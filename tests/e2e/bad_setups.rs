//! A table of set-ups that cannot work: each is refused before any upload, and the message says what to do.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use time::OffsetDateTime;

use crate::stage::{Run, Sim, fleetlogs, signature};

const FLEET: &str = r#"
[[account]]
name = "contoso"
auth = ["shared-key", "entra"]
[[account.pool]]
id = "a"
nodes = 3
"#;

const KEY: &str = r#"{ shared_key = { file = "ready.json.contoso.key" } }"#;

/// One way to get it wrong.
struct Bad {
    destination: String,
    /// The value of `auth`, and further lines of the account.
    account: String,
    /// Tables before.
    more: String,
    code: i32,
    says: &'static [&'static str],
}

/// A config with this destination.
fn destination(text: impl Into<String>, code: i32, says: &'static [&'static str]) -> Bad {
    Bad { destination: text.into(), account: format!("auth = {KEY}"), more: String::new(), code, says }
}

/// A config with this account, and a good destination.
fn account(text: &str, code: i32, says: &'static [&'static str]) -> Bad {
    Bad { account: text.into(), ..destination(GOOD, code, says) }
}

/// A config with these tables, called by Entra.
fn entra(text: &str, code: i32, says: &'static [&'static str]) -> Bad {
    Bad { more: text.into(), ..account(r#"auth = "entra""#, code, says) }
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

fn assert_all_refused(sim: &Sim, table: Vec<Bad>) -> usize {
    let count = table.len();
    for bad in table {
        let run = run(sim, &bad);
        let case = format!("{}\n{}\n{}", bad.more, bad.destination, bad.account);
        assert_eq!(run.code, bad.code, "{case}\n{}", run.stderr);
        for text in bad.says {
            assert!(run.stderr.contains(text), "{case}\n`{text}` is not in\n{}", run.stderr);
        }
        assert!(run.dir.is_none(), "{case}\nmade a run directory");
    }
    assert_eq!(sim.upload_calls(), 0, "an upload was sent");
    count
}

/// A container URL of the simulator with a SAS of these parameters, signed as it should be, put into a file.
fn sas(sim: &Sim, name: &str, parameters: &[(&str, &str)]) -> String {
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
        destination("", 2, &["`destination.container_url`: this key is missing", "add `container_url"]),
        destination(
            by("\"https://logs.blob.core.windows.net/c?sig=x\""),
            2,
            &["must not be written in the config", "env = "],
        ),
        destination(
            by(r#"{ env = "NOT_SET_HERE" }"#),
            2,
            &["`NOT_SET_HERE` is not set", "set `NOT_SET_HERE`"],
        ),
        destination(
            by(r#"{ env = "https://a.blob.core.windows.net/c?sig=fakefakefake" }"#),
            2,
            &["not the name of an environment variable"],
        ),
        destination(
            minted(
                r#"
                container = "incident-{run_id}"
                verify_url = { file = "ready.json.verify_url" }
                "#,
            ),
            2,
            &["every run has its own", "remove `verify_url`"],
        ),
        destination(by(r#"{ file = "nowhere" }"#), 2, &["cannot read", "nowhere"]),
        destination(by(r#"{ command = ["/bin/false"] }"#), 2, &["`/bin/false` failed", "run it by hand"]),
        destination(
            by(r#"{ command = ["/nowhere/vault"] }"#),
            2,
            &["cannot run `/nowhere/vault`", "run it by hand"],
        ),
        destination(by("{ command = [] }"), 2, &["the command is empty"]),
        destination(by(r#"{ file = "secret.empty" }"#), 2, &["the secret is empty"]),
        destination(by(r#"{ env = "A", file = "b" }"#), 2, &["exactly one source"]),
        destination(by(r#"{ file = "secret.word" }"#), 2, &["it is not a URL", "a container URL looks like"]),
        destination(
            by(r#"{ file = "secret.unsigned" }"#),
            2,
            &["it has no SAS", "a container URL looks like"],
        ),
        destination(by(r#"{ file = "secret.http" }"#), 2, &["must start with https://"]),
        destination(r#"continer_url = { env = "X" }"#, 2, &["unknown key", "did you mean `container_url`?"]),
        destination(format!(r#"{GOOD} mint = "user-delegation""#), 2, &["cannot be combined", "keep one"]),
        destination(format!(r#"{GOOD} container = "logs""#), 2, &["`container` needs `mint` or `identity`"]),
        destination(
            r#"
            mint = "magic"
            account = "contosologs"
            container = "logs"
            "#,
            2,
            &["`magic`", "use `user-delegation`"],
        ),
        destination(
            r#"
            mint = "user-delegation"
            container = "logs"
            "#,
            2,
            &["`destination.account`: this key is missing"],
        ),
        destination(minted(""), 2, &["`destination.container`: this key is missing", "incident-{run_id}"]),
        destination(
            minted(r#"container = "Logs""#),
            2,
            &["`Logs` is not the name of a container", "lower-case letters"],
        ),
        destination(
            minted(r#"container = "incident-{run}""#),
            2,
            &["is not the name of a container", "`{run_id}` stands for"],
        ),
        destination(
            r#"
            mint = "user-delegation"
            account = "Contoso Logs"
            container = "logs"
            "#,
            2,
            &["is not a storage account", "the URL of its blob endpoint"],
        ),
        destination(
            minted(
                r#"
                container = "logs"
                account_key = { file = "secret.word" }
                "#,
            ),
            2,
            &["needs `mint = \"account-key\"`"],
        ),
        destination(keyed(""), 2, &["`destination.account_key`: this key is missing"]),
        destination(
            keyed(r#"account_key = { file = "secret.word" }"#),
            2,
            &["copy the storage account's key"],
        ),
        destination(
            minted(
                r#"
                container = "logs"
                lifetime = "8days"
                "#,
            ),
            2,
            &["7 days at most"],
        ),
        destination(
            minted(
                r#"
                container = "logs"
                lifetime = "5m"
                "#,
            ),
            2,
            &["one and a half times `upload_allowance`"],
        ),
        destination(
            format!(r#"identity = "logs" {named}"#),
            2,
            &["not the ARM id", "userAssignedIdentities/NAME"],
        ),
        destination(
            format!(
                r#"
                identity = "/subscriptions/0/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/l"
                lifetime = "1h"
                {named}
                "#
            ),
            2,
            &["`lifetime` needs `mint`"],
        ),
        account(r#"auth = "entre""#, 2, &["`entre` is not a way to authenticate", "write \"entra\""]),
        account(
            r#"auth = { shared_key = { file = "secret.word" } }"#,
            2,
            &["copy the account's key as the portal shows it"],
        ),
        account(
            r#"
            auth = "entra"
            cloud = "germany"
            "#,
            2,
            &["`germany` is not a cloud", "use `public`"],
        ),
        account(
            r#"
            auth = "entra"
            audience = "https://batch.core.windows.net"
            "#,
            2,
            &["is not an audience", "a slash at the end"],
        ),
        account(
            r#"
            auth = "entra"
            endpoint = "http://contoso.westeurope.batch.azure.com"
            "#,
            2,
            &["must start with https://"],
        ),
        account(
            r#"
            auth = "entra"
            endpoint = "https://contoso.westeurope.batch.azure.com/pools"
            "#,
            2,
            &["must be a host without a path"],
        ),
        entra(r#"entra = { credential = "password" }"#, 2, &["`password` is not a credential", "use `auto`"]),
        entra(r#"entra = { authority = "http://login.example" }"#, 2, &["is not the URL of an authority"]),
        entra(r#"entra = { tenantid = "x" }"#, 2, &["unknown key", "did you mean `tenant_id`?"]),
    ];
    let count = assert_all_refused(&sim, table);
    assert!(count >= 35, "{count}");
    assert_eq!(sim.ledger()["accounts"][0]["list_calls"], 0, "a request was sent");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn credentials_that_are_not_good_enough() {
    let sim = Sim::start(FLEET);
    std::fs::write(sim.dir.path().join("secret.wrong"), BASE64_STANDARD.encode([7; 64])).unwrap();
    let day = |days: i64| {
        let day = (OffsetDateTime::now_utc() + time::Duration::days(days)).date();
        format!("{day}T00:00:00Z")
    };
    let in_five_minutes = {
        let at = OffsetDateTime::now_utc() + time::Duration::minutes(5);
        format!("{}T{:02}:{:02}:{:02}Z", at.date(), at.hour(), at.minute(), at.second())
    };
    let (past, tomorrow, later) = (day(-1), day(1), day(2));
    let http = ("spr", "https,http");
    let write = |name: &str, parameters: &[(&str, &str)]| {
        let sas = sas(&sim, name, parameters);
        format!(
            r#"
            container_url = {sas}
            verify_url = {{ file = "ready.json.verify_url" }}
            "#
        )
    };
    let verify = |name: &str, parameters: &[(&str, &str)]| {
        let sas = sas(&sim, name, parameters);
        format!(
            r#"
            container_url = {{ file = "ready.json.container_url" }}
            verify_url = {sas}
            "#
        )
    };
    let forged = std::fs::read_to_string(sim.dir.path().join("ready.json.verify_url")).unwrap();
    std::fs::write(sim.dir.path().join("secret.forged"), forged.replace("sp=rl", "sp=rwl")).unwrap();
    let missing = sim.ready["container_url"].as_str().unwrap().replace("/batch-logs?", "/other-logs?");
    std::fs::write(sim.dir.path().join("secret.missing"), missing).unwrap();
    let storage = sim.ready["storage"]["endpoint"].as_str().unwrap();
    let table = vec![
        destination(
            write("expired", &[("sp", "w"), ("se", &past), http]),
            5,
            &["the SAS expired at", "make a new SAS"],
        ),
        destination(
            write("short", &[("sp", "w"), ("se", &in_five_minutes), http]),
            5,
            &["the SAS ends at", "lives longer"],
        ),
        destination(
            write("read", &[("sp", "rl"), ("se", &tomorrow), http]),
            5,
            &["lacks the permission `w`", "permission `w` (write)"],
        ),
        destination(
            write("future", &[("sp", "w"), ("st", &tomorrow), ("se", &later), http]),
            5,
            &["starts only at", "without a start time"],
        ),
        destination(
            write("blob", &[("sp", "w"), ("se", &tomorrow), ("sr", "b"), http]),
            5,
            &["not for a container", "sr=c"],
        ),
        destination(
            verify("nolist", &[("sp", "r"), ("se", &tomorrow), http]),
            5,
            &["verify_url", "lacks the permission `l`"],
        ),
        destination(
            verify("oldverify", &[("sp", "rl"), ("se", &past), http]),
            5,
            &["verify_url", "expired at"],
        ),
        destination(
            verify("https", &[("sp", "rl"), ("se", &tomorrow), ("spr", "https")]),
            5,
            &["cannot be listed", "403"],
        ),
        destination(
            r#"
            container_url = { file = "ready.json.container_url" }
            verify_url = { file = "secret.forged" }
            "#,
            5,
            &["cannot be listed", "check its signature"],
        ),
        destination(
            r#"
            container_url = { file = "secret.missing" }
            verify_url = { file = "secret.missing" }
            "#,
            5,
            &["lacks the permission `l`"],
        ),
        destination(
            format!(
                r#"
                mint = "account-key"
                account = "{storage}"
                container = "batch-logs"
                account_key = {{ file = "secret.wrong" }}
                "#
            ),
            5,
            &["cannot be listed", "403"],
        ),
        destination(
            format!(
                r#"
                mint = "account-key"
                account = "{storage}"
                container = "other-logs"
                account_key = {{ file = "secret.storage" }}
                "#
            ),
            5,
            &["404 ContainerNotFound", "create the container"],
        ),
        destination(
            format!(
                r#"
                mint = "user-delegation"
                account = "{storage}"
                container = "batch-logs"
                "#
            ),
            5,
            &["no SAS can be created", "Storage Blob Delegator"],
        ),
        account(
            r#"auth = { shared_key = { file = "secret.wrong" } }"#,
            5,
            &["account `contoso`", "403", "check the key"],
        ),
        account(
            r#"
            auth = { shared_key = { file = "ready.json.contoso.key" } }
            endpoint = "http://127.0.0.1:1"
            "#,
            5,
            &["cannot be listed", "check `endpoint`, DNS"],
        ),
        account(r#"auth = "entra""#, 5, &["account `contoso`", "no token"]),
        entra(r#"entra = { credential = "client-secret" }"#, 5, &["entra: ", "AZURE_TENANT_ID"]),
        entra(
            r#"entra = { credential = "workload-identity" }"#,
            5,
            &["entra: ", "AZURE_FEDERATED_TOKEN_FILE"],
        ),
    ];
    std::fs::write(sim.dir.path().join("secret.storage"), sim.ready["storage"]["key"].as_str().unwrap())
        .unwrap();
    assert!(assert_all_refused(&sim, table) >= 18);
}

#[test]
fn storage_that_does_not_let_us_make_what_the_run_needs() {
    for (refusal, container, says) in [
        ("refuse_delegation_key", "batch-logs", ["no SAS can be created", "Storage Blob Delegator"]),
        ("refuse_create", "incident-{run_id}", ["cannot be created", "Storage Blob Data Contributor"]),
    ] {
        let sim = Sim::start(&format!("[storage]\n{refusal} = true\n{FLEET}"));
        let destination = format!(
            r#"
            mint = "user-delegation"
            account = {}
            container = "{container}"
            "#,
            sim.ready["storage"]["endpoint"]
        );
        let path = crate::credentials::config(&sim, &destination, "");
        let run = crate::credentials::with_identity(&sim, &["run", path.to_str().unwrap()]);
        assert_eq!(run.code, 5, "{}", run.stderr);
        assert!(says.iter().all(|text| run.stderr.contains(text)), "{}", run.stderr);
        assert_eq!(sim.upload_calls(), 0);
        assert!(run.dir.is_none());
    }
}

#[test]
fn an_identity_that_the_pool_does_not_have() {
    let sim = Sim::start(FLEET);
    let destination = format!(
        r#"
        identity = "/subscriptions/0/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/logs"
        account = {}
        container = "batch-logs"
        "#,
        sim.ready["storage"]["endpoint"]
    );
    let path = crate::credentials::config(&sim, &destination, "");
    let run = crate::credentials::with_identity(&sim, &["run", path.to_str().unwrap()]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(
        run.stderr.contains("pool `a`: no identity is attached") && run.stderr.contains("attach that of"),
        "{}",
        run.stderr
    );
    assert_eq!(sim.upload_calls(), 0);
}

#[test]
fn a_clock_that_is_off() {
    let skewed =
        |by: &str| FLEET.replace("[[account.pool]]", &format!("clock_skew = \"{by}\"\n[[account.pool]]"));
    let sim = Sim::start(&skewed("20m"));
    let run = run(&sim, &destination(GOOD, 5, &[]));
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(
        run.stderr.contains("set this machine's clock: it is") && run.stderr.contains("behind"),
        "{}",
        run.stderr
    );
    assert_eq!(sim.upload_calls(), 0);

    let sim = Sim::start(&skewed("3m"));
    let run = run_checked(&sim);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("warning") && run.stdout.contains("this machine's clock is"),
        "{}",
        run.stdout
    );
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
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("list of processes") && run.stderr.contains("put it into a file"),
        "{}",
        run.stderr
    );
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
    assert_eq!(check.code, 5, "{}{}", check.stdout, check.stderr);
    for said in
        ["expired at", "lacks the permission `w`", "403", "fix: make a new SAS", "a run would be refused"]
    {
        assert!(check.stdout.contains(said), "`{said}` is not in\n{}", check.stdout);
    }
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
