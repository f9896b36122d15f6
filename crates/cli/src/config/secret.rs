//! Secrets come from the environment, a file or a command; never from the config itself.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fleetlogs_azure::never_show;
use fleetlogs_model::secret::Secret;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::reader::{Mistaken, Value};
use crate::process_group::ProcessGroup;

/// Longest secret, in bytes; far more than a SAS has.
const LONGEST: u64 = 64 * 1024;

/// How long a command may take to print a secret. A vault answers within seconds; one that asks a question never does.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// How long after its end a command's output may take to end as well.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// How to write a secret, for messages.
const HOW: &str =
    "write { env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }";

/// Variables of the environment that a config names as secrets.
static VARIABLES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Every variable of the environment that is known to hold a secret: nobody's business but ours.
pub(crate) fn secret_variables() -> BTreeSet<String> {
    let mut names = VARIABLES.lock().clone();
    names.insert("AZURE_CLIENT_SECRET".into());
    names
}

/// Where a secret is, so that it can be read again when it was changed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// A program and its arguments, and the directory it is started in.
    Command(Vec<String>, PathBuf),
}

impl Source {
    /// Reads the secret. Errors never quote it.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        let text = match self {
            Self::File(path) => {
                let mut text = String::new();
                std::fs::File::open(path)
                    .and_then(|open| open.take(LONGEST).read_to_string(&mut text))
                    .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
                text
            }
            Self::Command(words, dir) => print_of(words, dir)?,
        };
        let text = Zeroizing::new(text);
        Ok(Secret::new(text.trim().to_owned()))
    }
}

/// What a command prints.
fn print_of(words: &[String], dir: &Path) -> Result<String, String> {
    let [program, arguments @ ..] = words else { return Err("the command is empty".into()) };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    // A group of its own, to be ended as a whole.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let done = command
        .spawn()
        .and_then(output_in_time)
        .map_err(|error| format!("cannot run `{program}`: {error}"))?;
    if !done.status.success() {
        return Err(format!("`{program}` failed ({})", done.status));
    }
    String::from_utf8(done.stdout).map_err(|_| format!("`{program}` did not print text"))
}

/// Reads a secret from where the config says it is. A mistake names the place, never the text.
pub(super) fn read(value: &Value<'_>, dir: &Path) -> Option<Secret> {
    read_from(value, dir).map(|(secret, _)| secret)
}

/// Reads a secret if it is needed; otherwise looks only whether it is written as one, and gives none.
pub(super) fn read_if(needed: bool, value: &Value<'_>, dir: &Path) -> Result<Option<Secret>, Mistaken> {
    if needed { read(value, dir).map(Some).ok_or(Mistaken) } else { check(value).map(|()| None) }
}

/// Looks whether a secret is written as one, and reads nothing.
pub(super) fn check(value: &Value<'_>) -> Result<(), Mistaken> {
    written(value).map(|_| ()).ok_or(Mistaken)
}

/// Reads a secret with the source to read it from again; a variable of the environment does not change.
pub(super) fn read_from(value: &Value<'_>, dir: &Path) -> Option<(Secret, Option<Source>)> {
    let (secret, source) = match written(value)? {
        Written::Env(name, variable) => (from_env(&name, variable)?, None),
        Written::File(path, file) => from_source(&path, Source::File(dir.join(file)), None)?,
        Written::Command(command, words) => {
            let by_hand = "run it by hand, as this user and in the config's directory";
            from_source(&command, Source::Command(words, dir.into()), Some(by_hand))?
        }
    };
    if !secret.expose().contains("://") {
        // A key or the like; a SAS is known by its signature, and its URL is shown without it.
        never_show(secret.expose());
    }
    if secret.expose().is_empty() {
        value.wrong("the secret is empty", None);
        return None;
    }
    Some((secret, source))
}

/// Where the config says that a secret is, with the value that says so.
enum Written<'doc> {
    Env(Value<'doc>, &'doc str),
    File(Value<'doc>, &'doc str),
    Command(Value<'doc>, Vec<String>),
}

fn written<'doc>(value: &Value<'doc>) -> Option<Written<'doc>> {
    if !value.is_table() {
        value.wrong("a secret must not be written in the config itself", Some(HOW.into()));
        return None;
    }
    let table = value.table()?;
    let sources = (table.get("env"), table.get("file"), table.get("command"));
    let written = match sources {
        (Some(name), None, None) => variable(&name).map(|variable| Written::Env(name, variable)),
        (None, Some(path), None) => path.string().map(|file| Written::File(path, file)),
        (None, None, Some(command)) => command.strings().map(|words| {
            let words = words.into_iter().map(str::to_owned).collect();
            Written::Command(command, words)
        }),
        _ => {
            table.wrong("a secret has exactly one source", HOW);
            None
        }
    };
    table.finish();
    written
}

/// The name of a variable, which is a secret's from here on.
fn variable<'doc>(name: &Value<'doc>) -> Option<&'doc str> {
    let variable = name.string()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if variable.is_empty() || variable.len() > 64 || !variable.chars().all(is_name) {
        // It may well be the secret itself.
        let help = "`env` is the name of a variable, such as \"FLEETLOGS_CONTAINER_URL\"; the secret is what it holds";
        name.wrong("this is not the name of a variable of the environment", Some(help.into()));
        return None;
    }
    VARIABLES.lock().insert(variable.to_owned());
    Some(variable)
}

fn from_env(name: &Value<'_>, variable: &str) -> Option<Secret> {
    let text = std::env::var(variable);
    if text.is_err() {
        name.wrong(
            format!("the environment variable `{variable}` is not set"),
            Some(format!("set `{variable}` and run again")),
        );
    }
    text.ok().map(|text| Secret::new(text.trim().to_owned()))
}

fn from_source(value: &Value<'_>, source: Source, help: Option<&str>) -> Option<(Secret, Option<Source>)> {
    match source.read() {
        Ok(secret) => Some((secret, Some(source))),
        Err(message) => {
            value.wrong(message, help.map(str::to_owned));
            None
        }
    }
}

/// Waits for a command, which is killed at its deadline with all that it started.
fn output_in_time(mut child: Child) -> std::io::Result<Output> {
    let group = ProcessGroup::of(child.id());
    let output = watch(&mut child, &group);
    if output.is_ok() {
        group.leave();
    } else {
        group.end();
        let _ = child.wait();
    }
    output
}

fn watch(child: &mut Child, group: &ProcessGroup) -> std::io::Result<Output> {
    let mut stdout = child.stdout.take();
    let (send, text) = std::sync::mpsc::channel();
    // Read beside the wait: a command that prints more than a pipe holds would never end.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.as_mut().map(|stdout| stdout.take(LONGEST).read_to_end(&mut text));
        let _ = send.send(read.transpose().map(|_| text));
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > COMMAND_DEADLINE {
            let message = format!("it did not end within {} seconds", COMMAND_DEADLINE.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, message));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let stdout = text.recv_timeout(OUTPUT_GRACE).or_else(|_| {
        // What it left running in the background holds its output open.
        group.end();
        text.recv_timeout(OUTPUT_GRACE)
    });
    let stdout = stdout.map_err(|_| {
        let message = "something that it started keeps its output open";
        std::io::Error::new(std::io::ErrorKind::TimedOut, message)
    })??;
    Ok(Output { status, stdout, stderr: Vec::new() })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn command(script: &str) -> Source {
        Source::Command(["sh", "-c", script].map(String::from).to_vec(), ".".into())
    }

    #[test]
    fn a_command_that_leaves_something_behind_is_not_waited_for() {
        let started = Instant::now();
        let secret = command("sleep 60 & echo hunter2").read().unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_command_that_fails_is_told() {
        assert!(command("exit 3").read().unwrap_err().contains("failed"));
    }
}
