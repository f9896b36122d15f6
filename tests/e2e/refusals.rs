//! Bad input: a clear error that names the place, the right exit code, and no upload sent.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::stage::{Run, Sim, fleetlogs, wait_for};

const SMALL: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 3
"#;

/// The simulator's config with one text replaced by another.
fn replaced(sim: &Sim, old: &str, new: &str) -> PathBuf {
    let text = std::fs::read_to_string(sim.config("")).unwrap();
    assert!(text.contains(old), "{old} is not in\n{text}");
    sim.write_config(&text.replace(old, new))
}

/// A container URL of the simulator with its query changed. The signature no longer fits, which must not matter:
/// these are seen before anything is sent.
fn with_container(sim: &Sim, change: impl Fn(&str) -> String) -> PathBuf {
    let url = change(sim.ready["container_url"].as_str().unwrap());
    std::fs::write(sim.dir.path().join("changed"), url).unwrap();
    replaced(sim, "\"ready.json.container_url\"", "\"changed\"")
}

/// What a person saw of a run that did not begin: nothing was sent, and no run directory made.
fn refusal(sim: &Sim, run: &Run) -> String {
    assert_eq!(sim.upload_calls(), 0, "an upload was sent");
    assert!(run.dir.is_none(), "a run directory was made");
    run.picture()
}

#[test]
fn every_mistake_of_a_config_is_told_at_once_and_nothing_is_sent() {
    let sim = Sim::start(SMALL);
    let text = std::fs::read_to_string(sim.config("")).unwrap();
    let config = sim.write_config(&format!(
        r#"[limts]
        rate = 3

        [window]
        last = 7
        {text}
        endpont = "x"
        "#
    ));
    let run = sim.run(&config);
    insta::assert_snapshot!(refusal(&sim, &run), @r#"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:1: `limts`: unknown key
      help: did you mean `limits`?
    error: DIR/fleetlogs.toml:5: `window.last`: expected a duration in quotes, found a number
      help: write a number with its unit, such as "90s", "10m" or "2h"
    error: DIR/fleetlogs.toml:31: `account[0].endpont`: unknown key
      help: did you mean `endpoint`?
    "#);
    let ledger = sim.ledger();
    assert_eq!(ledger["accounts"][0]["list_calls"], 0, "a request was sent");
    assert_eq!(ledger["storage"]["list_calls"], 0, "a request was sent");
}

#[test]
fn a_missing_config_is_told_with_what_to_do() {
    let sim = Sim::start(SMALL);
    let run = sim.run(&sim.dir.path().join("nowhere.toml"));
    insta::assert_snapshot!(refusal(&sim, &run), @r"
    exit code: 2
    ----- stderr -----
    error: cannot read `DIR/nowhere.toml`: No such file or directory (os error 2)
      help: `fleetlogs init` writes a config
    ");
}

#[test]
fn a_wrong_key_names_the_account() {
    let sim = Sim::start(SMALL);
    std::fs::write(sim.dir.path().join("wrong"), "d3Jvbmcga2V5").unwrap();
    let config = replaced(&sim, "\"ready.json.contoso.key\"", "\"wrong\"");
    insta::assert_snapshot!(refusal(&sim, &sim.run(&config)), @r"
    exit code: 5
    ----- stderr -----
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: 403 AuthenticationFailed: The MAC signature found in the HTTP request is not the same as any computed signature; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: copy the account's key again as the portal shows it: this one was cut off, rotated, or is another account's
    no upload was sent
    ");
}

#[test]
fn an_account_that_cannot_be_listed_leaves_the_others_alone() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 3
        arrival = "50ms"
        [[account]]
        name = "fabrikam"
        [[account.pool]]
        id = "b"
        nodes = 3
        "#,
    );
    std::fs::write(sim.dir.path().join("wrong"), "d3Jvbmcga2V5").unwrap();
    let run = sim.run(&replaced(&sim, "\"ready.json.fabrikam.key\"", "\"wrong\""));
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 3
    ----- stderr -----
    warning: account `fabrikam` (http://127.0.0.1:PORT): cannot be listed: 403 AuthenticationFailed: The MAC signature found in the HTTP request is not the same as any computed signature; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.; the other accounts are planned
      help: copy the account's key again as the portal shows it: this one was cut off, rotated, or is another account's
    ! PARTIAL  3 of 3 nodes collected, in A WHILE; 1 account not listed.

      3 verified
      1 account could not be listed
        fabrikam: 403 AuthenticationFailed: The MAC signature found in the HTTP request is not the same as any computed signature; Server failed to authenticate the request. Mak…

      logs    12 files, 48.0 KiB, in http://127.0.0.1:PORT/simlogs/batch-logs
      next    copy the account's key again as the portal shows it: this one was cut off, rotated, or is another account's; then run for fabrikam:
                fleetlogs run fleetlogs.toml --account fabrikam
      reports runs/RUN/report.html
              runs/RUN/summary.md
              runs/RUN/ticket.md
              runs/RUN/nodes.csv
              runs/RUN/manifest.json
    ");
    assert_eq!(run.count("verified"), 3);
    let accounts = &run.manifest()["accounts"];
    assert!(accounts[0]["reason"].is_null(), "{accounts}");
    assert!(accounts[1]["reason"].as_str().unwrap().contains("AuthenticationFailed"), "{accounts}");

    // A finding of `check` has its own fix, and what is wrong is said once.
    let check = fleetlogs().arg("check").current_dir(sim.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(said.contains("fix: copy the account's key again as the portal shows it"), "{said}");
    assert!(said.contains("as it is, a run would skip this account and end as partial"), "{said}");
    assert_eq!((check.status.code(), String::from_utf8_lossy(&check.stderr).trim()), (Some(0), ""));

    // Every document says what its counts do not cover, and what to do about it.
    let dir = run.dir.as_ref().unwrap();
    let document = json_of(&sim, &["report", "--json", &dir.to_string_lossy()], 0);
    let uncounted = json!({ "accounts_not_listed": 1, "pools_not_listed": 0, "nodes_skipped": 0 });
    assert_eq!((&document["exit_code"], &document["uncounted"]), (&3.into(), &uncounted));
    let of_account = &document["not_listed"][0];
    assert_eq!((&of_account["account"], &of_account["nodes"]), (&"fabrikam".into(), &Value::Null));
    let summary = "3 of 3 nodes collected; 1 account not listed.";
    assert_eq!((&document["summary"], &document["error"]), (&summary.into(), &summary.into()));
    assert_eq!(document["window"]["end"], run.manifest()["window"]["end"]);
    assert_eq!(document["container"], run.manifest()["destination"]);
    let command = "fleetlogs run fleetlogs.toml --account fabrikam";
    assert_eq!(document["next"][0]["command"], command);
    assert!(document["help"][0].as_str().unwrap().ends_with(command), "{document}");
    for file in ["summary.md", "ticket.md", "report.html"] {
        assert!(run.file(file).contains(command), "{file}");
    }
    assert!(
        run.file("summary.md").contains("| fabrikam | nothing-collected | ? |"),
        "{}",
        run.file("summary.md")
    );

    // What the run would lack is known before it.
    let planned = fleetlogs().args(["plan", "fleetlogs.toml"]).current_dir(sim.dir.path()).output().unwrap();
    let planned = Run::of(sim.dir.path(), planned);
    assert_eq!(planned.code, 3, "{}", planned.stderr);
    let partial = "partial      a run of this plan would be: 1 account not listed\n             fabrikam: copy the account's key";
    assert!(planned.stdout.contains(partial), "{}", planned.stdout);
    let planned = json_of(&sim, &["plan", "--json", "fleetlogs.toml"], 3);
    assert_eq!((&planned["exit_code"], &planned["uncounted"]), (&3.into(), &uncounted));
    assert_eq!(planned["not_listed"], document["not_listed"]);
}

/// The document that a command prints in the directory of the simulator.
fn json_of(sim: &Sim, arguments: &[&str], code: i32) -> Value {
    let output = fleetlogs().args(arguments).current_dir(sim.dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_endpoint_that_is_not_there_is_told_in_seconds() {
    let sim = Sim::start(SMALL);
    let endpoint = sim.ready["accounts"][0]["endpoint"].as_str().unwrap();
    let config = replaced(&sim, endpoint, "http://127.0.0.1:9");
    insta::assert_snapshot!(refusal(&sim, &sim.run(&config)), @r"
    exit code: 5
    ----- stderr -----
    warning: contoso: a list cannot be read; retrying: cannot connect: tcp connect error: Connection refused (os error 111) (attempt=1)
    warning: contoso: a list cannot be read; retrying: cannot connect: tcp connect error: Connection refused (os error 111) (attempt=2)
    warning: contoso: a list cannot be read; retrying: cannot connect: tcp connect error: Connection refused (os error 111) (attempt=3)
    warning: contoso: a list cannot be read; retrying: cannot connect: tcp connect error: Connection refused (os error 111) (attempt=4)
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: cannot connect: tcp connect error: Connection refused (os error 111)
      help: check `endpoint`, DNS, proxy and firewall; a private endpoint needs a machine in its network
    no upload was sent
    ");
}

#[test]
fn an_unfit_sas_is_refused_with_what_to_do() {
    let sim = Sim::start(SMALL);
    let query = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        move |url: &str| {
            let (base, query) = url.split_once('?').unwrap();
            let kept: Vec<_> =
                query.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
            format!("{base}?{}&{name}={value}", kept.join("&"))
        }
    };
    let refused = |config: PathBuf| refusal(&sim, &sim.run(&config));
    insta::assert_snapshot!(refused(with_container(&sim, query("se", "2020-01-01T00:00:00Z"))), @r"
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS expired at 2020-01-01T00:00:00.000Z
      help: create a new SAS
    no upload was sent
    ");
    insta::assert_snapshot!(refused(with_container(&sim, query("sp", "rl"))), @r"
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS lacks the permission `w` (nodes write their logs with it)
      help: create a container SAS with the permission `w` (write)
    no upload was sent
    ");
    insta::assert_snapshot!(refused(with_container(&sim, query("sr", "b"))), @r"
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS is for a blob or directory, not for a container
      help: create a SAS for the container itself (`sr=c`)
    no upload was sent
    ");
    let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(5);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    insta::assert_snapshot!(refused(with_container(&sim, query("se", &soon))), @r"
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS expires at TIME, and the run needs it until TIME
      help: create a SAS that is valid longer, or lower `destination.upload_allowance`, or raise `limits.rate`
    no upload was sent
    ");
    insta::assert_snapshot!(refused(with_container(&sim, query("ske", &soon))), @r"
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS expires at TIME, and the run needs it until TIME
      help: create a SAS that is valid longer, or lower `destination.upload_allowance`, or raise `limits.rate`
    no upload was sent
    ");
    insta::assert_snapshot!(refused(with_container(&sim, query("st", "2036-01-01T00:00:00Z"))), @r"
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the SAS starts only at 2036-01-01T00:00:00.000Z
      help: create a SAS without a start time (`st`), or check this machine's clock
    no upload was sent
    ");
    assert_eq!(
        sim.ledger()["accounts"][0]["list_calls"],
        0,
        "an unfit SAS is seen before anything is listed"
    );
}

#[test]
fn a_container_that_is_not_there_is_refused() {
    let sim = Sim::start(SMALL);
    let url = sim.ready["verify_url"].as_str().unwrap().replace("/batch-logs?", "/other?");
    std::fs::write(sim.dir.path().join("changed"), url).unwrap();
    let config = replaced(&sim, "\"ready.json.verify_url\"", "\"changed\"");
    insta::assert_snapshot!(refusal(&sim, &sim.run(&config)), @r"
    exit code: 5
    ----- stderr -----
    warning: destination.verify_url: it names another container or host than the one that the nodes write to: http://127.0.0.1:PORT/simlogs/other
      help: nodes write to http://127.0.0.1:PORT/simlogs/batch-logs
    error: destination.verify_url: the container cannot be listed: 403 AuthenticationFailed: Signature did not match; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: copy the whole SAS or key again, or create a new one: its signature is not what storage computes
    no upload was sent
    ");
}

#[test]
fn a_sas_that_storage_refuses_is_refused_before_any_upload() {
    // One SAS for everything, and not the one that storage signed.
    let sim = Sim::start(SMALL);
    let url = sim.ready["verify_url"].as_str().unwrap().replace("sp=rl", "sp=rwl");
    std::fs::write(sim.dir.path().join("changed"), url).unwrap();
    let config = std::fs::read_to_string(sim.config("")).unwrap();
    let config = config.replace("\"ready.json.container_url\"", "\"changed\"");
    let one: Vec<_> = config.lines().filter(|line| !line.starts_with("verify_url")).collect();
    let run = sim.run(&sim.write_config(&one.join("\n")));
    insta::assert_snapshot!(refusal(&sim, &run), @r"
    exit code: 5
    ----- stderr -----
    error: destination.container_url: the container cannot be listed: 403 AuthenticationFailed: Signature did not match; Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.
      help: copy the whole SAS or key again, or create a new one: its signature is not what storage computes
    no upload was sent
    ");
}

#[test]
fn a_verify_url_that_cannot_list_is_refused() {
    let sim = Sim::start(SMALL);
    let config = replaced(&sim, "\"ready.json.verify_url\"", "\"ready.json.container_url\"");
    insta::assert_snapshot!(refusal(&sim, &sim.run(&config)), @r"
    exit code: 5
    ----- stderr -----
    error: destination.verify_url: the SAS lacks the permission `l` (verification lists the container with it)
      help: create a container SAS with the permissions `r` and `l` for `verify_url`
    error: destination.verify_url: the container cannot be listed: 403 AuthorizationPermissionMismatch: This request is not authorized to perform this operation using this permission.
      help: create a SAS with the permission that is missing; if an identity signed it, give that identity the role Storage Blob Data Contributor on the container
    no upload was sent
    ");
}

#[test]
fn swapped_urls_are_called_swapped() {
    let sim = Sim::start(SMALL);
    let text = std::fs::read_to_string(sim.config("")).unwrap();
    let swapped = text
        .replace("\"ready.json.container_url\"", "\"other\"")
        .replace("\"ready.json.verify_url\"", "\"ready.json.container_url\"")
        .replace("\"other\"", "\"ready.json.verify_url\"");
    insta::assert_snapshot!(refusal(&sim, &sim.run(&sim.write_config(&swapped))), @r"
    exit code: 5
    ----- stderr -----
    error: destination: `container_url` and `verify_url` look swapped: `container_url` can list but not write, `verify_url` the reverse
      help: swap them
    error: destination.container_url: the SAS lacks the permission `w` (nodes write their logs with it)
      help: create a container SAS with the permission `w` (write)
    error: destination.verify_url: the SAS lacks the permission `l` (verification lists the container with it)
      help: create a container SAS with the permissions `r` and `l` for `verify_url`
    error: destination.verify_url: the container cannot be listed: 403 AuthorizationPermissionMismatch: This request is not authorized to perform this operation using this permission.
      help: create a SAS with the permission that is missing; if an identity signed it, give that identity the role Storage Blob Data Contributor on the container
    no upload was sent
    ");
}

#[test]
fn lists_that_go_in_circles_or_elsewhere_are_refused() {
    let mut told = String::new();
    for kind in ["next-link-loop", "next-link-elsewhere"] {
        let sim = Sim::start(&format!(
            r#"
            {SMALL}
            [[account.fault]]
            on = "list-nodes"
            kind = "{kind}"
            "#
        ));
        let run = sim.run(&sim.config(""));
        told += &refusal(&sim, &run);
        assert_eq!(sim.ledger()["storage"]["credentials_leaked"], 0, "a credential went elsewhere");
    }
    insta::assert_snapshot!(told, @r"
    exit code: 5
    ----- stderr -----
    warning: contoso/a: the nodes of a pool cannot be listed: the service's list loops: a page links to one that was already read
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: the service's list loops: a page links to one that was already read
      help: retry, past any proxy that changes answers: nothing was refused, but the pages of the list are not in order; if it happens again, tell support
    no upload was sent
    exit code: 5
    ----- stderr -----
    warning: contoso/a: the nodes of a pool cannot be listed: the link to the next page, `http://127.0.0.1:PORT/pools/a/nodes`, leads away from `http://127.0.0.1:PORT`; it was not followed
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: the link to the next page, `http://127.0.0.1:PORT/pools/a/nodes`, leads away from `http://127.0.0.1:PORT`; it was not followed
      help: see the message above
    no upload was sent
    ");
}

#[test]
fn a_list_that_is_cut_off_or_behind_a_broken_gateway_is_read_again() {
    for kind in ["truncated", "bad-gateway", "drop-before", "non-json"] {
        let sim = Sim::start(&format!(
            r#"
            {SMALL}
            arrival = "50ms"
            [[account.fault]]
            on = "list-nodes"
            kind = "{kind}"
            first = 1
            "#
        ));
        let run = sim.run(&sim.config(""));
        assert_eq!(run.code, 0, "{kind}: {}", run.stderr);
        assert_eq!(run.count("verified"), 3, "{kind}");
    }
}

#[test]
fn a_pool_that_cannot_be_listed_makes_the_run_partial_and_the_others_are_collected() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "good"
        nodes = 3
        arrival = "50ms"
        [[account.pool]]
        id = "bad"
        nodes = 3
        [[account.fault]]
        on = "list-nodes"
        pool = "bad"
        kind = "code"
        status = 403
        code = "InsufficientAccountPermissions"
        "#,
    );
    let run = sim.run(&sim.config(""));
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 3
    ----- stderr -----
    warning: contoso/bad: the nodes of a pool cannot be listed: 403 InsufficientAccountPermissions: The scenario wants this call to fail.
    ! PARTIAL  3 of 3 nodes collected, in A WHILE; 1 pool not listed.

      3 verified
      1 account not listed completely
        contoso: part of it could not be listed: pool `bad`: 403 InsufficientAccountPermissions: The scenario wants this call to fail.

      logs    12 files, 48.0 KiB, in http://127.0.0.1:PORT/simlogs/batch-logs
      next    check the role, the key and this machine's clock (the credential is rejected); then run for pool bad of contoso:
                fleetlogs run fleetlogs.toml --account contoso --pool bad
      reports runs/RUN/report.html
              runs/RUN/summary.md
              runs/RUN/ticket.md
              runs/RUN/nodes.csv
              runs/RUN/manifest.json
    ");
    assert_eq!(run.count("verified"), 3);
    assert_eq!(run.manifest()["left_out"][0]["reason"], "pool-not-listed");
}

#[test]
fn a_report_of_a_run_that_goes_on_is_refused() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        latency = "1s"
        [[account.pool]]
        id = "a"
        nodes = 50
        "#,
    );
    let config = sim.config("limits = { rate = 5 }");
    let mut child = fleetlogs().arg("run").arg(config).current_dir(sim.dir.path()).spawn().unwrap();
    let dir = wait_for("a journal", || {
        let run = std::fs::read_dir(sim.dir.path().join("runs")).ok()?.next()?.ok()?.path();
        (sim.upload_calls() > 0).then_some(run)
    });
    let report = fleetlogs().arg("report").arg(&dir).output().unwrap();
    insta::assert_snapshot!(Run::of(sim.dir.path(), report).picture(), @r"
    exit code: 5
    ----- stderr -----
    error: another process works on this run (process PID; it holds `DIR/runs/RUN/run.lock`)
      help: wait for the other process, or end it; `fleetlogs status` shows its progress
    ");
    assert!(!dir.join("manifest.json").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_gateway_that_stays_broken_is_named() {
    let sim = Sim::start(&format!(
        r#"
        {SMALL}
        [[account.fault]]
        on = "list-pools"
        kind = "bad-gateway"
        "#
    ));
    insta::assert_snapshot!(refusal(&sim, &sim.run(&sim.config(""))), @r"
    exit code: 5
    ----- stderr -----
    warning: contoso: a list cannot be read; retrying: 502: the answer is not an error of Batch: <html> <head><title>502 Bad Gateway</title></head> <body><h1>502 Bad Gateway</h1></body> </html> (attempt=1)
    warning: contoso: a list cannot be read; retrying: 502: the answer is not an error of Batch: <html> <head><title>502 Bad Gateway</title></head> <body><h1>502 Bad Gateway</h1></body> </html> (attempt=2)
    warning: contoso: a list cannot be read; retrying: 502: the answer is not an error of Batch: <html> <head><title>502 Bad Gateway</title></head> <body><h1>502 Bad Gateway</h1></body> </html> (attempt=3)
    warning: contoso: a list cannot be read; retrying: 502: the answer is not an error of Batch: <html> <head><title>502 Bad Gateway</title></head> <body><h1>502 Bad Gateway</h1></body> </html> (attempt=4)
    error: account `contoso` (http://127.0.0.1:PORT): cannot be listed: 502: the answer is not an error of Batch: <html> <head><title>502 Bad Gateway</title></head> <body><h1>502 Bad Gateway</h1></body> </html>
      help: the service is busy or unreachable; retry in a few minutes
    no upload was sent
    ");
}

#[test]
fn a_selection_without_nodes_is_an_exit_code_of_its_own() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 3
        states = { creating = 1.0 }
        "#,
    );
    insta::assert_snapshot!(refusal(&sim, &sim.run(&sim.config(""))), @r"
    exit code: 8
    ----- stderr -----
    error: the selection matches no node
      skipped as still starting (no-agent-yet): 3
      help: `fleetlogs plan CONFIG` shows which nodes there are and why each is skipped
    ");
}
