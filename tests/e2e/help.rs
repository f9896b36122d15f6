//! The help of the program and of every command, as a person reads it, and that the reference names all of it.

use std::path::Path;

use crate::stage::fleetlogs;

/// The commands, as `--help` lists them.
fn commands() -> Vec<String> {
    let help = help(&[]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // Deeper lines continue the one before.
    let starts =
        list.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    starts.filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

fn help(command: &[&str]) -> String {
    let output = fleetlogs().args(command).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The options that a help describes, each as its whole paragraphs.
fn options(help: &str) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    let list = help.split("\nOptions:\n").nth(1).unwrap().split("\nExit codes").next().unwrap();
    for line in list.lines() {
        if line.trim_start().starts_with('-') && !line.starts_with("          ") {
            options.push(String::new());
        }
        let option = options.last_mut().unwrap();
        option.push_str(line);
        option.push('\n');
    }
    options.iter().map(|option| option.trim_end().to_owned()).collect()
}

/// The help of a command without the options that every command has; each of those is there word for word.
fn own_help(command: &str) -> String {
    let help = help(&[command]);
    let mut own = options(&help);
    for common in options(&self::help(&[])).iter().filter(|option| !option.contains("--version")) {
        let at = own.iter().position(|option| option == common);
        own.remove(at.unwrap_or_else(|| panic!("`{command}` does not have\n{common}\nin\n{help}")));
    }
    let rest = help.split("\n\nOptions:").next().unwrap();
    if own.is_empty() { rest.to_owned() } else { format!("{rest}\n\nOptions:\n{}", own.join("\n\n")) }
}

#[test]
fn the_program_introduces_itself() {
    insta::assert_snapshot!(help(&[]), @r"
    Collect the Batch service logs of a whole Azure Batch fleet, and prove which nodes were collected

    Usage: fleetlogs [OPTIONS] <COMMAND>

    Commands:
      run       Collect logs: plan, execute, verify, report
      resume    Resume an interrupted run
      status    Show the progress of a run, live or finished
      plan      Show which nodes a run would call and which it would skip, and why; sends no upload
      check     Check config, credentials, permissions, clocks and storage; sends no upload
      report    Write the reports of a run again from its journal
      history   Show which time ranges a series of snapshots covers for each node, and every gap
      verify    Check that the files of a run are still there and unchanged
      share     Create a read-only SAS for support and print it once
      unshare   Revoke the SAS of a run that are backed by a stored access policy
      ticket    Open a support ticket for a run, or add a message to one; shows what it would send, and
                asks first
      bundle    Create the escalation bundle of a run, or check one
      schedule  Run snapshots automatically: on a schedule, when nodes go bad, on alerts
      sim       Serve a simulated fleet on loopback
      init      Print a config with every key, its default and a comment
      schema    Print a JSON Schema
      help      Print this message or the help of the given subcommand(s)

    Options:
          --json
              Print one JSON document on stdout instead of text

          --events <FILE>
              Append every event to this file as a JSON line

      -v, --verbose...
              More log output (-vv for everything)

      -q, --quiet
              Print errors only

          --log-format <FORMAT>
              Format of the log lines on stderr

              Possible values:
              - text: For people
              - json: For programs

              [default: text]

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Exit codes: 0 complete, 1 defect in fleetlogs, 2 usage or config, 3 partial, 4 nothing collected, 5
    refused before any upload was sent, 6 interrupted and resumable, 7 error budget spent and resumable,
    8 no node selected.
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a picture for each command")]
fn every_command_explains_itself() {
    let listed = commands();
    let expected = [
        "run", "resume", "status", "plan", "check", "report", "history", "verify", "share", "unshare",
        "ticket", "bundle", "schedule", "sim", "init", "schema", "help",
    ];
    assert_eq!(listed, expected, "a new command has its help in this test");
    insta::assert_snapshot!(own_help("run"), @r"
    Collect logs: plan, execute, verify, report

    Usage: fleetlogs run [OPTIONS] [CONFIG]

    Arguments:
      [CONFIG]
              The config file, `-` for stdin [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]

    Options:
          --plan <FILE>
              Run exactly this plan (a plan.json) instead of making one

          --account <PATTERN>
              Select only accounts with a matching name

          --pool <PATTERN>
              Select only pools with a matching id

          --node <PATTERN>
              Select only nodes with a matching id

          --state <STATE>
              Select only nodes in this state; replaces `nodes.states` of the config

          --job <JOB>
              Select only nodes on which tasks of this job ran; replaces `jobs` of the config

          --last <TIME>
              Collect the logs of this long, up to now, such as 30m; replaces [window] of the config

          --start <TIME>
              Collect the logs from this time on, such as 2026-11-22T08:00:00Z

          --end <TIME>
              Collect the logs up to this time [default: now]

          --around <TIME>
              Collect the logs around this time: `before` and `after` of the config, or 30m each
    ");
    insta::assert_snapshot!(own_help("resume"), @r"
    Resume an interrupted run

    Usage: fleetlogs resume [OPTIONS] <RUN>

    Arguments:
      <RUN>
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config

          --config <FILE>
              Use this config file instead of the one that the run was started with

          --retry <OUTCOMES>
              Retry nodes that ended with these outcomes

              Possible values:
              - failed:     No call succeeded
              - incomplete: Files were missing at the deadline
              - adopted:    Files are there, and nothing shows whether they are all
              - gone:       The node no longer existed
              - empty:      The node had no files

          --accept-changes
              Resume even if the config has changed since the run was started, or the run directory is a copy
    ");
    insta::assert_snapshot!(own_help("status"), @r"
    Show the progress of a run, live or finished

    Usage: fleetlogs status [OPTIONS] <RUN>

    Arguments:
      <RUN>
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config

      -f, --follow
              Update once a second until no process works on the run
    ");
    insta::assert_snapshot!(own_help("plan"), @r"
    Show which nodes a run would call and which it would skip, and why; sends no upload

    Usage: fleetlogs plan [OPTIONS] [CONFIG]

    Arguments:
      [CONFIG]
              The config file, `-` for stdin [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]

    Options:
          --nodes
              List every node

          --account <PATTERN>
              Select only accounts with a matching name

          --pool <PATTERN>
              Select only pools with a matching id

          --node <PATTERN>
              Select only nodes with a matching id

          --state <STATE>
              Select only nodes in this state; replaces `nodes.states` of the config

          --job <JOB>
              Select only nodes on which tasks of this job ran; replaces `jobs` of the config

          --last <TIME>
              Collect the logs of this long, up to now, such as 30m; replaces [window] of the config

          --start <TIME>
              Collect the logs from this time on, such as 2026-11-22T08:00:00Z

          --end <TIME>
              Collect the logs up to this time [default: now]

          --around <TIME>
              Collect the logs around this time: `before` and `after` of the config, or 30m each

      -o, --output <FILE>
              Save the plan to this file, for `run --plan`
    ");
    insta::assert_snapshot!(own_help("check"), @r"
    Check config, credentials, permissions, clocks and storage; sends no upload

    Usage: fleetlogs check [OPTIONS] [CONFIG]

    Arguments:
      [CONFIG]
              The config file, `-` for stdin [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]

    Options:
          --probe-write
              Write a blob as a node would, and delete it again

          --account <PATTERN>
              Select only accounts with a matching name

          --pool <PATTERN>
              Select only pools with a matching id

          --node <PATTERN>
              Select only nodes with a matching id

          --state <STATE>
              Select only nodes in this state; replaces `nodes.states` of the config

          --job <JOB>
              Select only nodes on which tasks of this job ran; replaces `jobs` of the config

          --last <TIME>
              Collect the logs of this long, up to now, such as 30m; replaces [window] of the config

          --start <TIME>
              Collect the logs from this time on, such as 2026-11-22T08:00:00Z

          --end <TIME>
              Collect the logs up to this time [default: now]

          --around <TIME>
              Collect the logs around this time: `before` and `after` of the config, or 30m each
    ");
    insta::assert_snapshot!(own_help("report"), @r"
    Write the reports of a run again from its journal

    Usage: fleetlogs report [OPTIONS] <RUN>

    Arguments:
      <RUN>
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config
    ");
    insta::assert_snapshot!(own_help("history"), @r#"
    Show which time ranges a series of snapshots covers for each node, and every gap

    Usage: fleetlogs history [OPTIONS] [CONFIG] [SNAPSHOT]

    Arguments:
      [CONFIG]
              The config file, `-` for stdin [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]

      [SNAPSHOT]
              The snapshot [default: every one with `window = "since-last"`, or the only one]

    Options:
          --from <TIME>
              Ignore everything before this time, such as 2026-11-22T08:00:00Z

          --to <TIME>
              Ignore everything after this time

          --nodes
              List every gap, and every node that disappeared
    "#);
    insta::assert_snapshot!(own_help("verify"), @r"
    Check that the files of a run are still there and unchanged

    Usage: fleetlogs verify [OPTIONS] <RUN>

    Arguments:
      <RUN>
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config

          --config <FILE>
              Use this config file instead of the one that the run was started with

          --coverage
              Also report the time range each file covers (reads its first and last lines)
    ");
    insta::assert_snapshot!(own_help("share"), @r"
    Create a read-only SAS for support and print it once

    Usage: fleetlogs share [OPTIONS] <RUN>

    Arguments:
      <RUN>
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config

          --for <TIME>
              How long the SAS stays valid

              [default: 7d]

          --config <FILE>
              Use this config file instead of the one that the run was started with
    ");
    insta::assert_snapshot!(own_help("unshare"), @r"
    Revoke the SAS of a run that are backed by a stored access policy

    Usage: fleetlogs unshare [OPTIONS] <RUN>

    Arguments:
      <RUN>
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config

          --config <FILE>
              Use this config file instead of the one that the run was started with
    ");
    insta::assert_snapshot!(own_help("ticket"), @r"
    Open a support ticket for a run, or add a message to one; shows what it would send, and asks first

    Usage: fleetlogs ticket [OPTIONS] [CONFIG] <RUN>

    Arguments:
      [CONFIG]
              The config file, which must have a [ticket] [default: the one that the run was started with]

      <RUN>
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config

          --amend <TICKET>
              Add a message to this ticket (name or number) instead of opening one

          --problem <TEXT>
              What you see, in your own words; becomes the start of the description

          --attach <FILE>
              Also attach this file, unchanged

          --dry-run
              Show what would be sent, and send nothing

          --yes
              Send without asking
    ");
    insta::assert_snapshot!(own_help("bundle"), @r"
    Create the escalation bundle of a run, or check one

    Usage: fleetlogs bundle [OPTIONS] [RUN]

    Arguments:
      [RUN]
              The run: its id or the beginning of it, `latest`, or its directory

    Options:
          --runs-dir <DIR>
              Look for runs in this directory instead of `output.dir` of the config

      -o, --output <FILE>
              Write to this file [default: fleetlogs-RUN_ID.zip in this directory]

          --force
              Overwrite the file if it exists

          --with-logs
              Download the logs from the container into the bundle

          --share <TIME>
              Create a SAS that can read and list the run's container for this long, and print it once

          --with-sas
              Also put that SAS into the bundle, in a file of its own

          --config <FILE>
              Use this config file for `--with-logs` and `--share` instead of the one that the run was started with

          --check <FILE>
              Check this bundle instead of creating one

          --sha256 <HEX>
              Require this SHA-256 of the checked bundle: hex, as printed when the bundle was created
    ");
    insta::assert_snapshot!(own_help("schedule"), @r"
    Run snapshots automatically: on a schedule, when nodes go bad, on alerts

    Usage: fleetlogs schedule [OPTIONS] [CONFIG]

    Arguments:
      [CONFIG]
              The config file, `-` for stdin [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]

    Options:
          --once <NAME>
              Run this snapshot once, now, and end: for cron, systemd timers and other schedulers

          --list
              Show when each snapshot runs next and how its last run ended
    ");
    insta::assert_snapshot!(own_help("sim"), @r"
    Serve a simulated fleet on loopback

    Usage: fleetlogs sim [OPTIONS] <SCENARIO>

    Arguments:
      <SCENARIO>
              The scenario file

    Options:
          --listen <ADDRESS>
              Listen on this address; each further account and the blob service get ports of their own

              [default: 127.0.0.1:0]

          --ready <FILE>
              Write endpoints, keys and the path of a config to this file once the simulator serves
    ");
    insta::assert_snapshot!(own_help("init"), @r"
    Print a config with every key, its default and a comment

    Usage: fleetlogs init [OPTIONS]
    ");
    insta::assert_snapshot!(own_help("schema"), @r"
    Print a JSON Schema

    Usage: fleetlogs schema [OPTIONS] <WHICH>

    Arguments:
      <WHICH>
              The document

              Possible values:
              - manifest: manifest.json of a run
    ");
}

/// The reference is written by hand. Every option is in the row of its command, or in a table of options; and the rows of
/// the commands name no option that there is not.
#[test]
fn the_reference_names_every_command_and_option() {
    let reference = include_str!("../../docs/reference/cli.md");
    let of_options: Vec<_> = reference.lines().filter(|line| line.starts_with("| `-")).collect();
    let flags = |text: &str| -> Vec<String> {
        let words = text.split(|char: char| !char.is_alphanumeric() && char != '-');
        words.filter(|word| word.starts_with('-') && word.len() > 1).map(String::from).collect()
    };
    let mut wrong = Vec::new();
    for command in commands() {
        let starts = [format!("| `{command} "), format!("| `{command}`")];
        let rows: Vec<_> =
            reference.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))).collect();
        if rows.is_empty() {
            wrong.push(format!("`{command}` has no row"));
        }
        if command == "help" {
            continue;
        }
        let first_lines = options(&help(&[&command])).into_iter().filter_map(|o| o.lines().next().map(flags));
        let known: Vec<_> = first_lines.flatten().collect();
        let documented: Vec<_> = rows.iter().chain(&of_options).flat_map(|row| flags(row)).collect();
        for flag in known.iter().filter(|flag| !documented.contains(flag)) {
            wrong.push(format!("`{command}` has `{flag}`, and no row says so"));
        }
        let usage = rows.iter().flat_map(|row| flags(row.split(" | ").next().unwrap_or_default()));
        for flag in usage.filter(|flag| !known.contains(flag)) {
            wrong.push(format!("`{command}` has no `{flag}`, and its row names it"));
        }
    }
    assert!(wrong.is_empty(), "docs/reference/cli.md:\n{}", wrong.join("\n"));
}

/// What the first column of the guide quotes is what the program says: as a piece of its sources, or of the pictures of
/// its output in these tests. Values are left out, and with them what only joins a message with its place or its cause.
#[test]
fn every_message_of_the_troubleshooting_guide_is_one_of_the_program() {
    let guide = include_str!("../../docs/guide/troubleshooting.md");
    let said = everything_said();
    let mut compared = 0;
    let mut unknown = Vec::new();
    for row in guide.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let first = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
        for message in quoted(first) {
            for piece in message.split(['…', '`', ':', ';', '(', ')', '"']).map(without_placeholder) {
                if piece.split(' ').count() > 1 {
                    compared += 1;
                    if !said.contains(piece) {
                        unknown.push(format!("`{piece}` of `{message}`"));
                    }
                }
            }
        }
    }
    assert!(compared > 100, "the guide quotes {compared} pieces");
    assert!(
        unknown.is_empty(),
        "docs/guide/troubleshooting.md quotes what the program does not say:\n{}",
        unknown.join("\n")
    );
}

/// Without `ENDPOINT`, `_PROXY` or a status code at its start.
fn without_placeholder(piece: &str) -> &str {
    let piece = piece.trim();
    match piece.split_once(' ') {
        Some((first, rest)) if !first.contains(|char: char| char.is_ascii_lowercase()) => rest,
        _ => piece,
    }
}

/// What stands between backticks, single or double.
fn quoted(text: &str) -> Vec<&str> {
    let mut quoted = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let fence = if rest[start..].starts_with("``") { "``" } else { "`" };
        let Some((inside, after)) = rest[start + fence.len()..].split_once(fence) else { break };
        quoted.push(inside.trim());
        rest = after;
    }
    quoted
}

/// The sources of the program and of these tests as one line, without escapes.
fn everything_said() -> String {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let mut dirs: Vec<_> = ["model", "engine", "azure", "report", "sim", "cli"]
        .map(|name| crates.join(name).join("src"))
        .to_vec();
    dirs.push(crates.join("../tests/e2e"));
    let mut text = String::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let text = text.replace("\\\n", "").replace("\\\"", "\"");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
