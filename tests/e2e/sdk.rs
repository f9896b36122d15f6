//! The official Azure SDKs for Python (Batch and Blob Storage) as clients of the simulator, and a JSON Schema validator
//! as a reader of the manifest. If an SDK fails, the simulator is wrong.

use std::path::PathBuf;
use std::process::Command;

use crate::stage::{Sim, fleetlogs};

fn tests_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

fn python() -> Command {
    let program = tests_dir().join("tools/venv/bin/python");
    assert!(program.exists(), "{} is missing; `bash tests/all.sh` makes it", program.display());
    Command::new(program)
}

#[test]
#[ignore = "needs the SDK in tests/tools; tests/all.sh installs it and runs this"]
fn the_official_sdks_list_and_upload_against_the_simulator() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "Pool-A"
        nodes = 23
        states = { creating = 0.1 }
        [[account.pool]]
        id = "pool-b"
        nodes = 5
        [[account.pool]]
        id = "pool-c"
        nodes = 1
        [[account.job]]
        id = "nightly"
        pool = "Pool-A"
        tasks = 10
        gone = 2
        failed = 3
        [[account.job]]
        id = "mpi"
        pool = "pool-b"
        tasks = 4
        instances = 3
        "#,
    );
    let ready = sim.dir.path().join("ready.json");
    let check = python().arg(tests_dir().join("sdk/check.py")).arg(ready).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
    assert!(check.status.success(), "{said}");
    assert!(sim.upload_calls() > 0, "the SDK uploaded nothing: {said}");
    assert!(said.contains("contoso/mpi: subtasks are on nodes"), "the SDK saw no jobs: {said}");
    assert!(said.contains("storage: each has its own answer"), "storage was not looked at: {said}");
}

#[test]
#[ignore = "needs jsonschema in tests/tools; tests/all.sh installs it and runs this"]
fn a_manifest_fits_its_published_schema() {
    let sim = Sim::start(
        r#"
        [[account]]
        name = "contoso"
        [[account.pool]]
        id = "a"
        nodes = 20
        arrival = "50ms"
        states = { creating = 0.1, unusable = 0.2 }
        [[account.fault]]
        kind = "throttle"
        share = 0.2
        "#,
    );
    let run = sim.run(&sim.config("limits = { rate = 100 }"));
    let schema = sim.dir.path().join("schema.json");
    std::fs::write(&schema, fleetlogs().args(["schema", "manifest"]).output().unwrap().stdout).unwrap();
    let fits = |manifest: &std::path::Path| {
        let program = "import json, sys, jsonschema\n\
            schema, manifest = (json.load(open(path)) for path in sys.argv[1:])\n\
            validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())\n\
            validator.check_schema(schema)\n\
            sys.exit('\\n'.join(error.message for error in validator.iter_errors(manifest)) or 0)\n";
        python().args(["-c", program]).arg(&schema).arg(manifest).output().unwrap()
    };
    let checked = fits(&run.dir.as_ref().unwrap().join("manifest.json"));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    // A validator that accepts anything would prove nothing.
    let mut wrong = run.manifest();
    wrong["nodes"][0]["outcome"] = "splendid".into();
    let path = sim.dir.path().join("wrong.json");
    std::fs::write(&path, wrong.to_string()).unwrap();
    assert!(!fits(&path).status.success());
}
