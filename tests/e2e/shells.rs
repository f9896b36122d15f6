//! What shells, manual readers and desktops get from the program.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::stage::fleetlogs;

const RUN: &str = "20261122T093000Z-1a2b";

/// A directory with two runs and a config; the newer run has a plan with a pool that needs quotes.
fn with_runs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for run in ["20261121T093000Z-00ff", RUN] {
        std::fs::create_dir_all(dir.path().join("runs").join(run)).unwrap();
    }
    let plan =
        r#"{"accounts":[{"name":"contoso"}],"pools":[{"id":"render-eu"},{"id":"blocked"}],"nodes":[{}]}"#;
    std::fs::write(dir.path().join("runs").join(RUN).join("plan.json"), plan).unwrap();
    let config = "[[account]]\nname = \"fabrikam\"\n[[snapshot]]\nname = \"nightly\"\n";
    std::fs::write(dir.path().join("fleetlogs.toml"), config).unwrap();
    dir
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A shell of this name, if the machine has it, with the program under test first in its path.
fn shell(name: &str, dir: &Path) -> Option<Command> {
    let program = Path::new(env!("CARGO_BIN_EXE_fleetlogs"));
    let others = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::split_paths(&others);
    let path = std::env::join_paths(program.parent().map(Path::to_owned).into_iter().chain(paths)).unwrap();
    Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let mut command = Command::new(name);
    command
        .env("PATH", path)
        .env_remove("FLEETLOGS_RUNS_DIR")
        .env_remove("FLEETLOGS_CONFIG")
        .current_dir(dir);
    Some(command)
}

/// What bash offers for a line, of which the last word is incomplete.
fn offered_by_bash(dir: &Path, words: &[&str]) -> Vec<String> {
    let script = r#"
        set -eu
        source <(fleetlogs completions bash)
        complete -p fleetlogs | grep -q -- '-F' || exit 3
        function=$(complete -p fleetlogs | sed 's/.*-F \([^ ]*\).*/\1/')
        COMP_WORDS=(fleetlogs "$@") COMP_CWORD=$# COMP_TYPE=9 COMPREPLY=()
        COMP_LINE="fleetlogs $*" COMP_POINT=${#COMP_LINE}
        "$function" fleetlogs "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = shell("bash", dir).expect("bash, which these tests need");
    let said = text(bash.args(["-c", script, "bash"]).args(words).output().unwrap());
    said.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_commands_options_and_what_is_on_the_disk() {
    let dir = with_runs();
    let offered = |words: &[&str]| offered_by_bash(dir.path(), words);
    assert_eq!(offered(&["sta"]), ["status"]);
    assert_eq!(offered(&["status", ""])[..3], ["latest", RUN, "20261121T093000Z-00ff"]);
    assert_eq!(offered(&["status", "20261122"]), [RUN]);
    assert_eq!(offered(&["run", "--pool", ""]), ["blocked", "render-eu"]);
    assert_eq!(offered(&["plan", "--account", ""]), ["contoso", "fabrikam"]);
    assert_eq!(offered(&["schedule", "--once", ""]), ["nightly"]);
    assert_eq!(offered(&["resume", RUN, "--retry", "f"]), ["failed"]);
    assert!(offered(&["run", "--w"]).is_empty() && offered(&["run", "--la"]) == ["--last"]);
    // The file is offered, as for every path.
    assert!(offered(&["run", "fleet"]).contains(&"fleetlogs.toml".into()));
}

/// The other shells ask in their own way, and get the same answers. Their scripts name the program and the question.
#[test]
fn every_shell_has_a_script_and_gets_the_same_answers() {
    let dir = with_runs();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(fleetlogs().args(["completions", shell]).output().unwrap());
        assert!(script.contains("FLEETLOGS_COMPLETE") && script.contains("fleetlogs"), "{shell}: {script}");
        assert!(
            !script.contains("target/debug"),
            "{shell}: the script holds a path of this machine: {script}"
        );
        // The last argument is the word at the cursor; bash and zsh give its place in a variable.
        let mut ask = fleetlogs();
        ask.env("FLEETLOGS_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "2").env("_CLAP_IFS", "\n");
        ask.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "false");
        let answer =
            text(ask.args(["--", "fleetlogs", "status", "2026"]).current_dir(dir.path()).output().unwrap());
        let offered: Vec<_> = answer.lines().map(|line| line.split(['\t', ':']).next().unwrap()).collect();
        assert_eq!(offered, [RUN, "20261121T093000Z-00ff"], "{shell}: {answer}");
    }
    let unknown = fleetlogs().args(["completions", "tcsh"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

/// A shell completes before there is any run or config, and where they cannot be read.
#[test]
fn completion_is_silent_where_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let names = |words: &[&str]| {
        let mut offered = offered_by_bash(dir.path(), words);
        offered.retain(|word| !word.starts_with('-'));
        offered
    };
    assert_eq!(names(&["status", ""]), [""; 0]);
    std::fs::write(dir.path().join("fleetlogs.toml"), "not toml [").unwrap();
    std::fs::create_dir_all(dir.path().join("runs").join(RUN)).unwrap();
    std::fs::write(dir.path().join("runs").join(RUN).join("plan.json"), "{").unwrap();
    assert_eq!(names(&["run", "--pool", ""]), [""; 0]);
    assert_eq!(names(&["status", "lat"]), ["latest"]);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    text(fleetlogs().arg("man").arg("--dir").arg(&pages).output().unwrap());
    let mut count = 0;
    for page in std::fs::read_dir(&pages).unwrap() {
        let path = page.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let page = std::fs::read_to_string(&path).unwrap();
        let parts =
            [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", "GLOBAL OPTIONS", ".SH \"EXIT STATUS\""];
        let mut places =
            parts.iter().map(|part| page.find(part).unwrap_or_else(|| panic!("{name} has no {part}")));
        assert!(places.by_ref().is_sorted(), "{name}");
        let title = page.lines().find(|line| line.starts_with(".TH")).unwrap();
        assert!(title.contains(&name.to_uppercase()), "{title}");
        if let Some(command) = name.strip_prefix("fleetlogs-") {
            assert!(page.contains(".SH EXAMPLES") && page.contains(".SH \"SEE ALSO\""), "{name}");
            let one = text(fleetlogs().args(["man", command]).output().unwrap());
            assert_eq!(one, page, "{name}");
        }
        // A program that knows roff has nothing to say against it.
        for line in page.lines().filter(|line| line.starts_with('.')) {
            let request = line.split(' ').next().unwrap();
            assert!(
                [".TH", ".SH", ".IP", ".SS", ".TP", ".RS", ".RE", ".PP", ".br", ".ie", ".el"]
                    .contains(&request),
                "{name}: {line}"
            );
        }
        count += 1;
    }
    assert!(count > 15, "{count} pages");
    let unknown = fleetlogs().args(["man", "xyzzy"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn the_version_is_one_line_or_all_that_is_known_of_the_build() {
    let (short, long) =
        (text(fleetlogs().arg("-V").output().unwrap()), text(fleetlogs().arg("--version").output().unwrap()));
    let plain = format!("fleetlogs {}", env!("CARGO_PKG_VERSION"));
    assert!(short.starts_with(&plain) && short.lines().count() == 1, "{short}");
    let lines: Vec<_> = long.lines().collect();
    assert_eq!(lines[0], short.trim_end());
    assert!(lines[1].starts_with("target: ") && lines[2].starts_with("rustc: 1."), "{long}");
}
