//! Mistakes in the command line, in the form of every other error: what is wrong, and `help:` with the next step.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::command_line::Args;
use crate::error::{CliError, Refusal};
use crate::help_texts;

/// Words that other programs use for a command, and what to type here.
const GUESSED_COMMANDS: &[(&[&str], &str)] = &[
    (&["list", "ls", "ps", "history-list"], "did you mean `fleetlogs runs`? It lists the runs"),
    (
        &["logs", "log", "download", "get", "pull"],
        "did you mean `fleetlogs fetch latest`? It downloads the logs of a run; `fleetlogs bundle latest --with-logs` packs them for support",
    ),
    (&["export", "zip", "pack"], "did you mean `fleetlogs bundle latest`? It packs a run into one file"),
    (&["version"], "did you mean `fleetlogs --version`?"),
    (
        &["cancel", "stop", "kill", "abort"],
        "press Ctrl-C where the run was started; `fleetlogs resume latest` continues it later",
    ),
    (&["start", "collect", "upload", "exec"], "did you mean `fleetlogs run`?"),
    (
        &["validate", "lint", "doctor", "preflight", "test"],
        "did you mean `fleetlogs check`? It checks a config without a run",
    ),
    (&["show", "info", "describe", "get-status"], "did you mean `fleetlogs status latest`? It shows a run"),
    (&["watch", "follow", "tail"], "did you mean `fleetlogs status latest --follow`? It watches a run"),
    (
        &["retry", "continue", "restart", "rerun"],
        "did you mean `fleetlogs resume latest`? It continues a run; `--retry` retries nodes",
    ),
    (
        &["dry-run", "dryrun", "preview"],
        "did you mean `fleetlogs plan`? It shows what a run would do, and sends no upload",
    ),
    (&["new", "create", "setup", "config"], "did you mean `fleetlogs init`? It writes a config"),
    (
        &["open", "view", "browse"],
        "did you mean `fleetlogs report latest --open`? It opens the report of a run",
    ),
    (&["completion", "complete"], "did you mean `fleetlogs completions SHELL`?"),
    (&["daemon", "cron", "serve"], "did you mean `fleetlogs schedule`? It runs snapshots automatically"),
    (&["example", "try", "tutorial"], "did you mean `fleetlogs demo`? It collects a simulated fleet"),
];

/// Options that other programs have: for which commands (none: for every one), and what to type here.
const GUESSED_OPTIONS: &[(&[&str], &[&str], &str)] = &[
    (
        &["--dry-run", "--dryrun", "--what-if", "--noop"],
        &["run", "check"],
        "did you mean `fleetlogs plan`? It shows what a run would do, and sends no upload",
    ),
    (
        &["--dry-run", "--dryrun", "--what-if", "--noop"],
        &["resume"],
        "did you mean `fleetlogs status RUN`? It shows what is outstanding",
    ),
    (
        &["--since", "--duration", "--window", "--hours", "--period"],
        &["run", "plan", "check"],
        "did you mean `--last 2h`? It sets the window to the last two hours",
    ),
    (
        &["--from", "--start-time", "--begin", "--after"],
        &["run", "plan", "check"],
        "did you mean `--start TIME`?",
    ),
    (&["--to", "--until", "--end-time", "--before"], &["run", "plan", "check"], "did you mean `--end TIME`?"),
    (&["--start", "--since"], &["history"], "did you mean `--from TIME`?"),
    (&["--end", "--until"], &["history"], "did you mean `--to TIME`?"),
    (
        &["--follow", "--watch", "-f"],
        &["run", "resume"],
        "did you mean `fleetlogs status latest --follow`? It watches a run",
    ),
    (
        &["--output", "-o", "--output-dir", "--out", "--dir"],
        &["run"],
        "`output.dir` of the config says where runs go",
    ),
    (&["--format", "--output"], &[], "did you mean `--json`? It prints a document for programs"),
    (&["--debug", "--trace", "--log-level"], &[], "did you mean `-v`? It logs more, and `-vv` everything"),
    (&["--silent"], &[], "did you mean `--quiet`?"),
    (
        &["--color", "--colour", "--no-color", "--no-colour"],
        &[],
        "the variable `NO_COLOR=1` turns colours off",
    ),
    (
        &["--config", "-c"],
        &["run", "plan", "check", "schedule", "history"],
        "the config is an argument without a name: `fleetlogs run fleetlogs.toml`",
    ),
    (&["--retry"], &["run"], "`fleetlogs resume RUN --retry OUTCOMES` retries nodes of a run"),
];

/// The error for a command line that clap refuses.
pub(crate) fn usage_error(error: &clap::Error, arguments: &[OsString]) -> CliError {
    let command = command_in(arguments);
    let (what, help) = explain(error, command.as_deref());
    CliError::usage(Refusal::new(what, help))
}

/// What is wrong, and what to do about it.
fn explain(error: &clap::Error, command: Option<&str>) -> (String, String) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        // Of several suggestions, the nearest is the last.
        Some(ContextValue::Strings(texts)) => texts.last().cloned(),
        _ => None,
    };
    let called = command.map_or_else(|| "fleetlogs".to_owned(), |command| format!("fleetlogs {command}"));
    let see_help = format!("`{called} --help` shows its arguments and options");
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            (
                format!("there is no command `{name}`"),
                command_help(&name, text(ContextKind::SuggestedSubcommand)),
            )
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let help = guessed_option(&argument, command)
                .map(String::from)
                .or_else(|| text(ContextKind::SuggestedArg).map(|near| format!("did you mean `{near}`?")))
                .unwrap_or(see_help);
            (format!("`{called}` has no option `{argument}`"), help)
        }
        ErrorKind::UnknownArgument => {
            (format!("`{called}` does not take the argument `{argument}`"), see_help)
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(all)) => all.join(", "),
                _ => argument,
            };
            let help = command.and_then(help_texts::example_of);
            (
                format!("`{called}` needs {missing}"),
                help.map_or(see_help, |example| format!("for example: `{example}`")),
            )
        }
        ErrorKind::InvalidValue if value.is_empty() => (format!("`{argument}` needs a value"), see_help),
        ErrorKind::InvalidValue => {
            let known = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) => known.join(", "),
                _ => String::new(),
            };
            let near = text(ContextKind::SuggestedValue).map(|near| format!("did you mean `{near}`? "));
            let what = format!("`{value}` is not a value of `{argument}`");
            if known.is_empty() {
                (what, see_help)
            } else {
                (what, format!("{}known: {known}", near.unwrap_or_default()))
            }
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
            (format!("`{value}` is not a value of `{argument}`{why}"), see_help)
        }
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            Some(prior) if prior != argument => {
                (format!("`{argument}` cannot be combined with `{prior}`"), "leave one of them out".into())
            }
            _ => (format!("`{argument}` can be given only once"), "leave one of them out".into()),
        },
        _ => {
            let said = error.render().to_string();
            let first = said.lines().next().unwrap_or_default();
            (first.strip_prefix("error: ").unwrap_or(first).to_owned(), see_help)
        }
    }
}

fn command_help(name: &str, near: Option<String>) -> String {
    let name = name.to_lowercase();
    let guessed = GUESSED_COMMANDS.iter().find(|(words, _)| words.contains(&&*name));
    match (guessed, near) {
        (Some((_, help)), _) => (*help).to_owned(),
        (None, Some(near)) => format!("did you mean `fleetlogs {near}`?"),
        (None, None) => "`fleetlogs --help` lists the commands".to_owned(),
    }
}

fn guessed_option(option: &str, command: Option<&str>) -> Option<&'static str> {
    let option = option.split('=').next().unwrap_or(option);
    let fits =
        |commands: &[&str]| commands.is_empty() || command.is_some_and(|name| commands.contains(&name));
    let guess = GUESSED_OPTIONS.iter().find(|(words, commands, _)| words.contains(&option) && fits(commands));
    guess.map(|(.., help)| *help)
}

/// The command that the arguments name.
fn command_in(arguments: &[OsString]) -> Option<String> {
    let known = Args::command();
    let words = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
    words.into_iter().find(|word| known.find_subcommand(word).is_some()).map(String::from)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::Parser;

    use super::*;

    /// What is said about a command line.
    fn said(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match Args::try_parse_from(&arguments) {
            Ok(_) => panic!("{line} is understood"),
            Err(error) => usage_error(&error, &arguments).describe(),
        }
    }

    #[test]
    fn every_mistake_leads_to_the_right_words() {
        let mut seen = String::new();
        for line in [
            "fleetlogs runn fleetlogs.toml",
            "fleetlogs list",
            "fleetlogs logs",
            "fleetlogs version",
            "fleetlogs cancel",
            "fleetlogs start",
            "fleetlogs validate",
            "fleetlogs show",
            "fleetlogs xyzzy",
            "fleetlogs run fleetlogs.toml --dry-run",
            "fleetlogs resume RUN --dry-run",
            "fleetlogs run fleetlogs.toml --since 2h",
            "fleetlogs plan fleetlogs.toml --from=2026-11-22T08:00:00Z",
            "fleetlogs run fleetlogs.toml --acount contoso",
            "fleetlogs run fleetlogs.toml another.toml",
            "fleetlogs resume",
            "fleetlogs run fleetlogs.toml --pool",
            "fleetlogs resume RUN --retry faild",
            "fleetlogs run fleetlogs.toml --state idel",
            "fleetlogs run fleetlogs.toml -q -v",
            "fleetlogs run fleetlogs.toml --events a --events b",
        ] {
            let _ = write!(seen, "> {line}\n{}", said(line));
        }
        insta::assert_snapshot!(seen, @r"
        > fleetlogs runn fleetlogs.toml
        error: there is no command `runn`
          help: did you mean `fleetlogs run`?
        > fleetlogs list
        error: there is no command `list`
          help: did you mean `fleetlogs runs`? It lists the runs
        > fleetlogs logs
        error: there is no command `logs`
          help: did you mean `fleetlogs fetch latest`? It downloads the logs of a run; `fleetlogs bundle latest --with-logs` packs them for support
        > fleetlogs version
        error: there is no command `version`
          help: did you mean `fleetlogs --version`?
        > fleetlogs cancel
        error: there is no command `cancel`
          help: press Ctrl-C where the run was started; `fleetlogs resume latest` continues it later
        > fleetlogs start
        error: there is no command `start`
          help: did you mean `fleetlogs run`?
        > fleetlogs validate
        error: there is no command `validate`
          help: did you mean `fleetlogs check`? It checks a config without a run
        > fleetlogs show
        error: there is no command `show`
          help: did you mean `fleetlogs status latest`? It shows a run
        > fleetlogs xyzzy
        error: there is no command `xyzzy`
          help: `fleetlogs --help` lists the commands
        > fleetlogs run fleetlogs.toml --dry-run
        error: `fleetlogs run` has no option `--dry-run`
          help: did you mean `fleetlogs plan`? It shows what a run would do, and sends no upload
        > fleetlogs resume RUN --dry-run
        error: `fleetlogs resume` has no option `--dry-run`
          help: did you mean `fleetlogs status RUN`? It shows what is outstanding
        > fleetlogs run fleetlogs.toml --since 2h
        error: `fleetlogs run` has no option `--since`
          help: did you mean `--last 2h`? It sets the window to the last two hours
        > fleetlogs plan fleetlogs.toml --from=2026-11-22T08:00:00Z
        error: `fleetlogs plan` has no option `--from`
          help: did you mean `--start TIME`?
        > fleetlogs run fleetlogs.toml --acount contoso
        error: `fleetlogs run` has no option `--acount`
          help: did you mean `--account`?
        > fleetlogs run fleetlogs.toml another.toml
        error: `fleetlogs run` does not take the argument `another.toml`
          help: `fleetlogs run --help` shows its arguments and options
        > fleetlogs resume
        error: `fleetlogs resume` needs <RUN>
          help: for example: `fleetlogs resume latest`
        > fleetlogs run fleetlogs.toml --pool
        error: `--pool <PATTERN>` needs a value
          help: `fleetlogs run --help` shows its arguments and options
        > fleetlogs resume RUN --retry faild
        error: `faild` is not a value of `--retry <OUTCOMES>`
          help: did you mean `failed`? known: failed, incomplete, adopted, gone, empty
        > fleetlogs run fleetlogs.toml --state idel
        error: `idel` is not a value of `--state <STATE>`: did you mean `idle`? known states: idle, running, offline, starttaskfailed, waitingforstarttask, unusable, creating, starting, rebooting, reimaging, upgradingos, unknown, leavingpool, preempted, deallocating, deallocated
          help: `fleetlogs run --help` shows its arguments and options
        > fleetlogs run fleetlogs.toml -q -v
        error: `--quiet` cannot be combined with `--verbose...`
          help: leave one of them out
        > fleetlogs run fleetlogs.toml --events a --events b
        error: `--events <FILE>` can be given only once
          help: leave one of them out
        ");
    }

    #[test]
    fn no_guess_hides_a_real_command_or_option() {
        let mut known = Args::command();
        known.build();
        for (words, _) in GUESSED_COMMANDS {
            for word in *words {
                assert!(known.find_subcommand(word).is_none(), "{word} is a command");
            }
        }
        for (words, commands, _) in GUESSED_OPTIONS {
            for (word, command) in
                words.iter().flat_map(|word| commands.iter().map(move |command| (word, command)))
            {
                let command = known.find_subcommand(command).expect("a command");
                let taken = command.get_arguments().any(|argument| {
                    argument.get_long().is_some_and(|long| *word == format!("--{long}"))
                        || argument.get_short().is_some_and(|short| *word == format!("-{short}"))
                });
                assert!(!taken, "{word} is an option of {}", command.get_name());
            }
        }
    }
}
