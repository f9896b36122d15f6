//! Secrets come from the environment, a file or a command; never from the config itself.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fleetlogs_model::secret::Secret;

use super::reader::Value;

/// Longest secret, in bytes; far more than a SAS has.
const LONGEST: u64 = 64 * 1024;

/// How long a command may take to print a secret. A vault answers within seconds; one that asks a question never does.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

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
    let mut text = String::new();
    let read = std::fs::File::open(&file).and_then(|open| open.take(LONGEST).read_to_string(&mut text));
    match read {
        Ok(_) => Some(text),
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
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .and_then(output_in_time);
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
            command.wrong(
                format!("cannot run `{program}`: {error}"),
                Some("run it by hand, as this user and in the config's directory".into()),
            );
            None
        }
    }
}

/// Waits for a command, which is killed at its deadline.
fn output_in_time(mut child: Child) -> std::io::Result<Output> {
    let mut stdout = child.stdout.take();
    // Read beside the wait: a command that prints more than a pipe holds would never end.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.as_mut().map(|stdout| stdout.take(LONGEST).read_to_end(&mut text));
        read.transpose().map(|_| text)
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > COMMAND_DEADLINE {
            child.kill()?;
            child.wait()?;
            let message = format!("it did not end within {} seconds", COMMAND_DEADLINE.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, message));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let stdout = reader.join().unwrap_or_else(|_| Ok(Vec::new()))?;
    Ok(Output { status, stdout, stderr: Vec::new() })
}
