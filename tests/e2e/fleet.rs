//! Whole runs over a faulty fleet: whatever the service does, the manifest says what it did.

use serde_json::Value;

use crate::stage::{Run, Sim, assert_manifest_equals_ledger};

/// Two accounts, with most of what can go wrong.
const BAD_DAY: &str = include_str!("fleets/bad_day.toml");

#[test]
fn on_a_bad_day_the_manifest_equals_the_ledger() {
    let sim = Sim::start(BAD_DAY);
    let events = sim.dir.path().join("events.jsonl");
    let config = sim.config("limits = { rate = 150, concurrency = 16 }");
    let run = sim.run_with(&config, &["--json", "--events", events.to_str().unwrap()]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let (manifest, ledger) = (run.manifest(), sim.ledger());
    assert_manifest_equals_ledger(&manifest, &ledger);

    assert!(run.count("verified") > 200, "{}", manifest["counts"]);
    assert!(run.count("incomplete") >= 6, "the blocked pool at least: {}", manifest["counts"]);
    assert_eq!(run.count("in-doubt"), 0, "every lost answer is settled");
    let nodes = manifest["nodes"].as_array().unwrap();
    let adopted = |node: &&Value| node["files_promised"].is_null() && !node["virtual_directory"].is_null();
    assert!(nodes.iter().any(|node| adopted(&node)), "some lost answer was found in the container");
    let blocked = nodes.iter().find(|node| node["pool"] == "blocked").unwrap();
    let reason = blocked["reason"].as_str().unwrap();
    assert!(reason.contains("storage blocked from pool `blocked`"), "{reason}");

    let document: Value = serde_json::from_str(&run.stdout).expect("one JSON document on stdout");
    assert_eq!(document["outcome"], manifest["outcome"]);
    assert_eq!(document["counts"], manifest["counts"]);

    let lines = std::fs::read_to_string(events).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = lines.iter().filter(|line| line["event"] == "upload-requested").count() as u64;
    assert_eq!(sent, sim.upload_calls(), "an event for every call");
    assert!(lines.iter().all(|line| line["schema"] == "fleetlogs.event/v1"));

    let table = run.file("nodes.csv");
    assert_eq!(table.lines().count(), nodes.len() + 1);
    assert!(run.file("summary.md").contains("storage blocked"));
}

#[test]
fn no_secret_leaves() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 20
        [[account.fault]]
        kind = "code"
        status = 400
        code = "InvalidPropertyValue"
        first = 1
        share = 0.2
        "#,
    );
    // A bad containerUrl is quoted by the simulator in its error; it must not come out here either.
    let config = sim.config("limits = { rate = 100 }");
    let run = sim.run_with(&config, &["-vv", "--log-format", "json"]);
    let all = run.everything();
    for secret in ["container_url", "verify_url"] {
        let url = sim.ready[secret].as_str().unwrap();
        let signature = url.split("sig=").nth(1).unwrap();
        assert!(!all.contains(signature), "the signature of {secret} is in the output");
        assert!(!all.contains("sig="), "a query of a SAS is in the output");
    }
    let key = sim.ready["accounts"][0]["key"].as_str().unwrap();
    assert!(!all.contains(key), "the account key is in the output");
    assert!(!all.contains("SharedKey contoso:"), "a request's signature is in the output");
}

#[test]
fn a_fleet_without_faults_is_complete() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 30
        arrival = "100ms"
        "#,
    );
    let run = sim.run(&sim.config(r#"limits = { rate = "unlimited" }"#));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.manifest()["outcome"], "complete");
    assert_eq!(run.count("verified"), 30);
    let directory = run.manifest()["nodes"][0]["virtual_directory"].as_str().unwrap().to_owned();
    assert_eq!(directory.split('/').count(), 4, "{directory}");
}

#[test]
fn nodes_that_vanish_are_gone_and_the_rest_is_collected() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        latency = "20ms"
        [[account.pool]]
        id = "a"
        nodes = 40
        arrival = "100ms"
        [[account.pool.life]]
        nodes = 3
        from = 37
        at = "1200ms"
        becomes = "gone"
        "#,
    );
    let run = sim.run(&sim.config("limits = { rate = 10, concurrency = 4 }"));
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!((run.count("gone"), run.count("verified")), (3, 37), "{}", run.stderr);
}

#[test]
fn a_pool_that_vanishes_while_listing_is_left_out() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "stays"
        nodes = 5
        arrival = "100ms"
        [[account.pool]]
        id = "goes"
        nodes = 5
        [[account.fault]]
        on = "list-nodes"
        pool = "goes"
        kind = "code"
        status = 404
        code = "PoolNotFound"
        "#,
    );
    let run = sim.run(&sim.config(""));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let left_out = &run.manifest()["left_out"][0];
    assert_eq!((left_out["pool"].as_str(), left_out["reason"].as_str()), (Some("goes"), Some("pool-gone")));
    assert!(left_out["node"].is_null());
}

/// With 64 calls of each account in flight, these six would take more than there is.
#[test]
fn calls_in_flight_keep_to_the_open_files_that_the_system_allows() {
    let accounts = (0..6).map(|account| {
        format!(
            r#"
            [[account]]
            name = "acct{account}"
            latency = "200ms"
            [[account.pool]]
            id = "p"
            nodes = 60
            "#
        )
    });
    let sim = Sim::start(&accounts.collect::<String>());
    let config = sim.config(r#"limits = { rate = "unlimited", concurrency = 64 }"#);
    let output = std::process::Command::new("bash")
        .args(["-c", "ulimit -n 280 && exec \"$@\"", "bash", env!("CARGO_BIN_EXE_fleetlogs"), "run"])
        .arg(&config)
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    let run = Run::of(sim.dir.path(), output);
    assert_eq!((run.code, run.count("verified")), (0, 360), "{}", run.stderr);
    assert!(run.stderr.contains("fewer calls in flight per account"), "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
}

#[test]
fn with_verification_off_accepted_is_complete() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 5
        "#,
    );
    let run = sim.run(&sim.config("verify = { enabled = false }"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.count("accepted"), 5);
    assert_eq!(sim.ledger()["storage"]["list_calls"], 0);
}

#[test]
fn without_permission_to_list_the_run_says_so_beforehand_and_goes_on() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 5
        "#,
    );
    let config = std::fs::read_to_string(sim.config("")).unwrap();
    let without: Vec<_> = config.lines().filter(|line| !line.starts_with("verify_url")).collect();
    let run = sim.run(&sim.write_config(&without.join("\n")));
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 0
    ----- stderr -----
    warning: destination.container_url: its SAS lacks the permission `l`: nodes will end as `accepted`, and a call whose answer is lost will be repeated without looking for its files
      help: set `destination.verify_url` to a SAS with `r` and `l`, so that fleetlogs can look for the files
    ✓ COMPLETE  5 of 5 nodes accepted, not verified, in A WHILE.

      5 accepted

      logs    not counted, because verification is off; the nodes upload to http://127.0.0.1:PORT/simlogs/batch-logs
      next    set destination.verify_url to a SAS with r and l, so that the container is searched for the files; then resume the run:
                fleetlogs resume runs/RUN --accept-changes
      reports runs/RUN/report.html
              runs/RUN/summary.md
              runs/RUN/ticket.md
              runs/RUN/nodes.csv
              runs/RUN/manifest.json
    ");
    assert_eq!(run.count("accepted"), 5);
}

#[test]
fn pools_of_several_pages_are_listed_and_planned_with_one_call_a_page() {
    let pools: Vec<_> = (0..4)
        .map(|pool| {
            format!(
                r#"
                [[account.pool]]
                id = "pool-{pool}"
                nodes = 5000
                "#
            )
        })
        .collect();
    let pools = pools.concat();
    let sim = Sim::start(&format!(
        r#"
        [[account]]
        name = "contoso"
        {pools}
        "#
    ));
    let config = sim.config("");
    let output = crate::stage::fleetlogs().args(["plan", "--json"]).arg(config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["nodes"].as_array().unwrap().len(), 20_000);
    // Every 500th node or so has a state of no documentation; none is lost for it.
    assert!(plan["list_calls"].as_u64().unwrap() <= 21, "{}", plan["list_calls"]);
}
