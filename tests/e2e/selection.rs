//! Which nodes are called, by config and by command line: each node is planned, or skipped with a reason.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::stage::{Run, Sim, fleetlogs};

/// Two pools of contoso and one of fabrikam, 27 nodes in all.
const FLEET: &str = concat!(include_str!("fleets/contoso.toml"), include_str!("fleets/fabrikam.toml"));

/// The same, with more lines for contoso: its account is the last table before them.
fn fleet_with(more_of_contoso: &str) -> String {
    format!(
        "{}\n{more_of_contoso}\n{}",
        include_str!("fleets/contoso.toml"),
        include_str!("fleets/fabrikam.toml")
    )
}

/// Gives up on a call after a second try.
const IMPATIENT: &str = r#"
[limits]
rate = 100
[retry]
attempts = 2
base_delay = "50ms"
max_delay = "100ms"
"#;

/// `plan --json` with lines of the config for all accounts, and arguments.
fn plan(sim: &Sim, defaults: &str, arguments: &[&str]) -> Run {
    let config = sim.config(&format!("[defaults]\n{defaults}"));
    let output = fleetlogs()
        .arg("plan")
        .arg(config)
        .arg("--json")
        .args(arguments)
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    Run::of(sim.dir.path(), output)
}

/// Planned nodes by account and pool, and what is left out by reason.
fn counts(run: &Run) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    assert_eq!(run.code, 0, "{}", run.stderr);
    let plan: Value = serde_json::from_str(&run.stdout).unwrap();
    let (mut planned, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for node in plan["nodes"].as_array().unwrap() {
        *planned.entry(format!("{}/{}", text(&node["account"]), text(&node["pool"]))).or_default() += 1;
    }
    for left in plan["left_out"].as_array().unwrap() {
        *left_out.entry(text(&left["reason"])).or_default() += 1;
    }
    (planned, left_out)
}

fn map(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
    entries.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn a_config_chooses_and_says_why_the_others_are_left_out() {
    let sim = Sim::start(FLEET);
    let chosen = |defaults: &str| counts(&plan(&sim, defaults, &[]));
    assert_eq!(chosen("").0, map(&[("contoso/render", 20), ("contoso/windows", 4), ("fabrikam/render", 3)]));
    assert_eq!(
        chosen(r#"os = ["*Windows*"]"#),
        (map(&[("contoso/windows", 4)]), map(&[("pool-not-selected", 2)]))
    );
    assert_eq!(chosen(r#"vm_sizes = ["standard_e*"]"#).0, map(&[("contoso/windows", 4)]));
    assert_eq!(
        chosen(
            r#"
            pools = ["render"]
            nodes = { kind = "spot" }
            "#
        ),
        (map(&[("contoso/render", 5)]), map(&[("pool-not-selected", 1), ("kind-not-selected", 18)]))
    );
    assert_eq!(
        chosen(r#"nodes = { states = ["running"] }"#),
        (map(&[("contoso/render", 10)]), map(&[("state-not-selected", 17)]))
    );
    assert_eq!(
        chosen("nodes = { limit_per_pool = 2 }"),
        (
            map(&[("contoso/render", 2), ("contoso/windows", 2), ("fabrikam/render", 2)]),
            map(&[("not-in-sample", 21)])
        )
    );
    let none = plan(&sim, r#"nodes = { newer_than = "1s" }"#, &[]);
    assert_eq!(none.code, 8, "{}", none.stderr);
}

#[test]
fn the_command_line_narrows_what_the_config_chooses() {
    let sim = Sim::start(FLEET);
    let chosen = |arguments: &[&str]| counts(&plan(&sim, r#"exclude_pools = ["windows"]"#, arguments)).0;
    assert_eq!(chosen(&[]), map(&[("contoso/render", 20), ("fabrikam/render", 3)]));
    assert_eq!(chosen(&["--account", "fab*"]), map(&[("fabrikam/render", 3)]));
    assert_eq!(chosen(&["--state", "running"]), map(&[("contoso/render", 10)]));
    let windows = plan(&sim, r#"exclude_pools = ["windows"]"#, &["--pool", "windows"]);
    assert_eq!(windows.code, 8, "what the config excludes stays out: {}", windows.stderr);

    let all: Value = serde_json::from_str(&plan(&sim, "", &[]).stdout).unwrap();
    let node = all["nodes"][0]["node"].as_str().unwrap();
    assert_eq!(chosen(&["--node", node]).values().sum::<u64>(), 1);
    let run = sim.run_with(&sim.config("limits = { rate = 100 }"), &["--node", node]);
    assert_eq!((run.code, sim.upload_calls()), (0, 1), "{}", run.stderr);

    let nobody = plan(&sim, "", &["--account", "northwind"]);
    insta::assert_snapshot!(nobody.picture(), @r#"
    exit code: 2
    ----- stdout -----
    {"schema":"fleetlogs.error/v1","exit_code":2,"error":"no account of the config matches; it has: contoso, fabrikam","help":["name one of these, or a pattern in quotes such as 'contoso*'; case matters"],"refusals":[{"about":null,"error":"no account of the config matches; it has: contoso, fabrikam","seen":[],"help":"name one of these, or a pattern in quotes such as 'contoso*'; case matters"}]}
    ----- stderr -----
    error: no account of the config matches; it has: contoso, fabrikam
      help: name one of these, or a pattern in quotes such as 'contoso*'; case matters
    "#);
    let state = plan(&sim, "", &["--state", "sleeping"]);
    insta::assert_snapshot!(state.picture(), @r#"
    exit code: 2
    ----- stdout -----
    {"schema":"fleetlogs.error/v1","exit_code":2,"error":"`sleeping` is not a value of `--state <STATE>`: known states: idle, running, offline, starttaskfailed, waitingforstarttask, unusable, creating, starting, rebooting, reimaging, upgradingos, unknown, leavingpool, preempted, deallocating, deallocated","help":["`fleetlogs plan --help` shows its arguments and options"],"refusals":[{"about":null,"error":"`sleeping` is not a value of `--state <STATE>`: known states: idle, running, offline, starttaskfailed, waitingforstarttask, unusable, creating, starting, rebooting, reimaging, upgradingos, unknown, leavingpool, preempted, deallocating, deallocated","seen":[],"help":"`fleetlogs plan --help` shows its arguments and options"}]}
    ----- stderr -----
    error: `sleeping` is not a value of `--state <STATE>`: known states: idle, running, offline, starttaskfailed, waitingforstarttask, unusable, creating, starting, rebooting, reimaging, upgradingos, unknown, leavingpool, preempted, deallocating, deallocated
      help: `fleetlogs plan --help` shows its arguments and options
    "#);
}

#[test]
fn a_pattern_that_matches_nothing_names_the_nearest_pools() {
    let sim = Sim::start(FLEET);
    let command = |command: &str, defaults: &str, arguments: &[&str]| {
        let config = sim.config(&format!("[defaults]\n{defaults}"));
        let output = fleetlogs()
            .arg(command)
            .arg(config)
            .args(arguments)
            .current_dir(sim.dir.path())
            .output()
            .unwrap();
        Run::of(sim.dir.path(), output)
    };
    insta::assert_snapshot!(command("run", "", &["--pool", "rendr"]).picture(), @r"
    exit code: 8
    ----- stderr -----
    error: the selection matches no node: `--pool rendr` matches no pool
      skipped as pool-not-selected: 3
      pools there are: `render`, `windows`
      help: did you mean `render`?
    ");
    let node = command("run", "", &["--node", "nosuch"]);
    let said = "error: the selection matches no node: `--node nosuch` matches no node\n";
    assert!(node.code == 8 && node.stderr.contains(said), "{}", node.stderr);
    let check = command("check", "", &["--pool", "Render"]);
    assert_eq!(check.code, 8, "{}", check.stdout);
    assert!(check.stdout.contains("did you mean `render`? Case matters"), "{}", check.stdout);
    assert_eq!(sim.upload_calls(), 0);

    // Where others match, it is a warning.
    let plan = command("plan", r#"pools = ["render", "widnows"]"#, &[]);
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    insta::assert_snapshot!(plan.stderr, @"
    warning: selection: `widnows` in `pools` matches no pool
      help: pools there are: `windows`, `render`; did you mean `windows`?
    ");
}

#[test]
fn each_node_is_asked_for_its_own_window() {
    let sim = Sim::start(FLEET);
    let config = sim.config(
        r#"
        [limits]
        rate = 100
        [window]
        since = "boot"
        margin = "5m"
        longest = "12h"
        "#,
    );
    let run = sim.run(&config);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let manifest = run.manifest();
    let time = |value: &Value| {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(value.as_str().unwrap(), format).unwrap()
    };
    let end = time(&manifest["window"]["end"]);
    let mut starts = std::collections::BTreeSet::new();
    for node in manifest["nodes"].as_array().unwrap() {
        let window = &node["window"];
        let boot = time(&node["last_boot_time"]) - time::Duration::minutes(5);
        assert_eq!(time(&window["end"]), end);
        assert_eq!(time(&window["start"]), boot.max(end - time::Duration::hours(12)), "{node}");
        assert!(time(&window["start"]) >= time(&manifest["window"]["start"]));
        starts.insert(time(&window["start"]));
    }
    assert!(starts.len() > 1, "nodes booted at different times");
    assert!(!run.stderr.contains("of logs"), "{}", run.stderr);

    let long = sim.config(r#"window = { last = "3days" }"#);
    let plan = fleetlogs().arg("plan").arg(long).current_dir(sim.dir.path()).output().unwrap();
    let said = String::from_utf8(plan.stderr).unwrap();
    assert!(said.contains("up to 3d 00h of logs") && said.contains("uploaded whole"), "{said}");
}

#[test]
fn strict_refuses_what_otherwise_makes_a_run_partial() {
    let sim = Sim::start(&format!(
        r#"
        {FLEET}
        [[account.fault]]
        kind = "code"
        status = 403
        code = "AuthorizationFailure"
        on = "any"
        "#
    ));
    let config = sim.config(IMPATIENT);
    let text = std::fs::read_to_string(&config).unwrap();
    let strict = sim.run(&sim.write_config(&format!("strict = true\n{text}")));
    assert_eq!(strict.code, 5, "{}", strict.stderr);
    assert!(
        strict.stderr.contains("account `fabrikam`") && !strict.stderr.contains("account `contoso`"),
        "{}",
        strict.stderr
    );
    assert_eq!(sim.upload_calls(), 0);
    let lenient = sim.run(&sim.write_config(&text));
    assert_eq!((lenient.code, lenient.count("verified")), (3, 24), "{}", lenient.stderr);
}

#[test]
fn a_pool_that_cannot_be_listed_is_named_with_its_cause_wherever_somebody_looks() {
    let sim = Sim::start(&fleet_with(
        r#"
        [[account.fault]]
        kind = "code"
        status = 500
        code = "InternalError"
        on = "list-nodes"
        pool = "windows"
        "#,
    ));
    let config = sim.config(IMPATIENT);
    let run = sim.run(&config);
    assert_eq!((run.code, run.count("verified")), (3, 23), "{}", run.stderr);
    let manifest = run.manifest();
    let said = "pool `windows`: 500 InternalError";
    let account = &manifest["accounts"][0];
    assert_eq!(account["outcome"], "partial");
    assert!(account["reason"].as_str().unwrap().contains(said), "{account}");
    let left = &manifest["left_out"][0];
    assert_eq!((left["pool"].as_str(), left["reason"].as_str()), (Some("windows"), Some("pool-not-listed")));
    assert!(left["cause"].as_str().unwrap().starts_with("500 InternalError"), "{left}");
    assert!(run.stderr.contains(said), "{}", run.stderr);
    let summary = run.file("summary.md");
    assert!(summary.contains("windows") && summary.contains("500 InternalError"), "{summary}");
    assert!(!summary.contains("every planned node was collected"), "{summary}");
    let check = fleetlogs().arg("check").arg(&config).current_dir(sim.dir.path()).output().unwrap();
    let check = Run::of(sim.dir.path(), check);
    assert!((check.stdout + &check.stderr).contains(said));
}

#[test]
fn a_job_leads_to_the_nodes_that_its_tasks_ran_on() {
    let sim = Sim::start(&fleet_with(
        r#"
        [[account.job]]
        id = "nightly"
        pool = "render"
        tasks = 8
        nodes = 4
        gone = 1
        started = "2h"
        lasted = "20m"
        [[account.job]]
        id = "mpi"
        pool = "render"
        tasks = 1
        nodes = 3
        instances = 3
        started = "1h"
        "#,
    ));
    let chosen = |defaults: &str, arguments: &[&str]| plan(&sim, defaults, arguments);
    let (planned, left_out) = counts(&chosen(r#"jobs = ["nightly"]"#, &[]));
    assert_eq!(planned, map(&[("contoso/render", 4)]));
    assert_eq!((left_out["job-node-gone"], left_out["no-task-of-job"]), (1, 16 + 2), "{left_out:?}");
    assert_eq!(counts(&chosen("", &["--job", "mpi"])).0, map(&[("contoso/render", 3)]));
    let two = r#"jobs = [{ id = "nightly", tasks = ["task-0001", "task-0002"] }]"#;
    assert_eq!(counts(&chosen(two, &[])).0, map(&[("contoso/render", 2)]));
    let early = r#"jobs = [{ id = "nightly", until = 2020-01-01T00:00:00Z }]"#;
    assert_eq!(chosen(early, &[]).code, 8);
    let unknown = chosen("", &["--job", "nighty"]);
    assert_eq!(unknown.code, 8);
    assert!(unknown.stderr.contains("the account has no such job"), "{}", unknown.stderr);

    let config = sim.config(
        r#"
        [limits]
        rate = 100
        [window]
        since = "task"
        margin = "5m"
        [defaults]
        jobs = ["nightly"]
        "#,
    );
    let run = sim.run(&config);
    assert_eq!((run.code, run.count("verified")), (0, 4), "{}", run.stderr);
    let manifest = run.manifest();
    for node in manifest["nodes"].as_array().unwrap() {
        let time = |value: &Value| {
            let format = &time::format_description::well_known::Rfc3339;
            time::OffsetDateTime::parse(value.as_str().unwrap(), format).unwrap()
        };
        let margin = time::Duration::minutes(5);
        assert_eq!(time(&node["window"]["start"]), time(&node["ran"]["start"]) - margin);
        assert_eq!(time(&node["window"]["end"]), time(&node["ran"]["end"]) + margin);
    }
    assert!(
        !run.everything().contains("FAKE-SECRET-IN-TASK"),
        "command lines and environments stay where they are"
    );
}

#[test]
fn a_node_that_booted_anew_meanwhile_is_told() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 10
        unknown_state = 0
        arrival = "3s"
        [[account.pool.life]]
        nodes = 2
        at = "3s"
        becomes = "gone"
        "#,
    );
    let run = sim.run(&sim.config(
        r#"
        [limits]
        rate = 2.4
        [verify]
        deadline = "6s"
        settle = "3s"
        "#,
    ));
    let manifest = run.manifest();
    let changed = |node: &&Value| node["identity_changed"] == true;
    let told: Vec<_> = manifest["nodes"].as_array().unwrap().iter().filter(changed).collect();
    let gone = manifest["counts"]["gone"].as_u64().unwrap();
    assert_eq!(told.len() as u64 + gone, 2, "{}", run.stderr);
    assert!(told.iter().all(|node| node["identity_now"].is_null()), "they are gone, not others");
}

#[test]
fn accounts_are_found_in_subscriptions() {
    let first = "00000000-0000-0000-0000-000000000001";
    let other = "00000000-0000-0000-0000-00000000000f";
    let account = |name: &str, more: &str| {
        format!(
            r#"
            [[account]]
            name = "{name}"
            subscription = "{first}"
            {more}
            [[account.pool]]
            id = "a"
            nodes = 3
            unknown_state = 0
            arrival = "50ms"
            "#
        )
    };
    let sim = Sim::start(&format!(
        "{}{}{}",
        account("contoso", ""),
        account("fabrikam", r#"pool_allocation_mode = "UserSubscription""#),
        account("tailspin", "")
    ));
    let arm = sim.ready["arm"].as_str().unwrap().to_owned();
    let written = |subscriptions: &str, more: &str| {
        let text = std::fs::read_to_string(sim.config("")).unwrap();
        let without_accounts = &text[..text.find("[[account]]").unwrap()];
        sim.write_config(&format!(
            r#"
            {more}
            {without_accounts}
            [discover]
            subscriptions = {subscriptions}
            exclude = ["tail*"]
            management = "{arm}"
            "#
        ))
    };
    let one = written(&format!("[\"{first}\"]"), "");
    let run = crate::credentials::with_identity(&sim, &["run", one.to_str().unwrap()]);
    assert_eq!((run.code, run.count("verified")), (0, 6), "{}", run.stderr);
    let names: Vec<_> = run.manifest()["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["name"].clone())
        .collect();
    assert_eq!(names, ["contoso", "fabrikam"]);

    // A subscription that is not there makes the run partial; in strict mode it is refused.
    let both = written(&format!("[\"{first}\", \"{other}\"]"), "");
    let run = crate::credentials::with_identity(&sim, &["run", both.to_str().unwrap()]);
    assert_eq!((run.code, run.count("verified")), (3, 6), "{}", run.stderr);
    let last = run.manifest()["accounts"][2].clone();
    assert!(
        last["name"] == format!("subscription-{other}")
            && last["reason"].as_str().unwrap().contains("SubscriptionNotFound"),
        "{last}"
    );
    let strict = written(&format!("[\"{first}\", \"{other}\"]"), "strict = true");
    let refused = crate::credentials::with_identity(&sim, &["run", strict.to_str().unwrap()]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);

    let nobody = written(&format!("[\"{first}\"]"), "");
    let run =
        crate::credentials::with_identity(&sim, &["run", nobody.to_str().unwrap(), "--account", "northwind"]);
    assert_eq!(run.code, 8, "{}", run.stderr);

    let narrowed = written(&format!("[\"{first}\"]"), "");
    let run =
        crate::credentials::with_identity(&sim, &["run", narrowed.to_str().unwrap(), "--account", "fab*"]);
    assert_eq!((run.code, run.count("verified")), (0, 3), "{}", run.stderr);
}

#[test]
fn nodes_that_cannot_upload_have_their_evidence_in_the_manifest() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 10
        unknown_state = 0
        arrival = "50ms"
        states = { preempted = 0.2, creating = 0.1 }
        "#,
    );
    let run = sim.run(&sim.config("limits = { rate = 100 }"));
    assert_eq!((run.code, run.count("verified")), (0, 7), "{}", run.stderr);
    let manifest = run.manifest();
    let mut states: Vec<_> = manifest["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| {
            assert!(left["evidence"]["state_since"].is_string(), "{left}");
            left["evidence"]["state"].as_str().unwrap().to_owned()
        })
        .collect();
    states.sort();
    assert_eq!(states, ["creating", "preempted", "preempted"]);
}

#[test]
fn what_the_service_says_of_pools_and_nodes_is_evidence_before_and_after() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 12
        unknown_state = 0
        arrival = "3s"
        resize_error = "AccountCoreQuotaReached"
        states = { preempted = 0.25 }
        [[account.pool.life]]
        nodes = 2
        of = "idle"
        at = "3s"
        becomes = "unusable"
        [[account.job]]
        id = "nightly"
        pool = "a"
        tasks = 60
        started = "1h"
        lasted = "50m"
        failed = 60
        "#,
    );
    let run = sim.run(&sim.config(
        r#"
        [limits]
        rate = 2.4
        [verify]
        deadline = "9s"
        settle = "3s"
        "#,
    ));
    let manifest = run.manifest();
    let pool = &manifest["pools"][0];
    assert_eq!((pool["pool"].as_str(), pool["seen_again"].as_bool()), (Some("a"), Some(true)), "{pool}");
    assert_eq!(pool["resize_errors"][0]["code"], "AccountCoreQuotaReached");
    let nodes = manifest["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 9);
    for node in nodes {
        let tasks = node["recent_tasks"].as_array().unwrap();
        assert_eq!(tasks.len(), 3, "{node}");
        assert_eq!((tasks[0]["job"].as_str(), tasks[0]["exit_code"].as_i64()), (Some("nightly"), Some(1)));
        let started: Vec<_> = tasks.iter().map(|task| task["started"].as_str().unwrap()).collect();
        assert!(started.is_sorted_by(|a, b| a >= b), "the latest first: {started:?}");
        assert_eq!(node["identity_changed"], false, "none booted anew");
    }
    let unusable = nodes.iter().filter(|node| node["seen_again"]["state"] == "unusable").count();
    let same = nodes.iter().filter(|node| node["seen_again"].is_null()).count();
    assert_eq!((unusable, same), (2, 7), "{}", run.file("manifest.json"));
    let evidence = &manifest["left_out"][0]["evidence"];
    assert_eq!(evidence["state"], "preempted");
    assert!(!run.everything().contains("FAKE-SECRET-IN-TASK"));
}

#[test]
fn the_order_of_a_long_run_follows_the_lists_and_new_nodes_are_reported() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 240
        unknown_state = 0
        arrival = "50ms"
        [[account.pool.life]]
        nodes = 1
        from = 239
        at = "0s"
        becomes = "gone"
        back_after = "3s"
        [[account.pool]]
        id = "b"
        nodes = 5
        unknown_state = 0
        arrival = "50ms"
        deleting_at = "3s"
        "#,
    );
    let events = sim.dir.path().join("events.jsonl");
    let run = sim.run_with(
        &sim.config(r#"limits = { rate = 12, concurrency = 4, relist = "2s" }"#),
        &["--events", events.to_str().unwrap()],
    );
    assert_eq!((run.code, run.count("verified")), (0, 244), "{}", run.stderr);
    let lines = std::fs::read_to_string(events).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let followed = lines.iter().find(|line| line["event"] == "order-followed").expect("the order followed");
    assert_eq!((followed["account"].as_str(), followed["raised"].as_u64()), (Some("contoso"), Some(5)));
    let called = lines.iter().filter(|line| line["event"] == "upload-requested");
    let pools: Vec<_> = called.map(|line| line["pool"].as_str().unwrap()).collect();
    let last_of_b = pools.iter().rposition(|pool| *pool == "b").unwrap();
    assert!(last_of_b < 200, "pool b is being deleted, so it does not come last: {pools:?}");
    let appeared = run.manifest()["appeared"].clone();
    assert_eq!(appeared.as_array().unwrap().len(), 1, "{appeared}");
    assert_eq!(appeared[0]["pool"], "a");
    let id = appeared[0]["node"].as_str().unwrap();
    assert!(run.manifest()["nodes"].as_array().unwrap().iter().all(|node| node["node"] != id));
}
