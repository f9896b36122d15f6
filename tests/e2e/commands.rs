//! The other commands, as a person or a script uses them.

use std::path::Path;

use serde_json::Value;

use crate::stage::{Run, Sim, assert_manifest_equals_ledger, fleetlogs};

const TWO_POOLS: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 8
arrival = "50ms"
[[account.pool]]
id = "b"
nodes = 4
arrival = "50ms"
states = { preempted = 0.5 }
"#;

/// The picture of a command that runs in a directory.
fn seen_in(dir: &Path, arguments: &[&str]) -> String {
    let output = fleetlogs().args(arguments).current_dir(dir).output().unwrap();
    Run::of(dir, output).picture()
}

#[test]
fn plan_shows_who_would_be_asked_and_sends_no_upload() {
    let sim = Sim::start(TWO_POOLS);
    let config = sim.config("");
    let plan = fleetlogs().arg("plan").arg(&config).output().unwrap();
    insta::assert_snapshot!(Run::of(sim.dir.path(), plan).picture(), @r"
    exit code: 0
    ----- stdout -----
    plan         RUN, frozen TIME UTC
    window       TIME to TIME UTC (2h 00m)
    destination  http://127.0.0.1:PORT/simlogs/batch-logs

    contoso  10 nodes planned, 2 pools listed
      http://127.0.0.1:PORT
      pool  nodes  ordinary
      a         8         8
      b         2         2

    skipped
      contoso  2 nodes: preempted

    needs        10 upload calls, about 0s; 3 list calls made for this plan
    sas          the container SAS is valid until TIME and is renewed during the run
    ");
    let json = fleetlogs().args(["plan", "--json"]).arg(&config).output().unwrap();
    let plan: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(plan["schema"], "fleetlogs.plan/v1");
    assert_eq!((plan["upload_calls"].as_u64(), plan["list_calls"].as_u64()), (Some(10), Some(3)));
    assert_eq!(plan["left_out"].as_array().unwrap().len(), 2);
    assert_eq!(sim.upload_calls(), 0);
}

#[test]
fn run_executes_exactly_the_plan_it_is_given() {
    let sim = Sim::start(TWO_POOLS);
    let config = sim.config("");
    let file = sim.dir.path().join("some.plan.json");
    let made = fleetlogs().arg("plan").arg(&config).arg("--output").arg(&file).output().unwrap();
    assert!(made.status.success());
    let mut plan: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    plan["nodes"].as_array_mut().unwrap().truncate(3);
    std::fs::write(&file, plan.to_string()).unwrap();
    let run = sim.run_with(&config, &["--plan", file.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("planned"), 3);

    plan["accounts"][0]["name"] = "other".into();
    plan["nodes"] = Value::Array(vec![]);
    std::fs::write(&file, plan.to_string()).unwrap();
    let run = sim.run_with(&config, &["--plan", file.to_str().unwrap()]);
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 2
    ----- stderr -----
    error: the plan `DIR/some.plan.json` does not fit this config: it has nodes of account `other`, which the config does not name
      help: make a plan with `fleetlogs plan CONFIG --output FILE`
    ");
}

#[test]
fn report_writes_the_same_manifest_again() {
    let sim = Sim::start(TWO_POOLS);
    let run = sim.run(&sim.config(""));
    let dir = run.dir.clone().unwrap();
    let (before, page) = (run.file("manifest.json"), run.file("report.html"));
    for name in ["manifest.json", "nodes.csv", "report.html", "summary.md"] {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    let report = fleetlogs().arg("report").arg(&dir).output().unwrap();
    insta::assert_snapshot!(Run::of(sim.dir.path(), report).picture(), @r"
    exit code: 0
    ----- stderr -----
    ✓ COMPLETE  10 of 10 nodes collected, in A WHILE; 2 nodes skipped.

      10 verified

      logs    40 files, 160.0 KiB, in http://127.0.0.1:PORT/simlogs/batch-logs
      reports DIR/runs/RUN/report.html
              DIR/runs/RUN/summary.md
              DIR/runs/RUN/ticket.md
              DIR/runs/RUN/nodes.csv
              DIR/runs/RUN/manifest.json
    ");
    assert_eq!(run.file("manifest.json"), before);
    assert_eq!(run.file("report.html"), page);
    assert!(run.file("summary.md").contains("12") || run.file("summary.md").contains("10"));
}

#[cfg(unix)]
#[test]
fn a_run_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let sim = Sim::start(TWO_POOLS);
    let run = sim.run(&sim.config(""));
    let dir = run.dir.unwrap();
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for name in
        ["plan.json", "manifest.json", "nodes.csv", "report.html", "summary.md", "log.jsonl", "run.db"]
    {
        assert!(dir.join(name).is_file(), "{name} is missing");
    }
}

#[test]
fn init_prints_a_config_and_schema_a_schema() {
    let init = fleetlogs().args(["init", "-"]).output().unwrap();
    assert!(String::from_utf8(init.stdout).unwrap().contains("[destination]"));
    let schema = fleetlogs().args(["schema", "manifest"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["properties"]["schema"]["const"], "fleetlogs.manifest/v1");
}

#[test]
fn a_simulator_listens_on_this_machine_only() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("scenario.toml");
    std::fs::write(&scenario, TWO_POOLS).unwrap();
    let refused = fleetlogs().arg("sim").arg(&scenario).args(["--listen", "0.0.0.0:0"]).output().unwrap();
    insta::assert_snapshot!(Run::of(dir.path(), refused).picture(), @r"
    exit code: 5
    ----- stderr -----
    error: the simulator cannot start: the simulator listens on loopback addresses only, and `0.0.0.0:0` is not one
    ");
}

#[test]
fn a_run_and_every_command_that_reads_it_say_the_same() {
    let sim = Sim::start(TWO_POOLS);
    let snapshot = r#"
        [[snapshot]]
        name = "nightly"
    "#;
    let text = std::fs::read_to_string(sim.config("")).unwrap();
    let config = sim.write_config(&format!("{text}{snapshot}"));
    let seen = |arguments: &[&str]| seen_in(sim.dir.path(), arguments);
    let config = config.to_str().unwrap();

    let run = sim.run_with(config.as_ref(), &[]);
    insta::assert_snapshot!(run.picture(), @r"
    exit code: 0
    ----- stderr -----
    ✓ COMPLETE  10 of 10 nodes collected, in A WHILE; 2 nodes skipped.

      10 verified

      logs    40 files, 160.0 KiB, in http://127.0.0.1:PORT/simlogs/batch-logs
      reports runs/RUN/report.html
              runs/RUN/summary.md
              runs/RUN/ticket.md
              runs/RUN/nodes.csv
              runs/RUN/manifest.json
    ");
    let name = run.dir.as_ref().unwrap().file_name().unwrap().to_str().unwrap();
    let dir = format!("runs/{name}");
    insta::assert_snapshot!(seen(&["status", &dir]), @r"
    exit code: 0
    ----- stdout -----
    ✓ COMPLETE  10 of 10 nodes collected; 2 nodes skipped.
    run RUN ended
    contoso ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  10/10
            took A WHILE: 10 verified
    ");
    insta::assert_snapshot!(seen(&["verify", &dir]), @r"
    exit code: 0
    ----- stderr -----
    INTACT  the files of 10 of 10 collected nodes are as they were verified; 2 nodes skipped.
      nodes         10 intact
      files         40 files, 160.0 KiB, in http://127.0.0.1:PORT/simlogs/batch-logs
      cost          1 list call
      inventory     runs/RUN/files.csv
    ");
    insta::assert_snapshot!(seen(&["resume", &dir]), @r"
    exit code: 0
    ----- stderr -----
    nothing is outstanding in run RUN; its reports are unchanged
    ");
    insta::assert_snapshot!(seen(&["share", &dir]), @r"
    exit code: 2
    ----- stderr -----
    error: `destination.container_url` is a SAS, and no other SAS can be created from it
      help: pass a config with `mint` for the same container as `--config`, or ask the person who created that SAS for one with `r` and `l` for support (`az storage container generate-sas --permissions rl`)
    ");
    insta::assert_snapshot!(seen(&["unshare", &dir]), @r"
    exit code: 2
    ----- stderr -----
    error: `destination.container_url` is a SAS, and no other SAS can be created from it
      help: pass a config with `mint` for the same container as `--config`, or ask the person who created that SAS for one with `r` and `l` for support (`az storage container generate-sas --permissions rl`)
    ");
    insta::assert_snapshot!(seen(&["schedule", config, "--once", "nightly"]), @r"
    exit code: 0
    ----- stderr -----
    ✓ COMPLETE  10 of 10 nodes collected, in A WHILE; 2 nodes skipped.

      10 verified

      logs    40 files, 160.0 KiB, in http://127.0.0.1:PORT/simlogs/batch-logs
      reports runs/RUN/report.html
              runs/RUN/summary.md
              runs/RUN/ticket.md
              runs/RUN/nodes.csv
              runs/RUN/manifest.json
    ");
    insta::assert_snapshot!(seen(&["schedule", config, "--list"]), @r"
    exit code: 0
    ----- stdout -----
    nightly
      next       on an alert or with --once
      last       complete, A WHILE ago, run RUN, by once
    ");
    insta::assert_snapshot!(seen(&["check", config]), @r"
    exit code: 0
    ----- stdout -----
         ok  config: `DIR/fleetlogs.toml` is valid, and the secrets of accounts and storage were found
         ok  output.dir: run directories go to `DIR/runs`
         ok  account `contoso`: uses the account key (Shared Key)
         ok  account `contoso`: this machine's clock agrees with the service's
         ok  account `contoso`: 2 pools and 10 nodes selected, with 3 list calls
         ok  destination.container_url: by its text a service SAS for the container, permissions `w`, until TIME
         ok  destination.verify_url: by its text a service SAS for the container, permissions `rl`, until TIME
         ok  destination.verify_url: the container http://127.0.0.1:PORT/simlogs/batch-logs exists and can be listed
    a run would start: 0 problems, 0 warnings
    ");
}

#[test]
fn what_cannot_be_understood_is_refused_with_the_nearest_that_can() {
    let dir = tempfile::tempdir().unwrap();
    let seen = |arguments: &[&str]| seen_in(dir.path(), arguments);
    // Without any word, the help is told, and is no success.
    let (bare, help) = (fleetlogs().output().unwrap(), fleetlogs().arg("--help").output().unwrap());
    assert_eq!((bare.status.code(), help.status.code()), (Some(2), Some(0)));
    assert_eq!(String::from_utf8(bare.stderr), String::from_utf8(help.stdout));
    insta::assert_snapshot!(seen(&["runn", "fleetlogs.toml"]), @r"
    exit code: 2
    ----- stderr -----
    error: there is no command `runn`
      help: did you mean `fleetlogs run`?
    ");
    insta::assert_snapshot!(seen(&["run"]), @r"
    exit code: 2
    ----- stderr -----
    error: no config: there is no `fleetlogs.toml` here, and the variable FLEETLOGS_CONFIG is not set
      help: name a config file, or write one with `fleetlogs init`
    ");
    insta::assert_snapshot!(seen(&["run", "fleetlogs.toml", "--acount", "contoso"]), @r"
    exit code: 2
    ----- stderr -----
    error: `fleetlogs run` has no option `--acount`
      help: did you mean `--account`?
    ");
    insta::assert_snapshot!(seen(&["run", "fleetlogs.toml", "--state", "idel"]), @r"
    exit code: 2
    ----- stderr -----
    error: `idel` is not a value of `--state <STATE>`: did you mean `idle`? known states: idle, running, offline, starttaskfailed, waitingforstarttask, unusable, creating, starting, rebooting, reimaging, upgradingos, unknown, leavingpool, preempted, deallocating, deallocated
      help: `fleetlogs run --help` shows its arguments and options
    ");
}

#[test]
fn what_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let seen = |arguments: &[&str]| seen_in(dir.path(), arguments);
    insta::assert_snapshot!(seen(&["resume", "runs/no-such-run"]), @r"
    exit code: 2
    ----- stderr -----
    error: there is no run `runs/no-such-run`
      looked in `runs` (the default): it does not exist
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them
    ");
    insta::assert_snapshot!(seen(&["status", "runs/no-such-run"]), @r"
    exit code: 2
    ----- stderr -----
    error: there is no run `runs/no-such-run`
      looked in `runs` (the default): it does not exist
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them
    ");
    insta::assert_snapshot!(seen(&["verify", "runs/no-such-run"]), @r"
    exit code: 2
    ----- stderr -----
    error: there is no run `runs/no-such-run`
      looked in `runs` (the default): it does not exist
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them
    ");
    insta::assert_snapshot!(seen(&["bundle", "runs/no-such-run"]), @r"
    exit code: 2
    ----- stderr -----
    error: there is no run `runs/no-such-run`
      looked in `runs` (the default): it does not exist
      help: RUN is a run id, the beginning of one, `latest`, or a run directory; `fleetlogs runs` lists them
    ");
    insta::assert_snapshot!(seen(&["bundle", "--check", "no-such-file.zip"]), @r"
    exit code: 2
    ----- stderr -----
    error: `no-such-file.zip`: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(seen(&["history", "no-such-config.toml"]), @r"
    exit code: 2
    ----- stderr -----
    error: cannot read `no-such-config.toml`: No such file or directory (os error 2)
      help: `fleetlogs init` writes a config
    ");
    insta::assert_snapshot!(seen(&["sim", "no-such-scenario.toml"]), @r"
    exit code: 2
    ----- stderr -----
    error: `no-such-scenario.toml`: No such file or directory (os error 2)
    ");
}
