//! Secrets come from the environment, a file or a command, never from the config itself.

use std::collections::BTreeSet;
use std::env::VarError;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fleetlogs_model::secret::Secret;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::reader::{ListedMistake, Value};
use super::secret_form::Wanted;
use super::times::Misread;
use crate::input_file::{decode, read_text};
use crate::process_group::ProcessGroup;

/// The longest secret, in bytes; a SAS is far shorter.
const LONGEST: u64 = 64 * 1024;

/// How long a command may take to print a secret. A vault answers within seconds; a command that prompts never does.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// How long the output of a command may stay open after its end.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// Help for every message about the form of a secret.
const HOW: &str =
    "write { env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }";

/// Environment variables that a config names as secrets.
static VARIABLES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Every environment variable that is known to hold a secret and must not be passed on to other programs.
pub(crate) fn secret_variables() -> BTreeSet<String> {
    let mut names = VARIABLES.lock().clone();
    names.insert("AZURE_CLIENT_SECRET".into());
    names
}

/// Where a secret is, to read it again after it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// A program, its arguments and its working directory.
    Command(Vec<String>, PathBuf),
}

impl Source {
    /// Reads the secret. Errors never quote it.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        match self {
            Self::File(path) => {
                let read = read_text(path, LONGEST);
                let read = read.map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
                unwrapped(&read.text).map_err(|why| format!("`{}`: {why}", path.display()))
            }
            Self::Command(words, dir) => {
                let text = output_of(words, dir)?;
                unwrapped(&text).map_err(|why| format!("`{}`: {why}", words[0]))
            }
        }
    }
}

/// The secret in a text, without what editors, shells and JSON put around it: white space, a byte order mark, quotes.
fn unwrapped(text: &str) -> Result<Secret, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return Err("it holds JSON, not the secret alone (for `az`, add `--output tsv`)".into());
    }
    if text.starts_with('"')
        && let Ok(inner) = serde_json::from_str::<String>(text)
    {
        return Ok(Secret::new(Zeroizing::new(inner).trim().to_owned()));
    }
    let inner = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    Ok(Secret::new(inner.unwrap_or(text).trim().to_owned()))
}

/// Runs a command and returns its output.
fn output_of(words: &[String], dir: &Path) -> Result<Zeroizing<String>, String> {
    let [program, arguments @ ..] = words else { return Err("the command is empty".into()) };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    // Its own process group, so that all of it can be killed.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let done = command
        .spawn()
        .and_then(output_in_time)
        .map_err(|error| format!("cannot run `{program}`: {error}"))?;
    if !done.status.success() {
        return Err(format!("`{program}` failed ({})", done.status));
    }
    let printed = Zeroizing::new(done.stdout);
    if printed.len() as u64 > LONGEST {
        return Err(format!("`{program}` printed more than {} KiB", LONGEST >> 10));
    }
    decode(&printed).map_err(|_| format!("`{program}` did not print text"))
}

/// Reads a secret from its source. A mistake names the source, never the secret.
pub(super) fn read(value: &Value<'_>, dir: &Path, wanted: Wanted) -> Option<Secret> {
    read_from(value, dir, wanted).map(|(secret, _)| secret)
}

/// Reads a secret if it is needed. Otherwise only checks the form of its source, and returns none.
pub(super) fn read_if(
    needed: bool,
    value: &Value<'_>,
    dir: &Path,
    wanted: Wanted,
) -> Result<Option<Secret>, ListedMistake> {
    if needed { read(value, dir, wanted).map(Some).ok_or(ListedMistake) } else { check(value).map(|()| None) }
}

/// Checks the form of the source of a secret, and reads nothing.
pub(super) fn check(value: &Value<'_>) -> Result<(), ListedMistake> {
    source_of(value).map(|_| ()).ok_or(ListedMistake)
}

/// Reads a secret, and returns with it the source to read it from again. Environment variables do not change, so they
/// have none.
pub(super) fn read_from(value: &Value<'_>, dir: &Path, wanted: Wanted) -> Option<(Secret, Option<Source>)> {
    let (secret, source) = match source_of(value)? {
        SecretSource::Env(name, variable) => (from_env(&name, variable)?, None),
        SecretSource::File(path, file) => from_source(&path, Source::File(dir.join(file)), CHECK_THE_FILE)?,
        SecretSource::Command(command, words) => {
            let by_hand = "run it by hand, as this user and in the directory of the config";
            from_source(&command, Source::Command(words, dir.into()), by_hand)?
        }
    };
    if secret.expose().is_empty() {
        let help = "check the file, the output of the command, or the variable: it has only white space";
        value.wrong("the secret is empty", Some(help.into()));
        return None;
    }
    if let Some(Misread { message, help }) = wanted.instead(secret.expose()) {
        value.wrong(message, Some(help));
        return None;
    }
    Some((secret, source))
}

/// The source of a secret, with the value of the config that names it.
enum SecretSource<'doc> {
    Env(Value<'doc>, &'doc str),
    File(Value<'doc>, &'doc str),
    Command(Value<'doc>, Vec<String>),
}

fn source_of<'doc>(value: &Value<'doc>) -> Option<SecretSource<'doc>> {
    if !value.is_table() {
        value.wrong("a secret must not be written in the config itself", Some(HOW.into()));
        return None;
    }
    let table = value.table()?;
    let sources = (table.get("env"), table.get("file"), table.get("command"));
    let written = match sources {
        (Some(name), None, None) => variable(&name).map(|variable| SecretSource::Env(name, variable)),
        (None, Some(path), None) => path.string().map(|file| SecretSource::File(path, file)),
        (None, None, Some(command)) => command.strings().map(|words| {
            let words = words.into_iter().map(str::to_owned).collect();
            SecretSource::Command(command, words)
        }),
        _ => {
            table.wrong("a secret has exactly one source", HOW);
            None
        }
    };
    table.finish();
    written
}

/// Reads the name of a variable, which from then on counts as one that holds a secret.
fn variable<'doc>(name: &Value<'doc>) -> Option<&'doc str> {
    let variable = name.string()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if variable.is_empty() || variable.len() > 64 || !variable.chars().all(is_name) {
        // The value may be the secret itself, so it is not quoted.
        let help =
            "`env` is the name of a variable that holds the secret, such as \"FLEETLOGS_CONTAINER_URL\"";
        name.wrong("this is not the name of an environment variable", Some(help.into()));
        return None;
    }
    VARIABLES.lock().insert(variable.to_owned());
    Some(variable)
}

fn from_env(name: &Value<'_>, variable: &str) -> Option<Secret> {
    let text = match std::env::var(variable) {
        Ok(text) => unwrapped(&Zeroizing::new(text)),
        Err(VarError::NotUnicode(_)) => Err("it is not text in UTF-8".into()),
        Err(VarError::NotPresent) => {
            name.wrong(
                format!("the environment variable `{variable}` is not set"),
                Some(format!("set `{variable}` and run again")),
            );
            return None;
        }
    };
    let wrong = |why| {
        let help = format!("set `{variable}` to the secret alone and run again");
        name.wrong(format!("the environment variable `{variable}`: {why}"), Some(help));
    };
    text.map_err(wrong).ok()
}

/// Help for a file that cannot be read as a secret.
const CHECK_THE_FILE: &str =
    "the path is relative to the config; the file must be readable by this user and hold the secret alone";

fn from_source(value: &Value<'_>, source: Source, help: &str) -> Option<(Secret, Option<Source>)> {
    match source.read() {
        Ok(secret) => Some((secret, Some(source))),
        Err(message) => {
            value.wrong(message, Some(help.into()));
            None
        }
    }
}

/// Waits for a command. At the deadline, kills it and every process that it started.
fn output_in_time(mut child: Child) -> std::io::Result<Output> {
    let group = ProcessGroup::of(child.id());
    let output = watch(&mut child, &group);
    if output.is_ok() {
        group.leave();
    } else {
        group.kill();
        let _ = child.wait();
    }
    output
}

fn watch(child: &mut Child, group: &ProcessGroup) -> std::io::Result<Output> {
    let mut stdout = child.stdout.take();
    let (send, text) = std::sync::mpsc::channel();
    // Read while waiting: a command that prints more than a pipe holds would never end.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.as_mut().map(|stdout| stdout.take(LONGEST + 1).read_to_end(&mut text));
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
        // A process that it left in the background holds its output open.
        group.kill();
        text.recv_timeout(OUTPUT_GRACE)
    });
    let stdout = stdout.map_err(|_| {
        let message = "a process that it started keeps its output open";
        std::io::Error::new(std::io::ErrorKind::TimedOut, message)
    })??;
    Ok(Output { status, stdout, stderr: Vec::new() })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_a_secret_is_taken_off() {
        let url = "https://logs.blob.core.windows.net/c?sv=1&sig=x%3D";
        let utf16: Vec<u8> = format!("\u{feff}{url}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big_endian: Vec<u8> =
            format!("\u{feff}{url}\r\n").encode_utf16().flat_map(u16::to_be_bytes).collect();
        let table = [
            url.as_bytes().to_vec(),
            format!("  {url}\r\n\n").into_bytes(),
            format!("\u{feff}{url}\r\n").into_bytes(),
            utf16,
            big_endian,
            format!("\"{url}\"\r\n").into_bytes(),
            format!("'{url}'\n").into_bytes(),
            format!("\u{feff}\"{}\"\n", url.replace('&', r"\u0026")).into_bytes(),
        ];
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        for content in table {
            std::fs::write(&file, &content).unwrap();
            assert_eq!(Source::File(file.clone()).read().unwrap().expose(), url, "{content:?}");
        }
        // Only what stands around the whole.
        for text in ["it's", "\"a\" or \"b", "'"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(Source::File(file.clone()).read().unwrap().expose(), text);
        }
        let refused = |text: &[u8]| {
            std::fs::write(&file, text).unwrap();
            Source::File(file.clone()).read().unwrap_err()
        };
        assert!(refused(br#"{"value": "hunter2"}"#).contains("it holds JSON"));
        assert!(refused(&vec![b'x'; 65 * 1024]).contains("it has more than 64 KiB"));
        assert!(refused(b"hunt\xFFer2").contains("it is not text"));
        assert_eq!(command("printf '\"hunter2\"\\r\\n'").read().unwrap().expose(), "hunter2");
    }

    fn command(script: &str) -> Source {
        Source::Command(["sh", "-c", script].map(String::from).to_vec(), ".".into())
    }

    #[test]
    fn a_command_that_leaves_something_behind_is_not_waited_for() {
        let started = Instant::now();
        let secret = command("sleep 600 & echo hunter2").read().unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(started.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn a_command_that_fails_is_told() {
        assert!(command("exit 3").read().unwrap_err().contains("failed"));
    }
}
