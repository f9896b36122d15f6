//! Secrets come from the environment, a file or a command; never from the config itself.

use std::path::Path;
use std::process::{Command, Stdio};

use fleetlogs_model::secret::Secret;

use super::reader::Value;

/// How to write a secret, for messages.
const HOW: &str =
    "write { env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }";

/// Reads a secret from where the config says it is. A mistake names the place, never the text.
pub(super) fn read(value: &Value<'_>, dir: &Path) -> Option<Secret> {
    if !value.is_table() {
        value.wrong("a secret must not be written in the config itself", Some(HOW.into()));
        return None;
    }
    let table = value.table()?;
    let sources = (table.get("env"), table.get("file"), table.get("command"));
    let text = match sources {
        (Some(name), None, None) => from_env(&name),
        (None, Some(path), None) => from_file(&path, dir),
        (None, None, Some(command)) => from_command(&command, dir),
        _ => {
            table.wrong("a secret has exactly one source", HOW);
            None
        }
    };
    table.finish();
    let secret = Secret::new(text?.trim().to_owned());
    if secret.expose().is_empty() {
        value.wrong("the secret is empty", None);
        return None;
    }
    Some(secret)
}

fn from_env(name: &Value<'_>) -> Option<String> {
    let variable = name.string()?;
    let text = std::env::var(variable);
    if text.is_err() {
        name.wrong(
            format!("the environment variable `{variable}` is not set"),
            Some(format!("set `{variable}` and run again")),
        );
    }
    text.ok()
}

fn from_file(path: &Value<'_>, dir: &Path) -> Option<String> {
    let file = dir.join(path.string()?);
    match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) => {
            path.wrong(format!("cannot read `{}`: {error}", file.display()), None);
            None
        }
    }
}

fn from_command(command: &Value<'_>, dir: &Path) -> Option<String> {
    let words = command.strings()?;
    let [program, arguments @ ..] = &words[..] else {
        command.wrong("the command is empty", None);
        return None;
    };
    let run = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    match run {
        Ok(done) if done.status.success() => {
            let text = String::from_utf8(done.stdout).ok();
            if text.is_none() {
                command.wrong(format!("`{program}` did not print text"), None);
            }
            text
        }
        Ok(done) => {
            command.wrong(format!("`{program}` failed ({})", done.status), None);
            None
        }
        Err(error) => {
            command.wrong(format!("cannot run `{program}`: {error}"), None);
            None
        }
    }
}
