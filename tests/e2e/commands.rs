//! The other commands, as a person or a script uses them.

use serde_json::Value;

use crate::stage::{Sim, assert_manifest_equals_ledger, fleetlogs};

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

#[test]
fn plan_shows_who_would_be_asked_and_sends_no_upload() {
    let sim = Sim::start(TWO_POOLS);
    let config = sim.config("");
    let text = fleetlogs().arg("plan").arg(&config).output().unwrap();
    assert!(text.status.success());
    let table = String::from_utf8(text.stdout).unwrap();
    assert!(table.contains("contoso") && table.contains("preempted"), "{table}");
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
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("the config does not name"), "{}", run.stderr);
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
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
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
    let init = fleetlogs().arg("init").output().unwrap();
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
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("loopback"), "{refused:?}");
}
