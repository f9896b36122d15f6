//! `fleetlogs demo`: an installed program shows itself, without a config, a checkout or an account.

use std::path::Path;

use crate::stage::{Run, fleetlogs};

fn seen(dir: &Path, arguments: &[&str]) -> Run {
    Run::of(dir, fleetlogs().args(arguments).current_dir(dir).output().unwrap())
}

/// The command lines after `next:`.
fn next_steps(stderr: &str) -> Vec<&str> {
    let (_, steps) = stderr.split_once("\nnext:\n").unwrap_or_else(|| panic!("{stderr}"));
    steps.lines().filter_map(|line| line.trim().strip_prefix("fleetlogs ")).collect()
}

#[test]
fn the_demo_runs_in_an_empty_directory_and_what_it_says_next_works() {
    let dir = tempfile::tempdir().unwrap();
    let demo = seen(dir.path(), &["demo"]);
    assert_eq!((demo.code, demo.stdout.as_str()), (3, ""), "{}", demo.stderr);
    // Four nodes vanish at once: a slow machine does not see them.
    assert!((617..=621).contains(&demo.count("planned")), "{}", demo.stderr);
    assert!(demo.stderr.contains("! PARTIAL"), "{}", demo.stderr);
    assert!(demo.stderr.contains("exit code 3, is the right answer"), "{}", demo.stderr);
    let written: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(written, ["runs"]);
    for name in ["demo.toml", "demo-fleet.toml"] {
        let builtin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name);
        let written = std::fs::read_to_string(dir.path().join("runs").join(name)).unwrap();
        assert_eq!(written, std::fs::read_to_string(builtin).unwrap(), "{name}");
    }

    let steps = next_steps(&demo.stderr);
    assert_eq!(steps.len(), 4, "{steps:?}");
    for step in steps {
        let mut words: Vec<_> = step.split(' ').collect();
        // Without a desktop, a browser does not start; and the simulator serves until it is stopped.
        words.retain(|word| *word != "--open");
        if words[0] == "sim" {
            assert!(dir.path().join(words[1]).is_file(), "{step}");
            words = vec!["run", "runs/demo-fleet.toml"];
            let refused = seen(dir.path(), &words);
            assert!(refused.stderr.contains(&format!("`fleetlogs {step}`")), "{}", refused.stderr);
            continue;
        }
        let next = seen(dir.path(), &words);
        assert_eq!(next.code, 0, "{step}: {}", next.stderr);
    }
    // What the reports say of the config holds, too: it is there. The picture of the README shows the same.
    let picture = include_str!("../../docs/demo.svg");
    assert!(picture.len() < 100_000, "{} bytes", picture.len());
    for said in [
        "! PARTIAL",
        "storage blocked from pool isolated-vnet: 12 nodes of fabrikam",
        "let the nodes of pool isolated-vnet reach the storage account (firewall,",
        "fleetlogs run runs/demo.toml",
    ] {
        assert!(demo.stderr.contains(said) && picture.contains(said), "{said}: {}", demo.stderr);
    }
    let checked = seen(dir.path(), &["check", "runs/demo.toml"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
}

#[test]
fn a_changed_file_of_the_demo_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("runs")).unwrap();
    let fleet = dir.path().join("runs/demo-fleet.toml");
    std::fs::write(&fleet, "seed = 7\n").unwrap();
    insta::assert_snapshot!(seen(dir.path(), &["demo"]).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `runs/demo-fleet.toml` is not the file of this demo, and is not overwritten
      help: rename it, or write the demo into another directory with `--runs-dir`
    ");
    assert_eq!(std::fs::read_to_string(&fleet).unwrap(), "seed = 7\n");
}
