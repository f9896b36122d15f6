//! The pages that somebody follows word by word, done word by word: in an incident, and for a first look. Their commands
//! are run by a shell, in order, and their configs are those of a simulated account.

use std::path::Path;
use std::process::Output;

use crate::stage::{Run, Sim, in_clean_environment};

/// The blocks of a page in one language, each as its text.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

/// The lines of a page's blocks for a shell that call this program.
fn commands(page: &str) -> Vec<String> {
    let lines = blocks(page, "console").join("\n");
    lines.lines().filter(|line| line.starts_with("fleetlogs ")).map(String::from).collect()
}

/// A line in bash, with the program under test first in its path, and without a desktop.
fn in_shell(dir: &Path, line: &str, env: &[(&str, &str)]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_fleetlogs"));
    let others = std::env::var_os("PATH").unwrap_or_default();
    let paths = program.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&others));
    let mut bash = in_clean_environment(Path::new("bash"));
    bash.env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env("PATH", std::env::join_paths(paths).unwrap());
    bash.args(["-c", line]).envs(env.iter().copied()).current_dir(dir).output().unwrap()
}

const FLEET: &str = r#"
[[account]]
name = "contoso"
auth = ["entra"]
[[account.pool]]
id = "render-eu"
nodes = 6
arrival = "100ms"
"#;

/// Follows the page with one of its two configs. With one of them, there is nothing to share.
fn follow_the_incident_page(block: usize, share: i32) {
    let page = include_str!("../../docs/incident.md");
    let sim = Sim::start(FLEET);
    let text = |pointer: &str| sim.ready.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    // The name of an account is the first part of its endpoint, which is an address here.
    let config = blocks(page, "toml")[block]
        .replace(
            "https://contoso.westeurope.batch.azure.com\"",
            &format!("{}\"\nname = \"contoso\"", text("/accounts/0/endpoint")),
        )
        .replace("\"contosologs\"", &format!("\"{}\"", text("/storage/endpoint")));
    sim.write_config(&config);
    std::fs::write(sim.dir.path().join("write.sas"), text("/container_url")).unwrap();
    std::fs::write(sim.dir.path().join("read.sas"), text("/verify_url")).unwrap();
    let identity = text("/identity");
    let env = [("IDENTITY_ENDPOINT", identity.as_str()), ("IDENTITY_HEADER", "any")];

    let commands = commands(page);
    for line in &commands {
        let output = in_shell(sim.dir.path(), line, &env);
        let is_share = line.starts_with("fleetlogs share ");
        let code = if is_share { share } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        if is_share && code == 0 {
            assert!(String::from_utf8_lossy(&output.stdout).contains("sig="), "{output:?}");
            continue;
        }
        // Searches what was said and written for secrets.
        let run = Run::of(sim.dir.path(), output);
        if line == "fleetlogs run" {
            assert_eq!(run.count("verified"), 6, "{}", run.stderr);
        }
    }

    let steps: Vec<_> = commands.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(steps, ["check", "run", "bundle", "share", "resume", "resume"]);
    let bundle = std::fs::read_dir(sim.dir.path())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".zip"));
    assert_eq!(bundle.count(), 1);
    assert_eq!(sim.upload_calls(), 6);
}

#[test]
fn the_incident_page_works_with_sas_that_fleetlogs_creates() {
    follow_the_incident_page(0, 0);
}

/// Only whoever can create a SAS can share one.
#[test]
fn the_incident_page_works_with_sas_that_somebody_gave() {
    follow_the_incident_page(1, 2);
}

#[test]
fn the_quick_start_shows_what_it_says() {
    let page = include_str!("../../docs/guide/quick-start.md");
    let dir = tempfile::tempdir().unwrap();

    let mut codes = Vec::new();
    for line in commands(page) {
        let output = in_shell(dir.path(), &line, &[]);
        let run = Run::of(dir.path(), output);
        codes.push((line.split(' ').nth(1).unwrap().to_owned(), run.code));
        if run.code == 3 {
            // The rest depends on how fast the machine is: nodes vanish before the plan, or during the run.
            assert!(run.stderr.contains("storage blocked from pool isolated-vnet"), "{}", run.stderr);
        }
    }

    let codes: Vec<_> = codes.iter().map(|(command, code)| (command.as_str(), *code)).collect();
    assert_eq!(codes, [("demo", 3), ("runs", 0), ("status", 0), ("report", 0), ("bundle", 0)]);
}
