//! Disks that fail under a run: full, unable to sync, read-only.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::resuming::{FLEET, resume};
use crate::stage::{Run, Sim, assert_manifest_equals_ledger_but_for_unsent_calls, fleetlogs};

const CONFIG: &str = "limits = { rate = 100, concurrency = 4 }";

/// The library that makes the disk fail, built with the C compiler that the build of SQLite needs as well.
pub(crate) fn failing_disk() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/failing_disk.c");
    let library =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("failing_disk_{}.so", fastrand::u64(..)));
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().unwrap();
    assert!(built.success());
    library
}

/// A run whose disk fails at some moment with an error number, and the run after the disk is mended.
fn fails_and_goes_on(call: &str, after: u32, errno: u32, advice: &str) {
    let sim = Sim::start(FLEET);
    let config = sim.config(CONFIG);
    let library = failing_disk();
    let output = fleetlogs()
        .arg("run")
        .arg(config)
        .env("LD_PRELOAD", &library)
        .env("FAIL_CALL", call)
        .env("FAIL_AFTER", after.to_string())
        .env("FAIL_ERRNO", errno.to_string())
        .current_dir(sim.dir.path())
        .output()
        .unwrap();
    std::fs::remove_file(library).unwrap();
    let failed = Run::of(sim.dir.path(), output);
    assert_eq!(failed.code, 6, "{}", failed.stderr);
    assert!(failed.stderr.contains(advice), "{}", failed.stderr);
    let sent = sim.upload_calls();
    assert!((10..140).contains(&sent), "{sent} calls were sent");
    let reason = failed.manifest()["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("the journal cannot be written: ") && reason.contains(advice), "{reason}");

    let run = resume(&sim, failed.dir.as_ref().unwrap(), &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_manifest_equals_ledger_but_for_unsent_calls(&run.manifest(), &sim.ledger());
    assert_eq!(run.count("verified"), 150);
}

#[test]
fn a_full_disk_stops_the_calls_and_nothing_is_lost() {
    let no_space_left = 28;
    fails_and_goes_on("write", 200, no_space_left, "make room on its disk, then resume");
}

/// Nothing is wrong with how the command was used, and nothing was sent.
#[test]
fn a_disk_that_is_full_at_the_very_beginning_is_no_wrong_usage() {
    for file in ["plan.json", "run.db"] {
        let sim = Sim::start(FLEET);
        let library = failing_disk();
        let output = fleetlogs()
            .arg("run")
            .arg(sim.config(CONFIG))
            .env("LD_PRELOAD", &library)
            .envs([("FAIL_CALL", "write"), ("FAIL_AFTER", "0"), ("FAIL_ERRNO", "28"), ("FAIL_FILE", file)])
            .current_dir(sim.dir.path())
            .output()
            .unwrap();
        std::fs::remove_file(library).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{file}: {stderr}");
        assert!(stderr.contains("help: make room on its disk"), "{file}: {stderr}");
        assert_eq!(sim.upload_calls(), 0, "{file}");
    }
}

#[test]
fn a_disk_that_fails_to_sync_stops_the_calls_and_nothing_is_lost() {
    let input_output_error = 5;
    fails_and_goes_on("sync", 60, input_output_error, "its disk is read-only or fails");
}

#[test]
fn a_disk_that_turns_read_only_stops_the_calls_and_nothing_is_lost() {
    let read_only_file_system = 30;
    fails_and_goes_on("write", 200, read_only_file_system, "its disk is read-only or fails");
}
