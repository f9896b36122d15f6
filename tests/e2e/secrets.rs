//! Nothing that a service echoes gets into a file or onto a screen: neither the secrets that it was sent, in any spelling,
//! nor those of others that it knows.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

use crate::stage::{Run, Sim, fleetlogs, secrets_of};

/// What is left of a secret in every spelling: its longest run of letters and digits, as escapes change other characters;
/// its Base64 at all three alignments without what neighbours change; its text as hex, and the hex of its bytes.
fn traces(secret: &str) -> Vec<String> {
    let hex = fleetlogs_model::hex::hex;
    let run = secret.split(|c: char| !c.is_ascii_alphanumeric()).max_by_key(|run| run.len()).unwrap();
    let mut all = vec![hex(secret.as_bytes())];
    if run.len() >= 8 {
        all.push(run.to_lowercase());
    }
    for shift in 0..3 {
        let padded = format!("{}{secret}", &"xx"[..shift]);
        let encoded = BASE64_STANDARD_NO_PAD.encode(&padded);
        all.push(encoded[(shift * 8_usize).div_ceil(6)..padded.len() * 8 / 6].to_lowercase());
    }
    all.extend(BASE64_STANDARD.decode(secret).ok().map(|bytes| hex(&bytes)));
    all
}

/// Every file below a directory.
fn files(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), all);
        } else {
            all.push(entry.path());
        }
    }
}

/// Searches texts for traces of the secrets that the simulator handed out, and of others.
fn assert_clean(sim: &Sim, more: &[&str], written: &[(String, Vec<u8>)]) {
    let mut secrets = secrets_of(sim.dir.path());
    assert!(!secrets.is_empty());
    secrets.extend(more.iter().map(ToString::to_string));
    for (place, bytes) in written {
        // Both alphabets of Base64 count as one.
        let text = String::from_utf8_lossy(bytes).to_lowercase().replace('-', "+").replace('_', "/");
        for secret in &secrets {
            for trace in traces(secret) {
                let trace = trace.replace('-', "+").replace('_', "/");
                if let Some(at) = text.find(&trace) {
                    let around: String =
                        text[..at].chars().rev().take(60).collect::<Vec<_>>().iter().rev().collect();
                    panic!("{place} has a trace of {}…: …{around}[here]", &secret[..6]);
                }
            }
        }
    }
}

/// All that a run wrote, and what other commands make of it.
fn everything(sim: &Sim, run: &Run) -> Vec<(String, Vec<u8>)> {
    let mut written = vec![
        ("stdout".to_owned(), run.stdout.clone().into_bytes()),
        ("stderr".to_owned(), run.stderr.clone().into_bytes()),
    ];
    let dir = run.dir.as_ref().unwrap();
    for arguments in [&["status"][..], &["report"], &["ticket"], &["bundle", "--output", "out.zip"]] {
        let (command, more) = arguments.split_first().unwrap();
        let done = fleetlogs()
            .arg(command)
            .arg(dir)
            .args(more)
            .arg("-vv")
            .current_dir(sim.dir.path())
            .output()
            .unwrap();
        written.push((format!("stdout of {command}"), done.stdout));
        written.push((format!("stderr of {command}"), done.stderr));
    }
    let bundle = sim.dir.path().join("out.zip");
    assert!(bundle.exists(), "{}", String::from_utf8_lossy(&written.last().unwrap().1));
    let unpacked = Command::new("unzip").arg("-p").arg(&bundle).output().unwrap();
    let names = Command::new("unzip").arg("-Z1").arg(&bundle).output().unwrap();
    written.push(("the bundle".into(), unpacked.stdout));
    written.push(("names in the bundle".into(), names.stdout));
    let mut all = vec![sim.dir.path().join("events.jsonl")];
    files(&sim.dir.path().join("runs"), &mut all);
    for file in all {
        let mut bytes = Vec::new();
        std::fs::File::open(&file).unwrap().read_to_end(&mut bytes).unwrap();
        written.push((file.display().to_string(), bytes));
    }
    written
}

const STRANGER: &str = "AbCq7Zk8fWm1NHc2Rz0TtVb7uXyA4sEoPj9LdGiK5Qk=";

#[test]
fn what_a_service_echoes_is_nowhere() {
    for (into, nodes) in [("error", 18), ("answer", 18), ("redirect", 18)] {
        for on in ["upload", "list-nodes", "list-pools", "get-node"] {
            if on != "upload" && into != "answer" {
                continue;
            }
            let sim = Sim::start(&format!(
                r#"
                [[account]]
                name = "contoso"
                [[account.pool]]
                id = "good"
                nodes = {nodes}
                files = 1
                arrival = "50ms"
                node_error = {{ code = "NotFound", message = "not found; BlobSource: https://files.blob.core.windows.net/rf/setup.sh?sr=b&sp=r&sig={}&sv=2018-03-28" }}
                resize_error = "AllocationFailed"
                resize_message = "see https://files.blob.core.windows.net/rf?sig={}"
                [[account.fault]]
                kind = "echo"
                on = "{on}"
                into = "{into}"
                [[storage.fault]]
                kind = "echo"
                skip = 1
                first = 2
                "#,
                STRANGER.replace('=', "%3D"),
                STRANGER.replace('=', "%253D"),
            ));
            let config = sim.config("");
            let run = sim.run_with(&config, &["-vv", "--events", "events.jsonl"]);
            assert!(run.dir.is_some(), "{into} {on}: {}", run.stderr);
            let written = everything(&sim, &run);
            let shown =
                written.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains("<redacted>"));
            assert!(shown, "{into} {on}: nothing was echoed\n{}", run.stderr);
            assert_clean(&sim, &[STRANGER], &written);
        }
    }
}

#[test]
fn a_secret_as_a_key_of_the_config_is_not_printed_by_any_command() {
    let sim = Sim::start("[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"p\"\nnodes = 1\n");
    let config = sim.config("");
    let text = std::fs::read_to_string(&config).unwrap();
    let run = sim.run(&config);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let dir = run.dir.unwrap();
    for (place, line) in
        [("", "\"https://a.example/c?sr=c&sig={}\" = 1\n"), ("limits", "[limits]\n\"sig={}\" = 1\n")]
    {
        std::fs::write(&config, line.replace("{}", STRANGER) + &text.replace(&format!("[{place}]"), ""))
            .unwrap();
        for arguments in [
            vec!["run".as_ref(), config.as_os_str()],
            vec!["plan".as_ref(), config.as_os_str()],
            vec!["check".as_ref(), config.as_os_str()],
            vec!["check".as_ref(), config.as_os_str(), "--json".as_ref()],
            vec!["schedule".as_ref(), config.as_os_str(), "--list".as_ref()],
            vec!["share".as_ref(), dir.as_os_str(), "--config".as_ref(), config.as_os_str()],
        ] {
            let done = fleetlogs().args(&arguments).current_dir(sim.dir.path()).output().unwrap();
            let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
            assert_eq!(done.status.code(), Some(2), "{arguments:?}: {said}");
            assert!(said.contains("unknown key") && said.contains("<redacted>"), "{arguments:?}: {said}");
            assert!(!said.contains(&STRANGER[..12]), "{arguments:?}: {said}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_everyone_can_change_is_refused_and_links_in_it_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let sim = Sim::start("[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"p\"\nnodes = 1\n");
    let config = sim.config("[[snapshot]]\nname = \"s\"\n");
    let runs = sim.dir.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    let mode = |mode| std::fs::set_permissions(&runs, std::fs::Permissions::from_mode(mode)).unwrap();
    let once = || {
        let arguments = ["schedule".as_ref(), config.as_os_str(), "--once".as_ref(), "s".as_ref()];
        fleetlogs().args(arguments).current_dir(sim.dir.path()).output().unwrap()
    };
    mode(0o777);
    for arguments in [&["run"][..], &["check"], &["schedule", "--once", "s"]] {
        let (name, rest) = arguments.split_first().unwrap();
        let done =
            fleetlogs().arg(name).arg(&config).args(rest).current_dir(sim.dir.path()).output().unwrap();
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert_eq!(done.status.code(), Some(if *name == "check" { 5 } else { 2 }), "{said}");
        assert!(said.contains("every user of this machine can write to this directory"), "{said}");
    }
    assert_eq!(sim.upload_calls(), 0);
    mode(0o775);
    let victim = sim.dir.path().join("victim");
    for name in ["schedule.db.lock", "schedule.db"] {
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, runs.join(name)).unwrap();
        let done = once();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_ne!(done.status.code(), Some(0), "{name}: {said}");
        assert!(said.contains("it is a symbolic link"), "{name}: {said}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        std::fs::remove_file(runs.join(name)).unwrap();
    }
    assert_eq!(sim.upload_calls(), 0);
    assert_eq!(once().status.code(), Some(0));
    // A group may share it.
    mode(0o2775);
    let run = sim.run(&config);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let dir = run.dir.as_ref().unwrap();
    for name in ["run.lock", "run.db"] {
        std::fs::write(&victim, "precious").unwrap();
        std::fs::rename(dir.join(name), dir.join("aside")).unwrap();
        symlink(&victim, dir.join(name)).unwrap();
        let done = fleetlogs()
            .args(["resume".as_ref(), dir.as_os_str()])
            .current_dir(sim.dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_ne!(done.status.code(), Some(0), "{name}: {said}");
        assert!(said.contains("it is a symbolic link"), "{name}: {said}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        std::fs::remove_file(dir.join(name)).unwrap();
        std::fs::rename(dir.join("aside"), dir.join(name)).unwrap();
    }
}
