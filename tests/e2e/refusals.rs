//! Bad input: a clear error that names the place, the right exit code, and no upload sent.

use std::path::PathBuf;

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

fn assert_refused(sim: &Sim, run: &Run, code: i32, says: &[&str]) {
    assert_eq!(run.code, code, "{}", run.stderr);
    for text in says {
        assert!(run.stderr.contains(text), "`{text}` is not in\n{}", run.stderr);
    }
    assert_eq!(sim.upload_calls(), 0, "an upload was sent");
    assert!(run.dir.is_none(), "a run directory was made");
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
    assert_refused(
        &sim,
        &run,
        2,
        &[
            ":1: `limts`: unknown key",
            "did you mean `limits`?",
            ":5: `window.last`",
            "did you mean `endpoint`?",
        ],
    );
    let ledger = sim.ledger();
    assert_eq!(ledger["accounts"][0]["list_calls"], 0, "a request was sent");
    assert_eq!(ledger["storage"]["list_calls"], 0, "a request was sent");
}

#[test]
fn a_missing_config_is_told_with_what_to_do() {
    let sim = Sim::start(SMALL);
    let run = sim.run(&sim.dir.path().join("nowhere.toml"));
    assert_refused(&sim, &run, 2, &["cannot read", "nowhere.toml", "fleetlogs init"]);
}

#[test]
fn a_wrong_key_names_the_account() {
    let sim = Sim::start(SMALL);
    std::fs::write(sim.dir.path().join("wrong"), "d3Jvbmcga2V5").unwrap();
    let config = replaced(&sim, "\"ready.json.contoso.key\"", "\"wrong\"");
    assert_refused(
        &sim,
        &sim.run(&config),
        5,
        &["account `contoso`", "403 AuthenticationFailed", "help: check the key"],
    );
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
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_eq!(run.count("verified"), 3);
    let accounts = &run.manifest()["accounts"];
    assert!(accounts[0]["reason"].is_null(), "{accounts}");
    assert!(accounts[1]["reason"].as_str().unwrap().contains("AuthenticationFailed"), "{accounts}");
}

#[test]
fn an_endpoint_that_is_not_there_is_told_in_seconds() {
    let sim = Sim::start(SMALL);
    let endpoint = sim.ready["accounts"][0]["endpoint"].as_str().unwrap();
    let config = replaced(&sim, endpoint, "http://127.0.0.1:9");
    assert_refused(
        &sim,
        &sim.run(&config),
        5,
        &["account `contoso`", "http://127.0.0.1:9", "help: check `endpoint`"],
    );
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
    let refused = |config: PathBuf, says: &[&str]| assert_refused(&sim, &sim.run(&config), 5, says);
    refused(
        with_container(&sim, query("se", "2020-01-01T00:00:00Z")),
        &["the SAS expired", "help: make a new SAS"],
    );
    refused(
        with_container(&sim, query("sp", "rl")),
        &["lacks the permission `w`", "help: make a container SAS"],
    );
    refused(with_container(&sim, query("sr", "b")), &["not for a container", "`sr=c`"]);
    let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(5);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    refused(
        with_container(&sim, query("se", &soon)),
        &["the run needs it until", "help: make a SAS that lives longer"],
    );
    refused(with_container(&sim, query("ske", &soon)), &["the run needs it until"]);
    refused(with_container(&sim, query("st", "2036-01-01T00:00:00Z")), &["starts only at"]);
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
    assert_refused(&sim, &sim.run(&config), 5, &["destination.verify_url", "cannot be listed"]);
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
    assert_refused(
        &sim,
        &run,
        5,
        &["destination.container_url", "403 AuthenticationFailed", "storage rejects this SAS"],
    );
}

#[test]
fn a_verify_url_that_cannot_list_is_refused() {
    let sim = Sim::start(SMALL);
    let config = replaced(&sim, "\"ready.json.verify_url\"", "\"ready.json.container_url\"");
    assert_refused(&sim, &sim.run(&config), 5, &["destination.verify_url: the SAS lacks the permission `l`"]);
}

#[test]
fn lists_that_go_in_circles_or_elsewhere_are_refused() {
    for (kind, says) in [("next-link-loop", "loops"), ("next-link-elsewhere", "account `contoso`")] {
        let sim = Sim::start(&format!(
            r#"
            {SMALL}
            [[account.fault]]
            on = "list-nodes"
            kind = "{kind}"
            "#
        ));
        let run = sim.run(&sim.config(""));
        assert_refused(&sim, &run, 5, &[says]);
        assert_eq!(sim.ledger()["storage"]["credentials_leaked"], 0, "a credential went elsewhere");
    }
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
    assert_eq!(run.code, 3, "{}", run.stderr);
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
    assert_eq!(report.status.code(), Some(5), "{report:?}");
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
    assert_refused(&sim, &sim.run(&sim.config("")), 5, &["account `contoso`", "502"]);
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
    assert_refused(&sim, &sim.run(&sim.config("")), 8, &["the selection matches no node", "no-agent-yet: 3"]);
}
