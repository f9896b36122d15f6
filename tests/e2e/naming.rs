//! What a run is called, from its first line on, and which words may be left out.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

#[cfg(target_os = "linux")]
use crate::stage::wait_for;
use crate::stage::{Run, Sim, fleetlogs};

const FLEET: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 2
arrival = "50ms"
"#;

fn call(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let mut command = fleetlogs();
    command.args(arguments).current_dir(dir).envs(environment.iter().copied());
    Run::of(dir, command.output().unwrap())
}

fn call_with_stdin(dir: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut command = fleetlogs();
    command.args(arguments).current_dir(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A desktop is a variable, and a program that opens files.
#[cfg(target_os = "linux")]
fn the_page_is_opened_by_the_desktop(dir: &Path, id: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let page = dir.join("runs").join(id).join("report.html");
    let none = call(dir, &["report", "latest", "--open", "-q"], &[("DISPLAY", ""), ("WAYLAND_DISPLAY", "")]);
    let help = format!("help: open it yourself: {}", page.display());
    assert!(none.code == 0 && none.stderr.contains(&help), "{}", none.stderr);

    let record = dir.join("opened");
    let opener = dir.join("xdg-open");
    std::fs::write(&opener, format!("#!/bin/sh\nprintf %s \"$1\" > '{}'\n", record.display())).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let run = call(dir, &["report", "latest", "--open", "-q"], &[("DISPLAY", ":0"), ("PATH", &path)]);
    assert_eq!((run.code, &*run.stderr), (0, ""));
    let asked = wait_for("the program that opens the page", || {
        std::fs::read_to_string(&record).ok().filter(|asked| !asked.is_empty())
    });
    assert_eq!(asked, page.to_str().unwrap());
}

#[test]
fn a_run_is_named_in_its_first_line_and_found_by_that_name() {
    let sim = Sim::start(FLEET);
    let config = sim.config("");
    let dir = sim.dir.path();
    // Without CONFIG it is fleetlogs.toml here.
    let run = call(dir, &["run", "--last", "30m", "--json"], &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let id = document["run_id"].as_str().unwrap();
    let first = format!("run {id} in runs/{id}; watch it: fleetlogs status {id} --follow");
    assert_eq!(run.stderr.lines().next(), Some(&*first));
    let window = &run.manifest()["window"];
    let time = |name: &str| {
        let text = window[name].as_str().unwrap();
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
    };
    assert_eq!(time("end") - time("start"), time::Duration::minutes(30));

    let by_path = call(dir, &["status", &format!("runs/{id}")], &[]);
    assert_eq!(by_path.code, 0, "{}", by_path.stderr);
    for name in [id, &id[..17], "latest", &format!("runs/{id}/report.html"), &format!("runs/{id}/")] {
        let run = call(dir, &["status", name], &[]);
        assert_eq!((run.code, &run.stdout), (0, &by_path.stdout), "{name}: {}", run.stderr);
    }
    #[cfg(target_os = "linux")]
    the_page_is_opened_by_the_desktop(dir, id);
    // The window of an option is no change of the config.
    let resumed = call(dir, &["resume", "latest"], &[]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);

    let listed: Value = serde_json::from_str(&call(dir, &["runs", "--json"], &[]).stdout).unwrap();
    assert_eq!(listed["schema"], "fleetlogs.runs/v1");
    let [listed] = listed["runs"].as_array().unwrap().as_slice() else { panic!("one run: {listed}") };
    assert_eq!(listed["run_id"], id);
    let told = [&listed["state"], &listed["outcome"], &listed["latest"]].map(ToString::to_string);
    assert_eq!(told, [r#""ended""#, r#""complete""#, "true"]);
    assert_eq!(listed["config"].as_str(), config.to_str());
    assert_eq!(listed["counts"]["verified"], 2);
    let text = call(dir, &["runs"], &[]).stdout;
    assert!(text.lines().nth(1).unwrap().starts_with(id), "{text}");

    // Where runs are looked for is for the option, then the variable.
    let elsewhere = [("FLEETLOGS_RUNS_DIR", "elsewhere")];
    assert_eq!(call(dir, &["report", "latest"], &elsewhere).code, 2);
    assert_eq!(call(dir, &["report", "latest", "--runs-dir", "runs"], &elsewhere).code, 0);
    // A config that is named by the variable, from another directory. Its `output.dir` is in that directory.
    let below = dir.join("below");
    std::fs::create_dir(&below).unwrap();
    let by_variable = [("FLEETLOGS_CONFIG", config.to_str().unwrap())];
    let planned = call(&below, &["plan", "--json"], &by_variable);
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    let none = call(&below, &["runs"], &by_variable);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert_eq!(none.stderr, "no runs in runs/ (the default)\n");
    insta::assert_snapshot!(call(&below, &["check"], &[]).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: no config: there is no `fleetlogs.toml` here, and the variable FLEETLOGS_CONFIG is not set
      help: name a config file, or write one with `fleetlogs init`
    ");
}

#[test]
fn a_config_comes_from_stdin_and_is_asked_for_again() {
    let sim = Sim::start(FLEET);
    let text = std::fs::read_to_string(sim.config("")).unwrap();
    let dir = sim.dir.path();
    std::fs::remove_file(dir.join("fleetlogs.toml")).unwrap();
    let run = Run::of(dir, call_with_stdin(dir, &["run", "-", "--quiet"], &text));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "quiet, with secrets beside the working directory");
    insta::assert_snapshot!(call(dir, &["verify", "latest"], &[]).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: this run was started with a config from stdin, which is kept nowhere
      help: pass the same config again, with `--config FILE` or `--config -`
    ");
    let verified = call_with_stdin(dir, &["verify", "latest", "--config", "-"], &text);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    let wrong = call_with_stdin(dir, &["check", "-"], "rate = 5\n");
    let wrong = Run::of(dir, wrong);
    assert!(wrong.stderr.contains("<stdin>:1"), "{}", wrong.stderr);
    assert_eq!(wrong.code, 2);
}
