//! Keeps secrets out of places where others could read them: the list of processes, and core dumps.

use std::backtrace::BacktraceStatus;
use std::ffi::OsString;

use crate::error::Refusal;
use crate::output;

/// Refuses arguments that hold a SAS: every user of the machine can see arguments in the list of processes, and the
/// shell keeps them in its history. The refusal does not quote the SAS.
pub(crate) fn no_secret_in(arguments: &[OsString]) -> Result<(), Refusal> {
    let holds_sas = arguments.iter().any(|argument| {
        let text = argument.to_string_lossy().to_lowercase();
        let query = text.split_once('?').map_or(&*text, |(_, query)| query);
        query.split('&').any(|pair| pair.starts_with("sig=") && pair.len() > 4)
    });
    if !holds_sas {
        return Ok(());
    }
    let what = "an argument holds a SAS, which every user of this machine can see in the list of processes, and which the \
                shell keeps in its history";
    let help = "create a new SAS, because this one has been exposed; put it into a file or an environment variable, and \
                name that in the config: container_url = { file = \"path\" }";
    Err(Refusal::new(what, help))
}

/// The text of a panic may quote what it could not deal with.
pub(crate) fn no_secret_in_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        let trace = match std::backtrace::Backtrace::capture() {
            trace if trace.status() == BacktraceStatus::Captured => format!("stack backtrace:\n{trace}"),
            _ => "note: run with `RUST_BACKTRACE=1` to see where\n".to_owned(),
        };
        output::say(&format!("\nthread '{name}' {info}\n{trace}"));
    }));
}

/// Turns core dumps off: a core dump holds every secret in memory.
#[cfg(unix)]
pub(crate) fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // If the system refuses, there is nothing else to try.
    let _ = setrlimit(Resource::Core, none);
    // A kernel that passes core dumps to a program ignores the limit.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(not(unix))]
pub(crate) fn no_core_dumps() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sas_in_an_argument_is_refused_and_not_quoted() {
        let check = |text: &str| no_secret_in(&[OsString::from("run"), OsString::from(text)]);
        for text in [
            "https://logs.blob.core.windows.net/c?sp=w&sig=TOPSECRET",
            "--config=https://logs.blob.core.windows.net/c?SIG=TOPSECRET&sp=w",
            "?sp=w&sig=TOPSECRET",
            "sp=w&sig=TOPSECRET",
        ] {
            let message = check(text).unwrap_err().describe();
            assert!(!message.contains("TOPSECRET") && message.contains("file"), "{message}");
        }
        for text in ["config.toml", "https://logs.blob.core.windows.net/c?sp=w&sig=", "runs/design=1"] {
            assert!(check(text).is_ok(), "{text}");
        }
    }
}
